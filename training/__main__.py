"""`python -m training`: the command line of this room. Knows settings; every decision is elsewhere."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cli import run_commands
from settings import load_settings
from training.recipe import Recipe, load_recipe

app = typer.Typer(help="Train an adapter on our dialogues (offline).", no_args_is_help=True, add_completion=False)
talk = Console(stderr=True)


@app.callback()
def main_help() -> None:
    """Train an adapter on our dialogues (offline)."""


def _recipe(path: Path, **given: Any) -> Recipe:
    return load_recipe(path, data_dir=load_settings().data_dir, **given)


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="A YAML file, e.g. training/recipes/demo_philosophers.yaml.")],
    train_file: Annotated[Path | None, typer.Option(help="JSONL to train on.")] = None,
    eval_file: Annotated[Path | None, typer.Option(help="JSONL that is held out.")] = None,
    output_dir: Annotated[Path | None, typer.Option(help="New folder for the results.")] = None,
    base_model: Annotated[Path | None, typer.Option(help="Checkpoint folder of the base.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the data.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Stop after so many steps (a limit, recorded).")] = None,
    train_limit: Annotated[int | None, typer.Option(help="Train on the first N examples (a limit, recorded).")] = None,
    val_limit: Annotated[int | None, typer.Option(help="Evaluate on the first N examples (a limit, recorded).")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of adapter, order and dropout.")] = None,
    per_device_batch_size: Annotated[int | None, typer.Option(help="Examples a step, per device.")] = None,
    gradient_accumulation_steps: Annotated[int | None, typer.Option(help="Batches summed before a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of torch; unset, its own choice.")] = None,
    resume_from_checkpoint: Annotated[str | None, typer.Option(help="`last`, or a checkpoint folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON on stdout.")] = False,
) -> None:
    """Train an adapter as RECIPE says; options replace its keys. Ctrl-C saves a checkpoint to go on from."""
    chosen = _recipe(
        recipe, train_file=train_file, eval_file=eval_file, output_dir=output_dir, base_model=base_model,
        epochs=epochs, max_steps=max_steps, train_limit=train_limit, val_limit=val_limit, seed=seed,
        per_device_batch_size=per_device_batch_size, gradient_accumulation_steps=gradient_accumulation_steps,
        learning_rate=learning_rate, threads=threads,
    )  # fmt: skip
    from training.run import run as train  # torch takes seconds to import: not for --help, not for a wrong recipe

    trained = train(chosen, resume=resume_from_checkpoint)
    if as_json:
        print(json.dumps(trained.summary, ensure_ascii=False))
        return
    loss = trained.summary["best_eval_loss"]
    talk.print(f"Held-out loss {loss:.4f} at step {trained.summary['best_step']}; adapter in {trained.adapter}")


def main() -> None:
    """Run the command line; an error of ours becomes one line on stderr and exit status 1."""
    run_commands(app)


if __name__ == "__main__":
    main()
