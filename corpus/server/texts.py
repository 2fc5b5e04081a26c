"""Whether a text that came back can be kept: length, language, leaks, copies, facts. Pure; knows no domain."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Literal

import numpy as np
from rapidfuzz import fuzz, process
from rapidfuzz.distance import OSA

from corpus.check import plain
from corpus.server import french_facts
from corpus.server.targets import Finding
from dialogue.french import stems
from errors import CorpusError

MOST_CHARS = 20_000
LEAST_WORDS = 12
NEAR_CASE = 90  # rapidfuzz ratio, 0 to 100
ENOUGH = 0.6  # share of a phrase's content words that must stand in the text
FRENCH_SHARE = 0.18  # of all words: these few make a quarter to a half of any French text
_FRENCH = frozenset(
    """a au aux avec c ce cette d dans de des du elle en est et il j je l la le les leur lui ma mais me mon n ne nous
    on ou par pas plus pour qu que qui s sa se si son sont sur t ta te tu un une vous y""".split()
)
_JSON = re.compile(r'\{\s*"|"\s*:\s*[\[{"\d]|\}\s*,\s*\{')
_TOON = re.compile(r"^\s*\w+(?:\[\d+\])?(?:\{[\w,]+\})?:(?:\s|$)", re.MULTILINE)
_FENCE = re.compile(r"^\s*(?:```|~~~)", re.MULTILINE)
TYPO_LETTERS = 5  # a name this long may have one letter wrong, or two exchanged
LETTERS = 38  # a to z, 0 to 9, the space, anything else
SOFT = "missing_fact"  # the only reason that a person may overrule: French says a fact in more ways than we know
SOFT_SHARE = 1 / 3  # of the facts that may be missing for that

_PLACES = np.full(256, LETTERS - 1)
_PLACES[np.frombuffer(b"abcdefghijklmnopqrstuvwxyz0123456789 ", np.uint8)] = np.arange(LETTERS - 1)

Kind = Literal["words", "name", "amount", "date", "role"]


@dataclass(frozen=True)
class Fact:
    """Something of the target that must be in the text.

    Attributes:
        path: Where it stands in the target.
        kind: How it is looked for.
        value: What; an amount as "12500" or "12500.50", a date as "2024-03-09", a role as its ways to say it, any of
            which will do: "veuve|épouse|conjoint".
    """

    path: str
    kind: Kind
    value: str


def digest(text: str) -> str:
    """Return what two copies share, whatever their case, accents and signs."""
    return hashlib.sha256(plain(text).encode()).hexdigest()


class Said:
    """A text, and what is found in it, each looked for once."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def words(self) -> frozenset[str]:
        """Its words in plain form."""
        return frozenset(plain(self.text).split())

    @cached_property
    def stems(self) -> frozenset[str]:
        """The stems of its content words."""
        return frozenset(stems(self.text))

    @cached_property
    def amounts(self) -> set[float]:
        """Its numbers."""
        return french_facts.amounts(self.text)

    @cached_property
    def dates(self) -> set[date]:
        """Its days."""
        return french_facts.dates(self.text)

    def says(self, fact: Fact) -> bool:
        """Whether a fact is among them."""
        if fact.kind == "amount":
            return float(fact.value) in self.amounts
        if fact.kind == "date":
            return date.fromisoformat(fact.value) in self.dates
        if fact.kind == "name":
            return all(self._names(word) for word in plain(fact.value).split())
        if fact.kind == "role":
            return any(self._stands(way, 1.0) for way in fact.value.split("|"))
        return self._stands(fact.value, ENOUGH)

    def _names(self, name: str) -> bool:
        if name in self.words or len(name) < TYPO_LETTERS:
            return name in self.words
        return any(len(word) == len(name) and OSA.distance(word, name, score_cutoff=1) <= 1 for word in self.words)

    def _stands(self, phrase: str, share: float) -> bool:
        wanted = stems(phrase)
        if not wanted:  # little words alone: as they are
            return self.words.issuperset(plain(phrase).split())
        return len(wanted & self.stems) / len(wanted) >= share


def says(text: str, fact: Fact) -> bool:
    """Whether a text says a fact, in one of the ways French says it.

    >>> says("Elle laisse 12 500 euros.", Fact("$.a", "amount", "12500"))
    True
    >>> says("Il est mort le 1er mars 2024.", Fact("$.d", "date", "2024-03-01"))
    True
    """
    return Said(text).says(fact)


class Copies:
    """Texts that a new one may not be near to: accepted, seed and training cases. Only grows.

    Most are told apart by their letters alone: as many insertions and deletions as the counts of letters differ by are
    needed at the least. One thread may add while others compare.

    >>> kept = Copies(["Le père laisse une maison à ses deux filles."])
    >>> kept.near("le pere laisse une maison a ses deux filles").code
    'duplicate'
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._texts: list[str] = []
        self._digests: set[str] = set()
        self._letters = np.zeros((256, LETTERS), np.int16)  # counts of each text, a row each; grows by doubling
        self._lengths = np.zeros(256, np.int32)
        for text in texts:
            self.add(text)

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, text: str) -> None:
        """Keep a text."""
        place, looked = len(self._texts), plain(text)
        if place == len(self._letters):
            self._letters = np.concatenate([self._letters, np.zeros_like(self._letters)])
            self._lengths = np.concatenate([self._lengths, np.zeros_like(self._lengths)])
        self._letters[place], self._lengths[place] = _letters(looked), len(looked)
        self._texts.append(looked)  # last: who compares now looks no further than this list
        self._digests.add(digest(text))

    def near(self, text: str, since: int = 0) -> Finding | None:
        """Return the finding that a text is a copy, or nearly one; None where it is neither.

        Args:
            text: A new one.
            since: How many of the texts, the oldest first, need not be compared again.
        """
        if digest(text) in self._digests:
            return Finding("duplicate", "$", "this text was already sent; write another.")
        looked, count = plain(text), len(self._texts)
        differ = np.abs(self._letters[since:count] - _letters(looked)).sum(axis=1)
        possible = np.flatnonzero(100 * differ <= (100 - NEAR_CASE) * (self._lengths[since:count] + len(looked)))
        others = [self._texts[since + place] for place in possible]
        # Unlike extractOne, cdist lets other threads run while it compares: nobody waits for it who wants no text read.
        near = process.cdist([looked], others, scorer=fuzz.ratio, score_cutoff=NEAR_CASE).max(initial=0)
        if near < NEAR_CASE:
            return None
        return Finding("near_duplicate", "$", f"{near:.0f} % like a text that is kept; write otherwise.")


def _letters(looked: str) -> np.ndarray:
    """Return how often each letter, digit and anything else stands in a text in plain form: (LETTERS,) int16."""
    places = _PLACES[np.frombuffer(looked.encode("latin-1", "replace"), np.uint8)]
    return np.bincount(places, minlength=LETTERS).astype(np.int16)


def refuse_unfit(text: str) -> None:
    """Refuse what is no text of a case at all, before it counts as an attempt.

    Raises:
        CorpusError: It is empty, far too long, in a Markdown fence, or holds half a character (`code`: empty_text,
            too_long, fenced_text, not_utf8).
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON can say one half of a surrogate pair alone
        raise CorpusError(f"character {error.start} is half a character; send whole ones.", code="not_utf8") from None
    if not text.strip():
        raise CorpusError("the text is empty; send the case.", code="empty_text")
    if len(text) > MOST_CHARS:
        raise CorpusError(
            f"the text has {len(text)} characters, at most {MOST_CHARS}; send it shorter.", code="too_long"
        )
    if _FENCE.search(text):
        raise CorpusError("the text stands in a Markdown fence; send the sentences alone.", code="fenced_text")


def is_french(text: str) -> bool:
    """Whether enough of the words are the little words of French."""
    found = plain(text).split()
    return bool(found) and sum(word in _FRENCH for word in found) / len(found) >= FRENCH_SHARE


def findings(text: str, facts: Sequence[Fact], known: Copies) -> list[Finding]:
    """Return every reason not to keep a text; none means that it is kept.

    Args:
        text: What the writer sent.
        facts: What must be in it.
        known: Texts that it may not be near to.
    """
    count = len(plain(text).split())
    if count < LEAST_WORDS:
        return [Finding("too_short", "$", f"{count} words, at least {LEAST_WORDS}.")]
    found = []
    if not is_french(text):
        found.append(Finding("not_french", "$", "write in French."))
    if _JSON.search(text):
        found.append(Finding("leaked_json", "$", "the text holds JSON; write sentences alone."))
    if len(_TOON.findall(text)) >= 3:
        found.append(Finding("leaked_toon", "$", "the text holds lines of the target; write sentences alone."))
    if (near := known.near(text)) is not None:
        found.append(near)
    said = Said(text)
    found += [
        Finding(SOFT, one.path, f"« {one.value.replace('|', ' », « ')} » is not said.")
        for one in facts
        if not said.says(one)
    ]
    return found


def is_arguable(found: Sequence[Finding], facts: Sequence[Fact]) -> bool:
    """Whether nothing but a few facts is missing, which a person may find said after all."""
    return all(one.code == SOFT for one in found) and len(found) <= max(1, len(facts) * SOFT_SHARE)
