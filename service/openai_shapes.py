"""The shapes of OpenAI's chat completions: what a body may say, what is answered, how an error looks.

Knows conversations and a tier's events; knows no route. Fields of OpenAI's that are not here are ignored.
"""

import json
import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, BeforeValidator, Field
from starlette.exceptions import HTTPException

from dialogue.conversation import Conversation, Turn, clean_message
from errors import MessageError, PersonaError, TierBusy, TierUnavailable, place_of
from personas import Persona
from tiers.base import (
    MAX_CONVERSATION_CHARS,
    AnswerOptions,
    Card,
    Citation,
    Done,
    Event,
    Notice,
    Scheme,
    SchemeRead,
    Token,
    Usage,
)

log = logging.getLogger(__name__)

MAX_MESSAGES = 200
MAX_SCHEMA_CHARS = 8_000
LIMITS = frozenset("session_limit day_limit quota_person quota_browser live_stream".split())  # not the queue's
RETRY_PREPARING_S, RETRY_BUSY_S, RETRY_DOWN_S = 5.0, 10.0, 30.0  # told to clients, where nobody knows better
TOO_LONG, BAD_SCHEMA = "conversation_too_long", "bad_schema"

_Stop = Annotated[str, Field(min_length=1, max_length=64)]
_Stops = Annotated[
    list[_Stop], Field(max_length=4), BeforeValidator(lambda said: [said] if isinstance(said, str) else said)
]


class TextPart(BaseModel):
    """A part of a message; pictures and sounds are not understood."""

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One message of the conversation."""

    role: str
    content: str | list[TextPart]

    @property
    def text(self) -> str:
        """The content as one text."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class StreamOptions(BaseModel):
    """How to stream."""

    include_usage: bool = False


class NamedSchema(BaseModel):
    """A JSON Schema and its name."""

    content: dict[str, Any] = Field(alias="schema")


class ResponseFormat(BaseModel):
    """What an answer must look like."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None


class ChatRequest(BaseModel):
    """The body of `POST /v1/chat/completions`. `persona` is ours: who answers."""

    model: str = "default"
    messages: list[Message] = Field(min_length=1, max_length=MAX_MESSAGES)
    persona: str = Field("spinoza", max_length=64)
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: _Stops | None = None
    n: Literal[1] | None = None
    response_format: ResponseFormat | None = None
    user: str | None = Field(None, max_length=512)


def to_conversation(request: ChatRequest, personas: Mapping[str, Persona], *, answered: bool = False) -> Conversation:
    """Return the conversation that waits for an answer; its first message may be the philosopher's opening.

    Args:
        request: As it was sent.
        personas: Who can be asked.
        answered: Whether the philosopher may have spoken last; the pupil must then have spoken somewhere.

    Raises:
        PersonaError: There is no such persona.
        MessageError: A message is empty, too long or not allowed, or the roles are out of order.
    """
    persona = personas.get(request.persona)
    if persona is None:
        near = get_close_matches(request.persona, personas, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise PersonaError(f"There is no such persona.{hint} Known: {', '.join(personas)}.", code="persona_not_found")
    turns: list[Turn] = []
    for number, message in enumerate(request.messages):
        match message.role:
            case "user" | "assistant" as role:
                turns.append(Turn(role, _cleaned(number, message.text)))
            case "system" | "developer":
                raise MessageError(
                    f"messages.{number}: the personas bring their own instructions. Leave this message out and name "
                    f"one in `persona`: {', '.join(personas)}.",
                    code="system_message",
                )
            case _:
                raise MessageError(f"messages.{number}: a role is user or assistant.", code="message_role")
    if turns[-1].role != "user" and not (answered and any(turn.role == "user" for turn in turns)):
        raise MessageError("The last message must be the user's.", code="message_order")
    if sum(len(turn.text) for turn in turns) > MAX_CONVERSATION_CHARS:
        raise MessageError(
            f"The messages have more than {MAX_CONVERSATION_CHARS} characters; cut the conversation.", code=TOO_LONG
        )
    return Conversation(persona, tuple(turns))


def _cleaned(number: int, text: str) -> str:
    try:
        return clean_message(text)
    except MessageError as error:
        raise MessageError(f"messages.{number}: {error}", code=error.code) from None


def to_options(request: ChatRequest) -> AnswerOptions:
    """Return what the client wants otherwise.

    Raises:
        MessageError: The JSON Schema is missing or too long.
    """
    return AnswerOptions(
        max_tokens=request.max_completion_tokens or request.max_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        seed=request.seed,
        stop=tuple(request.stop or ()),
        json_schema=_schema(request.response_format),
    )


def _schema(wanted: ResponseFormat | None) -> str | None:
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return '{"type": "object"}'
    if wanted.json_schema is None:
        raise MessageError("response_format.json_schema is missing.", code=BAD_SCHEMA)
    text = json.dumps(wanted.json_schema.content)
    if len(text) > MAX_SCHEMA_CHARS:
        raise MessageError(f"The JSON Schema has more than {MAX_SCHEMA_CHARS} characters.", code=BAD_SCHEMA)
    return text


@dataclass
class Said:
    """What a tier's events have come to."""

    texts: list[str] = field(default_factory=list)
    done: Done = field(default_factory=lambda: Done("stop", Usage()))
    extras: dict[str, Any] = field(default_factory=dict)

    def take(self, event: Event | None) -> None:
        """Keep what the end of an answer says."""
        match event:
            case Token(text):
                self.texts.append(text)
            case Notice(code):
                self.extras.setdefault("notices", []).append(code)
            case Citation():
                self.extras.setdefault("citations", []).append(asdict(event))
            case Card(kind, text):  # it stands in place of whatever was said
                self.texts = [text]
                self.extras["card"] = kind
            case Scheme():
                self.extras["scheme"] = asdict(event)
            case SchemeRead():
                self.extras["scheme_read"] = asdict(event)
            case Done():
                self.done = event


@dataclass(frozen=True)
class Reply:
    """An answer under way, whole or in chunks."""

    model: str
    persona: str
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, said: Said) -> dict[str, Any]:
        """Return the answer as one object."""
        message = {"role": "assistant", "content": "".join(said.texts), "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish_reason(said)}
        return self._object("chat.completion", [choice]) | {"usage": usage_of(said)} | said.extras

    def chunk(self, text: str, *, first: bool = False) -> dict[str, Any]:
        """Return the next part of the text."""
        delta = {"role": "assistant", "content": text} if first else {"content": text}
        return self._object("chat.completion.chunk", [{"index": 0, "delta": delta, "finish_reason": None}])

    def end(self, said: Said, *, include_usage: bool = False) -> Sequence[dict[str, Any]]:
        """Return the chunks after the text."""
        choice = {"index": 0, "delta": {}, "finish_reason": _finish_reason(said)}
        last = self._object("chat.completion.chunk", [choice]) | said.extras
        counts = self._object("chat.completion.chunk", []) | {"usage": usage_of(said)}
        return [last, counts] if include_usage else [last]

    def _object(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "persona": self.persona,
            "choices": choices,
        }


def _finish_reason(said: Said) -> str:
    """A deadline cuts an answer as a length does; OpenAI knows no third word."""
    return "stop" if said.done.reason == "stop" else "length"


def usage_of(said: Said) -> dict[str, Any]:
    """Return what an answer cost, as OpenAI counts it."""
    usage = said.done.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


@dataclass(frozen=True)
class Fault:
    """An error as OpenAI's clients understand it.

    Attributes:
        status: Of the response; the clients raise the error that belongs to it.
        type: OpenAI's family of errors.
        message: For whoever reads the client's log; holds nothing of this house's inside.
        code: Ours, the same as the page's.
        param: The field of the body that is wrong.
        retry_after_s: When to ask again; the clients wait so long by themselves.
    """

    status: int
    type: str
    message: str
    code: str
    param: str | None = None
    retry_after_s: float | None = None

    @property
    def body(self) -> dict[str, Any]:
        """The error as an object."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """Return the error as a response."""
        headers = {} if self.retry_after_s is None else {"Retry-After": str(max(round(self.retry_after_s), 1))}
        return JSONResponse(self.body, self.status, headers)


def unknown_model(known: str | None) -> Fault:
    """Return what is said to a client that asks for a model that is not here. `known` is the one that is."""
    said = f"the model here is {known!r}, or say 'default'" if known else "it is still being prepared"
    return Fault(404, "invalid_request_error", f"No such model: {said}.", "model_not_found", "model")


def fault_of(error: Exception) -> Fault:
    """Return what is said of an error, and log what is ours; an unexpected one by its type and place alone."""
    if isinstance(error, TierBusy | TierUnavailable):
        log.warning("Completion failed: code=%s at %s", error.code, place_of(error))  # its text may quote a schema
    match error:
        case RequestValidationError():
            return _wrong_body(error)
        case HTTPException():
            return Fault(error.status_code, "invalid_request_error", str(error.detail), "bad_request")
        case MessageError():
            param = "response_format" if error.code == BAD_SCHEMA else "messages"
            return Fault(400, "invalid_request_error", str(error), error.code, param)
        case PersonaError():
            return Fault(404, "invalid_request_error", str(error), error.code, "persona")
        case TierBusy() if error.code == "engine_timeout":
            said = "The answer did not begin in time; ask again later."
            return Fault(504, "timeout", said, error.code, retry_after_s=error.retry_after_s or RETRY_BUSY_S)
        case TierBusy():
            limit = f"A limit is reached ({error.code})" if error.code in LIMITS else "Too many requests are waiting"
            said = f"{limit}; ask again later."
            return Fault(429, "rate_limit_error", said, error.code, retry_after_s=error.retry_after_s or RETRY_BUSY_S)
        case TierUnavailable() if error.code == TOO_LONG:
            said = "The conversation is longer than the model's context; cut it."
            return Fault(400, "invalid_request_error", said, error.code, "messages")
        case TierUnavailable() if error.code == BAD_SCHEMA:
            said = "The JSON Schema cannot be followed; make it simpler."
            return Fault(400, "invalid_request_error", said, error.code, "response_format")
        case TierUnavailable():
            said = f"The model cannot answer now ({error.code})."
            return Fault(
                503, "service_unavailable", said, error.code, retry_after_s=error.retry_after_s or RETRY_DOWN_S
            )
    log.error("Completion failed: %s at %s", type(error).__name__, place_of(error))
    return Fault(500, "server_error", "Something failed here; the server's log says what.", "internal")


def _wrong_body(error: RequestValidationError) -> Fault:
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return Fault(400, "invalid_request_error", "The body is no JSON.", "json_invalid")
    param = ".".join(map(str, first["loc"][1:4])) or None
    return Fault(400, "invalid_request_error", f"{param or 'body'}: {first['msg']}.", "invalid_value", param)
