"""Makes a succession target for a cell: constructive, sparse, the same for the same chance. Knows family and estate."""

import json
import random
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from corpus.domains.succession.amounts import bounds_on
from corpus.domains.succession.case import Case
from corpus.domains.succession.estate import (
    Estate,
    add_debts,
    add_gifts,
    add_goods,
    add_joint,
    add_policies,
    add_will,
    state_reserve,
)
from corpus.domains.succession.family import Family, draw_family, finish
from corpus.domains.succession.luck import Luck
from corpus.domains.succession.topics import ANYWHERE, BLOCKS, DEMANDS, NONE, SUBJECTS, misaligned
from corpus.server.quotas import Cell
from corpus.server.targets import Target
from errors import CorpusError

DENSITY = {"simple": 0.2, "moyen": 0.45, "complexe": 0.7, "piege": 0.45}
NUMBERS = {"peu": 0.12, "moyen": 0.5, "beaucoup": 0.92}
SIZE = {"simple": 2, "moyen": 3, "complexe": 5, "piege": 3}  # most children or siblings
SEARCHED = 0.1  # density of what is typed into a search box
EXTRA = {"simple": (0, 0), "moyen": (0, 1), "complexe": (1, 3), "piege": (0, 1)}  # blocks that no topic asks for
GOODS = {"simple": (0, 1), "moyen": (0, 2), "complexe": (2, 4), "piege": (1, 2)}
TRIES = 8  # drafts until the topics hold; the first one does but for rare families


def generate(cell: Cell, chance: random.Random) -> Target:
    """Return a target about the topics of a cell; the same chance gives the same target.

    Raises:
        CorpusError: The topics of the cell exclude each other.
    """
    found: list[str] = []
    for _ in range(TRIES):
        target = _draft(cell, chance)
        found = misaligned(target, cell["topic"], cell["second_topic"])
        if not found:
            return target
    raise CorpusError(f"{cell['topic']} with {cell['second_topic']}: {found[0]}; forbid the pair in domain.yaml.")


def _draft(cell: Cell, chance: random.Random) -> Target:
    topics = frozenset({cell["topic"], cell["second_topic"]} - {NONE})
    level = cell["complexity"]
    searched = cell["form"] == "recherche"
    luck = Luck(chance, SEARCHED if searched else DENSITY[level], NUMBERS[cell["numbers"]])
    family = draw_family(luck, topics, 2 if searched else SIZE[level])
    luck.bounds = bounds_on(family.death)
    extra = set() if searched else _extra(luck, cell)
    needed = _needed(luck, topics)
    estate = Estate(family)
    add_goods(estate, luck.between(*GOODS[level]) if not searched else 0)
    form = _house(family, may_will="testament" in needed | extra or "logement_conjoint" in topics)
    if form or "testament" in needed | extra:
        least = 1 if topics & {"legs", "reduction_reserve"} else 0
        add_will(estate, legacies=luck.between(least, 2 if level != "complexe" else 3), form=form)
    finish(family)
    count = 1 if searched or level == "simple" else 2
    for name, add in (("passif", add_debts), ("donations", add_gifts), ("assurances_vie", add_policies)):
        if name in needed | extra:
            add(estate, luck.between(1, count + (level == "complexe")))
    if "indivision" in needed | extra:
        add_joint(estate)
    return _assemble(cell, family, estate, topics)


def _needed(luck: Luck, topics: frozenset[str]) -> set[str]:
    """Return the blocks that the topics bring; a reduction comes from gifts or from a will."""
    sure = [one for one in topics if one in BLOCKS and one not in ("reduction_reserve", "logement_conjoint")]
    needed = {BLOCKS[one][0] for one in sure}
    if "reduction_reserve" in topics and not needed & {"donations", "testament"}:
        needed.add(luck.pick(("donations", "testament")))
    return needed


def _extra(luck: Luck, cell: Cell) -> set[str]:
    """Return blocks that no topic asks for; a case of one topic alone has none."""
    if cell["second_topic"] == NONE:
        return set()
    many = luck.between(*EXTRA[cell["complexity"]])
    return set(luck.chance.sample(sorted(SUBJECTS), many))


def _house(family: Family, *, may_will: bool) -> str:
    """Say who lives in the home and by which right; return the form of will that this right needs, or nothing."""
    luck, spouse = family.luck, family.spouse
    link = spouse.get("lien")
    asked = "logement_conjoint" in family.topics
    if link is None or not (asked or luck.hit(luck.density / 3)):
        return ""
    if link in ("conjoint_survivant", "partenaire_pacs") and (asked or luck.hit(0.5)):
        rights = ["temporaire_un_an"]
        if link == "conjoint_survivant":
            rights += ["viager_demande"] + (["viager_exclu_par_testament_authentique"] if may_will else [])
        spouse["occupe_logement"] = True
        spouse["droit_logement"] = luck.pick(rights)
        return "authentique" if spouse["droit_logement"].startswith("viager_exclu") else ""
    spouse["occupe_logement"] = luck.hit(0.7)
    return ""


def _assemble(cell: Cell, family: Family, estate: Estate, topics: frozenset[str]) -> Target:
    luck = family.luck
    parts: dict[str, Any] = {
        "defunt": family.deceased, "conjoint": family.spouse, "heritiers": family.heirs, "biens": estate.goods,
        "tiers": estate.thirds, **estate.parts,
    }  # fmt: skip
    right = Case({name: part for name, part in parts.items() if part}).disposable()
    if "reduction_reserve" in topics and luck.hit(0.3 + luck.density / 2):
        state_reserve(estate, right)
    parts |= estate.parts
    parts["demandes"] = _demands(luck, cell, topics)
    return dict(_in_order({name: part for name, part in parts.items() if part}, _schema()))


@cache
def _schema() -> Mapping[str, Any]:
    found: dict[str, Any] = json.loads((Path(__file__).parent / "target.schema.json").read_text(encoding="utf-8"))
    return found


def _in_order(value: Any, schema: Mapping[str, Any]) -> Any:
    """Return a value with its keys in the order of the schema: like things stand alike in TOON."""
    if isinstance(value, list):
        return [_in_order(one, schema["items"]) for one in value]
    if not isinstance(value, dict):
        return value
    return {key: _in_order(value[key], inner) for key, inner in schema["properties"].items() if key in value}


def _demands(luck: Luck, cell: Cell, topics: frozenset[str]) -> list[str]:
    asked = ["reserve_et_quotite"] if "reduction_reserve" in topics else []
    for one in (cell["topic"], cell["second_topic"]):
        if one != NONE and (luck.hit(0.75) or not asked):
            asked.append(luck.pick(DEMANDS[one]))
    if luck.hit(0.15 + luck.density / 3):
        asked.append(luck.pick(ANYWHERE))
    if luck.hit(luck.density / 10):
        asked.append("indignite")
    return list(dict.fromkeys(asked))[:4]
