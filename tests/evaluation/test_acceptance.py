"""The acceptance page is what the result files say, and says so where there is none."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from errors import EngineError
from evaluation.__main__ import app
from evaluation.acceptance import PAGE, render
from evaluation.acceptance_criteria import CRITERIA, Shelf, number, percent, step

ROOT = Path(__file__).parents[2]


def test_the_committed_page_is_what_the_results_say() -> None:
    assert (ROOT / PAGE).read_text(encoding="utf-8") == render(ROOT), "run `python -m evaluation acceptance`"


def test_every_link_of_the_page_leads_somewhere() -> None:
    links = [line.rsplit("](", 1)[1].split(")")[0] for line in render(ROOT).splitlines() if "](" in line]
    assert links
    assert [link for link in links if not (ROOT / PAGE.parent / link).exists()] == []


def test_without_results_nothing_is_met(tmp_path: Path) -> None:
    page = render(tmp_path)
    missing = sum(one.find(Shelf(tmp_path)) is None for criteria in CRITERIA.values() for one in criteria)
    assert page.count("| not measured |") == missing > 30
    assert "| met |" not in page


def shelf(folder: Path, **results: Any) -> Shelf:
    place = folder / "benchmarks" / "results"
    place.mkdir(parents=True)
    for name, data in results.items():
        (place / f"{name}.json").write_text(json.dumps(data), encoding="utf-8")
    return Shelf(folder)


@pytest.mark.parametrize(
    ("data", "bounds", "value", "met"),
    [
        ({"a": [{"b": 0.25}, {"b": 0.5}]}, {"at_least": 0.4}, "50.0 %", True),
        ({"a": [{"b": 0.5}, {"b": 0.25}]}, {"at_least": 0.4}, "25.0 %", False),
        ({"a": [{"b": 0.25}]}, {"at_most": 0.25}, "25.0 %", True),
        ({"a": [{"b": 0.25}]}, {"judged": False, "at_least": 1.0}, "25.0 %", None),
    ],
)
def test_a_number_is_held_against_its_bound(
    data: Any, bounds: dict[str, Any], value: str, met: bool | None, tmp_path: Path
) -> None:
    found = number("x", "a>-1>b", percent, **bounds)(shelf(tmp_path, x=data))
    assert found is not None
    assert (found.value, found.met, found.source) == (value, met, "benchmarks/results/x.json")


@pytest.mark.parametrize("data", [{}, {"a": []}, {"a": 3}, {"a": [{"b": None}]}, {"a": [{"b": "x"}]}])
def test_a_number_that_is_not_there_was_not_measured(data: Any, tmp_path: Path) -> None:
    assert number("x", "a>-1>b", percent)(shelf(tmp_path, x=data)) is None


@pytest.mark.parametrize(("accuracy", "value", "met"), [(0.4353, "43.5 %", False), (0.8, "80.0 %", True)])
def test_the_gate_s_accuracy_judges_free_and_only_reports_for_the_7b(
    accuracy: float, value: str, met: bool, tmp_path: Path
) -> None:
    gate = {"kind": "model-gate", "task": "schemes", "means": {"accuracy": {"mean": accuracy}}}
    results = shelf(tmp_path, **{"model-gate": gate})
    finders = {one.text: one.find for criteria in CRITERIA.values() for one in criteria}
    for text, verdict in (("Free: scheme accuracy", met), ("Scheme accuracy, 7B", None)):
        found = finders[text](results)
        assert found is not None
        assert (found.value, found.met) == (f"{value} (embedded model)", verdict)


def test_a_step_that_was_skipped_or_slower_is_not_met(tmp_path: Path) -> None:
    steps = [{"key": "merged", "gain": -0.1, "met": False}, {"key": "quantised", "gain": 0.5, "met": True,
             "perplexity_ratio": 1.02}]  # fmt: skip
    beside = {"attention": {"key": "attention", "gain": None, "met": None}}
    found = shelf(tmp_path, pipeline={"steps": steps, "beside": beside})
    slower, smaller = step("merged")(found), step("quantised")(found)
    assert slower is not None
    assert (slower.value, slower.met) == ("+10.0 % (embedded model)", False)
    assert smaller is not None
    assert "× 1.020" in smaller.value
    assert step("attention")(found) is None


def test_the_command_writes_and_checks(tmp_path: Path) -> None:
    words = ["acceptance", "--root", str(tmp_path)]
    late = CliRunner().invoke(app, [*words, "--check"])
    assert isinstance(late.exception, EngineError)
    assert CliRunner().invoke(app, words).exit_code == 0
    assert (tmp_path / PAGE).is_file()
    assert CliRunner().invoke(app, [*words, "--check"]).exit_code == 0
