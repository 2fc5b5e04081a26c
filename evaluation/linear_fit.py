"""Fits the models of `dialogue.linear`: a softmax regression drawn to a prior. Knows numbers; no file, no message."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dialogue.linear import FAMILIES, Family, Linear, Seen

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Example:
    """One labelled message.

    Attributes:
        seen: What the model sees of it.
        label: What a person gave.
        weight: How many messages it counts for.
    """

    seen: Seen
    label: str
    weight: float = 1.0


@dataclass(frozen=True)
class Fit:
    """How a model is fitted.

    Attributes:
        trust: How much the examples count against the pull to the prior.
        scales: How strongly each family counts: a larger one may learn larger weights for the same pull.
        least: A word or piece counts when so many messages hold it.
        prior: Where a fact points before any message is seen, {label: {fact: weight}}.
        kept: Words and pieces are kept, the heaviest first, up to so many of each.
    """

    trust: float = 0.3
    scales: Mapping[Family, float] = field(default_factory=lambda: {"facts": 0.5, "words": 6.0, "pieces": 6.0})
    least: int = 2
    prior: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    kept: int = 8000


Column = tuple[Family, str]


def _columns(examples: Sequence[Example], how: Fit) -> list[Column]:
    counts: Counter[Column] = Counter()
    for one in examples:
        for family in FAMILIES:
            counts.update((family, name) for name in getattr(one.seen, family))
    kept = {column for column, count in counts.items() if column[0] == "facts" or count >= how.least}
    return sorted(kept | {("facts", name) for table in how.prior.values() for name in table})


def _heaviest(columns: Sequence[Column], weights: Array, kept: int) -> list[Column]:
    """Return every fact, and the words and pieces whose weights are largest, up to so many of each."""
    room: Counter[Family] = Counter({"words": kept, "pieces": kept})
    chosen = []
    for place in np.argsort(-np.abs(weights).max(axis=1), kind="stable"):
        family, _ = columns[place]
        room[family] -= 1
        if family == "facts" or room[family] >= 0:
            chosen.append(columns[place])
    return sorted(chosen)


def _matrix(examples: Sequence[Example], columns: Mapping[Column, int], scales: Mapping[Family, float]) -> Any:
    """Return the (examples, columns) sparse matrix of what each message holds, as `Linear.scores` weighs it."""
    from scipy.sparse import csr_matrix

    rows, places, values = [], [], []
    for row, one in enumerate(examples):
        for family in FAMILIES:
            here = [columns[family, name] for name in getattr(one.seen, family) if (family, name) in columns]
            share = 1.0 if family == "facts" else 1 / np.sqrt(len(here) or 1)
            rows += [row] * len(here)
            places += here
            values += [scales[family] * share] * len(here)
    return csr_matrix((values, (rows, places)), shape=(len(examples), len(columns)))


def _descend(inputs: Any, wanted: Array, counts: Array, start: Array, trust: float) -> tuple[Array, Array]:
    """Return weights (columns, labels) and bias (labels) of least cross-entropy plus squared distance to the start."""
    from scipy.optimize import minimize

    shape = start.shape

    def loss(flat: Array) -> tuple[float, Array]:
        weights, bias = flat[: start.size].reshape(shape), flat[start.size :]
        logits = inputs @ weights + bias
        logits -= logits.max(axis=1, keepdims=True)
        log_likely = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        off = (np.exp(log_likely) - wanted) * counts[:, None] * trust
        away = weights - start
        total = -trust * float((counts[:, None] * wanted * log_likely).sum()) + 0.5 * float((away**2).sum())
        return total, np.concatenate([(inputs.T @ off + away).ravel(), off.sum(axis=0)])

    first = np.concatenate([start.ravel(), np.zeros(shape[1])])
    found: Array = minimize(loss, first, jac=True, method="L-BFGS-B", options={"maxiter": 300}).x
    return found[: start.size].reshape(shape), found[start.size :]


def fit(examples: Sequence[Example], labels: Sequence[str], how: Fit | None = None) -> Linear:
    """Return the model that fits the examples; the loss is convex, so that the same examples give the same model.

    Fitted twice: the second time on the columns alone that are kept, since a message is weighed by how many it holds.

    Args:
        examples: At least one of each label, or that label is never found.
        labels: All that can be given.
        how: See `Fit`.
    """
    how = how or Fit()
    wanted = np.zeros((len(examples), len(labels)))
    wanted[np.arange(len(examples)), [labels.index(one.label) for one in examples]] = 1
    counts = np.array([one.weight for one in examples])
    columns = _columns(examples, how)
    while True:
        place_of = {column: place for place, column in enumerate(columns)}
        start = np.zeros((len(columns), len(labels)))
        for label, table in how.prior.items():
            for name, weight in table.items():
                start[place_of["facts", name], labels.index(label)] = weight / how.scales["facts"]
        inputs = _matrix(examples, place_of, how.scales)
        weights, bias = _descend(inputs, wanted, counts, start, how.trust)
        chosen = _heaviest(columns, weights, how.kept)
        if len(chosen) == len(columns):
            break
        columns = chosen
    tables: dict[Family, dict[str, tuple[float, ...]]] = {family: {} for family in FAMILIES}
    for place, (family, name) in enumerate(columns):
        tables[family][name] = tuple(float(weight) * how.scales[family] for weight in weights[place])
    return Linear(tuple(labels), tuple(float(one) for one in bias), tables)
