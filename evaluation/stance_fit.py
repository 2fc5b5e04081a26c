"""Fits the weights of `dialogue.stance`: a softmax regression drawn to a prior. Knows numpy and no message."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dialogue.stance import STANCES, Stance
from evaluation.result import write_text

Weights = dict[Stance, dict[str, float]]
Example = tuple[frozenset[str], Stance]

# Where a cue points before any sentence is seen, and how strongly. The features that are not here start at nothing.
_POINTS: dict[Stance, dict[float, str]] = {
    "confusion": {
        2.5: "not_understood lost only_marks",
        1.5: "link_missing unclear meaning_asked explain how_so dont_know many_marks begins_as_what",
        0.7: "or_question same_thing wait as_what asks asks_echo asks_short_echo how_possible where_asked",
    },
    "résistance": {
        2.5: "not_agreed",
        1.8: "your_opinion false exaggerated contradiction doubt i_dont_think but_begins",
        1.2: "i_do stop_it irony no_begins no_inside si_to_open and_those counter known_cases",
        0.6: "strong_yes but so_question your_claim it_is_not opinion exclaims says_you",
    },
    "accord": {
        2.8: "not_false agreed",
        1.8: "yes_begins right understood si_to_leading",
        1.2: "yes_inside",
        0.6: "example_mine",
    },
    "neutre": {
        1.3: "depends information learned and_for",
        0.8: "numbers my_life names_somebody asks_new asks_short_new",
        0.5: "plain_answer says_new answer_noun",
    },
}
PRIOR: Weights = {
    stance: {name: weight for weight, names in groups.items() for name in names.split()}
    for stance, groups in _POINTS.items()
}


def fit(examples: Sequence[Example], *, pull: float = 0.05, prior: float = 1.0, steps: int = 400) -> Weights:
    """Return the weights that fit the examples, drawn to the prior.

    Args:
        examples: Features and the stance that a person gave.
        pull: Strength of the L2 pull to the prior, per example.
        prior: How much the prior counts.
        steps: Of plain gradient descent; the loss is convex.
    """
    names = [
        "bias",
        *sorted({name for found, _ in examples for name in found} | {n for g in PRIOR.values() for n in g}),
    ]
    column = {name: place for place, name in enumerate(names)}
    rows = np.zeros((len(examples), len(names)))
    rows[:, 0] = 1
    wanted: NDArray[np.float64] = np.zeros((len(examples), len(STANCES)))
    for row, (found, stance) in enumerate(examples):
        rows[row, [column[name] for name in found]] = 1
        wanted[row, STANCES.index(stance)] = 1
    start = np.zeros((len(names), len(STANCES)))
    for stance, group in PRIOR.items():
        for name, weight in group.items():
            start[column[name], STANCES.index(stance)] = weight * prior
    weights = start.copy()
    for _ in range(steps):
        logits = rows @ weights
        likely = np.exp(logits - logits.max(axis=1, keepdims=True))
        likely /= likely.sum(axis=1, keepdims=True)
        weights -= 0.5 * (rows.T @ (likely - wanted) / len(examples) + pull * (weights - start))
    return {
        stance: {name: round(float(weights[column[name], place]), 3) for name in names}
        for place, stance in enumerate(STANCES)
    }


def write_weights(weights: Weights, path: Path) -> None:
    """Write the weights as TOML, the heaviest features of each stance first."""
    lines = [
        (
            "# Weights of dialogue/stance.py, written by `python -m evaluation dialogue-rules --fit` "
            'from the half "tune"'
        ),
        "# of data/eval/stance.jsonl. A message has the stance whose weights, summed over its features, are highest.",
    ]
    for stance, table in weights.items():
        lines += ["", f'["{stance}"]']
        lines += [f"{name} = {weight}" for name, weight in sorted(table.items(), key=lambda one: -abs(one[1]))]
    write_text(path, "\n".join(lines) + "\n")
