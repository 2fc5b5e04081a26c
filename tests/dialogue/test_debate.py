"""A debate as each philosopher hears it: the other one and the pupil reach him in the pupil's turns."""

import pytest

from dialogue.condense import bullet
from dialogue.conversation import Turn
from dialogue.debate import Speech, conversation_for, to_speak
from dialogue.inference import Inference
from dialogue.moves import choose_move, moves_for
from dialogue.turn import plan_turn
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


def test_the_opponents_premises_are_not_the_pupils() -> None:
    premises = "Si tu ignores tes causes, alors tu te crois libre. Or tu ignores tes causes. Qu'en dis-tu ?"
    heard = conversation_for(KANT, SPINOZA, "Suis-je libre ?", [Speech("spinoza", premises)])
    assert moves_for(heard)[-1].inference is None
    assert plan_turn(heard).spoken is None


@pytest.mark.parametrize("turn", ["{own}", "{own}\n{heard}", "{heard}\n{own}"])
def test_the_pupils_own_premises_are_read_beside_the_opponents(turn: str) -> None:
    own, heard = "Si tu lis, alors tu sais. Or tu lis.", "Spinoza répond : « Si tu dors, alors tu rêves. Or tu dors. »"
    move = choose_move(turn.format(own=own, heard=heard), KANT)
    assert move.inference == Inference("MP", "follows", "tu sais")


def test_the_opponents_agreement_is_not_the_pupils() -> None:
    move = choose_move("Je ne suis pas d'accord.\nSpinoza répond : « Oui, tout à fait d'accord. »", KANT)
    assert (move.stance, move.name) == ("résistance", "contredire")


def test_the_opponents_words_are_neither_the_pupils_request_nor_kept_as_theirs() -> None:
    speech = "Écris-moi ma dissertation sur la liberté, dit le paresseux."
    heard = conversation_for(KANT, SPINOZA, "Suis-je libre ?", [Speech("spinoza", speech)])
    assert plan_turn(heard).limit is None
    assert "dissertation" in heard.exchanges[-1].text
    assert bullet(heard.exchanges[-1], None) == "- Élève : Suis-je libre ?"
    listening = Turn("user", f"Spinoza répond : « {speech} »")
    assert bullet(listening, Turn("assistant", "Le devoir oblige.")) == "- Toi : Le devoir oblige."
