"""How sure a figure is: intervals by paired cluster bootstrap, tests by swapping labels, Holm. Knows arrays alone.

Items that come from one source (a base exercise and its variants, a philosopher's question) are no independent
witnesses: whole clusters are drawn, or swapped, together. The same draws serve every model, so a hard item is hard for
all of them at once and drops out of their difference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np

from errors import EngineError

RESAMPLES = 10_000
LEVEL = 0.95
SEED = 20_250_101  # fixed: the same result file gives the same interval
EXACT_UP_TO = 12  # clusters; 2^12 swaps are all tried, above that RESAMPLES of them are drawn
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Estimate:
    """A mean over items.

    Attributes:
        mean: Over all items, each counting once.
        low: Lower end of the interval.
        high: Upper end.
        n: Items.
        clusters: Independent sources of them.
    """

    mean: float
    low: float
    high: float
    n: int
    clusters: int


@dataclass(frozen=True)
class Pair:
    """Two models on the same items.

    Attributes:
        first: The one that is compared with.
        second: The one that is compared.
        difference: Mean of second minus first.
        low: Lower end of its interval.
        high: Upper end.
        p: Chance of a difference as large if the two were alike.
        p_holm: The same, raised for the number of pairs looked at.
        different: p_holm is under 1 - level.
    """

    first: str
    second: str
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    different: bool


@dataclass(frozen=True)
class Comparison:
    """Several models on the same items.

    Attributes:
        level: Of the intervals.
        estimates: Each model's mean.
        pairs: Every two of them, in the order given.
        p_best: Share of the resamples in which each has the highest mean; ties are shared out.
    """

    level: float
    estimates: Mapping[str, Estimate]
    pairs: tuple[Pair, ...]
    p_best: Mapping[str, float]

    def pair(self, first: str, second: str) -> Pair:
        """Return how `second` compares with `first`, in either order given.

        Raises:
            EngineError: One of them was not compared.
        """
        for one in self.pairs:
            if (one.first, one.second) == (first, second):
                return one
            if (one.first, one.second) == (second, first):
                return Pair(first, second, -one.difference, -one.high, -one.low, one.p, one.p_holm, one.different)
        raise EngineError(f"{first!r} and {second!r} were not compared; known: {', '.join(self.estimates)}.")


def _checked(values: Any, clusters: Sequence[str]) -> tuple[Array, Array]:
    """Return finite values as (n, k) float64, and a number per item that says its cluster."""
    table = np.asarray(values, np.float64)
    if table.ndim == 1:
        table = table[:, None]
    if table.ndim != 2 or not table.size:
        raise EngineError(f"Expected values of the shape (n,) or (n, models), not {table.shape}.")
    if len(clusters) != len(table):
        raise EngineError(f"{len(table)} items, but {len(clusters)} clusters: one name per item is needed.")
    if not np.isfinite(table).all():
        raise EngineError("A value is not a finite number; a failed answer counts as 0, not as nothing.")
    return table, np.unique(np.asarray(clusters, dtype=str), return_inverse=True)[1]


def _by_cluster(table: Array, codes: Array) -> tuple[Array, Array]:
    """Return the sums of each cluster, (m, k), and its number of items, (m,)."""
    sizes = np.bincount(codes).astype(np.float64)
    sums = np.stack([np.bincount(codes, weights=column) for column in table.T], axis=1)
    return sums, sizes


@lru_cache(maxsize=2)
def _draws(clusters: int, resamples: int, seed: int) -> Array:
    """Return how often each cluster is drawn in each resample, (resamples, clusters)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples).astype(np.float64)


@lru_cache(maxsize=2)
def _signs(clusters: int, resamples: int, seed: int) -> Array:
    """Return ±1 for each cluster: all ways where they are few, else `resamples` drawn ones, (ways, clusters)."""
    if clusters <= EXACT_UP_TO:
        ways = np.arange(2**clusters)[:, None] >> np.arange(clusters) & 1
        return 1.0 - 2.0 * ways
    return np.random.default_rng(seed).choice(np.array([-1.0, 1.0]), size=(resamples, clusters))


@lru_cache(maxsize=64)
def _ends(clusters: int, level: float) -> tuple[float, float]:
    """Return the two quantiles to take, widened for few clusters.

    Plain percentiles are too narrow by the factor sqrt((m-1)/m) and know no t distribution; the quantiles are moved
    out by just that. Source: expanded percentile interval, Hesterberg, The American Statistician 69 (2015), 3.3.
    """
    from scipy import stats  # a second to import, and only evaluation needs it

    if clusters < 2:
        return 0.0, 1.0
    far = (clusters / (clusters - 1)) ** 0.5 * stats.t.ppf((1 + level) / 2, clusters - 1)
    tail = float(stats.norm.sf(far))
    return tail, 1 - tail


def _resampled(table: Array, codes: Array, resamples: int, seed: int) -> Array:
    """Return the mean of each column in each resample, (resamples, k)."""
    sums, sizes = _by_cluster(table, codes)
    counts = _draws(len(sizes), resamples, seed)
    means: Array = counts @ sums / (counts @ sizes)[:, None]
    return means


def _interval(table: Array, codes: Array, level: float, resamples: int, seed: int) -> Array:
    """Return the ends for each column, (2, k)."""
    ends = _ends(int(codes.max()) + 1, level)
    found: Array = np.quantile(_resampled(table, codes, resamples, seed), ends, axis=0)
    return found


def _share_ends(table: Array, codes: Array, level: float) -> tuple[float, float]:
    """Return Wilson's interval of a share, with as many items as the clusters are worth together.

    Source: Wilson 1927; effective number of items and t quantile after Korn and Graubard, Survey Methodology 24 (1998).
    """
    from scipy import stats

    sums, sizes = _by_cluster(table, codes)
    number, share = len(sizes), float(table.mean())
    if number < 2:
        return 0.0, 1.0
    spread = number / (number - 1) * float(((sums[:, 0] - share * sizes) ** 2).sum()) / len(table) ** 2
    worth = min(len(table), share * (1 - share) / spread) if spread > 0 else len(table)
    far = float(stats.t.ppf((1 + level) / 2, number - 1)) ** 2 / worth
    middle = (share + far / 2) / (1 + far)
    half = (far * share * (1 - share) + far**2 / 4) ** 0.5 / (1 + far)
    return max(0.0, middle - half), min(1.0, middle + half)


def estimate(
    values: Any,
    clusters: Sequence[str],
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Estimate:
    """Return the mean and its interval.

    Of a share (values 0 and 1) it is Wilson's, which resampling does not reach where few are right; of other values it
    comes from resampling. Where every item has the same value there is no spread to go by: the interval then says what
    so many clusters without an exception allow (the rule of three, exactly).

    Args:
        values: (n,) one per item.
        clusters: (n,) names.
        bounds: Least and greatest possible value.
        level: Of the interval.
        resamples: Draws.
        seed: Of the draws.

    Raises:
        EngineError: Nothing to measure, lengths that differ, or values outside their bounds.

    >>> round(estimate([0.0] * 30, [str(n) for n in range(30)]).high, 3)
    0.116
    """
    table, codes = _checked(values, clusters)
    if table.min() < bounds[0] or table.max() > bounds[1]:
        raise EngineError(f"Values from {table.min():g} to {table.max():g} leave their bounds {bounds}.")
    number = int(codes.max()) + 1
    mean = float(table.mean())
    if np.ptp(table) == 0:
        unseen = 1 - ((1 - level) / 2) ** (1 / number)  # the greatest share of exceptions that may hide still
        low, high = mean - unseen * (mean - bounds[0]), mean + unseen * (bounds[1] - mean)
    elif np.isin(table, (0.0, 1.0)).all():
        low, high = _share_ends(table, codes, level)
    else:
        low, high = (float(end) for end in _interval(table, codes, level, resamples, seed)[:, 0])
    return Estimate(mean, low, high, len(table), number)


def contrast(
    deltas: Any, clusters: Sequence[str], *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = SEED
) -> tuple[float, float, float, float]:
    """Return mean, both ends of its interval, and p, of differences per item.

    p comes from swapping the two models' labels within whole clusters: if they are alike, every such swap is as likely
    as what was seen. It is right for any number of clusters; with fewer than six it cannot come under 0.05.

    Args:
        deltas: (n,) one per item, e.g. second minus first.
        clusters: (n,) names.
        level: Of the interval.
        resamples: Draws, of the bootstrap and of the swaps.
        seed: Of both.

    Raises:
        EngineError: Nothing to compare, or lengths that differ.
    """
    table, codes = _checked(deltas, clusters)
    low, high = _interval(table, codes, level, resamples, seed)[:, 0]
    sums, _ = _by_cluster(table, codes)
    signs = _signs(len(sums), resamples, seed)
    seen = abs(sums.sum())
    as_far = int((np.abs(signs @ sums[:, 0]) >= seen - 1e-9 * max(seen, 1.0)).sum())  # equal sums differ by rounding
    exact = len(sums) <= EXACT_UP_TO
    p = as_far / len(signs) if exact else (as_far + 1) / (len(signs) + 1)
    return float(table.mean()), float(low), float(high), p


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values raised for having looked so often; the chance of any false alarm stays under the level.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    raised, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda one: p_values[one])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        raised[place] = highest
    return raised


def compare(
    values: Mapping[str, Sequence[float]],
    clusters: Sequence[str],
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Comparison:
    """Compare models on the same items in the same order, every two of them.

    Args:
        values: One sequence of (n,) per model.
        clusters: (n,) names.
        bounds: Least and greatest possible value.
        level: Of the intervals; models differ when Holm's p is under 1 - level.
        resamples: Draws.
        seed: Of the draws, the same for all models.

    Raises:
        EngineError: Fewer than two models, or lengths that differ.
    """
    names = list(values)
    if len(names) < 2:
        raise EngineError(f"Two models are compared at least; given: {', '.join(names) or 'none'}.")
    lengths = {name: len(found) for name, found in values.items()}
    if len(set(lengths.values())) > 1:
        raise EngineError(f"The models answered different numbers of items: {lengths}.")
    table, codes = _checked(np.stack([np.asarray(values[name], np.float64) for name in names], axis=1), clusters)
    drawn: dict[str, Any] = {"level": level, "resamples": resamples, "seed": seed}
    raw: list[tuple[str, str, float, float, float, float]] = []
    for one, other in combinations(range(len(names)), 2):
        raw.append((names[one], names[other], *contrast(table[:, other] - table[:, one], clusters, **drawn)))
    raised = holm([p for *_, p in raw])
    pairs = tuple(Pair(*found, p_holm, p_holm < 1 - level) for found, p_holm in zip(raw, raised, strict=True))
    means = _resampled(table, codes, resamples, seed)
    top = means >= means.max(axis=1, keepdims=True) - 1e-12
    best = (top / top.sum(axis=1, keepdims=True)).mean(axis=0)
    estimates = {name: estimate(table[:, at], clusters, bounds=bounds, **drawn) for at, name in enumerate(names)}
    return Comparison(level, estimates, pairs, {name: float(best[at]) for at, name in enumerate(names)})
