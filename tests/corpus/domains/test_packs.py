"""Every domain's targets: valid, distinct, about their cell, reaching the schema; each rule sees its violation."""

import copy
import importlib
import json
import random
from pathlib import Path
from typing import Any

import pytest

from benchmarks.domains import DOMAINS, Found, cells, judge, measure, summed
from corpus.server.domain import Domain, load_domain
from corpus.server.paths import reached, schema_paths
from corpus.server.targets import from_toon, to_toon
from corpus.server.texts import Copies, findings
from errors import CorpusError

TARGETS = 150
Measured = tuple[Domain, Found]


def chance(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311  a choice, not a secret


@pytest.fixture(scope="module", params=DOMAINS)
def measured(request: pytest.FixtureRequest) -> Measured:
    domain = load_domain(request.param)
    return domain, measure(domain, TARGETS, seed=3, planted_every=30)


def test_all_targets_are_valid_and_about_their_cells(measured: Measured) -> None:
    _, found = measured
    assert found.faults == []
    assert len(found.made_s) == TARGETS
    assert len(found.texts) >= 0.8 * TARGETS  # the schemes' bank holds a few contents for each cell


def test_every_property_of_the_schema_is_reached(measured: Measured) -> None:
    domain, found = measured
    missing = domain.paths - set(found.seen)
    assert sorted(path for path in missing if "=" not in path) == []
    assert len(missing) <= 0.1 * len(domain.paths), sorted(missing)


def test_the_validator_names_every_planted_violation(measured: Measured) -> None:
    domain, found = measured
    violations = importlib.import_module(f"corpus.domains.{domain.key}.violations")
    assert found.missed == []
    assert set(found.planted) == set(violations.PLANTED)
    assert [code for code, counts in found.planted.items() if not counts["planted"]] == []


def test_every_rule_has_a_function_and_a_violation() -> None:
    for key, letter, count in (("succession", "R", 30), ("business_analyst", "B", 11)):
        module = "rules_estate" if key == "succession" else "rules"
        rules = importlib.import_module(f"corpus.domains.{key}.{module}").RULES
        planted = importlib.import_module(f"corpus.domains.{key}.violations").PLANTED
        codes = [f"{letter}{number:02}" for number in range(1, count + 1)]
        assert sorted(rules) == sorted(planted) == codes
        assert all(rule.__name__.startswith(code.lower()) and rule.__doc__ for code, rule in rules.items())


@pytest.mark.parametrize("key", DOMAINS)
def test_the_schema_names_its_rules_as_the_functions_do(key: str) -> None:
    """What the schema says under a rule's code, the rule's function says too."""
    domain = load_domain(key)
    violations = importlib.import_module(f"corpus.domains.{key}.violations")
    cell = cells(domain, 6, seed=1)[0]
    target = domain.target(cell, chance(5))
    for code, ways in violations.PLANTED.items():
        for number in range(len(ways)):
            spoilt = violations.plant(code, number, target)
            if spoilt is not None:
                assert code in [one.code for one in domain.pack.rule_findings(spoilt)], (code, number)


@pytest.mark.parametrize("key", DOMAINS)
def test_the_same_chance_makes_the_same_target(key: str) -> None:
    domain = load_domain(key)
    cell = cells(domain, 9, seed=2)[-1]
    seen = dict.fromkeys(domain.paths, 3)
    assert domain.target(cell, chance(8)) == domain.target(cell, chance(8))
    assert domain.target(cell, chance(8), seen) == domain.target(cell, chance(8), seen)


@pytest.mark.parametrize("key", DOMAINS)
def test_a_prompt_is_whole(key: str) -> None:
    domain = load_domain(key)
    for number, cell in enumerate(cells(domain, 20, seed=4)):
        target = domain.target(cell, chance(number))
        said = domain.instruct(target, cell)
        assert to_toon(target) in said
        assert "{cell}" not in said
        assert "{target}" not in said
        assert "{trap}" not in said
        for name, level in cell.items():
            told = domain.told.get((name, level), "").split("{")[0]
            assert told in said


@pytest.mark.parametrize("key", DOMAINS)
def test_the_examples_would_be_accepted(key: str) -> None:
    domain = load_domain(key)
    path = Path(str(domain.pack.__file__)).parent / "examples.jsonl"  # type: ignore[attr-defined]
    copies = Copies()
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(rows) >= 2
    for row in rows:
        assert judge(domain, row["dimensions"], row["target"]) == []
        assert set(row["dimensions"]) == set(domain.weights)
        facts = domain.facts(row["target"])
        assert findings(row["case_text"], facts, copies) == []
        assert domain.text_findings(row["target"], row["case_text"]) == []
        copies.add(row["case_text"])
        messages = domain.messages(row["target"], row["case_text"])
        assert [one["role"] for one in messages] == ["system", "user", "assistant"]
        assert all(one["content"].strip() == one["content"] for one in messages)
        if key != "schemes":
            assert from_toon(messages[-1]["content"]) == row["target"]


@pytest.mark.parametrize("key", ["succession", "business_analyst"])
def test_a_text_that_copies_the_target_or_forgets_it_is_refused(key: str) -> None:
    domain = load_domain(key)
    path = Path(str(domain.pack.__file__)).parent / "examples.jsonl"  # type: ignore[attr-defined]
    row = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    code = "acceptant_pur_et_simple" if key == "succession" else "FR-001"
    leaked = domain.text_findings(row["target"], f"{row['case_text']} ({code})")
    assert [one.code for one in leaked] == ["leaked_code"]
    empty = "Bonjour, je ne sais pas par où commencer et je vous écris de la part de ma famille, merci."
    codes = {one.code for one in findings(empty, domain.facts(row["target"]), Copies())}
    assert codes == {"missing_fact"}


def test_paths_are_those_of_a_schema_and_of_a_target() -> None:
    schema = {"properties": {"a": {"type": "array", "items": {"properties": {"b": {"enum": ["x", "y"]}}}}, "c": True}}
    assert schema_paths(schema) == {"a", "a[].b", "a[].b=x", "a[].b=y", "c"}
    assert set(reached({"a": [{"b": "x"}]})) & schema_paths(schema) == {"a", "a[].b", "a[].b=x"}


def test_the_rarest_path_is_drawn_first() -> None:
    """With the paths seen so far, a rare value comes sooner than by chance."""
    domain = load_domain("succession")
    cell = next(one for one in cells(domain, 40, seed=0) if one["topic"] == "conjoint_option")
    rare = "conjoint.option=donation_epoux_quart_pp_trois_quarts_usufruit"
    often = {path: 0 if path == rare else 1000 for path in domain.paths}

    def share(seen: dict[str, int] | None) -> float:
        made = [set(reached(domain.target(cell, chance(number), seen))) for number in range(30)]
        return sum(rare in one for one in made) / len(made)

    assert share(often) > 1.5 * share(None)


def test_a_summary_says_what_was_seen(measured: Measured) -> None:
    domain, found = measured
    told = summed(domain, found, TARGETS)
    assert told["targets"] == TARGETS
    assert told["faults"] == 0
    assert json.loads(json.dumps(told)) == told


@pytest.mark.parametrize("key", DOMAINS)
def test_no_target_is_changed_by_being_looked_at(key: str) -> None:
    domain = load_domain(key)
    cell = cells(domain, 5, seed=6)[0]
    target = domain.target(cell, chance(1))
    before: dict[str, Any] = copy.deepcopy(target)
    domain.findings(target)
    domain.facts(target)
    domain.pack.notes(target, to_toon(target))
    domain.instruct(target, cell)
    assert target == before


def test_a_told_level_has_to_exist(tmp_path: Path) -> None:
    (tmp_path / "schemes").mkdir()
    home = tmp_path / "schemes"
    (home / "domain.yaml").write_text("dimensions: {voice: {je: 1}}\ntold: {voice: {tu: Tutoie.}}", encoding="utf-8")
    (home / "target.schema.json").write_text("{}", encoding="utf-8")
    (home / "prompt.md").write_text("{target}", encoding="utf-8")
    with pytest.raises(CorpusError, match="told: voice=tu is no level"):
        load_domain("schemes", tmp_path)
