"""What is read in a pupil's message, and the look back: words, never a mark; agreeing earns nothing."""

from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogue.maieuthon import (
    LEVELS,
    SKILLS,
    Remark,
    best_sentence,
    from_evaluation,
    recap,
    remark,
    thesis_of,
)


@pytest.mark.parametrize(
    ("text", "these"),
    [
        ("Je pense que la liberté est une illusion.", "Je pense que la liberté est une illusion."),
        ("Et toi ? Pour moi le bonheur vient des autres.", "Pour moi le bonheur vient des autres."),
        ("Est-ce que tu crois que c'est vrai ?", ""),
        ("Oui.", ""),
        ("", ""),
        ("La liberté se gagne peu à peu.", "La liberté se gagne peu à peu."),
        ("Donne-moi un exemple concret.", ""),
        ("Bah je sais pas trop quoi dire.", ""),
        ("J'en sais rien du tout.", ""),
        ("Explique moi ça. La justice demande des lois.", "La justice demande des lois."),
        ("Je ne sais pas si on est libre, mais je crois qu'on le devient.",
         "Je ne sais pas si on est libre, mais je crois qu'on le devient."),
    ],
)  # fmt: skip
def test_the_thesis_is_a_sentence_of_the_pupil(text: str, these: str) -> None:
    assert thesis_of(text) == these


@pytest.mark.parametrize(
    ("others", "own"),
    [
        ("Certains pensent que l'homme est libre.", "Je ne suis pas d'accord avec eux."),
        ("Certains pensent que l'homme est libre.", "Je ne crois pas que l'homme soit libre."),
        ("Certains pensent que oui.", "Je ne suis pas de cet avis."),
        ("Kant dit qu'on ne doit jamais mentir.", "Un mensonge peut sauver une vie."),
        ("Mon prof de philo dit que la loi libère.", "Elle commence par nous obliger."),
        ("On croit souvent que la liberté est sans loi.", "Elle demande une règle commune."),
        ("L'homme est libre, disait Sartre.", "Jsuis pas du tout d'acc avec lui."),
        ("Je ne suis pas d'accord avec toi.", "Je pense que la loi nous libère."),
        ("Certains pensent que l'homme est libre.", ""),
        ("Je ne comprends pas bien la question posée.", ""),
    ],
)
def test_what_others_hold_is_not_the_pupils_thesis(others: str, own: str) -> None:
    assert thesis_of(f"{others} {own}") == own


@pytest.mark.parametrize(
    "text",
    [
        "Certains désirs nous rendent esclaves.",
        "La raison nous dit que mentir est mal.",
        "On dit que nous sommes libres, mais c'est une illusion.",
        "On dit que l'homme est libre, c'est une illusion.",
        "On dit que l'homme est libre, moi je trouve que non.",
        "Chacun croit que son avis est le bon.",
        "Je croit que la liberté existe.",
    ],
)
def test_a_word_of_the_pupils_own_makes_it_his_thesis(text: str) -> None:
    assert thesis_of(f"{text} Elle vient plus tard.") == text


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("Oui.", ("non", "non", "non")),
        ("La liberté compte beaucoup pour tout le monde.", ("non", "non", "non")),
        ("Je pense que oui parce que sinon personne ne serait puni.", ("non", "non", "en_partie")),
        ("Si je mens, alors on ne me croit plus, donc le mensonge se détruit.", ("non", "non", "oui")),
        ("Mais alors, si tout a une cause, comment puis-je encore choisir ?", ("oui", "non", "oui")),
        ("Il y a une différence entre vouloir et désirer une chose.", ("non", "oui", "non")),
        ("jsuis pas d'acc pcq par exemple mon frère il ment jamais", ("non", "non", "oui")),
    ],
)
def test_what_stands_in_a_message(text: str, levels: tuple[str, str, str]) -> None:
    one = remark(text)
    assert (one.problematiser, one.conceptualiser, one.argumenter) == levels


def test_the_same_reason_for_and_against_reads_the_same() -> None:
    """Agreeing with the philosopher earns nothing, dissent costs nothing."""
    yes, no = (remark(f"{word}, parce que chacun agit selon ce qu'il connaît du monde.") for word in ("Oui", "Non"))
    assert [yes.level(skill) for skill in SKILLS] == [no.level(skill) for skill in SKILLS]
    assert yes.suite == no.suite


def test_progress_is_what_no_message_had_before() -> None:
    first = remark("Je pense que la liberté compte pour tous.")
    second = remark("Je le pense parce que sinon personne ne choisit.", [first])
    third = remark("Je le pense encore parce que sinon personne ne choisit.", [first, second])
    assert (first.delta, second.delta, third.delta) == ("debut", "progres", "stable")
    assert second.gained == ("argumenter",)
    assert third.gained == ()


def test_advice_goes_to_what_is_missing() -> None:
    assert remark("Hein ?").suite == "these"
    assert remark("La liberté compte pour tout le monde.").suite == "argumenter"
    full = "Mais il y a une différence entre deux sens, car par exemple je peux vouloir. Est-ce alors un choix libre ?"
    assert remark(full).suite == "objection"


def test_a_models_evaluation_takes_the_place_of_what_was_read() -> None:
    read = remark("La liberté compte pour tout le monde.")
    told = from_evaluation(
        {"these": "La liberté compte.", "problematiser": "na", "conceptualiser": "en_partie", "argumenter": "oui",
         "suite": "Cherche un cas contraire."},
        read,
    )  # fmt: skip
    assert (told.these, told.conseil) == (read.these, "Cherche un cas contraire.")  # the pupil's own words stay
    assert (told.problematiser, told.conceptualiser, told.argumenter) == ("non", "en_partie", "oui")
    assert from_evaluation({}, read) == read
    assert from_evaluation({"these": 3, "argumenter": "bravo", "suite": None}, read) == read
    asking = remark("Et la loi, elle compte ?")
    assert asking.these == ""
    seen = from_evaluation({"these": "La loi compte.", "preuve": "Et la loi, elle compte ?"}, asking)
    assert seen.these == "Et la loi, elle compte ?"
    assert from_evaluation({"these": "", "preuve": "Et la loi ?"}, asking).these == ""


def test_a_recap_quotes_the_pupil_alone_and_counts_nothing() -> None:
    said = [
        "Je pense que l'homme est libre.",
        "Il y a une différence entre choisir et désirer, parce que le désir vient sans nous.",
        "Je ne sais pas trop.",
        "Il y a deux sens du mot libre, ce n'est pas la même chose.",
        "Finalement je dirais que l'homme devient libre quand il comprend.",
    ]
    remarks: list[Remark] = []
    for text in said:
        remarks.append(remark(text, remarks))
    one = recap(said, remarks, ("DS", "MT", "DS"))
    assert one.schemes == ("DS", "MT")
    assert one.title == "voyage"
    assert one.theses[0] == said[0]
    assert one.theses[-1] == said[-1]
    assert one.best == said[1]
    assert all(these in " ".join(said) for these in one.theses)
    numbers = [field.name for field in fields(one) if isinstance(getattr(one, field.name), (int, float))]
    assert numbers == []


@pytest.mark.parametrize(
    ("said", "title"),
    [
        (["Oui.", "Oui."], "curiosite"),
        (["Je ne suis pas d'accord, car si tout est écrit, alors rien n'est puni."] * 2, "resistance"),
        (["C'est vrai, car si je le sais, alors je choisis mieux."] * 2, "batisseur"),
        (["Il faut distinguer deux sens du mot."] * 2, "distinction"),
        (["Mais alors, où est le problème de ce choix ?"] * 2, "question"),
        (["Je pense que l'homme est libre.", "En fait, je reste sur ma position."], "curiosite"),
        (["Je pense que l'homme est libre.", "Finalement, je maintiens que l'homme est libre."], "curiosite"),
        (["Je pense que l'homme est libre.", "Je préfère choisir plutôt que subir."], "distinction"),
        (["Je pense que l'homme est libre.", "En fait j'ai changé d'avis, il ne l'est pas."], "voyage"),
        (["Je pense que l'homme est libre.", "Finalement il ne l'est pas toujours."], "voyage"),
    ],
)
def test_the_title_follows_the_path(said: list[str], title: str) -> None:
    assert recap(said, [remark(text) for text in said]).title == title


def test_an_empty_session_has_a_recap() -> None:
    one = recap([], [])
    assert (one.theses, one.best, one.to_try, one.title) == ((), "", "these", "curiosite")


@settings(max_examples=150)
@given(st.lists(st.text(max_size=200), max_size=6))
def test_whatever_is_typed_can_be_read(said: list[str]) -> None:
    remarks: list[Remark] = []
    for text in said:
        remarks.append(remark(text, remarks))
        assert all(remarks[-1].level(skill) in LEVELS for skill in SKILLS)
        assert remarks[-1].these in text
    one = recap(said, remarks)
    assert not one.best or any(one.best in text for text in said)
    assert best_sentence(said) == one.best
