"""Server-sent events over HTTP, and errors that keep their shape. Knows FastAPI; knows no tier and no event."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from service.health import NO_STORE


class EventStream(StreamingResponse):
    """Server-sent events that close their source however the response ends, even before its first byte.

    Args:
        lines: What is sent.
        sources: Generators to close afterwards, in this order, after `lines`.
    """

    def __init__(self, lines: AsyncGenerator[bytes, None], *sources: AsyncGenerator[Any, None]) -> None:
        headers = {"Cache-Control": NO_STORE, "X-Accel-Buffering": "no"}  # a proxy that gathers would show all at once
        super().__init__(lines, media_type="text/event-stream", headers=headers)
        self._closed_after = (lines, *sources)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send, then close."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            for generator in self._closed_after:
                await generator.aclose()


async def read_body(chunks: AsyncIterator[bytes], limit: int) -> bytes | None:
    """Return a request's body; None when it is longer than `limit` bytes, of which no more is read."""
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > limit:
            return None
    return bytes(body)
