"""French text to search tokens: split, drop the commonest words, lemmatise, stem. Knows no index and no note."""

import re
import unicodedata
from functools import lru_cache

import Stemmer
from simplemma import lemmatize

_STEMMER = Stemmer.Stemmer("french")
_WORDS = re.compile(r"[^\W_]+")
_PLAIN = re.compile(r"[a-z0-9]+")
_ACCENTS = re.compile(r"[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]")
_UNSEEN = re.compile(r"[\u00ad\u200b\u200c\u2060\ufeff]")  # soft hyphen, blanks without width
_LIGATURES = str.maketrans(
    {"\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl", "\ufb05": "st", "\ufb06": "st"}
)

# Folded. Words that a pupil's message is full of and that say nothing of its subject.
STOP_WORDS = frozenset(
    """
    a accord ai aie ainsi alors as au aussi autre aux avec avez avoir avons bah bien bof bonjour c ca car ce
    cela celle celui ces cet cette ceux chose choses ci comme comment comprend comprends compris coucou d dans
    de des dis dit donc donne donner du elle elles en encore es est et etaient etait ete etes etre eu exemple
    exemples explique expliquer faire fait faut genre hein hello hey ici il ils j jamais je jusqu l la le les
    leur leurs lol lorsqu lui m ma mais mdr me meme memes merci mes moi mon n ne ni non nos notre nous ok okay
    on ont ou oui par parce pas peu peut peux pige plus plutot pour pourquoi pourtant ptdr puis puisqu qu
    quand quant que quel quelle quelles quelqu quels qui quoi quoiqu s sa salut sans se sera ses si soi soit
    sommes son sont sous suis sur t ta te tel telle tes toi ton toujours tous tout toute toutes tres trop tu
    un une va vais vers veut voila vos votre vous vraiment y
    """.split()
)


def unset(text: str) -> str:
    r"""Return `text` without what typesetting put inside its words: PDFs and e-books are full of it.

    >>> unset("une \ufb01n philo\u00adso\u00adphique")
    'une fin philosophique'
    """
    return text if text.isascii() else _UNSEEN.sub("", text).translate(_LIGATURES)


def fold(text: str) -> str:
    """Return `text` in lower case, without accents, with plain apostrophes and ligatures taken apart.

    >>> fold("L’Être et la Durée : œuvre")
    "l'etre et la duree : oeuvre"
    """
    plain = text.lower().replace("’", "'").replace("œ", "oe").replace("æ", "ae")
    if plain.isascii():
        return plain
    return _ACCENTS.sub("", unicodedata.normalize("NFD", unset(plain)))


@lru_cache(maxsize=65_536)
def _stem(word: str) -> str:
    # Snowball takes « désir » for a verb and « désirs » for a noun: without its plural s a noun has one stem, and a
    # stem of three letters has lost the word (desir -> des).
    singular = word[:-1] if len(word) > 3 and word.endswith("s") else word
    stem = str(_STEMMER.stemWord(singular))
    return stem if len(stem) > 3 else singular


@lru_cache(maxsize=65_536)
def _tokens_of(word: str) -> tuple[str, ...]:
    if fold(word) in STOP_WORDS:
        return ()
    # The lemma first: no stemmer brings « je mens » to « mentir », « je dois » to « devoir ». A word without its
    # accents is in no dictionary and is left to the stemmer.
    return tuple(_stem(part) for part in _PLAIN.findall(fold(lemmatize(word, lang="fr"))))


def search_tokens(text: str) -> list[str]:
    """Return the stems that a search compares, in order, repetitions kept.

    Accents are folded before stemming: pupils type `duree`, and stemming first would lose them.

    >>> search_tokens("Suis-je l'esclave de mes désirs ?") == search_tokens("esclaves, desir")
    True
    >>> search_tokens("je mens") == search_tokens("mentir")
    True
    """
    composed = unicodedata.normalize("NFC", unset(text.lower()))
    return [stem for word in _WORDS.findall(composed) for stem in _tokens_of(word)]
