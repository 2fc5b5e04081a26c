"""A model of the tiny shape, and our own server on it, in a process of its own."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks import shapes
from benchmarks.load import Counter, token_counter
from benchmarks.peers import SERVERS, Start, running


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    url: str
    pid: int


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def shape_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shapes") / "tiny-shape.gguf"
    shapes.write("tiny", path)
    return path


@pytest.fixture(scope="session")
def count(shape_gguf: Path) -> Counter:
    return token_counter(shape_gguf)


@pytest.fixture
def start(shape_gguf: Path, tmp_path: Path) -> Start:
    return Start(shape_gguf, free_port(), 1, tmp_path, tmp_path / "cache")


@pytest.fixture(scope="session")
def our_server(shape_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("ours")
    place = Start(shape_gguf, free_port(), 1, folder, folder / "cache")
    url = f"http://127.0.0.1:{place.port}"
    command = [*SERVERS["ours"].command(place), "--queue-size", "8", "--kernels", "tiled"]
    with running(command, url, "/ready", folder / "ours.log") as (pid, _):
        yield Running(url, pid)
