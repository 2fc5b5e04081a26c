"""From rows to token ids and labels. Knows chat templates; knows no file, no model and no trainer.

Loss is on what the assistant says alone: its words and the token that ends its turn. The trainer is handed ids and
labels ready made, because it would cut, pad or mask rows by its own rules without saying so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from errors import TrainingError
from training.rows import Row

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


def _chat_ids(tokenizer: Any, segments: Sequence[tuple[str, bool]], where: str) -> tuple[list[int], list[int]]:
    """Return ids and labels of a rendered chat, cut into tokens as one text: what the model meets in use.

    Cut segment by segment, a SentencePiece vocabulary would put a space in front of each.
    """
    whole = "".join(text for text, _ in segments)
    encoded = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    ends: list[tuple[int, bool]] = []
    length = 0
    for text, trained in segments:
        length += len(text)
        ends.append((length, trained))
    ids: list[int] = list(encoded["input_ids"])
    labels: list[int] = []
    at = 0
    for token, (begin, end) in zip(ids, encoded["offset_mapping"], strict=True):
        while at < len(ends) - 1 and begin >= ends[at][0]:
            if ends[at][1] and labels[-1] != tokenizer.eos_token_id:
                raise TrainingError(f"{where}: the assistant's turn does not end with EOS as a token of its own.")
            at += 1
        if end > ends[at][0]:
            raise TrainingError(f"{where}: one token holds the end of a question and the start of an answer.")
        labels.append(token if ends[at][1] else IGNORED)
    if not labels or labels[-1] != tokenizer.eos_token_id:
        raise TrainingError(f"{where}: the assistant's turn does not end with EOS as a token of its own.")
    return ids, labels


def _text_ids(tokenizer: Any, text: str) -> tuple[list[int], list[int]]:
    """Return ids and labels of a plain text: one BOS in front, whether or not the text was rendered with its own.

    It is cut out of the middle of something: its end is no end, so no EOS is added.
    """
    bos = tokenizer.bos_token
    if text.startswith(bos):
        ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    else:
        ids = [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]
    return ids, [IGNORED, *ids[1:]]


def build_example(tokenizer: Any, row: Row, max_length: int) -> Example:
    """Turn one row into ids and labels.

    Raises:
        TrainingError: The row is too long, has not exactly one BOS, or its template does not fit.
    """
    where = row.where
    if row.messages is None:
        ids, labels = _text_ids(tokenizer, str(row.text))
    else:
        if not tokenizer.chat_template:
            raise TrainingError(f"{where}: a chat, but the base has no chat template; name one as chat_template.")
        ids, labels = _chat_ids(tokenizer, chat_segments(tokenizer, row.messages, where), where)
    if ids.count(tokenizer.bos_token_id) != 1 or ids[0] != tokenizer.bos_token_id:
        raise TrainingError(f"{where}: {ids.count(tokenizer.bos_token_id)} BOS tokens; expected one, in front.")
    if len(ids) > max_length:
        raise TrainingError(
            f"{where}: {len(ids)} tokens, at most {max_length} are read; shorten it or raise max_length."
        )
    return Example(tuple(ids), tuple(labels), row.kind, where)


def build_examples(tokenizer: Any, rows: Sequence[Row], max_length: int) -> list[Example]:
    """Turn rows into examples, in their order; see `build_example`.

    Args:
        tokenizer: A fast Hugging Face tokenizer with a BOS and an EOS token.
        rows: As `training.rows.read_rows` gives them.
        max_length: Longest example, in tokens.
    """
    return [build_example(tokenizer, row, max_length) for row in rows]


def spans(tokenizer: Any, example: Example) -> list[tuple[str, bool]]:
    """Return an example as `(text, trained)`, neighbours of one kind joined: what a person looks at."""
    found: list[tuple[list[int], bool]] = []
    for token, label in zip(example.ids, example.labels, strict=True):
        trained = label != IGNORED
        if not found or found[-1][1] != trained:
            found.append(([], trained))
        found[-1][0].append(token)
    return [(tokenizer.decode(ids, clean_up_tokenization_spaces=False), trained) for ids, trained in found]
