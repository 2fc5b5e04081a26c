"""The premium tier: asks the gateway, and yields the same events as the free one. Knows HTTP and `tiers.wire`.

Asks at most twice, and a second time only where the first cannot have been heard to its end: before any byte of an
answer, on a broken connection, 429, 502 or 503. Never waits longer than it says. Knows no ledger and no entitlement:
`tiers.router` decides who gets here and what becomes of a failure.
"""

import asyncio
import logging
import random
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass

import httpx

from dialogue.conversation import Conversation
from errors import TierBusy, TierError, TierUnavailable
from tiers.base import (
    ANSWER_AS_USUAL,
    AnswerOptions,
    Done,
    Event,
    TierStatus,
    Token,
    User,
    Warming,
)
from tiers.breaker import Breaker
from tiers.pulse import pulsed
from tiers.seal import Seal
from tiers.waking import WAKING, ColdStarts
from tiers.wire import DOWN, MAX_LINE_BYTES, PATH, EventReader, Fault, read_fault, write_request

log = logging.getLogger(__name__)

SLOW = "premium_slow"
OURS = "premium_refused"  # the request's own fault: it says nothing of the gateway
CUT = "engine_failed"  # the page's sentence for an answer that broke off
LOOK_S = 0.25  # between two looks at the clock
DRAIN_S = 0.2
HIDDEN_S = 1.0  # a wait shorter than that is not worth a word
MAX_RETRY_AFTER_S = 2.0  # a gateway that wants more than that is not asked again: the free tier answers sooner
MAX_REDIRECTS = 3
CONNECTIONS = 64
# What a gateway may say of a person or a budget: no fault of anybody's, and nothing that a second try would change.
REFUSALS = frozenset("budget_day budget_month quota_person quota_browser live_stream".split())


@dataclass(frozen=True)
class Patience:
    """How long one answer may take.

    Attributes:
        connect_s: To reach the gateway.
        wait_s: Until the first word, a cold start included; the page says so.
        silence_s: Between two words.
        total_s: Until the end.
    """

    connect_s: float = 3.0
    wait_s: float = 15.0
    silence_s: float = 15.0
    total_s: float = 90.0


class SealedAuth(httpx.Auth):
    """Seals each request of a program that holds the page's secret, for the gateway's other routes.

    `OpenAI(base_url=f"{gateway}/v1", api_key="none", http_client=httpx.Client(auth=SealedAuth(seal, person)))`.

    Args:
        seal: The secret shared with the gateway.
        person: Pseudonym of whoever pays, 64 hexadecimal digits.
    """

    requires_request_body = True

    def __init__(self, seal: Seal, person: str) -> None:
        self._seal, self._person = seal, person

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign what is sent; each try of a request has a token of its own."""
        request.headers["Authorization"] = f"Bearer {self._seal.make(self._person, request.content)}"
        yield request


class Reaching(Warming):
    """A `Warming` that is this side's guess: nothing was heard of the gateway, so nobody is charged for the time."""


@dataclass
class _Course:
    """How far an answer has come."""

    began: float
    last: float  # word
    first_s: float = 0.0  # until the first word
    said: bool = False
    waking: bool = False
    heard: bool = False  # a byte of the gateway
    told: bool = False  # an event of the gateway
    tries: int = 0


class PremiumTier:
    """See `Tier`. Safe to share between tasks of one event loop; `aclose` frees its connections.

    Args:
        url: Where the gateway's routes begin.
        seal: The secret shared with it.
        headers: Sent with each request, e.g. the host's own keys; never logged.
        patience: How long one answer may take.
        breaker: Left alone when it fails often; unset, a new one.
        starts: How long cold starts take; unset, a new memory.
        clock: Seconds, that only grow.
    """

    def __init__(
        self,
        url: str,
        seal: Seal,
        *,
        headers: Mapping[str, str] | None = None,
        patience: Patience | None = None,
        breaker: Breaker | None = None,
        starts: ColdStarts | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = httpx.URL(url.rstrip("/") + PATH)
        self._seal = seal
        self._headers = {**(headers or {}), "Accept": "text/event-stream", "Accept-Encoding": "identity"}
        self._patience = patience or Patience()
        self.breaker = breaker or Breaker(clock)
        self._starts = starts or ColdStarts()
        self._clock = clock
        secure = self._url.scheme == "https"
        self._verify = httpx.create_ssl_context() if secure else False
        self._clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = (
            weakref.WeakKeyDictionary()
        )

    @property
    def status(self) -> TierStatus:
        """See `Tier.status`: what the last answers say; the gateway is not asked."""
        if self.breaker.state == "open":
            return TierStatus("failed", DOWN)
        return TierStatus("ready", "ready", model="premium")

    async def aclose(self) -> None:
        """Close the connections of this event loop."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    async def stream(
        self, conversation: Conversation, user: User, options: AnswerOptions = ANSWER_AS_USUAL
    ) -> AsyncGenerator[Event, None]:
        """See `Tier.stream`. `user.person` must be set.

        Raises:
            TierBusy: No word came in time (`code` is "premium_waking" or "premium_slow").
            TierUnavailable: The gateway fails or refuses; `code` says what the page should say.
        """
        if user.person is None:
            raise TierUnavailable("A premium answer needs a person.", code=DOWN)
        if not self.breaker.ask():
            raise TierUnavailable("The gateway has failed too often; it is left alone for a while.", code=DOWN)
        ended = self.breaker.neither
        try:
            body = write_request(conversation, user.client, options)
            async with aclosing(self._answer(body, user.person)) as events:
                async for event in events:
                    if isinstance(event, Done):
                        ended = self.breaker.well  # now: whoever has it asks for nothing more
                    yield event
        except TierError as error:
            if error.code in (DOWN, CUT, SLOW):
                ended = self.breaker.badly
            raise
        finally:
            ended()

    async def _answer(self, body: bytes, person: str) -> AsyncGenerator[Event, None]:
        """Yield the events of an answer; look at the clock whatever the gateway does."""
        began = self._clock()
        course = _Course(began, began)
        async with aclosing(pulsed(self._tries(body, person, course), LOOK_S)) as events:
            async for event in events:
                waited = self._clock() - began
                if event is None and not course.told and waited > HIDDEN_S:  # the gateway itself may be waking
                    guess = self._starts.warming(waited)
                    yield guess if course.heard else Reaching(guess.code, guess.progress, guess.eta_s)
                course.told |= event is not None
                match event:
                    case Fault(code):
                        raise _unavailable(code, said=course.said)
                    case Token():
                        course.last = self._clock()
                        course.first_s = course.first_s if course.said else course.last - began
                        course.said = True
                    case Warming():
                        course.waking = True
                    case Done() if course.waking and course.said:
                        self._starts.saw(course.first_s)
                if event is not None:
                    yield event
                if isinstance(event, Done):
                    return
                self._hurry(course)

    def _hurry(self, course: _Course) -> None:
        now, patience = self._clock(), self._patience
        waited = now - course.began
        if not course.said and waited > patience.wait_s:
            code = WAKING if course.waking else SLOW
            raise TierBusy(f"No word of the premium tier in {waited:.1f} s.", code=code)
        if course.said and (now - course.last > patience.silence_s or waited > patience.total_s):
            raise TierUnavailable("The premium answer stopped in the middle.", code=CUT)

    async def _tries(self, body: bytes, person: str, course: _Course) -> AsyncGenerator[Event | Fault, None]:
        while True:
            course.tries += 1
            try:
                async with aclosing(self._once(body, person, course)) as events:
                    async for event in events:
                        yield event
            except TierBusy as error:
                wait_s = error.retry_after_s or 0.0
                if course.tries > 1 or course.heard or wait_s > MAX_RETRY_AFTER_S:
                    raise
                log.info("The gateway is asked again: %s", error)
                await asyncio.sleep(max(wait_s, random.uniform(0.1, 0.4)))  # noqa: S311 - spreads tries, hides nothing
            else:
                return

    async def _once(self, body: bytes, person: str, course: _Course) -> AsyncGenerator[Event | Fault, None]:
        """Ask; a refusal or a fault before the first byte that may be tried again is a `TierBusy`."""
        reader = EventReader()
        try:
            async with self._response(body, person) as response:
                await _accept(response)
                chunks = response.aiter_raw()
                async for data in chunks:
                    course.heard = True
                    for event in reader.feed(data):
                        if reader.ended:
                            await _drain(chunks)
                        yield event
            reader.finish()
        except httpx.TransportError as error:
            name = type(error).__name__
            if course.heard:
                raise _unavailable(DOWN, said=course.said) from error
            if isinstance(error, (httpx.ReadTimeout, httpx.WriteTimeout)):
                raise TierUnavailable(f"The gateway is silent ({name}).", code=DOWN) from error
            raise TierBusy(f"The gateway cannot be reached ({name}).", code=DOWN) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TierUnavailable(f"The gateway cannot be read ({type(error).__name__}).", code=DOWN) from error
        except TierUnavailable as error:
            if course.said:
                raise _unavailable(error.code, said=True) from error
            raise

    @asynccontextmanager
    async def _response(self, body: bytes, person: str) -> AsyncGenerator[httpx.Response, None]:
        """Open the answer, following what a host says while a request outlives its patience (303), never elsewhere."""
        client = self._client()
        headers = {**self._headers, "Authorization": f"Bearer {self._seal.make(person, body)}"}
        method, url, content = "POST", self._url, body
        for _ in range(MAX_REDIRECTS + 1):
            kind = {"Content-Type": "application/json"} if content else {}
            async with client.stream(method, url, content=content, headers={**headers, **kind}) as response:
                if response.status_code != 303:
                    yield response
                    return
                to = url.join(response.headers.get("location", ""))
            if (to.scheme, to.host, to.port) != (url.scheme, url.host, url.port):
                raise TierUnavailable("The gateway points to another host, which gets no key of ours.", code=DOWN)
            method, url, content = "GET", to, b""
        raise TierUnavailable("The gateway points on and on.", code=DOWN)

    def _client(self) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            patience = self._patience
            # Longer than any patience: `_hurry` looks at the clock, this ends what nobody looks at any more.
            silence_s = max(patience.wait_s, patience.silence_s) + 2
            timeout = httpx.Timeout(silence_s, connect=patience.connect_s, pool=2.0, write=5.0)
            limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=8, keepalive_expiry=30.0)
            client = self._clients[loop] = httpx.AsyncClient(
                http2=False, timeout=timeout, limits=limits, verify=self._verify, trust_env=bool(self._verify)
            )
        return client


async def _accept(response: httpx.Response) -> None:
    """Raise the error for a response that is no answer."""
    if response.status_code != 200:
        raise await _refusal(response)
    plain = response.headers.get("content-encoding", "identity") == "identity"
    if not plain or not response.headers.get("content-type", "").startswith("text/event-stream"):
        raise TierUnavailable("The gateway answered with something else than events.", code=DOWN)


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    """Read what is behind the last event, so that the connection can serve again; not for long."""
    with suppress(TimeoutError, httpx.TransportError):
        async with asyncio.timeout(DRAIN_S):
            async for _ in chunks:
                pass


async def _refusal(response: httpx.Response) -> TierError:
    """Return the error for a status that is not 200."""
    status, body = response.status_code, bytearray()
    async for data in response.aiter_raw():
        body += data
        if len(body) > MAX_LINE_BYTES:
            break
    fault = read_fault(bytes(body))
    if fault.code in REFUSALS:
        return TierUnavailable(f"The gateway refuses: {fault.code}.", code=fault.code)
    if status in (429, 502, 503):
        wait_s = fault.retry_after_s if fault.retry_after_s is not None else _seconds(response)
        return TierBusy(f"The gateway is busy (status {status}).", code=DOWN, retry_after_s=wait_s)
    if status in (401, 403):
        log.error("The gateway refuses our key or our seal (status %d); compare the secrets of both sides.", status)
    code = OURS if status in (400, 404, 413) else DOWN
    return TierUnavailable(f"The gateway answered with status {status}.", code=code)


def _seconds(response: httpx.Response) -> float | None:
    text = response.headers.get("retry-after", "")
    return float(text) if text.isdecimal() else None


def _unavailable(code: str, *, said: bool) -> TierError:
    """Return the error for what the gateway itself says, or for a stream that broke off."""
    if said:
        return TierUnavailable("The premium answer broke off.", code=CUT)
    if code in REFUSALS:
        return TierUnavailable(f"The gateway refuses: {code}.", code=code)
    if code == WAKING:
        return TierBusy("The premium engine still sleeps.", code=WAKING)
    return TierUnavailable("The premium answer failed before its first word.", code=DOWN)
