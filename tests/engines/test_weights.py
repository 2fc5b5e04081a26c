"""Downloads from a small local server that speaks the Hub's endpoints, with every way in which they break."""

import hashlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from engines.weights import fetch_from_hub
from errors import SourceError

REPO, NAME = "owner/model", "folder/tiny.gguf"
CONTENT = bytes(range(256)) * 4000  # 1 MB
HUB_CHUNK = 10 * 1024 * 1024  # what huggingface_hub writes at once
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Hub:
    """A Hub with one file. `breaks` says after how many bytes each of the next downloads is cut."""

    content: bytes = CONTENT
    etag: str | None = SHA256
    size: int | None = None
    breaks: list[int] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    honours_ranges: bool = True
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        if self.path != f"/{REPO}/resolve/main/{NAME}":
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
        else:
            self.send_response(200)
            self.send_header("X-Repo-Commit", "a" * 40)
            if self.hub.etag:
                self.send_header("ETag", f'"{self.hub.etag}"')
        self.send_header("Content-Length", str(self.hub.size or len(self.hub.content)))
        self.end_headers()

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.hub.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted and self.hub.honours_ranges else 0
        body = self.hub.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(self.hub.content) - 1}/{len(self.hub.content)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.hub.breaks:
            self.wfile.write(body[: self.hub.breaks.pop(0)])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        else:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    yield hub
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(hub: Hub, cache: Path, told: list[float] | None = None, name: str = NAME) -> Path:
    report = [] if told is None else told
    return fetch_from_hub(REPO, name, cache, report.append, endpoint=hub.url, timeout_s=20.0)


def test_a_file_comes_whole_and_its_progress_is_told(hub: Hub, tmp_path: Path) -> None:
    told: list[float] = []
    path = fetch(hub, tmp_path / "cache", told)
    assert path.name == "tiny.gguf"
    assert path.read_bytes() == CONTENT
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0.0, 1.0)
    assert [p for p in tmp_path.rglob("*.partial")] == []  # noqa: C416


def test_a_file_that_is_there_is_not_fetched_again(hub: Hub, tmp_path: Path) -> None:
    assert fetch(hub, tmp_path) == fetch(hub, tmp_path)
    assert len(hub.ranges) == 1


def test_a_broken_connection_goes_on_where_it_stopped(hub: Hub, tmp_path: Path) -> None:
    hub.content = CONTENT * 12
    hub.etag = hashlib.sha256(hub.content).hexdigest()
    hub.breaks = [11_000_000]
    told: list[float] = []
    assert fetch(hub, tmp_path, told).read_bytes() == hub.content
    assert hub.ranges == [None, f"bytes={HUB_CHUNK}-"]
    assert told == sorted(told)


def test_the_next_call_goes_on_where_the_last_one_stopped(hub: Hub, tmp_path: Path) -> None:
    """As after a stop of the process: what came is on disk."""
    partial = tmp_path / "owner--model" / f"{SHA256}.partial"
    partial.parent.mkdir()
    partial.write_bytes(CONTENT[:700_000])
    told: list[float] = []
    assert fetch(hub, tmp_path, told).read_bytes() == CONTENT
    assert hub.ranges == ["bytes=700000-"]
    assert told[0] == pytest.approx(700_000 / len(CONTENT))


def test_a_server_without_ranges_starts_again(hub: Hub, tmp_path: Path) -> None:
    hub.honours_ranges = False
    hub.breaks = [300_000]
    assert fetch(hub, tmp_path).read_bytes() == CONTENT


def test_a_connection_that_always_breaks_gives_up_and_keeps_what_came(hub: Hub, tmp_path: Path) -> None:
    hub.breaks = [200_000, 0, 0]
    with pytest.raises(SourceError) as caught:
        fetch(hub, tmp_path)
    assert (caught.value.code, caught.value.retryable) == ("source_unreachable", True)
    assert not list(tmp_path.rglob("tiny.gguf"))
    assert fetch(hub, tmp_path).read_bytes() == CONTENT


def test_other_bytes_than_announced_are_thrown_away(hub: Hub, tmp_path: Path) -> None:
    hub.content = CONTENT[:-1] + b"x"
    with pytest.raises(SourceError) as caught:
        fetch(hub, tmp_path)
    assert caught.value.code == "source_corrupt"
    hub.content = CONTENT
    assert fetch(hub, tmp_path).read_bytes() == CONTENT


def test_a_small_file_has_no_sha256_and_still_comes(hub: Hub, tmp_path: Path) -> None:
    hub.etag = "0123456789abcdef0123456789abcdef01234567"
    assert fetch(hub, tmp_path).read_bytes() == CONTENT


def test_a_new_version_is_fetched_and_the_old_one_kept(hub: Hub, tmp_path: Path) -> None:
    old = fetch(hub, tmp_path)
    hub.content = CONTENT[::-1]
    hub.etag = hashlib.sha256(hub.content).hexdigest()
    assert fetch(hub, tmp_path).read_bytes() == CONTENT[::-1]
    assert old.read_bytes() == CONTENT


def test_refused_connection(tmp_path: Path, unused_port: int) -> None:
    with pytest.raises(SourceError) as caught:
        fetch(Hub(url=f"http://127.0.0.1:{unused_port}"), tmp_path)
    assert (caught.value.code, caught.value.retryable) == ("source_unreachable", True)


def test_an_unreachable_hub_leaves_the_copy_in_the_cache(hub: Hub, tmp_path: Path, unused_port: int) -> None:
    path = fetch(hub, tmp_path)
    told: list[float] = []
    assert fetch(Hub(url=f"http://127.0.0.1:{unused_port}"), tmp_path, told) == path
    assert told == [1.0]


def test_a_server_that_never_answers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(SourceError) as caught:
            fetch_from_hub(REPO, NAME, tmp_path, print, endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}",
                           timeout_s=0.3)  # fmt: skip
        assert caught.value.code == "source_unreachable"


def test_a_file_that_the_hub_does_not_have(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"other\.gguf"):
        fetch(hub, tmp_path, name="other.gguf")


def test_a_server_that_is_no_hub(hub: Hub, tmp_path: Path) -> None:
    hub.etag = None
    with pytest.raises(SourceError, match="is it a Hub"):
        fetch(hub, tmp_path)


def test_no_room_is_said_before_anything_is_fetched(hub: Hub, tmp_path: Path) -> None:
    hub.size = 10**16
    with pytest.raises(SourceError) as caught:
        fetch(hub, tmp_path)
    assert caught.value.code == "disk_full"
    assert hub.ranges == []


FULL_DISK = """
import resource, sys
from pathlib import Path
from engines.weights import fetch_from_hub
from errors import SourceError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    fetch_from_hub("owner/model", "folder/tiny.gguf", Path(sys.argv[1]), lambda part: None)
except SourceError as error:
    print(error.code)
"""


def test_a_disk_that_fills_up_while_downloading(hub: Hub, tmp_path: Path) -> None:
    """In a process that may write 100 kB a file; it finds the Hub by HF_ENDPOINT."""
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        env={**os.environ, "HF_ENDPOINT": hub.url, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "disk_full"
    assert not list(tmp_path.rglob("tiny.gguf"))
    assert fetch(hub, tmp_path).read_bytes() == CONTENT  # room again


def test_two_at_once_fetch_once(hub: Hub, tmp_path: Path) -> None:
    paths: list[Path] = []
    threads = [threading.Thread(target=lambda: paths.append(fetch(hub, tmp_path))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 1
    assert len(paths) == 3
    assert len(hub.ranges) == 1


@pytest.fixture
def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port
