"""Turns and conversations, and what may become one. Knows personas; knows nothing of Gradio, HTTP or models."""

import unicodedata
from dataclasses import dataclass
from typing import Literal

from errors import MessageError
from personas import Persona

MAX_MESSAGE_CHARS = 4_000  # about a page: longer is a pasted document, which no persona can answer in three sentences


@dataclass(frozen=True)
class Turn:
    """One message of a conversation.

    Attributes:
        role: "user" is the pupil, "assistant" the philosopher.
        text: What was said, as it is shown.
    """

    role: Literal["user", "assistant"]
    text: str


@dataclass(frozen=True)
class Conversation:
    """A persona and what was said so far, oldest first.

    A conversation that waits for an answer ends with the pupil's turn. It may begin with the philosopher's opening.

    Attributes:
        persona: Who answers.
        turns: Pupil and philosopher in turn.
    """

    persona: Persona
    turns: tuple[Turn, ...]

    def __post_init__(self) -> None:
        for before, after in zip(self.turns, self.turns[1:], strict=False):
            if before.role == after.role:
                raise MessageError(f"Two {after.role} turns in a row; join or drop one.", code="message_order")

    @property
    def opening(self) -> str | None:
        """What the philosopher said before the pupil's first message, if anything."""
        return self.turns[0].text if self.turns and self.turns[0].role == "assistant" else None

    @property
    def exchanges(self) -> tuple[Turn, ...]:
        """The turns from the pupil's first message on."""
        return self.turns[1:] if self.opening is not None else self.turns


def clean_message(text: str, most: int = MAX_MESSAGE_CHARS) -> str:
    r"""Return the pupil's text in NFC, with one kind of space and its line breaks, without control characters.

    Raises:
        MessageError: Nothing is left (`message_empty`) or more than `most` characters are (`message_too_long`).

    >>> clean_message("  Suis-je\x07 libre ? ")
    'Suis-je libre ?'
    """
    normal = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    # Cc are control characters, Cf invisible ones such as direction marks, Cs halves of a pair, Co private.
    kinds = ((c, "" if c in "\n\t" else unicodedata.category(c)) for c in normal)
    kept = "".join(" " if kind == "Zs" else c for c, kind in kinds if kind not in {"Cc", "Cf", "Cs", "Co"}).strip()
    if not kept:
        raise MessageError("The message is empty; nothing was sent.", code="message_empty")
    if len(kept) > most:
        raise MessageError(
            f"The message has {len(kept)} characters, at most {most} are read; shorten it.",
            code="message_too_long",
        )
    return kept
