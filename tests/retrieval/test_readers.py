"""Every format keeps headings, pages and places; a file that is not what its name says is named."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from errors import RetrievalError
from retrieval.cut import Paragraph, cut
from retrieval.indexing import to_passages
from retrieval.readers import read_document

TEI = """<?xml version="1.0"?><!DOCTYPE TEI [<!ENTITY leak SYSTEM "file:///etc/passwd">]>
<TEI xmlns="http://www.tei-c.org/ns/1.0"><teiHeader><fileDesc><titleStmt><title>Éthique</title>
<author key="Spinoza, Baruch">B. de S.</author></titleStmt></fileDesc></teiHeader><text><body><pb n="1"/>
<div xml:id="E1"><head>De Dieu</head><p>Par cause<note>une note</note> de soi <pb n="2"/>j'entends.</p>
<div><head>Axiomes</head><p xml:id="ax1">Tout ce qui est&leak;.</p></div></div></body></text></TEI>"""


def write_pdf(path: Path, pages: list[str], **more: str) -> Path:
    """A PDF with text, as a word processor would make it, by hand: one line of text a page."""
    writer = PdfWriter()
    font = DictionaryObject({NameObject("/Type"): NameObject("/Font"), NameObject("/Subtype"): NameObject("/Type1"),
                             NameObject("/BaseFont"): NameObject("/Helvetica"),
                             NameObject("/Encoding"): NameObject("/WinAnsiEncoding")})  # fmt: skip
    for text in pages:
        page = writer.add_blank_page(300, 300)
        fonts = DictionaryObject({NameObject("/F1"): writer._add_object(font)})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        stream = DecodedStreamObject()
        lines = " ".join(f"({line}) Tj T*" for line in text.split("\n"))
        stream.set_data(f"BT /F1 12 Tf 14 TL 20 250 Td {lines} ET".encode("latin-1"))
        page[NameObject("/Contents")] = writer._add_object(stream)
    writer.add_metadata({f"/{key}": value for key, value in more.items()})
    writer.add_outline_item(title="Chapitre I", page_number=0)
    writer.write(path)
    return path


def test_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("Un début\nsur deux lignes.\r\n\r\nUne suite.".encode("cp1252"))
    assert [one.text for one in read_document(path).paragraphs] == ["Un début sur deux lignes.", "Une suite."]


def test_markdown(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text(
        "---\ntitle: Le Rire\nauthor: Bergson\n---\n# I\n\nDu *comique* en\ngénéral.\n\n"
        "## Le mécanique\n\n- plaqué\n- vivant\n\n# II\n\nFin <b>nue</b>.\n",
        encoding="utf-8",
    )
    document = read_document(path)
    assert (document.work, document.author) == ("Le Rire", "Bergson")
    assert [(one.section, one.text) for one in document.paragraphs] == [
        (("I",), "Du comique en général."),
        (("I", "Le mécanique"), "plaqué"),
        (("I", "Le mécanique"), "vivant"),
        (("II",), "Fin nue."),
    ]


HTML = """<html><head><title>Essai</title><meta name="Author" content="Bergson"><script>alert(1)</script></head>
<body><nav>menu</nav><h1>Chapitre I</h1><p>De l’<i>intensité</i>.</p><div>nu <p>dedans</p> après</div>
<h2>Suite</h2><ul><li>un</li><li>deux<br>trois</li></ul></body></html>"""


def test_markdown_loses_no_paragraph(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    text = (
        "---\ntitle: Essai\n---\nDe l'*Éthique*, l'**in**quiet<br>est ici.\n\n\tUn alinéa.\n\n\tUn autre.\n\n"
        "```\nUne citation.\n```\n\n<div>\n<h2>Suite</h2><p>Un bloc.</p></div>\n"
    )
    path.write_text(text, encoding="utf-8", newline="\r\n")
    document = read_document(path)
    assert document.work == "Essai"
    assert [(one.section, one.text) for one in document.paragraphs] == [
        ((), "De l'Éthique, l'inquiet est ici."),
        ((), "Un alinéa."),
        ((), "Un autre."),
        ((), "Une citation."),
        (("Suite",), "Un bloc."),
    ]


def test_html(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text(HTML, encoding="utf-8")
    document = read_document(path)
    assert (document.work, document.author) == ("Essai", "Bergson")
    assert [(one.section[-1], one.text) for one in document.paragraphs] == [
        ("Chapitre I", "De l’intensité."),
        ("Chapitre I", "nu"),
        ("Chapitre I", "dedans"),
        ("Chapitre I", "après"),
        ("Suite", "un"),
        ("Suite", "deux trois"),
    ]


def test_html_in_an_old_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.htm"
    path.write_bytes(b'<meta charset="iso-8859-1"><p>d\xe9j\xe0</p>')
    assert [one.text for one in read_document(path).paragraphs] == ["déjà"]
    path.write_bytes(b"<p>d\xe9j\xe0</p>")
    assert [one.text for one in read_document(path).paragraphs] == ["déjà"]
    path.write_bytes('<script charset="utf-8"></script><meta charset="iso-8859-1"><p>déjà</p>'.encode())
    assert [one.text for one in read_document(path).paragraphs] == ["déjà"]


def test_one_byte_from_elsewhere_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("la durée, l".encode() + b"\x92homme".replace(b"homme", "âme".encode()))
    assert [one.text for one in read_document(path).paragraphs] == ["la durée, l’âme"]


def test_a_word_is_read_without_what_stands_in_it(tmp_path: Path) -> None:
    """Ligatures and soft hyphens of typesetting, and the calls of notes."""
    path = tmp_path / "a.html"
    path.write_text(
        "<p>Une dé\ufb01nition philo\u00adso\u00adphique<sup>12</sup> du XVII<sup>e</sup> siècle"
        '<a epub:type="noteref" href="#n">*</a>.</p>', encoding="utf-8",
    )  # fmt: skip
    assert [one.text for one in read_document(path).paragraphs] == ["Une définition philosophique du XVIIe siècle."]


def test_the_heading_of_a_header_counts_and_a_form_may_hold_the_page(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text(
        "<form><h1>I</h1><p>Un.</p><section><header><p>Le site</p><h1>II</h1></header><p>Deux.</p></section></form>",
        encoding="utf-8",
    )
    assert [(one.section, one.text) for one in read_document(path).paragraphs] == [(("I",), "Un."), (("II",), "Deux.")]


def write_epub(path: Path, chapters: Mapping[str, bytes], hrefs: Sequence[str] = ()) -> Path:
    """A book of these chapters, by the names that they have in the archive; its manifest calls them by `hrefs`."""
    items = spine = ""
    for number, href in enumerate(hrefs or chapters):
        nav = ' properties="nav"' if href == "n.xhtml" else ""
        items += f'<item id="i{number}" href="{href}" media-type="application/xhtml+xml"{nav}/>'
        spine += f'<itemref idref="i{number}"/>'
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "META-INF/container.xml",
            '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="OPS/book.opf"/></rootfiles></container>',
        )
        archive.writestr(
            "OPS/book.opf",
            '<package xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
            "<dc:title>Essai</dc:title><dc:creator>Bergson</dc:creator></metadata>"
            f"<manifest>{items}</manifest><spine>{spine}</spine></package>",
        )
        for name, page in chapters.items():
            archive.writestr(f"OPS/{name}", page)
    return path


def test_epub(tmp_path: Path) -> None:
    pages = {
        f"{name}.xhtml": f"<html><body><h1>{name}</h1><p>{words}</p></body></html>".encode()
        for name, words in (("n", "table"), ("a", "premier"), ("b", "second"))
    }
    document = read_document(write_epub(tmp_path / "a.epub", pages))
    assert (document.work, document.author) == ("Essai", "Bergson")
    assert [(one.section, one.text) for one in document.paragraphs] == [(("a",), "premier"), (("b",), "second")]


def test_an_epub_names_its_chapters_as_addresses_and_may_lack_one(tmp_path: Path) -> None:
    page = "<!DOCTYPE html><html><body><p>durée</p></body></html>".encode()
    pages = {"Préface 1.xhtml": page, "texte/c.xhtml": page, "vide.xhtml": b""}
    hrefs = ("Pr%C3%A9face%201.xhtml#haut", "x/../texte/c.xhtml", "vide.xhtml", "absent.xhtml")
    document = read_document(write_epub(tmp_path / "a.epub", pages, hrefs))
    assert [one.text for one in document.paragraphs] == ["durée", "durée"]


def test_pdf(tmp_path: Path) -> None:
    path = write_pdf(tmp_path / "a.pdf", ["Une mélo-\ndie continue.", "Une suite."], Title="Essai", Author="Bergson")
    document = read_document(path)
    assert (document.work, document.author) == ("Essai", "Bergson")
    assert [(one.page, one.section, one.text) for one in document.paragraphs] == [
        ("1", ("Chapitre I",), "Une mélodie continue."),
        ("2", ("Chapitre I",), "Une suite."),
    ]


def test_a_hyphen_of_the_language_stays_at_the_end_of_a_line(tmp_path: Path) -> None:
    kept = "elle-\nmême, peut-\nêtre, dit-\nil, celui-\nci, c'est-à-\ndire là-\ndessus"
    joined = "voi-\nlà, sou-\nci, inter-\ndire, ver-\ntu"
    (paragraph,) = read_document(write_pdf(tmp_path / "a.pdf", [f"{kept}, {joined}"])).paragraphs
    assert paragraph.text == ", ".join((kept.replace("\n", ""), joined.replace("-\n", "")))


def test_a_pdf_on_which_the_library_stumbles_is_named(tmp_path: Path) -> None:
    write_pdf(tmp_path / "a.pdf", [") Tj BI I x ("])  # a picture within the text that has no data
    with pytest.raises(RetrievalError, match=r"a\.pdf is damaged \(AssertionError"):
        read_document(tmp_path / "a.pdf")


def test_a_pdf_without_text_says_so(tmp_path: Path) -> None:
    writer = PdfWriter()
    writer.add_blank_page(100, 100)
    writer.write(tmp_path / "scan.pdf")
    with pytest.raises(RetrievalError, match="text recognition"):
        read_document(tmp_path / "scan.pdf")


def test_tei(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(TEI, encoding="utf-8")
    document = read_document(path)
    assert (document.work, document.author) == ("Éthique", "Spinoza, Baruch")
    assert [(one.id, one.section, one.page, one.locus) for one in document.paragraphs] == [
        ("", ("De Dieu",), "1", "E1"),
        ("ax1", ("De Dieu", "Axiomes"), "2", "E1"),
    ]
    assert document.paragraphs[0].text == "Par cause de soi j'entends."
    assert "root:" not in document.paragraphs[1].text


def test_tei_of_letters_and_old_prints(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    body = """<div><opener><salute>Cher ami,</salute></opener><p>La philo-
      <lb break="no"/>sophie <choice><orig>estoit</orig><reg>était</reg></choice> là.</p>
      <table><row><cell>Une case.</cell></row></table><closer>Adieu.</closer></div>"""
    path.write_text(f'<TEI xmlns="http://www.tei-c.org/ns/1.0"><text>{body}</text></TEI>', encoding="utf-8")
    assert [one.text for one in read_document(path).paragraphs] == [
        "Cher ami,", "La philosophie était là.", "Une case.", "Adieu.",
    ]  # fmt: skip


def test_jsonl(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"id": null, "text": "U\u2028n.", "ref": "E1P1", "section": ["A"], "work": "Éthique"}\n\n'
        '{"id": "n1", "idea": "Une idée.", "image": "Une image.", "question": "Quoi ?", "page": 12}\n',
        encoding="utf-8",
    )
    first, second = read_document(path).paragraphs
    assert (first.id, first.locus, first.section, first.work, first.original) == ("", "E1P1", ("A",), "Éthique", True)
    assert first.text == "U\u2028n."  # a line's end for Python, none for JSON
    assert (second.id, second.text, second.original, second.page) == ("n1", "Une idée. Une image. Quoi ?", False, "12")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.pdf", b"%PDF-1.7\n", "a.pdf is damaged"),
        ("a.epub", b"PK\x03\x04", "a.epub is damaged"),
        ("a.xml", b"<TEI>", "a.xml is damaged"),
        ("a.xml", b"<html/>", "no TEI"),
        ("a.html", b"", "damaged|no text"),
        ("a.txt", b"a\0b", "zero bytes"),
        ("a.txt", b" \n ", "no text"),
        ("a.txt", b"\x81\x8d", "neither UTF-8"),
        ("a.jsonl", b'{"text": 1}\n[]', "a.jsonl:2"),
        ("a.docx", b"PK", "no reader for '.docx'"),
        ("a", b"", "without ending"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RetrievalError, match=said):
        read_document(tmp_path / name)


def zipped(name: str, content: str) -> bytearray:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return bytearray(buffer.getvalue())


def bad_epubs() -> dict[str, bytearray]:
    container = "META-INF/container.xml"
    torn, locked = zipped(container, "<container/>"), zipped(container, "<container/>")
    torn[30 + len(container)] = 0xFF  # the first byte of what was deflated
    locked[6] |= 1  # what a part's own head and the table of contents say of a password
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    return {"KeyError": zipped(container, "<container/>"), "invalid block": torn, "encrypted": locked}


@pytest.mark.parametrize(("said", "content"), bad_epubs().items())
def test_a_bad_book_is_named(tmp_path: Path, said: str, content: bytearray) -> None:
    (tmp_path / "a.epub").write_bytes(content)
    with pytest.raises(RetrievalError, match=rf"a\.epub is damaged.*({said})"):
        read_document(tmp_path / "a.epub")


def test_a_locked_pdf_says_so(tmp_path: Path) -> None:
    write_pdf(tmp_path / "open.pdf", ["Un texte."])
    writer = PdfWriter(clone_from=tmp_path / "open.pdf")
    writer.encrypt("secret", algorithm="RC4-128")
    writer.write(tmp_path / "locked.pdf")
    with pytest.raises(RetrievalError, match="locked by a password"):
        read_document(tmp_path / "locked.pdf")


def test_long_paragraphs_are_cut_at_sentences_and_short_ones_joined() -> None:
    long = Paragraph(" ".join(f"La phrase numéro {i} dit une chose." for i in range(60)), id="p", page="3")
    pieces = list(cut([long]))
    assert [one.id for one in pieces] == ["p", "p#2", "p#3"]
    assert all(len(one.text.split()) <= 150 and one.text.endswith(".") and one.page == "3" for one in pieces)
    assert " ".join(one.text for one in pieces) == long.text
    short = [Paragraph("Un.", locus="E1"), Paragraph("Deux.", locus="E1"), Paragraph("Trois.", locus="E2")]
    assert [one.text for one in cut(short)] == ["Un. Deux.", "Trois."]


paragraphs = st.lists(
    st.builds(Paragraph, st.text(st.sampled_from("ab .,;!?\n"), max_size=400), locus=st.sampled_from(["", "E1"]))
)


@given(paragraphs, st.integers(1, 12))
def test_cutting_loses_no_word(given_ones: list[Paragraph], size: int) -> None:
    pieces = list(cut(given_ones, size))
    assert " ".join(one.text for one in pieces).split() == " ".join(one.text for one in given_ones).split()
    assert all(0 < len(one.text.split()) <= size for one in pieces)


def test_the_ids_of_a_file_are_its_own(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for path in (tmp_path / "Même nom.txt", tmp_path / "b" / "Même nom.txt"):
        path.write_text("Un texte.", encoding="utf-8")
    ids = {to_passages(read_document(path), path)[0].id for path in tmp_path.rglob("*.txt")}
    assert len(ids) == 2
    assert all(one.startswith("meme-nom-") for one in ids)
