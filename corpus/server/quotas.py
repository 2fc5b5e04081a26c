"""How often each level of each dimension is due, and whether that can be had. Pure: knows no domain, draws nothing."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from errors import CorpusError

Cell = dict[str, str]  # one level for each dimension
Place = tuple[str, str]  # a dimension and one of its levels


@dataclass(frozen=True)
class Plan:
    """What is to be served.

    Attributes:
        weights: The share of each level by dimension, any positive numbers.
        total: Cases wanted in all, those of the seed corpus included.
        seeded: Cases that the seed corpus has already, by dimension and level.
        forbidden: Pairs of places that may not stand in one cell.
    """

    weights: Mapping[str, Mapping[str, float]]
    total: int
    seeded: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    forbidden: frozenset[frozenset[Place]] = frozenset()

    def __post_init__(self) -> None:
        if self.total < 1:
            raise CorpusError(f"total is {self.total}; ask for one case or more.")
        for name, levels in self.weights.items():
            if not levels or any(not weight > 0 for weight in levels.values()):
                raise CorpusError(f"dimension {name}: expected levels with weights above 0, found {dict(levels)}.")
        for pair in self.forbidden:
            for name, level in pair:
                if level not in self.weights.get(name, {}):
                    raise CorpusError(f"forbidden: {name}={level} is no level; write one of the dimension's.")


def largest_remainder(weights: Mapping[str, float], total: int) -> dict[str, int]:
    """Share `total` by weight in whole numbers, the largest fractions rounded up; the first of equals goes first.

    >>> largest_remainder({"a": 1, "b": 1, "c": 1}, 5)
    {'a': 2, 'b': 2, 'c': 1}
    """
    whole = sum(weights.values())
    exact = {level: total * weight / whole for level, weight in weights.items()}
    shared = {level: int(value) for level, value in exact.items()}
    rest = total - sum(shared.values())
    for level in sorted(exact, key=lambda one: shared[one] - exact[one])[:rest]:
        shared[level] += 1
    return shared


def remaining(plan: Plan) -> dict[str, dict[str, int]]:
    """Return the quota still to serve, by dimension and level: every dimension sums to the same number.

    A level that the seed corpus has more of than its share keeps what it has; the rest is shared out again.

    Raises:
        CorpusError: The seed corpus alone exceeds the total, or a dimension counts it otherwise than another.
    """
    sums = {name: sum(plan.seeded.get(name, {}).values()) for name in plan.weights}
    if len(set(sums.values())) > 1:
        raise CorpusError(f"the seed corpus counts differ by dimension: {sums}; every case has a level in each.")
    if any(count > plan.total for count in sums.values()):
        raise CorpusError(f"the seed corpus has {max(sums.values())} cases, the total is {plan.total}; raise it.")
    quotas: dict[str, dict[str, int]] = {}
    for name, weights in plan.weights.items():
        seeded = {level: plan.seeded.get(name, {}).get(level, 0) for level in weights}
        fixed: set[str] = set()
        while True:
            free = {level: weight for level, weight in weights.items() if level not in fixed}
            target = largest_remainder(free, plan.total - sum(seeded[level] for level in fixed)) if free else {}
            over = {level for level in free if seeded[level] > target[level]}
            if not over:
                break
            fixed |= over
        quotas[name] = {level: target.get(level, seeded[level]) - seeded[level] for level in weights}
    return quotas


def check_feasible(quotas: Mapping[str, Mapping[str, int]], forbidden: frozenset[frozenset[Place]]) -> None:
    """Refuse quotas that the forbidden pairs cannot meet, dimension against dimension.

    Raises:
        CorpusError: Two dimensions cannot be served together; the message names them and how many cells lack.
    """
    for first, second in combinations(quotas, 2):
        allowed = {
            (a, b)
            for a in quotas[first]
            for b in quotas[second]
            if frozenset({(first, a), (second, b)}) not in forbidden
        }
        wanted = sum(quotas[first].values())
        served = _flow(quotas[first], quotas[second], allowed)
        if served < wanted:
            raise CorpusError(
                f"dimensions {first} and {second}: {wanted - served} of {wanted} cells cannot be served, because of "
                "forbidden pairs; forbid less, or change their weights."
            )


def _flow(left: Mapping[str, int], right: Mapping[str, int], allowed: set[tuple[str, str]]) -> int:
    """Return how much of `left` can be matched with `right` through allowed pairs: a maximal flow, path by path."""
    given = dict.fromkeys(allowed, 0)
    spare_left, spare_right = dict(left), dict(right)
    while (path := _augmenting(spare_left, spare_right, given)) is not None:
        room = min(spare_left[path[0]], spare_right[path[-1]])
        for at in range(1, len(path) - 1, 2):  # steps back, from right to left, undo what was given
            room = min(room, given[path[at + 1], path[at]])
        for at in range(0, len(path) - 1, 2):
            given[path[at], path[at + 1]] += room
        for at in range(1, len(path) - 1, 2):
            given[path[at + 1], path[at]] -= room
        spare_left[path[0]] -= room
        spare_right[path[-1]] -= room
    return sum(left.values()) - sum(spare_left.values())


def _augmenting(
    spare_left: Mapping[str, int], spare_right: Mapping[str, int], given: Mapping[tuple[str, str], int]
) -> Sequence[str] | None:
    """Return a path left, right, left, … right from what is left over to where there is room, the shortest first."""
    queue: deque[tuple[str, ...]] = deque((a,) for a, spare in spare_left.items() if spare > 0)
    seen_left = {path[0] for path in queue}
    seen_right: set[str] = set()
    while queue:
        path = queue.popleft()
        for a, b in given:
            if a != path[-1] or b in seen_right:
                continue
            seen_right.add(b)
            if spare_right[b] > 0:
                return (*path, b)
            for other, undone in given:
                if undone == b and other not in seen_left and given[other, b] > 0:
                    seen_left.add(other)
                    queue.append((*path, b, other))
    return None
