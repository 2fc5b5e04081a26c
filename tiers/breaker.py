"""A circuit breaker: whoever fails often is left alone for a while, then tried once. Knows time and nothing else."""

import time
from collections import deque
from collections.abc import Callable
from typing import Literal

State = Literal["closed", "half_open", "open"]

WINDOW = 20  # last outcomes that are looked at
FORGET_S = 300.0  # an outcome older than that says nothing of now
SHARE = 0.2  # of failures, from which on it opens
AT_LEAST = 3  # failures: one of three is bad luck
OPEN_S = 30.0  # before somebody tries again


class Breaker:
    """Counts outcomes and says whether to ask. Not safe between threads: one event loop owns it.

    Args:
        clock: Seconds, that only grow.
        open_s: How long it stays open.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, open_s: float = OPEN_S) -> None:
        self._clock = clock
        self._open_s = open_s
        self._outcomes: deque[tuple[float, bool]] = deque(maxlen=WINDOW)
        self._opened: float | None = None
        self._probing = False

    @property
    def state(self) -> State:
        """What `ask` would go by."""
        if self._opened is None:
            return "closed"
        return "half_open" if self._probing or self._clock() - self._opened >= self._open_s else "open"

    def ask(self) -> bool:
        """Return whether a request may go out; it must end in `well`, `badly` or `neither`."""
        state = self.state
        if state == "closed":
            return True
        if state == "open" or self._probing:
            return False
        self._probing = True
        return True

    def well(self) -> None:
        """Say that a request succeeded."""
        if self._probing:
            self._outcomes.clear()
            self._opened, self._probing = None, False
        self._outcomes.append((self._clock(), True))

    def badly(self) -> None:
        """Say that a request failed by the other side's fault."""
        now = self._clock()
        self._outcomes.append((now, False))
        recent = [well for at, well in self._outcomes if now - at <= FORGET_S]
        failures = recent.count(False)
        if self._probing or (self._opened is None and failures >= AT_LEAST and failures >= SHARE * len(recent)):
            self._opened, self._probing = now, False

    def neither(self) -> None:
        """Say that a request ended without saying anything of the other side: stopped, or refused for its own sake."""
        self._probing = False
