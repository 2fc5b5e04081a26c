"""Who is served next, and what those who wait are told. Knows threads and event loops; knows no model.

Callers live in asyncio loops, the worker in a thread of its own. A job is handed over under one lock, so that each one
ends exactly once: served, expired, cancelled or refused. Clients take turns: one that asks ten times at once is served
once, then the others, then again.
"""

import asyncio
import itertools
import threading
import time
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass, field

from engines.base import EngineEvent, Finished, Queued, SamplingParams
from engines.prompt import Prompt
from errors import ChatError, EngineBusy, EngineError, EngineTimeout

NEWCOMER = "a client that nobody has"  # for whom the wait is said before they ask
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
        client: Opaque key of who asks.
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
    client: str = ""
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
    """First come, first served within a client; clients in turn. `places` are served at once, `size` more may wait.

    Args:
        size: How many may wait.
        places: How many are served at the same time.
    """

    def __init__(self, size: int, places: int = 1) -> None:
        self.size = size
        self.places = places
        self.closed = False
        self._changed = threading.Condition()
        self._waiting: OrderedDict[str, deque[Job]] = OrderedDict()  # by client, in the order of their turns
        self._served = 0
        self._blocked = False  # whoever is next does not fit: the places that are free are nobody's
        self._mean_s: float | None = None

    @property
    def n_waiting(self) -> int:
        """How many wait. From any thread."""
        with self._changed:
            return sum(map(len, self._waiting.values()))

    @property
    def eta_s(self) -> float | None:
        """Seconds until one who asks now would be served, 0 where a place is free; None until an answer was timed."""
        with self._changed:
            place = self._place_of(NEWCOMER) - self._free
            return 0.0 if place < 1 else self._eta(place)

    def submit(self, job: Job, *, bounded: bool = True) -> None:
        """Put a job in line.

        Args:
            job: A new one.
            bounded: False for the engine's own work, which is never refused.

        Raises:
            EngineBusy: The line is longer than the job's deadline, or full. Then a client's only job is taken all the
                same, and the newest of who has most in line is refused.
            EngineError: The engine is closed.
        """
        with self._changed:
            if self.closed:
                raise EngineError("The engine is closed.")
            if bounded:
                self._refuse_in_time(job)
            self._waiting.setdefault(job.client, deque()).append(job)
            self._announce()
            self._changed.notify_all()

    async def served(
        self,
        prompt: Prompt,
        params: SamplingParams | None,
        *,
        client: str = "",
        deadline_s: float | None = None,
        bounded: bool = True,
    ) -> AsyncGenerator[EngineEvent, None]:
        """Put a new job in line and yield what it is told; see `Engine.stream`. Closing it cancels the job.

        Args:
            prompt: What to read.
            params: How to answer; None when the prompt is only to be read ahead: then nothing but places is yielded.
            client: Opaque key of who asks.
            deadline_s: Seconds from now.
            bounded: See `submit`.
        """
        loop = asyncio.get_running_loop()
        job = Job(prompt, params, None if deadline_s is None else time.monotonic() + deadline_s, loop, client)
        self.submit(job, bounded=bounded)
        timer = None if deadline_s is None else loop.call_later(deadline_s, self.expire, job)
        try:
            while (event := await job.events.get()) is not None:
                if isinstance(event, ChatError):
                    raise event
                yield event
                if isinstance(event, Finished):
                    return
        finally:
            if timer is not None:
                timer.cancel()
            self.cancel(job)

    def wait(self) -> bool:
        """Wait until somebody is in line; False once the line is closed. For the worker, when it has nothing to do."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self.closed)
            return not self.closed

    def take(self, fits: Callable[[Job], bool]) -> Job | None:
        """Return the job whose turn it is, if there is one and it fits. For the worker; `done` follows each.

        Nobody is served before the one whose turn it is: a long prompt would else never find room.
        """
        with self._changed:
            job = next(self._in_turn(), None)
            self._blocked = job is not None and not fits(job)
            if job is None or self._blocked:
                self._announce()
                return None
            jobs = self._waiting.pop(job.client)
            jobs.popleft()
            if jobs:
                self._waiting[job.client] = jobs  # behind the others
            self._served += 1
            self._announce()
            return job

    def done(self, answer_s: float | None) -> None:
        """Note that one that was taken is over.

        Args:
            answer_s: How long a whole answer took, None for anything else.
        """
        with self._changed:
            self._served -= 1
            self._blocked = False
            if answer_s is not None:
                mean = answer_s if self._mean_s is None else self._mean_s
                self._mean_s = MEMORY * mean + (1 - MEMORY) * answer_s

    def expire(self, job: Job) -> None:
        """Tell a job that its deadline passed, if it still waits; the worker ends the ones that it serves."""
        if self._leave(job):
            job.send(EngineTimeout("The deadline passed before the answer could begin; ask again later."))

    def cancel(self, job: Job) -> None:
        """Forget a job: its caller is gone. The worker stops it at its next step."""
        job.cancelled = True
        self._leave(job)

    def close(self, error: EngineError | None = None) -> None:
        """Refuse everything from now on, and tell those who wait."""
        with self._changed:
            self.closed = True
            for job in self._in_turn():
                job.send(error or EngineError("The engine was closed."))
            self._waiting.clear()
            self._changed.notify_all()

    def _refuse_in_time(self, job: Job) -> None:
        waiting = self.n_waiting
        full = self._served + waiting >= self.places + self.size
        eta = self._eta(self._place_of(job.client) - self._free)
        busy = EngineBusy(f"{waiting} requests wait already, the most allowed; ask again later.", retry_after_s=eta)
        most = max(([one for one in jobs if one.params] for jobs in self._waiting.values()), key=len, default=[])
        if full and (job.client in self._waiting or len(most) < 2):
            raise busy
        if job.deadline is not None and eta and time.monotonic() + eta > job.deadline:
            said = f"A place comes free in about {eta:.0f} s, later than this request may wait."
            raise EngineBusy(said, retry_after_s=eta)
        if full:
            self._leave(most[-1])
            most[-1].send(busy)

    def _leave(self, job: Job) -> bool:
        with self._changed:
            jobs = self._waiting.get(job.client)
            if not jobs or job not in jobs:
                return False
            jobs.remove(job)
            if not jobs:
                del self._waiting[job.client]
            self._announce()
            return True

    def _in_turn(self) -> Iterator[Job]:
        """Each waiting job, in the order in which they will be served."""
        for round_ in itertools.count():
            jobs = [jobs[round_] for jobs in self._waiting.values() if len(jobs) > round_]
            if not jobs:
                return
            yield from jobs

    def _place_of(self, client: str) -> int:
        """Return which place in line one more job of a client would have, by turns."""
        clients = list(self._waiting)
        mine = clients.index(client) if client in clients else len(clients)
        own = len(self._waiting.get(client, ()))
        before = (min(len(self._waiting[one]), own + (place < mine)) for place, one in enumerate(clients))
        return 1 + sum(before)

    @property
    def _free(self) -> int:
        """Places that whoever is next may have."""
        return 0 if self._blocked else max(self.places - self._served, 0)

    def _eta(self, place: int) -> float | None:
        """Seconds until a place comes free for the one in this place; None until an answer has been timed."""
        return None if self._mean_s is None or place < 1 else self._mean_s * place / self.places

    def _announce(self) -> None:
        """Tell each one whose place has changed; those for whom there is a free place are served in a moment."""
        for place, job in enumerate(self._in_turn(), 1 - self._free):
            if place > 0 and job.place != place:
                job.place = place
                job.send(Queued(place, self._eta(place)))
