"""Whether a pupil agrees, is lost, resists, or does none of these. Knows French as pupils type it; calls no model.

Cues with negation and scope (« je ne suis pas d'accord », « tout le monde est d'accord pour dire que », « pas faux »),
a few facts of form, the words and the pieces of words, summed by a linear model whose weights stand in
`stance_weights.json.xz`, readable and fitted by `python -m evaluation dialogue-rules --fit`.
"""

import re
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Literal, get_args

from dialogue.french import plain, stems
from dialogue.linear import Seen, load_linear, pieces_in, words_in
from dialogue.stance_cues import CUES

Stance = Literal["accord", "confusion", "résistance", "neutre"]
STANCES: tuple[Stance, ...] = get_args(Stance)
WEIGHTS_FILE = Path(__file__).with_name("stance_weights.json.xz")

_SIDE = 300  # characters: a stance is taken at the beginning of a long message or at its end
# Somebody else's agreement or refusal says nothing of the pupil's: taken out before the cues look.
_OTHERS = re.compile(
    r"\b(?:tout le monde|les gens|la majorite\w*(?: des \w+)?|beaucoup(?: de \w+)?|certains"
    r"|la plupart(?: des \w+)?|les \w+|ils|elles|il|elle|mon \w+|ma \w+|ils|mes \w+"
    r"|[a-z]+,? lui,?|descartes|platon|aristote|kant|spinoza|bergson|nietzsche|sartre|epicure"
    r"|hobbes|rousseau|hume|locke|pascal|freud|marx|hegel|sa \w+|son \w+)"
    r" (?:\w+ )?(?:n'|ne )?(?:est|sont|etait|etaient|serait|seraient) (?:\w+ )?(?:pas |plus |tous "
    r"|toutes )?d'accord\b"
)
_HAS_NAME = re.compile(
    r"(?<=[a-zà-ÿ,;:«'’] )[A-ZÉÈÀÎÔ][a-zà-ÿ]{2,}|^(?:Platon|Descartes|Kant|Spinoza|Bergson|Sartre"
    r"|Nietzsche|Épicure|Locke|Hume|Aristote|Socrate|Freud|Marx|Pascal|Darwin|Rousseau|Hobbes"
    r"|Leibniz|Darwin|Newton|Einstein)\b"
)

# What was asked: a question that hints at its « non » (« La loi suffit-elle ? »), that leaves a choice, that waits for
# more than yes or no.
_DOUBTING = re.compile(
    r"\b(?:tou(?:te?|s|tes)|toujours|seulement|suffi\w+|jamais|sans|se passer|la meme chose|forcement|vraiment)\b"
)
_CHOICE = re.compile(r"\bou (?!l'on\b)")
_WIDE = re.compile(
    r"(?:^|[.,:;!?«] ?)(?:et |mais |alors |a |de |d'|en |par |avec |pour |dans )?(?:pourquoi|comment|quel(?:le)?s?|qui"
    r"|que|qu'(?!il|elle|on\b)|quoi|quand|combien|(?:la|le)quelle?)\b[^.?!]*\?\W*$"
)
_LEADING = re.compile(r"\bn(?:e|'\w+)\b.{0,40}\b(?:pas|plus|que)\b")  # « N'est-ce pas… » waits for a yes


def _ends(text: str) -> str:
    return text if len(text) <= 2 * _SIDE else f"{text[:_SIDE]} … {text[-_SIDE:]}"


def _answer_to(asked: str, found: AbstractSet[str]) -> set[str]:
    """Return what a yes, a no or a plain answer means after this question."""
    question = re.split(r"(?<=[.!?…]) +", asked)[-1]
    kinds = {
        "wide": _WIDE.search(question),
        "choice": _CHOICE.search(question),
        "doubting": _DOUBTING.search(question),
    }
    held = [kind for kind, place in kinds.items() if place] or ["simple"]
    answers = {"yes": "yes_begins", "no": "no_begins", "plain": "plain_answer", "asks": "asks"}
    return {f"{answer}_to_{kind}" for answer, cue in answers.items() if cue in found for kind in held}


def features(text: str, previous: str = "") -> frozenset[str]:
    """Return the names of the cues and facts of form that hold for a message.

    Args:
        text: The pupil's message.
        previous: What the philosopher had said or asked before; "" if unknown.
    """
    text = _ends(text)
    spelled = _OTHERS.sub(" autrui ", plain(text))
    before = plain(previous[-_SIDE:])
    found = {name for name, cue in CUES.items() if cue.search(spelled)}
    words = re.findall(r"[a-z0-9']+", spelled)
    asks, echo = "?" in text, bool(stems(text) & stems(previous[-_SIDE:]))
    if asks:
        found.add("asks")
        found.add("asks_echo" if echo else "asks_new")
        if len(words) <= 6:
            found.add("asks_short_echo" if echo else "asks_short_new")
    else:
        found.add("says_echo" if echo else "says_new")
    for most in (1, 3, 8, 15):
        if len(words) <= most:
            found.add(f"words_to_{most}")
            break
    else:
        found.add("words_many")
    if _HAS_NAME.search(text):
        found.add("names_somebody")
    if before.rstrip().endswith("?"):
        found.add("was_asked")
        if "yes_begins" in found:
            found.add("yes_to_question")
            found.add("yes_to_leading" if _LEADING.search(before) else "yes_to_open")
        if "no_begins" in found:
            found.add("no_to_question")
            found.add("no_to_leading" if _LEADING.search(before) else "no_to_open")
        if not asks and not found & {"yes_begins", "no_begins", "but", "but_begins"}:
            found.add("plain_answer")
        found |= _answer_to(before.rstrip(), found)
    elif before:
        found.add("was_told")
    if re.match(r"(?:ben |bah |mais |eh )*si\b(?! (?:je|on|tu|vous|c'est|un|une|le|la|les|des)\b)", spelled):
        found.add("si_to_leading" if _LEADING.search(before) else "si_to_open")
    if "!" in text:
        found.add("exclaims")
    if re.search(r"\b(?:vous|votre|vos|tu|t'|ta|ton|tes)\b", spelled):
        found.add("says_you")
    if re.search(r"\b(?:(?:je|moi|me|mon|ma|mes)\b|[jm]')", spelled):
        found.add("says_i")
    if found & {"not_agreed"}:
        found -= {"agreed", "yes_inside"}
    if "not_false" in found:
        found -= {"false", "doubt"} if not re.search(r"\bbof\b", spelled) else {"false"}
    if "but_begins" in found:
        found -= {"yes_begins", "not_false"}
    if found & {"not_understood", "lost", "only_marks"}:  # lost, and angry about it
        found -= {"stop_it", "your_claim", "false", "it_is_not", "opinion"}
    if "understood" in found and not found & {"lost", "many_marks"}:
        found -= {"not_understood", "link_missing"}
    return frozenset(found)


def seen(text: str, previous: str = "") -> Seen:
    """Return what the model sees of a message: cues, words, pieces of words. Arguments as in `detect`."""
    spelled = plain(_ends(text))
    context = "?" if previous.rstrip().endswith("?") else "."
    return Seen(features(text, previous), words_in(spelled, context), pieces_in(spelled))


MODEL = load_linear(WEIGHTS_FILE, STANCES)


def detect(text: str, previous: str = "") -> Stance:
    """Return the pupil's stance.

    Args:
        text: The message.
        previous: What the philosopher had said or asked before: the same « oui » agrees or resists.

    >>> detect("Je ne suis pas d'accord."), detect("tout à fait d'accord"), detect("j'ai rien compris")
    ('résistance', 'accord', 'confusion')
    """
    found = MODEL.scores(seen(text, previous))
    return max(STANCES, key=lambda stance: found[stance])
