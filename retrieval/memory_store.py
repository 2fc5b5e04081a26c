"""Passages in memory as a store: what an evaluation, the reading notes or a test search. Knows no file."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from retrieval.embedders import EmbedderId
from retrieval.french import search_tokens
from retrieval.passages import EVERYTHING, Filter, Passage
from retrieval.ranking import POOL, Candidates, Legs, Lexical
from retrieval.store import About

FILTERS = 32  # whose passages are remembered: looking at each passage takes longer than the rest of a search


class MemoryStore:
    """See `Store`.

    Args:
        name: Of the collection.
        passages: In the order of the rows.
        vectors: (n, dimensions) of length 1, or None.
        embedder: Which made them.
    """

    def __init__(
        self,
        name: str,
        passages: Sequence[Passage],
        vectors: np.ndarray | None = None,
        embedder: EmbedderId | None = None,
    ) -> None:
        self._passages = passages
        self._about = About(name, len(passages), embedder if vectors is not None else None)
        self._allowed = lru_cache(maxsize=FILTERS)(self._look)
        self._legs = Legs(Lexical.build(search_tokens(one.indexed_text) for one in passages), vectors)

    @property
    def about(self) -> About:
        """See `Store.about`."""
        return self._about

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
