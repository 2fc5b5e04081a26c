"""Texts that a model is measured on: chats and prose from files. Knows JSONL rows; knows no tokenizer."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.base import ChatMessage
from errors import ConversionError

MIN_CHARS = 40  # shorter lines of prose say little about a model


@dataclass(frozen=True)
class Texts:
    """What a model is measured on.

    Attributes:
        chats: Finished conversations; their answers count.
        prose: Plain texts; every token counts.
    """

    chats: tuple[tuple[ChatMessage, ...], ...] = ()
    prose: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.chats or self.prose)

    def first(self, limit: int) -> "Texts":
        """Return at most `limit` of each."""
        return Texts(self.chats[:limit], self.prose[:limit])


def read_held_out(paths: Sequence[Path]) -> Texts:
    """Read files: rows with "messages", or "prompt" and "completion" or "response", are chats; "text" and lines prose.

    Raises:
        ConversionError: A file is missing, a row cannot be read or is of another shape, or nothing was found.
    """
    chats: list[tuple[ChatMessage, ...]] = []
    prose: list[str] = []
    for path in paths:
        if not path.is_file():
            raise ConversionError(f"{path} is missing; give texts that the model was not trained on.")
        try:
            lines = path.read_text(encoding="utf-8").split("\n")  # alone: JSON may hold other ends of lines
        except UnicodeDecodeError as error:
            raise ConversionError(f"{path} is no UTF-8: {error}.") from error
        for number, line in enumerate(lines, 1):
            if path.suffix != ".jsonl":
                if len(line.strip()) >= MIN_CHARS:
                    prose.append(line.strip())
            elif line.strip():
                _take(_row(path, number, line), f"{path}, line {number}", chats, prose)
    if not chats and not prose:
        raise ConversionError(f"{', '.join(map(str, paths)) or 'No file'} holds no chat and no text.")
    return Texts(tuple(chats), tuple(prose))


def _row(path: Path, number: int, line: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ConversionError(f"{path}, line {number} is no JSON: {error}.") from error
    if not isinstance(row, dict):
        raise ConversionError(f"{path}, line {number} is no JSON object.")
    return row


def _take(row: Mapping[str, Any], where: str, chats: list[tuple[ChatMessage, ...]], prose: list[str]) -> None:
    prompt, response = row.get("prompt"), row.get("response", row.get("completion"))
    if "messages" in row:
        chats.append(_chat(row["messages"], where))
    elif isinstance(prompt, list) and isinstance(response, list):
        chats.append(_chat([*prompt, *response], where))
    elif isinstance(prompt, str) and isinstance(response, str):
        chats.append(({"role": "user", "content": prompt}, {"role": "assistant", "content": response}))
    elif isinstance(row.get("text"), str):
        prose.append(row["text"])
    else:
        raise ConversionError(f"{where} has no messages, no prompt with its response, no text.")


def _chat(messages: Any, where: str) -> tuple[ChatMessage, ...]:
    """Return messages that have a role and a text each, and hold a question."""
    whole = isinstance(messages, list) and all(
        isinstance(one, dict) and isinstance(one.get("role"), str) and isinstance(one.get("content"), str)
        for one in messages
    )
    if not whole or not any(one["role"] == "user" for one in messages):
        raise ConversionError(f"{where} is no chat: expected messages of role and content, both text, one the user's.")
    return tuple(messages)
