"""Moves: one for each stance, no scheme twice in a row, the same conversation the same lines."""

import pytest

from dialogue.conversation import Conversation, Turn
from dialogue.moves import MOVE_OF, choose_move, choose_scheme, moves_for
from dialogue.stance import STANCES
from errors import PersonaError
from personas import PERSONAS, SCHEMES, load_schemes
from personas.loader import HERE

SPINOZA = PERSONAS["spinoza"]


@pytest.mark.parametrize("key", PERSONAS)
@pytest.mark.parametrize("stance", STANCES)
def test_every_move_has_schemes_in_every_persona(key: str, stance: str) -> None:
    name = MOVE_OF[stance]  # type: ignore[index]
    first = choose_scheme(name, "Suis-je libre ?", PERSONAS[key])
    second = choose_scheme(name, "Suis-je libre ?", PERSONAS[key], first)
    assert name in SCHEMES[first].moves
    assert name in SCHEMES[second].moves
    assert first != second


@pytest.mark.parametrize(
    ("text", "scheme", "name"),
    [
        ("Si tu lis, alors tu sais. Or tu lis.", "MP", "avancer"),
        ("Si tu lis, alors tu sais. Or tu sais. Donc tu lis.", "MP", "contredire"),
        ("Si tu lis, alors tu sais. Or tu ne sais pas.", "MT", "contredire"),
    ],
)
def test_premises_of_the_pupils_own_choose_their_scheme(text: str, scheme: str, name: str) -> None:
    move = choose_move(text, SPINOZA, just_used=scheme)
    assert (move.scheme, move.name) == (scheme, name)
    assert move.inference
    assert move.inference.line in move.line


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("tout à fait d'accord", "avancer"),
        ("j'ai rien compris", "montrer"),
        ("non, c'est faux", "contredire"),
        ("On a vu Platon en cours.", "demander"),
    ],
)
def test_the_move_follows_the_stance(text: str, name: str) -> None:
    move = choose_move(text, SPINOZA, "La liberté est-elle une illusion ?")
    assert move.name == name
    assert "\n" not in move.line
    assert SCHEMES[move.scheme].name.lower() in move.line


def test_a_pupil_who_is_lost_gets_an_image() -> None:
    assert choose_move("j'ai rien compris", SPINOZA).scheme == "AN"


def test_dissent_is_taken_seriously_in_so_many_words() -> None:
    line = choose_move("c'est n'importe quoi", SPINOZA).line
    assert "prends son objection au sérieux" in line


def test_later_turns_leave_earlier_lines_as_they_were() -> None:
    turns = (
        Turn("assistant", SPINOZA.opening),
        Turn("user", "non, je choisis"),
        Turn("assistant", "Qu'est-ce qui te fait choisir ?"),
        Turn("user", "hein ?"),
        Turn("assistant", "Une pierre qui tombe se croirait libre. Et toi ?"),
        Turn("user", "ok je vois"),
    )
    whole = moves_for(Conversation(SPINOZA, turns))
    assert [move.name for move in whole] == ["contredire", "montrer", "avancer"]
    for end in (2, 4):
        assert moves_for(Conversation(SPINOZA, turns[:end])) == whole[: end // 2]


def test_an_unknown_move_in_the_file_is_named(tmp_path: object) -> None:
    path = HERE.__class__(str(tmp_path)) / "schemes.toml"
    text = (HERE / "schemes.toml").read_text("utf-8")
    path.write_text(text.replace('moves = ["contredire"]', 'moves = ["gronder"]', 1), "utf-8")
    with pytest.raises(PersonaError, match="'gronder' is none of avancer"):
        load_schemes(path)
