"""The premises of a pupil's message: its statements, cut where he puts no full stop, and what they are about.

Knows French; knows no scheme.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from dialogue.french import count_negations, fold, in_order, likeness, split_sentences
from dialogue.scheme_score import Clause, linked, shared

ALIKE = 0.5  # Ochiai's coefficient of a fact and the side of a premise that it is about
_REPORTED = re.compile(r"^(?:\w+ ){1,3}?(?:dit|disent|pense|pensent|croi[ts]|croient) qu")
# Where pupils begin a new statement without a full stop; a question is cut from what it asks about.
_BREAK = re.compile(
    r"(?<=[\w»)]),?\s+(?=(?:sauf qu|or,? |mais |pourtant,? |et (?:pourtant|justement|en fait) |du coup,? |alors qu))"
    r"|,\s+(?=et\s+(?:si\b|s['’]il))|,\s+(?=[^\s.;:?!]+ (?:[^\s.;:?!]+ )?donc\b)",
    re.I,
)
_AND = re.compile(r",\s+(?=et\s)", re.I)
_ASKS = re.compile(
    r"\s*[,:]\s+(?=(?:donc|du coup|alors|et alors|que|qu['’]|quoi|à quoi|a quoi|[çc]a (?:donne|veut|fait|m['’]oblige)"
    r"|je peux|tu peux|on peut|peut-on|puis-je|dois-je|ai-je|est-ce|[^\s.;:?!]+ donc)\s[^,:.!]*\w\s[^,:.!]*\?)",
    re.I,
)
# « si » and some words, none of which ends an unfinished clause; a pronoun; no comma or « alors » that cuts it already.
_NO_COMMA = re.compile(
    r"\b((?:si|quand|lorsque)\s+|s['’](?=ils?\b))"
    r"((?:(?!alors\b)[^\s,.;:?!]+\s+){1,8}?(?!(?:que|qui|quand|et|ou|comme|mais|alors|si)\s)[^\s,.;:?!]+)"
    r"(?=\s+(?:je|j['’]\S+|tu|ils?|elles?|on|nous|vous|ça|ca|c['’]est)\s)"
    r"(?![^.;:?!,]*(?:\balors\b(?! que)"
    r"|,(?! ?(?:si|s['’]|donc|et|or|mais|sauf|du coup|\w+ donc|ok|non|nan)\b)))",
    re.I,
)
_CONDITION = re.compile(r"\b(?:si|quand|lorsque)\s|\bs['’]ils?\b", re.I)
_EITHER_WAY = re.compile(r"(?:^|[.,:]\s+)(?P<or>soit|ou bien)\b.*\s(?P=or)\b", re.I)
_EITHER_SIDE = re.compile(r"(?<=\w)\s+(?=(?:soit|ou bien)\s)", re.I)
_FRAME = re.compile(
    r"^(?:(?:or|et|mais|pourtant|justement|alors|de plus|enfin|en gros|en effet)\b,? *"
    r"|sauf qu(?:e |['’])"
    r"|(?:tu|on|nul|je|il|le fait|personne)\b[^,;:.]{0,30}?\b(?:sai[st]|nie|admet|accorde|assure|établi|constant|admis"
    r"|clair|certain|sûr|est|dit|soutient|vrai)\b[^,;:.]{0,12}? qu(?:e |['’])"
    r")+",
    re.I,
)
_DENIED = re.compile(
    r"(?:il est faux|on aurait tort de (?:dire|croire)|il n['’]est pas vrai|c['’]est faux|je nie) qu(?:e |['’])"
    r"(?P<that>.+)$"
    r"|« ?(?P<quoted>[^»]+?) ?» est (?:faux|fausse)\b"
    r"|« ?(?P<after>[^»]+?) ?», (?:qui|ce qui|cela) est (?:faux|fausse|absurde)\b",
    re.I,
)
_HALF = re.compile(r"(?:si|s['’]ils?|quand)\b", re.I)  # a condition whose end is asked for asserts nothing
# How talk ends a premise.
_NOD = re.compile(r",? (?:ok|d['’]accord|on est d['’]?accord|pas le choix|non|nan|hein)$", re.I)


@dataclass(frozen=True)
class Fact:
    """A premise that asserts something: its words, and whether a frame around them denies it."""

    text: str
    denied: bool = False

    def says(self, clause: str) -> int:
        """1 where it says that clause, -1 where it denies it, 0 where it is about something else."""
        if not linked(self.text, clause) or not in_order(self.text, clause):
            return 0
        return 1 if (is_negated(self.text) != self.denied) == is_negated(clause) else -1


def is_negated(text: str) -> bool:
    """Return whether a clause is negated, counted modulo two; « sans rien perdre » says how, not that it is not so.

    >>> is_negated("on n'apprend pas"), is_negated("on apprend sans rien perdre")
    (True, False)
    """
    return count_negations(re.sub(r"\bsans (?:rien|aucune?|jamais)\b", "sans", fold(text))) % 2 == 1


def punctuated(text: str) -> str:
    """Put the full stops and commas that a pupil leaves out around premises; no word changes.

    >>> punctuated("si jai faim je mange, or jai faim, donc je fais quoi ?")
    'si jai faim, je mange. or jai faim. donc je fais quoi ?'
    """
    told = _BREAK.sub(". ", re.sub(r"\b[Ss]i(?=ls?\b)", "s'i", text))
    told = _NO_COMMA.sub(r"\1\2,", " ".join(_before_question(one) for one in split_sentences(told)))
    if _CONDITION.search(told):
        told = _AND.sub(". ", told)
    return _EITHER_SIDE.sub(", ", told) if _EITHER_WAY.search(told) else told


def _before_question(sentence: str) -> str:
    """Cut what a question asks from what it says before; a condition is not cut from its end."""
    found = _ASKS.search(sentence)
    if found is None or "," not in _CONDITION.split(f", {sentence[: found.start()]}")[-1]:
        return sentence
    return f"{sentence[: found.start()]}. {sentence[found.end() :]}"


def fact_of(text: str) -> Fact:
    """Take a clause out of the words that grant it, or that deny it."""
    if found := _DENIED.search(text):
        return Fact(found["that"] or found["quoted"] or found["after"], denied=True)
    return Fact(_FRAME.sub("", text))


def about(facts: Sequence[Fact], *sides: str) -> tuple[Fact, int] | None:
    """Return the fact that is most like one side, and which side; None where none is like one more than the others."""
    found: list[tuple[float, Fact, int]] = []
    for fact in facts:
        near = [(shared(fact.text, side), likeness(fact.text, side)) for side in sides]
        best = max(range(len(sides)), key=lambda place: near[place])
        most = max(share for place, (share, _) in enumerate(near) if place != best)
        if fact.says(sides[best]) and near[best][0] > most:
            # A side of one word, of which the other has nothing, is met by that word: « ils ne se battraient plus ».
            met = near[best][0] == 1 and most == 0
            found.append((max(near[best][1], ALIKE if met else 0.0), fact, best))
    if not found:
        return None
    likest = max(found, key=lambda one: one[0])
    return (likest[1], likest[2]) if likest[0] >= ALIKE else None


def facts_of(given: Sequence[Clause]) -> list[Fact]:
    """Return what is asserted outright: no half of a condition, and nothing that somebody else is said to believe."""
    return [
        fact_of(one.text)
        for one in given
        if one.bare and not _HALF.match(one.text) and not _REPORTED.match(fold(one.text))
    ]


def conditions_of(given: Sequence[Clause]) -> list[tuple[str, str]]:
    """Return both sides of every « if P, then Q »."""
    return [(one.condition[0], _NOD.sub("", one.condition[1])) for one in given if one.condition]
