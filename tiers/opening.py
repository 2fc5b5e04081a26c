"""From settings' values to the router: ledger, purse, premium. Knows how they fit together; decides nothing of a turn.

A ledger that cannot be opened closes premium and leaves the free tier open: what cannot be counted is not spent.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from errors import SettingsError, TierUnavailable
from tiers.account import LedgerAccount
from tiers.base import Tier
from tiers.breaker import State
from tiers.budget import MS_PER_HOUR, Cost, Limits, Price
from tiers.chores import Chores
from tiers.entitlements import Entitlements
from tiers.ledger import Ledger, Quota, TierName
from tiers.premium import Patience, PremiumTier
from tiers.router import EverybodyPlans, LoginPlans, Plans, PremiumSide, Router
from tiers.seal import Seal
from tiers.store import Store, restore_newest

log = logging.getLogger(__name__)

HELD_S = 240.0  # GPU time held for one answer: its longest course and the longest idle window

Measure = Callable[[Tier, TierName], Tier]


@dataclass(frozen=True)
class LedgerChoice:
    """Where it is written what was spent, and how much may be.

    Attributes:
        data_dir: Where the SQLite ledger lies when `url` is None.
        url: An SQLAlchemy URL.
        secret: Makes pseudonyms; None counts no browser, for a page without premium and without `free_a_day`.
        reports: Folder of the daily reports.
        snapshots: Folder of the ledger's copies, on a disk that outlives this one.
        day_usd: The most that a day may cost; `month_usd` a month.
        usd_per_hour: Price of the GPU.
        premium_a_day: Premium answers a day for an account.
        free_a_day: Free answers a day for a browser; None for no limit.
    """

    data_dir: Path
    url: str | None = None
    secret: str | None = field(default=None, repr=False)
    reports: Path = Path("reports")
    snapshots: Path | None = None
    day_usd: Decimal = Decimal(0)
    month_usd: Decimal = Decimal(0)
    usd_per_hour: Decimal = Decimal("1.48")
    premium_a_day: int | None = None
    free_a_day: int | None = None

    @property
    def limits(self) -> Limits:
        """The budget, in dollars and in the GPU time that they buy."""
        return limits_of(self.day_usd, self.month_usd, self.usd_per_hour)

    @property
    def place(self) -> str:
        """The ledger's URL."""
        return self.url or f"sqlite:///{self.data_dir.resolve() / 'ledger.sqlite'}"


@dataclass(frozen=True)
class PremiumChoice:
    """Where the gateway is, and who may use it.

    Attributes:
        url: Where its routes begin.
        secret: Shared with it.
        headers: Keys of its host.
        wait_s: How long a pupil waits for its first word before the free tier answers.
        everybody: Whether nobody has to log in; for a machine of one's own.
        organisations: Whose members have premium.
    """

    url: str
    secret: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    wait_s: float = 15.0
    everybody: bool = False
    organisations: frozenset[str] = frozenset()


def limits_of(day_usd: Decimal, month_usd: Decimal, usd_per_hour: Decimal) -> Limits:
    """Return a budget in dollars with the GPU time that it buys.

    >>> limits_of(Decimal("1.48"), Decimal("14.80"), Decimal("1.48")).day
    Cost(gpu_ms=3600000, micro_usd=1480000)
    """

    def bought(usd: Decimal) -> Cost:
        micro_usd = int(usd * 1_000_000)
        return Cost(int(usd * MS_PER_HOUR / usd_per_hour) if usd_per_hour else 2**62, micro_usd)

    return Limits(bought(day_usd), bought(month_usd))


class Opened:
    """The router, and what was opened for it.

    Attributes:
        router: Answers.
        account: The page's purse; None where no ledger could be opened.
    """

    def __init__(
        self,
        router: Router,
        account: LedgerAccount | None = None,
        premium: PremiumTier | None = None,
        chores: Chores | None = None,
    ) -> None:
        self.router, self.account = router, account
        self._premium, self._chores = premium, chores

    @property
    def breaker(self) -> State | None:
        """How the breaker before the gateway stands; None without premium."""
        return self._premium.breaker.state if self._premium else None

    async def aclose(self) -> None:
        """Close the gateway's connections of this event loop."""
        if self._premium is not None:
            await self._premium.aclose()

    def close(self) -> None:
        """Take the last snapshot and close the ledger."""
        if self._chores is not None:
            self._chores.close()
        if self.account is not None:
            self.account.store.close()


def open_router(
    free: Tier, ledger: LedgerChoice, premium: PremiumChoice | None = None, measure: Measure = lambda tier, _: tier
) -> Opened:
    """Return the router over the free tier, and over premium where it is chosen and can be paid for.

    Args:
        free: Answers everybody.
        ledger: Where it is counted.
        premium: Where the gateway is; None for a page without.
        measure: Wraps each tier, so that its answers are counted.

    Raises:
        SettingsError: A secret is missing or too short, or the ledger's URL is none.
    """
    counted = measure(free, "free")
    if premium is not None and ledger.secret is None:
        raise SettingsError("Premium needs BAF_LEDGER_SECRET: nobody could be told from anybody.")
    if ledger.free_a_day is not None and ledger.secret is None:
        raise SettingsError("BAF_FREE_A_DAY needs BAF_LEDGER_SECRET: no browser could be told from another.")
    try:
        account = _account(ledger)
    except TierUnavailable as error:
        log.error("Nothing is counted, and premium is closed: %s", error)
        return Opened(Router(counted))
    chores = Chores(account.store, account.ledger, ledger.reports, ledger.snapshots)
    chores.start()
    side, tier = None, None
    if premium is not None and ledger.secret is not None:
        tier = PremiumTier(
            premium.url, Seal(premium.secret), headers=premium.headers, patience=Patience(wait_s=premium.wait_s)
        )
        price = Price(ledger.usd_per_hour)
        side = PremiumSide(measure(tier, "premium"), _plans(premium, ledger.secret, account), price, HELD_S)
    router = Router(counted, account, side, secret=ledger.secret, free_quota=ledger.free_a_day is not None)
    return Opened(router, account, tier, chores)


def _account(ledger: LedgerChoice) -> LedgerAccount:
    if ledger.snapshots is not None and ledger.url is None:
        found = restore_newest(ledger.snapshots, ledger.data_dir / "ledger.sqlite")
        if found is not None:
            log.info("The ledger goes on from %s", found.name)
    store = Store(ledger.place, patient=True)  # a database that starts after the page is no reason to stay without
    quotas: dict[TierName, Quota] = {
        "premium": Quota(person_a_day=ledger.premium_a_day, live=1),
        "free": Quota(browser_a_day=ledger.free_a_day, live=None),
    }
    return LedgerAccount(Ledger(store, ledger.limits, quotas), store, ledger.limits)


def _plans(premium: PremiumChoice, secret: str, account: LedgerAccount) -> Plans:
    if premium.everybody:
        return EverybodyPlans(secret)
    return LoginPlans(Entitlements(account.store, secret, organisations=premium.organisations))
