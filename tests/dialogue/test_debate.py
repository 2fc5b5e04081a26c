"""A debate as each philosopher hears it: the other one and the pupil reach him in the pupil's turns."""

import pytest

from dialogue.debate import Speech, conversation_for, to_speak
from errors import MessageError
from personas import get_persona

SPINOZA, KANT = get_persona("spinoza"), get_persona("kant")
QUESTION = "Est-il permis de mentir ?"
FIRST, SECOND = Speech("spinoza", "Le mensonge naît de la crainte."), Speech("kant", "Aucune loi ne « veut » mentir.")
PUPIL = Speech(None, "Kant me convainc, parce que la règle vaut pour tous.")


def test_the_first_one_hears_the_question_alone() -> None:
    heard = conversation_for(SPINOZA, KANT, QUESTION, [])
    assert [(turn.role, turn.text) for turn in heard.turns] == [("user", QUESTION)]


def test_the_second_one_hears_the_first() -> None:
    heard = conversation_for(KANT, SPINOZA, QUESTION, [FIRST])
    assert heard.turns[-1].text == f"{QUESTION}\nSpinoza répond : « Le mensonge naît de la crainte. »"


def test_the_verdict_reaches_both() -> None:
    said = [FIRST, SECOND, PUPIL]
    heard = conversation_for(SPINOZA, KANT, QUESTION, said)
    assert [turn.role for turn in heard.turns] == ["user", "assistant", "user"]
    assert heard.turns[-1].text == f"Kant répond : « Aucune loi ne “ veut ” mentir. »\n{PUPIL.text}"
    other = conversation_for(KANT, SPINOZA, QUESTION, [*said, Speech("spinoza", "Voyons.")])
    assert other.turns[-1].text == f"{PUPIL.text}\nSpinoza répond : « Voyons. »"


def test_a_long_speech_is_cut_between_words() -> None:
    heard = conversation_for(KANT, SPINOZA, QUESTION, [Speech("spinoza", "mot " * 400)])
    assert len(heard.turns[-1].text) < 700
    assert heard.turns[-1].text.endswith("mot… »")


@pytest.mark.parametrize("speeches", [[SECOND], [FIRST, SECOND], [Speech("bergson", "Durons.")]])
def test_nobody_speaks_out_of_turn(speeches: list[Speech]) -> None:
    with pytest.raises(MessageError) as refusal:
        conversation_for(KANT, SPINOZA, QUESTION, speeches)
    assert refusal.value.code == "message_order"


@pytest.mark.parametrize(
    ("said", "next_ones"),
    [
        ([], [SPINOZA, KANT]),
        ([FIRST], [KANT]),
        ([FIRST, SECOND], []),
        ([FIRST, SECOND, PUPIL], [SPINOZA, KANT]),
        ([FIRST, PUPIL], [SPINOZA, KANT]),
    ],
)
def test_who_speaks_next(said: list[Speech], next_ones: list[object]) -> None:
    assert list(to_speak(SPINOZA, KANT, said)) == next_ones
