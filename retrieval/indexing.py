"""Files into an index: read, cut, embed, put, commit. Knows readers, embedders and builders; no search.

Interrupted at any moment it goes on where it stopped, and the finished index stays as it was until the new one is
whole. A file that has not changed is not read again; one that cannot be read is named, and the others go on.
"""

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from errors import RetrievalError
from retrieval.cut import Paragraph, cut
from retrieval.embedders import Embedder
from retrieval.french import fold
from retrieval.passages import Passage
from retrieval.readers import READERS, Document, read_document
from retrieval.store import About, Builder

log = logging.getLogger(__name__)

PART = 64  # passages put at once: about 15 s of embedding on one thread
CUTTING = "2"  # raised when passages are cut otherwise: every document is then read again


@dataclass(frozen=True)
class Given:
    """What the person who indexes says of the files; a file's own word wins.

    Attributes:
        author: For files that name none.
        work: For files that name none; else the file's name is taken.
    """

    author: str = ""
    work: str = ""


@dataclass(frozen=True)
class Report:
    """What was done.

    Attributes:
        about: The finished index.
        added: Files that were read.
        unchanged: How many were left as they were.
        removed: Files that are gone from the folders given.
        failed: File and reason of each that could not be read.
    """

    about: About
    added: tuple[str, ...]
    unchanged: int
    removed: tuple[str, ...]
    failed: dict[str, str]


def files_of(paths: Sequence[Path]) -> list[Path]:
    """Return the files to index, those of folders and their subfolders included, hidden ones left out.

    Raises:
        RetrievalError: A path does not exist, or nothing in it can be read.
    """
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise RetrievalError(f"{path} does not exist.")
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        hidden = [any(part.startswith(".") for part in one.relative_to(path).parts) for one in inside]
        kept = (one for one, hide in zip(inside, hidden, strict=True) if one.is_file() and not hide)
        files += [one for one in kept if path.is_file() or one.suffix.lower() in READERS]
    if not files:
        raise RetrievalError(f"No file to index in {', '.join(map(str, paths))}; endings read: {', '.join(READERS)}.")
    return list(dict.fromkeys(one.resolve() for one in files))


def index_files(
    paths: Sequence[Path],
    builder: Builder,
    embedder: Embedder | None,
    *,
    given: Given = Given(),
    progress: Callable[[float, str], None] = lambda _share, _name: None,
) -> Report:
    """Bring an index up to date with files and folders, and commit it.

    Args:
        paths: Files and folders. A document of a folder given that is no longer there leaves the index.
        builder: Open; it is closed here, whatever happens.
        embedder: The one that the builder was opened with.
        given: Author and work of files that do not say.
        progress: Called with the share done, from 0 to 1, and the file at hand.

    Raises:
        RetrievalError: No file could be read, or the embedder failed; what was done is kept for the next run.
    """
    try:
        files = files_of(paths)
        work = _Work(builder, embedder, given)
        removed = _gone(work.before, files, paths)
        for name in removed:  # first: a file that was renamed brings the same ids
            work.drop(name)
        for number, path in enumerate(files):
            work.do(path, lambda share, at=number, name=path.name: progress((at + share) / len(files), name))  # type: ignore[misc]
        for path in work.refused:  # an id that it shares may since have left the other file
            work.do(path, lambda _share: None, last=True)
        if len(work.failed) == len(files):
            raise RetrievalError(f"None of {len(files)} files could be read: {next(iter(work.failed.values()))}")
        progress(1.0, "")
        unchanged = len(files) - len(work.added) - len(work.failed)
        return Report(builder.commit(), tuple(work.added), unchanged, tuple(removed), work.failed)
    finally:
        builder.close()


class _Work:
    """One run over the files. A file is put in parts: an interruption loses the seconds of one part at most."""

    def __init__(self, builder: Builder, embedder: Embedder | None, given: Given) -> None:
        self._builder, self._embedder, self._given = builder, embedder, given
        self.before: dict[str, dict[str, str]] = {}  # of each file its parts, name and hash
        for name, digest in builder.documents.items():
            self.before.setdefault(name.rpartition("#")[0], {})[name] = digest
        self.added: list[str] = []
        self.failed: dict[str, str] = {}
        self.refused: list[Path] = []  # by the builder: to be done again at the end

    def do(self, path: Path, progress: Callable[[float], None], *, last: bool = False) -> None:
        """Bring one file up to date; what is wrong with it is noted and said.

        Args:
            path: Of the file.
            progress: Called with the share done.
            last: Whether a refusal of the builder is a fault; else the file is put off.
        """
        name = str(path).encode(errors="backslashreplace").decode()
        if name != str(path):  # no store, and no page, can hold it
            self._fail(name, RetrievalError(f"{name} has a name that is not UTF-8; rename the file."))
            return
        digest, parts = _digest(path, self._given), self.before.get(str(path), {})
        if parts and set(parts.values()) == {digest} and len(parts) == int(next(iter(parts)).rpartition("/")[2]):
            return
        try:
            passages = to_passages(read_document(path), path, self._given)
        except RetrievalError as error:
            self._fail(str(path), error)
            return
        batches = [passages[at : at + PART] for at in range(0, len(passages), PART)]
        names = [f"{path}#{number}/{len(batches)}" for number in range(1, len(batches) + 1)]
        for name in parts.keys() - {name for name in names if parts.get(name) == digest}:
            self._builder.drop(name)
        for number, (name, batch) in enumerate(zip(names, batches, strict=True)):
            progress(number / len(batches))
            if parts.get(name) == digest:
                continue
            texts = [one.embedded_text for one in batch]
            vectors = self._embedder.passages(texts) if self._embedder else None
            try:
                self._builder.put(name, digest, batch, vectors)
            except RetrievalError as error:
                self.drop(str(path))
                if last:
                    self._fail(str(path), error)
                else:
                    self.refused.append(path)
                return
        self.added.append(str(path))

    def drop(self, path: str) -> None:
        """Take a file's parts out."""
        self.before.pop(path, None)
        for name in self._builder.documents:
            if name.rpartition("#")[0] == path:
                self._builder.drop(name)

    def _fail(self, name: str, error: RetrievalError) -> None:
        log.warning("skipped: %s", error)
        self.failed[name] = str(error)


def _gone(before: Iterable[str], files: Sequence[Path], paths: Sequence[Path]) -> list[str]:
    folders = [path.resolve() for path in paths if path.is_dir()]
    here = {str(path) for path in files}
    return [
        name for name in before if name not in here and any(Path(name).is_relative_to(folder) for folder in folders)
    ]


def _digest(path: Path, given: Given) -> str:
    try:
        with path.open("rb") as file:
            of_file = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        of_file = ""  # reading it will say why
    return hashlib.sha256(f"{CUTTING} {of_file} {given.author} {given.work}".encode()).hexdigest()


def to_passages(document: Document, path: Path, given: Given = Given()) -> list[Passage]:
    """Cut a document and name its passages. Ids that the file gives to all are kept; others are made of the path.

    Raises:
        RetrievalError: Nothing is left of it.
    """
    pieces = list(cut(document.paragraphs))
    author, work = document.author or given.author, document.work or given.work or path.stem
    made = re.sub(r"[^a-z0-9]+", "-", fold(path.stem)).strip("-")[:40]
    made += "-" + hashlib.sha256(str(path).encode()).hexdigest()[:6]
    if document.local_ids:
        pieces = [replace(piece, id=piece.id and f"{made}-{piece.id}") for piece in pieces]
    passages = list(_named(pieces, made, author, work))
    twice = [name for name, count in Counter(one.id for one in passages).items() if count > 1]
    if twice or not passages:
        raise RetrievalError(f"{path.name}: id {twice[0]!r} stands twice." if twice else f"{path.name} holds no text.")
    return passages


def _named(pieces: Sequence[Paragraph], made: str, author: str, work: str) -> Iterator[Passage]:
    for number, piece in enumerate(pieces, 1):
        one = replace(piece, id=piece.id or f"{made}-{number}", author=piece.author or author, work=piece.work or work)
        yield Passage(**one.__dict__)
