"""Makes a requirements document for a cell, of contents written by hand; the same for the same chance."""

import random
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import yaml

from corpus.domains.business_analyst.topics import NONE, misaligned
from corpus.server.quotas import Cell
from corpus.server.targets import Target
from errors import CorpusError

T = TypeVar("T")

DENSITY = {"simple": 0.2, "moyen": 0.45, "complexe": 0.7, "piege": 0.45}
NUMBERS = {"peu": 0.15, "moyen": 0.55, "beaucoup": 0.95}
NEEDS = {"simple": (2, 3), "moyen": (3, 5), "complexe": (5, 8), "piege": (3, 5)}
PRIORITIES = ("must", "must", "should", "should", "could", "wont")
STATUSES = ("draft", "proposed", "approved", "rejected", "deferred", "implemented")
UNFIT = {"wont": ("approved", "implemented"), "must": ("rejected", "deferred")}
BUDGETS = (1_500, 250_000)  # euros
YEARS = ("2026", "2027", "2028")
TRIES = 8


@cache
def content() -> dict[str, Any]:
    """Return the sectors, qualities and constraints, read once."""
    found: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "content.yaml").read_text(encoding="utf-8"))
    return found


class Luck:
    """One document's chance: what is said, and what is picked."""

    def __init__(self, cell: Cell, chance: random.Random) -> None:
        self.chance = chance
        self.density = DENSITY[cell["complexity"]]
        self.numbers = NUMBERS[cell["numbers"]]

    def hit(self, share: float) -> bool:
        """Whether something happens that does in `share` of the cases."""
        return self.chance.random() < share

    def some(self, many: Sequence[T], low: int, high: int) -> list[T]:
        """Return a few of them, in their order."""
        count = self.chance.randint(min(low, len(many)), min(max(low, high), len(many)))
        places = sorted(self.chance.sample(range(len(many)), count))
        return [many[place] for place in places]


def generate(cell: Cell, chance: random.Random) -> Target:
    """Return a document about the topics of a cell; the same chance gives the same document.

    Raises:
        CorpusError: The topics of the cell exclude each other.
    """
    found: list[str] = []
    for _ in range(TRIES):
        target = _draft(cell, Luck(cell, chance))
        found = misaligned(target, cell["topic"], cell["second_topic"])
        if not found:
            return target
    raise CorpusError(f"{cell['topic']} with {cell['second_topic']}: {found[0]}; forbid the pair in domain.yaml.")


def _draft(cell: Cell, luck: Luck) -> Target:
    sector, topics = content()["sectors"][cell["sector"]], {cell["topic"], cell["second_topic"]} - {NONE}
    target: Target = {"title": sector["title"]}
    if luck.hit(0.3 + luck.density):
        target["description"] = sector["description"]
    if luck.hit(0.2 + luck.density / 2):
        target["business_goal"] = sector["goal"]
    if "parties" in topics or luck.hit(luck.density):
        target["stakeholders"] = _stakeholders(luck, sector, least=3 if "parties" in topics else 1)
    target["functional_requirements"] = _functions(luck, cell, sector, topics, target)
    qualities = _qualities(luck, topics)
    if qualities:
        target["non_functional_requirements"] = qualities
    _depend(luck, target, asked="dependances" in topics)
    constraints = _constraints(luck, topics)
    if constraints:
        target["constraints"] = constraints
    _lists(luck, sector, topics, target)
    return target


def _stakeholders(luck: Luck, sector: Mapping[str, Any], least: int) -> list[dict[str, Any]]:
    found = []
    for number, (role, interest) in enumerate(luck.some(sector["roles"], least, 4), 1):
        one = {"id": f"S{number}", "role": role}
        if luck.hit(0.3 + luck.density / 2):
            one["interest"] = interest
        found.append(one)
    return found


def _functions(
    luck: Luck, cell: Cell, sector: Mapping[str, Any], topics: set[str], target: Target
) -> list[dict[str, Any]]:
    low, high = NEEDS[cell["complexity"]]
    if topics & {"exigences", "dependances"}:
        low, high = max(low, 4), max(high, 5)
    people = [one["id"] for one in target.get("stakeholders", [])]
    found: list[dict[str, Any]] = []
    for number, need in enumerate(luck.some(sector["needs"], low, high), 1):
        one: dict[str, Any] = {"id": f"FR-{number:03}", "description": need["text"]}
        one["priority"] = "must" if number == 1 else luck.chance.choice(PRIORITIES)
        for key in ("source", "actor"):
            if people and luck.hit(luck.density / 2):
                one[key] = luck.chance.choice(people)
        if luck.hit(luck.density / 2):
            banned = UNFIT.get(one["priority"], ())
            one["status"] = luck.chance.choice([status for status in STATUSES if status not in banned])
        checked = "exigences" in topics or one.get("status") in ("approved", "implemented")
        if checked or luck.hit(luck.density / 2):
            one["acceptance_criteria"] = luck.some(need["criteria"], 1, 2)
        if luck.hit(luck.density / 3):
            one["rationale"] = luck.chance.choice(content()["rationales"])
        found.append(one)
    return found


def _qualities(luck: Luck, topics: set[str]) -> list[dict[str, Any]]:
    known = [(name, one) for name, many in content()["quality"].items() for one in many]
    measured = [place for place, (_, one) in enumerate(known) if "metric" in one]
    chosen: set[int] = set()
    if "qualite" in topics:
        chosen |= set(luck.chance.sample(measured, 2))
    if "securite" in topics:
        chosen.add(luck.chance.choice([place for place, (name, _) in enumerate(known) if name == "security"]))
    if luck.hit(luck.density):
        chosen |= set(luck.chance.sample(range(len(known)), luck.chance.randint(1, 3)))
    found = []
    for number, (name, told) in enumerate((known[place] for place in sorted(chosen)), 1):
        one: dict[str, Any] = {"id": f"NFR-{number:03}", "category": name, "description": told["text"]}
        if "metric" in told and ("qualite" in topics or luck.hit(luck.numbers)):
            one |= {key: told[key] for key in ("metric", "operator")}
            one |= {"target": luck.chance.choice(told["targets"]), "unit": told["unit"]}
        if luck.hit(luck.density):
            one["priority"] = luck.chance.choice(PRIORITIES)
        found.append(one)
    return found


def _depend(luck: Luck, target: Target, *, asked: bool) -> None:
    """Let later requirements depend on earlier ones, which makes no circle, and a must on nothing that is dropped."""
    functions = target["functional_requirements"]
    qualities = target.get("non_functional_requirements", [])
    dropped = {one["id"] for one in [*functions, *qualities]
               if one.get("priority") == "wont" or one.get("status") == "rejected"}  # fmt: skip
    done = 0
    for at in range(len(functions) - 1, 0, -1):
        one = functions[at]
        earlier = [other["id"] for other in [*functions[:at], *qualities]]
        able = [other for other in earlier if one["priority"] != "must" or other not in dropped]
        if able and ((asked and done < 2) or luck.hit(luck.density / 4)):
            one["depends_on"] = luck.some(able, 1, 2)
            done += 1


def _constraints(luck: Luck, topics: set[str]) -> list[dict[str, Any]]:
    known: dict[str, list[str]] = content()["constraints"]
    wanted = {"budget": "budgetaire", "calendrier": "calendaire", "reglement": "reglementaire"}
    kinds = {wanted[one] for one in topics if one in wanted}
    if luck.hit(luck.density):
        kinds |= set(luck.chance.sample(sorted(known), luck.chance.randint(1, 3)))
    found = []
    for number, kind in enumerate(sorted(kinds), 1):
        one: dict[str, Any] = {"id": f"C-{number:03}", "type": kind, "description": luck.chance.choice(known[kind])}
        if kind == "budgetaire" and ("budget" in topics or luck.hit(luck.numbers)):
            exact = BUDGETS[0] + (BUDGETS[1] - BUDGETS[0]) * luck.chance.random() ** 2
            one["budget_eur"] = round(exact / 100) * 100
        if kind == "calendaire" and ("calendrier" in topics or luck.hit(luck.numbers)):
            month, day = luck.chance.randint(1, 12), luck.chance.randint(1, 28)
            one["deadline"] = f"{luck.chance.choice(YEARS)}-{month:02}-{day:02}"
        found.append(one)
    return found


def _lists(luck: Luck, sector: Mapping[str, Any], topics: set[str], target: Target) -> None:
    """Add what is taken for granted, left out, explained and asked."""
    if luck.hit(luck.density / 2):
        target["assumptions"] = luck.some(sector["assumptions"], 1, 3)
    if "perimetre" in topics or luck.hit(luck.density / 3):
        target["out_of_scope"] = luck.some(sector["out"], 1, 3)
    if "vocabulaire" in topics or luck.hit(luck.density / 3):
        pairs = luck.some(sector["glossary"], 1, 3)
        target["glossary"] = [{"term": term, "definition": told} for term, told in pairs]
    if "questions" in topics or luck.hit(luck.density / 3):
        target["open_questions"] = luck.some(sector["questions"], 1, 2)
