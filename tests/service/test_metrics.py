"""`/metrics` over a real FastAPI app, read back with Prometheus's own parser; the alerts with promtool."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from dialogue.conversation import Conversation, Turn
from dialogue.evaluation import Result
from errors import EngineError, TierBusy, TierUnavailable
from personas import PERSONAS
from service.metrics import FAILURES, REFUSALS, WORDS, MeasuredTier, Metrics, Now, TierName, metrics_routes
from service.openai_shapes import BAD_SCHEMA, TOO_LONG
from tiers.allowance import DAY_LIMIT, SESSION_LIMIT
from tiers.base import Done, Evaluation, Event, Token, Usage, User
from tiers.budget import Cost, Limits, Spent
from tiers.premium import REFUSALS as OF_THE_GATEWAY
from tiers.testing import ScriptedTier
from ui.session import REASONS

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "docs" / "operations" / "alerts.yml"
CANARY = "Sophie habite 12 rue Spinoza"
USAGE = Usage(prompt_tokens=300, completion_tokens=40, queued_s=2.0, first_token_s=1.5, total_s=7.0)
LIMITS = Limits(Cost(3_600_000, 1_480_000), Cost(36_000_000, 14_800_000))


def asked(persona: str = "spinoza") -> Conversation:
    return Conversation(PERSONAS[persona], (Turn("user", CANARY),))


def test_what_the_gateway_refuses_is_no_failure() -> None:
    assert OF_THE_GATEWAY <= REFUSALS


async def answer(tier: MeasuredTier, persona: str = "spinoza") -> list[Event]:
    async with aclosing(tier.stream(asked(persona), User(CANARY))) as events:
        return [event async for event in events]


def samples(metrics: Metrics) -> dict[str, float]:
    """Every sample as `name{label=value,…}`."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def client_of(metrics: Metrics, token: str | None = None, host: str = "127.0.0.1") -> TestClient:
    return TestClient(FastAPI(routes=[*metrics_routes(metrics, token)]), client=(host, 5))


# --- what is counted -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("result", "fixed"), [("invalid", 0.0), ("missing", 1.0)])
async def test_an_answer_whose_evaluation_broke_with_the_server_is_no_fixed_reply(result: Result, fixed: float) -> None:
    metrics = Metrics()
    tier = ScriptedTier(Token("Oui."), Evaluation(None, result), Done("stop", Usage()))
    await answer(MeasuredTier(tier, "premium", metrics))
    assert samples(metrics).get("fixed_replies_total{tier=premium}", 0.0) == fixed


async def test_an_answer_is_counted() -> None:
    metrics = Metrics()
    tier = MeasuredTier(ScriptedTier(Token("Oui"), Done("stop", USAGE)), "free", metrics)
    events = await answer(tier)
    assert events == [Token("Oui"), Done("stop", USAGE)]
    said, of = samples(metrics), "{persona=spinoza,tier=free}"
    assert said[f"calls_count{of}"] == 1
    assert said[f"inference_time_sum{of}"] == 7.0
    assert said[f"time_to_first_token_seconds_sum{of}"] == 3.5
    assert said[f"queue_wait_seconds_sum{of}"] == 2.0
    assert said[f"tokens_out_sum{of}"] == 40
    assert said["inference_time_bucket{le=7.5,persona=spinoza,tier=free}"] == 1
    assert said["inference_time_bucket{le=5.0,persona=spinoza,tier=free}"] == 0
    assert said["avg_tokens_in{tier=free}"] == 300
    assert not any(name.startswith("failures") for name in said)


async def test_the_average_is_of_a_tier_over_its_answers() -> None:
    metrics = Metrics()
    for tier, tokens in (("free", 100), ("free", 200), ("premium", 900)):
        metrics.answered(tier, "kant", Usage(prompt_tokens=tokens))  # type: ignore[arg-type]
    said = samples(metrics)
    assert (said["avg_tokens_in{tier=free}"], said["avg_tokens_in{tier=premium}"]) == (150, 900)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TierBusy("full"), "engine_busy"),
        (TierUnavailable("down"), "tier_unavailable"),
        (EngineError(CANARY, code=CANARY), "other"),
        (RuntimeError(CANARY), "internal"),
    ],
)
async def test_a_failure_is_counted_by_a_known_code_and_goes_on(error: Exception, code: str) -> None:
    metrics = Metrics()
    tier = MeasuredTier(ScriptedTier(Token("Par "), error), "premium", metrics)
    with pytest.raises(type(error)):
        await answer(tier)
    said = samples(metrics)
    assert said[f"failures{{code={code},persona=spinoza,tier=premium}}"] == 1
    assert said["calls_count{persona=spinoza,tier=premium}"] == 1
    assert "inference_time_count{persona=spinoza,tier=premium}" not in said
    assert CANARY not in metrics.text().decode()


@pytest.mark.parametrize("code", [SESSION_LIMIT, DAY_LIMIT, TOO_LONG, BAD_SCHEMA])
async def test_a_limit_or_a_clients_mistake_is_no_failure(code: str) -> None:
    metrics = Metrics()
    with pytest.raises(TierBusy):
        await answer(MeasuredTier(ScriptedTier(TierBusy(CANARY, code=code)), "free", metrics))
    said = samples(metrics)
    assert said[f"refused_total{{code={code},persona=spinoza,tier=free}}"] == 1
    assert not any(name.startswith("failures") for name in said)


async def test_a_closed_page_is_no_failure_and_closes_the_tier() -> None:
    metrics, inner = Metrics(), ScriptedTier(Token("a"), Token("b"))
    async with aclosing(MeasuredTier(inner, "free", metrics).stream(asked(), User("tab"))) as events:
        await anext(events)
    assert inner.closed_early == 1
    assert not any(name.startswith("failures") for name in samples(metrics))


def test_the_status_is_the_tiers() -> None:
    inner = ScriptedTier()
    assert MeasuredTier(inner, "free", Metrics()).status is inner.status


# --- how things stand ------------------------------------------------------------------------------------------------


def test_how_things_stand_is_asked_at_each_scrape() -> None:
    queue = [3]

    def now() -> Mapping[TierName, Now]:
        left = Spent(Cost(1_800_000, 740_000), Cost(18_000_000, 7_400_000))
        return {
            "free": Now(queue_length=queue[0], cache_cells_used=900, cache_cells=4096),
            "premium": Now(breaker="half_open", budget_left=left, limits=LIMITS),
        }

    metrics = Metrics(now)
    said = samples(metrics)
    assert said["queue_length{tier=free}"] == 3
    assert (said["cache_cells_used{tier=free}"], said["cache_cells{tier=free}"]) == (900, 4096)
    assert said["breaker_state{tier=premium}"] == 1
    assert said["budget_left_dollars{tier=premium,window=day}"] == 0.74
    assert said["budget_left_dollars{tier=premium,window=month}"] == 7.4
    assert said["budget_left_gpu_seconds{tier=premium,window=day}"] == 1800
    assert said["budget_dollars{tier=premium,window=month}"] == 14.8
    assert said["state_readable{}"] == 1
    assert "breaker_state{tier=free}" not in said
    queue[0] = 0
    assert samples(metrics)["queue_length{tier=free}"] == 0


def test_a_ledger_that_cannot_be_read_does_not_break_the_page() -> None:
    def now() -> Mapping[TierName, Now]:
        raise TierUnavailable(f"disk full {CANARY}", code="ledger_unavailable")

    metrics = Metrics(now)
    metrics.called("free", "kant")
    answer = client_of(metrics).get("/metrics")
    assert answer.status_code == 200
    assert "state_readable 0.0" in answer.text
    assert 'calls_count{persona="kant",tier="free"} 1.0' in answer.text
    assert CANARY not in answer.text


# --- bounds ----------------------------------------------------------------------------------------------------------


def test_many_pupils_and_words_make_no_more_series() -> None:
    """P9: however much is asked, the number of series is bounded and no text is among them."""
    metrics = Metrics()
    known = [*FAILURES, *REFUSALS, CANARY]
    for n in range(2_000):
        persona = [*PERSONAS, f"{CANARY} {n}"][n % (len(PERSONAS) + 1)]
        tier: TierName = "free" if n % 2 else "premium"
        metrics.called(tier, persona)
        metrics.failed(tier, persona, known[n % len(known)])
        metrics.answered(tier, persona, USAGE)
    text = metrics.text().decode()
    assert CANARY not in text
    labels = set(re.findall(r'(\w+)="([^"]*)"', text)) - set(re.findall(r'(le)="([^"]*)"', text))
    personas = {("persona", key) for key in [*PERSONAS, "other"]}
    codes = {("code", code) for code in [*FAILURES, *REFUSALS, "other"]}
    assert labels == personas | codes | {("tier", "free"), ("tier", "premium")}
    # Four histograms, a counter and the failures, for two tiers and each persona; two averages; one `state_readable`.
    places = 2 * (len(PERSONAS) + 1)
    assert len(samples(metrics)) <= places * (3 * 18 + 13 + 1 + len(known)) + 3


# --- the route -------------------------------------------------------------------------------------------------------


def test_a_word_on_an_answer_is_one_of_a_list() -> None:
    metrics = Metrics()
    assert set(REASONS) | {"up", "down"} == WORDS
    for persona, said in (("kant", "up"), ("kant", "up"), ("kant", "down"), ("kant", "too_hard"), (CANARY, CANARY)):
        metrics.told(persona, said)
    found = {name: value for name, value in samples(metrics).items() if name.startswith("feedback")}
    assert found == {
        "feedback_total{persona=kant,said=up}": 2,
        "feedback_total{persona=kant,said=down}": 1,
        "feedback_total{persona=kant,said=too_hard}": 1,
        "feedback_total{persona=other,said=other}": 1,
    }


def test_the_route_speaks_prometheus() -> None:
    metrics = Metrics()
    metrics.called("free", "kant")
    answer = client_of(metrics).get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert answer.headers["cache-control"] == "no-store"
    names = {family.name for family in text_string_to_metric_families(answer.text)}
    assert {"inference_time", "calls_count", "failures", "avg_tokens_in"} <= names
    assert client_of(metrics).post("/metrics").status_code == 405


@pytest.mark.parametrize(
    ("host", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("10.0.0.3", {}, 403),
        ("testclient", {}, 403),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, 403),
        ("127.0.0.1", {"Forwarded": "for=127.0.0.1"}, 403),
        ("10.0.0.3", {"Authorization": "Bearer "}, 403),
    ],
)
def test_without_a_token_only_this_machine_is_answered(host: str, headers: dict[str, str], status: int) -> None:
    assert client_of(Metrics(), host=host).get("/metrics", headers=headers).status_code == status


@pytest.mark.parametrize(
    ("header", "status"),
    [("Bearer right", 200), ("Bearer wrong", 401), ("right", 401), ("Bearer", 401), (None, 401), ("Bearer é", 401)],
)
@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.3"])
def test_with_a_token_everybody_needs_it(header: str | None, status: int, host: str) -> None:
    headers = {} if header is None else {"Authorization": header.encode()}
    answer = client_of(Metrics(), "right", host).get("/metrics", headers=headers)  # type: ignore[arg-type]
    assert answer.status_code == status
    assert ("www-authenticate" in answer.headers) == (status == 401)


# --- alerts ----------------------------------------------------------------------------------------------------------


def test_every_alert_has_its_page_and_every_metric_exists() -> None:
    rules, page = ALERTS.read_text(encoding="utf-8"), ALERTS.with_suffix(".md").read_text(encoding="utf-8")
    names = re.findall(r"- alert: (\w+)", rules)
    assert len(names) == len(set(names)) > 5
    assert [name for name in names if f"### {name}\n" not in page or f"alerts.md#{name.lower()}" not in rules] == []

    metrics = Metrics(lambda: {"premium": Now(1, 2, 3, "open", Spent(), LIMITS)})
    metrics.called("free", "kant")
    metrics.failed("free", "kant", "internal")
    metrics.failed("free", "kant", SESSION_LIMIT)
    metrics.answered("free", "kant", USAGE)
    known = {name.split("{")[0] for name in samples(metrics)} | {"up"}
    used = {name for line in re.findall(r"expr: (?:\|\n)?((?:.+\n)+?)\s+(?:for|labels):", rules)
            for name in re.findall(r"\b([a-z]+(?:_[a-z]+)+|up|failures)\b(?=[\[{)\s<>=]|$)", line)}  # fmt: skip
    assert used - {"histogram_quantile"} <= known
    assert len(used) > 8
    listed = set(re.findall(r"`([a-z_]+)`", page.split("## What to do")[0].split("## What is measured")[1]))
    bases = {re.sub(r"_(bucket|sum|count)$", "", name) if name != "calls_count" else name for name in known}
    assert bases - {"up"} <= listed


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed: apt-get install prometheus")
@pytest.mark.parametrize("command", [("check", "rules", str(ALERTS)), ("test", "rules", "alerts_test.yml")])
def test_the_rules_fire_and_keep_silent(command: tuple[str, ...]) -> None:
    run = subprocess.run(["promtool", *command], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr
