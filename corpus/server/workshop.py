"""Hands out instructions, takes texts back, keeps both: leases, verdicts and files. Knows a domain; knows no HTTP.

The log is the truth. What an event means is said once, in `_apply`, which serves a running workshop and a replay
alike; so a restart goes on exactly, and every other file can be made again from the log.
"""

import hashlib
import json
import random
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from corpus.check import plain
from corpus.server.domain import Domain
from corpus.server.log import Event, Log
from corpus.server.quotas import Cell
from corpus.server.sampler import Sampler
from corpus.server.targets import TOON_SPEC, Finding, Target, to_toon
from corpus.server.texts import digest, findings
from errors import CorpusError

LEASE_S = 1800.0
MOST_REJECTS = 3  # of one instruction; then its quota goes back
ANONYMOUS = "anonymous"
DERIVED = ("issued_instructions.jsonl", "generated_cases.jsonl", "generated_cases_train_mistral.jsonl")

Status = Literal["leased", "accepted", "rejected", "expired"]


@dataclass(frozen=True)
class Instruction:
    """One cell in somebody's hands.

    Attributes:
        id: "INS-0001" and so on.
        agent: Who writes.
        cell: One level for each dimension.
        target: The object to write from.
        token: Fence of its lease.
        expires_at: Seconds since the epoch.
        status: Where it stands.
        rejects: Texts refused so far.
        sha: Of the text that settled it, or "".
    """

    id: str
    agent: str
    cell: Cell
    target: Target
    token: str
    expires_at: float
    status: Status = "leased"
    rejects: int = 0
    sha: str = ""


@dataclass(frozen=True)
class Verdict:
    """The answer to a submission.

    Attributes:
        status: "accepted", "rejected" (with its findings), or "surplus": kept, but too late to count.
        findings: What to mend.
        again: Whether the same instruction can be sent once more.
    """

    status: Literal["accepted", "rejected", "surplus"]
    findings: tuple[Finding, ...] = ()
    again: bool = False


class Workshop:
    """The running state of one folder; every method may be called from any thread."""

    def __init__(
        self,
        folder: Path,
        domain: Domain,
        *,
        total: int,
        seed: int = 0,
        known: Iterable[str] = (),
        lease_s: float = LEASE_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open the folder and go on where its log ends.

        Raises:
            CorpusError: It is in use, its log is damaged, it was begun with another plan, or the plan is impossible.
        """
        self.domain, self._seed, self._lease_s, self._clock = domain, seed, lease_s, clock
        self.folder = folder
        self._sampler = Sampler(domain.plan(total), seed=seed)
        self._texts = [plain(text) for text in known]
        self._digests = {digest(text) for text in known}
        self.instructions: dict[str, Instruction] = {}
        self._live: dict[str, str] = {}  # agent -> instruction
        self.counts: Counter[str] = Counter()
        self._guard = threading.RLock()
        self._log = Log(folder)
        try:
            self._resume(total)
        except CorpusError:
            self._log.close()
            raise

    def _resume(self, total: int) -> None:
        plan = {"domain": self.domain.key, "total": total, "seed": self._seed, "dimensions": self.domain.weights}
        print_ = hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()
        events = list(self._log.events())
        if not events:
            self._log.append({"event": "began", "fingerprint": print_, "domain": self.domain.key, "total": total})
        elif events[0].get("fingerprint") != print_:
            raise CorpusError(f"{self.folder} was begun with another plan; pass the same one, or another folder.")
        for event in events[1:]:
            self._apply(event)
        rebuild(self.folder, self.domain, events[1:])

    def next(self, agent: str = ANONYMOUS) -> Instruction | None:
        """Return the agent's live instruction, or lease it a new one; None when all are handed out or done.

        Raises:
            CorpusError: The domain cannot make a target for the cell.
        """
        with self._guard:
            self._expire()
            if agent in self._live:
                return self.instructions[self._live[agent]]
            state = self._sampler.issued
            cell = self._sampler.draw()
            if cell is None:
                return None
            self._sampler.give_back(cell)  # counted again by the event, as a replay does
            self._sampler.issued = state
            number = len(self.instructions) + 1
            target = self.domain.target(cell, random.Random(f"{self._seed}:{number}"))  # noqa: S311  rebuilt by a replay
            name = f"INS-{number:04}"
            self._record({
                "event": "issued", "at": self._clock(), "id": name, "agent": agent, "cell": cell, "target": target,
                "token": secrets.token_hex(8), "expires_at": self._clock() + self._lease_s, "toon_spec": TOON_SPEC,
            })  # fmt: skip
            return self.instructions[name]

    def renew(self, name: str, agent: str) -> Instruction:
        """Begin the lease of a live instruction again.

        Raises:
            CorpusError: Unknown, another agent's, or settled (`code`: unknown_instruction, foreign_agent, settled).
        """
        with self._guard:
            self._expire()
            instruction = self._own(name, agent)
            if instruction.status != "leased":
                raise CorpusError(f"{name} is {instruction.status}; ask for the next instruction.", code="settled")
            self._record({"event": "renewed", "id": name, "expires_at": self._clock() + self._lease_s})
            return self.instructions[name]

    def submit(self, name: str, agent: str, text: str) -> Verdict:
        """Take a text back.

        The same text again gets the same answer; an accepted instruction refuses another one.

        Raises:
            CorpusError: Unknown, another agent's, or settled with another text (`code` as for `renew`).
        """
        with self._guard:
            self._expire()
            instruction = self._own(name, agent)
            sha = hashlib.sha256(text.encode()).hexdigest()
            if instruction.status == "accepted":
                if sha == instruction.sha:
                    return Verdict("accepted")
                raise CorpusError(f"{name} is accepted with another text; ask for the next one.", code="settled")
            if instruction.status != "leased":
                if sha != instruction.sha:
                    self._record({"event": "surplus", "at": self._clock(), "id": name, "agent": agent, "text": text,
                                  "sha": sha})  # fmt: skip
                return Verdict("surplus")
            found = findings(text, self.domain.facts(instruction.target), self._texts, frozenset(self._digests))
            found += self.domain.text_findings(instruction.target, text)
            if found:
                last = instruction.rejects + 1 >= MOST_REJECTS
                named = [[one.code, one.path, one.message] for one in found]
                self._record({"event": "rejected", "at": self._clock(), "id": name, "agent": agent, "sha": sha,
                              "findings": named, "last": last})  # fmt: skip
                return Verdict("rejected", tuple(found), again=not last)
            self._record(
                {"event": "accepted", "at": self._clock(), "id": name, "agent": agent, "text": text, "sha": sha}
            )
            return Verdict("accepted")

    def summary(self) -> dict[str, Any]:
        """Return progress and balance: what is wanted, served, accepted, and each level against its quota."""
        with self._guard:
            self._expire()
            accepted = Counter(
                (name, level)
                for one in self.instructions.values()
                if one.status == "accepted"
                for name, level in one.cell.items()
            )
            levels = {
                name: {level: {"quota": q, "accepted": accepted[name, level]} for level, q in quota.items()}
                for name, quota in self._sampler.quotas.items()
            }
            return {
                "domain": self.domain.key,
                "wanted": self._sampler.wanted,
                "leased": len(self._live),
                **{key: self.counts[key] for key in ("issued", "accepted", "rejected", "expired", "surplus")},
                "worst_error": round(self._sampler.worst_error(), 3),
                "done": self.counts["accepted"] >= self._sampler.wanted,
                "levels": levels,
            }

    def close(self) -> None:
        """Give the folder back."""
        with self._guard:
            self._log.close()

    def _own(self, name: str, agent: str) -> Instruction:
        if name not in self.instructions:
            raise CorpusError(f"No instruction {name!r}; ask for the next one.", code="unknown_instruction")
        instruction = self.instructions[name]
        if instruction.agent != agent:
            raise CorpusError(f"{name} was given to another agent.", code="foreign_agent")
        return instruction

    def _expire(self) -> None:
        now = self._clock()
        for name in [one for one in self._live.values() if self.instructions[one].expires_at <= now]:
            self._record({"event": "expired", "at": now, "id": name})

    def _record(self, event: Event) -> None:
        self._log.append(event)
        self._apply(event)
        derive(self.folder, self.domain, self.instructions, event)
        write_whole(self.folder / "summary.json", json.dumps(self._numbers(), ensure_ascii=False) + "\n")

    def _numbers(self) -> dict[str, Any]:
        return {"domain": self.domain.key, "wanted": self._sampler.wanted, "leased": len(self._live), **self.counts}

    def _apply(self, event: Event) -> None:
        """Change the state by one event: the only place that does."""
        kind, name = event["event"], event["id"]
        self.counts[kind] += 1
        if kind == "issued":
            self.instructions[name] = Instruction(
                name, event["agent"], event["cell"], event["target"], event["token"], event["expires_at"]
            )
            self._live[event["agent"]] = name
            self._sampler.count(event["cell"])
            return
        instruction = self.instructions[name]
        if kind == "renewed":
            self.instructions[name] = replace(instruction, expires_at=event["expires_at"])
        elif kind == "accepted":
            self.instructions[name] = replace(instruction, status="accepted", sha=event["sha"])
            self._live.pop(instruction.agent, None)
            self._texts.append(plain(event["text"]))
            self._digests.add(digest(event["text"]))
        elif kind == "expired" or (kind == "rejected" and event["last"]):
            self.instructions[name] = replace(
                instruction, status=kind, rejects=instruction.rejects + (kind == "rejected")
            )
            self._live.pop(instruction.agent, None)
            self._sampler.give_back(instruction.cell)
        elif kind == "rejected":
            self.instructions[name] = replace(instruction, rejects=instruction.rejects + 1)
        elif kind == "surplus":
            self.instructions[name] = replace(instruction, sha=event["sha"])


def write_whole(path: Path, content: str) -> None:
    """Replace a file in one step."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(content, encoding="utf-8")
    partial.replace(path)


def derived_lines(domain: Domain, target: Mapping[str, Any] | None, event: Event) -> dict[str, str]:
    """Return the line that an event adds to each derived file."""

    def line(value: Mapping[str, Any]) -> str:
        return json.dumps(value, ensure_ascii=False) + "\n"

    if event["event"] == "issued":
        kept = {key: event[key] for key in ("id", "agent", "cell", "at")}
        return {"issued_instructions.jsonl": line({**kept, "target_toon": to_toon(event["target"])})}
    if event["event"] == "accepted" and target is not None:
        case = {"id": event["id"], "agent": event["agent"], "target": target, "case_text": event["text"]}
        return {
            "generated_cases.jsonl": line(case),
            "generated_cases_train_mistral.jsonl": line({"messages": domain.messages(target, event["text"])}),
        }
    if event["event"] == "surplus":
        return {"surplus.jsonl": line({key: event[key] for key in ("id", "agent", "text")})}
    return {}


def derive(folder: Path, domain: Domain, instructions: Mapping[str, Instruction], event: Event) -> None:
    """Add what an event says to the derived files."""
    for name, line in derived_lines(domain, instructions[event["id"]].target, event).items():
        with (folder / name).open("a", encoding="utf-8") as file:
            file.write(line)


def rebuild(folder: Path, domain: Domain, events: Iterable[Event]) -> None:
    """Make every derived file again from the log, byte for byte what a run without a stop would have left."""
    targets: dict[str, Target] = {}
    files: dict[str, list[str]] = {name: [] for name in DERIVED}
    for event in events:
        if event["event"] == "issued":
            targets[event["id"]] = event["target"]
        for name, line in derived_lines(domain, targets.get(event["id"]), event).items():
            files.setdefault(name, []).append(line)
    for name, lines in files.items():
        write_whole(folder / name, "".join(lines))
