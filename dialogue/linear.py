"""A linear model over words and pieces of words, read from packed JSON. Knows no label's meaning.

What such a model sees of a message: facts that its caller found (cues, forms), words alone and in company, and pieces
of two to five characters, so that a spelling never met still resembles one that was. Fitted by
`python -m evaluation dialogue-rules --fit`; here are only dictionaries and additions. `xz -dc` shows the numbers.
"""

import json
import lzma
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from errors import SettingsError

Family = Literal["facts", "words", "pieces"]
FAMILIES: tuple[Family, ...] = get_args(Family)
UNIT = 100  # a weight stands in the file as a whole number of hundredths: finer ones change no verdict

_TOKEN = re.compile(r"\w+'?|[^\w\s]+")
_WORD = re.compile(r"[\w']+|[^\w\s]+")
_PIECES = range(2, 6)  # characters, the blanks around a word included
_COMPANY = 3  # words


@dataclass(frozen=True)
class Seen:
    """What a model sees of one message.

    Attributes:
        facts: Names of what the caller found; each counts whole.
        words: See `words_in`; together they count as one direction, however long the message is.
        pieces: See `pieces_in`; likewise.
    """

    facts: frozenset[str]
    words: frozenset[str]
    pieces: frozenset[str]


def words_in(spelled: str, context: str = "") -> frozenset[str]:
    """Return the words of a spelled-out text: alone, two, three in a row, and two around a third.

    Args:
        spelled: See `dialogue.french.plain`.
        context: One sign for where the message stands, e.g. "?" after a question; each word is met with it as well.

    >>> sorted(words_in("pas faux"))
    ['^ _ faux', '^ pas', '^ pas faux', 'faux', 'faux $', 'pas', 'pas _ $', 'pas faux', 'pas faux $']
    """
    tokens = _TOKEN.findall(spelled)
    framed = ["^", *tokens, "$"]
    found = set(tokens)
    for many in range(2, _COMPANY + 1):
        found.update(" ".join(framed[at : at + many]) for at in range(len(framed) - many + 1))
    found.update(f"{framed[at]} _ {framed[at + 2]}" for at in range(len(framed) - 2))
    if context:
        found.update(f"{context}{token}" for token in tokens)
    return frozenset(found - {"^ $"})


def pieces_in(spelled: str) -> frozenset[str]:
    """Return the pieces of each word, with the blank before and after it.

    >>> sorted(pieces_in("oui"))
    [' o', ' ou', ' oui', ' oui ', 'i ', 'ou', 'oui', 'oui ', 'ui', 'ui ']
    """
    found: set[str] = set()
    for word in set(_WORD.findall(spelled)):
        framed = f" {word} "
        for many in _PIECES:
            found.update(framed[at : at + many] for at in range(len(framed) - many + 1))
    return frozenset(found)


@dataclass(frozen=True)
class Linear:
    """The weights.

    Attributes:
        labels: What can be told apart, in the order of every list of weights.
        bias: One number a label.
        tables: For each family, the weights of each name that counts.
    """

    labels: tuple[str, ...]
    bias: tuple[float, ...]
    tables: Mapping[Family, Mapping[str, tuple[float, ...]]]

    def scores(self, seen: Seen) -> dict[str, float]:
        """Return one score a label, higher is likelier: logarithms of probabilities, up to one constant."""
        totals = list(self.bias)
        for family in FAMILIES:
            table = self.tables[family]
            rows = [table[name] for name in getattr(seen, family) if name in table]
            share = 1.0 if family == "facts" else 1 / math.sqrt(len(rows) or 1)
            for row in rows:
                for place, weight in enumerate(row):
                    totals[place] += weight * share
        return dict(zip(self.labels, totals, strict=True))


def load_linear(path: Path, labels: Sequence[str]) -> Linear:
    """Read weights that `pack` wrote.

    Raises:
        SettingsError: The file is missing, is no such table, or is of other labels.
    """
    try:
        data: Any = json.loads(lzma.decompress(path.read_bytes()).decode("utf-8"))
        if list(data["labels"]) != list(labels):
            raise SettingsError(f"{path.name} tells apart {data['labels']}; expected {', '.join(labels)}.")
        tables: dict[Family, dict[str, tuple[float, ...]]] = {
            family: {name: tuple(weight / UNIT for weight in row) for name, row in data[family].items()}
            for family in FAMILIES
        }
        found = Linear(tuple(labels), tuple(weight / UNIT for weight in data["bias"]), tables)
    except (OSError, lzma.LZMAError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SettingsError(f"{path.name} cannot be read: {error}.") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise SettingsError(f"{path.name} is no table of weights: {error!r}.") from None
    if any(len(row) != len(labels) for row in (found.bias, *(r for t in tables.values() for r in t.values()))):
        raise SettingsError(f"{path.name} has a row without one number for each of {', '.join(labels)}.")
    return found


def dump_linear(model: Linear) -> str:
    """Return the text of the file: one name a line, in alphabetical order, so that a person can look one up."""

    def row(weights: Sequence[float]) -> str:
        return json.dumps([round(weight * UNIT) for weight in weights], separators=(",", ":"))

    lines = [f' "labels": {json.dumps(list(model.labels), ensure_ascii=False)},', f' "bias": {row(model.bias)},']
    for family in FAMILIES:
        table = sorted(model.tables[family].items())  # neighbours begin alike: a tenth smaller once packed
        names = ",\n".join(f"  {json.dumps(name, ensure_ascii=False)}: {row(weights)}" for name, weights in table)
        lines.append(f' "{family}": {{\n{names}\n }}{"" if family == FAMILIES[-1] else ","}')
    return "{\n" + "\n".join(lines) + "\n}\n"


def pack(model: Linear) -> bytes:
    """Return the content of the file: `dump_linear`, made small.

    But for the last digits of its weights it is the model that was given.
    """
    return lzma.compress(dump_linear(model).encode("utf-8"), preset=9 | lzma.PRESET_EXTREME)
