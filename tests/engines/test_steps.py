"""How a step is filled: prompts always advance, running answers pause no longer than they were promised."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.steps import PROGRESS_ROWS, StepCosts, cheapest_quantum, prompt_rows

# Seconds on a machine whose kernels take sixteen rows at a time.
ROWS = (1, 4, 8, 16, 32, 64)
TILED = StepCosts(ROWS, (0.113, 0.317, 0.661, 0.581, 0.821, 1.108), 16)


@given(st.integers(0, 16), st.integers(0, 3000), st.floats(0.5, 10))
def test_rows_stay_within_their_bounds(answering: int, waiting: int, slowdown: float) -> None:
    rows = prompt_rows(TILED, answering, waiting, 256, slowdown)
    assert 0 <= rows <= min(waiting, 256 - answering)
    assert (rows > 0) == (waiting > 0)
    if answering and rows > PROGRESS_ROWS:
        assert TILED.of(answering + rows) * slowdown <= TILED.pause_s(answering, slowdown)


def test_a_step_is_filled_to_the_quantum() -> None:
    assert prompt_rows(TILED, 1, 500, 256) == 15  # one answer: 0.73 s at most
    assert prompt_rows(TILED, 3, 500, 256) == 13
    assert prompt_rows(TILED, 16, 500, 256) == 64  # 80 rows take 1.25 s; 96 would pause longer than was promised
    assert prompt_rows(TILED, 0, 500, 256) == 256  # nobody is being answered: 4 s
    assert prompt_rows(TILED, 8, 3, 256) == 3
    assert prompt_rows(TILED, 1, 500, 256, slowdown=4.0) == PROGRESS_ROWS


def test_a_long_step_may_become_twice_as_long() -> None:
    """Where the answers' own step takes seconds, prompts are not read in crumbs beside it."""
    slow = StepCosts((1, 8, 16, 32), (0.29, 1.92, 2.37, 4.07), 16)
    assert prompt_rows(slow, 8, 500, 256) == 24
    assert prompt_rows(slow, 8, 500, 256, slowdown=1.3) == 24  # both sides are slowed
    assert slow.pause_s(8) == pytest.approx(4.22, abs=0.01)


def test_nobody_is_kept_waiting_by_a_full_step() -> None:
    assert prompt_rows(TILED, 256, 500, 256) == 0


def test_who_has_waited_for_a_turn_waits_less_for_a_prompt() -> None:
    costs = StepCosts((1, 4, 8, 16, 32), (0.2, 0.5, 0.9, 1.4, 2.8), 16)
    most = costs.pause_s(8)
    for waited in (0.0, 0.4, 0.9):
        rows = prompt_rows(costs, 8, 200, 256, waited=waited)
        assert waited + costs.of(8 + rows) <= most or rows == PROGRESS_ROWS
    assert prompt_rows(costs, 8, 200, 256, waited=5.0) == PROGRESS_ROWS, "a prompt always advances"
    assert prompt_rows(costs, 8, 200, 256, waited=0.9) < prompt_rows(costs, 8, 200, 256)


def test_costs_between_and_beyond_what_was_measured() -> None:
    assert TILED.of(12) == pytest.approx(0.621)
    assert TILED.of(96) == pytest.approx(1.395)
    assert StepCosts((4,), (1.0,), 4).of(8) == 2.0


def test_a_large_step_is_never_thought_cheaper_than_a_small_one() -> None:
    """The last two points may stand on either side of the end of a group: measured on the 7B shape, tiled kernels."""
    tiled = StepCosts((1, 4, 8, 16, 24, 32), (0.21, 0.53, 1.41, 1.93, 3.564, 3.495), 16)
    assert tiled.of(256) > 20.0
    assert prompt_rows(tiled, 1, 500, 256) < 32
    for more in (32, 40, 64, 128):
        assert tiled.of(2 * more) > tiled.of(more)


def test_answers_share_steps_where_that_is_cheaper() -> None:
    grouped = StepCosts((1, 2, 4, 8, 16), (0.21, 0.35, 0.53, 1.41, 1.79), 16)  # groups of four, then of sixteen
    assert [grouped.answers_at_once(n) for n in (1, 2, 3, 4, 6, 8, 16)] == [1, 2, 3, 4, 4, 4, 16]
    assert grouped.answer_s(8) == pytest.approx(1.06)
    smooth = StepCosts((1, 2, 4, 8, 16), (0.009, 0.015, 0.023, 0.035, 0.059), 16)
    assert [smooth.answers_at_once(n) for n in (1, 5, 16)] == [1, 5, 16]


@given(st.integers(1, 64))
def test_taking_turns_never_costs_more_than_five_percent(answering: int) -> None:
    assert TILED.answer_s(answering) <= 1.05 * TILED.of(answering) + 1e-9


def test_the_quantum_is_the_smallest_that_is_cheap() -> None:
    assert cheapest_quantum(ROWS, TILED.seconds) == 16
    assert cheapest_quantum(ROWS, (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)) == 4
    assert cheapest_quantum(ROWS, (0.1, 0.4, 0.4, 0.8, 1.6, 3.2)) == 8
