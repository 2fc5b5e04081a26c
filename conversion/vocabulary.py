"""A vocabulary cut to a language: which pieces of a BPE vocabulary its words need. Knows pieces; knows no weights.

A piece is kept with the whole path of merges that leads to it, so that the smaller vocabulary cuts a word exactly as
the full one does. Source of the method: SentencePiece BPE merges the adjacent pair whose joined piece has the best
score, until no pair is a piece; a pair that is missing on the way changes every later choice.
"""

import json
import lzma
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from conversion.container import Container, read_container
from errors import ConversionError

SPACE = "▁"  # stands for a space inside pieces
LETTERS = re.compile(rf"{SPACE}?[^\W\d_]+")
SPECIALS = ("<pad>", "<eos>", "<bos>", "<unk>")  # ids 0 to 3 of the base, and of the cut
# Rows that the base never used, renamed to carry the prompt format of Mistral as control pieces.
RENAMED: Mapping[str, str] = {"<unused0>": "[INST]", "<unused1>": "[/INST]"}
MOJIBAKE = "Ã"  # what a doubly encoded French accent begins with; French itself never uses it
NORMAL, CONTROL, USER_DEFINED, BYTE = 1, 3, 4, 6  # token types of the GGUF format

# Letters, digits and signs that a French text may hold even where our texts do not.
SINGLE_RANGES = ((0x21, 0x24F), (0x370, 0x3FF), (0x2010, 0x205E), (0x20A0, 0x20BF), (0x2190, 0x2193), (0x2260, 0x2265))


class Merges:
    """The merges of a SentencePiece BPE vocabulary."""

    def __init__(self, pieces: Mapping[str, float]) -> None:
        """Take every normal piece with its score; the higher score is merged first."""
        self.pieces = pieces

    def path(self, word: str) -> Iterator[str]:
        """Yield the pieces that cutting `word` meets: its characters, then each merge, leftmost of equals first."""
        parts = list(word)
        yield from parts
        scores = [self.pieces.get(a + b) for a, b in pairwise(parts)]
        while True:
            best = max((score for score in scores if score is not None), default=None)
            if best is None:
                return
            at = scores.index(best)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
            yield parts[at]
            del scores[at]
            if at < len(scores):
                scores[at] = self.pieces.get(parts[at] + parts[at + 1])
            if at > 0:
                scores[at - 1] = self.pieces.get(parts[at - 1] + parts[at])


def count_words(texts: Iterable[str]) -> Counter[str]:
    """Count words as the vocabulary sees them: a space before a word belongs to it, a line's first word has none."""
    first: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for text in texts:
        for line in text.splitlines():
            words = line.split()
            first.update(words[:1])
            others.update(words[1:])
    counts = Counter({SPACE + word: count for word, count in others.items()})
    counts.update(first)
    return counts


def letter_runs(words: Mapping[str, int]) -> Counter[str]:
    """Count the runs of letters inside words: « liberté, » and « (liberté) » are the same word to a reader."""
    runs: Counter[str] = Counter()
    for word, count in words.items():
        for run in LETTERS.findall(word):
            runs[run] += count
    return runs


def _weigh(merges: Merges, words: Mapping[str, int]) -> Counter[str]:
    """Sum, for each piece met on the way to a word, the counts of these words."""
    weights: Counter[str] = Counter()
    for word, count in words.items():
        for piece in merges.path(word):
            weights[piece] += count
    return weights


def _is_single(piece: str) -> bool:
    """A letter, digit, punctuation or sign of the ranges above, alone or after a space."""
    character = piece.removeprefix(SPACE)
    if len(character) != 1 or not any(low <= ord(character) <= high for low, high in SINGLE_RANGES):
        return False
    return len(piece) == 1 or unicodedata.category(character)[0] in "LNP"


def _always(base: Container) -> set[int]:
    """Ids kept whatever the texts: specials, renamed rows, bytes, newline runs, single characters."""
    tokens: list[str] = base.value("tokenizer.ggml.tokens")
    kinds: list[int] = base.value("tokenizer.ggml.token_type")
    if tuple(tokens[: len(SPECIALS)]) != SPECIALS:
        raise ConversionError(f"{base.path} begins with the pieces {tokens[:4]}; expected {list(SPECIALS)}.")
    kept = set(range(len(SPECIALS)))
    for number, (piece, kind) in enumerate(zip(tokens, kinds, strict=True)):
        newlines = kind == USER_DEFINED and piece.strip("\n") == ""
        if piece in RENAMED or kind == BYTE or newlines or (kind == NORMAL and _is_single(piece)) or piece == SPACE:
            kept.add(number)
    missing = [piece for piece in RENAMED if piece not in tokens]
    if missing:
        raise ConversionError(f"{base.path} has no piece {missing[0]!r} to rename {RENAMED[missing[0]]!r}.")
    return kept


def choose_pieces(
    base_gguf: Path,
    texts: Iterable[str],
    *,
    own: Iterable[str] = (),
    min_word_count: int = 4,
    min_piece_weight: int = 20,
) -> list[int]:
    """Choose the pieces that the words of some texts need.

    Args:
        base_gguf: The model with the full vocabulary (SentencePiece BPE with byte fallback).
        texts: General texts of the language.
        own: Texts the model is trained on or will be asked: each of their words is kept as the full vocabulary cuts
            it, after a space and at a line's start.
        min_word_count: Rarer words of `texts` are not looked at.
        min_piece_weight: A piece is kept when the words that meet it were seen this often together.

    Returns:
        The ids kept, rising: the order of the base, so that merges keep their priority.

    Raises:
        ConversionError: The base has another kind of vocabulary.
    """
    base = read_container(base_gguf)
    kept = _always(base)
    tokens, scores = base.value("tokenizer.ggml.tokens"), base.value("tokenizer.ggml.scores")
    kinds = base.value("tokenizer.ggml.token_type")
    ids = {tokens[i]: i for i, kind in enumerate(kinds) if kind == NORMAL}
    merges = Merges({piece: scores[i] for piece, i in ids.items()})
    words = count_words(texts)
    bare = {word.removeprefix(SPACE) for word in count_words(own)}
    ours = dict.fromkeys([*bare, *(SPACE + word for word in bare)], min_piece_weight)
    for counted in (words, letter_runs(words), ours, letter_runs(ours)):
        seen = {word: n for word, n in counted.items() if n >= min_word_count and MOJIBAKE not in word}
        weights = _weigh(merges, seen)
        kept.update(ids[piece] for piece, n in weights.items() if n >= min_piece_weight and piece in ids)
    return sorted(number for number in kept if MOJIBAKE not in tokens[number])


def _strings(value: Any) -> Iterator[str]:
    """Every text inside a value read from JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, Sequence):
        for item in value:
            yield from _strings(item)


def read_texts(path: Path) -> Iterator[str]:
    """Yield the texts of a file: `.xz` and plain text line by line, `.jsonl` every string of every line.

    Raises:
        ConversionError: A line of a `.jsonl` file is no JSON.
    """
    if path.suffix == ".xz":
        with lzma.open(path, "rt", encoding="utf-8") as lines:
            yield from lines
        return
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if path.suffix != ".jsonl":
                yield line
            elif line.strip():
                try:
                    yield from _strings(json.loads(line))
                except json.JSONDecodeError as error:
                    raise ConversionError(f"{path}, line {number} is no JSON: {error}.") from error


def write_kept(path: Path, kept: Sequence[int], notes: Sequence[str]) -> None:
    """Write the list of kept ids, one a line, `notes` first as comments; a list that is there is replaced whole."""
    partial = path.with_suffix(".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [*(f"# {note}" for note in notes), *map(str, kept)]
    partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    partial.replace(path)


def read_kept(path: Path) -> list[int]:
    """Read what `write_kept` wrote.

    Raises:
        ConversionError: The file is missing, a line is no number, or the ids do not rise.
    """
    if not path.is_file():
        raise ConversionError(f"{path} is missing. Make it with `python -m conversion vocabulary`.")
    kept = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("#") or not line.strip():
            continue
        if not line.strip().isdecimal():
            raise ConversionError(f"{path}, line {number}: {line[:40]!r} is no piece id.")
        kept.append(int(line))
    if kept != sorted(set(kept)) or len(kept) <= len(SPECIALS):
        raise ConversionError(f"{path} holds {len(kept)} ids that do not rise one by one. Make it again.")
    return kept


def general_files(corpora_dir: Path) -> list[Path]:
    """Return the files of general French, philosophical works and exam questions under the corpora folder.

    Raises:
        ConversionError: There is no French text.
    """
    french = sorted(corpora_dir.glob("french/*.txt.xz"))
    if not french:
        raise ConversionError(f"{corpora_dir}/french holds no *.txt.xz; the vocabulary is chosen from such texts.")
    return [*french, *sorted(corpora_dir.glob("works/*/*.jsonl")), *sorted(corpora_dir.glob("questions/*.txt"))]


def own_files(root: Path) -> list[Path]:
    """Return what the embedded model is trained on or prompted with. The examination's questions are no part of it."""
    patterns = ("data/notes/*.jsonl", "data/dialogues/*.jsonl", "data/schemes*.jsonl", "personas/*.toml")
    return [path for pattern in patterns for path in sorted(root.glob(pattern))]
