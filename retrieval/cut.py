"""Paragraphs to passages: short enough for a prompt, never across a heading or a place. Knows no file format."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from engines.text import sentence_end
from retrieval.passages import normal

MAX_WORDS = 150  # of a passage: an argument fits, and five of them fit a prompt
JOINED_WORDS = 60  # a paragraph shorter than this is joined to its neighbour where both stand in the same place


@dataclass(frozen=True)
class Paragraph:
    """A paragraph as its file has it.

    Attributes:
        text: Its words.
        id: Its own name in the file, if any; such a paragraph is never joined to another.
        section: Headings above it, outermost first.
        page: Page on which it begins.
        locus: Its place as scholars write it.
        title: Its own heading.
        author, work, edition, facsimile, notions, keywords, original: See `Passage`; of a jsonl, where each line may
            come from another work.
    """

    text: str
    id: str = ""
    section: tuple[str, ...] = ()
    page: str = ""
    locus: str = ""
    title: str = ""
    author: str = ""
    work: str = ""
    edition: str = ""
    facsimile: str = ""
    notions: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    original: bool = True

    @property
    def place(self) -> tuple[object, ...]:
        """What two paragraphs must share to be joined."""
        return self.author, self.work, self.section, self.locus, self.title, self.original


def cut(paragraphs: Sequence[Paragraph], max_words: int = MAX_WORDS) -> Iterator[Paragraph]:
    """Yield pieces of at most `max_words` words: long paragraphs cut at sentences, short neighbours joined."""
    waiting: Paragraph | None = None
    for paragraph in paragraphs:
        clean = replace(paragraph, text=normal(paragraph.text))
        if not clean.text:
            continue
        joined = _joined(waiting, clean, max_words) if waiting else None
        if joined:
            waiting = joined
            continue
        if waiting:
            yield from _pieces(waiting, max_words)
        waiting = clean
    if waiting:
        yield from _pieces(waiting, max_words)


def _joined(first: Paragraph, second: Paragraph, max_words: int) -> Paragraph | None:
    """Return both as one where they belong together and one of them is short, else None."""
    sizes = len(first.text.split()), len(second.text.split())
    if first.id or second.id or first.place != second.place or min(sizes) >= JOINED_WORDS or sum(sizes) > max_words:
        return None
    return replace(first, text=f"{first.text} {second.text}")


def _pieces(paragraph: Paragraph, max_words: int) -> Iterator[Paragraph]:
    words = paragraph.text.split()
    number = 1
    while words:
        take = len(words) if len(words) <= max_words else _break(words, max_words)
        name = paragraph.id if number == 1 or not paragraph.id else f"{paragraph.id}#{number}"
        yield replace(paragraph, text=" ".join(words[:take]), id=name)
        words = words[take:]
        number += 1


def _break(words: Sequence[str], max_words: int) -> int:
    """Return after how many words to cut: at the last sentence end, else the last clause, else anywhere."""
    # Two passages of equal length read better than a full one and a rest.
    size = max_words if len(words) >= 2 * max_words else len(words) // 2 + 1
    for limit in dict.fromkeys((size, max_words)):
        window = " ".join(words[:limit])
        end = sentence_end(window)
        if end:
            return len(window[:end].split())
    for marks in (";:", ","):
        ends = [place for place in range(1, max_words) if words[place - 1][-1] in marks]
        if ends:
            return ends[-1]
    return max_words
