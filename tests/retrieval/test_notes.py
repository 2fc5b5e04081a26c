"""Reading notes: what ships is well formed, the right one is found, and a wrong line is named."""

import json
import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from errors import RetrievalError
from retrieval.calibration import Case, measure, read_cases
from retrieval.embedders import LlamaEmbedder, StaticEmbedder, default_embedder
from retrieval.french import fold, search_tokens
from retrieval.notes import VECTORS, Note, NoteIndex, load_notes, read_vectors, write_vectors
from retrieval.scoring import read_questions

NOTES = Path(__file__).parents[2] / "data" / "notes"
PUPILS = NOTES.parent / "eval" / "pupil_questions.jsonl"
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
    words = tuple(keywords.split())
    return Note(
        name, "Kant", "CRP", "B 1", ("raison",), words, idea, "Une image.", "Quoi ?", "Un titre", "Un texte.", ("s",)
    )


@pytest.mark.parametrize("message", ["Qu'est-ce que le temps ?", "c'est quoi le devoir", "La justice ?"])
def test_a_named_notion_always_gets_a_note(index: NoteIndex, message: str) -> None:
    """Short questions of the programme score low: each of their words stands in many notes."""
    assert index.nearest("kant", message) is not None


def test_the_question_before_helps_a_short_answer(index: NoteIndex) -> None:
    assert index.nearest("kant", "oui, bof") is None
    found = index.nearest("kant", "oui, bof", "A-t-on le droit de mentir à un assassin ?")
    assert found
    assert "ment" in found.id


@pytest.mark.parametrize("message", ["c'est-à-dire ?", "ça veut dire quoi ?", "tu peux préciser ?", "c'est pas clair…"])
def test_who_asks_what_was_meant_stays_with_what_was_said(index: NoteIndex, message: str) -> None:
    asked = "Que resterait-il de la durée si personne ne regardait l'horloge ?"
    assert (index.scores("bergson", message, asked) == index.scores("bergson", asked)).all()
    assert index.nearest("bergson", message, asked) == index.nearest("bergson", asked)
    assert index.nearest("bergson", "Dire ce que je sens, est-ce possible ?", asked) != index.nearest("bergson", asked)
    for named in ("c'est quoi une idée ?", "et les sens ?"):  # subjects of their own
        assert (index.scores("spinoza", named, asked) == index.scores("spinoza", named)).all()


@pytest.mark.parametrize("message", ["Que veut dire « je » ?", 'ça veut dire quoi, "je" ?', "Dire “je”, c'est quoi ?"])
def test_what_is_quoted_is_a_subject_though_no_word_of_it_is_searched(index: NoteIndex, message: str) -> None:
    asked = "Que resterait-il de l'espace si personne ne regardait ?"
    assert (index.scores("kant", message, asked) == index.scores("kant", message)).all()


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
        ("je mens", "mentir"),
        ("ils doivent", "devoir"),
        ("nos travaux", "travail"),
        (unicodedata.normalize("NFD", "pensées"), "pensée"),
        ("dé\ufb01nition", "définition"),
        ("philo\u00adso\u00adphie", "philosophie"),
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
        ("[]", "notes.jsonl:1: no object"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_text(line, encoding="utf-8")
    with pytest.raises(RetrievalError) as caught:
        load_notes(path)
    assert said in str(caught.value)


def test_a_line_ends_where_json_says_and_another_encoding_is_named(tmp_path: Path) -> None:
    line = (NOTES / "kant.jsonl").read_text(encoding="utf-8").splitlines()[0]
    path = tmp_path / "kant.jsonl"
    path.write_text(line.replace(". ", ".\u2028", 1) + "\n", encoding="utf-8")
    assert len(load_notes(path)) == 1
    path.write_text(line, encoding="latin-1", errors="replace")
    with pytest.raises(RetrievalError, match="cannot be read"):
        load_notes(path)


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
    assert report["recall at 3"] > 0.4  # of several notes on one idea the writer of a dialogue chose one


@pytest.fixture
def folder(tmp_path: Path, embedder: LlamaEmbedder) -> Path:
    """A few of the notes that ship, with vectors of the tiny embedder."""
    for philosopher in ("kant", "spinoza"):
        lines = (NOTES / f"{philosopher}.jsonl").read_text(encoding="utf-8").splitlines()[:8]
        (tmp_path / f"{philosopher}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_vectors(tmp_path, embedder, NoteIndex.load(tmp_path).notes)
    return tmp_path


def test_vectors_take_part_and_keep_the_contract(folder: Path, embedder: LlamaEmbedder) -> None:
    index = NoteIndex.load(folder, embedder)
    assert index.by_meaning
    first = index.notes["kant"][0]
    own = index.scores("kant", first.embedded_text)
    assert own.shape == (8,)
    assert own.argmax() == 0
    assert index.nearest("kant", first.embedded_text) == first
    assert index.nearest("kant", first.embedded_text, exclude={first.id}) != first
    assert index.nearest("hegel", "la raison") is None
    for nothing in ("", "   ", "😂😂", "?!", "le la les"):
        assert not index.scores("kant", nothing).any()
        assert index.nearest("kant", nothing) is None


def test_vectors_that_do_not_fit_leave_the_words(
    folder: Path, embedder: LlamaEmbedder, other_embedder: LlamaEmbedder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    assert not NoteIndex.load(folder, other_embedder).by_meaning
    assert "made by tiny-e5.gguf, not by other.gguf" in caplog.text
    assert not NoteIndex.load(folder).by_meaning
    lines = (folder / "kant.jsonl").read_text(encoding="utf-8").splitlines()
    (folder / "kant.jsonl").write_text("\n".join(lines[::-1]), encoding="utf-8")
    assert not NoteIndex.load(folder, embedder).by_meaning
    assert "older than its notes" in caplog.text


def test_damaged_vectors_are_named(folder: Path, embedder: LlamaEmbedder) -> None:
    notes = NoteIndex.load(folder).notes
    np.save(folder / "kant.npy", np.zeros((8, 3), np.float16))
    with pytest.raises(RetrievalError, match="shape"):
        read_vectors(folder, embedder.id, notes)
    for damaged in (b"no array", b""):
        (folder / "kant.npy").write_bytes(damaged)
        with pytest.raises(RetrievalError, match="notes-vectors"):
            read_vectors(folder, embedder.id, notes)
    write_vectors(folder, embedder, notes)
    said = json.loads((folder / VECTORS).read_text(encoding="utf-8"))
    for wrong in ({}, {**said, "notes": []}):
        (folder / VECTORS).write_text(json.dumps(wrong), encoding="utf-8")
        with pytest.raises(RetrievalError, match="notes-vectors"):
            read_vectors(folder, embedder.id, notes)


def test_vectors_that_were_made_by_half_are_vouched_for_by_nothing(
    folder: Path, embedder: LlamaEmbedder, other_embedder: LlamaEmbedder
) -> None:
    class Killed:
        """Another embedder, stopped after the first philosopher."""

        id = other_embedder.id
        query = staticmethod(other_embedder.query)
        close = staticmethod(other_embedder.close)
        asked = 0

        def passages(self, texts: Sequence[str]) -> np.ndarray:
            self.asked += 1
            if self.asked > 1:
                raise KeyboardInterrupt
            return other_embedder.passages(texts)

    notes = NoteIndex.load(folder).notes
    before = read_vectors(folder, embedder.id, notes)
    with pytest.raises(KeyboardInterrupt):
        write_vectors(folder, Killed(), notes)
    after = read_vectors(folder, embedder.id, notes)
    assert all(np.array_equal(before[key], after[key]) for key in notes)
    (folder / "spinoza.npy").unlink()
    (folder / "spinoza.npy").mkdir()  # in the way of the second file
    with pytest.raises(OSError, match=r"spinoza\.npy"):
        write_vectors(folder, other_embedder, notes)
    assert not (folder / VECTORS).exists()


def test_a_note_is_a_passage_that_nobody_may_quote(index: NoteIndex) -> None:
    for of_one in index.notes.values():
        for one in of_one:
            passage = one.to_passage()
            assert (passage.id, passage.locus, passage.original) == (one.id, one.locus, False)
            assert passage.title


@pytest.fixture(scope="module")
def shipped() -> NoteIndex:
    """The notes that ship, with the vectors that ship and the default embedder."""
    found = default_embedder(Path(os.environ.get("BAF_DATA_DIR", NOTES.parents[1] / ".data")))
    if found is None or not (NOTES / VECTORS).is_file():
        pytest.skip("the default embedder or the notes' vectors are not there: `python -m conversion embedder`")
    notes = NoteIndex.load(NOTES).notes
    return NoteIndex(notes, read_vectors(NOTES, found.id, notes), found)


@pytest.mark.model
def test_the_vectors_that_ship_are_those_of_the_notes(shipped: NoteIndex) -> None:
    """They are made anew with `python -m retrieval notes-vectors` after every change of a note."""
    assert shipped.by_meaning


@pytest.mark.model
@pytest.mark.parametrize("message", ["lol", "😂😂", "azerty qsdfgh", "?!", "Zinédine Zidane ou Mbappé", "mdr t'es qui"])
def test_nothing_near_gives_nothing_with_vectors_too(shipped: NoteIndex, message: str) -> None:
    assert shipped.nearest("kant", message) is None


@pytest.mark.model
def test_vectors_find_more_of_what_the_dialogues_use(shipped: NoteIndex, index: NoteIndex) -> None:
    cases = read_cases(NOTES.parent / "dialogues")[::4]
    assert measure(shipped, cases)["recall at 1"] >= measure(index, cases)["recall at 1"]


def shares_with_a_source(index: NoteIndex) -> tuple[float, float]:
    """Of the half that no threshold was chosen on: questions that a note answers, and others."""
    chosen = read_questions(PUPILS, NOTES)
    halves = {row["id"]: row["half"] for row in map(json.loads, PUPILS.read_text(encoding="utf-8").splitlines())}
    searcher = index.to_searcher()
    found: dict[bool, list[bool]] = {True: [], False: []}
    for question in chosen.questions:
        if halves[question.id] == "judge":
            hits = searcher.search(question.text, 3, where=question.where)
            found[bool(question.relevant)].append(bool(hits.relevant))
    return sum(found[True]) / len(found[True]), sum(found[False]) / len(found[False])


@pytest.mark.model
def test_most_questions_of_pupils_have_a_source_and_foreign_ones_have_none(shipped: NoteIndex) -> None:
    answered, foreign = shares_with_a_source(shipped)
    assert answered >= 0.65
    assert foreign <= 0.1


def test_static_vectors_have_the_threshold_that_suits_them() -> None:
    static = StaticEmbedder(NOTES.parents[1] / "models" / "static")
    answered, foreign = shares_with_a_source(NoteIndex.load(NOTES, static))
    assert answered >= 0.6
    assert foreign <= 0.2


def test_the_page_says_what_the_threshold_does() -> None:
    root = NOTES.parents[1]
    page = " ".join((root / "docs" / "retrieval.md").read_text(encoding="utf-8").split())
    kept, held = {}, {}
    for name in ("piaf", "pupils"):
        said = json.loads((root / "benchmarks" / "results" / f"retrieval-{name}.json").read_text(encoding="utf-8"))
        kept[name], held[name] = said["threshold"].values()
    assert f"Threshold: of PIAF's questions {100 * kept['piaf']:.0f} % have a relevant passage." in page
    assert f"that a note answers, {100 * kept['pupils']:.0f} % have one," in page
    assert f"of those that none answers {100 * (1 - held['pupils']):.0f} %," in page
