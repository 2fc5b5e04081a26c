"""Draws balanced cells: every level near its share at every time, every pair of levels soon. Pure; keeps no lease.

Each dimension keeps the windows of Tijdeman's chairman assignment (Discrete Mathematics 32, 1980): a level is served
neither too early nor after its deadline. Among what the windows allow, the pairs that lag behind decide.
"""

import math
import random
from collections.abc import Iterable, Mapping
from itertools import combinations

from corpus.server.quotas import Cell, Place, Plan, check_feasible, remaining

TRIES = 3  # whole cells drafted for each draw, the neediest is kept
SWEEPS = 2
ENDGAME = 60  # cells left from which rows are planned together, where pairs are forbidden
SWAPS = 4000
SIDEWAYS = 0.05  # of the swaps that mend nothing, how many are kept


class Sampler:
    """The state of what was served, and the next cell.

    >>> sampler = Sampler(Plan({"voice": {"je": 1, "il": 1}, "topic": {"dette": 1, "legs": 1}}, total=4), seed=7)
    >>> len({tuple(sampler.draw().values()) for _ in range(4)}), sampler.draw()
    (4, None)
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
        self.served = 0  # accepted and leased
        self.issued = 0  # never taken back
        self._seed = seed
        self._bound = {place[0] for pair in plan.forbidden for place in pair}
        self.counts: dict[str, dict[str, int]] = {name: dict.fromkeys(q, 0) for name, q in self.quotas.items()}
        self.pairs: dict[tuple[Place, Place], int] = {}
        self._shares = {
            name: {level: q / max(1, self.wanted) for level, q in quota.items()} for name, quota in self.quotas.items()
        }
        self._theta = {}
        for name, quota in self.quotas.items():
            live = sum(1 for q in quota.values() if q > 0)
            self._theta[name] = 1 - 1 / (2 * live - 2) if live > 1 else 1.0
        self.feasible = self.feasible_pairs()
        self.unseen = set(self.feasible)  # pairs that no issued cell has had yet

    @property
    def free(self) -> list[str]:
        """The dimensions that no forbidden pair touches: their deviation keeps its bound."""
        return [name for name in self.quotas if name not in self._bound]

    def peek(self) -> Cell | None:
        """Return the cell that `draw` gives next, counting nothing; None when nothing can be given now."""
        if self.served >= self.wanted:
            return None
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
        self._add(cell, 1)
        self.issued += 1
        if self.unseen:
            self.unseen.difference_update(combinations([(name, cell[name]) for name in self.quotas], 2))

    def give_back(self, cell: Mapping[str, str]) -> None:
        """Return the quota of a cell that expired, was released or rejected."""
        self._add(cell, -1)

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

    def _add(self, cell: Mapping[str, str], step: int) -> None:
        for name, level in cell.items():
            self.counts[name][level] += step
        for pair in combinations([(name, cell[name]) for name in self.quotas], 2):
            self.pairs[pair] = self.pairs.get(pair, 0) + step
        self.served += step

    def _open(self, name: str) -> list[str]:
        return [level for level, count in self.counts[name].items() if count < self.quotas[name][level]]

    def _deadline(self, name: str, level: str, copy: int) -> int:
        """Return the last issue at which copy number `copy` (from 0) may come."""
        return math.floor((copy + self._theta[name]) / self._shares[name][level] + 1e-9) + 1

    def _can_follow(self, name: str, taken: str, now: int) -> bool:
        """Whether, after `taken` at issue `now`, every copy due soon can still be placed in time."""
        horizon = now + 2 * len(self.quotas[name])
        due: list[int] = []
        for level in self._open(name):
            copy = self.counts[name][level] + (level == taken)
            while copy < self.quotas[name][level] and (deadline := self._deadline(name, level, copy)) <= horizon:
                due.append(deadline)
                copy += 1
        return all(deadline >= now + 1 + place for place, deadline in enumerate(sorted(due)))

    def candidates(self, name: str) -> list[str]:
        """Return the levels of a dimension that its windows allow at the next issue."""
        now = self.served + 1
        still = self._open(name)
        shares, counts = self._shares[name], self.counts[name]
        released = [one for one in still if counts[one] + 1 - shares[one] * now <= self._theta[name] + 1e-9] or still
        safe = [level for level in released if self._can_follow(name, level, now)]
        if safe or not released:
            return safe
        return [min(released, key=lambda level: self._deadline(name, level, counts[level]))]

    def _need(self, first: Place, second: Place) -> float:
        """Return how much a pair lags behind; one never seen weighs most."""
        if (first, second) not in self.pairs and (second, first) in self.pairs:
            first, second = second, first
        expected = (self.served + 1) * self._shares[first[0]][first[1]] * self._shares[second[0]][second[1]]
        seen = self.pairs.get((first, second), 0)
        return (expected - seen) / (1 + expected) + (3 if seen <= 0 else 0)

    def _allowed(self, place: Place, cell: Mapping[str, str]) -> bool:
        return not any(frozenset({place, other}) in self.forbidden for other in cell.items() if other[0] != place[0])

    def _best(self, chance: random.Random) -> Cell | None:
        """Return the neediest of some drafts."""
        possible = {name: self.candidates(name) for name in self.quotas}
        best: Cell | None = None
        highest = -math.inf
        for _ in range(TRIES):
            cell = self._draft(possible, chance, {})
            if len(cell) < len(self.quotas):
                continue
            need = sum(self._need(*pair) for pair in combinations(cell.items(), 2))
            if need > highest:
                best, highest = {name: cell[name] for name in self.quotas}, need
        return best

    def _draft(self, possible: Mapping[str, list[str]], chance: random.Random, begun: Mapping[str, str]) -> Cell:
        """Return `begun` with the dimensions of `possible` added, as far as they can be."""
        cell: Cell = dict(begun)
        order = sorted(possible, key=lambda name: (len(possible[name]), chance.random()))
        for _ in range(SWEEPS):
            for name in order:
                others = [place for place in cell.items() if place[0] != name]
                fitting = [level for level in possible[name] if self._allowed((name, level), cell)]
                if fitting:
                    cell[name] = max(
                        fitting,
                        key=lambda level: (sum(self._need((name, level), one) for one in others), chance.random()),
                    )
                elif name not in cell:
                    late = [level for level in self._open(name) if self._allowed((name, level), cell)]
                    if late:
                        now, shares, counts = self.served + 1, self._shares[name], self.counts[name]
                        cell[name] = max(late, key=lambda level: shares[level] * now - counts[level])
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
        cell = self._draft({name: self.candidates(name) for name in self.free}, chance, max(usable, key=self._lag))
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
