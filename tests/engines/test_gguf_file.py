"""Headers: what a file is, and which files are no chat model."""

import struct
import tracemalloc
from contextlib import suppress
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.gguf_file import check_chat_model, inspect
from errors import ModelUnfit


def test_header_of_a_chat_model(tiny_gguf: Path) -> None:
    info = inspect(tiny_gguf)
    assert (info.architecture, info.name, info.kind, info.tokenizer) == ("llama", "tiny", "model", "llama")
    assert info.n_ctx_train == 8192
    assert info.control_tokens == ("<s>", "</s>", "[INST]", "[/INST]")
    assert info.chat_template is not None
    assert "[INST]" in info.chat_template
    assert info.n_bytes == info.n_bytes_expected == tiny_gguf.stat().st_size


def test_our_reader_and_the_package_agree(tiny_gguf: Path) -> None:
    ours, theirs = inspect(tiny_gguf), gguf.GGUFReader(tiny_gguf)
    assert [(t.name, t.n_bytes) for t in ours.tensors] == [(t.name, t.n_bytes) for t in theirs.tensors]
    assert ours.n_params == sum(int(t.n_elements) for t in theirs.tensors)


@pytest.mark.parametrize(
    ("fixture", "code", "said"),
    [
        ("embedder_gguf", "model_not_chat", "embedder"),
        ("vocab_gguf", "model_not_chat", "vocabulary"),
        ("truncated_gguf", "model_corrupt", "truncated"),
        ("garbage_gguf", "model_corrupt", "does not begin with GGUF"),
    ],
)
def test_files_that_are_no_chat_model(fixture: str, code: str, said: str, request: pytest.FixtureRequest) -> None:
    with pytest.raises(ModelUnfit, match=said) as caught:
        check_chat_model(request.getfixturevalue(fixture))
    assert caught.value.code == code


@pytest.mark.parametrize("name", ["absent.gguf", "."])
def test_missing_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelUnfit) as caught:
        check_chat_model(tmp_path / name)
    assert caught.value.code == "model_missing"


def test_a_pooling_llama_is_an_embedder_and_a_blockless_one_no_model(tmp_path: Path) -> None:
    for name, tensor, pooling in (("pool", "token_embd.weight", 3), ("bare", "output.weight", 0)):
        writer = gguf.GGUFWriter(tmp_path / name, "llama")
        writer.add_pooling_type(gguf.PoolingType(pooling))
        writer.add_tokenizer_model("llama")
        writer.add_tensor(tensor, np.zeros((4, 32), np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        with pytest.raises(ModelUnfit) as caught:
            check_chat_model(tmp_path / name)
        assert caught.value.code == "model_not_chat"


@pytest.mark.parametrize("length", [0, 3, 4, 8, 23, 24, 100, 5000])
def test_any_truncation_of_the_header_is_named(tiny_gguf: Path, tmp_path: Path, length: int) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(tiny_gguf.read_bytes()[:length])
    with pytest.raises(ModelUnfit) as caught:
        check_chat_model(path)
    assert caught.value.code == "model_corrupt"


def test_announced_sizes_beyond_the_file_are_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "huge.gguf"
    key = struct.pack("<Q", 1) + b"k" + struct.pack("<IIQ", 9, 8, 2**60)  # an array of 2^60 strings
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + key)
    with pytest.raises(ModelUnfit, match="damaged"):
        inspect(path)


def _with_value(source: Path, key: bytes, form: str, value: object) -> bytes:
    """The file with the number that follows `key` (and its type) replaced."""
    data = bytearray(source.read_bytes())
    struct.pack_into(form, data, data.index(key) + len(key) + 4, value)
    return bytes(data)


def test_layers_without_end_cost_no_memory(tiny_gguf: Path, tmp_path: Path) -> None:
    path = tmp_path / "layers.gguf"
    path.write_bytes(_with_value(tiny_gguf, b"llama.block_count", "<I", 2**32 - 1))
    tracemalloc.start()
    try:
        assert inspect(path).cache_bytes_per_token > 2**32
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        pytest.param(4, struct.pack("<I", 0), id="no alignment"),
        pytest.param(9, struct.pack("<IQI", 4, 1, 32), id="an array for a number"),
        pytest.param(9, struct.pack("<IQ", 9, 1) * 5000, id="arrays in arrays"),
    ],
)
def test_values_that_make_no_sense_are_refused(tmp_path: Path, kind: int, value: bytes) -> None:
    key = b"general.alignment"
    path = tmp_path / "odd.gguf"
    entry = struct.pack("<Q", len(key)) + key + struct.pack("<I", kind) + value
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + entry)
    with pytest.raises(ModelUnfit, match="damaged"):
        inspect(path)


@settings(max_examples=60)
@given(st.integers(4, 12_000), st.integers(0, 255))
def test_a_changed_byte_is_read_or_refused(tiny_gguf: Path, at: int, byte: int) -> None:
    data = bytearray(tiny_gguf.read_bytes())
    data[at] = byte
    path = tiny_gguf.with_name("changed.gguf")
    path.write_bytes(data)
    with suppress(ModelUnfit):
        inspect(path)
