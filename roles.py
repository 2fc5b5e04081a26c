"""Which model plays which role: `config.yaml`, read and checked. Knows the shape of an engine spec; opens no engine.

Imported by entries alone, as `cli` is: the page, `corpus` and `evaluation` read the same file in the same way.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from errors import SettingsError

CONFIG = Path(__file__).parent / "config.yaml"
NAMES = ("philosopher", "evaluator", "condenser", "ba", "writer")
KEYS = ("provider", "model", "temperature", "max_tokens")
# Provider -> scheme of an engine spec (`engines.open`).
PROVIDERS = {
    "embedded": "gguf",
    "gguf": "gguf",
    "huggingface_local": "hf",
    "ollama": "ollama",
    "openai": "openai",
}
EMBEDDED = "models/bergson-and-friends-demo.gguf"  # in the data folder; `python -m conversion demo` assembles it
MOST_TEMPERATURE, MOST_TOKENS = 2.0, 32_768


@dataclass(frozen=True)
class Role:
    """Who plays a role, and how it is sampled.

    Attributes:
        name: One of `NAMES`.
        provider: One of `PROVIDERS`.
        model: What the provider calls it; None for the embedded model.
        temperature: 0 to 2; None leaves it to whoever asks.
        max_tokens: Of an answer; None leaves it to whoever asks.
    """

    name: str
    provider: str = "embedded"
    model: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None

    def spec(self, data_dir: Path) -> str:
        """Return the engine spec.

        >>> Role("ba", "ollama", "mistral:7b-instruct").spec(Path(".data"))
        'ollama:mistral:7b-instruct'
        """
        return f"{PROVIDERS[self.provider]}:{self.model or (data_dir / EMBEDDED).as_posix()}"

    @property
    def page_model(self) -> str | None:
        """What `BAF_FREE_MODEL` says for this role; None for the embedded model.

        Raises:
            SettingsError: The page cannot run it.
        """
        if self.provider == "huggingface_local":
            raise SettingsError(
                f"config.yaml: the {self.name} is a checkpoint; the page has no torch. Convert it to a GGUF "
                "(`python -m conversion`), or choose another provider."
            )
        return self.model if PROVIDERS[self.provider] == "gguf" else f"{self.provider}:{self.model}"


@dataclass(frozen=True)
class Roles:
    """All roles.

    Attributes:
        known: Every name of `NAMES` with who plays it.
    """

    known: Mapping[str, Role]

    def get(self, name: str) -> Role:
        """Return a role.

        Raises:
            SettingsError: There is none of this name.
        """
        if name not in self.known:
            raise SettingsError(f"No role {name!r}.{_hint(name, self.known)} Known: {', '.join(self.known)}.")
        return self.known[name]


class _OnceLoader(yaml.SafeLoader):
    """Refuses a key that stands twice: YAML would keep the last one and say nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """See `yaml.SafeLoader`."""
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        twice = next((key for place, key in enumerate(keys) if key in keys[:place]), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep=deep)


def load_roles(path: Path | None = None) -> Roles:
    """Read who plays which role; a role that the file does not name is played by the embedded model.

    Args:
        path: The file; None for `config.yaml` of this project, which may be missing: then all are embedded.

    Raises:
        SettingsError: The file cannot be read or is no YAML, a key is unknown, or a value does not fit; the message
            names file, role and key, and says what was perhaps meant.
    """
    chosen = path or CONFIG
    if path is None and not CONFIG.exists():
        return Roles(MappingProxyType({name: Role(name) for name in NAMES}))
    try:
        content = yaml.load(chosen.read_text(encoding="utf-8"), _OnceLoader)  # noqa: S506  # a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{chosen} cannot be read ({error}); correct BAF_CONFIG.") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{chosen.name} is no YAML: {' '.join(str(error).split())}") from None
    return _checked(content, chosen.name)


def _checked(content: Any, where: str) -> Roles:
    if not isinstance(content, dict) or not isinstance(content.get("roles"), dict):
        raise SettingsError(f"{where}: expected `roles:` with a role on each line below it.")
    _only(content, ("roles",), where)
    given = content["roles"]
    _only(given, NAMES, f"{where}: roles")
    return Roles(MappingProxyType({name: _role(name, given.get(name) or {}, where) for name in NAMES}))


def _role(name: str, given: Any, where: str) -> Role:
    place = f"{where}: roles.{name}"
    if not isinstance(given, dict):
        raise SettingsError(f"{place} is {given!r}; expected {', '.join(KEYS)}.")
    _only(given, KEYS, place)
    role = Role(name, **given)
    if not isinstance(role.provider, str) or role.provider not in PROVIDERS:
        hint = _hint(str(role.provider), PROVIDERS)
        raise SettingsError(f"{place}.provider is {role.provider!r}.{hint} Known: {', '.join(PROVIDERS)}.")
    if role.model is not None and not (isinstance(role.model, str) and role.model.strip()):
        raise SettingsError(f"{place}.model is {role.model!r}; expected a name.")
    if (role.model is None) != (role.provider == "embedded"):
        raise SettingsError(f"{place}: embedded takes no `model`, every other provider needs one.")
    _within(role.temperature, 0, MOST_TEMPERATURE, f"{place}.temperature")
    if isinstance(role.max_tokens, float):
        raise SettingsError(f"{place}.max_tokens is {role.max_tokens!r}; expected a whole number, or null.")
    _within(role.max_tokens, 1, MOST_TOKENS, f"{place}.max_tokens")
    return role


def _within(value: Any, least: float, most: float, place: str) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise SettingsError(f"{place} is {value!r}; expected {least} to {most:g}, or null.")


def _only(given: Mapping[Any, Any], known: tuple[str, ...], place: str) -> None:
    for key in given:
        if key not in known:
            raise SettingsError(f"{place}: no key {key!r}.{_hint(str(key), known)} Known: {', '.join(known)}.")


def _hint(name: str, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    near = get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
