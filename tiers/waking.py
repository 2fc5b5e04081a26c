"""An engine that sleeps until it is asked: is it awake, how long does waking take? Knows httpx; knows no model."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from statistics import median

import httpx

from errors import TierBusy, TierUnavailable
from tiers.base import Warming

log = logging.getLogger(__name__)

WAKING = "premium_waking"
KNOCK_S = 10.0  # an answer to a knock; a host that queues requests during a cold start holds it for longer
LOOK_S = 1.0  # between two knocks
FRESH_S = 30.0  # an engine that answered so long ago is not asked whether it is awake: no window is shorter
REMEMBERED = 5  # cold starts

Awake = Callable[[], Awaitable[bool]]


class ColdStarts:
    """How long the next cold start will take: the median of the last ones.

    Args:
        expected_s: What is told before the first one was seen.
    """

    def __init__(self, expected_s: float = 45.0) -> None:
        self._seen: deque[float] = deque(maxlen=REMEMBERED)
        self._expected_s = expected_s

    def saw(self, seconds: float) -> None:
        """Remember one."""
        self._seen.append(seconds)

    @property
    def expected_s(self) -> float:
        """Seconds that the next one may take."""
        return median(self._seen) if self._seen else self._expected_s

    def warming(self, waited_s: float) -> Warming:
        """Return what is shown after so long; it never says that it is over before it is."""
        expected = max(self.expected_s, 1.0)
        return Warming(WAKING, min(waited_s / expected, 0.95), max(expected - waited_s, 1.0))


class Waker:
    """Wakes an engine and waits for it.

    Args:
        awake: Asks whether it is awake; asking wakes it.
        patience_s: How long one request waits.
        starts: How long earlier ones took.
        clock: Seconds, that only grow.
        sleep: Waits between two knocks.
    """

    def __init__(
        self,
        awake: Awake,
        *,
        patience_s: float = 90.0,
        starts: ColdStarts | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        self._awake, self._patience_s, self._clock = awake, patience_s, clock
        self._sleep = sleep or asyncio.sleep
        self.starts = starts or ColdStarts()
        self._answered = -float("inf")

    def answered(self) -> None:
        """Say that the engine answers: it is not asked for a while."""
        self._answered = self._clock()

    def failed(self) -> None:
        """Say that the engine did not answer: it is asked next time."""
        self._answered = -float("inf")

    async def wait(self) -> AsyncGenerator[Warming, None]:
        """Yield `Warming` until the engine is awake; nothing when it is.

        Raises:
            TierBusy: It is still asleep after `patience_s` (`code` is "premium_waking").
            TierUnavailable: It refuses us.
        """
        began = self._clock()
        if began - self._answered < FRESH_S:
            return
        cold = False
        while not await self._awake():
            cold = True
            waited = self._clock() - began
            if waited > self._patience_s:
                left = max(self.starts.expected_s - waited, 5.0)
                raise TierBusy(f"The engine still sleeps after {waited:.0f} s.", code=WAKING, retry_after_s=left)
            yield self.starts.warming(waited)
            await self._sleep(LOOK_S)
        if cold:
            seconds = self._clock() - began
            self.starts.saw(seconds)
            log.info("The engine woke in %.1f s", seconds)
        self.answered()


def http_awake(url: str, headers: Mapping[str, str] | None = None, *, timeout_s: float = KNOCK_S) -> Awake:
    """Return a function that asks `url` (a health route: 200 is awake) with these headers, which are never logged."""
    verify = httpx.create_ssl_context() if url.startswith("https:") else False

    async def awake() -> bool:
        try:
            async with httpx.AsyncClient(headers=dict(headers or {}), timeout=timeout_s, verify=verify) as client:
                status = (await client.get(url)).status_code
        except httpx.HTTPError as error:
            log.info("No answer to a knock: %s", type(error).__name__)
            return False
        if status in (401, 403, 404):
            raise TierUnavailable(f"The engine refuses a knock (status {status}); check its address and key.")
        return status == 200

    return awake
