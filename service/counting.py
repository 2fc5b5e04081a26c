"""The router with its answers counted, and how things stand beside it. Knows tiers and metrics; decides nothing."""

from collections.abc import Callable, Mapping

from errors import TierUnavailable
from service.metrics import MeasuredTier, Metrics, Now, TierName
from tiers.base import Tier
from tiers.opening import LedgerChoice, Opened, PremiumChoice, open_router
from tiers.supply import Load

AskLoad = Callable[[], Load | None]


def open_counted(
    free: Tier, ledger: LedgerChoice, premium: PremiumChoice | None = None, load: AskLoad = lambda: None
) -> tuple[Opened, Metrics]:
    """Open the router over these tiers; return it and the metrics that count its answers.

    Args:
        free: Answers everybody.
        ledger: Where it is counted.
        premium: Where the gateway is; None for a page without.
        load: How busy the free tier's engine is.

    Raises:
        SettingsError: See `open_router`.
    """
    opened: list[Opened] = []

    def now() -> Mapping[TierName, Now]:
        return how_it_stands(opened[0], load()) if opened else {}

    metrics = Metrics(now)
    opened.append(open_router(free, ledger, premium, lambda tier, name: MeasuredTier(tier, name, metrics)))
    return opened[0], metrics


def how_it_stands(opened: Opened, load: Load | None = None) -> Mapping[TierName, Now]:
    """Return what a scrape says of this moment.

    Raises:
        TierUnavailable: The ledger cannot be read.
    """
    if opened.account is None:
        raise TierUnavailable(
            "The ledger could not be opened; the log of the start says why.", code="ledger_unavailable"
        )
    now: dict[TierName, Now] = {}
    if load is not None:
        now["free"] = Now(load.waiting, load.cells_used, load.cells)
    if opened.breaker is not None:
        account = opened.account
        now["premium"] = Now(breaker=opened.breaker, budget_left=account.left(), limits=account.limits)
    return now
