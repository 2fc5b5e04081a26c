"""Our reader sees what the `gguf` package's sees, and refuses what is no whole file."""

import struct
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader

from conversion.container import read_container
from errors import ConversionError
from tests.conversion.tiny import Source


def test_the_package_reads_the_same(tiny: Source) -> None:
    ours, theirs = read_container(tiny.path), GGUFReader(tiny.path)
    assert {key: field.value for key, field in ours.fields.items()} == {
        key: field.contents() for key, field in theirs.fields.items() if not key.startswith("GGUF.")
    }
    assert list(ours.tensors) == [tensor.name for tensor in theirs.tensors]
    for tensor in theirs.tensors:
        mine = ours.tensors[tensor.name]
        assert mine.kind is tensor.tensor_type
        assert mine.shape == tuple(reversed(tensor.shape.tolist()))
        np.testing.assert_array_equal(mine.data, tensor.data)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda raw: raw[:-1000], "ends at byte"),
        (lambda raw: raw[:3000], "no whole GGUF"),
        (lambda raw: b"GG", "has 2 bytes"),
        (lambda raw: b"PK\x03\x04" + raw[4:], "no GGUF magic"),
        (lambda raw: raw[:4] + struct.pack("<I", 9) + raw[8:], "GGUF version 9"),
        (lambda raw: raw[:8] + struct.pack("<QQ", 1 << 60, 1 << 60) + raw[24:], "a length of"),
        (lambda raw: b"GGUF" + bytes(40), "GGUF version 0"),
    ],
)
def test_damaged_files_are_refused(tiny: Source, tmp_path: Path, edit: object, said: str) -> None:
    path = tmp_path / "damaged.gguf"
    path.write_bytes(edit(tiny.path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(ConversionError, match=said):
        read_container(path)


def test_a_missing_file_and_a_missing_key_are_named(tiny: Source, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"no\.gguf is missing"):
        read_container(tmp_path / "no.gguf")
    with pytest.raises(ConversionError, match=r"tokenizer\.ggml\.merges"):
        read_container(tiny.path).value("tokenizer.ggml.merges")
