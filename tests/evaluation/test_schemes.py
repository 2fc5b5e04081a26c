"""Verdicts by cases: right conclusions in other words, and every way of being wrong that looks right."""

import json
from pathlib import Path

import pytest

from dialogue.french import count_negations, mood, stems
from evaluation.schemes import claim, judge, said_again

ROOT = Path(__file__).parents[2]
CALM = "Karim cède moins vite à son envie."
REFUSED = "On ne peut pas conclure qu'Inès a compris sa jalousie."


@pytest.mark.parametrize(
    ("answer", "conclusion", "right"),
    [
        ("Donc Karim cède moins vite à son envie. As-tu remarqué cela ?", CALM, True),
        ("Il s'ensuit que l'envie de Karim le fait céder moins vite.", CALM, True),
        ("Donc Karim ne cède pas moins vite à son envie.", CALM, False),
        ("Si Karim connaît la cause de son envie, alors il y cède moins vite.", CALM, False),
        ("Karim cède-t-il moins vite à son envie ?", CALM, False),
        ("Karim connaît la cause.", CALM, False),
        ("", CALM, False),
        ("Donc, probablement, la fortune ballotte l'homme passionné.", "La fortune ballotte l'homme passionné.", True),
        ("Tu agis ou tu subis.", "Tu agis.", False),
        ("Donc tu agis.", "Tu agis.", True),
        ("Cet acte n'est donc pas libre.", "Cet acte n'est pas libre.", True),
        ("Cet acte est donc libre.", "Cet acte n'est pas libre.", False),
        ("Il est impossible que cet acte soit libre.", "Cet acte n'est pas libre.", True),
        ("Aucun désir n'est libre.", "Nul désir n'est libre.", True),
        ("Non, on ne peut pas conclure qu'Inès a compris sa jalousie.", REFUSED, True),
        ("Oui, on peut conclure qu'Inès a compris sa jalousie.", REFUSED, False),
        ("Donc Inès a compris sa jalousie.", REFUSED, False),
        ("Donc, si on comprend sa peur, on agit davantage.", "Si on comprend sa peur, alors on agit davantage.", True),
        ("Donc on agit davantage et on comprend sa peur.", "Si on comprend sa peur, alors on agit davantage.", False),
        ("Karim cède vite. Donc Karim cède moins vite à son envie.", CALM, True),
        ("Karim ne cède pas moins vite à son envie. Il cède.", CALM, False),
        ("L’élève comprend son émotion.", "L'eleve comprend son emotion.", True),
    ],
)  # fmt: skip
def test_verdicts(answer: str, conclusion: str, right: bool) -> None:
    assert judge(answer, conclusion).right is right


@pytest.mark.parametrize(
    ("text", "negations"),
    [
        ("Il dort.", 0),
        ("Il ne dort pas.", 1),
        ("Il n'a aucun ami.", 1),
        ("Il ne dit jamais rien.", 1),
        ("Non, il dort.", 0),
        ("Non ! il ne dort pas.", 1),
        ("On ne peut pas conclure qu'il ne dort pas.", 2),
        ("Ce n'est donc pas vrai.", 1),
        ("C'est impossible.", 1),
        ("Il n'est pas impossible qu'il dorme.", 2),
        ("Une chose non étendue.", 1),
        ("Rien ne suit.", 1),
        ("Pas de liberté sans loi.", 1),
        ("Il parle, mais il ne pense pas, et il n'agit pas.", 2),
    ],
)
def test_negations(text: str, negations: int) -> None:
    assert count_negations(text) == negations


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("S'il pleut, je lis.", (True, False)),
        ("Je lis, s'il pleut.", (True, False)),
        ("On dit que si tu lis, tu sais.", (True, False)),
        ("Tu lis même si tu es fatigué.", (False, False)),
        ("Tu lis si vite !", (False, False)),
        ("Soit tu lis, soit tu dors.", (False, True)),
        ("Où vas-tu, là ?", (False, True)),  # accents are folded: « où » reads as « ou »; a question is left out anyway
    ],
)
def test_moods(text: str, expected: tuple[bool, bool]) -> None:
    assert mood(text) == expected


def test_stop_words_are_no_content() -> None:
    assert stems("Donc, si tu es là, c'est que tout cela est impossible.") == frozenset()


def test_every_reference_answer_of_ours_is_right() -> None:
    """A verdict that refuses the right answers we wrote would measure itself."""
    path = ROOT / "data" / "schemes_levelA_base.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    wrong = [row["id"] for row in rows if not judge(row["messages"][2]["content"], row["conclusion"]).right]
    assert wrong == []


def test_the_premises_said_again_seldom_pass() -> None:
    """Of modus ponens and tollens never; schemes whose conclusion is in the premises' words have a floor, reported."""
    path = ROOT / "data" / "schemes_levelA_base.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    passed = [row["scheme"] for row in rows if judge(row["messages"][1]["content"], row["conclusion"]).right]
    assert {"MP", "MT", "SD", "DI"}.isdisjoint(passed)
    assert len(passed) / len(rows) < 0.35


LAW = "Le gouvernail est au navire ce que la loi est à la cité. Or le gouvernail oriente le navire."
IDEA = "Par opposition : « Nulle idée n'est certaine » contredit « Quelque idée est certaine ». Et alors ?"
MIRACLE = "Si cette éclipse était un miracle, alors on ne pourrait pas la prévoir. Or on peut la prévoir."
SENSES = (
    "« Nécessité » se dit d'une contrainte du dehors, ou de la nature. « La nécessité ôte la liberté » vaut pour elle."
)
DUE_SENSE = "« La nécessité ôte la liberté » n'est vrai que de la contrainte du dehors."


@pytest.mark.parametrize(
    ("asked", "answer", "conclusion", "right"),
    [
        (LAW, "Donc la loi oriente la cité.", "La loi oriente la cité.", True),
        (LAW, "Donc la loi oriente le gouvernail.", "La loi oriente la cité.", False),  # a word in another's place
        (LAW, "Or le gouvernail oriente le navire.", "Le navire a un gouvernail.", False),  # a premise said again
        (
            IDEA,
            "La première tombe, puisqu'une idée est certaine.",
            "Il est faux que nulle idée ne soit certaine.",
            True,
        ),
        (IDEA, "La seconde tombe.", "Il est faux que nulle idée ne soit certaine.", False),
        (IDEA, "Nulle idée n'est certaine.", "Il est faux que nulle idée ne soit certaine.", False),
        (MIRACLE, "Elle n'a donc rien d'un miracle.", "Cette éclipse n'est pas un miracle.", True),  # a pronoun
        (MIRACLE, "C'est donc un miracle.", "Cette éclipse n'est pas un miracle.", False),
        (SENSES, "La nécessité n'ôte donc la liberté que par la contrainte.", DUE_SENSE, True),
        (SENSES, "La nécessité ôte donc la liberté par la contrainte.", DUE_SENSE, False),  # unlimited
        (IDEA, "Il est faux que nulle idée soit certaine.", "Il est faux que nulle idée ne soit certaine.", True),
        ("", "Il est faux que la joie rende lent.", "La joie ne rend pas lent.", True),
        ("", "La joie ne rend donc pas lent.", "Il est faux que la joie rende lent.", True),
        ("", "La joie rend donc lent.", "Il est faux que la joie rende lent.", False),
        ("", "Il est faux que la joie rende lent.", "La joie rend lent.", False),
        ("", "Nulle joie n'est lente.", "Il est faux que toute joie soit lente.", False),  # the contrary
        ("", "Il est faux que toute joie soit lente.", "Toute joie n'est pas lente.", False),  # nobody knows which
        ("", "Dès qu'on comprend sa peur, on agit davantage.", "Si on comprend sa peur, on agit davantage.", True),
    ],
)
def test_verdicts_beside_the_premises(asked: str, answer: str, conclusion: str, right: bool) -> None:
    assert judge(answer, conclusion, asked).right is right


def test_what_only_limits_is_no_negation() -> None:
    assert not claim("Ce n'est vrai que du plaisir.").negated
    assert claim("On ne peut conclure que la loi est juste.").negated
    assert said_again("Tu lis ce livre, alors tu sais la fin.", ["Si tu lis ce livre, alors tu sais la fin."])
    assert not said_again("Tu sais la fin.", ["Si tu es là, tu sais la fin."])


@pytest.mark.parametrize(
    "sentence",
    [
        "On ne peut pas conclure que tu es libre.", "On ne peut rien en conclure.", "Il ne s'ensuit pas qu'il pense.",
        "Rien ne prouve que tu es libre.", "Cela ne prouve pas que tu es libre.", "Ça ne suit pas.",
        "Tu ne peux pas en déduire que tu es libre.", "Impossible de conclure que tu es libre.",
    ],
)  # fmt: skip
def test_that_something_does_not_follow(sentence: str) -> None:
    assert claim(sentence).refused


@pytest.mark.parametrize(
    "sentence", ["Je ne suis pas libre.", "Il faut conclure que tu n'es pas libre.", "Il est faux que tu sois libre."]
)
def test_to_deny_is_no_refusal_to_conclude(sentence: str) -> None:
    """Where nothing follows, who denies has concluded all the same, though both sentences are negated once."""
    assert not claim(sentence).refused
    assert not judge(sentence, f"On ne peut pas conclure que {sentence[0].lower()}{sentence[1:]}").right
    assert not judge("Donc tu n'es pas libre.", "On ne peut pas conclure que tu es libre.").right
