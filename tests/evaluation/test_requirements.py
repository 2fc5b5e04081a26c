"""What a requirements document is worth, by cases: right ones, and every way of being wrong; answers from a file."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from errors import ChatError, EngineError
from evaluation import requirement_task as task
from evaluation.__main__ import app
from evaluation.requirements import WEIGHTS, lost, parse, score, terms
from training.requirement_documents import INSTRUCTION, document_chat

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "data" / "business_analyst"
CONCEPT = "A village bakery wants to know how many loaves to bake from the weather and the school holidays."
RIGHT: dict[str, Any] = {
    "title": "Baking forecast for a village bakery",
    "description": "Each evening the baker gets a number of loaves, from weather and school holidays.",
    "functional_requirements": [{"id": "FR-1", "description": "Propose how many loaves to bake.", "priority": "high"}],
    "non_functional_requirements": [{"id": "NFR-1", "description": "Answer before seven.", "priority": "medium"}],
    "constraints": [{"id": "C-1", "description": "No computer stands in the bakery.", "priority": "low"}],
}


def said(**changes: Any) -> str:
    """Return the right document as YAML, with some keys changed; a key given as None is left out."""
    document = {key: value for key, value in {**RIGHT, **changes}.items() if value is not None}
    return yaml.safe_dump(document, sort_keys=False)


def item(name: str = "C-1", text: Any = "No computer.", priority: Any = "low") -> dict[str, Any]:
    return {"id": name, "description": text, "priority": priority}


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def test_weights_make_a_hundred() -> None:
    assert sum(WEIGHTS.values()) == 100
    assert score(said(), CONCEPT).score == 100


def test_the_prompt_is_the_one_of_training() -> None:
    """An adapter is asked in the words of its training; evaluation may not import training, so they are copied."""
    assert task.INSTRUCTION == INSTRUCTION
    row = rows("validation")[0]
    question, answer = document_chat(row, "a line")
    assert task.messages_for(row["concept"], "plain", None)[0]["content"] == question["content"]
    assert task.as_yaml(row["requirements"]) == answer["content"]


def test_our_own_documents_fit_and_score_high() -> None:
    """The schema and training's model agree; a document about another concept loses its coverage."""
    ours = rows("validation")
    for at, row in enumerate(ours):
        answer = task.as_yaml(row["requirements"])
        own, foreign = score(answer, row["concept"]), score(answer, ours[at - 1]["concept"])
        assert own.fault == ""
        assert own.score >= 90
        assert foreign.score < own.score
    assert sum(score(task.as_yaml(row["requirements"]), row["concept"]).score for row in ours) / len(ours) > 97


@pytest.mark.parametrize(
    ("answer", "changed"),
    [
        (f"```yaml\n{said()}```", {}),
        (f"Here it is.\n```\n{said()}\n```\nGood luck.", {}),
        (said(title=None), {"schema": 0, "sections": 0.8}),
        (said(title="  "), {"sections": 0.8}),
        (said(extra=1), {"schema": 0}),
        (said(constraints=[]), {"schema": 0, "sections": 0.8, "constraints": 0}),
        (said(constraints="none"), {"schema": 0, "sections": 0.8, "constraints": 0}),
        (said(constraints=[item(text="")]), {"schema": 0, "sections": 0.8, "constraints": 0}),
        (said(constraints=[item("FR-1")]), {"ids": 1 / 3}),
        (said(constraints=[item(priority="urgent")]), {"schema": 0, "priorities": 2 / 3}),
        (said(constraints=[item(priority=None)]), {"schema": 0, "priorities": 2 / 3}),
        (said(constraints=["no computer"]), {"schema": 0, "sections": 0.8, "constraints": 0}),
        (said(title=7), {"schema": 0, "sections": 0.8}),
    ],
)
def test_each_fault_costs_its_part(answer: str, changed: dict[str, float]) -> None:
    found = score(answer, CONCEPT)
    parts = {name: getattr(found, name) for name in WEIGHTS}
    assert parts == pytest.approx(dict.fromkeys(WEIGHTS, 1.0) | changed)
    assert found.score == pytest.approx(sum(WEIGHTS[name] * part for name, part in parts.items()), abs=1e-3)
    assert bool(found.fault) == ("schema" in changed)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("", "no YAML mapping"),
        ("Je ne sais pas.", "no YAML mapping"),
        ("Note: a prose answer is a mapping too.", "none of the keys"),
        ("- a\n- b", "no YAML mapping"),
        ("title: a\ntitle: b", "a key stands twice"),
        ("title: 'unended", "no YAML"),
        ("title: &a [1]\ndescription: *a", "aliases are not read"),
        ("title: !!python/object:os.system x", "no YAML"),
        ("title: 2024-99-99", "no YAML"),
        ("[" * 3000, "no YAML"),
        ("title: " + "a" * 60_000, "longer than"),
        ("title: \x00", "no YAML"),
        ("title: !!bool maybe", "no YAML"),
        ('title: !!int ""', "no YAML"),
        ("title: !!timestamp x", "no YAML"),
    ],
)
def test_what_is_no_document_scores_nothing(answer: str, why: str) -> None:
    document, said_why = parse(answer)
    assert document is None
    assert said_why.startswith(why) or why in said_why
    assert score(answer, CONCEPT).score == 0


def test_copying_the_concept_earns_its_coverage_alone() -> None:
    found = score(yaml.safe_dump({"title": CONCEPT}), CONCEPT)
    assert (found.coverage, found.schema, found.constraints, found.ids) == (1, 0, 0, 0)
    assert found.score == 10 + 20 * 0.2 + 20


def test_a_concept_without_words_of_its_own() -> None:
    assert terms("What do you want it to be?") == frozenset()
    assert score(said(), "What is it?").coverage == 1


def test_points_lost_name_the_dearest_part_first() -> None:
    found = lost([score(said(constraints=[]), CONCEPT).metrics(), score(said(), CONCEPT).metrics()])
    assert next(iter(found.items())) == ("schema", 10)
    with pytest.raises(EngineError, match="no answer"):
        lost([])


def test_prompts_by_variant() -> None:
    shown = task.example(FOLDER / "train.jsonl")
    optimised = task.messages_for(CONCEPT, "optimised", shown)[0]["content"]
    assert optimised.endswith(f"Concept: {CONCEPT}")
    assert shown[1] in optimised
    assert score(shown[1], shown[0]).fault == ""
    with pytest.raises(EngineError, match="known: plain, optimised"):
        task.messages_for(CONCEPT, "optimized", shown)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.jsonl"
    lines = [json.dumps({"id": f"d{n}", "concept": f"{CONCEPT} {n}"}) for n in range(6)]
    path.write_text("\n".join([*lines, "{broken", json.dumps({"idea": "no concept"})]), encoding="utf-8")
    return path


def answers(path: Path, *lines: Any) -> Path:
    path.write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines), encoding="utf-8")
    return path


def test_answers_of_a_file_are_scored(small: Path, tmp_path: Path) -> None:
    """Found by id or concept; a missing answer, a broken line and a broken document are named and counted."""
    given = [{"id": "d0", "answer": said()}, {"concept": f"{CONCEPT} 1", "response": "no"}, "{broken"]
    path = answers(tmp_path / "answers.jsonl", *given)
    out = tmp_path / "out"
    done = CliRunner().invoke(
        app, ["requirements", "--answers", str(path), "--set", str(small), "--out", str(out), "--json"]
    )
    assert done.exit_code == 0, done.output
    report = json.loads((out / "eval_report.json").read_text(encoding="utf-8"))
    assert report["score"] == 12.5  # one of eight
    assert report["failures"] == 6
    assert report["decision"]["verdict"] == "keep"
    assert report["weights"] == WEIGHTS
    assert len(report["settings"]["broken_lines"]) == 1
    faults = {one["id"]: one["fault"] for one in report["each"]}
    assert faults["d0"] == ""
    assert faults["d1"] == "no YAML mapping"
    assert "has no answer to it" in faults["d2"]
    assert "no JSON" in faults["small-007"]
    assert "no concept" in faults["small-008"]
    again = CliRunner().invoke(app, ["requirements", "--answers", str(path), "--set", str(small), "--out", str(out)])
    assert isinstance(again.exception, EngineError)
    assert "never overwritten" in str(again.exception)


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([{"id": "nobody", "answer": "x"}], "expected answer, and the id or concept"),
        ([{"id": "d0"}], "expected answer"),
        ([{"id": "d0", "answer": "x"}, {"id": "d0", "answer": "y"}], "d0 is answered twice"),
    ],
)
def test_answers_to_nothing_are_refused(small: Path, tmp_path: Path, lines: list[Any], why: str) -> None:
    compared = task.requirements_on(small)
    with pytest.raises(EngineError, match=why):
        task.answers_run(compared.task, answers(tmp_path / "a.jsonl", *lines), {})


@pytest.mark.parametrize("options", [[], ["--engine", "gguf:x", "--answers", "y"]])
def test_an_engine_or_answers(options: list[str]) -> None:
    done = CliRunner().invoke(app, ["requirements", *options])
    assert isinstance(done.exception, ChatError)
    assert "either --engine SPEC or --answers FILE" in str(done.exception)


def test_a_small_model_is_asked_and_fails_honestly(tiny_gguf: Path, small: Path, tmp_path: Path) -> None:
    """The real engine writes no YAML; its prompt is the one of training, and the run can be read back."""
    command = ["requirements", "--engine", f"gguf:{tiny_gguf}@prompt=plain", "--set", str(small), "--limit", "2"]
    done = CliRunner().invoke(app, [*command, "--max-tokens", "16", "--threads", "1", "--out", str(tmp_path / "o")])
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "o" / "eval_report.json").read_text(encoding="utf-8"))
    assert (report["score"], report["documents"], report["failures"]) == (0, 2, 0)
    assert report["settings"]["sampling"] == {"temperature": 0, "max_tokens": 16}
    assert "Larger" in report["decision"]["next_steps"][1] or "larger" in report["decision"]["next_steps"][1]
