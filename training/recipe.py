"""Recipes: what a training run does, as typed YAML. Knows no model, no data and no library of training.

A recipe may write `{data_dir}` in its paths; the entry fills it in. Paths are relative to where the command is run.
Under `forms` it names other ways of running it: a smaller card, a processor, a smoke run; each replaces some keys.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from errors import TrainingError

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Quantization = Literal["bnb4", "bf16", "fp32"]
Tracker = Literal["tensorboard", "trackio"]

SEVEN_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LIMITS = ("max_steps", "train_limit", "val_limit")


def _many(value: Any) -> Any:
    return [value] if isinstance(value, str | Path) else value


Paths = Annotated[tuple[Path, ...], BeforeValidator(_many), Field(min_length=1)]


class LoraRecipe(BaseModel):
    """The adapter: `alpha / r` scales the product of two matrices of rank `r` beside each target.

    Attributes:
        target_modules: Names of linear layers, wherever they are; or one regular expression that the whole path of a
            layer matches, which tells one tower of a model from another.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    r: int = Field(default=32, ge=1)
    alpha: int = Field(default=64, ge=1)
    dropout: float = Field(default=0.05, ge=0, lt=1)
    target_modules: str | tuple[str, ...] = Field(default=SEVEN_PROJECTIONS, min_length=1)


class Recipe(BaseModel):
    """One run. Every command-line option replaces the key of the same name.

    Attributes:
        form: The form that was chosen, e.g. "t4"; None is the recipe as it stands.
        base_model: Checkpoint folder with its tokenizer, or a Hub repository as owner/name.
        base_revision: Commit, tag or branch on the Hub; None is its main branch.
        chat_template: Jinja file that replaces the base's; it is left beside the adapter. None keeps the base's.
        train_file: One JSONL file or several; see `training.rows` for the shapes, which may be mixed.
        eval_file: The same, never trained on.
        train_split: Only rows whose key "split" says so are read; None reads all. `eval_split` likewise.
        output_dir: Folder of the run; must not exist, unless the run is resumed.
        init_adapter: PEFT folder of an earlier stage, to train on; its rank and scale are kept. None begins a new one.
        frozen: Parts of the model, by name, that no step may change; proved by hash, before and after.
        quantization: How the base is held: nf4 with double quantisation, 16 bits, or 32.
        precision: What is computed in. "auto" is bf16 where the processor has instructions for it, else fp16 on a GPU
            and fp32 on a CPU: emulated, bf16 is some hundred times slower.
        activation_checkpointing: Compute activations twice instead of keeping them; None does so on a GPU alone.
        keep: Which adapter is written: of the evaluation with the lowest loss, or of the last step.
        early_stopping: Stop after so many evaluations without a lower loss; None never does.
        eval_steps: None evaluates at the end of each epoch; a number, after as many steps.
        warmup: While the learning rate rises: below 1 a share of the steps, from 1 on their number.
        max_length: Longest example in tokens; a longer one is an error, since cutting it would lose its end.
        planned_epochs: What the recipe says, where an option replaces `epochs`; fewer are a limit, recorded as such.
        max_steps: Stops earlier than `epochs` would; a limit, recorded as such.
        train_limit: Only the first examples are used; a limit, recorded as such. `val_limit` likewise.
        trackers: Programs that follow the run, beside the files it leaves.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    form: str | None = None
    base_model: Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, Path) else value)]
    base_revision: str | None = None
    chat_template: Path | None = None
    train_file: Paths
    eval_file: Paths
    train_split: str | None = None
    eval_split: str | None = None
    output_dir: Path
    init_adapter: Path | None = None
    lora: LoraRecipe = LoraRecipe()
    frozen: tuple[str, ...] = ()
    quantization: Quantization = "fp32"
    precision: Precision = "auto"
    activation_checkpointing: bool | None = None
    epochs: float = Field(default=2.0, gt=0)
    planned_epochs: float | None = None
    learning_rate: float = Field(default=2e-4, gt=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    scheduler: Literal["cosine", "linear", "constant_with_warmup"] = "cosine"
    warmup: float = Field(default=0.04, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    per_device_batch_size: int = Field(default=8, ge=1)
    gradient_accumulation_steps: int = Field(default=1, ge=1)
    max_length: int = Field(default=1024, ge=8)
    threads: int | None = Field(default=None, ge=1)
    eval_steps: int | None = Field(default=None, ge=1)
    keep: Literal["best", "last"] = "best"
    early_stopping: int | None = Field(default=None, ge=1)
    logging_steps: int = Field(default=5, ge=1)
    seed: int = Field(default=0, ge=0)
    trackers: tuple[Tracker, ...] = ()
    max_steps: int | None = Field(default=None, ge=1)
    train_limit: int | None = Field(default=None, ge=1)
    val_limit: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def keys_fit_together(self) -> "Recipe":
        """Refuse keys that contradict each other."""
        if self.early_stopping is not None and self.keep != "best":
            raise ValueError("early_stopping needs keep: best, as the last evaluations are those without a gain.")
        if self.precision == "fp32" and self.quantization == "bf16":
            raise ValueError("precision: fp32 needs quantization: fp32 or bnb4; a base in 16 bits is computed in them.")
        if self.warmup >= 1 and self.warmup != int(self.warmup):
            raise ValueError(f"warmup is {self.warmup}; from 1 on it is a number of steps, so a whole one.")
        return self

    @property
    def limits(self) -> dict[str, float]:
        """The limits in force; an empty one means a real run."""
        chosen = {name: getattr(self, name) for name in LIMITS}
        if self.planned_epochs is not None and self.epochs < self.planned_epochs:
            chosen["epochs"] = self.epochs
        return {name: value for name, value in chosen.items() if value is not None}

    @property
    def step_examples(self) -> int:
        """Examples that one step learns from."""
        return self.per_device_batch_size * self.gradient_accumulation_steps


def _hint(word: str, known: Mapping[str, Any] | list[str]) -> str:
    near = get_close_matches(word, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _sentence(error: Mapping[str, Any]) -> str:
    """Say in one sentence what is wrong with one key."""
    where: tuple[int | str, ...] = error["loc"]
    key = ".".join(map(str, where))
    if error["type"] == "extra_forbidden":
        known = LoraRecipe.model_fields if where[:1] == ("lora",) else Recipe.model_fields
        return f"unknown key {key!r}.{_hint(str(where[-1]), list(known))}"
    if error["type"] == "missing":
        return f"key {key!r} is missing; add it."
    if error["type"] == "value_error":
        return str(error["msg"]).removeprefix("Value error, ")
    return f"{key} is {error['input']!r}: {error['msg'][:1].lower()}{error['msg'][1:]}."


def _filled(value: Any, data_dir: Path) -> Any:
    """Return a value of a recipe with `{data_dir}` filled in, inside lists and mappings too."""
    if isinstance(value, str):
        return value.replace("{data_dir}", str(data_dir))
    if isinstance(value, list):
        return [_filled(one, data_dir) for one in value]
    if isinstance(value, dict):
        return {key: _filled(one, data_dir) for key, one in value.items()}
    return value


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"The recipe {path} cannot be read: {error.strerror}. See training/recipes/.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path.name} is no YAML file in UTF-8: {error}") from None
    if not isinstance(content, dict):
        raise TrainingError(f"{path.name}: expected keys and values, found {type(content).__name__}.")
    return content


def _forms(content: dict[str, Any], name: str) -> dict[str, dict[str, Any]]:
    """Take the forms out of a recipe's keys."""
    forms = content.pop("forms", None) or {}
    if not isinstance(forms, dict) or not all(isinstance(keys, dict) for keys in forms.values()):
        raise TrainingError(f"{name}: forms: expected a name and keys for each form.")
    return {str(key): keys for key, keys in forms.items()}


def _with(values: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with changes; keys inside `lora` replace one another singly."""
    changed = {**values, **changes}
    if isinstance(values.get("lora"), dict) and isinstance(changes.get("lora"), dict):
        changed["lora"] = {**values["lora"], **changes["lora"]}
    return changed


def _validated(values: Mapping[str, Any], name: str) -> Recipe:
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise TrainingError(f"{name}: {' '.join(_sentence(one) for one in error.errors())}") from None


def load_recipe(path: Path, *, data_dir: Path = Path(".data"), form: str | None = None, **given: Any) -> Recipe:
    """Read a recipe; what is given by keyword and is not None replaces its key.

    Args:
        path: The YAML file.
        data_dir: What `{data_dir}` stands for.
        form: Name of one of the recipe's forms; None takes it as it stands.
        given: Keys of `Recipe`. A file that is given is read whole: the recipe's split is of its own files.

    Raises:
        TrainingError: The file is missing, is no YAML mapping, or a key is unknown, missing or wrong, in any form.
    """
    content: dict[str, Any] = _filled(_read(path), data_dir)
    forms = _forms(content, path.name)
    if "form" in content:
        raise TrainingError(f"{path.name}: unknown key 'form'. Did you mean 'forms'?")
    for each, keys in forms.items():
        _validated(_with(content, keys), f"{path.name}: form {each}")  # a wrong one is found before it is needed
    if form is not None and form not in forms:
        known = ", ".join(sorted(forms)) or "none"
        raise TrainingError(f"{path.name} has no form {form!r}.{_hint(form, forms)} Known: {known}.")
    values = _with(content, forms[form]) | {"form": form} if form else dict(content)
    given = {key: value for key, value in given.items() if value is not None}
    for part in ("train", "eval"):
        if f"{part}_file" in given:
            values.pop(f"{part}_split", None)
    if "epochs" in given:
        values["planned_epochs"] = values.get("epochs", Recipe.model_fields["epochs"].default)
    return _validated(_with(values, given), path.name)
