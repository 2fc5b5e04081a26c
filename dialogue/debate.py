"""A debate: two philosophers answer the same question in turn, and the pupil arbitrates. Pure data, no model.

Each philosopher hears the debate as a conversation of his own: what the other one said and what the pupil decided
reach him in the pupil's turns, so that a tier needs to know nothing of debates.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from dialogue.conversation import Conversation, Turn
from errors import MessageError
from personas import Persona

_HEARD = re.compile(r"(?m)^[^\n:«]{1,40} répond : « [^»\n]* »$")
_HEARD_CHARS = 600  # of the other's speech: it is quoted in a prompt that a small model has to follow


@dataclass(frozen=True)
class Speech:
    """One contribution.

    Attributes:
        speaker: Key of a persona; None for the pupil.
        text: What was said.
    """

    speaker: str | None
    text: str


def _heard(name: str, text: str) -> str:
    whole = re.sub(r"\s+", " ", text.replace("«", "“").replace("»", "”")).strip()
    if len(whole) > _HEARD_CHARS:
        whole = f"{whole[:_HEARD_CHARS].rsplit(' ', 1)[0]}…"
    return f"{name} répond : « {whole} »"


def own_words(text: str) -> str:
    r"""Return what the pupil wrote of a turn, without what the other philosopher is heard to say.

    >>> own_words("Peut-on mentir ?\nKant répond : « Suppose qu'on me menace. »")
    'Peut-on mentir ?'
    """
    return _HEARD.sub("", text).strip()


def conversation_for(persona: Persona, other: Persona, question: str, speeches: Sequence[Speech]) -> Conversation:
    """Return the debate as `persona` hears it, ending with what he has to answer.

    Args:
        persona: Whose turn it is.
        other: The opponent.
        question: What the debate is about.
        speeches: What was said so far, oldest first.

    Raises:
        MessageError: It is not his turn: he spoke last.
    """
    turns: list[Turn] = []
    heard: list[str] = [question]
    for speech in speeches:
        if speech.speaker == persona.key:
            turns += [Turn("user", "\n".join(heard)), Turn("assistant", speech.text)]
            heard = []
        elif speech.speaker == other.key:
            heard.append(_heard(other.short_name, speech.text))
        elif speech.speaker is None:
            heard.append(speech.text)
        else:
            raise MessageError(f"{speech.speaker!r} is not in this debate.", code="message_order")
    if not heard:
        raise MessageError(f"{persona.key} has just spoken; it is not his turn.", code="message_order")
    return Conversation(persona, (*turns, Turn("user", "\n".join(heard))))


def to_speak(first: Persona, second: Persona, speeches: Sequence[Speech]) -> tuple[Persona, ...]:
    """Return who still speaks before the pupil's next word, in order.

    >>> from personas import get_persona
    >>> spinoza, kant = get_persona("spinoza"), get_persona("kant")
    >>> [one.key for one in to_speak(spinoza, kant, [Speech("spinoza", "Non.")])]
    ['kant']
    """
    since: set[str] = set()
    for speech in speeches:
        since = set() if speech.speaker is None else since | {speech.speaker}
    return tuple(one for one in (first, second) if one.key not in since)
