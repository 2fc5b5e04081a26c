"""Log-probabilities of every token of a text, out of llama.cpp. Knows GGUF files and chat layout; concludes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import llama_cpp as lib
import numpy as np
import numpy.typing as npt

from engines.base import ChatMessage
from engines.gguf_file import check_chat_model
from engines.llama_model import N_BATCH, LlamaModel
from engines.prompt import PromptFormat
from errors import EngineError

MAX_TOKENS = 2048  # of one text


@dataclass(frozen=True)
class Scored:
    """A text as ids, and which of them are counted.

    Attributes:
        ids: Token ids, BOS first.
        counted: As long as `ids`; True where the token's probability counts. Never the first.
    """

    ids: tuple[int, ...]
    counted: tuple[bool, ...]


class ScoringModel(LlamaModel):
    """A model that gives the logits of all positions, not of the last one alone. For one thread.

    Args:
        path: A GGUF.
        threads: Threads of one step.

    Raises:
        ModelUnfit: The file is missing, damaged or no chat model.
    """

    def __init__(self, path: Path, *, threads: int = 2) -> None:
        check_chat_model(path)
        super().__init__(path, threads=threads, n_cells=MAX_TOKENS, n_seq=1)

    def log_probs(self, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Return (n_ids, n_vocab) float32: row i, the natural log-probabilities of the token after `ids[: i + 1]`.

        Raises:
            EngineError: There are no ids or too many, or one is out of range, or the step failed.
        """
        if not 0 < len(ids) <= MAX_TOKENS or min(ids) < 0 or max(ids) >= self.n_vocab:
            raise EngineError(
                f"{len(ids)} ids, or one out of range; expected 1 to {MAX_TOKENS} of 0 to {self.n_vocab}."
            )
        self.clear()
        rows = np.empty((len(ids), self.n_vocab), np.float32)
        batch = lib.llama_batch_init(N_BATCH, 0, 1)
        try:
            for start in range(0, len(ids), N_BATCH):
                chunk = ids[start : start + N_BATCH]
                batch.n_tokens = len(chunk)
                for row, token in enumerate(chunk):
                    batch.token[row], batch.pos[row] = token, start + row
                    batch.n_seq_id[row], batch.seq_id[row][0], batch.logits[row] = 1, 0, 1
                code = lib.llama_decode(self._ctx, batch)
                if code != 0:
                    raise EngineError(f"llama_decode returned {code} at position {start}.")
                logits = np.ctypeslib.as_array(lib.llama_get_logits(self._ctx), (len(chunk), self.n_vocab))
                rows[start : start + len(chunk)] = logits
        finally:
            lib.llama_batch_free(batch)
        return log_softmax(rows)


def log_softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return (n, v) log-probabilities of (n, v) logits, in place where it can.

    >>> np.exp(log_softmax(np.zeros((1, 4), np.float32))).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True, dtype=np.float64)).astype(np.float32)
    return logits


def score_chat(model: LlamaModel, messages: Sequence[ChatMessage]) -> Scored:
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
        answer = [*model.encode(message["content"]), model.eos]
        counted += [False] * (len(prompt) - len(ids)) + [True] * len(answer)
        ids = prompt + answer
    if not any(counted):
        raise EngineError("The chat holds no answer; nothing can be counted.")
    return Scored(tuple(ids), tuple(counted))


def score_text(model: LlamaModel, text: str) -> Scored:
    """Lay a plain text out; every token after the first counts."""
    start = [] if model.bos is None else [model.bos]
    ids = [*start, *model.encode(text)]
    return Scored(tuple(ids), (False, *[True] * (len(ids) - 1)))
