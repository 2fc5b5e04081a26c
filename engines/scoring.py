"""Log-probabilities of every token of a text, out of llama.cpp, and how far two models are apart. Concludes nothing."""

from collections.abc import Sequence
from pathlib import Path

import llama_cpp as lib
import numpy as np
import numpy.typing as npt

from engines.gguf_file import check_chat_model
from engines.llama_model import N_BATCH, LlamaModel
from errors import EngineError

MAX_TOKENS = 2048  # of one text

F32 = npt.NDArray[np.float32]


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
        super().__init__(path, threads=threads, n_cells=MAX_TOKENS, n_seq=1, repack=False)

    def log_probs(self, ids: Sequence[int]) -> F32:
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

    def greedy(self, ids: Sequence[int], limit: int) -> list[int]:
        """Return the likeliest continuation of a prompt: up to `limit` tokens, the one that ends it included.

        Raises:
            EngineError: Prompt and continuation are longer than `MAX_TOKENS`, or the step failed.
        """
        if not 0 < len(ids) <= MAX_TOKENS - limit:
            raise EngineError(f"A prompt of {len(ids)} tokens and {limit} more; at most {MAX_TOKENS} are read.")
        self.clear()
        row = 0
        for start in range(0, len(ids), N_BATCH):
            row = self.read(ids[start : start + N_BATCH], start, 0)
        said: list[int] = []
        while True:
            said.append(int(self.logits(row).argmax()))
            if self.ends(said[-1]) or len(said) >= limit:
                break
            row = self.read((said[-1],), len(ids) + len(said) - 1, 0)
        return said

    def ends(self, token: int) -> bool:
        """Whether llama.cpp stops at this token."""
        return bool(lib.llama_vocab_is_eog(self._vocab, token))


def log_softmax(logits: F32) -> F32:
    """Return (n, v) log-probabilities of (n, v) logits, in place where it can.

    >>> np.exp(log_softmax(np.zeros((1, 4), np.float32))).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True, dtype=np.float64)).astype(np.float32)
    return logits


def kl(reference: F32, other: F32) -> npt.NDArray[np.float64]:
    """Return (n,) nats: KL(reference ‖ other) of each row of two (n, v) arrays of log-probabilities.

    >>> rows = np.log(np.array([[0.5, 0.5]], np.float32))
    >>> kl(rows, rows).tolist()
    [0.0]
    """
    reference, other = reference.astype(np.float64), other.astype(np.float64)
    chance = np.exp(reference)
    # Where a token is impossible for both, -inf minus -inf would be NaN; it adds nothing.
    with np.errstate(invalid="ignore"):
        rows: npt.NDArray[np.float64] = np.where(chance > 0, chance * (reference - other), 0.0).sum(axis=1)
    return rows
