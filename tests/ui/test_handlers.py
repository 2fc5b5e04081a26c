"""Short events on a desk: the line of help stays, a late Stop takes nothing away, a reply leaves the draft."""

import json
from contextlib import aclosing
from dataclasses import fields
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dialogue.conversation import Turn
from dialogue.safety import card
from personas import get_persona
from personas.questions import questions_of
from tiers.base import Card, Notice, Token, User
from tiers.testing import ScriptedTier
from ui import fragments
from ui.actions import Asked, Desk, say
from ui.handlers import Handlers
from ui.respond import Responder
from ui.session import Margin, Session, write_trail
from ui.tab import Widgets
from ui.texts import FRENCH, Language, text
from ui.turns import to_messages

KANT = get_persona("kant")
NAMED = Widgets(**{one.name: one.name for one in fields(Widgets)})  # an update is found by name
HANDLERS = Handlers(NAMED)
OPENING = Turn("assistant", KANT.opening)
TALK = (OPENING, Turn("user", "Oui."), Turn("assistant", "Pourquoi ?"))
CHATTING, DEBATE = Session(), Session("debate", questions_of("kant")[0].text, "spinoza")


def tab(*turns: Turn, language: Language = "fr", session: Session = CHATTING, trail: str = "{}") -> tuple[Any, ...]:
    """What a browser sends of its tab, after the desk."""
    return to_messages(turns), "kant", language, session.to_json(), trail


def pressed(value: str) -> Any:
    return cast(Any, SimpleNamespace(value=value))


async def asked(desk: Desk, *script: Any) -> dict[str, Any]:
    """Answer what is under way; return the last update of each widget."""
    last: dict[str, Any] = {}
    moments = Responder(NAMED, ScriptedTier(*script)).respond(desk, "kant", "fr", CHATTING.to_json(), "{}", User("tab"))
    async with aclosing(moments) as updates:
        async for one in updates:
            last |= one
    return last


async def test_the_line_of_help_outlives_its_answer() -> None:
    """Whatever is pressed afterwards says its own sentence below it; only another question or another talk ends it."""
    desk = Desk(say((OPENING,), "Oui."))
    await asked(desk, Notice("worry"), Token("Pourquoi ?"))
    helps, here = fragments.notice(FRENCH["worry"]), tab(*TALK)
    cases: list[tuple[dict[Any, Any], str, fragments.Kind]] = [
        (await HANDLERS.stop(desk, *here), "stopped", "notice"),
        (await HANDLERS.act(pressed("undo"), "", desk, *here), "undone", "notice"),
        (await HANDLERS.act(pressed("without:[]"), "", desk, *here), "sources_untick", "notice"),
        (await HANDLERS.act(pressed("nonsense"), "", desk, *here), "", "notice"),
        (HANDLERS.send(" ", desk, *here), "message_empty", "error"),
    ]
    for updates, said, kind in cases:
        assert updates["notice"].startswith(helps)
        assert updates["notice"].removeprefix(helps) == fragments.notice(FRENCH.get(said, ""), kind)
    english = HANDLERS.translate(pressed("en"), desk, *here)["notice"]
    assert text("en", "worry") in english
    assert HANDLERS.send("Et toi ?", desk, *here)["notice"] == ""
    desk.helps = "line"
    assert (await HANDLERS.restart(desk, *here))["notice"] == ""
    assert (await HANDLERS.stop(desk, *here))["notice"] == fragments.notice(FRENCH["stopped"])


async def test_a_card_is_told_in_the_other_language() -> None:
    desk = Desk(say((OPENING,), "Un message grave."))
    assert HANDLERS.translate(pressed("en"), Desk(), *tab(*TALK)).get("card") is None  # whatever stands there stays
    await asked(desk, Notice("worry"), Card("crisis", card("fr"), card("en")))
    updates = HANDLERS.translate(pressed("en"), desk, *tab(OPENING))
    assert updates["card"] == fragments.card("en", card("en"))
    assert updates["notice"] == ""  # the card says more
    assert HANDLERS.send("Autre chose.", desk, *tab(OPENING))["card"] == ""


async def test_a_stop_that_comes_after_the_last_word_takes_nothing_away() -> None:
    """Its press saw the chat and the trail as they were before the end: what stands there now is newer."""
    updates = await HANDLERS.stop(Desk(), *tab(*TALK))
    assert set(updates) == {"notice", "box"}
    desk = Desk(say(TALK, "Et toi ?"))
    assert "margin" in await HANDLERS.stop(desk, *tab(*TALK, Turn("user", "Et toi ?"), Turn("assistant", "Mo")))


@pytest.mark.parametrize(("before", "gone"), [((OPENING,), True), (TALK, False)])
async def test_a_stop_before_the_first_word_gives_the_message_back(before: tuple[Turn, ...], gone: bool) -> None:
    """A talk that has no other message is none: words that came after the press may have been kept."""
    for desk in (Desk(say(before, "Et toi ?")), Desk()):  # the second was forgotten while the line was cut
        updates = await HANDLERS.stop(desk, *tab(*before, Turn("user", "Et toi ?")))
        assert updates["chat"] == to_messages(before)
        assert updates["box"].value == "Et toi ?"
        assert ("gone" in json.loads(updates["trail"])) is gone


async def test_a_debate_that_was_stopped_before_its_first_word_can_begin_again() -> None:
    for desk in (Desk(Asked((), (), "")), Desk()):
        updates = await HANDLERS.stop(desk, *tab(session=DEBATE))
        assert 'data-panel="begin"' in updates["panel"]
        assert "gone" in json.loads(updates["trail"])


@pytest.mark.parametrize(
    ("draft", "after"),
    [
        ("", "Que veux-tu dire par "),
        ("« devoir » ?", "Que veux-tu dire par « devoir » ?"),
        ("Je pense que oui, parce que je le vois.", "Que veux-tu dire par je le vois."),
    ],
)
async def test_a_reply_to_be_finished_stands_before_the_draft(draft: str, after: str) -> None:
    updates = await HANDLERS.act(pressed("reply:3"), draft, Desk(), *tab(*TALK))
    assert updates["box"].value == after


async def test_a_reply_is_typed_with_ordinary_spaces() -> None:
    updates = await HANDLERS.act(pressed("reply:2"), "", Desk(), *tab(Turn("assistant", "Non."), session=DEBATE))
    assert updates["box"].value == "Ni l'un ni l'autre : "


async def test_a_stop_in_mid_answer_keeps_what_stands_beside_it() -> None:
    desk = Desk(say((OPENING,), "Oui."))
    assert desk.under_way
    trail = write_trail({2: Margin("MT")})
    updates = await HANDLERS.stop(desk, *tab(*TALK, trail=trail))
    assert updates["trail"] == trail
    assert desk.under_way is None
