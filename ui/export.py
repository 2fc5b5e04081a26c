"""A conversation as a file to keep: Markdown, or one page to print. Pure text; the browser saves it, nobody else does.

Knows personas, schemes and what stands in a margin; knows no widget.
"""

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from dialogue.conversation import Turn
from dialogue.debate import Speech
from personas import PERSONAS, SCHEMES, Persona, Scheme
from ui.fragments import names_of
from ui.panels import question_in
from ui.recap import advice_words, progress_words, recap_of, scheme_name
from ui.session import Session, Source, Trail, is_over, schemes_of
from ui.texts import Language, text, tied, untied

_SPEAKER = re.compile(r"\*\*(?P<name>[^*\n]+)\*\*\n\n")
FICHE_STYLE = Path(__file__).with_name("fiche.css")
_PATH_MOST, _PATH_CHARS = 8, 220  # a fiche is one page


def spoken(persona: Persona, said: str) -> str:
    """A speech of a debate as the chat shows it: under the name of its speaker."""
    return f"**{persona.short_name}**\n\n{said}"


def speech_of(turn: Turn) -> Speech:
    """The speech that a chat shows; what carries no philosopher's name is the pupil's."""
    found = _SPEAKER.match(turn.text) if turn.role == "assistant" else None
    if not found:
        return Speech(None, turn.text)
    key = next((one.key for one in PERSONAS.values() if one.short_name == found["name"]), None)
    return Speech(key, turn.text[found.end() :])


def question_of(session: Session, turns: Sequence[Turn], language: Language) -> str:
    """What the talk is about: the question of the bac, or the philosopher's opening question."""
    if session.question:
        return question_in(language, session.question)
    opening = turns[0].text if turns and turns[0].role == "assistant" else ""
    asked = re.findall(r"[^.!?…\n]*\?", opening)
    return asked[-1].strip() if asked else ""


def schemes_used(trail: Trail) -> tuple[Scheme, ...]:
    """The schemes of a conversation, each once."""
    return tuple(SCHEMES[key] for key in dict.fromkeys(schemes_of(trail)))


def sources_used(trail: Trail) -> tuple[Source, ...]:
    """The passages of a conversation, each once."""
    seen: dict[tuple[str, str], Source] = {}
    for _, one in sorted(trail.items()):
        for source in one.sources:
            seen.setdefault((source.reference, source.text), source)
    return tuple(seen.values())


def _name(persona: Persona, session: Session) -> str:
    return f"{persona.name}, {session.opponent.name}" if session.opponent else persona.name


def markdown(persona: Persona, session: Session, turns: Sequence[Turn], trail: Trail, language: Language) -> str:
    """Return the whole conversation as Markdown, with ordinary spaces: it is made to be edited and searched."""
    question = question_of(session, turns, language)
    lines = [f"# {question or text(language, 'export_title', name=persona.short_name)}", "",
             f"*{text(language, f'mode_{session.kind}')} · {_name(persona, session)}*", ""]  # fmt: skip
    for place, turn in enumerate(turns):
        lines += _turn(persona, session, turn, language)
        one = trail.get(place)
        if one and one.scheme:
            scheme = SCHEMES[one.scheme]
            lines += [f"*{text(language, 'scheme')} {scheme_name(language, scheme)} — {one.filled or scheme.form}*", ""]
        if one and one.remark:
            read, advice = progress_words(language, one.remark), advice_words(language, one.remark)
            lines += [f"> {text(language, 'remark')} — {read} {text(language, 'to_try')} {advice}", ""]
    if is_over(session, trail):
        lines += _recap_lines(turns, trail, language)
    if sources := sources_used(trail):
        lines += [f"## {text(language, 'sources_title')}", ""]
        lines += [f"{number}. {one.reference}{f' <{one.link}>' if one.link else ''}\n\n   > {_flat(one.text)}"
                  for number, one in enumerate(sources, 1)]  # fmt: skip
        lines.append("")
    lines += ["---", "", text(language, "export_caveat", name=names_of(language, persona, session.opponent))]
    return untied("\n".join(lines)) + "\n"


def _turn(persona: Persona, session: Session, turn: Turn, language: Language) -> list[str]:
    said, name = turn.text, persona.short_name
    if turn.role == "user":
        name = text(language, "export_pupil")
    elif session.kind == "debate":
        speech = speech_of(turn)
        said, name = speech.text, PERSONAS[speech.speaker].short_name if speech.speaker else name
    return [f"**{name}**{':' if language == 'en' else ' :'} {said}", ""]


def _flat(said: str) -> str:
    return re.sub(r"\s+", " ", said).strip()


def _recap_lines(turns: Sequence[Turn], trail: Trail, language: Language) -> list[str]:
    one = recap_of(turns, trail)
    lines = [f"## {text(language, 'recap')} {text(language, f'title_{one.title}')}", "",
             text(language, f"title_{one.title}_why"), ""]  # fmt: skip
    if one.theses:
        lines += [f"### {text(language, 'recap_path')}", ""]
        lines += [f"{number}. « {these} »" for number, these in enumerate(one.theses, 1)]
        lines.append("")
    if one.best:
        lines += [f"### {text(language, 'recap_best')}", "", f"« {one.best} »", ""]
    return [*lines, f"**{text(language, 'to_try')}** {text(language, f'try_{one.to_try}')}", "",
            text(language, "recap_formative"), ""]  # fmt: skip


def fiche(persona: Persona, session: Session, turns: Sequence[Turn], trail: Trail, language: Language) -> str:
    """Return one printable page as an HTML document: question, path, schemes, sources."""
    question = question_of(session, turns, language)
    who = f"{text(language, f'mode_{session.kind}')} · {_name(persona, session)}"
    parts = [f'<p class="who">{escape(who)}</p>',
             f"<h1>{escape(question or text(language, 'export_title', name=persona.short_name))}</h1>"]  # fmt: skip
    parts.append(_listed(text(language, "fiche_path"), [escape(step) for step in _path(turns, session, trail)]))
    if is_over(session, trail):
        one = recap_of(turns, trail)
        title, why = text(language, f"title_{one.title}"), text(language, f"title_{one.title}_why")
        parts.append(f"<h2>{text(language, 'recap')} {escape(title)}</h2><p>{escape(why)}</p>")
        if one.best:
            parts.append(f"<h2>{text(language, 'recap_best')}</h2><blockquote>« {escape(one.best)} »</blockquote>")
        advice = text(language, f"try_{one.to_try}")
        parts.append(f"<p><strong>{text(language, 'to_try')}</strong> {escape(advice)}</p>")
    schemes = [f"{escape(scheme_name(language, one))} <em>{escape(one.form)}</em>" for one in schemes_used(trail)]
    parts.append(_listed(text(language, "fiche_schemes"), schemes))
    parts.append(_listed(text(language, "sources_title"), [escape(one.reference) for one in sources_used(trail)]))
    imitated = names_of(language, persona, session.opponent)
    parts.append(f'<h2>{text(language, "fiche_mine")}</h2><div class="lines"></div>')
    parts.append(f"<footer>{escape(text(language, 'export_caveat', name=imitated))}</footer>")
    return (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8"><title>{escape(question)}</title>'
        f"<style>{FICHE_STYLE.read_text(encoding='utf-8')}</style></head><body>{tied(''.join(parts))}</body></html>"
    )


def _listed(title: str, entries: Sequence[str]) -> str:
    if not entries:
        return ""
    return f"<h2>{escape(title)}</h2><ol>{''.join(f'<li>{entry}</li>' for entry in entries)}</ol>"


def _path(turns: Sequence[Turn], session: Session, trail: Trail) -> list[str]:
    """The pupil's steps: positions where they were read, messages otherwise, each cut to a line or two."""
    said = [turn.text for turn in turns if turn.role == "user"]
    if is_over(session, trail):
        said = list(recap_of(turns, trail).theses) or said
    flat = [_flat(one) for one in said[-_PATH_MOST:]]
    return [one if len(one) <= _PATH_CHARS else f"{one[:_PATH_CHARS].rsplit(' ', 1)[0]}…" for one in flat]
