"""Cases that the instruction server accepts are checked and trained on as they are."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from corpus.__main__ import app
from corpus.check import check_all
from corpus.server.domain import load_domain
from corpus.server.state import Instruction
from corpus.server.workshop import Workshop
from training.recipe import Recipe
from training.run import run

pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated and will be removed in v6:FutureWarning")
PUPILS = (
    "Hier au marché j'ai changé d'avis trois fois avant de choisir une simple pomme verte",
    "Mon frère dit toujours que tout est écrit, et moi je le trouve vraiment triste",
    "Dans le bus, une dame a rendu un billet qui ne lui appartenait pas du tout",
    "À la piscine je compte les longueurs, et quand je m'ennuie le temps devient énorme",
)


def answer(instruction: Instruction) -> str:
    """Return a text as a careful writer would send it."""
    pupil = PUPILS[int(instruction.id[4:]) % len(PUPILS)]
    return f"Élève : {pupil}.\nPhilosophe : {instruction.target['conclusion']} Et toi, que dirais-tu de ce cas ?"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The folder of a server that has what it wanted."""
    workshop = Workshop(tmp_path / "state", load_domain("schemes"), total=4, seed=2)
    while (one := workshop.next("ada")) is not None:
        assert workshop.submit(one.id, "ada", answer(one)).status == "accepted"
    workshop.close()
    return tmp_path / "state"


def test_accepted_cases_pass_the_check_and_train(state: Path, recipe: Recipe) -> None:
    checked = CliRunner().invoke(app, ["check", str(state), "--json"])
    assert checked.exit_code == 0, checked.output
    told = json.loads(checked.stdout)
    assert told["faults"] == []
    assert told["counts"] == {"cases": 4, "dialogues": 4}
    trained = state / "generated_cases_train_mistral.jsonl"
    lines = [json.loads(line) for line in trained.read_text(encoding="utf-8").splitlines()]
    assert [set(line) for line in lines] == [{"messages"}] * 4
    summary = run(recipe.model_copy(update={"train_file": (trained,), "eval_file": (trained,), "max_steps": 1})).summary
    assert summary["data"]["train"]["examples"] == 4
    assert summary["train"][0]["loss"] > 0


def test_a_case_that_was_changed_is_named(state: Path) -> None:
    path = state / "generated_cases.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows[0]["case_text"] = rows[0]["case_text"].replace("?", ".")
    rows[1]["target"]["philosopher"] = "platon"
    rows[2]["case_text"] = rows[3]["case_text"]
    del rows[3]["target"]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    faults = " ".join(check_all(state).faults)
    for said in ("no_question", "schema $.philosopher", "missing_fact", "target is missing"):
        assert said in faults
