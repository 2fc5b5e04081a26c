"""How far the scheme scorer agrees with a reader: confusion table, weighted kappa, and whether 4 means 4. Pure.

A label is given by somebody who does not see the verdict, and before the scorer is changed for it. What is computed
here is computed anew from the text each time, so a file of labels outlives every version of the scorer.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from errors import EngineError, PersonaError
from evaluation.runs import rows_of
from evaluation.scheme_grade import FULL, grade
from evaluation.schemes import judge
from personas import get_scheme

GRADES = range(FULL + 1)
RESAMPLES, SEED = 2000, 8  # of the bootstrap
LEVEL = 0.95

Table = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Labelled:
    """An answer with what a reader says of it.

    Attributes:
        id: Its name.
        scheme: Which one was asked for.
        prompt: What was asked.
        answer: What came.
        label: The reader's grade, 0 to 4.
        conclusion: The one that is due, of an exercise, whose prompt brings premises; None of a question.
        right: Whether the reader finds it drawn; None where nobody said.
    """

    id: str
    scheme: str
    prompt: str
    answer: str
    label: int
    conclusion: str | None = None
    right: bool | None = None


def load_labels(path: Path) -> list[Labelled]:
    """Read labelled answers: `id`, `scheme`, `prompt`, `answer`, `kind` (question or exercise), `label`.

    Raises:
        EngineError: The file cannot be read, a line is wrong, or an id stands twice. Labels are ours: none is skipped.
    """
    found: dict[str, Labelled] = {}
    for number, row in rows_of(path):
        try:
            one = _labelled(row)
        except (KeyError, TypeError, ValueError, PersonaError) as error:
            raise EngineError(f"{path.name}:{number}: no label ({type(error).__name__}: {error}).") from None
        if one.id in found:
            raise EngineError(f"{path.name}:{number}: {one.id!r} has a label already.")
        found[one.id] = one
    return list(found.values())


def _labelled(row: dict[str, Any] | str) -> Labelled:
    if isinstance(row, str):
        raise TypeError(row)
    label, kind = row["label"], row["kind"]
    if isinstance(label, bool) or label not in GRADES:
        raise ValueError(f"label {label!r}; expected 0 to {FULL}")
    if kind not in ("question", "exercise"):
        raise ValueError(f"kind {kind!r}; expected question or exercise")
    if not all(isinstance(row[name], str) for name in ("id", "prompt", "answer")):
        raise TypeError("id, prompt and answer are texts")
    conclusion, right = row.get("conclusion"), row.get("right")
    if isinstance(conclusion, str) != (kind == "exercise"):
        raise TypeError("an exercise has a conclusion, a question has none")
    scheme = get_scheme(row["scheme"]).id
    return Labelled(row["id"], scheme, row["prompt"], row["answer"], label, conclusion, right)


def verdicts(labelled: Sequence[Labelled]) -> list[int]:
    """Return the scorer's grade of every answer."""
    return [grade(one.prompt, one.answer, one.scheme, one.conclusion) for one in labelled]


def confusion(labels: Sequence[int], graded: Sequence[int]) -> Table:
    """Return (5, 5) int64: row, the reader's grade; column, the scorer's."""
    table = np.zeros((len(GRADES), len(GRADES)), np.int64)
    np.add.at(table, (np.asarray(labels, int), np.asarray(graded, int)), 1)
    return table


def weighted_kappa(table: Table) -> float | None:
    """Return Cohen's kappa with quadratic weights; None where chance alone would agree (all have one grade).

    Source: Cohen, Weighted kappa, Psychological Bulletin 70 (1968).

    >>> weighted_kappa(confusion([0, 2, 4, 4], [0, 2, 4, 4]))
    1.0
    >>> weighted_kappa(confusion([0, 0, 4, 4], [0, 4, 0, 4]))
    0.0
    """
    n = table.shape[0]
    weights = np.subtract.outer(np.arange(n), np.arange(n)).astype(float) ** 2
    by_chance = np.outer(table.sum(axis=1), table.sum(axis=0)) / max(table.sum(), 1)
    expected = float((weights * by_chance).sum())
    return None if expected == 0 else 1.0 - float((weights * table).sum()) / expected


def kappa_interval(labels: Sequence[int], graded: Sequence[int], clusters: Sequence[str]) -> tuple[float, float] | None:
    """Return the percentile bootstrap interval of the weighted kappa, at `LEVEL`; None where it has no value.

    Args:
        labels: (n,) the reader's grades.
        graded: (n,) the scorer's.
        clusters: (n,) what each answer is an answer to: answers to one prompt are drawn together.
    """
    names = sorted(set(clusters))
    tables = np.zeros((len(names), len(GRADES), len(GRADES)), np.int64)  # of each prompt one: they add up
    np.add.at(tables, ([names.index(one) for one in clusters], list(labels), list(graded)), 1)
    times = np.random.default_rng(SEED).multinomial(len(names), [1 / len(names)] * len(names), RESAMPLES)
    values = [weighted_kappa(one) for one in np.tensordot(times, tables, 1)]
    drawn = [one for one in values if one is not None]
    if not drawn:
        return None
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return round(float(low), 4), round(float(high), 4)


def detection(labels: Sequence[bool], found: Sequence[bool]) -> dict[str, Any]:
    """Return how well a yes is found: counts, precision, recall, and the share that is equal."""
    pairs = list(zip(labels, found, strict=True))
    both = sum(label and yes for label, yes in pairs)
    said, due = sum(found), sum(labels)
    return {
        "n": len(pairs),
        "labelled_yes": due,
        "found_yes": said,
        "right": both,
        "precision": round(both / said, 4) if said else None,
        "recall": round(both / due, 4) if due else None,
        "equal": round(sum(label == yes for label, yes in pairs) / len(pairs), 4) if pairs else None,
    }


def agreement(labelled: Sequence[Labelled]) -> dict[str, Any]:
    """Return everything that is reported of the scorer beside a reader.

    Args:
        labelled: At least one answer.

    Returns:
        `n` answers to `prompts` prompts, `confusion` (rows the reader's grades), `weighted_kappa` with its interval,
        `equal` and `within_one` as shares, `full` (is 4 found), `conclusion` (is a right conclusion found; None where
        none is labelled), `by_scheme`, and the answers on which they differ most.

    Raises:
        EngineError: There are none.
    """
    if not labelled:
        raise EngineError("There are no labels to compare with.")
    labels, graded = [one.label for one in labelled], verdicts(labelled)
    table = confusion(labels, graded)
    apart = [abs(label - found) for label, found in zip(labels, graded, strict=True)]
    drawn = [one for one in labelled if one.conclusion and one.right is not None]
    kappa = weighted_kappa(table)
    worst = sorted(zip(apart, labelled, graded, strict=True), key=lambda one: (-one[0], one[1].id))
    return {
        "n": len(labelled),
        "prompts": len({one.prompt for one in labelled}),
        "confusion": table.tolist(),
        "weighted_kappa": None if kappa is None else round(kappa, 4),
        "weighted_kappa_interval": kappa_interval(labels, graded, [one.prompt for one in labelled]),
        "equal": round(sum(step == 0 for step in apart) / len(apart), 4),
        "within_one": round(sum(step <= 1 for step in apart) / len(apart), 4),
        "full": detection([label == FULL for label in labels], [found == FULL for found in graded]),
        "conclusion": detection(
            [bool(one.right) for one in drawn],
            [judge(one.answer, one.conclusion or "", one.prompt).right for one in drawn],
        )
        if drawn
        else None,
        "by_scheme": _by_scheme(labelled, apart),
        "furthest": [{"id": one.id, "label": one.label, "scorer": found} for step, one, found in worst if step > 1],
    }


def _by_scheme(labelled: Sequence[Labelled], apart: Sequence[int]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for scheme in sorted({one.scheme for one in labelled}):
        own = [step for one, step in zip(labelled, apart, strict=True) if one.scheme == scheme]
        found[scheme] = {"n": len(own), "equal": round(sum(step == 0 for step in own) / len(own), 4)}
    return found


def table_lines(found: dict[str, Any]) -> str:
    """Return the confusion table and the figures as lines for a terminal."""
    rows = ["reader \\ scorer " + "".join(f"{column:>6}" for column in GRADES)]
    rows += [
        f"{row:>15} " + "".join(f"{count:>6}" for count in counts) for row, counts in enumerate(found["confusion"])
    ]
    kappa, interval = found["weighted_kappa"], found["weighted_kappa_interval"]
    said = "no value" if kappa is None else f"{kappa:.3f} {json.dumps(interval)}"
    rows.append(
        f"n {found['n']}, weighted kappa {said}, equal {found['equal']:.1%}, within 1 {found['within_one']:.1%}"
    )
    rows.append(f"full scheme: precision {found['full']['precision']}, recall {found['full']['recall']}")
    return "\n".join(rows)
