"""Loci: their grammar, and whether the place that a note names speaks of what the note says."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from errors import RetrievalError
from retrieval.loci import (
    CHAPTERS,
    Book,
    ethics_book,
    is_well_formed,
    own_words,
    paged_book,
    places_of,
    problems,
)
from retrieval.notes import Note, load_notes

NOTES = Path(__file__).parents[2] / "data" / "notes"
ETHICS = "Éthique"
PARTS = 5  # of the Ethics


@pytest.fixture(scope="module")
def notes() -> list[Note]:
    return [note for path in sorted(NOTES.glob("*.jsonl")) for note in load_notes(path)]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def books() -> dict[str, Book]:
    """The Ethics and Bergson's eight books, from the corpora."""
    corpora = os.environ.get("BAF_CORPORA_DIR")
    if not corpora:
        pytest.skip("BAF_CORPORA_DIR is not set: the texts that the loci are compared with lie there")
    works = Path(corpora) / "works"
    if not works.is_dir():
        pytest.skip(f"{works} is missing: the texts that the loci are compared with")
    read = {ETHICS: ethics_book(lines(works / "spinoza" / "ethique_appuhn.jsonl"))}
    for path in sorted((works / "bergson").glob("*.jsonl")):
        paragraphs = lines(path)
        title = paragraphs[0]["work"].replace("’", "'")
        read[title] = paged_book(title, paragraphs)
    return read


@pytest.mark.parametrize(
    ("author", "work", "locus"),
    [
        *(("Spinoza", ETHICS, one) for one in "E1P11 E2P35S E2P40S2 E2P16C2 E4P63CS E1App E3DefAff27 E4App9".split()),
        *(("Spinoza", ETHICS, one) for one in ("E2Def4", "E3Préf", "E5P42", "E4App32", "E3DefGen", "E5Ax2")),
        *(("Spinoza", ETHICS, one) for one in ("E2L7S", "E2Post6", "E3Post1", "E1P11D", "E2P16C2")),
        ("Spinoza", "Principes de la philosophie de Descartes", "PPD1P21S"),
        ("Spinoza", "Pensées métaphysiques", "Pensées métaphysiques, II, chap. XII"),
        ("Spinoza", "Traité théologico-politique", "TTP, chap. XX"),
        ("Spinoza", "Traité politique", "TP, chap. V, §4"),
        ("Spinoza", "Traité de la réforme de l'entendement", "TRE, §47-48"),
        ("Spinoza", "Lettres", "Lettre 58"),
        ("Spinoza", "Court traité", "Court traité, II, chap. XXV"),
        ("Bergson", "Matière et mémoire", "chap. III, p. 169, 180-181"),
        ("Bergson", "L'Énergie spirituelle", "Le rêve, p. 92-99"),
        ("Kant", "Critique de la raison pure", "CRP, A 598-599 / B 626-627"),
        ("Kant", "Critique de la raison pure", "CRP, B XII-XIII"),
        ("Kant", "Critique de la raison pure", "CRP, A XI (note)"),
        ("Kant", "Critique de la raison pure", "CRP, B 1"),
        ("Kant", "Critique de la faculté de juger", "CFJ, § 46-47"),
        ("Kant", "Doctrine de la vertu", "Doctrine de la vertu, introduction, XII b, AK VI, 400-401"),
        ("Kant", "Prolégomènes", "Prolégomènes, § 13, Remarque III, AK IV, 290"),
    ],
)
def test_a_locus_as_scholars_write_it_is_well_formed(author: str, work: str, locus: str) -> None:
    assert is_well_formed(author, work, locus)


@pytest.mark.parametrize(
    ("author", "work", "locus"),
    [
        *(("Spinoza", ETHICS, one) for one in ("E6P1", "E3P60", "E3P0", "E3 P9", "E3P9S ", "III, 9", "")),
        *(
            ("Spinoza", ETHICS, one)
            for one in "E1Préf E2App E1DefAff3 E3DefAff49 E4App33 E1Def9 E2Ax6 E1L1 E1App3".split()
        ),
        *(("Spinoza", ETHICS, one) for one in ("E4DefGen", "E5Def1", "E1Def6S", "E3DefAff", "E1P")),
        ("Spinoza", "Principes de la philosophie de Descartes", "PPD1P22"),
        ("Spinoza", "Court traité", "Court traité, I, chap. XXVI"),
        ("Spinoza", "Pensées métaphysiques", "Pensées métaphysiques, I, chap. VII"),
        ("Spinoza", "Traité théologico-politique", "TTP, chap. XXI"),
        ("Spinoza", "Traité théologico-politique", "TTP, chap. IIII"),
        ("Spinoza", "Traité politique", "TP, chap. XII, §1"),
        ("Spinoza", "Lettres", "Lettre 85"),
        ("Spinoza", "Traité politique", "TTP, chap. V"),
        ("Spinoza", "Un autre livre", "chap. I"),
        ("Bergson", "Le Rire", "chap. IV, p. 12"),
        ("Bergson", "Le Rire", "chap. I, p. 14-12"),
        ("Bergson", "Le Rire", "chap. I, 12"),
        ("Bergson", ETHICS, "E1P1"),
        ("Kant", "Critique de la raison pure", "CRP, A 75 / B 51"),
        ("Kant", "Critique de la raison pure", "CRP, B 885"),
        ("Kant", "Critique de la raison pure", "CRP, A XXX"),
        ("Kant", "Critique de la raison pure", "CRP, AK III, 75"),
        ("Kant", "Fondements de la métaphysique des mœurs", "FMM, AK V, 429"),
        ("Kant", "Fondements de la métaphysique des mœurs", "FMM, AK IV, 464"),
        ("Kant", "Fondements de la métaphysique des mœurs", "FMM"),
        ("Kant", "Critique de la faculté de juger", "CFJ, § 92"),
        ("Platon", "Ménon", "80d"),
    ],
)
def test_a_locus_that_cannot_be_is_refused(author: str, work: str, locus: str) -> None:
    assert not is_well_formed(author, work, locus)


def test_every_locus_that_ships_is_well_formed(notes: list[Note]) -> None:
    assert problems(notes, {}) == {}


def test_every_place_that_can_be_read_speaks_of_its_note(notes: list[Note], books: dict[str, Book]) -> None:
    assert set(books) == {ETHICS, *CHAPTERS}
    assert sum(note.work in books for note in notes) >= 300
    assert problems(notes, books) == {}


def moved(note: Note) -> str:
    """The same locus in the next part of the Ethics, or 40 pages on."""
    if note.work == ETHICS:
        return f"E{int(note.locus[1]) % PARTS + 1}{note.locus[2:]}"
    return re.sub(r"(?<=[ -])\d+", lambda page: str(int(page[0]) + 40), note.locus)


@pytest.mark.parametrize("author", ["Spinoza", "Bergson"])
def test_most_moved_loci_are_caught(notes: list[Note], books: dict[str, Book], author: str) -> None:
    wrong = [replace(note, locus=moved(note)) for note in notes if note.author == author and note.work in books]
    assert len(problems(wrong, books)) / len(wrong) > 0.8


@pytest.mark.parametrize("author", ["Spinoza", "Bergson"])
def test_words_alone_catch_most_of_them(notes: list[Note], books: dict[str, Book], author: str) -> None:
    """Without the help of chapters and missing propositions: a place that exists, and is another one."""
    caught: list[bool] = []
    for note in notes:
        if note.author != author or note.work not in books:
            continue
        book = books[note.work]
        named = sorted(book.where, key=book.where.__getitem__)
        here = named.index(places_of(author, note.locus)[0])
        away = [named[(here + third * len(named) // 3) % len(named)] for third in (1, 2)]
        caught.extend(book.share_nearer(own_words(note), [place]) > book.farthest for place in away)
    assert sum(caught) / len(caught) > 0.75


def paragraph(section: str, text: str, first: str | None = None, last: str | None = None) -> dict[str, Any]:
    return {"section": [section], "page": first, "page_end": last, "text": text}


def small_book() -> Book:
    """Three pages of one chapter; the paragraph on the second runs on to the third."""
    spoken = [
        paragraph("Du comique", "le sucre fond dans le verre", "1", "1"),
        paragraph("Du comique", "la mélodie dure encore deux trains immobiles", "2", "3"),
    ]
    return paged_book("Le Rire", [paragraph("Préface", "sucre"), *spoken, *(paragraph(one, "x") for one in "abc")])


def test_a_book_is_cut_at_its_pages() -> None:
    book = small_book()
    assert list(book.where) == ["chap. I, 1", "chap. I, 2", "chap. I, 3"]
    assert book.share_nearer("mélodie", ["chap. I, 2"]) == 0
    assert book.share_nearer("sucre", ["chap. I, 3"]) == pytest.approx(1.0)  # no word of it is there, nor beside it


def test_a_place_that_the_book_lacks_is_named() -> None:
    with pytest.raises(RetrievalError, match=r"chap\. II, 1"):
        small_book().share_nearer("sucre", ["chap. II, 1"])
    with pytest.raises(RetrievalError, match="No place"):
        small_book().share_nearer("sucre", [])


def test_a_book_with_other_chapters_is_refused() -> None:
    with pytest.raises(RetrievalError, match="1 sections"):
        paged_book("Le Rire", [paragraph("a", "x", "1", "1")])
    with pytest.raises(RetrievalError, match="'f'"):
        paged_book("Le Rire", [paragraph(one, "x", "1", "1") for one in "abcdef"])


def test_the_parts_of_a_proposition_are_places() -> None:
    read = [
        {"ref": ref, "kind": kind, "text": text}
        for ref, kind, text in [
            ("E1 Définitions", "p", "VII. - Cette chose sera dite libre"),
            ("E1 Définitions", "label", "EXPLICATION"),
            ("E1P33", "p", "Les choses"),
            ("E1P33", "label", "SCOLIE II"),
            ("E1P33", "p", "Il suit"),
            ("E3", "p", "Ceux qui ont écrit"),
            ("E3 XLIV", "p", "L'Ambition"),
            ("E4 Chapitre IX", "p", "Rien ne peut"),
            ("E4P63", "p", "Qui est dirigé"),
            ("E4P63", "label", "SCOLIE"),
            ("E4P63", "label", "COROLLAIRE"),
            ("E4P63", "label", "SCOLIE"),
        ]
    ]
    assert ethics_book(read).where == {
        "E1Def7": 0, "E1P33": 1, "E1P33S2": 1, "E3Préf": 2, "E3DefAff44": 3, "E4App9": 4,
        "E4P63": 5, "E4P63S": 5, "E4P63C": 5, "E4P63CS": 5,
    }  # fmt: skip
