"""`python -m benchmarks.training_search`: what matters in the embedded model's first stage, one change at a time.

Every run reads as many examples as every other, and its loss on the held-out dialogues counts. A finished run is saved
at once: the same command goes on where it was stopped. Knows the recipe and its data; judges no answer.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console

from benchmarks.machine import save
from cli import run_commands
from errors import TrainingError
from settings import load_settings

RECIPE = Path("training/recipes/demo_philosophers.yaml")
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
UPPER = r".*\.layers\.(9|1[0-7])\..*_proj"  # of 18
# What differs from the recipe: its keys, « lora » apart, and options of `corpus mix`.
RUNS: dict[str, dict[str, Any]] = {
    "as the recipe says": {},
    "learning rate 1e-4": {"learning_rate": 1e-4},
    "learning rate 5e-4": {"learning_rate": 5e-4},
    "learning rate 1e-3": {"learning_rate": 1e-3},
    "rank 8": {"lora": {"r": 8, "alpha": 16}},
    "rank 16": {"lora": {"r": 16, "alpha": 32}},
    "rank 64": {"lora": {"r": 64, "alpha": 128}},
    "attention alone": {"lora": {"target_modules": ATTENTION}},
    "upper half of the layers": {"lora": {"target_modules": UPPER}},
    "two epochs of half as many": {"epochs": 2},
    "no prose": {"mix": ["--prose", "0"]},
    "prose doubled": {"mix": ["--prose", "398"]},
    "the note's idea alone": {"mix": ["--hints", "idea"]},
    "no note": {"mix": ["--hints", "none"]},
}

talk = Console(stderr=True)


def variant(recipe: Mapping[str, Any], changes: Mapping[str, Any], examples: int) -> dict[str, Any]:
    """Return a recipe with its changes, which reads `examples` in all.

    >>> variant({"lora": {"r": 32}, "epochs": 1}, {"lora": {"r": 8}, "epochs": 2}, 40)["train_limit"]
    20
    """
    made = {key: value for key, value in recipe.items() if key != "forms"} | {"keep": "last"}
    made |= {key: value for key, value in changes.items() if key not in ("lora", "mix")}
    made["lora"] = {**recipe["lora"], **changes.get("lora", {})}
    made["train_limit"] = examples // int(made["epochs"])
    return made


def measure(name: str, changes: Mapping[str, Any], examples: int, work: Path) -> dict[str, Any]:
    """Train one variant as a program of its own and return what its summary says.

    Raises:
        TrainingError: The mix or the training failed.
    """
    folder = work / name.replace(" ", "-").replace("'", "-")
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was broken off
    folder.mkdir(parents=True)
    data, held_out = folder / "train.jsonl", folder / "eval.jsonl"
    made = variant(yaml.safe_load(RECIPE.read_text(encoding="utf-8")), changes, examples)
    made |= {"train_file": str(data), "eval_file": str(held_out), "output_dir": str(folder / "run")}
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(made), encoding="utf-8")
    mix = ["corpus", "mix", "--force", "--out", str(data), "--eval-out", str(held_out), *changes.get("mix", [])]
    for words in (mix, ["training", "run", str(recipe), "--json"]):
        done = subprocess.run([sys.executable, "-m", *words], stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise TrainingError(f"{name}: `python -m {' '.join(words)}` ended with status {done.returncode}.")
    summary = json.loads(done.stdout)
    return {"loss": summary["eval"][-1]["loss"], "steps": summary["eval"][-1]["step"],
            "tokens": summary["tokens_seen"], "seconds": round(summary["seconds_in_steps"]),
            "trainable": summary["trainable_parameters"], "changes": changes}  # fmt: skip


def search(
    out: Annotated[Path, typer.Option(help="Result; a run that stands in it is not made again.")] = Path(
        "benchmarks/results/training-search.json"
    ),
    examples: Annotated[int, typer.Option(min=8, help="That each run reads, a second epoch's counted again.")] = 240,
    only: Annotated[str, typer.Option(help="Names of runs, with commas; default: all.")] = "",
) -> None:
    """Train each variant on the same number of examples; losses in nats a token of the held-out answers."""
    names = [name.strip() for name in only.split(",")] if only else list(RUNS)
    if unknown := [name for name in names if name not in RUNS]:
        raise TrainingError(f"No run {unknown[0]!r}. Known: {', '.join(RUNS)}.")
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))["runs"] if out.exists() else {}
    if found and (other := {run["examples"] for run in found.values()} - {examples}):
        raise TrainingError(f"{out} holds runs of {other.pop()} examples; move it, or pass --examples.")
    work = load_settings().data_dir.resolve() / "training-search"
    for name in (one for one in names if one not in found):
        found[name] = measure(name, RUNS[name], examples, work) | {"examples": examples}
        save(out, {"recipe": str(RECIPE), "runs": found})
        talk.print(f"{name}: {found[name]['loss']:.3f}", highlight=False, markup=False)
    print(json.dumps({name: run["loss"] for name, run in found.items()}, ensure_ascii=False, indent=1))


def main() -> None:
    """Run the command line; an error of ours becomes one line on stderr and exit status 1."""
    run_commands(search)


if __name__ == "__main__":
    main()
