"""Tokens of a session and of a day: tight for a browser, loose for an address, never in the way of a card."""

from contextlib import aclosing

import pytest

from dialogue.conversation import Conversation, Turn
from engines.base import Usage
from errors import TierBusy
from personas import PERSONAS
from tiers.allowance import DAY_S, MOST_KEYS, Allowance, LimitedTier
from tiers.base import Done, Event, Token, User
from tiers.testing import ScriptedTier

ANSWER = (Token("Oui."), Done("stop", Usage(prompt_tokens=90, completion_tokens=10)))
SMALL = Allowance(session=250, day=450, address_day=900, session_gap_s=60)


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


async def ask(tier: LimitedTier, client: str = "tab", address: str = "", text: str = "Suis-je libre ?") -> list[Event]:
    conversation = Conversation(PERSONAS["kant"], (Turn("user", text),))
    async with aclosing(tier.stream(conversation, User(client, address=address))) as events:
        return [event async for event in events]


async def spent(tier: LimitedTier, times: int, client: str = "tab", address: str = "") -> None:
    for _ in range(times):
        await ask(tier, client, address)


async def refused(tier: LimitedTier, client: str = "tab", address: str = "") -> TierBusy:
    with pytest.raises(TierBusy) as caught:
        await ask(tier, client, address)
    return caught.value


async def test_a_session_ends_and_a_pause_begins_another() -> None:
    clock = Clock()
    tier = LimitedTier(ScriptedTier(*ANSWER), SMALL, clock)
    await spent(tier, 3)
    error = await refused(tier)
    assert (error.code, error.retry_after_s, error.retryable) == ("session_limit", 60, True)
    clock.now = 59
    assert (await refused(tier)).code == "session_limit"
    assert await ask(tier, "another") == list(ANSWER)
    clock.now = 61
    assert await ask(tier) == list(ANSWER)


async def test_a_day_ends_whatever_the_pauses() -> None:
    clock = Clock()
    tier = LimitedTier(ScriptedTier(*ANSWER), SMALL, clock)
    for _ in range(5):
        await ask(tier)
        clock.now += 100
    error = await refused(tier)
    assert error.code == "day_limit"
    assert error.retry_after_s == DAY_S - 500
    clock.now = DAY_S + 1
    assert await ask(tier) == list(ANSWER)


async def test_an_address_is_counted_over_all_its_browsers() -> None:
    tier = LimitedTier(ScriptedTier(*ANSWER), SMALL, Clock())
    for number in range(9):
        await ask(tier, f"tab {number}", "school")
    assert (await refused(tier, "tab 10", "school")).code == "day_limit"
    assert await ask(tier, "tab 10", "elsewhere") == list(ANSWER)


async def test_distress_is_never_turned_away() -> None:
    inner = ScriptedTier(*ANSWER)
    tier = LimitedTier(inner, SMALL, Clock())
    await spent(tier, 3)
    await refused(tier)
    await ask(tier, text="J'ai envie de mourir.")
    assert len(inner.received) == 4


async def test_what_failed_costs_nothing() -> None:
    tier = LimitedTier(ScriptedTier(*[Token("Oui")] * 100, TierBusy("full")), SMALL, Clock())
    for _ in range(5):
        with pytest.raises(TierBusy, match="full"):
            await ask(tier)


async def test_what_was_left_before_its_end_counts_as_far_as_it_was_written() -> None:
    """Else whoever stops each answer one word early has no bound at all."""
    tier = LimitedTier(ScriptedTier(*[Token("Oui")] * 100, Done("stop", Usage())), SMALL, Clock())
    conversation = Conversation(PERSONAS["kant"], (Turn("user", "Suis-je libre ?"),))
    for _ in range(3):
        async with aclosing(tier.stream(conversation, User("tab"))) as events:
            for _ in range(99):
                await anext(events)
    assert (await refused(tier)).code == "session_limit"


async def test_none_is_no_bound_and_memory_is_bounded() -> None:
    tier = LimitedTier(ScriptedTier(*ANSWER), Allowance(None, None, None), Clock())
    await spent(tier, 20)
    for number in range(MOST_KEYS + 5):
        tier._use(str(number))
    assert len(tier._uses) == MOST_KEYS
