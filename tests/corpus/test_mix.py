"""What training reads is, byte for byte, what the page sends."""

import json
import lzma
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from rapidfuzz import fuzz

from corpus.dialogues import MORE, Dialogue, Exchange, Exercise, NoteFields, load_more
from corpus.mix import (
    dialogue_messages,
    exercise_messages,
    exercise_rows,
    is_held_out,
    mix,
    must_be_new,
    note_rows,
    prose_count,
    second_mix,
    write_rows,
)
from corpus.prose import draw_slices, read_french
from dialogue.conversation import Conversation, Turn
from dialogue.prompt import Hint, build_messages
from errors import CorpusError
from personas import PERSONAS

ROOT = Path(__file__).parents[2]
NOTES = {"n1": NoteFields("n1", "L'idée.", "L'image.", "La question ?")}
TWO = (
    Exchange("ok", "accord", "n1", "Bien. Et après ?"),
    Exchange("je sais pas", "confusion", None, "Prends ton temps. Que vois-tu ?"),
)


def dialogue(number: int = 1, opening: str | None = "Es-tu libre ?") -> Dialogue:
    return Dialogue(f"kant-{number:03}", "kant", "liberté", opening, TWO, f"kant.jsonl:{number}")


def exercise(split: str) -> Exercise:
    return Exercise("ex-1", "kant", "MP", "exercise", "B.", split, "Si A, B. Or A.", "Donc B.", "e:1")  # type: ignore[arg-type]


def test_a_rendered_dialogue_literally() -> None:
    system = PERSONAS["kant"].short_prompt
    assert dialogue_messages(dialogue(), NOTES) == [
        {"role": "system", "content": system},
        {
            "role": "user",
            "content": "Idée : L'idée.\nImage : L'image.\nQuestion : La question ?\n\nok",
        },
        {"role": "assistant", "content": "Bien. Et après ?"},
        {"role": "user", "content": "je sais pas"},
        {"role": "assistant", "content": "Prends ton temps. Que vois-tu ?"},
    ]
    assert dialogue_messages(dialogue(), NOTES, [True])[1]["content"] == "Question posée : Es-tu libre ?\n\nok"


def test_training_begins_with_what_the_page_sent() -> None:
    """At each turn of use, the prompt is the beginning of the training example."""
    whole = dialogue_messages(dialogue(), NOTES)
    turns: list[Turn] = [Turn("assistant", "Es-tu libre ?")]
    hints: list[Hint | None] = []
    for number, exchange in enumerate(TWO):
        turns.append(Turn("user", exchange.pupil))
        hints.append(Hint("L'idée.", "L'image.", "La question ?") if exchange.note else None)
        sent = build_messages(Conversation(PERSONAS["kant"], tuple(turns)), hints, prefix="short")
        assert sent == whole[: 2 * number + 2]
        turns.append(Turn("assistant", exchange.answer))


def test_an_unknown_note_is_named() -> None:
    with pytest.raises(CorpusError, match=r"kant\.jsonl:1: exchange 1: note 'n1'"):
        dialogue_messages(dialogue(), {})


def test_exercises_are_asked_of_the_persona() -> None:
    assert [message["role"] for message in exercise_messages(exercise("train"))] == ["system", "user", "assistant"]
    assert exercise_messages(exercise("train"))[0]["content"] == PERSONAS["kant"].short_prompt


def test_exercises_meet_in_talks_of_one_philosopher_each_once() -> None:
    many = [replace(exercise("train"), id=f"ex-{number}", philosopher=who)
            for number in range(30) for who in ("kant", "spinoza")]  # fmt: skip
    rows = exercise_rows(many, seed=3)
    groups = [row["group"].split("+") for row in rows]
    assert [len(group) for group in groups] == [1, 5, 6, 1, 5, 6, 1, 5, 6, 1, 5, 6, 1, 5, 6]
    assert sorted(one for group in groups for one in group) == sorted(one.id for one in many)
    for row in rows:
        system, *turns = row["messages"]
        assert system["content"] in (PERSONAS["kant"].short_prompt, PERSONAS["spinoza"].short_prompt)
        assert [turn["role"] for turn in turns] == ["user", "assistant"] * len(row["group"].split("+"))
    assert rows == exercise_rows(many, seed=3)
    assert rows != exercise_rows(many, seed=4)


def test_the_note_stands_before_a_message_whole_by_its_idea_or_not_at_all() -> None:
    many = [dialogue(number) for number in range(1, 101)]
    whole, idea, none = (mix(many, NOTES, [], [], seed=1, form=form) for form in ("full", "idea", "none"))
    said = [rows.held_out[0]["messages"][1]["content"] for rows in (whole, idea, none)]
    assert said[0].startswith("Idée : L'idée.\nImage : L'image.\nQuestion : La question ?\n\n")
    assert said[1].startswith("Idée : L'idée.\n\n")
    assert "Idée" not in said[2]
    assert len({tuple(row["group"] for row in rows.train) for rows in (whole, idea, none)}) == 1, "the same order"


def test_the_split_is_by_dialogue_and_stable() -> None:
    many = [dialogue(number) for number in range(1, 401)]
    mixed = mix(many, NOTES, [exercise("train"), exercise("test")], ["De la prose."], seed=1)
    held_out = {row["group"] for row in mixed.held_out}
    assert held_out == {one.id for one in many if is_held_out(one.id)}
    assert 20 <= len(held_out) <= 60
    assert held_out.isdisjoint(row["group"] for row in mixed.train)
    kinds = [row["kind"] for row in mixed.train]
    assert (kinds.count("exercise"), kinds.count("prose"), kinds.count("dialogue")) == (1, 1, 400 - len(held_out))
    hinted = [row for row in mixed.train if row["kind"] == "dialogue" and "Idée : " in row["messages"][1]["content"]]
    assert 0.85 <= len(hinted) / kinds.count("dialogue") <= 0.95
    assert all("Idée : " in row["messages"][1]["content"] for row in mixed.held_out)
    again = mix(many, NOTES, [exercise("train"), exercise("test")], ["De la prose."], seed=1)
    assert again == mixed
    other = mix(many, NOTES, [], [], seed=2)
    assert other.held_out == mixed.held_out
    assert other.train != mixed.train


def test_prose_is_a_share_of_all() -> None:
    assert prose_count(85) == 15


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    folder = tmp_path / "corpora" / "french"
    folder.mkdir(parents=True)
    for name in "ab":
        text = " ".join(f"Voici la phrase numÃ©ro {n} du livre {name}, assez longue pour compter." for n in range(3000))
        with lzma.open(folder / f"{name}.txt.xz", "wt", encoding="utf-8") as file:
            file.write(text)
    return folder.parent


def test_slices_are_whole_repaired_and_apart(corpora: Path) -> None:
    texts = read_french(corpora)
    train, held_out = draw_slices(texts, 40, 0), draw_slices(texts, 4, 0, held_out=True)
    assert len(set(train)) == 40
    assert all(text.startswith("Voici") and text.endswith(".") and "numéro" in text for text in train)
    assert all(240 < len(text) <= 480 for text in train)
    assert draw_slices(texts, 40, 0) == train
    assert draw_slices(texts, 40, 1) != train
    sentences = {sentence for text in train for sentence in text.split(". ")}
    assert sentences.isdisjoint(sentence for text in held_out for sentence in text.split(". "))


def test_too_little_or_damaged_prose(corpora: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="slices of prose found"):
        draw_slices({"a": "Trop court. Vraiment."}, 3, 0)
    with pytest.raises(CorpusError, match="No french"):
        read_french(tmp_path)
    path = corpora / "french" / "a.txt.xz"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CorpusError, match="is damaged"):
        read_french(corpora)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    write_rows([{"text": "é"}], tmp_path / "new" / "a.jsonl")
    assert (tmp_path / "new" / "a.jsonl").read_text(encoding="utf-8") == '{"text": "é"}\n'
    with pytest.raises(CorpusError, match="never overwritten"):
        write_rows([], tmp_path / "new" / "a.jsonl")
    with pytest.raises(CorpusError, match=r"a\.jsonl exists"):  # before the first of several is written
        must_be_new(tmp_path / "b.jsonl", tmp_path / "new" / "a.jsonl")
    write_rows([{"text": "à"}], tmp_path / "new" / "a.jsonl", force=True)
    assert (tmp_path / "new" / "a.jsonl").read_text(encoding="utf-8") == '{"text": "à"}\n'


def test_the_command_line_on_our_own_data(tmp_path: Path) -> None:
    out = tmp_path / "demo.jsonl"
    command = [sys.executable, "-m", "corpus", "mix", "--out", str(out), "--prose", "0", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    counts = json.loads(done.stdout)["counts"]
    assert len(out.read_text(encoding="utf-8").splitlines()) == counts["dialogue"] + counts["exercise"]
    assert (tmp_path / "demo.eval.jsonl").is_file()
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert again.stderr.count("\n") == 1


def test_the_third_stage_reads_exercises_of_form_and_some_of_all_the_rest(tmp_path: Path) -> None:
    out = tmp_path / "schemes.jsonl"
    command = [sys.executable, "-m", "corpus", "mix-schemes", "--out", str(out)]
    few = ["--crossed", "24", "--drills", "0", "--dialogues", "3", "--notes", "4"]
    subprocess.run([*command, *few], cwd=ROOT, capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    kinds = Counter(row["kind"] for row in rows)
    assert (kinds["dialogue"], kinds["note"]) == (3, 4)
    more = tmp_path / "more.jsonl"
    every = ["--out", str(more), "--crossed", "0", "--drills", "0", "--dialogues", "0", "--notes", "100000"]
    subprocess.run([*command[:4], *every], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 100 < more.read_text(encoding="utf-8").count('"kind": "note"') < 1000
    crossed = [name for row in rows for name in row["group"].split("+") if name.startswith("cross-")]
    assert sorted(crossed) == sorted(f"cross-{number}" for number in range(1, 25))
    again = subprocess.run([*command, *few], cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "never overwritten" in again.stderr


def test_the_last_stage_reads_each_of_the_other_exercises_once(tmp_path: Path) -> None:
    out = tmp_path / "last.jsonl"
    command = [sys.executable, "-m", "corpus", "mix-notes", "--out", str(out), "--drills", "0", "--exercises", "0"]
    subprocess.run([*command, "--dialogues", "2", "--more"], cwd=ROOT, capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    talks = [row for row in rows if row["kind"] == "exercise"]
    met = [name for row in talks for name in row["group"].split("+")]
    assert sorted(met) == sorted(one.id for one in load_more(ROOT / "data" / MORE))
    assert sum(row["kind"] == "dialogue" for row in rows) == 2


def test_a_note_is_said_back_to_the_first_question_for_it() -> None:
    queries: list[dict[str, str | None]] = [
        {"message": "Qu'est-ce que l'idée ?", "note": "n1"},
        {"message": "Et encore ?", "note": "n1"},
        {"message": "lol", "note": None},
    ]
    rows = note_rows(queries, NOTES, "kant")
    assert [row["group"] for row in rows] == ["n1"]
    asked, answered = rows[0]["messages"][-2:]
    assert asked["content"].endswith("\n\nQu'est-ce que l'idée ?")
    assert answered == {"role": "assistant", "content": "L'idée. L'image. La question ?"}
    with pytest.raises(CorpusError, match="n2"):
        note_rows([{"message": "Quoi ?", "note": "n2"}], NOTES, "kant")


def test_the_second_stage_reads_some_of_the_first_again() -> None:
    first = mix([dialogue(n) for n in range(1, 40)], NOTES, [exercise("train")], [])
    said_back = note_rows([{"message": "Quoi ?", "note": "n1"}], NOTES, "kant")
    rows = second_mix(first, said_back, dialogues=5, exercises=5)
    assert sorted(row["kind"] for row in rows) == ["dialogue"] * 5 + ["exercise", "note"]
    assert rows == second_mix(first, said_back, dialogues=5, exercises=5)


@pytest.mark.parametrize("philosopher", ["spinoza", "bergson", "kant"])
def test_the_queries_that_ship_name_notes_and_spare_the_examination(philosopher: str) -> None:
    def lines(name: str) -> list[dict[str, str]]:
        return [json.loads(line) for line in (ROOT / "data" / name).read_text(encoding="utf-8").splitlines()]

    notes = {note["id"] for note in lines(f"notes/{philosopher}.jsonl")}
    queries = lines(f"queries/{philosopher}.jsonl")
    exam = [line["question"] for line in lines("eval/questions.jsonl")]
    assert len(queries) >= 100
    assert {query["note"] for query in queries} - {None} <= notes
    near = [q["message"] for q in queries if any(fuzz.ratio(q["message"].lower(), e.lower()) >= 85 for e in exam)]
    assert near == []


def test_talks_on_notes_take_the_newest_note() -> None:
    notes = {f"n{i}": NoteFields(f"n{i}", f"Idée {i}.", f"Image {i}.", f"Question {i} ?") for i in range(6)}
    rows = note_rows([{"message": f"Quoi {i} ?", "note": f"n{i}"} for i in range(6)], notes, "kant")
    assert sorted(len(row["messages"]) for row in rows) == [3, 5, 7]  # one, two and three turns after the system text
    for row in rows:
        for asked, answered in zip(row["messages"][1::2], row["messages"][2::2], strict=True):
            number = answered["content"][5]
            assert answered["content"] == f"Idée {number}. Image {number}. Question {number} ?"
            assert asked["content"].startswith(f"Idée : Idée {number}.")
            assert asked["content"].endswith(f"Quoi {number} ?")
