"""The Maïeuthon: five exchanges on one question of the bac, read in words. Knows French and schemes; calls no model.

After each exchange a `Remark` says what stands in the pupil's message: a thesis, a problem, a concept, a reason, and
what is new since before. It is read from the form of the sentences alone, in the manner of Tozzi's three capacities
(problématiser, conceptualiser, argumenter): whether the pupil is right, or agrees with the philosopher, counts for
nothing. No mark, no sum, nothing kept. A model's evaluation, where a tier gives one, takes the place of what was read.

Source of the three capacities: M. Tozzi, Rue Descartes 73, 2012, doi:10.3917/rdes.073.0022.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from dialogue.french import fold, plain, split_sentences, stems

N_EXCHANGES = 5
Skill = Literal["problematiser", "conceptualiser", "argumenter"]
Level = Literal["oui", "en_partie", "non"]
Delta = Literal["debut", "progres", "stable"]
Advice = Literal["these", "problematiser", "conceptualiser", "argumenter", "objection"]
Title = Literal["voyage", "distinction", "question", "batisseur", "resistance", "curiosite"]
SKILLS: tuple[Skill, ...] = get_args(Skill)
_FIRST: tuple[Skill, ...] = ("argumenter", "conceptualiser", "problematiser")  # a reason first: the others grow on it
LEVELS: tuple[Level, ...] = ("non", "en_partie", "oui")  # from less to more; compared, never added up
_SHORT_WORDS, _LONG_WORDS = 4, 45  # of a sentence that says something and can be quoted

_ASSERTS = re.compile(
    r"\b(?:je (?:pense|crois|dirais|trouve|soutiens|maintiens|considere)|selon moi|pour moi|a mon avis|d'apres moi"
    r"|je ne (?:le )?(?:pense|crois|dirais)|je ne trouve pas qu\w*|je n'y crois|il me semble|donc|oui|non|en fait)\b"
)
_DISSENTS = re.compile(  # less than an assertion, which says what is held instead
    r"\bje (?:ne )?(?:suis (?:\w+ )?pas (?:(?:\w+ ){0,2}d'accord|de \w+ avis)|partage pas)\b"
)
_REPORTS = re.compile(  # what others hold, with no word of the pupil's on it; « la raison dit que… » is his own thesis
    r"^(?:(?:et|or|certes|alors|bah|ben|bon|deja|souvent|parfois|bien sur),? )*"
    r"(?:(?!(?:je|qui|chacun|personne|rien)\b)\w+|(?:d'|les )(?:autres|gens|philosophes)|la plupart|tout le monde"
    r"|(?:certaine?s|plusieurs|beaucoup de|la plupart des|mon|ma|mes) \w+(?: de \w+)?)(?: (?:me|nous))?"
    r" (?:dit|dis(?:ent|ait|aient)|pens(?:e|ent|ait|aient)|croi(?:t|ent)|affirm\w+|pretend\w*|soutien\w+)"
    r"(?: (?:souvent|parfois|aussi|tous|\w+ment))? qu(?:e |')"
    r"(?!.*(?:\b(?:je|j'|moi|mon|ma|faux|tort|trompent?)\b|, c'est une (?:illusion|erreur)\b))"
)
_SAYS_NOTHING = re.compile(  # of the subject: a request, or that one does not know
    r"^(?:(?:et|alors|bah|ben|bon|euh|mais|ok|d'accord|stp|s'il te plait),? )*"
    r"(?:donne|dis|explique|montre|raconte|aide|continue|reformule|repete|precise|developpe|parle)z?\b"
    r"|\b(?:sais|vois|comprends) (?:pas|plus|rien)"
    r"(?: (?:du tout|trop|vraiment|bien|quoi|ce|comment|pourquoi|si|ou)\b|\W*$)"
    r"|\bai (?:rien|pas) compris\b|\b(?:pas|aucune?) idee\W*$"
)
_TENSION = re.compile(
    r"\b(?:mais|pourtant|cependant|toutefois|neanmoins|d'un autre cote|d'un cote|en meme temps|alors que|tandis que"
    r"|au contraire|(?:ca|cela|tout) depend|a condition|sauf si|paradox\w*|contradict\w*|malgre|meme si)\b"
)
_ASKS = re.compile(
    r"\b(?:est-ce que|pourquoi|comment|peut-on|faut-il|a-t-on|sommes-nous|suis-je|qu'est-ce|comment savoir|et si)\b"
)
_DEFINES = re.compile(
    r"\b(?:c'est-a-dire|veut dire|signifie|defini\w*|j'appelle|on appelle|j'entends par|au sens (?:de|ou)|le mot"
    r"|la notion|consiste a|revient a)\b"
)
_DISTINGUISHES = re.compile(
    r"\b(?:distingu\w*|distinction|differen(?:ce|t|te|ts|tes)|ne pas confondre|confond\w*|pas la meme chose|autre chose"
    r"|deux sens|plusieurs sens|plutot que|a la difference|contrairement a|d'une part)\b"
)
_COPULA = re.compile(r"\b(?:c'est|ce n'est pas|est (?:de|le|la|un|une|quand|ce))\b")
_REASON = re.compile(
    r"\b(?:parce qu\w*|car|puisque|en effet|donc|c'est pourquoi|ainsi|par consequent|alors|du coup|a cause d\w*)\b"
)
_IF_THEN = re.compile(r"\bs(?:i\b|'ils?\b)[^.?!]{3,80}(?:,|\balors\b)")
_EXAMPLE = re.compile(
    r"\b(?:par exemple|comme quand|imagin\w*|prenons|quand je|quand on|la fois ou|un jour"
    r"|mon (?:frere|ami|pere)|ma (?:soeur|mere))\b"
)
_REFUSES = re.compile(
    r"\b(?:pas d'accord|je ne (?:crois|pense) pas|je refuse|je conteste|objection|au contraire|non)\b"
)
_TAKES_BACK = re.compile(  # « finalement, je reste sur ma position » does not
    r"^(?!.*\bje (?:reste|maintiens|persiste|garde)\b).*\b(?:finalement|au debut)\b"
    r"|\b(?:je change|j'ai change|je nuance|pas seulement)\b"
)


@dataclass(frozen=True)
class Remark:
    """What stands in one message of the pupil, in words.

    Attributes:
        these: The sentence that takes a position, in the pupil's own words; empty when none does.
        problematiser: Whether a tension or a question of the pupil's own is put.
        conceptualiser: Whether a word is defined, or two senses kept apart.
        argumenter: Whether a reason or a case is given.
        delta: "progres" when something stands here that no message had before; "debut" for the first one.
        gained: Which capacities that is.
        suite: What can be tried next.
        conseil: The same in a model's words; empty when no model was asked.
    """

    these: str
    problematiser: Level
    conceptualiser: Level
    argumenter: Level
    delta: Delta
    gained: tuple[Skill, ...]
    suite: Advice
    conseil: str = ""

    def level(self, skill: Skill) -> Level:
        """How far one capacity shows."""
        levels: Mapping[Skill, Level] = {
            "problematiser": self.problematiser,
            "conceptualiser": self.conceptualiser,
            "argumenter": self.argumenter,
        }
        return levels[skill]


@dataclass(frozen=True)
class Recap:
    """What a whole session shows.

    Attributes:
        theses: The pupil's positions in order, each once, in his own words.
        schemes: Ids of the schemes that the philosopher reasoned by, in order, each once.
        best: The pupil's sentence that carries most: empty when nothing could be quoted.
        to_try: One thing for the next time.
        title: Of the path that was taken; agreeing earns none.
        gained: The capacities that showed at least once.
    """

    theses: tuple[str, ...]
    schemes: tuple[str, ...]
    best: str
    to_try: Advice
    title: Title
    gained: tuple[Skill, ...]


def _sayings(text: str) -> list[str]:
    """Return the sentences that say something: neither too short nor too long, no request, no « je ne sais pas »."""
    middling = [one for one in split_sentences(text) if _SHORT_WORDS <= len(one.split()) <= _LONG_WORDS]
    return [one for one in middling if _says(plain(one))]


def _says(spelled: str) -> bool:
    return _ASSERTS.search(spelled) is not None or _SAYS_NOTHING.search(spelled) is None


def thesis_of(text: str) -> str:
    """Return the sentence of a message that takes a position, or an empty text.

    >>> thesis_of("Hum. Je pense que la liberté demande de savoir pourquoi on agit. Tu vois ?")
    'Je pense que la liberté demande de savoir pourquoi on agit.'
    """
    said = [one for one in _sayings(text) if not one.rstrip().endswith("?")]
    return min((one for one in said if not _reported(plain(one))), key=_rank, default="")


def _reported(spelled: str) -> bool:
    """Whether a sentence says what others hold: it may be the very thesis that the pupil rejects."""
    return _REPORTS.match(spelled) is not None and _TENSION.search(spelled) is None


def _rank(sentence: str) -> int:
    spelled = plain(sentence)
    return 0 if _ASSERTS.search(spelled) else 1 if _DISSENTS.search(spelled) else 2


def _problem(text: str, folded: str) -> Level:
    own = any(one.rstrip().endswith("?") and len(one.split()) >= _SHORT_WORDS for one in split_sentences(text))
    tension = _TENSION.search(folded) is not None
    if tension and (own or len(_TENSION.findall(folded)) > 1):
        return "oui"
    return "en_partie" if tension or own or (_ASKS.search(folded) and "?" in text) else "non"


def _concept(folded: str) -> Level:
    if _DISTINGUISHES.search(folded) or len(_DEFINES.findall(folded)) > 1:
        return "oui"
    if _DEFINES.search(folded):
        return "oui" if _COPULA.search(folded) else "en_partie"
    return "en_partie" if _COPULA.search(folded) else "non"


def _argument(folded: str) -> Level:
    signs = [_REASON.search(folded), _IF_THEN.search(folded), _EXAMPLE.search(folded)]
    given = sum(sign is not None for sign in signs)
    return "oui" if given > 1 or len(_REASON.findall(folded)) > 1 else "en_partie" if given else "non"


def _weakest(remark: Remark) -> Advice:
    if not remark.these:
        return "these"
    for skill in _FIRST:
        if remark.level(skill) == "non":
            return skill
    for skill in _FIRST:
        if remark.level(skill) == "en_partie":
            return skill
    return "objection"


def remark(text: str, before: Sequence[Remark] = ()) -> Remark:
    """Read one message of a pupil.

    Args:
        text: The message.
        before: The remarks on the messages before it, oldest first.

    >>> one = remark("Je pense que non, parce que si je mens, alors plus personne ne me croit.")
    >>> one.argumenter, one.delta
    ('oui', 'debut')
    """
    folded = plain(text)
    long_enough = len(folded.split()) >= _SHORT_WORDS
    found = Remark(
        these=thesis_of(text),
        problematiser=_problem(text, folded) if long_enough else "non",
        conceptualiser=_concept(folded) if long_enough else "non",
        argumenter=_argument(folded) if long_enough else "non",
        delta="debut",
        gained=(),
        suite="these",
    )
    return _compared(replace(found, suite=_weakest(found)), before)


def _compared(found: Remark, before: Sequence[Remark]) -> Remark:
    if not before:
        return found
    gained = tuple(
        skill
        for skill in SKILLS
        if LEVELS.index(found.level(skill)) > max(LEVELS.index(old.level(skill)) for old in before)
    )
    return replace(found, gained=gained, delta="progres" if gained else "stable")


def from_evaluation(data: Mapping[str, object], read: Remark, before: Sequence[Remark] = ()) -> Remark:
    """Return a model's accepted evaluation in the place of what was read; a field that it leaves open stays as read.

    The thesis stays in the pupil's own words: a restatement between « » would be put into somebody's mouth. Where none
    was read and the model sees one, its quotation of the pupil stands.

    Args:
        data: As `dialogue.evaluation.schema_for` describes it.
        read: What `remark` read in the same message.
        before: The remarks before it.
    """
    levels = {skill: data[skill] for skill in SKILLS if data.get(skill) in LEVELS}
    seen, quoted, advice = (_words(data.get(name)) for name in ("these", "preuve", "suite"))
    told = replace(
        read,
        these=read.these or (quoted if seen else ""),
        conseil=advice,
        **levels,  # type: ignore[arg-type]
    )
    return _compared(told, before)


def _words(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def _carries(sentence: str) -> tuple[int, int]:
    folded = plain(sentence)
    signs = (_DISTINGUISHES, _TENSION, _REASON, _IF_THEN, _EXAMPLE, _DEFINES, _ASSERTS)
    return sum(sign.search(folded) is not None for sign in signs), len(stems(sentence))


def best_sentence(messages: Sequence[str]) -> str:
    """Return the sentence of the pupil that carries most: ties go to the one with more to say; empty when none can."""
    said = [one for text in messages for one in _sayings(text)]
    return max(said, key=_carries, default="")


def _title(messages: Sequence[str], remarks: Sequence[Remark], theses: Sequence[str]) -> Title:
    """By the path: where the thesis moved, what was distinguished, asked, built, resisted."""
    full = {skill: sum(one.level(skill) == "oui" for one in remarks) for skill in SKILLS}
    if _moved(theses):
        return "voyage"
    most = max(SKILLS, key=lambda skill: full[skill])
    refusals = sum(_REFUSES.search(plain(text)) is not None for text in messages)
    if refusals * 2 > len(messages) and full["argumenter"]:
        return "resistance"
    if not full[most]:
        return "curiosite"
    titles: Mapping[Skill, Title] = {
        "problematiser": "question",
        "conceptualiser": "distinction",
        "argumenter": "batisseur",
    }
    return titles[most]


def _moved(theses: Sequence[str]) -> bool:
    """Whether the last position says that it takes something back."""
    return len(theses) > 1 and _TAKES_BACK.search(fold(theses[-1])) is not None


def recap(messages: Sequence[str], remarks: Sequence[Remark], schemes: Sequence[str] = ()) -> Recap:
    """Look back on a session.

    Args:
        messages: The pupil's, oldest first.
        remarks: One for each.
        schemes: Ids of the schemes of the answers, in order.
    """
    theses = tuple(dict.fromkeys(one.these for one in remarks if one.these))
    gained = tuple(skill for skill in SKILLS if any(one.level(skill) != "non" for one in remarks))
    return Recap(
        theses=theses,
        schemes=tuple(dict.fromkeys(schemes)),
        best=best_sentence(messages),
        to_try=_to_try(remarks),
        title=_title(messages, remarks, theses),
        gained=gained,
    )


def _to_try(remarks: Sequence[Remark]) -> Advice:
    """What showed least over the whole session."""
    if not any(one.these for one in remarks):
        return "these"
    rare = min(SKILLS, key=lambda skill: sum(LEVELS.index(one.level(skill)) for one in remarks))
    return "objection" if all(one.level(rare) == "oui" for one in remarks) else rare
