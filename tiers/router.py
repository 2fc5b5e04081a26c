"""Who answers a turn: premium for whoever may have it and while there is money, the free tier for everybody else.

A premium answer is reserved before it is asked for and settled however it ends. Whatever keeps it from beginning, the
free tier answers at once, a notice says why, and the pupil's count stays as it was. Once a word was shown there is no
other tier: two voices in one answer would be worse than an error. Knows accounts and plans; knows no page and no HTTP.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, Protocol

from dialogue.conversation import Conversation
from errors import ChatError, TierBusy, TierError, TierUnavailable, place_of
from tiers.account import LedgerAccount
from tiers.base import (
    ANSWER_AS_USUAL,
    AnswerOptions,
    Card,
    Citation,
    Done,
    Event,
    Login,
    Notice,
    Scheme,
    Tier,
    TierStatus,
    Token,
    Usage,
    User,
)
from tiers.budget import NOTHING, Price, Spent, utc_now
from tiers.entitlements import Entitlements, Plan, pseudonym
from tiers.ledger import Outcome, Refused, Ticket
from tiers.premium import OURS, Reaching
from tiers.rules import ruled, stops
from tiers.wire import DOWN, travels

log = logging.getLogger(__name__)

MEMBERSHIP_UNKNOWN, LOGIN_EXPIRED, LEDGER = "membership_unknown", "login_expired", "ledger_unavailable"
QUOTA_FREE = "quota_browser"

VISITOR = Plan("free", reason="none")


@dataclass(frozen=True)
class Route:
    """A decision and its reason, as the log says it; `notice` is what the page says, where it says anything.

    Attributes:
        tier: Who answers.
        reason: Why: "no_premium", "no_login", "beyond_premium", a reason of `Plan`, a code, or what premium comes from.
        person: The account's pseudonym; None for a visitor.
        notice: A code of the page's texts; None for nothing.
    """

    tier: Literal["free", "premium"]
    reason: str
    person: str | None = None
    notice: str | None = None


@dataclass(frozen=True)
class Standing:
    """What a page shows of somebody's rights.

    Attributes:
        tier: What the next answer comes from, as far as can be known.
        reason: Why it is not premium: "no_login", "none", "barred", "hub_unreachable", "no_premium", or None.
        until: When premium ends, or is asked anew.
        answers_left: Answers of that tier left today; None for no limit.
        resets_at: When the count begins anew.
    """

    tier: Literal["free", "premium"]
    reason: str | None = None
    until: datetime | None = None
    answers_left: int | None = None
    resets_at: datetime | None = None


class Plans(Protocol):
    """Says what a user may have."""

    async def plan(self, user: User) -> tuple[str | None, Plan]:
        """Return the account's pseudonym (None for a visitor) and what it may use now.

        Raises:
            TierUnavailable: It cannot be known.
        """
        ...


class LoginPlans:
    """See `Plans`: whoever is logged in has what `Entitlements` says.

    Args:
        entitlements: Grants, passes, memberships.
        clock: Seconds since 1970, for logins that end.
    """

    def __init__(self, entitlements: Entitlements, clock: Callable[[], float] = time.time) -> None:
        self._entitlements = entitlements
        self._clock = clock

    async def plan(self, user: User) -> tuple[str | None, Plan]:
        """See `Plans.plan`."""
        login = self._login(user)
        if login is None:
            return None, VISITOR
        return self._entitlements.person(login.sub), await self._entitlements.plan(login.sub, login.token)

    async def redeem(self, user: User, code: str) -> Plan:
        """See `Router.redeem`."""
        login = self._login(user)
        if login is None:
            raise TierError("A seat of a pass is an account's, and nobody is logged in.", code="pass_login")
        return await self._entitlements.take_seat(code, login.sub)

    def _login(self, user: User) -> Login | None:
        """A login that has ended is none: the cookie outlives it."""
        login = user.login
        ended = login is not None and login.expires_s is not None and login.expires_s <= self._clock()
        return None if ended else login


class EverybodyPlans:
    """See `Plans`: everybody has premium. For a machine of one's own; an open page would be everybody's purse.

    Args:
        secret: Makes pseudonyms, 32 characters or more.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret

    async def plan(self, user: User) -> tuple[str | None, Plan]:
        """See `Plans.plan`."""
        return pseudonym(self._secret, "person", user.client), Plan("premium", "grant")


@dataclass(frozen=True)
class PremiumSide:
    """What the router needs to offer premium.

    Attributes:
        tier: Answers; usually a `PremiumTier`.
        plans: Who may have it.
        price: Of its GPU.
        held_s: The most GPU time that one answer can take.
    """

    tier: Tier
    plans: Plans
    price: Price
    held_s: float


class Router:
    """See `Tier`: the one that page and routes talk with.

    Args:
        free: Answers everybody.
        account: The page's purse; None where no ledger can be opened: then nothing is counted, and premium is closed.
        premium: None for a page without.
        secret: Makes pseudonyms of browsers; None counts no browser.
        free_quota: Whether free answers are limited by the account's quotas.
    """

    def __init__(
        self,
        free: Tier,
        account: LedgerAccount | None = None,
        premium: PremiumSide | None = None,
        *,
        secret: str | None = None,
        free_quota: bool = False,
    ) -> None:
        self._free, self._account, self._secret, self._free_quota = free, account, secret, free_quota
        self._premium = premium if account is not None else None

    @property
    def status(self) -> TierStatus:
        """See `Tier.status`: the free tier's, which is what everybody falls back on."""
        return self._free.status

    async def standing(self, user: User) -> Standing:
        """Return what a page shows of somebody's rights; never raises for what is down."""
        tier: Literal["free", "premium"] = "free"
        person, plan, reason = None, VISITOR, "no_premium"
        try:
            if self._premium is not None:
                person, plan = await self._premium.plans.plan(user)
                tier, reason = plan.tier, ("no_login" if person is None else plan.reason) or ""
            if self._account is None:
                return Standing(tier, reason or None, plan.until)
            left = await self._account.quota_left(tier, browser=self._browser(user), person=person)
        except ChatError as error:
            log.warning("Standing is not known: %s", error.code)
            return Standing("free", error.code)
        return Standing(tier, reason or None, plan.until, left.answers, left.resets_at)

    async def redeem(self, user: User, code: str) -> Plan:
        """Give whoever is logged in a seat of the class pass with this code; return the plan that comes with it.

        Raises:
            TierBusy: Too many codes were tried in vain (`code` is "pass_tries").
            TierError: There is no seat; `code` is another `NoSeat`, or "pass_login" where nobody is logged in.
            TierUnavailable: No login is asked for here ("no_premium"), or the database cannot be used.
        """
        plans = self._premium.plans if self._premium is not None else None
        if not isinstance(plans, LoginPlans):
            raise TierUnavailable("A class pass needs a premium for people who are logged in.", code="no_premium")
        return await plans.redeem(user, code)

    async def stream(
        self, conversation: Conversation, user: User, options: AnswerOptions = ANSWER_AS_USUAL
    ) -> AsyncGenerator[Event, None]:
        """See `Tier.stream`."""
        options = replace(options, request_id=options.request_id or secrets.token_hex(16))
        route = await self._route(user, options)
        log.info("Route: request=%s tier=%s reason=%s", options.request_id, route.tier, route.reason)
        if route.notice:
            yield Notice(route.notice)
        if route.tier == "premium" and self._premium is not None and route.person is not None:
            asker = replace(user, person=route.person)
            side = self._premium
            # The rules come first: a card is shown without a word having left, and nothing is reserved for it.
            events = ruled(conversation, lambda plan: self._premium_first(side, plan.conversation, asker, options))
        else:
            events = self._freely(conversation, replace(user, person=route.person), options)
        async with aclosing(events):
            async for event in events:
                yield event

    async def _route(self, user: User, options: AnswerOptions) -> Route:
        if self._premium is None:
            return Route("free", "no_premium")
        try:
            person, plan = await self._premium.plans.plan(user)
        except ChatError as error:
            log.error("Plans are not known: %s", error)
            return Route("free", error.code, notice=error.code)
        if person is None:
            ended = user.login is not None
            return Route("free", "no_login", notice=LOGIN_EXPIRED if ended else None)
        if plan.tier == "free":
            unknown = plan.reason == "hub_unreachable"
            return Route("free", plan.reason or "none", person, MEMBERSHIP_UNKNOWN if unknown else None)
        if not travels(options):
            return Route("free", "beyond_premium", person)
        return Route("premium", plan.source or "entitled", person)

    async def _premium_first(
        self, side: PremiumSide, conversation: Conversation, user: User, options: AnswerOptions
    ) -> AsyncGenerator[Event, None]:
        """Answer by premium; by the free tier, with a notice, where that fails before its first word."""
        assert self._account is not None and options.request_id is not None  # noqa: S101, PT018 - `stream` saw to it
        ticket = Ticket(
            options.request_id, "premium", conversation.persona.key, self._browser(user), user.person,
            side.price.of(side.held_s),
        )  # fmt: skip
        why: str | None
        try:
            answer = await self._account.reserve(ticket)
            why = answer.why if isinstance(answer, Refused) else None
        except TierUnavailable as error:  # fail closed
            log.error("Nothing can be reserved: %s", error)
            why = error.code
        if why is None:
            spoken = _Spoken(side.price, side.held_s)
            try:
                async with aclosing(self._paid(ticket, spoken, side.tier, conversation, user, options)) as events:
                    async for event in events:
                        yield event
                return
            except TierError as error:
                if spoken.said:
                    raise
                why = DOWN if error.code == OURS else error.code
        log.info("Fallback: request=%s why=%s", options.request_id, why)
        yield Notice(DOWN if why == "duplicate" else why)
        async with aclosing(self._freely(conversation, user, _anew(options))) as events:
            async for event in events:
                yield event

    async def _paid(
        self, ticket: Ticket, spoken: "_Spoken", tier: Tier, conversation: Conversation, user: User,
        options: AnswerOptions,
    ) -> AsyncGenerator[Event, None]:  # fmt: skip
        """Yield what premium says, and settle; passages and chip come with a word, so that none stays of a fallback."""
        held_back: list[Event] = []
        done: Done | None = None
        try:
            async with aclosing(tier.stream(conversation, user, options)) as events:
                async for event in events:
                    if isinstance(event, Done):
                        done = event
                        break
                    spoken.take(event)
                    if isinstance(event, (Citation, Scheme)) and not spoken.said:
                        held_back.append(event)
                        continue
                    if spoken.said:
                        for earlier in held_back:
                            yield earlier
                        held_back.clear()
                    yield event
        except ChatError:
            spoken.failed = True
            raise
        except Exception as error:  # a fault of ours in a foreign library: the free tier answers, the log says where
            spoken.failed = True
            log.error("The premium tier failed: %s at %s", type(error).__name__, place_of(error))
            raise TierUnavailable(f"The premium tier failed ({type(error).__name__}).", code=DOWN) from error
        finally:
            await self._settle(ticket, spoken.outcome(done))
        if done is not None:
            yield done

    async def _freely(
        self, conversation: Conversation, user: User, options: AnswerOptions
    ) -> AsyncGenerator[Event, None]:
        """Answer by the free tier; it is counted, and limited only where a quota was set."""
        assert options.request_id is not None  # noqa: S101 - `stream` saw to it
        ticket = Ticket(options.request_id, "free", conversation.persona.key, self._browser(user), user.person)
        if self._free_quota and not await asyncio.to_thread(stops, conversation):
            await self._reserve_free(ticket)
        outcome, carded = Outcome(failed=True), False
        try:
            async with aclosing(self._free.stream(conversation, user, options)) as events:
                async for event in events:
                    carded = carded or isinstance(event, Card)
                    if isinstance(event, Token):
                        outcome = Outcome(tokens_out=outcome.tokens_out + 1)
                    elif isinstance(event, Done):
                        outcome = Outcome(tokens_in=event.usage.prompt_tokens, tokens_out=event.usage.completion_tokens)
                    yield event
        except BaseException as error:
            if isinstance(error, Exception):  # a page that was closed is no failure
                outcome = replace(outcome, failed=True)
            raise
        finally:  # a card costs none of the day's answers
            await self._settle(ticket, replace(outcome, failed=True) if carded else outcome)

    async def _reserve_free(self, ticket: Ticket) -> None:
        """Raise when a quota is used up; a ledger that is down never stops the free tier."""
        if self._account is None:
            return
        try:
            answer = await self._account.reserve(ticket)
        except TierUnavailable as error:
            log.error("A free answer is not counted: %s", error)
            return
        if isinstance(answer, Refused):
            wait_s = answer.retry_after_s(utc_now())
            raise TierBusy(f"No free answer is left today ({answer.why}).", code=QUOTA_FREE, retry_after_s=wait_s)

    async def _settle(self, ticket: Ticket, outcome: Outcome) -> None:
        if self._account is None:
            return
        try:
            await self._account.settle(ticket, outcome)
        except ChatError as error:  # what was held stays counted, so nothing is spent unseen
            log.error("Not settled: request=%s: %s", ticket.request_id, error)

    def _browser(self, user: User) -> str | None:
        return pseudonym(self._secret, "browser", user.client) if self._secret and user.client else None

    def budget_left(self) -> Spent | None:
        """What premium may still spend; None where there is none. Reads the database: not for an event loop."""
        return self._account.left() if self._account is not None and self._premium is not None else None


class _Spoken:
    """How far a premium answer has come, and what it has cost so far."""

    def __init__(self, price: Price, held_s: float) -> None:
        self._price, self._held_s = price, held_s
        self._began = time.monotonic()
        self._heard = False
        self._n_tokens = 0
        self.failed = False

    @property
    def said(self) -> bool:
        """Whether a word was shown."""
        return self._n_tokens > 0

    def take(self, event: Event) -> None:
        """Remember that something came."""
        self._heard |= not isinstance(event, Reaching)
        self._n_tokens += isinstance(event, Token)

    def outcome(self, done: Done | None) -> Outcome:
        """Return what is settled: what the gateway says it took; without its word the time that passed.

        Never more than was held. An answer that nobody heard of cost nothing: no gateway had begun.
        """
        if done is not None:
            usage: Usage = done.usage
            cost = self._price.of(min(usage.gpu_s, self._held_s))
            return Outcome(cost, usage.prompt_tokens, usage.completion_tokens)
        seconds = min(time.monotonic() - self._began, self._held_s)
        cost = self._price.of(round(seconds, 3)) if self._heard else NOTHING
        return Outcome(cost, tokens_out=self._n_tokens, failed=self.failed or not self.said)


def _anew(options: AnswerOptions) -> AnswerOptions:
    """The same question for the other tier is another row of the ledger."""
    return replace(options, request_id=secrets.token_hex(16))
