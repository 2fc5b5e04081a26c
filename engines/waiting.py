"""Who is served next, and what those who wait are told. Knows threads and event loops; knows no model.

Callers live in asyncio loops, the worker in a thread of its own. A job is handed over under one lock, so that each one
ends exactly once: served, expired, cancelled or refused.
"""

import asyncio
import itertools
import threading
import time
from collections import deque
from dataclasses import dataclass, field

from engines.base import EngineEvent, Queued, SamplingParams
from engines.prompt import Prompt
from errors import ChatError, EngineBusy, EngineError, EngineTimeout

MEMORY = 0.7  # weight of the past in the moving average of answer times

_numbers = itertools.count(1)


@dataclass(eq=False)
class Job:
    """One request on its way through the engine.

    Attributes:
        prompt: What to read.
        params: How to answer; None when the prompt is only to be read ahead.
        deadline: On the clock of `time.monotonic`, or None.
        loop: Where the caller waits.
        events: What the caller is told; an error is raised there, None says that a prompt was read ahead.
        number: For the logs.
        submitted: When it came, on the clock of `time.monotonic`.
        cancelled: The caller is gone.
        place: The last place it was told, 0 before.
    """

    prompt: Prompt
    params: SamplingParams | None
    deadline: float | None
    loop: asyncio.AbstractEventLoop
    events: asyncio.Queue[EngineEvent | ChatError | None] = field(default_factory=asyncio.Queue)
    number: int = field(default_factory=lambda: next(_numbers))
    submitted: float = field(default_factory=time.monotonic)
    cancelled: bool = False
    place: int = 0

    def send(self, event: EngineEvent | ChatError | None) -> None:
        """Tell the caller, from any thread."""
        try:
            self.loop.call_soon_threadsafe(self.events.put_nowait, event)
        except RuntimeError:  # the caller's loop is closed: nobody listens any more
            self.cancelled = True

    @property
    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.monotonic() >= self.deadline


class WaitingLine:
    """First come, first served; one is served at a time, at most `size` wait.

    Args:
        size: How many may wait, the one being served not counted.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.closed = False
        self._changed = threading.Condition()
        self._current: Job | None = None
        self._since = 0.0  # when the current one came to be served
        self._waiting: deque[Job] = deque()
        self._mean_s: float | None = None

    def submit(self, job: Job, *, bounded: bool = True) -> None:
        """Put a job in line.

        Args:
            job: A new one.
            bounded: False for the engine's own work, which is never refused.

        Raises:
            EngineBusy: The line is full.
            EngineError: The engine is closed.
        """
        with self._changed:
            if self.closed:
                raise EngineError("The engine is closed.")
            if self._current is None:
                self._start(job)
            elif bounded and len(self._waiting) >= self.size:
                raise EngineBusy(f"{len(self._waiting)} requests wait already, the most allowed; ask again later.")
            else:
                self._waiting.append(job)
                self._announce()

    def next(self) -> Job | None:
        """Wait for the job to serve now; None once the line is closed and nothing is left. For the worker."""
        with self._changed:
            self._changed.wait_for(lambda: self._current is not None or self.closed)
            return self._current

    def done(self, answer_s: float | None) -> None:
        """Let the next one come.

        Args:
            answer_s: How long a whole answer took, None for anything else.
        """
        with self._changed:
            if answer_s is not None:
                self._mean_s = (
                    answer_s if self._mean_s is None else MEMORY * self._mean_s + (1 - MEMORY) * answer_s
                )  # fmt: skip
            self._current = None
            if self._waiting:
                self._start(self._waiting.popleft())
                self._announce()

    def expire(self, job: Job) -> None:
        """End a job whose deadline has passed, if it still waits; the worker ends the one that it serves."""
        if self._leave(job):
            job.send(EngineTimeout("The deadline passed before the answer could begin; ask again later."))

    def cancel(self, job: Job) -> None:
        """Forget a job: its caller is gone. The worker stops it at its next step."""
        job.cancelled = True
        self._leave(job)

    def close(self) -> None:
        """Refuse everything from now on, and tell those who wait."""
        with self._changed:
            self.closed = True
            for job in self._waiting:
                job.send(EngineError("The engine was closed."))
            self._waiting.clear()
            self._changed.notify_all()

    def _start(self, job: Job) -> None:
        self._current, self._since = job, time.monotonic()
        self._changed.notify_all()

    def _leave(self, job: Job) -> bool:
        with self._changed:
            if job not in self._waiting:
                return False
            self._waiting.remove(job)
            self._announce()
            return True

    def _announce(self) -> None:
        """Tell each one whose place has changed."""
        served_s = time.monotonic() - self._since
        for place, job in enumerate(self._waiting, 1):
            if job.place != place:
                job.place = place
                mean = self._mean_s
                eta = None if mean is None else max(mean - served_s, 0.0) + (place - 1) * mean
                job.send(Queued(place, eta))
