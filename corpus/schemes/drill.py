"""Exercises in any number for a small model: the bank's contents under many surfaces. Seeded; writes no file.

A model of a hundred million parameters learns a form by meeting it often. What the dataset's test items say is kept
out: neither their contents, nor those of what was made of them, nor a text that is nearly one of theirs.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from corpus.dialogues import PROPOSITIONAL, Exercise, parse_exercise
from corpus.schemes.augment import MOST_WORDS, NEAR_ITEM, Row, Turning, draw, item, longest_sentence, text_of
from corpus.schemes.bank import Entry
from corpus.schemes.drafts import Draft, exercise, refusal
from corpus.schemes.frames import FRAMES, Filling
from corpus.schemes.surfaces import PROBABLE, Surfaces

FORMS = ("exercise", "refusal", "exercise", "exercise", "refusal", "exercise")  # of one content, in turn
SAME_SHARE = 0.4  # of the crossed items whose clauses all speak of one thing, of which they say anything
LEXICON_SHARE = 0.4  # of the crossed clauses that a lexicon makes; the others are the bank's
# A clause that says nothing without the clause before it.
_LEANS = re.compile(r"(?:ils?|elles?|on|l'on|son|sa|ses|leurs?|celle|celui|l'une?|cette règle)\b", re.IGNORECASE)
# The slots that hold a clause, and those that hold its negation.
_CLAUSES = {"MP": "pq", "MT": "pq", "SH": "pqr", "SD": "pq", "DI": "pqr", "RA": "q"}


def drill(
    rows: Sequence[Row],
    bank: Mapping[str, Sequence[Entry]],
    said: Surfaces,
    negations: Mapping[str, str],
    *,
    per_content: int = len(FORMS),
    seed: int = 0,
) -> list[Exercise]:
    """Return exercises and refusals on the bank's contents that no test item is made of.

    Args:
        rows: The dataset, base and augmented items: a content belongs to the items made of it.
        bank: Contents by scheme.
        said: Surfaces.
        negations: How a sentence is denied.
        per_content: At most so many for each; those that say nearly what a test item says are left out.
        seed: Of the surfaces.
    """
    from rapidfuzz import fuzz, process

    turning = Turning(seed)
    tests = [text_of(row) for row in rows if row["split"] == "test"]
    made: list[Exercise] = []
    seen: set[str] = set()
    for owner, entry in trained(rows, bank):
        for number in range(per_content):
            draft = draw(FORMS[number % len(FORMS)], owner, entry, said, negations, turning)
            one = item(owner, number + 1, entry, draft, []) | {"id": f"drill-{entry.id}-{number + 1}"}
            text = text_of(one)
            if text in seen or process.extractOne(text, tests, scorer=fuzz.ratio, score_cutoff=NEAR_ITEM):
                continue
            seen.add(text)
            made.append(parse_exercise(one, one["id"]))
    return made


def trained(rows: Sequence[Row], bank: Mapping[str, Sequence[Entry]]) -> Iterator[tuple[Row, Entry]]:
    """Yield each entry that training may see, with the base item that owns it."""
    owners = {row["bank"]: row for row in rows if row.get("bank")}
    for entry in (one for scheme in bank for one in bank[scheme]):
        owner = owners.get(entry.id)
        if owner is not None and owner["split"] == "train":
            yield owner, entry


def _clauses(entries: Sequence[Entry]) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the clauses that stand alone, and of those whose negation is written out, the pair."""
    alone: dict[str, None] = {}
    denied: dict[str, str] = {}
    for entry in entries:
        for slot in _CLAUSES.get(entry.scheme, ""):
            clause, negation = entry.texts[slot], entry.texts.get(f"{slot}_not")
            if _LEANS.match(clause):
                continue
            alone[clause] = None
            if negation is not None and not _LEANS.match(negation):
                denied[clause] = negation
    return list(alone), list(denied.items())


def cross(
    rows: Sequence[Row],
    bank: Mapping[str, Sequence[Entry]],
    said: Surfaces,
    lexicon: Mapping[str, list[Any]],
    *,
    count: int,
    seed: int = 0,
) -> list[Exercise]:
    """Return exercises in which any clause or word may stand in any place, so that only the form can be followed.

    With two dozen contents a scheme, a model remembers which clause concludes; here it has to find the one that the
    form points at. Clauses come from different contents of the bank, or are made of a lexicon. Two of three exercises
    conclude, one refuses.

    Args:
        rows: The dataset, base and augmented items.
        bank: Contents by scheme; those of test items lend no clause.
        said: Surfaces.
        lexicon: Of `corpus.schemes.frames.load_lexicon`.
        count: How many, the schemes in turn.
        seed: Of clauses, words and surfaces.
    """
    from rapidfuzz import fuzz, process

    turning = Turning(seed)
    crossing = _Crossing(list(trained(rows, bank)), turning, Filling(turning, lexicon))
    tests = [text_of(row) for row in rows if row["split"] == "test"]
    schemes = tuple(bank)
    made: list[Exercise] = []
    while len(made) < count:
        number = len(made)
        scheme, refuses = schemes[number % len(schemes)], number // len(schemes) % 3 == 2
        owner, entry = crossing.owner(scheme)
        texts = crossing.texts(entry, refuses) | {"other": turning.pick("other", said.others)}
        if scheme in PROPOSITIONAL and len(set(texts.values())) < len(texts):
            continue
        mixed = replace(entry, id=f"cross-{number + 1}", pupil="", ask="", texts=texts)
        draft = _crossed(mixed, said, turning, refuses=refuses)
        one = item(owner, number + 1, mixed, draft, []) | {"id": mixed.id}
        near = process.extractOne(text_of(one), tests, scorer=fuzz.ratio, score_cutoff=NEAR_ITEM)
        if near is None and longest_sentence(one) <= MOST_WORDS:
            made.append(parse_exercise(one, one["id"]))
    return made


class _Crossing:
    """Texts for a scheme's slots, of contents that have nothing to do with one another."""

    def __init__(self, trained: Sequence[tuple[Row, Entry]], turning: Turning, fill: Filling) -> None:
        self._own: dict[str, list[tuple[Row, Entry]]] = {}
        for owner, entry in trained:
            self._own.setdefault(entry.scheme, []).append((owner, entry))
        self._alone, self._denied = _clauses([entry for _, entry in trained])
        self._turning = turning
        self._fill = fill

    def owner(self, scheme: str) -> tuple[Row, Entry]:
        """Return the next content of a scheme, with its base item: who speaks, and of what notion."""
        found: tuple[Row, Entry] = self._turning.pick(scheme, self._own[scheme])
        return found

    def _denial(self) -> tuple[str, str]:
        if self._turning.sometimes(LEXICON_SHARE):
            return self._fill.clause()
        pair: tuple[str, str] = self._turning.pick("denied", self._denied)
        return pair

    def _clause(self) -> str:
        if self._turning.sometimes(LEXICON_SHARE):
            side: str = self._turning.pick("side", self._fill.clause())
            return side
        clause: str = self._turning.pick("alone", self._alone)
        return clause

    def texts(self, entry: Entry, refuses: bool) -> dict[str, str]:
        """Return the texts of the entry's scheme."""
        if entry.scheme in FRAMES:
            frames = FRAMES[entry.scheme]
            return (frames[0] if refuses else self._turning.pick(f"{entry.scheme} frames", frames))(self._fill)
        if self._turning.sometimes(SAME_SHARE):
            return self._fill.same()
        texts = {slot: self._clause() for slot in ("q", "r", "third")}
        texts["p"], texts["p_not"] = self._denial()
        if entry.scheme in ("MT", "RA"):
            texts["q"], texts["q_not"] = self._denial()
        if entry.scheme == "RA":  # its supposition is written in the subjunctive too, by hand
            del texts["p_not"]
            texts |= {"p": entry.texts["p"], "subj": entry.texts["subj"], "harsh": self._clause()}
        return texts


def _crossed(entry: Entry, said: Surfaces, turning: Turning, *, refuses: bool) -> Draft:
    """Return an item that asks nothing back: no question fits clauses of different contents."""
    own = said.schemes[entry.scheme]
    if not refuses:
        kind = "probable" if entry.scheme in PROBABLE else "conditional" if entry.scheme == "SH" else "strict"
        surface = turning.pick(f"{entry.scheme}-exercise", own.exercise)
        return exercise(entry, surface, turning.pick(kind, said.answers[kind]), asks=False)
    return refusal(
        entry,
        turning.pick(f"{entry.scheme}-refusal", own.refusal),
        own,
        turning.pick("refusal", said.answers["refusal"]),
        turning.pick(f"{entry.scheme}-reasons", own.reasons),
        turning.pick(f"{entry.scheme}-fallacies", own.fallacies),
        "",
    )
