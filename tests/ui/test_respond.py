"""The stream of a tab: in a Maïeuthon a model is asked for its words, and what is wrong with them blocks nothing."""

import json
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import fields
from typing import Any

import pytest

from dialogue.conversation import Turn
from dialogue.evaluation import EvaluationAsk
from dialogue.maieuthon import remark
from errors import TierUnavailable
from personas import get_persona
from personas.questions import questions_of
from tiers.base import ANSWER_AS_USUAL, Evaluation, Event, Token, User
from tiers.testing import ScriptedTier
from ui.actions import Asked, Desk
from ui.respond import Responder
from ui.session import Margin, Session, read_trail, write_trail
from ui.tab import Widgets

KANT = get_persona("kant")
MAIEUTHON = Session("maieuthon", questions_of("kant")[0].text)
SAID = "Je pense que mentir détruit la confiance, parce que plus personne ne croit personne."
WORDS = {"these": "Mentir tue la confiance.", "preuve": SAID, "problematiser": "non", "conceptualiser": "oui",
         "argumenter": "oui", "suite": "Cherche un mensonge que tout le monde connaît."}  # fmt: skip
NAMED = Widgets(**{one.name: one.name for one in fields(Widgets)})  # an update is found by name


async def answered(
    *script: Event | Exception, session: Session = MAIEUTHON, before: str = "{}", opened: Sequence[Turn] = ()
) -> tuple[dict[str, Any], ScriptedTier]:
    """Ask once; return every update, the last of each widget, and the tier."""
    tier, turns = ScriptedTier(*script), (*opened, Turn("user", SAID))
    desk = Desk(Asked(turns, tuple(opened), SAID))
    last: dict[str, Any] = {}
    responding = Responder(NAMED, tier).respond(desk, "kant", "fr", session.to_json(), before, User("tab"))
    async with aclosing(responding) as moments:
        async for updates in moments:
            last |= updates
    return last, tier


async def test_a_model_is_asked_for_its_words_in_a_maieuthon_alone() -> None:
    last, tier = await answered(Token("Et si tous mentaient ?"), Evaluation(WORDS))
    assert tier.options[0].evaluation == EvaluationAsk("after")
    assert "Cherche un mensonge que tout le monde connaît." in last["margin"]
    (one,) = read_trail(last["trail"]).values()
    assert one.remark
    assert (one.remark.these, one.remark.conceptualiser) == (SAID, "oui")  # the pupil's words, the model's view
    _, talk = await answered(Token("Et alors ?"), session=Session())
    assert talk.options == [ANSWER_AS_USUAL]


@pytest.mark.parametrize(
    "script",
    [
        [Token("Et ?")],
        [Token("Et ?"), Evaluation(None, "invalid")],
        [Token("Et ?"), Evaluation({**WORDS, "suite": "Lu par règle."}, by="rules")],
        [Token("Et ?"), Evaluation({"these": 3, "argumenter": "bravo", "suite": None})],
    ],
    ids=["none", "refused", "rules", "nonsense"],
)
async def test_a_broken_evaluation_blocks_nothing(script: list[Event]) -> None:
    last, _ = await answered(*script)
    (one,) = read_trail(last["trail"]).values()
    assert one.remark == remark(SAID)


async def test_an_answer_that_failed_is_no_exchange() -> None:
    last, _ = await answered(Token("Et"), TierUnavailable("down"))
    assert not any(one.remark for one in read_trail(last["trail"]).values())


@pytest.mark.parametrize(
    ("these", "told"), [("Je pense que mentir est mal.", True), ("Je m'appelle Zoé et mentir est mal.", False)]
)
async def test_what_was_read_before_is_told_unless_it_names_somebody(these: str, told: bool) -> None:
    opened = (Turn("user", these), Turn("assistant", "Pourquoi ?"))
    before = write_trail({1: Margin("MT", remark=remark(these))})
    assert these in json.loads(before)["1"]["remark"]["these"]
    _, tier = await answered(Token("Et ?"), before=before, opened=opened)
    asked = tier.options[0].evaluation
    assert asked
    assert (asked.previous is not None and asked.previous.these == these) is told
