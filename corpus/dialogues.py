"""Reads what the project has written for training: notes, dialogues, exercises. Knows files; makes no prompt.

Each line becomes a frozen dataclass or a `CorpusError` that names file, line, key and reason.
"""

import json
import lzma
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from corpus.logic import LETTERS, follows, letters_of
from errors import CorpusError
from personas import SCHEMES

Stance = Literal["accord", "confusion", "résistance", "neutre", "blague", "hors-sujet"]
Split = Literal["train", "test"]

PHILOSOPHERS = ("spinoza", "bergson", "kant")
NOTIONS = (
    "art", "bonheur", "conscience", "devoir", "État", "inconscient", "justice", "langage", "liberté", "nature",
    "raison", "religion", "science", "technique", "temps", "travail", "vérité",
)  # fmt: skip
MORE = "schemes_more.jsonl.xz"  # exercises beside the scheme dataset, for training alone
REFUSED = "On ne peut pas conclure"
PROPOSITIONAL = ("MP", "MT", "SH", "SD", "DI", "RA")


@dataclass(frozen=True)
class NoteFields:
    """What training needs of a reading note.

    Attributes:
        id: Unique name, e.g. "spinoza-illusion-libre-arbitre".
        idea: The argument in one sentence.
        image: One concrete example.
        question: One open question.
    """

    id: str
    idea: str
    image: str
    question: str


@dataclass(frozen=True)
class Exchange:
    """A pupil's message and the philosopher's answer.

    Attributes:
        pupil: What the pupil says.
        stance: How he says it.
        note: Id of the note that the answer rests on, or None.
        answer: What the philosopher says.
        scheme: Id of the scheme that the answer can be recognised by, or None.
    """

    pupil: str
    stance: Stance
    note: str | None
    answer: str
    scheme: str | None = None


@dataclass(frozen=True)
class Dialogue:
    """A conversation written by us.

    Attributes:
        id: Unique name, e.g. "kant-001".
        philosopher: Key of the persona.
        notion: Notion of the programme it turns about.
        opening: Question that the philosopher asked first, or None.
        exchanges: One to four, oldest first.
        where: File and line.
    """

    id: str
    philosopher: str
    notion: str
    opening: str | None
    exchanges: tuple[Exchange, ...]
    where: str


@dataclass(frozen=True)
class Exercise:
    """A scheme applied to a context.

    Attributes:
        id: Unique name, e.g. "ex-mp-001".
        philosopher: Key of the persona.
        scheme: Id of the scheme, e.g. "MP".
        form: "exercise", "dialogue" (a pupil answered by the scheme), or "refusal" where nothing follows.
        conclusion: The bare conclusion.
        split: "test" is never trained on.
        user: The question.
        answer: The right answer.
        where: File and line.
    """

    id: str
    philosopher: str
    scheme: str
    form: Literal["exercise", "dialogue", "refusal"]
    conclusion: str
    split: Split
    user: str
    answer: str
    where: str


def read_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield `(where, object)` of each line of a JSONL file, packed where its name ends in `.xz`.

    Raises:
        CorpusError: The file cannot be read, or a line is no JSON object.
    """
    try:
        content = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
        lines = content.decode("utf-8").split("\n")  # not at U+2028, which may stand in a text
    except (OSError, UnicodeDecodeError, lzma.LZMAError) as error:
        raise CorpusError(f"{path} cannot be read: {error}. Restore the file, in UTF-8.") from None
    for number, line in enumerate(lines if lines[-1] else lines[:-1], 1):
        where = f"{path.name}:{number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise CorpusError(f"{where}: no JSON ({error.msg}); expected one object a line.") from None
        if not isinstance(row, dict):
            raise CorpusError(f"{where}: expected an object, found {type(row).__name__}.")
        yield where, row


def _text(row: Mapping[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise CorpusError(f"{where}: {key}: expected a text that is not empty, found {value!r}.")
    if value != value.strip():  # an engine strips what it sends: training would see other tokens
        raise CorpusError(f"{where}: {key}: expected no space at its ends; remove it.")
    return value


def _optional(row: Mapping[str, Any], key: str, where: str) -> str | None:
    if key not in row:
        raise CorpusError(f"{where}: {key} is missing; write a text or null.")
    return None if row[key] is None else _text(row, key, where)


def _one_of(row: Mapping[str, Any], key: str, allowed: Sequence[str], where: str) -> Any:
    if row.get(key) not in allowed:
        raise CorpusError(f"{where}: {key} is {row.get(key)!r}; expected one of {', '.join(allowed)}.")
    return row[key]


def _known_keys(row: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in row:
        if key not in known:
            raise CorpusError(f"{where}: unknown key {key!r}; expected {', '.join(known)}.")


def parse_note(row: Mapping[str, Any], where: str) -> NoteFields:
    """Read one line of data/notes; keys that training does not need are left to the room that does."""
    return NoteFields(*(_text(row, key, where) for key in ("id", "idea", "image", "question")))


def parse_dialogue(row: Mapping[str, Any], where: str) -> Dialogue:
    """Read one line of data/dialogues.

    Raises:
        CorpusError: A key is missing, unknown or wrong.
    """
    _known_keys(row, ("id", "philosopher", "notion", "opening", "exchanges"), where)
    given = row.get("exchanges")
    if not isinstance(given, list) or not 1 <= len(given) <= 4 or not all(isinstance(one, dict) for one in given):
        raise CorpusError(f"{where}: exchanges: expected a list of one to four objects.")
    exchanges = []
    for number, one in enumerate(given, 1):
        place = f"{where}: exchange {number}"
        _known_keys(one, ("pupil", "stance", "note", "answer", "scheme"), place)
        exchanges.append(
            Exchange(
                pupil=_text(one, "pupil", place),
                stance=_one_of(one, "stance", get_args(Stance), place),
                note=_optional(one, "note", place),
                answer=_text(one, "answer", place),
                scheme=_one_of(one, "scheme", tuple(SCHEMES), place) if "scheme" in one else None,
            )
        )
    return Dialogue(
        id=_text(row, "id", where),
        philosopher=_one_of(row, "philosopher", PHILOSOPHERS, where),
        notion=_one_of(row, "notion", NOTIONS, where),
        opening=_optional(row, "opening", where),
        exchanges=tuple(exchanges),
        where=where,
    )


def _check_logic(logic: Any, valid: bool, where: str) -> None:
    """Check that sentences stand for the letters used, that formulas parse, and that the truth table agrees.

    Raises:
        CorpusError: Something of this is not so.
    """
    place = f"{where}: logic"
    if not isinstance(logic, dict):
        raise CorpusError(f"{place}: expected an object with P, Q, premises, conclusion and valid, found {logic!r}.")
    _known_keys(logic, (*LETTERS, "premises", "conclusion", "valid"), place)
    premises, conclusion = logic.get("premises"), _text(logic, "conclusion", place)
    if not isinstance(premises, list) or not premises or not all(isinstance(one, str) for one in premises):
        raise CorpusError(f"{place}: premises: expected a list of formulas, found {premises!r}.")
    for letter in (said := [letter for letter in LETTERS if letter in logic]):
        _text(logic, letter, place)
    if "".join(said) != letters_of([*premises, conclusion]):
        raise CorpusError(f"{place}: sentences for {said}; expected one for each letter of the formulas, no other.")
    try:
        found = follows(premises, conclusion)
    except ValueError as error:
        raise CorpusError(f"{place}: no formula: {error}.") from None
    if logic.get("valid") is not found:
        raise CorpusError(f"{place}: valid is {logic.get('valid')!r}; the truth table says {found}.")
    if found != valid:
        raise CorpusError(f"{place}: valid is {found}; expected {valid} of this form.")


def parse_exercise(row: Mapping[str, Any], where: str) -> Exercise:
    """Read one line of data/schemes_levelA_base.jsonl.

    Raises:
        CorpusError: A key is missing or wrong.
    """
    messages = row.get("messages")
    roles = [one.get("role") for one in messages if isinstance(one, dict)] if isinstance(messages, list) else []
    if not isinstance(messages, list) or roles != ["system", "user", "assistant"]:
        raise CorpusError(f"{where}: messages: expected system, user and assistant, found {roles}.")
    _one_of(row, "notion", NOTIONS, where)
    _optional(row, "locus", where)
    if row.get("scheme") in PROPOSITIONAL or "logic" in row:
        _check_logic(row.get("logic"), row.get("form") != "refusal", where)
    return Exercise(
        id=_text(row, "id", where),
        philosopher=_one_of(row, "philosopher", PHILOSOPHERS, where),
        scheme=_text(row, "scheme", where),
        form=_one_of(row, "form", ("exercise", "dialogue", "refusal"), where),
        conclusion=_text(row, "conclusion", where),
        split=_one_of(row, "split", ("train", "test"), where),
        user=_text(messages[1], "content", f"{where}: user message"),
        answer=_text(messages[2], "content", f"{where}: assistant message"),
        where=where,
    )


def parse_more(row: Mapping[str, Any], where: str) -> Exercise:
    """Read one line of data/schemes_more.jsonl.xz: an exercise in seven keys, for training alone.

    Raises:
        CorpusError: A key is missing, unknown or wrong, or a refusal concludes.
    """
    _known_keys(row, ("id", "philosopher", "scheme", "form", "conclusion", "question", "answer"), where)
    one = Exercise(
        id=_text(row, "id", where),
        philosopher=_one_of(row, "philosopher", PHILOSOPHERS, where),
        scheme=_text(row, "scheme", where),
        form=_one_of(row, "form", ("exercise", "refusal"), where),
        conclusion=_text(row, "conclusion", where),
        split="train",
        user=_text(row, "question", where),
        answer=_text(row, "answer", where),
        where=where,
    )
    if one.conclusion.startswith(REFUSED) != (one.form == "refusal"):
        raise CorpusError(f"{where}: conclusion: a refusal, and it alone, begins with « {REFUSED} … ».")
    return one


def load_notes(folder: Path) -> dict[str, NoteFields]:
    """Read every note of `folder`/*.jsonl, by id.

    Raises:
        CorpusError: There is none, a line is wrong, or an id stands twice.
    """
    notes: dict[str, NoteFields] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for where, row in read_objects(path):
            note = parse_note(row, where)
            if note.id in notes:
                raise CorpusError(f"{where}: id {note.id!r} stands twice; rename one.")
            notes[note.id] = note
    if not notes:
        raise CorpusError(f"No notes in {folder}; expected <philosopher>.jsonl.")
    return notes


def load_dialogues(folder: Path) -> list[Dialogue]:
    """Read every dialogue of `folder`/*.jsonl, in the order of names and lines.

    Raises:
        CorpusError: There is none, or a line is wrong.
    """
    paths = sorted(folder.glob("*.jsonl"))
    dialogues = [parse_dialogue(row, where) for path in paths for where, row in read_objects(path)]
    if not dialogues:
        raise CorpusError(f"No dialogues in {folder}; expected <philosopher>.jsonl.")
    return dialogues


def load_more(path: Path) -> list[Exercise]:
    """Read the exercises for training alone, in order.

    Raises:
        CorpusError: The file cannot be read, or a line is wrong.
    """
    return [parse_more(row, where) for where, row in read_objects(path)]
