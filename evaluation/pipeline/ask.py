"""How a step of the pipeline opens its engine and puts the talks to it. Knows engines and runs; compares nothing.

A step without kept keys and values gets a new engine for every talk: what one pupil's prompt left behind would make
the next one's look fast. Opening is on nobody's clock, and neither is the first touch of the weights.
"""

import asyncio
import gc
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dialogue.conversation import Conversation, Turn
from dialogue.evaluation import EvaluationAsk, MarkSplitter, Request, accept, request_for
from dialogue.prompt import Prefix
from engines.base import Aside, ChatMessage, Engine, Finished, SamplingParams, Token, Usage
from engines.open import open_engine
from errors import EngineError
from evaluation.asking import Answer, ask
from evaluation.pipeline.parts import Parts
from evaluation.pipeline.talks import Talk, documents, messages_for, params_for, system_prompts
from evaluation.runs import Sample, hash_of, run_task

AWAKE: list[ChatMessage] = [{"role": "user", "content": "Bonjour."}]
Told = Callable[[Sample], Any]


@dataclass(frozen=True)
class Way:
    """How talks are put to an engine.

    Attributes:
        prefix: Of the persona: "short" for small models.
        condensed: Whether the history is condensed.
        kept: Whether the personas are read ahead, and their keys and values kept from talk to talk.
        max_tokens: Of an answer; None takes the persona's.
        sentences: Whether a cut answer loses its unfinished sentence.
    """

    prefix: Prefix
    condensed: bool = False
    kept: bool = False
    max_tokens: int | None = None
    sentences: bool = True


@dataclass(frozen=True)
class Machine:
    """What engines are opened with.

    Attributes:
        threads: None takes what the machine grants.
        n_ctx: Longest prompt and answer together.
        dtype: Of a checkpoint's weights while it computes: "auto" keeps its own.
        cache: Where the choice of kernels is remembered.
        kernels: See `engines.llama_cpp.LlamaCppEngine`.
    """

    cache: Path
    threads: int | None = None
    n_ctx: int = 4096
    dtype: str = "auto"
    kernels: str = "auto"

    def open(self, model: str, parts: Parts, scheme: str | None = None) -> Engine:
        """Open "adapter", "merged", "float" or "quantised", with nothing kept from an earlier time.

        Raises:
            EngineError: It cannot be opened.
        """
        gc.collect()  # the weights of the step before go with their last reference
        if model in ("adapter", "merged"):
            address = f"{parts.base}+{parts.adapter}" if model == "adapter" else str(parts.merged)
            return open_engine(f"hf:{address}", threads=self.threads, n_ctx=self.n_ctx, dtype=self.dtype)
        shutil.rmtree(self.cache / "prefixes", ignore_errors=True)  # a persona on disk would be a persona kept
        path = parts.float_gguf if model == "float" else parts.quantised[scheme or next(iter(parts.quantised))]
        options = {"n_ctx": self.n_ctx, "cache_dir": self.cache, "kernels": self.kernels}
        return open_engine(f"gguf:{path}", threads=self.threads, **options)


async def awaken(engine: Engine, system_prompts: Sequence[str] = ()) -> None:
    """Touch the weights, and read personas ahead.

    Raises:
        EngineError: The engine cannot answer.
    """
    try:
        await ask(engine, AWAKE, SamplingParams(temperature=0.0, max_tokens=4, seed=1, end_at_sentence=False))
    except EngineError as error:
        if error.code != "answer_empty":  # four tokens may be no word yet: that is awake enough
            raise
    for text in system_prompts:
        await engine.warm(text)


class Asker:
    """Puts one talk after the other, and remembers what its last answer read.

    Args:
        opening: Opens the engine.
        ahead: System prompts that are read ahead; None gives every talk a new engine.
    """

    def __init__(self, opening: Callable[[], Engine], ahead: Sequence[str] | None) -> None:
        self._opening = opening
        self._ahead = ahead
        self._used = False
        self.engine = opening()
        self.last: dict[str, float] = {}

    async def ask(
        self,
        engine: Engine,  # noqa: ARG002  the one of the task may be used up
        messages: Sequence[ChatMessage],
        params: SamplingParams,
        *,
        deadline_s: float | None = None,
    ) -> Answer:
        """See `evaluation.asking.ask`."""
        await self._ready()
        answer = await ask(self.engine, messages, params, deadline_s=deadline_s)
        # A new engine reads the persona for this very talk; that it shares it afterwards makes it no saving.
        self.last = {"cached": 0 if self._ahead is None else answer.cached_tokens, "calls": 1}
        return answer

    async def _ready(self) -> None:
        """Have an engine that may be asked."""
        if self._used and self._ahead is None:
            self.close()
            self.engine = await asyncio.to_thread(self._opening)
            self._used = False
        if not self._used:
            await awaken(self.engine, self._ahead or ())
            self._used = True

    def close(self) -> None:
        """Free the engine."""
        self.engine.close()


def put_talks(
    opening: Callable[[], Engine],
    talks: Sequence[Talk],
    way: Way,
    *,
    renewed: bool = False,
    done: Mapping[str, Sample] | None = None,
    told: Told = lambda _: None,
    evaluate: str | None = None,
) -> list[Sample]:
    """Ask every talk that has no sample yet.

    Args:
        opening: Opens the engine.
        talks: In order.
        way: How they are put.
        renewed: A new engine for each talk.
        done: Samples of an interrupted run.
        told: Told each new sample.
        evaluate: Also evaluate each exchange: "one call" or "two calls".

    Returns:
        A sample for each talk; `metrics` has `cached` and `calls`, and with `evaluate` also `accepted` and `answer_s`.

    Raises:
        EngineError: The engine cannot be opened. What it cannot answer is a failed sample.
    """
    if done is not None and all(one.id in done and done[one.id].error is None for one in talks):
        return [done[one.id] for one in talks]
    ahead = None if renewed else system_prompts(talks, way.prefix) if way.kept else []
    asker = Asker(opening, ahead) if evaluate is None else EvaluatingAsker(opening, ahead, together=evaluate == ONE)

    def count(text: str) -> int:
        return asker.engine.count_tokens([{"role": "user", "content": text}])

    by_id = {talk.id: talk for talk in talks}

    def prompt(document: Any) -> tuple[list[Any], SamplingParams]:
        talk = by_id[document.id]
        messages = messages_for(talk, count, prefix=way.prefix, condensed=way.condensed)
        if isinstance(asker, EvaluatingAsker):
            asker.talks[hash_of(messages)] = talk
        return messages, params_for(talk, prefix=way.prefix, max_tokens=way.max_tokens, sentences=way.sentences)

    names = ("cached", "calls") if evaluate is None else ("cached", "calls", "accepted", "answer_s")
    task = run_task(
        asker.engine, documents(talks, names), prompt, lambda _document, _text: asker.last,
        on_sample=told, done=done, asking=asker.ask,
    )  # fmt: skip
    try:
        return asyncio.run(task)
    finally:
        asker.close()


ONE, TWO = "one call", "two calls"


class EvaluatingAsker(Asker):
    """Asks for an answer and for an evaluation, together or one after the other.

    Args:
        opening: See `Asker`.
        ahead: See `Asker`.
        together: In one call; where it brings no evaluation that is accepted, the second call is made and counted.

    Attributes:
        talks: By the hash of their messages.
    """

    def __init__(self, opening: Callable[[], Engine], ahead: Sequence[str] | None, *, together: bool) -> None:
        super().__init__(opening, ahead)
        self._together = together
        self.talks: dict[str, Talk] = {}

    async def ask(
        self,
        engine: Engine,  # noqa: ARG002
        messages: Sequence[ChatMessage],
        params: SamplingParams,
        *,
        deadline_s: float | None = None,
    ) -> Answer:
        """Return the answer; its seconds and tokens are those of all calls."""
        await self._ready()
        conversation = self.talks[hash_of(messages)].conversation
        request = request_for(conversation, EvaluationAsk("after")) if self._together else None
        asked = params if request is None else replace(params, aside=_aside(request))
        spoken = await speak(self.engine, messages, asked, request.mark if request else None, deadline_s)
        calls, accepted = [spoken], False
        if request is not None:
            accepted = accept(spoken.behind, request.said)[0] is not None
        if not accepted:
            again, accepted = await self._alone(conversation, messages, spoken.text, deadline_s)
            calls += [again] if again else []
        self.last = {
            "calls": len(calls), "accepted": float(accepted), "answer_s": round(spoken.answer_s, 4),
            "cached": sum(one.usage.cached_tokens for one in calls),
        }  # fmt: skip
        return Answer(
            spoken.text, spoken.first_s, sum(one.total_s for one in calls),
            sum(one.usage.completion_tokens for one in calls), sum(one.usage.prompt_tokens for one in calls), "stop",
        )  # fmt: skip

    async def _alone(
        self, conversation: Conversation, messages: Sequence[ChatMessage], answer: str, deadline_s: float | None
    ) -> "tuple[Spoken | None, bool]":
        """Ask for the evaluation in a call of its own."""
        held = Conversation(conversation.persona, (*conversation.turns, Turn("assistant", answer)))
        request = request_for(held, EvaluationAsk("alone"))
        if request is None:  # the pupil said nothing that may be quoted
            return None, False
        asked: list[ChatMessage] = [
            *messages, {"role": "assistant", "content": answer}, {"role": "user", "content": request.message},
        ]  # fmt: skip
        params = SamplingParams(
            temperature=request.temperature, repeat_penalty=1.0, max_tokens=request.max_tokens, seed=1,
            json_schema=request.schema,
        )  # fmt: skip
        spoken = await speak(self.engine, asked, params, None, deadline_s)
        return spoken, accept(spoken.text, request.said)[0] is not None


def _aside(request: Request) -> Aside:
    return Aside(request.mark, request.message, request.schema, request.max_tokens, request.temperature)


@dataclass(frozen=True)
class Spoken:
    """What one call brought.

    Attributes:
        text: Before the mark.
        behind: Behind it; None where no mark came.
        first_s: Seconds to the first text.
        answer_s: Seconds until the answer was over.
        total_s: Seconds until all was.
        usage: What it cost.
    """

    text: str
    behind: str | None
    first_s: float
    answer_s: float
    total_s: float
    usage: Usage


async def speak(
    engine: Engine, messages: Sequence[ChatMessage], params: SamplingParams, mark: str | None, deadline_s: float | None
) -> Spoken:
    """Make one call, its text divided at the mark.

    Raises:
        EngineError: See `Engine.stream`.
    """
    began = time.perf_counter()
    splitter = MarkSplitter(mark) if mark else None
    texts: list[str] = []
    first_s = answer_s = None
    usage = Usage()
    async with aclosing(engine.stream(messages, params, deadline_s=deadline_s)) as events:
        async for event in events:
            if isinstance(event, Token):
                shown = splitter.feed(event.text) if splitter else event.text
                if shown:
                    texts.append(shown)
                    first_s = first_s or time.perf_counter() - began
                if splitter and splitter.behind is not None:
                    answer_s = answer_s or time.perf_counter() - began
            elif isinstance(event, Finished):
                usage = event.usage
    total_s = time.perf_counter() - began
    texts += [splitter.finish()] if splitter else []
    behind = splitter.behind if splitter else None
    return Spoken("".join(texts), behind, first_s or total_s, answer_s or total_s, total_s, usage)
