"""The checked bank of contents: what an augmented item is about. Knows TOML files; says nothing of surfaces."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpus.dialogues import NOTIONS, PHILOSOPHERS
from errors import CorpusError

BANK = Path(__file__).parent / "bank"
_COMMON = ("id", "philosopher", "notion", "locus", "pupil", "ask")
# The texts that an entry of each scheme has; a `*_short` may be left out.
SLOTS: dict[str, tuple[str, ...]] = {
    "MP": ("p", "p_not", "q", "other"),
    "MT": ("p", "p_not", "q", "q_not", "other"),
    "SH": ("p", "q", "r"),
    "SD": ("p", "p_not", "q", "third"),
    "DI": ("p", "q", "r", "third"),
    "RA": ("p", "subj", "q", "q_not", "harsh"),
    "ID": ("rule", "fact", "concl", "double", "how"),
    "OP": ("all", "some", "subj", "case", "none", "counter"),
    "DS": ("word", "other_sense", "sense", "thesis", "of_sense", "two_words", "verbal"),
    "CA": ("rule", "without", "fact", "concl", "together", "coincidence"),
    "AN": ("rel", "fact", "concl", "likeness", "likeness_fact", "likeness_concl", "why"),
    "IN": ("cases", "kind", "concl", "few", "hasty", "counter"),
}


@dataclass(frozen=True)
class Entry:
    """One content: propositions of a scheme, true to a philosopher, with what a pupil says and what he is asked.

    Attributes:
        id: Unique name, e.g. "mp-s01".
        scheme: Id of the scheme, e.g. "MP".
        philosopher: Key of the persona.
        notion: Notion of the programme.
        locus: Where the doctrine stands.
        pupil: A pupil's message that the scheme answers.
        ask: The question at the end.
        texts: The texts of its scheme by slot, beginning small, without full stop where they are clauses.
    """

    id: str
    scheme: str
    philosopher: str
    notion: str
    locus: str
    pupil: str
    ask: str
    texts: Mapping[str, str]


def _entry(row: Mapping[str, Any], scheme: str, where: str) -> Entry:
    needed = (*_COMMON, *SLOTS[scheme])
    allowed = {*needed, *(f"{slot}_short" for slot in SLOTS[scheme])}
    for key in needed:
        if key not in row:
            raise CorpusError(f"{where}: {key} is missing.")
    for key, value in row.items():
        if key not in allowed:
            raise CorpusError(f"{where}: unknown key {key!r}; expected {', '.join(sorted(allowed))}.")
        if not isinstance(value, str) or not value or value != value.strip():
            raise CorpusError(f"{where}: {key}: expected a text without space at its ends, found {value!r}.")
    for key, known in (("philosopher", PHILOSOPHERS), ("notion", NOTIONS)):
        if row[key] not in known:
            raise CorpusError(f"{where}: {key} is {row[key]!r}; expected one of {', '.join(known)}.")
    texts = {key: value for key, value in row.items() if key not in _COMMON}
    return Entry(scheme=scheme, texts=texts, **{key: row[key] for key in _COMMON})


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CorpusError(f"{path} cannot be read: {error}.") from None


def load_bank(folder: Path = BANK) -> dict[str, list[Entry]]:
    """Read the entries of every scheme, in the order of the files.

    Raises:
        CorpusError: A file is missing, an entry is wrong, or an id stands twice; the message names file and entry.
    """
    bank: dict[str, list[Entry]] = {}
    seen: set[str] = set()
    for scheme in SLOTS:
        path = folder / f"{scheme.lower()}.toml"
        bank[scheme] = []
        for number, row in enumerate(_read(path).get("entry", []), 1):
            where = f"{path.name}: entry {number} ({row.get('id')})"
            entry = _entry(row, scheme, where)
            if entry.id in seen:
                raise CorpusError(f"{where}: id stands twice; rename one.")
            seen.add(entry.id)
            bank[scheme].append(entry)
    return bank


def load_negations(folder: Path = BANK) -> dict[str, str]:
    """Return the negations of sentences of the base exercises.

    Raises:
        CorpusError: The file cannot be read.
    """
    return dict(_read(folder / "negations.toml")["negation"])
