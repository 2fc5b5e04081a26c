"""From what we wrote to the files that training reads. Knows dialogues and the prompt builder; trains nothing.

A training prompt must be, byte for byte, the prompt in use: both come from `dialogue.build_messages`.
"""

import hashlib
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from corpus.dialogues import Dialogue, Exercise, NoteFields
from dialogue.conversation import Conversation, Turn
from dialogue.prompt import Hint, Message, build_messages
from errors import CorpusError
from personas import get_persona

VALIDATION_PERCENT = 10
NO_HINT_SHARE = 0.1  # of the exchanges: the model must survive a question that no note is near to
PROSE_SHARE = 0.15  # of the examples
EXERCISES_A_TALK = (1, 5, 6)  # in turn

Row = dict[str, Any]
HintForm = Literal["full", "idea", "none"]  # of a note: all three fields, its idea alone, nothing


@dataclass(frozen=True)
class Mixed:
    """The rows of a training file and of its held-out file."""

    train: list[Row]
    held_out: list[Row]


def is_held_out(dialogue_id: str) -> bool:
    """Whether a dialogue is for validation: decided by its id alone, so that a growing corpus keeps its split."""
    digest = hashlib.sha256(dialogue_id.encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100 < VALIDATION_PERCENT


def hint_for(note_id: str | None, notes: Mapping[str, NoteFields], where: str, form: HintForm = "full") -> Hint | None:
    """Return the hint of a note.

    Args:
        note_id: None gives none.
        notes: By id.
        where: Who names it, for the message.
        form: All of the note, its idea alone, or nothing.

    Raises:
        CorpusError: There is no such note.
    """
    if note_id is None:
        return None
    if note_id not in notes:
        raise CorpusError(f"{where}: note {note_id!r} is not in data/notes; write it or name another.")
    note = notes[note_id]
    if form == "none":
        return None
    return Hint(note.idea, note.image, note.question) if form == "full" else Hint(note.idea, "", "")


def dialogue_messages(
    dialogue: Dialogue, notes: Mapping[str, NoteFields], dropped: Sequence[bool] = (), form: HintForm = "full"
) -> list[Message]:
    """Render a dialogue as the page would have sent it at its last turn, the last answer added.

    Args:
        dialogue: What to render.
        notes: By id.
        dropped: For each exchange, whether its hint is left out; missing ones are kept.
        form: Of the hints.

    Raises:
        CorpusError: An exchange names a note that does not exist.
    """
    turns = [Turn("assistant", dialogue.opening)] if dialogue.opening else []
    hints: list[Hint | None] = []
    for number, exchange in enumerate(dialogue.exchanges):
        turns += [Turn("user", exchange.pupil), Turn("assistant", exchange.answer)]
        left_out = number < len(dropped) and dropped[number]
        hint = hint_for(exchange.note, notes, f"{dialogue.where}: exchange {number + 1}", form)
        hints.append(None if left_out else hint)
    conversation = Conversation(get_persona(dialogue.philosopher), tuple(turns))
    return build_messages(conversation, hints, prefix="short")


def exercise_messages(*exercises: Exercise) -> list[Message]:
    """Render exercises of one philosopher as questions to the persona, one after the other, with their answers."""
    turns: list[Turn] = []
    for one in exercises:
        turns += [Turn("user", one.user), Turn("assistant", one.answer)]
    return build_messages(Conversation(get_persona(exercises[0].philosopher), tuple(turns)), prefix="short")


def exercise_rows(exercises: Iterable[Exercise], *, seed: int = 0) -> list[Row]:
    """Return talks of one, five and six exercises of one philosopher: the persona is read once for several.

    Args:
        exercises: All are used, each once.
        seed: Of which exercises meet in a talk.
    """
    chance = random.Random(seed)  # noqa: S311  an order, not a secret
    by_philosopher: dict[str, list[Exercise]] = {}
    for one in exercises:
        by_philosopher.setdefault(one.philosopher, []).append(one)
    rows: list[Row] = []
    for _, many in sorted(by_philosopher.items()):
        chance.shuffle(many)
        start = 0
        while start < len(many):
            met = many[start : start + EXERCISES_A_TALK[len(rows) % len(EXERCISES_A_TALK)]]
            start += len(met)
            group = "+".join(one.id for one in met)
            rows.append({"messages": exercise_messages(*met), "group": group, "kind": "exercise"})
    return rows


def mix(
    dialogues: Iterable[Dialogue],
    notes: Mapping[str, NoteFields],
    exercises: Iterable[Exercise],
    prose: Sequence[str],
    *,
    seed: int = 0,
    form: HintForm = "full",
) -> Mixed:
    """Return the rows to train on and those held out.

    Held-out dialogues keep all their hints, so that losses of different seeds compare. Test exercises are left out.

    Args:
        dialogues: Ours.
        notes: By id.
        exercises: Ours, both splits.
        prose: Slices for training.
        seed: Of the hints that are left out and of the order.
        form: Of the hints, in both parts.

    Raises:
        CorpusError: An exchange names a note that does not exist.
    """
    chance = random.Random(seed)  # noqa: S311  a choice, not a secret
    train: list[Row] = []
    held_out: list[Row] = []
    for dialogue in dialogues:
        if is_held_out(dialogue.id):
            rows, dropped = held_out, [False] * len(dialogue.exchanges)
        else:
            rows, dropped = train, [chance.random() < NO_HINT_SHARE for _ in dialogue.exchanges]
        messages = dialogue_messages(dialogue, notes, dropped, form)
        rows.append({"messages": messages, "group": dialogue.id, "kind": "dialogue"})
    train += exercise_rows((one for one in exercises if one.split == "train"), seed=seed)
    train += [{"text": text, "group": f"prose-{number}", "kind": "prose"} for number, text in enumerate(prose, 1)]
    chance.shuffle(train)
    return Mixed(train, held_out)


def note_rows(
    queries: Iterable[Mapping[str, Any]], notes: Mapping[str, NoteFields], philosopher: str, *, seed: int = 0
) -> list[Row]:
    """Return talks of one, two and three turns in which each pupil's question is answered with its note's own words.

    A small model that reworks an idea loses it; said back whole, the idea stays right. The longer talks teach it to
    take the newest note, and not to say an earlier one again.

    Args:
        queries: Lines of data/queries; the first one for a note is taken, those without a note are left out.
        notes: By id.
        philosopher: Who answers.
        seed: Of which questions meet in a talk.

    Raises:
        CorpusError: A query names a note that does not exist.
    """
    first_for: dict[str, str] = {}
    for query in queries:
        if query["note"] is not None:
            first_for.setdefault(query["note"], query["message"])
    order = list(first_for)
    random.Random(seed).shuffle(order)  # noqa: S311  an order, not a secret
    rows: list[Row] = []
    start = 0
    while start < len(order):
        met = order[start : start + 1 + len(rows) % 3]
        start += len(met)
        turns: list[Turn] = []
        hints = [hint_for(name, notes, f"{philosopher}: query {first_for[name]!r}") for name in met]
        for name in met:
            answer = f"{notes[name].idea} {notes[name].image} {notes[name].question}"
            turns += [Turn("user", first_for[name]), Turn("assistant", answer)]
        messages = build_messages(Conversation(get_persona(philosopher), tuple(turns)), hints, prefix="short")
        rows.append({"messages": messages, "group": "+".join(met), "kind": "note"})
    return rows


def second_mix(first: Mixed, said_back: Sequence[Row], *, dialogues: int, exercises: int, seed: int = 0) -> list[Row]:
    """Return the rows of the second stage: notes said back, and enough of the first stage not to forget it.

    Args:
        first: The first stage's rows.
        said_back: Of `note_rows`.
        dialogues: How many of the first stage's dialogues are read again.
        exercises: The same for its exercises.
        seed: Of the choice and of the order.
    """
    chance = random.Random(seed)  # noqa: S311  a choice, not a secret
    rows = list(said_back)
    for kind, wanted in (("dialogue", dialogues), ("exercise", exercises)):
        known = [row for row in first.train if row["kind"] == kind]
        rows += chance.sample(known, min(wanted, len(known)))
    chance.shuffle(rows)
    return rows


def prose_count(examples: int) -> int:
    """Return how many slices make `PROSE_SHARE` of all examples."""
    return round(examples * PROSE_SHARE / (1 - PROSE_SHARE))


def must_be_new(*paths: Path, force: bool = False) -> None:
    """Refuse to write where something stands, before the first of several files is written.

    Raises:
        CorpusError: One of them exists, and `force` is not given.
    """
    for path in () if force else paths:
        if path.exists():
            raise CorpusError(f"{path} exists and is never overwritten. Move it, pass another name, or --force.")


def write_rows(rows: Sequence[Row], path: Path, *, compact: bool = False, force: bool = False) -> None:
    """Write a JSONL file under its final name last.

    Args:
        rows: One a line.
        path: Its final name.
        compact: No space between keys and values: a twentieth less, for a file that is kept.
        force: Replace a file that exists, once the new one is whole.

    Raises:
        CorpusError: The file exists.
    """
    must_be_new(path, force=force)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    signs = (",", ":") if compact else (", ", ": ")
    lines = (json.dumps(row, ensure_ascii=False, separators=signs) + "\n" for row in rows)
    partial.write_text("".join(lines), encoding="utf-8")
    partial.rename(path)
