"""`python -m training`: the command line of this room. Knows settings; every decision is elsewhere."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from cli import run_commands
from errors import TrainingError
from settings import load_settings
from training.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from training.run import Prepared

app = typer.Typer(help="Train an adapter on our dialogues (offline).", no_args_is_help=True, add_completion=False)
talk = Console(stderr=True)

Files = list[Path] | None
Quantization = Literal["bnb4", "bf16", "fp32"]


@app.callback()
def main_help() -> None:
    """Train an adapter on our dialogues (offline)."""


def _hub_token() -> str | None:
    token = load_settings().hub_token
    return token.get_secret_value() if token else None


def _recipe(path: Path, no_4bit: bool, **given: Any) -> Recipe:
    """Return the recipe with the options that were given."""
    if no_4bit and given["quantization"] == "bnb4":
        raise TrainingError("--no-4bit and --quantization bnb4 contradict each other; give one of them.")
    recipe = load_recipe(path, data_dir=load_settings().data_dir, **given)
    if no_4bit and recipe.quantization == "bnb4":
        return load_recipe(path, data_dir=load_settings().data_dir, **{**given, "quantization": "bf16"})
    return recipe


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="A YAML file, e.g. training/recipes/demo_philosophers.yaml.")],
    form: Annotated[str | None, typer.Option(help="One of the recipe's forms, e.g. t4 or smoke.")] = None,
    train_file: Annotated[Files, typer.Option(help="JSONL to train on, all of it; may be given several times.")] = None,
    eval_file: Annotated[Files, typer.Option(help="JSONL that is held out; likewise.")] = None,
    output_dir: Annotated[Path | None, typer.Option(help="New folder for the results.")] = None,
    base_model: Annotated[str | None, typer.Option(help="Checkpoint folder, or owner/name on the Hub.")] = None,
    no_4bit: Annotated[bool, typer.Option("--no-4bit", help="Hold a 4-bit recipe's base in 16 bits.")] = False,
    quantization: Annotated[Quantization | None, typer.Option(help="How the base is held.")] = None,
    max_length: Annotated[int | None, typer.Option(help="Longest example, in tokens.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the data; below the recipe's, a limit.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Stop after so many steps (a limit, recorded).")] = None,
    train_limit: Annotated[int | None, typer.Option(help="Train on the first N examples (a limit, recorded).")] = None,
    val_limit: Annotated[int | None, typer.Option(help="Evaluate on the first N examples (a limit, recorded).")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of adapter, order and dropout.")] = None,
    per_device_batch_size: Annotated[int | None, typer.Option(help="Examples a batch, per device.")] = None,
    gradient_accumulation_steps: Annotated[int | None, typer.Option(help="Batches summed before a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of torch; unset, its own choice.")] = None,
    tracker: Annotated[list[str] | None, typer.Option(help="tensorboard or trackio; may be given twice.")] = None,
    resume_from_checkpoint: Annotated[str | None, typer.Option(help="`last`, or a checkpoint folder.")] = None,
    show_sample: Annotated[bool, typer.Option("--show-sample", help="Show an example of each kind, masked.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what the run would take, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON on stdout.")] = False,
) -> None:
    """Train an adapter as RECIPE says; options replace its keys. Ctrl-C saves a checkpoint to go on from."""
    chosen = _recipe(
        recipe, no_4bit, form=form, train_file=train_file or None, eval_file=eval_file or None, output_dir=output_dir,
        base_model=base_model, quantization=quantization, max_length=max_length, epochs=epochs, max_steps=max_steps,
        train_limit=train_limit, val_limit=val_limit, seed=seed, per_device_batch_size=per_device_batch_size,
        gradient_accumulation_steps=gradient_accumulation_steps, learning_rate=learning_rate, threads=threads,
        trackers=tracker or None,
    )  # fmt: skip
    from training.run import prepare  # torch takes seconds to import: not for --help, not for a wrong recipe

    if dry_run:
        prepared = prepare(chosen, hub_token=_hub_token())
        _tell(prepared, show_sample)
        if as_json:
            print(json.dumps(prepared.estimate.as_json()))
        return
    _train(chosen, resume_from_checkpoint, show_sample, as_json)


def _train(recipe: Recipe, resume: str | None, show_sample: bool, as_json: bool) -> None:
    """Run, with a bar for the steps."""
    from training.run import run as train

    columns = (TextColumn("steps"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=talk, disable=not talk.is_terminal) as bar:

        def begin(prepared: "Prepared") -> None:
            _tell(prepared, show_sample)
            bar.add_task("steps", total=prepared.estimate.steps)

        advance: Callable[[int], None] = lambda step: bar.update(bar.task_ids[0], completed=step)  # noqa: E731
        trained = train(recipe, resume=resume, on_step=advance, on_prepared=begin, hub_token=_hub_token())
    if as_json:
        print(json.dumps(trained.summary, ensure_ascii=False))
        return
    loss = trained.summary["best_eval_loss"]
    at = trained.summary["best_step"]
    talk.print(f"Lowest held-out loss {loss:.4f} at step {at}; adapter in {trained.adapter}", soft_wrap=True)
    if trained.summary["smoke"]:
        talk.print(f"This was a smoke run ({trained.summary['limits']}); no model to use.", soft_wrap=True)


def _tell(prepared: "Prepared", show_sample: bool) -> None:
    """Say what the run will take and, if wanted, what exactly is trained."""
    for line in prepared.estimate.sentences():
        talk.print(line, highlight=False, soft_wrap=True)
    if not show_sample:
        return
    from training.examples import spans

    shown: set[str] = set()
    for example in prepared.train:
        if example.kind in shown:
            continue
        shown.add(example.kind)
        text = Text(f"\n{example.where}, {example.kind}: {len(example.ids)} tokens, ⟦{example.trained} trained⟧\n")
        for words, trained in spans(prepared.tokenizer, example):
            text.append(f"⟦{words}⟧" if trained else words, style="bold green" if trained else "dim")
        talk.print(text, soft_wrap=True)


def main() -> None:
    """Run the command line; an error of ours becomes one line on stderr and exit status 1."""
    run_commands(app)


if __name__ == "__main__":
    main()
