"""Importance matrices: computed, written as llama.cpp reads them, told in the file; sizes known beforehand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cli import run_commands
from conversion.__main__ import app
from conversion.container import read_container
from conversion.gguf import to_gguf
from conversion.imatrix import compute_importance
from conversion.imatrix_file import read_importance, write_importance
from conversion.quantize import quantize
from conversion.texts import read_held_out
from errors import ConversionError, SourceError
from settings import load_settings
from tests.conversion.families import held_out, mistral_spm

pytestmark = [pytest.mark.smoke, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mistral_spm(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def bf16(model: Path) -> Path:
    return to_gguf(model, model.parent / "bf16.gguf", data_dir=load_settings().data_dir)


@pytest.fixture(scope="module")
def texts(model: Path) -> Path:
    return held_out(model.parent / "held.jsonl")


@pytest.fixture(scope="module")
def matrix(model: Path, bf16: Path, texts: Path) -> Path:
    return compute_importance(model, bf16, [texts], model.parent / "imatrix.gguf")


def test_the_matrix_is_the_mean_of_squared_inputs(model: Path, matrix: Path, texts: Path) -> None:
    from conversion.reference import HubModel, lay_out

    hub = HubModel(model)
    sums, count = torch.zeros(256), 0
    for laid in lay_out(hub.tokenizer, read_held_out([texts]), hub.ends):
        with torch.no_grad():
            layer = hub.model.model.layers[0]
            inputs = layer.input_layernorm(hub.model.model.embed_tokens(torch.tensor([laid.ids])))
        sums += inputs[0].square().sum(0)
        count += len(laid.ids)
    read = read_importance(matrix)
    for name in ("attn_q", "attn_k", "attn_v"):
        np.testing.assert_allclose(read.values[f"blk.0.{name}.weight"], (sums / count).numpy(), rtol=1e-4)
    assert len(read.values) == 14  # the output matrix is left out, as llama.cpp leaves it
    assert read.chunks == 2


def test_a_quantised_file_tells_its_matrix(bf16: Path, matrix: Path, tmp_path: Path) -> None:
    plain = quantize(bf16, tmp_path / "plain.gguf", "Q4_K_M", threads=1)
    made = quantize(bf16, tmp_path / "weighed.gguf", "Q4_K_M", importance=matrix, threads=1)
    read = read_container(made.path)
    assert read.value("quantize.imatrix.file") == "imatrix.gguf"
    assert read.value("quantize.imatrix.dataset").startswith("held.jsonl sha256:")
    assert (read.value("quantize.imatrix.entries_count"), read.value("quantize.imatrix.chunks_count")) == (14, 2)
    other = read_container(plain.path)
    name = "blk.0.ffn_up.weight"
    assert read.tensors[name].data.tobytes() != other.tensors[name].data.tobytes()
    assert made.importance == "imatrix.gguf"


def test_a_dry_run_knows_the_size_and_writes_nothing(bf16: Path, tmp_path: Path) -> None:
    said = quantize(bf16, tmp_path / "dry.gguf", "Q4_K_M", threads=1, dry_run=True)
    assert list(tmp_path.iterdir()) == []
    made = quantize(bf16, tmp_path / "wet.gguf", "Q4_K_M", threads=1)
    container = read_container(made.path)
    tensors = sum(tensor.data.nbytes for tensor in container.tensors.values())
    assert said.dry_run
    assert abs(said.size_bytes - tensors) < 0.02 * tensors


def test_the_command_computes_no_matrix_in_vain(
    model: Path, bf16: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["quantize", "--gguf", bf16, "--out", tmp_path / "q.gguf", "--calibration", texts, "--model", model]

    def said(kind: str) -> str:
        with pytest.raises(SystemExit):
            run_commands(app, arguments=[*map(str, given), "--type", *kind.split()])
        return "".join(capsys.readouterr())

    assert " MB" in said("Q4_K_M --dry-run")
    assert "Did you mean" in said("Q4_KM")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "q.imatrix.gguf").touch()
    assert "pass it as --imatrix" in said("Q4_K_M")


def test_a_matrix_of_another_model_is_refused(bf16: Path, tmp_path: Path) -> None:
    facts: dict[str, Any] = {"datasets": ["x"], "chunks": 1, "chunk_size": 8, "name": "x", "description": "x"}
    narrow = write_importance(
        tmp_path / "narrow.gguf", {"blk.0.attn_q.weight": np.ones(8, np.float32)}, {"blk.0.attn_q.weight": 4}, **facts
    )
    with pytest.raises(ConversionError, match="computed on another model"):
        quantize(bf16, tmp_path / "out.gguf", "Q4_K_M", importance=narrow)
    with pytest.raises(ConversionError, match="no importance matrix"):
        quantize(bf16, tmp_path / "out.gguf", "Q4_K_M", importance=bf16)
    empty = write_importance(
        tmp_path / "empty.gguf", {"blk.0.attn_q.weight": np.ones(256, np.float32)}, {"blk.0.attn_q.weight": 0}, **facts
    )
    with pytest.raises(ConversionError, match="how many rows"):
        read_importance(empty)
    with pytest.raises(ConversionError, match="never overwritten"):
        write_importance(empty, {}, {}, **facts)
    assert not (tmp_path / "out.gguf").exists()


def test_a_disk_without_room_is_found_before(bf16: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    full = shutil._ntuple_diskusage(10**9, 10**9, 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)  # the standard library's, not ours
    with pytest.raises(SourceError, match="0 MB free"):
        quantize(bf16, tmp_path / "out.gguf", "Q8_0")


def test_float16_is_refused_where_it_overflows(model: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(model, tmp_path / "model"))
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"][0, 0] = 70_000.0
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConversionError, match=r"up_proj\.weight holds 7e\+04, float16 ends at 65504"):
        to_gguf(folder, tmp_path / "f16.gguf", "f16", data_dir=load_settings().data_dir)
    assert not (tmp_path / "f16.gguf").exists()


def test_held_out_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    user, answer = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
    path.write_text(
        '{"messages": [{"role": "user", "content": "a"}]}\n\n{"text": "prose"}\n'
        '{"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]}\n'
    )
    read = read_held_out([path])
    assert read.chats == ((user,), (user, answer))
    assert read.prose == ("prose",)
    for word in ("response", "completion"):
        path.write_text(f'{{"prompt": "a", "{word}": "b"}}')
        assert read_held_out([path]).chats == ((user, answer),)
    path.write_text('{"text": "une ligne\u2028une autre\x85"}', encoding="utf-8")
    assert read_held_out([path]).prose == ("une ligne\u2028une autre\x85",)
    path.write_text('{"text": "prose"}\n{"concept": "a"}')
    with pytest.raises(ConversionError, match=r"rows\.jsonl, line 2 has no messages"):
        read_held_out([path])
    for row in (
        '{"messages": null}',
        '{"messages": [{"role": "user", "content": null}]}',
        '{"messages": [{"role": "assistant", "content": "b"}]}',
        '{"prompt": [{"role": "user", "content": "a"}], "completion": ["text"]}',
    ):
        path.write_text(row)
        with pytest.raises(ConversionError, match=r"rows\.jsonl, line 1 is no chat"):
            read_held_out([path])
    path.write_bytes('{"text": "été"}'.encode("latin-1"))
    with pytest.raises(ConversionError, match="is no UTF-8"):
        read_held_out([path])
    path.write_text("{")
    with pytest.raises(ConversionError, match="line 1 is no JSON"):
        read_held_out([path])
    with pytest.raises(ConversionError, match="is missing"):
        read_held_out([tmp_path / "none.jsonl"])
    (tmp_path / "short.txt").write_text("court\n")
    with pytest.raises(ConversionError, match="no chat and no text"):
        read_held_out([tmp_path / "short.txt"])
