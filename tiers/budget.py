"""Money, GPU time and days: what may still be spent. Pure arithmetic; knows no database, no pupil and no engine.

Amounts are whole numbers (milliseconds of GPU, millionths of a dollar): sums are exact, and a fraction is rounded up.
A day is a school's day: it begins at midnight in Paris, 23 to 25 hours after the one before.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_CEILING, Decimal
from typing import Literal
from zoneinfo import ZoneInfo

from errors import TierError

PARIS = ZoneInfo("Europe/Paris")
MS_PER_HOUR = 3_600_000
MICRO = 1_000_000  # millionths in a dollar

Clock = Callable[[], datetime]
OverBudget = Literal["budget_day", "budget_month"]


def utc_now() -> datetime:
    """Return the present moment: the clock of everything that a test gives no other."""
    return datetime.now(UTC)


def day_of(moment: datetime) -> date:
    """Return the day in Paris.

    >>> day_of(datetime(2026, 7, 14, 22, 30, tzinfo=UTC)).isoformat()
    '2026-07-15'
    """
    if moment.tzinfo is None:
        raise TierError(f"The clock says {moment}, without a time zone.")
    return moment.astimezone(PARIS).date()


def start_of(day: date) -> datetime:
    """Return the moment when a day begins, in UTC."""
    return datetime.combine(day, time(), PARIS).astimezone(UTC)


def next_reset(moment: datetime) -> datetime:
    """Return when the quotas and the day's budget begin anew, in UTC."""
    return start_of(day_of(moment) + timedelta(days=1))


@dataclass(frozen=True)
class Cost:
    """An amount of GPU time and money.

    Attributes:
        gpu_ms: GPU time, in milliseconds.
        micro_usd: Millionths of a dollar.
    """

    gpu_ms: int = 0
    micro_usd: int = 0

    def __post_init__(self) -> None:
        for name, value in (("gpu_ms", self.gpu_ms), ("micro_usd", self.micro_usd)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise TierError(f"A cost has {name} = {value!r}; expected a whole number, 0 or more.")

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.gpu_ms + other.gpu_ms, self.micro_usd + other.micro_usd)

    def minus(self, other: "Cost") -> "Cost":
        """Return what is left after `other`, never less than nothing."""
        return Cost(max(0, self.gpu_ms - other.gpu_ms), max(0, self.micro_usd - other.micro_usd))

    def fits(self, limit: "Cost") -> bool:
        """Whether neither the time nor the money is more than `limit`'s."""
        return self.gpu_ms <= limit.gpu_ms and self.micro_usd <= limit.micro_usd

    @property
    def dollars(self) -> Decimal:
        """The money in dollars, exact."""
        return Decimal(self.micro_usd) / MICRO


NOTHING = Cost()


@dataclass(frozen=True)
class Price:
    """What a GPU costs while it works.

    Attributes:
        usd_per_hour: Dollars for one hour of the whole container: GPU, cores and memory.
    """

    usd_per_hour: Decimal

    def __post_init__(self) -> None:
        if not isinstance(self.usd_per_hour, Decimal) or not self.usd_per_hour.is_finite() or self.usd_per_hour < 0:
            raise TierError(f"The price of an hour is {self.usd_per_hour!r}; expected a Decimal, 0 or more.")

    def of(self, gpu_s: float) -> Cost:
        """Return the cost of `gpu_s` seconds, both amounts rounded up.

        >>> Price(Decimal("1.48")).of(5.0)
        Cost(gpu_ms=5000, micro_usd=2056)
        """
        try:
            gpu_ms = int((Decimal(str(gpu_s)) * 1000).to_integral_value(ROUND_CEILING))
        except (ArithmeticError, ValueError):  # infinite, or no number at all
            raise TierError(f"{gpu_s!r} is no number of seconds.") from None
        micro = Decimal(gpu_ms) * self.usd_per_hour * MICRO / MS_PER_HOUR
        return Cost(gpu_ms, int(micro.to_integral_value(ROUND_CEILING)))


@dataclass(frozen=True)
class Limits:
    """What may be spent. Nothing is unlimited: the default is a budget of nothing, which refuses everything.

    Attributes:
        day: For one day in Paris.
        month: For one calendar month in Paris.
    """

    day: Cost = NOTHING
    month: Cost = NOTHING


@dataclass(frozen=True)
class Spent:
    """What is spent or held of the present day and month."""

    day: Cost = NOTHING
    month: Cost = NOTHING


def refusal(asked: Cost, spent: Spent, limits: Limits) -> OverBudget | None:
    """Return which budget `asked` would exceed, None when both allow it."""
    if not (spent.month + asked).fits(limits.month):
        return "budget_month"
    if not (spent.day + asked).fits(limits.day):
        return "budget_day"
    return None
