"""One training run: base + examples -> LoRA adapter, summary, curve. Knows recipes and TRL; knows no persona.

The base stays frozen. What a run leaves under its folder, the summary last: `started.json` (recipe and hashes, which a
resumed run must match), `checkpoint-N/`, `adapter/` (float16), `loss.png`, `training_summary.json`.
"""

import contextlib
import json
import logging
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from errors import TrainingError
from training.curves import draw_losses
from training.examples import Example, load_examples, sha256_of
from training.recipe import Precision, Recipe

log = logging.getLogger(__name__)

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets")
# What a resumed run may change: none of them alters a step that is still to come.
FREE_ON_RESUME = {"output_dir", "logging_steps", "threads"}


@dataclass(frozen=True)
class Trained:
    """What a finished run left.

    Attributes:
        adapter: Folder with `adapter_config.json` and `adapter_model.safetensors` in float16.
        summary: `training_summary.json`, as read back.
    """

    adapter: Path
    summary: dict[str, Any]


def computes_in_bf16(torch: Any) -> bool:
    """Whether bf16 is computed by instructions of its own here: emulated, it is some hundred times slower than fp32."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def choose_precision(wanted: Precision, native: bool) -> Precision:
    """Return "fp32" or "bf16".

    >>> choose_precision("auto", native=False)
    'fp32'
    """
    if wanted != "auto":
        return wanted
    return "bf16" if native else "fp32"


def _write_json(path: Path, content: Any) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    partial.rename(path)


def _started(recipe: Recipe) -> dict[str, Any]:
    """What a run is: its recipe and the hashes of its data."""
    return {
        "recipe": recipe.model_dump(mode="json"),
        "train_sha256": sha256_of(recipe.train_file),
        "eval_sha256": sha256_of(recipe.eval_file),
    }


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    keys = [
        key for key in now["recipe"] if key not in FREE_ON_RESUME and before["recipe"].get(key) != now["recipe"][key]
    ]
    return keys + [key for key in ("train_sha256", "eval_sha256") if before[key] != now[key]]


def find_checkpoint(recipe: Recipe, wanted: str | None) -> Path | None:
    """Check the output folder and return the checkpoint to go on from; None begins anew.

    Args:
        recipe: Its `output_dir` must not exist, unless the run is resumed.
        wanted: "last", or a checkpoint folder; None begins anew.

    Raises:
        TrainingError: The folder exists, or there is nothing to resume, or the run was another one.
    """
    if wanted is None:
        if recipe.output_dir.exists():
            raise TrainingError(
                f"{recipe.output_dir} exists and is never overwritten. Move it, pass another --output-dir, "
                "or go on with --resume-from-checkpoint last."
            )
        return None
    found = sorted(recipe.output_dir.glob("checkpoint-*"), key=lambda path: int(path.name.rsplit("-", 1)[1]))
    if wanted == "last" and not found:
        raise TrainingError(f"No checkpoint in {recipe.output_dir}; start without --resume-from-checkpoint.")
    checkpoint = found[-1] if wanted == "last" else Path(wanted)
    if not (checkpoint / "trainer_state.json").is_file():
        raise TrainingError(f"{checkpoint} is no checkpoint; expected a folder with trainer_state.json, or `last`.")
    started = recipe.output_dir / "started.json"
    if not started.is_file():
        raise TrainingError(f"{started} is missing: what this run was is unknown; start it anew elsewhere.")
    different = _differences(json.loads(started.read_text(encoding="utf-8")), _started(recipe))
    if different:
        raise TrainingError(
            f"The run in {recipe.output_dir} was another one: {', '.join(different)} changed. Start anew."
        )
    return checkpoint


def _load_base(recipe: Recipe) -> tuple[Any, Any]:
    """Return the tokenizer and the float32 model of the base folder."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not (recipe.base_model / "config.json").is_file():
        raise TrainingError(
            f"{recipe.base_model} is no checkpoint folder (no config.json). "
            "Make it with `python -m conversion checkpoint`, or pass --base-model."
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(recipe.base_model)
        model = AutoModelForCausalLM.from_pretrained(recipe.base_model, dtype="float32")
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(f"{recipe.base_model} cannot be loaded: {error}") from error
    for name in ("bos_token", "eos_token", "pad_token", "chat_template"):
        if not getattr(tokenizer, name, None):
            raise TrainingError(f"The tokenizer of {recipe.base_model} has no {name}; the base must bring one.")
    if tokenizer.pad_token_id == tokenizer.eos_token_id:
        raise TrainingError("The pad token is the EOS token; the model would never learn to stop. Give it its own.")
    tokenizer.padding_side = "right"
    return tokenizer, model


def _config(recipe: Recipe, precision: Precision, use_cpu: bool) -> Any:
    """Return the trainer's settings; see `training.recipe.Recipe` for ours."""
    from trl import SFTConfig

    rhythm: dict[str, Any] = {"eval_strategy": "epoch", "save_strategy": "epoch"}
    if recipe.eval_steps is not None:
        rhythm = {"eval_strategy": "steps", "save_strategy": "steps"}
        rhythm |= {"eval_steps": recipe.eval_steps, "save_steps": recipe.eval_steps}
    return SFTConfig(
        output_dir=str(recipe.output_dir),
        num_train_epochs=recipe.epochs,
        max_steps=recipe.max_steps or -1,
        per_device_train_batch_size=recipe.per_device_batch_size,
        per_device_eval_batch_size=recipe.per_device_batch_size,
        gradient_accumulation_steps=recipe.gradient_accumulation_steps,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        lr_scheduler_type=recipe.scheduler,
        warmup_steps=recipe.warmup,  # a number below 1 is a share of the steps
        max_grad_norm=recipe.max_grad_norm,
        logging_steps=recipe.logging_steps,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        bf16=precision == "bf16",
        use_cpu=use_cpu,
        activation_checkpointing=not use_cpu,  # trades time for memory: a CPU has memory and no time
        dataloader_pin_memory=not use_cpu,
        include_num_input_tokens_seen="non_padding",
        max_length=None,  # lengths were checked when the examples were built
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        seed=recipe.seed,
        report_to="none",
        **rhythm,
    )


def _dataset(examples: Sequence[Example]) -> Any:
    from datasets import Dataset

    return Dataset.from_dict(
        {
            "input_ids": [list(example.ids) for example in examples],
            "labels": [list(example.labels) for example in examples],
        }
    )


@contextlib.contextmanager
def _stop_requests(stop: threading.Event) -> Iterator[None]:
    """Turn the first Ctrl-C or SIGTERM into `stop`; a second Ctrl-C ends at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set signal handlers
        return

    def asked(number: int, _frame: Any) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()
        log.warning("Stopping after this step; a checkpoint will be saved.")

    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _callback(stop: threading.Event, clock: dict[str, float], on_step: Callable[[int], None] | None) -> Any:
    """Watch the steps: time them, report them, and save and stop where that was asked for."""
    from transformers import TrainerCallback

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            clock["began"] = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            clock["steps_s"] = clock.get("steps_s", 0.0) + time.perf_counter() - clock["began"]
            clock["steps"] = clock.get("steps", 0) + 1
            if on_step is not None:
                on_step(state.global_step)
            if stop.is_set():
                control.should_save = control.should_training_stop = True
                control.should_evaluate = False

        def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            if stop.is_set():
                control.should_evaluate = control.should_save = False

    return Watch()


def _trainer(recipe: Recipe, model: Any, tokenizer: Any, train: Sequence[Example], held_out: Sequence[Example]) -> Any:
    """Return TRL's trainer around the base with a fresh adapter."""
    import torch
    from peft import LoraConfig, PeftModel

    from training.trainer import OrderedTrainer

    use_cpu = not torch.cuda.is_available()
    adapter: Any = LoraConfig(
        r=recipe.lora.r,
        lora_alpha=recipe.lora.alpha,
        lora_dropout=recipe.lora.dropout,
        target_modules=list(recipe.lora.target_modules),
        task_type="CAUSAL_LM",
    )
    if recipe.init_adapter is not None:
        if not (recipe.init_adapter / "adapter_config.json").is_file():
            raise TrainingError(
                f"{recipe.init_adapter} holds no adapter; train the stage before, or drop init_adapter."
            )
        model = PeftModel.from_pretrained(model, recipe.init_adapter, is_trainable=True)
        # The adapter names its base; PEFT would look that name up on the Hub at every save.
        model.peft_config["default"].base_model_name_or_path = str(recipe.base_model)
        adapter = None
    try:
        return OrderedTrainer(
            model=model,
            args=_config(recipe, choose_precision(recipe.precision, computes_in_bf16(torch)), use_cpu),
            train_dataset=_dataset(train),
            eval_dataset=_dataset(held_out),
            processing_class=tokenizer,
            peft_config=adapter,
        )
    except ValueError as error:  # e.g. a target module that this base does not have
        raise TrainingError(f"The recipe does not fit {recipe.base_model.name}: {error}") from error


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
    (partial / "README.md").unlink(missing_ok=True)  # PEFT's empty card; ours is written by hand
    weights = partial / "adapter_model.safetensors"
    halved = {name: tensor.to(torch.float16) for name, tensor in load_file(weights).items()}
    if not all(bool(tensor.isfinite().all()) for tensor in halved.values()):
        raise TrainingError("The adapter holds numbers that are not finite; lower the learning rate.")
    save_file(halved, weights, metadata={"format": "pt"})
    config = json.loads((partial / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = base_name
    _write_json(partial / "adapter_config.json", config)
    shutil.rmtree(folder, ignore_errors=True)  # a resumed run: the adapter of the summary that was never written
    partial.rename(folder)


def _counted(examples: Sequence[Example]) -> dict[str, Any]:
    kinds = sorted({example.kind for example in examples})
    return {
        "examples": len(examples),
        "tokens": sum(len(example.ids) for example in examples),
        "trained_tokens": sum(example.trained for example in examples),
        "longest": max(len(example.ids) for example in examples),
        "kinds": {kind: sum(example.kind == kind for example in examples) for kind in kinds},
    }


def _summary(trainer: Any, recipe: Recipe, clock: dict[str, float], data: dict[str, Any]) -> dict[str, Any]:
    history: list[dict[str, Any]] = trainer.state.log_history
    parameters = list(trainer.model.parameters())
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    total = sum(p.numel() for p in parameters)
    return {
        "name": recipe.name,
        **_started(recipe),
        "smoke": bool(recipe.limits),
        "limits": recipe.limits,
        "versions": {package: version(package) for package in PACKAGES},
        "python": sys.version.split()[0],
        "precision": "bf16" if trainer.args.bf16 else "fp32",
        "device": str(trainer.args.device),
        "data": data,
        "trainable_parameters": trainable,
        "trainable_share": round(trainable / total, 5),
        "steps": trainer.state.global_step,
        "epochs": trainer.state.epoch,
        "tokens_seen": int(trainer.state.num_input_tokens_seen),
        "seconds_in_steps": round(clock.get("steps_s", 0.0), 1),
        "steps_timed": int(clock.get("steps", 0)),
        "eval": [
            {"step": row["step"], "epoch": row["epoch"], "loss": row["eval_loss"]}
            for row in history
            if "eval_loss" in row
        ],
        "train": [{"step": row["step"], "loss": row["loss"]} for row in history if "loss" in row],
        "best_step": trainer.state.best_global_step,
        "best_eval_loss": trainer.state.best_metric,
    }


def _tokens_per_s(summary: dict[str, Any]) -> float | None:
    """Speed over the steps of this session, padding not counted; None after a resume, where they are not apart."""
    if not summary["seconds_in_steps"] or summary["steps_timed"] != summary["steps"]:
        return None
    return round(float(summary["tokens_seen"]) / float(summary["seconds_in_steps"]), 1)


def run(recipe: Recipe, *, resume: str | None = None, on_step: Callable[[int], None] | None = None) -> Trained:
    """Train an adapter and write it, its summary and its curve under `recipe.output_dir`.

    Args:
        recipe: What to do.
        resume: "last" or a checkpoint folder: go on with an interrupted run, which then ends as if it had not been.
        on_step: Called with the number of each finished step.

    Raises:
        TrainingError: The recipe, the data or the base does not fit; or the run was stopped, and says how to go on.
    """
    checkpoint = find_checkpoint(recipe, resume)
    tokenizer, model = _load_base(recipe)
    train = load_examples(recipe.train_file, tokenizer, recipe.max_length, recipe.train_limit)
    held_out = load_examples(recipe.eval_file, tokenizer, recipe.max_length, recipe.val_limit)
    import torch

    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    trainer = _trainer(recipe, model, tokenizer, train, held_out)
    if checkpoint is None:
        recipe.output_dir.mkdir(parents=True, exist_ok=True)
        _write_json(recipe.output_dir / "started.json", _started(recipe))
    stop, clock = threading.Event(), dict[str, float]()
    trainer.add_callback(_callback(stop, clock, on_step))
    data = {"train": _counted(train), "eval": _counted(held_out)}
    log.info("Training on %s", json.dumps(data))
    # The trainer prints its losses on stdout, which belongs to data.
    with _stop_requests(stop), contextlib.redirect_stdout(sys.stderr):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if stop.is_set():
        raise TrainingError(
            f"Stopped at step {trainer.state.global_step} and saved; go on with --resume-from-checkpoint last."
        )
    return _finish(trainer, recipe, _summary(trainer, recipe, clock, data))


def _finish(trainer: Any, recipe: Recipe, summary: dict[str, Any]) -> Trained:
    """Write adapter, curve and, last, the summary: its presence means that the run is complete."""
    summary["tokens_per_s"] = _tokens_per_s(summary)
    adapter = recipe.output_dir / "adapter"
    save_adapter(trainer.model, adapter, recipe.base_model.name)
    summary["adapter_bytes"] = (adapter / "adapter_model.safetensors").stat().st_size
    summary["adapter_sha256"] = sha256_of(adapter / "adapter_model.safetensors")
    draw_losses(summary["train"], summary["eval"], recipe.output_dir / "loss.png", title=recipe.name)
    _write_json(recipe.output_dir / "training_summary.json", summary)
    return Trained(adapter, summary)
