"""What a run will take, before its first step: steps, tokens, memory, time. Knows shapes; loads no weight.

Steps and tokens are counted. Memory is a sum of what must be held, activations roughly. Time is a count of operations
over a speed that is measured here for a moment: right in its order of magnitude. The summary holds what it really was.
"""

import logging
import math
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from errors import TrainingError
from training.base import Held
from training.examples import Example
from training.recipe import LoraRecipe, Recipe

log = logging.getLogger(__name__)

NF4_BYTES = 0.516  # a weight: four bits, and the scales of blocks of 64, themselves in 8 bits
STATE_BYTES = 16  # a trained number: itself, its gradient and Adam's two averages in float32
EFFICIENCY = 0.5  # of a matrix product's speed, that a whole step keeps
PROBE_S = 0.2  # how long the speed is measured
TILE_TOKENS, TILE_PIECES = 4096, 32768  # of TRL's loss
PROCESS_BYTES = 800_000_000  # Python with torch, transformers and TRL
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
GB = 1e9


@dataclass(frozen=True)
class Shape:
    """A model in numbers.

    Attributes:
        parameters: All of them.
        linear: Of linear layers, those that nf4 rounds.
        adapter: That the adapter adds, all of them trained.
        targets: Linear layers that get an adapter.
        layers: Of the language tower.
        width: Of its hidden state.
        feed: Of its inner layers.
        vocabulary: Pieces.
    """

    parameters: int
    linear: int
    adapter: int
    targets: int
    layers: int
    width: int
    feed: int
    vocabulary: int


@dataclass(frozen=True)
class Estimate:
    """What a run will take.

    Attributes:
        steps: Of the optimiser.
        tokens: Read in training, all epochs together, padding not counted.
        trained_tokens: Of them, those in the loss.
        weights_bytes: Of the base, as it is held.
        adapter_bytes: Of the adapter, its gradients and the optimiser's state.
        activations_bytes: Of the longest batch; rough.
        available_bytes: What is free now, on the GPU where there is one.
        seconds: Of all steps, evaluation not counted; the order of magnitude.
        parameters: Of the base.
        trainable_share: Of all numbers, those that are trained.
        process_bytes: Of the program itself, on a processor.
    """

    steps: int
    tokens: int
    trained_tokens: int
    weights_bytes: int
    adapter_bytes: int
    activations_bytes: int
    available_bytes: int
    seconds: float
    parameters: int
    trainable_share: float
    process_bytes: int = 0

    @property
    def memory_bytes(self) -> int:
        """All of it together."""
        return self.weights_bytes + self.adapter_bytes + self.activations_bytes + self.process_bytes

    def as_json(self) -> dict[str, Any]:
        """Return every number by name."""
        return {**asdict(self), "memory_bytes": self.memory_bytes}

    def sentences(self) -> list[str]:
        """Say it to a person."""
        parts = (
            f"weights {self.weights_bytes / GB:.2f}, adapter and optimiser {self.adapter_bytes / GB:.2f}, "
            f"activations about {self.activations_bytes / GB:.2f}, the program {self.process_bytes / GB:.2f}"
        )
        return [
            f"{self.steps} steps over {self.tokens:,} tokens, {self.trained_tokens:,} of them in the loss",
            f"{self.parameters / 1e6:,.1f} M parameters, {self.trainable_share:.2%} of all trained",
            f"about {self.memory_bytes / GB:.2f} GB of memory ({parts}); {self.available_bytes / GB:.2f} GB free",
            f"about {said_time(self.seconds)} in steps, evaluation not counted",
        ]


def said_time(seconds: float) -> str:
    """Return a duration as one would say it.

    >>> said_time(50), said_time(600), said_time(9000)
    ('50 s', '10 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def is_target(name: str, lora: LoraRecipe) -> bool:
    """Whether a layer of this path gets an adapter; PEFT's own rule."""
    if isinstance(lora.target_modules, str):
        return re.fullmatch(lora.target_modules, name) is not None
    return any(name == target or name.endswith(f".{target}") for target in lora.target_modules)


def shape_of(model: Any, recipe: Recipe) -> Shape:
    """Count an empty model and the adapter that the recipe would add.

    Raises:
        TrainingError: The adapter fits no layer, or one that is frozen.
    """
    import torch

    config = model.config.get_text_config()
    linear = adapter = targets = 0
    blocked: list[str] = []
    for name, module in model.named_modules():
        if not isinstance(module, torch.nn.Linear):
            continue
        if not name.endswith("lm_head") and not any(part in name.split(".") for part in recipe.frozen):
            linear += module.weight.numel()
        if is_target(name, recipe.lora):
            blocked += [part for part in recipe.frozen if part in name.split(".")]
            adapter += recipe.lora.r * (module.in_features + module.out_features)
            targets += 1
    if not targets:
        wanted = recipe.lora.target_modules
        named = wanted if isinstance(wanted, str) else ", ".join(wanted)
        raise TrainingError(f"The recipe does not fit its base: no layer is called {named}; see lora.target_modules.")
    if blocked:
        raise TrainingError(
            f"The adapter would train {len(blocked)} layers in {blocked[0]}, which is frozen; "
            "make lora.target_modules a pattern of the language tower alone."
        )
    return Shape(
        parameters=sum(p.numel() for p in model.parameters()), linear=linear, adapter=adapter, targets=targets,
        layers=config.num_hidden_layers, width=config.hidden_size, feed=config.intermediate_size,
        vocabulary=config.vocab_size,
    )  # fmt: skip


def epoch_steps(recipe: Recipe, n_examples: int) -> int:
    """Return how many steps the epochs take; early stopping may end the run sooner."""
    batches = math.ceil(n_examples / recipe.per_device_batch_size)
    each = max(1, math.ceil(batches / recipe.gradient_accumulation_steps))
    return math.ceil(recipe.epochs * each)


def steps_of(recipe: Recipe, n_examples: int) -> int:
    """Return how many steps the run takes, `max_steps` respected."""
    steps = epoch_steps(recipe, n_examples)
    return min(steps, recipe.max_steps) if recipe.max_steps is not None else steps


def activations_bytes(shape: Shape, recipe: Recipe, held: Held, longest: int, keeps: bool, gpu: bool) -> int:
    """Return bytes of what the longest batch leaves for the way back; `keeps`: no layer is computed twice."""
    each = 4 if held.precision == "fp32" else 2
    tokens = recipe.per_device_batch_size * longest
    layer = tokens * (14 * shape.width + 5 * shape.feed) * each
    kept = shape.layers * layer if keeps else shape.layers * tokens * shape.width * each + layer
    if held.quantization == "fp32" and held.precision != "fp32" and keeps:
        kept += shape.linear * each  # autocast keeps a copy of each weight
    # TRL goes over the logits in tiles. On a processor nine of a tile's size live at once on the way back, in float32.
    logits = (5 if gpu else 9) * min(tokens, TILE_TOKENS) * min(shape.vocabulary, TILE_PIECES) * 4
    return kept + logits


def weights_bytes(shape: Shape, held: Held) -> int:
    """Return bytes of the base as it is held."""
    each = BYTES[held.dtype]
    if held.quantization == "bnb4":
        return int(shape.linear * NF4_BYTES + (shape.parameters - shape.linear) * each)
    return shape.parameters * each


def available_bytes(torch: Any) -> int:
    """Return free memory: the GPU's where there is one, else the machine's."""
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable"):
            return int(line.split()[1]) * 1024
    return 0


def operations_per_s(torch: Any, width: int, held: Held, rows: int = 128) -> float:
    """Measure a matrix product of the model's width, multiplications and additions a second."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[held.precision]
    left = torch.ones(rows, width, dtype=dtype, device=device)
    right = torch.ones(width, width, dtype=dtype, device=device)
    (left @ right).sum().item()  # the first is slower, and a GPU only answers when it is asked
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < PROBE_S:
        (left @ right)[0, 0].item()
        done += 1
    return 2.0 * rows * width * width * done / (time.perf_counter() - began)


def estimate(model: Any, recipe: Recipe, held: Held, examples: Sequence[Example]) -> Estimate:
    """Say what a run will take.

    Args:
        model: Without weights; see `training.base.empty_model`.
        recipe: The run.
        held: How the base is held.
        examples: To train on.

    Raises:
        TrainingError: The adapter fits no layer.
    """
    import torch

    shape = shape_of(model, recipe)
    steps = steps_of(recipe, len(examples))
    share = steps * recipe.step_examples / max(1, len(examples))
    passes = min(share, recipe.epochs)
    tokens = int(passes * sum(len(one.ids) for one in examples))
    gpu = torch.cuda.is_available()
    twice = gpu if recipe.activation_checkpointing is None else recipe.activation_checkpointing
    longest = max(len(one.ids) for one in examples)
    # Forward, and backward through frozen weights: two operations a weight each; two more where it is computed twice.
    operations = (6 if twice else 4) * shape.parameters * tokens
    return Estimate(
        steps=steps,
        tokens=tokens,
        trained_tokens=int(passes * sum(one.trained for one in examples)),
        weights_bytes=weights_bytes(shape, held),
        adapter_bytes=shape.adapter * STATE_BYTES,
        activations_bytes=activations_bytes(shape, recipe, held, longest, not twice, gpu),
        available_bytes=available_bytes(torch),
        seconds=round(operations / (EFFICIENCY * operations_per_s(torch, shape.width, held)), 1),
        parameters=shape.parameters,
        trainable_share=round(shape.adapter / (shape.parameters + shape.adapter), 5),
        process_bytes=0 if gpu else PROCESS_BYTES,
    )


def check_room(found: Estimate, recipe: Recipe) -> None:
    """Refuse a base whose weights alone do not fit: the machine would end the run, or other programs with it.

    Where all together may not fit, warn.

    Raises:
        TrainingError: They do not.
    """
    if found.weights_bytes > found.available_bytes:
        smaller = {"fp32": "--quantization bf16", "bf16": "--quantization bnb4"}.get(
            recipe.quantization, "a smaller base"
        )
        raise TrainingError(
            f"The base's weights take {found.weights_bytes / GB:.1f} GB, {found.available_bytes / GB:.1f} GB are free; "
            f"use {smaller}, or another machine."
        )
    if found.memory_bytes > found.available_bytes:
        log.warning(
            "The run will take about %.1f GB, %.1f GB are free: the system may end it. Use a smaller "
            "--per-device-batch-size, shorter examples or another machine.",
            found.memory_bytes / GB,
            found.available_bytes / GB,
        )
