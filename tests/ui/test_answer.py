"""Events become what is shown; errors become sentences; closing frees the tier."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import pairwise

import pytest

from dialogue.conversation import Conversation, Turn
from engines.base import Usage
from errors import EngineBusy, TierUnavailable
from personas import get_persona
from tiers.base import (
    Card,
    Citation,
    Done,
    Evaluation,
    Event,
    Notice,
    Queued,
    Scheme,
    SchemeRead,
    Token,
    User,
    Warming,
)
from tiers.pulse import pulsed
from tiers.testing import ScriptedTier
from ui.answer import FRAME_S, Shown, answering
from ui.session import Source
from ui.texts import ENGLISH, FRENCH, Language

ASKED = Conversation(get_persona("kant"), (Turn("user", "canari-7391 suis-je libre ?"),))
ANYONE = User("tab")


async def moments(*script: Event | Exception, pause_s: float = 0.0, pulse_s: float = 1.0) -> list[Shown]:
    tier = ScriptedTier(*script, pause_s=pause_s)
    async with aclosing(answering(tier, ASKED, ANYONE, lambda: "fr", pulse_s=pulse_s)) as shown:
        return [moment async for moment in shown]


@pytest.mark.parametrize(
    ("script", "last"),
    [
        ([Token("Par "), Token("devoir."), Done("stop", Usage())], Shown("Par devoir.", "", "notice", over=True)),
        ([Token("Par "), EngineBusy("Full.")], Shown("Par ", FRENCH["engine_busy"], "error", over=True)),
        ([TierUnavailable("None.", code="model_corrupt")], Shown("", FRENCH["model_corrupt"], "error", over=True)),
        ([ValueError("canari-7391")], Shown("", FRENCH["internal"], "error", over=True)),
        ([Token("Trop"), Done("deadline", Usage())], Shown("Trop", FRENCH["deadline"], "notice", over=True)),
        (
            [Citation(2, "Kant", "B", "", "…"), Citation(1, "Kant", "A", "§ 1", "…"), Token("Oui.")],
            Shown(
                "Oui.",
                "",
                "notice",
                over=True,
                sources=(Source(1, "Kant", "A", "§ 1", "…"), Source(2, "Kant", "B", "", "…")),
            ),
        ),
        ([Scheme("MT", "contredire", told=True), Token("Oui.")], Shown("Oui.", "", "notice", over=True, scheme="MT")),
        ([Scheme("MT", "contredire", told=False), Token("Oui.")], Shown("Oui.", "", "notice", over=True)),
        (
            [Scheme("MT", "contredire", told=False), Token("Oui."), SchemeRead("MT", "MP", 3, "", "Si tu lis…")],
            Shown("Oui.", "", "notice", over=True, scheme="MP", filled="Si tu lis…"),
        ),
        (
            [Scheme("MT", "contredire", told=True), Token("Oui."), SchemeRead("MT", "", 2, "", None)],
            Shown("Oui.", "", "notice", over=True, scheme="MT"),
        ),
        ([Token("Trop"), Card("crisis", "Appelle.", "Call.")], Shown("", "", "notice", over=True, card="Appelle.")),
        ([Token("Oui."), Evaluation({"v": 1})], Shown("Oui.", "", "notice", over=True, evaluation={"v": 1})),
        ([Token("Oui."), Evaluation(None, "invalid")], Shown("Oui.", "", "notice", over=True)),
        ([Token("Oui."), Evaluation({"v": 1}, by="rules")], Shown("Oui.", "", "notice", over=True)),
        (
            [Notice("hub_unreachable"), Token("Oui.")],
            Shown("Oui.", FRENCH["hub_unreachable"], "notice", over=True),
        ),
    ],
)
async def test_the_last_moment(script: list[Event | Exception], last: Shown) -> None:
    """What was already said stays on screen when a tier fails midway."""
    seen = await moments(*script)
    assert seen[-1] == last
    assert [moment.over for moment in seen] == [False] * (len(seen) - 1) + [True]


@pytest.mark.parametrize(
    "script",
    [
        [Queued(3), Token("Oui.")],
        [Token("Trop"), Done("deadline", Usage())],
        [Token("Oui."), Notice("quote_unmarked")],
        [Token("Oui."), EngineBusy("Full.")],
    ],
)
async def test_the_line_of_help_stays_whatever_comes_later(script: list[Event | Exception]) -> None:
    assert {moment.worry for moment in await moments(Notice("worry"), *script)} == {FRENCH["worry"]}
    after_a_card = (await moments(Notice("worry"), *script[:1], Card("crisis", "Appelle.", "Call.")))[-1]
    assert (after_a_card.card, after_a_card.worry) == ("Appelle.", "")  # the card says more


async def test_waiting_is_said_in_words() -> None:
    seen = await moments(
        Queued(4), Queued(2, 7.6), Queued(1), Warming("loading", 0.5), Token("Bon."), Done("stop", Usage())
    )
    assert [moment.notice for moment in seen[:4]] == [
        FRENCH["queued"].format(place=4),
        FRENCH["queued_eta"].format(place=2, seconds=8),
        FRENCH["queued_next"],
        FRENCH["loading"],
    ]
    assert (seen[3].progress, seen[-1].notice) == (0.5, "")


async def test_what_was_told_is_told_in_the_language_of_the_moment() -> None:
    tongue: list[Language] = ["fr"]
    tier = ScriptedTier(Notice("hub_unreachable"), Token("Bon."))
    async with aclosing(answering(tier, ASKED, ANYONE, lambda: tongue[0])) as shown:
        assert (await anext(shown)).notice == FRENCH["hub_unreachable"]
        tongue[0] = "en"
        assert [moment.notice async for moment in shown][-1] == ENGLISH["hub_unreachable"]


async def test_the_answer_only_grows() -> None:
    began = time.monotonic()
    seen = await moments(*[Token(f"{n} ") for n in range(40)], pause_s=0.01)
    answers = [moment.answer for moment in seen]
    assert all(after.startswith(before) for before, after in pairwise(answers))
    assert answers[-1] == "".join(f"{n} " for n in range(40))
    # A page is not redrawn for every token.
    assert 3 < len(answers) <= 3 + (time.monotonic() - began) / FRAME_S


async def test_a_silent_tier_still_gives_a_pulse() -> None:
    """Gradio notices a closed page only when something is yielded."""
    seen = await moments(Token("Enfin."), pause_s=1.0, pulse_s=0.05)
    assert len(seen) > 5
    assert seen[-1].answer == "Enfin."


@pytest.mark.parametrize("pause_s", [0.01, 30.0], ids=["speaking", "thinking"])
async def test_closing_closes_the_tier(pause_s: float) -> None:
    tier = ScriptedTier(*[Token("mot ")] * 1000, pause_s=pause_s)
    async with aclosing(answering(tier, ASKED, ANYONE, lambda: "fr", pulse_s=0.02)) as shown:
        async for _ in shown:
            break
    assert tier.closed_early == 1


async def test_cancelling_closes_the_tier() -> None:
    tier = ScriptedTier(Token("mot"), pause_s=30.0)

    async def listen() -> None:
        async with aclosing(answering(tier, ASKED, ANYONE, lambda: "fr")) as shown:
            async for _ in shown:
                pass

    listening = asyncio.create_task(listen())
    await asyncio.sleep(0.05)
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening
    assert tier.closed_early == 1


async def test_pulsed_passes_errors_on() -> None:
    async def broken() -> AsyncGenerator[int, None]:
        yield 1
        raise KeyError("two")

    seen: list[int | None] = []

    async def listen() -> None:
        async with aclosing(pulsed(broken(), 1.0)) as events:
            async for event in events:
                seen.append(event)  # noqa: PERF401 - the list must outlive the error

    with pytest.raises(KeyError):
        await listen()
    assert seen == [1]


async def test_many_at_once_do_not_mix() -> None:
    async def one(number: int) -> str:
        script = [Token(f"{number} ")] * 20
        return (await moments(*script, pause_s=0.002))[-1].answer

    answers = await asyncio.gather(*(one(number) for number in range(30)))
    assert answers == [f"{number} " * 20 for number in range(30)]


@pytest.mark.parametrize("script", [[Token("réponse-5520")], [ValueError("canari-7391")], [EngineBusy("Full.")]])
async def test_no_log_holds_what_was_said(script: list[Event | Exception], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="ui"):
        await moments(*script)
    assert caplog.records
    assert "canari-7391" not in caplog.text
    assert "réponse-5520" not in caplog.text
