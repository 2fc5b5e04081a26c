"""One question to an engine, timed. Knows the `Engine` protocol alone."""

import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from engines.base import ChatMessage, Engine, Finished, FinishReason, SamplingParams, Token


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        text: The whole answer.
        first_token_s: Seconds from the call to the first text, as a pupil waits for it.
        total_s: Seconds from the call to the end.
        tokens: Tokens sampled.
        prompt_tokens: Length of the prompt.
        reason: Why it ended.
        cached_tokens: How many tokens of the prompt were known and not read again.
    """

    text: str
    first_token_s: float
    total_s: float
    tokens: int
    prompt_tokens: int
    reason: FinishReason
    cached_tokens: int = 0


async def ask(
    engine: Engine, messages: Sequence[ChatMessage], params: SamplingParams, *, deadline_s: float | None = None
) -> Answer:
    """Ask and wait for the whole answer.

    Raises:
        EngineError: The engine refused or stopped, or let the deadline pass before its first word.
    """
    began = time.perf_counter()
    first: float | None = None
    texts: list[str] = []
    reason: FinishReason = "stop"
    tokens = prompt_tokens = cached = 0
    async with aclosing(engine.stream(messages, params, deadline_s=deadline_s)) as events:
        async for event in events:
            match event:
                case Token(text):
                    first = first if first is not None else time.perf_counter() - began
                    texts.append(text)
                case Finished(reason, usage):
                    tokens, prompt_tokens, cached = usage.completion_tokens, usage.prompt_tokens, usage.cached_tokens
                case _:
                    pass  # a place in the queue: this program is alone
    total = time.perf_counter() - began
    return Answer("".join(texts), total if first is None else first, total, tokens, prompt_tokens, reason, cached)
