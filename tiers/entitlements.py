"""Who may use the premium tier, and until when: grants, class passes, membership of an organisation.

People are kept as HMACs of their OIDC `sub` (names change, and are nobody's business here). What somebody is by way of
an organisation is asked of the Hub and remembered for ten minutes, in memory alone. Knows the Hub's userinfo; knows no
page, no cookie, no engine and no price.
"""

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeVar

import httpx
from itsdangerous import BadSignature, URLSafeSerializer
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    func,
    insert,
    select,
)
from sqlalchemy import update as update_rows

from errors import SettingsError, TierBusy, TierError, TierUnavailable
from tiers.budget import Clock, utc_now
from tiers.ledger import KEY
from tiers.store import METADATA, Store

log = logging.getLogger(__name__)

USERINFO = "https://huggingface.co/oauth/userinfo"
RECHECK_AFTER = timedelta(minutes=5)  # asked again at the next turn; a Hub that is down has five minutes to come back
BELIEVED_FOR = timedelta(minutes=10)  # whoever left the organisation is out after that, whatever the Hub says
HUB_TIMEOUT_S = 5.0
REMEMBERED = 10_000  # people whose organisations, or tries, are remembered at once
MIN_SECRET = 32  # characters; `python -c "import secrets; print(secrets.token_urlsafe(32))"` makes 43
MAX_SEATS = 1_000
MOST_TRIES = 5  # codes that gave no seat; a pupil who mistypes needs fewer
TRIES_FOR = timedelta(hours=1)

Source = Literal["grant", "pass", "organisation"]
NoPremium = Literal["none", "barred", "hub_unreachable"]
NoSeat = Literal["pass_unknown", "pass_expired", "pass_revoked", "pass_full", "pass_tries", "barred"]

ENTITLEMENT = Table(
    "entitlement",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("person", String(64), nullable=False),
    Column("source", String(8), nullable=False),  # grant, pass, or bar: barred from premium
    Column("pass_id", String(16), ForeignKey("class_pass.id")),
    Column("until_s", BigInteger, nullable=False),  # since 1970
    Column("revoked_s", BigInteger),
    Index("entitlement_person", "person"),
    Index("entitlement_seat", "pass_id", "person", unique=True),  # one seat for a person, even for two requests at once
)

CLASS_PASS = Table(
    "class_pass",
    METADATA,
    Column("id", String(16), primary_key=True),
    Column("seats", Integer, nullable=False),
    Column("until_s", BigInteger, nullable=False),
    Column("revoked_s", BigInteger),
)


@dataclass(frozen=True)
class Plan:
    """What somebody may use now.

    Attributes:
        tier: "premium" or "free".
        source: What premium comes from; None when free.
        until: When it ends, or is asked anew; None when free.
        reason: Why it is not premium; None when it is.
    """

    tier: Literal["free", "premium"]
    source: Source | None = None
    until: datetime | None = None
    reason: NoPremium | None = None


@dataclass(frozen=True)
class Account:
    """What the Hub says of the owner of an access token: the `sub`, and the organisations by their user names."""

    sub: str
    organisations: frozenset[str]


AskHub = Callable[[str], Awaitable[Account]]
V = TypeVar("V")


@dataclass(frozen=True)
class ClassPass:
    """A pass as the command line lists it."""

    id: str
    seats: int
    taken: int
    until: datetime
    revoked: bool


@dataclass(frozen=True)
class Entitled:
    """A grant, a seat or a bar, as the command line lists it."""

    person: str
    source: str
    pass_id: str | None
    until: datetime
    revoked: bool


@dataclass(frozen=True)
class Seat:
    """What became of a pass's code: a seat until `until`, or why none."""

    until: datetime | None = None
    refused: NoSeat | None = None


def pseudonym(secret: str, kind: Literal["person", "browser"], value: str) -> str:
    """Return the key under which a `sub` or a browser's session is kept: HMAC-SHA256, 64 hexadecimal digits.

    Raises:
        SettingsError: The secret is too short to keep anything.
        TierError: There is nothing to hide.
    """
    if len(secret) < MIN_SECRET:
        raise SettingsError(f"The ledger's secret has {len(secret)} characters; {MIN_SECRET} or more are needed.")
    if not value:
        raise TierError(f"A {kind} without an identifier has no key.")
    return hmac.new(secret.encode(), f"{kind}\0{value}".encode(), hashlib.sha256).hexdigest()


async def ask_hub(token: str, *, url: str = USERINFO) -> Account:
    """Ask the Hub who owns an access token; organisations come with the scope `read-memberships`.

    Raises:
        TierUnavailable: The Hub cannot be reached or says something else (`code` is "hub_unreachable").
        TierError: The token is not accepted any more (`code` is "login_expired").
    """
    try:
        async with httpx.AsyncClient(timeout=HUB_TIMEOUT_S) as client:
            answer = await client.get(url, headers={"Authorization": f"Bearer {token}"})
        if answer.status_code in (401, 403):
            raise TierError("The Hub does not accept the login any more.", code="login_expired")
        answer.raise_for_status()
        said = answer.json()
        if "orgs" not in said:
            log.warning("The Hub names no organisations: is read-memberships among the Space's hf_oauth_scopes?")
        organisations = frozenset(str(one["preferred_username"]) for one in said.get("orgs") or ())
        return Account(str(said["sub"]), organisations)
    except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TierUnavailable(f"The Hub's userinfo: {type(error).__name__}.", code="hub_unreachable") from error


class Entitlements:
    """Grants, passes, memberships. One for a process: its memory of memberships and of tries is its own.

    Args:
        store: The database, opened and closed by the caller.
        secret: Key of the HMACs and of the passes; 32 characters or more, never changed: another one forgets everybody.
        organisations: User names of the organisations whose members have premium.
        ask: Asks the Hub who owns an access token.
        clock: What time it is, with a time zone.
    """

    def __init__(
        self,
        store: Store,
        secret: str,
        *,
        organisations: frozenset[str] = frozenset(),
        ask: AskHub = ask_hub,
        clock: Clock = utc_now,
    ) -> None:
        self._store = store
        self._secret = secret
        self._organisations = organisations
        self._ask = ask
        self._clock = clock
        self._known: OrderedDict[str, tuple[datetime, bool]] = OrderedDict()
        self._tries: OrderedDict[str, list[datetime]] = OrderedDict()
        pseudonym(secret, "person", "x")  # a short secret is refused now
        self._codes = URLSafeSerializer(
            secret, salt="class-pass", signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256}
        )

    def person(self, sub: str) -> str:
        """Return the key of an OIDC `sub`."""
        return pseudonym(self._secret, "person", sub)

    async def plan(self, sub: str, token: str | None = None) -> Plan:
        """Return what the owner of `sub` may use now. A grant is looked at first; the Hub is asked only without one.

        Args:
            sub: From the login, never from a request's body or headers.
            token: Access token of the same login; without one, membership is not asked.

        Raises:
            TierUnavailable: The database cannot be used.
        """
        person = self.person(sub)
        plan = await self._store.run(self._granted, person)
        if plan.tier == "premium" or plan.reason == "barred" or not self._organisations or token is None:
            return plan
        return await self._membership(person, sub, token)

    def grant(self, person: str, until: datetime) -> None:
        """Give premium to a person (its key) until a moment; a bar is lifted."""
        self._in_future(until)
        _must_be_key(person)
        with self._store.transaction() as connection:
            _revoke(connection, ENTITLEMENT.c.person == person, self._now_s(), source="bar")
            connection.execute(insert(ENTITLEMENT).values(person=person, source="grant", until_s=_seconds(until)))

    def new_pass(self, seats: int, until: datetime) -> str:
        """Return the code of a new class pass: signed, for `seats` people, until a moment."""
        self._in_future(until)
        if not 1 <= seats <= MAX_SEATS:
            raise TierError(f"A pass for {seats} seats; 1 to {MAX_SEATS} can be had.")
        name = secrets.token_hex(4)
        with self._store.transaction() as connection:
            connection.execute(insert(CLASS_PASS).values(id=name, seats=seats, until_s=_seconds(until)))
        return str(self._codes.dumps(name))

    def redeem(self, code: str, sub: str) -> Seat:
        """Give the owner of `sub` a seat of a pass, unless it tried too often; its own seat is given again."""
        person, now = self.person(sub), self._clock()
        tries = [at for at in self._tries.get(person, ()) if at > now - TRIES_FOR]
        if len(tries) >= MOST_TRIES:
            return Seat(refused="pass_tries")
        seat = self._seat(code, person)
        if seat.refused is not None:
            _remember(self._tries, person, [*tries, now])
        return seat

    async def take_seat(self, code: str, sub: str) -> Plan:
        """See `tiers.router.Router.redeem`."""
        seat = await self._store.run(self.redeem, code, sub)
        if seat.refused is not None:
            kind = TierBusy if seat.refused == "pass_tries" else TierError
            raise kind(f"The code gives no seat ({seat.refused}).", code=seat.refused)
        return Plan("premium", "pass", seat.until)

    def revoke_person(self, person: str) -> int:
        """End every entitlement of a person (its key) and bar it from premium; return how many were ended."""
        _must_be_key(person)
        with self._store.transaction() as connection:
            ended = _revoke(connection, ENTITLEMENT.c.person == person, self._now_s())
            far = _seconds(datetime(9999, 1, 1, tzinfo=UTC))
            connection.execute(insert(ENTITLEMENT).values(person=person, source="bar", until_s=far))
        return ended

    def revoke_pass(self, name: str) -> int:
        """End a class pass, named by its id or its code, and all its seats; return how many seats.

        Raises:
            TierError: There is no such pass.
        """
        name = self._pass_id(name)
        with self._store.transaction() as connection:
            changed = connection.execute(
                update_rows(CLASS_PASS)
                .where(CLASS_PASS.c.id == name, CLASS_PASS.c.revoked_s.is_(None))
                .values(revoked_s=self._now_s())
            )
            if not changed.rowcount and not connection.execute(select(CLASS_PASS).where(CLASS_PASS.c.id == name)).all():
                raise TierError(f"No pass {name!r}; `python -m tiers list` names them.")
            return _revoke(connection, ENTITLEMENT.c.pass_id == name, self._now_s())

    def listing(self) -> tuple[list[ClassPass], list[Entitled]]:
        """Return every pass, and every grant, seat and bar, revoked ones included."""
        taken = select(ENTITLEMENT.c.pass_id, func.count()).group_by(ENTITLEMENT.c.pass_id)
        with self._store.transaction() as connection:
            counts = {name: n for name, n in connection.execute(taken) if name is not None}
            passes = connection.execute(select(CLASS_PASS).order_by(CLASS_PASS.c.until_s, CLASS_PASS.c.id)).all()
            people = connection.execute(select(ENTITLEMENT).order_by(ENTITLEMENT.c.id)).all()
        return (
            [
                ClassPass(p.id, p.seats, counts.get(p.id, 0), _moment(p.until_s), p.revoked_s is not None)
                for p in passes
            ],
            [Entitled(e.person, e.source, e.pass_id, _moment(e.until_s), e.revoked_s is not None) for e in people],
        )

    async def _membership(self, person: str, sub: str, token: str) -> Plan:
        """Ask the Hub, unless it was asked in the last five minutes; an answer is believed for ten at most."""
        now = self._clock()
        known = self._known.get(person)
        if known is None or not now - RECHECK_AFTER < known[0] <= now:
            try:
                async with asyncio.timeout(2 * HUB_TIMEOUT_S):
                    account = await self._ask(token)
            except (TierUnavailable, TimeoutError) as error:
                log.warning("Membership could not be asked: %s", type(error).__name__)
                if known is None or not now - BELIEVED_FOR < known[0] <= now:
                    self._known.pop(person, None)
                    return Plan("free", reason="hub_unreachable")
            except TierError:  # a login that the Hub has ended
                self._known.pop(person, None)
                return Plan("free", reason="none")
            else:
                # The token's owner must be the one who is logged in: a stolen token makes nobody a member.
                member = hmac.compare_digest(account.sub.encode(), sub.encode()) and bool(
                    account.organisations & self._organisations
                )
                known = (now, member)
                _remember(self._known, person, known)
        if known[1]:
            return Plan("premium", "organisation", known[0] + BELIEVED_FOR)
        return Plan("free", reason="none")

    def _seat(self, code: str, person: str) -> Seat:
        try:
            name = str(self._codes.loads(code.strip()[:200]))
        except (BadSignature, UnicodeEncodeError):  # half a pair of UTF-16 can come from a browser
            return Seat(refused="pass_unknown")
        with self._store.transaction() as connection:
            found = connection.execute(select(CLASS_PASS).where(CLASS_PASS.c.id == name)).one_or_none()
            if found is None:
                return Seat(refused="pass_unknown")
            if found.revoked_s is not None:
                return Seat(refused="pass_revoked")
            if found.until_s <= self._now_s():
                return Seat(refused="pass_expired")
            if _barred(connection, person):
                return Seat(refused="barred")
            seated = ENTITLEMENT.c.pass_id == name
            mine = connection.execute(select(ENTITLEMENT.c.revoked_s).where(seated, ENTITLEMENT.c.person == person))
            seat = mine.one_or_none()
            if seat is not None:
                return Seat(refused="pass_revoked") if seat.revoked_s is not None else Seat(_moment(found.until_s))
            taken = connection.execute(select(func.count()).where(seated)).scalar_one()
            if taken >= found.seats:  # a revoked seat stays taken: otherwise one code serves a whole school in turn
                return Seat(refused="pass_full")
            connection.execute(
                insert(ENTITLEMENT).values(person=person, source="pass", pass_id=name, until_s=found.until_s)
            )
        return Seat(_moment(found.until_s))

    def _granted(self, person: str) -> Plan:
        live = (ENTITLEMENT.c.person == person) & ENTITLEMENT.c.revoked_s.is_(None)
        with self._store.transaction() as connection:
            if _barred(connection, person):
                return Plan("free", reason="barred")
            best = connection.execute(
                select(ENTITLEMENT)
                .where(live, ENTITLEMENT.c.until_s > self._now_s())
                .order_by(ENTITLEMENT.c.until_s.desc())
            ).first()
        if best is None:
            return Plan("free", reason="none")
        return Plan("premium", best.source, _moment(best.until_s))

    def _pass_id(self, name_or_code: str) -> str:
        try:
            return str(self._codes.loads(name_or_code))
        except BadSignature:
            return name_or_code  # an id, then; a forged code is no id either

    def _in_future(self, until: datetime) -> None:
        if until.tzinfo is None or until <= self._clock():
            raise TierError(f"{until} is over, or has no time zone; an entitlement ends in the future.")

    def _now_s(self) -> int:
        return _seconds(self._clock())


def _remember(memory: OrderedDict[str, V], person: str, value: V) -> None:
    memory[person] = value
    memory.move_to_end(person)
    while len(memory) > REMEMBERED:
        memory.popitem(last=False)


def _must_be_key(person: str) -> None:
    if not KEY.fullmatch(person):
        raise TierError("A person is named by a key of 64 hexadecimal digits, or by the `sub` of the login.")


def _barred(connection: Connection, person: str) -> bool:
    barred = select(ENTITLEMENT.c.id).where(
        ENTITLEMENT.c.person == person, ENTITLEMENT.c.source == "bar", ENTITLEMENT.c.revoked_s.is_(None)
    )
    return connection.execute(barred).first() is not None


def _revoke(connection: Connection, which: ColumnElement[bool], now_s: int, source: str | None = None) -> int:
    rows = update_rows(ENTITLEMENT).where(which, ENTITLEMENT.c.revoked_s.is_(None))
    rows = rows.where(ENTITLEMENT.c.source == source) if source else rows.where(ENTITLEMENT.c.source != "bar")
    return connection.execute(rows.values(revoked_s=now_s)).rowcount


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
