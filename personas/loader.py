"""Reads the TOML files into frozen dataclasses; a wrong file is named with its key and its remedy."""

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar, get_args, get_origin

from errors import PersonaError

HERE = Path(__file__).parent
Validity = Literal["valide", "probable", "conceptuel"]
MoveName = Literal["avancer", "montrer", "contredire", "demander"]
T = TypeVar("T")


@dataclass(frozen=True)
class Scheme:
    """A logical scheme that a philosopher reasons by.

    Attributes:
        id: Two letters, e.g. "MP".
        name: French name, e.g. "Modus ponens".
        name_en: English name.
        form: Canonical form, e.g. "Si P, alors Q. Or P. Donc Q.".
        example: One example in everyday French.
        fallacy: The trap it is mistaken for.
        validity: "valide" follows strictly, "probable" never does, "conceptuel" is a move on meanings.
        moves: Which of the persona's moves it serves: "avancer", "montrer", "contredire", "demander".
        calls: Patterns, on folded text, of what calls for it in a question.
        guide: What a model has to do, one French clause without a full stop.
    """

    id: str
    name: str
    name_en: str
    form: str
    example: str
    fallacy: str
    validity: Validity
    moves: tuple[str, ...]
    calls: tuple[str, ...]
    guide: str

    def __post_init__(self) -> None:
        for move in self.moves:
            if move not in get_args(MoveName):
                raise PersonaError(f"moves: {move!r} is none of {', '.join(get_args(MoveName))}.")


@dataclass(frozen=True)
class Sampling:
    """How this persona's answers are sampled; see `engines.base.SamplingParams` for the meaning of each field."""

    temperature: float = 0.7
    top_k: int = 40
    top_p: float = 0.9
    repeat_penalty: float = 1.05
    repeat_last_n: int = 64
    max_tokens: int = 160

    def __post_init__(self) -> None:
        bounds = {"temperature": (0, 2), "top_k": (0, 1000), "top_p": (0, 1), "repeat_penalty": (1, 2),
                  "repeat_last_n": (0, 4096), "max_tokens": (1, 4096)}  # fmt: skip
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise PersonaError(f"sampling.{name} is {value}; expected {low} to {high}.")


@dataclass(frozen=True)
class Persona:
    """A philosopher the visitor can talk to, read from `personas/<key>.toml`.

    Attributes:
        key: Short ASCII name for URLs, file names and logs, e.g. "spinoza".
        name: Full name, e.g. "Baruch Spinoza".
        short_name: As the page says it, e.g. "Spinoza".
        dates: E.g. "1632-1677".
        tagline: One line for the card, in French; `tagline_en` the same in English.
        accent: Colour of the card, "#rrggbb".
        opening: First message of a conversation, ends with a question; `opening_en` translates it.
        short_prompt: System prompt for small models, byte for byte the same for every visitor: its KV cache is shared.
        full_prompt: The same for models of several billion parameters.
        voice: Traits of style.
        doctrine: What the philosopher holds, in short sentences.
        method: Three steps.
        transitions: How a sentence of this philosopher begins.
        works: Titles with their year.
        schemes: Ids of the favourite schemes, best first.
        starters: Five questions to begin with; `starters_en` translates them in order.
        sampling: How answers are sampled; `small_sampling` for the small models that get the short prompt.
    """

    key: str
    name: str
    short_name: str
    dates: str
    tagline: str
    tagline_en: str
    accent: str
    opening: str
    opening_en: str
    short_prompt: str
    full_prompt: str
    voice: tuple[str, ...]
    doctrine: tuple[str, ...]
    method: tuple[str, ...]
    transitions: tuple[str, ...]
    works: tuple[str, ...]
    schemes: tuple[str, ...]
    starters: tuple[str, ...]
    starters_en: tuple[str, ...]
    sampling: Sampling = field(default_factory=Sampling)
    small_sampling: Sampling = field(default_factory=Sampling)

    def sampling_for(self, prefix: Literal["short", "full"]) -> Sampling:
        """Return how a model that is given this prefix is sampled."""
        return self.small_sampling if prefix == "short" else self.sampling

    def __post_init__(self) -> None:
        for name, count in {"method": 3, "starters": 5, "starters_en": 5}.items():
            if len(getattr(self, name)) != count:
                raise PersonaError(f"{name} has {len(getattr(self, name))} entries; expected {count}.")
        if not self.opening.rstrip().endswith("?"):
            raise PersonaError("opening does not end with a question; end it with one.")


def _fitting(value: Any, wanted: Any, where: str) -> Any:
    """Return `value` as the field's type wants it, or say what was expected."""
    if get_origin(wanted) is tuple:
        if not isinstance(value, list) or not all(isinstance(entry, str) and entry.strip() for entry in value):
            raise PersonaError(f"{where}: expected a list of texts, none of them empty.")
        return tuple(value)
    if get_origin(wanted) is Literal:
        if value not in get_args(wanted):
            raise PersonaError(f"{where} is {value!r}; expected one of {', '.join(get_args(wanted))}.")
        return value
    if wanted is str:
        if not isinstance(value, str) or not value.strip():
            raise PersonaError(f"{where}: expected a text that is not empty, found {value!r}.")
        return value
    if wanted is Sampling:
        if not isinstance(value, dict):
            raise PersonaError(f"{where}: expected a table.")
        return build(Sampling, value, where)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise PersonaError(f"{where}: expected a number, found {value!r}.")
    return wanted(value)


def build(cls: type[T], table: Mapping[str, Any], where: str) -> T:
    """Build a frozen dataclass from a TOML table.

    Raises:
        PersonaError: A key is unknown, missing or of another type; the message names the first one.
    """
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            raise PersonaError(f"{where}: unknown key {key!r}.{f' Did you mean {near[0]!r}?' if near else ''}")
    given: dict[str, Any] = {}
    for name, f in known.items():
        if name in table:
            given[name] = _fitting(table[name], f.type, f"{where}: {name}")
        elif f.default is MISSING and f.default_factory is MISSING:
            raise PersonaError(f"{where}: key {name!r} is missing; add it.")
    try:
        return cls(**given)
    except PersonaError as error:
        raise PersonaError(f"{where}: {error}") from None


def read(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file.

    Raises:
        PersonaError: The file is missing, or is no TOML in UTF-8.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PersonaError(f"{path.name} is missing from {path.parent}; restore it.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PersonaError(f"{path.name} is no TOML file in UTF-8: {error}.") from None


def load_persona(path: Path) -> Persona:
    """Read one persona.

    Raises:
        PersonaError: The file is missing or wrong; the message names the file, the key and the remedy.
    """
    persona = build(Persona, read(path), path.name)
    if persona.key != path.stem:
        raise PersonaError(f"{path.name}: key is {persona.key!r}; expected {path.stem!r}, the name of the file.")
    return persona


def load_schemes(path: Path) -> Mapping[str, Scheme]:
    """Read the schemes, by id, in the order of the file.

    Raises:
        PersonaError: The file is missing or wrong, or an id stands twice.
    """
    tables = read(path).get("scheme", [])
    schemes: dict[str, Scheme] = {}
    for number, table in enumerate(tables, 1):
        scheme = build(Scheme, table, f"{path.name}: scheme {number}")
        if scheme.id in schemes:
            raise PersonaError(f"{path.name}: scheme {number}: id {scheme.id!r} stands twice; rename one.")
        schemes[scheme.id] = scheme
    if not schemes:
        raise PersonaError(f"{path.name}: no [[scheme]] table; expected the twelve schemes.")
    return MappingProxyType(schemes)


def _load_all() -> tuple[Mapping[str, Scheme], Mapping[str, Persona]]:
    schemes = load_schemes(HERE / "schemes.toml")
    personas = {}
    for key in ("spinoza", "bergson", "kant"):  # the order of the page
        persona = load_persona(HERE / f"{key}.toml")
        for scheme in persona.schemes:
            if scheme not in schemes:
                raise PersonaError(f"{key}.toml: schemes: unknown id {scheme!r}. Known: {', '.join(schemes)}.")
        personas[key] = persona
    return schemes, MappingProxyType(personas)


SCHEMES, PERSONAS = _load_all()


def get_persona(key: str) -> Persona:
    """Return the persona called `key`.

    Raises:
        PersonaError: There is none; the message suggests the nearest name.
    """
    return _get(PERSONAS, key, "persona")


def get_scheme(scheme_id: str) -> Scheme:
    """Return the scheme with this id.

    Raises:
        PersonaError: There is none; the message suggests the nearest id.
    """
    return _get(SCHEMES, scheme_id, "scheme")


def _get(known: Mapping[str, T], key: str, what: str) -> T:
    if key in known:
        return known[key]
    near = get_close_matches(key, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise PersonaError(f"No {what} {key!r}.{hint} Known: {', '.join(sorted(known))}.")
