"""The gateway refuses before it wakes anybody, reserves before it asks, settles however an answer ends."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from engines.base import Finished
from engines.testing import ScriptedEngine
from errors import EngineError, TierBusy, TierUnavailable
from retrieval.memory_store import MemoryStore
from retrieval.passages import Passage
from retrieval.store import Searcher
from service.gateway import Bounds
from service.metrics import Metrics
from service.paid import PaidTier
from tests.service import premium
from tests.service.premium import MUCH, PERSON, PRICE, SEAL, SECRET, gateway_over, post, purse, request, spent
from tests.serving import wait_until
from tests.tiers.money import key
from tiers.account import LedgerAccount
from tiers.base import Citation, Done, Notice, Queued, Token, Usage, User, Warming
from tiers.budget import Cost, Limits, Spent
from tiers.cited import CitedTier, Reading
from tiers.ledger import Outcome, Refused, Reserved, Ticket
from tiers.testing import ScriptedTier
from tiers.wire import PATH, Fault

USAGE = Usage(prompt_tokens=300, completion_tokens=40, first_token_s=0.1, total_s=1.0)
SCRIPT = (
    Queued(1), Warming("premium_waking", 0.5, 20.0),
    Citation(1, "Kant", "Fondements", "II", "Une note.", "n-1", "https://x.test/p", original=False),
    Token("Mentir "), Token("nie la loi [1]."), Notice("marker_removed"), Done("stop", USAGE),
)  # fmt: skip
CANARY = "ZEBRA-7741"


@pytest.fixture
def account(tmp_path: Path) -> Iterator[LedgerAccount]:
    with purse(tmp_path) as one:
        yield one


async def test_an_answer_comes_as_the_tier_says_it_and_is_settled(account: LedgerAccount) -> None:
    tier = ScriptedTier(*SCRIPT)
    with gateway_over(tier, account) as url:
        status, events = await post(url)
    assert status == 200
    assert events[:-1] == list(SCRIPT[:-1])
    done = events[-1]
    assert isinstance(done, Done)
    assert done.usage.completion_tokens == 40
    assert 0 < done.usage.gpu_s < 5
    assert spent(account).day.gpu_ms == pytest.approx(done.usage.gpu_s * 1000, abs=1)
    assert tier.users[0].person == PERSON
    assert tier.options[0].request_id == "r-1"


async def test_passages_that_the_pupil_left_out_are_passed_on(account: LedgerAccount) -> None:
    tier = ScriptedTier(Token("Oui."))
    with gateway_over(tier, account) as url:
        await post(url, **request(excluded=("n-1",), max_tokens=30))
    assert tier.options[0].excluded == ("n-1",)
    assert tier.options[0].max_tokens == 30


# --- T9, T10, T11: what is refused, and that nobody was woken --------------------------------------------------------


def sealed_with(secret: str = SECRET, algorithm: str = "HS256", **changed: Any) -> dict[str, Any]:
    body = write_request_body()
    claims = jwt.decode(SEAL.make(PERSON, body), options={"verify_signature": False}) | changed
    token = jwt.encode(claims, secret, algorithm=algorithm)
    return {"content": body, "headers": {"Authorization": f"Bearer {token}"}}


def write_request_body() -> bytes:
    content = request()["content"]
    assert isinstance(content, bytes)
    return content


REFUSALS: list[tuple[dict[str, Any], int, str]] = [
    ({"content": write_request_body()}, 401, "seal_missing"),
    ({"content": write_request_body(), "headers": {"Authorization": "Basic eDp5"}}, 401, "seal_missing"),
    ({"content": write_request_body(), "headers": {"Authorization": "Bearer"}}, 401, "seal_missing"),
    ({"content": write_request_body(), "headers": {"Authorization": "Bearer abc"}}, 403, "seal_refused"),
    ({"content": write_request_body(), "headers": {"X-User": "root", "X-Forwarded-User": "root"}}, 401, "seal_missing"),
    (sealed_with(secret="x" * 40), 403, "seal_refused"),
    (sealed_with(secret="", algorithm="none"), 403, "seal_refused"),
    (sealed_with(aud="other"), 403, "seal_refused"),
    (sealed_with(exp=1), 403, "seal_refused"),
    (sealed_with(sub="sophie"), 403, "seal_refused"),
    ({**request(), "content": write_request_body() + b" "}, 403, "seal_refused"),
]


async def test_nothing_unproven_wakes_anybody(account: LedgerAccount) -> None:
    tier = ScriptedTier(*SCRIPT)
    with gateway_over(tier, account) as url:
        for asked, status, code in REFUSALS:
            assert await post(url, **asked) == (status, [Fault(code)])
    assert tier.received == []
    assert spent(account) == Spent()


async def test_a_token_is_good_once(account: LedgerAccount) -> None:
    tier = ScriptedTier(*SCRIPT)
    asked = request()
    with gateway_over(tier, account) as url:
        answers = await asyncio.gather(*(post(url, **asked) for _ in range(5)))
    assert sorted(status for status, _ in answers) == [200, 403, 403, 403, 403]
    assert len(tier.received) == 1


async def test_a_request_is_answered_once_whatever_its_tokens(account: LedgerAccount) -> None:
    """A second try of a request that was heard is refused: one question is charged once."""
    tier = ScriptedTier(Token("Oui."), pause_s=0.2)
    with gateway_over(tier, account) as url:
        both = await asyncio.gather(post(url, **request("same")), post(url, **request("same")))
        later = await post(url, **request("same"))
    assert sorted(status for status, _ in both) == [200, 409]
    assert later == (409, [Fault("duplicate")])
    assert len(tier.received) == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "bad_request"),
        (b'{"v": 1, "turns": "' + CANARY.encode() + b'"}', 400, "bad_request"),
        (write_request_body().replace(b'"kant"', b'"plato"'), 404, "persona_not_found"),
        (b"x" * 300_000, 413, "body_too_large"),
    ],
)
async def test_a_wrong_body_is_refused_without_being_quoted(
    account: LedgerAccount, body: bytes, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    tier = ScriptedTier(*SCRIPT)
    headers = {"Authorization": f"Bearer {SEAL.make(PERSON, body)}"}
    with gateway_over(tier, account) as url:
        assert await post(url, content=body, headers=headers) == (status, [Fault(code)])
    assert tier.received == []
    assert CANARY not in caplog.text


async def test_a_body_without_end_is_not_read_to_its_end(account: LedgerAccount) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while sent < 50_000_000:
            sent += 100_000
            yield b"x" * 100_000

    with gateway_over(ScriptedTier(), account) as url:
        async with httpx.AsyncClient(trust_env=False) as client:
            with suppress(httpx.WriteError, httpx.ReadError):  # or it is refused while it is still being sent
                answer = await client.post(url + PATH, content=endless(), headers={"Authorization": "Bearer x"})
                assert answer.status_code == 413
    assert sent < 20_000_000


async def test_only_a_post_is_answered_and_the_page_of_the_api_is_closed(account: LedgerAccount) -> None:
    with gateway_over(ScriptedTier(), account) as url:
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            found = {path: (await client.get(path)).status_code for path in
                     (PATH, "/docs", "/openapi.json", "/health", "/ready", "/metrics")}  # fmt: skip
    assert found == {PATH: 405, "/docs": 404, "/openapi.json": 404, "/health": 200, "/ready": 200, "/metrics": 200}


# --- T7, T12: money --------------------------------------------------------------------------------------------------


def budget_for(n: int) -> Limits:
    held = PRICE.of(Bounds().gpu_s)
    return Limits(Cost(held.gpu_ms * n, held.micro_usd * n), MUCH.month)


async def test_at_the_edge_of_the_budget_nobody_is_woken_too_many(tmp_path: Path) -> None:
    """20 different people at once, money for 5: 5 are answered, and 15 wake nobody."""
    tier = ScriptedTier(Token("Oui."), pause_s=0.4)
    with purse(tmp_path, budget_for(5)) as account, gateway_over(tier, account) as url:
        asked = [request(f"r-{n}", key(f"pupil-{n}")) for n in range(20)]
        answers = await asyncio.gather(*(post(url, **one) for one in asked))
    refused = [one for status, events in answers if status == 402 for one in events if isinstance(one, Fault)]
    assert [fault.code for fault in refused] == ["budget_day"] * 15
    assert all(0 < (fault.retry_after_s or 0) <= 25 * 3600 for fault in refused)  # until midnight in Paris
    assert len(tier.received) == 5


async def test_one_account_has_one_stream(account: LedgerAccount) -> None:
    tier = ScriptedTier(Token("Oui."), pause_s=0.3)
    with gateway_over(tier, account) as url:
        answers = await asyncio.gather(*(post(url, **request(f"r-{n}")) for n in range(3)))
        after = await post(url, **request("r-9"))
    assert sorted(status for status, _ in answers) == [200, 429, 429]
    assert after[0] == 200


class BrokenPurse:
    """Keeps the contract of `Account` with a database that is gone."""

    limits = MUCH

    async def reserve(self, ticket: Ticket) -> Reserved | Refused:  # noqa: ARG002
        raise TierUnavailable("The ledger cannot be used.", code="ledger_unavailable")

    async def settle(self, ticket: Ticket, outcome: Outcome) -> None:  # noqa: ARG002
        raise TierUnavailable("The ledger cannot be used.", code="ledger_unavailable")

    def left(self) -> Spent:
        raise TierUnavailable("The ledger cannot be used.", code="ledger_unavailable")


async def test_a_purse_that_cannot_be_read_is_closed() -> None:
    tier = ScriptedTier(*SCRIPT)
    with gateway_over(tier, BrokenPurse()) as url:  # type: ignore[arg-type]
        status, events = await post(url)
        async with httpx.AsyncClient(trust_env=False) as client:
            said = (await client.get(url + "/metrics")).text
    assert (status, events) == (503, [Fault("ledger_unavailable", 5.0)])
    assert tier.received == []
    assert "state_readable 0.0" in said


class Watched(Searcher):
    """A real search that is counted, and fails where it is told to."""

    n_searches, fails = 0, False

    def search(self, *args: Any, **options: Any) -> Any:
        self.n_searches += 1
        if self.fails:
            raise RuntimeError("Something nobody foresaw.")
        return super().search(*args, **options)


async def test_the_tier_reads_while_the_purse_is_asked_and_a_refusal_asks_no_engine(account: LedgerAccount) -> None:
    """Plan and search run beside the reservation; they wake nobody where it is refused, and fail as an answer does."""
    engine = ScriptedEngine(Token("Oui."), Finished("stop", Usage(completion_tokens=1)))
    searcher = Watched(MemoryStore("texts", [Passage("f-1", "La liberté.", "Emmanuel Kant", "Fondements", locus="II")]))
    tier = CitedTier(engine, searcher, Reading(n_ctx=4096), model="scripted")
    with gateway_over(tier, BrokenPurse()) as url:  # type: ignore[arg-type]
        assert (await post(url))[0] == 503
    assert engine.received == []
    with gateway_over(tier, account) as url:
        status, events = await post(url, **request("found"))
        assert (status, len(engine.received)) == (200, 1)
        assert searcher.n_searches >= 1
        assert isinstance(events[-1], Done)
        searcher.fails = True
        assert await post(url, **request("fails")) == (500, [Fault("internal")])
        searcher.fails = False
        assert (await post(url, **request("after")))[0] == 200  # what was held is free again


# --- how answers end -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (TierBusy("full", retry_after_s=3.0), 503, "engine_busy"),
        (TierUnavailable("down"), 503, "tier_unavailable"),
        (EngineError(CANARY, code="engine_failed"), 500, "engine_failed"),
        (RuntimeError(CANARY), 500, "internal"),
    ],
)
async def test_a_failure_before_the_first_event_is_a_status_and_after_it_an_event(
    account: LedgerAccount, error: Exception, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    with gateway_over(ScriptedTier(error), account) as url:
        got, events = await post(url, **request("first"))
        assert (got, [event.code for event in events if isinstance(event, Fault)]) == (status, [code])
    with gateway_over(ScriptedTier(Token("Par "), error), account) as url:
        got, events = await post(url, **request("second"))
    assert got == 200
    assert events[0] == Token("Par ")
    assert isinstance(events[-1], Fault)
    assert events[-1].code == code
    assert "ZEBRA" not in "".join(map(str, events))


async def test_an_answer_past_its_deadline_is_ended(account: LedgerAccount) -> None:
    tier = ScriptedTier(*[Token("a ")] * 50, pause_s=0.1)
    with gateway_over(tier, account, Bounds(deadline_s=0.5)) as url:
        _, events = await post(url)
    assert events[-1] == Fault("engine_timeout", 5.0)
    assert 1 <= len(events) < 12
    assert tier.closed_early == 1


@pytest.mark.parametrize("n_read", [0, 1])
async def test_whoever_leaves_frees_the_place_within_two_seconds(account: LedgerAccount, n_read: int) -> None:
    tier = ScriptedTier(*[Token("a ")] * 200, pause_s=0.05)
    with gateway_over(tier, account) as url:
        async with (
            httpx.AsyncClient(trust_env=False) as client,
            client.stream("POST", url + PATH, **request()) as answer,  # type: ignore[arg-type]
        ):
            chunks = answer.aiter_raw()
            for _ in range(n_read):
                await anext(chunks)
        await asyncio.to_thread(wait_until, lambda: tier.closed_early == 1, 6.0)
        tier.script = (Token("Oui."),)
        await asyncio.to_thread(wait_until, lambda: spent(account).day.gpu_ms < PRICE.of(Bounds().gpu_s).gpu_ms, 6.0)
        assert (await post(url, **request("next")))[0] == 200  # the person's one place is free again


@pytest.mark.parametrize("leaves", [True, False])
async def test_a_start_that_nobody_waits_for_is_paid(account: LedgerAccount, leaves: bool) -> None:
    """The GPU goes on starting, and waits: whether the pupil has gone, or it took longer than a request may."""
    waking = Warming("premium_waking", 0.25, 45.0)
    tier = ScriptedTier(waking, TierBusy("asleep", code="premium_waking"))
    paid = PaidTier(tier, account, PRICE, Bounds(idle_s=100.0))
    asked = paid.stream(premium.ASKED, User("tab", person=PERSON))
    assert await anext(asked) == waking
    if leaves:
        await asked.aclose()
    else:
        with pytest.raises(TierBusy):
            await anext(asked)
    assert spent(account).day.gpu_ms == pytest.approx(145_000, abs=5_000)


async def test_whoever_leaves_while_the_purse_is_asked_leaves_nothing_held(account: LedgerAccount) -> None:
    slow = LedgerAccount(premium.SlowLedger(account.store, MUCH), account.store, MUCH)
    paid = PaidTier(ScriptedTier(*SCRIPT), slow, PRICE, Bounds())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(premium.heard(paid.stream(premium.ASKED, User("tab", person=PERSON))), 0.2)
    assert spent(account) == Spent()


async def test_a_silent_tier_is_heard_of(account: LedgerAccount) -> None:
    """Comments keep the stream alive, and the page knows that somebody is there."""
    with gateway_over(ScriptedTier(Token("Oui."), pause_s=2.5), account) as url:
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            answer = await client.post(url + PATH, **request())  # type: ignore[arg-type]
    assert answer.content.startswith(b": waiting\n\n")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"


async def test_metrics_count_and_say_nothing_else(account: LedgerAccount) -> None:
    body = write_request_body().replace(b"mentir", CANARY.encode())
    metrics = Metrics()
    with gateway_over(ScriptedTier(*SCRIPT), account, metrics=metrics) as url:
        status, _ = await post(url, content=body, headers={"Authorization": f"Bearer {SEAL.make(PERSON, body)}"})
        async with httpx.AsyncClient(trust_env=False) as client:
            said = (await client.get(url + "/metrics")).text
    assert status == 200
    assert 'calls_count{persona="kant",tier="premium"} 1.0' in said
    assert CANARY not in said
    assert PERSON not in said


def test_the_secret_and_the_pupil_are_in_no_log(account: LedgerAccount, caplog: pytest.LogCaptureFixture) -> None:
    """T14: whatever happens, neither the secret, nor a token, nor a person, nor a word of the pupil is logged."""
    caplog.set_level("DEBUG")
    broken, tokens = RuntimeError(CANARY), []

    async def ask(url: str, body: bytes, token: str) -> None:
        for headers in ({"Authorization": f"Bearer {token}"}, {"Authorization": f"Bearer {token}x"}, {}):
            await post(url, content=body, headers=headers)

    tiers = (ScriptedTier(*SCRIPT), ScriptedTier(Token("a"), broken), ScriptedTier(broken))
    for number, tier in enumerate(tiers):
        content = request(f"log-{number}")["content"]  # another one each time: a second try would be refused
        assert isinstance(content, bytes)
        body = content.replace(b"mentir", CANARY.encode())
        tokens.append(SEAL.make(PERSON, body))
        with gateway_over(tier, account) as url:
            asyncio.run(ask(url, body, tokens[-1]))
    assert all(tier.received for tier in tiers)
    said = "\n".join(record.getMessage() + str(record.exc_text) for record in caplog.records
                     if record.name.startswith(("service", "tiers")))  # fmt: skip
    assert said
    assert not any(word in said for word in (SECRET, *tokens, PERSON, CANARY))


def test_threads_do_not_pile_up(account: LedgerAccount) -> None:
    before = threading.active_count()
    with gateway_over(ScriptedTier(Token("a")), account) as url:

        async def many() -> None:
            await asyncio.gather(*(post(url, **request(f"m-{n}", key(str(n)))) for n in range(10)))

        asyncio.run(many())
    wait_until(lambda: threading.active_count() <= before + 1)
