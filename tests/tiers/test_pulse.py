"""A stream with a pulse: in order, with its errors, closed with its reader, and ahead of it only as far as allowed."""

import asyncio
import gc
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any

import pytest

from tests.serving import wait_until
from tiers.pulse import pulsed


class Source:
    """Yields numbers, and knows how far it was asked and whether it was closed."""

    def __init__(self, n: int, *, pause_s: float = 0.0, error: Exception | None = None) -> None:
        self.n, self.pause_s, self.error = n, pause_s, error
        self.asked = 0
        self.closed = False

    async def stream(self) -> AsyncGenerator[int, None]:
        try:
            for number in range(self.n):
                self.asked = number + 1
                await asyncio.sleep(self.pause_s)
                yield number
            if self.error:
                raise self.error
        finally:
            self.closed = True


async def read(source: Source, every_s: float = 5.0, **options: Any) -> list[int | None]:
    async with aclosing(pulsed(source.stream(), every_s, **options)) as moments:
        return [moment async for moment in moments]


@pytest.mark.parametrize("ahead", [0, 1, 3, 100])
async def test_everything_comes_in_order(ahead: int) -> None:
    source = Source(20)
    assert await read(source, ahead=ahead) == list(range(20))
    assert source.closed
    assert await read(Source(0), ahead=ahead) == []


@pytest.mark.parametrize("ahead", [0, 4])
async def test_silence_has_a_pulse(ahead: int) -> None:
    said = await read(Source(2, pause_s=0.4), every_s=0.01, ahead=ahead)
    assert [moment for moment in said if moment is not None] == [0, 1]
    assert said.count(None) >= 4
    assert said[0] is None


@pytest.mark.parametrize("ahead", [0, 4])
async def test_an_error_comes_after_what_was_before_it(ahead: int) -> None:
    moments = pulsed(Source(3, error=ValueError("broken")).stream(), 1.0, ahead=ahead)
    for expected in range(3):
        assert await anext(moments) == expected
        await asyncio.sleep(0.001)
    with pytest.raises(ValueError, match="broken"):
        await anext(moments)


@pytest.mark.parametrize(("ahead", "asked"), [(0, 1), (2, 4)])
async def test_it_runs_ahead_as_far_as_it_may_and_no_further(ahead: int, asked: int) -> None:
    source = Source(50)
    async with aclosing(pulsed(source.stream(), 5.0, ahead=ahead)) as moments:
        await anext(moments)
        await asyncio.sleep(0.02)
        assert ahead < source.asked <= asked
        assert not source.closed
    assert source.closed


@pytest.mark.parametrize("ahead", [0, 4])
@pytest.mark.parametrize("n_read", [0, 1, 3])
async def test_closing_closes_the_source_wherever_it_is(ahead: int, n_read: int) -> None:
    source = Source(1_000, pause_s=0.001)
    moments = pulsed(source.stream(), 5.0, ahead=ahead)
    for _ in range(n_read):
        await anext(moments)
    await moments.aclose()
    assert source.closed is (n_read > 0)


async def test_a_cancelled_reader_closes_the_source() -> None:
    source = Source(5, pause_s=60.0)
    task = asyncio.create_task(read(source))
    await asyncio.to_thread(wait_until, lambda: bool(source.asked))
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert source.closed


async def test_an_error_that_nobody_stayed_for_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    moments = pulsed(Source(2, error=ValueError("broken")).stream(), 5.0, ahead=5)
    await anext(moments)
    await asyncio.sleep(0.01)
    await moments.aclose()
    del moments
    gc.collect()
    await asyncio.sleep(0)
    assert caplog.text == ""


async def test_many_events_leave_nothing_behind() -> None:
    before = len(asyncio.all_tasks())
    assert len(await read(Source(5_000), ahead=8)) == 5_000
    assert len(asyncio.all_tasks()) == before
