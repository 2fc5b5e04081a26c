"""How surprised a model is, and how far a quantised one has moved. Knows token log-probabilities; asks nothing."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.base import ChatMessage
from engines.scoring import kl
from errors import EngineError
from evaluation.labelled import lines_of
from evaluation.logits import MAX_TOKENS, Scored, Scorer, ScoringModel, score_chat, score_text

Progress = Callable[[], None]
Layout = Callable[[Scorer], Scored]


def load_chats(path: Path, limit: int | None = None) -> list[list[ChatMessage]]:
    """Read the chats of a held-out file as `python -m corpus mix` writes it; other rows are passed over.

    Raises:
        EngineError: The file cannot be read, or holds no chat.
    """
    try:
        rows = [json.loads(line) for line in lines_of(path.read_text(encoding="utf-8"))]
    except (OSError, json.JSONDecodeError) as error:
        raise EngineError(f"{path} cannot be read ({error}). Make it with `python -m corpus mix`.") from None
    chats: list[list[ChatMessage]] = [row["messages"] for row in rows if isinstance(row, dict) and "messages" in row]
    if not chats:
        raise EngineError(f"{path.name} holds no chat.")
    return chats[:limit]


def layouts(chats: Iterable[Sequence[ChatMessage]], texts: Iterable[str] = ()) -> list[Layout]:
    """Return how to lay each chat and each text out for a model, once it is loaded."""

    def of_chat(chat: Sequence[ChatMessage]) -> Layout:
        return lambda model: score_chat(model, chat)

    def of_text(text: str) -> Layout:
        return lambda model: score_text(model, text)

    return [*map(of_chat, chats), *map(of_text, texts)]


def surprise(log_probs: npt.NDArray[np.float32], scored: Scored) -> npt.NDArray[np.float64]:
    """Return (n_counted,) nats: the negative log-probability of each token that counts.

    Args:
        log_probs: (n_ids, n_vocab), row i is about the token after `ids[: i + 1]`.
        scored: The ids.
    """
    positions = np.flatnonzero(scored.counted)
    nats: npt.NDArray[np.float64] = -log_probs[positions - 1, np.asarray(scored.ids)[positions]].astype(np.float64)
    return nats


def perplexity(model: Scorer, ways: Sequence[Layout], on_done: Progress = lambda: None) -> dict[str, Any]:
    """Return tokens counted, nats per token, and e to that power.

    Raises:
        EngineError: A text is too long, or the model failed.
    """
    nats: list[npt.NDArray[np.float64]] = []
    for way in ways:
        scored = way(model)
        if len(scored.ids) > MAX_TOKENS:
            raise EngineError(f"A text has {len(scored.ids)} tokens, at most {MAX_TOKENS} are read.")
        nats.append(surprise(model.log_probs(scored.ids), scored))
        on_done()
    every = np.concatenate(nats)
    mean = float(every.mean())
    return {"texts": len(ways), "tokens": len(every), "nats_per_token": mean, "perplexity": math.exp(mean)}


@dataclass(frozen=True)
class Divergence:
    """How far one model's next-token distributions are from another's.

    Attributes:
        tokens: Positions compared.
        mean: Mean KL divergence, nats.
        p99: What 99 % of the positions stay below.
        largest: The largest one.
        same_top: Share of positions with the same likeliest token.
    """

    tokens: int
    mean: float
    p99: float
    largest: float
    same_top: float


def divergence(
    quantised: ScoringModel, reference: ScoringModel, ways: Sequence[Layout], on_done: Progress = lambda: None
) -> Divergence:
    """Compare two models at every position whose next token counts.

    Raises:
        EngineError: Their vocabularies cut a text differently, or one of them failed.
    """
    if quantised.n_vocab != reference.n_vocab:
        raise EngineError(f"Vocabularies of {quantised.n_vocab} and {reference.n_vocab} pieces cannot be compared.")
    found: list[npt.NDArray[np.float64]] = []
    same: list[npt.NDArray[np.bool_]] = []
    for way in ways:
        scored = way(reference)
        if way(quantised) != scored:
            raise EngineError("The two models cut a text into different tokens; they are not of one family.")
        rows = np.flatnonzero(scored.counted) - 1
        ours, theirs = quantised.log_probs(scored.ids)[rows], reference.log_probs(scored.ids)[rows]
        found.append(kl(theirs, ours))
        same.append(ours.argmax(axis=1) == theirs.argmax(axis=1))
        on_done()
    every, agree = np.concatenate(found), np.concatenate(same)
    p99 = float(np.percentile(every, 99))
    return Divergence(len(every), float(every.mean()), p99, float(every.max()), float(agree.mean()))
