"""A stream that is never silent for long: whoever shows it notices in time that nobody looks any more."""

import asyncio
from collections.abc import AsyncGenerator
from typing import TypeVar

T = TypeVar("T")


async def pulsed(events: AsyncGenerator[T, None], every_s: float) -> AsyncGenerator[T | None, None]:
    """Yield what comes, and None whenever `every_s` seconds pass without anything; closing it closes `events`."""
    step: asyncio.Task[T | None] | None = None
    try:
        while True:
            step = asyncio.create_task(_next(events))
            while not (await asyncio.wait({step}, timeout=every_s))[0]:
                yield None
            event = step.result()
            if event is None:
                return
            yield event
    finally:
        if step is not None and not step.done():
            step.cancel()
            await asyncio.wait({step})
        await events.aclose()


async def _next(events: AsyncGenerator[T, None]) -> T | None:
    return await anext(events, None)
