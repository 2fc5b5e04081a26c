"""The soak: every fault ends as it should, the server is at rest afterwards, and a leak is seen."""

import asyncio
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from benchmarks.peers import Start
from benchmarks.soak import BURST, MAX_ROWS, Record, Soak, growth, plot, soak_server, thinned, verdict
from tests.benchmarks.conftest import Running


async def test_every_fault_ends_as_it_should_and_leaves_nothing_behind(our_server: Running, shape_gguf: Path) -> None:
    soak = Soak(our_server.url, shape_gguf, 1, seed=3)
    try:
        for fault in (
            soak.closed_tab,
            soak.bad_json,
            soak.wrong_role,
            soak.too_long,
            soak.burst,
            soak.reset,
            soak.killed,
        ):
            await fault()
        await soak._at_rest()
    finally:
        await soak.close()
    ends = soak.record.faults
    assert soak.record.unexpected == []
    assert ends["closed_tab"] == {"closed": 1}
    assert ends["bad_json"] == ends["wrong_role"] == ends["too_long"] == {"400": 1}
    assert ends["burst"].total() == BURST
    assert ends["burst"]["200"] > 0
    assert ends["burst"]["429"] > 0
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{our_server.url}/ready")).status_code == 200


@pytest.mark.proof
def test_a_short_soak_has_answers_samples_and_a_verdict(shape_gguf: Path, start: Start, tmp_path: Path) -> None:
    for seconds in (3, 12, 48):  # a busy machine may need longer for its first answer
        record, said = soak_server(shape_gguf, seconds / 3600, 2, 1, start)
        if record.answers and record.samples:
            break
    assert said["error"] is None
    assert said["unexpected"] == []
    assert record.answers > 0
    assert record.samples[0]["threads"] > 0
    plot(record.samples, tmp_path / "soak.png")
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG")


def test_a_server_that_cannot_start_is_a_verdict(start: Start, shape_gguf: Path, tmp_path: Path) -> None:
    record, said = soak_server(shape_gguf, 0.01, 1, 1, Start(tmp_path / "none.gguf", start.port, 1, tmp_path, tmp_path))
    assert "ended with status 1" in said["error"]
    assert not said["passed"]
    assert record.samples == []


def test_an_interrupted_soak_keeps_what_was_sampled(start: Start, shape_gguf: Path) -> None:
    """Ctrl-C at hour 23: the verdict says so, and the samples are there to be saved."""

    def interrupt() -> None:
        for _ in range(600):
            with suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{start.port}/state").json()["active"]:
                    os.kill(os.getpid(), signal.SIGINT)
                    return
            time.sleep(0.1)

    pressing = threading.Thread(target=interrupt)
    pressing.start()
    record, said = soak_server(shape_gguf, 1.0, 1, 1, start)
    pressing.join()
    assert said["error"].startswith("KeyboardInterrupt")
    assert not said["passed"]
    assert record.samples


async def test_a_reset_that_is_cancelled_closes_its_connection(shape_gguf: Path) -> None:
    """As the soak is stopped in mid-answer: a connection left open would be found by the garbage collector."""
    left = asyncio.Event()
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read to the end of what comes, answer nothing."""
        with suppress(ConnectionError):
            got = await reader.read(2**16)
            while got and not got.endswith(b"}"):
                got = await reader.read(2**16)
            if got:
                asked.set()
                await reader.read()
        if asked.is_set():
            left.set()
        writer.transport.abort()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        soak = Soak(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", shape_gguf, 1, seed=3)
        resetting = asyncio.create_task(soak.reset())
        await asyncio.wait_for(asked.wait(), 20)
        resetting.cancel()
        await asyncio.wait([resetting])
        await asyncio.wait_for(left.wait(), 20)
        await soak.close()


def test_a_thinned_soak_still_says_how_long_it_lasted() -> None:
    samples = [{"seconds": 10.0 * n} for n in range(360)]
    kept = thinned(samples)
    assert len(kept) <= MAX_ROWS + 1
    assert (kept[0], kept[-1]) == (samples[0], samples[-1])
    assert thinned([]) == []


@pytest.mark.parametrize(("each", "leaks"), [(0.0, False), (0.01, False), (1.0, True)])
def test_what_grows_after_the_warm_up_is_a_leak(each: float, leaks: bool) -> None:
    samples = [{"seconds": 10.0 * n, "own_mb": 300.0 + 100 * min(n / 20, 1) + each * n} for n in range(100)]
    assert growth(samples, "own_mb")["leaks"] is leaks


def test_what_no_client_should_see_fails_the_soak() -> None:
    record = Record(samples=[{"seconds": 0.0, "own_mb": 1, "descriptors": 1, "threads": 1, "failures": 0}])
    assert verdict(record, None)["passed"]
    record.note("burst", "500")
    assert not verdict(record, None)["passed"]
    assert verdict(record, None)["unexpected"] == ["burst: 500"]
