"""What was used, what is held, what is left: one row for each answer. Knows no engine, no page and no name.

An answer is *reserved* before its engine is called, for the most it can cost, and *settled* when it ends, however it
ends, for what it did cost. Its ticket's id makes both safe to repeat. A reservation that nobody settles expires: the
pupil may ask again, the money stays counted in full (a process that dies says not what it spent), until a late
settlement says better. What is held from before midnight counts against the new day too, until it is settled.

Rows hold a request's id, keys that are HMACs, a persona, numbers. No text, no name, no address.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Index,
    Integer,
    Row,
    Select,
    String,
    Table,
    bindparam,
    case,
    delete,
    func,
    insert,
    select,
    update,
)

from errors import TierError
from tiers.budget import NOTHING, Clock, Cost, Limits, OverBudget, Spent, day_of, next_reset, refusal, start_of, utc_now
from tiers.store import METADATA, Store

log = logging.getLogger(__name__)

TierName = Literal["free", "premium"]
Why = Literal["quota_person", "quota_browser", "live_stream", "duplicate"] | OverBudget

TTL_S = 300.0  # after which a reservation is abandoned: longer than any answer, its cold start included
KEPT_DAYS = 400  # a school year and its summer; then rows are deleted
DELETED_AT_ONCE = 1_000  # rows; a delete of everything would hold the lock while pupils wait

KEY = re.compile(r"[0-9a-f]{64}")  # what `entitlements.pseudonym` makes; nothing else may get in
WORD = re.compile(r"[A-Za-z0-9_.:-]{1,64}")

USAGE = Table(
    "usage",
    METADATA,
    Column("request_id", String(64), primary_key=True),
    Column("tier", String(16), nullable=False),
    Column("persona", String(64), nullable=False),
    Column("person", String(64)),
    Column("browser", String(64)),
    Column("day", String(10), nullable=False),  # in Paris, of the reservation
    Column("reserved_ms", BigInteger, nullable=False),  # since 1970
    Column("expires_ms", BigInteger, nullable=False),
    Column("state", String(8), nullable=False),  # reserved, settled, failed, expired
    Column("gpu_ms", BigInteger, nullable=False),  # held while reserved, then spent
    Column("micro_usd", BigInteger, nullable=False),
    Column("tokens_in", Integer, nullable=False, default=0),
    Column("tokens_out", Integer, nullable=False, default=0),
    Index("usage_spent", "tier", "day", "state", "gpu_ms", "micro_usd"),  # covers the sums of the budget
    Index("usage_person", "person", "day"),
    Index("usage_browser", "browser", "day"),
    Index("usage_state", "state", "expires_ms"),
)


def _summing(part: ColumnElement[bool], which: ColumnElement[bool]) -> Select[Any]:
    """Sum the rows of `which`, and again those among them that are of `part`."""
    amounts = (USAGE.c.gpu_ms, USAGE.c.micro_usd)
    sums = [func.coalesce(func.sum(value), 0) for value in (*amounts, *(case((part, a), else_=0) for a in amounts))]
    return select(*sums).where(which)


def _counting(column: ColumnElement[str | None], *which: ColumnElement[bool]) -> Select[Any]:
    return select(func.count()).where(column == bindparam("who"), USAGE.c.tier == bindparam("of_tier"), *which)


# What every answer asks of the database, made once: making a statement takes longer than running it.
_RESERVED, _TODAY = USAGE.c.state == "reserved", USAGE.c.day == bindparam("today")
_PREMIUM, _IN_MONTH = USAGE.c.tier == "premium", USAGE.c.day.between(bindparam("first"), bindparam("last"))
_FIND = select(USAGE).where(USAGE.c.request_id == bindparam("id"))
_INSERT = insert(USAGE)
_EXPIRE = update(USAGE).where(_RESERVED, USAGE.c.expires_ms <= bindparam("now_ms")).values(state="expired")
_LIVE = _counting(USAGE.c.person, _RESERVED)
_ANSWERS = {
    str(column.key): _counting(column, _TODAY, USAGE.c.state.in_(("reserved", "settled")))
    for column in (USAGE.c.person, USAGE.c.browser)
}
_WRITTEN = _summing(_TODAY, _PREMIUM & _IN_MONTH)
_HELD = _summing(~_IN_MONTH, _PREMIUM & _RESERVED & (USAGE.c.day != bindparam("today")))


@dataclass(frozen=True)
class Ticket:
    """A request for an answer, before it is known whether it may be had.

    Attributes:
        request_id: The same for every try of the same request, at most 64 letters, digits, `_.:-`.
        tier: Who would answer.
        persona: Key of the philosopher.
        browser: HMAC of the browser's session, 64 hexadecimal digits.
        person: HMAC of the OIDC `sub`, likewise; None for a visitor without account.
        held: The most that the answer can cost; nothing for the free tier.
    """

    request_id: str
    tier: TierName
    persona: str
    browser: str | None = None
    person: str | None = None
    held: Cost = NOTHING

    def __post_init__(self) -> None:
        for name, value in (("request_id", self.request_id), ("persona", self.persona)):
            if not WORD.fullmatch(value):
                raise TierError(f"A ticket's {name} has {len(value)} characters, or others than letters, digits, _.:-")
        for name, key in (("browser", self.browser), ("person", self.person)):
            if key is not None and not KEY.fullmatch(key):
                raise TierError(f"A ticket's {name} is no HMAC of 64 hexadecimal digits.")  # the value may be a name
        if self.tier not in ("free", "premium"):
            raise TierError(f"No tier {self.tier!r}; free or premium.")
        if self.tier == "premium" and (self.person is None or self.held.gpu_ms == 0):
            raise TierError("A premium ticket needs a person and the GPU time it may take.")
        if self.tier == "free" and self.held != NOTHING:
            raise TierError("A free ticket holds no money.")


@dataclass(frozen=True)
class Reserved:
    """The answer may be had; `expires_at` is when the reservation is taken for abandoned."""

    ticket: Ticket
    expires_at: datetime


@dataclass(frozen=True)
class Refused:
    """The answer may not be had, and nothing was written. `resets_at` is when asking again may help, where known."""

    why: Why
    resets_at: datetime | None = None

    def retry_after_s(self, now: datetime) -> float | None:
        """Seconds after which asking again may help, where known."""
        return None if self.resets_at is None else max((self.resets_at - now).total_seconds(), 1.0)


@dataclass(frozen=True)
class Outcome:
    """What an answer cost, however it ended.

    Attributes:
        cost: GPU time and money, true also of a failed answer.
        tokens_in: Length of the prompt.
        tokens_out: Length of the answer, as far as it got.
        failed: The pupil got no answer: it does not count against the quota.
    """

    cost: Cost = NOTHING
    tokens_in: int = 0
    tokens_out: int = 0
    failed: bool = False


@dataclass(frozen=True)
class Quota:
    """How much one pupil may ask of a tier. None is no limit.

    Attributes:
        person_a_day: Answers a day for an account.
        browser_a_day: Answers a day for a browser.
        live: Answers at the same time for an account: a shared password serves one pupil at a time.
    """

    person_a_day: int | None = None
    browser_a_day: int | None = None
    live: int | None = 1


@dataclass(frozen=True)
class QuotaLeft:
    """What a page shows: how many answers are left today (None: no limit), and when the count begins anew."""

    answers: int | None
    resets_at: datetime


@dataclass(frozen=True)
class DayCost:
    """One line of the daily report, of one tier and persona."""

    day: date
    tier: str
    persona: str
    calls: int
    failures: int
    tokens_in: int
    tokens_out: int
    cost: Cost


class Ledger:
    """Reserves, settles and counts. Safe to share between threads and between processes.

    From an event loop, call through the store, which keeps the order: `await store.run(ledger.reserve, ticket)`. Every
    method raises `TierUnavailable` when the database cannot be used: what is not written is not allowed.

    Args:
        store: The database, opened by the caller, closed by the caller.
        limits: The budget of the premium tier.
        quotas: Of each tier; one that is not named has no limit of its own.
        clock: What time it is, with a time zone.
        ttl_s: Seconds after which a reservation is taken for abandoned.
    """

    def __init__(
        self,
        store: Store,
        limits: Limits,
        quotas: Mapping[TierName, Quota] | None = None,
        *,
        clock: Clock = utc_now,
        ttl_s: float = TTL_S,
    ) -> None:
        self._store = store
        self._limits = limits
        self._quotas = dict(quotas or {})
        self._clock = clock
        self._ttl = timedelta(seconds=ttl_s)

    def reserve(self, ticket: Ticket) -> Reserved | Refused:
        """Hold the cost of an answer, or say why not. The same open ticket again changes nothing and is not counted."""
        with self._store.transaction() as connection:
            now = self._clock()  # inside: whoever waited for the lock past midnight is of the new day
            self._expire(connection, now)
            row = connection.execute(_FIND, {"id": ticket.request_id}).one_or_none()
            if row is not None:
                if row.state != "reserved" or not _same(row, ticket):
                    return Refused("duplicate")
                return Reserved(ticket, _moment(row.expires_ms))
            why = self._refusal(connection, ticket, now)
            if why is not None:
                log.info("Refused: request=%s tier=%s why=%s", ticket.request_id, ticket.tier, why)
                return Refused(why, _resets(why, now))
            self._insert(connection, ticket, now, "reserved", Outcome(ticket.held))
            return Reserved(ticket, now + self._ttl)

    def take_back(self, ticket: Ticket) -> None:
        """Undo a reservation, as though it had never been asked for; one that is settled stays."""
        with self._store.transaction() as connection:
            connection.execute(delete(USAGE).where(USAGE.c.request_id == ticket.request_id, _RESERVED))

    def settle(self, ticket: Ticket, outcome: Outcome) -> bool:
        """Replace what was held by what was spent; return False when that was done before.

        A ticket that the database does not know is written as well: it may come from before a restored snapshot, and
        free answers need no reservation.
        """
        known = USAGE.c.request_id == ticket.request_id
        with self._store.transaction() as connection:
            changed = connection.execute(
                update(USAGE)
                .where(known, USAGE.c.state.in_(("reserved", "expired")))
                .values(state=_state(outcome), **_spent(outcome))
            )
            if changed.rowcount:
                return True
            if connection.execute(select(USAGE.c.state).where(known)).first() is not None:
                return False
            self._insert(connection, ticket, self._clock(), _state(outcome), outcome)
            return True

    def spent(self) -> Spent:
        """What is spent or held of today's and this month's budget."""
        with self._store.transaction() as connection:
            now = self._clock()
            self._expire(connection, now)
            return _spent_of(connection, now)

    def left(self) -> Spent:
        """What may still be spent today and this month."""
        spent = self.spent()
        month = self._limits.month.minus(spent.month)
        return Spent(self._limits.day.minus(spent.day), month)

    def quota_left(self, tier: TierName, *, browser: str | None = None, person: str | None = None) -> QuotaLeft:
        """How many answers a pupil may still have today: the smaller of the account's count and the browser's."""
        quota = self._quotas.get(tier, Quota())
        with self._store.transaction() as connection:
            now = self._clock()
            self._expire(connection, now)
            left = [
                max(0, allowed - _answers(connection, tier, column, key, now))
                for column, key, allowed in _counted(quota, person, browser)
            ]
        return QuotaLeft(min(left, default=None), next_reset(now))

    def day_costs(self, day: date) -> list[DayCost]:
        """Return a day's totals by tier and persona, both in order; an answer in progress is a call already."""
        failed = case((USAGE.c.state.in_(("failed", "expired")), 1), else_=0)
        sums = [USAGE.c.tokens_in, USAGE.c.tokens_out, USAGE.c.gpu_ms, USAGE.c.micro_usd]
        asked = (
            select(USAGE.c.tier, USAGE.c.persona, func.count(), func.sum(failed), *map(func.sum, sums))
            .where(USAGE.c.day == day.isoformat())
            .group_by(USAGE.c.tier, USAGE.c.persona)
            .order_by(USAGE.c.tier, USAGE.c.persona)
        )
        with self._store.transaction() as connection:
            self._expire(connection, self._clock())
            rows = connection.execute(asked).all()
        return [_day_cost(day, row) for row in rows]

    def n_open(self, day: date) -> int:
        """How many reservations of a day are neither settled nor expired."""
        with self._store.transaction() as connection:
            self._expire(connection, self._clock())
            found = select(func.count()).where(USAGE.c.day == day.isoformat(), USAGE.c.state == "reserved")
            return int(connection.execute(found).scalar_one())

    def forget(self, days: int = KEPT_DAYS) -> int:
        """Delete rows older than `days`, a bounded number at once; return how many."""
        before = (day_of(self._clock()) - timedelta(days=days)).isoformat()
        old = select(USAGE.c.request_id).where(USAGE.c.day < before).limit(DELETED_AT_ONCE)
        total = 0
        while True:
            with self._store.transaction() as connection:
                n = connection.execute(delete(USAGE).where(USAGE.c.request_id.in_(old))).rowcount
            total += n
            if n < DELETED_AT_ONCE:
                return total

    def _expire(self, connection: Connection, now: datetime) -> None:
        expired = connection.execute(_EXPIRE, {"now_ms": _ms(now)})
        if expired.rowcount:
            log.warning("%d reservations were abandoned; their cost is counted in full.", expired.rowcount)

    def _refusal(self, connection: Connection, ticket: Ticket, now: datetime) -> Why | None:
        quota = self._quotas.get(ticket.tier, Quota(live=None))
        for column, key, allowed in _counted(quota, ticket.person, ticket.browser):
            if _answers(connection, ticket.tier, column, key, now) >= allowed:
                return "quota_person" if column is USAGE.c.person else "quota_browser"
        if quota.live is not None and ticket.person is not None:
            live = connection.execute(_LIVE, {"who": ticket.person, "of_tier": ticket.tier})
            if live.scalar_one() >= quota.live:
                return "live_stream"
        if ticket.tier == "free":
            return None
        return refusal(ticket.held, _spent_of(connection, now), self._limits)

    def _insert(self, connection: Connection, ticket: Ticket, now: datetime, state: str, outcome: Outcome) -> None:
        row = {
            "request_id": ticket.request_id,
            "tier": ticket.tier,
            "persona": ticket.persona,
            "person": ticket.person,
            "browser": ticket.browser,
            "day": day_of(now).isoformat(),
            "reserved_ms": _ms(now),
            "expires_ms": _ms(now + self._ttl),
            "state": state,
            **_spent(outcome),
        }
        connection.execute(_INSERT, row)


def _counted(quota: Quota, person: str | None, browser: str | None) -> list[tuple[ColumnElement[str | None], str, int]]:
    """The counts that a quota looks at: column, key and how many are allowed."""
    asked = [(USAGE.c.person, person, quota.person_a_day), (USAGE.c.browser, browser, quota.browser_a_day)]
    return [(column, key, n) for column, key, n in asked if key is not None and n is not None]


def _answers(connection: Connection, tier: TierName, column: ColumnElement[str | None], key: str, now: datetime) -> int:
    """How many answers count against a day's quota: those given and those under way, not those that failed."""
    asked = {"who": key, "of_tier": tier, "today": day_of(now).isoformat()}
    return int(connection.execute(_ANSWERS[str(column.key)], asked).scalar_one())


def _spent_of(connection: Connection, now: datetime) -> Spent:
    """Sum the premium tier's day and month; what is still held counts in both, whichever day it is from."""
    today = day_of(now).isoformat()
    # Texts: every day of the month lies between them.
    days = {"today": today, "first": f"{today[:7]}-01", "last": f"{today[:7]}-31"}
    written, held = _sums(connection, _WRITTEN, days), _sums(connection, _HELD, days)
    return Spent(day=written.part + held.all, month=written.all + held.part)


@dataclass(frozen=True)
class _Sums:
    all: Cost
    part: Cost


def _sums(connection: Connection, asked: Select[Any], days: Mapping[str, str]) -> _Sums:
    row = [int(value) for value in connection.execute(asked, days).one()]
    return _Sums(Cost(row[0], row[1]), Cost(row[2], row[3]))


def _day_cost(day: date, row: Row[Any]) -> DayCost:
    tier, persona, *sums = tuple(row)
    calls, failures, tokens_in, tokens_out, gpu_ms, micro_usd = map(int, sums)
    return DayCost(day, tier, persona, calls, failures, tokens_in, tokens_out, Cost(gpu_ms, micro_usd))


def _spent(outcome: Outcome) -> dict[str, int]:
    return {
        "gpu_ms": outcome.cost.gpu_ms,
        "micro_usd": outcome.cost.micro_usd,
        "tokens_in": outcome.tokens_in,
        "tokens_out": outcome.tokens_out,
    }


def _state(outcome: Outcome) -> str:
    return "failed" if outcome.failed else "settled"


def _same(row: Row[Any], ticket: Ticket) -> bool:
    return (row.tier, row.person, row.browser) == (ticket.tier, ticket.person, ticket.browser)


def _resets(why: Why, now: datetime) -> datetime | None:
    if why == "budget_month":
        return start_of((day_of(now).replace(day=28) + timedelta(days=4)).replace(day=1))
    return None if why in ("live_stream", "duplicate") else next_reset(now)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
