"""Stance: negation, scope and context; a page is fast."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogue.alarm import seen
from dialogue.stance import STANCES, detect, features


@pytest.mark.parametrize(
    ("text", "stance"),
    [
        ("je ne suis pas d'accord", "résistance"),
        ("jsuis pas dacc", "résistance"),
        ("d'accord", "accord"),
        ("tout le monde est d'accord pour dire que la Terre est ronde", "neutre"),
        ("pas faux", "accord"),
        ("c'est faux", "résistance"),
        ("c pas faux mais y a des exceptions", "résistance"),
        ("mouais", "résistance"),
        ("loin d'être n'importe quoi", "accord"),
        ("je vois pas le rapport", "confusion"),
        ("ok je vois", "accord"),
        ("??", "confusion"),
        ("j'avoue", "accord"),
        ("rien compris", "confusion"),
        ("c'est dans quel livre ?", "neutre"),
        ("Platon a écrit La République.", "neutre"),
    ],
)
def test_stances(text: str, stance: str) -> None:
    assert detect(text) == stance
    assert detect(unicodedata.normalize("NFD", text)) == stance


def test_no_repetition_takes_for_ever() -> None:
    started = time.process_time()
    features("ok et " * 45 + "bof")
    seen("je " + "abcdefgh" * 49)
    assert time.process_time() - started < 1.0


def test_somebody_else_s_agreement_is_not_the_pupil_s() -> None:
    assert "agreed" not in features("La majorité des gens sont d'accord.")
    assert "not_agreed" not in features("Descartes n'est pas d'accord avec ça.")


@given(st.text(max_size=300), st.text(max_size=100))
def test_nothing_breaks_it(text: str, previous: str) -> None:
    assert detect(text, previous) in STANCES


@pytest.mark.parametrize(
    ("asked", "text", "fact"),
    [
        ("La loi suffit-elle ?", "non", "no_to_doubting"),
        ("N'est-ce pas la raison ? Peut-on vivre sans elle ?", "oui", "yes_to_doubting"),
        ("Le temps est-il réel ou rêvé ?", "réel", "plain_to_choice"),
        ("Pourquoi rit-on ?", "parce que c'est inattendu", "plain_to_wide"),
        ("Le temps existe-t-il ?", "oui", "yes_to_simple"),
    ],
)
def test_an_answer_is_read_with_its_question(asked: str, text: str, fact: str) -> None:
    assert fact in features(text, asked)


@pytest.mark.parametrize(
    "page", ["Je pense que la liberté est une illusion. " * 95, "je " * 1300, "a" * 4000, "ou " * 1300]
)
def test_a_page_is_fast(page: str) -> None:
    taken = []
    for _ in range(5):
        start = time.thread_time()
        detect(page, page)
        taken.append(time.thread_time() - start)
    assert min(taken) < 0.5
