"""What a pupil can ask for, as data: say, ask again, edit. Knows turns; knows no widget and no tier."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from dialogue.conversation import Turn, clean_message
from ui.session import Trail
from ui.texts import Language
from ui.turns import until_last_question


@dataclass(frozen=True)
class Asked:
    """A question under way.

    Attributes:
        turns: What the tier is asked; the pupil's turn is last.
        before: What the chat showed before, to be shown again when no answer came.
        text: What goes back into the box in that case; empty when the pupil typed nothing new.
        excluded: Ids of passages that the answer must not rest on.
        trail: What stood beside `before`, to stand there again.
    """

    turns: tuple[Turn, ...]
    before: tuple[Turn, ...]
    text: str
    excluded: tuple[str, ...] = ()
    trail: Trail = field(default_factory=dict)


@dataclass
class Desk:
    """The one place of a tab where an answer is written; it changes, so that an answer sees that it is not wanted.

    Attributes:
        under_way: The question being answered; None when there is none.
        speakers: How many streams are open: 0 or 1, and 2 while one takes over from another.
        language: Of the page since the pupil chose one, for an answer under way; None before.
        helps: Which help stands on the page: "line" while there is a doubt about how the pupil is, "card" in a crisis.
    """

    under_way: Asked | None = None
    speakers: int = 0
    language: Language | None = None
    helps: Literal["", "line", "card"] = ""

    @contextmanager
    def speaking(self) -> Iterator[None]:
        """While a stream is open."""
        self.speakers += 1
        try:
            yield
        finally:
            self.speakers -= 1

    async def leave(self, within_s: float = 3.0) -> Asked | None:
        """Let the question go, wait until nobody speaks (at most `within_s`), and return it."""
        question, self.under_way = self.under_way, None
        deadline = time.monotonic() + within_s
        # Not an asyncio.Event: Gradio copies this object for each tab, and an event belongs to one loop.
        while self.speakers and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return question


def say(turns: Sequence[Turn], text: str) -> Asked:
    """The pupil sends a message.

    Raises:
        MessageError: The message is empty or too long.
    """
    return Asked((*turns, Turn("user", clean_message(text))), tuple(turns), text)


def ask_again(turns: Sequence[Turn], index: int, excluded: tuple[str, ...] = ()) -> Asked | None:
    """The pupil wants another answer instead of the one at `index`; None when that one answers nothing."""
    kept = until_last_question(turns, index)
    return Asked(kept, tuple(turns), "", excluded) if kept else None


def edit(turns: Sequence[Turn], index: int, previous: str, text: str) -> Asked:
    """The pupil rewrites the message at `index`: what followed it goes, and it is answered anew.

    Args:
        turns: The chat, where `index` may show the old text or already the new one.
        index: Of the rewritten message.
        previous: The old text.
        text: The new text.

    Raises:
        MessageError: The new message is empty or too long.
        IndexError: There is no such message.
    """
    before = (*turns[:index], Turn(turns[index].role, previous), *turns[index + 1 :])
    return Asked((*turns[:index], Turn("user", clean_message(text))), before, text)


def take_back(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """The chat without the pupil's last message and what followed it; as it is where the pupil has said nothing."""
    last = max((place for place, turn in enumerate(turns) if turn.role == "user"), default=len(turns))
    return tuple(turns[:last])
