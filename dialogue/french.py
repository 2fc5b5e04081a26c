"""French sentences taken apart: folding, stems, negations, moods, a pupil's spelling. Knows no scheme and no stance."""

import re
import unicodedata
from bisect import bisect_left
from functools import cache

import Stemmer

_STOP_WORDS = frozenset(
    """a ai ainsi alors au aucun aucune aussi autre aux avait avec avoir bien c car ce ceci cela celle celui ces
    cet cette chez chose ci comme consequent d dans de des dit donc du elle elles en entre es est et etaient
    etait ete etre eu fait il ils impossible j jamais je l la le les leur leurs lui m ma mais me meme mes moi
    mon n ne necessairement ni non nos notre nous on ont or ou par parce pas pour probablement puisque qu quand
    que quel quelle qui quoi rien s sa sans se ses si son sont suit sur t ta te tes toi ton tous tout toute tres
    tu un une vos votre vous y""".split()
)
_ACTIONS = frozenset({"suit", "fait", "dit"})  # stop words that still say who does what to whom
_PASSIVE = re.compile(r"\b(?:est|sont|etai(?:t|ent)|fut|sera|soit|etre|ete)\b.*\bpar\b(?! consequent)")
_FEWEST = 3  # words in common: of two nothing can be said, « la cause, tu la connais »
_IN_ORDER = 0.6  # of the words in common, what must be exceeded: one word of four may stand elsewhere
_CLAUSES = re.compile(r"[,;:]|\b(?:que|qui|car|mais|et|or|puisque|parce)\b|\bqu'")
_NE = re.compile(r"\bne\b|\bn'")
_LONE_NEGATION = re.compile(r"\b(?:pas|aucune?s?|jamais|rien|nullement)\b")  # « Pas de liberté sans loi »
_NEGATIVE_WORD = re.compile(r"\bimpossible\b|\bnon[- ](?=\w)")

# How pupils type, on folded text: whole words first, then what depends on its neighbours.
_TYPED: dict[str, str] = {
    typed: spelled
    for spelled, many in {
        "je sais pas": "jsp jspas",
        "je sais": "chais",
        "je suis": "chui chuis jsui jsuis j'suis chuit",
        "j'ai": "jai",
        "j'en": "jen",
        "j'y": "jy",
        "j'etais": "jetais jetai",
        "j'aimerais": "jaimerais",
        "j'arrive": "jarrive",
        "je veux": "jveu jve jvx jveut jveux",
        "je peux": "jpeu jpeux",
        "c'est": "cest",
        "non": "nan nn nope naan",
        "oui": "ouais ouai ouep yes yep wi ui moui oue",
        "d'accord": "dac d'ac d'acc dacc dacord daccord d'acord",
        "ok": "okay oki okk okey",
        "quoi": "koi oi kwa",
        "pourquoi": "pk pq pourkoi",
        "parce que": "pcq pck psk parske",
        "vraiment": "vrm vrmt",
        "toujours": "tjr tjrs tjs toujour",
        "maintenant": "mtn",
        "beaucoup": "bcp",
        "quelqu'un": "qqun qqn",
        "quelque chose": "qqch",
        "quand": "qd",
        "meme": "mm",
        "dans": "ds",
        "pour": "pr",
        "tout": "tt",
        "pas": "pa",
        "y a": "ya",
        "envie": "envi",
        "mourir": "mourrir mourire mourrire",
        "suicider": "suissider suisider sucider",
        "vais": "vai",
        "je vais": "jvai",
    }.items()
    for typed in many.split()
}
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*")
_LONG = re.compile(r"([a-z])\1{2,}")  # « ouiiii », « pfff »
# « jcomprends », « jme »; not « jpp » nor « jtm ». A letter alone stands for what it sounds like.
_GLUED = re.compile(r"\bj'?(?!pp\b|tm\b|ms\b)(?=[bcdfghklmnpqrstvxz]+[aeiouy])")
_LONE = re.compile(r"(?<!\d )\b([cdgjt]) (?=[a-z])")
_LONE_MEANS = {"c": "c'est ", "d": "d'", "g": "j'ai ", "j": "je ", "t": "t'es "}
_WANTS = re.compile(r"\b(je|en) (veu|ve|vx|veut|peu)\b")
_DOES = re.compile(r"\bje me (?:fait|(suis) fais)\b")
_ACCENTS = re.compile(r"[\u0300-\u036f]+")
_APOSTROPHES = "’‘´ʼ"  # as keyboards and telephones write them
_GRAVE = re.compile(r"(?<=[^\W\d_])`(?=[^\W\d_])")  # between letters alone: ``` opens a block of code


@cache
def _stemmer() -> Stemmer.Stemmer:
    return Stemmer.Stemmer("french")


def fold(text: str) -> str:
    """Lower case, without accents, with plain apostrophes.

    >>> fold("L’Élève")
    "l'eleve"
    """
    lower = text.lower().replace("œ", "oe")
    for sign in _APOSTROPHES:
        lower = lower.replace(sign, "'")
    if "`" in lower:
        lower = _GRAVE.sub("'", lower)
    return lower if lower.isascii() else _ACCENTS.sub("", unicodedata.normalize("NFD", lower))


def plain(text: str) -> str:
    """Fold, and spell out what pupils abbreviate.

    >>> plain("Jsuis d’acc, c trop vrai !!")
    "je suis d'accord, c'est trop vrai !!"
    """
    short = _LONG.sub(r"\1\1", fold(text))
    words = _WORD.sub(lambda found: _TYPED.get(found[0], found[0]), short)
    spelled = _LONE.sub(lambda found: _LONE_MEANS[found[1]], _GLUED.sub("je ", words))
    spelled = _WANTS.sub(lambda found: f"{found[1]} {'peux' if found[2] == 'peu' else 'veux'}", spelled)
    spelled = _DOES.sub(lambda found: "je me suis fait" if found[1] else "je me fais", spelled)
    return re.sub(r"[ \t]+", " ", spelled).strip()


def stems(text: str) -> frozenset[str]:
    """Stems of the content words.

    >>> sorted(stems("Les passions comprises perdent leur force."))
    ['compris', 'forc', 'passion', 'perdent']
    """
    words = [word for word in re.findall(r"[a-z]+", fold(text)) if word not in _STOP_WORDS and len(word) > 1]
    return frozenset(_stemmer().stemWords(words))


def in_order(first: str, second: str) -> bool:
    """Whether the words that two sentences share follow one another alike: who does what to whom, if order tells it.

    A passive turns the order round and says the same; it is not judged, nor are fewer than three words.

    >>> in_order("La raison guide le désir.", "Le désir guide la raison.")
    False
    >>> in_order("Karim cède moins vite à son envie.", "L'envie de Karim le fait céder moins vite.")
    True
    """
    one, other = _order(first), _order(second)
    places = [other[word] for word in one if word in other]
    if len(places) < _FEWEST or bool(_PASSIVE.search(fold(first))) != bool(_PASSIVE.search(fold(second))):
        return True
    tails: list[int] = []  # of the rising sequences so far, by length: their least last place
    for place in places:
        at = bisect_left(tails, place)
        tails[at : at + 1] = [place]
    return len(tails) > _IN_ORDER * len(places)


def _order(text: str) -> dict[str, int]:
    """Stems of content words and of a few verbs, in order, with their places."""
    words = [word for word in re.findall(r"[a-z]+", fold(text)) if word not in _STOP_WORDS or word in _ACTIONS]
    return {stem: place for place, stem in enumerate(dict.fromkeys(_stemmer().stemWords(words)))}


def likeness(first: str, second: str) -> float:
    """Return how many content words two texts have in common, from 0 (none) to 1 (all): Ochiai's coefficient.

    >>> likeness("La liberté a une cause.", "Une cause de liberté"), likeness("Le devoir", "")
    (1.0, 0.0)
    """
    one, other = stems(first), stems(second)
    both = len(one) * len(other)
    return len(one & other) / both**0.5 if both else float(not one and not other)


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
        re.search(
            r"(?:^|[,:;]\s*|\b(?:donc|que|et|or)\s+)"
            r"(?:s(?:i\b|')(?!\s*bien)|quand\b|lorsqu|des (?:lors )?qu|chaque fois qu)",
            fold(text).lstrip("« -"),
        )
        is not None
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
