"""A breaker opens on failures, lets one try through after a while, and GPU time is shared out to the second."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiers.account import GpuTime
from tiers.breaker import AT_LEAST, OPEN_S, Breaker


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_it_opens_after_failures_and_closes_after_a_good_try() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    for _ in range(AT_LEAST):
        assert breaker.ask()
        assert breaker.state == "closed"
        breaker.badly()
    assert (breaker.state, breaker.ask()) == ("open", False)
    clock.now += OPEN_S
    assert breaker.state == "half_open"
    assert [breaker.ask(), breaker.ask()] == [True, False]
    breaker.well()
    assert (breaker.state, breaker.ask()) == ("closed", True)


def test_a_bad_try_keeps_it_open_for_another_while() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    for _ in range(AT_LEAST):
        breaker.badly()
    clock.now += OPEN_S
    assert breaker.ask()
    breaker.badly()
    assert breaker.state == "open"
    clock.now += OPEN_S - 1
    assert not breaker.ask()
    clock.now += 1
    assert breaker.ask()


def test_a_try_that_says_nothing_lets_the_next_one_through() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    for _ in range(AT_LEAST):
        breaker.badly()
    clock.now += OPEN_S
    assert breaker.ask()
    breaker.neither()
    assert breaker.ask()


@pytest.mark.parametrize(("well", "badly", "state"), [(17, 3, "closed"), (16, 4, "open"), (0, 2, "closed")])
def test_the_share_counts_and_not_the_number_alone(well: int, badly: int, state: str) -> None:
    breaker = Breaker(Clock())
    for _ in range(well):
        breaker.well()
    for _ in range(badly):
        breaker.badly()
    assert breaker.state == ("open" if well == 0 and badly >= 3 else state)


def test_old_failures_are_forgotten() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    for _ in range(AT_LEAST - 1):
        breaker.badly()
    clock.now += 400
    breaker.badly()
    assert breaker.state == "closed"


# --- GPU time --------------------------------------------------------------------------------------------------------


def test_answers_at_the_same_time_share_the_gpu() -> None:
    clock = Clock()
    gpu = GpuTime(clock=clock)
    first = gpu.enter()
    clock.now += 2
    second = gpu.enter()
    clock.now += 4
    assert gpu.leave(first) == 4.0
    clock.now += 1
    assert gpu.leave(second) == 3.0


def test_the_wait_is_paid_in_advance_and_what_was_not_waited_is_given_back() -> None:
    clock = Clock()
    gpu = GpuTime(60.0, clock)
    marks = []
    for pause in (0.0, 10.0, 500.0):
        clock.now += pause
        mark = gpu.enter()
        clock.now += 5
        marks.append(gpu.leave(mark))
    assert marks == [65.0, 15.0, 65.0]


def test_who_never_woke_the_gpu_pays_no_wait_and_takes_none_from_the_others() -> None:
    clock = Clock()
    gpu = GpuTime(60.0, clock)
    assert gpu.leave(gpu.enter(), ran=False) == 0.0
    assert gpu.leave(gpu.enter()) == 60.0
    clock.now += 20
    assert gpu.leave(gpu.enter(), ran=False) == 0.0
    clock.now += 30
    assert gpu.leave(gpu.enter()) == 50.0  # 20 and 30 of the 60 were waited: 10 are given back


def test_a_start_that_nobody_waits_for_is_paid_as_well() -> None:
    clock = Clock()
    gpu = GpuTime(60.0, clock)
    mark = gpu.enter()
    clock.now += 15
    assert gpu.leave(mark, starting_s=45.0) == 15 + 45 + 60
    clock.now += 100  # 45 of the start, 55 of the wait: 5 were not waited
    assert gpu.leave(gpu.enter()) == 55.0


@given(st.lists(st.tuples(st.floats(0, 200), st.booleans(), st.integers(0, 5)), max_size=40))
def test_what_all_paid_is_what_the_gpu_ran_and_waited(steps: list[tuple[float, bool, int]]) -> None:
    clock = Clock()
    gpu = GpuTime(60.0, clock)
    open_, total, ran, left_at = list[float](), 0.0, 0.0, None
    for pause, come, which in steps:
        clock.now += pause
        ran += pause if open_ else 0.0
        if come or not open_:
            ran += min(clock.now - left_at, 60.0) if left_at is not None and not open_ else 0.0
            open_.append(gpu.enter())
        else:
            total += gpu.leave(open_.pop(which % len(open_)))
            left_at = clock.now
    for mark in open_:
        total += gpu.leave(mark)
    ran += 60.0 if steps else 0.0
    # A burst that ends before the refund is used up keeps the rest for the next one: never less than what ran.
    assert total >= ran - 1e-6
    assert total - gpu.credit_s == pytest.approx(ran, abs=1e-6)


@given(st.lists(st.tuples(st.floats(0, 20), st.booleans(), st.integers(0, 5)), max_size=40))
def test_what_all_took_is_what_the_gpu_ran(steps: list[tuple[float, bool, int]]) -> None:
    """Whoever comes and goes, in any order: the sum is the time in which at least one was there."""
    clock = Clock()
    gpu = GpuTime(clock=clock)
    open_, total, ran = list[float](), 0.0, 0.0
    for pause, come, which in steps:
        clock.now += pause
        ran += pause if open_ else 0.0
        if come or not open_:
            open_.append(gpu.enter())
        else:
            total += gpu.leave(open_.pop(which % len(open_)))
    for mark in open_:
        total += gpu.leave(mark)
    assert total == pytest.approx(ran, abs=1e-6)
