"""Whether an inference says what was due: its polarity counts, and whether anything follows at all."""

import pytest

from dialogue.inference import Inference
from evaluation.premises import agrees


@pytest.mark.parametrize(
    ("found", "conclusion", "right"),
    [
        (Inference("MP", "follows", "il agit"), "Léon agit.", True),
        (Inference("MP", "follows", "il agit"), "Léon n'agit pas.", False),
        (Inference("MP", "follows", "il agit"), "On ne peut pas conclure que Léon agit.", False),
        (Inference("MT", "false", "Léon agit"), "Il est faux que Léon agit.", True),
        (Inference("MT", "false", "Léon n'agit pas"), "Léon agit.", True),
        (Inference("MT", "open_contrary", "Léon agit"), "On ne peut pas conclure que Léon n'agit pas.", True),
        (Inference("MT", "open_contrary", "Léon agit"), "On ne peut pas conclure que Léon agit.", False),
        (Inference("OP", "false", "Tout homme dort"), "« Tout homme dort » est fausse.", True),
        (
            Inference("DS", "limited", "L'image dit vrai", "idée"),
            "« L'image dit vrai » n'est vrai que de l'idée.",
            True,
        ),
        (Inference("DS", "follows", "L'image dit vrai"), "« L'image dit vrai » n'est vrai que de l'idée.", False),
        (Inference("MP", "follows", "la mer monte"), "Le port ferme.", False),
    ],
)
def test_agreement(found: Inference, conclusion: str, right: bool) -> None:
    assert agrees(found, conclusion) is right
