"""The premium gateway: one route that checks, reserves and streams an answer. Runs anywhere that runs Python.

Everything that can refuse a request refuses it before the tier is asked, so that no stranger, no replay and no spent
budget ever wakes a GPU. Knows tiers and their contract with the page (`tiers.wire`); knows no engine, no model and no
host: `tier` brings them.
"""

import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace

from fastapi import FastAPI, Request, Response

from errors import ChatError, MessageError, PersonaError, TierBusy, TierError, TierUnavailable, place_of
from personas import PERSONAS, Persona
from service.health import NO_STORE, routes
from service.metrics import MeasuredTier, Metrics, Now, metrics_routes
from service.sse import EventStream, read_body
from tiers.account import Account, GpuTime
from tiers.base import Done, Event, Tier, Token, User
from tiers.budget import Price
from tiers.ledger import Outcome, Refused, Ticket
from tiers.pulse import pulsed
from tiers.seal import Once, OnceInMemory, Seal
from tiers.wire import (
    MAX_BODY_BYTES,
    PATH,
    Asked,
    Fault,
    read_request,
    write_comment,
    write_event,
    write_fault,
)

log = logging.getLogger(__name__)

UNSEALED, REPLAYED, TOO_LARGE, TWICE = "seal_missing", "seal_replayed", "body_too_large", "duplicate"
LATE, INTERNAL = "engine_timeout", "internal"
MAX_TOKEN_CHARS = 2_000
PULSE_S = 2.0  # between two comments of a silent stream
RETRY_S = 5.0  # told where nobody knows better
PAYMENT = frozenset({"budget_day", "budget_month"})  # refusals that asking again soon does not change


@dataclass(frozen=True)
class Bounds:
    """What one request may take.

    Attributes:
        deadline_s: Seconds from its arrival to the end of its answer, a cold start included. Modal's edge cuts a
            request at 150 s.
        idle_s: Seconds that the GPU stays on after an answer, which whoever comes next pays.
        max_body_bytes: Of the request.
    """

    deadline_s: float = 120.0
    idle_s: float = 0.0
    max_body_bytes: int = MAX_BODY_BYTES

    @property
    def gpu_s(self) -> float:
        """The most GPU time that one answer can take: what is held for it."""
        return self.deadline_s + self.idle_s


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
    """Return the gateway as an ASGI application: `POST /v1/turns`, `GET /health`, `/ready`, `/metrics`.

    A request is `tiers.wire.write_request`'s body with `Authorization: Bearer <tiers.seal.Seal.make(…)>`; an answer is
    the events of `tiers.wire`. Refusals have a `Fault` as their body: 401 no token, 403 a token that proves nothing or
    was used, 413 too large, 400 and 404 a body that asks nothing, 402 the budget, 429 the person's quota or stream,
    503 the ledger or the engine.

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
    measured = MeasuredTier(tier, "premium", counted)
    desk = _Desk(measured, seal, account, price, bounds or Bounds(), once or OnceInMemory(), personas, clock)
    app = FastAPI(title="Bergson and Friends, premium", docs_url=None, redoc_url=None, openapi_url=None)
    app.post(PATH, response_model=None)(desk.answer)
    app.router.routes.extend([*routes(tier), *metrics_routes(counted, metrics_token)])
    return app


class _Desk:
    """The route's handler: what `gateway` says, step by step."""

    def __init__(
        self,
        tier: Tier,
        seal: Seal,
        account: Account,
        price: Price,
        bounds: Bounds,
        once: Once,
        personas: Mapping[str, Persona],
        clock: Callable[[], float],
    ) -> None:
        self._tier, self._seal, self._account, self._price = tier, seal, account, price
        self._bounds, self._once, self._personas, self._clock = bounds, once, personas, clock
        self._gpu = GpuTime(bounds.idle_s, clock)
        self._open: set[str] = set()  # requests being answered: a second try of one must not run beside the first

    async def answer(self, request: Request) -> Response:
        """Check, reserve, and stream; the tier is first asked at the end."""
        began = self._clock()
        checked = await self._check(request)
        if isinstance(checked, Response):
            return checked
        asked, person = checked
        held = self._price.of(self._bounds.gpu_s)
        ticket = Ticket(asked.request_id, "premium", asked.conversation.persona.key, person=person, held=held)
        refused = await self._reserve(ticket)
        if refused is not None:
            return refused
        events = self._events(ticket, asked, began)
        try:
            first = await anext(events, None)  # what fails at once is refused with a status, not in mid-stream
        except Exception as error:
            return _refusal_of(error)
        return EventStream(self._lines(first, events), events)

    async def _check(self, request: Request) -> tuple[Asked, str] | Response:
        """Return what is asked and by whom, or the refusal. The cheapest checks come first."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return _refusal(401, UNSEALED)
        body = await read_body(request.stream(), self._bounds.max_body_bytes)
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
        try:
            return read_request(body, self._personas), sealed.person
        except (MessageError, PersonaError) as error:
            return _refusal_of(error)

    async def _reserve(self, ticket: Ticket) -> Response | None:
        if ticket.request_id in self._open:
            return _refusal(409, TWICE)
        self._open.add(ticket.request_id)
        refused: Response | None = None
        try:
            answer = await self._account.reserve(ticket)
            if isinstance(answer, Refused):
                log.info("Refused: request=%s why=%s", ticket.request_id, answer.why)
                status = 409 if answer.why == "duplicate" else 402 if answer.why in PAYMENT else 429
                refused = _refusal(status, answer.why)
        except ChatError as error:  # fail closed: what cannot be counted is not spent
            refused = _refusal_of(error)
        except BaseException:
            self._open.discard(ticket.request_id)
            raise
        if refused is not None:
            self._open.discard(ticket.request_id)
        return refused

    async def _events(self, ticket: Ticket, asked: Asked, began: float) -> AsyncGenerator[Event | None, None]:
        """Yield the tier's events, and None in moments without; settle however this ends.

        `Done` comes last and after the settling: what the page is told is what was written.
        """
        mark, n_tokens, outcome = self._gpu.enter(), 0, Outcome(failed=True)
        ended = "closed"
        user = User(asked.talk, person=ticket.person)
        done: Done | None = None
        try:
            async with aclosing(pulsed(self._tier.stream(asked.conversation, user, asked.options), PULSE_S)) as events:
                async for event in events:
                    if isinstance(event, Done):
                        done, ended = event, event.reason
                        break
                    n_tokens += isinstance(event, Token)
                    self._hurry(began)
                    yield event
                    outcome = Outcome(tokens_out=n_tokens, failed=n_tokens == 0)
        except Exception as error:
            ended, outcome = error.code if isinstance(error, ChatError) else INTERNAL, Outcome(failed=True)
            raise
        finally:
            gpu_s = self._gpu.leave(mark)
            self._open.discard(ticket.request_id)
            if done is not None:
                outcome = Outcome(tokens_in=done.usage.prompt_tokens, tokens_out=done.usage.completion_tokens)
            await self._settle(ticket, replace(outcome, cost=self._price.of(max(gpu_s, 0.0))))
            log.info("Ended: request=%s persona=%s how=%s gpu_s=%.2f", ticket.request_id, ticket.persona, ended, gpu_s)
        if done is not None:
            yield Done(done.reason, replace(done.usage, gpu_s=gpu_s))

    def _hurry(self, began: float) -> None:
        if self._clock() - began > self._bounds.deadline_s:
            raise TierBusy("The answer did not end in time.", code=LATE)

    async def _settle(self, ticket: Ticket, outcome: Outcome) -> None:
        try:
            await self._account.settle(ticket, outcome)
        except ChatError as error:  # what was held stays counted in full, so nothing is spent unseen
            log.error("Not settled: request=%s: %s", ticket.request_id, error)

    async def _lines(
        self, first: Event | None, events: AsyncGenerator[Event | None, None]
    ) -> AsyncGenerator[bytes, None]:
        """Yield bytes; an error ends them with an event that says so."""
        try:
            yield write_comment("waiting") if first is None else write_event(first)
            async for event in events:
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
