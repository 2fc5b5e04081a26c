"""Recipes: what a training run does, as typed YAML. Knows no model, no data and no library of training.

A recipe may write `{data_dir}` in its paths; the entry fills it in. Paths are relative to where the command is run.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from errors import TrainingError

Precision = Literal["auto", "fp32", "bf16"]

SEVEN_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class LoraRecipe(BaseModel):
    """The adapter: `alpha / r` scales the product of two matrices of rank `r` beside each target."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    r: int = Field(default=32, ge=1)
    alpha: int = Field(default=64, ge=1)
    dropout: float = Field(default=0.05, ge=0, lt=1)
    target_modules: tuple[str, ...] = Field(default=SEVEN_PROJECTIONS, min_length=1)


class Recipe(BaseModel):
    """One run. Every command-line option replaces the key of the same name.

    Attributes:
        base_model: Checkpoint folder with its tokenizer and chat template.
        train_file: JSONL of {"messages": …} or {"text": …}.
        eval_file: The same, never trained on; the epoch with the lowest loss on it is kept.
        output_dir: Folder of the run; must not exist, unless the run is resumed.
        init_adapter: PEFT folder of an earlier stage, to train on; its rank and scale are kept. None begins a new one.
        precision: "auto" is bf16 where the processor computes in it, fp32 otherwise: without such instructions bf16
            is emulated, some hundred times slower.
        eval_steps: None evaluates at the end of each epoch; a number, after as many steps.
        warmup: Share of the steps during which the learning rate rises.
        max_steps: Stops earlier than `epochs` would; a limit, recorded as such.
        train_limit: Only the first examples are used; a limit, recorded as such. `val_limit` likewise.
        max_length: Longest example in tokens; a longer one is an error, since cutting it would lose its end.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    base_model: Path
    train_file: Path
    eval_file: Path
    output_dir: Path
    init_adapter: Path | None = None
    lora: LoraRecipe = LoraRecipe()
    epochs: float = Field(default=2.0, gt=0)
    learning_rate: float = Field(default=2e-4, gt=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    scheduler: Literal["cosine", "linear", "constant_with_warmup"] = "cosine"
    warmup: float = Field(default=0.04, ge=0, lt=1)
    max_grad_norm: float = Field(default=1.0, gt=0)
    per_device_batch_size: int = Field(default=8, ge=1)
    gradient_accumulation_steps: int = Field(default=1, ge=1)
    max_length: int = Field(default=1024, ge=8)
    precision: Precision = "auto"
    threads: int | None = Field(default=None, ge=1)
    eval_steps: int | None = Field(default=None, ge=1)
    logging_steps: int = Field(default=5, ge=1)
    seed: int = Field(default=0, ge=0)
    max_steps: int | None = Field(default=None, ge=1)
    train_limit: int | None = Field(default=None, ge=1)
    val_limit: int | None = Field(default=None, ge=1)

    @property
    def limits(self) -> dict[str, int]:
        """The limits in force; an empty one means a real run."""
        chosen = {name: getattr(self, name) for name in ("max_steps", "train_limit", "val_limit")}
        return {name: value for name, value in chosen.items() if value is not None}


def _known_keys(where: tuple[int | str, ...]) -> list[str]:
    return list(LoraRecipe.model_fields if where[:1] == ("lora",) else Recipe.model_fields)


def _sentence(error: Mapping[str, Any]) -> str:
    """Say in one sentence what is wrong with one key."""
    where: tuple[int | str, ...] = error["loc"]
    key = ".".join(map(str, where))
    if error["type"] == "extra_forbidden":
        near = get_close_matches(str(where[-1]), _known_keys(where), n=1)
        return f"unknown key {key!r}.{f' Did you mean {near[0]!r}?' if near else ''}"
    if error["type"] == "missing":
        return f"key {key!r} is missing; add it."
    return f"{key} is {error['input']!r}: {error['msg'][:1].lower()}{error['msg'][1:]}."


def load_recipe(path: Path, *, data_dir: Path = Path(".data"), **given: Any) -> Recipe:
    """Read a recipe; what is given by keyword and is not None replaces its key.

    Raises:
        TrainingError: The file is missing, is no YAML mapping, or a key is unknown, missing or wrong.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"The recipe {path} cannot be read: {error.strerror}. See training/recipes/.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path.name} is no YAML file in UTF-8: {error}") from None
    if not isinstance(content, dict):
        raise TrainingError(f"{path.name}: expected keys and values, found {type(content).__name__}.")
    values = {
        key: value.replace("{data_dir}", str(data_dir)) if isinstance(value, str) else value
        for key, value in content.items()
    }
    values |= {key: value for key, value in given.items() if value is not None}
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise TrainingError(f"{path.name}: {' '.join(_sentence(one) for one in error.errors())}") from None
