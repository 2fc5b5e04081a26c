"""A Maïeuthon in words: what was read in one message, and the look back at the end. Knows no event; gives no mark.

Everything that comes from a model or a pupil is escaped here, once.
"""

from collections.abc import Sequence
from html import escape

from dialogue.conversation import Turn
from dialogue.maieuthon import SKILLS, Recap, Remark, recap
from personas import SCHEMES, Scheme
from ui.session import Trail, remarks_of, schemes_of
from ui.texts import Language, text, tied


def remark_words(language: Language, remark: Remark) -> str:
    """What was read in the pupil's message, in words."""
    these = (
        f'<p class="these"><span>{text(language, "these")}</span> {quoted(escape(remark.these))}</p>'
        if remark.these
        else f'<p class="these">{text(language, "these_none")}</p>'
    )
    levels = "".join(
        f'<li class="{remark.level(skill)}"><b>{text(language, skill)}</b> '
        f"{text(language, f'{skill}_{remark.level(skill)}')}</li>"
        for skill in SKILLS
    )
    return (
        f'<section class="remark" aria-label="{text(language, "remark")}">{these}<ul>{levels}</ul>'
        f"<p>{escape(progress_words(language, remark))}</p>"
        f'<p class="try"><span>{text(language, "to_try")}</span> {escape(advice_words(language, remark))}</p></section>'
    )


def quoted(said: str) -> str:
    """The pupil's words between quotation marks, which stay with them."""
    return f"«\u00a0{said}\u00a0»"


def progress_words(language: Language, remark: Remark) -> str:
    """What is new since before, in words."""
    if remark.delta != "progres":
        return text(language, f"delta_{remark.delta}")
    return text(language, "delta_progres", what=", ".join(text(language, skill).lower() for skill in remark.gained))


def advice_words(language: Language, remark: Remark) -> str:
    """What can be tried next: a model's words where there are some, ours otherwise."""
    return tied(remark.conseil) or text(language, f"try_{remark.suite}")


def scheme_name(language: Language, scheme: Scheme) -> str:
    """The scheme's name in the page's language."""
    return scheme.name_en if language == "en" else scheme.name


def recap_of(turns: Sequence[Turn], trail: Trail) -> Recap:
    """The recap of the exchanges that a Maïeuthon has had; an answer that was stopped ends none, and has no remark."""
    said = [_message_before(turns, place) for place, one in sorted(trail.items()) if one.remark]
    return recap(said, remarks_of(trail), schemes_of(trail))


def _message_before(turns: Sequence[Turn], place: int) -> str:
    return next((turn.text for turn in reversed(turns[:place]) if turn.role == "user"), "")


def recap_words(language: Language, turns: Sequence[Turn], trail: Trail) -> str:
    """The look back on a Maïeuthon: a path in words, and files to take away."""
    one = recap_of(turns, trail)
    title = text(language, f"title_{one.title}")
    parts = [f'<section class="recap"><h3>{text(language, "recap")} <em>{title}</em></h3>',
             f'<p>{text(language, f"title_{one.title}_why")}</p>', "<dl>"]  # fmt: skip
    if one.theses:
        steps = "".join(f"<li>{quoted(escape(these))}</li>" for these in one.theses)
        parts.append(f"<dt>{text(language, 'recap_path')}</dt><dd><ol>{steps}</ol></dd>")
    if one.best:
        parts.append(f'<dt>{text(language, "recap_best")}</dt><dd class="best">{quoted(escape(one.best))}</dd>')
    if one.schemes:
        names = ", ".join(scheme_name(language, SCHEMES[key]) for key in one.schemes)
        parts.append(f"<dt>{text(language, 'recap_schemes')}</dt><dd>{escape(names)}</dd>")
    parts.append(f"<dt>{text(language, 'to_try')}</dt><dd>{text(language, f'try_{one.to_try}')}</dd></dl>")
    parts.append(f'<p class="rules">{text(language, "recap_formative")}</p><div class="panel-row">')
    parts += [_button(language, "export_fiche", "fiche", "strong"), _button(language, "export_markdown", "markdown"),
              _button(language, "maieuthon_again", "again"), "</div></section>"]  # fmt: skip
    return "".join(parts)


def _button(language: Language, key: str, value: str, kind: str = "quiet") -> str:
    return f'<button type="button" class="{kind}" data-act="panel:{value}">{text(language, key)}</button>'
