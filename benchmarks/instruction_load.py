"""Simulated writers for the instruction server: a server of its own process, and agents that write as far as it checks.

Knows the routes and what a succession text has to say; measures how long an answer takes, and judges nothing.
"""

import asyncio
import json
import random
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from corpus.check import plain
from corpus.domains.succession.said import ways
from corpus.server.targets import from_toon
from corpus.server.workshop import MOST_REJECTS
from errors import CorpusError

ROOT = Path(__file__).parents[1]
EXPIRED, REJECTED = 0.08, 0.10  # of the instructions
CODE = re.compile(r"_|^[A-Z]{1,2}[0-9]+$")  # a word of the target that no text may hold
BAD_TEXT = "Je ne sais pas."
SALT_WORDS = 30  # of a text: what makes it unlike the others


@cache
def vocabulary() -> tuple[str, ...]:
    """Return plain words of our own dialogues."""
    text = (ROOT / "data" / "dialogues" / "kant.jsonl").read_text(encoding="utf-8")
    return tuple(sorted({word for word in plain(text).split() if 4 <= len(word) <= 9 and word.isalpha()}))


def case_text(target: Any, chance: random.Random) -> str:
    """Return a text that says a succession target, in words no better than it takes, unlike the others."""
    pieces = list(_said(target))
    pieces += [f"et le {word}" for word in chance.sample(vocabulary(), SALT_WORDS)]
    chance.shuffle(pieces)
    return ", ".join(pieces) + "."


def _said(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _said(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _said(inner, key)
    elif isinstance(value, str) and (said := ways(key, value)) is not None:
        yield said.partition("|")[0]
    elif not isinstance(value, bool) and not CODE.search(str(value)):
        yield f"de {value}"


class Line:
    """One kept connection that times each answer; a client library would take longer than the server."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> "Line":
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def post(self, path: str, body: Mapping[str, Any]) -> tuple[dict[str, Any], float]:
        """Return what was answered, and after how many milliseconds.

        Raises:
            OSError: The server is gone.
        """
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nContent-Type: application/json\r\n"
        began = time.perf_counter()
        self._writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        await self._writer.drain()
        try:
            header = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = int(header.split("content-length:")[1].split("\r\n")[0])
            answer = await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, IndexError):
            raise ConnectionResetError("the server is gone") from None
        return json.loads(answer), 1000 * (time.perf_counter() - began)


@contextmanager
def serving(arguments: Sequence[str]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run a server of its own process on a free port; it is killed in the end if it still runs.

    Raises:
        CorpusError: It does not answer.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "corpus", "serve", "--port", str(port), *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
    try:
        until = time.monotonic() + 60
        while True:
            with suppress(httpx.TransportError):
                httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False)
                break
            if process.poll() is not None or time.monotonic() > until:
                said = process.stderr.read().decode() if process.stderr and process.poll() is not None else ""
                raise CorpusError(f"the server does not start: {said}")
            time.sleep(0.02)
        yield process, port
    finally:
        process.kill()
        process.communicate()


@dataclass
class Seen:
    """What the writers saw.

    Attributes:
        issue_ms: How long each new instruction took, in milliseconds.
        submit_ms: The same for each text.
        accepted: Instructions whose acceptance was acknowledged.
        promised: Set once there is one.
        issued: Instructions that were handed out.
        answers: Verdicts by status.
        reasons: Why good texts were refused, which none should be.
    """

    issue_ms: list[float] = field(default_factory=list)
    submit_ms: list[float] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    promised: asyncio.Event = field(default_factory=asyncio.Event)
    issued: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)


def desk() -> ProcessPoolExecutor:
    """Return a process that makes the texts: made among the writers, they would hold up the others' clocks."""
    return ProcessPoolExecutor(1)


def _written(target_toon: str, seed: str) -> str:
    return case_text(from_toon(target_toon), random.Random(seed))  # noqa: S311  a rehearsal, not a secret


async def write(
    port: int, name: str, seen: Seen, *, think_s: float, seed: int, texts: Executor, faults: bool = True
) -> None:
    """Be one writer until everything is done, or the server is gone.

    Args:
        port: Of the server.
        name: Of the writer; after a lease that ran out it comes back under another one, as a restarted agent does.
        seen: Is added to.
        think_s: Seconds that a text takes, on average.
        seed: Of its fates and texts.
        texts: Makes them; see `desk`.
        faults: Whether it lets leases run out and writes badly.
    """
    chance = random.Random(f"{name}:{seed}")  # noqa: S311  a rehearsal, not a secret
    lives = 0
    with suppress(OSError):
        async with Line(port) as line:
            while True:
                agent = f"{name}-{lives}"
                given, took = await line.post("/next-instruction", {"agent_id": agent})
                if given["state"] == "done":
                    return
                if given["state"] == "all_handed_out":
                    await asyncio.sleep(0.2)
                    continue
                seen.issue_ms.append(took)
                seen.issued.append(given["instruction_id"])
                await asyncio.sleep(chance.uniform(0, 2 * think_s))
                fate = chance.random() if faults else 1.0
                if fate < EXPIRED:
                    lives += 1
                    continue
                bad = EXPIRED <= fate < EXPIRED + REJECTED
                text = BAD_TEXT
                if not bad:
                    loop, salt = asyncio.get_running_loop(), f"{agent}:{given['instruction_id']}"
                    text = await loop.run_in_executor(texts, _written, given["target_toon"], salt)
                await _send(line, agent, given["instruction_id"], text, seen)


async def _send(line: Line, agent: str, name: str, text: str, seen: Seen) -> None:
    """Send a text until it is taken, or refused for good."""
    for number in range(MOST_REJECTS):
        sent = text if text != BAD_TEXT else f"{text} {number}"  # the same text again uses up no attempt
        body = {"instruction_id": name, "agent_id": agent, "case_text": sent}
        told, took = await line.post("/submit-case", body)
        seen.submit_ms.append(took)
        seen.answers[told.get("status", told.get("error", {}).get("code", "?"))] += 1
        if told.get("status") == "accepted":
            seen.accepted.append(name)
            seen.promised.set()
        if told.get("status") != "rejected":
            return
        if text != BAD_TEXT:
            seen.reasons.update(f"{one['code']}: {one['path']}: {one['message']}" for one in told["findings"])
