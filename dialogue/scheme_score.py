"""Whether a text reasons by the scheme it announced: deterministic, French. Knows the twelve schemes, calls no model.

A connective alone never scores: the clauses it joins must share their words (stems, accents folded, half of the
shorter one, in their order) and be negated as the scheme wants, counted modulo two. Feeds a metric and the chip's card,
never a mark for the pupil. What is read here is form: whether the premises are true is nobody's business in this file.

    4  the full scheme                     2  its connectives with slots that do not fit, or its fallacy
    3  another scheme of ours, in full     1  named only        0  nothing of it
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, pairwise
from types import MappingProxyType
from typing import Literal

from dialogue.french import count_negations, fold, in_order, split_sentences, stems
from personas import SCHEMES, Scheme, get_scheme

Grade = Literal[0, 1, 2, 3, 4]
LINKED = 0.5  # share of the shorter clause's content words; source: the reference of this project, section 9
_PREFIX = 4  # letters: « convaincrait » and « convainc » are one word to a reader, two stems to a stemmer
_MOST_CHARS, _MOST_CLAUSES = 240, 24  # of a text: an answer has three sentences, and pairs of clauses are compared
_NOTHING: Mapping[str, str] = MappingProxyType({})

_CONCLUDES = (
    r"(?:donc|par cons[ée]quent|en conséquence|dès lors(?! qu)|de ce fait|ainsi|alors|c['’]est pourquoi"
    r"|voilà pourquoi|d['’]où|de toute façon"
    r"|dans (?:les deux|tous les) cas|probablement|"
    r"(?:il|elle|cela|on|j['’]) ?(?:s['’]|en )?(?:ensuit|suit|résulte|tire|conclus?t?|déduit|dit"
    r"|donne|prévoit|reste|permet de dire|montre|prouve|voit)"
    r"(?: de là| ceci| par là)?(?: qu?e\b| qu['’]|(?= ?,| ?:| ?$))|(?:on doit|il faut"
    r"|tu peux)(?: donc)? (?:en )?conclure|la conclusion est|"
    r"la voici|c['’](?:est|était) donc|c['’]est qu?e?\b)"
)
_CONCLUSION = re.compile(rf"^(?:et |oui[ ,:]+|non[ ,:]+)?{_CONCLUDES}", re.I)
# « Oui : … », « Elle est fausse : … »: what stands after the colon is the answer.
_ANNOUNCES = re.compile(
    r"^(?:oui|non|la voici|jusqu['’]ici|elle (?:est fausse|est celle-ci|tombe)|(?:il"
    r"|elle) (?:le permet|donne|dit|reste)(?: ceci)?|une conclusion \w+"
    rf"|{_CONCLUDES}(?:,? d['’]après tes prémisses)?)\W*$",
    re.I,
)
_REFUSES = re.compile(
    r"\bne (?:peut|peux|puis|permet|prouve)(?: donc)? pas\b.{0,20}\b(?:conclure|qu)|\bil suit seulement", re.I
)
_INNER_DONC = re.compile(r"\bdonc\b", re.I)
_LEAD = re.compile(
    rf"^(?:(?:et|oui|non|voici|ceci|par l['’]absurde)[ ,:]+)?(?:(?:or|mais|car|puisque|{_CONCLUDES}"
    r"|en effet|d['’]abord|ensuite|enfin|probablement|"
    r"nécessairement|de même|que?|qu['’])\b[ ,:]*)+",
    re.I,
)
_WHEN = r"(?:dès (?:lors )?qu|chaque fois qu|pourvu qu|lorsqu)(?:e\s+|['’])|quand\s+"
_REASON = re.compile(r",?\s+(?:puisqu(?:e\s+|['’])|car\s+)", re.I)  # what comes before follows from what comes after
_AND_THAT = re.compile(r",?\s+et\s+qu(?:e\b|['’])[\s,]*", re.I)  # « puisque P, et que Q »
_IF = re.compile(
    r"\b(?:si\s+|s['’](?=ils?\b))(?P<p>[^;:?]+?)(?:,?\s+alors\s+|\s*,\s+)(?P<q>[^;:?]+)$"
    r"|^(?P<q2>[^,;:?]+),? (?:si\s+|s['’](?=ils?\b))(?P<p2>[^,;:?]+)$"
    rf"|^(?:et )?(?:{_WHEN})(?P<p3>[^,;:?]+?),\s+(?P<q3>[^;:?]+)$"
    r"|^dans (?P<p4>(?:le (?:premier|second|deuxième)|l['’](?:une?|autre))(?: cas)?),\s*(?P<q4>[^;:?]+)$",
    re.I,
)
_EITHER = re.compile(
    r"(?P<s>[^.;:,]*?)\b(?:ou(?: bien)?|soit)\s+(?P<p>[^;:?]+?),\s*(?:et )?(?:ou(?: bien)?|soit)\s+(?P<q>[^;:?,]+)",
    re.I,
)
_EXCLUSIVE = re.compile(r"\bou bien\b|\bsoit\b")
_TWO = re.compile(r"\bde deux choses l'une\b|\bdeux (?:cas|voies|branches|possibilites)\b|\bl'un ou l'autre\b")
_SUPPOSE = re.compile(
    r"\b(?:supposons|imaginons|admettons|suppose|imagine|admets|si l['’]on suppose"
    r"|prenons l['’]hypothèse)\b(?: donc)?(?: un (?:instant|moment))?(?: le contraire *:?)?"
    r" *(?:qu?e? |qu['’])?(?P<p>.+)$",
    re.I,
)
_ABSURD = re.compile(
    r"\b(?:contradict\w*|contredi\w*|absurde|(?:im|plus |pas )possible|a la fois|et ne l['’]est pas)\b"
)
_SAME = re.compile(
    r"(?P<a>[^.,;:]+?) (?:n['’]est (?:rien d['’]autre|autre chose|que)|ne sont rien d['’]autre"
    r"|c['’]est|est|sont|désigne(?:nt)?|veut dire|signifie|s['’]identifie à) "
    r"(?:rien d['’]autre que |autre chose que |que |la même chose que |une même chose que "
    r"|identiques? à |le nom de )?(?P<b>[^.,;:]+)",
    re.I,
)
_IDENTICAL = re.compile(
    r"\b(?:rien d'autre|autre chose que|meme chose|identi\w+|ne font qu'un|un et meme|une et meme"
    r"|c'est-a-dire|autrement dit|la meme|le meme|designent|s'appelle|revient a dire)\b"
)
_NO_CONTRADICTION = re.compile(r"\b(?:en meme temps|sous (?:le meme|ce|deux) rapports?|a la fois)\b")
_PROBABLY = re.compile(r"\b(?:probable\w*|sans doute|peut-etre|vraisembl\w+|on peut s'attendre|il y a des chances)\b")
_ANALOGY = re.compile(
    r"(?P<a>[^.,;:]+?) (?:est|sont) (?:à |aux? "
    r"|pour )(?P<b>[^.,;:]+?),? ce qu(?:e |['’])(?P<c>[^.,;:]+?) (?:est|sont) (?:à|aux?"
    r"|pour) (?P<d>[^.,;:]+)",
    re.I,
)
_LIKE = re.compile(
    r"(?:^|\b)(?:comme|de même que|tout comme|ainsi que) (?P<a>[^.;:]+?), (?:de même "
    r"|ainsi )?(?P<c>[^.;:]+)|(?P<c2>[^.,;:]+?) (?:est comme|ressemble à|comme) (?P<a2>[^.,;:]+)",
    re.I,
)
_LIKEWISE = re.compile(r"\b(?:aussi|de meme|pareillement)\b")
_ALL = re.compile(r"\b(?:tout(?:e|es)?|tous|chaque|nul(?:le)?|aucun(?:e)?|toujours|jamais)\b")
_SOME = re.compile(r"\b(?:quelque|certaine?s?|il y a|il existe|un|une|parfois|le|la|l|ce|cet|cette)\b")
_CONTRAST = re.compile(
    r"\b(?:mais|tandis que|alors que|au contraire|a l'inverse|pourtant|contredi\w*|s'oppose\w*|oppose\w*)\b"
)
_FALSE = re.compile(r"\b(?:faux|fausses?|vraies?|pas vrai\w*|tombe\w*|ne tient pas|contraires)\b")
_REFERS = re.compile(r"\b(?:formule|phrase|proposition|affirmation|premiere|seconde|cela)\b")
_NONE = re.compile(r"\b(?:nul(?:le)?|aucune?)\b")
_SENSES = re.compile(
    r"\b(?:deux sens|plusieurs sens|en un sens|(?:premier|second|autre) sens|se dit (?:de|en|du"
    r"|des)|distingu\w+|distinction|le (?:premier|second)"
    r"|la (?:premiere|seconde)|veut dire .+ ou |c'est .+ ou |ou du dedans|d'un cote|au sens)"
)
_HOLDS = re.compile(
    r"\b(?:vau(?:t|x|draient|drait)|convien(?:t|nent)|vrai\w*|juste|tient|s'applique"
    r"|correct\w*)\b.{0,60}\b(?:pour|que|de|du|au|dans|non|seulement)\b|\b(?:non|pas) (?:au|pour"
    r"|de|du|dans) (?:le |la )?(?:second|l'autre|celle|celui)"
)
_CAUSES = re.compile(
    r"\b(?:precede\w*|produi\w+|cause\w*|engendr\w+|entrain\w+|provoqu\w+|vient (?:de|d'|avant|du"
    r"|des)|viennent (?:de|d'|du|des)|nourri\w*|a cause d|parce qu|fait naitre|effets?|grace a)"
)
_WITHOUT = re.compile(r"\bsans\b|\bne (?:vient|viennent|revient|nait|arrive)\b|\bs'eteint\b|\bcesse\b")
_GENERAL = re.compile(r"\b(?:tout|toute|tous|toutes|chaque|en general|generalement|quiconque|n'importe quel\w*)\b")
_CASES = re.compile(
    r"(?:\w+, )+[\w' -]+ et [\w' -]+|\b(?:ont|sont|etaient|avons|fais\w+) (?:tous|toutes"
    r"|chacune?)\b|\bchaque fois\b|\bjusqu'ici\b|\b(?:deux|trois|quatre|cinq|dix|plusieurs) \w+"
)

Fallacy = Literal[
    "", "consequent_affirme", "antecedent_nie", "disjoint_affirme", "moyen_terme", "branches_divergentes",
    "generalisation_hative",
]  # fmt: skip


@dataclass(frozen=True)
class Clause:
    """One statement of a text, without the words that join it to the others.

    Attributes:
        text: As it was written.
        concludes: Whether a word before or in it says that it follows.
        condition: The two sides of « si P, alors Q », or None.
        either: The two sides of « ou P, ou Q », or None.
        probable: Whether it says that it is only likely.
    """

    text: str
    concludes: bool = False
    condition: tuple[str, str] | None = None
    either: tuple[str, str] | None = None
    probable: bool = False

    @property
    def bare(self) -> bool:
        """Whether it asserts something outright."""
        return self.condition is None and self.either is None


@dataclass(frozen=True)
class Reading:
    """How one scheme was found.

    Attributes:
        full: Every part is there and fits.
        marks: Its connectives are there.
        fallacy: Where its trap was walked into; "" otherwise.
        slots: What stands for the letters of the canonical form.
        contrary: Its conclusion is negated where the scheme wants it affirmed, or affirmed where it wants it negated.
    """

    full: bool = False
    marks: bool = False
    fallacy: Fallacy = ""
    slots: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    contrary: bool = False


@dataclass(frozen=True)
class SchemeScore:
    """The grade of a text against the scheme it announced.

    Attributes:
        grade: 0 to 4, see the top of this file.
        found: Id of the scheme that was read in full, or "".
        fallacy: The trap that was walked into, or "".
        slots: Letters of the announced scheme's form and the words that stand for them.
        contrary: What it concludes is negated as the announced scheme forbids.
    """

    grade: Grade
    found: str
    fallacy: Fallacy
    slots: Mapping[str, str]
    contrary: bool = False


def shared(one: str, other: str) -> float:
    """Return the share of the shorter text's content words that the other has too, 0 to 1."""
    a, b = stems(one), stems(other)
    if not a or not b:
        return 0.0
    short, long = (a, b) if len(a) <= len(b) else (b, a)
    return sum(has(long, word) for word in short) / len(short)


def has(words: frozenset[str], word: str) -> bool:
    """Return whether a stem is among others, or one begins the other: « battent », « battraient ».

    >>> has(frozenset({"battr"}), "batt"), has(frozenset({"dort"}), "do")
    (True, False)
    """
    return any(
        word == known or (min(len(word), len(known)) >= _PREFIX and (word.startswith(known) or known.startswith(word)))
        for known in words
    )


def linked(one: str, other: str) -> bool:
    """Whether two clauses are about the same thing.

    >>> linked("tu sais pourquoi tu choisis", "tu le sais")
    True
    """
    return shared(one, other) >= LINKED


def supposed(text: str) -> str | None:
    """Return what a clause asks to suppose, or None.

    >>> supposed("Supposons que rien n'existe")
    "rien n'existe"
    """
    found = _SUPPOSE.search(text)
    return found["p"] if found else None


def _agree(one: str, other: str) -> bool:
    return linked(one, other) and in_order(one, other) and count_negations(one) % 2 == count_negations(other) % 2


def _deny(one: str, other: str) -> bool:
    return linked(one, other) and in_order(one, other) and count_negations(one) % 2 != count_negations(other) % 2


def _clause(text: str, *, announced: bool = False) -> Clause:
    text = text[:_MOST_CHARS]
    follows = announced or bool(_CONCLUSION.search(text)) or bool(_INNER_DONC.search(text))
    follows = follows and not _REFUSES.search(text)
    likely = bool(_PROBABLY.search(fold(text)))
    bare = _INNER_DONC.sub("", _LEAD.sub("", text)).strip(" .,;:!…")
    if found := _IF.search(bare):
        p, q = next((found[f"p{n}"], found[f"q{n}"]) for n in ("", 2, 3, 4) if found[f"p{n}"])
        return Clause(bare, follows, (p.strip(" ,"), re.sub(r"^alors ", "", q).strip(" ,.")), None, likely)
    if found := _EITHER.search(bare):
        return Clause(bare, follows, None, (found["p"].strip(" ,"), found["q"].strip(" ,.")), likely)
    return Clause(bare, follows, probable=likely)


_ASKS = re.compile(r"\?[\s»!?.…)]*$")


def clauses(text: str) -> list[Clause]:
    """Cut a text into statements; questions state nothing and are left out."""
    found: list[Clause] = []
    for sentence in split_sentences(text):
        if _ASKS.search(sentence):
            continue
        announced = False
        # « Si P, alors Q, or P, donc Q » in one breath is three statements; a colon announces one.
        for part in re.split(r"\s*;\s*|\s+:\s+|,\s+(?=(?:or|donc|par conséquent)\b)", sentence):
            said, *reasons = _REASON.split(part, maxsplit=1)
            if said.strip() and reasons:
                found += [_clause(one) for one in _AND_THAT.split(reasons[0])]
                announced = True
            one = _clause(said, announced=announced)
            announced = bool(_ANNOUNCES.match(said))
            if one.text and not announced:
                found.append(one)
    return found[:_MOST_CLAUSES]


def _cut(text: str, most: int = 120) -> str:
    text = re.sub(r"\s+", " ", text).strip(" «»,.;")
    return text if len(text) <= most else text[: most - 1].rsplit(" ", 1)[0] + "…"


def _slots(**letters: str) -> Mapping[str, str]:
    return MappingProxyType({letter: _cut(words) for letter, words in letters.items()})


def _premises(found: Sequence[Clause]) -> Iterator[tuple[str, str]]:
    """Pairs of a bare premise and a bare conclusion that comes after it."""
    bare = [one for one in found if one.bare]
    for place, last in enumerate(bare):
        if last.concludes:
            for one in bare[:place]:
                yield one.text, last.text


def _if_then(found: Sequence[Clause], *, tollens: bool) -> Reading:
    """Modus ponens or tollens, and the two fallacies that look like them."""
    conditions = [one.condition for one in found if one.condition]
    supposed = tollens and any(_SUPPOSE.search(one.text) for one in found)
    best = Reading(marks=bool(conditions) or supposed)
    ends = [one.text for one in found if one.concludes and one.bare]
    for p, q in conditions:
        slots = _slots(P=p, Q=q)
        for premise, end in _premises(found):
            nearer_p = shared(premise, p) >= shared(premise, q)
            if not tollens and _agree(premise, p) and _agree(end, q) and nearer_p:
                return Reading(True, True, slots=slots)
            # Where both sides share their subject, a premise may deny either: it denies the one it is nearer to.
            nearer_q = shared(premise, q) >= shared(premise, p)
            if tollens and _deny(premise, q) and _deny(end, p) and nearer_q:
                return Reading(True, True, slots=slots)
            if not tollens and not nearer_p and _agree(premise, q) and _agree(end, p):
                best = Reading(False, True, "consequent_affirme", slots)
            nearest = not nearer_q or not _deny(premise, q)
            if tollens and nearer_p and nearest and _deny(premise, p) and _deny(end, q):
                best = Reading(False, True, "antecedent_nie", slots)
        contrary = any(_agree(end, p) if tollens else _deny(end, q) for end in ends)
        best = replace(best, slots=best.slots or slots, contrary=best.contrary or contrary)
    return best


def _chain(found: Sequence[Clause]) -> Reading:
    conditions = [one.condition for one in found if one.condition]
    ends = [one.condition for one in found if one.condition and one.concludes]
    best = Reading(marks=len(conditions) >= 2)
    for (p, q), (q2, r) in combinations(conditions, 2):
        for end_p, end_r in ends:
            if (end_p, end_r) in {(p, q), (q2, r)}:
                continue
            if _agree(q, q2) and _agree(p, end_p) and _agree(r, end_r):
                return Reading(True, True, slots=_slots(P=p, Q=q, R=r))
            if not linked(q, q2) and linked(p, q2):
                best = Reading(False, True, "moyen_terme", _slots(P=p, Q=q, R=r))
    return best


def _either(found: Sequence[Clause]) -> Reading:
    pairs = [(*one.either, bool(_EXCLUSIVE.search(fold(one.text)))) for one in found if one.either]
    best = Reading(marks=bool(pairs) and any(one.concludes for one in found))
    for p, q, exclusive in pairs:
        for first, second in ((p, q), (q, p)):
            for premise, end in _premises(found):
                if shared(premise, first) >= shared(premise, second) and linked(end, second):
                    if _deny(premise, first) and _agree(end, second):
                        return Reading(True, True, slots=_slots(P=first, Q=second))
                    if _agree(premise, first) and _deny(end, second) and not exclusive:
                        best = Reading(False, True, "disjoint_affirme", _slots(P=first, Q=second))
    return best


def _dilemma(found: Sequence[Clause]) -> Reading:
    pairs = [one.either for one in found if one.either]
    conditions = [one.condition for one in found if one.condition]
    two = bool(pairs) or any(_TWO.search(fold(one.text)) for one in found)
    best = Reading(marks=two and bool(conditions))
    for p, q in pairs:
        for (p2, r), (q2, r2) in combinations(conditions, 2):
            if not (shared(p, p2) and shared(q, q2)):
                continue
            if not _agree(r, r2):
                best = Reading(False, True, "branches_divergentes", _slots(P=p, Q=q, R=r))
            elif any(one.concludes and one.bare and _agree(one.text, r) for one in found):
                return Reading(True, True, slots=_slots(P=p, Q=q, R=r))
    return best


def _absurd(found: Sequence[Clause]) -> Reading:
    for place, one in enumerate(found):
        supposed = _SUPPOSE.search(one.text)
        if not supposed:
            continue
        p, after = supposed["p"], found[place + 1 :]
        told = " ".join(fold(two.text) for two in after)
        contradiction = bool(_ABSURD.search(told)) or any(_deny(x.text, y.text) for x, y in combinations(after[:4], 2))
        contradiction = contradiction or any(_halves_oppose(two.text) for two in after)
        if contradiction and any(_deny(two.text, p) for two in after[1:] or after):
            return Reading(True, True, slots=_slots(P=p))
        return Reading(marks=True, slots=_slots(P=p))
    return Reading()


def _halves_oppose(text: str) -> bool:
    left, mark, right = text.partition(" et ")
    opposed = count_negations(left) % 2 != count_negations(right) % 2
    return bool(mark) and opposed and (linked(left, right) or not stems(right))  # « est vraie et ne l'est pas »


def _identity(found: Sequence[Clause]) -> Reading:
    ends = [one for one in found if one.concludes and one.bare]
    for one in found:
        folded = fold(one.text)
        if _NO_CONTRADICTION.search(folded) and (count_negations(one.text) or "deux rapports" in folded):
            others = [two for two in found if two is not one]
            return Reading(
                not others or any(linked(two.text, one.text) for two in others), True, slots=_slots(A=one.text)
            )
        same = _SAME.search(one.text)
        if not same or not (_IDENTICAL.search(folded) or ends):
            continue
        a, b = same["a"], same["b"]
        for x, y in ((a, b), (b, a)):
            for premise, end in _premises([two for two in found if two is not one]):
                if linked(premise, x) and linked(end, y) and shared(premise, end):
                    return Reading(True, True, slots=_slots(A=a, B=b))
        if _IDENTICAL.search(folded):
            return Reading(bool(_pairs_share(a, b, ends)), True, slots=_slots(A=a, B=b))
    return Reading(marks=any(_IDENTICAL.search(fold(one.text)) for one in found))


def _pairs_share(a: str, b: str, ends: Sequence[Clause]) -> bool:
    return any(linked(one.text, a) or linked(one.text, b) for one in ends)


def _opposition(found: Sequence[Clause]) -> Reading:
    whole = [fold(one.text) for one in found]
    marks = any(_CONTRAST.search(text) for text in whole)
    universal = [one.text for one, text in zip(found, whole, strict=True) if _ALL.search(text)]
    falls = [one.text for one, text in zip(found, whole, strict=True) if _FALSE.search(text)]
    if universal and falls and (marks or any(one != falls[-1] for one in universal)):
        quoted = re.findall(r"«([^»]+)»", " ".join(one.text for one in found))
        slots = _slots(A=quoted[0], B=quoted[1]) if len(quoted) > 1 else _slots(A=universal[0])
        refers = bool(_REFERS.search(fold(falls[-1])))
        if refers or any(linked(one, falls[-1]) for one in universal) or len(quoted) > 1:
            return Reading(True, True, slots=slots)
    for one in found:
        sides = re.split(r",? (?:mais|tandis que|alors que|au contraire)\b", one.text, maxsplit=1)
        if len(sides) == 2 and shared(*sides) and count_negations(sides[0]) % 2 != count_negations(sides[1]) % 2:
            return Reading(True, True, slots=_slots(A=sides[0], B=sides[1]))
    for one, two in pairwise(found):
        if _CONTRAST.search(fold(two.text)[:20]) and _deny(one.text, two.text):
            return Reading(True, True, slots=_slots(A=one.text, B=two.text))
    ends = [one.text for one in found if one.concludes and one.text not in falls]
    contrary = any(_NONE.search(fold(end)) and linked(one, end) for end in ends for one in universal if one != end)
    return Reading(marks=marks, contrary=contrary)


def _distinction(found: Sequence[Clause]) -> Reading:
    senses = [one for one in found if _SENSES.search(fold(one.text))]
    holds = [one for one in found if _HOLDS.search(fold(one.text))]
    # « vaut pour le premier », « n'est vrai que du premier » tell two senses apart; conclusions alone do not
    if len(holds) > 1 and not all(one.concludes for one in holds):
        return Reading(True, True, slots=_slots(X=(senses or holds)[0].text))
    if not senses:
        return Reading(marks=bool(holds))
    two_sides = any(re.search(r"\bou\b|\bet\b|\bnon\b|,|\bdeux\b", fold(one.text)) for one in senses)
    return Reading(bool(holds) and two_sides, True, slots=_slots(X=senses[0].text))


def _cause(found: Sequence[Clause]) -> Reading:
    causes = [one for one in found if _CAUSES.search(fold(one.text))]
    if not causes:
        return Reading()
    related = any(_WITHOUT.search(fold(one.text)) for one in found) or len(causes) > 1
    ends = [one for one in found if one.concludes or one.probable]
    ends = [one for one in ends if one not in causes[:1]]
    fits = any(linked(one.text, end.text) or shared(one.text, end.text) for one in causes for end in ends)
    premise = any(one.bare and not one.concludes and one not in causes[:1] for one in found)
    return Reading(
        bool(ends) and fits and (related or premise), True, slots=_slots(B=ends[-1].text) if ends else _NOTHING
    )


def _analogy(found: Sequence[Clause]) -> Reading:
    for one in found:
        if four := _ANALOGY.search(one.text):
            slots = _slots(A=four["a"], B=four["b"], C=four["c"], D=four["d"])
            ends = [two for two in found if two is not one and (two.concludes or two.probable)]
            one_side, other = f"{four['a']} {four['b']}", f"{four['c']} {four['d']}"
            before = [two.text for two in found if two is not one and two not in ends]

            def carried(end: Clause, onto: str, source: str, before: Sequence[str] = before) -> bool:
                told = _LIKEWISE.search(fold(end.text)) or any(shared(two, source) for two in before)
                return bool(told) and (shared(end.text, onto) > 0 or bool(_LIKEWISE.search(fold(end.text))))

            fits = any(carried(end, other, one_side) or carried(end, one_side, other) for end in ends)
            return Reading(fits, True, slots=slots)
    for one in found:
        if like := _LIKE.search(one.text):
            a, c = (like["a"], like["c"]) if like["a"] else (like["a2"], like["c2"])
            ends = [two for two in found if two is not one and two.probable]
            return Reading(any(shared(end.text, c) for end in ends), True, slots=_slots(A=a, C=c))
    return Reading()


def _induction(found: Sequence[Clause]) -> Reading:
    cases = [one for one in found if _CASES.search(fold(one.text)) and not one.probable]
    general = [one for one in found if _GENERAL.search(fold(one.text)) and (one.concludes or one.probable)]
    if not cases and not (general and len(found) > 1):
        return Reading()
    for end in general:
        before = [one for one in found if one is not end]
        fits = any(shared(one.text, end.text) for one in before)
        if fits and end.probable:
            return Reading(True, True, slots=_slots(P=end.text))
        if fits and cases:
            return Reading(False, True, "generalisation_hative", _slots(P=end.text))
    return Reading(marks=bool(cases))


_READERS: Mapping[str, Callable[[Sequence[Clause]], Reading]] = {
    "MP": lambda found: _if_then(found, tollens=False),
    "MT": lambda found: _if_then(found, tollens=True),
    "SH": _chain,
    "SD": _either,
    "DI": _dilemma,
    "RA": _absurd,
    "ID": _identity,
    "OP": _opposition,
    "DS": _distinction,
    "CA": _cause,
    "AN": _analogy,
    "IN": _induction,
}


def read(text: str, scheme_id: str) -> Reading:
    """Look for one scheme in a text.

    Raises:
        PersonaError: There is no such scheme.
    """
    return _READERS[get_scheme(scheme_id).id](clauses(text))


def score(text: str, announced: str) -> SchemeScore:
    """Grade a text against the scheme that was announced.

    Raises:
        PersonaError: There is no such scheme.

    >>> score("Si tu lis, alors tu sais. Or tu lis. Donc tu sais.", "MP").grade
    4
    >>> score("Si tu lis, alors tu sais. Or tu sais. Donc tu lis.", "MP").fallacy
    'consequent_affirme'
    """
    scheme = get_scheme(announced)
    found = clauses(text)
    own = _READERS[announced](found)
    if own.full:
        return SchemeScore(4, announced, "", own.slots)
    for other, reader in _READERS.items():
        # The loosest readers would find themselves everywhere: only strict forms count as a neighbour in full.
        if other in _NEIGHBOURS[announced] and reader(found).full:
            return (
                SchemeScore(3, other, own.fallacy, own.slots)
                if not own.fallacy
                else SchemeScore(2, other, own.fallacy, own.slots)
            )
    if own.marks or own.fallacy:
        return SchemeScore(2, "", own.fallacy, own.slots, own.contrary)
    return SchemeScore(1 if fold(scheme.name.split(" (")[0]) in fold(text) else 0, "", "", _NOTHING)


_NEIGHBOURS: Mapping[str, tuple[str, ...]] = {
    "MP": ("MT", "SH", "DI", "SD"),
    "MT": ("MP", "RA", "SD"),
    "SH": ("MP", "MT", "DI"),
    "SD": ("MP", "MT", "DI"),
    "DI": ("SD", "MP", "SH"),
    "RA": ("MT", "OP", "ID"),
    "ID": ("OP", "RA", "DS"),
    "OP": ("ID", "RA", "DS"),
    "DS": ("OP", "ID"),
    "CA": ("MP", "IN", "SH"),
    "AN": ("IN", "CA"),
    "IN": ("AN", "CA"),
}


_FILLED = frozenset({"MP", "MT", "SH", "SD", "DI", "AN"})  # the others' letters are terms, and whole sentences are read


@dataclass(frozen=True)
class Card:
    """What the page shows when a chip is opened.

    Attributes:
        scheme: Its id, names, form, example and fallacy.
        filled: The canonical form with the dialogue's own words in place of its letters, or None.
    """

    scheme: Scheme
    filled: str | None


def card(scheme_id: str, text: str) -> Card:
    """Return the card of a scheme, filled from an answer where its letters can be read.

    Raises:
        PersonaError: There is no such scheme.

    >>> card("MP", "Si tu lis, alors tu sais. Or tu lis. Donc tu sais.").filled
    'Si « tu lis », alors « tu sais ». Or « tu lis ». Donc « tu sais ».'
    """
    scheme = get_scheme(scheme_id)
    slots = read(text, scheme_id).slots if scheme_id in _FILLED else _NOTHING
    letters = set(re.findall(r"\b[A-DPQR]\b", scheme.form))
    if not letters or not letters <= set(slots):
        return Card(scheme, None)
    form = re.sub(r"\bnon-([A-DPQR])\b", r"ceci est faux : \1", scheme.form)  # « non-« tu sais » » is no French
    filled = re.sub(r"\b([A-DPQR])\b", lambda found: f"« {slots[found[1]]} »", form)
    return Card(scheme, filled)


assert set(_READERS) == set(SCHEMES)  # noqa: S101  # a scheme of the file that nobody reads would grade 0 for ever
