"""A tier whose answers are paid for: reserved before it is asked, settled however they end. Knows purses; no HTTP.

The gateway's routes stand on it, so that none of them can ask an engine for nothing.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from secrets import token_hex

from dialogue.conversation import Conversation
from errors import ChatError, TierBusy, TierError, TierUnavailable
from tiers.account import Account, GpuTime
from tiers.base import ANSWER_AS_USUAL, AnswerOptions, Done, EagerTier, Event, Tier, TierStatus, Token, User, Warming
from tiers.budget import Price, utc_now
from tiers.ledger import Outcome, Refused, Ticket
from tiers.pulse import pulsed
from tiers.waking import WAKING
from tiers.wire import MAX_BODY_BYTES

log = logging.getLogger(__name__)

TWICE, LATE, INTERNAL, NOBODY = "duplicate", "engine_timeout", "internal", "seal_missing"
PULSE_S = 2.0  # between two looks at the clock while a tier is silent
AHEAD = 8  # events that may wait for a slow connection, so that a GPU does not
PAYMENT = frozenset({"budget_day", "budget_month"})  # refusals that asking again soon does not change
WOKEN = frozenset({"closed", LATE, WAKING})  # ends of an answer that never spoke, and whose GPU may be on


@dataclass(frozen=True)
class Bounds:
    """What one request may take.

    Attributes:
        deadline_s: Seconds from its arrival to the end of its answer, a cold start included. Modal's edge cuts a
            request at 150 s.
        idle_s: Seconds that the GPU stays on after an answer, paid in advance by the last one.
        max_body_bytes: Of the request.
    """

    deadline_s: float = 120.0
    idle_s: float = 0.0
    max_body_bytes: int = MAX_BODY_BYTES

    @property
    def gpu_s(self) -> float:
        """The most GPU time that one answer can take: what is held for it."""
        return self.deadline_s + self.idle_s


class PaidTier:
    """See `Tier`: every answer has a person who asks and a purse that pays.

    Args:
        tier: Answers; not asked before its cost is reserved.
        account: The purse; one that cannot be read is one that is spent.
        price: Of the GPU that the tier uses.
        bounds: What one request may take.
        clock: Seconds, that only grow.
    """

    def __init__(
        self, tier: Tier, account: Account, price: Price, bounds: Bounds, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tier, self._account, self._price, self._bounds, self._clock = tier, account, price, bounds, clock
        self._gpu = GpuTime(bounds.idle_s, clock)
        self._open: set[str] = set()  # requests being answered: a second try of one must not run beside the first

    @property
    def status(self) -> TierStatus:
        """See `Tier.status`."""
        return self._tier.status

    async def stream(
        self, conversation: Conversation, user: User, options: AnswerOptions = ANSWER_AS_USUAL
    ) -> AsyncGenerator[Event, None]:
        """See `Tier.stream` and `moments`."""
        async with aclosing(self.moments(conversation, user, options)) as moments:
            async for event in moments:
                if event is not None:
                    yield event

    async def moments(
        self, conversation: Conversation, user: User, options: AnswerOptions, began: float | None = None
    ) -> AsyncGenerator[Event | None, None]:
        """Yield the tier's events, and None in moments without; settle however this ends.

        `Done` comes last and after the settling: what is told is what was written.

        Args:
            conversation: It waits for an answer.
            user: Its `person` pays.
            options: Its `request_id` is answered once.
            began: When the request arrived, by the same clock; None for now.

        Raises:
            TierError: Nobody pays.
            TierBusy: The purse refuses (`code` says why: "live_stream", "quota_person", "duplicate"), the tier is busy,
                or the answer did not end in time.
            TierUnavailable: The budget is spent, the purse cannot be read, or the tier cannot answer.
        """
        began = self._clock() if began is None else began
        if user.person is None:
            raise TierError("Nobody pays for this answer.", code=NOBODY)
        ticket = Ticket(
            options.request_id or token_hex(16), "premium", conversation.persona.key,
            person=user.person, held=self._price.of(self._bounds.gpu_s),
        )  # fmt: skip
        options = replace(options, request_id=ticket.request_id)
        if isinstance(self._tier, EagerTier):  # reads while the database writes; wakes nobody
            reading = asyncio.create_task(self._tier.prepare(conversation, options))
            try:
                await self._reserve(ticket)
            except BaseException:
                reading.cancel()
                raise
            asked = self._tier.stream(conversation, user, options, reading)
        else:
            await self._reserve(ticket)
            asked = self._tier.stream(conversation, user, options)
        async with aclosing(self._settled(ticket, asked, began)) as moments:
            async for moment in moments:
                yield moment

    async def _settled(
        self, ticket: Ticket, asked: AsyncGenerator[Event, None], began: float
    ) -> AsyncGenerator[Event | None, None]:
        mark, n_tokens, outcome = self._gpu.enter(), 0, Outcome(failed=True)
        starting_s = 0.0  # what is left of the GPU's start
        ended = "closed"
        done: Done | None = None
        try:
            async with aclosing(pulsed(asked, PULSE_S, ahead=AHEAD)) as events:
                async for event in events:
                    if isinstance(event, Done):
                        done, ended = event, event.reason
                        break
                    n_tokens += isinstance(event, Token)
                    if event is not None:
                        starting_s = (event.eta_s or 0.0) if isinstance(event, Warming) else 0.0
                    self._hurry(began)
                    yield event
                    outcome = Outcome(tokens_out=n_tokens, failed=n_tokens == 0)
        except Exception as error:
            ended, outcome = error.code if isinstance(error, ChatError) else INTERNAL, Outcome(failed=True)
            raise
        finally:
            # Who leaves while the GPU starts has woken it; one that cannot be had is not waited for.
            ran = n_tokens > 0 or ended in WOKEN or done is not None
            gpu_s = self._gpu.leave(mark, ran=ran, starting_s=self._within(starting_s, began))
            self._open.discard(ticket.request_id)
            if done is not None:
                outcome = Outcome(
                    tokens_in=done.usage.prompt_tokens, tokens_out=done.usage.completion_tokens or n_tokens
                )
            await self._settle(ticket, replace(outcome, cost=self._price.of(max(gpu_s, 0.0))))
            log.info("Ended: request=%s persona=%s how=%s gpu_s=%.2f", ticket.request_id, ticket.persona, ended, gpu_s)
        if done is not None:
            yield Done(done.reason, replace(done.usage, gpu_s=gpu_s))

    async def _reserve(self, ticket: Ticket) -> None:
        """Hold what the answer can cost, or raise; what cannot be counted is not spent."""
        if ticket.request_id in self._open:
            raise TierBusy("The request is being answered.", code=TWICE)
        self._open.add(ticket.request_id)
        try:
            answer = await self._account.reserve(ticket)
        except BaseException:
            self._open.discard(ticket.request_id)
            raise
        if isinstance(answer, Refused):
            self._open.discard(ticket.request_id)
            log.info("Refused: request=%s why=%s", ticket.request_id, answer.why)
            kind = TierUnavailable if answer.why in PAYMENT else TierBusy
            wait_s = answer.retry_after_s(utc_now())
            raise kind(f"The purse refuses: {answer.why}.", code=answer.why, retry_after_s=wait_s)

    def _within(self, starting_s: float, began: float) -> float:
        """Of a start that goes on, what the sum held for the answer can still pay."""
        return max(min(starting_s, self._bounds.deadline_s - (self._clock() - began)), 0.0)

    def _hurry(self, began: float) -> None:
        if self._clock() - began > self._bounds.deadline_s:
            raise TierBusy("The answer did not end in time.", code=LATE)

    async def _settle(self, ticket: Ticket, outcome: Outcome) -> None:
        try:
            await self._account.settle(ticket, outcome)
        except ChatError as error:  # what was held stays counted in full, so nothing is spent unseen
            log.error("Not settled: request=%s: %s", ticket.request_id, error)
