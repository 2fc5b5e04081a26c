"""The pieces of the page that we draw ourselves, as HTML. Knows personas and texts; knows no event and no tier.

Everything that comes from a file or a pupil is escaped here, once.
"""

from functools import cache
from html import escape
from pathlib import Path
from typing import Literal

from personas import PERSONAS, Persona
from tiers.base import TierStatus
from ui.texts import Language, text, text_of_code
from ui.turns import starters_of

PORTRAITS = Path(__file__).parent / "portraits"

HALF_MOON = (
    '<svg viewBox="0 0 24 24" width="20" height="20" aria-hidden="true">'
    '<circle cx="12" cy="12" r="8.2" fill="none" stroke="currentColor" stroke-width="1.8"/>'
    '<path d="M12 3.8a8.2 8.2 0 0 1 0 16.4z" fill="currentColor"/></svg>'
)
Kind = Literal["wait", "notice", "ready", "error"]


@cache
def portrait(key: str) -> str:
    """The drawn portrait of a persona, as inline SVG; a persona without one is shown without."""
    path = PORTRAITS / f"{key}.svg"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def header(language: Language) -> str:
    """The name of the page, and the two switches."""
    choices = "".join(
        f'<button type="button" data-language="{code}" lang="{code}" aria-pressed="{str(code == language).lower()}" '
        f'aria-label="{name}">{code.upper()}</button>'
        for code, name in (("fr", "Français"), ("en", "English"))
    )
    group = f'<div class="languages" role="group" aria-label="{text(language, "language")}">{choices}</div>'
    return (
        f'<div class="brand"><h1>Bergson <em>and</em> Friends</h1><p>{text(language, "subtitle")}</p></div>'
        f'<div class="switches">{group}'
        f'<button type="button" class="theme" onclick="bafTheme()" aria-label="{text(language, "theme")}" '
        f'title="{text(language, "theme")}">{HALF_MOON}</button></div>'
    )


def cards(language: Language, chosen: str) -> str:
    """The three philosophers; the chosen one gives the page its accent."""
    style = f"<style>:root{{--accent:{escape(PERSONAS[chosen].accent)}}}</style>"
    each = "".join(_card(persona, language, persona.key == chosen) for persona in PERSONAS.values())
    return f'{style}<div class="cards" role="group" aria-label="{text(language, "choose")}">{each}</div>'


def _card(persona: Persona, language: Language, chosen: bool) -> str:
    tagline = persona.tagline_en if language == "en" else persona.tagline
    return (
        f'<button type="button" class="card" data-persona="{escape(persona.key)}" aria-pressed="{str(chosen).lower()}" '
        f'style="--own:{escape(persona.accent)}"><span class="portrait">{portrait(persona.key)}</span>'
        f'<span class="who"><span class="name">{escape(persona.short_name)}</span>'
        f'<span class="dates">{escape(persona.dates.replace("-", "–"))}</span>'
        f'<span class="tagline">{escape(tagline)}</span></span></button>'
    )


def information(language: Language, persona: Persona) -> str:
    """What every pupil has to know before the first message."""
    first = escape(text(language, "information_first", name=persona.short_name))
    rest = escape(" ".join(filter(None, (text(language, key) for key in ("information_rest", "information_language")))))
    title = text(language, "information_title")
    return (
        f'<aside class="information" aria-label="{title}"><strong>{title}</strong>'
        f'<p>{first} <span class="rest">{rest}</span></p></aside>'
    )


def heading(language: Language, persona: Persona) -> str:
    """Whom the pupil talks with."""
    return f'<h2><span class="with">{text(language, "talking_with")}</span> {escape(persona.short_name)}</h2>'


def starters(language: Language, persona: Persona, *, shown: bool) -> str:
    """The questions to begin with, as chips; nothing once the pupil has spoken."""
    if not shown:
        return ""
    chips = "".join(
        f'<button type="button" class="chip" data-starter="{number}">{escape(question)}</button>'
        for number, question in enumerate(starters_of(persona, language))
    )
    return (
        f'<p class="starters-title" id="starters-title">{text(language, "starters")}</p>'
        f'<div class="chips" role="group" aria-labelledby="starters-title">{chips}</div>'
    )


def notice(sentence: str, kind: Kind = "notice", progress: float | None = None) -> str:
    """One sentence above the chat; empty for none. A screen reader hears the sentence, not each per cent."""
    if not sentence:
        return ""
    bar = ""
    if progress is not None:
        percent = round(100 * min(max(progress, 0.0), 1.0))
        bar = (
            f'<span class="percent" aria-hidden="true">{percent} %</span>'
            f'<progress max="100" value="{percent}" aria-hidden="true"></progress>'
        )
    return f'<div class="notice {kind}"><span>{escape(sentence)}</span>{bar}</div>'


def status(language: Language, now: TierStatus, *, was_preparing: bool = False) -> str:
    """What the tier is doing, and its lasting notices.

    Args:
        language: Of the page.
        now: The tier's own words.
        was_preparing: The page showed a preparation until now: say that it is over.
    """
    # Who answers is said once somebody does.
    said = [code for code in now.notices if code != "using_embedded" or now.state == "ready"]
    lasting = notice(" ".join(text_of_code(language, code) for code in said))
    if now.state == "preparing":
        return lasting + notice(text_of_code(language, now.step, otherwise="starting"), "wait", now.progress)
    if now.state == "failed":
        return lasting + notice(f"{text_of_code(language, now.step)} {text(language, 'nobody_answers')}", "error")
    return lasting + (notice(text(language, "ready"), "ready") if was_preparing else "")
