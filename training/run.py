"""One training run: base + examples -> LoRA adapter, summary, curves, card. Knows recipes and TRL; knows no persona.

The base stays frozen. What a run leaves under its folder, the summary last: `started.json` (recipe, hashes, base and
precision, which a resumed run must match), `checkpoint-N/`, `adapter/` (float16), `tokenizer/`, `loss.png`,
`README.md`, `training_summary.json`.
"""

import contextlib
import json
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from errors import TrainingError
from training.base import (
    Base,
    Held,
    check_frozen,
    choose_held,
    empty_model,
    find_base,
    hashes_of,
    load_model,
    load_tokenizer,
    save_tokenizer,
)
from training.estimate import Estimate, check_room, estimate
from training.examples import Example, build_examples
from training.recipe import Recipe
from training.results import counted, summary_of, write_results
from training.resume import check_same_base, find_checkpoint, inherited_limits, started, write_json
from training.rows import read_rows
from training.watch import Clock, peak_memory, stop_requests, watch

log = logging.getLogger(__name__)

INSTALL = {"tensorboard": "tensorboard==2.21.0", "trackio": "trackio"}


@dataclass(frozen=True)
class Prepared:
    """A run before its first step; no weight was read yet.

    Attributes:
        recipe: What to do.
        base: Where the base is.
        held: How it will be held and computed in.
        tokenizer: The base's.
        train: Examples to learn from.
        held_out: Examples that are never learnt.
        estimate: What it will take.
    """

    recipe: Recipe
    base: Base
    held: Held
    tokenizer: Any
    train: list[Example]
    held_out: list[Example]
    estimate: Estimate

    @property
    def learnt_too(self) -> list[Example]:
        """Held-out examples that stand in the training files as well: what they measure is memory."""
        known = {one.ids for one in self.train}
        return [one for one in self.held_out if one.ids in known]


@dataclass(frozen=True)
class Trained:
    """What a finished run left.

    Attributes:
        adapter: Folder with `adapter_config.json` and `adapter_model.safetensors` in float16.
        summary: `training_summary.json`, as read back.
    """

    adapter: Path
    summary: dict[str, Any]


def prepare(recipe: Recipe, *, hub_token: str | None = None) -> Prepared:
    """Read everything but the weights, and say what the run will take.

    Args:
        recipe: What to do.
        hub_token: Opens a gated base on the Hub.

    Raises:
        TrainingError: The recipe, the data or the base does not fit.
    """
    import torch

    # Rows first: a wrong line is found in a second, a base may be gigabytes of download.
    rows = read_rows(recipe.train_file, split=recipe.train_split, limit=recipe.train_limit)
    others = read_rows(recipe.eval_file, split=recipe.eval_split, limit=recipe.val_limit)
    _check_trackers(recipe)
    _check_adapter(recipe)
    base = find_base(recipe, hub_token)
    tokenizer = load_tokenizer(recipe, base)
    train = build_examples(tokenizer, rows, recipe.max_length)
    held_out = build_examples(tokenizer, others, recipe.max_length)
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    held = choose_held(recipe, torch)
    found = estimate(empty_model(base), recipe, held, train)
    check_room(found, recipe)
    prepared = Prepared(recipe, base, held, tokenizer, train, held_out, found)
    if both := prepared.learnt_too:
        log.warning("%d of %d held-out examples are trained on too: %s …", len(both), len(held_out), both[0].where)
    return prepared


def _check_trackers(recipe: Recipe) -> None:
    for name in recipe.trackers:
        if find_spec(name) is None:
            raise TrainingError(f"The tracker {name} is not installed: pip install {INSTALL[name]}.")


def _check_adapter(recipe: Recipe) -> None:
    """Refuse an earlier stage's adapter that is missing, or another than the recipe says: it keeps its own shape."""
    if recipe.init_adapter is None:
        return
    path = recipe.init_adapter / "adapter_config.json"
    if not path.is_file():
        raise TrainingError(f"{recipe.init_adapter} holds no adapter; train the stage before, or drop init_adapter.")
    config = json.loads(path.read_text(encoding="utf-8"))
    for key, value in recipe.lora:
        found = config.get(key if key in config else f"lora_{key}")
        if found != value and not (isinstance(value, tuple) and isinstance(found, list) and set(found) == set(value)):
            raise TrainingError(f"lora.{key} is {value}; {recipe.init_adapter} keeps its own, {found}: say the same.")


def _config(prepared: Prepared, use_cpu: bool) -> Any:
    """Return the trainer's settings; see `training.recipe.Recipe` for ours."""
    from trl import SFTConfig

    recipe, held, steps = prepared.recipe, prepared.held, prepared.estimate.steps
    rhythm: dict[str, Any] = {"eval_strategy": "epoch", "save_strategy": "epoch"}
    if recipe.eval_steps is not None:
        rhythm = {"eval_strategy": "steps", "save_strategy": "steps"}
        rhythm |= {"eval_steps": recipe.eval_steps, "save_steps": recipe.eval_steps}
    if recipe.keep == "best":
        rhythm |= {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss", "greater_is_better": False}
    twice = recipe.activation_checkpointing
    return SFTConfig(
        output_dir=str(recipe.output_dir),
        num_train_epochs=recipe.epochs,
        # Given a number, the trainer would go on past the epochs to reach it.
        max_steps=steps if steps == recipe.max_steps else -1,
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
        bf16=held.precision == "bf16",
        fp16=held.precision == "fp16",
        use_cpu=use_cpu,
        # Trades time for memory: a CPU mostly has memory and no time.
        activation_checkpointing=not use_cpu if twice is None else twice,
        dataloader_pin_memory=not use_cpu,
        include_num_input_tokens_seen="non_padding",
        max_length=None,  # lengths were checked when the examples were built
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        restore_callback_states_from_checkpoint=recipe.early_stopping is not None,
        seed=recipe.seed,
        report_to=list(recipe.trackers) or "none",
        disable_tqdm=True,  # the command line shows its own bar; a log gets a line for each loss
        run_name=recipe.name,
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


def _adapted(prepared: Prepared, model: Any) -> tuple[Any, Any]:
    """Return the model and the adapter that the trainer is to add: none where an earlier stage's is trained on."""
    from peft import LoraConfig, PeftModel

    recipe = prepared.recipe
    if recipe.init_adapter is None:
        targets = recipe.lora.target_modules
        return model, LoraConfig(
            r=recipe.lora.r,
            lora_alpha=recipe.lora.alpha,
            lora_dropout=recipe.lora.dropout,
            target_modules=targets if isinstance(targets, str) else list(targets),
            task_type="CAUSAL_LM",
        )
    model = PeftModel.from_pretrained(model, recipe.init_adapter, is_trainable=True)
    # The adapter names its base; PEFT would look that name up on the Hub at every save.
    model.peft_config["default"].base_model_name_or_path = str(prepared.base.folder)
    return model, None


def _trainer(prepared: Prepared, model: Any) -> Any:
    """Return TRL's trainer around the base and its adapter."""
    import torch
    from transformers import EarlyStoppingCallback

    from training.trainer import OrderedTrainer

    recipe, use_cpu = prepared.recipe, not torch.cuda.is_available()
    model, adapter = _adapted(prepared, model)
    try:
        trainer = OrderedTrainer(
            model=model,
            args=_config(prepared, use_cpu),
            train_dataset=_dataset(prepared.train),
            eval_dataset=_dataset(prepared.held_out),
            processing_class=prepared.tokenizer,
            peft_config=adapter,
        )
    except ValueError as error:  # e.g. a target module that this base does not have
        raise TrainingError(f"The recipe does not fit {prepared.base.name}: {error}") from error
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            # TRL holds the adapter of a 4-bit base in bf16: small updates are lost, and fp16 cannot be scaled over it.
            parameter.data = parameter.data.float()
    if recipe.early_stopping is not None:
        trainer.add_callback(EarlyStoppingCallback(recipe.early_stopping))
    check_frozen(trainer.model, recipe.frozen)
    return trainer


def run(
    recipe: Recipe,
    *,
    resume: str | None = None,
    on_step: Callable[[int], None] | None = None,
    on_prepared: Callable[[Prepared], None] | None = None,
    hub_token: str | None = None,
) -> Trained:
    """Train an adapter and write it, its summary, its curves and its card under `recipe.output_dir`.

    Args:
        recipe: What to do.
        resume: "last" or a checkpoint folder: go on with an interrupted run, which then ends as if it had not been.
        on_step: Called with the number of each finished step.
        on_prepared: Called before any weight is read, with what the run will take.
        hub_token: Opens a gated base on the Hub.

    Raises:
        TrainingError: The recipe, the data or the base does not fit; or the run was stopped, and says how to go on.
    """
    checkpoint = find_checkpoint(recipe, resume)
    prepared = prepare(recipe, hub_token=hub_token)
    if on_prepared is not None:
        on_prepared(prepared)
    begun = {
        **started(recipe),
        "base": prepared.base.identity(),
        "precision": prepared.held.precision,
        "limits": {**inherited_limits(recipe), **recipe.limits},
    }
    if checkpoint is not None:
        check_same_base(recipe.output_dir, begun)
    model = load_model(recipe, prepared.base, prepared.held)
    before = hashes_of(model, recipe.frozen)
    trainer = _trainer(prepared, model)
    if checkpoint is None:
        recipe.output_dir.mkdir(parents=True, exist_ok=True)
        write_json(recipe.output_dir / "started.json", begun)
    save_tokenizer(recipe, prepared.base, recipe.output_dir / "tokenizer")
    clock = Clock()
    trainer.add_callback(watch(clock, on_step))
    data = {"train": counted(prepared.train), "eval": counted(prepared.held_out)}
    data["eval"]["trained_on_too"] = len(prepared.learnt_too)
    log.info("Training on %s", json.dumps(data))
    # The trainer prints its losses on stdout, which belongs to data.
    with stop_requests(clock.stop), contextlib.redirect_stdout(sys.stderr):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if clock.stopped:
        raise TrainingError(
            f"Stopped at step {trainer.state.global_step} and saved; go on with --resume-from-checkpoint last."
        )
    return _finish(trainer, prepared, begun, clock, data, before)


def _finish(
    trainer: Any, prepared: Prepared, begun: dict[str, Any], clock: Clock, data: dict[str, Any], before: dict[str, str]
) -> Trained:
    import torch

    recipe = prepared.recipe
    summary = summary_of(trainer, recipe, begun, prepared.held, clock, prepared.estimate, data)
    after = hashes_of(trainer.model, recipe.frozen)
    if after != before:
        changed = ", ".join(part for part in before if before[part] != after[part])
        raise TrainingError(f"{changed} was to stay frozen and changed; the adapter is not written.")
    summary["frozen"] = after
    summary["peak_memory"] = peak_memory(torch)
    return Trained(write_results(trainer, recipe, prepared.base, summary), summary)
