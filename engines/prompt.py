r"""From messages to token ids, in Mistral's format. Knows how a prompt is laid out; knows no library and no model.

`<bos>[INST]system\n\nuser[/INST]answer<eos>[INST]user[/INST]`: the system text stands in the first turn and nothing
is moved afterwards, so every later prompt of a chat begins with the earlier one and a cache of keys and values is
reused. (Chat templates that put the system text in the last turn change every prompt from its first token on.) Control
pieces are spliced by id and texts are never searched for them: a pupil who types `</s>` sends harmless characters.

Texts are stripped of outer spaces. Each text is tokenised by itself, so a vocabulary that puts a space before a text
(Mistral's) puts exactly one after each control piece, as transformers does; one that does not (the embedded model's)
puts none. A Mistral converted with `add_prefix_space` false no longer puts its own, though it was trained with it: its
template says so (`spaced`), and the space is written here.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from engines.base import ChatMessage
from errors import EngineError

OPEN, CLOSE = "[INST]", "[/INST]"
BLANK_LINE = "\n\n"  # between the system text and the first message


class Vocabulary(Protocol):
    """What the layout needs of a vocabulary."""

    @property
    def bos(self) -> int | None:
        """Id of the piece that begins every prompt, if there is one."""
        ...

    @property
    def eos(self) -> int:
        """Id of the piece that ends an answer."""
        ...

    @property
    def adds_space(self) -> bool:
        """Whether `encode` puts a space before each text."""
        ...

    @property
    def spaced(self) -> bool:
        """Whether the model was trained with a space after each control piece that `encode` does not put there."""
        ...

    def encode(self, text: str) -> list[int]:
        """Ids of a plain text."""
        ...

    def control(self, piece: str) -> int | None:
        """Id of a control piece, None where `piece` is plain text."""
        ...

    def is_control(self, token: int) -> bool:
        """Whether no text should turn into this id."""
        ...


Recall = Callable[[Sequence[int], str], Sequence[int] | None]


def _no_memory(ids: Sequence[int], answer: str) -> None:  # noqa: ARG001
    return None


@dataclass(frozen=True)
class Prompt:
    """A rendered prompt.

    Attributes:
        ids: All of it.
        n_shared: How many of the first ids depend on the system text alone; 0 without one.
        aside: What is read behind the answer, where something follows it: its end, a message, the mark.
    """

    ids: tuple[int, ...]
    n_shared: int
    aside: tuple[int, ...] = ()


class PromptFormat:
    """The layout for one vocabulary: v0.3 where `[INST]` is one control piece, V1 (plain text) where it is not."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._open = vocabulary.control(OPEN)
        self._close = vocabulary.control(CLOSE)
        self.version = "v1" if self._open is None or self._close is None else "v3"
        self._gap = " " if self.version == "v3" and vocabulary.spaced else ""

    def prefix(self, system: str) -> list[int]:
        """Ids that begin every prompt with this system text, the blank line included."""
        return self._start() + self._head(f"{system.strip()}{BLANK_LINE}")

    def render(self, messages: Sequence[ChatMessage], recall: Recall = _no_memory) -> Prompt:
        """Lay out a conversation that waits for an answer.

        Args:
            messages: See `Engine.stream`.
            recall: Told the ids so far and an answer, it gives the ids that this answer was sampled as, or None. The
                same text may be cut into pieces in several ways; only those that were sampled are in the cache.

        Raises:
            EngineError: The roles are not system (optional), then user and assistant in turn, a user last.
        """
        system, turns = _split(messages)
        ids = self._start()
        n_shared = 0
        for number, (user, answer) in enumerate(turns):
            if number == 0 and system:
                shared = self.prefix(system)
                whole = self._start() + self._head(f"{system}{BLANK_LINE}{user}")
                # Holds where no piece spans the blank line; elsewhere the seam costs a token, never the cache.
                ids = whole if whole[: len(shared)] == shared else shared + self._text(user)
                n_shared = len(shared)
            else:
                ids += self._head(user)
            ids += self._tail()
            if answer is not None:
                sampled = recall(ids, answer)
                ids += self.answer(answer) if sampled is None else sampled
                ids.append(self.vocabulary.eos)
        return Prompt(tuple(ids), n_shared)

    def answer(self, text: str) -> list[int]:
        """Ids of an answer as the model was trained to give it, its end not included."""
        return self._text(self._gap + text if self.version == "v3" else self._spaced(text))

    def aside(self, message: str, mark: str) -> list[int]:
        """Ids that end an answer, ask one thing more, and begin the reply with `mark`."""
        return [self.vocabulary.eos, *self._head(message.strip()), *self._tail(), *self.answer(f"{mark}\n")]

    def _start(self) -> list[int]:
        return [] if self.vocabulary.bos is None else [self.vocabulary.bos]

    def _head(self, text: str) -> list[int]:
        """`[INST]` and what follows, up to `[/INST]`."""
        if self._open is None or self.version == "v1":
            return self._text(self._spaced(f"{OPEN} "), text)
        return [self._open, *self._text(self._gap + text)]

    def _tail(self) -> list[int]:
        if self._close is None or self.version == "v1":
            return self.vocabulary.encode(self._spaced(CLOSE))
        return [self._close]

    def _spaced(self, text: str) -> str:
        return text if self.vocabulary.adds_space else f" {text}"

    def _text(self, *parts: str) -> list[int]:
        """Ids of a text, given as parts of which the last is not ours, so that no control piece is among them."""
        text = "".join(parts)
        if self.version == "v1":  # the marks are plain text there: only a space tells a pupil's from ours
            *ours, theirs = parts
            text = "".join(ours) + re.sub(r"\[(/?INST)\]", r"[ \1]", theirs)
        ids = self.vocabulary.encode(text)
        if any(map(self.vocabulary.is_control, ids)):  # a tokenizer may merge plain characters into a control piece
            ids = self.vocabulary.encode(re.sub(r"([<\[])", r"\1 ", text))
            ids = [token for token in ids if not self.vocabulary.is_control(token)]
        return ids


def _split(messages: Sequence[ChatMessage]) -> tuple[str, list[tuple[str, str | None]]]:
    """Return the system text and the exchanges; the last one waits for its answer."""
    system = ""
    rest = list(messages)
    if rest and rest[0]["role"] == "system":
        system = rest.pop(0)["content"].strip()
    wanted = ["user" if i % 2 == 0 else "assistant" for i in range(len(rest))]
    if [message["role"] for message in rest] != wanted or len(rest) % 2 == 0:
        roles = ", ".join(message["role"] for message in messages) or "none"
        raise EngineError(
            f"The roles are {roles}; expected system (optional), then user and assistant in turn, user last.",
            code="message_order",
        )
    texts = [message["content"].strip() for message in rest]
    answers: list[str | None] = [*texts[1::2], None]
    return system, list(zip(texts[::2], answers, strict=True))
