"""The store that needs nothing: SQLite for the passages, BM25 files for the words, one .npy for the vectors.

Up to 50,000 passages every search looks at every vector; more are sifted first (`ranking.Signs`) and then compared
exactly. Knows no embedder's inside.

    NAME/current        one line, the name of the finished version; replaced last, in one step
    NAME/v000001/       passages.sqlite, words/, vectors.npy (float16), about.json with the hash of each file
    NAME/next/          the version being written, kept when the work is interrupted
"""

import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np

from errors import RetrievalError
from retrieval.embedders import EmbedderId
from retrieval.french import search_tokens
from retrieval.passages import EVERYTHING, Filter, Passage, key_of
from retrieval.ranking import PAIRED_UP_TO, POOL, Candidates, Legs, Lexical
from retrieval.store import About, DamagedIndex

log = logging.getLogger(__name__)

TABLES = """
CREATE TABLE IF NOT EXISTS documents (name TEXT PRIMARY KEY, digest TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS passages (
    row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, document TEXT NOT NULL, data TEXT NOT NULL, stems TEXT NOT NULL,
    author TEXT NOT NULL, work TEXT NOT NULL, notions TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS by_document ON passages (document);
"""
COLUMNS = "id, document, data, stems, author, work, notions"
CHUNK = 4096  # vectors copied at a time
_VERSION = re.compile(r"v(\d{6,})(\.partial)?")


class EmbeddedStore:
    """A finished index in a folder, only read.

    Raises:
        RetrievalError: There is none, a file of it is missing or damaged, or it is of another version.
    """

    def __init__(self, folder: Path) -> None:
        while True:
            named = _named(folder)
            try:
                self._open(folder)
                return
            except (RetrievalError, OSError, sqlite3.Error):
                # A commit that came between takes the version away that was being opened; the new one is whole.
                if _named(folder) == named:
                    raise

    def _open(self, folder: Path) -> None:
        version = current_version(folder)
        if version is None:
            raise RetrievalError(f"No index in {folder}; make it with `python -m retrieval index`.")
        self._about, hashes = read_about(version)
        check_files(version, hashes)
        self._lock = threading.Lock()
        # The files of a version never change: immutable spares every check for a writer.
        self._db = sqlite3.connect(
            f"{(version / 'passages.sqlite').absolute().as_uri()}?mode=ro&immutable=1",
            uri=True,
            check_same_thread=False,
        )
        vectors = np.load(version / "vectors.npy", mmap_mode="r") if self._about.embedder else None
        self._legs = Legs(Lexical.load(version / "words", self._about.passages), vectors)
        self._allowed = lru_cache(maxsize=64)(self._rows_of)

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
        return self._legs.candidates(stems, vector, None if where == EVERYTHING else self._allowed(where), pool)

    def fetch(self, rows: Sequence[int]) -> list[Passage]:
        """See `Store.fetch`."""
        marks = ",".join("?" * len(rows))
        with self._lock:
            found = dict(self._db.execute(f"SELECT row, data FROM passages WHERE row IN ({marks})", list(rows)))  # noqa: S608
        return [Passage.from_data(json.loads(found[row])) for row in rows]

    def close(self) -> None:
        """See `Store.close`."""
        with self._lock:
            self._db.close()

    def _rows_of(self, where: Filter) -> np.ndarray:
        sql = "SELECT row FROM passages WHERE instr(author, ?) AND instr(work, ?) AND instr(notions, ?)"
        notion = f"|{key_of(where.notion)}|" if where.notion else ""
        with self._lock:
            rows = self._db.execute(sql, (key_of(where.author), key_of(where.work), notion)).fetchall()
        allowed = np.zeros(self._about.passages, bool)
        allowed[[row for (row,) in rows]] = True
        return allowed


class EmbeddedBuilder:
    """See `Builder`; writes `next/` and, in `commit`, makes it the finished version."""

    def __init__(self, folder: Path, embedder: EmbedderId | None) -> None:
        self._folder, self._next, self._embedder = folder, folder / "next", embedder
        with self._writing():
            folder.mkdir(parents=True, exist_ok=True)
            if not any((folder / own).exists() for own in (".lock", "current")) and any(folder.iterdir()):
                raise RetrievalError(f"{folder} holds other files and no index; give the index a folder of its own.")
            self._held = hold(folder / ".lock")
            try:
                self._prepare()
            except BaseException:
                self._held.close()
                raise

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise RetrievalError(f"The index in {self._folder} cannot be written: {error}.") from None

    def _prepare(self) -> None:
        self._before = _named(self._folder) or "v000000"  # what `current` names, whole or not
        self._base = self._whole_base()
        for left in self._folder.iterdir():  # of a commit that was killed before or after `current` named it
            if _VERSION.fullmatch(left.name) and left.name != self._before:
                shutil.rmtree(left)
        said = {
            "base": self._base.name if self._base else None,
            "embedder": self._embedder.to_data() if self._embedder else None,
        }
        if self._laid_out() != said:
            self._begin(said)
        self._db = sqlite3.connect(self._next / "passages.sqlite", check_same_thread=False)
        self._db.executescript(TABLES)
        self._raw = (self._next / "vectors.raw").open("r+b")

    def _whole_base(self) -> Path | None:
        """Return the finished version; None where there is none that can be read: it stays until a new one is whole."""
        try:
            version = current_version(self._folder)
            if version is None:
                return None
            about, hashes = read_about(version)
            check_files(version, hashes)
        except DamagedIndex as error:
            log.error("An index is begun anew, of what is given now alone: %s", error)
            return None
        refuse_other(about, self._embedder)
        return version

    def _laid_out(self) -> Any:
        """Return what `next/` was begun from; None when it was not, or when what says so was torn."""
        try:
            return json.loads((self._next / "base.json").read_text())
        except (OSError, ValueError):
            return None

    def _begin(self, said: dict[str, Any]) -> None:
        """Lay out `next/` as a copy of the finished version; its description comes last and makes it valid."""
        shutil.rmtree(self._next, ignore_errors=True)
        self._next.mkdir()
        (self._next / "vectors.raw").touch()
        if self._base is not None:
            shutil.copyfile(self._base / "passages.sqlite", self._next / "passages.sqlite")
            if self._embedder:
                np.load(self._base / "vectors.npy", mmap_mode="r").tofile(self._next / "vectors.raw")
        partial = self._next / "base.partial"
        partial.write_text(json.dumps(said))
        partial.replace(self._next / "base.json")

    @property
    def documents(self) -> dict[str, str]:
        """See `Builder.documents`."""
        return dict(self._db.execute("SELECT name, digest FROM documents"))

    def put(self, document: str, digest: str, passages: Sequence[Passage], vectors: np.ndarray | None) -> None:
        """See `Builder.put`. The vectors are on the disk before the rows that point to them."""
        if (vectors is None) != (self._embedder is None):
            raise RetrievalError(f"{document}: an index has vectors for all of its passages or for none.")
        with self._writing():
            self._put(document, digest, passages, vectors)

    def _put(self, document: str, digest: str, passages: Sequence[Passage], vectors: np.ndarray | None) -> None:
        (last,) = self._db.execute("SELECT coalesce(max(row), -1) FROM passages").fetchone()
        if vectors is not None:
            self._raw.seek((last + 1) * vectors.shape[1] * 2)
            self._raw.write(vectors.astype(np.float16).tobytes())
            self._raw.flush()
            os.fsync(self._raw.fileno())
        rows = [(last + 1 + number, *_columns(one, document)) for number, one in enumerate(passages)]
        try:
            with self._db:
                self._db.execute("DELETE FROM passages WHERE document = ?", (document,))
                self._db.executemany(f"INSERT INTO passages (row, {COLUMNS}) VALUES (?,?,?,?,?,?,?,?)", rows)  # noqa: S608
                self._db.execute("INSERT OR REPLACE INTO documents VALUES (?, ?)", (document, digest))
        except sqlite3.IntegrityError:
            raise RetrievalError(f"{document}: {self._twice(document, passages)}") from None

    def _twice(self, document: str, passages: Sequence[Passage]) -> str:
        seen: set[str] = set()
        for one in passages:
            other = self._db.execute("SELECT document FROM passages WHERE id = ?", (one.id,)).fetchone()
            if one.id in seen or (other and other[0] != document):
                place = "this document" if one.id in seen else other[0]
                return f"the passage id {one.id!r} stands in {place} already; rename one."
            seen.add(one.id)
        return "a passage id stands twice."

    def drop(self, document: str) -> None:
        """See `Builder.drop`."""
        with self._writing(), self._db:
            self._db.execute("DELETE FROM passages WHERE document = ?", (document,))
            self._db.execute("DELETE FROM documents WHERE name = ?", (document,))

    def commit(self) -> About:
        """See `Builder.commit`."""
        with self._writing():
            return self._commit()

    def _commit(self) -> About:
        rows = [row for (row,) in self._db.execute("SELECT row FROM passages ORDER BY row")]
        if not rows:
            raise RetrievalError(f"No passage was found for {self._folder.name!r}; the index stays as it was.")
        before = _VERSION.fullmatch(self._before)
        final = self._folder / f"v{int(before[1]) + 1 if before else 1:06d}"
        partial = final.with_suffix(".partial")
        partial.mkdir()
        self._copy_rows(partial / "passages.sqlite")
        stems = self._db.execute("SELECT stems FROM passages ORDER BY row")
        words = Lexical.build((one.split() for (one,) in stems), pairs=len(rows) <= PAIRED_UP_TO)
        words.save(partial / "words")
        if self._embedder:
            self._copy_vectors(partial / "vectors.npy", rows, self._embedder.dimensions)
        about = About(self._folder.name, len(rows), self._embedder)
        write_about(partial, about)
        partial.rename(final)
        pointer = self._folder / "current.partial"
        pointer.write_text(final.name)
        _to_disk(pointer)
        pointer.replace(self._folder / "current")
        self._raw.close()
        self._db.close()
        shutil.rmtree(self._next)
        if before:
            shutil.rmtree(self._folder / self._before, ignore_errors=True)
        self._held.close()  # last: who writes next begins with nothing of this one there
        return about

    def close(self) -> None:
        """See `Builder.close`."""
        self._raw.close()
        self._db.close()
        self._held.close()

    def _copy_rows(self, target: Path) -> None:
        copy = sqlite3.connect(target)
        copy.executescript(TABLES)
        with copy:
            copy.executemany("INSERT INTO documents VALUES (?, ?)", self._db.execute("SELECT * FROM documents"))
            found = self._db.execute(f"SELECT {COLUMNS} FROM passages ORDER BY row")  # noqa: S608
            numbered = ((number, *row) for number, row in enumerate(found))
            copy.executemany(f"INSERT INTO passages (row, {COLUMNS}) VALUES (?,?,?,?,?,?,?,?)", numbered)  # noqa: S608
        copy.close()

    def _copy_vectors(self, target: Path, rows: Sequence[int], dimensions: int) -> None:
        raw = np.memmap(self._next / "vectors.raw", np.float16, "r").reshape(-1, dimensions)
        out = np.lib.format.open_memmap(target, mode="w+", dtype=np.float16, shape=(len(rows), dimensions))
        for at in range(0, len(rows), CHUNK):
            out[at : at + CHUNK] = raw[rows[at : at + CHUNK]]
        out.flush()


def _columns(one: Passage, document: str) -> tuple[str, ...]:
    return (
        one.id,
        document,
        json.dumps(one.to_data(), ensure_ascii=False),
        " ".join(search_tokens(one.indexed_text)),
        key_of(one.author),
        key_of(one.work),
        notion_column(one),
    )


def notion_column(one: Passage) -> str:
    """Return the notions with a bar around each, so that a whole one can be looked for.

    >>> notion_column(Passage("a", "Texte.", notions=("Vérité", "art")))
    '|verite|art|'
    """
    return "".join(f"|{key_of(notion)}" for notion in one.notions) + "|"


def hold(path: Path) -> IO[bytes]:
    """Hold a lock file until it is closed; a process that dies lets go of it.

    Raises:
        RetrievalError: Another process holds it.
    """
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise RetrievalError(f"Another process is writing the index {path.parent.name!r}; wait for its end.") from None
    return file


def refuse_other(about: About, embedder: EmbedderId | None) -> None:
    """Raise RetrievalError when an index is to be continued with another embedder."""
    ours, theirs = embedder, about.embedder
    if (ours.digest if ours else None) != (theirs.digest if theirs else None):
        raise RetrievalError(
            f"Index {about.name!r} was made with {theirs.name if theirs else 'no embedder'}, not with "
            f"{ours.name if ours else 'none'}: use the same, or index the texts under another name."
        )


def _named(folder: Path) -> str | None:
    """Return what `current` says now; None where there is none."""
    pointer = folder / "current"
    return pointer.read_text(encoding="utf-8", errors="replace").strip() if pointer.is_file() else None


def current_version(folder: Path) -> Path | None:
    """Return the folder of the finished version, or None when there is none.

    Raises:
        DamagedIndex: It is named but missing.
    """
    named = _named(folder)
    if named is None:
        return None
    version = folder / named
    if not (version / "about.json").is_file() or version == folder:
        raise DamagedIndex(f"The index in {folder} is damaged: its version is missing. Index the texts again.")
    return version


def read_about(version: Path) -> tuple[About, dict[str, str]]:
    """Return what a version says of itself, and the hash of each of its files."""
    path = version / "about.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        hashes = dict(data.pop("files"))
    except OSError as error:
        raise RetrievalError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedIndex(f"{path} is damaged ({error!r}); index the texts again.") from None
    return About.from_data(data), hashes


def write_about(version: Path, about: About) -> None:
    """Write the description of a version, with the hash of every file in it; all of it is on the disk afterwards."""
    files = sorted(path for path in version.rglob("*") if path.is_file())
    hashes = {path.relative_to(version).as_posix(): _hash(path) for path in files}
    for path in files:
        _to_disk(path)
    target = version / "about.json"
    target.write_text(json.dumps({**about.to_data(), "files": hashes}, indent=1), encoding="utf-8")
    _to_disk(target)


def check_files(version: Path, hashes: dict[str, str]) -> None:
    """Raise DamagedIndex naming the first file that is missing or damaged."""
    for name, digest in hashes.items():
        path = version / name
        if not path.is_file() or _hash(path) != digest:
            raise DamagedIndex(f"{path} is missing or damaged; index the texts again.")


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
