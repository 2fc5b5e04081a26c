"""The intervals hold what they promise, by simulation; two models that are alike are not told apart."""

import numpy as np
import pytest

from errors import EngineError
from evaluation.statistics import Comparison, compare, contrast, estimate, holm

DRAWS = 1000


def clustered(rng: np.random.Generator, models: int, sources: int, each: int) -> tuple[np.ndarray, list[str]]:
    """Right or wrong on items of which `each` come from one source; a hard source is hard for every model."""
    hardness = rng.beta(1, 1, (sources, 1, 1))
    values = (rng.random((sources, each, models)) < hardness).astype(float)
    return values.reshape(-1, models), [str(source) for source in range(sources) for _ in range(each)]


@pytest.mark.parametrize(("sources", "each"), [(40, 4), (10, 6), (120, 1)])
def test_intervals_cover_the_truth(sources: int, each: int) -> None:
    """95 % intervals hold the true mean, and the true difference (none), in 93 to 98 of 100 simulations."""
    rng, runs = np.random.default_rng(11), 400
    mean = difference = 0
    for _ in range(runs):
        values, names = clustered(rng, 2, sources, each)
        found = estimate(values[:, 0], names, resamples=DRAWS)
        mean += found.low <= 0.5 <= found.high
        _, low, high, _ = contrast(values[:, 1] - values[:, 0], names, resamples=DRAWS)
        difference += low <= 0 <= high
    assert 0.93 <= mean / runs <= 0.985
    assert 0.93 <= difference / runs <= 0.985


def test_few_right_answers_have_a_wide_interval() -> None:
    """Where 15 % of 24 items are right, intervals hold that share as often as they promise."""
    rng, runs, right = np.random.default_rng(23), 500, 0
    for _ in range(runs):
        found = estimate((rng.random(24) < 0.15).astype(float), [str(n) for n in range(24)])
        right += found.low <= 0.15 <= found.high
    assert 0.93 <= right / runs <= 0.99
    one = estimate([1.0] + [0.0] * 23, [str(n) for n in range(24)])
    assert 0 < one.low < 1 / 24
    assert one.high > 0.19


def test_items_of_one_source_are_no_independent_witnesses() -> None:
    """Taken for independent, they give intervals that are sure of themselves and wrong."""
    rng, runs, right = np.random.default_rng(5), 300, 0
    for _ in range(runs):
        values, names = clustered(rng, 1, 30, 8)
        found = estimate(values[:, 0], [str(n) for n in range(len(names))], resamples=DRAWS)
        right += found.low <= 0.5 <= found.high
    assert right / runs < 0.8


@pytest.mark.parametrize(("models", "sources", "each", "runs"), [(2, 60, 3, 1000), (4, 30, 2, 400), (2, 8, 5, 400)])
def test_models_that_are_alike_are_not_told_apart(models: int, sources: int, each: int, runs: int) -> None:
    """Of 1,000 comparisons at most 5 % call any two of them different, however many models there are."""
    rng, alarms = np.random.default_rng(17), 0
    for _ in range(runs):
        values, names = clustered(rng, models, sources, each)
        named = {str(model): values[:, model] for model in range(models)}
        alarms += any(pair.different for pair in compared(named, names).pairs)
    assert alarms <= 0.05 * runs


def compared(values: dict[str, np.ndarray], clusters: list[str]) -> Comparison:
    return compare({name: column.tolist() for name, column in values.items()}, clusters, resamples=400)


def test_a_true_difference_is_found() -> None:
    rng = np.random.default_rng(3)
    worse, names = clustered(rng, 1, 80, 2)
    better = np.maximum(worse[:, 0], rng.random(160) < 0.3)
    found = compare({"a": worse[:, 0].tolist(), "b": better.tolist(), "c": better.tolist()}, names)
    pair = found.pair("a", "b")
    assert pair.different
    assert 0 < pair.low < pair.difference < pair.high
    assert pair.p <= pair.p_holm
    turned = found.pair("b", "a")
    assert (turned.difference, turned.low, turned.high) == (-pair.difference, -pair.high, -pair.low)
    same = found.pair("b", "c")
    assert (same.difference, same.low, same.high, same.p, same.different) == (0, 0, 0, 1, False)
    assert found.p_best["b"] == found.p_best["c"] == pytest.approx(0.5, abs=0.01)
    assert sum(found.p_best.values()) == pytest.approx(1)


def test_the_same_figures_give_the_same_interval() -> None:
    values, names = clustered(np.random.default_rng(1), 1, 30, 2)
    assert estimate(values[:, 0], names) == estimate(values[:, 0], names)
    turned = estimate(values[::-1, 0], names[::-1])
    assert turned.mean == estimate(values[:, 0], names).mean
    assert turned.clusters == 30


@pytest.mark.parametrize(("value", "low", "high"), [(0.0, 0.0, 0.116), (1.0, 0.884, 1.0), (0.5, 0.442, 0.558)])
def test_no_spread_is_no_certainty(value: float, low: float, high: float) -> None:
    """Thirty answers that are all wrong do not prove that none is ever right."""
    found = estimate([value] * 30, [str(n) for n in range(30)])
    assert (round(found.low, 3), round(found.high, 3)) == (low, high)


def test_five_sources_cannot_prove_a_difference() -> None:
    _, _, _, p = contrast([1.0] * 50, [str(n % 5) for n in range(50)])
    assert p == 2 / 2**5
    assert estimate([0.0, 1.0], ["a", "a"]).clusters == 1  # one source: nothing can be said, nothing breaks


@pytest.mark.parametrize(
    ("p_values", "raised"),
    [([], []), ([0.2], [0.2]), ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]), ([0.9, 0.8], [1.0, 1.0])],
)
def test_holm(p_values: list[float], raised: list[float]) -> None:
    assert holm(p_values) == pytest.approx(raised)


@pytest.mark.parametrize(
    ("values", "clusters", "said"),
    [
        ([], [], "shape"),
        ([[[1.0]]], ["a"], "shape"),
        ([1.0, 0.0], ["a"], "2 items, but 1 clusters"),
        ([1.0, float("nan")], ["a", "b"], "counts as 0"),
        ([0.0, 1.5], ["a", "b"], "leave their bounds"),
    ],
)
def test_wrong_figures_are_refused(values: list[float], clusters: list[str], said: str) -> None:
    with pytest.raises(EngineError, match=said):
        estimate(values, clusters)


@pytest.mark.parametrize(
    ("values", "said"),
    [({"a": [1.0]}, "Two models"), ({}, "none"), ({"a": [1.0], "b": [1.0, 0.0]}, "different numbers of items")],
)
def test_models_that_cannot_be_compared(values: dict[str, list[float]], said: str) -> None:
    with pytest.raises(EngineError, match=said):
        compare(values, ["x"])


def test_a_model_that_was_not_compared() -> None:
    found = compare({"a": [1.0, 0.0], "b": [0.0, 1.0]}, ["x", "y"])
    with pytest.raises(EngineError, match="'c' were not compared; known: a, b"):
        found.pair("a", "c")
