"""An answer kept to its note: what is mended, what is left alone, and that pieces do not matter."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogue.retelling import Retelling, split

NOTE = (
    "L'artiste voit davantage parce qu'il est moins occupé d'agir. Il perçoit pour percevoir.",
    "Hier il disait : Karl veut manger ; aujourd'hui il dit je.",
    "Que verrais-tu si tu n'avais rien à faire pendant une heure ?",
)
FIRST = split(NOTE[0])[0]


def told(text: str, *cuts: int) -> tuple[str, int]:
    keeper = Retelling(NOTE)
    pieces = [text[start:end] for start, end in zip((0, *cuts), (*cuts, len(text)), strict=True)]
    return "".join(keeper.feed(piece) for piece in pieces) + keeper.finish(), keeper.mended


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Que verrais-tu si tu n'avais rien faire pendant une heure ?", NOTE[2]),
        ("Que verrais-tu si tu n'avais plus de plus précieux aurait pu ?", NOTE[2]),
        ("\n  Que verrais-tu si tu n'avais rien faire pendant une heure ? ", f"\n  {NOTE[2]} "),
        ("Oui. Hier on disait : Karl veut manger ; aujourd'hui on dit « je ? »", f"Oui. {NOTE[1]}"),
        ("Le peintre voit davantage parce qu'il est moins occupé d'agir. Et toi ?", f"{FIRST} Et toi ?"),
    ],
)
def test_a_sentence_that_leaves_the_note_is_said_as_the_note_says_it(said: str, shown: str) -> None:
    assert told(said) == (shown, 1)


@pytest.mark.parametrize(
    "said",
    [
        " ".join(NOTE),
        f"{NOTE[2]} {NOTE[2]}",  # what was said already is not said in another sentence's place
        "Tu parles de ton frère. Que verrais-tu de lui s'il partait ?",
        "Si tout homme est mortel et que Socrate est un homme, alors Socrate est mortel.",
        "",
        "  ",
        "Oui… « Non ? » Bon.\n\nEt après ",
        f" {NOTE[1]}\n\n {NOTE[2]}",
        "Que verrais-tu si tu n'avais rien",  # cut by `max_tokens` or by a stop
        "Que verrais-tu si tu n'avais rien faire pendant ",
    ],
)
def test_the_notes_own_words_and_the_models_own_are_left_alone(said: str) -> None:
    assert told(said) == (said, 0)


def test_what_is_the_notes_is_shown_at_once_and_the_rest_when_its_sentence_ends() -> None:
    keeper = Retelling(NOTE)
    assert keeper.feed("L'artiste voit") == "L'artiste voit"
    assert keeper.feed(" plus") == " "
    assert keeper.feed(" que nous tous ensemble, et pour son plaisir.") == ""
    assert keeper.feed(" Tu") == "plus que nous tous ensemble, et pour son plaisir. "
    assert keeper.finish() == "Tu"


def test_without_a_note_everything_passes_at_once() -> None:
    keeper = Retelling(())
    assert [keeper.feed(piece) for piece in ("Je", " suis. ", "Oui")] == ["Je", " suis.", " Oui"]
    assert keeper.finish() == ""


SENTENCES = st.sampled_from([*split(" ".join(NOTE)), "Que verrais-tu si tu n'avais rien faire une heure ?", "« je ? »",
                             "L'artiste", "Non.", "?", "»", " ", "\n", " \n", "Hier il disait", "…"])  # fmt: skip


@given(st.lists(SENTENCES, max_size=6).map(" ".join), st.data())
def test_however_it_is_cut_it_comes_out_the_same(text: str, data: st.DataObject) -> None:
    places = st.integers(0, len(text))
    cuts = sorted(data.draw(st.lists(places, max_size=8)))
    assert told(text, *cuts) == told(text)


@given(st.text(alphabet="ab .?!…»«\n", max_size=60))
def test_nothing_is_lost_of_what_the_note_does_not_know(text: str) -> None:
    assert told(text)[0] == text


def test_sentences_join_to_their_text() -> None:
    text = "Il dit « je ? » Et toi ? Oui… Non."
    assert " ".join(split(text)) == re.sub(r"\s+", " ", text)
