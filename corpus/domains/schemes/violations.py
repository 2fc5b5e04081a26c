"""For each rule, a valid target spoilt so that this rule is broken: the proof that the validator sees."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

from corpus.server.targets import Target

Planter = Callable[[Target], bool]


def _s01(target: Target) -> bool:
    target["propositions"][1]["letter"] = target["propositions"][0]["letter"]
    return True


def _s02(target: Target) -> bool:
    target["propositions"][1]["text"] = target["propositions"][0]["text"]
    return True


def _s03(target: Target) -> bool:
    if "logic" in target:
        target["logic"]["premises"] = [*target["logic"]["premises"], "S -> S"]
    return "logic" in target and all(one["letter"] != "S" for one in target["propositions"])


def _s04(target: Target) -> bool:
    if "logic" in target:
        target["logic"]["valid"] = not target["logic"]["valid"]
    return "logic" in target


def _s04_formula(target: Target) -> bool:
    if "logic" in target:
        target["logic"]["premises"] = ["P -> -> Q", *target["logic"]["premises"]]
    return "logic" in target


def _s05(target: Target) -> bool:
    if "logic" not in target:
        return False
    refused = target["form"] == "refusal"
    target["form"] = "dialogue" if refused else "refusal"
    if refused:
        del target["fallacy"]
    else:
        target["fallacy"] = "Une faute qui n'est pas la sienne."
    return True


def _s06(target: Target) -> bool:
    target["scheme"]["name"] = "Un autre nom"
    return True


PLANTED: dict[str, tuple[Planter, ...]] = {
    "S01": (_s01,), "S02": (_s02,), "S03": (_s03,), "S04": (_s04, _s04_formula), "S05": (_s05,), "S06": (_s06,),
}  # fmt: skip


def plant(code: str, number: int, target: Mapping[str, Any]) -> Target | None:
    """Return a copy of a target that breaks a rule in its way number `number`; None where this target has no room."""
    spoilt = copy.deepcopy(dict(target))
    return spoilt if PLANTED[code][number](spoilt) else None
