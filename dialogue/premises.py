"""The premises of a pupil's message: its statements, cut where he puts no full stop, and what they are about.

Knows French; knows no scheme.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rapidfuzz.distance import Prefix

from dialogue.french import count_negations, fold, in_order, likeness, split_sentences, stems
from dialogue.scheme_score import Clause, has, linked, shared

ALIKE = 0.5  # Ochiai's coefficient of a fact and the side of a premise that it is about
_MOST = 0.7  # share of a clause's words that say it again
_MET = 0.5  # share of a side's words that a fact must exceed: one subject in common is no premise
# Stems that say nothing of what a clause is about: « je suis libre » is no nearer to « je suis triste » for « suis ».
_LIGHT = frozenset(
    """ai as aur aura aurais doit dois es et ete etais fais faut font peut peuvent peux pouv pourr quand sais sait sera
    serai serais serait seras ser seront si sois soit somm suis va vais vas veut veux vont""".split()
)
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
# Frames that take back what they hold: « il est possible que », « je ne suis plus sûr que », « on dit souvent que ».
_SHAKY = re.compile(
    r"\b(?:(?:im)?possible|(?:im)?probable|faux|absurde|douteux|incertain|peu|pas|(?<!de )plus|jamais|guere|nie"
    r"|personne|souvent|parfois|soutient|dit)\b|\bn(?:e |')"
)
_GRANTED = re.compile(
    r"\b(?:nul|personne) n(?:e |')(?:le )?(?:nie|conteste|doute|ignore)\b|\bne (?:nie|doute|conteste) pas\b"
    r"|\bn'est pas (?:faux|douteux)\b"
)
_DENIED = re.compile(
    r"(?:(?:il est|c['’]est) faux(?: de (?:dire|croire|penser|soutenir))?|on aurait tort de (?:dire|croire)"
    r"|il n['’]est pas vrai|je nie) qu(?:e |['’])"
    r"(?P<that>.+)$"
    r"|« ?(?P<quoted>[^»]+?) ?» est (?:faux|fausse)\b"
    r"|« ?(?P<after>[^»]+?) ?», (?:qui|ce qui|cela) est (?:faux|fausse|absurde)\b",
    re.I,
)
# A fact that says less than the side it is about: doubted, willed, felt, partly so.
_UNSURE = re.compile(
    r"\b(?:peut-etre|presque|a peine|rarement|parfois|peu|moins|pas (?:que|moins|sur|certain|clair|assez|tout a fait"
    r"|toujours)|possible que|probable|selon|d'apres|hier|demain|avant|mal)\b"
    r"|\b(?:peur|envie|semblant|loin|impression|reve|refuse\w*|arret\w*|cesse\w*|failli) (?:de|d'|que|qu')"
    r"|\b(?:veux|veut|voudrai\w+|aimerai\w+|devrai\w+|doute|crois|croit|sens|sent|imagin\w+|suppos\w+|admettons|jure"
    r"|trouve\w*|dit|dis|prouve|faut|semble)\b"
)
# What undoes the verb after it without a « ne »: « refuser de signer » is the contrary of « signer ».
_UNDOES = re.compile(r"\bsans\b|\b(?:refus|cess|arret|evit|oubli|manqu|renonc|empech|interdi)\w* (?:de |d'|a |\w+ de )")
_LIMITED = re.compile(r"\bn(?:e |')(?!.*\b(?:pas|plus|jamais|rien|personne|aucune?|ni)\b).*\bqu(?:e\b|')")
# « Pas qu'un jeu », « pas parce que… » deny a limit or a reason, not what stands there; « je ne crois pas que… » does.
_NOT_ONLY = re.compile(
    r"\b(?!croi|pens|di[stre]|sai|sav|veu|voul|fau|prouv|montr|suffi|signifi|admet|empech)\w+ pas"
    r" (?:parce )?qu(?:e\b|')"
)
# Adverbs whose denial is none of the verb: who is not « forcément » happy may be happy.
_DEGREE = r"(\w+ment|toujours|souvent|partout|assez|trop|tres|si|plus|tout a fait)"
_DEGREES, _WEAK = re.compile(rf"\b{_DEGREE}\b"), re.compile(rf"\b(?:pas|plus|jamais) {_DEGREE}\b")
_ASKED = re.compile(
    r"^(?:(?:du coup|bon|donc|or|mais|alors|et),? )?(?:comment|pourquoi|est[- ]ce|qu'est|dis-|prouve|explique|soyons"
    r"|qu'on|si seulement|\w+-(?:je|tu|ils?|elles?|on|nous|vous|moi)\b"
    r"|(?:suis|es|est|sommes|etes|sont|peux|puis|peut|dois|doit|ai|as) (?:je|tu|ils?|elles?|on|nous|vous)\b)"
)
# « Doit voter » is not refuted by who does not vote, nor « peut » by who does not; « certains » are not « tous ».
_MODAL = re.compile(r"\b(?:doi[st]|doivent|devr\w+|peu(?:x|t|vent)|pouv\w+|pourr\w+|faut|faudr\w+)\b")
_ALL = re.compile(r"\b(?:tou(?:te?|s|tes)|chaque|toujours|aucune?|nulle?|personne|rien|jamais)\b")
# Of all, apart from « pas du tout », « tout de suite »…: where a side says it so, a fact about one says less.
_EVERY = re.compile(
    r"\b(?:(?<!apres )(?<!du )(?<!en )(?<!malgre )(?<!avant )tou(?:te?|s|tes)\b"
    r"(?! (?:de meme|de suite|a fait|a l'heure|seule?s?|en)\b)|chaque\b)"
)
_NOBODY = r"(?<!une )(?<!la )(?<!cette )(?<!chaque )(?<!ma )(?<!sa )personne"  # « une personne » is somebody
_NONE = re.compile(rf"\b(?:aucune?|nulle?|rien|{_NOBODY})\b")
_UNIVERSAL = (_EVERY, _NONE, re.compile(r"\btoujours\b"), re.compile(r"\bjamais\b"))
_NOT = re.compile(r"\bpas\b")
_VAGUE = re.compile(r"\b(?:quelque chose|quelqu'un|rien|personne|encore|deja)\b")  # stands for what is not named
_ONE_OF = re.compile(r"^(?:celles?|celui|ceux)\b")
_STEM, _STEM_SHARE = 4, 0.6  # letters that two forms of one verb share at the least
_PART = re.compile(
    r"\b(?:certaine?s?|quelques?(?! chose)(?:-une?s)?|quelqu'une?|plusieurs|la plupart|beaucoup|la moitie)\b"
)
_NOT_SO_SURE = re.compile(
    r"\bn(?:e |')\w+ (?:pas|jamais) (?:\w+ )?(?:dit|sur|certain|clair|prouve|vrai|admis|etabli) qu"
    r"|\bje (?:n'admets|ne dis|ne crois) pas qu"
)
_YES_NO = re.compile(r"^(?:non|nan|oui|ouais|si|ben|bah)\b[ ,]+", re.I)  # « Non je ne mens pas » is negated once
_OF_ONESELF = re.compile(r"^(?:je|tu|jai|jsuis|moi)\b|^[jt]'")
_WHO = re.compile(r"^(?:(?P<je>je\b|j'|jai\b|jsuis\b|moi\b)|(?P<tu>tu\b|t'|toi\b))")
_SELF = re.compile(r"\b(?:je|tu|jai|jsuis|moi|toi|on|nous|vous|me|te)\b|\b[jtm]'|\bj\w")
_POINTS = re.compile(r"^(?:ils?|elles?|celle|celui|ca|c'est|cela)\b")
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


def numbers(text: str) -> list[str]:
    """Return the numbers of a clause in figures; stems know none, and 12 is not 21."""
    return sorted(re.findall(r"\d+", text))


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


def content(text: str) -> frozenset[str]:
    """Return the stems that say what a clause is about; all of them where it has no other.

    >>> sorted(content("je suis libre")), sorted(content("je suis"))
    (['libr'], ['suis'])
    """
    words = stems(text)
    return words - _LIGHT or words


def covered(side: str, text: str) -> float:
    """Return the share of a side's content words that a text has.

    >>> covered("la vie a un sens", "La vie est belle."), covered("je suis libre", "Léa est libre.")
    (0.5, 1.0)
    """
    due, said = content(side), content(text)
    return sum(has(said, word) for word in due) / len(due) if due else 0.0


def fact_of(text: str) -> Fact:
    """Take a clause out of the words that grant it, or that deny it."""
    text = _YES_NO.sub("", text)
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
    alike, fact, side = max(found, key=lambda one: one[0])
    if alike < ALIKE or not _meets(fact, sides[side]) or _countered(facts, fact, side, sides):
        return None
    return fact, side


def _meets(fact: Fact, side: str) -> bool:
    """Whether a fact says no less than a side of a premise, and says it of the same subject."""
    told, due = fold(fact.text), fold(side)
    if covered(side, fact.text) <= _MET and not _points_at(told, side):
        return False
    if not _ONE_OF.match(told) and _swaps(due, told):
        return False
    if numbers(told) != numbers(due):
        return False
    if any(bool(one.search(told)) != bool(one.search(due)) for one in (_UNDOES, _MODAL, _LIMITED, _NOT_ONLY)):
        return False
    if weakened(fact, side) or weakened(Fact(side), fact.text) or _says_it_of_fewer(fact, side):
        return False
    if _PART.search(told) and not _PART.search(due) and not (_ALL.search(due) and fact.says(side) < 0):
        return False
    who, whose = _WHO.match(told), _WHO.match(due)
    if who and whose and who.lastgroup != whose.lastgroup:  # « je te mens » for « tu me mens »
        return False
    if _OF_ONESELF.match(due) and not _SELF.search(told):  # « si je suis libre… Mon chat est libre »
        return False
    return not _ASKED.match(told) and not (_UNSURE.search(told) and not _UNSURE.search(due))


def weakened(fact: Fact, clause: str) -> bool:
    """Return whether a fact denies no more than an adverb, which is not the clause's own.

    >>> weakened(Fact("on n'est pas forcément libre"), "on est libre")
    True
    >>> weakened(Fact("on n'est pas entièrement libre"), "on est entièrement libre")
    False
    """
    told, due = fold(fact.text), fold(clause)
    adverbs = (_DEGREES if fact.denied else _WEAK).findall(told)
    return any(not re.search(rf"\b{one}\b", due) for one in adverbs)


def _says_it_of_fewer(fact: Fact, side: str) -> bool:
    """Whether a fact and a side do not speak of all alike: « cet homme » for « tous », « tout n'est pas » for none."""
    told, due = fold(fact.text), fold(side)
    if fact.says(side) > 0 and any(one.search(due) and not one.search(told) for one in _UNIVERSAL):
        return True
    told_all, due_all = bool(_EVERY.search(told)), bool(_EVERY.search(due))
    # « Tous ne sont pas » is denied by « tous sont » and by nothing less; it denies nothing else.
    partly = (fact.denied or bool(_NOT.search(told))) if told_all else bool(_NOT.search(due))
    return told_all != due_all and partly


def _swaps(due: str, told: str) -> bool:
    """Whether a word of one clause is missing in another, and a new one stands there: « bafoue » for « respecte »."""
    due_words, said = (content(_VAGUE.sub("", _NOD.sub("", text))) for text in (due, told))
    missing = any(not _has_form(said, one) for one in due_words)
    return missing and any(not _has_form(due_words, one) for one in said)


def _has_form(words: frozenset[str], one: str) -> bool:
    """Whether a verb or a noun is among others in any form: « attendrions », « attendons »."""
    return has(words, one) or any(
        Prefix.similarity(one, other) >= max(_STEM, _STEM_SHARE * max(len(one), len(other))) for other in words
    )


def _points_at(told: str, side: str) -> bool:
    """Whether a pronoun stands for what the fact leaves out: it has the side's last word."""
    words = [one for one in re.findall(r"[a-z]+", fold(side)) if stems(one) & content(side)]
    last = any(has(content(told), one) for one in stems(words[-1])) if words else False
    return bool(_POINTS.match(told)) and (last or " en " in told)


def _countered(facts: Sequence[Fact], fact: Fact, side: int, sides: Sequence[str]) -> bool:
    """Whether another fact is a counterexample to the premise itself: « moi je travaille, mais je ne réussis pas »."""
    for other in facts:
        for place, clause in enumerate(sides):
            if other is not fact and place != side and covered(clause, other.text) > _MOST:
                sign = -1 if place == 0 else 1
                if sign * other.says(clause) < 0 < sign * fact.says(sides[side]):
                    return True
    return False


def is_sure(fact: Fact) -> bool:
    """Return whether a fact is asserted without a doubt, a wish or a supposition.

    >>> is_sure(Fact("le chat dort")), is_sure(Fact("peut-être que le chat dort"))
    (True, False)
    """
    told = fold(fact.text)
    return not (fact.denied or _ASKED.match(told) or _UNSURE.search(told))


def says_something(text: str) -> bool:
    """Return whether a clause has words of its own: « on ne l'est pas » has none."""
    return bool(stems(text) - _LIGHT)


def _grants(text: str) -> bool:
    """Whether the words around a clause, if there are any, grant it."""
    found = _FRAME.match(text)
    frame = fold(found[0]) if found else ""
    return not _SHAKY.search(frame) or bool(_GRANTED.search(frame))


def facts_of(given: Sequence[Clause]) -> list[Fact]:
    """Return what is asserted outright: no half of a condition, nothing doubted, nothing said to be others' belief."""
    return [
        fact_of(one.text)
        for one in given
        if one.bare
        and not _HALF.match(one.text)
        and not _REPORTED.match(fold(one.text))
        and not _NOT_SO_SURE.search(fold(one.text))
        and (_DENIED.search(one.text) or _grants(_YES_NO.sub("", one.text)))
    ]


def conditions_of(given: Sequence[Clause]) -> list[tuple[str, str]]:
    """Return both sides of every « if P, then Q »."""
    return [(one.condition[0], _NOD.sub("", one.condition[1])) for one in given if one.condition]
