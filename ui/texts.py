"""The sentences of the page by key and language. Knows no widget and no event.

A key stands once in each language; `text` fills its `{names}`. French is the page's own language: English is a
translation for teachers and visitors, and the philosophers answer in French whichever is shown. `ui.french` is written
with ordinary spaces; what is shown is tied here, once.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from ui import french
from ui.english import ENGLISH

__all__ = ["ENGLISH", "FRENCH", "TEXTS", "Language", "language_of", "text", "text_of_code", "tied", "untied"]

Language = Literal["fr", "en"]

# A line never ends with « or begins with » or ?: the spaces that French puts there are shown as ones that do not break.
_TIES = ((re.compile("« "), "«\u00a0"), (re.compile(" (?=[»:])"), "\u00a0"), (re.compile(" (?=[?!;])"), "\u202f"))
_UNTIED = str.maketrans("\u00a0\u202f", "  ")


def tied(said: str) -> str:
    r"""Return a text whose quotation marks and two-part signs stay with their words.

    >>> tied("« Oui » ?")
    '«\xa0Oui\xa0»\u202f?'
    """
    for space, kept in _TIES:
        said = space.sub(kept, said)
    return said


def untied(said: str) -> str:
    """Return a text with ordinary spaces: to be told to a model, compared, or edited."""
    return said.translate(_UNTIED)


FRENCH: Mapping[str, str] = MappingProxyType({key: tied(sentence) for key, sentence in french.FRENCH.items()})
TEXTS: Mapping[Language, Mapping[str, str]] = MappingProxyType({"fr": FRENCH, "en": ENGLISH})


def language_of(value: object) -> Language:
    """Return the language that a browser asked for; whatever is not English is French."""
    return "en" if value == "en" else "fr"


def text(language: Language, key: str, **names: object) -> str:
    """Return the sentence `key` in `language`, its `{names}` filled.

    Raises:
        KeyError: There is no such sentence: the caller has a fault.

    >>> text("en", "box_placeholder", name="Kant")
    'Write to Kant…'
    """
    return TEXTS[language][key].format(**names)


def text_of_code(language: Language, code: str, *, otherwise: str = "internal", **names: object) -> str:
    """Return the sentence for a code that comes from another room; one that the page does not know reads `otherwise`.

    >>> text_of_code("fr", "never_heard_of") == text("fr", "internal")
    True
    """
    return text(language, code if code in TEXTS[language] else otherwise, **names)
