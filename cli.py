"""How a command line of ours begins and ends. Knows Typer and our errors; imported by entries alone."""

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer

from errors import ChatError

LLAMA_LOG = "llama-cpp-python"  # it takes llama.cpp's infos for warnings
FORM = "%(levelname)s %(name)s: %(message)s"


def run_commands(
    commands: typer.Typer | Callable[..., Any],
    *,
    level: int = logging.INFO,
    quiet: Mapping[str, int] | None = None,
    arguments: Sequence[str] | None = None,
) -> None:
    """Run a command line, with its log on stderr.

    Args:
        commands: A Typer application, or the one function that is the whole command.
        level: From which the log speaks.
        quiet: Loggers that speak less, by name.
        arguments: Instead of those of the process.

    Raises:
        SystemExit: With status 1 after an error of ours, which becomes one line on stderr; else as Typer ends.
    """
    logging.basicConfig(level=level, stream=sys.stderr, format=FORM)
    for name, least in {LLAMA_LOG: logging.ERROR, **(quiet or {})}.items():
        logging.getLogger(name).setLevel(least)
    app = commands
    if not isinstance(app, typer.Typer):
        app = typer.Typer(add_completion=False)
        app.command()(commands)
    try:
        app(arguments)
    except ChatError as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        raise SystemExit(1) from None
