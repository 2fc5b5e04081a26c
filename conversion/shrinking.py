"""One run of `shrink`: choose the pieces, cut the model, measure, report. Knows the steps; does none itself."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from conversion.container import read_container
from conversion.shrink import (
    Pair,
    ShrinkReport,
    check_whole,
    compare_tokens,
    kept_notes,
    measure,
    sample_lines,
    shrink_gguf,
    write_shrink_report,
)
from conversion.vocabulary import Rules, Vocabulary, choose, read_kept, read_texts, vocabulary_of, write_kept
from errors import ConversionError

Report = Callable[[str, float], None]
HELD_OUT_LINES = 20  # scored or embedded by both models: half a minute for a small one


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        model: A checkpoint folder, or a GGUF.
        out: Must not exist.
        texts: Files of general texts.
        own: Files whose every word counts.
        held_out: Files that both models are measured on.
        kept: A list made before, instead of texts.
        without: Pieces with this text are left out; empty for none.
        min_word_count: Rarer words are not looked at.
        min_piece_weight: Rarer pieces are not kept.
        lines: How many lines' tokens are compared.
        threads: Of the speed measure.
    """

    model: Path
    out: Path
    texts: tuple[Path, ...] = ()
    own: tuple[Path, ...] = ()
    held_out: tuple[Path, ...] = ()
    kept: Path | None = None
    without: str = ""
    min_word_count: int = 4
    min_piece_weight: int = 20
    lines: int = 3000
    threads: int = 2

    def __post_init__(self) -> None:
        if bool(self.kept) == bool(self.texts or self.own):
            raise ConversionError("Give texts to choose the pieces from, or a list of kept pieces: one of both.")
        if not self.model.exists():
            raise ConversionError(f"{self.model} is missing.")
        if self.out.exists():
            raise ConversionError(f"{self.out} exists and is never overwritten. Move it, or pass another --out.")


def _reading(files: Sequence[Path], report: Report, step: str) -> Iterator[str]:
    """Yield the texts of some files and report how many files are read."""
    for number, path in enumerate(files):
        report(step, number / len(files))
        yield from read_texts(path)
    report(step, 1.0)


def _full(model: Path) -> Vocabulary:
    if model.is_dir():
        from conversion.shrink_checkpoint import checkpoint_vocabulary

        return checkpoint_vocabulary(model)
    container = read_container(model)
    check_whole(container)
    return vocabulary_of(container)


def _chosen(request: Request, full: Vocabulary, report: Report) -> list[int]:
    """Return the list of kept pieces, chosen or read."""
    if request.kept is not None:
        return read_kept(request.kept)
    return choose(
        full,
        _reading(request.texts, report, "reading"),
        own=_reading(request.own, report, "reading our own"),
        rules=Rules(forbidden=request.without),
        min_word_count=request.min_word_count,
        min_piece_weight=request.min_piece_weight,
    )


def _write_list(request: Request, full: Vocabulary, kept: Sequence[int]) -> None:
    """Write a list that was chosen here beside the model, before the long measure: `--kept` takes it again."""
    if request.kept is not None:
        return
    words, weight = request.min_word_count, request.min_piece_weight
    notes = kept_notes(full, len(kept), min_word_count=words, min_piece_weight=weight)
    write_kept(request.out.with_name(f"{request.out.name}.kept_pieces.txt"), kept, notes)


def shrink_model(request: Request, report: Report = lambda _step, _progress: None) -> ShrinkReport:
    """Cut a model and say what that gives and costs; the list of pieces and the report stand beside the result.

    For a checkpoint the tokens are compared, and the size; perplexity and speed are those of the GGUF made from it.

    Raises:
        ConversionError: Something does not fit; nothing is written under the final name then.
    """
    full = _full(request.model)
    kept = _chosen(request, full, report)
    files = request.held_out or request.texts or request.own
    lines = sample_lines(_reading(files, report, "sampling"), request.lines) if files else []
    report("cutting", 0.0)
    if request.model.is_dir():
        from conversion.shrink_checkpoint import checkpoint_ids, folder_bytes, shrink_checkpoint

        out = shrink_checkpoint(request.model, kept, request.out)
        _write_list(request, full, kept)
        report("measuring", 0.0)
        found = ShrinkReport(
            Pair(len(full.tokens), len(kept)),
            Pair(folder_bytes(request.model), folder_bytes(out)),
            compare_tokens(checkpoint_ids(request.model, lines), checkpoint_ids(out, lines), kept),
        )
    else:
        out = shrink_gguf(request.model, kept, request.out)
        _write_list(request, full, kept)
        report("measuring", 0.0)
        held_out = sample_lines(_reading(request.held_out, report, "sampling"), HELD_OUT_LINES)
        found = measure(request.model, out, kept, lines, held_out, threads=request.threads)
    write_shrink_report(found, out.with_name(f"{out.name}.shrink.json"))
    return found
