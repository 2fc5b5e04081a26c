"""Whether a text that came back can be kept: length, language, leaks, copies, facts. Pure; knows no domain."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from corpus.check import plain
from corpus.server.targets import Finding
from dialogue.french import stems

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
_MONTHS = "janvier fevrier mars avril mai juin juillet aout septembre octobre novembre decembre".split()

Kind = Literal["words", "name", "amount", "date"]


@dataclass(frozen=True)
class Fact:
    """Something of the target that must be in the text.

    Attributes:
        path: Where it stands in the target.
        kind: How it is looked for.
        value: What; an amount as "12500" or "12500.50", a date as "2024-03-09".
    """

    path: str
    kind: Kind
    value: str


def digest(text: str) -> str:
    """Return what two copies share, whatever their case, accents and signs."""
    return hashlib.sha256(plain(text).encode()).hexdigest()


def _amounts(text: str) -> set[float]:
    found = re.findall(r"\d{1,3}(?:[ .\u00a0\u202f]\d{3})+(?:,\d{1,2})?|\d+(?:[.,]\d{1,2})?", text)
    values = set()
    for one in found:
        grouped = re.fullmatch(r"(\d{1,3}(?:[ .\u00a0\u202f]\d{3})+)(,\d{1,2})?", one)
        digits = re.sub(r"[ .\u00a0\u202f]", "", grouped[1]) + (grouped[2] or "") if grouped else one
        values.add(float(digits.replace(",", ".")))
    return values


def _says_date(text: str, day: date) -> bool:
    months = "|".join(_MONTHS)
    said = re.findall(rf"\b(1er|\d{{1,2}}) ({months}) (\d{{4}})\b", plain(text))
    spoken = {(int(y), _MONTHS.index(m) + 1, 1 if d == "1er" else int(d)) for d, m, y in said}
    spoken |= {(int(y), int(m), int(d)) for d, m, y in re.findall(r"\b(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})\b", text)}
    spoken |= {(int(y), int(m), int(d)) for y, m, d in re.findall(r"\b(\d{4})-(\d{2})-(\d{2})\b", text)}
    return (day.year, day.month, day.day) in spoken


def says(text: str, fact: Fact) -> bool:
    """Whether a text says a fact, in one of the ways French says it.

    >>> says("Elle laisse 12 500 euros.", Fact("$.a", "amount", "12500"))
    True
    >>> says("Il est mort le 1er mars 2024.", Fact("$.d", "date", "2024-03-01"))
    True
    """
    if fact.kind == "amount":
        return float(fact.value) in _amounts(text)
    if fact.kind == "date":
        return _says_date(text, date.fromisoformat(fact.value))
    if fact.kind == "name":
        return re.search(rf"\b{re.escape(plain(fact.value))}\b", plain(text)) is not None
    wanted = stems(fact.value)
    return not wanted or len(wanted & stems(text)) / len(wanted) >= ENOUGH


def is_french(text: str) -> bool:
    """Whether enough of the words are the little words of French."""
    found = plain(text).split()
    return bool(found) and sum(word in _FRENCH for word in found) / len(found) >= FRENCH_SHARE


def findings(text: str, facts: Sequence[Fact], known: Sequence[str], known_digests: frozenset[str]) -> list[Finding]:
    """Return every reason not to keep a text; none means that it is kept.

    Args:
        text: What the writer sent.
        facts: What must be in it.
        known: Texts, in plain form, that it may not be near to: accepted, seed and training cases.
        known_digests: Their digests.
    """
    from rapidfuzz import fuzz, process

    if len(text) > MOST_CHARS:
        return [Finding("too_long", "$", f"{len(text)} characters, at most {MOST_CHARS}.")]
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
    if digest(text) in known_digests:
        found.append(Finding("duplicate", "$", "this text was already sent; write another."))
    elif (near := process.extractOne(plain(text), known, scorer=fuzz.ratio, score_cutoff=NEAR_CASE)) is not None:
        found.append(Finding("near_duplicate", "$", f"{near[1]:.0f} % like a text that is kept; write otherwise."))
    found += [
        Finding("missing_fact", one.path, f"« {one.value} » is not said.") for one in facts if not says(text, one)
    ]
    return found
