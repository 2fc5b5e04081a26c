"""`python -m corpus`: the command line of this room. Knows settings; every decision is elsewhere."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli import run_commands
from corpus.check import Report, check_all
from corpus.dialogues import load_dialogues, load_exercises, load_notes
from corpus.mix import is_held_out, mix, note_rows, prose_count, second_mix, write_rows
from corpus.prose import draw_slices, read_french
from errors import CorpusError
from settings import load_settings

app = typer.Typer(help="Check our texts and make training files of them.", no_args_is_help=True, add_completion=False)
talk = Console(stderr=True)

Data = Annotated[Path, typer.Argument(help="Folder with notes/, dialogues/ and the exercises.")]
EXERCISES = "schemes_levelA_base.jsonl"


@app.command()
def check(
    data: Data = Path("data"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON on stdout.")] = False,
) -> None:
    """Check dialogues and exercises; each fault is named with file, line, key and reason. Exit status 1 if any."""
    report: Report = check_all(data)
    if as_json:
        print(json.dumps({"counts": report.counts, "faults": report.faults}, ensure_ascii=False))
    else:
        for fault in report.faults:
            print(fault)
        typer.echo(f"{len(report.faults)} faults; {report.counts}", err=True)
    if report.faults:
        raise SystemExit(1)


@app.command("mix")
def mix_command(
    out: Annotated[Path, typer.Option(help="Training file to write (JSONL).")],
    data: Data = Path("data"),
    eval_out: Annotated[Path | None, typer.Option(help="Held-out file; default: OUT with .eval before .jsonl.")] = None,
    prose: Annotated[int | None, typer.Option(min=0, help="Slices of prose; default: 15 % of the examples.")] = None,
    seed: Annotated[int, typer.Option(help="Of hints left out, of slices and of the order.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON on stdout.")] = False,
) -> None:
    """Make the training file and the held-out file of dialogues, exercises and slices of general French."""
    held_out_path = eval_out or out.with_name(f"{out.stem}.eval.jsonl")
    dialogues, exercises = load_dialogues(data / "dialogues"), load_exercises(data / EXERCISES)
    trained = sum(not is_held_out(one.id) for one in dialogues) + sum(one.split == "train" for one in exercises)
    slices: list[str] = []
    if (wanted := prose_count(trained) if prose is None else prose) > 0:
        folder = load_settings().corpora_dir
        if folder is None:
            raise CorpusError("BAF_CORPORA_DIR is not set; set it to a folder with french/*.txt.xz, or pass --prose 0.")
        slices = draw_slices(read_french(folder), wanted, seed)
    mixed = mix(dialogues, load_notes(data / "notes"), exercises, slices, seed=seed)
    for rows, path in ((mixed.train, out), (mixed.held_out, held_out_path)):
        if force:
            path.unlink(missing_ok=True)
        write_rows(rows, path)
    counts = {kind: sum(row["kind"] == kind for row in mixed.train) for kind in ("dialogue", "exercise", "prose")}
    counts["held_out"] = len(mixed.held_out)
    if as_json:
        print(json.dumps({"train": str(out), "eval": str(held_out_path), "counts": counts}, ensure_ascii=False))
    else:
        typer.echo(f"{out}, {held_out_path}: {counts}", err=True)


@app.command("mix-notes")
def mix_notes(
    out: Annotated[Path, typer.Option(help="Training file to write (JSONL).")],
    data: Data = Path("data"),
    dialogues: Annotated[int, typer.Option(min=0, help="Dialogues of the first stage to read again.")] = 40,
    exercises: Annotated[int, typer.Option(min=0, help="Exercises of the first stage to read again.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the choice and of the order.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Make the second stage's training file: notes said back to the questions of data/queries, some dialogues."""
    notes = load_notes(data / "notes")
    first = mix(load_dialogues(data / "dialogues"), notes, load_exercises(data / EXERCISES), [], seed=seed)
    said_back = []
    for path in sorted((data / "queries").glob("*.jsonl")):
        queries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        said_back += note_rows(queries, notes, path.stem, seed=seed)
    rows = second_mix(first, said_back, dialogues=dialogues, exercises=exercises, seed=seed)
    if force:
        out.unlink(missing_ok=True)
    write_rows(rows, out)
    typer.echo(f"{out}: {len(said_back)} talks on notes among {len(rows)} rows", err=True)


def main() -> None:
    """Run the command line; an error of ours becomes one line on stderr and exit status 1."""
    run_commands(app)


if __name__ == "__main__":
    main()
