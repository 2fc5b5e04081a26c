"""`python -m retrieval`: look up a note, and measure how well notes are found."""

import json
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from errors import ChatError
from retrieval import calibration
from retrieval.notes import NoteIndex

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Reading notes: search and calibration.")
NOTES = Path("data/notes")
DIALOGUES = Path("data/dialogues")


@app.command()
def nearest(
    philosopher: Annotated[str, typer.Argument(help="spinoza, bergson or kant.")],
    message: Annotated[str, typer.Argument(help="What a pupil says.")],
    context: Annotated[str | None, typer.Option(help="The question it answers.")] = None,
    count: Annotated[int, typer.Option("-k", min=1, help="How many notes.")] = 3,
    notes: Annotated[Path, typer.Option(help="Folder of notes.")] = NOTES,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")] = False,
) -> None:
    """Print the notes nearest to a message, best first, with their scores."""
    index = NoteIndex.load(notes)
    scores = index.scores(philosopher, message, context)
    best = [(float(scores[i]), index.notes[philosopher][int(i)]) for i in np.argsort(-scores, kind="stable")[:count]]
    if as_json:
        for score, note in best:
            sys.stdout.write(
                json.dumps({"id": note.id, "score": round(score, 3), "idea": note.idea}, ensure_ascii=False) + "\n"
            )
        return
    table = Table("score", "id", "locus", "idea")
    for score, note in best:
        table.add_row(f"{score:.2f}", note.id, f"{note.work}, {note.locus}", note.idea)
    Console().print(table)


@app.command()
def calibrate(
    notes: Annotated[Path, typer.Option(help="Folder of notes.")] = NOTES,
    dialogues: Annotated[Path, typer.Option(help="Folder of dialogues that name their notes.")] = DIALOGUES,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Measure how often the note that a dialogue's writer chose is found, and where the threshold lies."""
    report = calibration.measure(NoteIndex.load(notes), calibration.read_cases(dialogues))
    if as_json:
        sys.stdout.write(json.dumps(report) + "\n")
        return
    table = Table("figure", "value")
    for name, value in report.items():
        table.add_row(name, f"{value:.3f}" if isinstance(value, float) else str(value))
    Console().print(table)


def main() -> None:
    """Run, and say an error of ours in one line."""
    try:
        app()
    except ChatError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
