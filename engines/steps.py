"""How many prompt tokens go into a step beside those that are answering. Pure arithmetic over measured times."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

STALL_S = 0.7  # a running answer should not pause longer for somebody else's prompt
ALONE_S = 4.0  # nobody is being answered: larger steps read faster, and a newcomer can wait that long
STRETCH = 2.2  # a step of many answers is long already: a prompt may make it so many times as long
PROGRESS_ROWS = 4  # a prompt always advances by these, however slow the machine


@dataclass(frozen=True)
class StepCosts:
    """Seconds that one step takes, by its number of rows.

    Attributes:
        rows: Rows that were measured, ascending.
        seconds: The time of each.
        quantum: Rows that this processor computes at the best price; steps are filled to a multiple of it.
    """

    rows: tuple[int, ...]
    seconds: tuple[float, ...]
    quantum: int

    def of(self, n_rows: int) -> float:
        """Return the seconds that `n_rows` take: between two measured points on a line.

        Beyond the last one by the slope of the second half: the last two points may stand on either side of the end of
        one of the kernels' groups, where their slope says nothing. More rows never cost less.

        >>> StepCosts((1, 4), (1.0, 2.5), 4).of(3)
        2.0
        """
        if len(self.rows) == 1:
            return self.seconds[0] * n_rows / self.rows[0]
        if n_rows > self.rows[-1]:
            half = min(bisect_left(self.rows, self.rows[-1] / 2), len(self.rows) - 2)
            last, took = self.rows[-1], self.seconds[-1]
            slope = (took - self.seconds[half]) / (last - self.rows[half])
            return took + max(slope, 0.5 * took / last) * (n_rows - last)
        right = min(max(bisect_left(self.rows, n_rows), 1), len(self.rows) - 1)
        (r0, r1), (s0, s1) = self.rows[right - 1 : right + 1], self.seconds[right - 1 : right + 1]
        return s0 + (s1 - s0) * (n_rows - r0) / (r1 - r0)

    def answers_at_once(self, answering: int) -> int:
        """Return how many of the running answers to put into one step, the others following in the next.

        More rows are not always cheaper by the row: where the kernels work in groups of four or sixteen, eight rows may
        cost more than twice four.

        >>> StepCosts((1, 4, 8, 16), (0.21, 0.53, 1.41, 1.79), 16).answers_at_once(8)
        4
        """
        price = {n: self.of(n) / n for n in (*(n for n in self.rows if n < answering), answering)}
        best = min(price.values())
        return max(n for n, each in price.items() if each <= 1.05 * best)

    def answer_s(self, answering: int) -> float:
        """Return the seconds in which each of the running answers gets one more token."""
        together = self.answers_at_once(answering)
        return self.of(together) * answering / together

    def pause_s(self, answering: int, slowdown: float = 1.0) -> float:
        """Return the longest pause that running answers make for a prompt, in seconds.

        A full quantum must fit in it. Where the answers' own step takes long, a few words less a minute for them are
        many seconds less for who still waits for the first.
        """
        return max(STALL_S, 1.25 * self.of(self.quantum), STRETCH * self.of(answering) * slowdown)


def cheapest_quantum(rows: Sequence[int], seconds: Sequence[float]) -> int:
    """Return which of 4, 8 or 16 rows to fill a step to: the smallest that costs at most 15 % more a row than the best.

    >>> cheapest_quantum((1, 4, 8, 16), (0.11, 0.32, 0.66, 0.58))
    16
    """
    price = {n: s / n for n, s in zip(rows, seconds, strict=True) if n in {4, 8, 16}}
    best = min(price.values())
    return min(n for n, each in price.items() if each <= 1.15 * best)


def prompt_rows(
    costs: StepCosts, answering: int, waiting: int, cap: int, slowdown: float = 1.0, waited: float = 0.0
) -> int:
    """Return how many rows of waiting prompts to add to a step.

    The largest total that is a multiple of the quantum and keeps the step under the allowed pause; a few rows where
    none does, so that a prompt always advances.

    Args:
        costs: What steps cost.
        answering: Rows that the running answers take, one each.
        waiting: Rows that the prompts still need.
        cap: Most rows of a step.
        slowdown: How much longer steps take now than when they were measured.
        waited: Seconds for which one of the running answers has paused already.
    """
    room = min(waiting, cap - answering)
    if room <= 0:
        return 0
    limit = costs.pause_s(answering, slowdown) - waited if answering else max(costs.pause_s(1), ALONE_S)
    if costs.of(answering + room) * slowdown <= limit:
        return room
    first = (answering // costs.quantum + 1) * costs.quantum
    totals = range(first, answering + room, costs.quantum)
    fitting = [total - answering for total in totals if costs.of(total) * slowdown <= limit]
    return fitting[-1] if fitting else min(PROGRESS_ROWS, room)
