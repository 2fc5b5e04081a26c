"""The acceptance page is what the result files say, and says so where there is none."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from errors import EngineError
from evaluation.__main__ import app
from evaluation.acceptance import ADAPTER, MANIFEST, PAGE, render
from evaluation.acceptance_criteria import CRITERIA, Shelf, held, number, percent, soaked, step

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


@pytest.mark.parametrize(
    ("passed", "last_s", "value", "met"),
    [
        (True, 86_390.0, "24 h under load and faults (embedded model)", True),
        (False, 3000.0, "0.833 h under load and faults, not passed (embedded model)", False),
        (False, 86_410.0, "24 h under load and faults, not passed (embedded model)", False),
    ],
)
def test_a_soak_that_broke_off_was_not_up_for_a_day(
    passed: bool, last_s: float, value: str, met: bool, tmp_path: Path
) -> None:
    """It was asked for 24 hours, whatever became of it."""
    samples = [{"seconds": 2.0, "rss_mb": 500.0}, {"seconds": last_s, "rss_mb": 4100.0}]
    results = shelf(tmp_path, soak={"run": {"hours": 24.0}, "verdict": {"passed": passed}, "samples": samples})
    found, memory = soaked(results), held(results)
    assert found is not None
    assert (found.value, found.met) == (value, met)
    assert (memory is None) is (last_s < 3500)  # less than an hour says nothing of an hour
    assert memory is None or (memory.value, memory.met) == ("4.10 GB (embedded model)", False)


def test_results_of_another_adapter_are_named(tmp_path: Path) -> None:
    """By the hash of the weights that each result holds; one that holds none is named too."""
    weights = tmp_path / ADAPTER
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    (tmp_path / MANIFEST).write_text('{"gguf_sha256": "ships"}', encoding="utf-8")
    steps = {"steps": [{"median_latency": 1.0, "key": "adapter"}], "beside": {}, "total": {"speed_up": 3.0}}
    origin = {"adapter": {"sha256": {"adapter_model.safetensors": hashlib.sha256(b"weights").hexdigest()}}}
    gate = {"kind": "model-gate", "means": {"accuracy": {"mean": 0.5}}, "environment": {"model": {"sha256": "ships"}}}
    shelf(
        tmp_path, bare={"seconds": {"whole answer on the page": 3.0}}, pipeline={**steps, "origin": origin},
        context={"tokens": {"small saved": 0.5}, "model_sha256": "earlier"}, **{"model-gate": gate},
    )  # fmt: skip
    page = render(tmp_path)
    assert "Measured with an earlier adapter of the embedded model: `context`." in page
    assert "With which adapter, these results do not say: `bare`." in page


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
