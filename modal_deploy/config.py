"""What is deployed, typed: model, GPU, windows, budget. Knows `premium.toml`; knows neither Modal nor vLLM.

The file is uploaded with the code, so that what is decided when deploying and what is started in a container agree.
"""

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from errors import SettingsError
from modal_deploy.sizing import GPUS, SHAPES, Fit, fit

CONFIG_FILE = Path(__file__).with_name("premium.toml")
WEIGHTS_DIR = "/weights"  # where the Volume is mounted in every container

_NAME = r"^[a-z0-9][a-z0-9.-]{0,62}$"  # of a folder of the Volume, of an app: safe in a path and in an address


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Weights(_Table):
    """A folder of the Volume.

    Attributes:
        folder: Its name.
        repo: The Hub's repository that fills it; empty, it is put there by hand.
        revision: A commit: a branch would change under our feet.
    """

    folder: str = Field(pattern=_NAME)
    repo: str = ""
    revision: str = Field(default="", pattern=r"^([0-9a-f]{40})?$")

    @model_validator(mode="after")
    def repo_is_pinned(self) -> Self:
        """A repository comes with a commit, and a commit with a repository."""
        if bool(self.repo) != bool(self.revision):
            raise ValueError("repo and revision (40 hex digits) come together")
        return self


class Lora(Weights):
    """A PEFT folder; `rank` is exactly that of the adapter."""

    rank: int = Field(ge=1, le=256)


class Model(_Table):
    """Which weights answer, and under which name."""

    served_name: str = Field(pattern=_NAME)
    shape: str
    adapter: Literal["merged", "live", "none"]
    merged: Weights
    base: Weights
    lora: Lora

    @property
    def weights(self) -> Weights:
        """The checkpoint that vLLM loads."""
        return self.merged if self.adapter == "merged" else self.base

    @property
    def needed(self) -> tuple[Weights, ...]:
        """Every folder that the engine reads."""
        return (self.base, self.lora) if self.adapter == "live" else (self.weights,)

    @property
    def base_name(self) -> str:
        """How the base without the adapter is asked for while the adapter is served beside it."""
        return f"{self.served_name}-base"


class Engine(_Table):
    """The GPU container; see premium.toml for each value."""

    gpu: str
    vllm: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    max_len: int = Field(ge=512)
    max_seqs: int = Field(ge=1, le=64)
    typical_tokens: int = Field(ge=128)
    memory_share: float = Field(gt=0.3, le=0.95)
    cores: float = Field(gt=0)
    host_gib: int = Field(ge=1)
    idle_s: int = Field(ge=45, le=120)  # above what `tiers.waking` takes for awake, within what the page holds
    start_s: int = Field(ge=60, le=3600)
    max_containers: int = Field(ge=1)
    snapshot: bool
    port: int = Field(ge=1024, le=65535)


class Gateway(_Table):
    """The CPU container; see premium.toml for each value."""

    cores: float = Field(gt=0)
    memory_mib: int = Field(ge=256)
    idle_s: int = Field(ge=2, le=3600)
    timeout_s: int = Field(ge=120, le=150)  # a cold start and an answer; Modal's edge cuts at 150
    max_inputs: int = Field(ge=1)
    max_containers: int = Field(ge=1)
    answers_a_day: int = Field(ge=1)


class Budget(_Table):
    """What may be spent on the engine, in dollars."""

    day_usd: Decimal = Field(ge=0, max_digits=8, decimal_places=2)
    month_usd: Decimal = Field(ge=0, max_digits=8, decimal_places=2)


class Assumed(_Table):
    """What the plan's figures rest on."""

    cold_s: float = Field(gt=0)
    answer_s: float = Field(gt=0)
    pupils: int = Field(ge=1)
    questions: int = Field(ge=1)
    hours: float = Field(gt=0, le=744)


class Config(_Table):
    """The whole of premium.toml; it cannot be built when the model does not fit in the GPU."""

    app: str = Field(pattern=_NAME)
    model: Model
    engine: Engine
    gateway: Gateway
    budget: Budget
    assumed: Assumed

    @property
    def fit(self) -> Fit:
        """How the model lies in the GPU's memory."""
        rank = self.model.lora.rank if self.model.adapter == "live" else 0
        return fit(SHAPES[self.model.shape], GPUS[self.engine.gpu], self.engine.memory_share, rank)

    @model_validator(mode="after")
    def names_are_known(self) -> Self:
        """GPU and shape are in the tables that the arithmetic reads."""
        for what, name, known in (("gpu", self.engine.gpu, GPUS), ("shape", self.model.shape, SHAPES)):
            if name not in known:
                raise ValueError(f"no {what} {name!r}; known: {', '.join(known)}")
        return self

    @model_validator(mode="after")
    def model_fits(self) -> Self:
        """The longest conversation, and `max_seqs` typical ones at once, fit in the cache."""
        engine, tokens = self.engine, self.fit.kv_tokens
        if tokens < engine.max_len:
            raise ValueError(f"the cache holds {tokens} tokens, fewer than max_len = {engine.max_len}")
        if tokens < engine.max_seqs * engine.typical_tokens:
            most = tokens // engine.typical_tokens
            raise ValueError(f"the cache holds {tokens} tokens: max_seqs = {engine.max_seqs}, at most {most} fit")
        weights_gib = self.fit.weights_gib + 4  # vLLM's own host memory beside the weights
        if engine.snapshot and engine.host_gib < weights_gib:
            raise ValueError(f"a snapshot needs host_gib = {weights_gib:.0f} or more, it is {engine.host_gib}")
        return self


def load_config(path: Path = CONFIG_FILE) -> Config:
    """Read the settings of the deployment.

    Raises:
        SettingsError: The file is missing or is no TOML, or a key is unknown, missing or wrong; the message names it.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path.name} is no TOML in UTF-8: {error}.") from None
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        said = "; ".join(_sentence(one) for one in error.errors())
        raise SettingsError(f"{path.name}: {said}.") from None


def _sentence(error: Mapping[str, Any]) -> str:
    where: tuple[int | str, ...] = error["loc"]
    key = ".".join(map(str, where))
    if error["type"] == "extra_forbidden":
        near = get_close_matches(str(where[-1]), _keys_at(where[:-1]), n=1)
        return f"unknown key {key!r}{f', did you mean {near[0]!r}?' if near else ''}"
    if error["type"] == "missing":
        return f"key {key!r} is missing"
    return f"{key}: {error['msg']}" if key else str(error["msg"])


def _keys_at(where: tuple[int | str, ...]) -> list[str]:
    table: type[BaseModel] = Config
    for key in where:
        inner = table.model_fields[str(key)].annotation
        assert isinstance(inner, type)  # only tables have keys below them  # noqa: S101
        table = inner
    return list(table.model_fields)
