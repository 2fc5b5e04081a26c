"""A vocabulary cut to a language: which of its pieces the language's words need. Knows pieces; knows no weights.

BPE: a piece is kept with the whole path of merges that leads to it, so that the smaller vocabulary cuts a word exactly
as the full one does. Source of the method: SentencePiece BPE merges the adjacent pair whose joined piece has the best
score, until no pair is a piece; a pair that is missing on the way changes every later choice.

Unigram: the pieces of the likeliest cut of a word are enough. With others gone, that cut is still the likeliest.
"""

import json
import lzma
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Protocol

from conversion.container import Container, read_container
from errors import ConversionError

SPACE = "▁"  # stands for a space inside pieces
LETTERS = re.compile(rf"{SPACE}?[^\W\d_]+")
SPECIALS = ("<pad>", "<eos>", "<bos>", "<unk>")  # ids 0 to 3 of the base, and of the cut
# Rows that the base never used, renamed to carry the prompt format of Mistral as control pieces.
RENAMED: Mapping[str, str] = {"<unused0>": "[INST]", "<unused1>": "[/INST]"}
MOJIBAKE = "Ã"  # what a doubly encoded French accent begins with; French itself never uses it
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # token types of GGUF and SentencePiece
# Rows kept free by the makers of a model for later use, which no text and no template ever names.
NEVER_USED = re.compile(
    r"<unused_?\d+>|\[control_\d+\]|\[PAD\d+\]|<SPECIAL_\d+>|<extra_id_\d+>|<\|reserved_.*\|>|<mask>"
)
DIGITS = re.compile(rf"{SPACE}?[0-9]+")
TOKEN_ID = re.compile(r"tokenizer\.ggml\.\w+_token_id")
UNKNOWN_PENALTY = 10.0  # below the worst piece: what SentencePiece takes off for a character it has no piece for

# Letters, digits and signs that a French text may hold even where our texts do not.
SINGLE_RANGES = ((0x21, 0x24F), (0x370, 0x3FF), (0x2010, 0x205E), (0x20A0, 0x20BF), (0x2190, 0x2193), (0x2260, 0x2265))

Method = Literal["bpe", "unigram"]
METHODS: Mapping[str, Method] = {"llama": "bpe", "t5": "unigram"}  # by the name of the tokenizer in a GGUF


@dataclass(frozen=True)
class Vocabulary:
    """The pieces of a model, in the order of their ids.

    Attributes:
        source: Where it comes from, for messages.
        method: How a word is cut.
        tokens: Texts, "▁" for a space.
        scores: The best is merged first (BPE), or log probabilities (Unigram).
        kinds: Types of the GGUF format.
        named: Ids that the model's settings name: beginning, end, unknown, padding.
        leading_space: True when a text's first word is cut as after a space.
    """

    source: str
    method: Method
    tokens: Sequence[str]
    scores: Sequence[float]
    kinds: Sequence[int]
    named: frozenset[int] = frozenset()
    leading_space: bool = False


@dataclass(frozen=True)
class Rules:
    """What a cut keeps and drops whatever the texts.

    Attributes:
        first: Pieces that the vocabulary must begin with.
        renamed: Unused pieces that get a new name and stay.
        controls: Keep control and user-defined pieces, but for those that nothing ever names.
        digits: Keep numbers: the years of other centuries stand in no text of one.
        forbidden: Pieces and words with this text are left out; empty for none.
    """

    first: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    controls: bool = True
    digits: bool = True
    forbidden: str = ""


DEMO_RULES = Rules(first=SPECIALS, renamed=RENAMED, controls=False, digits=False, forbidden=MOJIBAKE)


class Cutter(Protocol):
    """How a word becomes pieces."""

    def path(self, word: str) -> Iterator[str]:
        """Yield every piece that must be there for `word` to be cut as it is."""
        ...


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


class Unigram:
    """The likeliest cut of a SentencePiece Unigram vocabulary."""

    def __init__(self, pieces: Mapping[str, float]) -> None:
        """Take every normal piece with its log probability."""
        self.pieces = pieces
        self.longest = max(map(len, pieces), default=1)
        self.unknown = min(pieces.values(), default=0.0) - UNKNOWN_PENALTY

    def path(self, word: str) -> Iterator[str]:
        """Yield the pieces of the likeliest cut of `word`, last first; a character without a piece is skipped."""
        best, begins = [0.0], [0]
        for end in range(1, len(word) + 1):
            top, begin = best[end - 1] + self.pieces.get(word[end - 1], self.unknown), end - 1
            for start in range(max(0, end - self.longest), end - 1):
                score = self.pieces.get(word[start:end])
                if score is not None and best[start] + score > top:
                    top, begin = best[start] + score, start
            best.append(top)
            begins.append(begin)
        end = len(word)
        while end:
            if word[begins[end] : end] in self.pieces:
                yield word[begins[end] : end]
            end = begins[end]


def cutter_of(vocabulary: Vocabulary) -> Cutter:
    """Return how this vocabulary cuts words, its control pieces left aside."""
    rows = zip(vocabulary.tokens, vocabulary.scores, vocabulary.kinds, strict=True)
    pieces = {token: score for token, score, kind in rows if kind == NORMAL}
    return Merges(pieces) if vocabulary.method == "bpe" else Unigram(pieces)


def vocabulary_of(model: Container) -> Vocabulary:
    """Return the vocabulary of a GGUF.

    Raises:
        ConversionError: It is of another kind than SentencePiece BPE or Unigram.
    """
    name = model.value("tokenizer.ggml.model")
    if name not in METHODS:
        raise ConversionError(
            f"{model.path} has a {name!r} vocabulary; only SentencePiece's BPE and Unigram can be cut."
        )
    tokens, scores, kinds = (model.value(f"tokenizer.ggml.{key}") for key in ("tokens", "scores", "token_type"))
    named = frozenset(int(one.value) for key, one in model.fields.items() if TOKEN_ID.fullmatch(key))
    space = model.fields.get("tokenizer.ggml.add_space_prefix")
    return Vocabulary(
        str(model.path), METHODS[name], tokens, scores, kinds, named, True if space is None else bool(space.value)
    )


def count_words(texts: Iterable[str], *, leading_space: bool = False) -> Counter[str]:
    """Count words as the vocabulary sees them: a space before a word belongs to it.

    A line's first word has none, unless the vocabulary puts one there (`leading_space`).
    """
    first: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for text in texts:
        for line in text.splitlines():
            words = line.split()
            first.update(words[:1])
            others.update(words[1:])
    if leading_space:
        others.update(first)
        first.clear()
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


def _weigh(cutter: Cutter, words: Mapping[str, int]) -> Counter[str]:
    """Sum, for each piece met on the way to a word, the counts of these words."""
    weights: Counter[str] = Counter()
    for word, count in words.items():
        for piece in cutter.path(word):
            weights[piece] += count
    return weights


def _is_single(piece: str) -> bool:
    """A letter, digit, punctuation or sign of the ranges above, alone or after a space."""
    character = piece.removeprefix(SPACE)
    if len(character) != 1 or not any(low <= ord(character) <= high for low, high in SINGLE_RANGES):
        return False
    return len(piece) == 1 or unicodedata.category(character)[0] in "LNP"


def _is_always_kept(piece: str, kind: int, rules: Rules) -> bool:
    """Bytes, newline runs, single characters and the space; numbers and control pieces if the rules say so."""
    if kind == BYTE or piece == SPACE or piece in rules.renamed:
        return True
    if kind == NORMAL:
        return _is_single(piece) or (rules.digits and DIGITS.fullmatch(piece) is not None)
    if kind == USER_DEFINED and piece.strip("\n") == "":
        return True
    return rules.controls and kind in (CONTROL, USER_DEFINED, UNKNOWN) and not NEVER_USED.fullmatch(piece)


def _always(full: Vocabulary, rules: Rules) -> set[int]:
    """Ids kept whatever the texts: the first ones, those that the settings name, and those of the rules."""
    if tuple(full.tokens[: len(rules.first)]) != rules.first:
        raise ConversionError(f"{full.source} begins with the pieces {full.tokens[:4]}; expected {list(rules.first)}.")
    kept = set(range(len(rules.first))) | (full.named if rules.controls else set())
    for number, (piece, kind) in enumerate(zip(full.tokens, full.kinds, strict=True)):
        if _is_always_kept(piece, kind, rules):
            kept.add(number)
    missing = [piece for piece in rules.renamed if piece not in full.tokens]
    if missing:
        raise ConversionError(f"{full.source} has no piece {missing[0]!r} to rename {rules.renamed[missing[0]]!r}.")
    return kept


def choose(
    full: Vocabulary,
    texts: Iterable[str],
    *,
    own: Iterable[str] = (),
    rules: Rules = Rules(),
    min_word_count: int = 4,
    min_piece_weight: int = 20,
) -> list[int]:
    """Choose the pieces that the words of some texts need.

    Args:
        full: The whole vocabulary.
        texts: General texts of the language.
        own: Texts the model is trained on or will be asked: each of their words is kept as the full vocabulary cuts
            it, after a space and at a line's start.
        rules: What is kept whatever the texts.
        min_word_count: Rarer words of `texts` are not looked at.
        min_piece_weight: A piece is kept when the words that meet it were seen this often together.

    Returns:
        The ids kept, rising: the order of the whole, so that merges keep their priority.

    Raises:
        ConversionError: The vocabulary does not fit the rules.
    """
    kept = _always(full, rules)
    ids = {full.tokens[number]: number for number, kind in enumerate(full.kinds) if kind == NORMAL}
    cutter = cutter_of(full)
    if full.method == "unigram":  # such vocabularies hold composed characters alone
        texts, own = map(_composed, texts), map(_composed, own)
    words = count_words(texts, leading_space=full.leading_space)
    bare = {word.removeprefix(SPACE) for word in count_words(own)}
    ours = dict.fromkeys([*bare, *(SPACE + word for word in bare)], max(min_word_count, min_piece_weight))
    for counted in (words, letter_runs(words), ours, letter_runs(ours)):
        seen = {word: n for word, n in counted.items() if n >= min_word_count and not _holds(word, rules.forbidden)}
        weights = _weigh(cutter, seen)
        kept.update(ids[piece] for piece, n in weights.items() if n >= min_piece_weight and piece in ids)
    return sorted(number for number in kept if not _holds(full.tokens[number], rules.forbidden))


def _composed(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _holds(text: str, forbidden: str) -> bool:
    return bool(forbidden) and forbidden in text


def choose_pieces(
    base_gguf: Path,
    texts: Iterable[str],
    *,
    own: Iterable[str] = (),
    min_word_count: int = 4,
    min_piece_weight: int = 20,
) -> list[int]:
    """Choose the pieces of the embedded model's base: `choose` with the rules of its prompt format.

    Raises:
        ConversionError: The base has another kind of vocabulary.
    """
    full = vocabulary_of(read_container(base_gguf))
    return choose(
        full, texts, own=own, rules=DEMO_RULES, min_word_count=min_word_count, min_piece_weight=min_piece_weight
    )


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
        ConversionError: The file is missing or damaged, or a line of a `.jsonl` file is no JSON.
    """
    try:
        with lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if path.suffix != ".jsonl":
                    yield line
                elif line.strip():
                    try:
                        yield from _strings(json.loads(line))
                    except json.JSONDecodeError as error:
                        raise ConversionError(f"{path}, line {number} is no JSON: {error}.") from error
    except (FileNotFoundError, EOFError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise ConversionError(f"{path} cannot be read: {error}.") from error


def write_kept(path: Path, kept: Sequence[int], notes: Sequence[str]) -> None:
    """Write the list of kept ids, one a line, `notes` first as comments; a list that is there is replaced whole.

    A name that ends in `.xz` is packed: a seventh of the size.
    """
    partial = path.with_suffix(".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [*(f"# {note}" for note in notes), *map(str, kept)]
    content = ("\n".join(lines) + "\n").encode()
    partial.write_bytes(lzma.compress(content, preset=9) if path.suffix == ".xz" else content)
    partial.replace(path)


def read_kept(path: Path) -> list[int]:
    """Read what `write_kept` wrote.

    Raises:
        ConversionError: The file is missing or damaged, a line is no number, or the ids do not rise.
    """
    if not path.is_file():
        raise ConversionError(f"{path} is missing. Make it with `python -m conversion vocabulary`.")
    try:
        content = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
        text = content.decode("utf-8")
    except (lzma.LZMAError, UnicodeDecodeError) as error:
        raise ConversionError(f"{path} cannot be read ({error}). Make it again.") from None
    kept = []
    for number, line in enumerate(text.splitlines(), 1):
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
