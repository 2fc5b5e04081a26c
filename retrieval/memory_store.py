"""Passages in memory as a store: what an evaluation, the reading notes or a test search. Knows no file."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from retrieval.embedders import EmbedderId
from retrieval.french import search_tokens
from retrieval.passages import EVERYTHING, Filter, Passage
from retrieval.ranking import K1, PAIRED_UP_TO, POOL, B, Candidates, Legs, Lexical
from retrieval.store import About

FILTERS = 32  # whose passages are remembered: looking at each passage takes longer than the rest of a search


class MemoryStore:
    """See `Store`.

    Args:
        name: Of the collection.
        passages: In the order of the rows.
        vectors: (n, dimensions) of length 1, or None.
        embedder: Which made them.
        k1: Of BM25, see `Lexical.build`.
        b: Likewise.
    """

    def __init__(
        self,
        name: str,
        passages: Sequence[Passage],
        vectors: np.ndarray | None = None,
        embedder: EmbedderId | None = None,
        *,
        k1: float = K1,
        b: float = B,
    ) -> None:
        self._passages = passages
        self._vectors = vectors
        self._about = About(name, len(passages), embedder if vectors is not None else None)
        self._allowed = lru_cache(maxsize=FILTERS)(self._look)
        stems = (search_tokens(one.indexed_text) for one in passages)
        self._legs = Legs(Lexical.build(stems, pairs=len(passages) <= PAIRED_UP_TO, k1=k1, b=b), vectors)

    @property
    def about(self) -> About:
        """See `Store.about`."""
        return self._about

    def with_bm25(self, k1: float, b: float) -> "MemoryStore":
        """Return a store of the same passages and vectors whose words are weighed otherwise."""
        return MemoryStore(self._about.name, self._passages, self._vectors, self._about.embedder, k1=k1, b=b)

    @property
    def centre(self) -> np.ndarray | None:
        """See `Store.centre`."""
        return self._legs.centre

    def candidates(
        self, stems: Sequence[str] | None, vector: np.ndarray | None, *, where: Filter = EVERYTHING, pool: int = POOL
    ) -> Candidates:
        """See `Store.candidates`."""
        allowed = None if where == EVERYTHING else self._allowed(where)
        return self._legs.candidates(stems, vector, allowed, pool)

    def _look(self, where: Filter) -> np.ndarray:
        return np.array([where.admits(one) for one in self._passages], bool)

    def fetch(self, rows: Sequence[int]) -> list[Passage]:
        """See `Store.fetch`."""
        return [self._passages[row] for row in rows]

    def close(self) -> None:
        """Nothing is held."""
