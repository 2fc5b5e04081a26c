"""The contract between page and gateway: the request's body, the events that come back. Knows no HTTP and no engine.

A request is JSON. An answer is server-sent events, named `queued`, `warming`, `citation`, `token`, `evaluation`,
`notice`, `usage`, `done` and `error`; a stream ends with `done` or `error`, and one that does not was cut. Readers are
tolerant of what they do not know (fields, events, comments) and bounded in all that they keep.
"""

import hashlib
import json
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from dialogue.conversation import Conversation, Turn, clean_message
from dialogue.evaluation import EvaluationAsk
from dialogue.turn import redacted
from engines.base import FinishReason
from errors import MessageError, PersonaError, TierUnavailable
from personas import Persona
from tiers.base import (
    MAX_CONVERSATION_CHARS,
    AnswerOptions,
    Card,
    Citation,
    Done,
    Evaluation,
    Event,
    Notice,
    Queued,
    Scheme,
    SchemeRead,
    Token,
    Usage,
    Warming,
)

VERSION = 1
PATH = "/v1/turns"
MAX_BODY_BYTES = 256_000
MAX_TURNS = 200
MAX_LINE_BYTES = 64_000  # of an answer; a passage of 400 words has 3000
MAX_ASKED_TOKENS = 4096  # that a program may ask for; the gateway gives what it has
MAX_ANSWER_CHARS = 20_000
MAX_EVENTS = 20_000
DOWN = "premium_down"  # code of everything that is the gateway's fault
BAD_REQUEST, UNKNOWN_PERSONA, TOO_LONG = "bad_request", "persona_not_found", "conversation_too_long"

_Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]


# --- the request -----------------------------------------------------------------------------------------------------


class _Turn(BaseModel):
    role: Literal["user", "assistant"]
    text: Annotated[str, Field(min_length=1, max_length=MAX_CONVERSATION_CHARS)]


class _Body(BaseModel):
    """What stands in a request."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    v: Literal[1]
    request_id: _Word
    conversation: _Word
    persona: Annotated[str, Field(max_length=64)]
    turns: Annotated[list[_Turn], Field(min_length=1, max_length=MAX_TURNS)]
    excluded: Annotated[list[Annotated[str, Field(max_length=128)]], Field(max_length=50)] = []
    max_tokens: Annotated[int, Field(ge=1, le=MAX_ASKED_TOKENS)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=4)] = []
    evaluation: EvaluationAsk | None = None


@dataclass(frozen=True)
class Asked:
    """A request as the gateway understands it.

    Attributes:
        request_id: The same for every try of one question.
        talk: Opaque key of the conversation.
        conversation: It waits for an answer.
        options: What the page wants otherwise.
    """

    request_id: str
    talk: str
    conversation: Conversation
    options: AnswerOptions


def write_request(conversation: Conversation, client: str, options: AnswerOptions) -> bytes:
    """Return the body of a request; what tells who a pupil is has been taken out of it.

    Args:
        conversation: It waits for an answer.
        client: Key of the browser's tab; only a hash of it travels.
        options: As far as `travels` says.
    """
    data: dict[str, Any] = {
        "v": VERSION,
        "request_id": options.request_id or secrets.token_hex(16),
        "conversation": hashlib.sha256(f"talk\0{client}".encode()).hexdigest()[:32],
        "persona": conversation.persona.key,
        "turns": [{"role": turn.role, "text": turn.text} for turn in redacted(conversation).turns],
        "excluded": list(options.excluded),
        "stop": list(options.stop),
    }
    for name in ("max_tokens", "temperature", "top_p", "seed"):
        if (value := getattr(options, name)) is not None:
            data[name] = min(value, MAX_ASKED_TOKENS) if name == "max_tokens" else value
    if options.evaluation is not None:
        data["evaluation"] = asdict(options.evaluation)
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def travels(options: AnswerOptions) -> bool:
    """Whether a request can say all that these options want."""
    alone = options.evaluation is not None and options.evaluation.place == "alone"
    return options.json_schema is None and not alone and not options.whole_history


def read_request(body: bytes, personas: Mapping[str, Persona]) -> Asked:
    """Return what a body asks.

    Raises:
        MessageError: It is no such request (`bad_request`), or a message cannot be used. Nothing of it is quoted.
        PersonaError: There is no such persona.
    """
    try:
        read = _Body.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"][:3]) or "body"
        raise MessageError(f"{where}: {first['type']}.", code=BAD_REQUEST) from None
    persona = personas.get(read.persona)
    if persona is None:
        raise PersonaError(f"There is no such persona. Known: {', '.join(personas)}.", code=UNKNOWN_PERSONA)
    # A turn of a debate holds what the other philosopher said as well: all of them together are bounded below.
    turns = tuple(
        Turn(t.role, clean_message(t.text, MAX_CONVERSATION_CHARS) if t.role == "user" else t.text) for t in read.turns
    )
    if sum(len(turn.text) for turn in turns) > MAX_CONVERSATION_CHARS:
        raise MessageError(
            f"The turns have more than {MAX_CONVERSATION_CHARS} characters; cut the conversation.", code=TOO_LONG
        )
    if turns[-1].role != "user":
        raise MessageError("The last turn must be the pupil's.", code="message_order")
    options = AnswerOptions(
        read.max_tokens, read.temperature, read.top_p, read.seed, tuple(read.stop),
        excluded=tuple(read.excluded), request_id=read.request_id, evaluation=read.evaluation,
    )  # fmt: skip
    return Asked(read.request_id, read.conversation, Conversation(persona, turns), options)


# --- the answer ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """The gateway's own word that an answer failed.

    Attributes:
        code: As `errors.ChatError.code`.
        retry_after_s: When to ask again, where somebody knows.
    """

    code: str
    retry_after_s: float | None = None


@dataclass(frozen=True)
class _End:
    reason: FinishReason


_NAMES: dict[str, type] = {
    "queued": Queued,
    "warming": Warming,
    "citation": Citation,
    "token": Token,
    "evaluation": Evaluation,
    "notice": Notice,
    "usage": Usage,
    "done": _End,
    "error": Fault,
    "card": Card,  # this and the next two: the dialogue's rules, which stand on both sides
    "scheme": Scheme,
    "scheme_read": SchemeRead,
}
_OF_TYPE = {kind: name for name, kind in _NAMES.items()}
_READERS: dict[str, TypeAdapter[Any]] = {name: TypeAdapter(kind) for name, kind in _NAMES.items()}
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_LINE_END = re.compile(rb"\r\n|\r|\n")


def write_event(event: Event | Fault) -> bytes:
    r"""Return an event as it travels; `Done` is two of them, `usage` and `done`.

    >>> write_event(Token("Oui\nnon"))
    b'event: token\ndata: {"text":"Oui\\nnon"}\n\n'
    """
    if isinstance(event, Token):  # fifty a second for each pupil, and `asdict` is the long way to one field
        return _lines("token", {"text": event.text})
    if isinstance(event, Done):
        return _lines("usage", asdict(event.usage)) + _lines("done", {"reason": event.reason})
    return _lines(_OF_TYPE[type(event)], asdict(event))


def write_comment(said: str) -> bytes:
    """Return a line that keeps a silent stream alive; readers leave it out."""
    return f": {said}\n\n".encode()


def _lines(name: str, data: dict[str, Any]) -> bytes:
    text = _JSON.encode(data)
    return f"event: {name}\ndata: {text}\n\n".encode("utf-8", "replace")


class EventReader:
    """Reads the bytes of a stream, however they are cut, as events.

    Attributes:
        ended: Whether `done` or `error` has come; what follows is left out.
    """

    def __init__(self) -> None:
        self.ended = False
        self._held = bytearray()
        self._after_cr = False
        self._first = True
        self._name = ""
        self._data: list[str] = []
        self._data_size = self._events = self._chars = 0
        self._usage = Usage()

    def feed(self, data: bytes) -> Iterator[Event | Fault]:
        """Yield the events that `data` completes.

        Raises:
            TierUnavailable: It is no such stream, or longer than any answer.
        """
        for line in self._lines_of(data):
            if self.ended:
                return
            event = self._take(line)
            if event is not None:
                yield event

    def finish(self) -> None:
        """Say that no more bytes come.

        Raises:
            TierUnavailable: The stream was cut before its end.
        """
        if not self.ended:
            raise TierUnavailable("The gateway's answer was cut before its end.", code=DOWN)

    def _lines_of(self, data: bytes) -> Iterator[bytes]:
        """Split at LF, CR or CR LF, which may come in two pieces."""
        start = int(self._after_cr and data.startswith(b"\n"))  # the second half of an end already taken
        self._after_cr = data.endswith(b"\r") if data else self._after_cr
        for end in _LINE_END.finditer(data, start):
            self._hold(data[start : end.start()])
            line, self._held = bytes(self._held), bytearray()
            start = end.end()
            yield line
        self._hold(data[start:])

    def _hold(self, part: bytes) -> None:
        if len(self._held) + len(part) > MAX_LINE_BYTES:
            raise TierUnavailable(f"The gateway sent a line of more than {MAX_LINE_BYTES} bytes.", code=DOWN)
        self._held += part

    def _take(self, line: bytes) -> Event | Fault | None:
        try:
            text = line.decode("utf-8-sig" if self._first else "utf-8")
        except UnicodeDecodeError:
            raise TierUnavailable("The gateway sent what is no UTF-8.", code=DOWN) from None
        self._first = False
        if not text:
            return self._dispatch()
        name, _, value = text.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._name = value
        elif name == "data":
            self._data_size += len(value)
            if self._data_size > MAX_LINE_BYTES:
                raise TierUnavailable(f"The gateway sent an event of more than {MAX_LINE_BYTES} characters.", code=DOWN)
            self._data.append(value)
        return None

    def _dispatch(self) -> Event | Fault | None:
        name, data = self._name, "\n".join(self._data)
        self._name, self._data, self._data_size = "", [], 0
        if name not in _READERS or not data:
            return None
        self._events += 1
        try:
            event = _READERS[name].validate_json(data)
        except ValidationError:  # its text would quote what was received
            raise TierUnavailable(f"The gateway sent an event {name!r} that cannot be read.", code=DOWN) from None
        match event:
            case Token(text):
                self._chars += len(text)
            case Usage():
                self._usage = event
                return None
            case _End(reason):
                self.ended = True
                return Done(reason, self._usage)
            case Fault():
                self.ended = True
        if self._events > MAX_EVENTS or self._chars > MAX_ANSWER_CHARS:
            raise TierUnavailable("The gateway's answer is longer than any answer.", code=DOWN)
        return event  # type: ignore[no-any-return]


def read_fault(body: bytes) -> Fault:
    """Return what the body of a refusal says; one that says nothing is `premium_down`."""
    try:
        return TypeAdapter(Fault).validate_json(body[:MAX_LINE_BYTES])
    except ValidationError:
        return Fault(DOWN)


def write_fault(fault: Fault) -> bytes:
    """Return the body of a refusal."""
    return json.dumps(asdict(fault)).encode()
