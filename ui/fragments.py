"""The pieces of the page that we draw ourselves, as HTML. Knows personas and texts; knows no event and no tier.

Everything that comes from a file or a pupil is escaped here, once.
"""

import re
from functools import cache
from html import escape
from pathlib import Path
from typing import Literal

from personas import PERSONAS, Persona
from tiers.base import TierStatus
from ui.texts import Language, text, text_of_code, tied
from ui.turns import starters_of

PORTRAITS = Path(__file__).parent / "portraits"

HALF_MOON = (
    '<svg viewBox="0 0 24 24" width="20" height="20" aria-hidden="true">'
    '<circle cx="12" cy="12" r="8.2" fill="none" stroke="currentColor" stroke-width="1.8"/>'
    '<path d="M12 3.8a8.2 8.2 0 0 1 0 16.4z" fill="currentColor"/></svg>'
)
BOOK = (
    '<svg viewBox="0 0 24 24" width="20" height="20" aria-hidden="true" fill="none" stroke="currentColor" '
    'stroke-width="1.7" stroke-linejoin="round"><path d="M5 4.500h11a3 3 0 0 1 3 3V20H8a3 3 0 0 1-3-3zM5 17a3 3 0 0 1 '
    '3-3h11M9 8.500h6"/></svg>'
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
        f'aria-label="{code.upper()}, {name}">{code.upper()}</button>'
        for code, name in (("fr", "Français"), ("en", "English"))
    )
    keep = (
        f'<button type="button" class="kept-open" onclick="bafShelf()" aria-haspopup="dialog" '
        f'title="{text(language, "kept")}">{BOOK}<span>{text(language, "kept")}</span></button>'
    )
    group = f'<div class="languages" role="group" aria-label="{text(language, "language")}">{choices}</div>'
    return (
        f'<div class="brand"><h1>Bergson <em>and</em> Friends</h1><p>{text(language, "subtitle")}</p></div>'
        f'<div class="switches">{keep}{group}'
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
        f'<span class="tagline">{escape(_said(language, tagline))}</span></span></button>'
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


def names_of(language: Language, persona: Persona, other: Persona | None) -> str:
    """One philosopher's name, or both of a debate."""
    if other is None:
        return persona.short_name
    return text(language, "both", first=persona.short_name, second=other.short_name)


def heading(language: Language, persona: Persona, other: Persona | None = None) -> str:
    """Whom the pupil talks with; in a debate, who talk with each other."""
    before = text(language, "debating" if other else "talking_with")
    return f'<h2><span class="with">{before}</span> {escape(names_of(language, persona, other))}</h2>'


def starters(language: Language, persona: Persona, *, shown: bool) -> str:
    """The questions to begin with, as chips; nothing once the pupil has spoken."""
    if not shown:
        return ""
    chips = "".join(
        f'<button type="button" class="chip" data-starter="{number}">{escape(_said(language, question))}</button>'
        for number, question in enumerate(starters_of(persona, language))
    )
    return (
        f'<p class="starters-title" id="starters-title">{text(language, "starters")}</p>'
        f'<div class="chips" role="group" aria-labelledby="starters-title">{chips}'
        f'<button type="button" class="surprise" data-starter="surprise">{text(language, "surprise")}</button></div>'
    )


def _said(language: Language, words: str) -> str:
    """A persona's words with the spaces of their language."""
    return tied(words) if language == "fr" else words


def tools(language: Language, *, shown: bool) -> str:
    """What can be done with a whole conversation; nothing before the pupil has spoken."""
    if not shown:
        return ""
    each = "".join(
        f'<button type="button" data-tool="{key}">{text(language, f"export_{key}")}</button>'
        for key in ("markdown", "fiche", "copy")
    )
    return f'<details class="menu" name="menu"><summary>{text(language, "export")}</summary><div>{each}</div></details>'


def shelf() -> str:
    """Where the page's script lists the conversations that this browser keeps."""
    return '<dialog id="kept-dialog" aria-labelledby="kept-heading"></dialog>'


def card(language: Language, markdown: str) -> str:
    """The fixed card, in place of the philosopher: a list, with numbers that a telephone can dial."""
    if not markdown:
        return ""
    html = re.sub(r"\*\*(\d+)\*\*", r'<a href="tel:\1"><b>\1</b></a>', escape(markdown))
    html = re.sub(r"(?:^- .+\n?)+", lambda found: _list_of(found[0]), html, flags=re.M)
    paragraphs = "".join(
        part if part.startswith("<ul>") else f"<p>{part}</p>" for part in map(str.strip, html.split("\n\n")) if part
    )
    return f'<section class="crisis" role="alert" lang="{language}">{paragraphs}</section>'


def _list_of(lines: str) -> str:
    return "<ul>" + "".join(f"<li>{line.removeprefix('- ')}</li>" for line in lines.strip().split("\n")) + "</ul>\n\n"


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
        # What the code says of an answer that broke off, « send it again », would be of no use here.
        down = "engine_down" if now.step in ("engine_failed", "internal") else now.step
        return lasting + notice(f"{text_of_code(language, down)} {text(language, 'nobody_answers')}", "error")
    return lasting + (notice(text(language, "ready"), "ready") if was_preparing else "")


def queue(language: Language, waiting: int, eta_s: float | None = None) -> str:
    """The line beside the box that says what sending now would mean; nothing while nobody waits.

    Args:
        language: Of the page.
        waiting: How many requests wait for a place.
        eta_s: Seconds until one more would be served; None or 0 where nobody knows.
    """
    if waiting < 1:
        return ""
    key = "ahead_eta" if eta_s else "ahead"
    said = text(language, key, place=waiting + 1, seconds=max(1, round(eta_s or 0)))
    return f'<p class="queue" role="status">{escape(said)}</p>'
