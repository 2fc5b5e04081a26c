"""The seam to where passages are kept: what a store is asked, and how a question is put to it. Knows no store's inside.

A store finds candidates and hands passages out; what makes an answer of them (mixing, near-copies, the threshold) is
here, once for every store.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from errors import RetrievalError
from retrieval.embedders import Embedder, EmbedderId, StaticEmbedder
from retrieval.french import search_tokens
from retrieval.passages import EVERYTHING, Filter, Passage, query_tokens
from retrieval.ranking import DENSE_WEIGHT, POOL, STATIC_WEIGHT, Candidates, collapse, coverage, mix

FORMAT = 2  # of an index; raised when an older program could misread it
Mode = Literal["hybrid", "lexical", "dense"]
# A passage is relevant when its nearness and WORDS times the share of the question's stems that it has reach RELEVANT;
# without vectors, when it has WORDS_ALONE of them. Nearness is the cosine on a scale from the collection's mean (0) to
# the same words (1), so that one threshold serves several collections. Chosen on a quarter of PIAF against 200 exam
# questions, and on data/queries: 86 to 90 of 100 answerable questions pass, 62 to 77 of 100 others are held back.
RELEVANT, WORDS, WORDS_ALONE = 0.31, 0.2, 0.5
STEMMED = 512  # passages whose stems are remembered: those that are found are found again


class DamagedIndex(RetrievalError):
    """An index that can be reached and not be used; its texts have to be indexed again, which makes it anew."""


@dataclass(frozen=True)
class About:
    """What an index says of itself.

    Attributes:
        name: Of the collection.
        passages: How many.
        embedder: Which made its vectors; None for an index of words alone.
        format: Of the files.
    """

    name: str
    passages: int
    embedder: EmbedderId | None
    format: int = FORMAT

    def to_data(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        embedder = self.embedder.to_data() if self.embedder else None
        return {**self.__dict__, "embedder": embedder}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> "About":
        """The reverse of `to_data`.

        Raises:
            DamagedIndex: It was written by another version, or is no such data.
        """
        try:
            embedder = EmbedderId(**data["embedder"]) if data["embedder"] else None
            about = cls(data["name"], data["passages"], embedder, data["format"])
        except (KeyError, TypeError) as error:
            raise DamagedIndex(f"The index's description is damaged ({error!r}); index the texts again.") from None
        if about.format != FORMAT:
            raise DamagedIndex(f"The index has the format {about.format}, this program reads {FORMAT}; index again.")
        return about


class Store(Protocol):
    """A finished index, only read. Safe between threads."""

    @property
    def about(self) -> About:
        """What it holds."""
        ...

    @property
    def centre(self) -> np.ndarray | None:
        """The mean of the vectors, (dimensions,) float32; None without vectors."""
        ...

    def candidates(
        self, stems: Sequence[str] | None, vector: np.ndarray | None, *, where: Filter = EVERYTHING, pool: int = POOL
    ) -> Candidates:
        """Return the best rows by words and by vectors, both scores for each.

        Args:
            stems: Of the question, each once; None to leave words out.
            vector: (dimensions,) float32 of length 1; None to leave vectors out.
            where: Which passages may be found.
            pool: How many each leg brings.
        """
        ...

    def fetch(self, rows: Sequence[int]) -> list[Passage]:
        """Return passages by their row numbers, in that order."""
        ...

    def close(self) -> None:
        """Free what is held."""
        ...


class Builder(Protocol):
    """An index being written beside the finished one, document by document; nothing is seen of it before `commit`.

    Interrupted in any way, it goes on where it stopped: a document is whole or absent.
    """

    @property
    def documents(self) -> dict[str, str]:
        """Name and hash of the documents it holds, those of the finished index included. A name is its opener's."""
        ...

    def put(self, document: str, digest: str, passages: Sequence[Passage], vectors: np.ndarray | None) -> None:
        """Add a document, in the place of what it had before.

        Raises:
            RetrievalError: A passage's id belongs to another document.
        """
        ...

    def drop(self, document: str) -> None:
        """Take a document out."""
        ...

    def commit(self) -> About:
        """Make what was written the finished index, at once and wholly."""
        ...

    def close(self) -> None:
        """Let go; what was put and not committed is found again at the next opening."""
        ...


@dataclass(frozen=True)
class Hit:
    """A passage that was found.

    Attributes:
        passage: It.
        score: From 0 to 1 within one search; it orders, and means nothing between searches.
        words: Share of the question's stems that it has.
        cosine: With the question; None without vectors.
        relevant: Whether it passes the threshold.
    """

    passage: Passage
    score: float
    words: float
    cosine: float | None
    relevant: bool


@dataclass(frozen=True)
class Found:
    """The answer of a search.

    Attributes:
        hits: Best first.
        notices: Codes of what the asker should know: "lexical_only" (no embedder), "nothing_asked" (no word in it).
    """

    hits: tuple[Hit, ...]
    notices: tuple[str, ...] = ()

    @property
    def relevant(self) -> tuple[Hit, ...]:
        """The hits worth showing to a model; empty when nothing answers the question."""
        return tuple(hit for hit in self.hits if hit.relevant)


class Reranker(Protocol):
    """A slower, second look at the first hits."""

    def scores(self, question: str, texts: Sequence[str]) -> np.ndarray:
        """Return (len(texts),) float, higher is better."""
        ...


class Searcher:
    """A store and the embedder that it was made with. Safe between threads.

    Args:
        store: Finished index.
        embedder: The one that made its vectors; None searches by words alone.
        reranker: Looks again at the first `reranked` hits.
        weight: Of the vectors in the mix; None for what suits the embedder.
        reranked: How many hits the reranker sees; it costs their number times its time for one.
        relevant: From which nearness on a passage may answer; see `RELEVANT`.

    Raises:
        RetrievalError: The vectors were made by another embedder.
    """

    def __init__(
        self,
        store: Store,
        embedder: Embedder | None = None,
        *,
        reranker: Reranker | None = None,
        weight: float | None = None,
        reranked: int = 10,
        relevant: float = RELEVANT,
    ) -> None:
        made_by = store.about.embedder
        if embedder and made_by and made_by.digest != embedder.id.digest:
            raise RetrievalError(
                f"Index {store.about.name!r} was made with the embedder {made_by.name} ({made_by.digest[:8]}), "
                f"not with {embedder.id.name} ({embedder.id.digest[:8]}): use that one, or index the texts again."
            )
        self.store = store
        self.embedder = embedder if made_by else None
        suits = STATIC_WEIGHT if isinstance(embedder, StaticEmbedder) else DENSE_WEIGHT
        self.weight = suits if weight is None else weight
        self._reranker, self._reranked, self.relevant = reranker, reranked, relevant

    def search(self, question: str, k: int = 10, *, where: Filter = EVERYTHING, mode: Mode = "hybrid") -> Found:
        """Return the `k` passages that answer best, near-copies left out.

        Args:
            question: Any text; only its first page counts.
            k: How many, at most.
            where: Which passages may be found.
            mode: "lexical" and "dense" leave the other leg out, for comparisons.

        Raises:
            RetrievalError: The embedder failed, or "dense" is asked of an index without vectors.
        """
        stems = query_tokens(question)
        vector = None
        if self.embedder and mode != "lexical" and re.search(r"[^\W_]", question[:50_000]):
            vector = self.embedder.query(question)
        if mode == "dense" and not self.embedder:
            raise RetrievalError(f"Index {self.store.about.name!r} is searched by words alone; give its embedder.")
        notices = () if self.embedder or mode == "lexical" else ("lexical_only",)
        if not stems and vector is None:
            return Found((), (*notices, "nothing_asked"))
        return Found(self._hits(question, stems, vector, k, where, mode), notices)

    def _hits(
        self, question: str, stems: list[str], vector: np.ndarray | None, k: int, where: Filter, mode: Mode
    ) -> tuple[Hit, ...]:
        found = self.store.candidates(stems if mode != "dense" else None, vector, where=where)
        scores = mix(found, self.weight)
        order = np.argsort(-scores, kind="stable")[: 2 * max(k, self._reranked if self._reranker else 0)]
        passages = self.store.fetch(found.rows[order].tolist())
        kept = collapse([passage.text for passage in passages], max(k, self._reranked if self._reranker else 0))
        values = {place: float(scores[order[place]]) for place in kept}
        if self._reranker and kept:
            kept, values = self._look_again(question, kept, values, passages)
        centre = self.store.centre
        mean = float(centre @ vector) if centre is not None and vector is not None else 0.0
        hits = []
        for place in kept[:k]:
            cosine = float(found.dense[order[place]]) if found.dense is not None else None
            words = coverage(stems, _stems_of(passages[place].indexed_text))
            relevant = is_relevant(words, cosine, mean, self.relevant)
            hits.append(Hit(passages[place], values[place], words, cosine, relevant))
        return tuple(hits)

    def _look_again(
        self, question: str, kept: list[int], values: dict[int, float], passages: list[Passage]
    ) -> tuple[list[int], dict[int, float]]:
        if self._reranker is None:
            return kept, values
        seen, rest = kept[: self._reranked], kept[self._reranked :]
        again = self._reranker.scores(question, [passages[place].text for place in seen])
        low, high = float(again.min()), float(again.max())
        for place, score in zip(seen, again, strict=True):
            values[place] = (values[place] + ((float(score) - low) / (high - low) if high > low else 0.0)) / 2
        for place in rest:  # the half that a second look would have added to is missing
            values[place] /= 2
        return [*sorted(seen, key=lambda place: -values[place]), *rest], values

    def close(self) -> None:
        """Close the store; the embedder is its opener's."""
        self.store.close()


@lru_cache(maxsize=STEMMED)
def _stems_of(text: str) -> frozenset[str]:
    return frozenset(search_tokens(text))


def is_relevant(words: float, cosine: float | None, mean: float, least: float = RELEVANT) -> bool:
    """Whether a passage may answer a question.

    Args:
        words: Share of the question's stems that it has.
        cosine: With the question; None without vectors.
        mean: Of the question's cosines with all passages.
        least: The threshold, where there are vectors.
    """
    if cosine is None:
        return words >= WORDS_ALONE
    return (cosine - mean) / max(1 - mean, 1e-6) + WORDS * words >= least


def is_remote(address: str) -> bool:
    """Whether an address names a LanceDB store rather than a folder."""
    return address.startswith(("lancedb://", "s3://", "gs://", "az://"))


def open_store(address: str | Path) -> Store:
    """Open the finished index at a folder, or at `lancedb://FOLDER/NAME`, `s3://BUCKET/…/NAME`.

    Raises:
        RetrievalError: There is none, it is damaged, or of another version.
    """
    if is_remote(str(address)):
        from retrieval.lance_store import LanceStore

        return LanceStore(str(address))
    from retrieval.embedded_store import EmbeddedStore

    return EmbeddedStore(Path(address))


def open_builder(address: str | Path, embedder: EmbedderId | None) -> Builder:
    """Begin, or go on with, the next version of an index; see `open_store` for addresses.

    Raises:
        RetrievalError: Another process is writing it, or it was made with another embedder.
    """
    if is_remote(str(address)):
        from retrieval.lance_store import LanceBuilder

        return LanceBuilder(str(address), embedder)
    from retrieval.embedded_store import EmbeddedBuilder

    return EmbeddedBuilder(Path(address), embedder)
