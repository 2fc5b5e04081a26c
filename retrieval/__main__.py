"""`python -m retrieval`: index texts, search them, find notes, measure all of it. Data on stdout, talk on stderr."""

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from cli import run_commands
from errors import RetrievalError
from retrieval import calibration, distill_commands
from retrieval.embedders import Embedder, default_embedder, open_embedder
from retrieval.notes import NoteIndex, load_notes, write_vectors
from retrieval.passages import Filter
from settings import load_settings

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Index texts, search them, find notes, and measure all of it."
)
talk = Console(stderr=True)
ROOT = Path(__file__).parents[1]
NOTES = ROOT / "data" / "notes"
QUERIES = ROOT / "data" / "queries"
DIALOGUES = ROOT / "data" / "dialogues"

SPEC_HELP = "gguf:PATH, model2vec:FOLDER, openai:URL#MODEL, or none for words alone; unset, the default embedder."
Spec = Annotated[str | None, typer.Option("--embedder", help=SPEC_HELP)]
Json = Annotated[bool, typer.Option("--json", help="Data on stdout as JSON.")]
Notes = Annotated[Path, typer.Option(help="Folder of reading notes.", show_default="data/notes")]
Place = Annotated[
    str, typer.Option("--in", help="A name, a folder (of an index, or of notes), lancedb://FOLDER/NAME, s3://…/NAME.")
]


@contextmanager
def _bar(label: str) -> Iterator[Callable[[float, str], None]]:
    """Give a function that shows the share done on stderr."""
    with Progress(console=talk, transient=True, disable=not talk.is_terminal) as progress:
        task = progress.add_task(label, total=1.0)

        def show(share: float, name: str = "") -> None:
            progress.update(task, completed=share, description=f"{label} {name}".strip())

        yield show


def _embedder(spec: str | None) -> Embedder | None:
    """Open what was asked for, the default otherwise; say when searches will compare words alone."""
    settings = load_settings()
    spec = spec or settings.embedder
    if spec == "none":
        return None
    from engines.llama_model import free_cpus  # loads llama.cpp: not for --help

    threads = free_cpus()  # before the work begins, which is load itself
    if spec:
        key = settings.embedder_key.get_secret_value() if settings.embedder_key else None
        return open_embedder(spec, api_key=key, threads=lambda: threads)
    found = default_embedder(settings.data_dir, threads=lambda: threads)
    if found is None:
        typer.echo("No embedder: words alone are compared. `python -m conversion embedder` makes one.", err=True)
    return found


def _address(name: str) -> str:
    """A bare name stands for a folder of the data folder; anything with a slash is what it says."""
    if "/" in name or Path(name).is_dir():
        return name
    return str(load_settings().data_dir / "indexes" / name)


@app.command()
def index(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders: txt, md, html, epub, pdf, TEI-XML, jsonl.")],
    into: Annotated[str, typer.Option(help="A name, a folder, or lancedb://FOLDER/NAME, s3://BUCKET/…/NAME.")],
    author: Annotated[str, typer.Option(help="For files that name none.")] = "",
    work: Annotated[str, typer.Option(help="For files that name none; else the file's name.")] = "",
    embedder: Spec = None,
    as_json: Json = False,
) -> None:
    """Make or update an index. What has not changed is not read again; interrupted, it goes on where it stopped."""
    from retrieval.indexing import Given, index_files
    from retrieval.store import open_builder

    opened = _embedder(embedder)
    with _bar("Indexing") as show:
        builder = open_builder(_address(into), opened.id if opened else None)
        report = index_files(paths, builder, opened, given=Given(author, work), progress=show)
    for reason in report.failed.values():
        typer.echo(f"skipped: {reason}", err=True)
    if as_json:
        print(json.dumps({**report.__dict__, "about": report.about.to_data()}, ensure_ascii=False))
        return
    done = (
        f"{len(report.added)} read, {report.unchanged} unchanged, {len(report.removed)} gone, {len(report.failed)} bad"
    )
    typer.echo(f"{done}; {report.about.passages} passages.", err=True)
    print(_address(into))


@app.command()
def search(
    question: Annotated[str, typer.Argument(help="Any question.")],
    place: Place,
    count: Annotated[int, typer.Option("-k", min=1, help="How many passages.")] = 10,
    author: Annotated[str, typer.Option(help="Only of this author (a part of the name).")] = "",
    work: Annotated[str, typer.Option(help="Only of this work (a part of the title).")] = "",
    notion: Annotated[str, typer.Option(help="Only of this notion.")] = "",
    embedder: Spec = None,
    rerank: Annotated[bool, typer.Option("--rerank", help="Look again sentence by sentence; about a second.")] = False,
    as_json: Json = False,
) -> None:
    """Print the passages that answer best. A star marks those that pass the threshold of relevance."""
    from retrieval.citations import to_sources
    from retrieval.rerank import SentenceReranker
    from retrieval.store import Searcher, open_store

    opened = _embedder(embedder)
    second = SentenceReranker(opened) if rerank and opened else None
    folder = Path(place)
    of_notes = folder.is_dir() and not (folder / "current").exists() and any(folder.glob("*.jsonl"))
    if of_notes:
        searcher = NoteIndex.load(folder, opened).to_searcher(second)
    else:
        searcher = Searcher(open_store(_address(place)), opened, reranker=second)
    found = searcher.search(question, count, where=Filter(author, work, notion))
    for notice in found.notices:
        typer.echo(f"notice: {notice}", err=True)
    if not found.relevant:
        typer.echo("Nothing here answers this question well.", err=True)
    if as_json:
        for hit in found.hits:
            about = {"id": hit.passage.id, "score": round(hit.score, 4), "relevant": hit.relevant, "words": hit.words}
            print(json.dumps({**about, "cosine": hit.cosine, **hit.passage.to_data()}, ensure_ascii=False))
        return
    table = Table("", "score", "id", "place", "text", box=None)
    for hit, source in zip(found.hits, to_sources(hit.passage for hit in found.hits), strict=True):
        star = "*" if hit.relevant else ""
        cells = map(escape, (hit.passage.id, source.reference, source.text[:160]))
        table.add_row(star, f"{hit.score:.2f}", *cells)
    Console().print(table)


@app.command()
def nearest(
    philosopher: Annotated[str, typer.Argument(help="spinoza, bergson or kant.")],
    message: Annotated[str, typer.Argument(help="What a pupil says.")],
    context: Annotated[str | None, typer.Option(help="The question it answers.")] = None,
    count: Annotated[int, typer.Option("-k", min=1, help="How many notes.")] = 3,
    notes: Notes = NOTES,
    embedder: Spec = None,
    as_json: Json = False,
) -> None:
    """Print the notes nearest to a message, best first, with their scores."""
    index = NoteIndex.load(notes, _embedder(embedder))
    if philosopher not in index.notes:
        raise RetrievalError(f"No notes of {philosopher!r}; known: {', '.join(index.notes)}.")
    scores = index.scores(philosopher, message, context)
    best = [(float(scores[i]), index.notes[philosopher][int(i)]) for i in np.argsort(-scores, kind="stable")[:count]]
    if as_json:
        for score, note in best:
            print(json.dumps({"id": note.id, "score": round(score, 3), "idea": note.idea}, ensure_ascii=False))
        return
    table = Table("score", "id", "locus", "idea")
    for score, note in best:
        table.add_row(f"{score:.2f}", *map(escape, (note.id, f"{note.work}, {note.locus}", note.idea)))
    Console().print(table)


@app.command("notes-vectors")
def notes_vectors(notes: Notes = NOTES, embedder: Spec = None) -> None:
    """Make the notes' vectors anew, beside the notes: after every change of a note, about a minute."""
    opened = _embedder(embedder)
    if opened is None:
        raise RetrievalError("Vectors need an embedder: run `python -m conversion embedder` first.")
    read = {path.stem: load_notes(path) for path in sorted(notes.glob("*.jsonl"))}
    with talk.status("Embedding"):
        made = write_vectors(notes, opened, read)
    print(json.dumps(made))


@app.command()
def calibrate(
    notes: Notes = NOTES,
    dialogues: Annotated[Path, typer.Option(help="Folder of dialogues that name their notes.")] = DIALOGUES,
    embedder: Spec = None,
    as_json: Json = False,
) -> None:
    """Measure how often the note that a dialogue's writer chose is found, and where the threshold lies."""
    report = calibration.measure(NoteIndex.load(notes, _embedder(embedder)), calibration.read_cases(dialogues))
    if as_json:
        print(json.dumps(report))
        return
    table = Table("figure", "value")
    for name, value in report.items():
        table.add_row(name, f"{value:.3f}" if isinstance(value, float) else str(value))
    Console().print(table)


@app.command("eval")
def evaluate(
    chosen: Annotated[str, typer.Option("--set", help="piaf (BAF_CORPORA_DIR), notes, or a jsonl of questions.")],
    notes: Notes = NOTES,
    embedder: Spec = None,
    rerank: Annotated[bool, typer.Option("--rerank", help="Also look again sentence by sentence: slow.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N questions; said in the result.")] = None,
    out: Annotated[Path | None, typer.Option(help="Result file (JSON).")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a result that exists.")] = False,
    as_json: Json = False,
) -> None:
    """Words, vectors, both, reranked, side by side: recall, MRR, nDCG with paired intervals, and times."""
    from retrieval import scoring
    from retrieval.rerank import SentenceReranker
    from retrieval.store import Searcher

    distill_commands.claim([out] if out else [], force)
    read = _eval_set(chosen, notes)
    if limit:
        read = replace(read, questions=read.questions[:limit])
    opened = _embedder(embedder)
    made = NoteIndex.load(notes, opened) if chosen != "piaf" else None
    if made and made.by_meaning:  # the vectors that ship are those of these notes
        searcher = made.to_searcher()
    else:
        with _bar("Embedding") as show:
            searcher = scoring.open_searcher(read, opened, lambda share: show(share, ""))
    again = None
    if rerank and opened:
        second = SentenceReranker(opened)
        again = Searcher(searcher.store, opened, reranker=second, relevant=searcher.relevant)
    with _bar("Asking") as show:
        result = scoring.evaluate(read, searcher, lambda share: show(share, ""), again)
    result |= {"limit": limit, "embedder": opened.id.to_data() if opened else None, **scoring.circumstances()}
    text = json.dumps(result, ensure_ascii=False, indent=1) + "\n"
    if out:
        partial = out.with_name(out.name + ".partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(out)
    if as_json:
        sys.stdout.write(text)
        return
    _show(result)


def _eval_set(chosen: str, notes: Path) -> Any:
    from retrieval import scoring

    if chosen == "piaf":
        corpora = load_settings().corpora_dir
        if corpora is None:
            raise RetrievalError("BAF_CORPORA_DIR is not set; PIAF lies there.")
        return scoring.read_piaf(corpora)
    if chosen == "notes":
        return scoring.read_notes(notes, QUERIES)
    return scoring.read_questions(Path(chosen), notes)


def _show(result: dict[str, Any]) -> None:
    from retrieval.scoring import MEASURES

    sizes = (
        f"{result['questions']} questions, {result['unanswered']} that nothing answers, {result['passages']} passages"
    )
    table = Table("way", *MEASURES, "p50 ms", "p95 ms", title=f"{result['set']}: {sizes}")
    for row in result["rows"]:
        cells = []
        for measure in MEASURES:
            gain = row["gains"].get(measure)
            cells.append(f"{row['means'][measure]:.3f}" + (f"\n{gain[1]:+.3f}..{gain[2]:+.3f}" if gain else ""))
        table.add_row(
            row["name"], *cells, *(f"{row['times_ms'][one]:.1f}" if row["times_ms"] else "" for one in ("p50", "p95"))
        )
    Console().print(table)
    tuned = f"tuned k1, b: {result['tuned_bm25']}, weights: {result['tuned_weights']}"
    typer.echo(f"threshold: {result['threshold']}; {tuned}", err=True)
    typer.echo(f"times are those after the question's vector, which takes {result['query_vector_ms']} ms", err=True)


distill_commands.register(
    app,
    distill_commands.Given(
        data_dir=lambda: load_settings().data_dir,
        corpora=lambda: load_settings().corpora_dir,
        open=_embedder,
        bar=_bar,
    ),
)


def main() -> None:
    """Run the command line; an error of ours becomes one line on stderr and exit status 1."""
    run_commands(app, level=logging.ERROR, quiet={"bm25s": logging.WARNING})  # it sets itself to DEBUG


if __name__ == "__main__":
    main()
