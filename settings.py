"""Every setting of the project, typed. The only reader of the environment; imported by the entries alone."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from errors import SettingsError


class _Space(BaseSettings):
    """What a Hugging Face Space says of itself."""

    space_id: str | None = None


def _own_address() -> str:
    """A Space is reached through its own proxy, so it must listen on every address; a computer should not."""
    return "0.0.0.0" if _Space().space_id else "127.0.0.1"  # noqa: S104


class Settings(BaseSettings):
    """What can be set from outside, as `BAF_<NAME>` in the environment or in a file called `.env`."""

    model_config = SettingsConfigDict(
        env_prefix="BAF_", env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    host: str = Field(
        default_factory=_own_address, description="Address the page listens on; unset, 127.0.0.1, on a Space 0.0.0.0."
    )
    port: int = Field(default=7860, ge=1, le=65535, description="Port of the page.")
    data_dir: Path = Field(default=Path(".data"), description="Caches and assembled models; made when missing.")
    corpora_dir: Path | None = Field(default=None, description="Real texts for training and retrieval tests.")
    free_model: str | None = Field(
        default=None,
        description="The free tier's model: a path, or `hf:owner/repo/file.gguf`; unset, the embedded default.",
    )
    demo_base: Path | None = Field(
        default=None, description="The embedded model's base as a local GGUF; unset, it is downloaded."
    )
    threads: int | None = Field(default=None, ge=1, description="The engine's threads; unset, what the machine grants.")
    context_tokens: int = Field(default=4096, ge=512, description="Longest prompt and answer together, in tokens.")
    cache_tokens: int = Field(
        default=16_384, ge=512, description="Tokens that the engine holds for all chats together."
    )
    max_active: int = Field(default=16, ge=1, le=64, description="How many answers the engine writes at once.")
    queue_size: int = Field(default=32, ge=0, description="How many more pupils may wait for the engine.")
    kernels: Literal["auto", "repacked", "tiled"] = Field(
        default="auto", description="llama.cpp's kernels; auto measures both at the first start and remembers."
    )
    answer_deadline_s: float = Field(default=60.0, gt=0, description="Seconds an answer may take, waiting included.")

    embedder: str | None = Field(
        default=None, description="How notes are found by meaning: gguf:, model2vec:, openai: or none; unset, our own."
    )
    embedder_key: SecretStr | None = Field(default=None, description="Key of an embedder behind an address.")
    ledger_url: str | None = Field(
        default=None, description="Who has premium and what was spent: an SQLAlchemy URL; unset, SQLite in the data."
    )
    ledger_secret: SecretStr | None = Field(
        default=None, min_length=32, description="Turns a login into a pseudonym; changing it forgets everybody."
    )
    metrics_token: SecretStr | None = Field(
        default=None, min_length=16, description="Opens /metrics from outside; unset, only this machine may read it."
    )

    @model_validator(mode="after")
    def model_has_a_form(self) -> Self:
        """Refuse a model address that no loader knows, before anything is downloaded."""
        if self.free_model and self.free_model.startswith("hf:"):
            parts = self.free_model.removeprefix("hf:").split("/")
            if len(parts) < 3 or not all(parts) or not parts[-1].endswith(".gguf"):
                raise ValueError(f"BAF_FREE_MODEL is {self.free_model!r}; expected hf:owner/repo/file.gguf.")
        return self


def load_settings(**given: Any) -> Settings:
    """Read every setting, once, at start-up; what a test gives by keyword wins over the environment.

    Raises:
        SettingsError: A value does not fit; the message names the setting, never the value of a secret.
    """
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError("; ".join(_sentence(e["loc"], e["msg"]) for e in error.errors())) from None


def _sentence(loc: tuple[int | str, ...], message: str) -> str:
    return f"BAF_{'_'.join(map(str, loc)).upper()}: {message}" if loc else message
