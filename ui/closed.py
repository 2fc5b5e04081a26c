"""The page when nobody can talk: one sentence. Knows texts and the look; loads no persona: none can break it."""

from html import escape

import gradio as gr

from ui.texts import text, text_of_code


def build_closed_page(code: str) -> gr.Blocks:
    """Return a page that says, in French and English, why no conversation is possible."""
    with gr.Blocks(title=text("fr", "title"), analytics_enabled=False) as page:
        french, english = (escape(text_of_code(language, code)) for language in ("fr", "en"))
        gr.HTML(
            f'<h1>Bergson <em>and</em> Friends</h1><p role="alert">{french}</p><p lang="en">{english}</p>',
            elem_id="closed",
            apply_default_css=False,
        )
    return page
