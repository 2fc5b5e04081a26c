"""The border between Gradio's shapes and ours. Knows personas and conversations; knows no tier and no widget."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from dialogue.conversation import Conversation, Turn
from errors import MessageError
from personas import Persona
from personas.questions import Question, find
from ui.texts import Language, text, tied, untied


def to_turn(message: dict[str, Any]) -> Turn:
    """Gradio 6 sends `content` as text from its API and as a list of blocks from the page; keep the text.

    Raises:
        MessageError: The message is neither the pupil's nor the philosopher's.
    """
    role, content = message.get("role"), message.get("content")
    if role not in ("user", "assistant"):
        raise MessageError(f"A message has the role {role!r}; expected user or assistant.", code="message_order")
    said = text_of(content)
    return Turn(role, untied(said) if role == "assistant" else said)


def text_of(content: Any) -> str:
    """Return the text of a message's content, whichever shape it has.

    >>> text_of([{"type": "text", "text": "Bonjour"}])
    'Bonjour'
    """
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else [content]
    return "".join(text_of(block.get("text", "")) if isinstance(block, dict) else str(block) for block in blocks)


def to_turns(messages: Iterable[dict[str, Any]] | None) -> tuple[Turn, ...]:
    """The whole chat, oldest first; a chat that shows nothing is empty."""
    return tuple(to_turn(message) for message in messages or ())


def to_messages(turns: Sequence[Turn]) -> list[dict[str, str]]:
    """The shape that `gr.Chatbot` shows; what the philosopher says is set as French is."""
    return [{"role": one.role, "content": tied(one.text) if one.role == "assistant" else one.text} for one in turns]


def opening_of(persona: Persona, language: Language) -> str:
    """What the philosopher says first, as the page shows it."""
    return persona.opening_en if language == "en" else persona.opening


def starters_of(persona: Persona, language: Language) -> tuple[str, ...]:
    """The five questions to begin with, as the page shows them."""
    return persona.starters_en if language == "en" else persona.starters


def bac_opening(question: Question, language: Language) -> str:
    """The philosopher puts a question of the bac; it ends with that question, which is what a model is told of it."""
    return untied(text(language, "bac_opening", question=question.text_en if language == "en" else question.text))


def _bac_question(turn: Turn) -> Question | None:
    """The question that an opening puts, in either language; None for any other turn."""
    if turn.role != "assistant":
        return None
    return next((q for one in _asked(turn.text) if (q := find(one)) and turn.text in _openings(q)), None)


def _openings(question: Question) -> tuple[str, str]:
    return bac_opening(question, "fr"), bac_opening(question, "en")


def _asked(said: str) -> list[str]:
    return [one.strip() for one in re.findall(r"[^.!?…\n]*\?", said)]


def with_opening_in(turns: Sequence[Turn], persona: Persona, language: Language) -> tuple[Turn, ...]:
    """Show the philosopher's opening in the page's language; what the pupil and the model said stays as it was."""
    if not turns or turns[0].role != "assistant":
        return tuple(turns)
    if turns[0].text in (persona.opening, persona.opening_en):
        return (Turn("assistant", opening_of(persona, language)), *turns[1:])
    question = _bac_question(turns[0])
    return (Turn("assistant", bac_opening(question, language)), *turns[1:]) if question else tuple(turns)


def asked(persona: Persona, turns: Sequence[Turn]) -> Conversation:
    """The conversation that a tier is given: our own sentences are sent in French, the language of every model here.

    Raises:
        MessageError: Two turns of one speaker in a row.
    """
    french = dict(zip(persona.starters_en, persona.starters, strict=True)) | {persona.opening_en: persona.opening}
    question = _bac_question(turns[0]) if turns else None
    if question:
        french |= {bac_opening(question, "en"): bac_opening(question, "fr")}
    return Conversation(persona, tuple(Turn(turn.role, french.get(turn.text, turn.text)) for turn in turns))


def until_last_question(turns: Sequence[Turn], index: int) -> tuple[Turn, ...]:
    """What stands up to the pupil's last message at or before `index`; empty when the pupil has said nothing there."""
    kept = tuple(turns[: index + 1])
    while kept and kept[-1].role != "user":
        kept = kept[:-1]
    return kept
