"""Saved system prompts: only what is whole and of this model is ever used."""

import os
from pathlib import Path

import numpy as np
import pytest

from engines.gguf_file import inspect
from engines.prefix_files import KEPT, PrefixFiles, model_key

IDS = (1, 5, 9)
STATE = np.arange(1000, dtype=np.uint8)


@pytest.fixture
def files(tmp_path: Path) -> PrefixFiles:
    return PrefixFiles(tmp_path / "prefixes", "k" * 32)


def test_a_state_comes_back(files: PrefixFiles) -> None:
    assert files.load(IDS) is None
    files.save(IDS, STATE)
    found = files.load(IDS)
    assert found is not None
    np.testing.assert_array_equal(found, STATE)
    assert files.load((1, 5)) is None


@pytest.mark.parametrize("harm", ["torn", "bit", "longer", "empty", "other model", "other ids", "garbage"])
def test_what_is_damaged_or_foreign_is_removed(files: PrefixFiles, harm: str, caplog: pytest.LogCaptureFixture) -> None:
    files.save(IDS, STATE)
    path = files.path(IDS)
    data = path.read_bytes()
    flipped = data[:-10] + bytes([data[-10] ^ 1]) + data[-9:]
    path.write_bytes(
        {
            "torn": data[: len(data) // 2],
            "bit": flipped,
            "longer": data + b"x",
            "empty": b"",
            "other model": data.replace(b"k" * 32, b"m" * 32),
            "other ids": data,
            "garbage": bytes(500),
        }[harm]
    )
    ids = IDS
    if harm == "other ids":  # two prompts whose names collide
        ids = (1, 5, 10)
        path.rename(files.path(ids))
    assert files.load(ids) is None
    assert not files.path(ids).exists()
    assert "made again" in caplog.text
    files.save(ids, STATE)
    assert files.load(ids) is not None


def test_a_disk_that_takes_nothing_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "prefixes").write_text("a file where the folder should be")
    files = PrefixFiles(tmp_path / "prefixes", "k" * 32)
    files.save(IDS, STATE)
    assert "cannot be written" in caplog.text
    assert files.load(IDS) is None


def test_files_of_somebody_else_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = PrefixFiles(Path(), "k" * 32)
    files.save(IDS, STATE)
    files.path((2,)).write_bytes(b"damaged")
    tmp_path.chmod(0o555)
    user = os.geteuid()
    os.seteuid(user or 65534)  # root may write everywhere
    try:
        assert [files.load(ids) is None for ids in (IDS, (2,))] == [False, True]
    finally:
        os.seteuid(user)


def test_a_full_disk_leaves_nothing_half_written(files: PrefixFiles, caplog: pytest.LogCaptureFixture) -> None:
    folder = files.path(IDS).parent
    folder.mkdir()
    files.path(IDS).with_suffix(f".{os.getpid()}.partial").symlink_to("/dev/full")
    files.save(IDS, STATE)
    assert "cannot be written" in caplog.text
    assert list(folder.iterdir()) == []


def test_what_a_killed_process_left_goes_after_an_hour(files: PrefixFiles) -> None:
    files.save(IDS, STATE)
    old, young = (files.path(IDS).with_suffix(f".{pid}.partial") for pid in (1, 2))
    old.touch()
    young.touch()
    os.utime(old, (0, 0))
    files.save(IDS, STATE)
    assert (old.exists(), young.exists()) == (False, True)


def test_the_oldest_files_go(files: PrefixFiles) -> None:
    for number in range(KEPT + 3):
        files.save((number,), STATE)
        os.utime(files.path((number,)), (number, number))
    files.save((999,), STATE)
    names = {path.name for path in files.path(IDS).parent.iterdir()}
    assert len(names) == KEPT
    assert files.path((999,)).name in names
    assert files.path((0,)).name not in names


def test_the_key_follows_every_tensor_and_the_settings(tmp_path: Path, tiny_gguf: Path) -> None:
    offsets = [tensor.offset for tensor in inspect(tiny_gguf).tensors]
    first = tmp_path / "a.gguf"
    first.write_bytes(tiny_gguf.read_bytes())
    key = model_key(first, offsets, cache="f16")
    assert key == model_key(first, offsets, cache="f16")
    assert key != model_key(first, offsets, cache="q8_0")
    for offset in offsets:  # a training may change one kind of tensor alone
        changed = bytearray(tiny_gguf.read_bytes())
        changed[offset] ^= 1
        first.write_bytes(changed)
        assert key != model_key(first, offsets, cache="f16")
    small = tmp_path / "b.gguf"
    small.write_bytes(b"GGUF")
    assert model_key(small, []) != model_key(first, [])
