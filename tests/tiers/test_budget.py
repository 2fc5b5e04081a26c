"""Money, days and limits: exact, whole numbers, Paris."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errors import TierError
from tiers.budget import NOTHING, Cost, Limits, Price, Spent, day_of, next_reset, refusal, start_of

AMOUNT = st.integers(0, 10**9)
COST = st.builds(Cost, AMOUNT, AMOUNT)


@pytest.mark.parametrize(
    ("moment", "day", "reset"),
    [
        (datetime(2026, 11, 20, 22, 59, 59, tzinfo=UTC), date(2026, 11, 20), datetime(2026, 11, 20, 23, tzinfo=UTC)),
        (datetime(2026, 11, 20, 23, 0, tzinfo=UTC), date(2026, 11, 21), datetime(2026, 11, 21, 23, tzinfo=UTC)),
        (datetime(2026, 7, 14, 22, 0, tzinfo=UTC), date(2026, 7, 15), datetime(2026, 7, 15, 22, tzinfo=UTC)),
        # The night of 25 October 2026 has an hour twice, that of 29 March 2026 one less.
        (datetime(2026, 10, 24, 23, 0, tzinfo=UTC), date(2026, 10, 25), datetime(2026, 10, 25, 23, tzinfo=UTC)),
        (datetime(2026, 3, 28, 23, 0, tzinfo=UTC), date(2026, 3, 29), datetime(2026, 3, 29, 22, tzinfo=UTC)),
    ],
)
def test_a_day_is_a_day_in_paris(moment: datetime, day: date, reset: datetime) -> None:
    assert day_of(moment) == day
    assert next_reset(moment) == reset
    assert start_of(day) <= moment < next_reset(moment)


def test_a_clock_without_a_zone_is_refused() -> None:
    with pytest.raises(TierError, match="without a time zone"):
        day_of(datetime(2026, 1, 1))


@pytest.mark.parametrize("wrong", [-1, 1.5, True, "3"])
def test_a_cost_is_a_whole_number(wrong: object) -> None:
    with pytest.raises(TierError, match="whole number"):
        Cost(wrong, 0)  # type: ignore[arg-type]
    with pytest.raises(TierError, match="whole number"):
        Cost(0, wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("price", "seconds", "cost"),
    [
        ("1.48", 5.0, Cost(5_000, 2_056)),
        ("1.10", 0.0001, Cost(1, 1)),  # a fraction is rounded up, never away
        ("1.10", 0.1 + 0.2, Cost(301, 92)),  # 0.30000000000000004
        ("0", 60, Cost(60_000, 0)),
        ("3.6", 1, Cost(1_000, 1_000)),
    ],
)
def test_a_price_rounds_up(price: str, seconds: float, cost: Cost) -> None:
    assert Price(Decimal(price)).of(seconds) == cost


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_no_cost_of_no_time(seconds: float) -> None:
    with pytest.raises(TierError):
        Price(Decimal("1.48")).of(seconds)


@pytest.mark.parametrize("price", [Decimal("-1"), Decimal("nan"), 1.48])
def test_a_price_is_a_decimal(price: object) -> None:
    with pytest.raises(TierError, match="price of an hour"):
        Price(price)  # type: ignore[arg-type]


def test_no_budget_refuses_everything() -> None:
    assert refusal(Cost(1, 0), Spent(), Limits()) == "budget_month"
    assert refusal(Cost(0, 1), Spent(), Limits()) == "budget_month"


@given(COST, COST, COST, COST, COST)
def test_what_is_allowed_fits_both_budgets(asked: Cost, day: Cost, month: Cost, limit: Cost, limit_month: Cost) -> None:
    """Time and money, day and month: all four hold, or it is refused."""
    limits = Limits(limit, limit_month)
    allowed = refusal(asked, Spent(day, month), limits) is None
    assert allowed == ((day + asked).fits(limit) and (month + asked).fits(limit_month))


@given(COST, COST)
def test_what_is_left_is_never_less_than_nothing(limit: Cost, spent: Cost) -> None:
    left = limit.minus(spent)
    assert left.fits(limit)
    assert left + spent == limit or not spent.fits(limit)
    assert limit.minus(NOTHING) == limit


def test_dollars_are_exact() -> None:
    assert Cost(0, 1_234_567).dollars == Decimal("1.234567")
    assert sum((Cost(0, 1) for _ in range(10)), NOTHING).dollars == Decimal("0.00001")


def test_a_day_of_the_month_has_a_next() -> None:
    assert start_of(date(2026, 12, 31) + timedelta(days=1)) == datetime(2026, 12, 31, 23, tzinfo=UTC)
