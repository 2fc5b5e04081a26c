"""The whole way of a premium turn: router, client, a real port, gateway, search, engine; two ledgers agree."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from dialogue.conversation import Conversation, Turn
from engines.base import ChatMessage, EngineEvent, Finished, SamplingParams, Usage
from engines.testing import ScriptedEngine
from errors import EngineError, TierUnavailable
from personas import PERSONAS
from retrieval.notes import NoteIndex
from retrieval.store import Searcher
from service.counting import how_it_stands, open_counted
from service.metrics import metrics_routes
from tests.service.premium import PRICE, SECRET, gateway_over, heard, purse, spent
from tests.serving import serving, wait_until
from tiers.account import LedgerAccount
from tiers.base import AnswerOptions, Citation, Done, Event, Notice, Scheme, SchemeRead, Token, User
from tiers.budget import day_of, utc_now
from tiers.cited import CitedTier, Reading
from tiers.local import NOTES
from tiers.opening import LedgerChoice, Opened, PremiumChoice
from tiers.supply import Load
from tiers.testing import ScriptedTier

KANT = PERSONAS["kant"]
ANSWER = (Token("La loi morale [1] "), Token("ne ment pas [9]."), Finished("stop", Usage(400, 200, 40)))
FREE = ScriptedTier(Token("Gratuit."))
CANARY = "ZEBRA-7741"


def asked(text: str = "Est-ce que mentir par humanité est contraire au devoir et à la loi morale ?") -> Conversation:
    return Conversation(KANT, (Turn("assistant", KANT.opening), Turn("user", text)))


@pytest.fixture(scope="module")
def notes() -> Searcher:
    return Searcher(NoteIndex.load(NOTES).to_store())


@dataclass
class Way:
    """Both sides of the way.

    Attributes:
        page: The page's router and purse.
        purse: The gateway's.
        engine: Behind the gateway.
    """

    page: Opened
    purse: LedgerAccount
    engine: ScriptedEngine

    async def answer(
        self, user: User | None = None, conversation: Conversation | None = None, **options: object
    ) -> list[Event]:
        wanted = AnswerOptions(**options)  # type: ignore[arg-type]
        return await heard(self.page.router.stream(conversation or asked(), user or User("tab"), wanted))


@asynccontextmanager
async def whole(
    folder: Path, notes: Searcher, engine: ScriptedEngine | None = None, live: int | None = 1
) -> AsyncIterator[Way]:
    engine = engine or ScriptedEngine(*ANSWER)
    tier = CitedTier(engine, notes, Reading(n_ctx=4096), model="scripted")
    much = Decimal(1000)
    ledger = LedgerChoice(folder, secret=SECRET, reports=folder / "reports", day_usd=much, month_usd=much)
    with purse(folder, name="gateway", live=live) as account, gateway_over(tier, account) as url:
        page, _ = open_counted(FREE, ledger, PremiumChoice(url, SECRET, everybody=True))
        try:
            yield Way(page, account, engine)
        finally:
            await page.aclose()
            page.close()


async def test_a_turn_comes_with_passages_checked_references_and_the_same_bill_on_both_sides(
    tmp_path: Path, notes: Searcher
) -> None:
    async with whole(tmp_path, notes) as way:
        events = await way.answer()
        assert way.page.account is not None
        bills = (spent(way.page.account).day, spent(way.purse).day)
    text = "".join(event.text for event in events if isinstance(event, Token))
    assert text == "La loi morale [1] ne ment pas."
    assert Notice("marker_removed") in events
    found = [event for event in events if isinstance(event, Citation)]
    assert found
    assert found[0].number == 1
    assert any(isinstance(event, Scheme) for event in events)
    assert any(isinstance(event, SchemeRead) for event in events)
    assert isinstance(events[-1], Done)
    assert events[-1].usage.prompt_tokens == 400
    assert bills[0] == bills[1]
    assert bills[0].gpu_ms > 0


async def test_an_unticked_passage_is_left_out_on_the_other_side(tmp_path: Path, notes: Searcher) -> None:
    async with whole(tmp_path, notes) as way:
        before = [event.id for event in await way.answer() if isinstance(event, Citation)]
        after = [event.id for event in await way.answer(excluded=(before[0],)) if isinstance(event, Citation)]
    assert before[0] not in after


async def test_an_engine_that_fails_leaves_the_pupil_answered(tmp_path: Path, notes: Searcher) -> None:
    async with whole(tmp_path, notes, ScriptedEngine(EngineError("gone"))) as way:
        events = await way.answer()
    assert [event.code for event in events if isinstance(event, Notice)] == ["premium_down"]
    assert "".join(event.text for event in events if isinstance(event, Token)) == "Gratuit."
    assert not any(isinstance(event, Citation) for event in events)


async def test_a_closed_page_frees_the_engine_within_two_seconds(tmp_path: Path, notes: Searcher) -> None:
    engine = ScriptedEngine(*[Token("mot ")] * 400, pause_s=0.02)
    async with whole(tmp_path, notes, engine) as way:
        async with aclosing(way.page.router.stream(asked(), User("tab"))) as stream:
            async for event in stream:
                if isinstance(event, Token):
                    break
        await asyncio.to_thread(wait_until, lambda: engine.closed_early == 1, 6.0)
        engine.script = ANSWER
        engine.pause_s = 0
        assert isinstance((await way.answer())[-1], Done)


class Parrot(ScriptedEngine):
    """Says the last word of its prompt again and again, slowly: what belongs to whom can be seen."""

    async def stream(
        self,
        messages: Sequence[ChatMessage],
        params: SamplingParams,
        *,
        deadline_s: float | None = None,
        client: str = "",
    ) -> AsyncGenerator[EngineEvent, None]:
        del params, deadline_s, client
        for _ in range(5):
            await asyncio.sleep(0.01)
            yield Token(messages[-1]["content"].split()[-1] + " ")
        yield Finished("stop", Usage())


async def test_thirty_talks_at_once_never_mix(tmp_path: Path, notes: Searcher) -> None:
    async with whole(tmp_path, notes, Parrot(), live=None) as way:
        names = [f"mot{n:02}x" for n in range(30)]
        users = [User(f"tab-{name}") for name in names]
        both = zip(users, names, strict=True)
        answers = await asyncio.gather(*(way.answer(user, asked(f"La loi morale dit {name}")) for user, name in both))
    for name, events in zip(names, answers, strict=True):
        said = "".join(event.text for event in events if isinstance(event, Token))
        assert set(said.split()) == {name}


def all_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_nothing_a_pupil_writes_is_logged_counted_or_written(
    tmp_path: Path, notes: Searcher, caplog: pytest.LogCaptureFixture
) -> None:
    """T14, P9: a marked word and a name, through answers, failures and refusals."""
    caplog.set_level(logging.DEBUG)
    ours = ("service", "tiers", "dialogue", "retrieval", "engines")
    for script in (ANSWER, (Token("a"), RuntimeError(CANARY)), (RuntimeError(CANARY),)):
        async with whole(tmp_path, notes, ScriptedEngine(*script)) as way:
            pupil = asked(f"Je m'appelle Ulysse {CANARY} et la loi morale ?")
            with suppress(TierUnavailable):
                await way.answer(User("tab-" + CANARY), pupil)
            assert way.page.account is not None
            files = all_bytes(tmp_path)
            metrics = str(how_it_stands(way.page))
        assert not any("Ulysse" in str(message) for prompt in way.engine.received for message in prompt)
        said = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith(ours))
        assert said
        assert not any(word in text for word in (CANARY, "Ulysse", SECRET) for text in (said, metrics))
        assert CANARY.encode() not in files
        assert b"Ulysse" not in files


# --- how things stand ------------------------------------------------------------------------------------------------


async def test_metrics_say_breaker_budget_and_queue(tmp_path: Path, notes: Searcher) -> None:
    async with whole(tmp_path, notes) as way:
        await way.answer()
        now = how_it_stands(way.page, Load(3, 900, 4096))
        premium, free = now["premium"], now["free"]
        assert way.page.account is not None
        lines = way.page.account.ledger.day_costs(day_of(utc_now()))
    assert (premium.breaker, free.queue_length, free.cache_cells_used, free.cache_cells) == ("closed", 3, 900, 4096)
    assert premium.budget_left is not None
    assert premium.limits is not None
    assert premium.budget_left.day != premium.limits.day
    [line] = lines
    assert (line.tier, line.persona, line.calls, line.tokens_in, line.tokens_out) == ("premium", "kant", 1, 400, 40)
    assert line.cost.micro_usd == PRICE.of(line.cost.gpu_ms / 1000).micro_usd


async def test_the_pages_metrics_are_served_behind_their_token(tmp_path: Path) -> None:
    free = ScriptedTier(Token("Oui."), Done("stop", Usage(completion_tokens=3)))
    page, metrics = open_counted(free, LedgerChoice(tmp_path, reports=tmp_path / "reports"))
    await heard(page.router.stream(asked(), User("tab")))
    with serving(FastAPI(routes=[*metrics_routes(metrics, "x" * 16)])) as url:
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            closed = await client.get("/metrics")
            opened = await client.get("/metrics", headers={"Authorization": "Bearer " + "x" * 16})
    page.close()
    assert closed.status_code == 401
    assert 'calls_count{persona="kant",tier="free"} 1.0' in opened.text
    assert 'tokens_out_count{persona="kant",tier="free"} 1.0' in opened.text
