"""Contents made of a lexicon: any word in any place, so that a scheme's form alone can be followed. Seeded.

What comes out is grammatical and says nothing worth believing. It trains, and is shown to nobody.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from corpus.schemes.augment import Turning
from errors import CorpusError

LEXICON = Path(__file__).parent / "lexicon.toml"

Texts = dict[str, str]


@dataclass(frozen=True)
class Noun:
    """A noun with the words that stand before it."""

    one: str
    many: str
    feminine: bool

    @property
    def the(self) -> str:
        """« la loi », « le rêve »."""
        return f"{'la' if self.feminine else 'le'} {self.one}"

    @property
    def this(self) -> str:
        """« cette loi », « ce rêve »."""
        return f"{'cette' if self.feminine else 'ce'} {self.one}"

    @property
    def of(self) -> str:
        """« de la loi », « du rêve »."""
        return f"{'de la' if self.feminine else 'du'} {self.one}"

    @property
    def every(self) -> str:
        """« toute loi », « tout rêve »."""
        return f"{'toute' if self.feminine else 'tout'} {self.one}"

    @property
    def no(self) -> str:
        """« nulle loi », « nul rêve »."""
        return f"{'nulle' if self.feminine else 'nul'} {self.one}"


@cache
def load_lexicon(path: Path = LEXICON) -> Mapping[str, list[Any]]:
    """Read the lexicon: lists by name.

    Raises:
        CorpusError: The file cannot be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CorpusError(f"{path} cannot be read: {error}.") from None


class Filling:
    """Words in turn from a lexicon, agreed with one another.

    Args:
        turning: Takes each word as often as the others.
        lexicon: Of `load_lexicon`.
    """

    def __init__(self, turning: Turning, lexicon: Mapping[str, list[Any]]) -> None:
        self.turning = turning
        self._lexicon = lexicon

    def word(self, kind: str) -> Any:
        """Return the next word of a list of the lexicon."""
        return self.turning.pick(f"lexicon {kind}", self._lexicon[kind])

    def others(self, kind: str, count: int) -> list[Any]:
        """Return words of a list, each another."""
        found: list[Any] = []
        while len(found) < count:
            if (word := self.word(kind)) not in found:
                found.append(word)
        return found

    def noun(self) -> Noun:
        """Return the next noun."""
        one, many, gender = self.word("nouns")
        return Noun(one, many, gender == "f")

    def adjectives(self, noun: Noun, count: int) -> list[str]:
        """Return adjectives that agree with a noun."""
        return [pair[noun.feminine] for pair in self.others("adjectives", count)]

    def clause(self) -> tuple[str, str]:
        """Return a clause about somebody's something, and its negation."""
        noun, name = self.noun(), self.word("names")
        (quality,) = self.adjectives(noun, 1)
        return f"{noun.the} de {name} est {quality}", f"{noun.the} de {name} n'est pas {quality}"

    def same(self) -> Texts:
        """Return clauses about one subject, for p, q, r and third: after the first, a pronoun can stand for it."""
        noun, name = self.noun(), self.word("names")
        subject = self.turning.pick("subjects", (noun.this, f"{noun.the} de {name}"))
        pronoun = "elle" if noun.feminine else "il"
        first, second, third = self.adjectives(noun, 3)
        texts = {"p": f"{subject} est {first}", "p_not": f"{subject} n'est pas {first}"}
        texts["subj"] = f"{subject} soit {first}"
        qualities = [(f"est {quality}", f"n'est pas {quality}") for quality in (second, third)]
        said = self.turning.shuffled([*qualities, *self.others("deeds", 2)])
        for slot, (does, does_not) in zip(("q", "r", "third", "harsh"), said, strict=True):
            texts[slot] = f"{subject} {does}"
            texts[f"{slot}_short"] = f"{pronoun} {does}"
            texts[f"{slot}_not"] = f"{subject} {does_not}"
        return texts


def _opposition(fill: Filling) -> Texts:
    noun, (one, other) = fill.noun(), fill.others("names", 2)
    (quality,) = fill.adjectives(noun, 1)
    return {
        "all": f"{noun.every} est {quality}",
        "some": f"quelque {noun.one} n'est pas {quality}",
        "subj": f"{noun.every} soit {quality}",
        "case": f"{noun.the} de {one} n'est pas {quality}",
        "none": f"{noun.no} n'est {quality}",
        "counter": f"{'La' if noun.feminine else 'Le'} {noun.one} de {other} peut être {quality}.",
    }


def _contradiction(fill: Filling) -> Texts:
    noun = fill.noun()
    first, second = fill.adjectives(noun, 2)
    return {
        "rule": f"{noun.this} ne peut être {first} et {second} en même temps et sous le même rapport",
        "fact": f"{noun.this} est {first}",
        "concl": f"{noun.this} n'est pas {second}",
        "double": f"{noun.the} est {first} et {second}",
        "how": f"{first} au dehors, {second} au dedans",
    }


def _identity(fill: Filling) -> Texts:
    (one, _), (other, _) = fill.others("things", 2)
    deed, _ = fill.word("deeds")
    return {
        "rule": f"{one} et {other} sont une même chose",
        "fact": f"{one} {deed}",
        "concl": f"{other} {deed}",
        "double": f"{one} est une et multiple" if one.startswith("la ") else f"{one} est un et multiple",
        "how": "l'un par le tout, l'autre par les parties",
    }


def _distinction(fill: Filling) -> Texts:
    noun, (deed, _) = fill.noun(), fill.word("deeds")
    first, second = fill.adjectives(noun, 2)
    bare, _ = fill.word("adjectives")
    return {
        "word": noun.one,
        "sense": f"{noun.the} {first}",
        "other_sense": f"{noun.the} {second}",
        "thesis": f"{noun.the} {deed}",
        "of_sense": f"{noun.of} {first}",
        "two_words": f"« {bare} » et « vraiment {bare} »",
        "verbal": f"ce qui est {bare} n'est pas vraiment {bare}",
    }


def _cause(fill: Filling) -> Texts:
    (cause, _), (effect, gender) = fill.others("powers", 2)
    place = fill.word("places")
    bare, met = cause.split(" ", 1)[1], fill.word("names")
    return {
        "rule": f"{cause} précède {effect} et {'la' if gender == 'f' else 'le'} produit",
        "without": f"sans {bare}, {effect} ne vient pas",
        "fact": f"{cause} grandit {place}",
        "concl": f"{effect} grandira {place}",
        "together": f"chaque fois que {met} chante, {effect} grandit {place}",
        "coincidence": f"le chant de {met} produit {effect}",
    }


def _analogy(fill: Filling) -> Texts:
    (one, _), (two, to_two), (three, _), (four, to_four) = fill.others("things", 4)
    act, (deed, _) = fill.word("acts"), fill.word("deeds")
    return {
        "rel": f"{one} est {to_two} ce que {three} est {to_four}",
        "fact": f"{one} {act} {two}",
        "concl": f"{three} {act} {four}",
        "likeness": f"{one} ressemble {to_two}",
        "likeness_fact": f"{two} {deed}",
        "likeness_concl": f"{one} {deed}",
        "why": "un air de famille n'est pas un même rapport",
    }


def _induction(fill: Filling) -> Texts:
    noun = fill.noun()
    (quality,) = fill.adjectives(noun, 1)
    several = quality if quality.endswith("s") else f"{quality}s"
    one, two, three = fill.others("names", 3)
    cases = [
        f"trois {noun.many} de ma rue sont {several}",
        f"{noun.the} de {one}, {noun.the} de {two} et {noun.the} de {three} sont {several}",
        f"dans trois cas, {noun.the} est {quality}",
    ]
    return {
        "cases": fill.turning.pick("cases", cases),
        "kind": f"ce sont des {noun.many}",
        "concl": f"{noun.every} est {quality}",
        "few": f"deux {noun.many} du quartier sont {several}",
        "hasty": f"{noun.every} est {quality}",
        "counter": "Un seul cas contraire suffit à ruiner la règle.",
    }


FRAMES: dict[str, tuple[Callable[[Filling], Texts], ...]] = {
    "ID": (_contradiction, _identity),
    "OP": (_opposition,),
    "DS": (_distinction,),
    "CA": (_cause,),
    "AN": (_analogy,),
    "IN": (_induction,),
}
