"""What follows from the premises that a pupil sets out: deterministic, French. Knows schemes; calls no model.

« Si P, alors Q. Or Q. » invites to conclude P, and a small model does. Where a message holds the form of a scheme, what
follows needs no model: it is read here and told to the model before the pupil's words, so that the philosopher draws
the conclusion that is due, or refuses the one that is not. Says nothing wherever it is not sure: of premises that are
only likely, of words that change between two premises, of a third case that the pupil may have forgotten.
"""

import re
import tomllib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from pathlib import Path
from typing import Any, Literal

from dialogue.french import fold, in_order, likeness, split_sentences, stems
from dialogue.premises import (
    ALIKE,
    Fact,
    about,
    conditions_of,
    content,
    covered,
    fact_of,
    facts_of,
    is_negated,
    is_sure,
    numbers,
    punctuated,
    says_something,
    weakened,
)
from dialogue.scheme_score import Clause, clauses, has, linked, shared, supposed
from personas import get_scheme

Outcome = Literal["follows", "false", "open", "open_contrary", "limited"]
_SAID: dict[Outcome, str] = {
    "limited": "Ne vaut que pour « {of} »",
    "follows": "Il suit",
    "false": "Est faux",
    "open": "Ne suit pas",
    "open_contrary": "Ne suit pas le contraire de",
}
_SAME = 0.9  # of two antecedents, to be one
_APART = 0.5  # of two consequents, to be two: between this and the next, nothing is said
_ONE_END = 0.8  # of two consequents, to be one: those of a dilemma often share their subject
_MOST_CHARS, _MOST_CLAUSES = 500, 8  # a message that sets out premises is short; a longer one tells of many things
_NO_PREMISE = re.compile(  # « si » that asks, compares, excepts, is polite or means « so »
    r"\b(?:comme|meme|savoir|demande|sais|vois|verra|ou|pas|seulement|uniquement|sauf|moi|dira\w*|depend|importe|ignore"
    r"|cherche|verifie|explique\w*|change|bien|est|es|suis|sont|fait|ai|etait|crois\w*|si) s(?:i\b|')"
    r"|\bs(?:i|'ils?) (?:et seulement|seulement|jamais|te pla\w+|vous pla\w+|tu veux|vous voulez|je comprends"
    r"|je me souviens|c'est possible|ca se trouve|ca ne te|ca te|on y reflechit|on regarde|on en croit|on suit|on prend"
    r"|on peut dire|on parle|je peux (?:me|dire)|t'as|tu as une?)\b|\ba raison\b|\bsoit dit\b"
    r"|\bsi (?:j'?ai|je (?:t'|vous )ai|on a) (?:bien (?:compris|suivi|entendu|saisi)\b|(?:compris|suivi|entendu) ?,)"
)
# « Quand j'étais petit, j'aimais… » is a date: a verb in the imperfect, or a consequent in the perfect. Words that only
# end like an imperfect are left out (« mauvais », « sait »); on the pupil's own letters: « a » is not « à ».
_ONCE = re.compile(
    r"\b(?:quand(?! m[eê]me)|lorsque?)\b(?:.*\b(?!(?:(?:ja|d[ée]sor)?m|mauv|fr|vr|[ée]p|fran[çc]|angl|souh|l|p|s|v|t|h"
    r"|(?:par|satis|bien)?f|ess|effr|(?:re)?n|(?:d[ée])?pl|(?:re)?conn|(?:ap|dis)?par|(?:abs|dis|at|ex|por)?tr)"
    r"ai(?:s|t|ent)\b)\w+ai(?:s|t|ent)\b"
    r"|.*,.*(?<!y )\b(?:ai|a|ont|avons) (?:\w+é|compris|perdu|fini|appris|choisi|senti|voulu)\b)",
    re.I,
)
_OR = re.compile(r"\b(?:ou bien|ou encore|ou|soit)\b")  # not on folded text: « où » is another word
_THIRD = re.compile(
    r"\btrois (?:cas|voies|possibilites|options|choix)\b|\btroisieme (?:cas|voie|option)\b"
    r"|\bautre (?:cas|option|voie|choix)\b|\bil se peut aussi\b"
)
_BOTH = re.compile(
    r"\bsans que l'un\b|\bl'un n'(?:empeche|exclut)\b|\bles deux (?:peuvent|se peuvent|vont)\b|\bou les deux\b"
    r"|\bpeuvent (?:se joindre|aller ensemble)\b|\bpeut-etre les deux\b"
)
_TWO = re.compile(r"\bde deux choses l'une\b|\bl'un (?:ou l'autre|des deux est)\b|\bdeux (?:cas|branches|voies)\b")
_LIKEWISE = re.compile(r"\bde meme\b|\bla meme chose\b|\baussi\b|\bpareil\b|\bnon plus\b|\btout autant\b")
_GOES_ON = re.compile(r"\b(?:encore|toujours|idem)\b|^(?:ce |c'|ca )")  # it may say the other branch's end again
_IT_IS = re.compile(r"^(?:c'est|ce sera|ca|cela|il en (?:va|est)|de meme|pareil|idem|la meme chose)\b")
_LIST_OF_THREE = re.compile(r",\s+(?!(?:ou|soit)\b)[^,;:]+\s(?:ou|soit)\b")  # « démissionner, mentir ou avouer »
_THE_CASE = re.compile(r"^(?:c'est|tel est) le cas$")
_RULED_OUT = re.compile(r"\b(?P<which>premier|seconde?|deuxieme)e? cas (?:est exclu|est ecarte|ne tient pas)")
_QUOTED = re.compile(r"«\s*([^»]+?)\s*»")
_ALL = re.compile(r"^(?:tout|toute|tous|toutes|chaque)\b")
_NONE = re.compile(r"^(?:nul|nulle|aucun|aucune)\b")
_SOME = re.compile(r"^(?:quelque|certaine?s?)\b")
_FALSE_LAW = re.compile(
    r"\b(?:il est faux|c['’]est faux|c['’]?(?:est)? ?pas vrai|il n['’]est pas vrai) qu(?:e |['’])"
    r"(?P<law>(?:tout|toute|tous|toutes|chaque) [^.,;?]+)"
    r"|«\s*(?P<quoted>tout[^»]+?)\s*»,? (?:est|étant|c['’]est) (?:fausse|faux)",
    re.I,
)
_NONE_CLAUSE = re.compile(
    r"(?:\bqu(?:e |['’])|\bdonc |\b(?:il )?(?:n['’])?y ?a |« ?)(?P<none>(?:nul|nulle|aucune?) [^.,;?»]+)",
    re.I,
)
_SENSES = re.compile(
    r"(?:(?::|\bveut dire|\bse dit (?:de|du|d['’])|\bdésigne|\bil y a|\bdistinguons)\s*)(?P<first>[^.:;«»]+?)"
    r",? (?:ou bien|ou|et) (?P<second>[^.:;«»]+?)\s*[.;]",
    re.I,
)
_HOLDS = re.compile(
    r"(?:\bvaut|\bconvient|\bmarche|(?<!pas )(?<!plus )\bvraie?)\s+(?:(?:que|seulement|uniquement)\s+|qu['’])?"
    r"(?:pour|à|au|aux|de|du|des|dans)\s+(?P<sense>[^.,;?!]+)",
    re.I,
)
_ONLY_THAT = re.compile(r"\bseule? l[ea] (?P<which>premi\w+|second\w*|deuxi\w+)(?: sens)? (?:vaut|convient)", re.I)
_WHICH = re.compile(r"^(?:l[ea] )?(?P<which>premi|second|deuxi)\w*", re.I)
_IMPOSSIBLE = re.compile(
    r"\b(?:ce qui|cela|ca|on|ces? \w+) (?:me |se )?contredi\w+"
    r"|\b(?:ce qui est|c'est) (?:donc )?(?:absurde|contradictoire)"
)
_WONDERS = re.compile(  # « je suppose que », « mon prof imagine que »: no supposition to reason from
    r"(?<!l'on )\b(?!et |mais |donc |or |alors |maintenant )\w+ (?:suppose|supposes|imagine|imagines|admets)\b"
)
_PROVES = re.compile(r"\bpar l'absurde\b|\bpreuve\b|\bprouve\b|\bsuffit\b|\breduction\b")
_NO_LAW = re.compile(
    r"^(?:tout(?:e|es)?|tous|chaque) (?:l'heure|a |d'|seule?|les deux|la journee|ce qui)"
    r"|\b(?:sauf|presque|n'est cense)\b|^(?:tout|tous|toute|toutes|chaque)\b.*\bn(?:e |')"
)
_LAW_OF = re.compile(
    r"^(?:tout(?:e|es)?|tous|chaque|nul(?:le)?|aucune?)(?: (?:les?|la|mes|ma|mon|ses|nos|ces|ce))? (?P<noun>\w+)"
)
_MAY = re.compile(r"\b(?:doi\w+|peu\w+)")
_TWO_SENSES = re.compile(
    r"\b(?:deux|plusieurs|premier|second) (?:sens|facons)\b|\bse dit\b|\bdistin(?:guons|ction)\b|\bau sens\b"
    r"|\ben un sens\b|\bl'autre sens\b|\bveut dire\b"
)
_BOTH_SIDES = re.compile(r"\b(?:et|mais)\b")
_ONLY_IF = re.compile(r"\b(?:que|uniquement|seulement)$", re.I)
_POINTS_AT_ONE = re.compile(r"(?:celle|celui|ceux|celles)\b")
_SUPPOSES = re.compile(r"\b(?:suppos\w+|hypothese)\b")  # « imagine une poupée » asks for no reductio
_OF_TERMS = re.compile(r"» contredi|\b(?:opposition|oppose|identi\w+|analogie|distinction|causalite|induction)\b")


_WORDS: dict[str, Any] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
# A rule that is denied or doubted as a whole: « il est faux que si on est riche, on est heureux ».
_NO_RULE = re.compile(
    r"\b(?:faux|absurde|doute|nie|pas (?:vrai|sur|certain|clair|dit)|(?:crois|pense) pas)\b[^.;:]{0,25}?"
    r"\b(?:que |qu')(?:si\b|s'ils?\b|quand\b|soit\b|ou\b)"
)
_GIVEN = re.compile(r"\b(?:si|sachant|puisque|quand) ", re.I)  # « si « Tout A est B » est faux, que vaut… ? »
_ENDINGS = frozenset(("", "s", "x", "e", "t", "es", "nt", "ent"))
_COPULA = re.compile(r"\b(?:est|sont|soit|soient) (?P<predicate>.+)")
_ELSE = re.compile(r"\b(?:sinon|autrement)\b")  # « S'il pleut, je reste, sinon je sors » is two rules


@dataclass(frozen=True)
class Inference:
    """What the premises of a message amount to.

    Attributes:
        scheme: Id of the scheme whose form they have.
        outcome: Whether `clause` follows or is false; "open" where it seems to follow and does not, "open_contrary"
            where its contrary seems to; "limited" where it holds in one sense only.
        clause: In the pupil's words, as it stands in a premise.
        of: The sense in which it holds, where it is limited.
    """

    scheme: str
    outcome: Outcome
    clause: str
    of: str = ""

    @property
    def line(self) -> str:
        """What a model is told, in French.

        >>> infer("Si tu lis, alors tu sais. Or tu sais. Donc tu lis ?").line
        'Schéma : modus ponens. Ne suit pas : « tu lis ».'
        """
        return f"Schéma : {self._name}. {_SAID[self.outcome].format(of=self.of)} : « {self.clause} »."

    @property
    def spoken(self) -> str:
        """What the philosopher says where the model is too small to say it: conclusion, reason, question.

        >>> infer("Si Tom lit, alors Tom sait. Or Tom lit.").spoken.partition(" Ton")[0]
        "Donc, d'après tes prémisses : « Tom sait »."
        """
        said = _WORDS[self.outcome]
        says = said["says"].format(clause=self.clause, of=self.of)
        why = said.get("why", "").format(name=self._name, form=get_scheme(self.scheme).form)
        asks = said["asks"][zlib.crc32(self.clause.encode()) % len(said["asks"])]
        return f"{says} {why or _WORDS['reasons'][self.scheme]} {asks}"

    @property
    def _name(self) -> str:
        return get_scheme(self.scheme).name.lower().partition(" (")[0]


def infer(text: str) -> Inference | None:
    """Return what follows from the premises of a message, or None where it sets out none, or none that is plain.

    >>> infer("Si la joie grandit, alors la force grandit. Or la force ne grandit pas.")
    Inference(scheme='MT', outcome='false', clause='la joie grandit', of='')
    >>> infer("Si je suis libre, je suis responsable. Mais suis-je libre ?") is None
    True
    """
    if len(text) > _MOST_CHARS:
        return None
    found = clauses(punctuated(text))
    if len(found) > _MOST_CLAUSES or any(one.condition and _NO_PREMISE.search(fold(one.text)) for one in found):
        return None
    if any(not one.bare and _NO_RULE.search(fold(one.text)) for one in found):
        return None
    if any(one.condition and _ONCE.search(one.text) for one in found):
        return None
    given = [one for one in found if not one.concludes]
    if any(one.condition and _OR.search(" ".join(one.condition).lower()) for one in given):
        return None
    if any(one.condition and _ELSE.search(fold(one.condition[1])) for one in given):
        return None
    supposes = any(supposed(one.text) and _SUPPOSES.search(fold(one.text)) for one in found)
    conditions = [] if supposes else conditions_of(given)
    facts, held = facts_of(given), [fact_of(one.text) for one in given if one.bare]
    pairs = [one for one in given if one.either]
    folded = fold(text)
    ended = any(one.concludes and one.bare for one in found)  # the pupil has drawn a conclusion
    if len(conditions) == 2:
        return _two_conditions(conditions, pairs, facts, folded, ended)
    if len(conditions) == 1:
        return None if pairs else _one_condition(conditions[0], facts)
    if len(pairs) == 1 and not conditions:
        return _alternative(pairs[0], facts, folded, ended)
    if conditions or pairs:
        return None
    return _distinction(text, folded) or _opposition(text, facts, held, folded) or _absurd(found, folded)


def _two_conditions(
    conditions: Sequence[tuple[str, str]], pairs: Sequence[Clause], facts: Sequence[Fact], folded: str, ended: bool
) -> Inference | None:
    """A dilemma, or a chain."""
    (p, r), (p2, r2) = conditions
    if any(_settles(fact, one) for fact in facts for one in (p, p2)):
        return None  # more follows than the form of both says
    sides = [side for pair in pairs for side in pair.either or ()]
    if sides and not all(not says_something(one) or any(shared(one, side) for side in sides) for one in (p, p2)):
        return None  # the branches are not those of the alternative
    third = bool(_THIRD.search(folded))
    either = any(_OR.search(fact.text.lower()) and (shared(fact.text, p) or shared(fact.text, p2)) for fact in facts)
    if pairs or third or either or _TWO.search(folded) or "dilemme" in folded:
        third = third or any(len(_OR.findall(one.text.lower())) > 2 for one in pairs)
        third = third or any(_LIST_OF_THREE.search(fact.text) for fact in facts)
        two = bool(pairs) or either or bool(_TWO.search(folded)) or (linked(p, p2) and is_negated(p) != is_negated(p2))
        two = two and (either or not ended)  # « donc… » of the pupil's own: a third case may have been forgotten
        return _dilemma(r, r2, facts, third=third, two=two)
    for (p, q), (q2, r) in permutations(conditions):
        if likeness(p, q2) >= _SAME and is_negated(p) == is_negated(q2):
            if (p, q) != conditions[0] or likeness(q, q2) >= _SAME:
                return None
            return Inference("SH", "open", _chain(q, conditions[1][1]))
        if _alike(q, q2) and not _alike(p, r):
            known = content(p) | content(q)
            # It is what q says that q2 says again, and not its subject only: « le peuple souffre », « domine ».
            chained = has(content(q2), _last(q)) and all(has(known, one) for one in content(q2))
            return Inference("SH", "follows", _chain(p, r)) if chained else None
    return None


def _settles(fact: Fact, branch: str) -> bool:
    """Whether a fact asserts a branch or rules it out, and does not name both."""
    names_both = _OR.search(fact.text.lower()) or _QUOTED.search(fact.text) or _TWO.search(fold(fact.text))
    return not names_both and fact.says(branch) != 0 and covered(branch, fact.text) == 1


def _dilemma(r: str, r2: str, facts: Sequence[Fact], *, third: bool, two: bool) -> Inference | None:
    """Two branches that end alike, or do not.

    Args:
        r: Where the first ends.
        r2: Where the second ends; « pareil » says the same again.
        facts: What is asserted beside them.
        third: Whether there may be another case.
        two: Whether it is said, or plain, that one of the two is the case.
    """
    if third:
        return Inference("DI", "open", r)
    told = fold(r2)
    likewise = bool(_LIKEWISE.search(told))
    # « aussi » says the same again where it adds no word: « je perds aussi mon honneur » is another loss than a friend.
    rest = _LIKEWISE.sub("", told)
    same = bool(stems(rest)) and all(has(content(r), one) for one in content(rest))
    same = same and is_negated(rest) == is_negated(r)
    if (_alike(r, r2) and likeness(r, r2) >= _ONE_END) or (likewise and (same or _IT_IS.match(told))):
        return Inference("DI", "follows", r) if two else None
    # « les passagers s'inquiètent… son silence les inquiète »: the same end in other words
    again = likewise or has(content(r2), _last(r)) or bool(_GOES_ON.search(told))
    return Inference("DI", "open", r) if likeness(r, r2) <= _APART and not again and len(facts) <= 1 else None


def _last(clause: str) -> str:
    """Return the stem of a clause's last content word, mostly of what it says of its subject; "" where it has none."""
    words = [one for word in re.findall(r"[a-z]+", fold(clause)) for one in stems(word) & content(clause)]
    return words[-1] if words else ""


def _chain(p: str, r: str) -> str:
    """Join two clauses: « s'il pleut, alors on dort »."""
    return f"s'{p}, alors {r}" if re.match(r"ils?\b", p) else f"si {p}, alors {r}"


def _alike(one: str, other: str) -> bool:
    if likeness(one, other) < ALIKE or not linked(one, other) or numbers(one) != numbers(other):
        return False
    return in_order(one, other) and is_negated(one) == is_negated(other)


def _one_condition(condition: tuple[str, str], facts: Sequence[Fact]) -> Inference | None:
    """Modus ponens and tollens, and the two fallacies that look like them."""
    p, q = condition
    if _ONLY_IF.search(q):  # « je ne réussis que si je travaille » is the converse
        return None
    if _THE_CASE.match(fold(p)):  # « P. Or, quand c'est le cas, Q. »
        sure = bool(facts) and is_sure(facts[0]) and not weakened(facts[0], "")
        return Inference("MP", "follows", q) if sure else None
    met = about(facts, p, q)
    if met is None:
        return None
    fact, side = met
    says = fact.says(condition[side])
    if side == 0 and _BOTH_SIDES.search(fold(p)) and covered(p, fact.text) < 1:
        return None  # « si P et Q », and P alone is granted
    if side == 0:
        return Inference("MP", "follows", q) if says > 0 else Inference("MT", "open_contrary", q)
    return Inference("MP", "open", p) if says > 0 else Inference("MT", "false", p)


def _alternative(pair: Clause, facts: Sequence[Fact], folded: str, ended: bool) -> Inference | None:
    p, q = pair.either or ("", "")
    third = bool(_THIRD.search(folded)) or len(_OR.findall(pair.text.lower())) > 2
    if out := _RULED_OUT.search(folded):
        rest = q if out["which"] == "premier" else p
        return Inference("SD", "open" if third else "follows", rest)
    met = about(facts, p, q)
    if met is None:
        return None
    fact, side = met
    rest = (q, p)[side]
    if fact.says((p, q)[side]) > 0:
        return Inference("SD", "open_contrary", rest) if _BOTH.search(folded) else None
    if third:
        return None if "ou les deux" in folded else Inference("SD", "open", rest)
    if any(not has(content(pair.text), one) for one in content(fact.text)):
        return None  # « la mère de Léa », « je ne veux pas »: it is another thing that is denied
    return None if ended else Inference("SD", "follows", rest)  # a third case may have been forgotten


def _distinction(text: str, folded: str) -> Inference | None:
    """A thesis that holds in one of two senses."""
    if not _TWO_SENSES.search(folded):
        return None
    theses = [one for one in _QUOTED.findall(text) if len(one.split()) > 2]  # shorter ones are the word itself
    if not theses:
        return None
    holds, only = _HOLDS.search(text), _ONLY_THAT.search(text)
    if only:
        sense: str | None = _sense(text, only["which"])
        thesis = theses[-1]
    elif holds and not re.match(r"\s*\?", text[holds.end() :]):
        before = [one for one in theses if text.find(one) < holds.start()]
        told = _QUOTED.search(holds["sense"])
        named = _WHICH.match(holds["sense"])
        sense = told[1] if told else _sense(text, named["which"]) if named else holds["sense"].strip()
        if not before:
            return None
        thesis = before[-1]
    else:
        return None
    return Inference("DS", "limited", thesis, sense) if sense and sense != thesis else None


def _sense(text: str, which: str) -> str | None:
    """Return the first or the second of two senses that a text tells apart."""
    found = _SENSES.search(text)
    return found["first" if fold(which).startswith("premi") else "second"].strip() if found else None


def _opposition(text: str, facts: Sequence[Fact], held: Sequence[Fact], folded: str) -> Inference | None:
    """One case against a law: the law falls. Or two propositions of which one is the contradictory of the other."""
    false, none = _FALSE_LAW.search(text), _NONE_CLAUSE.search(text)
    law_is = (false["law"] or false["quoted"]) if false else ""
    if none and linked(none["none"], law_is):  # both « all » and « none » may be false
        return Inference("OP", "open", none["none"].strip())
    quoted = _QUOTED.findall(text)
    if not quoted:
        return None if _THIRD.search(folded) or "absurde" in folded else _against_a_law(facts, held)
    laws = [one for one in quoted if _ALL.match(fold(one)) or _NONE.match(fold(one))]
    if len(laws) != 1 or len(quoted) > 2 or "induction" in folded:
        return None
    [law] = laws
    others = [one for one in quoted if one != law]
    if others and not (_SOME.match(fold(others[0])) and is_negated(others[0]) != is_negated(law)):
        return None
    stated = " ".join(one for one in split_sentences(text) if not one.rstrip(" »").endswith("?") or _GIVEN.search(one))
    told = fold(re.sub(r"«[^»]*»", lambda one: "LAW" if one[0].strip("« »") == law else "CASE", stated)).lower()
    if found := re.search(r"\b(law|case)\b(?: \w+){0,3}? (?:est|etant|soit) (vraie?|fausse|faux)\b", told):
        of_law, true = found[1] == "law", found[2].startswith("vrai")
        if not others:
            return None
        return Inference("OP", "false" if true else "follows", others[0] if of_law else law)
    given = bool(others) or "opposition" in folded
    cases = [one for one in facts if not _QUOTED.search(one.text) and _denies(one, law, given=given)]
    return Inference("OP", "false", law) if len(cases) == 1 else None


def _denies(case: Fact, law: str, *, given: bool = False) -> bool:
    """Whether a fact denies of one case what a law says of all, and just that.

    Args:
        case: The fact.
        law: « Tout A est B ».
        given: Whether the pupil says that the case is one of the law's: else it has to bear the name of its kind.
    """
    of = _LAW_OF.match(fold(law))
    if of is None or case.says(law) >= 0 or not is_sure(replace(case, denied=False)) or weakened(case, law):
        return False
    said, told = content(case.text), fold(case.text)
    ends = (
        _COPULA.search(fold(law)) if given else None
    )  # « tout acte honnête est moral »: of the case, « moral » is denied
    due = content(ends["predicate"] if ends else law.partition(" ")[2]) - stems(of["noun"])
    if not all(any(_is_form_of(one, word) for one in said) for word in due) or _adds(told, content(law), due):
        return False
    subject = stems(told.split(" n")[0])
    return given or bool(_POINTS_AT_ONE.match(told)) or any(has(subject, one) for one in stems(of["noun"]))


def _adds(told: str, law: frozenset[str], due: frozenset[str]) -> bool:
    """Whether what is denied has words that a law has not: « pas le droit de voter » leaves other rights.

    Words before the denial name the case: « le vin de messe ».

    Args:
        told: What is said of the case, folded.
        law: Stems of the whole law.
        due: Stems of what it says of its subject: without a « ne », the denial begins with the first of them.
    """
    begins = re.search(r"\bn(?:e |')", told)
    for word in re.finditer(r"[a-z]+", told):
        if begins is None and any(_is_form_of(one, other) for one in stems(word[0]) for other in due):
            begins = word
    if begins is None:
        return False
    denied = content(told[begins.start() :].partition(",")[0]) - stems("plus")
    return any(not has(law, one) and not any(_is_form_of(one, other) for other in law) for one in denied)


def _is_form_of(one: str, other: str) -> bool:
    """Whether two stems are of one word: « cherche », « cherchent »; « mort » and « mortel » are two."""
    short, long = sorted((one, other), key=len)
    return long.startswith(short) and long[len(short) :] in _ENDINGS


def _against_a_law(facts: Sequence[Fact], held: Sequence[Fact]) -> Inference | None:
    """« Tous les X… Or ce X ne… pas »: one law and one fact that denies it of a case.

    Args:
        facts: What is asserted outright.
        held: What is said at all: « on soutient que tout X… ».
    """
    laws = [one for one in held if _ALL.match(fold(one.text)) or _NONE.match(fold(one.text))]
    cases = [one for one in facts if one not in laws and stems(one.text)]
    if len(laws) != 1 or laws[0].denied:
        return None
    law = Fact(laws[0].text.partition(",")[0])
    against = [one for one in cases if likeness(one.text, law.text) >= ALIKE and _denies(one, law.text)]
    if len(against) != 1 or _NO_LAW.search(fold(law.text)):
        return None
    if _MAY.search(fold(law.text)) and not _MAY.search(fold(against[0].text)):
        return None
    return Inference("OP", "false", law.text)


def _same_words(one: str, other: str) -> bool:
    """Whether one clause has every word of the other: « ses actes » and « ses désirs » make two of them."""
    a, b = (
        content(re.sub(r"\b(?:quelque chose|quelqu['’]un|personne|encore|déjà)\b", "", text)) for text in (one, other)
    )
    return bool(a and b) and (all(has(b, word) for word in a) or all(has(a, word) for word in b))


def _absurd(found: Sequence[Clause], folded: str) -> Inference | None:
    """A supposition, and whether a contradiction comes of it."""
    if _OF_TERMS.search(folded) or "en meme temps" in folded:
        return None
    for place, one in enumerate(found):
        clause = supposed(one.text)
        if clause is None or ("absurde" not in folded and not _SUPPOSES.search(fold(one.text))):
            continue
        if "«" not in one.text and _WONDERS.search(fold(one.text)):
            continue
        if clause.startswith(",") or "hypothese" in fold(clause):
            return None
        quoted = _QUOTED.search(clause)
        p, after = quoted[1] if quoted else clause, [fact_of(two.text) for two in found[place + 1 :]]
        if any(two.denied or _IMPOSSIBLE.search(fold(two.text)) for two in after):
            return Inference("RA", "false", p)
        for x, y in combinations(after[:4], 2):
            opposed = in_order(x.text, y.text) and is_negated(x.text) != is_negated(y.text)
            if opposed and _same_words(x.text, y.text):
                return Inference("RA", "false", p)
        if len(after) == 1 and " et " not in after[0].text and stems(after[0].text) and _PROVES.search(folded):
            return Inference("RA", "open_contrary", p)
        return None
    return None
