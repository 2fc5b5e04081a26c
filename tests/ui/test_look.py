"""Contrast of every pair of colours that holds text, at least 4.5; the page's script and style hold nothing remote."""

import re

import pytest

from personas import PERSONAS
from ui import theme
from ui.texts import FRENCH
from ui.theme import GRADIO_NAMES, HERE, launch_options

LIGHT = [(ink, paper) for ink in (theme.INK, theme.QUIET) for paper in (theme.PAPER, theme.CARD)]
DARK = [(ink, paper) for ink in (theme.CHALK, theme.DIM) for paper in (theme.NIGHT, theme.SLATE)]
SEND = [(persona.accent, theme.CARD) for persona in PERSONAS.values()]


def luminance(colour: str) -> float:
    """Relative luminance of "#rrggbb", from 0 to 1. Source: WCAG 2.2, definition of relative luminance."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize(("ink", "paper"), LIGHT + DARK + SEND)
def test_contrast(ink: str, paper: str) -> None:
    darker, lighter = sorted((luminance(ink), luminance(paper)))
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5


def test_nothing_is_fetched_from_elsewhere() -> None:
    for name in ("style.css", "page.js"):
        assert not re.search(r"https?://|@import|url\(", (HERE / name).read_text(encoding="utf-8"))


def test_every_button_of_gradio_has_a_sentence() -> None:
    assert [key for key in GRADIO_NAMES.values() if key not in FRENCH] == []


def test_the_script_knows_both_languages() -> None:
    script = theme.head()
    assert "/*NAMES*/" not in script
    assert FRENCH["icon_retry"] in script


def test_nothing_is_kept_or_counted() -> None:
    options = launch_options()
    assert (options["run_history"], options["enable_monitoring"], options["footer_links"]) == (False, False, [])
