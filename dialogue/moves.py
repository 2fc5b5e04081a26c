"""What the philosopher does next: a move for the pupil's stance, and the scheme it is made by. Knows personas.

Chosen before the answer, from what was said alone: the same conversation gives the same moves, so a line that stood
in an earlier prompt stands there again, byte for byte. Dissent is a move like the others: it is taken seriously, and
never corrected as a fault.
"""

import re
from dataclasses import dataclass

from dialogue.conversation import Conversation
from dialogue.debate import own_words
from dialogue.french import fold
from dialogue.inference import Inference, infer
from dialogue.prompt import last_question
from dialogue.stance import Stance, detect
from personas import SCHEMES, MoveName, Persona, get_scheme

MOVE_OF: dict[Stance, MoveName] = {
    "accord": "avancer",
    "confusion": "montrer",
    "résistance": "contredire",
    "neutre": "demander",
}
_TO_DO: dict[MoveName, str] = {
    "avancer": "l'élève est d'accord : reconnais ce qu'il a vu juste, puis fais un pas de plus",
    "montrer": "l'élève est perdu : redis l'idée par un seul exemple concret, sans mot nouveau",
    "contredire": "l'élève résiste : prends son objection au sérieux, puis montre-lui une tension à résoudre",
    "demander": "l'élève n'a pas pris parti : demande-lui ce qu'il pense, sur un point précis",
}
_TO_CONCLUDE = "l'élève pose des prémisses : dis-lui ce qui en suit et ce qui n'en suit pas, et pourquoi"
_CALLED = 2.0  # a word of the question that calls for a scheme weighs more than the persona's first favourite
_FAVOURITE = 1.5
_JUST_USED = -3.0  # the same scheme twice in a row teaches nothing new


@dataclass(frozen=True)
class Move:
    """What one answer does.

    Attributes:
        name: "avancer", "montrer", "contredire" or "demander".
        stance: The pupil's, from which it follows.
        scheme: Id of the scheme that the page shows as a chip, a key of `personas.SCHEMES`.
        line: The one line that a model is given, in French.
        inference: What follows from the pupil's own premises, where the message sets out some: their scheme is taken.
    """

    name: MoveName
    stance: Stance
    scheme: str
    line: str
    inference: Inference | None = None


def choose_scheme(name: MoveName, text: str, persona: Persona, just_used: str | None = None) -> str:
    """Return the id of the scheme that serves a move best.

    Args:
        name: The move.
        text: The pupil's message and the question it answers.
        persona: Whose favourites count.
        just_used: Scheme of the answer before: avoided.

    >>> from personas import get_persona
    >>> choose_scheme("contredire", "Tous les hommes sont égoïstes, toujours.", get_persona("bergson"))
    'OP'
    """
    folded = fold(text)

    def weight(scheme_id: str) -> float:
        scheme = SCHEMES[scheme_id]
        called = min(sum(re.search(call, folded) is not None for call in scheme.calls), 2)
        liked = 1 - persona.schemes.index(scheme_id) / len(persona.schemes) if scheme_id in persona.schemes else 0.0
        # The move a scheme is listed for first is the one it serves best.
        fit = 1.0 if scheme.moves[0] == name else 0.0
        return _CALLED / 2 * called + _FAVOURITE * liked + fit + (_JUST_USED if scheme_id == just_used else 0.0)

    return max((one.id for one in SCHEMES.values() if name in one.moves), key=weight)


def choose_move(text: str, persona: Persona, asked: str | None = None, just_used: str | None = None) -> Move:
    """Return the move for one message of a pupil.

    Args:
        text: The pupil's message.
        persona: Who answers.
        asked: What the philosopher had said or asked before.
        just_used: Scheme of the answer before.
    """
    own = own_words(text)  # in a debate the turn holds the opponent's speech too: his premises are not the pupil's
    stance = detect(own, asked or "")
    if inference := infer(own):
        name: MoveName = "avancer" if inference.outcome in {"follows", "limited"} else "contredire"
        return Move(name, stance, inference.scheme, f"Geste : {_TO_CONCLUDE}. {inference.line}", inference)
    name = MOVE_OF[stance]
    scheme = get_scheme(choose_scheme(name, f"{asked or ''} {text}", persona, just_used))
    return Move(name, stance, scheme.id, f"Geste : {_TO_DO[name]}. Schéma : {scheme.name.lower()} ; {scheme.guide}.")


def moves_for(conversation: Conversation) -> tuple[Move, ...]:
    """Return the move for each of the pupil's turns, in order; the last one is for the answer that is due."""
    moves: list[Move] = []
    asked = last_question(conversation.opening or "")
    for turn in conversation.exchanges:
        if turn.role == "assistant":
            asked = last_question(turn.text) or turn.text
        else:
            moves.append(choose_move(turn.text, conversation.persona, asked, moves[-1].scheme if moves else None))
    return tuple(moves)
