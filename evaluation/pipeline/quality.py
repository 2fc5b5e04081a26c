"""What a step keeps of the first one's quality: how near its answers are, how surprised its weights are by ours.

Knows embedders and log-probabilities; opens no engine.
"""

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.base import ChatMessage
from engines.llama_model import granted_cpus
from evaluation.logits import Scorer, ScoringModel
from evaluation.perplexity import layouts, perplexity
from evaluation.pipeline.parts import Parts
from retrieval.embedders import Embedder


def similarity(embedder: Embedder, first: Mapping[str, str], other: Mapping[str, str]) -> dict[str, float] | None:
    """Return how near two sets of answers to the same questions are, by meaning.

    Args:
        embedder: Of texts.
        first: Answers by id; empty ones, which failed, are left out.
        other: Answers to compare, by the same ids.

    Returns:
        Cosines of the pairs: `mean`, `median`, `least`, on `n`; and `unrelated`, the mean between answers to different
        questions, without which no cosine says anything. None where no pair is left.
    """
    ids = [key for key, text in first.items() if text.strip() and other.get(key, "").strip()]
    if not ids:
        return None
    ours = embedder.passages([first[key] for key in ids])
    theirs = embedder.passages([other[key] for key in ids])
    table = ours @ theirs.T
    pairs = np.diag(table)
    found = {"mean": pairs.mean(), "median": np.median(pairs), "least": pairs.min(), "n": len(ids)}
    if len(ids) > 1:
        found["unrelated"] = (table.sum() - pairs.sum()) / (len(ids) * (len(ids) - 1))
    return {name: round(float(value), 4) for name, value in found.items()}


@contextmanager
def scorer(model: str, parts: Parts, *, scheme: str | None, threads: int | None, dtype: str) -> Iterator[Scorer]:
    """Open "adapter", "merged", "float" or "quantised" for scoring, and free it after.

    Raises:
        ModelUnfit: It cannot be opened.
    """
    if model in ("float", "quantised"):
        path = parts.float_gguf if model == "float" else parts.quantised[scheme or next(iter(parts.quantised))]
        scoring = ScoringModel(path, threads=threads or granted_cpus())
        try:
            yield scoring
        finally:
            scoring.close()
        return
    base, adapter = (parts.base, parts.adapter) if model == "adapter" else (parts.merged, None)
    try:
        yield open_checkpoint(base, adapter, dtype)
    finally:
        gc.collect()  # its weights go with the last reference


def open_checkpoint(path: Path, adapter: Path | None, dtype: str) -> Scorer:
    """Return a checkpoint that scores texts laid out as our engines do.

    Raises:
        ModelUnfit: It cannot be loaded.
    """
    import torch

    from engines.transformers_local import HubVocabulary, ending_ids, load_model, load_tokenizer

    class Checkpoint(HubVocabulary):
        """The vocabulary with its model."""

        def __init__(self) -> None:
            self._model = load_model(path, adapter, dtype=dtype)
            super().__init__(load_tokenizer(path), ending_ids(self._model))

        def log_probs(self, ids: Sequence[int]) -> npt.NDArray[np.float32]:
            """See `Scorer.log_probs`."""
            with torch.inference_mode():
                logits = self._model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0].float()
                rows: npt.NDArray[np.float32] = logits.log_softmax(-1).numpy()
            return rows

    return Checkpoint()


def surprise_of(scoring: Scorer, chats: Sequence[Sequence[ChatMessage]]) -> dict[str, Any]:
    """Return perplexity on the answers of finished chats, see `evaluation.perplexity.perplexity`.

    Raises:
        EngineError: A chat is too long, or the model failed.
    """
    found = perplexity(scoring, layouts(chats))
    return {**found, "nats_per_token": round(found["nats_per_token"], 5), "perplexity": round(found["perplexity"], 4)}
