"""Train → merge → convert → quantise → load, on a two-layer Mistral: what was trained is what llama.cpp says."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import pytest

from conversion.container import read_container
from conversion.demo import logits_after
from conversion.gguf import to_gguf
from conversion.merge import merge
from conversion.quantize import quantize, schemes
from conversion.tokenizer_files import conversion_copy
from errors import ConversionError
from settings import load_settings
from tests.conversion.families import V3_TEMPLATE, mistral_spm, train_adapter
from tests.conversion.test_checkpoint import kl
from tests.conversion.tiny import FRENCH

pytestmark = [pytest.mark.smoke, pytest.mark.filterwarnings("default")]

CHAT = [
    {"role": "system", "content": "Tu es Spinoza."},
    {"role": "user", "content": "Qu'est-ce que la joie ?"},
    {"role": "assistant", "content": "La joie augmente la puissance d'agir."},
    {"role": "user", "content": "Et le désir ?"},
]


@dataclass(frozen=True)
class Chain:
    """Every file of one run."""

    base: Path
    adapter: Path
    merged: Path
    f32: Path
    bf16: Path
    q8: Path


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    folder, data = tmp_path_factory.mktemp("chain"), load_settings().data_dir
    base = mistral_spm(folder / "base")
    adapter = train_adapter(base, folder / "adapter")
    merged = merge(base, adapter, folder / "merged").path
    f32 = to_gguf(merged, folder / "f32.gguf", "f32", data_dir=data)
    bf16 = to_gguf(merged, folder / "bf16.gguf", data_dir=data)
    return Chain(base, adapter, merged, f32, bf16, quantize(bf16, folder / "q8_0.gguf", "Q8_0").path)


@pytest.fixture(scope="module")
def tokenizer(chain: Chain) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(chain.merged)


@pytest.fixture(scope="module")
def merged_model(chain: Chain) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(chain.merged, dtype=torch.float32).eval()


def torch_logits(model: Any, ids: list[int]) -> np.ndarray[Any, Any]:
    import torch

    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0, -1].numpy()  # type: ignore[no-any-return]


def prompt_ids(tokenizer: Any) -> list[int]:
    rendered = tokenizer.apply_chat_template(CHAT, tokenize=False)
    return tokenizer(rendered, add_special_tokens=False)["input_ids"]  # type: ignore[no-any-return]


def test_the_gguf_cuts_text_as_training_did(chain: Chain, tokenizer: Any) -> None:
    import sentencepiece

    pieces = sentencepiece.SentencePieceProcessor(model_file=str(chain.merged / "tokenizer.model"))
    model = llama_cpp.Llama(str(chain.f32), vocab_only=True, verbose=False)
    for line in [*FRENCH.splitlines(), "émoji 😀 œuvre", "deux  espaces"]:
        ids = tokenizer(line, add_special_tokens=False)["input_ids"]
        assert ids == pieces.encode(line)
        # The conversion copy takes the dummy prefix out of the GGUF, so the space before a raw text is ours to give.
        assert ids == model.tokenize(f" {line}".encode(), add_bos=False)
    rendered = tokenizer.apply_chat_template(CHAT, tokenize=False)
    ids = prompt_ids(tokenizer)
    assert ids == model.tokenize(rendered.encode(), add_bos=False, special=True)
    assert ids[:2] == [1, tokenizer.convert_tokens_to_ids("[INST]")]
    model.close()


def test_the_gguf_carries_pieces_and_template(chain: Chain) -> None:
    for path in (chain.f32, chain.bf16, chain.q8):
        read = read_container(path)
        tokens = read.value("tokenizer.ggml.tokens")
        assert not [token for token in tokens if token.startswith("[PAD")]
        for piece in ("[INST]", "[/INST]"):
            assert read.value("tokenizer.ggml.token_type")[tokens.index(piece)] == 3
        assert read.value("tokenizer.chat_template") == V3_TEMPLATE
        assert read.value("tokenizer.ggml.eos_token_id") == 2


def test_torch_and_llama_cpp_say_the_same(chain: Chain, tokenizer: Any, merged_model: Any) -> None:
    ids = prompt_ids(tokenizer)
    expected = torch_logits(merged_model, ids)
    assert kl(expected, logits_after(chain.f32, ids)) <= 1e-3
    assert kl(expected, logits_after(chain.bf16, ids)) <= 1e-3
    assert kl(expected, logits_after(chain.q8, ids)) <= 2e-2


def test_greedy_answers_are_equal(chain: Chain, tokenizer: Any, merged_model: Any) -> None:
    ours, theirs = prompt_ids(tokenizer), prompt_ids(tokenizer)
    for _ in range(16):
        ours.append(int(torch_logits(merged_model, ours).argmax()))
        theirs.append(int(logits_after(chain.f32, theirs).argmax()))
    assert ours == theirs


def test_sizes_fall_and_outputs_are_never_overwritten(chain: Chain) -> None:
    sizes = [path.stat().st_size for path in (chain.f32, chain.bf16, chain.q8)]
    assert sizes == sorted(sizes, reverse=True)
    with pytest.raises(ConversionError, match="never overwritten"):
        quantize(chain.bf16, chain.q8, "Q8_0")
    with pytest.raises(ConversionError, match="never overwritten"):
        to_gguf(chain.merged, chain.f32, data_dir=load_settings().data_dir)
    with pytest.raises(ConversionError, match="never overwritten"):
        merge(chain.base, chain.adapter, chain.merged)


def test_paths_are_relative_to_where_one_stands(chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_settings().data_dir.resolve()
    monkeypatch.chdir(chain.merged)
    out = to_gguf(Path(), Path(os.path.relpath(tmp_path / "out.gguf")), data_dir=data)
    assert read_container(out).value("general.name") == read_container(chain.bf16).value("general.name")


def test_without_tokenizer_model_nothing_is_converted(chain: Chain, tmp_path: Path) -> None:
    """The trap: the converter would go on with invented scores."""
    folder = shutil.copytree(chain.merged, tmp_path / "merged")
    (folder / "tokenizer.model").unlink()
    with pytest.raises(ConversionError, match=r"no tokenizer\.model"):
        to_gguf(folder, tmp_path / "out.gguf", data_dir=load_settings().data_dir)
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]


def test_the_conversion_copy_repairs_and_leaves_the_folder_alone(chain: Chain, tmp_path: Path) -> None:
    before = (chain.merged / "tokenizer_config.json").read_bytes()
    conversion_copy(chain.merged, tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert config["add_prefix_space"] is False
    assert {token["content"] for token in config["added_tokens_decoder"].values()} >= {"[INST]", "[/INST]"}
    assert (chain.merged / "tokenizer_config.json").read_bytes() == before
    assert (tmp_path / "model.safetensors").is_symlink()


def test_two_templates_are_refused(chain: Chain, tmp_path: Path) -> None:
    folder = shutil.copytree(chain.merged, tmp_path / "merged")
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {"chat_template": "{{ bos_token }}"}
    path.write_text(json.dumps(config), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(V3_TEMPLATE, encoding="utf-8")
    (tmp_path / "copy").mkdir()
    with pytest.raises(ConversionError, match="two chat templates"):
        conversion_copy(folder, tmp_path / "copy")


def test_what_llama_cpp_would_die_of_is_refused_before(chain: Chain, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(chain.bf16.read_bytes()[:-500])
    with pytest.raises(ConversionError, match="ends at byte"):
        quantize(broken, tmp_path / "out.gguf", "Q8_0")
    with pytest.raises(ConversionError, match="is missing"):
        quantize(tmp_path / "none.gguf", tmp_path / "out.gguf", "Q8_0")
    with pytest.raises(ConversionError, match="Did you mean 'Q4_K_M'"):
        quantize(chain.bf16, tmp_path / "out.gguf", "q4_k_m")
    with pytest.raises(ConversionError, match="could not quantise"):  # rounding a rounded file needs a request
        quantize(chain.q8, tmp_path / "out.gguf", "Q4_0")
    assert {"Q8_0", "Q4_K_M", "Q6_K"} <= set(schemes())
    assert not (tmp_path / "out.gguf").exists()


def test_a_folder_that_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"config\.json is missing"):
        to_gguf(tmp_path, tmp_path / "out.gguf", data_dir=tmp_path)
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConversionError, match=r"tokenizer\.json is missing"):
        to_gguf(tmp_path, tmp_path / "out.gguf", data_dir=tmp_path)
