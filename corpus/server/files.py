"""Every file of a workshop but its log: each made of events, and made again from them. Decides nothing."""

import hashlib
import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from corpus.server.domain import Domain
from corpus.server.log import Event
from corpus.server.quotas import Cell
from corpus.server.report import as_markdown, numbers
from corpus.server.state import Instruction, State
from corpus.server.targets import Target, said_toon
from errors import CorpusError

ISSUED, CASES, TRAIN = "issued_instructions.jsonl", "generated_cases.jsonl", "generated_cases_train_mistral.jsonl"
FULL, SURPLUS = "full_training_cases_mistral.jsonl", "surplus.jsonl"
APPENDED = (ISSUED, CASES, TRAIN, FULL, SURPLUS)
SUMMARIES = ("summary.json", "summary.md")
EXPORTS = (*APPENDED, *SUMMARIES)
KEPT_SPOKEN = 64  # prompts: more than agents ask at a time
SENT = ("accepted", "rejected", "review", "surplus")  # events that bring a text

_LINE_ENDS = {end: f"\\u{end:04x}" for end in (0x85, 0x2028, 0x2029)}  # JSON leaves them as they are

Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Derived:
    """What one event adds.

    Attributes:
        lines: A line for each file that grows.
        files: Whole files, by path under the folder.
    """

    lines: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


def write_whole(path: Path, content: str) -> None:
    """Replace a file in one step."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(content, encoding="utf-8")
    partial.replace(path)


def json_line(value: Mapping[str, Any]) -> str:
    r"""Return an object as one line, for every reader: some end a line at U+2028 as well.

    >>> json_line({"a": "é" + chr(0x2028)})
    '{"a": "é\\u2028"}\n'
    """
    return json.dumps(value, ensure_ascii=False).translate(_LINE_ENDS) + "\n"


def _page(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


class Files:
    """The derived files of one folder; one writer.

    Each event costs a line here and a small file there, never a file of everything: after thousands of cases the next
    one costs what the first one did.
    """

    def __init__(self, folder: Path, domain: Domain, seed_messages: Sequence[Messages] = ()) -> None:
        self.folder, self._domain = folder, domain
        self._seed_lines = [json_line({"messages": list(one)}) for one in seed_messages]
        schema = json.dumps(domain.schema, sort_keys=True).encode()
        self.schema = hashlib.sha256(schema).hexdigest()[:12]
        self._open: dict[str, TextIO] = {}
        self._spoken: dict[str, tuple[Target, str, str]] = {}
        self._speaking = threading.Lock()

    def speak(self, name: str, target: Target, cell: Cell) -> tuple[str, str]:
        """Return a target in TOON and the whole prompt; the last ones are kept, as they take longer than the rest."""
        spoken = self._spoken.get(name)
        if spoken is None or spoken[0] is not target:  # drawn again since, with another target
            toon = said_toon(target)
            spoken = (target, toon, self._domain.instruct(target, cell, toon))
            with self._speaking:  # any thread may ask
                self._spoken[name] = spoken
                while len(self._spoken) > KEPT_SPOKEN:
                    del self._spoken[next(iter(self._spoken))]
        return spoken[1:]

    def told(self, one: Instruction) -> dict[str, Any]:
        """Return an instruction as its writer gets it, its lease apart."""
        toon, prompt = self.speak(one.id, one.target, one.cell)
        return {
            "instruction_id": one.id,
            "agent_id": one.agent,
            "dimensions": one.cell,
            "target_toon": toon,
            "prompt": prompt,
        }

    def make_again(self, events: Iterable[Event], state: State) -> None:
        """Apply every event to a fresh state and write every file: what a run without a stop would have left.

        Raises:
            CorpusError: As for `add`.
        """
        with self._on_disk():
            self._write_all(events, state)

    def _write_all(self, events: Iterable[Event], state: State) -> None:
        self.close()  # each file is replaced, and what is left to write in an open one is not written twice
        for name in ("instructions", "submissions"):
            (self.folder / name).mkdir(exist_ok=True)
        lines: dict[str, list[str]] = {name: [] for name in APPENDED}
        lines[FULL] += self._seed_lines
        for event in events:
            made = self._derived(event, state.apply(event))
            for name, line in made.lines.items():
                lines[name].append(line)
            for name, content in made.files.items():
                path = self.folder / name
                if not path.exists() or path.read_text(encoding="utf-8") != content:
                    write_whole(path, content)
        for name, many in lines.items():
            write_whole(self.folder / name, "".join(many))
        self._summarise(numbers(state))

    def add(self, happened: Iterable[tuple[Event, Instruction]], said: dict[str, Any]) -> None:
        """Write what some events add.

        Args:
            happened: Events in order, each with its instruction after it.
            said: `report.numbers` after the last one.

        Raises:
            CorpusError: The disk refuses (`code`: files_lag); the log has the events, so `make_again` mends it.
        """
        with self._on_disk():
            for event, one in happened:
                made = self._derived(event, one)
                for name, line in made.lines.items():
                    if name not in self._open:
                        self._open[name] = (self.folder / name).open("a", encoding="utf-8")
                    self._open[name].write(line)
                    self._open[name].flush()
                for name, content in made.files.items():
                    write_whole(self.folder / name, content)
            self._summarise(said)

    @contextmanager
    def _on_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CorpusError(
                f"{self.folder}: {error.strerror}; the log is whole, make room and ask again.", code="files_lag"
            ) from None

    def close(self) -> None:
        """Close what is open; what cannot be written any more is made again from the log."""
        for file in self._open.values():
            with suppress(OSError):
                file.close()
        self._open.clear()

    def _summarise(self, said: dict[str, Any]) -> None:
        write_whole(self.folder / "summary.json", json_line(said))
        write_whole(self.folder / "summary.md", as_markdown(said))

    def _derived(self, event: Event, one: Instruction) -> Derived:
        made = Derived()
        kind = event["event"]
        if kind == "issued":
            whole = self.told(one)
            kept = {key: whole[key] for key in ("instruction_id", "agent_id", "dimensions", "target_toon")}
            made.lines[ISSUED] = json_line({**kept, "issued_at": event["at"]})
            made.files[f"instructions/{one.id}.json"] = _page({**whole, "issued_at": event["at"]})
        elif kind == "accepted":
            messages = json_line({"messages": self._domain.messages(one.target, event["text"])})
            made.lines.update({CASES: json_line(self._case(event, one)), TRAIN: messages, FULL: messages})
        elif kind == "surplus":
            made.lines[SURPLUS] = json_line({key: event[key] for key in ("id", "agent", "text")})
        if kind in SENT and not event.get("reviewed"):
            made.files[f"submissions/{one.id}-{one.sent}.json"] = _page({
                "instruction_id": one.id, "agent_id": event["agent"], "at": event["at"], "verdict": kind,
                "findings": event.get("findings", []), "case_text": event["text"],
            })  # fmt: skip
        return made

    def _case(self, event: Event, one: Instruction) -> dict[str, Any]:
        """Return an accepted case with all that it takes to make it again."""
        return {
            "id": one.id,
            "agent": one.agent,
            "at": event["at"],
            "reviewed": bool(event.get("reviewed")),
            "dimensions": one.cell,
            "target": one.target,
            "case_text": event["text"],
            "seed": event["seed"],
            "schema": one.schema or self.schema,
            "toon_spec": event["toon_spec"],
        }
