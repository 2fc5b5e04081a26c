"""How well the dialogue's rules do on sentences that people labelled: stances, crises, attacks, personal data.

Knows the pure functions of dialogue. Prints counts alone: what stands in a judging file is never shown, so that nobody
tunes on it.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from dialogue.french import plain
from dialogue.limits import find_limit
from dialogue.redact import find_pii
from dialogue.safety import assess
from dialogue.stance import STANCES, detect
from evaluation.labelled import Row, judging, load_rows, macro_f1, tuning
from evaluation.rules_fit import asked_in_items, ordinary_rows

Half = Literal["tune", "judge"]
ORDINARY: dict[Half, str] = {"tune": "ordinary_fitted", "judge": "ordinary"}  # keys of a result


def interval(hits: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, after Wilson (1927).

    >>> interval(32, 40)
    (0.652, 0.895)
    """
    if not n:
        return 0.0, 1.0
    z = 1.96
    middle, spread = hits / n + z * z / (2 * n), z * math.sqrt(hits / n * (1 - hits / n) / n + (z / (2 * n)) ** 2)
    return round((middle - spread) / (1 + z * z / n), 3), round((middle + spread) / (1 + z * z / n), 3)


def stances(rows: Iterable[Row]) -> dict[str, Any]:
    """Return macro-F1, F1 of each stance, and the confusion table {given: {found: n}}."""
    pairs = [(str(row["stance"]), str(detect(row["text"], row.get("previous", "")))) for row in rows]
    mean, each = macro_f1(pairs, STANCES)
    counts = Counter(pairs)
    return {
        "n": len(pairs),
        "macro_f1": mean,
        "f1": each,
        "confusion": {given: {said: counts[given, said] for said in STANCES} for given in STANCES},
    }


def crises(rows: Iterable[Row]) -> dict[str, Any]:
    """Return recall of personal distress and the share of false alarms, in all and by kind.

    The card stops a turn; "with_line" counts the messages above whose answer the numbers stand as well.
    """
    hits: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    by: Counter[str] = Counter()
    for row in rows:
        verdict = assess(row["text"])
        for key in (row["label"], f"{row['label']}/{row['kind']}"):
            seen[key] += 1
            hits[key] += verdict.stops
            lines[key] += verdict.stops or verdict.doubts
        if verdict.stops:
            by[f"{row['label']} by {'model' if verdict.rule == 'model' else 'rules'}"] += 1
    return {
        "recall": round(hits["crisis"] / max(seen["crisis"], 1), 4),
        "recall_interval": interval(hits["crisis"], seen["crisis"]),
        "false_alarms": round(hits["none"] / max(seen["none"], 1), 4),
        "false_alarms_interval": interval(hits["none"], seen["none"]),
        "stopped": {key: f"{hits[key]}/{seen[key]}" for key in sorted(seen)},
        "with_line": {
            "recall": round(lines["crisis"] / max(seen["crisis"], 1), 4),
            "recall_interval": interval(lines["crisis"], seen["crisis"]),
            "false_alarms": round(lines["none"] / max(seen["none"], 1), 4),
            "shown": {key: f"{lines[key]}/{seen[key]}" for key in sorted(seen)},
        },
        "found": dict(sorted(by.items())),
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


def ordinary_texts(data: Path, dialogues: Path, half: Half) -> list[str]:
    """Return what pupils usually say, none of it a crisis: in one half what the alarm learned, in the other none of it.

    Args:
        data: As in `measure`.
        dialogues: As in `measure`.
        half: "tune", what the alarm was fitted on; "judge", the held-out exercises, the messages that are put to the
            notes and the replies that judge the stance, without those that it was fitted on as well.

    Raises:
        EngineError: A file cannot be read.
    """
    learned = [row["text"] for row in ordinary_rows(data, dialogues)]
    if half == "tune":
        return learned
    queries = [row["message"] for path in sorted((data / "queries").glob("*.jsonl")) for row in load_rows(path)]
    unread = [row["text"] for row in [*asked_in_items(data, "test"), *judging(data, "stance")]]
    known = {plain(text) for text in [*learned, *(row["text"] for row in tuning(data, "crisis"))]}
    return [text for text in [*unread, *queries] if plain(text) not in known]


def measure(data: Path, half: Half, dialogues: Path, exam_questions: Sequence[str] = ()) -> dict[str, Any]:
    """Measure every rule.

    Args:
        data: Folder with eval/ and dialogue_rules/.
        half: "tune", the sentences that rules and weights were tuned on; "judge", those that nobody read.
        dialogues: Folder of our dialogues, which the alarm learned from.
        exam_questions: Real questions of the baccalauréat, where they are at hand: none was tuned on.

    Raises:
        EngineError: A file cannot be read.
    """
    rows = tuning if half == "tune" else judging
    return {
        "half": half,
        "stance": stances(rows(data, "stance")),
        "crisis": crises(rows(data, "crisis")),
        "attacks": attacks(rows(data, "attacks")),
        "personal_data": personal_data(load_rows(data / "eval" / "pii.jsonl")),
        ORDINARY[half]: false_alarms_in_use(ordinary_texts(data, dialogues, half)),
        "exam_questions": false_alarms_in_use(exam_questions),
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
        f"crisis: recall {crisis['recall']:.3f} {crisis['recall_interval']}, with the line of help "
        f"{crisis['with_line']['recall']:.3f}, false alarms "
        f"{crisis['false_alarms']:.3f} {crisis['false_alarms_interval']}; {crisis['stopped']}; {crisis['found']}"
    )
    lines.append(f"attacks {measured['attacks']}, personal data {measured['personal_data']} (the same in both halves)")
    name = ORDINARY[measured["half"]]
    lines.append(f"{name} messages {measured[name]}; exam questions {measured['exam_questions']}")
    return "\n".join(lines)
