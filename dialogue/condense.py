"""A long conversation made short enough for its prompt. Knows personas; knows nothing of Gradio, HTTP, tiers or prices.

Nothing is cut while the history fits its budget. When it does not, the oldest exchanges become bullets (what the
pupil meant, what the philosopher set right), and the last exchanges stay word for word. The cut is found again by
replaying the conversation from its start, so it depends on the conversation alone: between two cuts every prompt
begins with the one before, byte for byte, and an engine reads only what is new.

Extractive: every bullet is made of words that were said. What tells who the pupil is never gets into one.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dialogue.conversation import Turn
from dialogue.debate import own_words
from dialogue.french import fold, split_sentences, stems
from dialogue.prompt import Message
from dialogue.redact import find_pii
from dialogue.safety import assess

HEADER = "Déjà dit dans cette conversation :"
_READ_CHARS, _READ_SENTENCES = 1200, 8  # of a turn: what is meant stands early
_SIDE_CHARS = 90  # of one side of a bullet: about 22 tokens, so that six bullets stay well under their 500
_LEAST_SAID = 20  # characters after a « mais »: with fewer it says nothing


@dataclass(frozen=True)
class Limits:
    """How much of a conversation a prompt carries.

    Attributes:
        history_tokens: Above this many tokens, counted without the persona and without the last message, exchanges are
            condensed.
        kept_exchanges: How many of the last exchanges stay word for word at a cut.
        bullets: At most this many.
        bullet_tokens: The bullets together stay under this.
    """

    history_tokens: int = 250
    kept_exchanges: int = 1
    bullets: int = 6
    bullet_tokens: int = 500

    def __post_init__(self) -> None:
        if self.history_tokens < 1 or self.kept_exchanges < 1 or self.bullets < 1 or self.bullet_tokens < 1:
            raise ValueError(f"{self}: every limit is at least 1.")


LIMITS = Limits()

# A sentence that says who the pupil is: kin, age, place, health, belongings. Folded.
_PERSONAL = re.compile(
    r"\b(?:mon|ma|mes|notre|nos) (?:petite?s? |grande?s? |meilleure?s? |beaux?[- ]"
    r"|belle[- ])?(?:pere|mere|parents?|frere|soeur|s?oeurs|freres|oncle"
    r"|tante|cousine?s?|grand[- ]?\w*|famille|maman|papa|copain|copine|ami|amie|amis|amies|pote"
    r"|potes|mec|meuf|crush|ex|prof|profs|lycee|classe|chien"
    r"|chat|voisine?s?|psy|medecin|maladie|religion|quartier|ville|village|maison|chambre|adresse"
    r"|numero|tel|portable|nom|prenom|anniversaire|insta"
    r"|snap|compte|code|mot de passe|bulletin|moyenne|note|notes|boulot|stage|salaire|equipe|club"
    r"|eglise|mosquee|synagogue)\b"
    r"|\bj'habite|\bje (?:vis|reside) (?:a|au|en|dans|chez|avec)\b|\bj'ai \d+ ?ans|\b\d\d ans\b"
    r"|\bje (?:suis|etais) (?:ne|nee|en (?:terminale|premiere|seconde|couple)"
    r"|gay|homo|lesbienne|bi|trans|juif|juive|musulmane?|catho\w*|chretienne?|athee|malade"
    r"|diabetique|autiste|dyslexique|hyperactif|depressi\w*)\b"
    r"|\bje m'appelle|\bmappelle|\bmoi c'est|\bmon nom|\b(?:papa|maman|mamie|papi)\b|\bchez (?:moi"
    r"|nous|lui|elle)\b|\bje (?:sors|couche|fume|bois)\b"
)
_CORRECTS = re.compile(
    r"\b(?:mais|pourtant|or|donc|car|c'est-a-dire|autrement dit|en realite|ainsi|plutot|alors"
    r"|distingu\w*|n'est pas|ne (?:\w+ )?pas)\b"
)
# From where a sentence takes back what it began with: cut there, it would say the contrary. Not folded.
_TURNS = re.compile(
    r"\b(?:mais|pourtant|cependant|toutefois|en réalité|alors que?)\b|\b(?:est|sont) (?:\w+ )?(?:faux|fausses?)\b"
    r"|(?<=[,;] )(?:or|(?:c['’]est|ce qui est) (?:\w+ )?faux)\b",
    re.IGNORECASE,
)
_EMPTY = re.compile(
    r"^(?:oui|non|ok|okay|d'accord|bof|mouais|euh|hein|je sais pas|j'avoue|merci|salut|bonjour|lol|mdr)?[\s.!?…,]*$"
)
_WITHHELD = "(une chose personnelle)"  # in the place of words that tell who the pupil is


def _shortened(text: str, most: int = _SIDE_CHARS) -> str:
    """Cut at a word, with a sign that something is missing; of « X, mais Y » it is X that gives way."""
    text = re.sub(r"\s+", " ", text).strip()
    kept = _cut(text, most)
    against = next((one for one in _TURNS.finditer(text, 1) if one.end() + _LEAST_SAID > len(kept)), None)
    if kept == text or against is None:
        return kept
    after = _cut(text[against.start() :], 2 * most // 3)
    return f"{_cut(text[: against.start()].rstrip(), most - len(after) - 1)} {after}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rsplit(" ", 1)[0].rstrip(" ,;:.") + "…"


def _read(text: str) -> list[str]:
    """The sentences of a turn that may be kept; a pasted page gives its first ones."""
    return [one for one in split_sentences(text[:_READ_CHARS])[:_READ_SENTENCES] if len(one) > 1]


def _may_stand(sentence: str) -> bool:
    return not (_PERSONAL.search(fold(sentence)) or find_pii(sentence) or assess(sentence).stops)


def intent(text: str) -> str | None:
    """Return the sentence of a pupil's turn that says most, or None where nothing impersonal is left."""
    best_first = sorted(_read(text), key=lambda one: -min(len(stems(one)), 12))
    found = next((one for one in best_first if not _EMPTY.match(fold(one)) and _may_stand(one)), None)
    return _shortened(found) if found else None


def correction(text: str, said: str | None) -> str | None:
    """Return the sentence of a philosopher's answer that sets right what the pupil `said`; a question is none."""
    about = stems(said or "")

    def weight(sentence: str) -> float:
        found = stems(sentence)
        return 2 * bool(_CORRECTS.search(fold(sentence))) + min(len(found & about), 3) + min(len(found), 10) / 10

    stated = sorted((one for one in _read(text) if not one.endswith("?") and stems(one)), key=weight, reverse=True)
    found = next((one for one in stated if _may_stand(one)), None)
    return _shortened(found) if found else None


def bullet(pupil: Turn, answer: Turn | None) -> str | None:
    """Return one line for an exchange, or None where there is nothing to keep.

    >>> bullet(Turn("user", "Être libre, c'est tout faire."), Turn("assistant", "Mais le désir a une cause. Non ?"))
    "- Élève : Être libre, c'est tout faire. → Toi : Mais le désir a une cause."
    """
    own = own_words(pupil.text)  # nothing, in a debate in which the pupil only listens
    meant = intent(own)
    right = correction(answer.text, meant) if answer else None
    if meant is None and right is None:
        return None
    if meant is None and all(_EMPTY.match(fold(one)) for one in split_sentences(own)):
        meant = _shortened(own) if any(one.isalpha() for one in own) else ""
    elif meant is None:
        meant = _WITHHELD
    return "- " + " → ".join([*([f"Élève : {meant}"] if meant else []), *([f"Toi : {right}"] if right else [])])


def bullets_for(turns: Sequence[Turn], count: Callable[[str], int], limits: Limits = LIMITS) -> tuple[str, ...]:
    """Return the bullets of these exchanges: the first one (where the talk comes from), then the latest.

    Args:
        turns: Pupil and philosopher in turn, the pupil first.
        count: Length of a text in tokens of the model in use.
        limits: At most `bullets`, together under `bullet_tokens`.
    """
    answers = {place: turn for place, turn in enumerate(turns) if turn.role == "assistant"}
    made = [bullet(turn, answers.get(place + 1)) for place, turn in enumerate(turns) if turn.role == "user"]
    kept = [one for one in made if one]
    if len(kept) > limits.bullets:
        kept = [kept[0], *kept[len(kept) - limits.bullets + 1 :]] if limits.bullets > 1 else kept[-1:]
    while kept and count("\n".join([HEADER, *kept])) >= limits.bullet_tokens:
        del kept[min(1, len(kept) - 1)]  # the second oldest first: the first says what the talk is about
    return tuple(kept)


def first_kept(lengths: Sequence[int], limits: Limits = LIMITS) -> int:
    """Return the place of the first turn that stays word for word; 0 where all stay.

    Replays the conversation question by question: a cut, once made, holds until the history is too long again.

    Args:
        lengths: Tokens of each turn, pupil first and last.
        limits: When to cut, and what stays.

    >>> first_kept([10, 90, 10, 90, 10], Limits(history_tokens=150, kept_exchanges=1))
    2
    """
    cut = 0
    for asked in range(2, len(lengths), 2):  # the pupil's second question, third…
        if sum(lengths[cut:asked]) > limits.history_tokens:
            cut = max(cut, asked - 2 * limits.kept_exchanges)
    return cut


@dataclass(frozen=True)
class Condensed:
    """A prompt, and what was left out of it.

    Attributes:
        messages: Ready for an engine.
        bullets: What stands for the turns left out; empty where none was.
        dropped: How many turns are not there word for word.
    """

    messages: list[Message]
    bullets: tuple[str, ...]
    dropped: int


def condense(
    messages: Sequence[Message], turns: Sequence[Turn], count: Callable[[str], int], limits: Limits = LIMITS
) -> Condensed:
    """Put bullets in the place of the oldest exchanges, once the history is over its budget.

    The bullets stand in the first pupil's message that is kept: the system message stays the persona's, byte for byte.

    Args:
        messages: As `dialogue.prompt.build_messages` returns them: system, then one message for each turn.
        turns: `Conversation.exchanges`, the same turns without hints.
        count: Length of a text in tokens of the model in use; called once for each turn, and for the bullets.
        limits: When to cut, and what stays.

    Raises:
        ValueError: `messages` and `turns` are not those of one conversation.
    """
    if len(messages) != len(turns) + 1:
        raise ValueError(f"{len(messages)} messages for {len(turns)} turns; expected one more, the system message.")
    system, *spoken = messages
    cut = first_kept([count(one["content"]) for one in spoken], limits)
    if cut == 0:
        return Condensed(list(messages), (), 0)
    bullets = bullets_for(turns[:cut], count, limits)
    first = spoken[cut]
    if bullets:
        first = {"role": first["role"], "content": "\n".join([HEADER, *bullets]) + "\n\n" + first["content"]}
    return Condensed([system, first, *spoken[cut + 1 :]], bullets, cut)
