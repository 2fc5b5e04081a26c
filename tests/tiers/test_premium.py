"""The fault matrix: whatever the gateway does, the pupil has an answer in time, and is charged once at most."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from errors import TierBusy, TierUnavailable
from tests.service.premium import ASKED, PERSON, PRICE, SEAL, heard, purse, spent
from tests.tiers.faulty import (
    GOOD,
    Faulty,
    Reply,
    drip,
    events,
    faulty,
    flood,
    hang,
    later,
    reset,
    slam,
    status,
    wake_for_ever,
)
from tiers.account import LedgerAccount
from tiers.base import AnswerOptions, Done, Event, Notice, Token, Usage, User, Warming
from tiers.breaker import AT_LEAST, OPEN_S, Breaker
from tiers.budget import day_of, utc_now
from tiers.entitlements import Plan
from tiers.premium import CUT, OURS, SLOW, Patience, PremiumTier
from tiers.router import PremiumSide, Router
from tiers.testing import ScriptedTier
from tiers.waking import WAKING, ColdStarts
from tiers.wire import DOWN, write_event
from ui.texts import text_of_code

QUICK = Patience(connect_s=3.0, wait_s=2.0, silence_s=2.0, total_s=4.0)
SOPHIE = User("tab-1", person=PERSON)
BUDGET = b'{"code": "budget_day", "retry_after_s": null}'


@asynccontextmanager
async def premium_at(
    url: str, breaker: Breaker | None = None, patience: Patience = QUICK, starts: ColdStarts | None = None
) -> AsyncIterator[PremiumTier]:
    keys = {"Modal-Key": "wk-1"}
    tier = PremiumTier(url, SEAL, headers=keys, patience=patience, breaker=breaker, starts=starts)
    try:
        yield tier
    finally:
        await tier.aclose()


async def collect(tier: Router, said: list[Event]) -> None:
    """Keep what comes before an error, too."""
    async with aclosing(tier.stream(ASKED, SOPHIE)) as stream:
        async for event in stream:
            said.append(event)  # noqa: PERF401


async def answer(tier: PremiumTier) -> list[Event]:
    return await heard(tier.stream(ASKED, SOPHIE))


async def test_an_answer_comes_with_what_it_cost() -> None:
    async with faulty(events(GOOD)) as server, premium_at(server.url) as tier:
        said = await answer(tier)
    assert said == [Token("Oui, "), Token("librement."), Done("stop", Usage(9, 0, 4, gpu_s=2))]
    [request] = server.requests
    head, _, body = request.partition(b"\r\n\r\n")
    assert b"modal-key: wk-1" in head.lower()
    assert SEAL.verify(head.split(b"Bearer ")[1].split(b"\r\n")[0].decode(), body).person == PERSON
    assert b"HTTP/1.1" in head


# --- the matrix ------------------------------------------------------------------------------------------------------

EARLY: list[tuple[str, Reply | None, str, int]] = [
    # name, what the gateway does, the code, how often it is asked
    ("refused", None, DOWN, 0),
    ("hang", hang, SLOW, 1),
    ("slam", slam, DOWN, 2),
    ("303 for ever", status(303, b"Location: /again\r\n"), DOWN, 4),
    ("303 elsewhere", status(303, b"Location: http://127.0.0.1:1/x\r\n"), DOWN, 1),
    ("303 nowhere", status(303), DOWN, 4),
    ("401", status(401), DOWN, 1),
    ("402", status(402, body=BUDGET), "budget_day", 1),
    ("403", status(403), DOWN, 1),
    ("404", status(404), OURS, 1),
    ("408", status(408), DOWN, 1),
    ("429", status(429), DOWN, 2),
    ("429 live", status(429, body=b'{"code": "live_stream"}'), "live_stream", 1),
    ("429 in an hour", status(429, b"Retry-After: 3600\r\n", b""), DOWN, 1),
    ("500", status(500), DOWN, 1),
    ("502", status(502, body=b"<html>bad gateway</html>"), DOWN, 2),
    ("503", status(503), DOWN, 2),
    ("503 of 1 MB", status(503, body=b"x" * 1_000_000), DOWN, 2),
    ("a page", status(200, b"Content-Type: text/html\r\n", b"<html>Hello</html>"), DOWN, 1),
    ("drip", drip, SLOW, 1),
    ("cut at once", events(b""), DOWN, 1),
    ("cut in mid-event", events(GOOD[:20]), DOWN, 1),
    ("bad JSON", events(b"event: token\ndata: {not json}\n\n"), DOWN, 1),
    ("bad UTF-8", events(b"event: token\ndata: {\"text\": \"\xc3\xc3\"}\n\n"), DOWN, 1),
    ("10 MB line", flood, DOWN, 1),
    ("wakes for ever", wake_for_ever, WAKING, 1),
    ("its own error", events(b'event: error\ndata: {"code": "internal"}\n\n'), DOWN, 1),
    ("its own sleep", events(b'event: error\ndata: {"code": "premium_waking"}\n\n'), WAKING, 1),
    ("its own budget", events(b'event: error\ndata: {"code": "budget_month"}\n\n'), "budget_month", 1),
    ("an unknown error", events(b'event: error\ndata: {"code": "<b>x</b>"}\n\n'), DOWN, 1),
    ("compressed", status(200, b"Content-Type: text/event-stream\r\nContent-Encoding: gzip\r\n", GOOD[:-1]), DOWN, 1),
]  # fmt: skip
LATE: list[tuple[str, Reply]] = [
    ("cut in mid-SSE", events(GOOD[: GOOD.index(b"librement") + 3])),
    ("cut in mid-UTF-8", events(GOOD[: GOOD.index(b"event: usage")], write_event(Token("é"))[:-6])),
    ("reset", reset),
    ("hang in the middle", events(GOOD[:45], then_hang=True)),
    ("bad JSON in the middle", events(write_event(Token("Oui, ")), b"event: token\ndata: [\n\n")),
    ("error in the middle", events(write_event(Token("Oui, ")), b'event: error\ndata: {"code": "x"}\n\n')),
    ("for ever", events(*[write_event(Token("et "))] * 400, pause_s=0.05)),
]


@asynccontextmanager
async def misbehaving(reply: Reply | None) -> AsyncIterator[Faulty]:
    """None is a port on which nobody listens."""
    async with faulty(reply or hang) as server:
        if reply is not None:
            yield server
            return
    yield server


@pytest.mark.parametrize("first", [slam, status(503), status(502), status(429, b"Retry-After: 1\r\n", b"")])
async def test_a_second_try_may_succeed(first: Reply) -> None:
    async with faulty(first, events(GOOD)) as server, premium_at(server.url, patience=Patience()) as tier:
        assert isinstance((await answer(tier))[-1], Done)
    bodies = [request.partition(b"\r\n\r\n")[2] for request in server.requests]
    tokens = [request.split(b"Bearer ")[1].split(b"\r\n")[0] for request in server.requests]
    assert bodies[0] == bodies[1]  # the same request id: whoever was heard twice is charged once
    assert tokens[0] != tokens[1]


async def test_a_303_of_the_same_host_is_followed_with_the_hosts_keys() -> None:
    first = status(303, b"Location: /result/1\r\n")
    async with faulty(first, events(GOOD)) as server, premium_at(server.url, patience=Patience()) as tier:
        assert isinstance((await answer(tier))[-1], Done)
    assert server.requests[1].startswith(b"GET /result/1 ")
    assert b"modal-key" in server.requests[1].lower()


async def test_a_closed_stream_closes_its_connection() -> None:
    async with faulty(events(GOOD[:45], then_hang=True)) as server, premium_at(server.url) as tier:
        async with aclosing(tier.stream(ASKED, SOPHIE)) as stream:
            assert await anext(stream) == Token("Oui, ")
        await server.nobody_is_left(within_s=10)
    assert tier.breaker.state == "closed"


async def test_a_cold_start_is_shown_with_an_estimate_before_anybody_says_so() -> None:
    async with faulty(later(1.4)) as server, premium_at(server.url, patience=Patience()) as tier:
        said = await answer(tier)
    warmings = [event for event in said if isinstance(event, Warming)]
    assert warmings
    assert all(w.code == WAKING and w.eta_s and w.progress is not None and w.progress < 1 for w in warmings)
    assert isinstance(said[-1], Done)


async def test_a_gateway_that_fails_is_left_alone_and_tried_again() -> None:
    now = [0.0]
    breaker = Breaker(lambda: now[0])
    async with faulty(*[status(500)] * AT_LEAST, events(GOOD)) as server, premium_at(server.url, breaker) as tier:
        for _ in range(AT_LEAST + 5):
            with pytest.raises(TierUnavailable):
                await answer(tier)
        assert len(server.requests) == AT_LEAST
        states = [tier.status.state]
        now[0] += 60
        assert isinstance((await answer(tier))[-1], Done)
        assert [*states, tier.status.state] == ["failed", "ready"]


@pytest.mark.parametrize("reply", [wake_for_ever, status(402, body=BUDGET), status(404)])
async def test_what_is_no_fault_of_the_gateway_never_opens_the_breaker(reply: Reply) -> None:
    breaker = Breaker()
    async with faulty(reply) as server, premium_at(server.url, breaker) as tier:
        for _ in range(AT_LEAST):
            with pytest.raises((TierBusy, TierUnavailable)):
                await answer(tier)
    assert breaker.state == "closed"


# --- the whole turn: premium, then the free tier ---------------------------------------------------------------------


class SophiePlans:
    """Keeps the contract of `Plans`: whoever asks is Sophie, and has premium."""

    async def plan(self, user: User) -> tuple[str | None, Plan]:
        del user
        return PERSON, Plan("premium", "grant")


FREE = (Token("Je réponds "), Token("moi-même."), Done("stop", Usage(5, 0, 2)))


@pytest.fixture
def account(tmp_path: Path) -> Iterator[LedgerAccount]:
    with purse(tmp_path) as one:
        yield one


def failures(account: LedgerAccount) -> dict[str, tuple[int, int]]:
    """Calls and failures of each tier: a call that failed does not count against a pupil's day."""
    return {line.tier: (line.calls, line.failures) for line in account.ledger.day_costs(day_of(utc_now()))}


@pytest.mark.parametrize(("name", "reply", "code", "asked"), EARLY, ids=[name for name, *_ in EARLY])
async def test_a_fault_before_the_first_word_leaves_the_pupil_answered_and_charged_nothing(
    account: LedgerAccount, name: str, reply: Reply | None, code: str, asked: int
) -> None:
    """In time a notice, then the free tier; no premium answer is counted, no connection left; the next turn works."""
    async with misbehaving(reply) as server, premium_at(server.url) as tier:
        router = Router(ScriptedTier(*FREE), account, PremiumSide(tier, SophiePlans(), PRICE, 30.0))
        began = time.monotonic()
        said = await heard(router.stream(ASKED, SOPHIE))
        assert time.monotonic() - began < QUICK.wait_s + 10
        assert len(server.requests) == asked
        await server.nobody_is_left(within_s=10)
        [notice] = [event for event in said if isinstance(event, Notice)]
        assert notice.code == (DOWN if code == OURS else code)
        assert text_of_code("fr", notice.code) != text_of_code("fr", "internal")
        assert [event for event in said if isinstance(event, (Token, Done))] == list(FREE)
        assert failures(account) == {"free": (1, 0), "premium": (1, 1)}
        assert spent(account).day.gpu_ms <= 1000 * (QUICK.wait_s + 10)
        if reply is not None:
            server.replies = [events(GOOD)]
            assert Token("Oui, ") in await heard(router.stream(ASKED, SOPHIE))


@pytest.mark.parametrize(("name", "reply"), LATE, ids=[name for name, _ in LATE])
async def test_a_fault_after_the_first_word_ends_the_answer_once_and_the_next_turn_works(
    account: LedgerAccount, name: str, reply: Reply
) -> None:
    said = list[Event]()
    async with faulty(reply) as server, premium_at(server.url) as tier:
        router = Router(ScriptedTier(*FREE), account, PremiumSide(tier, SophiePlans(), PRICE, 30.0))
        began = time.monotonic()
        with pytest.raises(TierUnavailable) as caught:
            await collect(router, said)
        assert time.monotonic() - began < QUICK.total_s + 10
        assert (caught.value.code, len(server.requests)) == (CUT, 1)
        assert any(isinstance(event, Token) for event in said)
        assert text_of_code("fr", CUT) != text_of_code("fr", "internal")
        assert failures(account) == {"premium": (1, 1)}
        await server.nobody_is_left(within_s=10)
        server.replies = [events(GOOD)]
        assert Token("librement.") in await heard(router.stream(ASKED, SOPHIE))


@pytest.mark.parametrize("reply", [slam, status(503), status(401), hang, drip])
async def test_what_no_gateway_has_heard_costs_nothing(
    account: LedgerAccount, reply: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the page says that it waits; a byte is enough to be heard."""
    monkeypatch.setattr("tiers.premium.HIDDEN_S", 0.1)
    async with faulty(reply) as server, premium_at(server.url) as tier:
        router = Router(ScriptedTier(*FREE), account, PremiumSide(tier, SophiePlans(), PRICE, 30.0))
        await heard(router.stream(ASKED, SOPHIE, AnswerOptions(request_id="one")))
    assert (spent(account).day.gpu_ms > 0) == (reply is drip)


async def test_a_good_answer_through_the_router_closes_the_breaker_and_teaches_cold_starts(
    account: LedgerAccount,
) -> None:
    now = [0.0]
    breaker, starts = Breaker(lambda: now[0]), ColdStarts(45.0)
    replies = (*[status(500)] * AT_LEAST, events(write_event(Warming(WAKING)), GOOD))
    async with faulty(*replies) as server, premium_at(server.url, breaker, starts=starts) as tier:
        router = Router(ScriptedTier(*FREE), account, PremiumSide(tier, SophiePlans(), PRICE, 30.0))
        for _ in range(AT_LEAST):
            await heard(router.stream(ASKED, SOPHIE))
        assert breaker.state == "open"
        now[0] += OPEN_S
        await heard(router.stream(ASKED, SOPHIE))
    assert [breaker.state, breaker.ask(), breaker.ask()] == ["closed", True, True]
    assert starts.expected_s < 5
