"""Whether an answer draws the conclusion that was due. Pure: texts in, a verdict out.

Three conditions, on the sentence of the answer that is nearest to the conclusion: it holds at least `ENOUGH` of the
conclusion's content words (by stem, accents folded), it is negated as often modulo two, and it is a conditional or an
alternative only if the conclusion is one (a premise said again holds all the words, and concludes nothing).
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache

import Stemmer

ENOUGH = 0.6  # share of the conclusion's content words

_STOP_WORDS = frozenset(
    """a ai ainsi alors au aucun aucune aussi autre aux avait avec avoir bien c car ce ceci cela celle celui ces
    cet cette chez chose ci comme consequent d dans de des dit donc du elle elles en entre es est et etaient
    etait ete etre eu fait il ils impossible j jamais je l la le les leur leurs lui m ma mais me meme mes moi
    mon n ne necessairement ni non nos notre nous on ont or ou par parce pas pour probablement puisque qu quand
    que quel quelle qui quoi rien s sa sans se ses si son sont suit sur t ta te tes toi ton tous tout toute tres
    tu un une vos votre vous y""".split()
)
_CLAUSES = re.compile(r"[,;:]|\b(?:que|qui|car|mais|et|or|puisque|parce)\b|\bqu'")
_NE = re.compile(r"\bne\b|\bn'")
_LONE_NEGATION = re.compile(r"\b(?:pas|aucune?s?|jamais|rien|nullement)\b")  # « Pas de liberté sans loi »
_NEGATIVE_WORD = re.compile(r"\bimpossible\b|\bnon[- ](?=\w)")


@cache
def _stemmer() -> Stemmer.Stemmer:
    return Stemmer.Stemmer("french")


def fold(text: str) -> str:
    """Lower case, without accents, with plain apostrophes.

    >>> fold("L’Élève")
    "l'eleve"
    """
    normal = unicodedata.normalize("NFD", text.lower().replace("’", "'").replace("œ", "oe"))
    return "".join(char for char in normal if not unicodedata.combining(char))


def stems(text: str) -> frozenset[str]:
    """Stems of the content words.

    >>> sorted(stems("Les passions comprises perdent leur force."))
    ['compris', 'forc', 'passion', 'perdent']
    """
    words = [word for word in re.findall(r"[a-z]+", fold(text)) if word not in _STOP_WORDS and len(word) > 1]
    return frozenset(_stemmer().stemWords(words))


def count_negations(text: str) -> int:
    """Return how often a sentence is negated; « ne … pas », « ne … aucun » count once, « Non, » in front does not.

    >>> [count_negations(t) for t in ("Il ne dort pas.", "Non, il dort.", "Aucun n'est libre.", "C'est non-valide.")]
    [1, 0, 1, 1]
    """
    count = 0
    for clause in _CLAUSES.split(re.sub(r"^\W*non\s*[,.:;!]", "", fold(text))):
        # « ne » brings a word of its own (pas, aucun, rien…); a second such word in the clause only strengthens it.
        count += len(_NE.findall(clause)) or bool(_LONE_NEGATION.search(clause))
        count += len(_NEGATIVE_WORD.findall(clause))
    return count


def is_conditional(text: str) -> bool:
    """Whether a sentence only says what would follow.

    >>> is_conditional("Donc, si tu comprends, alors tu agis.") and not is_conditional("Tu agis, même si tu crains.")
    True
    """
    return (
        re.search(r"(?:^|[,:;]\s*|\b(?:donc|que|et|or)\s+)s(?:i\b|')(?!\s*bien)", fold(text).lstrip("« -")) is not None
    )


def mood(text: str) -> tuple[bool, bool]:
    """Whether a sentence is a conditional, and whether it leaves an alternative open.

    >>> mood("Ou bien tu crois, ou bien tu sais.")
    (False, True)
    """
    return is_conditional(text), re.search(r"\bou\b|\bsoit\b.*\bsoit\b", fold(text)) is not None


def split_sentences(text: str) -> list[str]:
    """Cut after the signs that end a sentence."""
    return [part.strip() for part in re.split(r"(?<=[.!?…])\s+|\n+", text) if part.strip()]


@dataclass(frozen=True)
class Verdict:
    """What was found.

    Attributes:
        right: All three conditions hold.
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


def judge(answer: str, conclusion: str) -> Verdict:
    """Compare an answer with the conclusion that was due.

    Questions to the pupil are left out: they conclude nothing.

    >>> judge("Donc ta colère perd sa force. Le vois-tu ?", "Ta colère perd de sa force.").right
    True
    >>> judge("Donc ta colère ne perd pas sa force.", "Ta colère perd de sa force.").right
    False
    """
    wanted = stems(conclusion)
    parity, due = count_negations(conclusion) % 2, mood(conclusion)
    verdicts = [Verdict(False, 0.0, False, False, "")]
    for sentence in split_sentences(answer):
        if sentence.endswith("?"):
            continue
        overlap = len(wanted & stems(sentence)) / len(wanted) if wanted else 0.0
        same_parity = count_negations(sentence) % 2 == parity
        same_mood = mood(sentence) == due
        right = overlap >= ENOUGH and same_parity and same_mood
        verdicts.append(Verdict(right, round(overlap, 3), same_parity, same_mood, sentence))
    # The nearest one decides, a premise said again set aside: an answer that also says the contrary is no right one.
    return max(verdicts, key=lambda verdict: (verdict.same_mood, verdict.overlap))
