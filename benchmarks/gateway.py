"""What the gateway adds over its engine alone: to the first token, and to eight answers at once; the search included.

    python -m benchmarks.gateway --out benchmarks/results/gateway.json

The engine is one that follows a script at the pace of a GPU elsewhere (it takes no processor time here), so that what
is measured is ours: token, body, ledger, search, prompt, events, client. Direct and through the gateway are asked in
turn, in one run. A page is asked the whole way: the premium tier's client, and the gateway in a process of its own.
Four questions come again and again, as in a talk, so their vectors are remembered; `first_token_new_question` asks what
was never asked before, and stands beside the bounds. Exit status 1 where a bound is exceeded.
"""

import asyncio
import hashlib
import json
import logging
import multiprocessing
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from decimal import Decimal
from pathlib import Path
from statistics import median, quantiles
from typing import Annotated, Any

import httpx
import typer
import uvicorn

from benchmarks.machine import save
from cli import run_commands
from dialogue.conversation import Conversation, Turn
from engines.base import Engine, SamplingParams, Token
from engines.testing import ScriptedEngine
from personas import PERSONAS
from service.gateway import gateway
from tiers.account import LedgerAccount
from tiers.base import Token as TierToken
from tiers.base import User
from tiers.budget import Price
from tiers.cited import CitedTier, Reading
from tiers.ledger import Ledger
from tiers.local import notes_searcher
from tiers.opening import limits_of
from tiers.premium import PremiumTier
from tiers.seal import Seal
from tiers.store import Store

SECRET = "only for the length of this measurement"  # noqa: S105 - protects nothing
FIRST_TOKEN_MS, THROUGHPUT_SHARE = 15.0, 0.03
PACE_S = 0.02  # 50 tokens a second: a 14B on an A10
WORD = Token("mot ")
SHORT = (WORD,) * 4
QUESTIONS = (
    "Est-ce que mentir par humanité est contraire au devoir ?",
    "Peut-on être libre en obéissant à la loi morale ?",
    "Que puis-je connaître de la réalité en elle-même ?",
    "Pourquoi la dignité n'a-t-elle pas de prix ?",
)


def asked(n: int, *, new: bool = False) -> Conversation:
    """Return a question that waits for its answer; a `new` one is no other's, so that its vector is not remembered."""
    kant, question = PERSONAS["kant"], QUESTIONS[n % len(QUESTIONS)]
    said = f"Pour la leçon {n} : {question[0].lower()}{question[1:]}" if new else question
    return Conversation(kant, (Turn("assistant", kant.opening), Turn("user", said)))


async def direct(engine: Engine, n_tokens: int) -> tuple[float, float]:
    """Ask the engine; return seconds to the first token and to the end."""
    began, first = time.perf_counter(), 0.0
    params = SamplingParams(max_tokens=n_tokens)
    async with aclosing(engine.stream([{"role": "user", "content": QUESTIONS[0]}], params)) as events:
        async for event in events:
            first = first or (time.perf_counter() - began if isinstance(event, Token) else 0.0)
    return first, time.perf_counter() - began


async def through(tier: PremiumTier, n: int, person: str, *, new: bool = False) -> tuple[float, float]:
    """Ask the gateway as the page does; return the same two times."""
    began, first = time.perf_counter(), 0.0
    async with aclosing(tier.stream(asked(n, new=new), User(f"tab-{n}", person=person))) as events:
        async for event in events:
            first = first or (time.perf_counter() - began if isinstance(event, TierToken) else 0.0)
    return first, time.perf_counter() - began


def key(n: int) -> str:
    """Return a pseudonym."""
    return hashlib.sha256(str(n).encode()).hexdigest()


def serve(listener: socket.socket, script: tuple[Token, ...], data_dir: Path, folder: Path) -> None:
    """Serve the gateway over an engine that says `script`, with the notes and a ledger on disk, until killed."""
    tier = CitedTier(paced(script), notes_searcher(data_dir), Reading(n_ctx=8192), model="paced")
    limits = limits_of(Decimal(10_000), Decimal(10_000), Decimal("1.48"))
    store = Store(f"sqlite:///{folder}/gateway-{len(script)}.sqlite")
    account = LedgerAccount(Ledger(store, limits), store, limits)
    app = gateway(tier, seal=Seal(SECRET), account=account, price=Price(Decimal("1.48")))
    uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off")).run([listener])


@contextmanager
def served(script: tuple[Token, ...], data_dir: Path, folder: Path) -> Iterator[str]:
    """Run `serve` as a process of its own; give its address once it answers."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    arguments = (listener, script, data_dir, folder)
    process = multiprocessing.get_context("spawn").Process(target=serve, args=arguments)
    process.start()
    try:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.listen()  # the process accepts; whoever comes before it is there waits
        httpx.get(f"{url}/health", timeout=60)
        yield url
    finally:
        process.kill()
        process.join()
        listener.close()


def paced(script: tuple[Token, ...]) -> ScriptedEngine:
    """Return an engine that says a script at the pace of a GPU."""
    return ScriptedEngine(*script, pause_s=PACE_S)


async def first_tokens(engine: Engine, tier: PremiumTier, n: int, *, new: bool = False) -> dict[str, Any]:
    """Ask both in turn, one answer at a time."""
    alone, behind = [], []
    await through(tier, 0, key(0))  # connections and caches as they are after the first pupil
    for i in range(n):
        alone.append((await direct(engine, 8))[0])
        behind.append((await through(tier, i, key(i), new=new))[0])
    added = [1000 * (b - a) for a, b in zip(alone, behind, strict=True)]
    return {"answers": n, "added_ms": {"p50": round(median(added), 2), "p90": round(quantiles(added, n=10)[8], 2),
                                       "longest": round(max(added), 2)}}  # fmt: skip


async def throughput(engine: Engine, tier: PremiumTier, n_tokens: int, streams: int, rounds: int) -> dict[str, Any]:
    """Let `streams` pupils ask one question after the other, directly and then through; tokens a second of them all."""

    async def asking(pupil: int, *, behind: bool) -> float:
        """Return the seconds of a pupil's answers; how long it waited before its first question is nobody's loss."""
        await asyncio.sleep(pupil * PACE_S * n_tokens / streams)  # pupils do not press the button at the same moment
        began = time.perf_counter()
        for i in range(rounds):
            await (through(tier, pupil + i, key(pupil)) if behind else direct(engine, n_tokens))
        return time.perf_counter() - began

    rates = []
    for behind in (False, True):
        spent = await asyncio.gather(*(asking(pupil, behind=behind) for pupil in range(streams)))
        rates.append(sum(rounds * n_tokens / seconds for seconds in spent))
    return {"streams": streams, "tokens": n_tokens, "answers": streams * rounds, "alone": round(rates[0], 1),
            "through": round(rates[1], 1), "lost_share": round(1 - rates[1] / rates[0], 4)}  # fmt: skip


async def measure_first_tokens(url: str, n: int) -> dict[str, Any]:
    """Return what is added to the first token, for questions that come again and for new ones."""
    engine, tier = paced(SHORT), PremiumTier(url, Seal(SECRET))
    try:
        return {
            "first_token": await first_tokens(engine, tier, n),
            "first_token_new_question": await first_tokens(engine, tier, n, new=True),
        }
    finally:
        await tier.aclose()


async def measure_throughput(url: str, n_tokens: int, rounds: int) -> dict[str, Any]:
    """Return what eight answers at once lose."""
    tier = PremiumTier(url, Seal(SECRET))
    try:
        return {"throughput": await throughput(paced((WORD,) * n_tokens), tier, n_tokens, 8, rounds)}
    finally:
        await tier.aclose()


def main(
    out: Annotated[Path | None, typer.Option(help="Where the result is written; never over another one.")] = None,
    data_dir: Annotated[Path, typer.Option(help="Where the embedder lies.")] = Path(".data"),
    n: Annotated[int, typer.Option(help="Answers for the first token.")] = 40,
    rounds: Annotated[int, typer.Option(help="Questions of each of eight pupils.")] = 5,
    tokens: Annotated[int, typer.Option(help="Tokens of an answer.")] = 150,
) -> None:
    """Measure what the gateway adds."""
    if out and out.exists():
        raise typer.BadParameter(f"{out} exists; move it away.")
    searcher = notes_searcher(data_dir)
    result: dict[str, Any] = {"search": "hybrid" if searcher and searcher.embedder else "words", "pace_s": PACE_S}
    with tempfile.TemporaryDirectory() as folder:
        with served(SHORT, data_dir, Path(folder)) as url:
            result |= asyncio.run(measure_first_tokens(url, n))
        with served((WORD,) * tokens, data_dir, Path(folder)) as url:
            result |= asyncio.run(measure_throughput(url, tokens, rounds))
    added, lost = result["first_token"]["added_ms"]["p50"], result["throughput"]["lost_share"]
    result["holds"] = added <= FIRST_TOKEN_MS and lost <= THROUGHPUT_SHARE
    print(json.dumps(result, ensure_ascii=False, indent=1))
    if out:
        save(out, result)
    if not result["holds"]:
        raise typer.Exit(1)


if __name__ == "__main__":
    run_commands(main, level=logging.WARNING)
