"""What a requirements document is about, and whether a target is about it. Knows targets; draws nothing."""

from collections.abc import Callable, Mapping
from typing import Any

NONE = "aucun"


def _has(target: Mapping[str, Any], kind: str, key: str = "description") -> bool:
    return any(one["type"] == kind and key in one for one in target.get("constraints", []))


HOLDS: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "exigences": lambda target: (
        len(target["functional_requirements"]) >= 4
        and all("acceptance_criteria" in one for one in target["functional_requirements"])
    ),
    "qualite": lambda target: sum("target" in one for one in target.get("non_functional_requirements", [])) >= 2,
    "securite": lambda target: any(
        one["category"] == "security" for one in target.get("non_functional_requirements", [])
    ),
    "budget": lambda target: _has(target, "budgetaire", "budget_eur"),
    "calendrier": lambda target: _has(target, "calendaire", "deadline"),
    "reglement": lambda target: _has(target, "reglementaire"),
    "dependances": lambda target: sum("depends_on" in one for one in target["functional_requirements"]) >= 2,
    "perimetre": lambda target: "out_of_scope" in target,
    "vocabulaire": lambda target: "glossary" in target,
    "questions": lambda target: "open_questions" in target,
    "parties": lambda target: len(target.get("stakeholders", [])) >= 3,
}


def misaligned(target: Mapping[str, Any], main: str, second: str) -> list[str]:
    """Return which topics of a cell do not hold."""
    return [f"{one} does not hold" for one in (main, second) if one != NONE and not HOLDS[one](target)]
