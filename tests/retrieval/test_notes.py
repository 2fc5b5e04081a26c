"""Reading notes: what ships is well formed, the right one is found, and a wrong line is named."""

import json
from collections import Counter
from pathlib import Path

import pytest

from errors import RetrievalError
from retrieval.calibration import Case, measure, read_cases
from retrieval.french import fold, search_tokens
from retrieval.notes import Note, NoteIndex, load_notes

NOTES = Path(__file__).parents[2] / "data" / "notes"
PHILOSOPHERS = ("spinoza", "bergson", "kant")
NOTIONS = set(
    "art bonheur conscience devoir État inconscient justice langage liberté nature raison religion science technique "
    "temps travail vérité".split()
)


@pytest.fixture(scope="module")
def index() -> NoteIndex:
    return NoteIndex.load(NOTES)


@pytest.mark.parametrize("philosopher", PHILOSOPHERS)
def test_the_notes_that_ship_are_short_and_cover_the_programme(index: NoteIndex, philosopher: str) -> None:
    notes = index.notes[philosopher]
    assert len(notes) >= 60
    assert [n.id for n in notes if len(n.idea.split()) > 25 or len(n.image.split()) > 25] == []
    assert [n.id for n in notes if not n.question.rstrip().endswith("?")] == []
    counts = Counter(notion for note in notes for notion in note.notions)
    assert set(counts) == NOTIONS
    assert {note.author.lower() for note in notes} == {philosopher}
    assert [n.id for n in notes if "Ã" in json.dumps(n.__dict__, ensure_ascii=False)] == []


def test_ids_are_unique_over_all_philosophers(index: NoteIndex) -> None:
    ids = [note.id for notes in index.notes.values() for note in notes]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("philosopher", "message", "word"),
    [
        ("spinoza", "si je lance une pierre elle se croit libre ?", "pierre"),
        ("bergson", "pourquoi il faut attendre que le sucre fonde", "sucre"),
        ("kant", "un commerçant honnête par intérêt, est-ce moral ?", "marchand"),
    ],
)
def test_the_note_that_a_pupil_means_is_found(index: NoteIndex, philosopher: str, message: str, word: str) -> None:
    note = index.nearest(philosopher, message)
    assert note
    assert word in fold(note.id)


@pytest.mark.parametrize("message", ["lol", "😂😂", "azerty qsdfgh", "?!", "Zinédine Zidane ou Mbappé"])
def test_nothing_near_gives_nothing(index: NoteIndex, message: str) -> None:
    assert index.nearest("kant", message) is None


def test_an_unknown_philosopher_has_no_note(index: NoteIndex) -> None:
    assert index.nearest("hegel", "la liberté") is None


def note(name: str, keywords: str, idea: str = "Une idée.") -> Note:
    return Note(name, "Kant", "CRP", "B 1", ("raison",), tuple(keywords.split()), idea, "Une image.", "Quoi ?")


@pytest.mark.parametrize("message", ["Qu'est-ce que le temps ?", "c'est quoi le devoir", "La justice ?"])
def test_a_named_notion_always_gets_a_note(index: NoteIndex, message: str) -> None:
    """Short questions of the programme score low: each of their words stands in many notes."""
    assert index.nearest("kant", message) is not None


def test_the_question_before_helps_a_short_answer(index: NoteIndex) -> None:
    assert index.nearest("kant", "oui, bof") is None
    found = index.nearest("kant", "oui, bof", "A-t-on le droit de mentir à un assassin ?")
    assert found
    assert "ment" in found.id


def test_a_note_already_used_leaves_its_place_to_the_next(index: NoteIndex) -> None:
    question = "A-t-on le droit de mentir à un assassin ?"
    first = index.nearest("kant", question)
    assert first
    second = index.nearest("kant", question, exclude={first.id})
    assert second
    assert second.id != first.id


def test_a_question_of_the_pupil_s_own_stands_alone(index: NoteIndex) -> None:
    """Else the philosopher's opening would decide what every first question is about."""
    opening = "Peut-on, selon toi, connaître la réalité telle qu'elle est ?"
    question = "Peut-on désobéir à une loi injuste ?"
    assert index.nearest("kant", question, opening) == index.nearest("kant", question)
    assert index.nearest("kant", "pourquoi ?", opening) == index.nearest("kant", "hein", opening)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("durée", "duree"),
        ("désirs", "desir"),
        ("l’intuition", "intuition"),
        ("ŒUVRE", "oeuvre"),
        ("plaisirs", "plaisir"),
    ],
)
def test_what_pupils_type_meets_what_we_wrote(left: str, right: str) -> None:
    assert search_tokens(left) == search_tokens(right) != []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": "x"', "notes.jsonl:1: no JSON"),
        ('{"id": "x"}', "notes.jsonl:1: key 'author' is missing"),
        ("", "holds no note"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_text(line, encoding="utf-8")
    with pytest.raises(RetrievalError) as caught:
        load_notes(path)
    assert said in str(caught.value)


def test_a_repeated_id_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    line = (NOTES / "kant.jsonl").read_text(encoding="utf-8").splitlines()[0]
    (tmp_path / "kant.jsonl").write_text(f"{line}\n{line}\n", encoding="utf-8")
    with pytest.raises(RetrievalError, match="stands twice"):
        NoteIndex.load(tmp_path)
    with pytest.raises(RetrievalError, match="No notes"):
        NoteIndex.load(tmp_path / "empty")


def test_calibration_counts_what_it_says() -> None:
    index = NoteIndex({"kant": (note("a", "mensonge mentir ami"), note("b", "beau goût musique"))})
    cases = [
        Case("kant", "mentir à un ami ?", None, "a", ()),
        Case("kant", "la musique", None, "a", ()),
        Case("kant", "lol", None, None, ()),
    ]
    report = measure(index, cases)
    assert report["recall at 1"] == 0.5
    assert report["exchanges with a note"] == 2
    assert report["none given where none was wanted"] == 1.0


def test_the_dialogues_that_ship_can_be_measured() -> None:
    cases = read_cases(NOTES.parent / "dialogues")
    report = measure(NoteIndex.load(NOTES), cases)
    assert report["recall at 3"] > 0.5
