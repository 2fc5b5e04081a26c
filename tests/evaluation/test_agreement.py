"""The scorer beside a reader: on a few invented labels, and the answers that are written for a reader."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from errors import EngineError
from evaluation.__main__ import app
from evaluation.agreement import (
    agreement,
    confusion,
    detection,
    kappa_interval,
    load_labels,
    table_lines,
    verdicts,
    weighted_kappa,
)
from evaluation.cli_schemes import LABELS
from evaluation.runs import Run, failed
from evaluation.scheme_sample import as_lines, rows_to_label, sample_documents, sample_task
from evaluation.specs import VARIANTS

ROOT = Path(__file__).parents[2]
FULL = "Si tu lis, alors tu sais. Or tu lis. Donc tu sais."
ROWS: list[dict[str, Any]] = [
    {"id": "a", "scheme": "MP", "kind": "question", "prompt": "?", "answer": FULL, "label": 4},
    {"id": "b", "scheme": "MP", "kind": "question", "prompt": "?", "answer": "Le chat dort.", "label": 0},
    {"id": "c", "scheme": "MP", "kind": "question", "prompt": "?", "answer": "Par modus ponens, oui.", "label": 3},
    {
        "id": "d", "scheme": "MP", "kind": "exercise", "prompt": "Si tu lis, alors tu sais. Or tu lis. Conclus.",
        "answer": "Donc tu sais.", "label": 4, "conclusion": "Tu sais.", "right": True,
    },
    {
        "id": "e", "scheme": "MP", "kind": "exercise", "prompt": "Si tu lis, alors tu sais. Or tu lis. Conclus.",
        "answer": "Le chat dort.", "label": 0, "conclusion": "Tu sais.", "right": False,
    },
]  # fmt: skip


def written(tmp_path: Path, rows: list[dict[str, Any]]) -> Path:
    path = tmp_path / "labels.jsonl"
    path.write_text(as_lines(rows), encoding="utf-8")
    return path


def test_agreement(tmp_path: Path) -> None:
    labelled = load_labels(written(tmp_path, ROWS))
    assert verdicts(labelled) == [4, 0, 1, 4, 0]
    found = agreement(labelled)
    assert found["confusion"] == [[2, 0, 0, 0, 0], [0] * 5, [0] * 5, [0, 1, 0, 0, 0], [0, 0, 0, 0, 2]]
    assert (found["n"], found["prompts"], found["equal"], found["within_one"]) == (5, 2, 0.8, 0.8)
    assert found["full"] == {
        "n": 5, "labelled_yes": 2, "found_yes": 2, "right": 2, "precision": 1.0, "recall": 1.0, "equal": 1.0,
    }  # fmt: skip
    assert found["conclusion"]["equal"] == 1.0
    assert found["furthest"] == [{"id": "c", "label": 3, "scorer": 1}]
    low, high = found["weighted_kappa_interval"]
    assert low <= found["weighted_kappa"] <= high
    assert "weighted kappa" in table_lines(found)


def test_kappa() -> None:
    assert weighted_kappa(confusion([4, 4], [4, 4])) is None  # chance alone would agree
    assert weighted_kappa(confusion([0, 4], [4, 0])) == -1.0
    near, far = (weighted_kappa(confusion([0, 1, 2, 3, 4], graded)) for graded in ([1, 1, 2, 3, 4], [4, 1, 2, 3, 4]))
    assert near is not None
    assert far is not None
    assert far < near < 1
    assert np.isclose(near, 1 - 1 / 17)  # by hand: a squared distance of 1, where chance would give 17
    assert detection([], []) == {
        "n": 0, "labelled_yes": 0, "found_yes": 0, "right": 0, "precision": None, "recall": None, "equal": None,
    }  # fmt: skip


def test_answers_to_one_prompt_are_one_witness() -> None:
    """Four copies of every answer make no narrower interval; taken for as many prompts, they would."""
    labels, graded = [0, 1, 2, 3, 4, 4, 0, 2], [0, 1, 2, 4, 4, 2, 1, 2]
    prompts = [f"p{n}" for n in range(8)]
    once = kappa_interval(labels, graded, prompts)
    assert kappa_interval(labels * 4, graded * 4, prompts * 4) == once
    apart = kappa_interval(labels * 4, graded * 4, [f"p{n}" for n in range(32)])
    assert once is not None
    assert apart is not None
    assert apart[1] - apart[0] < 0.7 * (once[1] - once[0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": 5}, "expected 0 to 4"),
        ({"label": "4"}, "expected 0 to 4"),
        ({"label": True}, "expected 0 to 4"),
        ({"kind": "talk"}, "expected question or exercise"),
        ({"scheme": "XX"}, "No scheme 'XX'"),
        ({"answer": None}, "are texts"),
        ({"kind": "exercise"}, "an exercise has a conclusion"),
        ({"conclusion": "Tu sais."}, "a question has none"),
        ({"id": "a"}, "'a' has a label already"),
    ],
)
def test_a_wrong_label_is_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = written(tmp_path, [ROWS[0], {**ROWS[1], **change}])
    with pytest.raises(EngineError, match=said) as caught:
        load_labels(path)
    assert "labels.jsonl:2" in str(caught.value)


def test_a_broken_line_and_no_line(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text("{\n", encoding="utf-8")
    with pytest.raises(EngineError, match=r"labels\.jsonl:1: no label"):
        load_labels(path)
    with pytest.raises(EngineError, match="no labels"):
        agreement([])


def test_the_command(tmp_path: Path) -> None:
    out = tmp_path / "agreement.json"
    arguments = ["schemes-agreement", "--labels", str(written(tmp_path, ROWS)), "--out", str(out), "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0
    assert json.loads(done.stdout) == json.loads(out.read_text(encoding="utf-8"))
    assert json.loads(done.stdout)["n"] == 5
    assert "reader" in done.stderr


def test_what_a_reader_gets_has_no_verdict_and_no_order() -> None:
    task = sample_task(180)
    assert len(task.documents) == 180
    assert {one.facts["variant"] for one in task.documents} == set(VARIANTS)
    assert [one.id for one in task.documents] == [one.id for one in sample_documents(180)]
    assert [one.id for one in task.documents] != sorted(one.id for one in task.documents)
    samples = [failed(one, "x: y") for one in task.documents]
    samples[1] = samples[1].__class__(**{**samples[1].__dict__, "error": None, "response": "Donc."})
    rows = rows_to_label(task, Run(task.name, 1, "e", {}, tuple(samples), {}))
    assert [set(row) for row in rows] == [{"id", "scheme", "kind", "prompt", "answer", "conclusion"}]
    assert task.measure(task.documents[0], FULL) == {}
    with pytest.raises(EngineError, match="fewer than 999"):
        sample_task(999)


def test_the_committed_agreement_is_that_of_this_scorer() -> None:
    """The scorer was changed since? `python -m evaluation schemes-agreement --out benchmarks/results/… --force`."""
    path = ROOT / "benchmarks" / "results" / "scheme-agreement.json"
    committed = json.loads(path.read_text(encoding="utf-8"))
    found = json.loads(json.dumps(agreement(load_labels(ROOT / LABELS))))
    assert {name: committed.get(name) for name in found} == found


def test_the_page_says_how_far_the_halves_are_apart() -> None:
    """An answer of the judge's half whose prompt stands in the tuning half is no answer to a new exercise."""
    page = " ".join((ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8").split())
    tuned, judged = (
        [one.prompt for one in load_labels(ROOT / "data" / "eval" / f"scheme_labels_{half}.jsonl.xz")]
        for half in ("tune", "judge")
    )
    shared = set(tuned) & set(judged)
    assert f"{len(shared)} of the judge's {len(set(judged))} stand in the tuning half" in page
    assert f"{sum(one in shared for one in judged)} of its {len(judged)} answers" in page


def test_the_page_says_what_was_measured() -> None:
    page = " ".join((ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8").split())
    before, now = (
        json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("scheme-agreement-untuned", "scheme-agreement")
    )

    def short(value: float) -> str:
        return f"{value:.2f}".lstrip("0")

    (low, high), drawn, full = now["weighted_kappa_interval"], now["conclusion"], now["full"]
    for said in (
        f"at a weighted kappa of {short(before['weighted_kappa'])} (equal {100 * before['equal']:.0f} %)",
        f"**{short(now['weighted_kappa'])} ({short(low)} to {short(high)})**",
        f"equal {100 * now['equal']:.0f} %, within one grade {100 * now['within_one']:.0f} %",
        f"with precision {short(drawn['precision'])} and recall {short(drawn['recall'])}",
        f"a full scheme with {short(full['precision'])} and {short(full['recall'])} ({full['labelled_yes']} answers)",
    ):
        assert said in page
