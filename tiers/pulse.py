"""A stream that is never silent for long: whoever shows it notices in time that nobody looks any more."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from typing import Generic, TypeVar

T = TypeVar("T")


async def pulsed(events: AsyncGenerator[T, None], every_s: float, *, ahead: int = 0) -> AsyncGenerator[T | None, None]:
    """Yield what comes, and None whenever `every_s` seconds pass without anything; closing it closes `events`.

    Args:
        events: What comes; an error of theirs is raised after what came before it.
        every_s: Seconds of silence.
        ahead: How many events may wait for a slow reader; 0 asks for the next one only when it is wanted.
    """
    shelf: _Shelf[T] = _Shelf(ahead)
    pump = asyncio.create_task(shelf.fill(events))
    try:
        while True:
            if not shelf.events and not pump.done():
                await shelf.wait(every_s)
            if shelf.events:
                yield shelf.take()
            elif pump.done():
                pump.result()  # raises what `events` raised
                return
            else:
                yield None
    finally:
        if pump.cancel():
            await asyncio.wait({pump})
        if not pump.cancelled():
            pump.exception()  # looked at, also where the reader left before it
        await events.aclose()


class _Shelf(Generic[T]):
    """Between one task that fills and one reader: for each event cheaper than a task of its own."""

    def __init__(self, ahead: int) -> None:
        self.events: deque[T] = deque()
        self._ahead = ahead
        self._reader: asyncio.Future[None] | None = None  # while it waits; the same for the filler
        self._filler: asyncio.Future[None] | None = None

    async def fill(self, events: AsyncGenerator[T, None]) -> None:
        """Put what comes, as long as there is room or somebody waits for it."""
        try:
            while True:
                while len(self.events) >= self._ahead and self._reader is None:
                    self._filler = asyncio.get_running_loop().create_future()
                    await self._filler
                try:
                    self.events.append(await anext(events))
                except StopAsyncIteration:
                    return
                _wake(self._reader)
                self._reader = None
        finally:
            _wake(self._reader)

    def take(self) -> T:
        """Return the oldest event; with room again, what fills goes on."""
        event = self.events.popleft()
        if len(self.events) < self._ahead:
            _wake(self._filler)
        return event

    async def wait(self, seconds: float) -> None:
        """Wait for an event or the end of them, at most so long."""
        loop = asyncio.get_running_loop()
        reader = self._reader = loop.create_future()
        _wake(self._filler)
        late = loop.call_later(seconds, _wake, reader)
        try:
            await reader
        finally:
            late.cancel()


def _wake(waiter: "asyncio.Future[None] | None") -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
