"""The seam of this room: a conversation in, typed events out. Knows no engine's inside and no page."""

from collections.abc import AsyncGenerator, Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from dialogue.conversation import Conversation
from dialogue.evaluation import EvaluationAsk, Result
from engines.base import FinishReason, Queued, Token, Usage

__all__ = [
    "ANSWER_AS_USUAL",
    "AnswerOptions",
    "Card",
    "Citation",
    "Done",
    "Evaluation",
    "Event",
    "Login",
    "Notice",
    "Queued",
    "Scheme",
    "SchemeRead",
    "Tier",
    "TierStatus",
    "Token",
    "Usage",
    "User",
    "Warming",
]


@dataclass(frozen=True)
class Login:
    """Who is logged in. Made from the profile that the login itself brought, never from a request's body or headers.

    Attributes:
        sub: The account's OIDC `sub`; a name may change.
        token: Access token of the same login, for asking about organisations; None where there is none.
        expires_s: When the login ends, in seconds since 1970; None where it is not known.
    """

    sub: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    expires_s: float | None = None


@dataclass(frozen=True)
class User:
    """Who asks, as far as a tier needs to know.

    Attributes:
        client: Opaque key for fairness and limits, e.g. a browser session. Never a name, never logged.
        login: The account, for a visitor who has logged in.
        person: The account's pseudonym, 64 hexadecimal digits; set by the router alone.
        address: Opaque key of the address that it comes from, for loose limits; "" where it is not known. Where it is
            the `client`, nothing tells the browsers behind it apart.
    """

    client: str
    login: Login | None = None
    person: str | None = None
    address: str = ""


MAX_CONVERSATION_CHARS = 60_000  # of all turns: four times what a context of 4096 tokens holds, counted in milliseconds
MAX_ANSWER_TOKENS = 512  # a page; more would hold a place that others wait for, and the deadline cuts it anyway


@dataclass(frozen=True)
class AnswerOptions:
    """What somebody who asks by program may want otherwise. None is what the persona says.

    Attributes:
        max_tokens: Upper bound of what a model writes, in tokens; a tier may allow less. What rules say is short.
        temperature: From 0 (always the likeliest token) to 2.
        top_p: Probability mass of the tokens that are considered, above 0, at most 1.
        seed: For the same answer again; None for a new one.
        stop: Texts that end the answer, beside those that always do.
        json_schema: A JSON Schema, as JSON text, that the answer must match; None for free text.
        excluded: Ids of passages that the answer must not rest on: those that the pupil has unticked.
        request_id: The same for every try of one question, at most 64 letters, digits, `_.:-`; None to have one made.
        evaluation: An evaluation of the pupil's reasoning, after the answer or alone; None for none.
        whole_history: Whether the prompt carries every turn word for word, as far as it fits; for comparisons.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    json_schema: str | None = None
    excluded: tuple[str, ...] = ()
    request_id: str | None = None
    evaluation: EvaluationAsk | None = None
    whole_history: bool = False


ANSWER_AS_USUAL = AnswerOptions()


@dataclass(frozen=True)
class Warming:
    """The model is being prepared.

    Attributes:
        code: The step, a key of the page's texts.
        progress: From 0 to 1 where it is known.
        eta_s: Seconds until it is ready, as far as earlier starts tell; None where nothing is known.
    """

    code: str
    progress: float | None = None
    eta_s: float | None = None


@dataclass(frozen=True)
class Citation:
    """A passage that the answer may rest on.

    Attributes:
        number: From 1; the answer names it as [1].
        author: Its author.
        work: Title of the work.
        locus: Place in the work; empty when unknown.
        text: The passage.
        id: For `AnswerOptions.excluded`.
        link: To a facsimile, http or https; empty for none.
        original: Whether these are the author's words; our notes are not, and are shown as notes.
    """

    number: int
    author: str
    work: str
    locus: str
    text: str
    id: str = ""
    link: str = ""
    original: bool = True


@dataclass(frozen=True)
class Evaluation:
    """A formative remark on the pupil's reasoning, as data; comes after the last `Token`. Words, never a mark.

    Attributes:
        data: As `dialogue.evaluation.schema_for` describes it; None where the model gave none that can be accepted.
        result: "ok", or why there is none: "missing", "invalid" or "unsupported".
        tokens: Tokens that were sampled for it, also when it was refused.
        by: "model", or "rules" where the model is too small to judge: then only the form of the sentences was read.
    """

    data: Mapping[str, object] | None
    result: Result = "ok"
    tokens: int = 0
    by: Literal["model", "rules"] = "model"


@dataclass(frozen=True)
class Card:
    """A fixed text in place of the philosopher, the same for everybody; no philosopher speaks in this turn.

    It comes instead of every `Token` (the pupil's message stopped the turn: no model was asked), or after some of them
    (the answer itself had to be stopped): what was shown of the answer is then taken away, and the card shown alone.

    Attributes:
        kind: "crisis" is the only one.
        text: In French, as Markdown; `text_en` in English.
    """

    kind: Literal["crisis"]
    text: str
    text_en: str


@dataclass(frozen=True)
class Scheme:
    """The move that was chosen before the answer; comes before its first `Token`.

    Attributes:
        id: The scheme it is made by, a key of `personas.SCHEMES`.
        move: What the philosopher does: "avancer", "montrer", "contredire" or "demander".
        told: Whether the model was given it. Where it was not (small models), a chip is only true once `SchemeRead`
            has found a scheme in the answer.
    """

    id: str
    move: str
    told: bool


@dataclass(frozen=True)
class SchemeRead:
    """What was read in a finished answer; comes after its last `Token`. For a metric and the chip's card, never a mark.

    Attributes:
        announced: Id of the scheme that was chosen before.
        found: Id of the scheme that stands in the answer in full, the announced one or its neighbour; "" for none.
        grade: 4 the announced one in full, 3 a neighbour, 2 its connectives or its fallacy, 1 its name, 0 nothing.
        fallacy: A `dialogue.scheme_score.Fallacy`.
        filled: The form of `found` with the answer's own words in place of its letters; None where they are not read.
    """

    announced: str
    found: str
    grade: int
    fallacy: str
    filled: str | None


@dataclass(frozen=True)
class Notice:
    """Something the pupil should know; the page has a sentence for each `code`."""

    code: str


@dataclass(frozen=True)
class Done:
    """The answer is over; always the last event of a stream that did not raise."""

    reason: FinishReason
    usage: Usage


Event = Queued | Warming | Token | Citation | Evaluation | Notice | Card | Scheme | SchemeRead | Done

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

        After a `Card` nothing but `Done` comes; the card then stands in place of the answer.

        While the model is being prepared, `Warming` comes again and again until it is ready. Closing the generator,
        at any point, cancels the answer, frees its slot and settles its reservation.

        Raises:
            TierBusy: No slot is free now; the same call can succeed later.
            TierUnavailable: This tier cannot answer until an operator acts.
        """
        ...


@runtime_checkable
class EagerTier(Tier, Protocol):
    """A tier that can begin before anybody knows whether the answer may be given: it reads, and wakes nobody."""

    async def prepare(self, conversation: Conversation, options: AnswerOptions = ANSWER_AS_USUAL) -> object:
        """Return what `stream` awaits as `prepared`; asks no model and costs nothing."""
        ...

    def stream(
        self,
        conversation: Conversation,
        user: User,
        options: AnswerOptions = ANSWER_AS_USUAL,
        prepared: Awaitable[object] | None = None,
    ) -> AsyncGenerator[Event, None]:
        """See `Tier.stream`; without `prepared`, of the same conversation and options, the tier prepares itself."""
        ...
