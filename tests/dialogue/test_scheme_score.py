"""The scheme scorer: the examples score 4, and what an adversary changes lowers the score."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogue.scheme_score import card, score
from errors import PersonaError
from personas import SCHEMES

BASE = Path(__file__).parents[2] / "data" / "schemes_levelA_base.jsonl"
MP = "Si tu lis ce livre, alors tu sais la fin. Or tu lis ce livre. Donc tu sais la fin."
MT = "Si tu lis ce livre, alors tu sais la fin. Or tu ne sais pas la fin. Donc tu ne lis pas ce livre."
FREE = "Si l'homme est libre, alors l'homme est responsable."  # both sides share their subject


@pytest.mark.parametrize("key", SCHEMES)
def test_the_example_of_each_scheme_is_the_full_scheme(key: str) -> None:
    assert score(SCHEMES[key].example, key).grade == 4


@pytest.mark.parametrize(
    ("text", "announced", "grade", "fallacy"),
    [
        (MP, "MP", 4, ""),
        (MT, "MT", 4, ""),
        (MT, "MP", 3, ""),
        (
            "Si tu lis ce livre, alors tu sais la fin. Or tu sais la fin. Donc tu lis ce livre.",
            "MP",
            2,
            "consequent_affirme",
        ),
        (
            "Si tu lis ce livre, alors tu sais la fin. Or tu ne lis pas ce livre. Donc tu ne sais pas la fin.",
            "MT",
            2,
            "antecedent_nie",
        ),
        ("Si tu lis ce livre, alors tu sais la fin. Donc le chat dort.", "MP", 2, ""),
        ("Par modus ponens, tout est clair.", "MP", 1, ""),
        ("Le chat dort.", "MP", 0, ""),
        ("", "MP", 0, ""),
        ("Tu sais la fin, puisque tu lis ce livre, et que, dès lors que tu lis ce livre, tu sais la fin.", "MP", 4, ""),
        ("Quand tu lis ce livre, tu sais la fin. Or tu lis ce livre. Dès lors, tu sais la fin.", "MP", 4, ""),
        ("Supposons qu'il pleuve. Alors je rentre, et ce ne serait pas drôle. Donc il ne pleut pas.", "RA", 2, ""),
        (
            "Le mot est à l'idée ce que la note est à l'air. Or la note porte l'air. Sans doute le mot aussi.",
            "AN",
            4,
            "",
        ),
        ("Ou tu dors, ou tu lis. Or tu dors. Donc tu ne lis pas.", "SD", 2, "disjoint_affirme"),
        ("Soit tu dors, soit tu lis. Or tu dors. Donc tu ne lis pas.", "SD", 2, ""),
        (
            f"{FREE} Or l'homme n'est pas libre. Donc l'homme n'est pas responsable.",
            "MT",
            2,
            "antecedent_nie",
        ),
        (
            f"{FREE} Or l'homme n'est pas responsable. Donc l'homme n'est pas libre.",
            "MT",
            4,
            "",
        ),
        ("Pierre, Paul et Marie mentent. Donc tout homme ment.", "IN", 2, "generalisation_hative"),
        ("Pierre, Paul et Marie mentent. Donc, probablement, tout homme ment.", "IN", 4, ""),
        (
            "Ou tu parles, ou tu te tais. Si tu parles, tu prends parti. Si tu te tais, tu dors. Donc tu prends parti.",
            "DI",
            2,
            "branches_divergentes",
        ),
    ],
)
def test_grades(text: str, announced: str, grade: int, fallacy: str) -> None:
    found = score(text, announced)
    assert (found.grade, found.fallacy) == (grade, fallacy)


@pytest.mark.parametrize(
    "text",
    [
        MP.replace("Or tu lis", "Or tu ne lis pas"),  # polarity flipped
        MP.replace(" Or tu lis ce livre.", ""),  # minor removed
        MP.replace("Donc tu sais la fin", "Donc tu ne sais pas la fin"),
        "Donc si tu lis ce livre. Or alors tu sais.",  # connectives shuffled
        MP.replace("Or tu lis ce livre", "Or la mer est calme"),
        "Si tu lis ce livre, alors tu sais la fin. Or tu lis ce livre. Sais-tu la fin ?",  # asked, not concluded
    ],
)
def test_what_an_adversary_changes_lowers_the_score(text: str) -> None:
    assert score(text, "MP").grade < 4


def test_our_own_exercises_are_read() -> None:
    """The share of exercises with their answers that is read in full: a floor, so that no change lowers it unseen."""
    full: Counter[bool] = Counter()
    for line in BASE.read_text("utf-8").splitlines():
        row = json.loads(line)
        if row["form"] == "exercise":
            text = f"{row['messages'][1]['content']} {row['messages'][2]['content']}"
            full[score(text, row["scheme"]).grade == 4] += 1
    assert full[True] / full.total() > 0.9


def test_a_refusal_to_conclude_is_no_conclusion() -> None:
    text = MP.replace("Donc tu sais la fin.", "On ne peut donc pas conclure que tu sais la fin.")
    assert score(text, "MP").grade < 4


def test_the_card_is_filled_from_the_text_or_left_empty() -> None:
    assert card("MP", MP).filled == (
        "Si « tu lis ce livre », alors « tu sais la fin ». Or « tu lis ce livre ». Donc « tu sais la fin »."
    )
    assert card("MP", "Le chat dort.").filled is None
    refuted = card("MT", "Si tu lis, alors tu sais. Or tu ne sais pas. Donc tu ne lis pas.").filled
    assert refuted
    assert "Or ceci est faux : « " in refuted
    assert "non-" not in refuted
    # What is read of the others are whole sentences, and their letters stand for terms.
    filled = {key for key, scheme in SCHEMES.items() if card(key, scheme.example).filled}
    assert filled <= {"MP", "MT", "SH", "SD", "DI", "AN"}
    assert {"MP", "MT", "SH", "SD", "DI"} <= filled
    assert card("AN", SCHEMES["AN"].example).scheme.fallacy == SCHEMES["AN"].fallacy


def test_an_unknown_scheme_is_named() -> None:
    with pytest.raises(PersonaError, match="No scheme 'XX'"):
        score("", "XX")


@given(st.text(max_size=300), st.sampled_from(list(SCHEMES)))
def test_nothing_breaks_it(text: str, key: str) -> None:
    assert score(text, key).grade in range(5)
    card(key, text)
