"""OpenAI's chat completions over a tier, so that any OpenAI client can talk with a philosopher.

`POST /v1/chat/completions` (with `persona` as an extra field), `GET /v1/models`, `GET /v1/models/{id}`. Requests wait
in the same queue as the page's. Knows tiers and personas; knows no engine and no page. No key is asked for here
(`service.keys`).
"""

import hashlib
import ipaddress
import json
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from fastapi.sse import format_sse_event

from errors import TierUnavailable
from personas import PERSONAS, Persona
from service.openai_shapes import (
    RETRY_PREPARING_S,
    ChatRequest,
    Reply,
    Said,
    fault_of,
    to_conversation,
    to_options,
    unknown_model,
)
from service.sse import EventStream
from tiers.base import Card, Event, Queued, Tier, Token, User, Warming
from tiers.pulse import pulsed

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 1_000_000  # what the longest conversation allowed needs, escaped, twice over
PULSE_S = 3.0  # between two comments of a silent stream; proxies close one after 30 to 60 s
LOOK_S = 1.0  # between two looks at whether a client still waits for its whole answer; a stream is told by itself
PREPARING_WAIT_S = (
    30.0  # how long a request waits for a model that is being prepared: a start from disk takes 5 to 20 s
)
CLIENT_GONE = 499  # nobody reads it; for a proxy's log
DEFAULT_MODEL = "default"  # a name that always fits: clients must name a model, whichever is in use

_SALT = secrets.token_bytes(16)  # new at each start: a client's key leads back to no address

Proxies = Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]  # whose X-Forwarded-For is believed
THIS_MACHINE: Proxies = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1"))

Events = AsyncGenerator[Event | None, None]  # None is a moment in which nothing happened
Visitors = Callable[[Request, str | None], User]  # from a request and its body's `user` to who asks


class FaultRoute(APIRoute):
    """A route whose errors have OpenAI's shape, those of its body included."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        """Answer with a fault where the handler raises."""
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except Exception as error:
                return fault_of(error).response()

        return handled


class _Api:
    """The routes' handlers."""

    def __init__(self, tier: Tier, personas: Mapping[str, Persona], preparing_wait_s: float, who: Visitors) -> None:
        self._tier = tier
        self._who = who
        self._personas = personas
        self._preparing_wait_s = preparing_wait_s
        self._created = int(time.time())

    async def complete(self, body: ChatRequest, request: Request) -> Response:
        """Answer a conversation, whole or as server-sent events."""
        known = self._tier.status.model  # None while it is prepared: then any name will do
        if known is not None and body.model not in {known, DEFAULT_MODEL}:
            return unknown_model(known).response()
        conversation = to_conversation(body, self._personas)
        options = to_options(body)
        user = self._who(request, body.user)
        key, turns = conversation.persona.key, conversation.turns
        log.info("Completion asked: persona=%s turns=%d chars=%d", key, len(turns), sum(len(t.text) for t in turns))
        asked = patient(self._tier.stream(conversation, user, options), self._preparing_wait_s)
        events = pulsed(asked, PULSE_S if body.stream else LOOK_S)
        if not body.stream:
            return await self._whole(events, request, key, body.model)
        first = await anext(events, None)  # what is refused at once is refused with a status, not in mid-stream
        include_usage = body.stream_options is not None and body.stream_options.include_usage
        return EventStream(self._lines(first, events, key, body.model, include_usage=include_usage), events)

    async def models(self) -> dict[str, Any]:
        """List the model in use, none while it is prepared, and the personas."""
        model = self._tier.status.model
        return {
            "object": "list",
            "data": [self._entry(model)] if model else [],
            "personas": [
                {"id": p.key, "object": "persona", "name": p.name, "tagline": p.tagline_en, "opening": p.opening}
                for p in self._personas.values()
            ],
        }

    async def model(self, model: str) -> Response:
        """Describe the model in use."""
        known = self._tier.status.model
        if known is None or model not in {known, DEFAULT_MODEL}:
            return unknown_model(known).response()
        return JSONResponse(self._entry(known))

    def _entry(self, model: str) -> dict[str, Any]:
        return {"id": model, "object": "model", "created": self._created, "owned_by": "bergson-and-friends"}

    def _reply(self, persona: str, asked: str) -> Reply:
        return Reply(self._tier.status.model or asked, persona)

    async def _whole(self, events: Events, request: Request, persona: str, asked: str) -> Response:
        said = Said()
        async with aclosing(events):
            async for event in events:
                if await request.is_disconnected():
                    log.info("Completion ended: persona=%s how=closed", persona)
                    return Response(status_code=CLIENT_GONE)
                said.take(event)
        log.info("Completion ended: persona=%s how=%s", persona, said.done.reason)
        return JSONResponse(self._reply(persona, asked).whole(said))

    async def _lines(
        self, first: Event | None, events: Events, persona: str, asked: str, *, include_usage: bool
    ) -> AsyncGenerator[bytes, None]:
        """Yield server-sent events; an error among them ends the stream, and clients raise it."""
        said, ended = Said(), "closed"
        reply = self._reply(persona, asked)
        try:
            async for event in _after(first, events):
                match event:
                    case Token(text):
                        yield _data(reply.chunk(text, first=not said.texts))
                    case Card(text=text):  # in mid-answer, what was said cannot be taken back: the card ends it
                        text = f"\n\n{text}" if said.texts else text
                        yield _data(reply.chunk(text, first=not said.texts))
                    case None | Queued() | Warming():
                        yield format_sse_event(comment=comment_of(event))
                said.take(event)
            ended = said.done.reason
            for chunk in reply.end(said, include_usage=include_usage):
                yield _data(chunk)
            yield format_sse_event(data_str="[DONE]")
        except Exception as error:
            fault = fault_of(error)
            ended = fault.code
            yield format_sse_event(event="error", data_str=json.dumps(fault.body))
        finally:
            log.info("Completion ended: persona=%s how=%s", persona, ended)


async def patient(events: AsyncGenerator[Event, None], wait_s: float) -> AsyncGenerator[Event, None]:
    """Pass everything on, and lose patience when the model is prepared for longer than `wait_s` seconds.

    Raises:
        TierUnavailable: `preparing`.
    """
    began = time.monotonic()
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Warming) and time.monotonic() - began >= wait_s:
                raise TierUnavailable(
                    f"The model is still being prepared ({event.code}).",
                    code="preparing",
                    retry_after_s=RETRY_PREPARING_S,
                )
            yield event


def openai_routes(
    tier: Tier,
    personas: Mapping[str, Persona] = PERSONAS,
    *,
    preparing_wait_s: float = PREPARING_WAIT_S,
    who: Visitors | None = None,
) -> list[APIRoute]:
    """Return the routes under `/v1`, to be served beside the page.

    Errors have OpenAI's shape: 400 for what is wrong in a request, 404 for an unknown model or persona, 429 and 504 to
    ask again later, 503 for a model that is failed or still being prepared after `preparing_wait_s` seconds. In a
    stream that has begun, an error is an event called `error`. Places in the queue are comments, `: queued 3`.
    Who asks is told by address and `user`, unless `who` says otherwise.
    """
    api = _Api(tier, personas, preparing_wait_s, who or visitor)
    return [
        FaultRoute(
            "/v1/chat/completions", api.complete, methods=["POST"], response_model=None, max_body_size=MAX_BODY_BYTES
        ),
        FaultRoute("/v1/models", api.models, methods=["GET"]),
        FaultRoute("/v1/models/{model:path}", api.model, methods=["GET"], response_model=None),
    ]


def visitor(request: Request, user: str | None, proxies: Proxies = THIS_MACHINE) -> User:
    """Return who asks, as far as a tier needs to know: keys without a name."""
    return User(client_key(request, user, proxies), address=client_key(request, None, proxies))


def client_key(request: Request, user: str | None, proxies: Proxies = THIS_MACHINE) -> str:
    """Return who asks, as a key for turns in the queue: the same for the same address and `user`, and never logged.

    The address is the nearest one that is none of our `proxies`: whatever stands farther away can be made up by the
    client itself, and so can the whole header where no proxy of ours brought it.
    """
    peer = request.client.host if request.client else ""
    hops = [peer, *reversed(",".join(request.headers.getlist("x-forwarded-for")).split(","))]
    asker = next((ip for ip in map(_ip, hops) if ip is None or not any(ip in one for one in proxies)), None)
    address = asker or _ip(peer) or ""
    return hashlib.sha256(_SALT + f"{address}\0{user or ''}".encode()).hexdigest()[:32]


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        ip = ipaddress.ip_address(text.strip())
    except ValueError:
        return None  # not worth a word: anything may stand in a header
    return getattr(ip, "ipv4_mapped", None) or ip


async def _after(first: Event | None, events: Events) -> Events:
    yield first
    async for event in events:
        yield event


def comment_of(event: Queued | Warming | None) -> str:
    """Return what a silent stream says of a wait."""
    match event:
        case Queued(place=place):
            return f"queued {place}"
        case Warming(code=code, progress=progress):
            return f"preparing {code}" if progress is None else f"preparing {code} {progress:.0%}"
    return "waiting"


def _data(chunk: dict[str, Any]) -> bytes:
    return format_sse_event(data_str=json.dumps(chunk, ensure_ascii=False))
