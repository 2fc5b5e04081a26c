"""For each rule, a valid document spoilt so that this rule is broken: the proof that the validator sees."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

from corpus.server.targets import Target

Planter = Callable[[Target], bool]


def _functions(target: Target) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = target["functional_requirements"]
    return found


def _add(document: Target, name: str, form: str, **fields: Any) -> dict[str, Any]:
    """Add an item with the next number to a list."""
    items: list[dict[str, Any]] = document.setdefault(name, [])
    items.append({"id": form.format(len(items) + 1), **fields})
    return items[-1]


def _quality(document: Target, **fields: Any) -> dict[str, Any]:
    told = {"category": "security", "description": "Chaque envoi est chiffré de bout en bout."}
    return _add(document, "non_functional_requirements", "NFR-{:03}", **told, **fields)


def _b01(target: Target) -> bool:
    _functions(target)[0]["id"] = "FR-077"
    return True


def _b01_twice(target: Target) -> bool:
    _functions(target)[-1]["id"] = _functions(target)[0]["id"]
    return len(_functions(target)) > 1


def _b02(target: Target) -> bool:
    _functions(target)[0]["actor"] = "S99"
    return True


def _b02_requirement(target: Target) -> bool:
    _functions(target)[0]["depends_on"] = ["NFR-099"]
    return True


def _b03(target: Target) -> bool:
    first, last = _functions(target)[0], _functions(target)[-1]
    first["depends_on"], last["depends_on"] = [last["id"]], [first["id"]]
    return True


def _b04(target: Target) -> bool:
    first, last = _functions(target)[0], _functions(target)[-1]
    last |= {"priority": "wont"}
    last.pop("status", None)
    first |= {"priority": "must", "depends_on": [last["id"]]}
    last.pop("depends_on", None)
    return first is not last


def _b05(target: Target) -> bool:
    one = _functions(target)[0]
    one |= {"priority": "must", "status": "approved"}
    one.pop("acceptance_criteria", None)
    return True


def _b06(target: Target) -> bool:
    _quality(target, metric="durée", target=3)
    return True


def _b06_alone(target: Target) -> bool:
    _quality(target, metric="durée")
    return True


def _b07(target: Target) -> bool:
    _add(target, "constraints", "C-{:03}", type="technique", description="Un seul serveur suffit.", budget_eur=900)
    return True


def _b07_deadline(target: Target) -> bool:
    _add(target, "constraints", "C-{:03}", type="budgetaire", description="Tout compris.", deadline="2027-03-01")
    return True


def _b08(target: Target) -> bool:
    one = _functions(target)[0]
    one |= {"priority": "wont", "status": "approved", "acceptance_criteria": ["Cela se voit."]}
    return True


def _b09(target: Target) -> bool:
    same = _functions(target)[0]["description"]
    _add(target, "functional_requirements", "FR-{:03}", description=same.upper(), priority="could")
    return True


def _b10(target: Target) -> bool:
    target["out_of_scope"] = [_functions(target)[0]["description"].rstrip(".")]
    return True


def _b11(target: Target) -> bool:
    _functions(target)[0]["description"] = "L'accueil retrouve une fiche rapidement."
    return True


def _b11_two(target: Target) -> bool:
    _functions(target)[0]["description"] = "L'accueil doit dater une fiche et doit prévenir la présidente."
    return True


PLANTED: dict[str, tuple[Planter, ...]] = {
    "B01": (_b01, _b01_twice), "B02": (_b02, _b02_requirement), "B03": (_b03,), "B04": (_b04,), "B05": (_b05,),
    "B06": (_b06, _b06_alone), "B07": (_b07, _b07_deadline), "B08": (_b08,), "B09": (_b09,), "B10": (_b10,),
    "B11": (_b11, _b11_two),
}  # fmt: skip


def plant(code: str, number: int, target: Mapping[str, Any]) -> Target | None:
    """Return a copy of a document that breaks a rule in its way number `number`; None where it has no room."""
    spoilt = copy.deepcopy(dict(target))
    return spoilt if PLANTED[code][number](spoilt) else None
