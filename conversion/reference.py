"""A checkpoint asked through transformers: log-probabilities, greedy answers. What GGUF files are held against.

Knows torch and chat templates; concludes nothing.
"""

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jinja2 import TemplateError

from conversion.texts import Texts
from engines.base import ChatMessage
from engines.host_memory import granted_bytes
from engines.scoring import MAX_TOKENS
from engines.transformers_local import ending_ids, load_model, load_tokenizer
from errors import ConversionError

F32 = npt.NDArray[np.float32]
MIN_COUNTED = 1  # positions without which a text says nothing
MEMORY_SHARE = 0.7  # of what is free, that a float32 model may take


@dataclass(frozen=True)
class Laid:
    """A text as ids.

    Attributes:
        ids: Token ids, as transformers gives them.
        counted: Positions whose token counts, never the first.
        ends: Those of them that hold the token which ends an answer.
    """

    ids: tuple[int, ...]
    counted: tuple[int, ...]
    ends: tuple[int, ...] = ()


def wanted_dtype(n_parameters: int) -> str:
    """Return "float32" where the model fits in memory with it, else "auto": the checkpoint's own."""
    return "float32" if 4 * n_parameters < MEMORY_SHARE * granted_bytes() else "auto"


class HubModel:
    """A loaded checkpoint.

    Args:
        path: Its folder.
        adapter: A PEFT folder, attached and not merged.
        dtype: See `load_model`.
        rows: Of the embeddings, where the adapter was trained with a vocabulary that had grown; it is one that fits.

    Raises:
        ModelUnfit: It cannot be loaded.
    """

    def __init__(
        self, path: Path, adapter: Path | None = None, *, dtype: str = "float32", rows: int | None = None
    ) -> None:
        self.path = path
        self.tokenizer = load_tokenizer(path)
        self.model = load_model(path, None if rows else adapter, dtype=dtype)
        if rows:  # PEFT gives the new rows their values, but no room
            from peft import PeftModel

            self.model.resize_token_embeddings(rows, mean_resizing=False)
            self.model = PeftModel.from_pretrained(self.model, str(adapter)).eval()
        own = [] if self.tokenizer.eos_token_id is None else [self.tokenizer.eos_token_id]
        self.ends = frozenset([*ending_ids(self.model), *own])

    def logits(self, ids: Sequence[int]) -> F32:
        """Return (n_ids, n_vocab) float32: row i, what follows `ids[: i + 1]`."""
        with torch.inference_mode():
            out: torch.Tensor = self.model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0].float()
        return out.numpy()

    def log_probs(self, ids: Sequence[int]) -> F32:
        """Return (n_ids, n_vocab) float32 natural log-probabilities."""
        return torch.from_numpy(self.logits(ids)).log_softmax(-1).numpy()

    def greedy(self, ids: Sequence[int], limit: int) -> tuple[list[int], list[float]]:
        """Return the likeliest continuation, the token that ends it included, and how sure each choice was.

        Returns:
            Ids, and for each the difference of logits between the first and the second choice.
        """
        said: list[int] = []
        margins: list[float] = []
        fed, cache = list(ids), None
        with torch.inference_mode():
            while len(said) < limit:
                out = self.model(input_ids=torch.tensor([fed]), past_key_values=cache, use_cache=True, logits_to_keep=1)
                cache = out.past_key_values
                best = out.logits[0, -1].float().topk(2)
                said.append(int(best.indices[0]))
                margins.append(float(best.values[0] - best.values[1]))
                if said[-1] in self.ends:
                    break
                fed = [said[-1]]
        return said, margins

    def close(self) -> None:
        """Let the memory go."""
        self.model = None
        gc.collect()


def encode(tokenizer: Any, rendered: str) -> list[int]:
    """Return the ids of a rendered prompt, whose special pieces are written in it."""
    return list(tokenizer(rendered, add_special_tokens=False)["input_ids"])


def render(tokenizer: Any, chat: Sequence[ChatMessage], *, asking: bool = False, template: str | None = None) -> str:
    """Return a chat as a template writes it, the tokenizer's own where none is given.

    Raises:
        ConversionError: The template refuses the chat: its roles, or their order.
    """
    try:
        text: str = tokenizer.apply_chat_template(
            list(chat), chat_template=template, tokenize=False, add_generation_prompt=asking
        )
    except TemplateError as error:
        roles = ", ".join(message["role"] for message in chat)
        raise ConversionError(
            f"The chat template refuses a chat of {roles}: {error}. Change the text, or ship another template."
        ) from error
    return text


def lay_chat(tokenizer: Any, chat: Sequence[ChatMessage], ends: frozenset[int]) -> Laid | None:
    """Lay a finished chat out; its answers count. None when it holds none or is too long.

    A template that moves what came before (a system text that stands in the last turn) leaves no way to tell the
    answers apart: then every token counts.
    """
    last = max((n for n, message in enumerate(chat) if message["role"] == "assistant"), default=-1)
    chat = chat[: last + 1]
    if not chat:
        return None
    ids = encode(tokenizer, render(tokenizer, chat))[:MAX_TOKENS]
    counted: list[int] = []
    for number, message in enumerate(chat):
        if message["role"] != "assistant":
            continue
        prompt = encode(tokenizer, render(tokenizer, chat[:number], asking=True))
        upto = encode(tokenizer, render(tokenizer, chat[: number + 1]))
        if ids[: len(upto)] != upto[: len(ids)] or upto[: len(prompt)] != prompt:
            counted = list(range(1, len(ids)))
            break
        counted += range(max(1, len(prompt)), min(len(upto), len(ids)))
    return Laid(tuple(ids), tuple(counted), tuple(at for at in counted if ids[at] in ends)) if counted else None


def lay_text(tokenizer: Any, text: str) -> Laid | None:
    """Lay a plain text out; every token after the first counts."""
    ids = list(tokenizer(text)["input_ids"])[:MAX_TOKENS]
    return Laid(tuple(ids), tuple(range(1, len(ids)))) if len(ids) > MIN_COUNTED else None


def lay_out(tokenizer: Any, texts: Texts, ends: frozenset[int]) -> list[Laid]:
    """Return every text as ids; those that say nothing are left out.

    Raises:
        ConversionError: None is left, or the chat template refuses a chat.
    """
    chats = [lay_chat(tokenizer, chat, ends) for chat in texts.chats] if tokenizer.chat_template else []
    found = [laid for laid in (*chats, *(lay_text(tokenizer, text) for text in texts.prose)) if laid is not None]
    if not found:
        raise ConversionError("The texts give nothing to measure: give prose, or add a chat template.")
    return found


def nats(log_probs: F32, laid: Laid) -> npt.NDArray[np.float64]:
    """Return (n_counted,) nats: the negative log-probability of each token that counts.

    Args:
        log_probs: (n_ids, n_vocab), or only the rows that count: (n_counted, n_vocab).
        laid: The text.
    """
    at = np.asarray(laid.counted)
    rows = log_probs[at - 1] if len(log_probs) == len(laid.ids) else log_probs
    found: npt.NDArray[np.float64] = -rows[np.arange(len(at)), np.asarray(laid.ids)[at]].astype(np.float64)
    return found
