"""How well notes are found, measured on dialogues whose exchanges name the note they rest on. Knows no model."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from errors import RetrievalError
from retrieval.notes import NoteIndex


@dataclass(frozen=True)
class Case:
    """A pupil's message, the question before it, and the notes its answers rest on (None: on none).

    Attributes:
        philosopher: Key of the persona.
        message: What the pupil says.
        asked: The philosopher's last words before it, if any.
        note: Id of the note that the writer of the answer used.
        used: Ids of the notes used earlier in the dialogue.
    """

    philosopher: str
    message: str
    asked: str | None
    note: str | None
    used: tuple[str, ...]


def read_cases(folder: Path) -> list[Case]:
    """Read every exchange of `folder`/*.jsonl.

    Raises:
        RetrievalError: There is none, or a line lacks a key.
    """
    cases: list[Case] = []
    for path in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):  # JSON may hold U+2028
            if not line:
                continue
            try:
                dialogue = json.loads(line)
                asked = dialogue["opening"]
                used: list[str] = []
                for exchange in dialogue["exchanges"]:
                    note = exchange["note"]
                    cases.append(Case(dialogue["philosopher"], exchange["pupil"], asked, note, tuple(used)))
                    used += [note] if note else []
                    asked = exchange["answer"].split(". ")[-1]
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise RetrievalError(f"{path.name}:{number}: no dialogue ({error!r}); see corpus check.") from None
    if not cases:
        raise RetrievalError(f"No dialogues in {folder}.")
    return cases


def measure(index: NoteIndex, cases: Iterable[Case]) -> dict[str, float | int]:
    """Return recall at 1 and 3 of the writer's note, and how often the threshold decides rightly that there is none."""
    ranks: list[int] = []
    given_rightly: list[bool] = []
    withheld_rightly: list[bool] = []
    for case in cases:
        scores = index.scores(case.philosopher, case.message, case.asked)
        if case.note is None:
            withheld_rightly.append(bool(scores.max() < index.threshold))
            continue
        order = [index.notes[case.philosopher][int(i)].id for i in np.argsort(-scores, kind="stable")]
        ranks.append(order.index(case.note))
        given_rightly.append(bool(scores.max() >= index.threshold))
    return {
        "exchanges with a note": len(ranks),
        "recall at 1": float(np.mean([rank < 1 for rank in ranks])),
        "recall at 3": float(np.mean([rank < 3 for rank in ranks])),
        "a note given where one was wanted": float(np.mean(given_rightly)),
        "exchanges without": len(withheld_rightly),
        "none given where none was wanted": float(np.mean(withheld_rightly)) if withheld_rightly else 0.0,
    }
