"""Labelled sentences: where they stand, which may be tuned on, and the score of what was found. Knows no rule."""

import json
import lzma
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from errors import EngineError

Row = dict[str, Any]


def read_packed(path: Path) -> str:
    """Return a text, packed where its name ends in `.xz` (`xz -dc` shows it) or not.

    Raises:
        EngineError: The file cannot be read.
    """
    try:
        content = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
        return content.decode("utf-8")
    except (OSError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise EngineError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None


def lines_of(text: str) -> list[str]:
    r"""Return the lines of a JSONL text: an answer may hold U+2028 as it is, where `str.splitlines` ends a line.

    >>> lines_of('"Oui.\u2028Donc."\n"Non."\n')
    ['"Oui.\u2028Donc."', '"Non."']
    """
    return text.removesuffix("\n").split("\n") if text else []


def load_rows(path: Path) -> list[Row]:
    """Read labelled sentences, one JSON object a line, packed or not.

    Raises:
        EngineError: The file cannot be read, a line is no JSON object, or nothing is there.
    """
    try:
        rows = [json.loads(line) for line in lines_of(read_packed(path)) if line.strip()]
    except json.JSONDecodeError as error:
        raise EngineError(f"{path} cannot be read: {error}.") from None
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise EngineError(f"{path.name} holds no sentence, or a line that is no JSON object.")
    return rows


def tuning_sets(data: Path, name: str) -> dict[str, list[Row]]:
    """Return the sentences on which rules and weights may be tuned, by the file that holds them.

    Args:
        data: Folder with eval/ and dialogue_rules/.
        name: stance, crisis or attacks.

    Raises:
        EngineError: A file cannot be read.
    """
    first = data / "eval" / f"{name}.jsonl"
    packed = first.with_suffix(".jsonl.xz")
    paths = [packed if packed.exists() else first, *sorted((data / "dialogue_rules").glob(f"{name}_*.jsonl*"))]
    return {path.name.partition(".")[0]: load_rows(path) for path in paths}


def tuning(data: Path, name: str) -> list[Row]:
    """Return them all, file by file; see `tuning_sets`."""
    return [row for rows in tuning_sets(data, name).values() for row in rows]


def judging(data: Path, name: str) -> list[Row]:
    """Return the sentences that judge, the newest set of them: whoever tunes never reads it.

    A set that was read is spent; it stands among the tuning sentences then.

    Raises:
        EngineError: There is none, or it cannot be read.
    """
    sets = sorted((data / "eval").glob(f"{name}_judge*.jsonl*"), key=_number)
    if not sets:
        raise EngineError(f"{data / 'eval'} holds no {name}_judge*.jsonl[.xz]: nothing unread is left to judge by.")
    return load_rows(sets[-1])


def _number(path: Path) -> int:
    """Return which set of its kind a file is: `crisis_judge10` is newer than `crisis_judge9`."""
    digits = path.name.partition("_judge")[2].partition(".")[0]
    return int(digits) if digits.isdigit() else 0


def exchanges(dialogues: Path) -> list[Row]:
    """Return the pupil's turns of our dialogues: text, what the philosopher had said before, and a stance.

    Raises:
        EngineError: A file cannot be read.
    """
    found = []
    for path in sorted(dialogues.glob("*.jsonl")):
        for talk in load_rows(path):
            before = talk["opening"] or ""
            for one in talk["exchanges"]:
                found.append({"text": one["pupil"], "previous": before, "stance": one["stance"]})
                before = one["answer"]
    return found


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
