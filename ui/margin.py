"""What stands beside an answer: its scheme, its sources, a pupil's word on it, ways to go on. Knows no event.

Everything that comes from a file, a model or a pupil is escaped here, once.
"""

from collections.abc import Sequence
from html import escape

from dialogue.conversation import Turn
from personas import PERSONAS, SCHEMES, Persona
from ui.recap import recap_words, remark_words, scheme_name
from ui.session import REASONS, Margin, Session, Source, Trail, is_over, last_place
from ui.texts import Language, text, tied

BACK = (
    '<svg viewBox="0 0 24 24" width="16" height="16" aria-hidden="true" fill="none" stroke="currentColor" '
    'stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round"><path d="M9 7 4 12l5 5M4 12h10a6 6 0 0 1 0 12" '
    'transform="translate(0 -2)"/></svg>'
)
THUMB = (
    '<svg viewBox="0 0 24 24" width="16" height="16" aria-hidden="true" fill="none" stroke="currentColor" '
    'stroke-width="1.7" stroke-linejoin="round"{turn}><path d="M7 11v9H4v-9zM7 11l4-8c1.700 0 2.500 1.200 2.200 '
    '2.800L12.600 9H19c1.400 0 2.300 1.200 2 2.500l-1.600 6.500c-.300 1.200-1.200 2-2.400 2H7"/></svg>'
)
REPLIES = ("reply_because", "reply_but", "reply_example", "reply_word")
VERDICTS = ("verdict_first", "verdict_second", "verdict_neither")


def margin(
    language: Language, persona: Persona, session: Session, turns: Sequence[Turn], trail: Trail, *, busy: bool = False
) -> str:
    """Return the margin of the last answer; while one is under way, nothing that would disturb it is offered.

    Args:
        language: Of the page.
        persona: Who answers.
        session: What kind of talk it is.
        turns: The chat; while an answer is under way, what it answers.
        trail: What stands beside the answers.
        busy: Whether an answer is under way.
    """
    if busy:
        here = trail.get(len(turns), Margin())
        row = _scheme(language, here) + _sources(language, here, choose=False)
        return f'<div class="margin-row">{row}</div>' if row else ""
    place = last_place(turns, session)
    if place is None:
        return ""
    here = trail.get(place, Margin())
    row = _scheme(language, here) + _earlier(language, trail)
    row += _sources(language, here, choose=session.kind != "debate")
    row += _feedback(language, here) + _undo(language, session)
    said = remark_words(language, here.remark) if here.remark else ""
    if is_over(session, trail):
        return f'<div class="margin-row">{row}</div>{said}{recap_words(language, turns, trail)}'
    return f'<div class="margin-row">{row}</div>{said}{_replies(language, persona, session)}'


def _scheme(language: Language, here: Margin) -> str:
    scheme = SCHEMES.get(here.scheme)
    if scheme is None:
        return ""
    name = scheme_name(language, scheme)
    filled = (
        f'<dt>{text(language, "scheme_here")}</dt><dd lang="fr" class="filled">{escape(tied(here.filled))}</dd>'
        if here.filled
        else ""
    )
    return (
        f'<details class="sheet" name="sheet"><summary class="scheme">{text(language, "scheme")} '
        f'<b>{escape(name)}</b></summary><div class="sheet-body"><h3>{escape(name)}</h3><dl>'
        f'<dt>{text(language, "scheme_form")}</dt><dd lang="fr" class="canon">{escape(tied(scheme.form))}</dd>{filled}'
        f'<dt>{text(language, "scheme_example")}</dt><dd lang="fr">{escape(tied(scheme.example))}</dd>'
        f'<dt>{text(language, "scheme_trap")}</dt><dd lang="fr">{escape(tied(scheme.fallacy))}</dd>'
        f"<dt>{text(language, 'scheme_worth')}</dt><dd>{text(language, f'validity_{scheme.validity}')}</dd>"
        "</dl></div></details>"
    )


def _earlier(language: Language, trail: Trail) -> str:
    """The way that the conversation took, once it has more than one step."""
    path = [SCHEMES[one.scheme] for _, one in sorted(trail.items()) if one.scheme]
    if len(path) < 2:
        return ""
    steps = "".join(f"<li>{escape(scheme_name(language, one))}</li>" for one in path)
    return (
        f'<details class="sheet" name="sheet"><summary>{text(language, "path", count=len(path))}</summary>'
        f'<div class="sheet-body"><h3>{text(language, "path_title")}</h3><ol>{steps}</ol></div></details>'
    )


def _sources(language: Language, here: Margin, *, choose: bool) -> str:
    """The passages of an answer; `choose` lets the pupil untick some and ask for an answer without them."""
    if not here.sources:
        return ""
    each = "".join(_source(language, one, choose=choose) for one in here.sources)
    left_out = (
        f'<p class="left-out">{text(language, "sources_left", count=len(here.excluded))}</p>' if here.excluded else ""
    )
    again = (
        '<button type="button" class="quiet" data-act="without" data-gather=".sources input:not(:checked)">'
        f"{text(language, 'sources_without')}</button>"
        if choose
        else ""
    )
    return (
        f'<details class="sheet" name="sheet"><summary>{text(language, "sources", count=len(here.sources))}</summary>'
        f'<div class="sheet-body"><h3>{text(language, "sources_title")}</h3><ol class="sources">{each}</ol>'
        f"{left_out}{again}</div></details>"
    )


def _source(language: Language, source: Source, *, choose: bool) -> str:
    kind = "" if source.original else f'<span class="own-note">{text(language, "source_note")}</span>'
    link = (
        f'<a href="{escape(source.link)}" target="_blank" rel="noopener noreferrer">{text(language, "source_link")}</a>'
        if source.link
        else ""
    )
    use = (
        f'<input type="checkbox" checked value="{escape(source.id)}" '
        f'aria-label="{escape(text(language, "source_use", number=source.number))}">'
        if choose and source.id
        else ""
    )
    return (
        f'<li value="{source.number}">{use}<details><summary>{escape(source.reference)}{kind}</summary>'
        f'<blockquote lang="fr">{escape(source.text)}</blockquote>{link}</details></li>'
    )


def _feedback(language: Language, here: Margin) -> str:
    if here.feedback in ("up", *REASONS):
        return f'<span class="thanks" role="status">{text(language, "feedback_thanks")}</span>'
    if here.feedback == "down":
        reasons = "".join(
            f'<button type="button" class="quiet" data-act="down:{reason}">'
            f"{text(language, f'reason_{reason}')}</button>"
            for reason in REASONS
        )
        title = text(language, "feedback_why")
        return f'<span class="reasons" role="group" aria-label="{title}"><span>{title}</span>{reasons}</span>'
    buttons = "".join(
        f'<button type="button" class="icon" data-act="{value}" aria-label="{text(language, key)}" '
        f'title="{text(language, key)}">{THUMB.format(turn=turn)}</button>'
        for value, key, turn in (
            ("up", "feedback_up", ""),
            ("down", "feedback_down", ' transform="rotate(180)"'),
        )
    )
    return f'<span class="feedback" role="group" aria-label="{text(language, "feedback")}">{buttons}</span>'


def _undo(language: Language, session: Session) -> str:
    if session.kind == "debate":
        return ""
    return (
        f'<button type="button" class="icon undo" data-act="undo" title="{text(language, "undo")}" '
        f'aria-label="{text(language, "undo")}">{BACK}</button>'
    )


def replies_of(language: Language, persona: Persona, session: Session) -> tuple[str, ...]:
    """Beginnings that the pupil may take up; those that end with « … » wait to be finished in the box.

    They are said to a philosopher, so they are French whatever the language of the page.
    """
    del language
    if session.kind != "debate":
        return tuple(text("fr", key) for key in REPLIES)
    other = PERSONAS[session.other]
    return tuple(text("fr", key, first=persona.short_name, second=other.short_name) for key in VERDICTS)


def _replies(language: Language, persona: Persona, session: Session) -> str:
    chips = "".join(
        f'<button type="button" class="reply" lang="fr" data-act="reply:{number}">{escape(reply)}</button>'
        for number, reply in enumerate(replies_of(language, persona, session))
    )
    title = text(language, "verdict" if session.kind == "debate" else "replies")
    return f'<div class="replies" role="group" aria-label="{title}">{chips}</div>'
