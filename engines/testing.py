"""An engine that follows a script: it keeps the contract of `Engine` and needs no model. For tests and demos."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from engines.base import ChatMessage, EngineEvent, EngineInfo, Finished, SamplingParams, Token, Usage
from errors import EngineError, EngineTimeout

INFO = EngineInfo("scripted", 100_000_000, 4096)


class ScriptedEngine:
    """Yields the events of its script, raises its errors, and remembers what it was asked.

    Args:
        script: Events in order; an exception among them is raised at its place. `Finished` is added when it is missing.
        pause_s: Seconds from one event to the next, to leave time to press Stop. A real engine goes on while its
            reader is late, so what was due meanwhile comes at once.
        info: What `info` says.
        failure: What `failure` says; a test may set it later.

    Attributes:
        received: The messages of each call.
        deadlines: The `deadline_s` of each call.
        params: The parameters of each call.
        clients: The `client` of each call.
        warmed: The system prompts read ahead.
        closed_early: How many streams were closed before their end.
    """

    def __init__(
        self,
        *script: EngineEvent | Exception,
        pause_s: float = 0.0,
        info: EngineInfo = INFO,
        failure: str | None = None,
    ) -> None:
        self.script = script
        self.pause_s = pause_s
        self.info = info
        self.failure = failure
        self.received: list[list[ChatMessage]] = []
        self.deadlines: list[float | None] = []
        self.params: list[SamplingParams] = []
        self.clients: list[str] = []
        self.warmed: list[str] = []
        self.closed_early = 0
        self.closed = False

    async def stream(
        self,
        messages: Sequence[ChatMessage],
        params: SamplingParams,
        *,
        deadline_s: float | None = None,
        client: str = "",
    ) -> AsyncGenerator[EngineEvent, None]:
        """See `Engine.stream`."""
        self.received.append(list(messages))
        self.params.append(params)
        self.deadlines.append(deadline_s)
        self.clients.append(client)
        loop = asyncio.get_running_loop()
        deadline = None if deadline_s is None else loop.time() + deadline_s
        spoken, over, due = False, False, loop.time()
        try:
            for event in (*self.script, Finished("stop", Usage())):
                due += self.pause_s
                await asyncio.sleep(max(min(due, deadline or due) - loop.time(), 0))
                over = True  # unless the caller closes us at the next yield, this event is the last
                if self.closed or self.failure is not None:
                    raise EngineError(self.failure or "The engine was closed.")
                if deadline is not None and loop.time() >= deadline:
                    if not spoken:
                        raise EngineTimeout("The deadline passed before the first word; ask again later.")
                    yield Finished("deadline", Usage())
                    return
                if isinstance(event, Exception):
                    raise event
                over = isinstance(event, Finished)
                spoken = spoken or isinstance(event, Token)
                yield event
                if over:
                    return
        finally:
            if not over:
                self.closed_early += 1

    async def warm(self, system_prompt: str) -> None:
        """See `Engine.warm`."""
        self.warmed.append(system_prompt)

    def count_tokens(self, messages: Sequence[ChatMessage]) -> int:
        """See `Engine.count_tokens`: a token for every four characters, as in French."""
        return sum(len(message["content"]) // 4 + 3 for message in messages)

    def close(self) -> None:
        """See `Engine.close`."""
        self.closed = True
