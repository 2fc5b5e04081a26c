"""`python -m benchmarks.chat_plus_eval`: an answer and its evaluation in one call, against one call for each.

Sessions of five exchanges with the pupils' messages of data/dialogues, each held both ways through the tier and by the
model itself, with the same seeds. Where the one call gives no evaluation that can be accepted, the second call is made
and counted, so that both ways end with the same.
"""

import asyncio
import os
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.context import talks
from benchmarks.machine import save
from benchmarks.serve import OpenSupply
from cli import run_commands
from dialogue.conversation import Conversation, Turn
from dialogue.evaluation import EvaluationAsk, digest_of
from engines.base import Usage
from engines.llama_cpp import LlamaCppEngine
from evaluation.result import sha256_of
from retrieval.notes import NoteIndex
from tiers.base import AnswerOptions, Done, Evaluation, Token, User
from tiers.free import NOTES, FreeTier

EXCHANGES = 5
CALLS_GOAL = 0.25


async def call(
    tier: FreeTier, conversation: Conversation, options: AnswerOptions
) -> tuple[str, Evaluation | None, Usage, float]:
    """Return the answer, the evaluation, the cost and the seconds of one call."""
    began = time.perf_counter()
    texts: list[str] = []
    evaluation, usage = None, Usage()
    async for event in tier.stream(conversation, User("bench"), options):
        match event:
            case Token(text):
                texts.append(text)
            case Evaluation():
                evaluation = event
            case Done(usage=used):
                usage = used
    return "".join(texts), evaluation, usage, time.perf_counter() - began


async def session(tier: FreeTier, talk: Conversation, *, together: bool) -> dict[str, Any]:
    """Hold one session; `together` asks for both in one call."""
    said: list[Turn] = []
    digest = None
    calls, seconds, tokens, results = 0, 0.0, 0, Counter[str]()
    for number, turn in enumerate([one for one in talk.turns if one.role == "user"]):
        said.append(turn)
        ask = EvaluationAsk("after", digest) if together else None
        asked = Conversation(talk.persona, tuple(said))
        text, evaluation, usage, took = await call(tier, asked, AnswerOptions(seed=number, evaluation=ask))
        calls, seconds, tokens = calls + 1, seconds + took, tokens + usage.prompt_tokens - usage.cached_tokens
        said.append(Turn("assistant", text))
        if evaluation is None or evaluation.data is None:
            if evaluation is not None:
                results[f"together {evaluation.result}"] += 1
            alone = AnswerOptions(seed=number, evaluation=EvaluationAsk("alone", digest))
            _, evaluation, usage, took = await call(tier, Conversation(talk.persona, tuple(said)), alone)
            calls, seconds, tokens = calls + 1, seconds + took, tokens + usage.prompt_tokens - usage.cached_tokens
        results[evaluation.result if evaluation else "missing"] += 1
        if evaluation is not None and evaluation.data is not None:
            digest = digest_of(evaluation.data)
    return {"calls": calls, "seconds": round(seconds, 3), "tokens_read": tokens, "results": dict(results)}


def run(
    data_dir: Annotated[Path, typer.Option(help="Where the assembled model lies.")] = Path(".data"),
    out: Annotated[Path, typer.Option(help="Result file.")] = Path("benchmarks/results/chat_plus_eval.json"),
    count: Annotated[int, typer.Option("--sessions", min=1, help="How many sessions.")] = 6,
    exchanges: Annotated[int, typer.Option(min=1, help="Of each session.")] = EXCHANGES,
    threads: Annotated[int, typer.Option(min=1, help="Of the engine.")] = 2,
) -> None:
    """Measure both ways and write the result."""
    model = data_dir / "models" / "bergson-and-friends-demo.gguf"
    engine = LlamaCppEngine(model, threads=threads, n_ctx=8192, kernels="tiled")
    tier = FreeTier(OpenSupply(engine, model), NoteIndex.load(NOTES), deadline_s=600, evaluates="model")

    async def all_sessions() -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {"one call": [], "two calls": []}
        await engine.warm(talks(1)[0].persona.short_prompt)  # for nobody's clock
        for number, talk in enumerate(talks(count, exchanges)):
            # Each way goes first in turn: what the first one read is known to the second.
            for together in (True, False) if number % 2 else (False, True):
                found["one call" if together else "two calls"].append(await session(tier, talk, together=together))
            sys.stderr.write(f"{number + 1} of {count}\n")
        return found

    try:
        found = asyncio.run(all_sessions())
    finally:
        tier.close()
    calls = {name: sum(one["calls"] for one in each) for name, each in found.items()}
    seconds = {name: statistics.median(one["seconds"] for one in each) for name, each in found.items()}
    held = count * exchanges
    alone = 1 - (calls["one call"] - held) / held
    saved = 1 - calls["one call"] / calls["two calls"]
    result: dict[str, object] = {
        "model": engine.info.model, "model_sha256": sha256_of(model), "sessions": count, "exchanges": exchanges,
        "load": os.getloadavg()[0], "calls": calls,
        "calls_saved": saved, "goal": CALLS_GOAL, "met": saved >= CALLS_GOAL, "one call was enough": alone,
        "seconds_per_session": seconds, "time_saved": 1 - seconds["one call"] / seconds["two calls"], "each": found,
    }  # fmt: skip
    save(out, result)
    sys.stdout.write(
        f"calls saved {saved:.1%}, one call enough in {alone:.0%}, time saved {result['time_saved']:.1%}\n"
    )


if __name__ == "__main__":
    run_commands(run)
