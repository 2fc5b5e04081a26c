"""JSONL lines as chats or plain text. Knows the shapes of a line; knows no tokenizer.

Shapes, which may stand in one file: {"messages": […]}, {"prompt": …, "response": …}, {"text": …}, and a requirement
document, {"concept": …, "requirements": {…}}. The trainer would take every line for what the first one is.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from errors import TrainingError
from training.requirement_documents import document_chat

SHAPES = ("messages", "text", "prompt", "concept")  # the key that tells each
EXPECTED = (
    'expected {"messages": […]}, {"prompt": "…", "response": "…"}, {"text": "…"} '
    'or {"concept": "…", "requirements": {…}}'
)

Message = dict[str, str]


@dataclass(frozen=True)
class Row:
    """One line.

    Attributes:
        messages: A chat that ends with the assistant, or None.
        text: Plain text, or None; one of the two is there.
        kind: What it is, e.g. "dialogue", "exercise", "prose".
        where: Path and line, for messages.
    """

    messages: tuple[Message, ...] | None
    text: str | None
    kind: str
    where: str


def read_rows(paths: Sequence[Path], *, split: str | None = None, limit: int | None = None) -> list[Row]:
    """Return the first `limit` rows of JSONL files, in order.

    Args:
        paths: The files.
        split: Only lines whose key "split" says so; None takes all.
        limit: Rows after so many are checked all the same, and left out.

    Raises:
        TrainingError: A file is missing, cannot be read or gives nothing, or a line is of no known shape.
    """
    rows: list[Row] = []
    for path in paths:
        before, others = len(rows), set[str]()
        for where, line in _lines(path):
            if not line.strip():
                continue
            row = _object(line, where)
            if split is not None and row.get("split") != split:
                others.add(str(row.get("split")))
                continue
            rows.append(to_row(row, where))
        if others and len(rows) == before:
            raise TrainingError(f"{path} has no line whose split is {split!r}; it has {', '.join(sorted(others))}.")
        if len(rows) == before:
            raise TrainingError(f"{path} holds no line; expected one JSON object a line.")
    return rows[:limit]


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield f"{path}:{number}", _decoded(line, f"{path}:{number}")
    except OSError as error:
        raise TrainingError(
            f"{path} cannot be read ({error.strerror}). The recipe's first lines say how to make it."
        ) from None


def _decoded(line: bytes, where: str) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TrainingError(f"{where}: byte {error.start + 1} is no UTF-8; save the file in UTF-8.") from None


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise TrainingError(f"{where}: no JSON ({error.msg}); expected one object a line.") from None
    if not isinstance(row, dict):
        raise TrainingError(f"{where}: {EXPECTED}.")
    return row


def to_row(row: dict[str, Any], where: str) -> Row:
    """Return a line as a row.

    Raises:
        TrainingError: It is of no known shape, or of two.
    """
    found = [shape for shape in SHAPES if shape in row]
    if len(found) != 1:
        raise TrainingError(f"{where}: {EXPECTED}{', only one of them' if found else ''}.")
    shape = found[0]
    kind = str(row.get("kind") or row.get("form") or ("chat" if shape in ("messages", "prompt") else shape))
    if shape == "text":
        return Row(None, _words(row, "text", where), kind, where)
    if shape == "messages":
        return Row(_chat(row["messages"], where), None, kind, where)
    if shape == "prompt":
        prompt, response = _words(row, "prompt", where), _words(row, "response", where)
        turns = ({"role": "user", "content": prompt}, {"role": "assistant", "content": response})
        return Row(turns, None, kind, where)
    return Row(document_chat(row, where), None, "requirements" if kind == "concept" else kind, where)


def _words(row: dict[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise TrainingError(f"{where}: {key}: expected a text that is not empty.")
    return value


def _chat(messages: Any, where: str) -> tuple[Message, ...]:
    if not isinstance(messages, list) or not messages:
        raise TrainingError(f"{where}: messages: expected a list that is not empty.")
    wanted: tuple[str, ...] = ("system", "user")
    for number, message in enumerate(messages, 1):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in wanted:
            raise TrainingError(f"{where}: message {number} has role {role!r}; expected {' or '.join(wanted)}.")
        if not isinstance(message.get("content"), str) or (role != "system" and not message["content"].strip()):
            raise TrainingError(f"{where}: message {number}: content: expected a text that is not empty.")
        wanted = ("assistant",) if role == "user" else ("user",)
    if messages[-1]["role"] != "assistant":
        raise TrainingError(f"{where}: the last message is the {messages[-1]['role']}'s; expected the assistant's.")
    return tuple({"role": message["role"], "content": message["content"]} for message in messages)
