"""How the commands of this room speak: a bar on stderr, JSON on stdout. Knows Rich; knows no step's meaning."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from errors import ChatError

Show = Callable[[str, float], None]


@contextmanager
def bar() -> Iterator[Show]:
    """Give a function that shows a step and its share done on stderr; nothing is drawn before the first call."""
    from rich.console import Console
    from rich.progress import Progress, TimeElapsedColumn

    columns = (*Progress.get_default_columns()[:-1], TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        tasks: dict[str, Any] = {}

        def show(step: str, done: float) -> None:
            if step not in tasks:
                tasks[step] = progress.add_task(step, total=1.0)
            progress.update(tasks[step], completed=done)

        yield show


def json_reporter() -> Show:
    """Return a function that prints a step's progress, a line for each percent at most."""
    last: tuple[str, int] | None = None

    def report(step: str, done: float) -> None:
        nonlocal last
        now = (step, int(done * 100))
        if now != last:
            last = now
            print(json.dumps({"step": step, "progress": round(done, 2)}), flush=True)

    return report


def say(result: dict[str, Any], as_json: bool) -> None:
    """Print what was made: the path alone, or everything as JSON."""
    print(json.dumps(result, ensure_ascii=False) if as_json else result["path"])


@contextmanager
def told(as_json: bool) -> Iterator[Show]:
    """Give the progress of a long command in its form, and tell its error as a JSON line too before it goes on."""
    if not as_json:
        with bar() as show:
            yield show
        return
    try:
        yield json_reporter()
    except ChatError as error:
        print(json.dumps({"error": error.code, "message": str(error)}, ensure_ascii=False), flush=True)
        raise
