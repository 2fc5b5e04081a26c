"""Questions of the bac: enough for each philosopher, each a question, none twice; a broken file is named."""

from pathlib import Path
from random import Random

import pytest

from errors import PersonaError
from personas import PERSONAS
from personas.questions import NOTIONS, QUESTIONS, draw, find, load_questions, questions_of


@pytest.mark.parametrize("key", sorted(PERSONAS))
def test_every_philosopher_has_at_least_ten_over_many_notions(key: str) -> None:
    own = questions_of(key)
    assert len(own) >= 10
    assert len({question.notion for question in own}) >= 8


def test_every_question_stands_once_in_both_languages() -> None:
    for texts in ([q.text for q in QUESTIONS], [q.text_en for q in QUESTIONS]):
        assert len(set(texts)) == len(texts)
        assert max(map(len, texts)) < 120


def test_there_are_seventeen_notions_and_most_are_asked_about() -> None:
    assert len(NOTIONS) == 17
    assert set(NOTIONS) - {q.notion for q in QUESTIONS} == set()


def test_a_draw_is_never_the_question_that_stands_there() -> None:
    chance = Random(7)  # noqa: S311
    before = draw("kant", chance=chance)
    for _ in range(50):
        now = draw("kant", but=before.text, chance=chance)
        assert now != before
        assert now.persona == "kant"
        before = now


def test_a_draw_for_nobody_says_what_to_do() -> None:
    with pytest.raises(PersonaError, match="write one"):
        draw("hume")


def test_a_question_is_found_in_both_languages() -> None:
    one = QUESTIONS[0]
    assert find(one.text) is find(one.text_en) is one
    assert find("Quelle heure est-il ?") is None


GOOD = '[[question]]\npersona = "kant"\nnotion = "art"\ntext = "Pourquoi ?"\ntext_en = "Why?"\n'


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("kant", "hume"), "persona is 'hume'"),
        (("art", "sport"), "notion is 'sport'"),
        (("Pourquoi ?", "Parce que."), "question mark"),
        (("text_en", "english"), "unknown key"),
        (("[[question]]", "[[question]"), "no TOML"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    path = tmp_path / "questions.toml"
    path.write_text(GOOD.replace(*change), encoding="utf-8")
    with pytest.raises(PersonaError, match=said):
        load_questions(path)


def test_a_question_that_stands_twice_is_named(tmp_path: Path) -> None:
    path = tmp_path / "questions.toml"
    path.write_text(GOOD + GOOD, encoding="utf-8")
    with pytest.raises(PersonaError, match="question 2"):
        load_questions(path)
