"""Colours, type and the small scripts of the page. Knows Gradio's names for them; knows no event and no text of ours.

Everything is served by the page itself: system fonts, no remote file. `style.css` beside this file does the layout.
"""

import json
from pathlib import Path
from typing import Any

import gradio as gr

from ui.texts import TEXTS

HERE = Path(__file__).parent
STYLE = HERE / "style.css"

SANS = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
PAPER, CARD, INK, QUIET, LINE = "#f8f4ec", "#fffdf8", "#24211c", "#665f54", "#ddd4c3"
NIGHT, SLATE, CHALK, DIM, SEAM = "#171614", "#211f1c", "#ece6da", "#aaa294", "#3a3631"


def theme() -> gr.themes.Base:
    """Paper and ink by day, chalk on slate by night; contrast of every text at least 4.5 (a test measures it)."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.stone,
        secondary_hue=gr.themes.colors.stone,
        neutral_hue=gr.themes.colors.stone,
        font=SANS,
        font_mono=("ui-monospace", "Consolas", "monospace"),
        radius_size=gr.themes.sizes.radius_lg,
    ).set(
        body_background_fill=PAPER,
        body_background_fill_dark=NIGHT,
        body_text_color=INK,
        body_text_color_dark=CHALK,
        body_text_color_subdued=QUIET,
        body_text_color_subdued_dark=DIM,
        background_fill_primary=CARD,
        background_fill_primary_dark=SLATE,
        background_fill_secondary=PAPER,
        background_fill_secondary_dark=NIGHT,
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_shadow="none",
        border_color_primary=LINE,
        border_color_primary_dark=SEAM,
        input_background_fill=CARD,
        input_background_fill_dark=SLATE,
        input_border_color=LINE,
        input_border_color_dark=SEAM,
        input_placeholder_color=QUIET,
        input_placeholder_color_dark=DIM,
    )


# Names of the small buttons that Gradio draws, and the key of our own sentence.
GRADIO_NAMES = {
    "Copy message": "icon_copy",
    "Message copied": "icon_copied",
    "Copied message": "icon_copied",
    "Conversation copied": "icon_copied",
    "Scroll to bottom": "icon_scroll",
    "Retry": "icon_retry",
    "Réessayer": "icon_retry",
    "Edit": "icon_edit",
    "Modifier": "icon_edit",
    "Submit": "icon_edit_submit",
    "Envoyer": "icon_edit_submit",
    "Cancel": "icon_edit_cancel",
    "Annuler": "icon_edit_cancel",
    "Clear": "new_conversation",
    "Effacer la conversation": "new_conversation",
}


# What the list of kept conversations says: the page's script draws it, so that no server ever reads it.
SHELF_TEXTS = ("kept", "kept_note", "kept_none", "kept_rename", "kept_title", "kept_delete", "kept_erase", "kept_sure",
               "kept_close", "export_fiche", "mode_maieuthon", "mode_debate")  # fmt: skip


# Markdown may hold an image, and a model may be made to write one: its address would carry words to another machine.
POLICY = "img-src 'self' data: blob:; media-src 'self' data: blob:; object-src 'none'"


def head() -> str:
    """Return what goes into the page's head.

    Gradio fixes `lang="en"` and takes the names of its own buttons from the browser's language; this page is French
    until the pupil says otherwise. The choice of light or dark is kept in the browser, and so are
    the conversations.
    """
    script = (HERE / "page.js").read_text(encoding="utf-8")
    names = {given: {tongue: texts[key] for tongue, texts in TEXTS.items()} for given, key in GRADIO_NAMES.items()}
    script = script.replace("/*NAMES*/ {}", json.dumps(names, ensure_ascii=False))
    shelf = {tongue: {key: texts[key] for key in SHELF_TEXTS} for tongue, texts in TEXTS.items()}
    keeping = (HERE / "kept.js").read_text(encoding="utf-8")
    script += keeping.replace("/*TEXTS*/ {}", json.dumps(shelf, ensure_ascii=False))
    return (
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<meta name="color-scheme" content="light dark">\n<script>\n{script}\n</script>'
    )


def launch_options() -> dict[str, Any]:
    """What `Blocks.launch` and `mount_gradio_app` have to be told: our look, and nothing kept or counted."""
    return {
        "theme": theme(),
        "css_paths": STYLE,
        "head": head(),
        "favicon_path": HERE / "favicon.svg",
        "footer_links": [],
        "run_history": False,
        "enable_monitoring": False,
        "ssr_mode": False,
        "pwa": False,
    }
