"""What the two scheme files must keep to together, and every line that does not. Changes nothing.

Line by line: JSON Schema, truth table, sentence length. Together: three items for each base item, of its scheme,
philosopher and split; no pair of propositions too often; no near copy; nothing of the test split in training.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from corpus.cases import is_state
from corpus.check import NEAR_QUESTION, check_exercises, plain, read_questions
from corpus.dialogues import Exercise, parse_exercise, read_objects
from corpus.schemes.augment import MOST_WORDS, NEAR_ITEM, PER_BASE, longest_sentence, text_of
from corpus.schemes.split import split_of
from errors import CorpusError

BASE, AUGMENTED = "schemes_levelA_base.jsonl", "schemes_levelA_augmented.jsonl"
PAIR_USES = 3
TABLES = ("philosopher", "scheme", "form", "register", "notion", "difficulty", "split")

Row = dict[str, Any]
Placed = tuple[str, Row]


@dataclass(frozen=True)
class SchemeReport:
    """What was found.

    Attributes:
        faults: Sentences that name file, line, key and reason.
        rows: How many items were read, by file.
        tables: Counts of both files together, by key and value.
        splits: Items of each of train, validation and test.
        nearest: The likeness of each augmented item to the item nearest to it, 0 to 100.
        lengths: Words of the longest sentence of each item.
    """

    faults: list[str]
    rows: dict[str, int]
    tables: dict[str, dict[str, int]]
    splits: dict[str, int]
    nearest: list[float]
    lengths: list[int]

    def as_json(self) -> dict[str, Any]:
        """Return what the report says in numbers."""
        return {
            "rows": self.rows,
            "tables": self.tables,
            "splits": self.splits,
            "near_duplicates": {"threshold": NEAR_ITEM, "highest": round(max(self.nearest, default=0.0), 1)},
            "sentence_words": {"most_allowed": MOST_WORDS, "longest": max(self.lengths, default=0)},
        }


@cache
def _validator() -> Any:
    schema = json.loads((Path(__file__).parent / "schema.json").read_text(encoding="utf-8"))
    return jsonschema.Draft202012Validator(schema)


def schema_faults(where: str, row: Mapping[str, Any]) -> Iterator[str]:
    """Yield what JSON Schema finds, the key first."""
    for error in sorted(_validator().iter_errors(row), key=lambda one: one.json_path):
        key = error.json_path.removeprefix("$").removeprefix(".") or "line"
        yield f"{where}: {key}: {error.message[:160]}."


def read_rows(path: Path, faults: list[str]) -> list[Placed]:
    """Read the lines that can be used; what is wrong with the others goes to `faults`."""
    found: list[Placed] = []
    try:
        placed = list(read_objects(path))
    except CorpusError as error:
        faults.append(str(error))
        return found
    for where, row in placed:
        wrong = list(schema_faults(where, row))
        faults += wrong
        if wrong:
            continue
        try:
            parse_exercise(row, where)
        except CorpusError as error:
            faults.append(str(error))
            continue
        if (longest := longest_sentence(row)) > MOST_WORDS:
            faults.append(f"{where}: messages: a sentence of {longest} words, at most {MOST_WORDS}.")
        found.append((where, row))
    return found


def family_faults(base: Sequence[Placed], augmented: Sequence[Placed]) -> Iterator[str]:
    """Yield items whose base is missing or different, and base items that have not `PER_BASE` items."""
    parents = {row["id"]: row for _, row in base}
    count: Counter[str] = Counter()
    owners: dict[str, str] = {}
    for where, row in augmented:
        parent = parents.get(row.get("base", ""))
        if parent is None:
            yield f"{where}: base: {row.get('base')!r} is not in {BASE}."
            continue
        count[parent["id"]] += 1
        for key in ("philosopher", "scheme", "split"):
            if row[key] != parent[key]:
                yield f"{where}: {key}: {row[key]!r}; its base item {parent['id']} has {parent[key]!r}."
        bank = row["bank"]
        if bank is not None and owners.setdefault(bank, parent["id"]) != parent["id"]:
            yield f"{where}: bank: {bank} belongs to {owners[bank]}; contents never cross base items."
    for where, row in base:
        if augmented and count[row["id"]] != PER_BASE:
            yield f"{where}: id: {row['id']} has {count[row['id']]} augmented items, expected {PER_BASE}."


def pair_faults(base: Sequence[Placed], augmented: Sequence[Placed]) -> Iterator[str]:
    """Yield pairs of propositions that come back too often."""
    uses: dict[tuple[str, str], list[str]] = defaultdict(list)
    for where, row in (*base, *augmented):
        pair = row.get("propositions")
        if pair is None and "logic" in row:
            pair = [row["logic"].get(letter, "") for letter in "PQ"]
        if pair:
            first, second = sorted(plain(text) for text in pair)
            uses[first, second].append(where)
    for places in uses.values():
        if len(places) > PAIR_USES:
            yield f"{places[-1]}: propositions: this pair stands {len(places)} times, at most {PAIR_USES}."


def likeness(base: Sequence[Placed], augmented: Sequence[Placed]) -> list[tuple[float, int]]:
    """Return, for each augmented item, its likeness to the nearest other item, and that item's place in both lists."""
    from rapidfuzz import fuzz, process

    texts = [text_of(row) for _, row in (*base, *augmented)]
    own = range(len(base), len(texts))
    scores = process.cdist([texts[at] for at in own], texts, scorer=fuzz.ratio)
    for line, at in enumerate(own):
        scores[line, at] = 0
    return [(float(line.max()), int(line.argmax())) for line in scores]


def examination_faults(augmented: Sequence[Placed], questions: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield pupils' messages that are nearly examination questions."""
    from rapidfuzz import fuzz, process

    texts = [plain(question) for _, question in questions]
    for where, row in augmented:
        said = plain(row["messages"][1]["content"])
        near = process.extractOne(said, texts, scorer=fuzz.ratio, score_cutoff=NEAR_QUESTION)
        if near is not None:
            yield f"{where}: user message: {near[1]:.0f} % like {questions[near[2]][0]}; ask something else."


def _leaks(base: Sequence[Placed], augmented: Sequence[Placed]) -> Iterator[str]:
    """Yield test items that training has nearly seen; what lies within the base file is the base's own check."""
    both: list[Exercise] = [parse_exercise(row, where) for where, row in (*base, *augmented)]
    known = set(check_exercises(both[: len(base)]))
    yield from (fault for fault in check_exercises(both) if fault not in known)


def check_schemes(data: Path) -> SchemeReport:
    """Check both scheme files of a data folder; without an augmented file, the base alone; a server's has none."""
    faults: list[str] = []
    base = [] if is_state(data) else read_rows(data / BASE, faults)
    augmented = read_rows(data / AUGMENTED, faults) if (data / AUGMENTED).exists() else []
    near = likeness(base, augmented) if augmented else []
    both = [*base, *augmented]
    faults += family_faults(base, augmented)
    faults += pair_faults(base, augmented)
    for (where, _), (score, other) in zip(augmented, near, strict=True):
        if score >= NEAR_ITEM:
            faults.append(f"{where}: messages: {score:.0f} % like {both[other][1]['id']}, at most {NEAR_ITEM}.")
    faults += _leaks(base, augmented)
    faults += examination_faults(augmented, read_questions(data / "eval" / "questions.jsonl"))
    rows = [row for _, row in both]
    splits = split_of(rows)
    return SchemeReport(
        faults=faults,
        rows={BASE: len(base), AUGMENTED: len(augmented)},
        tables={key: dict(sorted(Counter(str(row[key]) for row in rows).items())) for key in TABLES},
        splits={name: sum(one == name for one in splits.values()) for name in ("train", "validation", "test")},
        nearest=[score for score, _ in near],
        lengths=[longest_sentence(row) for row in rows],
    )
