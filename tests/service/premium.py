"""What the tests of the premium path share: a gateway on a real port, its secrets, and a purse in a file."""

import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from decimal import Decimal
from pathlib import Path

import httpx

from dialogue.conversation import Conversation, Turn
from personas import PERSONAS
from service.gateway import Bounds, gateway
from service.metrics import Metrics
from tests.serving import serving
from tests.tiers.money import key
from tiers.account import LedgerAccount
from tiers.base import AnswerOptions, Done, Event, Tier
from tiers.budget import Cost, Limits, Price, Spent
from tiers.ledger import Ledger, Quota, Refused, Reserved, Ticket
from tiers.seal import Seal
from tiers.store import Store
from tiers.wire import PATH, EventReader, Fault, write_request

SECRET = "a secret that page and gateway share"
SEAL = Seal(SECRET)
PRICE = Price(Decimal("1.48"))
PERSON = key("sophie")
KANT = PERSONAS["kant"]
ASKED = Conversation(KANT, (Turn("assistant", KANT.opening), Turn("user", "Suis-je libre de mentir ?")))
MUCH = Limits(Cost(10**12, 10**12), Cost(10**12, 10**12))


class SlowLedger(Ledger):
    """Whoever reserves hears of it a while after it was written."""

    def reserve(self, ticket: Ticket) -> Reserved | Refused:
        answer = super().reserve(ticket)
        time.sleep(0.3)
        return answer


@contextmanager
def purse(folder: Path, limits: Limits = MUCH, name: str = "ledger", live: int | None = 1) -> Iterator[LedgerAccount]:
    """An account over a SQLite file; `live` premium answers of one person at a time."""
    store = Store(f"sqlite:///{folder}/{name}.sqlite")
    try:
        yield LedgerAccount(Ledger(store, limits, {"premium": Quota(live=live)}), store, limits)
    finally:
        store.close()


@contextmanager
def gateway_over(
    tier: Tier, account: LedgerAccount, bounds: Bounds | None = None, metrics: Metrics | None = None
) -> Iterator[str]:
    """A gateway on a port; gives its address."""
    app = gateway(tier, seal=SEAL, account=account, price=PRICE, bounds=bounds, metrics=metrics)
    with serving(app) as url:
        yield url


def spent(account: LedgerAccount) -> Spent:
    """What an account has spent, today and this month."""
    left = account.left()
    return Spent(account.limits.day.minus(left.day), account.limits.month.minus(left.month))


def request(request_id: str = "r-1", person: str = PERSON, **options: object) -> dict[str, object]:
    """Body and headers of a request that is in order, for httpx."""
    body = write_request(ASKED, "tab", AnswerOptions(request_id=request_id, **options))  # type: ignore[arg-type]
    return {"content": body, "headers": {"Authorization": f"Bearer {SEAL.make(person, body)}"}}


async def post(url: str, **asked: object) -> tuple[int, list[Event | Fault]]:
    """Send a request; return its status and the events, of a refusal the fault alone."""
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        answer = await client.post(url + PATH, **(asked or request()))  # type: ignore[arg-type]
    if answer.status_code != 200:
        return answer.status_code, [Fault(**answer.json())]
    reader = EventReader()
    events = list(reader.feed(answer.content))
    reader.finish()
    return 200, events


async def heard(events: AsyncGenerator[Event, None]) -> list[Event]:
    """All events of a tier's stream."""
    async with aclosing(events) as stream:
        return [event async for event in stream]


def done_of(events: list[Event | Fault] | list[Event]) -> Done:
    """The end of an answer that went well."""
    last = events[-1]
    assert isinstance(last, Done)
    return last
