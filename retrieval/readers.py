"""Files to paragraphs: text, Markdown, HTML, EPUB, PDF, TEI-XML, jsonl. Knows formats; cuts and indexes nothing.

What a file says of a paragraph's place is kept: headings, page, locus. A file that is not what its name says is an
error that names it; the caller goes on with the next one.
"""

import json
import logging
import lzma
import posixpath
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from lxml import etree, html
from markdown_it import MarkdownIt

from errors import RetrievalError
from retrieval.cut import Paragraph
from retrieval.passages import normal

log = logging.getLogger(__name__)

MAX_BYTES = 200 << 20  # of a file; of an EPUB's chapter too, for a small archive can unfold without end
TEI = "{http://www.tei-c.org/ns/1.0}"
NO_TEXT = frozenset(
    "script style noscript template nav footer aside svg math head button select label textarea".split()
)
BLOCKS = frozenset(
    "p li blockquote dd dt td th pre figcaption caption address summary "
    "div section article main body html ul ol dl table tr tbody".split()
)
HEADINGS = {f"h{level}": level for level in range(1, 7)}
# What lxml, zipfile and their decompressors raise on damaged files; a locked part of an archive is a RuntimeError.
BROKEN = (etree.LxmlError, ValueError, KeyError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError)
_STRAY = re.compile("[\udc80-\udcff]+")  # how Python marks bytes that are no UTF-8
_CHARSET = re.compile(rb"<(?:meta|\?xml)[^>]*?(?:charset|encoding)\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
# Calls of notes: a number above the line, or what an e-book calls one. They would become a part of the word before.
_CALLS = "//sup | //a[@*[name() = 'epub:type'] = 'noteref' or @role = 'doc-noteref']"
# A hyphen of the language at a line's end: « lui-même », « peut-être », « dit-il ». What follows is no last syllable.
_OWN_HYPHEN = re.compile(
    r"""-\n(?=(?:mêmes?|être|je|nous|vous|delà|dessus|dessous|à|t)\b)
      | (?<=[td])-\n(?=(?:il|elle|on)s?\b) | (?<=à)-\n(?=(?:dire|vis)\b)
      | (?<=ui|ux|le|es)-\n(?=ci\b) | (?<!voi)-\n(?=là\b)""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Document:
    """A file that was read.

    Attributes:
        paragraphs: In reading order.
        author: As the file says; empty when it does not.
        work: Its title.
        local_ids: Whether the paragraphs' ids are unique in this file alone.
    """

    paragraphs: tuple[Paragraph, ...]
    author: str = ""
    work: str = ""
    local_ids: bool = False


def read_document(path: Path) -> Document:
    """Read one file by the ending of its name.

    Raises:
        RetrievalError: The ending is unknown, the file cannot be read, is damaged, locked, or holds no text.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise RetrievalError(f"{path.name}: no reader for {path.suffix or 'a name without ending'!r}; {KNOWN}.")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RetrievalError(f"{path.name} is larger than {MAX_BYTES >> 20} MB; split it.")
        document = reader(path)
    except OSError as error:
        raise RetrievalError(f"{path.name} cannot be read: {error.strerror or error}.") from None
    except BROKEN as error:
        raise RetrievalError(f"{path.name} is damaged ({type(error).__name__}: {error}).") from None
    if not any(paragraph.text.strip() for paragraph in document.paragraphs):
        raise RetrievalError(f"{path.name} holds no text.")
    return document


def _decoded(data: bytes, name: str, said: str = "") -> str:
    """Return the text of a file, its lines ended by a newline.

    Whatever the file says of itself, valid UTF-8 is UTF-8: French in another encoding never is. Else each byte that
    is none is Windows-1252, so that one that was pasted spoils no other.

    Args:
        data: All of it.
        name: Of the file, for errors.
        said: The encoding that it names, if any.
    """
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    if b"\0" in data[:4096] and not wide:
        raise RetrievalError(f"{name} is no text: it holds zero bytes.")
    for encoding in ("utf-8-sig", "utf-16" if wide else said):
        with suppress(UnicodeError, LookupError):
            return re.sub("\r\n?", "\n", data.decode(encoding))
    try:
        text = data.decode("utf-8-sig", "surrogateescape")
        text = _STRAY.sub(lambda found: found[0].encode("utf-8", "surrogateescape").decode("cp1252"), text)
    except UnicodeDecodeError:
        raise RetrievalError(f"{name} is neither UTF-8 nor Windows-1252; save it as UTF-8.") from None
    return re.sub("\r\n?", "\n", text)


def _read_txt(path: Path) -> Document:
    blocks = re.split(r"\n\s*\n", _decoded(path.read_bytes(), path.name))
    return Document(tuple(Paragraph(normal(block)) for block in blocks if block.strip()))


class _Outline:
    """The headings above the place where a reader stands."""

    def __init__(self) -> None:
        self._stack: list[tuple[int, str]] = []

    def enter(self, level: int, heading: str) -> None:
        self._stack = [one for one in self._stack if one[0] < level]
        if heading:
            self._stack.append((level, heading))

    @property
    def path(self) -> tuple[str, ...]:
        return tuple(heading for _, heading in self._stack)


def _read_markdown(path: Path) -> Document:
    text, work, author = _decoded(path.read_bytes(), path.name), "", ""
    front = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    if front:
        said = dict(re.findall(r"^(\w+):\s*[\"']?(.+?)[\"']?\s*$", front.group(1), re.MULTILINE))
        work, author, text = said.get("title", ""), said.get("author", ""), text[front.end() :]
    outline, paragraphs, heading = _Outline(), [], 0
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "heading_open":
            heading = HEADINGS[token.tag]
        elif token.type == "inline":
            words = normal("".join(_spoken(part.type, part.content) for part in token.children or []))
            if heading:
                outline.enter(heading, words)
            elif words:
                paragraphs.append(Paragraph(words, section=outline.path))
            heading = 0
        elif token.type in ("code_block", "fence"):  # a paragraph that begins with a tab is one as well
            blocks = map(normal, re.split(r"\n\s*\n", token.content))
            paragraphs += [Paragraph(words, section=outline.path) for words in blocks if words]
        elif token.type == "html_block":
            paragraphs += _html_paragraphs(_html_tree(f"<div>{token.content}</div>"), outline)
    return Document(tuple(paragraphs), author=author, work=work)


def _spoken(kind: str, content: str) -> str:
    """Return what a piece of a Markdown line says; its tags say nothing."""
    if kind == "html_inline":
        return " " if content.startswith("<br") else ""
    return " " if kind in ("softbreak", "hardbreak") else content


def _html_tree(page: str) -> Any:
    """Return the tree of a page without its calls of notes."""
    tree = html.document_fromstring(page.encode(), parser=html.HTMLParser(encoding="utf-8"))
    for call in tree.xpath(_CALLS):
        if call.tag != "sup" or re.fullmatch(r"\W*\d+\W*", call.text_content()):
            call.drop_tree()
    return tree


def _html_text(data: bytes, name: str) -> str:
    found = _CHARSET.search(data[:2048])
    said = found[1].decode().lower() if found else ""
    return _decoded(data, name, "cp1252" if said == "iso-8859-1" else said)  # as every browser reads it


def _read_html(path: Path) -> Document:
    tree = _html_tree(_html_text(path.read_bytes(), path.name))
    title = normal(tree.findtext(".//title") or "")
    authors = tree.xpath("//meta[translate(@name, 'AUTHOR', 'author')='author']/@content")
    return Document(tuple(_html_paragraphs(tree, _Outline())), author=normal("".join(authors[:1])), work=title)


def _html_paragraphs(tree: Any, outline: _Outline) -> Iterator[Paragraph]:
    """Yield the blocks of a page; words that stand beside blocks (bare in a div) are blocks of their own."""
    loose: list[str] = []

    def flush() -> Iterator[Paragraph]:
        words = normal("".join(loose))
        loose.clear()
        if words:
            yield Paragraph(words, section=outline.path)

    def walk(node: Any) -> Iterator[Paragraph]:
        name = etree.QName(node).localname.lower() if isinstance(node.tag, str) else ""
        if name in HEADINGS or name == "header":  # the words of a header stand on every page, not so its headings
            yield from flush()
            for heading in node.iter(*HEADINGS):
                outline.enter(HEADINGS[heading.tag], normal("".join(heading.itertext())))
            return
        if not name or name in NO_TEXT:
            return
        block = name in BLOCKS
        if block:
            yield from flush()
        if name == "br":
            loose.append(" ")
        loose.append(node.text or "")
        for child in node:
            yield from walk(child)
            loose.append(child.tail or "")
        if block:
            yield from flush()

    yield from walk(tree)
    yield from flush()


def _read_epub(path: Path) -> Document:
    outline = _Outline()
    paragraphs: list[Paragraph] = []
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    with zipfile.ZipFile(path) as archive:

        def member(name: str) -> bytes:
            if archive.getinfo(name).file_size > MAX_BYTES:
                raise RetrievalError(f"{path.name}: {name} unfolds to more than {MAX_BYTES >> 20} MB.")
            return archive.read(name)

        container = etree.fromstring(member("META-INF/container.xml"), parser)
        place = container.xpath("string(//*[local-name()='rootfile']/@full-path)")
        package = etree.fromstring(member(place), parser)
        items = {item.get("id"): item for item in package.iterfind(".//{*}manifest/{*}item")}
        for reference in package.iterfind(".//{*}spine/{*}itemref"):
            try:  # one chapter that is missing or empty is not the whole book
                item = items[reference.get("idref")]
                if "html" not in item.get("media-type", "") or "nav" in item.get("properties", ""):
                    continue
                href = unquote(item.attrib["href"].partition("#")[0])
                page = member(posixpath.normpath(posixpath.join(posixpath.dirname(place), href)))
                paragraphs += _html_paragraphs(_html_tree(_html_text(page, path.name)), outline)
            except (KeyError, etree.LxmlError) as error:
                log.warning("%s: a chapter was left out: %r", path.name, error)
        author, work = (normal(package.findtext(f".//{{*}}metadata/{{*}}{key}") or "") for key in ("creator", "title"))
    return Document(tuple(paragraphs), author=author, work=work)


def _read_pdf(path: Path) -> Document:
    from pypdf import PdfReader

    try:
        reader = PdfReader(path)
        locked = reader.is_encrypted and not reader.decrypt("")
        paragraphs = () if locked else tuple(_pdf_paragraphs(reader))
        about = None if locked else reader.metadata
        author, work = (normal(one or "") for one in ((about.author, about.title) if about else ("", "")))
    except OSError:
        raise
    except Exception as error:  # a damaged file may raise anything, says pypdf itself
        raise RetrievalError(f"{path.name} is damaged ({type(error).__name__}: {error}).") from None
    if locked:
        raise RetrievalError(f"{path.name} is locked by a password; save it without.")
    if not paragraphs:
        raise RetrievalError(f"{path.name} holds pictures of pages and no text; run a text recognition over it first.")
    return Document(paragraphs, author=author, work=work)


def _pdf_paragraphs(reader: Any) -> Iterator[Paragraph]:
    sections = _pdf_sections(reader)
    section: tuple[str, ...] = ()
    for number, (page, label) in enumerate(zip(reader.pages, reader.page_labels, strict=True)):
        section = sections.get(number, section)
        for block in re.split(r"\n\s*\n", _unhyphenated(page.extract_text())):
            if words := normal(block):
                yield Paragraph(words, section=section, page=label)


def _unhyphenated(text: str) -> str:
    r"""Join words that a line's end has cut. A capital or a digit after the hyphen keeps it, and so does the language.

    >>> _unhyphenated("la mélo-\ndie elle-\nmême, peut-\nêtre")
    'la mélodie elle-même, peut-être'
    """
    letter = "[a-zà-ÿœæ\ufb00-\ufb06]"
    return re.sub(rf"(?<={letter})[-\u00ad]\n(?={letter})", "", _OWN_HYPHEN.sub("-", text))


def _pdf_sections(reader: Any) -> dict[int, tuple[str, ...]]:
    """Return the path of bookmarks that begins on each page which has one."""
    found: dict[int, tuple[str, ...]] = {}

    def walk(entries: Sequence[Any], above: tuple[str, ...]) -> None:
        last = above
        for entry in entries:
            if isinstance(entry, list):
                walk(entry, last)
                continue
            last = (*above, normal(str(entry.title)))
            number = reader.get_destination_page_number(entry)
            if number is not None:
                found[number] = last

    walk(reader.outline, ())
    return found


def _read_tei(path: Path) -> Document:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True)
    root = etree.parse(path, parser).getroot()
    body = root.find(f".//{TEI}text")
    if body is None:
        raise RetrievalError(f"{path.name} is XML but no TEI: it has no <text> of {TEI[1:-1]}.")
    title = root.findtext(f".//{TEI}titleStmt/{TEI}title") or ""
    author = root.find(f".//{TEI}titleStmt/{TEI}author")
    name = (author.get("key") or "".join(author.itertext())) if author is not None else ""
    # An xml:id is unique in its document alone.
    return Document(tuple(_Tei().walk(body, (), "")), author=normal(name), work=normal(title), local_ids=True)


class _Tei:
    """A walk over a TEI text: divisions give the section path, their `xml:id` the locus, `pb` the page."""

    KEPT = frozenset(
        "p ab l q quote sp item lg cell label opener closer salute signed dateline trailer epigraph".split()
    )
    LEFT_OUT = frozenset("note fw figure teiHeader".split())
    REPLACED = frozenset("orig sic abbr".split())  # by what stands beside it in a `choice`

    def __init__(self) -> None:
        self._page = ""

    def walk(self, node: Any, section: tuple[str, ...], locus: str) -> Iterator[Paragraph]:
        name = etree.QName(node).localname if isinstance(node.tag, str) else ""
        if not name or name in self.LEFT_OUT:
            return
        if name == "pb":
            self._page = node.get("n") or self._page
            return
        if name.startswith("div"):
            head = node.find(f"{TEI}head")
            words = normal("".join(head.itertext())) if head is not None else ""
            section = (*section, words) if words else section
            locus = node.get("{http://www.w3.org/XML/1998/namespace}id") or locus
        if name in self.KEPT and not (name == "lg" and node.find(f"{TEI}lg") is not None):
            page, words = self._page, normal(self._words(node))
            if words:
                own = node.get("{http://www.w3.org/XML/1998/namespace}id") or ""
                yield Paragraph(words, id=own, section=section, page=page, locus=locus)
            return
        if name == "head":
            return
        for child in node:
            yield from self.walk(child, section, locus)

    def _words(self, node: Any) -> str:
        """Return a paragraph's words without its notes, and turn the pages that it crosses."""
        text = node.text or ""
        left_out = self.LEFT_OUT | self.REPLACED if node.tag == f"{TEI}choice" else self.LEFT_OUT
        for child in node:
            name = etree.QName(child).localname if isinstance(child.tag, str) else ""
            tail = child.tail or ""
            if name == "pb":
                self._page = child.get("n") or self._page
            if name in {"lb", "pb"} and child.get("break") == "no":  # a word goes on
                text, tail = re.sub(r"[-\u00ad¬]?\s*\Z", "", text), tail.lstrip()
            elif name in {"lb", "l"}:
                text += " "
            if name and name not in left_out:
                text += self._words(child)
            text += tail
        return text


def _read_jsonl(path: Path) -> Document:
    paragraphs = []
    # Not splitlines: JSON may hold U+2028 and its like as they are.
    for number, line in enumerate(_decoded(path.read_bytes(), path.name).split("\n"), 1):
        if not line.strip():
            continue
        try:
            paragraphs.append(_record(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RetrievalError(f"{path.name}:{number}: no object with a text ({error!r}).") from None
    return Document(tuple(paragraphs))


def _record(record: dict[str, Any]) -> Paragraph:
    """One line of a jsonl: a paragraph of a work, or one of our notes (it has an idea, and cannot be quoted)."""

    def words(key: str) -> str:
        value = record.get(key)
        return "" if value is None else str(value)

    def several(key: str) -> tuple[str, ...]:
        value = record.get(key) or ()
        return (value,) if isinstance(value, str) else tuple(map(str, value))

    note = "idea" in record
    text = record.get("text") or " ".join(record[key] for key in ("idea", "image", "question"))
    return Paragraph(
        str(text),
        id=words("id"),
        section=several("section"),
        page=words("page"),
        locus=words("locus") or words("ref"),
        title=words("title") or (str(record["idea"]) if note else ""),
        author=words("author"),
        work=words("work"),
        edition=words("edition"),
        facsimile=words("facsimile"),
        notions=several("notions"),
        keywords=several("keywords"),
        original=bool(record.get("original", not note)),
    )


READERS: dict[str, Callable[[Path], Document]] = {
    ".txt": _read_txt,
    ".md": _read_markdown,
    ".markdown": _read_markdown,
    ".html": _read_html,
    ".htm": _read_html,
    ".xhtml": _read_html,
    ".epub": _read_epub,
    ".pdf": _read_pdf,
    ".xml": _read_tei,
    ".tei": _read_tei,
    ".jsonl": _read_jsonl,
}
KNOWN = f"known: {', '.join(READERS)}"
