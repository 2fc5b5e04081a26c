"""From a conversation to the messages a model is given. Knows personas; knows no engine and no retrieval.

What a chat has already sent is never rewritten: every later list of messages begins with the earlier one, so that an
engine reads only what is new. The system message is the persona's prefix, byte-identical for every pupil.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

from dialogue.conversation import Conversation

Prefix = Literal["short", "full"]

# Texts that end an answer: signs that the model begins to speak for the pupil, or to write the next prompt itself.
STOPS = ("[INST]", "\nÉlève", "\nIdée :", "\nQuestion posée")
SMALL_MODEL_PARAMS = 1_000_000_000  # below, a model keeps the form, not the doctrine: a short prefix, and hints


def prefix_for(n_params: int) -> Prefix:
    """Return which persona prefix a model of this many parameters can follow."""
    return "short" if n_params < SMALL_MODEL_PARAMS else "full"


class Message(TypedDict):
    """One message, in the shape every chat library uses."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Hint:
    """The doctrine a small model needs for one answer: three short fields of a reading note, "" for a missing one."""

    idea: str
    image: str
    question: str

    def block(self) -> str:
        """The lines that stand before the pupil's message."""
        fields = (("Idée", self.idea), ("Image", self.image), ("Question", self.question))
        return "\n".join(f"{name} : {said}" for name, said in fields if said)


def last_question(text: str) -> str | None:
    """Return the last sentence of `text` that asks something, or None.

    >>> last_question("Bonjour. Je suis Spinoza. Suis-je libre ?")
    'Suis-je libre ?'
    """
    found = re.findall(r"[^.!?…\n]*\?", text)
    return found[-1].strip() if found else None


def build_messages(
    conversation: Conversation,
    hints: Sequence[Hint | None] = (),
    lines: Sequence[str] = (),
    *,
    prefix: Prefix = "full",
) -> list[Message]:
    """Render a conversation that waits for an answer.

    The philosopher's opening cannot stand first in a chat template, so its question stands in the pupil's first
    message: unless that message is itself a question (then the pupil has changed the subject), or a hint says what
    the talk is about (a small model given both says the wrong one).

    Args:
        conversation: Ends with a pupil's turn.
        hints: One for each pupil's turn, in order; None or a missing one gives none.
        lines: What the model is told beside each pupil's turn, in order; "" or a missing one tells nothing.
        prefix: "short" for small models, "full" otherwise.
    """
    persona = conversation.persona
    system = (persona.short_prompt if prefix == "short" else persona.full_prompt).strip()
    messages: list[Message] = [{"role": "system", "content": system}]
    asked = last_question(conversation.opening or "")
    pupil = 0
    for turn in conversation.exchanges:
        if turn.role == "assistant":
            messages.append({"role": "assistant", "content": turn.text})
            continue
        parts = []
        hint = hints[pupil] if pupil < len(hints) else None
        if hint:
            parts.append(hint.block())
        elif pupil == 0 and asked and not turn.text.rstrip().endswith("?"):
            parts.append(f"Question posée : {asked}")
        if line := lines[pupil] if pupil < len(lines) else "":
            parts.append(line)
        parts.append(turn.text)
        messages.append({"role": "user", "content": "\n\n".join(parts)})
        pupil += 1
    return messages


@dataclass(frozen=True)
class Excerpt:
    """A retrieved passage as a prompt shows it.

    Attributes:
        number: From 1; the answer names it as [1].
        reference: Author, work, place.
        text: The passage.
        original: Whether these are the author's words: only they may be quoted.
    """

    number: int
    reference: str
    text: str
    original: bool

    def block(self) -> str:
        """Its lines. Bracketed numbers of the text's own are left out: the model would take them for passages."""
        kind = "texte" if self.original else "note de lecture, à ne pas citer"
        text = re.sub(r"\s*\[\s*\d+\s*\]", "", self.text)
        return f"[{self.number}] {self.reference} ({kind})\n{text}"


PASSAGES_RULE = (
    "Appuie-toi sur ces passages quand ils répondent à la question, et marque chacun par son numéro entre crochets, "
    "comme [1]. Ne mets entre « » que les mots exacts d'un texte. N'invente aucune référence."
)


def with_passages(
    messages: Sequence[Message], excerpts: Sequence[Excerpt], count: Callable[[list[Message]], int], budget: int
) -> tuple[list[Message], int]:
    """Put passages before the last question, as many of the first ones as fit.

    Every message but the last stays as it is, byte for byte: the persona's and the history's caches hold.

    Args:
        messages: As `build_messages` returns them; the last is the pupil's.
        excerpts: Best first.
        count: Length of a rendered prompt in tokens, e.g. an engine's `count_tokens`.
        budget: The most tokens that the prompt may have.

    Returns:
        The messages, and how many passages stand in them.
    """
    *before, last = messages
    for kept in range(len(excerpts), 0, -1):
        block = "\n\n".join(["Passages :", *(one.block() for one in excerpts[:kept]), PASSAGES_RULE])
        asked: Message = {"role": "user", "content": f"{block}\n\nQuestion : {last['content']}"}
        if count([*before, asked]) <= budget:
            return [*before, asked], kept
    return list(messages), 0
