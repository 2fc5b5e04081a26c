"""`python -m modal_deploy`: what would be deployed, what it would cost, and the secrets it needs. Asks nobody.

Deploying itself is Modal's command: `modal deploy modal_deploy/app.py`. Data goes to stdout, talk to stderr.
"""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli import run_commands
from modal_deploy.config import CONFIG_FILE, load_config
from modal_deploy.costs import Use
from modal_deploy.plan import Line, make_plan, month_rows
from modal_deploy.secrets_files import write_secrets

app = typer.Typer(help="The premium tier on Modal.", no_args_is_help=True, add_completion=False)

ConfigFile = Annotated[Path, typer.Option("--config", help="Settings of the deployment.", show_default="premium.toml")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


@app.command()
def plan(
    pupils: Annotated[int | None, typer.Option(min=1, help="How many; unset, as the settings assume.")] = None,
    questions: Annotated[int | None, typer.Option(min=1, help="A pupil's, in a month.")] = None,
    hours: Annotated[float | None, typer.Option(min=0.1, max=744, help="Of a month, in which they are asked.")] = None,
    config_file: ConfigFile = CONFIG_FILE,
    as_json: AsJson = False,
) -> None:
    """Show what will be deployed, and what an hour, a question and a month cost, with the formulas."""
    config = load_config(config_file)
    assumed = config.assumed
    made = make_plan(config, Use(pupils or assumed.pupils, questions or assumed.questions, hours or assumed.hours))
    if as_json:
        print(json.dumps(made.to_data(), ensure_ascii=False))
        return
    out = Console()
    out.width = out.width if out.is_terminal else 160
    for title, lines in (("Deployed", made.deployed), ("Memory and speed", made.memory), ("Costs", made.costs)):
        _show(out, title, lines)
    spread = made.months[0].use
    title = f"A month, {spread.questions} questions a pupil within {spread.hours:g} hours"
    table = Table(title=title, title_justify="left")
    for column in ("pupils", "questions", "cold starts", "engine hours", "dollars", "a question", "within budget"):
        table.add_column(column, justify="right")
    for row in month_rows(made.months):
        table.add_row(*row)
    out.print(table)
    talk = Console(stderr=True)
    for warning in made.warnings:
        talk.print(f"[yellow]{warning}[/yellow]")


@app.command()
def secrets(
    workspace: Annotated[str, typer.Argument(help="Of Modal: `modal profile current` says it.")],
    suffix: Annotated[str, typer.Option(help="The environment's web suffix: `modal environment list` says it.")] = "",
    out: Annotated[Path, typer.Option(help="New folder; nobody but you may read it.")] = Path(".data/modal-secrets"),
    config_file: ConfigFile = CONFIG_FILE,
    as_json: AsJson = False,
) -> None:
    """Write the files that `modal secret create` takes, with fresh secrets, and say what to run."""
    host = f"{workspace}-{suffix}" if suffix else workspace  # how every address of the environment begins
    written = write_secrets(load_config(config_file), host, out)
    if as_json:
        print(json.dumps({"folder": str(out), "commands": list(written.commands), "page": list(written.page)}))
        return
    print("\n".join(written.commands))
    talk = Console(stderr=True)
    talk.print(f"Fill in the engine's proxy token in {out}/gateway.env, then run the commands above.")
    talk.print(f"The page needs {', '.join(written.page)}: {out}/page.env. Remove the folder afterwards.")


def _show(out: Console, title: str, lines: tuple[Line, ...]) -> None:
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold", style="dim")
    for line in lines:
        table.add_row(line.name, line.value, line.formula)
    out.print(table)
    out.print()


def main() -> None:
    """Run the command line; an error of ours becomes one line on stderr and exit status 1."""
    run_commands(app)


if __name__ == "__main__":
    main()
