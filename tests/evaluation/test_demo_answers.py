"""The examination through the real engine and through a scripted one: prompts, resuming, the page."""

import asyncio
import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dialogue.conversation import Conversation, Turn
from dialogue.prompt import STOPS, build_messages
from engines.base import EngineInfo, Finished, Token, Usage
from engines.testing import ScriptedEngine
from errors import EngineError
from evaluation.__main__ import app
from evaluation.demo_answers import (
    Asked,
    Journal,
    Question,
    ask_all,
    count,
    load_questions,
    own_words,
    params_for,
    prompt_for,
    render,
)
from evaluation.exercises import Exercise, load_exercises, run_exercises, tally
from evaluation.result import spoken_command
from personas import PERSONAS
from retrieval.notes import NoteIndex
from tiers import free

ROOT = Path(__file__).parents[2]
QUESTION = Question("kant-q99", "kant", "examination", "Faut-il toujours dire la vérité ?")
ASKED = Asked("kant-q99", "kant", "examination", QUESTION.text, "kant-note", "Oui. Et toi ?", 0.2, 1.0, 10, 90, "stop")


@pytest.fixture(scope="module")
def index() -> NoteIndex:
    return NoteIndex.load(ROOT / "data" / "notes")


def test_the_prompt_is_the_free_tiers(index: NoteIndex) -> None:
    for question in load_questions(ROOT / "data" / "eval" / "questions.jsonl"):
        persona = PERSONAS[question.philosopher]
        conversation = Conversation(persona, (Turn("assistant", persona.opening), Turn("user", question.text)))
        notes = free.notes_for(index, conversation)
        hints = [free.to_hint(note) for note in notes]
        messages, note = prompt_for(question, index, 100_000_000)
        assert (messages, [note]) == (build_messages(conversation, hints, prefix="short"), notes)
    assert prompt_for(QUESTION, index, 7_000_000_000)[1] is None


def test_sampling_is_the_personas_with_a_fixed_seed() -> None:
    params = params_for(QUESTION, 100_000_000)
    assert params == params_for(QUESTION, 100_000_000)
    assert params.seed != params_for(replace(QUESTION, id="kant-q98"), 100_000_000).seed
    assert params.temperature == PERSONAS["kant"].small_sampling.temperature
    assert params_for(QUESTION, 7_000_000_000).temperature == PERSONAS["kant"].sampling.temperature
    assert params.stop == STOPS


def test_all_questions_are_there() -> None:
    questions = load_questions(ROOT / "data" / "eval" / "questions.jsonl")
    assert len(questions) == 75
    assert len({question.id for question in questions}) == 75
    assert [question.kind for question in questions].count("starter") == 15


@pytest.mark.parametrize("text", ["{", "{}", '{"id": "a", "philosopher": "platon", "question": "?"}'])
def test_a_wrong_file_of_questions(tmp_path: Path, text: str) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(EngineError, match=r"questions\.jsonl"):
        load_questions(path)


def test_what_is_answered_is_not_asked_again(index: NoteIndex, tmp_path: Path) -> None:
    questions = [QUESTION, replace(QUESTION, id="kant-q98"), replace(QUESTION, id="kant-q97")]
    said = (Token("Oui. "), Token("Et toi ?"), Finished("stop", Usage(prompt_tokens=90, completion_tokens=10)))
    journal = Journal(tmp_path / "a.partial", {"model": "m"})
    failing = ScriptedEngine(*said)
    first = asyncio.run(ask_all(failing, questions[:1], index, journal.done, journal.add))
    assert (first[0].answer, first[0].tokens, first[0].reason) == ("Oui. Et toi ?", 10, "stop")
    again = Journal(tmp_path / "a.partial", {"model": "m"})
    assert again.done == first
    engine = ScriptedEngine(*said)
    asked = asyncio.run(ask_all(engine, questions, index, again.done, again.add))
    assert [one.id for one in asked] == ["kant-q99", "kant-q98", "kant-q97"]
    assert len(engine.received) == 2
    assert engine.warmed == [PERSONAS["kant"].short_prompt]
    assert len(Journal(tmp_path / "a.partial", {"model": "m"}).done) == 3
    assert Journal(tmp_path / "a.partial", {"model": "other"}).done == []


def test_a_line_cut_by_a_kill_is_asked_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a.partial", {})
    journal.add(ASKED)
    journal.add(ASKED)
    text = journal.path.read_text(encoding="utf-8")
    journal.path.write_text(text[:-30], encoding="utf-8")
    assert Journal(journal.path, {}).done == [ASKED]


def test_a_journal_of_something_else_or_of_nothing_begins_anew(tmp_path: Path) -> None:
    """A damaged first line says nothing of what the answers belong to; a line of its own in an answer ends none."""
    path = tmp_path / "a.partial"
    odd = replace(ASKED, answer="Oui.\u2028Et toi ?")
    Journal(path, {}).add(odd)
    assert Journal(path, {}).done == [odd]
    path.write_text("{damag\n", encoding="utf-8")
    assert Journal(path, {"model": "m"}).done == []
    assert Journal(path, {"model": "m"}).path.read_text(encoding="utf-8") == '{"model": "m"}\n'


def test_an_engine_that_fails_is_named(index: NoteIndex) -> None:
    with pytest.raises(EngineError, match="no power"):
        asyncio.run(ask_all(ScriptedEngine(EngineError("no power")), [QUESTION], index))


def test_counts() -> None:
    loop = replace(ASKED, answer="la la la la la la la la", reason="length", note=None, first_token_s=0.4, total_s=3.0)
    counts = count([ASKED, loop, replace(ASKED, answer="")], {"zglorp", "la"})
    assert (counts["answers"], counts["with_note"], counts["end_on_question"], counts["with_loop"]) == (3, 2, 1, 1)
    assert (counts["with_broken_word"], counts["empty"], counts["ended_by_itself"]) == (1, 1, 2)
    assert counts["total_s"] == {"median": 1.0, "p95": 3.0, "most": 3.0}
    assert count([ASKED], None)["with_broken_word"] is None


def test_the_page() -> None:
    machine = {"cpu": "a cpu", "cores": 2, "load_1min": 0.1}
    environment = {
        "date": "2026-01-01T00:00:00+00:00",
        "command": "python -m evaluation demo-answers",
        "machine": machine,
    }
    about = {"environment": environment, "model": {"name": "demo.gguf", "sha256": "abc"}}
    page = render([ASKED, replace(ASKED, answer="")], count([ASKED], {"toi"}), about, {"toi"})
    assert (
        "### Faut-il toujours dire la vérité ?\n\n`kant-q99` · note: `kant-note` · 0.20 s, 1.00 s, 10 tokens, stop"
        in page
    )
    assert "\n> Oui. Et toi ?\n" in page
    assert "\n> (empty)\n" in page
    assert "« toi »" in page
    assert "| end on question | 1 |" in page


def test_words_of_our_own_are_no_broken_words(index: NoteIndex) -> None:
    assert {"kant", "vérité"} <= own_words(index.notes, [QUESTION])


def test_exercises_are_asked_and_judged() -> None:
    exercises = [
        Exercise("e1", "kant", "MP", "exercise", "Si A dort, A rêve. Or A dort.", "Le chat rêve."),
        Exercise("e2", "kant", "MT", "refusal", "Si A dort, A rêve. Or A rêve.", "On ne peut pas conclure qu'il dort."),
    ]
    engine = ScriptedEngine(Token("Donc le chat rêve."), info=EngineInfo("small", 1_000, 4096))
    seen: list[int] = []
    result = asyncio.run(run_exercises(engine, exercises, seen.append))
    assert (result["n"], result["right"], result["share"]) == (2, 2, 1.0)
    assert result["alone"] == {"n": 2, "right": 1, "share": 0.5}
    assert result["by_form"]["refusal"] == {"n": 1, "right": 1, "share": 1.0}
    assert [sample["id"] for sample in result["samples"]] == ["e1", "e2"]
    assert engine.received[0][0]["content"] == PERSONAS["kant"].short_prompt
    assert engine.params[0].temperature == 0
    assert seen == [1, 2]
    assert tally(exercises, [True, True])["share"] == 1.0


def test_rules_answer_for_a_small_model_and_tell_a_large_one() -> None:
    exercises = [
        Exercise("e1", "kant", "MP", "exercise", "Si le chat dort, il rêve. Or le chat dort.", "Le chat rêve."),
        Exercise("e2", "kant", "AN", "exercise", "Le chat ressemble au lion.", "Probablement, le chat chasse."),
    ]

    def asked(n_params: int) -> tuple[dict[str, Any], str]:
        engine = ScriptedEngine(Token("Le chat dort."), info=EngineInfo("one", n_params, 4096))
        result = asyncio.run(run_exercises(engine, exercises))
        assert len(engine.received) == 2
        return result, engine.received[0][-1]["content"]

    result, prompt = asked(1_000)
    assert prompt == exercises[0].question
    first, second = result["samples"]
    assert first["said_by_rules"].startswith(
        "Donc, d'après tes prémisses : « il rêve ». Ton raisonnement a cette forme (modus ponens) :"
    )
    assert (first["right"], first["right_alone"], second["right"]) == (True, False, False)
    assert {who: found["right"] for who, found in result["by"].items()} == {"rules": 1, "model": 0}
    assert (result["right"], result["alone"]["right"]) == (1, 0)
    result, prompt = asked(7_000_000_000)
    assert prompt.startswith("Schéma : modus ponens. Il suit : « il rêve ».")
    assert list(result["by"]) == ["model"]


def test_our_exercises_load_and_wrong_ones_do_not(tmp_path: Path) -> None:
    path = ROOT / "data" / "schemes_levelA_base.jsonl"
    assert len(load_exercises(path)) == 55  # of 72: 17 are dialogues
    odd = {"id": "e", "philosopher": "kant", "scheme": "MP", "form": "exercise", "split": "test",
           "conclusion": "a\u2028b", "messages": [{"role": "user", "content": "Si ?"}]}  # fmt: skip
    (tmp_path / "odd.jsonl").write_text(json.dumps(odd, ensure_ascii=False) + "\n", encoding="utf-8")
    assert [one.conclusion for one in load_exercises(tmp_path / "odd.jsonl")] == ["a\u2028b"]
    with pytest.raises(EngineError, match="no exercise whose split"):
        load_exercises(path, "dev")
    (tmp_path / "e.jsonl").write_text('{"split": "test"}\n', encoding="utf-8")
    with pytest.raises(EngineError, match=r"e\.jsonl:1: no exercise"):
        load_exercises(tmp_path / "e.jsonl")


def test_commands_carry_no_path_of_this_machine() -> None:
    spoken = spoken_command(["demo-answers", "--engine", "gguf:/house/.data/m.gguf"], Path("/house"))
    assert spoken == "python -m evaluation demo-answers --engine gguf:.data/m.gguf"


def test_the_command_line_on_a_real_engine(tiny_gguf: Path, tmp_path: Path) -> None:
    out = tmp_path / "ANSWERS.md"
    command = [
        sys.executable, "-m", "evaluation", "demo-answers", "--engine", f"gguf:{tiny_gguf}", "--out", str(out),
        "--limit", "2", "--threads", "1", "--json",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    assert result["counts"]["answers"] == 2
    assert result["samples"][0]["tokens"] > 0
    assert out.read_text(encoding="utf-8").count("\n### ") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["ANSWERS.md"]
    wrong = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "never overwritten" in wrong.stderr


def test_answers_of_another_sampling_are_asked_again(tiny_gguf: Path, tmp_path: Path) -> None:
    """The journal of an interrupted call says by which prompts, as this model gets them, and which sampling."""
    out = tmp_path / "ANSWERS.md"
    arguments = ["demo-answers", "--engine", f"gguf:{tiny_gguf}", "--out", str(out), "--limit", "1", "--threads", "1"]
    corpora = {"BAF_CORPORA_DIR": str(tmp_path / "nothing")}  # the page cannot be made: the journal stays
    assert CliRunner().invoke(app, arguments, env=corpora).exception is not None
    head = json.loads((tmp_path / "ANSWERS.md.partial").read_text(encoding="utf-8").split("\n")[0])
    first = load_questions(ROOT / "data" / "eval" / "questions.jsonl")[0]
    assert head["sampling"] == [{**asdict(params_for(first, 100)), "stop": list(STOPS)}]
