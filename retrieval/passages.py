"""A passage, and what may be asked of a collection of them. Knows no index, no embedder and no file format."""

import unicodedata
from dataclasses import asdict, dataclass, fields
from typing import Any

from errors import RetrievalError
from retrieval.french import fold, search_tokens, unset


@dataclass(frozen=True)
class Passage:
    """A piece of a text, short enough for a prompt, with the place it comes from.

    Attributes:
        id: Unique in its collection.
        text: The words, in NFC.
        author: E.g. "Henri Bergson".
        work: Title of the work.
        title: Heading of its own, if any.
        locus: Place as scholars write it, e.g. "E2P7", "CRP, B 75"; empty when unknown.
        page: Page of the edition, where the passage begins.
        edition: Which edition or translation.
        section: Headings above it, outermost first.
        facsimile: Link to a picture of the page.
        notions: Notions of the programme it belongs to.
        keywords: Words that a pupil would type for it.
        original: Whether these are the author's words: only they may be quoted. Our notes are paraphrases.
    """

    id: str
    text: str
    author: str = ""
    work: str = ""
    title: str = ""
    locus: str = ""
    page: str = ""
    edition: str = ""
    section: tuple[str, ...] = ()
    facsimile: str = ""
    notions: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    original: bool = True

    def __post_init__(self) -> None:
        if not self.id or not self.text.strip():
            raise RetrievalError(f"A passage needs an id and a text; id {self.id!r} has {len(self.text)} characters.")

    @property
    def heading(self) -> str:
        """What stands above the text, each line once: titles make a passage findable by what it does not say."""
        return ". ".join(dict.fromkeys(part for part in (self.work, *self.section, self.title, self.locus) if part))

    @property
    def indexed_text(self) -> str:
        """What a lexical search sees."""
        words = " ".join((*self.keywords, *self.notions))
        return f"{self.author} {self.heading} {words} {self.text}"

    @property
    def embedded_text(self) -> str:
        """What an embedder sees: keywords, the nearest heading, the text."""
        nearest = self.title or (self.section[-1] if self.section else "")
        return ". ".join(part for part in (", ".join(self.keywords), nearest, self.text) if part)

    def to_data(self) -> dict[str, Any]:
        """Return what JSON can hold, without what is empty."""
        return {key: value for key, value in asdict(self).items() if value not in ("", ()) or key == "original"}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> "Passage":
        """The reverse of `to_data`; unknown keys are left out."""
        known = {field.name for field in fields(cls)}
        lists = {"section", "notions", "keywords"}
        values: dict[str, Any] = {k: tuple(v) if k in lists else v for k, v in data.items() if k in known}
        return cls(**values)


@dataclass(frozen=True)
class Filter:
    """Which passages may be found; an empty field admits all.

    Attributes:
        author: A part of the author's name, any case, accents or not: "bergson".
        work: A part of the work's title.
        notion: A notion of the programme, whole.
    """

    author: str = ""
    work: str = ""
    notion: str = ""

    def admits(self, passage: Passage) -> bool:
        """Whether a passage may be found."""
        return (
            key_of(self.author) in key_of(passage.author)
            and key_of(self.work) in key_of(passage.work)
            and (not self.notion or key_of(self.notion) in map(key_of, passage.notions))
        )


EVERYTHING = Filter()


def key_of(text: str) -> str:
    """Return what filters compare: folded, one space between words.

    >>> key_of("  L’Évolution  créatrice ")
    "l'evolution creatrice"
    """
    return " ".join(fold(text).split())


def normal(text: str) -> str:
    r"""Return the text in NFC, `unset`, with plain single spaces: all else breaks tokenizers.

    >>> normal(" E\u0301tat \n") == "État"
    True
    """
    return " ".join(unicodedata.normalize("NFC", unset(text)).split())


def query_tokens(question: str, limit: int = 200) -> list[str]:
    """Return the different stems of a question, in order; of a pasted document the first `limit` ones.

    A word asked twice says no more than once.
    """
    return list(dict.fromkeys(search_tokens(question[:50_000])))[:limit]
