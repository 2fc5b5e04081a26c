"""What the events of a log add up to: instructions, quotas, agents. Pure: knows no file, no clock and no lock.

What an event means is said here alone, for a running workshop and for a replay of its log alike.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from corpus.server.ahead import Future
from corpus.server.log import Event
from corpus.server.paths import reached
from corpus.server.quotas import Cell, Plan, largest_remainder
from corpus.server.sampler import Sampler
from corpus.server.targets import Finding, Target
from corpus.server.texts import Copies
from errors import CorpusError

SHOWN_REJECTS = 12  # on the dashboard
PACE_CASES = 200  # the last accepted ones, from which the time left is told

Status = Literal["leased", "accepted", "review", "rejected", "expired", "released"]


@dataclass(frozen=True)
class Instruction:
    """One cell in somebody's hands.

    Attributes:
        id: "INS-0001" and so on; a cell that is served again gets a new one.
        agent: Who writes.
        cell: One level for each dimension.
        target: The object to write from.
        token: Fence of its lease.
        expires_at: Seconds since the epoch.
        status: Where it stands.
        rejects: Texts refused so far.
        sent: Texts that came in all, to number them.
        sha: Of the text that settled it, or "".
        refused: The same of the last text refused, or "".
        findings: What was wrong with that one.
        handed: Whether its lease has changed hands, so that the token has to be shown.
        schema: Hash of the schema that its target was made by; "" in a log of before this was kept.
    """

    id: str
    agent: str
    cell: Cell
    target: Target
    token: str
    expires_at: float
    status: Status = "leased"
    rejects: int = 0
    sent: int = 0
    sha: str = ""
    refused: str = ""
    findings: tuple[Finding, ...] = ()
    handed: bool = False
    schema: str = ""


@dataclass
class State:
    """The sum of a log's events; `apply` alone changes it.

    Attributes:
        domain: Its key.
        plan: What is to be served.
        seed: Of the cells.
        copies: Texts that a new one may not be near to; the accepted ones are added.
        paths: What a target can reach in its schema.
        sampler: Quotas and what was served.
        instructions: By id, the oldest first.
        live: The leased instruction of each agent.
        counts: Events by kind.
        accepted: Accepted cases by dimension and level.
        agents: Events by kind, for each agent.
        reached: How many targets reached each path, so that the rarest come next.
        rejects: The last refused texts, as events.
        waiting: Texts that a person has to read, as events by instruction.
        times: When the last cases were accepted, in seconds since the epoch.
        latest: Time of the newest event.
        returned: Cells whose quota came back; what was drawn ahead before is worth nothing.
    """

    domain: str
    plan: Plan
    seed: int
    copies: Copies
    paths: frozenset[str] = frozenset()
    sampler: Sampler = field(init=False)
    instructions: dict[str, Instruction] = field(default_factory=dict)
    live: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    accepted: dict[str, dict[str, int]] = field(init=False)
    agents: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    reached: Counter[str] = field(default_factory=Counter)
    rejects: deque[Event] = field(default_factory=lambda: deque(maxlen=SHOWN_REJECTS))
    waiting: dict[str, Event] = field(default_factory=dict)
    times: deque[float] = field(default_factory=lambda: deque(maxlen=PACE_CASES))
    latest: float = 0.0
    returned: int = 0

    def __post_init__(self) -> None:
        self.sampler = Sampler(self.plan, seed=self.seed)
        self.accepted = {name: dict.fromkeys(quota, 0) for name, quota in self.sampler.quotas.items()}

    @property
    def done(self) -> bool:
        """Whether every case that was wanted is there."""
        return self.counts["accepted"] >= self.sampler.wanted

    def future(self) -> Future:
        """Return what comes next from here."""
        return Future(
            self.sampler.split(), self.reached.copy(), self.paths, self.seed, len(self.instructions) + 1, self.returned
        )

    def overdue(self, now: float) -> list[str]:
        """Return the live instructions whose lease has run out."""
        return [name for name in self.live.values() if self.instructions[name].expires_at <= now]

    def apply(self, event: Event) -> Instruction:
        """Change the state by one event, and return the instruction as it stands now.

        Raises:
            CorpusError: There is no such event.
        """
        kind, name = event["event"], event["id"]
        self.counts[kind] += 1
        self.latest = max(self.latest, event["at"])
        if kind == "issued":
            changed = Instruction(
                name, event["agent"], event["cell"], event["target"], event["token"], event["expires_at"],
                schema=event.get("schema", ""),
            )  # fmt: skip
            self.live[changed.agent] = name
            self.sampler.count(changed.cell)
            self.reached.update(self.paths.intersection(reached(changed.target)))
        elif kind in _CHANGES:
            changed = _CHANGES[kind](self, self.instructions[name], event)
        else:
            raise CorpusError(f"the log has an event {kind!r} at {name}; it was written by another version.")
        self.instructions[name] = changed
        self.agents[changed.agent][kind] += 1
        return changed

    def _renewed(self, one: Instruction, event: Event) -> Instruction:
        if event["agent"] != one.agent:
            self._let_go(one)
            self.live[event["agent"]] = one.id
            one = replace(one, agent=event["agent"], token=event["token"], handed=True)
        return replace(one, expires_at=event["expires_at"])

    def _accepted(self, one: Instruction, event: Event) -> Instruction:
        self._let_go(one)
        self.times.append(event["at"])
        for name, level in one.cell.items():
            self.accepted[name][level] += 1
        if self.waiting.pop(one.id, None) is not None:
            return replace(one, status="accepted")
        self.copies.add(event["text"])
        return replace(one, status="accepted", sha=event["sha"], sent=one.sent + 1)

    def _review(self, one: Instruction, event: Event) -> Instruction:
        self._let_go(one)
        self.waiting[one.id] = event
        self.copies.add(event["text"])
        return replace(one, status="review", sha=event["sha"], sent=one.sent + 1)

    def _rejected(self, one: Instruction, event: Event) -> Instruction:
        self.rejects.append(event)
        found = tuple(Finding(*named) for named in event["findings"])
        one = replace(one, refused=event["sha"], findings=found)
        if self.waiting.pop(one.id, None) is not None:
            return self._ended(replace(one, status="rejected"))
        one = replace(one, rejects=one.rejects + 1, sent=one.sent + 1)
        return self._ended(replace(one, status="rejected")) if event["last"] else one

    def _expired(self, one: Instruction, _: Event) -> Instruction:
        return self._ended(replace(one, status="expired"))

    def _released(self, one: Instruction, _: Event) -> Instruction:
        return self._ended(replace(one, status="released"))

    def _surplus(self, one: Instruction, event: Event) -> Instruction:
        return replace(one, sha=event["sha"], sent=one.sent + 1)

    def _let_go(self, one: Instruction) -> None:
        """End a lease; an agent whose text waited for a person may hold another instruction by then."""
        if self.live.get(one.agent) == one.id:
            del self.live[one.agent]

    def _ended(self, one: Instruction) -> Instruction:
        """Give the quota of a cell back."""
        self._let_go(one)
        self.sampler.give_back(one.cell)
        self.returned += 1
        return one


_CHANGES = {
    "renewed": State._renewed,
    "accepted": State._accepted,
    "review": State._review,
    "rejected": State._rejected,
    "expired": State._expired,
    "released": State._released,
    "surplus": State._surplus,
}


def seeded_counts(
    cells: Iterable[Mapping[str, str]], weights: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, int]]:
    """Count the levels of seed cases; a case whose level nobody knows counts as one of the usual mix.

    So every dimension counts every case, as the quotas need it.

    Args:
        cells: What is known of each seed case: no, some or all dimensions.
        weights: The share of each level, by dimension.

    Raises:
        CorpusError: A case has a level that its dimension has not.
    """
    given = list(cells)
    counts: dict[str, dict[str, int]] = {}
    for name, levels in weights.items():
        known = Counter(cell[name] for cell in given if name in cell)
        strange = sorted(set(known) - set(levels))
        if strange:
            raise CorpusError(f"seed corpus: {name}={strange[0]!r} is no level. Known: {', '.join(levels)}.")
        guessed = largest_remainder(levels, len(given) - known.total())
        counts[name] = {level: known[level] + guessed[level] for level in levels}
    return counts
