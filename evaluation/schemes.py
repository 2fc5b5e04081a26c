"""Whether an answer draws the conclusion that was due. Pure: texts in, a verdict out.

Five conditions, on the sentence of the answer that is nearest to the conclusion: it holds at least `ENOUGH` of the
conclusion's content words (by stem, accents folded), in their order; it is negated as often modulo two, called false or
limited (« ne … que ») as the conclusion is; it is a conditional or an alternative only if the conclusion is one (a
premise said again holds all the words, and concludes nothing); and where nothing follows it says just that: « P is
false » is another thing than « that P does not follow », though both are negated once. « It is false that A is B » says
« A is not B », unless one of the two is about all or none: there the contrary is not the contradictory.

Where the premises are known, a sentence that says one of them again is left out, a word of theirs may not stand in the
place of a word that is due, and a conclusion in half of the words will do. What comes after « puisque » is a reason.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dialogue.french import count_negations, fold, in_order, mood, split_sentences, stems

ENOUGH = 0.6  # share of the conclusion's content words
VAGUE = 0.5  # where the premises are known, of two words at least: right, said more vaguely
AGAIN = 0.8  # of the words of two sentences, those in common: one says the other again

_REASON = re.compile(r",?\s+(?:puisqu(?:e\b|['’])|car\b).*$", re.I | re.S)
_THEREFORE = re.compile(r"^.*?,\s+(?:donc|par conséquent)\s+", re.I | re.S)
_THEN = re.compile(r",\s+alors\b", re.I)
_ANNOUNCES = re.compile(
    r"^(?:oui|non|(?:elle|la premi[èe]re|la seconde) (?:est (?:donc )?fausse|tombe|ne tient pas))\s*:\s+", re.I
)
_QUOTED = re.compile(r"«\s*([^»]+?)\s*»")
_ORDINAL = re.compile(
    r"\bla (?P<which>premi[èe]re|seconde|deuxi[èe]me)(?: des deux)?"
    r"(?: phrases?| propositions?| affirmations?| formules?| thèses?)?\b",
    re.I,
)
_FALLS = re.compile(r"\btombe(?:nt)?\b|\bn(?:e |')(?:tien(?:t|nent) pas|est pas vraie?\b)|\bfaux\b|\bfausses?\b")
_ONLY = re.compile(  # « n'est vrai que de », not « ne peut conclure que tu »: what follows is no statement
    r"\bn(?:e |')((?:(?!\b(?:pas|plus|jamais|rien|aucune?|conclure|dire|savoir)\b)[^.,;:]){1,40}?)\bqu(?:e |')"
    r"(?=(?:d|l)'|(?:de|du|des|le|la|les|un|une|en|a|au|aux|par|pour|dans|sur)\b)"
)
_REFUSES = re.compile(  # on folded text: that something does not follow
    r"\bn(?:e |'(?:en |y )?)(?:\w+ ){0,3}?(?:pas|rien|plus|nullement|aucunement)\b(?: \w+){0,3}? "
    r"(?:conclu\w*|dedui\w*|infer\w*|tirer|affirm\w*|prouv\w*|sui(?:t|vre)|ensui(?:t|vre)|demontr\w*|savoir|dire)\b"
    r"|\b(?:(?:decoul|result|prouv|demontr|autoris|conclu|permet)\w*|(?:s'en)?suit)"
    r" (?:donc |alors |encore )?(?:pas|rien)\b"
    r"|\b(?:rien|aucune? \w+) (?:de cela )?n(?:e |')\w+|\bimpossible de (?:conclure|dire|savoir|deduire)\b"
)
_NONE = re.compile(r"\bnul(?:le)? \w+ (?!ne\b|n')")  # « nulle idée soit claire »: small models lose the « ne »
_LIMITS = re.compile(r"\b(?:seulement|seule?s?|uniquement)\b")
_PRONOUN = re.compile(r"\b(?:elles?|ils|il(?! (?:est|faut|suit|y|s'|en)\b))\b")
_UNIVERSAL = re.compile(r"\b(?:tout|toute|tous|toutes|chaque)\b")
_OF_ALL = re.compile(r"\b(?:tout|toute|tous|toutes|chaque|nul|nulle|aucune?|quelque|certaine?s)\b")


@dataclass(frozen=True)
class Claim:
    """What a sentence says, as far as its words show.

    Attributes:
        words: Stems of its content words.
        negated: Whether it is negated, modulo two; « ne … que » is no negation.
        false: Whether it calls something false.
        limited: Whether it says « ne … que » or « seulement ».
        refused: Whether it says that something does not follow.
    """

    words: frozenset[str]
    negated: bool
    false: bool
    limited: bool
    refused: bool


def claim(text: str) -> Claim:
    """Read a sentence.

    >>> claim("La thèse n'est vraie que du plaisir.").negated, claim("La thèse tombe.").false
    (False, True)
    """
    told, falls = _FALLS.subn(" ", fold(text))
    told, limits = _ONLY.subn(r"\1 seulement ", told)
    words = stems(_LIMITS.sub(" ", told)) | ({"faux"} if falls else set())
    limited, refused = limits > 0 or bool(_LIMITS.search(told)), bool(_REFUSES.search(fold(text)))
    negations = count_negations(told) + len(_NONE.findall(told))
    return Claim(words, negations % 2 == 1, falls > 0, limited, refused)


def premises_of(asked: str) -> list[str]:
    """Return the sentences of an exercise, and what it quotes."""
    found = split_sentences(asked)
    after = [one.partition(" : ")[2] for one in found if " : " in one]  # « Par analogie : … »
    return [*found, *after, *_QUOTED.findall(asked)]


def said_again(sentence: str, premises: Sequence[str]) -> bool:
    """Whether a sentence only says a premise again; one that makes it general does more.

    >>> said_again("Donc les trois chats dorment la nuit.", ["Les trois chats dorment la nuit."])
    True
    >>> said_again("Donc tous les chats dorment la nuit.", ["Trois chats dorment la nuit."])
    False
    """
    said, general = claim(sentence), set(_UNIVERSAL.findall(fold(sentence)))
    for premise in premises:
        known = claim(premise)
        both = len(said.words | known.words)
        same = both and len(said.words & known.words) >= AGAIN * both
        same = same and (said.negated, said.false) == (known.negated, known.false) and _mood(sentence) == _mood(premise)
        if same and not general - set(_UNIVERSAL.findall(fold(premise))):
            return ("vrai" in said.words) == ("vrai" in known.words)
    return False


def _mood(text: str) -> tuple[bool, bool]:
    """Its mood, where « alors » betrays a condition whose « si » was left out."""
    conditional, alternative = mood(text)
    return conditional or bool(_THEN.search(text)), alternative


def concluding(sentence: str, asked: str = "") -> str:
    """Return a sentence without its reasons, « la première » said by what it quotes.

    >>> concluding("La seconde tombe, puisqu'il pleut", "« A va. » contredit « B dort. »")
    '« B dort. » tombe'
    """
    after = _ANNOUNCES.sub("", _THEREFORE.sub("", _REASON.sub("", sentence)))
    quoted = _QUOTED.findall(asked)

    def named(found: re.Match[str]) -> str:
        place = 0 if found["which"].lower().startswith("premi") else 1
        return f"« {quoted[place]} »" if place < len(quoted) else found[0]

    return _ORDINAL.sub(named, after)


@dataclass(frozen=True)
class Verdict:
    """What was found.

    Attributes:
        right: All conditions hold.
        overlap: Share of the conclusion's content words in the nearest sentence, 0 to 1.
        same_parity: Negated as often as the conclusion, modulo two.
        same_mood: Conditional, or an alternative, only if the conclusion is.
        sentence: The nearest sentence.
    """

    right: bool
    overlap: float
    same_parity: bool
    same_mood: bool
    sentence: str


def judge(answer: str, conclusion: str, asked: str = "") -> Verdict:
    """Compare an answer with the conclusion that was due.

    Questions to the pupil are left out: they conclude nothing.

    Args:
        answer: What came.
        conclusion: What was due.
        asked: The exercise with its premises; "" where they are not known.

    >>> judge("Donc ta colère perd sa force. Le vois-tu ?", "Ta colère perd de sa force.").right
    True
    >>> judge("Donc ta colère ne perd pas sa force.", "Ta colère perd de sa force.").right
    False
    >>> judge("Donc sa force perd ta colère.", "Ta colère perd de sa force.").right
    False
    >>> judge("Donc il n'agit pas par devoir.", "On ne peut pas conclure qu'il agit par devoir.").right
    False
    """
    due, premises = claim(conclusion), premises_of(asked)
    verdicts = [Verdict(False, 0.0, False, False, "")]
    for sentence in split_sentences(answer):
        said = concluding(sentence, asked)
        if sentence.endswith("?") or said_again(said, premises):
            continue
        found = claim(said)
        found = _denied(found, said, due, conclusion)
        overlap = _overlap(said, found, due, asked)
        same_parity, same_mood = found.negated == due.negated, mood(said) == mood(conclusion)
        right = overlap >= ENOUGH or (bool(asked) and overlap >= VAGUE and len(found.words & due.words) > 1)
        right = right and same_parity and same_mood and in_order(conclusion, said)
        right = right and found.false == due.false and (found.limited or not due.limited)
        right = right and (found.refused or not due.refused)
        verdicts.append(Verdict(right, round(overlap, 3), same_parity, same_mood, sentence))
    # The nearest one decides, a premise said again set aside: an answer that also says the contrary is no right one.
    return max(verdicts, key=lambda verdict: (verdict.same_mood, verdict.overlap))


def _denied(found: Claim, said: str, due: Claim, conclusion: str) -> Claim:
    """Say « it is false that » by a negation, or the reverse, where only this tells a claim from the one that is due.

    >>> due = "La joie ne rend pas plus faible."
    >>> judge("Il est faux que la joie rende plus faible.", due).right, judge("La joie rend plus faible.", due).right
    (True, False)
    >>> judge("Il est faux que toute joie soit bonne.", "Nulle joie n'est bonne.").right
    False
    """
    denied_here, denied_there = found.negated and not found.false, due.negated and not due.false
    otherwise = (denied_here and due.false) or (denied_there and found.false)
    if not otherwise or _OF_ALL.search(fold(said)) or _OF_ALL.search(fold(conclusion)):
        return found
    words = found.words | {"faux"} if due.false else found.words - {"faux"}
    return replace(found, words=words, negated=not found.negated, false=due.false)


def _overlap(said: str, found: Claim, due: Claim, asked: str) -> float:
    """Share of the words due; a pronoun stands for one, and a word of the premises in another's place undoes all."""
    shared = len(found.words & due.words)
    if not shared:
        return 0.0
    if asked and shared < len(due.words) and _PRONOUN.search(fold(said)):
        shared += 1
    swapped = shared < len(due.words) and found.words & (claim(asked).words - due.words)
    return 0.0 if swapped else shared / len(due.words)
