"""Targets of the scheme domain: valid by thousands, each rule with a violation that is named."""

import copy
import itertools
import random
from pathlib import Path
from typing import Any

import pytest

from corpus.dialogues import read_objects
from corpus.domains.schemes.pack import DATASET
from corpus.server.domain import load_domain
from corpus.server.sampler import Sampler
from corpus.server.targets import empties, from_toon, to_toon
from corpus.server.texts import Fact, says
from errors import CorpusError

DOMAIN = load_domain("schemes")
CELL = {
    "philosopher": "kant", "scheme": "MP", "form": "dialogue", "stance": "neutre", "voice": "je", "noise": "none",
    "length": "short",
}  # fmt: skip


def chance(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311  a choice, not a secret


def target(**cell: str) -> dict[str, Any]:
    return DOMAIN.target({**CELL, **cell}, chance(1))


def test_every_cell_of_meaning_has_valid_targets() -> None:
    names = ("philosopher", "scheme", "form")
    made_of = list(itertools.product(*(DOMAIN.weights[name] for name in names)))
    for levels in made_of:
        for seed in range(6):
            made = DOMAIN.target({**CELL, **dict(zip(names, levels, strict=True))}, chance(seed))
            assert DOMAIN.findings(made) == []
            assert from_toon(f"```toon\n{to_toon(made)}\n```") == made
            assert (made["philosopher"], made["scheme"]["id"], made["form"]) == levels
    assert len(made_of) == 3 * 12 * 2


def test_no_content_of_a_test_item_is_handed_out() -> None:
    conclusions: dict[str, set[str]] = {"train": set(), "test": set()}
    for _, row in read_objects(DATASET):
        conclusions[row["split"]].add(row["conclusion"])
    tested = conclusions["test"] - conclusions["train"]
    for levels in itertools.product(*(DOMAIN.weights[name] for name in ("philosopher", "scheme", "form"))):
        cell = {**CELL, **dict(zip(("philosopher", "scheme", "form"), levels, strict=True))}
        said = {DOMAIN.target(cell, chance(seed))["conclusion"] for seed in range(8)}
        assert said.isdisjoint(tested), levels


def test_the_same_chance_makes_the_same_target() -> None:
    assert target() == target()


@pytest.mark.parametrize(
    ("path", "value", "code"),
    [
        (("propositions", 1, "letter"), "P", "S01"),
        (("propositions", 1, "text"), None, "S02"),
        (("logic", "premises"), ["P -> R", "P"], "S03"),
        (("logic", "valid"), False, "S04"),
        (("logic", "premises"), ["P -> -> Q", "P"], "S04"),
        (("logic",), {"premises": ["P -> Q", "Q"], "conclusion": "P", "valid": False}, "S05"),
        (("scheme", "name"), "Modus tollens", "S06"),
        (("philosopher",), "platon", "schema"),
        (("mood",), "gai", "schema"),
        (("fallacy",), "Affirmation du conséquent.", "schema"),
        (("notion",), "", "empty"),
        (("propositions",), [], "empty"),
    ],
)
def test_each_rule_names_its_violation(path: tuple[str | int, ...], value: object, code: str) -> None:
    spoilt: Any = copy.deepcopy(target())
    place = spoilt
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = spoilt["propositions"][0]["text"] if code == "S02" else value
    assert code in [finding.code for finding in DOMAIN.findings(spoilt)]


def test_the_plan_of_the_pack_can_be_met() -> None:
    sampler = Sampler(DOMAIN.plan(120), seed=4)
    cells = [cell for _ in range(120) if (cell := sampler.draw())]
    assert len(cells) == 120
    assert not any(cell["form"] == "refusal" and cell["stance"] == "accord" for cell in cells)


def test_nothing_empty() -> None:
    assert [one.path for one in empties({"a": None, "b": [{"c": ""}], "d": 0})] == ["$.a", "$.b[0].c"]


@pytest.mark.parametrize("text", ["", "```toon\n\n```", "a[2]: 1", "- 1"])
def test_no_toon(text: str) -> None:
    with pytest.raises(CorpusError):
        from_toon(text)


@pytest.mark.parametrize(
    ("text", "fact", "said"),
    [
        ("Il laisse 12 500,50 €.", Fact("$", "amount", "12500.50"), True),
        ("Il laisse 12.500 euros.", Fact("$", "amount", "12500"), True),
        ("Il laisse 1250 euros.", Fact("$", "amount", "12500"), False),
        ("Mort le 9/3/2024.", Fact("$", "date", "2024-03-09"), True),
        ("Mort le 9 août 2024.", Fact("$", "date", "2024-08-09"), True),
        ("Mort le 2024-08-09.", Fact("$", "date", "2024-08-09"), True),
        ("Mort le 8 mars 2024.", Fact("$", "date", "2024-03-09"), False),
        ("ma tante Éloïse est là", Fact("$", "name", "Éloïse"), True),
        ("ma tante Éloïsette est là", Fact("$", "name", "Éloïse"), False),
        ("Donc tes colères perdent leur force.", Fact("$", "words", "Ta colère perd sa force."), True),
        ("Il pleut.", Fact("$", "words", "Ta colère perd sa force."), False),
    ],
)
def test_facts_in_french(text: str, fact: Fact, said: bool) -> None:
    assert says(text, fact) is said


@pytest.mark.parametrize("more", ["\nÉlève : Ah bon ?\nPhilosophe : Donc oui. Et toi ?", "\n(Schéma) Compris ?"])
def test_an_exchange_is_two_lines_alone(more: str) -> None:
    text = "Élève : je sais pas\nPhilosophe : Tu crois cela ?"
    assert DOMAIN.text_findings(target(), text + "\n") == []
    assert [one.code for one in DOMAIN.text_findings(target(), text + more)] == ["form"]


def test_a_broken_pack_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"No domain 'schemas'\. Known: .*schemes"):
        load_domain("schemas")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "domain.yaml").write_text("dimensions: 3", encoding="utf-8")
    with pytest.raises(CorpusError, match="domain x: "):
        load_domain("x", tmp_path)
    (tmp_path / "x" / "domain.yaml").write_text("dimensions: {voice: {on: 1}}", encoding="utf-8")
    for name in ("target.schema.json", "prompt.md"):
        (tmp_path / "x" / name).write_text("{}", encoding="utf-8")
    with pytest.raises(CorpusError, match="level True is no text"):
        load_domain("x", tmp_path)
