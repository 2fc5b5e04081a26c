"""A second, slower look at the first hits, sentence by sentence. Knows an embedder; knows no store."""

from collections.abc import Sequence

import numpy as np

from retrieval.cut import Paragraph, cut
from retrieval.embedders import Embedder

SENTENCE_WORDS = 30  # a passage of 150 words is looked at in about six pieces


class SentenceReranker:
    """Scores a passage by its best sentence: an answer is often one sentence, drowned in the passage's own vector.

    The cost is one embedding for each sentence: with the default embedder and ten passages of 150 words about a second
    on one thread. `python -m retrieval eval --rerank` measures what it brings and what it takes.

    Args:
        embedder: The one of the index.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def scores(self, question: str, texts: Sequence[str]) -> np.ndarray:
        """See `Reranker.scores`: cosines."""
        asked = self._embedder.query(question)
        best = []
        for text in texts:
            pieces = [piece.text for piece in cut([Paragraph(text)], SENTENCE_WORDS)] or [text]
            best.append(float((self._embedder.passages(pieces) @ asked).max()))
        return np.array(best)
