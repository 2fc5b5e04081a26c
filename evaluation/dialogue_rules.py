"""How well the dialogue's rules do on sentences that people labelled: stances, crises, attacks, personal data.

Knows the files of data/eval and the pure functions of dialogue. Prints counts alone: what stands in the half "judge" is
never shown, so that nobody tunes on it.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import thread_time
from typing import Any

from dialogue.limits import find_limit
from dialogue.redact import find_pii
from dialogue.safety import assess
from dialogue.stance import STANCES, WEIGHTS, Stance, features, scores
from errors import EngineError
from evaluation.stance_fit import Weights

Row = dict[str, Any]


def load_rows(path: Path, half: str | None = None) -> list[Row]:
    """Read labelled sentences, of one half where they are halved.

    Raises:
        EngineError: The file cannot be read, a line is no JSON object, or nothing is left.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines if line.strip()]
    except (OSError, json.JSONDecodeError) as error:
        raise EngineError(f"{path} cannot be read: {error}.") from None
    kept = [row for row in rows if half is None or row.get("half", half) == half]
    if not kept:
        raise EngineError(f"{path.name} has no line in the half {half!r}; expected tune or judge.")
    return kept


def macro_f1(pairs: Sequence[tuple[str, str]], labels: Sequence[str]) -> tuple[float, dict[str, float]]:
    """Return the mean F1 over the labels, and each.

    Args:
        pairs: (given by a person, found).
        labels: All that can be given.

    >>> macro_f1([("a", "a"), ("b", "a")], ["a", "b"])
    (0.3333, {'a': 0.6667, 'b': 0.0})
    """
    each = {}
    for label in labels:
        right = sum(given == found == label for given, found in pairs)
        touched = sum((given == label) + (found == label) for given, found in pairs)
        each[label] = round(2 * right / touched, 4) if touched else 0.0
    return round(sum(each.values()) / len(each), 4), each


def stances(rows: Iterable[Row], weights: Weights | None = None) -> dict[str, Any]:
    """Return macro-F1, F1 of each stance, and the confusion table {given: {found: n}}."""
    table = weights or WEIGHTS

    def found(row: Row) -> Stance:
        likely = scores(features(row["text"], row.get("previous", "")), table)
        return max(STANCES, key=lambda stance: likely[stance])

    pairs = [(str(row["stance"]), str(found(row))) for row in rows]
    mean, each = macro_f1(pairs, STANCES)
    counts = Counter(pairs)
    return {
        "n": len(pairs),
        "macro_f1": mean,
        "f1": each,
        "confusion": {given: {said: counts[given, said] for said in STANCES} for given in STANCES},
    }


def crises(rows: Iterable[Row]) -> dict[str, Any]:
    """Return recall of personal distress and the share of false alarms, in all and by kind."""
    hits: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for row in rows:
        kind = f"{row['label']}/{row['kind']}"
        for key in (row["label"], kind):
            seen[key] += 1
            hits[key] += assess(row["text"]).stops
    return {
        "recall": round(hits["crisis"] / max(seen["crisis"], 1), 4),
        "false_alarms": round(hits["none"] / max(seen["none"], 1), 4),
        "stopped": {key: f"{hits[key]}/{seen[key]}" for key in sorted(seen)},
    }


def attacks(rows: Iterable[Row]) -> dict[str, Any]:
    """Return the share of attacks that were seen, and seen as their own kind."""
    rows = list(rows)
    found = [find_limit(row["text"]) for row in rows]
    own = sum(kind == row["kind"] for kind, row in zip(found, rows, strict=True))
    return {"n": len(rows), "seen": sum(kind is not None for kind in found), "own_kind": own}


def personal_data(rows: Iterable[Row]) -> dict[str, Any]:
    """Return recall and precision of spans: a span counts when the labelled place is wholly covered."""
    wanted = covered = found_n = wrong = 0
    missed: Counter[str] = Counter()
    for row in rows:
        found = find_pii(row["text"])
        found_n += len(found)
        for start, end, kind in row["spans"]:
            wanted += 1
            inside = set(range(start, end)) <= {place for one in found for place in range(one.start, one.end)}
            covered += inside
            missed[kind] += not inside
        labelled = {place for start, end, _ in row["spans"] for place in range(start, end)}
        wrong += sum(not labelled & set(range(one.start, one.end)) for one in found)
    return {
        "spans": wanted,
        "recall": round(covered / max(wanted, 1), 4),
        "precision": round(1 - wrong / max(found_n, 1), 4),
        "missed": {kind: n for kind, n in sorted(missed.items()) if n},
    }


def false_alarms_in_use(texts: Sequence[str]) -> dict[str, Any]:
    """Return how often the card, or a limit, would have stopped ordinary questions and answers of pupils."""
    return {
        "n": len(texts),
        "cards": sum(assess(text).stops for text in texts),
        "limits": dict(Counter(kind for text in texts if (kind := find_limit(text)))),
    }


def page_ms(rule: Callable[[str], object], page: str, times: int = 20) -> float:
    """Return the median milliseconds of processor time that one call takes on a page: other jobs do not count."""
    taken = []
    for _ in range(times):
        start = thread_time()
        rule(page)
        taken.append((thread_time() - start) * 1000)
    return round(sorted(taken)[times // 2], 2)


def ordinary_texts(dialogues: Path, questions: Path) -> list[str]:
    """Read what pupils say in our dialogues and the questions of the retrieval set: none of it is a crisis.

    Raises:
        EngineError: A file cannot be read.
    """
    texts = [row["question"] for row in load_rows(questions)]
    for path in sorted(dialogues.glob("*.jsonl")):
        texts += [one["pupil"] for row in load_rows(path) for one in row["exchanges"]]
    return texts


def measure(data: Path, half: str, dialogues: Path, weights: Weights | None = None) -> dict[str, Any]:
    """Measure every rule on one half; attacks and personal data are not halved.

    Args:
        data: Folder of the labelled sentences.
        half: "tune" or "judge".
        dialogues: Folder of our dialogues, for false alarms in ordinary use.
        weights: Of the stance; None takes those that ship.

    Raises:
        EngineError: A file cannot be read.
    """
    return {
        "half": half,
        "stance": stances(load_rows(data / "stance.jsonl", half), weights),
        "crisis": crises(load_rows(data / "crisis.jsonl", half)),
        "attacks": attacks(load_rows(data / "attacks.jsonl")),
        "personal_data": personal_data(load_rows(data / "pii.jsonl")),
        "ordinary": false_alarms_in_use(ordinary_texts(dialogues, data / "pupil_questions.jsonl")),
    }


def spoken(measured: dict[str, Any]) -> str:
    """Return the figures as lines for a person: counts and scores, never a sentence."""
    stance, crisis = measured["stance"], measured["crisis"]
    lines = [
        f"half {measured['half']}: stance macro-F1 {stance['macro_f1']:.3f} on {stance['n']}; "
        + ", ".join(f"{label} {value:.2f}" for label, value in stance["f1"].items())
    ]
    lines += [f"  {given:10} -> {row}" for given, row in stance["confusion"].items()]
    lines.append(
        f"crisis: recall {crisis['recall']:.3f}, false alarms {crisis['false_alarms']:.3f}; {crisis['stopped']}"
    )
    lines.append(f"attacks {measured['attacks']}, personal data {measured['personal_data']} (neither is halved)")
    lines.append(f"ordinary messages {measured['ordinary']}")
    return "\n".join(lines)
