"""Hands out instructions, takes texts back, keeps both: leases and verdicts. Knows a domain; knows no HTTP.

The log is the truth: an event is on disk before anybody is told, `State` says what it means, `Files` what it leaves.
A restart replays the log and goes on exactly.
"""

import hashlib
import json
import logging
import math
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from corpus.server.ahead import Drawn, Future
from corpus.server.domain import Domain
from corpus.server.files import Files, Messages
from corpus.server.log import Event, Log
from corpus.server.report import numbers
from corpus.server.state import Instruction, State, seeded_counts
from corpus.server.targets import TOON_SPEC, Finding
from corpus.server.texts import Copies, findings, is_arguable, refuse_unfit
from errors import CorpusError

log = logging.getLogger(__name__)

LEASE_S = 1800.0
MOST_REJECTS = 3  # of one instruction; then its quota goes back
ANONYMOUS = "anonymous"
SENT_S = 0.003  # after which an answer is on its way, and what it left to do takes nobody's time
LOOK_S = 0.05  # between two looks at the leases while nothing happens
AHEAD = 3  # instructions that lie ready: more than are asked for while one is drawn
FILES_S = 0.05  # after which the files are written: one summary for all that happened meanwhile

T = TypeVar("T")


@dataclass(frozen=True)
class Verdict:
    """The answer to a submission.

    Attributes:
        status: "accepted"; "rejected" with its findings; "review": kept, a person decides; "surplus": kept, but too
            late to count.
        findings: What to mend.
        again: Whether the same instruction can be sent once more.
    """

    status: Literal["accepted", "rejected", "review", "surplus"]
    findings: tuple[Finding, ...] = ()
    again: bool = False


@dataclass(frozen=True)
class SeedCorpus:
    """Cases that exist before the first instruction.

    Attributes:
        cells: What is known of each case's dimensions; it counts in the quotas.
        messages: The training example of each.
        texts: Their texts, and others that a new one may not be near to.
    """

    cells: Sequence[Mapping[str, str]] = ()
    messages: Sequence[Messages] = ()
    texts: Sequence[str] = ()


class Workshop:
    """The running state of one folder; every method may be called from any thread."""

    def __init__(
        self,
        folder: Path,
        domain: Domain,
        *,
        total: int,
        seed: int = 0,
        seeds: SeedCorpus | None = None,
        lease_s: float = LEASE_S,
        clock: Callable[[], float] = time.time,
        later: bool = False,
    ) -> None:
        """Open the folder and go on where its log ends.

        Args:
            folder: Of the log and all that is made of it.
            domain: What is written about.
            total: Cases wanted, those that exist included.
            seed: Of the draws.
            seeds: Cases that exist.
            lease_s: Seconds of a lease that nobody renews.
            clock: Seconds since the epoch.
            later: What nobody waits for is left to a thread of its own, which begins when the answer is on its way:
                the next draw, and the files but the log.

        Raises:
            CorpusError: It is in use, its log is damaged, it was begun with another plan, or the plan is impossible.
        """
        given = seeds or SeedCorpus()
        self.domain, self.folder = domain, folder
        self._lease_s, self._clock = lease_s, clock
        plan = domain.plan(total, seeded_counts(given.cells, domain.weights) if given.cells else None)
        self._state = State(domain.key, plan, seed, Copies(given.texts), domain.paths)
        self._files = Files(folder, domain, given.messages)
        self._guard = threading.RLock()
        # Of the files. Taken before the guard, never after it; where an event writes them at once, the same lock.
        self._writing = threading.RLock() if later else self._guard
        self._unwritten: deque[tuple[Event, Instruction]] = deque()
        self._behind = False  # what was to be written was not, or in part: a file may lack lines
        self._lag: CorpusError | None = None
        self._happened, self._closing = threading.Event(), False
        self._ready: deque[Drawn] = deque()
        self._future: Future | None = None  # from which they were drawn
        self._drawing = threading.Lock()  # of the future, while the workshop is open to all
        self._log = Log(folder)
        try:
            self._resume()
        except CorpusError:
            self._log.close()
            raise
        self._clerk = threading.Thread(target=self._work_later, name="clerk") if later else None
        if self._clerk:
            self._clerk.start()

    @property
    def instructions(self) -> Mapping[str, Instruction]:
        """Every instruction by id, the oldest first."""
        return self._state.instructions

    def _resume(self) -> None:
        plan = self._state.plan
        forbidden = sorted(sorted(map(list, pair)) for pair in plan.forbidden)
        told = {"domain": self.domain.key, "total": plan.total, "seed": self._state.seed, "dimensions": plan.weights,
                "forbidden": forbidden, "seeded": plan.seeded}  # fmt: skip
        print_ = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
        events = list(self._log.events())
        if not events:
            self._log.append({"event": "began", "at": self._clock(), "fingerprint": print_, **told})
        elif events[0].get("fingerprint") != print_:
            raise CorpusError(f"{self.folder} was begun with another plan; pass the same one, or another folder.")
        self._files.make_again(events[1:], self._state)

    def next(self, agent: str = ANONYMOUS) -> Instruction | None:
        """Return the agent's live instruction, or lease it a new one; None when all are handed out or done.

        Raises:
            CorpusError: The domain cannot make a target for the cell, or the disk refuses, or refused a file before.
        """
        while True:
            with self._guard:
                if self._lag is not None:
                    lag, self._lag = self._lag, None
                    raise lag
                now = self._expire()
                if agent in self._state.live:
                    return self.instructions[self._state.live[agent]]
                if self._fresh():
                    drawn = self._ready[0]
                    return self._record({
                        "event": "issued", "at": now, "id": drawn.id, "agent": agent, "cell": drawn.cell,
                        "target": drawn.target, "token": secrets.token_hex(8),
                        "expires_at": now + self._lease_s, "toon_spec": TOON_SPEC, "schema": self._files.schema,
                    })  # fmt: skip
            if not self._draw_ahead():
                with self._guard:
                    if not self._fresh():
                        return None

    def prepare(self) -> None:
        """Draw the next instructions now, while nobody waits for them; the same ones that `next` would draw."""
        # An error of the domain is raised again by whoever asks next, and told to them.
        with suppress(CorpusError):
            while self._draw_ahead():
                pass

    def _draw_ahead(self) -> bool:
        """Draw one more if few lie ready, the workshop open to all meanwhile; say whether one was drawn.

        Whoever comes while another draws waits for that draw, and does not make the same one.
        """
        with self._drawing:
            with self._guard:
                ready = self._fresh()
                if ready >= AHEAD:
                    return False
                future, number = self._future, len(self.instructions) + ready + 1
                if future is None or (future.number, future.returned) != (number, self._state.returned):
                    future = self._future = self._state.future()
                    self._ready.clear()
            drawn = future.draw(self.domain)
            if drawn is None:
                return False
            self._files.speak(drawn.id, drawn.target, drawn.cell)
            with self._guard:
                self._ready.append(drawn)
            return True

    def _fresh(self) -> int:
        """Drop what was drawn ahead and is no longer what comes next; return how many are left."""
        now = self._state
        while self._ready and (self._ready[0].number, self._ready[0].returned) != (
            len(now.instructions) + 1,
            now.returned,
        ):
            self._ready.popleft()
        return len(self._ready)

    def _be_ready(self) -> None:
        """Draw before the answer to a text where nothing lies ready: whoever gave a cell back asks for the next one."""
        with self._guard:
            ready = self._fresh()
        if not ready:
            with suppress(CorpusError):  # told to whoever asks
                self._draw_ahead()

    def _work_later(self) -> None:
        """Until the workshop closes: end leases in time, draw ahead after each event, write the files soon."""
        due = math.inf  # when the files are written
        self._happened.set()  # there is something to draw
        while not self._closing:
            happened = self._happened.wait(self._pause(due))
            try:
                if happened:
                    self._happened.clear()
                    time.sleep(SENT_S)
                    due = min(due, time.monotonic() + FILES_S)
                with self._guard, suppress(CorpusError):
                    before = self._state.returned
                    self._expire()
                    happened = happened or self._state.returned != before
                if happened:
                    self.prepare()
                if time.monotonic() >= due:
                    due = math.inf
                    self._catch_up_or_tell()
            except Exception:  # a domain's own; whoever asks next meets it and is told
                log.exception("the clerk goes on without what failed")

    def _pause(self, due: float) -> float:
        """Return how many seconds nothing is to be done: until the files are due, or a lease ends.

        A lease that ends is seen at once, so that the next draw is over before somebody asks.
        """
        with self._guard:
            ends = min((self.instructions[name].expires_at for name in self._state.live.values()), default=math.inf)
            left = ends - self._now()
        return max(min(due - time.monotonic(), left, LOOK_S), 0.0)

    def _catch_up_or_tell(self) -> None:
        try:
            self.catch_up()
        except CorpusError as error:
            self._lag = error  # told to whoever asks next
            log.error("the files lag behind the log: %s", error, exc_info=error.__cause__)

    def catch_up(self) -> None:
        """Write what the events so far leave in the files; where that has failed before, all of them anew from the log.

        Raises:
            CorpusError: The disk refuses, or the domain breaks (`code`: files_lag); the log has it all, and the
                next call or the next start makes the files again.
        """
        with self._writing:
            with self._guard:
                made = list(self._unwritten)
                self._unwritten.clear()
                said = numbers(self._state)
                events = list(self._log.events())[1:] if self._behind else []
            if not made and not self._behind:
                return
            behind, self._behind = self._behind, True  # until nothing lacks in any file
            try:
                if behind:
                    now = self._state
                    self._files.make_again(events, State(now.domain, now.plan, now.seed, Copies(), now.paths))
                else:
                    self._files.add(made, said)
            except CorpusError:
                raise
            except Exception as error:  # a domain's own, which must not end the thread that writes for all
                raise CorpusError(
                    f"{self.folder}: {error!r}; the log is whole, mend the domain and start again.", code="files_lag"
                ) from error
            self._behind = False

    def renew(self, name: str, agent: str, token: str | None = None) -> Instruction:
        """Begin the lease of a live instruction again; with its token, another agent takes it over.

        Raises:
            CorpusError: Unknown, another agent's, settled, or the token is not the lease's (`code`:
                unknown_instruction, foreign_agent, settled, stale_lease).
        """
        with self._guard:
            now = self._expire()
            one = self._held(name, agent, token, take=True)
            if agent != one.agent and agent in self._state.live:
                held = self._state.live[agent]
                raise CorpusError(f"{agent} has {held} already; settle or release it first.", code="foreign_agent")
            new = secrets.token_hex(8) if agent != one.agent else one.token
            return self._record({"event": "renewed", "at": now, "id": name, "agent": agent, "token": new,
                                 "expires_at": now + self._lease_s})  # fmt: skip

    def release(self, name: str, agent: str, token: str | None = None) -> None:
        """Give an instruction back unwritten: its quota is free at once.

        Raises:
            CorpusError: As for `renew`.
        """
        with self._guard:
            now = self._expire()
            self._held(name, agent, token)
            self._record({"event": "released", "at": now, "id": name})

    def submit(self, name: str, agent: str, text: str, token: str | None = None) -> Verdict:
        """Take a text back.

        The same text again gets the same answer and uses up no attempt; an accepted instruction refuses another one. A
        text is compared with thousands of others before the state is locked, so that nobody else waits for that.

        Raises:
            CorpusError: No text of a case (`refuse_unfit`), unknown, another agent's, or settled with another text
                (`code` as for `renew`).
        """
        refuse_unfit(text)
        verdict = self._judge(name, agent, text, token)
        self._log.settle()  # nobody else waits for the disk
        if self._clerk:
            self._be_ready()
        return verdict

    def _judge(self, name: str, agent: str, text: str, token: str | None) -> Verdict:
        sha = hashlib.sha256(text.encode()).hexdigest()
        with self._guard:
            early = self._settled(name, agent, token, text, sha)
            one, compared = self.instructions[name], len(self._state.copies)
        if early is not None:
            return early
        facts = self.domain.facts(one.target)
        found = findings(text, facts, self._state.copies)
        found += self.domain.text_findings(one.target, text)
        with self._guard:
            early = self._settled(name, agent, token, text, sha)  # the lease may have ended while we read
            if early is not None:
                return early
            if not found and (near := self._state.copies.near(text, since=compared)) is not None:
                found = [near]
            one = self.instructions[name]
            event: Event = {"at": self._now(), "id": name, "agent": agent, "text": text, "sha": sha}
            if not found:
                self._record({"event": "accepted", **event, "seed": self._state.seed, "toon_spec": TOON_SPEC})
                return Verdict("accepted")
            named = [[one.code, one.path, one.message] for one in found]
            last = one.rejects + 1 >= MOST_REJECTS
            if last and is_arguable(found, facts):
                self._record({"event": "review", **event, "findings": named})
                return Verdict("review", tuple(found))
            self._record({"event": "rejected", **event, "findings": named, "last": last})
        return Verdict("rejected", tuple(found), again=not last)

    def decide(self, name: str, *, accept: bool) -> None:
        """Accept or refuse a text that waits for a person.

        Raises:
            CorpusError: No text of that instruction waits (`code`: unknown_instruction, settled).
        """
        with self._guard:
            now = self._expire()
            waiting = self._state.waiting.get(name)
            if waiting is None:
                if name not in self.instructions:
                    raise CorpusError(f"No instruction {name!r}.", code="unknown_instruction")
                raise CorpusError(f"{name} waits for nobody.", code="settled")
            event: Event = {"at": now, "id": name, "agent": waiting["agent"], "text": waiting["text"],
                            "sha": waiting["sha"], "reviewed": True}  # fmt: skip
            if accept:
                self._record({"event": "accepted", **event, "seed": self._state.seed, "toon_spec": TOON_SPEC})
            else:
                self._record({"event": "rejected", **event, "findings": waiting["findings"], "last": True})
        self._log.settle()

    def summary(self) -> dict[str, Any]:
        """Return progress and balance: what is wanted, served, accepted, and each level against its quota."""
        return self.look(numbers)

    def told(self, one: Instruction) -> dict[str, Any]:
        """Return an instruction as its writer gets it."""
        return {**self._files.told(one), "lease_token": one.token, "expires_at": one.expires_at}

    def look(self, at: Callable[[State], T]) -> T:
        """Return what a function makes of the state, which stands still meanwhile."""
        with self._guard:
            self._expire()
            return at(self._state)

    def read(self, name: str) -> bytes:
        """Return one of the files as it is after the last event; nothing is written meanwhile.

        Raises:
            CorpusError: As for `catch_up`: a file that lacks lines is not returned.
        """
        with self._writing:
            self.catch_up()
            return (self.folder / name).read_bytes()

    def close(self) -> None:
        """Write what is left and give the folder back."""
        if self._clerk:
            self._closing = True
            self._happened.set()
            self._clerk.join()
        with self._writing, self._guard:
            self._catch_up_or_tell()
            self._files.close()
            self._log.close()

    def _now(self) -> float:
        """Return the time, which never goes back: a clock set back must not revive a lease."""
        return max(self._state.latest, self._clock())

    def _held(self, name: str, agent: str, token: str | None, *, take: bool = False) -> Instruction:
        """Return a live instruction of an agent, or refuse."""
        one = self._own(name, agent, token, take=take)
        if one.status != "leased":
            raise CorpusError(f"{name} is {one.status}; ask for the next instruction.", code="settled")
        return one

    def _own(self, name: str, agent: str, token: str | None, *, take: bool = False) -> Instruction:
        if name not in self.instructions:
            raise CorpusError(f"No instruction {name!r}; ask for the next one.", code="unknown_instruction")
        one = self.instructions[name]
        shown = token is not None and secrets.compare_digest(token.encode(), one.token.encode())
        if one.agent != agent and not (take and shown):
            raise CorpusError(f"{name} was given to another agent.", code="foreign_agent")
        if not shown and (token is not None or one.handed):
            raise CorpusError(f"{name}: this is not the token of its lease.", code="stale_lease")
        return one

    def _settled(self, name: str, agent: str, token: str | None, text: str, sha: str) -> Verdict | None:
        """Return the answer to a text that came before, or whose instruction is not leased any more; else None."""
        now = self._expire()
        one = self._own(name, agent, token)
        if one.status in ("accepted", "review"):
            if sha == one.sha:
                return Verdict("accepted" if one.status == "accepted" else "review")
            raise CorpusError(f"{name} is settled with another text; ask for the next one.", code="settled")
        if sha == one.refused:
            return Verdict("rejected", one.findings, again=one.status == "leased")
        if one.status == "leased":
            return None
        if sha != one.sha:
            self._record({"event": "surplus", "at": now, "id": name, "agent": agent, "text": text, "sha": sha})
        return Verdict("surplus")

    def _expire(self) -> float:
        now = self._now()
        for name in self._state.overdue(now):
            self._record({"event": "expired", "at": now, "id": name})
        return now

    def _record(self, event: Event) -> Instruction:
        self._log.append(event)
        one = self._state.apply(event)
        self._unwritten.append((event, one))
        if self._clerk:
            self._happened.set()
        else:
            self.catch_up()
        return one
