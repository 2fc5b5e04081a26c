"""Text as it grows: whole characters, no stop text, no unfinished sentence; however the bytes are cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.text import AnswerText, sentence_end

ALPHABET = "abÉ \n.!?»« é…🙂"
texts = st.text(ALPHABET, max_size=60)
stops = st.lists(st.text(ALPHABET, min_size=1, max_size=4), max_size=3)


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def spoken(pieces: list[bytes], *, stop: list[str], sentences: bool = False, hold_at: int = 10**6, cut: bool) -> str:
    answer = AnswerText(stop, sentences=sentences)
    shown = [answer.feed(piece, hold=number >= hold_at) for number, piece in enumerate(pieces)]
    return "".join([*shown, answer.finish(cut=cut)])


@given(texts, st.lists(st.integers(0, 200)), stops, st.booleans(), st.booleans())
def test_pieces_do_not_change_the_text(text: str, cuts: list[int], stop: list[str], sentences: bool, cut: bool) -> None:
    data = text.encode()
    whole = spoken([data], stop=stop, sentences=sentences, hold_at=0, cut=cut)
    assert spoken(pieces_of(data, cuts), stop=stop, sentences=sentences, hold_at=0, cut=cut) == whole


@given(texts, st.lists(st.integers(0, 200)), stops)
def test_no_stop_text_and_no_outer_space_is_shown(text: str, cuts: list[int], stop: list[str]) -> None:
    shown = spoken(pieces_of(text.encode(), cuts), stop=stop, cut=False)
    assert not any(s in shown for s in stop)
    assert shown == shown.strip()
    assert shown in text


@given(texts, st.lists(st.integers(0, 200)))
def test_without_stop_texts_everything_is_shown(text: str, cuts: list[int]) -> None:
    assert spoken(pieces_of(text.encode(), cuts), stop=[], cut=False) == text.strip()


@given(texts, st.lists(st.integers(0, 200)), st.integers(0, 40))
def test_a_cut_answer_is_a_beginning(text: str, cuts: list[int], hold_at: int) -> None:
    """Holding from any point on shows a beginning of the text, and all of a first sentence that never ends."""
    shown = spoken(pieces_of(text.encode(), cuts), stop=[], sentences=True, hold_at=hold_at, cut=True)
    assert text.strip().startswith(shown)
    assert bool(shown) == bool(text.strip())


@given(st.binary(max_size=40), st.lists(st.integers(0, 200)))
def test_broken_bytes_are_dropped(data: bytes, cuts: list[int]) -> None:
    assert spoken(pieces_of(data, cuts), stop=[], cut=False) == data.decode("utf-8", errors="ignore").strip()


@pytest.mark.parametrize(
    ("text", "finished"),
    [
        ("Je pense. Donc je", "Je pense."),
        ("« Suis-je libre ? » Oui, mais", "« Suis-je libre ? »"),
        ("Il répond : « Oui ! » Puis il", "Il répond : « Oui ! »"),
        ('Il dit "non." Et', 'Il dit "non."'),
        ("Attends… je", "Attends…"),
        ("Quoi ?! Mais", "Quoi ?!"),
        ("Lis B. Spinoza, p. 12, puis", ""),
        ("Vrai. Cf. la suite", "Vrai."),
        ("Il en vaut 3.14 fois", ""),
        ("La joie.", "La joie."),
        ("", ""),
    ],
)
def test_sentence_ends(text: str, finished: str) -> None:
    assert text[: sentence_end(text)] == finished


def test_a_stop_text_is_held_back_until_it_is_sure() -> None:
    answer = AnswerText(["\nÉlève :"])
    assert [answer.feed(p.encode()) for p in ("Oui.", "\nÉ", "lan", "\nÉlève", " :", "non")] == [
        "Oui.", "", "\nÉlan", "", "", ""]  # fmt: skip
    assert answer.stopped
    assert answer.finish() == ""


def test_a_stop_text_may_begin_with_the_spaces_that_are_not_shown() -> None:
    answer = AnswerText([" ???"])
    assert [answer.feed(p) for p in (b" ??", b"?")] == ["", ""]
    assert answer.stopped


def test_half_a_character_waits() -> None:
    answer = AnswerText()
    assert [answer.feed(bytes([byte])) for byte in "é".encode()] == ["", "é"]


def test_holding_shows_the_begun_sentence_on_and_then_only_whole_ones() -> None:
    answer = AnswerText(sentences=True)
    words = ["La ", "joie ", "monte. ", "Elle ", "dure. ", "Puis ", "elle "]
    shown = [answer.feed(word.encode(), hold=number > 0) for number, word in enumerate(words)]
    assert shown == ["La", " joie", " monte.", "", " Elle dure.", "", ""]
    assert answer.finish(cut=True) == ""


def test_a_first_sentence_that_never_ends_is_shown_at_last() -> None:
    answer = AnswerText(sentences=True)
    assert answer.feed(b"La joie est", hold=True) == ""
    assert answer.finish(cut=True) == "La joie est"


def test_an_answer_that_ends_by_itself_keeps_its_last_words() -> None:
    answer = AnswerText(sentences=True)
    answer.feed(b"Oui. Et toi", hold=True)
    assert answer.finish() == " Et toi"
