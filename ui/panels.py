"""What stands above the chat in a Maïeuthon and in a debate, and the switch between the kinds of talk. Knows no event.

Everything that comes from a file or a pupil is escaped here, once.
"""

from collections.abc import Sequence
from html import escape

from dialogue.conversation import Turn
from dialogue.maieuthon import N_EXCHANGES
from personas import PERSONAS, Persona
from personas.questions import find
from ui.fragments import portrait
from ui.session import KINDS, Session, Trail, remarks_of
from ui.texts import Language, text, tied


def modes(language: Language, session: Session) -> str:
    """The three kinds of talk; the present one is pressed."""
    each = "".join(
        f'<button type="button" data-mode="{kind}" aria-pressed="{str(kind == session.kind).lower()}">'
        f"{text(language, f'mode_{kind}')}</button>"
        for kind in KINDS
    )
    return f'<div class="modes" role="group" aria-label="{text(language, "modes")}">{each}</div>'


def panel(language: Language, persona: Persona, session: Session, turns: Sequence[Turn], trail: Trail) -> str:
    """What stands above the chat; empty in an ordinary talk."""
    if session.kind == "maieuthon":
        return _maieuthon(language, session, turns, trail)
    if session.kind == "debate":
        return _debate(language, persona, session, begun=bool(turns))
    return ""


def question_in(language: Language, question: str) -> str:
    """A question of ours in the page's language, to be shown; one that is not ours keeps its words."""
    known = find(question)
    return known.text_en if known and language == "en" else tied(question)


def _notion(question: str) -> str:
    known = find(question)
    return f'<span class="notion" lang="fr">{escape(known.notion)}</span>' if known else ""


def _button(language: Language, key: str, value: str, kind: str = "quiet") -> str:
    return f'<button type="button" class="{kind}" data-panel="{value}">{text(language, key)}</button>'


def _maieuthon(language: Language, session: Session, turns: Sequence[Turn], trail: Trail) -> str:
    done = len(remarks_of(trail))
    begun = any(turn.role == "user" for turn in turns)
    question = f'<p class="question">{_notion(session.question)}{escape(question_in(language, session.question))}</p>'
    dots = "".join(f'<i class="{"done" if number < done else ""}"></i>' for number in range(N_EXCHANGES))
    over = done >= N_EXCHANGES
    now = text(language, "steps_over") if over else text(language, "steps", now=done + 1, all=N_EXCHANGES)
    progress = f'<p class="steps"><span class="dots" aria-hidden="true">{dots}</span>{now}</p>'
    rules = f'<p class="rules">{text(language, "maieuthon_rules")}</p>' if not begun else ""
    redraw = _button(language, "redraw", "redraw") if not begun else ""
    return f'<section class="panel">{question}{rules}<div class="panel-row">{progress}{redraw}</div></section>'


def _debate(language: Language, persona: Persona, session: Session, *, begun: bool) -> str:
    other = PERSONAS[session.other]
    question = f'<p class="question">{_notion(session.question)}{escape(question_in(language, session.question))}</p>'
    faces = "".join(
        f'<span class="face" style="--own:{escape(one.accent)}">{portrait(one.key)}'
        f"<b>{escape(one.short_name)}</b></span>"
        for one in (persona, other)
    )
    if begun:
        return f'<section class="panel versus">{question}<div class="faces">{faces}</div></section>'
    others = "".join(
        f'<button type="button" class="quiet" data-panel="other:{escape(one.key)}" '
        f'aria-pressed="{str(one.key == other.key).lower()}">{escape(one.short_name)}</button>'
        for one in PERSONAS.values()
        if one.key != persona.key
    )
    against = text(language, "against", name=persona.short_name)
    return (
        f'<section class="panel versus">{question}<div class="faces">{faces}</div>'
        f'<p class="rules">{text(language, "debate_rules")}</p><div class="panel-row">'
        f'<span class="opponents" role="group" aria-label="{escape(against)}"><span>{escape(against)}</span>'
        f"{others}</span>"
        f"{_button(language, 'redraw', 'redraw')}{_button(language, 'debate_begin', 'begin', 'strong')}</div></section>"
    )
