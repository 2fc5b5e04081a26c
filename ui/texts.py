"""The sentences of the page by key and language. Knows no widget and no event.

A key stands once in each language; `text` fills its `{names}`. French is the page's own language: English is a
translation for teachers and visitors, and the philosophers answer in French whichever is shown.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from ui.english import ENGLISH
from ui.french import FRENCH

__all__ = ["ENGLISH", "FRENCH", "TEXTS", "Language", "language_of", "text", "text_of_code"]

Language = Literal["fr", "en"]

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
