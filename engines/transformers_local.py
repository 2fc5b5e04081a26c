"""A Hugging Face checkpoint, with or without a PEFT adapter, as an engine. Knows transformers; knows no GGUF.

The reference that a converted model is measured against, and a way to talk with an adapter before anything is merged.
One answer at a time, without a cache between turns: it is right before it is fast.
"""

import atexit
import logging
import secrets
import threading
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import torch

from engines.base import ChatMessage, EngineEvent, EngineInfo, Finished, FinishReason, SamplingParams, Token, Usage
from engines.prompt import OPEN, Prompt, PromptFormat
from engines.text import AnswerText
from engines.waiting import Job, WaitingLine
from errors import ChatError, EngineError, EngineTimeout, ModelUnfit

logger = logging.getLogger(__name__)

CHUNK = 256  # prompt tokens between two looks at Stop
HALF_CHARACTER = "\ufffd"  # what a tokenizer shows for bytes that are no whole character yet


class HubVocabulary:
    """A Hugging Face tokenizer as `engines.prompt.Vocabulary`.

    Attributes:
        tokenizer: The tokenizer.
        ends: Ids that end an answer.
    """

    def __init__(self, tokenizer: Any, ends: Sequence[int] = ()) -> None:
        if tokenizer.eos_token_id is None:
            raise ModelUnfit("The tokenizer names no end of text; its tokenizer_config.json needs an eos_token.")
        self.tokenizer = tokenizer
        self.bos: int | None = tokenizer.bos_token_id
        self.eos: int = tokenizer.eos_token_id
        self.ends = frozenset({self.eos, *ends})
        added = tokenizer.added_tokens_decoder.items()
        self._control = self.ends | {number for number, token in added if token.special}
        self.adds_space = tokenizer.convert_ids_to_tokens(self.encode("a"))[0].startswith("▁")
        self.spaced = not self.adds_space and f"{OPEN} " in (tokenizer.chat_template or "")

    def encode(self, text: str) -> list[int]:
        """See `Vocabulary.encode`: special pieces written in the text are harmless characters."""
        return list(self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    def control(self, piece: str) -> int | None:
        """See `Vocabulary.control`."""
        number = self.tokenizer.get_vocab().get(piece)
        return number if number is not None and number in self.tokenizer.added_tokens_decoder else None

    def is_control(self, token: int) -> bool:
        """See `Vocabulary.is_control`."""
        return token in self._control

    @property
    def silent(self) -> list[int]:
        """Ids that no text turns into."""
        return sorted(self._control)


def load_tokenizer(path: str | Path) -> Any:
    """Return the tokenizer of a checkpoint folder or Hub repository.

    Raises:
        ModelUnfit: It cannot be read, or it is of a kind whose chat template nobody can read.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(path))
    except (OSError, ValueError, KeyError) as error:
        raise ModelUnfit(f"The tokenizer of {path} cannot be read: {_first_line(error)}") from error
    if type(tokenizer).__name__ == "MistralCommonBackend":
        raise ModelUnfit(f"{path} was read with mistral-common, which has no chat template; uninstall mistral-common.")
    return tokenizer


def load_model(path: str | Path, adapter: str | Path | None = None, *, dtype: str = "auto") -> Any:
    """Return a causal language model, its adapter attached and not merged, ready to be asked.

    Args:
        path: A checkpoint folder or a Hub repository.
        adapter: A PEFT folder or repository.
        dtype: "auto" keeps the checkpoint's, or e.g. "float32".

    Raises:
        ModelUnfit: The files are missing, damaged, or do not fit each other.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    wanted = dtype if dtype == "auto" else getattr(torch, dtype)
    try:
        try:
            model = AutoModelForCausalLM.from_pretrained(str(path), dtype=wanted)
        except ValueError as error:
            if "Unrecognized configuration class" not in str(error):
                raise
            model = AutoModelForImageTextToText.from_pretrained(str(path), dtype=wanted)
        if adapter is not None:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, str(adapter))
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        where = f"{path} with {adapter}" if adapter else str(path)
        raise ModelUnfit(f"{where} cannot be loaded: {_first_line(error)}") from error
    return model.eval()


def ending_ids(model: Any) -> list[int]:
    """Return the ids that a model's generation settings name as ends of an answer."""
    ends = getattr(model.generation_config, "eos_token_id", None)
    if ends is None:
        return []
    return list(ends) if isinstance(ends, list) else [ends]


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


class TransformersEngine:
    """See `engines.base.Engine`.

    The prompt is laid out as in llama.cpp's engine where the model has Mistral's format; another model's prompt is
    what its own chat template gives.

    Args:
        address: "path" or "path+adapter", each a folder or a Hub repository.
        threads: torch's threads; None leaves torch's choice.
        n_ctx: Longest prompt and answer together; less when the model was trained on less.
        queue_size: How many may wait.
        dtype: See `load_model`.

    Raises:
        ModelUnfit: The model or the adapter cannot be loaded.
    """

    def __init__(
        self, address: str, *, threads: int | None = None, n_ctx: int = 4096, queue_size: int = 16, dtype: str = "auto"
    ) -> None:
        path, adapter = split_address(address)
        if threads:
            torch.set_num_threads(threads)
        self._tokenizer = load_tokenizer(path)
        self._model = load_model(path, adapter, dtype=dtype)
        self._vocabulary = HubVocabulary(self._tokenizer, ending_ids(self._model))
        self._format = PromptFormat(self._vocabulary)
        self._own_layout = OPEN in (self._tokenizer.chat_template or OPEN)
        text_config = self._model.config.get_text_config()
        trained = getattr(text_config, "max_position_embeddings", None) or n_ctx
        name = Path(path).name + (f"+{Path(adapter).name}" if adapter else "")
        self._info = EngineInfo(name, sum(p.numel() for p in self._model.parameters()), min(n_ctx, trained))
        self._failure: str | None = None
        self._line = WaitingLine(queue_size)
        self._thread = threading.Thread(target=self._work, name=f"engine-{name}", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    @property
    def info(self) -> EngineInfo:
        """See `Engine.info`."""
        return self._info

    @property
    def failure(self) -> str | None:
        """See `Engine.failure`."""
        return self._failure

    async def stream(
        self,
        messages: Sequence[ChatMessage],
        params: SamplingParams,
        *,
        deadline_s: float | None = None,
        client: str = "",
    ) -> AsyncGenerator[EngineEvent, None]:
        """See `Engine.stream`. `json_schema` is refused: nothing here constrains an answer."""
        if params.json_schema is not None:
            raise EngineError("This engine cannot hold an answer to a JSON Schema; ask one of llama.cpp's.")
        prompt = Prompt(tuple(self._render(messages, params.max_tokens)), 0)
        async with aclosing(self._line.served(prompt, params, client=client, deadline_s=deadline_s)) as events:
            async for event in events:
                yield event

    async def warm(self, system_prompt: str) -> None:
        """See `Engine.warm`: nothing is kept between answers, so there is nothing to do."""

    def count_tokens(self, messages: Sequence[ChatMessage]) -> int:
        """See `Engine.count_tokens`."""
        return len(self._layout(messages))

    def close(self) -> None:
        """See `Engine.close`. Waits for the step under way; a second call does nothing."""
        atexit.unregister(self.close)
        self._line.close()
        self._thread.join()

    def _layout(self, messages: Sequence[ChatMessage]) -> list[int]:
        ids = list(self._format.render(messages).ids)  # raises on wrong roles, whatever the template
        if self._own_layout:
            return ids
        text = self._tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _render(self, messages: Sequence[ChatMessage], max_tokens: int) -> list[int]:
        ids = self._layout(messages)
        if len(ids) + max_tokens > self._info.n_ctx:
            raise EngineError(
                f"A prompt of {len(ids)} tokens and an answer of {max_tokens} are more than the context of "
                f"{self._info.n_ctx}; cut the conversation.",
                code="conversation_too_long",
            )
        return ids

    # What follows runs in the worker thread, alone with the model.

    def _work(self) -> None:
        while self._line.wait():
            job = self._line.take(lambda _: True)
            if job is None:  # it left in between
                continue
            answer_s: float | None = None
            last: Finished | ChatError | None = None
            try:
                last = self._answer(job)
                answer_s = last.usage.total_s if last else None
            except EngineError as error:
                last = error
            except Exception:  # a fault of ours must not end the thread: every later caller would wait for ever
                logger.exception("request %d failed", job.number)
                last = EngineError("The engine failed; the log says why.")
            self._line.done(answer_s)
            job.send(last)

    def _answer(self, job: Job) -> Finished | None:
        """Answer one request; None when its caller has left."""
        params, started = job.params, time.monotonic()
        assert params is not None  # noqa: S101  for the type checker: this engine submits answers only
        answer = _Answer(self._tokenizer, params)
        reason: FinishReason | None = None
        first_s = 0.0
        with torch.inference_mode():
            steps = _Steps(self._model, job.prompt.ids)
            while reason is None:
                if job.cancelled:
                    return None
                if self._line.closed:
                    raise EngineError("The engine was closed.")
                if job.is_late:
                    reason = "deadline"
                elif steps.reading:
                    steps.read()
                else:
                    token = answer.sample(steps.logits, self._vocabulary.silent)
                    reason = answer.take(token, ended=token in self._vocabulary.ends)
                    first_s = first_s or (time.monotonic() - started if answer.said else 0.0)
                    answer.tell(job)
                    steps.push(token)
        answer.finish(job, cut=reason != "stop")
        if not answer.said:
            if reason == "deadline":
                raise EngineTimeout("The deadline passed before the first word; ask again later.")
            raise EngineError("The model answered with nothing that can be shown; ask again.", code="answer_empty")
        usage = Usage(
            prompt_tokens=len(job.prompt.ids),
            completion_tokens=len(answer.sampled),
            queued_s=started - job.submitted,
            first_token_s=first_s or time.monotonic() - started,
            total_s=time.monotonic() - started,
        )
        logger.info("request %d: %s, %s", job.number, reason, usage)
        return Finished(reason, usage)


def split_address(address: str) -> tuple[str, str | None]:
    """Split "path+adapter"; a folder whose own name holds a plus is found first.

    >>> split_address("owner/base+runs/adapter")
    ('owner/base', 'runs/adapter')
    """
    path, plus, adapter = address.rpartition("+")
    if not plus or Path(address).is_dir():
        return address, None
    return path, adapter


class _Steps:
    """The model fed chunk by chunk, with its cache of keys and values."""

    def __init__(self, model: Any, ids: Sequence[int]) -> None:
        self._model = model
        self._waiting = list(ids)
        self._cache: Any = None
        self.logits = torch.empty(0)

    @property
    def reading(self) -> bool:
        """Whether tokens wait to be read."""
        return bool(self._waiting)

    def push(self, token: int) -> None:
        """Append a token, to be read at the next step."""
        self._waiting.append(token)

    def read(self) -> None:
        """Read the next chunk; `logits` are those after its last token."""
        chunk, self._waiting = self._waiting[:CHUNK], self._waiting[CHUNK:]
        out = self._model(
            input_ids=torch.tensor([chunk]), past_key_values=self._cache, use_cache=True, logits_to_keep=1
        )
        self._cache, self.logits = out.past_key_values, out.logits[0, -1].float()


class _Answer:
    """What is sampled, and the text of it."""

    def __init__(self, tokenizer: Any, params: SamplingParams) -> None:
        self.sampled: list[int] = []
        self.said = ""
        self._tokenizer = tokenizer
        self._params = params
        self._text = AnswerText((*params.stop, OPEN), sentences=params.end_at_sentence)
        self._decoded = ""
        self._news = ""
        self._draw = torch.Generator().manual_seed(secrets.randbits(32) if params.seed is None else params.seed)

    def sample(self, logits: torch.Tensor, silent: Sequence[int]) -> int:
        """Draw the next token: penalty, top_k, top_p, temperature, as llama.cpp's chain does."""
        logits, params = logits.clone(), self._params
        if self._text.is_blank:
            logits[list(silent)] = -torch.inf
        recent = list(set(self.sampled[-params.repeat_last_n :])) if params.repeat_last_n else []
        if params.repeat_penalty != 1 and recent:
            values = logits[recent]
            penalty = params.repeat_penalty
            logits[recent] = torch.where(values > 0, values / penalty, values * penalty)
        if params.temperature <= 0:
            return int(logits.argmax())
        kept = min(params.top_k or len(logits), len(logits))
        values, places = logits.topk(kept)
        chances = values.softmax(0)
        values = values.masked_fill(chances.cumsum(0) - chances >= params.top_p, -torch.inf)
        drawn = torch.multinomial((values / params.temperature).softmax(0), 1, generator=self._draw)
        return int(places[drawn])

    def take(self, token: int, *, ended: bool) -> FinishReason | None:
        """Add a token; say why the answer is over, if it is."""
        if ended:
            return "stop"
        self.sampled.append(token)
        decoded = self._tokenizer.decode(self.sampled, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        if not decoded.endswith(HALF_CHARACTER):
            news, self._decoded = decoded[len(self._decoded) :], decoded
            # Only whole sentences are begun near the end of the budget.
            left = self._params.max_tokens - len(self.sampled)
            self._show(self._text.feed(news.encode(), hold=left < self._params.max_tokens // 4))
        if self._text.stopped:
            return "stop"
        return "length" if len(self.sampled) >= self._params.max_tokens else None

    def tell(self, job: Job) -> None:
        """Send what is new."""
        if self._news:
            job.send(Token(self._news))
            self._news = ""

    def finish(self, job: Job, *, cut: bool) -> None:
        """Send the rest."""
        self._show(self._text.finish(cut=cut))
        self.tell(job)

    def _show(self, text: str) -> None:
        self.said += text
        self._news += text
