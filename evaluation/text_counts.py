"""What can be counted of an answer without understanding it. Knows French texts as files; knows no model."""

import lzma
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from errors import EngineError

LOOP_WORDS = 6  # a run of so many words that comes twice in one answer is a loop
CHUNK_CHARS = 1 << 22
PROSE_CHARS = 3_000  # of the end of each text: about 750 tokens
PROSE_SHARE = 0.02  # at most this much of a text: training reads what stands before


def words(text: str) -> list[str]:
    """Return the words in lower case, cut at apostrophes and hyphens.

    >>> words("N'est-ce pas ?")
    ['n', 'est', 'ce', 'pas']
    """
    return re.findall(r"[^\W\d_]+", text.lower())


def ends_on_question(text: str) -> bool:
    """Whether the last sign is a question mark, quotes set aside."""
    return text.rstrip(" »\"'").endswith("?")


def has_loop(text: str, length: int = LOOP_WORDS) -> bool:
    """Whether some run of `length` words comes twice."""
    said = words(text)
    runs = [tuple(said[at : at + length]) for at in range(len(said) - length + 1)]
    return len(set(runs)) < len(runs)


def french_files(folder: Path) -> list[Path]:
    """Return the texts of `folder`/french.

    Raises:
        EngineError: There are none.
    """
    paths = sorted((folder / "french").glob("*.txt.xz"))
    if not paths:
        raise EngineError(f"No french/*.txt.xz in {folder}; set BAF_CORPORA_DIR to a folder that has them.")
    return paths


def _chunks(path: Path) -> Iterator[str]:
    try:
        with lzma.open(path, "rt", encoding="utf-8") as file:
            while chunk := file.read(CHUNK_CHARS):
                yield chunk + file.readline()  # so that no word is cut in two
    except (lzma.LZMAError, EOFError, UnicodeDecodeError) as error:
        raise EngineError(f"{path} is damaged: {error}. Fetch it again.") from None


def unknown_words(candidates: Iterable[str], folder: Path, known: Iterable[str] = ()) -> set[str]:
    """Return those of `candidates` that stand in none of the French texts, nor in `known`.

    Args:
        candidates: Words in lower case.
        folder: Holds `french/*.txt.xz`.
        known: Further right words, e.g. those of our own notes.

    Raises:
        EngineError: There are no texts.
    """
    left = set(candidates) - set(known)
    for path in french_files(folder):
        for chunk in _chunks(path):
            if not left:
                return left
            left -= set(words(chunk))
    return left


def held_out_prose(folder: Path) -> list[str]:
    """Return the last lines of each French text: general prose that training has not read.

    Raises:
        EngineError: There are no texts.
    """
    slices = []
    for path in french_files(folder):
        tail, length = "", 0
        for chunk in _chunks(path):
            tail, length = (tail + chunk)[-PROSE_CHARS:], length + len(chunk)
        tail = tail[-min(len(tail), int(length * PROSE_SHARE)) :] if length * PROSE_SHARE >= 1 else ""
        _, _, whole_lines = tail.partition(" ")
        slices.append(" ".join(whole_lines.split()))
    return [text for text in slices if text]
