"""The seam of this room: a conversation in, typed events out. Knows no engine's inside and no page."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Literal, Protocol

from dialogue.conversation import Conversation
from engines.base import FinishReason, Queued, Token, Usage

__all__ = [
    "ANSWER_AS_USUAL",
    "AnswerOptions",
    "Citation",
    "Done",
    "Evaluation",
    "Event",
    "Notice",
    "Queued",
    "Tier",
    "TierStatus",
    "Token",
    "Usage",
    "User",
    "Warming",
]


@dataclass(frozen=True)
class User:
    """Who asks, as far as a tier needs to know.

    Attributes:
        client: Opaque key for fairness and limits, e.g. a browser session. Never a name, never logged.
    """

    client: str


@dataclass(frozen=True)
class AnswerOptions:
    """What somebody who asks by program may want otherwise. None is what the persona says.

    Attributes:
        max_tokens: Upper bound of the answer, in tokens; a tier may allow less.
        temperature: From 0 (always the likeliest token) to 2.
        top_p: Probability mass of the tokens that are considered, above 0, at most 1.
        seed: For the same answer again; None for a new one.
        stop: Texts that end the answer, beside those that always do.
        json_schema: A JSON Schema, as JSON text, that the answer must match; None for free text.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    json_schema: str | None = None


ANSWER_AS_USUAL = AnswerOptions()


@dataclass(frozen=True)
class Warming:
    """The model is being prepared. `code` names the step, `progress` runs from 0 to 1 where it is known."""

    code: str
    progress: float | None = None


@dataclass(frozen=True)
class Citation:
    """A passage that the answer rests on."""

    number: int
    author: str
    work: str
    locus: str
    text: str


@dataclass(frozen=True)
class Evaluation:
    """A formative remark on the pupil's reasoning, as data."""

    data: dict[str, object]


@dataclass(frozen=True)
class Notice:
    """Something the pupil should know; the page has a sentence for each `code`."""

    code: str


@dataclass(frozen=True)
class Done:
    """The answer is over; always the last event of a stream that did not raise."""

    reason: FinishReason
    usage: Usage


Event = Queued | Warming | Token | Citation | Evaluation | Notice | Done

State = Literal["preparing", "ready", "failed"]


@dataclass(frozen=True)
class TierStatus:
    """What a tier is doing now; the page shows it, `/ready` reports it.

    Attributes:
        state: "ready" answers at once; "preparing" answers later; "failed" waits for an operator.
        step: What is being done or what failed, a key of the page's texts, e.g. "downloading", "model_corrupt".
        progress: From 0 to 1 while preparing, where it is known.
        notices: Codes of lasting notices, e.g. "hub_unreachable" when a fallback model answers.
        model: Name of the model in use, once known.
    """

    state: State
    step: str
    progress: float | None = None
    notices: tuple[str, ...] = ()
    model: str | None = None


class Tier(Protocol):
    """A way of answering pupils."""

    @property
    def status(self) -> TierStatus:
        """What this tier is doing now. Never blocks."""
        ...

    def stream(
        self, conversation: Conversation, user: User, options: AnswerOptions = ANSWER_AS_USUAL
    ) -> AsyncGenerator[Event, None]:
        """Yield what happens, in order, `Done` last; the `Token` texts joined in order are the whole answer.

        While the model is being prepared, `Warming` comes again and again until it is ready. Closing the generator,
        at any point, cancels the answer, frees its slot and settles its reservation.

        Raises:
            TierBusy: No slot is free now; the same call can succeed later.
            TierUnavailable: This tier cannot answer until an operator acts.
        """
        ...
