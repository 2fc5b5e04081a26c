"""A model with a vocabulary cut to a language, and what it costs. Knows GGUFs and numbers; trains nothing.

From GGUF to GGUF every byte of the kept rows and of all other tensors stays as it is, so only texts with pieces that
are gone can be read otherwise. What that costs is measured on both files: tokens, perplexity, speed.
"""

import json
import logging
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from conversion.assemble import cut_container, write_container
from conversion.container import Container, Field, read_container
from conversion.vocabulary import Vocabulary, vocabulary_of
from errors import ConversionError

log = logging.getLogger(__name__)

POOLING = "{arch}.pooling_type"
DESCRIPTION = "general.description"
MAX_IDS = 512  # of one text that is measured
PREFILL, DECODE = 256, 64  # tokens of the speed measures
MIN_LINE = 20  # characters: shorter lines say little


@dataclass(frozen=True)
class Pair:
    """The same number for the whole model and for the cut one."""

    full: float
    cut: float


@dataclass(frozen=True)
class TokenFacts:
    """How both vocabularies cut the same lines.

    Attributes:
        lines: How many.
        identical: Share of the lines that are cut into the same pieces.
        tokens: All tokens of these lines.
    """

    lines: int
    identical: float
    tokens: Pair

    @property
    def overhead(self) -> float:
        """Further tokens that the cut one needs, as a share."""
        return self.tokens.cut / self.tokens.full - 1 if self.tokens.full else 0.0


@dataclass(frozen=True)
class ShrinkReport:
    """What a cut gives and costs.

    Attributes:
        pieces: Of the vocabulary.
        size_bytes: Of the file, or of all files of a checkpoint.
        tokens: How lines are cut.
        perplexity: Of a token of the held-out text; each model's own tokens, so compare `bits_per_byte` too.
        bits_per_byte: Of the held-out text, whatever the tokens.
        decode_tokens_s: Tokens a second, one after the other.
        prefill_tokens_s: Tokens a second of a prompt.
        cosine: For embedders: between both vectors of a held-out line, mean and worst.
    """

    pieces: Pair
    size_bytes: Pair
    tokens: TokenFacts
    perplexity: Pair | None = None
    bits_per_byte: Pair | None = None
    decode_tokens_s: Pair | None = None
    prefill_tokens_s: Pair | None = None
    cosine: tuple[float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON holds it."""
        found = asdict(self)
        found["tokens"]["overhead"] = self.tokens.overhead
        return {key: value for key, value in found.items() if value is not None}


def shrink_gguf(source: Path, kept: Sequence[int], out: Path) -> Path:
    """Write `out`, the GGUF `source` with the kept pieces alone; everything else is its own bytes.

    Raises:
        ConversionError: `out` exists, the file comes in parts, or the pieces do not fit.
    """
    full = read_container(source)
    check_whole(full)
    cut = cut_container(full, kept)
    said = f"Vocabulary cut from {len(vocabulary_of(full).tokens)} to {len(kept)} pieces."
    before = full.fields.get(DESCRIPTION)
    fields = dict(cut.fields)
    if before is not None:
        fields[DESCRIPTION] = Field(f"{before.value} {said}", before.kind)
    return write_container(Container(source, fields, cut.tensors), out)


def check_whole(model: Container) -> None:
    """Refuse a GGUF that is one part of several.

    Raises:
        ConversionError: It is.
    """
    parts = model.fields.get("split.count")
    if parts is not None and parts.value > 1:
        raise ConversionError(f"{model.path} is one of {parts.value} parts; join them with llama-gguf-split --merge.")


def compare_tokens(full: Iterable[Sequence[int]], cut: Iterable[Sequence[int]], kept: Sequence[int]) -> TokenFacts:
    """Compare the ids of the same lines, cut by the whole vocabulary and by the kept pieces.

    >>> compare_tokens([[5, 7], [5, 9]], [[0, 1], [0, 0, 0]], kept=[5, 7])
    TokenFacts(lines=2, identical=0.5, tokens=Pair(full=4, cut=5))
    """
    n_lines = same = n_full = n_cut = 0
    for whole, fewer in zip(full, cut, strict=True):
        n_lines, n_full, n_cut = n_lines + 1, n_full + len(whole), n_cut + len(fewer)
        same += [kept[number] for number in fewer] == list(whole)
    return TokenFacts(n_lines, same / n_lines if n_lines else 0.0, Pair(n_full, n_cut))


@contextmanager
def _vocabulary_only(path: Path) -> Iterator[Any]:
    import llama_cpp

    try:
        model = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    except ValueError as error:  # the library's only word for a file it cannot load
        raise ConversionError(f"llama.cpp cannot load {path}.") from error
    try:
        yield model
    finally:
        model.close()


def gguf_ids(path: Path, lines: Sequence[str]) -> list[list[int]]:
    """Return how llama.cpp cuts lines with a GGUF's vocabulary, no special piece added or sought.

    Raises:
        ConversionError: llama.cpp cannot load the file.
    """
    with _vocabulary_only(path) as model:
        return [model.tokenize(line.encode(), add_bos=False, special=False) for line in lines]


@dataclass(frozen=True)
class _Spoken:
    """What one generative model says of the held-out lines, and how fast."""

    nats: float
    tokens: int
    prefill_s: float
    decode_s: float


def _speak(path: Path, lines: Sequence[str], threads: int) -> _Spoken:
    """Score lines and time both ways of reading."""
    from engines.scoring import ScoringModel

    model = ScoringModel(path, threads=threads)
    try:
        nats, tokens = 0.0, 0
        starts = [model.bos] if model.bos is not None else []
        for line in lines:
            ids = [*starts, *model.encode(line)][:MAX_IDS]
            rows = model.log_probs(ids)
            begin = max(1, len(starts))  # the first token of all has nothing before it
            nats -= float(rows[np.arange(begin - 1, len(ids) - 1), ids[begin:]].sum(dtype=np.float64))
            tokens += len(ids) - begin
        prompt = (model.encode(" ".join(lines)) * PREFILL)[:PREFILL]
        model.clear()
        begin_s = time.perf_counter()
        model.read(prompt, 0, 0)
        read_s = time.perf_counter()
        for number in range(DECODE):
            model.read((prompt[number],), PREFILL + number, 0)
        return _Spoken(nats, tokens, read_s - begin_s, time.perf_counter() - read_s)
    finally:
        model.close()


def embed_lines(path: Path, lines: Sequence[str]) -> "np.ndarray[Any, Any]":
    """Return (lines, width) vectors of length 1, by an embedder in GGUF on one thread; longer lines are cut off."""
    import llama_cpp

    model = llama_cpp.Llama(
        str(path), embedding=True, n_ctx=MAX_IDS, n_batch=MAX_IDS, n_ubatch=MAX_IDS, n_threads=1, n_threads_batch=1,
        verbose=False,
    )  # fmt: skip
    try:
        found = np.asarray([model.embed(line.strip(), truncate=True) for line in lines], dtype=np.float64)
    finally:
        model.close()
    vectors: np.ndarray[Any, Any] = found / np.linalg.norm(found, axis=1, keepdims=True)
    return vectors


def measure(
    full: Path, cut: Path, kept: Sequence[int], lines: Sequence[str], held_out: Sequence[str] = (), *, threads: int = 2
) -> ShrinkReport:
    """Measure what a cut GGUF gives and costs.

    Args:
        full: The whole model.
        cut: The cut one.
        kept: The pieces it was cut to.
        lines: Texts whose tokens are compared.
        held_out: Texts that are scored, or embedded; none measures no speech and no speed.
        threads: Of llama.cpp.

    Raises:
        ConversionError: A file cannot be loaded.
    """
    container = read_container(full)
    tokens = compare_tokens(gguf_ids(full, lines), gguf_ids(cut, lines), kept)
    pieces = Pair(len(container.value("tokenizer.ggml.tokens")), len(kept))
    sizes = Pair(full.stat().st_size, cut.stat().st_size)
    if not held_out:
        return ShrinkReport(pieces, sizes, tokens)
    if POOLING.format(arch=container.value("general.architecture")) in container.fields:
        cosines = (embed_lines(full, held_out) * embed_lines(cut, held_out)).sum(axis=1)
        return ShrinkReport(pieces, sizes, tokens, cosine=(float(cosines.mean()), float(cosines.min())))
    whole, fewer = _speak(full, held_out, threads), _speak(cut, held_out, threads)
    n_bytes = sum(len(line.encode()) for line in held_out)
    return ShrinkReport(
        pieces,
        sizes,
        tokens,
        perplexity=Pair(*(math.exp(one.nats / max(1, one.tokens)) for one in (whole, fewer))),
        bits_per_byte=Pair(*(one.nats / math.log(2) / n_bytes for one in (whole, fewer))),
        decode_tokens_s=Pair(*(DECODE / one.decode_s for one in (whole, fewer))),
        prefill_tokens_s=Pair(*(PREFILL / one.prefill_s for one in (whole, fewer))),
    )


def sample_lines(texts: Iterable[str], limit: int) -> list[str]:
    """Take lines evenly from texts, at most `limit`, short ones left out: every text has its say.

    >>> sample_lines(["ab", "un assez long texte 1", "un assez long texte 2", "un assez long texte 3"], 2)
    ['un assez long texte 1', 'un assez long texte 3']
    """
    step, kept, seen = 1, [], 0
    for text in texts:
        for line in text.splitlines():
            if len(line.strip()) < MIN_LINE:
                continue
            if seen % step == 0:
                kept.append(line.strip())
            seen += 1
            if len(kept) > limit:
                kept, step = kept[::2], step * 2
    return kept


def write_shrink_report(report: ShrinkReport, path: Path) -> Path:
    """Write the report as JSON; an earlier one is replaced whole."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(report.to_dict(), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
    return path


def kept_notes(full: Vocabulary, n_kept: int, *, min_word_count: int, min_piece_weight: int) -> tuple[str, ...]:
    """Return what the head of a list of kept pieces says."""
    return (
        f"Ids of the pieces of {Path(full.source).name} that the cut vocabulary keeps, in its order.",
        f"By `python -m conversion shrink`: words {min_word_count} times, pieces {min_piece_weight}.",
        f"{n_kept} of {len(full.tokens)} pieces.",
    )
