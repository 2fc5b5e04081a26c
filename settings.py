"""Every setting of the project, typed. The only reader of the environment; imported by the entries alone."""

import ipaddress
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from errors import SettingsError

MIN_API_KEY = 16  # characters
SPACE_PORTS = (80, 443, 8080)  # of other hosts, which a Space may reach
THIS_MACHINE = "127.0.0.0/8,::1"
PRIVATE = "10.0.0.0/8,100.64.0.0/10,169.254.0.0/16,172.16.0.0/12,192.168.0.0/16,fc00::/7"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class _Space(BaseSettings):
    """What a Hugging Face Space says of itself."""

    space_id: str | None = None
    oauth_client_secret: SecretStr | None = None


def _own_address() -> str:
    """A Space is reached through its own proxy, so it must listen on every address; a computer should not."""
    return "0.0.0.0" if _Space().space_id else "127.0.0.1"  # noqa: S104


def _own_proxies() -> str:
    """A Space's proxy comes from a private network; in a school that is where the pupils are."""
    return f"{THIS_MACHINE},{PRIVATE}" if _Space().space_id else THIS_MACHINE


class Settings(BaseSettings):
    """What can be set from outside, as `BAF_<NAME>` in the environment or in a file called `.env`."""

    model_config = SettingsConfigDict(
        env_prefix="BAF_", env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    host: str = Field(
        default_factory=_own_address, description="Address the page listens on; unset, 127.0.0.1, on a Space 0.0.0.0."
    )
    trusted_proxies: str = Field(
        default_factory=_own_proxies,
        description="Networks whose X-Forwarded-For is believed, with commas between; unset, this machine.",
    )
    port: int = Field(default=7860, ge=1, le=65535, description="Port of the page.")
    data_dir: Path = Field(default=Path(".data"), description="Caches and assembled models; made when missing.")
    config: Path | None = Field(default=None, description="Which model plays which role; unset, our config.yaml.")
    corpora_dir: Path | None = Field(default=None, description="Real texts for training and retrieval tests.")
    hub_token: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("BAF_HUB_TOKEN", "HF_TOKEN", "hub_token"),
        description="Reads gated bases on the Hub for training; HF_TOKEN is the same.",
    )
    free_model: str | None = Field(
        default=None,
        description="The free tier's model: a path, hf:owner/repo/file.gguf, openai:url#model or ollama:name.",
    )
    free_model_key: SecretStr | None = Field(default=None, description="Key of a free model behind an address.")
    free_notes: bool = Field(
        default=False, description="Reading notes in a large free model's prompt too; a small one always has them."
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
    session_tokens: int = Field(default=80_000, ge=0, description="Tokens of one browser's session; 0 is no bound.")
    day_tokens: int = Field(default=240_000, ge=0, description="Tokens of one browser in 24 hours; 0 is no bound.")
    address_tokens: int = Field(
        default=8_000_000, ge=0, description="Tokens of one address in 24 hours, a class behind it; 0 is no bound."
    )

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
    premium_secret: SecretStr | None = Field(
        default=None, min_length=32, description="Shared by page and gateway: signs what the one asks of the other."
    )
    premium_url: str | None = Field(
        default=None, description="Where the premium gateway's routes begin; unset, the page has no premium."
    )
    premium_proxy_key: SecretStr | None = Field(
        default=None, description="Id of the proxy token that opens the gateway's address on Modal."
    )
    premium_proxy_secret: SecretStr | None = Field(default=None, description="Secret of the same proxy token.")
    premium_wait_s: float = Field(
        default=15.0, gt=0, le=120, description="Seconds a pupil waits for premium's first word; then free answers."
    )
    premium_for: Literal["entitled", "everybody"] = Field(
        default="entitled", description="Who has premium: everybody only where the gateway is on this machine."
    )
    premium_organisations: str = Field(
        default="", description="Organisations of the Hub whose members have premium, with commas between."
    )
    premium_a_day: int = Field(default=30, ge=1, description="Premium answers a day for an account.")
    premium_engine: str | None = Field(
        default=None, description="For `make premium`: openai:http://host/v1#model; unset, the embedded model."
    )
    free_a_day: int | None = Field(
        default=None, ge=1, description="Free answers a day for a browser; unset, no limit. Needs the ledger's secret."
    )
    budget_day_usd: Decimal = Field(
        default=Decimal(0), ge=0, max_digits=8, description="The most that premium may cost a day, in dollars."
    )
    budget_month_usd: Decimal = Field(
        default=Decimal(0), ge=0, max_digits=8, description="The most that premium may cost a month, in dollars."
    )
    gpu_usd_per_hour: Decimal = Field(
        default=Decimal("1.48"),
        gt=0,
        max_digits=8,
        description="Price of premium's GPU, cores and memory included.",
    )
    reports_dir: Path = Field(default=Path("reports"), description="Where each day's costs are written at midnight.")
    snapshots_dir: Path | None = Field(
        default=None, description="Copies of the ledger every five minutes, on a disk that outlives this one."
    )
    engine_url: str | None = Field(
        default=None, description="In the gateway on Modal: the GPU engine's address, https://….modal.direct."
    )
    engine_key: SecretStr | None = Field(
        default=None, min_length=32, description="On Modal: the key that vLLM asks for; the gateway alone has it."
    )
    engine_proxy_key: SecretStr | None = Field(
        default=None, description="In the gateway on Modal: id of the proxy token that opens the engine's address."
    )
    engine_proxy_secret: SecretStr | None = Field(
        default=None, description="In the gateway on Modal: secret of the same proxy token."
    )
    api_keys: SecretStr | None = Field(
        default=None, description="Keys, commas between, one of which programs send to /v1; unset, none is asked for."
    )
    mcp: bool = Field(
        default=False, description="Whether programs may ask the philosophers through MCP, at /gradio_api/mcp/."
    )
    metrics_token: SecretStr | None = Field(
        default=None, min_length=16, description="Opens /metrics from outside; unset, only this machine may read it."
    )
    corpus_token: SecretStr | None = Field(
        default=None, min_length=16, description="Opens the instruction server; unset, this machine alone may ask it."
    )

    @field_validator("trusted_proxies")
    @classmethod
    def proxies_are_networks(cls, given: str) -> str:
        """Refuse what is no network: every request would seem to come from the proxy."""
        _networks(given)
        return given

    @model_validator(mode="after")
    def model_has_a_form(self) -> Self:
        """Refuse a model address that no loader knows, before anything is downloaded."""
        if self.free_model and self.free_model.startswith("hf:"):
            parts = self.free_model.removeprefix("hf:").split("/")
            if len(parts) < 3 or not all(parts) or not parts[-1].endswith(".gguf"):
                raise ValueError(f"BAF_FREE_MODEL is {self.free_model!r}; expected hf:owner/repo/file.gguf.")
        if self.free_model and self.free_model.startswith("openai:"):
            at = urlsplit(self.free_model.removeprefix("openai:"))
            if at.scheme not in ("http", "https") or not at.hostname or "@" in at.netloc or not at.fragment:
                raise ValueError("BAF_FREE_MODEL begins with openai:; expected openai:http://host:port/v1#model.")
        if self.free_model == "ollama:":
            raise ValueError("BAF_FREE_MODEL names no model; expected ollama:name.")
        return self

    @model_validator(mode="after")
    def premium_is_whole(self) -> Self:
        """Refuse a premium that could not tell who asks, or that nobody could pay."""
        if self.premium_url is None:
            return self
        for name in ("premium_secret", "ledger_secret", "budget_day_usd", "budget_month_usd"):
            if not getattr(self, name):
                raise ValueError(f"BAF_PREMIUM_URL is set, BAF_{name.upper()} is not; premium needs both.")
        at_hand = _is_loopback(self.premium_url)
        if not at_hand and not self.premium_url.startswith("https://"):
            raise ValueError("BAF_PREMIUM_URL begins with https://, or is on this machine.")
        if self.premium_for == "everybody" and not at_hand:
            raise ValueError("BAF_PREMIUM_FOR=everybody is for a gateway on this machine alone: anybody could spend.")
        space = _Space()
        if space.space_id and (port := _port_beyond_a_space(self.ledger_url)):
            raise ValueError(f"BAF_LEDGER_URL leads to port {port}, and a Space reaches 80, 443 and 8080 alone.")
        # Without the secret a login's cookie can be made by anybody; off a Space everybody is the machine's owner.
        if self.premium_for == "entitled" and not (space.space_id and space.oauth_client_secret):
            raise ValueError("BAF_PREMIUM_URL needs a Space with `hf_oauth: true`: OAUTH_CLIENT_SECRET is not set.")
        return self

    @model_validator(mode="after")
    def api_keys_are_long(self) -> Self:
        """Refuse keys that can be guessed, and a value without any: it would close nothing that was meant closed."""
        if self.api_keys is not None and any(len(key) < MIN_API_KEY for key in self.api_key_list or [""]):
            raise ValueError(f"BAF_API_KEYS: each key has {MIN_API_KEY} characters or more.")
        return self

    @property
    def proxies(self) -> tuple[Network, ...]:
        """Whose `X-Forwarded-For` is believed."""
        return _networks(self.trusted_proxies)

    @property
    def api_key_list(self) -> list[str]:
        """The keys that programs may send; empty where none is asked for."""
        return [key for key in map(str.strip, (_plain(self.api_keys) or "").split(",")) if key]

    @property
    def model_options(self) -> dict[str, Any]:
        """What `tiers.supply.ModelChoice` takes."""
        return {
            "data_dir": self.data_dir,
            "model": self.free_model,
            "model_key": _plain(self.free_model_key),
            "base": self.demo_base,
            "threads": self.threads,
            "n_ctx": self.context_tokens,
            "n_cells": self.cache_tokens,
            "max_active": self.max_active,
            "queue_size": self.queue_size,
            "kernels": self.kernels,
            "embedder": self.embedder,
            "embedder_key": _plain(self.embedder_key),
            "hints": self.free_notes,
        }

    @property
    def ledger_options(self) -> dict[str, Any]:
        """What `tiers.opening.LedgerChoice` takes."""
        return {
            "data_dir": self.data_dir,
            "url": self.ledger_url,
            "secret": _plain(self.ledger_secret),
            "reports": self.reports_dir,
            "snapshots": self.snapshots_dir,
            "day_usd": self.budget_day_usd,
            "month_usd": self.budget_month_usd,
            "usd_per_hour": self.gpu_usd_per_hour,
            "premium_a_day": self.premium_a_day,
            "free_a_day": self.free_a_day,
        }

    @property
    def premium_options(self) -> dict[str, Any] | None:
        """What `tiers.opening.PremiumChoice` takes; None for a page without premium."""
        if self.premium_url is None:
            return None
        keys = {"Modal-Key": _plain(self.premium_proxy_key), "Modal-Secret": _plain(self.premium_proxy_secret)}
        return {
            "url": self.premium_url,
            "secret": _plain(self.premium_secret),
            "headers": {name: value for name, value in keys.items() if value},
            "wait_s": self.premium_wait_s,
            "everybody": self.premium_for == "everybody",
            "organisations": frozenset(filter(None, map(str.strip, self.premium_organisations.split(",")))),
        }


def _port_beyond_a_space(ledger_url: str | None) -> int | None:
    """Return the port of a PostgreSQL that a Space cannot reach; None when it can, or when there is none."""
    if ledger_url is None or not ledger_url.startswith("postgresql"):
        return None
    port = urlsplit(ledger_url).port or 5432
    return None if port in SPACE_PORTS else port


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


def _networks(given: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(one) for one in map(str.strip, given.split(",")) if one)


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name: it may lead anywhere


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
