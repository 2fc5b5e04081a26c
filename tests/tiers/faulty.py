"""A real server that misbehaves in the ways that gateways and their hosts do, one way for each path of life."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from tiers.base import Done, Token, Usage, Warming
from tiers.wire import write_event

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
GOOD = (
    write_event(Token("Oui, ")) + write_event(Token("librement.")) + write_event(Done("stop", Usage(9, 0, 4, gpu_s=2)))
)
Reply = Callable[[asyncio.StreamWriter, bytes], Awaitable[None]]


def status(code: int, head: bytes = b"", body: bytes = b"{}") -> Reply:
    """Answer with a status and a body."""

    async def reply(writer: asyncio.StreamWriter, _request: bytes) -> None:
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n%s\r\n" % (code, len(body), head))
        writer.write(body)
        await writer.drain()

    return reply


def events(*pieces: bytes, pause_s: float = 0.0, head: bytes = HEAD, then_hang: bool = False) -> Reply:
    """Answer with the bytes of a stream, piece by piece, and close."""

    async def reply(writer: asyncio.StreamWriter, _request: bytes) -> None:
        for piece in (head, *pieces):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)
        if then_hang:
            await asyncio.sleep(60)

    return reply


def later(seconds: float) -> Reply:
    """Answer well, after a while."""

    async def reply(writer: asyncio.StreamWriter, _request: bytes) -> None:
        await asyncio.sleep(seconds)
        writer.write(HEAD + GOOD)
        await writer.drain()

    return reply


async def hang(writer: asyncio.StreamWriter, _request: bytes) -> None:
    """Say nothing, for ever."""
    del writer
    await asyncio.sleep(60)


async def slam(writer: asyncio.StreamWriter, _request: bytes) -> None:
    """Close the connection without a word."""
    del writer


async def reset(writer: asyncio.StreamWriter, _request: bytes) -> None:
    """Reset the connection in the middle of a stream."""
    writer.write(HEAD + write_event(Token("Oui, ")))
    await writer.drain()
    await asyncio.sleep(0.05)
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")


async def drip(writer: asyncio.StreamWriter, _request: bytes) -> None:
    """Send a comment's bytes one by one: never silent, never an event."""
    writer.write(HEAD + b": ")
    for _ in range(1000):
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def flood(writer: asyncio.StreamWriter, _request: bytes) -> None:
    """Send one line of 10 MB."""
    writer.write(HEAD + b"data: ")
    with suppress(ConnectionError):
        for _ in range(100):
            writer.write(b"x" * 100_000)
            await writer.drain()


async def wake_for_ever(writer: asyncio.StreamWriter, _request: bytes) -> None:
    """Say that the engine wakes, and go on saying it."""
    writer.write(HEAD)
    for n in range(1000):
        writer.write(write_event(Warming("premium_waking", min(n / 100, 0.9), 30.0)))
        await writer.drain()
        await asyncio.sleep(0.05)


class Faulty:
    """Answers each connection with the next of its replies, and the last one for ever.

    Attributes:
        requests: What was sent by each connection, head and body.
        open: Connections that are open now.
    """

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.requests: list[bytes] = []
        self.open = 0
        self.url = ""

    async def nobody_is_left(self, within_s: float) -> None:
        """Wait until every connection is closed."""
        async with asyncio.timeout(within_s):
            while self.open:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):  # callers who leave are the subject here
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: *(\d+)", head)
                self.requests.append(head + await reader.readexactly(int(length[1]) if length else 0))
                reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
                answering = asyncio.ensure_future(reply(writer, self.requests[-1]))
                gone = asyncio.ensure_future(reader.read())  # returns when the other side closes
                await asyncio.wait({answering, gone}, return_when=asyncio.FIRST_COMPLETED)
                for task in (answering, gone):
                    task.cancel()
                await asyncio.gather(answering, gone, return_exceptions=True)
        finally:
            self.open -= 1
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


@asynccontextmanager
async def faulty(*replies: Reply) -> AsyncIterator[Faulty]:
    """Serve on a port of this machine, within this event loop."""
    one = Faulty(*replies)
    server = await asyncio.start_server(one._serve, "127.0.0.1", 0, limit=2**20)
    one.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield one
    finally:
        server.close()
        await one.nobody_is_left(within_s=20)
