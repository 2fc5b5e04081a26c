"""What a run leaves: adapter, summary, card. Knows the trainer's record; trains nothing.

Every number on the card is the summary's, and the summary's come from the run.
"""

import json
import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from errors import TrainingError
from training.base import Base, Held
from training.curves import draw_losses
from training.estimate import GB, Estimate, said_time
from training.examples import Example
from training.recipe import Recipe
from training.resume import sha256_of, write_json
from training.watch import Clock

PACKAGES = (
    "torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers", "sentencepiece", "numpy",
)  # fmt: skip
NOT_FINITE = "The adapter holds numbers that are not finite; lower the learning rate."


def save_adapter(model: Any, folder: Path, base_name: str) -> None:
    """Write a PEFT model's adapter into `folder`, in float16 and with no path of this machine in it.

    Raises:
        TrainingError: A weight is not finite: the run diverged.
    """
    import torch
    from safetensors.torch import load_file, save_file

    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    (partial / "README.md").unlink(missing_ok=True)  # PEFT's empty card; ours is beside the folder
    weights = partial / "adapter_model.safetensors"
    halved = {name: tensor.to(torch.float16) for name, tensor in load_file(weights).items()}
    if not all(bool(tensor.isfinite().all()) for tensor in halved.values()):
        raise TrainingError(NOT_FINITE)
    save_file(halved, weights, metadata={"format": "pt"})
    config = json.loads((partial / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = base_name
    write_json(partial / "adapter_config.json", config)
    shutil.rmtree(folder, ignore_errors=True)  # a resumed run: the adapter of the summary that was never written
    partial.rename(folder)


def counted(examples: Sequence[Example]) -> dict[str, Any]:
    """Say how much there is to learn from."""
    kinds = sorted({example.kind for example in examples})
    return {
        "examples": len(examples),
        "tokens": sum(len(example.ids) for example in examples),
        "trained_tokens": sum(example.trained for example in examples),
        "longest": max(len(example.ids) for example in examples),
        "kinds": {kind: sum(example.kind == kind for example in examples) for kind in kinds},
    }


def trainable(model: Any) -> tuple[int, int]:
    """Return trained numbers and all numbers of a model; a weight in nf4 counts as one, though two share a byte."""
    trained = total = 0
    for parameter in model.parameters():
        state = getattr(parameter, "quant_state", None)
        size = state.shape.numel() if state is not None else parameter.numel()
        total += size
        trained += size if parameter.requires_grad else 0
    return trained, total


def summary_of(
    trainer: Any, recipe: Recipe, begun: dict[str, Any], held: Held, clock: Clock, found: Estimate, data: dict[str, Any]
) -> dict[str, Any]:
    """Return what `training_summary.json` says before the adapter is written; `begun` is `started.json`."""
    history: list[dict[str, Any]] = trainer.state.log_history
    trained, total = trainable(trainer.model)
    packages = (*PACKAGES, "bitsandbytes") if held.quantization == "bnb4" else PACKAGES
    summary: dict[str, Any] = {
        "name": recipe.name,
        **begun,
        "smoke": bool(begun["limits"]),
        "versions": {package: version(package) for package in packages},
        "python": sys.version.split()[0],
        "quantization": held.quantization,
        "device": str(trainer.args.device),
        "data": data,
        "estimate": found.as_json(),
        "trainable_parameters": trained,
        "trainable_share": round(trained / total, 5),
        "steps": trainer.state.global_step,
        "stopped_early": trainer.state.global_step < trainer.state.max_steps,  # by `early_stopping`
        "epochs": trainer.state.epoch,
        "tokens_seen": int(trainer.state.num_input_tokens_seen),
        "seconds_in_steps": round(clock.seconds, 1),
        "steps_timed": clock.steps,
        "eval": [
            {"step": row["step"], "epoch": row["epoch"], "loss": row["eval_loss"]}
            for row in history
            if "eval_loss" in row
        ],
        "train": [
            {"step": row["step"], "loss": row["loss"], "learning_rate": row["learning_rate"]}
            for row in history
            if "loss" in row
        ],
    }
    best = min(summary["eval"], key=lambda row: row["loss"], default=None)
    summary["best_step"] = best["step"] if best else None
    summary["best_eval_loss"] = best["loss"] if best else None
    summary["kept_step"] = summary["best_step"] if recipe.keep == "best" else summary["steps"]
    summary["tokens_per_s"] = _tokens_per_s(summary)
    return summary


def _tokens_per_s(summary: dict[str, Any]) -> float | None:
    """Speed over the steps of this session, padding not counted; None after a resume, where they are not apart."""
    if not summary["seconds_in_steps"] or summary["steps_timed"] != summary["steps"]:
        return None
    return round(float(summary["tokens_seen"]) / float(summary["seconds_in_steps"]), 1)


def write_results(trainer: Any, recipe: Recipe, base: Base, summary: dict[str, Any]) -> Path:
    """Write adapter, curves, card and, last, the summary: its presence means that the run is complete.

    Returns:
        The adapter's folder.

    Raises:
        TrainingError: The run diverged.
    """
    folder = recipe.output_dir / "adapter"
    save_adapter(trainer.model, folder, base.name)
    summary["adapter_bytes"] = (folder / "adapter_model.safetensors").stat().st_size
    summary["adapter_sha256"] = sha256_of(folder / "adapter_model.safetensors")
    draw_losses(summary["train"], summary["eval"], recipe.output_dir / "loss.png", title=recipe.name)
    partial = recipe.output_dir / "README.partial"
    partial.write_text(card(summary), encoding="utf-8")
    partial.rename(recipe.output_dir / "README.md")
    write_json(recipe.output_dir / "training_summary.json", summary)
    return folder


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "–"
    return "–" if value is None else str(value)


def _flat(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe's keys, those of the adapter as "lora.r"."""
    inner = {f"lora.{key}": value for key, value in recipe["lora"].items()}
    return {**{key: value for key, value in recipe.items() if key != "lora"}, **inner}


def smoke_warning(limits: dict[str, Any]) -> str:
    """Return what a card says of a limited run; `conversion.card` says the same of a model that is built on it."""
    return f"**A smoke run, no model to use**: it was limited to {', '.join(f'{k} = {v}' for k, v in limits.items())}."


def card(summary: dict[str, Any]) -> str:
    """Return the run's card in Markdown, with the metadata that the Hub reads in front."""
    recipe, data = summary["recipe"], summary["data"]
    warning = ""
    if summary["smoke"]:
        warning = f"\n> {smoke_warning(summary['limits'])}\n"
    memory = ", ".join(f"{key.split('_')[0]} {value / GB:.2f} GB" for key, value in summary["peak_memory"].items())
    frozen = ", ".join(summary["frozen"]) or "–"
    both, timed = data["eval"]["trained_on_too"], summary["steps_timed"]
    facts = {
        "base": summary["base"]["name"] + (f" at {summary['base']['revision']}" if summary["base"]["revision"] else ""),
        "held out, lowest loss": f"{summary['best_eval_loss']:.4f} nats a token, at step {summary['best_step']}",
        "training, last loss": f"{summary['train'][-1]['loss']:.4f} nats a token" if summary["train"] else "–",
        "adapter of step": summary["kept_step"],
        "steps, epochs": f"{summary['steps']}, {summary['epochs']:g}"
        + (", ended by early stopping" if summary["stopped_early"] else ""),
        "time in steps": said_time(summary["seconds_in_steps"])
        + (f" of the last session, {timed} of {summary['steps']} steps" if timed != summary["steps"] else ""),
        "peak memory": memory,
        "base held in, computed in": f"{summary['quantization']}, {summary['precision']} on {summary['device']}",
        "trained": f"{summary['trainable_parameters']:,} numbers, {summary['trainable_share']:.3%}",
        "frozen, proved by hash": frozen,
        "examples": f"{data['train']['examples']} and {data['eval']['examples']} held out"
        + (f", {both} of them trained on too" if both else ""),
        "tokens": f"{data['train']['tokens']:,}, of them {data['train']['trained_tokens']:,} in the loss",
    }
    rows = "\n".join(f"| {key} | {_shown(value)} |" for key, value in facts.items())
    keys = "\n".join(f"| `{key}` | {_shown(value)} |" for key, value in _flat(recipe).items())
    qlora = " --qlora" if summary["quantization"] == "bnb4" else ""
    versions = ", ".join(f"{name} {number}" for name, number in summary["versions"].items())
    return f"""---
base_model: {summary["base"]["name"]}
library_name: peft
tags: [lora, trl]
---

# {summary["name"]}
{warning}
| | |
|---|---|
{rows}

![Losses by step](loss.png)

`adapter/` is a PEFT adapter, `tokenizer/` the tokenizer with the chat template it was trained with. To a GGUF that is
checked against both: `python -m conversion build --base … --adapter adapter …{qlora}`.
{_template_note(recipe)}
## Recipe

| key | value |
|---|---|
{keys}

Versions: {versions}, Python {summary["python"]}.
"""


def _template_note(recipe: dict[str, Any]) -> str:
    if recipe["chat_template"] is None:
        return ""
    return "Its chat template is not the base's: copy `tokenizer/chat_template.jinja` into the base's folder first.\n"
