"""A tier that follows a script: it keeps the contract of `Tier`, and needs no model. For tests and demonstrations."""

import asyncio
from collections.abc import AsyncGenerator

from dialogue.conversation import Conversation
from engines.base import Usage
from tiers.base import ANSWER_AS_USUAL, AnswerOptions, Done, Event, TierStatus, User

READY = TierStatus("ready", "ready", model="scripted")


class ScriptedTier:
    """Yields the events of its script, raises its errors, and remembers what it was asked.

    Args:
        script: Events in order; an exception among them is raised at its place. `Done` is added when it is missing.
        pause_s: Seconds before each event, to leave time to press Stop.
        status: What `status` says.

    Attributes:
        received: The conversation of each call.
        users: Who asked at each call.
        options: The options of each call.
        closed_early: How many streams were closed before their end.
        open: How many streams are under way.
    """

    def __init__(self, *script: Event | Exception, pause_s: float = 0.0, status: TierStatus = READY) -> None:
        self.script = script
        self.pause_s = pause_s
        self.status = status
        self.received: list[Conversation] = []
        self.users: list[User] = []
        self.options: list[AnswerOptions] = []
        self.closed_early = 0
        self.open = 0

    async def stream(
        self, conversation: Conversation, user: User, options: AnswerOptions = ANSWER_AS_USUAL
    ) -> AsyncGenerator[Event, None]:
        """See `Tier.stream`."""
        self.received.append(conversation)
        self.users.append(user)
        self.options.append(options)
        finished = False
        self.open += 1
        try:
            for event in self.script:
                await asyncio.sleep(self.pause_s)
                if isinstance(event, Exception):
                    finished = True
                    raise event
                yield event
                finished = isinstance(event, Done)
            if not finished:
                finished = True
                yield Done("stop", Usage())
        finally:
            self.open -= 1
            if not finished:
                self.closed_early += 1
