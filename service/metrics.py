"""`GET /metrics` for Prometheus: how fast, how many, how many failures, what is left. Numbers and bounded labels only.

Knows a tier's events and the personas' keys; knows no text, no pupil, no engine and no database: what lies deeper is
given as a function that is asked at each scrape.

The first four names are the ones that scripts of the project ask for, so they stand as they are: a counter of the
client library would be renamed `calls_count_total`, which is why two of them are gauges that only grow.
"""

import ipaddress
import logging
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from threading import Lock
from typing import Literal

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from dialogue.conversation import Conversation
from dialogue.evaluation import RESULTS, Result
from errors import ChatError
from personas import PERSONAS, SCHEMES
from service.health import NO_STORE
from tiers.base import (
    ANSWER_AS_USUAL,
    AnswerOptions,
    Done,
    EagerTier,
    Evaluation,
    Event,
    Scheme,
    SchemeRead,
    Tier,
    TierStatus,
    Usage,
    User,
)
from tiers.budget import Limits, Spent

log = logging.getLogger(__name__)

TierName = Literal["free", "premium"]
Breaker = Literal["closed", "half_open", "open"]
BREAKER_VALUE: Mapping[Breaker, int] = {"closed": 0, "half_open": 1, "open": 2}

OTHER = "other"  # the label of everything that is not named here: an endless label would fill Prometheus's disk
FAILURES = frozenset(
    "engine_failed engine_busy engine_timeout engine_missing model_missing model_corrupt model_not_chat "
    "tier_unavailable ledger_unavailable hub_unreachable preparing retrieval internal "
    "premium_slow premium_down premium_refused".split()
)
# Limits of a session, a day, a person or a purse, an engine that still starts, and what a client asked that cannot be
# done: nothing of ours has failed.
REFUSALS = frozenset(
    "session_limit day_limit quota_person quota_browser live_stream budget_day budget_month premium_waking "
    "conversation_too_long bad_schema".split()
)
# What a pupil can say of an answer: a press, then for a "down" a reason. The page has the same list.
WORDS = frozenset("up down too_hard off_topic too_long wrong unkind".split())
SECONDS = (0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 45, 60, 90, 150)  # 15 s is where pupils give up
TOKENS = (8, 16, 32, 64, 96, 128, 160, 256, 512, 1024)
MS_PER_S = 1000

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second line for each series, with the time of its birth, that nobody reads


@dataclass(frozen=True)
class Now:
    """What is true of a tier at this moment. None is not shown.

    Attributes:
        queue_length: Requests that wait.
        cache_cells_used: Cells of the KV cache in use.
        cache_cells: Cells that there are.
        breaker: State of the circuit breaker before a remote engine.
        budget_left: GPU time and money left today and this month.
        limits: The whole budget that it is a part of.
    """

    queue_length: int | None = None
    cache_cells_used: int | None = None
    cache_cells: int | None = None
    breaker: Breaker | None = None
    budget_left: Spent | None = None
    limits: Limits | None = None


AskNow = Callable[[], Mapping[TierName, Now]]


class Metrics:
    """Everything that `/metrics` says. Safe to share between threads.

    Args:
        now: Asked at each scrape, in a thread of its own; may raise `ChatError`.
        personas: The keys that may be labels.
    """

    def __init__(self, now: AskNow = dict, personas: Collection[str] = tuple(PERSONAS)) -> None:
        self._personas = frozenset(personas)
        self._lock = Lock()
        self._prompts: dict[str, tuple[int, int]] = {}  # tier -> answers, prompt tokens of them all
        self.registry = CollectorRegistry()
        labels = ("tier", "persona")
        self._time = self._histogram("inference_time", "Seconds from the start of the work to its end.", SECONDS)
        self._calls = Gauge("calls_count", "Answers asked for, since the start.", labels, registry=self.registry)
        self._failures = Gauge(
            "failures", "Answers that failed, since the start.", (*labels, "code"), registry=self.registry
        )
        self._refused = Counter(
            "refused", "Answers refused by a limit, or for what was asked.", (*labels, "code"), registry=self.registry
        )
        self._average = Gauge(
            "avg_tokens_in", "Prompt tokens of an answer, on average.", ("tier",), registry=self.registry
        )
        first = "Seconds until the first text, waiting included."
        self._first = self._histogram("time_to_first_token_seconds", first, SECONDS)
        self._wait = self._histogram("queue_wait_seconds", "Seconds spent waiting for a place.", SECONDS)
        self._tokens_out = self._histogram("tokens_out", "Tokens of an answer.", TOKENS)
        self._schemes = Counter(
            "scheme_grade",
            "Answers by the scheme that was announced and how far they reason by it, 0 to 4.",
            ("tier", "persona", "scheme", "told", "grade"),
            registry=self.registry,
        )
        self._evaluations = Counter(
            "eval", "Evaluations by what became of them.", ("tier", "result"), registry=self.registry
        )
        self._fixed = Counter(
            "fixed_replies", "Turns that no model was asked for, cards included.", ("tier",), registry=self.registry
        )
        self._feedback = Counter(
            "feedback",
            "What pupils said of an answer, by a press, never a text.",
            ("persona", "said"),
            registry=self.registry,
        )
        self.registry.register(_NowCollector(now))

    def _histogram(self, name: str, said: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, said, ("tier", "persona"), buckets=buckets, registry=self.registry)

    def called(self, tier: TierName, persona: str) -> None:
        """Count one more answer asked for."""
        self._calls.labels(tier, self._label(persona)).inc()

    def answered(self, tier: TierName, persona: str, usage: Usage) -> None:
        """Count what a finished answer took."""
        labels = (tier, self._label(persona))
        self._time.labels(*labels).observe(usage.total_s)
        self._first.labels(*labels).observe(usage.queued_s + usage.first_token_s)
        self._wait.labels(*labels).observe(usage.queued_s)
        self._tokens_out.labels(*labels).observe(usage.completion_tokens)
        with self._lock:
            answers, tokens = self._prompts.get(tier, (0, 0))
            answers, tokens = answers + 1, tokens + usage.prompt_tokens
            self._prompts[tier] = answers, tokens
            self._average.labels(tier).set(tokens / answers)

    def graded(self, tier: TierName, persona: str, read: SchemeRead, *, told: bool) -> None:
        """Count how far an answer reasons by its scheme; `told` says whether the model knew of it."""
        scheme = read.announced if read.announced in SCHEMES else OTHER
        self._schemes.labels(tier, self._label(persona), scheme, "yes" if told else "no", str(read.grade)).inc()

    def evaluated(self, tier: TierName, result: Result) -> None:
        """Count what became of an evaluation."""
        self._evaluations.labels(tier, result if result in RESULTS else OTHER).inc()

    def fixed(self, tier: TierName) -> None:
        """Count a turn that no model was asked for. Neither who it was nor which rule spoke."""
        self._fixed.labels(tier).inc()

    def told(self, persona: str, said: str) -> None:
        """Count a pupil's word on an answer: "up", "down", or the reason that follows a "down"."""
        self._feedback.labels(self._label(persona), said if said in WORDS else OTHER).inc()

    def failed(self, tier: TierName, persona: str, code: str) -> None:
        """Count an answer that failed; `code` is that of the error. Refusals are counted apart: they wake nobody."""
        if code in REFUSALS:
            self._refused.labels(tier, self._label(persona), code).inc()
            return
        self._failures.labels(tier, self._label(persona), code if code in FAILURES else OTHER).inc()

    def _label(self, persona: str) -> str:
        return persona if persona in self._personas else OTHER

    def text(self) -> bytes:
        """Return everything in Prometheus's text format."""
        return generate_latest(self.registry)


class MeasuredTier:
    """A tier whose answers are counted; otherwise the tier itself. A stream closed early is a call and no failure.

    See `EagerTier`: what the inner tier cannot do ahead is not done.
    """

    def __init__(self, tier: Tier, name: TierName, metrics: Metrics) -> None:
        self._tier = tier
        self._name: TierName = name
        self._metrics = metrics

    @property
    def status(self) -> TierStatus:
        """See `Tier.status`."""
        return self._tier.status

    async def prepare(self, conversation: Conversation, options: AnswerOptions = ANSWER_AS_USUAL) -> object:
        """See `EagerTier.prepare`."""
        return await self._tier.prepare(conversation, options) if isinstance(self._tier, EagerTier) else None

    async def stream(
        self,
        conversation: Conversation,
        user: User,
        options: AnswerOptions = ANSWER_AS_USUAL,
        prepared: Awaitable[object] | None = None,
    ) -> AsyncGenerator[Event, None]:
        """See `EagerTier.stream`."""
        persona = conversation.persona.key
        self._metrics.called(self._name, persona)
        told = broken = False
        tier = self._tier
        if isinstance(tier, EagerTier):
            asked = tier.stream(conversation, user, options, prepared)
        else:
            asked = tier.stream(conversation, user, options)
        try:
            async with aclosing(asked) as events:
                async for event in events:
                    match event:
                        case Scheme():
                            told = event.told
                        case SchemeRead():
                            self._metrics.graded(self._name, persona, event, told=told)
                        case Evaluation(result=result):
                            self._metrics.evaluated(self._name, result)
                            broken = result == "invalid"  # maybe with the server, and then nobody knows the tokens
                        case Done(usage=usage) if usage.completion_tokens:
                            self._metrics.answered(self._name, persona, usage)
                        case Done() if not broken:  # a time of nothing would make the others look shorter
                            self._metrics.fixed(self._name)
                    yield event
        except ChatError as error:
            self._metrics.failed(self._name, persona, error.code)
            raise
        except Exception:
            self._metrics.failed(self._name, persona, "internal")
            raise


class _NowCollector(Collector):
    """Asks how things stand, once for each scrape."""

    def __init__(self, now: AskNow) -> None:
        self._now = now

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Name nothing ahead: otherwise the registry would ask at its making."""
        return ()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Return what is known; `state_readable` is 0 when nothing is, so that silence can raise an alert."""
        try:
            now = self._now()
        except ChatError as error:
            log.error("How things stand cannot be read: %s", error)
            now = None
        readable = GaugeMetricFamily("state_readable", "1 when queue, cache, breaker and budget could be read.")
        readable.add_metric([], float(now is not None))
        return [readable, *_families(now or {})]


def _families(now: Mapping[TierName, Now]) -> list[GaugeMetricFamily]:
    tier, window = ["tier"], ["tier", "window"]
    queue = GaugeMetricFamily("queue_length", "Requests that wait.", labels=tier)
    used = GaugeMetricFamily("cache_cells_used", "Cells of the KV cache in use.", labels=tier)
    cells = GaugeMetricFamily("cache_cells", "Cells of the KV cache.", labels=tier)
    breaker = GaugeMetricFamily("breaker_state", "0 closed, 1 half open, 2 open.", labels=tier)
    dollars = GaugeMetricFamily("budget_left_dollars", "Dollars that may still be spent.", labels=window)
    seconds = GaugeMetricFamily("budget_left_gpu_seconds", "GPU time that may still be spent.", labels=window)
    of_all = GaugeMetricFamily("budget_dollars", "Dollars that may be spent in all.", labels=window)
    for name, one in now.items():
        for family, value in ((queue, one.queue_length), (used, one.cache_cells_used), (cells, one.cache_cells)):
            if value is not None:
                family.add_metric([name], value)
        if one.breaker is not None:
            breaker.add_metric([name], BREAKER_VALUE[one.breaker])
        if one.budget_left is not None:
            for key, left in (("day", one.budget_left.day), ("month", one.budget_left.month)):
                dollars.add_metric([name, key], float(left.dollars))
                seconds.add_metric([name, key], left.gpu_ms / MS_PER_S)
        if one.limits is not None:
            of_all.add_metric([name, "day"], float(one.limits.day.dollars))
            of_all.add_metric([name, "month"], float(one.limits.month.dollars))
    families = [queue, used, cells, breaker, dollars, seconds, of_all]
    return [family for family in families if family.samples]


def metrics_routes(metrics: Metrics, token: str | None = None) -> list[APIRoute]:
    """Return `GET /metrics`, to be served beside the page.

    Args:
        metrics: What it says.
        token: Whoever asks must send `Authorization: Bearer <token>`; without one, only a program on this machine that
            comes through no proxy is answered.
    """

    def scrape(request: Request) -> Response:  # no coroutine: what is asked may read a database
        if not _allowed(request, token):
            raise HTTPException(401 if token else 403, headers={"WWW-Authenticate": "Bearer"} if token else None)
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST, headers={"Cache-Control": NO_STORE})

    return [APIRoute("/metrics", scrape, methods=["GET"], include_in_schema=False)]


def _allowed(request: Request, token: str | None) -> bool:
    if token:
        given = request.headers.get("authorization", "")
        return secrets.compare_digest(given.encode(), f"Bearer {token}".encode())
    if request.client is None or "x-forwarded-for" in request.headers or "forwarded" in request.headers:
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False  # a Unix socket, or a test's name: nothing that can be judged
