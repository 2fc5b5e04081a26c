"""Fixtures of the conversion room: the miniature base of `tiny.py`, its kept pieces, an adapter for it."""

from pathlib import Path

import pytest

from conversion.vocabulary import choose_pieces
from tests.conversion.tiny import FRENCH, Source, make_parts, use_index, write_adapter, write_tiny_base


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Source:
    folder = tmp_path_factory.mktemp("tiny-base")
    path = write_tiny_base(folder / "tiny.gguf")
    return Source(path, make_parts(path, folder / "index"), folder / "index")


@pytest.fixture(scope="session")
def tiny_kept(tiny: Source) -> list[int]:
    return choose_pieces(tiny.path, [], own=FRENCH.splitlines())


@pytest.fixture(scope="session")
def tiny_adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapter(tmp_path_factory.mktemp("adapter") / "adapter")


@pytest.fixture
def index(tiny: Source, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip, in the processes we start, sees the packages of the miniature base and nothing else."""
    use_index(monkeypatch, tiny.index)
    return tiny.index
