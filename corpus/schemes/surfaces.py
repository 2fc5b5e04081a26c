"""How a content is said: the surfaces of each scheme, and the formulas behind them. Knows no bank and no base item."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from errors import CorpusError

SURFACES = Path(__file__).parent / "surfaces.toml"
PROBABLE = ("CA", "AN", "IN")
# Letters, premises and conclusion of each scheme: slot by letter, for what follows and for what does not.
VALID: dict[str, tuple[dict[str, str], list[str], str]] = {
    "MP": ({"P": "p", "Q": "q"}, ["P -> Q", "P"], "Q"),
    "MT": ({"P": "p", "Q": "q"}, ["P -> Q", "~Q"], "~P"),
    "SH": ({"P": "p", "Q": "q", "R": "r"}, ["P -> Q", "Q -> R"], "P -> R"),
    "SD": ({"P": "p", "Q": "q"}, ["P | Q", "~P"], "Q"),
    "DI": ({"P": "p", "Q": "q", "R": "r"}, ["P | Q", "P -> R", "Q -> R"], "R"),
    "RA": ({"P": "p", "Q": "q"}, ["P -> Q", "~Q"], "~P"),
}
INVALID: dict[str, tuple[dict[str, str], list[str], str]] = {
    "MP": ({"P": "p", "Q": "q"}, ["P -> Q", "Q"], "P"),
    "MT": ({"P": "p", "Q": "q"}, ["P -> Q", "~P"], "~Q"),
    "SH": ({"P": "p", "Q": "q", "R": "r"}, ["P -> Q", "P -> R"], "Q -> R"),
    "SD": ({"P": "p", "Q": "q", "R": "third"}, ["P | Q | R", "~P"], "Q"),
    "DI": ({"P": "p", "Q": "q", "R": "r", "S": "third"}, ["P | Q | S", "P -> R", "Q -> R"], "R"),
    "RA": ({"P": "p", "Q": "harsh"}, ["P -> Q"], "~P"),
}
# The bare conclusion of each scheme, as a clause.
CONCLUDES: dict[str, str] = {
    "MP": "{q}", "MT": "{p_not}", "SH": "{si_p}, alors {r_end}", "SD": "{q}", "DI": "{r}",
    "RA": "il est faux {que_subj}",
    "ID": "{concl}", "OP": "il est faux {que_subj}", "DS": "« {thesis} » n'est vrai que {of_sense}",
    "CA": "{concl}", "AN": "{concl}", "IN": "{concl}",
}  # fmt: skip


@dataclass(frozen=True)
class Surface:
    """One way to ask.

    Attributes:
        register: "courant", "familier" or "soutenu".
        text: With slots.
        premises: Formulas, where they are not the scheme's own.
        concludes: Conclusion with slots, where it is not the scheme's own.
    """

    register: str
    text: str
    premises: tuple[str, ...] | None = None
    concludes: str | None = None


@dataclass(frozen=True)
class Restating:
    """One way to say the premises of a base exercise again: what leads each in, and the question."""

    register: str
    lead: tuple[str, ...]
    end: str


@dataclass(frozen=True)
class SchemeSurfaces:
    """The surfaces of one scheme.

    Attributes:
        exercise: Questions from which something follows.
        dialogue: Answers to a pupil's message.
        refusal: Questions from which nothing follows.
        denied: What does not follow, a clause with slots.
        reasons: Why it does not.
        fallacies: Sentences that name the fallacy.
        questions: What is asked after a refusal; none, where the entry's own question fits.
    """

    exercise: tuple[Surface, ...]
    dialogue: tuple[str, ...]
    refusal: tuple[Surface, ...]
    denied: str
    reasons: tuple[str, ...]
    fallacies: tuple[str, ...]
    questions: tuple[str, ...]


@dataclass(frozen=True)
class Surfaces:
    """Everything that surfaces.toml says: `answers` by kind, `openers` of a case, `others` of a refusal, the rest."""

    answers: Mapping[str, tuple[str, ...]]
    openers: tuple[str, ...]
    others: tuple[str, ...]
    schemes: Mapping[str, SchemeSurfaces]
    restated: Mapping[str, tuple[Restating, ...]]
    names: Mapping[str, str]


def _surface(row: Mapping[str, Any]) -> Surface:
    premises = row.get("premises")
    return Surface(row["register"], row["text"], tuple(premises) if premises else None, row.get("concludes"))


def _scheme(row: Mapping[str, Any]) -> SchemeSurfaces:
    return SchemeSurfaces(
        exercise=tuple(_surface(one) for one in row["exercise"]),
        dialogue=tuple(row["dialogue"]),
        refusal=tuple(_surface(one) for one in row["refusal"]),
        denied=row["denied"],
        reasons=tuple(row["reasons"]),
        fallacies=tuple(row["fallacies"]),
        questions=tuple(row.get("questions", ())),
    )


@cache
def load_surfaces(path: Path = SURFACES) -> Surfaces:
    """Read the surfaces.

    Raises:
        CorpusError: The file cannot be read, or a key is missing.
    """
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8"))
        return Surfaces(
            answers={kind: tuple(texts) for kind, texts in rows["answers"].items()},
            openers=tuple(rows["openers"]["case"]),
            others=tuple(rows["others"]["reason"]),
            schemes={scheme: _scheme(rows[scheme]) for scheme in CONCLUDES},
            restated={
                form: tuple(Restating(one["register"], tuple(one["lead"]), one["end"]) for one in many)
                for form, many in rows["restated"].items()
            },
            names=rows["names"],
        )
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CorpusError(f"{path} cannot be read: {error}.") from None
    except KeyError as error:
        raise CorpusError(f"{path.name}: {error} is missing.") from None
