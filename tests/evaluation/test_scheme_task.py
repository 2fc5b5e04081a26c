"""Scheme accuracy: the sets, the prompts, the measure, and what an adversary changes in right answers."""

import ast
import json
import random
from pathlib import Path

import pytest

from dialogue.french import stems
from dialogue.scheme_score import score
from errors import EngineError
from evaluation.runs import Document
from evaluation.scheme_grade import grade, is_recited
from evaluation.scheme_task import (
    OF_A_SCHEME,
    SCORER,
    SETS,
    conclusion_likeness,
    document_of,
    load_documents,
    measure,
    prompt_of,
    scheme_task,
    scorer_sha256,
)
from evaluation.schemes import judge
from personas import PERSONAS, SCHEMES

ROOT = Path(__file__).parents[2]
QUESTIONS, BASE = (ROOT / path for path in SETS)
SMALL, LARGE = 100_000_000, 7_000_000_000
ASKED = "Si Karim connaît la cause de son envie, alors il y cède moins vite. Or Karim connaît la cause de son envie."
RIGHT = "Karim cède moins vite à son envie."
EXERCISE = document_of(
    {"id": "e1", "scheme": "MP", "philosopher": "spinoza", "question": ASKED, "conclusion": RIGHT}, "x:1"
)
QUESTION = document_of({"id": "q1", "scheme": "MP", "philosopher": "spinoza", "question": "Par un modus ponens ?"}, "x")


def test_our_sets_are_ten_questions_each_and_the_held_out_exercises() -> None:
    documents = load_documents([QUESTIONS, BASE])
    questions = [one for one in documents if not one.facts["conclusion"]]
    assert {key: sum(one.persona == key for one in questions) for key in PERSONAS} == dict.fromkeys(PERSONAS, 10)
    assert len(documents) - len(questions) == 55
    assert all(one.facts["scheme"] in PERSONAS[one.persona].schemes for one in questions)
    assert not any(one.broken for one in documents)
    limited = load_documents([QUESTIONS, BASE], limit=3)
    assert len(limited) == 6


def test_lines_that_cannot_be_used_are_failures_with_a_name(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    rows = [
        {"scheme": "MP", "prompt": "Par un modus ponens ?"},
        {"scheme": "XX", "question": "?"},
        {"scheme": "MP", "question": "?", "philosopher": "platon"},
        {"question": "?"},
        {"scheme": "MP", "question": " "},
        {"scheme": "MP", "messages": [{"role": "assistant", "content": "a"}]},
        {"scheme": ["MP"], "question": "?"},
        {"scheme": "MP", "question": "Autre partie ?", "split": "train"},
    ]
    text = "\n".join(json.dumps(row) for row in rows)
    path.write_text(text + "\n{broken\n", encoding="utf-8")
    documents = load_documents([path])
    assert [one.id for one in documents] == [f"set.jsonl:{n}" for n in (1, 2, 3, 4, 5, 6, 7, 9)]
    assert [one.broken is None for one in documents] == [True] + [False] * 7
    assert all(one.broken and one.broken.startswith(f"{one.id}: ") for one in documents[1:])
    assert (documents[0].persona, documents[0].metrics) == ("", ("grade", "scheme", "accuracy"))


def test_a_set_that_has_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="nothing whose split is 'dev'"):
        load_documents([BASE], "dev")
    with pytest.raises(EngineError, match="cannot be read"):
        load_documents([tmp_path / "none.jsonl"])
    with pytest.raises(EngineError, match="two documents"):
        load_documents([QUESTIONS, QUESTIONS])


def test_the_three_prompts() -> None:
    plain, persona, optimised = (prompt_of(EXERCISE, name, SMALL)[0] for name in ("plain", "persona", "optimised"))
    assert plain == [{"role": "user", "content": ASKED}]
    assert [one["role"] for one in persona] == ["system", "user"]
    assert persona[0]["content"] == PERSONAS["spinoza"].short_prompt.strip()
    assert persona == prompt_of(EXERCISE, None, SMALL)[0]
    assert optimised[0] == persona[0]  # byte for byte: its cache is shared
    assert SCHEMES["MP"].form in optimised[1]["content"]
    assert optimised[1]["content"].endswith(ASKED)
    assert prompt_of(EXERCISE, None, LARGE)[0][0]["content"] == PERSONAS["spinoza"].full_prompt.strip()
    nobody = Document("d", "d", "", (), {"asked": "?", "scheme": "MP", "conclusion": None, "refusal": False})
    assert prompt_of(nobody, "optimised", SMALL)[0] == [{"role": "user", "content": "?"}]


def test_a_right_exercise_and_a_right_question() -> None:
    assert measure(EXERCISE, f"Donc {RIGHT}") == {
        "grade": 4, "scheme": 1.0, "conclusion": 1.0, "conclusion_exact": 1.0, "conclusion_near": 1.0, "accuracy": 1.0,
    }  # fmt: skip
    text = "Si tu comprends ta colère, alors tu es plus libre. Or tu la comprends. Donc tu es plus libre."
    assert measure(QUESTION, text) == {"grade": 4, "scheme": 1.0, "accuracy": 1.0}
    assert measure(QUESTION, "Peut-être. Et toi ?") == {"grade": 0, "scheme": 0.0, "accuracy": 0.0}
    refusal = document_of(
        {"scheme": "MP", "question": ASKED, "conclusion": "On ne peut pas conclure.", "form": "refusal"}, "x"
    )
    assert set(OF_A_SCHEME).isdisjoint(refusal.metrics)
    assert set(measure(refusal, "On ne peut pas conclure.")) == set(refusal.metrics)


@pytest.mark.parametrize(
    "answer",
    [
        "Donc Karim ne cède pas moins vite à son envie.",  # negation flipped
        "Donc Karim connaît la cause de son envie.",  # P in the place of Q
        "Karim connaît la cause de son envie, en effet.",  # conclusion missing
        "Qu'en penses-tu ?",
        "Oui.",
        "Donc son envie cède moins vite à Karim.",  # right words, the other way round
        "Donc envie son à vite moins cède Karim.",  # right words, no order
        "Si Karim connaît la cause de son envie, il y cède moins vite.",  # the premise said again
        "Karim cède-t-il moins vite à son envie ?",  # asked, not concluded
        "On ne peut donc pas conclure que Karim cède moins vite à son envie.",
    ],
)
def test_what_an_adversary_changes_is_caught(answer: str) -> None:
    found = measure(EXERCISE, answer)
    assert (found["conclusion"], found["accuracy"]) == (0.0, 0.0)
    assert found["grade"] < 4
    assert found["conclusion_exact"] == 0.0


AGIR = "cette rencontre augmente notre puissance d'agir"
JOIE = "cette rencontre nous rend vraiment joyeux ensemble"
FULL = f"Si {AGIR}, alors elle nous rend vraiment joyeux ensemble. Or {AGIR}. Donc {JOIE}."


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"Donc {JOIE}", f"Donc {JOIE.replace('nous rend', 'ne nous rend pas')}"),  # negation flipped
        (f"Or {AGIR}", f"Or {AGIR.replace('augmente', 'n’augmente pas')}"),
        (f"Or {AGIR}. Donc {JOIE}", f"Or {JOIE}. Donc {AGIR}"),  # P and Q swapped
        (f" Donc {JOIE}.", ""),  # conclusion missing
        (f"Donc {JOIE}.", "Donc ensemble joyeux vraiment rend rencontre."),  # right words, no order
        (f"Or {AGIR}.", "Or agir puissance augmente rencontre."),
        ("Si cette rencontre", "Cette rencontre"),
        ("Donc cette", "Cette"),
    ],
)
def test_what_an_adversary_changes_in_a_scheme_lowers_its_grade(before: str, after: str) -> None:
    assert grade("?", FULL, "MP") == 4
    assert before in FULL
    assert grade("?", FULL.replace(before, after), "MP") < 4


def rows() -> list[dict[str, str]]:
    found = []
    for line in BASE.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["form"] == "exercise":
            found.append({"due": row["conclusion"], "answer": row["messages"][2]["content"], "scheme": row["scheme"]})
    return found


def test_our_right_answers_with_their_words_shuffled_are_caught() -> None:
    """Of conclusions that are long enough for an order; a shuffle that changes little is let pass."""
    chance = random.Random(3)  # noqa: S311
    caught = total = 0
    for row in rows():
        words = row["due"].rstrip(".").split()
        if len(stems(row["due"])) > 4:
            chance.shuffle(words)
            total += 1
            caught += not judge(f"Donc {' '.join(words)}.", row["due"]).right
    assert total > 20
    assert caught / total > 0.8


def test_our_right_answers_negated_are_caught() -> None:
    for row in rows():
        assert not judge(f"Il est impossible que {row['due']}", row["due"]).right or "impossible" in row["due"]


def test_reciting_the_form_or_the_example_of_the_prompt_is_no_reasoning() -> None:
    for key, scheme in SCHEMES.items():
        assert score(scheme.example, key).grade == 4
        for recited in (f"Oui. {scheme.example}", scheme.form, f"{scheme.name}. {scheme.form} {scheme.form}"):
            assert grade("?", recited, key) <= 1
    for row in rows():
        assert not is_recited(row["answer"], row["scheme"])


def test_likeness() -> None:
    assert conclusion_likeness(f"Il s'ensuit que {RIGHT}", RIGHT) == (True, 1.0)
    exact, near = conclusion_likeness("Donc Karim cède bien moins vite à son envie.", RIGHT)
    assert not exact
    assert 0.8 < near < 1
    assert conclusion_likeness("Karim cède-t-il moins vite à son envie ?", RIGHT) == (False, 0.0)
    assert conclusion_likeness("", RIGHT) == (False, 0.0)
    due = "Si on comprend sa peur, alors on agit davantage."
    assert conclusion_likeness(f"Donc, {due[0].lower()}{due[1:]}", due) == (True, 1.0)


def test_the_task_says_what_it_is() -> None:
    task = scheme_task([QUESTIONS], limit=2, max_tokens=7)
    assert (task.name, len(task.documents), task.settings["limit"]) == ("schemes", 2, 2)
    assert task.settings["set_sha256"][0]
    assert task.settings["scorer_sha256"] == scorer_sha256()
    assert task.prompt(task.documents[0], None, SMALL)[1].max_tokens == 7


def test_the_scorer_s_hash_is_of_all_that_grades() -> None:
    """What a file of the scorer imports of these two rooms is in the hash as well."""
    for name in (one for one in SCORER if one.endswith(".py")):
        tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
        modules = [one.module or "" for one in ast.walk(tree) if isinstance(one, ast.ImportFrom)]
        ours = [one for one in modules if one.startswith(("dialogue.", "evaluation."))]
        assert [one for one in ours if f"{one.replace('.', '/')}.py" not in SCORER] == []


def test_the_committed_grades_are_those_of_this_scorer() -> None:
    """The scorer was changed since? `make model-gate`, then `python -m evaluation gate --adopt --force`."""
    committed = json.loads((ROOT / "benchmarks/results/model-gate.json").read_text(encoding="utf-8"))
    answered = [row for row in committed["samples"] if row.get("response")]
    if not answered:
        pytest.skip("the committed run is older than the answers that are kept with it")
    documents = {one.id: one for one in load_documents([QUESTIONS, BASE])}
    for row in answered:
        found = measure(documents[row["id"]], row["response"])
        assert {name: round(found[name], 4) for name in row["metrics"]} == row["metrics"], row["id"]


PEOPLE = "Trois peuples ont des règles. Généralise par induction."
RULES = "Probablement, tout peuple a des règles."
FILM = "Par analogie : pourquoi des photographies ne donnent-elles pas le mouvement ?"
FILMED = (
    "Une photographie est au mouvement ce qu'une note est à la mélodie. Or la note donne la mélodie. "
    "Donc, probablement, les photographies donnent le mouvement."
)
FREE = "Par un modus ponens : connaître la cause de ma colère me rend-il plus libre ?"


@pytest.mark.parametrize(
    ("asked", "answer", "scheme", "conclusion", "expected"),
    [
        (PEOPLE, RULES, "IN", RULES, 4),  # its premises stand in the prompt
        (PEOPLE, "Donc tout peuple a des règles.", "IN", RULES, 3),  # certain, where it is only likely
        (PEOPLE, PEOPLE, "IN", RULES, 0),  # the prompt again
        (PEOPLE, "Trois peuples ont des règles.", "IN", RULES, 1),  # a premise again
        (ASKED, "Donc la cause de son envie vient de Karim.", "MP", RIGHT, 2),  # another conclusion
        (ASKED, "Donc Karim ne cède pas moins vite à son envie.", "MP", RIGHT, 1),  # the contrary
        (FREE, FREE, "MP", None, 0),
        (FREE, "Modus ponens. Connaître la cause de ma colère me rend-il plus libre ?", "MP", None, 0),
        (FREE, "Si P, alors Q. Or P.", "MP", None, 1),
        (FREE, "Je suis donc plus libre.", "MP", None, 1),  # concluded, not by the scheme
        (FREE, "Quand je comprends, je choisis. Je vois d'où elle vient. Me voilà donc plus libre.", "MP", None, 3),
        (FREE, "Si je la comprends, je suis plus libre. Or je la comprends. Donc je ne suis pas libre.", "MP", None, 2),
        (FILM, FILMED, "AN", None, 2),  # against what the question takes for granted
    ],
)  # fmt: skip
def test_what_was_asked_counts(asked: str, answer: str, scheme: str, conclusion: str | None, expected: int) -> None:
    assert grade(asked, answer, scheme, conclusion) == expected
