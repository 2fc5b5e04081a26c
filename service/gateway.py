"""The premium gateway: routes that check, reserve and stream an answer. Runs anywhere that runs Python.

Everything that can refuse a request refuses it before the tier is asked, so that no stranger, no replay and no spent
budget ever wakes a GPU. The page asks `/v1/turns`; programs of the same owner, which hold the same secret, ask the
routes that OpenAI's clients speak (`tiers.premium.SealedAuth`). Knows tiers and their contract with the page
(`tiers.wire`); knows no engine, no model and no host: `tier` brings them.
"""

import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import replace

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dialogue.conversation import Conversation
from dialogue.turn import redacted
from errors import ChatError, MessageError, PersonaError, TierBusy, TierError, TierUnavailable, place_of
from personas import PERSONAS, Persona
from service.dialogue_api import ANSWER_AND_EVALUATION, dialogue_routes
from service.health import NO_STORE, routes
from service.metrics import MeasuredTier, Metrics, Now, metrics_routes
from service.openai_api import openai_routes, visitor
from service.paid import INTERNAL, Bounds, PaidTier
from service.sse import EventStream, read_body
from tiers.account import Account
from tiers.base import ANSWER_AS_USUAL, AnswerOptions, Event, Tier, TierStatus, User
from tiers.budget import Price
from tiers.rules import ruled
from tiers.seal import Once, OnceInMemory, Seal
from tiers.wire import PATH, Fault, read_request, travels, write_comment, write_event, write_fault

__all__ = ["Bounds", "gateway"]

log = logging.getLogger(__name__)

UNSEALED, REPLAYED, TOO_LARGE, BEYOND = "seal_missing", "seal_replayed", "body_too_large", "bad_request"
MAX_TOKEN_CHARS = 2_000
RETRY_S = 5.0  # told where nobody knows better
REFUSED = {"duplicate": 409, "budget_day": 402, "budget_month": 402, "live_stream": 429, "quota_person": 429,
           "quota_browser": 429}  # fmt: skip


def gateway(
    tier: Tier,
    *,
    seal: Seal,
    account: Account,
    price: Price,
    bounds: Bounds | None = None,
    once: Once | None = None,
    metrics: Metrics | None = None,
    metrics_token: str | None = None,
    personas: Mapping[str, Persona] = PERSONAS,
    clock: Callable[[], float] = time.monotonic,
) -> FastAPI:
    """Return the gateway as an ASGI application.

    `POST /v1/turns` for the page; `POST /v1/chat/completions`, `/chat_plus_eval` and `GET /v1/models` for programs, the
    same as a Space's (`service.openai_api`, `service.dialogue_api`); `GET /health`, `/ready`, `/metrics`.

    A request is `tiers.wire.write_request`'s body with `Authorization: Bearer <tiers.seal.Seal.make(…)>`; an answer is
    the events of `tiers.wire`. Refusals have a `Fault` as their body: 401 no token, 403 a token that proves nothing or
    was used, 413 too large, 400 and 404 a body that asks nothing, 402 the budget, 429 the person's quota or stream,
    503 the ledger or the engine. Programs are checked alike and pay alike; once they are let in, their errors have
    OpenAI's shape.

    Args:
        tier: Answers; usually a `tiers.cited.CitedTier` over any engine. Not asked before every check has passed.
        seal: The secret shared with the page.
        account: The gateway's own purse; a budget that cannot be read is a budget that is spent.
        price: Of the GPU that the tier uses.
        bounds: What one request may take.
        once: Remembers tokens; unset, in this process's memory, which is right for one container.
        metrics: Counts answers; unset, new ones.
        metrics_token: Opens `/metrics` from outside.
        personas: Who can be asked.
        clock: Seconds, that only grow.
    """
    counted = metrics or Metrics(
        lambda: {"premium": Now(budget_left=account.left(), limits=account.limits)}, tuple(personas)
    )
    bounds = bounds or Bounds()
    paid = PaidTier(MeasuredTier(tier, "premium", counted), account, price, bounds, clock)
    door = _Door(seal, once or OnceInMemory(), bounds.max_body_bytes)
    app = FastAPI(title="Bergson and Friends, premium", docs_url=None, redoc_url=None, openapi_url=None)
    app.post(PATH, response_model=None)(_Turns(paid, door, personas, clock).answer)
    for_programs = _for_programs(_AsPage(paid), personas)
    app.router.routes.extend([*door.before(for_programs), *routes(tier), *metrics_routes(counted, metrics_token)])
    return app


def _for_programs(tier: Tier, personas: Mapping[str, Persona]) -> list[APIRoute]:
    """Those of the Space's routes that a premium tier can answer: not an evaluation alone, no whole history."""
    asked = dialogue_routes(tier, personas, who=_payer)
    return [*openai_routes(tier, personas, who=_payer), *(one for one in asked if one.path == ANSWER_AND_EVALUATION)]


def _payer(request: Request, user: str | None) -> User:
    """Who asks: the person of the seal, whatever the body says."""
    return replace(visitor(request, user), person=request.state.person)


class _AsPage:
    """A tier as the page would ask it: personal data is taken out, and what cannot be answered is said."""

    def __init__(self, tier: Tier) -> None:
        self._tier = tier

    @property
    def status(self) -> TierStatus:
        """See `Tier.status`."""
        return self._tier.status

    def stream(
        self, conversation: Conversation, user: User, options: AnswerOptions = ANSWER_AS_USUAL
    ) -> AsyncGenerator[Event, None]:
        """See `Tier.stream`.

        Raises:
            MessageError: The options want what this tier has not.
        """
        if not travels(options):
            raise MessageError("Premium answers in free text, after a condensed history.", code=BEYOND)
        # The rules come first, as on the page: a card and a fixed reply cost nobody anything, and wake nobody.
        return ruled(conversation, lambda plan: self._tier.stream(redacted(plan.conversation), user, options))


class _Door:
    """Lets in what our page has sealed, unchanged and once. The cheapest checks come first."""

    def __init__(self, seal: Seal, once: Once, max_body_bytes: int) -> None:
        self._seal, self._once, self._max_body_bytes = seal, once, max_body_bytes

    async def enter(self, request: Request) -> tuple[bytes, str] | Response:
        """Return the body and the person of its seal, or the refusal."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return _refusal(401, UNSEALED)
        try:
            body = await read_body(request.stream(), self._max_body_bytes)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody is there to read it
        if body is None:
            return _refusal(413, TOO_LARGE)
        try:
            sealed = self._seal.verify(token[:MAX_TOKEN_CHARS], body)
        except TierError as error:
            log.warning("Refused: %s", error)
            return _refusal(403, error.code)
        if not await self._once.take(sealed.token_id, sealed.expires_s):
            log.warning("Refused: a token was used before.")
            return _refusal(403, REPLAYED)
        return body, sealed.person

    def before(self, routes: Sequence[APIRoute]) -> list[APIRoute]:
        """Return the routes, each behind this door; their requests know the person as `request.state.person`."""
        for route in routes:
            route.app = _Guarded(route.app, self)
        return list(routes)


class _Guarded:
    """A route behind a door."""

    def __init__(self, app: ASGIApp, door: _Door) -> None:
        self._app, self._door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        entered = await self._door.enter(Request(scope, receive))
        if isinstance(entered, Response):
            await entered(scope, receive, send)
            return
        body, scope["state"] = entered[0], {**scope.get("state", {}), "person": entered[1]}
        unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return unread.pop() if unread else await receive()

        await self._app(scope, again, send)


class _Turns:
    """The page's route: what `gateway` says, step by step."""

    def __init__(
        self, paid: PaidTier, door: _Door, personas: Mapping[str, Persona], clock: Callable[[], float]
    ) -> None:
        self._paid, self._door, self._personas, self._clock = paid, door, personas, clock

    async def answer(self, request: Request) -> Response:
        """Check, reserve, and stream; the tier is first asked at the end."""
        began = self._clock()
        entered = await self._door.enter(request)
        if isinstance(entered, Response):
            return entered
        try:
            asked = read_request(entered[0], self._personas)
        except (MessageError, PersonaError) as error:
            return _refusal_of(error)
        user = User(asked.talk, person=entered[1])
        moments = self._paid.moments(asked.conversation, user, asked.options, began)
        try:
            first = await anext(moments, None)  # what fails at once is refused with a status, not in mid-stream
        except Exception as error:
            return _refusal_of(error)
        return EventStream(self._lines(first, moments), moments)

    async def _lines(
        self, first: Event | None, moments: AsyncGenerator[Event | None, None]
    ) -> AsyncGenerator[bytes, None]:
        """Yield bytes; an error ends them with an event that says so."""
        try:
            yield write_comment("waiting") if first is None else write_event(first)
            async for event in moments:
                yield write_comment("waiting") if event is None else write_event(event)
        except Exception as error:
            yield write_event(_fault_of(error)[1])


def _fault_of(error: Exception) -> tuple[int, Fault]:
    """Return the status and the fault for an error; what is ours is logged, without any foreign text."""
    match error:
        case MessageError():
            return 400, Fault(error.code)
        case PersonaError():
            return 404, Fault(error.code)
        case TierBusy() | TierUnavailable() if error.code in REFUSED:
            return REFUSED[error.code], Fault(error.code, error.retry_after_s)
        case TierBusy() | TierUnavailable():
            log.warning("Failed: code=%s: %s", error.code, error)
            return 503, Fault(error.code, error.retry_after_s or RETRY_S)
        case ChatError():
            log.error("Failed: code=%s: %s", error.code, error)
            return 500, Fault(error.code)
    log.error("Failed: %s at %s", type(error).__name__, place_of(error))
    return 500, Fault(INTERNAL)


def _refusal_of(error: Exception) -> Response:
    status, fault = _fault_of(error)
    return _refusal(status, fault.code, fault.retry_after_s)


def _refusal(status: int, code: str, retry_after_s: float | None = None) -> Response:
    headers = {"Cache-Control": NO_STORE}
    if retry_after_s is not None:
        headers["Retry-After"] = str(max(round(retry_after_s), 1))
    if status == 413:
        headers["Connection"] = "close"  # otherwise the rest would be read, and thrown away
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    body = write_fault(Fault(code, retry_after_s))
    return Response(body, status, headers, media_type="application/json")
