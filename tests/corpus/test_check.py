"""Every fault that can be planted is found, with its place; what is right passes."""

import json
import lzma
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from corpus.check import check_all, invites, is_mojibake, opening_of, words
from corpus.dialogues import load_dialogues, read_objects
from corpus.logic import follows, parse_formula
from errors import CorpusError

ROOT = Path(__file__).parents[2]
ANSWER = (
    "Regarde la faim qui te mène au frigo avant toute décision. Tu la sens bien, mais tu ne vois pas ce qui l'a fait "
    "naître. Qu'est-ce qui, en toi, a vraiment choisi ?"
)
NOTE = {
    "id": "spinoza-envie",
    "idea": "On se croit libre parce qu'on ignore les causes de ses envies.",
    "image": "Une pierre lancée croirait voler par choix.",
    "question": "Peux-tu citer un choix sans cause ?",
}
EXCHANGE = {"pupil": "bof, je fais ce que je veux", "stance": "résistance", "note": "spinoza-envie", "answer": ANSWER}
DIALOGUE = {
    "id": "spinoza-001",
    "philosopher": "spinoza",
    "notion": "liberté",
    "opening": "La liberté est-elle une illusion ?",
    "exchanges": [EXCHANGE],
}


LOGIC = {"P": "Karim dort bien.", "Q": "Karim est gai.", "premises": ["P -> Q", "P"], "conclusion": "Q", "valid": True}


def exercise(number: int, split: str, user: str, conclusion: str) -> dict[str, Any]:
    return {
        "id": f"ex-mp-{number:03}", "philosopher": "spinoza", "scheme": "MP", "notion": "liberté",
        "register": "courant", "difficulty": 1, "form": "exercise", "conclusion": conclusion, "split": split,
        "locus": "E3P11S", "logic": LOGIC,
        "messages": [
            {"role": "system", "content": ""},
            {"role": "user", "content": user},
            {"role": "assistant", "content": f"Donc {conclusion}"},
        ],
    }  # fmt: skip


EXERCISES = [
    exercise(1, "train", "Modus ponens : si Karim dort bien, il est gai. Or Karim dort bien.", "Karim est gai."),
    exercise(
        2, "test", "Complète : si la loi protège, on la suit volontiers. Or cette loi protège.", "On suit cette loi."
    ),
]
QUESTIONS = [{"id": "spinoza-q01", "philosopher": "spinoza", "notion": "liberté", "question": "Ai-je choisi ma vie ?"}]


def write(path: Path, rows: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write(tmp_path / "notes" / "spinoza.jsonl", [NOTE])
    write(tmp_path / "dialogues" / "spinoza.jsonl", [DIALOGUE])
    write(tmp_path / "schemes_levelA_base.jsonl", EXERCISES)
    write(tmp_path / "eval" / "questions.jsonl", QUESTIONS)
    return tmp_path


def test_right_data_has_no_fault(data: Path) -> None:
    report = check_all(data)
    assert report.faults == []
    assert report.counts == {"notes": 1, "dialogues": 1, "exchanges": 1, "exercises": 2, "more": 0}


def test_our_own_data_can_be_read() -> None:
    """Whether it is without fault is for `python -m corpus check`; here, that it is what the readers expect."""
    report = check_all(ROOT / "data")
    assert [fault for fault in report.faults if "expected" in fault and "answer" not in fault] == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"philosopher": "platon"}, "spinoza.jsonl:1: philosopher is 'platon'"),
        ({"notion": "liberte"}, "spinoza.jsonl:1: notion is 'liberte'"),
        ({"opening": ""}, "spinoza.jsonl:1: opening: expected a text"),
        ({"title": "x"}, "spinoza.jsonl:1: unknown key 'title'"),
        ({"exchanges": []}, "spinoza.jsonl:1: exchanges: expected a list of one to four"),
        ({"exchanges": [EXCHANGE] * 5}, "spinoza.jsonl:1: exchanges: expected a list of one to four"),
        ({"exchanges": ["a"]}, "spinoza.jsonl:1: exchanges: expected a list of one to four"),
        ({"opening": "Ai je choisi ma vie ?"}, "spinoza.jsonl:1: opening: 100 % like spinoza-q01"),
    ],
)
def test_planted_in_a_dialogue(data: Path, change: dict[str, Any], expected: str) -> None:
    write(data / "dialogues" / "spinoza.jsonl", [{**DIALOGUE, **change}])
    assert [fault for fault in check_all(data).faults if fault.startswith(expected)] != []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"stance": "fâché"}, "stance is 'fâché'"),
        ({"note": "spinoza-rien"}, "note: 'spinoza-rien' is not in data/notes"),
        ({"answer": "Oui. Et toi ?"}, "answer: 3 words"),
        ({"answer": ANSWER + " Bien sûr que non."}, "answer: ends on no question"),
        ({"answer": ANSWER.replace("faim", "faÃ®m")}, "answer: mojibake"),
        ({"pupil": "ai-je choisi ma vie"}, "pupil: 100 % like spinoza-q01"),
        ({"answer": " ".join(["mot"] * 30) + " ?"}, "answer: a sentence of 30 words"),
        ({"pupil": None}, "pupil: expected a text"),
        ({"pupil": "ok "}, "pupil: expected no space at its ends"),
        ({"colour": "red"}, "unknown key 'colour'"),
    ],
)
def test_planted_in_an_exchange(data: Path, change: dict[str, Any], expected: str) -> None:
    write(data / "dialogues" / "spinoza.jsonl", [{**DIALOGUE, "exchanges": [{**EXCHANGE, **change}]}])
    found = [fault for fault in check_all(data).faults if fault.startswith(f"spinoza.jsonl:1: exchange 1: {expected}")]
    assert len(found) == 1


def test_planted_repetitions(data: Path) -> None:
    write(data / "dialogues" / "spinoza.jsonl", [DIALOGUE, {**DIALOGUE, "exchanges": [EXCHANGE] * 4}])
    faults = check_all(data).faults
    assert any(fault.startswith("dialogue spinoza-001: id: stands 2 times") for fault in faults)
    assert any("« regarde la faim » opens 5 answers of spinoza, at most 3" in fault for fault in faults)


def test_planted_in_notes(data: Path) -> None:
    long = {**NOTE, "idea": " ".join(["mot"] * 40), "question": "PensÃ©e ?"}
    write(data / "notes" / "spinoza.jsonl", [NOTE, long, {"id": "x"}])
    faults = check_all(data).faults
    assert [fault.split(":")[0] for fault in faults] == ["spinoza.jsonl", *["note spinoza-envie"] * 3]
    assert "idea: expected a text" in faults[0]


SEEN = EXERCISES[0]["messages"][1]["content"]
UNLIKE = "Tout autre chose, sans rapport aucun."


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (exercise(3, "test", SEEN, "Autre."), "split: the test item is 100 % like ex-mp-001"),
        (exercise(3, "test", UNLIKE, "Karim est gai !"), "conclusion: the test item concludes as ex-mp-001"),
        ({**EXERCISES[0], "id": "ex-x", "split": "dev"}, "split is 'dev'"),
        ({**EXERCISES[0], "id": "ex-x", "messages": []}, "messages: expected system"),
        ({**EXERCISES[0], "id": "ex-x", "conclusion": "PensÃ©e."}, "conclusion: mojibake"),
        ({**EXERCISES[0], "id": "ex-x", "form": "essay"}, "form is 'essay'"),
        ({**EXERCISES[0], "id": "ex-x", "locus": ""}, "locus: expected a text"),
        ({key: value for key, value in EXERCISES[0].items() if key != "locus"}, "locus is missing"),
        ({**EXERCISES[0], "id": "ex-x", "logic": None}, "logic: expected an object"),
        ({**EXERCISES[0], "id": "ex-x", "logic": {**LOGIC, "T": "x"}}, "logic: unknown key 'T'"),
        ({**EXERCISES[0], "id": "ex-x", "logic": {**LOGIC, "premises": "P"}}, "logic: premises: expected a list"),
        ({**EXERCISES[0], "id": "ex-x", "logic": {**LOGIC, "P": ""}}, "logic: P: expected a text"),
        ({**EXERCISES[0], "id": "ex-x", "logic": {**LOGIC, "R": "x"}}, "logic: sentences for ['P', 'Q', 'R']"),
        ({**EXERCISES[0], "id": "ex-x", "logic": {**LOGIC, "premises": ["P -> -> Q"]}}, "logic: no formula"),
        ({**EXERCISES[0], "id": "ex-x", "logic": {**LOGIC, "premises": ["P -> Q"]}}, "logic: valid is True; the truth"),
        ({**EXERCISES[0], "id": "ex-x", "logic": {**LOGIC, "valid": 1}}, "logic: valid is 1; the truth"),
        ({**EXERCISES[0], "id": "ex-x", "form": "refusal"}, "logic: valid is True; expected False"),
    ],
)
def test_planted_in_exercises(data: Path, row: dict[str, Any], expected: str) -> None:
    write(data / "schemes_levelA_base.jsonl", [*EXERCISES, row])
    faults = check_all(data).faults
    assert [fault[len("schemes_levelA_base.jsonl:3: ") :][: len(expected)] for fault in faults] == [expected]


MORE = {
    "id": "xa-001", "philosopher": "kant", "scheme": "MP", "form": "refusal",
    "conclusion": "On ne peut pas conclure que Tom ment.", "question": "S'il ment, il rougit. Il rougit, donc il ment.",
    "answer": "Doucement : on ne peut pas conclure que Tom ment.",
}  # fmt: skip


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (MORE, None),
        ({**MORE, "form": "exercise"}, "conclusion: a refusal, and it alone, begins with"),
        ({**MORE, "conclusion": "Tom ment."}, "conclusion: a refusal, and it alone, begins with"),
        ({**MORE, "split": "train"}, "unknown key 'split'"),
        ({**MORE, "answer": " "}, "answer: expected a text"),
        ({**MORE, "form": "dialogue"}, "form is 'dialogue'"),
        ({**MORE, "philosopher": "platon"}, "philosopher is 'platon'"),
    ],
)
def test_planted_in_exercises_for_training_alone(data: Path, row: dict[str, Any], expected: str | None) -> None:
    packed = lzma.compress((json.dumps(row, ensure_ascii=False) + "\n").encode())
    (data / "schemes_more.jsonl.xz").write_bytes(packed)
    faults = [fault.removeprefix("schemes_more.jsonl.xz:1: ") for fault in check_all(data).faults]
    assert [fault[: len(expected or "")] for fault in faults] == ([expected] if expected else [])
    (data / "schemes_more.jsonl.xz").write_bytes(packed[:-8])
    assert "schemes_more.jsonl.xz cannot be read" in check_all(data).faults[0]


def test_a_test_item_is_told_from_exercises_for_training_alone(data: Path) -> None:
    seen = {**MORE, "form": "exercise", "question": EXERCISES[1]["messages"][1]["content"], "conclusion": "Oui."}
    (data / "schemes_more.jsonl.xz").write_bytes(lzma.compress(json.dumps(seen).encode()))
    assert [fault.partition(": ")[2] for fault in check_all(data).faults] == [
        "split: the test item is 100 % like xa-001, which is trained on."
    ]


def test_a_scheme_of_words_needs_no_logic_and_a_dialogue_may_have_one(data: Path) -> None:
    words_only = {key: value for key, value in EXERCISES[0].items() if key != "logic"}
    dialogue = {**EXERCISES[0], "id": "dl-x", "form": "dialogue", "locus": None}
    write(data / "schemes_levelA_base.jsonl", [*EXERCISES, {**words_only, "id": "ex-x", "scheme": "ID"}, dialogue])
    assert check_all(data).faults == []


@pytest.mark.parametrize(
    ("premises", "conclusion", "valid"),
    [
        (["P -> Q", "Q -> R"], "P -> R", True),
        (["P -> Q", "~P"], "~Q", False),
        (["P | Q | S", "P -> R", "Q -> R"], "R", False),
        (["~P -> (Q & ~Q)"], "P", True),
        (["P | Q & R"], "P | R", True),  # & binds closer than |
        (["P -> Q -> R"], "P & Q -> R", True),  # -> groups to the right, and binds least
    ],
)
def test_truth_tables(premises: list[str], conclusion: str, valid: bool) -> None:
    assert follows(premises, conclusion) is valid


@pytest.mark.parametrize("text", ["", "P Q", "(P", "P)", "~", "T", "P => Q", "P ->"])
def test_no_formula(text: str) -> None:
    with pytest.raises(ValueError, match=r"'"):
        parse_formula(text)


def test_no_json_and_no_folder(data: Path, tmp_path: Path) -> None:
    (data / "dialogues" / "kant.jsonl").write_text("{\n[1]\n", encoding="utf-8")
    assert check_all(data).faults[0].startswith("kant.jsonl:1: no JSON")
    with pytest.raises(CorpusError, match="No folder"):
        check_all(tmp_path / "elsewhere")
    with (data / "eval" / "questions.jsonl").open("a", encoding="utf-8") as file:
        file.write("{")
    with pytest.raises(CorpusError, match=r"questions\.jsonl:2: no JSON"):
        check_all(data)


def test_a_line_ends_where_json_lets_it_end(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [{"a": "un\u2028deux"}, {"b": "\u0085"}])
    assert [row for _, row in read_objects(tmp_path / "a.jsonl")] == [{"a": "un\u2028deux"}, {"b": "\u0085"}]


def test_a_chain_in_a_dialogue_is_concluded_before_the_question() -> None:
    chains = [(one.id, exchange.answer) for one in load_dialogues(ROOT / "data" / "dialogues")
              for exchange in one.exchanges if exchange.scheme == "SH"]  # fmt: skip
    assert len(chains) > 20
    told = {name: " ".join(re.split(r"[;:.] ", said)[:-1]) for name, said in chains}
    assert [name for name, said in told.items() if "donc" not in said.lower()] == []


@pytest.mark.parametrize(
    ("text", "invited"),
    [
        ("Pourquoi ?", True), ("Dis-moi « pourquoi ? »", True), ("Cherche un exemple.", True), ("Je pars.", False),
        ("Commençons par une phrase.", True), ("Tu as raison.", False),
    ],
)  # fmt: skip
def test_invitations(text: str, invited: bool) -> None:
    assert invites(text) is invited


def test_small_readings() -> None:
    assert words("Est-ce vrai ? Oui !") == ["Est-ce", "vrai", "Oui"]
    assert opening_of("« Tu crois, dis-tu, cela »") == "tu crois dis"
    assert not is_mojibake("L'élève dit : « ça œuvre » — n'est-ce pas ?")
    assert is_mojibake("entraÃ®ne")


def test_the_command_line(data: Path) -> None:
    write(data / "dialogues" / "spinoza.jsonl", [{**DIALOGUE, "notion": "x"}])
    command = [sys.executable, "-m", "corpus", "check", str(data), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout)["faults"][0].startswith("spinoza.jsonl:1: notion is 'x'")
