"""`python -m benchmarks.context`: what condensation saves, and what it changes, on twenty talks of ten turns.

The pupils' messages and the answers before the last are those of data/dialogues, joined philosopher by philosopher, so
that both ways are asked the same. Tokens are counted by the model's own vocabulary, for each of the ten prompts of a
talk; the last one is answered both ways, by the likeliest words, and the answers are compared: by their content words,
and by the cosine of the notes' embedder where it is there. Two answers to the same whole prompt, drawn at random, show
how far answers differ anyway.
"""

import asyncio
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.machine import save
from benchmarks.serve import OpenSupply
from benchmarks.texts import rows
from cli import run_commands
from dialogue.conversation import Conversation, Turn
from dialogue.french import likeness
from dialogue.prompt import prefix_for
from dialogue.turn import plan_turn
from engines.base import Engine, Usage
from engines.llama_cpp import LlamaCppEngine
from errors import EngineError
from evaluation.result import sha256_of
from personas import get_persona
from retrieval.embedders import default_embedder
from retrieval.notes import NoteIndex
from tiers.base import AnswerOptions, Done, Token, User
from tiers.free import NOTES, SMALL_LIMITS, FreeTier, notes_for, to_hint

TURNS = 10  # of the pupil
SAVED_GOAL = 0.40
Meaning = Callable[[str, str], float]


def talks(count: int, turns: int = TURNS) -> list[Conversation]:
    """Return conversations of `turns` pupil's turns each, the last one unanswered, the philosophers in turn."""
    exchanges: dict[str, list[dict[str, Any]]] = {}
    for row in rows("dialogues"):
        exchanges.setdefault(row["philosopher"], []).extend(row["exchanges"])
    found: list[Conversation] = []
    while len(found) < count:
        key = list(exchanges)[len(found) % len(exchanges)]
        part = exchanges[key][:turns]
        del exchanges[key][:turns]
        if len(part) < turns:
            raise EngineError(f"data/dialogues has too few exchanges of {key} for {count} talks.")
        said = [turn for one in part for turn in (Turn("user", one["pupil"]), Turn("assistant", one["answer"]))]
        found.append(Conversation(get_persona(key), tuple(said[:-1])))
    return found


def tokens_sent(engine: Engine, index: NoteIndex | None, conversation: Conversation) -> dict[str, int]:
    """Return the tokens of all prompts of a talk, whole and condensed, as a small and as a large model is asked."""
    sent = {"small full": 0, "small condensed": 0, "large full": 0, "large condensed": 0, "large persona": 0}

    def count(text: str) -> int:
        return engine.count_tokens([{"role": "user", "content": text}])

    for end in range(1, len(conversation.turns) + 1, 2):
        plan = plan_turn(Conversation(conversation.persona, conversation.turns[:end]))
        hints = [to_hint(note) for note in notes_for(index, plan.conversation)]
        small = {"hints": hints, "prefix": "short", "told": False}
        for name, how in (
            ("small full", {**small, "limits": None}),
            ("small condensed", {**small, "limits": SMALL_LIMITS}),
            ("large full", {"limits": None}),
            ("large condensed", {}),
        ):
            sent[name] += engine.count_tokens(plan.prompt(count, **how).messages)
        sent["large persona"] += count(conversation.persona.full_prompt)
    return sent


async def answer(tier: FreeTier, conversation: Conversation, options: AnswerOptions) -> tuple[str, Usage]:
    """Return what the tier says, and what it cost."""
    texts: list[str] = []
    usage = Usage()
    async for event in tier.stream(conversation, User("bench"), options):
        match event:
            case Token(text):
                texts.append(text)
            case Done(usage=used):
                usage = used
    return "".join(texts), usage


async def compare(tier: FreeTier, conversation: Conversation, meaning: Meaning) -> dict[str, Any]:
    """Answer a talk's last message with the whole history and condensed, and again at random."""
    full, cost = await answer(tier, conversation, AnswerOptions(temperature=0.0, seed=1, whole_history=True))
    short, less = await answer(tier, conversation, AnswerOptions(temperature=0.0, seed=1))
    first, _ = await answer(tier, conversation, AnswerOptions(seed=2, whole_history=True))
    second, _ = await answer(tier, conversation, AnswerOptions(seed=3, whole_history=True))
    return {
        "prompt_tokens": [cost.prompt_tokens, less.prompt_tokens],
        "first_token_s": [cost.first_token_s, less.first_token_s],
        "total_s": [cost.total_s, less.total_s],
        "words": likeness(full, short),
        "meaning": meaning(full, short),
        "words by chance": likeness(first, second),
        "meaning by chance": meaning(first, second),
        "answers": [full, short],
    }


def summed(sent: Sequence[dict[str, int]]) -> dict[str, float]:
    """Return the tokens of all talks, and the shares that condensation saves."""
    total = {name: float(sum(one[name] for one in sent)) for name in sent[0]}
    said = {kind: total[f"large {kind}"] - total["large persona"] for kind in ("full", "condensed")}
    return total | {
        "small saved": 1 - total["small condensed"] / total["small full"],
        "large saved": 1 - total["large condensed"] / total["large full"],
        "large saved without the persona": 1 - said["condensed"] / said["full"],
    }


def cosine_of(data_dir: Path) -> tuple[Meaning, str]:
    """Return how near two texts are by meaning, and by which embedder; 0 everywhere without one."""
    embedder = default_embedder(data_dir)
    if embedder is None:
        return lambda _one, _other: 0.0, "none"

    def cosine(one: str, other: str) -> float:
        vectors = embedder.passages([one, other])
        return float(np.dot(vectors[0], vectors[1]))

    return cosine, embedder.id.name


def run(
    data_dir: Annotated[Path, typer.Option(help="Where the assembled model lies.")] = Path(".data"),
    out: Annotated[Path, typer.Option(help="Result file.")] = Path("benchmarks/results/context.json"),
    count: Annotated[int, typer.Option("--talks", min=1, help="Talks of ten turns whose tokens are counted.")] = 20,
    answered: Annotated[int, typer.Option(min=1, help="How many of them are answered, both ways.")] = 20,
    threads: Annotated[int, typer.Option(min=1, help="Of the engine.")] = 2,
) -> None:
    """Measure condensation and write the result."""
    model = data_dir / "models" / "bergson-and-friends-demo.gguf"
    engine = LlamaCppEngine(model, threads=threads, n_ctx=8192, kernels="tiled")
    index = NoteIndex.load(NOTES)
    tier = FreeTier(OpenSupply(engine, model), index, deadline_s=600)
    meaning, embedder = cosine_of(data_dir)
    conversations = talks(count)

    async def all_talks() -> list[dict[str, Any]]:
        found = []
        for key in sorted({one.persona.key for one in conversations}):
            await engine.warm(get_persona(key).short_prompt)  # read ahead as on the page: for nobody's clock
        for number, one in enumerate(conversations[:answered], 1):
            found.append(await compare(tier, one, meaning))
            sys.stderr.write(f"{number} of {min(answered, count)}: {found[-1]['prompt_tokens']}\n")
        return found

    try:
        sent = [tokens_sent(engine, index, one) for one in conversations]
        compared = asyncio.run(all_talks())
    finally:
        tier.close()
    middle = {
        name: statistics.median(one[name] for one in compared)
        for name in ("words", "meaning", "words by chance", "meaning by chance")
    } | {
        f"{name} {kind}": statistics.median(one[name][place] for one in compared)
        for name in ("first_token_s", "total_s")
        for place, kind in enumerate(("full", "condensed"))
    }
    total = summed(sent)
    result: dict[str, object] = {
        "model": engine.info.model, "model_sha256": sha256_of(model), "prefix": prefix_for(engine.info.n_params),
        "embedder": embedder, "talks": count, "answered": len(compared), "load": os.getloadavg()[0],
        "turns": TURNS, "goal": SAVED_GOAL, "met": total["small saved"] >= SAVED_GOAL, "tokens": total,
        "medians": middle, "each": compared,
    }  # fmt: skip
    save(out, result)
    sys.stdout.write(f"tokens saved {total['small saved']:.1%}, likeness {middle['words']:.2f} of content words\n")


if __name__ == "__main__":
    run_commands(run)
