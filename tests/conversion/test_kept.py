"""An adapter on a base that stood on a quantisation's grid vanishes when it is rounded back there; the gate says so."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf.quants import dequantize
from safetensors.torch import load_file, save_file

from conversion.container import read_container
from conversion.gguf import to_gguf
from conversion.merge import merge
from conversion.names import gguf_names, head_counts, reordered
from conversion.nf4 import is_rounded, rounded
from conversion.qlora import merge_both
from conversion.quantize import quantize
from conversion.verify import Subject, verify
from errors import ConversionError
from settings import load_settings
from tests.conversion.families import held_out, mistral_spm, train_adapter
from training.recipe import load_recipe

pytestmark = [pytest.mark.smoke, pytest.mark.filterwarnings("default"), pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]


def undone(weight: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """The inverse of `reordered`."""
    order = reordered(np.arange(weight.shape[0], dtype=np.float32).reshape(-1, 1), heads).ravel().astype(int)
    back = np.empty_like(weight)
    back[order] = weight
    return back


def on_grid(base: Path, folder: Path, scheme: str) -> Path:
    """The base with its matrices quantised and dequantised: what a base fetched as a GGUF is."""
    data = load_settings().data_dir
    bf16 = to_gguf(base, folder / "base.gguf", "f32", data_dir=data)
    grid = read_container(quantize(bf16, folder / "grid.gguf", scheme, threads=1).path)
    out = Path(shutil.copytree(base, folder / "base-on-grid"))
    weights = load_file(out / "model.safetensors")
    heads = head_counts(grid)
    for name, place in gguf_names(grid, weights).items():
        tensor = grid.tensors[place]
        values = np.asarray(dequantize(tensor.data, tensor.kind), np.float32).reshape(tensor.shape)
        count = next((n for part, n in heads.items() if f".{part}." in place), 0)
        weights[name] = torch.from_numpy(undone(values, count) if count else values.copy())
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    return out


def test_a_change_below_the_grid_vanishes_in_q4_and_stays_in_q8(tmp_path: Path) -> None:
    """A small change: in full precision it changes the answers, rounded back to the base's own grid it is gone."""
    base = on_grid(mistral_spm(tmp_path / "base"), tmp_path, "Q4_K_M")
    adapter = train_adapter(base, tmp_path / "adapter", steps=12, rate=1e-3, lora_alpha=8)
    merged = merge(base, adapter, tmp_path / "merged").path
    bf16 = to_gguf(merged, tmp_path / "f32.gguf", "f32", data_dir=load_settings().data_dir)
    files = (bf16, *(quantize(bf16, tmp_path / f"{s}.gguf", s, threads=1).path for s in ("Q4_K_M", "Q8_0")))
    report = verify(
        Subject(merged, files, base, adapter), [held_out(tmp_path / "held.jsonl")], root=ROOT, threads=1
    )  # fmt: skip
    coarse, fine = report.gate("adapter kept Q4_K_M"), report.gate("adapter kept Q8_0")
    assert coarse.verdict == "fail"
    assert coarse.details["kept_in_the_weights"] < 0.5
    assert "Q8_0 keeps" in coarse.remedy or "Q6_K keeps" in coarse.remedy
    assert fine.verdict == "pass"
    assert fine.details["kept_in_the_weights"] > 0.9
    assert not report.passed


def test_nf4_is_bitsandbytes_own_rounding(tmp_path: Path) -> None:
    torch.manual_seed(1)
    weight = torch.randn(64, 128) * 0.05
    once = rounded("model.layers.0.mlp.up_proj.weight", weight)
    assert 0.02 < float((once - weight).norm() / weight.norm()) < 0.15
    assert len(set(once.flatten().tolist())) < len(set(weight.flatten().tolist()))
    kept = {"model.embed_tokens.weight": weight, "lm_head.weight": weight, "model.norm.weight": weight[0]}
    frozen = load_recipe(ROOT / "training/recipes/ministral_3b_lora.yaml").frozen
    kept |= {f"model.{part}.layer.weight": weight for part in frozen}
    for name, tensor in kept.items():
        assert not is_rounded(name, tensor)
        assert rounded(name, tensor) is tensor


def test_the_model_rounded_by_hand_is_the_one_that_qlora_trains_on(tmp_path: Path) -> None:
    """Tensor by tensor, against a 4-bit load by transformers."""
    from bitsandbytes import functional
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    base = mistral_spm(tmp_path / "base")
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype="float32"
    )
    model = AutoModelForCausalLM.from_pretrained(base, quantization_config=config, dtype=torch.float32)
    weights = load_file(base / "model.safetensors")
    compared = 0
    for name, module in model.named_modules():
        if type(module).__name__ == "Linear4bit":
            there = functional.dequantize_4bit(module.weight.data, module.weight.quant_state)
            ours = rounded(f"{name}.weight", weights[f"{name}.weight"])
            torch.testing.assert_close(ours, there.to(ours.dtype), rtol=0, atol=1e-6)
            compared += 1
    assert compared == 14


@pytest.mark.proof
def test_qlora_tries_both_bases_and_keeps_the_better(tmp_path: Path) -> None:
    """An adapter trained on the nf4-rounded base belongs there: its loss is lower on it."""
    plain = mistral_spm(tmp_path / "base")
    nf4 = Path(shutil.copytree(plain, tmp_path / "nf4"))
    weights = {name: rounded(name, weight) for name, weight in load_file(plain / "model.safetensors").items()}
    save_file(weights, nf4 / "model.safetensors", metadata={"format": "pt"})
    adapter = train_adapter(nf4, tmp_path / "adapter", steps=40, rate=5e-3)
    texts = held_out(tmp_path / "held.jsonl")
    made, compared = merge_both(plain, adapter, tmp_path / "merged", held_out=[texts])
    assert compared.chosen == min(compared.nats_per_token, key=lambda way: compared.nats_per_token[way])
    assert set(compared.nats_per_token) == {"full", "nf4"}
    assert compared.kl > 0
    facts = json.loads((made.path / "merge.json").read_text(encoding="utf-8"))
    assert facts["base_weights"] == compared.chosen == made.base_weights
    assert facts["compared"]["texts"] == ["held.jsonl"]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    # Whatever was chosen, the gates know which base it was.
    bf16 = to_gguf(made.path, tmp_path / "bf16.gguf", "bf16", data_dir=load_settings().data_dir)
    report = verify(Subject(made.path, (bf16,), plain, adapter), [texts], root=ROOT, threads=1)
    assert report.gate("merged weights").verdict == "pass"
    with pytest.raises(ConversionError, match="never overwritten"):
        merge_both(plain, adapter, made.path, held_out=[texts])


@pytest.mark.proof
def test_nf4_then_q4_k(tmp_path: Path) -> None:
    """The grids of nf4 and Q4_K do not coincide: of a small change a part is lost in the second rounding, not all."""
    plain = mistral_spm(tmp_path / "base")
    nf4 = Path(shutil.copytree(plain, tmp_path / "nf4"))
    weights = {name: rounded(name, weight) for name, weight in load_file(plain / "model.safetensors").items()}
    save_file(weights, nf4 / "model.safetensors", metadata={"format": "pt"})
    adapter = train_adapter(nf4, tmp_path / "adapter", steps=12, rate=1e-3, lora_alpha=8)
    merged = merge(plain, adapter, tmp_path / "merged", base_weights="nf4").path
    f32 = to_gguf(merged, tmp_path / "f32.gguf", "f32", data_dir=load_settings().data_dir)
    files = (f32, *(quantize(f32, tmp_path / f"{s}.gguf", s, threads=1).path for s in ("Q4_K_M", "Q8_0")))
    report = verify(
        Subject(merged, files, plain, adapter), [held_out(tmp_path / "held.jsonl")], root=ROOT, threads=1
    )  # fmt: skip
    assert report.gate("merged weights").verdict == "pass"
    assert report.gate("adapter kept Q8_0").verdict == "pass"
    coarse = report.gate("adapter kept Q4_K_M")
    assert 0.4 < coarse.details["kept_in_the_weights"] < 0.9
    assert coarse.verdict == "fail"
