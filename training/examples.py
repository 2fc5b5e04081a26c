"""From JSONL lines to token ids and labels. Knows chat templates; knows no model and no trainer.

Loss is on what the assistant says alone: its words and the token that ends its turn. The trainer is handed ids and
labels ready made, because it would cut, pad or mask rows by its own rules without saying so.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from errors import TrainingError

IGNORED = -100  # the label that torch's cross entropy leaves out


@dataclass(frozen=True)
class Example:
    """One row as the model reads it.

    Attributes:
        ids: Token ids, one BOS first.
        labels: As long as `ids`: the id where the token is trained, `IGNORED` elsewhere.
        kind: What it is, e.g. "dialogue", "exercise", "prose".
        where: File and line it comes from.
    """

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    kind: str
    where: str

    @property
    def trained(self) -> int:
        """Number of tokens in the loss."""
        return sum(label != IGNORED for label in self.labels)


def sha256_of(path: Path) -> str:
    """Return the hexadecimal hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_lines(path: Path, limit: int | None = None) -> list[tuple[str, dict[str, Any]]]:
    """Return `(where, object)` of the first `limit` lines of a JSONL file.

    Raises:
        TrainingError: The file cannot be read or is empty, or a line is no JSON object of a known shape.
    """
    rows: list[tuple[str, dict[str, Any]]] = []
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if limit is not None and len(rows) == limit:
                    break
                where = f"{path.name}:{number}"
                rows.append((where, _object(line, where)))
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path} cannot be read ({error}). Make it with `python -m corpus mix`.") from None
    if not rows:
        raise TrainingError(f"{path} holds no line; expected one JSON object a line.")
    return rows


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise TrainingError(f"{where}: no JSON ({error.msg}); expected one object a line.") from None
    if not isinstance(row, dict) or not ({"messages", "text"} & row.keys()):
        raise TrainingError(f'{where}: expected {{"messages": […]}} or {{"text": "…"}}.')
    if "text" in row:
        if not isinstance(row["text"], str) or not row["text"].strip():
            raise TrainingError(f"{where}: text: expected a text that is not empty.")
    else:
        _check_messages(row["messages"], where)
    return row


def _check_messages(messages: Any, where: str) -> None:
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


def chat_segments(tokenizer: Any, messages: Sequence[Mapping[str, str]], where: str) -> list[tuple[str, bool]]:
    """Cut a rendered chat into `(text, trained)`, in order; a trained text is one turn of the assistant, EOS last.

    Raises:
        TrainingError: The template rewrites what came before, or does not end the assistant's turn with EOS.
    """
    # An empty system message is no persona; a template would still render its blank line.
    spoken = [message for message in messages if message["role"] != "system" or message["content"]]
    segments: list[tuple[str, bool]] = []
    done = ""
    for position, message in enumerate(spoken):
        if message["role"] != "assistant":
            continue
        before = tokenizer.apply_chat_template(spoken[:position], tokenize=False, add_generation_prompt=True)
        after = tokenizer.apply_chat_template(spoken[: position + 1], tokenize=False)
        if not before.startswith(done) or not after.startswith(before):
            raise TrainingError(f"{where}: the chat template rewrites earlier turns; use a prefix-stable one.")
        if not after.endswith(tokenizer.eos_token):
            raise TrainingError(f"{where}: the chat template does not end the assistant's turn with EOS.")
        segments += [(before[len(done) :], False), (after[len(before) :], True)]
        done = after
    return segments


def build_example(tokenizer: Any, row: Mapping[str, Any], where: str, max_length: int) -> Example:
    """Turn one line into ids and labels.

    The pieces are cut apart at control tokens, where no merge can cross, so that the joined ids are those of the
    whole text.

    Raises:
        TrainingError: The row is too long, has not exactly one BOS, or its template does not fit.
    """
    if "text" in row:
        # Cut out of the middle of a book: its end is no end, so no EOS is learnt there.
        segments = [(tokenizer.bos_token, False), (row["text"], True)]
    else:
        segments = chat_segments(tokenizer, row["messages"], where)
    ids: list[int] = []
    labels: list[int] = []
    for text, trained in segments:
        piece = tokenizer(text, add_special_tokens=False)["input_ids"]
        ids += piece
        labels += piece if trained else [IGNORED] * len(piece)
    if ids.count(tokenizer.bos_token_id) != 1 or ids[0] != tokenizer.bos_token_id:
        raise TrainingError(f"{where}: {ids.count(tokenizer.bos_token_id)} BOS tokens; expected one, in front.")
    if len(ids) > max_length:
        raise TrainingError(
            f"{where}: {len(ids)} tokens, at most {max_length} are read; shorten it or raise max_length."
        )
    return Example(tuple(ids), tuple(labels), str(row.get("kind", "text" if "text" in row else "chat")), where)


def load_examples(path: Path, tokenizer: Any, max_length: int, limit: int | None = None) -> list[Example]:
    """Read a JSONL file into examples, in its order.

    Args:
        path: The file.
        tokenizer: A Hugging Face tokenizer with a chat template, a BOS and an EOS token.
        max_length: Longest example, in tokens.
        limit: Only so many lines are read.

    Raises:
        TrainingError: The file or a line of it is wrong; the message names file, line and what was expected.
    """
    return [build_example(tokenizer, row, where, max_length) for where, row in read_lines(path, limit)]
