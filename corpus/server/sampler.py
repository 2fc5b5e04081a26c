"""Draws balanced cells: every level near its share at every time, every pair of levels soon. Pure; keeps no lease.

Each dimension keeps the windows of Tijdeman's chairman assignment (Discrete Mathematics 32, 1980): a level is served
neither too early nor after its deadline. Among what the windows allow, the pairs that lag behind decide.
"""

import copy
import math
import random
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from corpus.server.quotas import Cell, Place, Plan, check_feasible, remaining

TRIES = 3  # whole cells drafted for each draw, the neediest is kept
SWEEPS = 2
NEVER = 3.0  # what a pair weighs more that was never served, where a tenth of all cells should have it
RARER = 0.35  # how much the more where it is rarer: the power of its share
LAST = 60  # pairs not seen yet, from which levels wait for those that they have not met
JITTER = 1e-9  # decides between equals
ENDGAME = 60  # cells left from which rows are planned together, where pairs are forbidden
SWAPS = 4000
SIDEWAYS = 0.05  # of the swaps that mend nothing, how many are kept


class Sampler:
    """The state of what was served, and the next cell.

    >>> sampler = Sampler(Plan({"voice": {"je": 1, "il": 1}, "topic": {"dette": 1, "legs": 1}}, total=4), seed=7)
    >>> len({tuple(sampler.draw().values()) for _ in range(4)}), sampler.draw()
    (4, None)

    Attributes:
        quotas: How often each level is to be served, by dimension.
        wanted: Cells in all.
        counts: How often each level is served now, by dimension: accepted and leased.
        served: Cells in all that are served now.
        issued: Cells ever served; never taken back.
        feasible: The pairs of levels that can be served at all.
        unseen: Those that no cell has had yet.
    """

    def __init__(self, plan: Plan, *, seed: int = 0) -> None:
        """Count nothing yet.

        Raises:
            CorpusError: The plan cannot be met.
        """
        self.quotas = remaining(plan)
        check_feasible(self.quotas, plan.forbidden)
        self.forbidden = plan.forbidden
        self.wanted = sum(next(iter(self.quotas.values())).values())
        self.served = 0
        self.issued = 0
        self._seed = seed
        self._bound = {place[0] for pair in plan.forbidden for place in pair}
        self.counts: dict[str, dict[str, int]] = {name: dict.fromkeys(q, 0) for name, q in self.quotas.items()}
        self._shares = {
            name: {level: q / max(1, self.wanted) for level, q in quota.items()} for name, quota in self.quotas.items()
        }
        self._theta = {}
        for name, quota in self.quotas.items():
            live = sum(1 for q in quota.values() if q > 0)
            self._theta[name] = 1 - 1 / (2 * live - 2) if live > 1 else 1.0
        self._lay_out_pairs()
        self.feasible = self.feasible_pairs()
        self.unseen = set(self.feasible)

    def _lay_out_pairs(self) -> None:
        """Number the places, and make a square of pairs of places for each thing that is asked of a pair."""
        self._places = [(name, level) for name, quota in self.quotas.items() for level in quota]
        self._at = {place: number for number, place in enumerate(self._places)}
        shares = np.array([self._shares[name][level] for name, level in self._places])
        names = np.array([name for name, _ in self._places])
        self._apart = (names[:, None] != names[None, :]).astype(float)  # of two dimensions, so that they can meet
        self._expected = np.outer(shares, shares)  # in one cell
        self._met = np.zeros_like(self._expected)
        self._barred = np.zeros_like(self._expected)
        self._urgent = NEVER * (0.1 / np.maximum(self._expected, 1e-6)) ** RARER
        for pair in self.forbidden:
            one, other = (self._at[place] for place in pair)
            self._barred[one, other] = self._barred[other, one] = 1

    @property
    def free(self) -> list[str]:
        """The dimensions that no forbidden pair touches: their deviation keeps its bound."""
        return [name for name in self.quotas if name not in self._bound]

    def split(self) -> "Sampler":
        """Return a copy that goes its own way."""
        other = copy.copy(self)
        other.counts = {name: dict(levels) for name, levels in self.counts.items()}
        other.unseen, other._met = set(self.unseen), self._met.copy()
        return other

    def peek(self, again: int = 0) -> Cell | None:
        """Return the cell that `draw` gives next, counting nothing; None when nothing can be given now.

        Args:
            again: How many cells proved of no use here: above 0, one of open levels, whatever lags behind.
        """
        if self.served >= self.wanted:
            return None
        if again:
            return self._any(random.Random(f"{self._seed}:{self.issued}:{again}"))  # noqa: S311  as below
        chance = random.Random(f"{self._seed}:{self.issued}")  # noqa: S311  a replay gives the same cells
        if not self.forbidden or self.wanted - self.served > ENDGAME:
            cell = self._best(chance)
            if cell is not None or not self.forbidden:
                return cell
        return self._planned(chance)

    def draw(self) -> Cell | None:
        """Return the next cell and count it as served; None when nothing can be given now."""
        cell = self.peek()
        if cell is not None:
            self.count(cell)
        return cell

    def count(self, cell: Mapping[str, str]) -> None:
        """Count a cell that is issued: by `draw`, or read back from a log."""
        self._serve(cell, 1)
        self.issued += 1
        if self.unseen:
            self.unseen.difference_update(combinations([(name, cell[name]) for name in self.quotas], 2))

    def give_back(self, cell: Mapping[str, str]) -> None:
        """Return the quota of a cell that expired, was released or rejected."""
        self._serve(cell, -1)

    def times_met(self, first: Place, second: Place) -> int:
        """Return how many cells served now have both levels."""
        return int(self._met[self._at[first], self._at[second]])

    def worst_error(self, names: Iterable[str] | None = None) -> float:
        """Return how far the most uneven level is from its share of what was served, in cells.

        Args:
            names: Dimensions to look at; all by default.
        """
        return max(
            (
                abs(count - self._shares[name][level] * self.served)
                for name in (self.quotas if names is None else names)
                for level, count in self.counts[name].items()
            ),
            default=0.0,
        )

    def feasible_pairs(self) -> set[tuple[Place, Place]]:
        """Return the pairs of levels that can be served at all."""
        found = set()
        for first, second in combinations(self.quotas, 2):
            for a, quota_a in self.quotas[first].items():
                for b, quota_b in self.quotas[second].items():
                    if quota_a and quota_b and frozenset({(first, a), (second, b)}) not in self.forbidden:
                        found.add(((first, a), (second, b)))
        return found

    def _serve(self, cell: Mapping[str, str], step: int) -> None:
        for name, level in cell.items():
            self.counts[name][level] += step
        places = self._numbers(cell)
        self._met[np.ix_(places, places)] += step
        self.served += step

    def _numbers(self, cell: Mapping[str, str]) -> list[int]:
        return [self._at[place] for place in cell.items()]

    def _open(self, name: str) -> list[str]:
        return [level for level, count in self.counts[name].items() if count < self.quotas[name][level]]

    def _deadline(self, name: str, level: str, copy: int) -> int:
        """Return the last issue at which copy number `copy` (from 0) may come."""
        return math.floor((copy + self._theta[name]) / self._shares[name][level] + 1e-9) + 1

    def candidates(self, name: str) -> list[str]:
        """Return the levels of a dimension that its windows allow at the next issue."""
        now = self.served + 1
        still = self._open(name)
        shares, counts = self._shares[name], self.counts[name]
        released = [one for one in still if counts[one] + 1 - shares[one] * now <= self._theta[name] + 1e-9] or still
        safe = self._safe(name, still, released, now)
        if safe or not released:
            return safe
        return [min(released, key=lambda level: self._deadline(name, level, counts[level]))]

    def _safe(self, name: str, still: Sequence[str], released: Sequence[str], now: int) -> list[str]:
        """Return the levels after which, given at issue `now`, every copy due soon can still be placed in time.

        The copies due by a horizon are put in order of their deadlines; the one in place i (from 0) comes at issue
        now + 1 + i at the earliest. Giving a level takes its first copy out, and those after it move up by one.
        """
        horizon = now + 2 * len(self.quotas[name])
        first: dict[str, int] = {}
        due: list[int] = []
        for level in still:
            copy = self.counts[name][level]
            while copy < self.quotas[name][level] and (deadline := self._deadline(name, level, copy)) <= horizon:
                first.setdefault(level, deadline)
                due.append(deadline)
                copy += 1
        due.sort()
        slack = [deadline - now - place for place, deadline in enumerate(due)]
        late = next((place for place, spare in enumerate(slack) if spare < 1), len(due))  # where it stays in its place
        lost = max((place for place, spare in enumerate(slack) if spare < 0), default=-1)  # even if it moves up
        safe = []
        for level in released:
            taken = bisect_left(due, first[level]) if level in first else len(due)
            if late >= taken and lost <= taken:
                safe.append(level)
        return safe

    def _needs(self) -> NDArray[np.float64]:
        """Return how much each pair of places lags behind; a rare one never served weighs most."""
        expected = (self.served + 1) * self._expected
        need = (expected - self._met) / (1 + expected) + self._urgent * (self._met <= 0)
        between: NDArray[np.float64] = need * self._apart  # nothing within a dimension
        return between

    def _allowed(self, place: Place, cell: Mapping[str, str]) -> bool:
        return not any(frozenset({place, other}) in self.forbidden for other in cell.items() if other[0] != place[0])

    def _best(self, chance: random.Random) -> Cell | None:
        """Return the neediest of some drafts."""
        possible: Mapping[str, Sequence[str]] = {name: self.candidates(name) for name in self.quotas}
        needs = self._needs()
        meetings = self._meetings(possible)
        if len(self.unseen) <= LAST:
            possible = self._without_waiting(possible, meetings)
        starts = meetings[: TRIES - 1]
        best: Cell | None = None
        highest = -math.inf
        for start in [*starts, *[{}] * (TRIES - len(starts))]:
            cell = self._draft(possible, needs, chance, start)
            if len(cell) < len(self.quotas):
                continue
            places = self._numbers(cell)
            need = float(needs[np.ix_(places, places)].sum())
            if need > highest:
                best, highest = {name: cell[name] for name in self.quotas}, need
        return best

    def _meetings(self, possible: Mapping[str, Sequence[str]]) -> list[Cell]:
        """Return the pairs not seen yet whose two levels can both be given now, the rarest first."""
        now = {(name, level) for name, levels in possible.items() for level in levels}
        found = [pair for pair in self.unseen if pair[0] in now and pair[1] in now]
        found.sort(key=lambda pair: (self._expected[self._at[pair[0]], self._at[pair[1]]], pair))
        return [dict(pair) for pair in found]

    def _without_waiting(
        self, possible: Mapping[str, Sequence[str]], meetings: Sequence[Cell]
    ) -> dict[str, Sequence[str]]:
        """Leave out levels that have a last level to meet which cannot be given now, where others can be given.

        Given now, they would be used up, and the pair would have to wait for a whole turn of theirs.
        """
        waiting = {place for pair in self.unseen for place in pair} - {p for one in meetings for p in one.items()}
        kept = {name: [one for one in levels if (name, one) not in waiting] for name, levels in possible.items()}
        return {name: kept[name] or levels for name, levels in possible.items()}

    def _draft(
        self,
        possible: Mapping[str, Sequence[str]],
        needs: NDArray[np.float64],
        chance: random.Random,
        begun: Mapping[str, str],
    ) -> Cell:
        """Return `begun` with the dimensions of `possible` added, as far as they can be."""
        cell: Cell = dict(begun)
        options = {name: np.array([self._at[name, one] for one in levels], int) for name, levels in possible.items()}
        begun_at = self._numbers(begun)
        need = needs[:, begun_at].sum(1) + [JITTER * chance.random() for _ in self._places]
        barred = self._barred[:, begun_at].sum(1)
        order = sorted(possible, key=lambda name: (len(possible[name]), chance.random()))
        for _ in range(SWEEPS):
            for name in order:
                fitting = options[name][barred[options[name]] == 0]
                if fitting.size:
                    new = int(fitting[need[fitting].argmax()])
                elif name in cell or (late := self._late(name, cell)) is None:
                    continue
                else:
                    new = self._at[name, late]
                if name in cell:
                    old = self._at[name, cell[name]]
                    if old == new:
                        continue
                    need -= needs[:, old]
                    barred -= self._barred[:, old]
                need += needs[:, new]
                barred += self._barred[:, new]
                cell[name] = self._places[new][1]
        return cell

    def _late(self, name: str, cell: Mapping[str, str]) -> str | None:
        """Return the level that lags most of those that a cell allows, whatever the windows say."""
        allowed = [level for level in self._open(name) if self._allowed((name, level), cell)]
        now, shares, counts = self.served + 1, self._shares[name], self.counts[name]
        return max(allowed, key=lambda level: shares[level] * now - counts[level], default=None)

    def _any(self, chance: random.Random) -> Cell | None:
        """Return a cell of open levels, those of which most is left more often; None where they do not combine."""
        cell: Cell = {}
        for name, quota in self.quotas.items():
            fitting = [level for level in self._open(name) if self._allowed((name, level), cell)]
            if not fitting:
                return None
            cell[name] = chance.choices(fitting, [quota[level] - self.counts[name][level] for level in fitting])[0]
        return cell

    def _planned(self, chance: random.Random) -> Cell | None:
        """Return a row of a plan for all that is left, so that the last cells still combine."""
        rows = self._shuffled_rows(chance)
        broken = {number for number, row in enumerate(rows) if self._conflicts(row)}
        for _ in range(SWAPS):
            if not broken:
                break
            bad, other = chance.choice(sorted(broken)), chance.randrange(len(rows))
            name = chance.choice([place[0] for place in self._conflicts(rows[bad])])
            before = len(self._conflicts(rows[bad])) + len(self._conflicts(rows[other]))
            rows[bad][name], rows[other][name] = rows[other][name], rows[bad][name]
            after = len(self._conflicts(rows[bad])) + len(self._conflicts(rows[other]))
            if after > before and chance.random() > SIDEWAYS:
                rows[bad][name], rows[other][name] = rows[other][name], rows[bad][name]
            broken -= {bad, other}
            broken |= {number for number in (bad, other) if self._conflicts(rows[number])}
        usable = [row for row in rows if not self._conflicts(row)]
        if not usable:
            return None
        # Windows hold to the end where nothing is forbidden, so those dimensions are not planned but drawn as before.
        free = {name: self.candidates(name) for name in self.free}
        cell = self._draft(free, self._needs(), chance, max(usable, key=self._lag))
        return {name: cell[name] for name in self.quotas}

    def _lag(self, cell: Mapping[str, str]) -> float:
        """Return how far behind their shares the levels of a cell are, together."""
        now = self.served + 1
        return sum(self._shares[name][level] * now - self.counts[name][level] for name, level in cell.items())

    def _shuffled_rows(self, chance: random.Random) -> list[Cell]:
        rows: list[Cell] = [{} for _ in range(self.wanted - self.served)]
        for name, quota in ((name, self.quotas[name]) for name in self.quotas if name in self._bound):
            column = [level for level, q in quota.items() for _ in range(q - self.counts[name][level])]
            chance.shuffle(column)
            for row, level in zip(rows, column, strict=True):
                row[name] = level
        return rows

    def _conflicts(self, cell: Mapping[str, str]) -> list[Place]:
        return [place for place in cell.items() if not self._allowed(place, cell)]
