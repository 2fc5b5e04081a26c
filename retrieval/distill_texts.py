"""French sentences for a static model: how often pieces occur, and what a teacher says of sentences. Knows files alone.

Sentences come from several sources in turn, so that any beginning of the list is a mixture of all of them. What a
teacher says is kept in parts: an interrupted run goes on, and a longer one adds to a shorter one.
"""

import csv
import hashlib
import json
import lzma
import random
import re
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from errors import RetrievalError
from retrieval.embedders import EmbedderId
from retrieval.passages import normal

MIN_WORDS, MAX_WORDS = 3, 40  # of a sentence; longer ones say too much at once to teach what a word means
LINES = 60_000  # of one file, evenly spread
PART = 512  # sentences of one file of vectors
COUNTED = 4_096  # sentences cut into pieces together
_ENDS = re.compile(r"(?<=[.!?…])\s+|\n+")


class Asked(Protocol):
    """What vectors of sentences are asked of: a `Teacher`."""

    @property
    def id(self) -> EmbedderId:
        """Which one it is."""
        ...

    def questions(self, texts: Sequence[str]) -> np.ndarray:
        """Return (len(texts), width) float32, rows of length 1."""
        ...


def corpora_sources(corpora: Path) -> list[list[Path]]:
    """Return the files of BAF_CORPORA_DIR that sentences are drawn from, in sources; none that an axis measures on.

    Raises:
        RetrievalError: There are none.
    """
    found = [[path] for path in sorted((corpora / "french").glob("*.txt.xz"))]
    found += [sorted((corpora / "works").rglob("*.jsonl")), [corpora / "questions" / "sujets.txt"]]
    found.append([corpora / "retrieval_eval" / "sts_fr" / "stsb-fr-train.csv"])
    kept = [existing for source in found if (existing := [path for path in source if path.is_file()])]
    if not kept:
        raise RetrievalError(f"{corpora} holds no French texts (french/*.txt.xz, works/, questions/).")
    return kept


def read_strings(path: Path) -> Iterator[str]:
    """Yield the texts of a file: lines of txt and txt.xz, sentences of an STS csv, every text in a jsonl.

    Raises:
        RetrievalError: The file cannot be read.
    """
    try:
        if path.suffix == ".xz":
            with lzma.open(path, "rt", encoding="utf-8") as file:
                lines = file.read().splitlines()
        else:
            text = path.read_text(encoding="utf-8")
            # JSON may hold U+2028 as it is.
            lines = list(filter(None, text.split("\n"))) if path.suffix == ".jsonl" else text.splitlines()
        lines = lines[:: max(1, len(lines) // LINES)]
        if path.suffix == ".csv":
            yield from (sentence for row in csv.reader(lines) for sentence in row[:2])  # the third is a score
        elif path.suffix == ".jsonl":
            for line in lines:
                yield from _strings(json.loads(line))
        else:
            yield from lines
    except (OSError, ValueError, csv.Error, lzma.LZMAError) as error:
        raise RetrievalError(f"{path} cannot be read as texts ({type(error).__name__}: {error}).") from None


def _strings(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict):
        if data.get("split") == "test":  # messages that measure
            return
        for value in data.values():
            yield from _strings(value)
    elif isinstance(data, list):
        for value in data:
            yield from _strings(value)


def sentences(sources: Sequence[Sequence[Path]], count: int, seed: int = 0) -> list[str]:
    """Return up to `count` different sentences of 3 to 40 words, one of each source in turn.

    Args:
        sources: Files of each source.
        count: How many at most.
        seed: Of the order within a source.
    """
    columns = [_shuffled(source, seed) for source in sources]
    mixed = (one for row in zip_longest(*columns) for one in row if one is not None)
    return list(dict.fromkeys(mixed))[:count]


def _shuffled(source: Iterable[Path], seed: int) -> list[str]:
    found = [
        one
        for path in source
        for text in read_strings(path)
        for part in _ENDS.split(text)
        if MIN_WORDS <= len((one := normal(part)).split()) <= MAX_WORDS
    ]
    random.Random(seed).shuffle(found)  # noqa: S311  # a seed, not a secret
    return found


def count_pieces(tokenizer: Any, texts: Sequence[str]) -> Counter[int]:
    """Return how often each id occurs in the texts.

    Args:
        tokenizer: A fast one of transformers.
        texts: Any.
    """
    counts: Counter[int] = Counter()
    for at in range(0, len(texts), COUNTED):
        for ids in tokenizer(list(texts[at : at + COUNTED]), add_special_tokens=False)["input_ids"]:
            counts.update(ids)
    return counts


def make_targets(
    teacher: Asked,
    texts: Sequence[str],
    folder: Path,
    *,
    minutes: float = float("inf"),
    progress: Callable[[float], None] = lambda _: None,
) -> int:
    """Ask the teacher for the vectors of sentences, part by part; return how many are there afterwards.

    Args:
        teacher: Whose vectors.
        texts: The same list every time; a longer one with the same beginning adds to what is there.
        folder: Where the parts are kept.
        minutes: After which it stops; the next call goes on.
        progress: Called with the share done.

    Raises:
        RetrievalError: The folder holds the vectors of another teacher or of other sentences, or a damaged part.
    """
    folder.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * minutes
    parts = -(-len(texts) // PART)
    for part in range(parts):
        progress(part / parts)
        own = list(texts[part * PART : (part + 1) * PART])
        path = folder / f"part-{part:05d}.npz"
        if path.is_file():
            kept, _ = _read_part(path, teacher.id)
            if kept[: len(own)] != own[: len(kept)]:
                raise RetrievalError(f"{path} holds vectors of other sentences. Move the folder.")
            if len(kept) >= len(own):
                continue
        if time.monotonic() > end:
            break
        partial = folder / f".{path.name}.partial.npz"
        vectors = teacher.questions(own).astype(np.float16)
        np.savez(partial, mark=np.array(_mark(teacher.id, own)), vectors=vectors, texts=np.array(own))
        partial.replace(path)
    return sum(len(texts[place * PART : (place + 1) * PART]) for place in _present(folder))


def _mark(who: EmbedderId, texts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join([who.digest, *texts]).encode()).hexdigest()


def _present(folder: Path) -> list[int]:
    return sorted(int(path.stem.removeprefix("part-")) for path in folder.glob("part-*.npz"))


def _read_part(path: Path, who: EmbedderId) -> tuple[list[str], np.ndarray]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:  # numpy leaves a torn one open
            mark, texts, vectors = str(kept["mark"]), kept["texts"].tolist(), kept["vectors"].astype(np.float32)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise RetrievalError(f"{path} is damaged ({error}). Remove it and run again.") from None
    if mark != _mark(who, texts):
        raise RetrievalError(f"{path} holds vectors of another teacher than {who.name}. Take another folder.")
    return texts, vectors


def read_targets(folder: Path, who: EmbedderId) -> tuple[list[str], np.ndarray]:
    """Return the sentences and their (n, width) float32 vectors that `make_targets` kept of this teacher.

    Raises:
        RetrievalError: There are none, a part is damaged, or they are another teacher's.
    """
    texts: list[str] = []
    rows = []
    for path in sorted(folder.glob("part-*.npz")):
        said, vectors = _read_part(path, who)
        texts += said
        rows.append(vectors)
    if not rows:
        raise RetrievalError(f"{folder} holds no teacher's vectors; `python -m retrieval distill-targets` makes them.")
    return texts, np.concatenate(rows)
