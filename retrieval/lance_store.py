"""The store for large collections and for object storage: one LanceDB table, and one row that says which version holds.

Words are folded and stemmed by us and indexed as they are: LanceDB's own French analyser loses `duree`. From 100,000
passages on vectors are searched by an approximate index. Knows no embedder's inside.
"""

import json
import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import numpy as np

from errors import RetrievalError
from retrieval.embedded_store import notion_column, refuse_other
from retrieval.embedders import EmbedderId
from retrieval.french import search_tokens
from retrieval.passages import EVERYTHING, Filter, Passage, key_of
from retrieval.ranking import POOL, SAMPLE, Candidates
from retrieval.store import About, DamagedIndex

log = logging.getLogger(__name__)

APPROXIMATE_FROM = 100_000  # passages; below, looking at every vector is exact and fast enough
NPROBES = 24  # partitions looked at, of the square root of the number of passages; recall@10 above .95
KEPT = timedelta(days=7)  # a version, after it was replaced: an open search still reads it
FOR_EVER = timedelta(days=36_500)
TIDYING = timedelta(hours=1)  # by which a version that is to stay grows older, at most, while others are removed


def _import() -> tuple[Any, Any]:
    os.environ["LANCE_LOG"] = os.environ["LANCEDB_LOG"] = "error"  # it writes to stderr past Python's logging
    try:
        import lancedb
        import pyarrow
    except ImportError:
        raise RetrievalError('LanceDB is not installed: pip install -e ".[retrieval]".') from None
    return lancedb, pyarrow


def _connect(address: str) -> tuple[Any, str]:
    """Return the database and the table's name of `lancedb://FOLDER/NAME` or `s3://BUCKET/…/NAME`."""
    place, _, name = address.removeprefix("lancedb://").rpartition("/")
    if not place or not name or place.endswith(":/"):
        raise RetrievalError(
            f"No LanceDB address {address!r}; expected lancedb://FOLDER/NAME or s3://BUCKET/FOLDER/NAME."
        )
    lancedb, _arrow = _import()
    try:
        return lancedb.connect(place), name
    except (OSError, ValueError, RuntimeError) as error:
        raise RetrievalError(f"LanceDB cannot open {place!r}: {error}") from None


def _tables(db: Any) -> set[str]:
    return set(db.list_tables().tables)


def _read_about(db: Any, name: str) -> tuple[About, dict[str, Any]] | None:
    """Return the finished version's description, and what else is said of it; None when there is none.

    That is its number ("version"), the mean of its vectors ("centre") and, of the versions that it replaced within
    `KEPT`, when ("replaced", seconds since 1970 by number).
    """
    if f"{name}__about" not in _tables(db):
        return None
    try:
        rows = db.open_table(f"{name}__about").to_arrow().to_pylist()
    except (ValueError, OSError, RuntimeError) as error:
        raise RetrievalError(f"The description of {name!r} cannot be read ({error}).") from None
    try:
        data = json.loads(rows[0]["about"])
        more = {"version": int(data["version"]), "centre": data["centre"], "replaced": data.get("replaced", {})}
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise DamagedIndex(f"The description of {name!r} is damaged ({error!r}); index the texts again.") from None
    return About.from_data(data), more


class LanceStore:
    """A finished index in LanceDB, only read.

    Raises:
        RetrievalError: There is none, or it is damaged or of another version.
    """

    def __init__(self, address: str) -> None:
        db, name = _connect(address)
        found = _read_about(db, name)
        if found is None:
            raise RetrievalError(f"No index {name!r} at {address}; make it with `python -m retrieval index`.")
        self._about, more = found
        self._centre = None if more["centre"] is None else np.array(more["centre"], np.float32)
        try:
            self._table = db.open_table(name)
            self._table.checkout(more["version"])
            rows = self._table.count_rows()
        except (OSError, ValueError, RuntimeError) as error:
            raise RetrievalError(f"The index {name!r} is damaged ({error}); index the texts again.") from None
        self._beside = ThreadPoolExecutor(2, "lance")  # words and vectors are looked for side by side
        if rows != self._about.passages:
            raise RetrievalError(f"The index {name!r} has {rows} passages, not {self._about.passages}; index again.")

    @property
    def about(self) -> About:
        """See `Store.about`."""
        return self._about

    @property
    def centre(self) -> np.ndarray | None:
        """See `Store.centre`."""
        return self._centre

    def candidates(
        self, stems: Sequence[str] | None, vector: np.ndarray | None, *, where: Filter = EVERYTHING, pool: int = POOL
    ) -> Candidates:
        """See `Store.candidates`. LanceDB does not say how many words a passage has that vectors alone have found."""
        condition = _condition(where)
        vector = vector if self._about.embedder else None
        words: dict[int, float] = {}
        cosines: dict[int, float] = {}
        asked = None
        if stems:
            query = self._table.search(" ".join(stems), query_type="fts")
            asked = self._beside.submit(self._ask, query, "_score", condition, pool)
        if vector is not None:
            query = self._table.search(vector, query_type="vector").distance_type("dot").nprobes(NPROBES)
            distances = self._ask(query, "_distance", condition, pool)
            cosines = {row: 1.0 - distance for row, distance in distances.items()}
        if asked:
            words = asked.result()
        missing = sorted(words.keys() - cosines.keys())
        if vector is not None and missing:
            found, rows = self._take(missing, "vector")
            vectors = found.combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(len(rows), -1)
            cosines |= dict(zip(rows, (vectors @ vector).tolist(), strict=True))
        every = sorted(words.keys() | cosines.keys())
        return Candidates(
            np.array(every, np.int64),
            np.array([words.get(row, 0.0) for row in every], np.float32),
            np.array([cosines[row] for row in every], np.float32) if vector is not None else None,
        )

    def _ask(self, query: Any, column: str, condition: str | None, pool: int) -> dict[int, float]:
        query = query.select([column]).with_row_id(True).limit(pool)
        try:
            found = (query.where(condition) if condition else query).to_arrow()
        except (OSError, ValueError, RuntimeError) as error:
            raise RetrievalError(f"LanceDB failed in {self._about.name!r}: {error}") from None
        return dict(zip(found["_rowid"].to_pylist(), found[column].to_pylist(), strict=True))

    def fetch(self, rows: Sequence[int]) -> list[Passage]:
        """See `Store.fetch`."""
        if not rows:
            return []
        found, order = self._take(rows, "data")
        data = dict(zip(order, found.to_pylist(), strict=True))
        return [Passage.from_data(json.loads(data[row])) for row in rows]

    def _take(self, rows: Sequence[int], column: str) -> tuple[Any, list[int]]:
        """Return a column of these rows, and in which order they came."""
        try:
            found = self._table.take_row_ids(list(rows)).select([column]).with_row_id().to_arrow()
        except (OSError, ValueError, RuntimeError) as error:
            raise RetrievalError(f"LanceDB failed in {self._about.name!r}: {error}") from None
        return found[column], found["_rowid"].to_pylist()

    def close(self) -> None:
        """See `Store.close`."""
        self._beside.shutdown()


def _condition(where: Filter) -> str | None:
    parts = []
    for column, value in (("author", where.author), ("work", where.work)):
        if value:
            parts.append(f"contains({column}, {_quoted(key_of(value))})")
    if where.notion:
        parts.append(f"contains(notions, {_quoted('|' + key_of(where.notion) + '|')})")
    return " AND ".join(parts) or None


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


class LanceBuilder:
    """See `Builder`: each `put` is a version of the table, and only `commit` says that one of them is finished.

    LanceDB refuses the second of two writers that meet; on object storage there is no lock beside that.
    """

    def __init__(self, address: str, embedder: EmbedderId | None) -> None:
        self._db, self._name = _connect(address)
        _, self._arrow = _import()
        self._embedder = embedder
        damaged = False
        try:
            self._before = _read_about(self._db, self._name)
        except DamagedIndex as error:
            log.error("An index is begun anew, of what is given now alone: %s", error)
            self._before, damaged = None, True
        if self._before:
            refuse_other(self._before[0], embedder)
        if self._name in _tables(self._db):
            self._table = self._db.open_table(self._name)
            if self._width() != (embedder.dimensions if embedder else None):
                raise RetrievalError(f"The unfinished index {self._name!r} has other vectors; take another name.")
            if damaged:
                self._table.delete("true")
        else:
            self._table = self._db.create_table(self._name, schema=self._schema())

    def _width(self) -> int | None:
        names = self._table.schema.names
        return int(self._table.schema.field("vector").type.list_size) if "vector" in names else None

    def _schema(self) -> Any:
        text = ("id", "document", "digest", "data", "stems", "author", "work", "notions")
        fields = [self._arrow.field(name, self._arrow.string()) for name in text]
        if self._embedder:
            kind = self._arrow.list_(self._arrow.float32(), self._embedder.dimensions)
            fields.append(self._arrow.field("vector", kind))
        return self._arrow.schema(fields)

    @property
    def documents(self) -> dict[str, str]:
        """See `Builder.documents`."""
        found = self._table.search().select(["document", "digest"]).limit(None).to_arrow()
        return dict(zip(found["document"].to_pylist(), found["digest"].to_pylist(), strict=True))

    def put(self, document: str, digest: str, passages: Sequence[Passage], vectors: np.ndarray | None) -> None:
        """See `Builder.put`."""
        if (vectors is None) != (self._embedder is None):
            raise RetrievalError(f"{document}: an index has vectors for all of its passages or for none.")
        names = ", ".join(_quoted(one.id) for one in passages)
        others = f"id IN ({names}) AND document != {_quoted(document)}"
        if len({one.id for one in passages}) < len(passages) or self._table.count_rows(others):
            raise RetrievalError(f"{document}: one of its passage ids stands in another document; rename it.")
        columns: dict[str, Any] = {
            "id": [one.id for one in passages],
            "document": [document] * len(passages),
            "digest": [digest] * len(passages),
            "data": [json.dumps(one.to_data(), ensure_ascii=False) for one in passages],
            "stems": [" ".join(search_tokens(one.indexed_text)) for one in passages],
            "author": [key_of(one.author) for one in passages],
            "work": [key_of(one.work) for one in passages],
            "notions": [notion_column(one) for one in passages],
        }
        if vectors is not None:
            flat = self._arrow.array(np.ascontiguousarray(vectors, np.float32).ravel())
            columns["vector"] = self._arrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        self.drop(document)
        self._table.add(self._arrow.table(columns, schema=self._schema()))

    def drop(self, document: str) -> None:
        """See `Builder.drop`."""
        condition = f"document = {_quoted(document)}"
        if self._table.count_rows(condition):
            self._table.delete(condition)

    def commit(self) -> About:
        """See `Builder.commit`. Both indexes are made anew: one covers the rows that were there when it was made."""
        from lancedb.index import FTS, IvfFlat

        rows = self._table.count_rows()
        if not rows:
            raise RetrievalError(f"No passage was found for {self._name!r}; the index stays as it was.")
        self._table.optimize(cleanup_older_than=FOR_EVER)  # the version that holds may be older than `KEPT`
        ours = FTS(base_tokenizer="whitespace", stem=False, remove_stop_words=False, ascii_folding=False)
        self._table.create_index("stems", config=ours, replace=True)
        if self._embedder and rows >= APPROXIMATE_FROM:
            self._table.create_index(
                "vector", config=IvfFlat(distance_type="dot", num_partitions=int(rows**0.5)), replace=True
            )
        about = About(self._name, rows, self._embedder)
        replaced = self._replaced()
        more = {"version": self._table.version, "centre": self._mean(), "replaced": replaced}
        said = json.dumps({**about.to_data(), **more})
        kind = self._arrow.schema([self._arrow.field("about", self._arrow.string())])
        row = self._arrow.table({"about": [said]}, schema=kind)
        self._db.create_table(f"{self._name}__about", data=row, mode="overwrite")
        # Only now are other versions not needed. LanceDB counts from when one was made, not from when it was replaced.
        made = [one["timestamp"].timestamp() for one in self._table.list_versions() if str(one["version"]) in replaced]
        ages = [timedelta(seconds=time.time() - when) + TIDYING for when in made]
        self._table.optimize(cleanup_older_than=max([KEPT, *ages]))
        return about

    def _replaced(self) -> dict[str, float]:
        """Return the versions that an open search may read still, and when each was replaced."""
        if self._before is None:
            return {}
        more, now = self._before[1], time.time()
        every = {**more["replaced"], str(more["version"]): now}
        return {number: when for number, when in every.items() if now - when < KEPT.total_seconds()}

    def _mean(self) -> list[float] | None:
        if self._embedder is None:
            return None
        sample = self._table.search().select(["vector"]).limit(SAMPLE).to_arrow()["vector"]
        rows = sample.combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(len(sample), -1)
        return [float(value) for value in rows.mean(axis=0)]

    def close(self) -> None:
        """Nothing is held."""
