"""Scores of words and of vectors, mixed into one ranking. Knows arrays and stems; no passage, no file, no store."""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import bm25s
import numpy as np
from rapidfuzz import fuzz

from errors import RetrievalError

K1, B = 0.9, 0.6  # BM25, chosen on PIAF; 1.2 and 0.75 find .1 to .4 points less in the mix
POOL = 100  # candidates that each of the two legs brings
DENSE_WEIGHT = 0.6  # of the vectors in the mix; `python -m retrieval eval --set piaf` tunes it by split halves
STATIC_WEIGHT = (
    0.3  # of static vectors: PIAF wants .2, the questions of pupils .6; `python -m benchmarks.static_embeddings`
)
SAME_TEXT = 90.0  # rapidfuzz ratio, of 100, from which two passages say the same words
COMPARED_CHARS = 600  # of each: two passages that begin with the same 100 words are one
PAIRED_UP_TO = 20_000  # passages: 14,000 hold 145 MB with pairs, 11 MB without
COARSE_FROM = 50_000  # vectors; up to there, comparing them all takes less than 5 ms
SIFTED = 1_000  # rows, or one in 500, that a coarse look lets through
SAMPLE = 20_000  # rows from which a mean or a threshold is taken
CHUNK = 16_384  # rows looked at together


class Lexical:
    """BM25 over stems. Built once, then only read: safe between threads."""

    def __init__(self, index: bm25s.BM25, size: int) -> None:
        self._index = index
        self.size = size

    @classmethod
    def build(
        cls, documents: Iterable[Sequence[str]], *, pairs: bool = False, k1: float = K1, b: float = B
    ) -> "Lexical":
        """Index each document's stems, repetitions kept.

        Args:
            documents: The stems of each, in order.
            pairs: Whether two neighbours count as a word of their own as well: « libre arbitre » is more than a free
                thing and an arbiter. Three points of R@1 on notes, one on PIAF; see `PAIRED_UP_TO` for the memory.
            k1: How much a second time says, see BM25.
            b: How much a long document is held against it, 0 to 1.
        """
        index = bm25s.BM25(k1=k1, b=b)
        vocabulary: dict[str, int] = {}
        # Ids, shared as objects: a million passages of stems as text would take ten times the memory.
        ids = [
            [vocabulary.setdefault(word, len(vocabulary)) for word in (with_pairs(stems) if pairs else stems)]
            for stems in documents
        ]
        if not vocabulary:  # no word anywhere, e.g. only emoji: one stem that no question has
            vocabulary["\0"] = 0
            ids[0].append(0)
        index.index((ids, vocabulary), show_progress=False)
        return cls(index, len(ids))

    def save(self, folder: Path) -> None:
        """Write the index as files of its own."""
        self._index.save(folder, show_progress=False)

    @classmethod
    def load(cls, folder: Path, size: int) -> "Lexical":
        """Read what `save` wrote."""
        return cls(bm25s.BM25.load(folder, show_progress=False), size)

    def known(self, stems: Sequence[str]) -> list[str]:
        """Return the stems that occur in some document."""
        return [stem for stem in stems if stem in self._index.vocab_dict]

    def scores(self, stems: Sequence[str]) -> np.ndarray:
        """Return (size,) float32 BM25 scores; 0 where no stem is shared. Pairs count where they were indexed."""
        known = self.known(with_pairs(stems))
        if not known:
            return np.zeros(self.size, np.float32)
        scores: np.ndarray = self._index.get_scores(known)
        return scores


def with_pairs(stems: Sequence[str]) -> list[str]:
    """Return the stems, then each two neighbours as one word, which no stem is.

    >>> with_pairs(["libr", "arbitr", "hum"])
    ['libr', 'arbitr', 'hum', 'libr arbitr', 'arbitr hum']
    """
    return [*stems, *(f"{left} {right}" for left, right in pairwise(stems))]


@dataclass(frozen=True)
class Candidates:
    """What the two legs of a search bring together.

    Attributes:
        rows: (n,) int64 numbers of passages, each once.
        lexical: (n,) float32 BM25 scores, 0 where no stem is shared.
        dense: (n,) float32 cosines with the question; None without an embedder.
    """

    rows: np.ndarray
    lexical: np.ndarray
    dense: np.ndarray | None


def best(scores: np.ndarray, count: int) -> np.ndarray:
    """Return the positions of the `count` highest scores, in no order.

    >>> sorted(best(np.array([0.1, 0.9, 0.5]), 2).tolist())
    [1, 2]
    """
    if len(scores) <= count:
        return np.arange(len(scores))
    found: np.ndarray = np.argpartition(scores, len(scores) - count)[len(scores) - count :]
    return found


def mix(found: Candidates, weight: float = DENSE_WEIGHT) -> np.ndarray:
    """Return (n,) float64 scores from 0 to 1, higher is better: each leg spread over 0 to 1, then averaged.

    The lexical zero is a true zero (no word shared); the zero of the cosines is the farthest candidate.

    Args:
        found: Candidates of one question.
        weight: Of the vectors; the words get the rest. Without vectors the words decide alone.

    >>> mix(Candidates(np.arange(3), np.array([2.0, 1.0, 0.0]), np.array([0.8, 0.9, 0.7])), 0.5).round(2).tolist()
    [0.75, 0.75, 0.0]
    """
    words = _spread(found.lexical, 0.0)
    if found.dense is None:
        return words
    meaning = _spread(found.dense, float(found.dense.min(initial=np.inf)))
    if not found.lexical.any():
        return meaning
    mixed: np.ndarray = (1 - weight) * words + weight * meaning
    return mixed


def _spread(scores: np.ndarray, low: float) -> np.ndarray:
    if not len(scores):
        return np.zeros(0)
    high = float(scores.max())
    if high <= low:  # all alike: a lone candidate is as near as any
        return np.full(len(scores), float(high != 0))
    return (scores.astype(np.float64) - low) / (high - low)


def collapse(texts: Sequence[str], count: int) -> list[int]:
    """Return the positions of the first `count` texts that are no near-copies of an earlier one kept.

    >>> collapse(["La durée est une mélodie.", "La durée est une mélodie !", "Le sucre fond."], 2)
    [0, 2]
    """
    kept: list[int] = []
    for place, text in enumerate(texts):
        if len(kept) == count:
            break
        start = text[:COMPARED_CHARS]
        if all(fuzz.ratio(start, texts[one][:COMPARED_CHARS], score_cutoff=SAME_TEXT) == 0 for one in kept):
            kept.append(place)
    return kept


def coverage(stems: Sequence[str], words: AbstractSet[str]) -> float:
    """Return the share of a question's stems that a passage has: a score that means the same in every collection."""
    return sum(stem in words for stem in stems) / len(stems) if stems else 0.0


def mean_of(vectors: np.ndarray) -> np.ndarray:
    """Return (d,) float32, the mean of the rows; of many, of evenly spaced ones."""
    mean: np.ndarray = np.asarray(vectors[:: max(len(vectors) // SAMPLE, 1)], np.float32).mean(axis=0)
    return mean


class Signs:
    """A first, coarse look at many vectors: one bit a dimension, compared 64 at a time.

    It reads a thirty-second of the bytes, and what it lets through is compared exactly afterwards.

    Args:
        vectors: (n, d), any float type; read once, in chunks.
        centre: (d,) their mean: a sign is that of the difference from it.
    """

    def __init__(self, vectors: np.ndarray, centre: np.ndarray) -> None:
        self._centre = centre
        self._codes = np.empty((-(-vectors.shape[1] // 64), len(vectors)), np.uint64)
        for at in range(0, len(vectors), CHUNK):
            self._codes[:, at : at + CHUNK] = self._pack(np.asarray(vectors[at : at + CHUNK], np.float32))

    def _pack(self, rows: np.ndarray) -> np.ndarray:
        bits = np.packbits(rows > self._centre, axis=1)
        words = np.zeros((len(rows), self._codes.shape[0] * 8), np.uint8)
        words[:, : bits.shape[1]] = bits
        packed: np.ndarray = words.view(np.uint64).T
        return packed

    def near(self, vector: np.ndarray, allowed: np.ndarray | None, count: int) -> np.ndarray:
        """Return about `count` rows whose signs differ least from the question's, in no order."""
        code = self._pack(vector[None])
        total = self._codes.shape[1]
        distances = np.empty(total, np.uint16)
        for at in range(0, total, CHUNK):  # a chunk stays in the processor's cache
            differing = np.bitwise_count(self._codes[:, at : at + CHUNK] ^ code)
            differing.sum(axis=0, dtype=np.uint16, out=distances[at : at + CHUNK])
        if allowed is not None:
            distances[~allowed] = np.iinfo(np.uint16).max
        sample = distances[:: max(total // SAMPLE, 1)]
        place = min(-(-count * len(sample) // total), len(sample) - 1)
        rows: np.ndarray = np.flatnonzero(distances <= np.partition(sample, place)[place])
        if len(rows) > 2 * count:  # many at the same distance
            return np.asarray(rows[best(-distances[rows].astype(np.int32), count)])
        return rows


class Legs:
    """The words and the vectors of a collection. Fewer than `COARSE_FROM` vectors are all compared; more are sifted.

    Args:
        words: BM25 over all passages.
        vectors: (n, d) of length 1, or None. Many of them may lie in a file that is mapped.
    """

    def __init__(self, words: Lexical, vectors: np.ndarray | None) -> None:
        self._words = words
        self.centre = mean_of(vectors) if vectors is not None else None
        self._signs: Signs | None = None
        if vectors is not None and self.centre is not None and len(vectors) >= COARSE_FROM:
            self._signs = Signs(vectors, self.centre)
        # Half-precision rows would be converted at every question: of few vectors, once.
        self._vectors = vectors if vectors is None or self._signs else np.ascontiguousarray(vectors, np.float32)

    def candidates(
        self, stems: Sequence[str] | None, vector: np.ndarray | None, allowed: np.ndarray | None, pool: int = POOL
    ) -> Candidates:
        """Return the best `pool` rows of each leg, with both scores of each.

        Args:
            stems: Of the question; None to leave words out.
            vector: Of the question; None to leave vectors out.
            allowed: (n,) bool, which rows may be found; None for all.
            pool: How many of each leg.
        """
        parts = [np.zeros(0, np.int64)]
        words = None
        if stems is not None:
            words = self._words.scores(stems)
            sharing = np.flatnonzero(words > 0 if allowed is None else (words > 0) & allowed)
            parts.append(sharing[best(words[sharing], pool)])
        if vector is None or self._vectors is None:
            rows = np.unique(np.concatenate(parts))
            return Candidates(rows, self._at(words, rows), None)
        if self._signs is None:
            cosines: np.ndarray = self._vectors @ vector
            near = best(cosines if allowed is None else np.where(allowed, cosines, -np.inf), pool)
            near = near if allowed is None else near[allowed[near]]
            rows = np.unique(np.concatenate([*parts, near]))
            return Candidates(rows, self._at(words, rows), cosines[rows])
        near = self._sifted(self._signs, vector, allowed, pool)
        rows = np.unique(np.concatenate([*parts, near]))
        return Candidates(rows, self._at(words, rows), self._dots(self._vectors, rows, vector))

    @staticmethod
    def _at(words: np.ndarray | None, rows: np.ndarray) -> np.ndarray:
        return words[rows] if words is not None else np.zeros(len(rows), np.float32)

    def _sifted(self, signs: Signs, vector: np.ndarray, allowed: np.ndarray | None, pool: int) -> np.ndarray:
        """Return the `pool` nearest rows of those that a coarse look lets through; of few that are allowed, of all."""
        count = max(SIFTED, self._words.size // 500, 10 * pool)
        rows = np.flatnonzero(allowed) if allowed is not None and allowed.sum() <= count else None
        if rows is None:
            rows = signs.near(vector, allowed, count)
            rows = rows if allowed is None else rows[allowed[rows]]
        nearest: np.ndarray = rows[best(self._dots(self._vectors, rows, vector), pool)]
        return nearest

    @staticmethod
    def _dots(vectors: np.ndarray | None, rows: np.ndarray, vector: np.ndarray) -> np.ndarray:
        if vectors is None:
            raise RetrievalError("This collection has no vectors.")
        # Not BLAS: waking its threads for some hundred rows takes longer than the sums.
        dots: np.ndarray = np.einsum("ij,j->i", np.asarray(vectors[rows], np.float32), vector)
        return dots
