"""Chats and texts laid out for a model, and which of their tokens count. Knows chat layout; concludes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from engines.base import ChatMessage
from engines.prompt import PromptFormat, Vocabulary
from engines.scoring import MAX_TOKENS, ScoringModel, log_softmax
from errors import EngineError

__all__ = ["MAX_TOKENS", "Scored", "Scorer", "ScoringModel", "log_softmax", "score_chat", "score_text"]


class Scorer(Vocabulary, Protocol):
    """A model that says how likely each token of a text is: a GGUF in llama.cpp, or a checkpoint in transformers."""

    def log_probs(self, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """See `engines.scoring.ScoringModel.log_probs`."""
        ...


@dataclass(frozen=True)
class Scored:
    """A text as ids, and which of them are counted.

    Attributes:
        ids: Token ids, BOS first.
        counted: As long as `ids`; True where the token's probability counts. Never the first.
    """

    ids: tuple[int, ...]
    counted: tuple[bool, ...]


def score_chat(model: Vocabulary, messages: Sequence[ChatMessage]) -> Scored:
    """Lay a finished chat out as the engine does; what counts is each answer and the EOS after it.

    Raises:
        EngineError: The roles are wrong, or the layout rewrites what came before.
    """
    layout = PromptFormat(model)
    ids: list[int] = []
    counted: list[bool] = []
    for position, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt = list(layout.render(messages[:position]).ids)
        if prompt[: len(ids)] != ids:
            raise EngineError(
                f"The layout of message {position} rewrites what came before; its tokens cannot be counted."
            )
        answer = [*layout.answer(message["content"].strip()), model.eos]
        counted += [False] * (len(prompt) - len(ids)) + [True] * len(answer)
        ids = prompt + answer
    if not any(counted):
        raise EngineError("The chat holds no answer; nothing can be counted.")
    return Scored(tuple(ids), tuple(counted))


def score_text(model: Vocabulary, text: str) -> Scored:
    """Lay a plain text out; every token after the first counts."""
    start = [] if model.bos is None else [model.bos]
    ids = [*start, *model.encode(text)]
    return Scored(tuple(ids), (False, *[True] * (len(ids) - 1)))
