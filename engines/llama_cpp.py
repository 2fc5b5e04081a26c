"""The free tier's engine: one llama.cpp context in this process, one answer at a time. Knows no tier and no persona.

One worker thread owns the context. Sequence 0 keeps the last chat, so that its next turn reads only what is new; the
other sequences keep system prompts that were read ahead, shared with a chat without copying (`llama_memory_seq_cp`).
"""

import asyncio
import atexit
import logging
import secrets
import threading
import time
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from engines.base import ChatMessage, EngineEvent, EngineInfo, Finished, FinishReason, SamplingParams, Token, Usage
from engines.gguf_file import check_chat_model
from engines.llama_model import LlamaModel, Sampler, granted_cpus
from engines.prompt import OPEN, Prompt, PromptFormat
from engines.text import AnswerText
from engines.waiting import Job, WaitingLine
from errors import ChatError, EngineError, EngineTimeout

logger = logging.getLogger(__name__)

CHAT = 0  # the sequence of the last chat
N_SEQUENCES = 9  # and eight system prompts
PREFIX_CELLS = 3072  # tokens of context kept for them, beyond the chat's own
CHUNK = 128  # prompt rows between two looks at Stop; more are hardly faster, and a 7B reads these in 2 to 4 s
TAIL = 24  # tokens before the end of the budget from which only whole sentences are begun; a quarter of it if more
N_REMEMBERED = 512  # answers whose sampled ids are remembered, oldest forgotten first: about 1 MB
MAX_CHARS_PER_TOKEN = 16  # French has 4; beyond this a conversation is too long without counting its tokens


class _GoneError(Exception):
    """The caller has left; nobody is told."""


class _Saying:
    """What an answer has come to: the ids sampled, the text shown, when it began."""

    def __init__(self, job: Job) -> None:
        self.sampled: list[int] = []
        self.said = ""
        self.began = 0.0
        self._job = job

    def show(self, text: str) -> None:
        if text:
            self.began = self.began or time.monotonic()
            self.said += text
            self._job.send(Token(text))


class LlamaCppEngine:
    """See `engines.base.Engine`.

    Near the end of `max_tokens` or of the deadline (`TAIL`), and with `end_at_sentence`, a sentence that has begun to
    be shown is shown on, and later ones only when they are finished. So a cut answer ends at a sentence's end, unless
    a sentence is longer than the tail.

    Args:
        path: A GGUF.
        threads: Threads of one step; None takes what the container grants.
        n_ctx: Longest prompt and answer together; less when the model was trained on less.
        queue_size: How many may wait.

    Raises:
        ModelUnfit: The file is missing, damaged or no chat model.
        EngineError: There is no memory for its context.
    """

    def __init__(
        self, path: Path | str, *, threads: int | None = None, n_ctx: int = 4096, queue_size: int = 16
    ) -> None:
        started = time.monotonic()
        path = Path(path)
        header = check_chat_model(path)
        n_ctx = min(n_ctx, header.n_ctx_train or n_ctx)
        threads = threads or granted_cpus()
        self._model = LlamaModel(path, threads=threads, n_cells=n_ctx + PREFIX_CELLS, n_seq=N_SEQUENCES)
        self._format = PromptFormat(self._model)
        if self._format.version == "v1" and OPEN not in (header.chat_template or OPEN):
            logger.warning("%s has another chat format than Mistral's; its answers will be poor", path.name)
        self._info = EngineInfo(path.stem, header.n_params, n_ctx)
        self._line = WaitingLine(queue_size)
        self._chat: list[int] = []  # what sequence CHAT holds
        self._prefixes: dict[tuple[int, ...], int] = {}  # system prompts to keep, least recently used first -> sequence
        self._resident: set[int] = set()  # the sequences that hold theirs
        # Hash of a prompt and its answer -> the ids it was sampled as. Written by the worker, read by callers.
        self._answers: dict[int, tuple[int, ...]] = {}
        self._thread = threading.Thread(target=self._work, name=f"engine-{path.stem}", daemon=True)
        self._thread.start()
        atexit.register(self.close)  # a step that is under way while the process ends would crash it
        logger.info(
            "%s ready in %.2f s: %d threads, %d tokens", path.name, time.monotonic() - started, threads, n_ctx
        )  # fmt: skip

    @property
    def info(self) -> EngineInfo:
        """See `Engine.info`."""
        return self._info

    async def stream(
        self, messages: Sequence[ChatMessage], params: SamplingParams, *, deadline_s: float | None = None
    ) -> AsyncGenerator[EngineEvent, None]:
        """See `Engine.stream`."""
        loop = asyncio.get_running_loop()
        prompt = self._render(messages, params.max_tokens)
        deadline = None if deadline_s is None else time.monotonic() + deadline_s
        job = Job(prompt, params, deadline, loop)
        self._line.submit(job)
        timer = None if deadline_s is None else loop.call_later(deadline_s, self._line.expire, job)
        try:
            while True:
                event = await job.events.get()
                if isinstance(event, ChatError):
                    raise event
                if event is not None:
                    yield event
                if isinstance(event, Finished):
                    return
        finally:
            if timer is not None:
                timer.cancel()
            self._line.cancel(job)

    async def warm(self, system_prompt: str) -> None:
        """See `Engine.warm`. Waits in line like an answer, and is never refused.

        Raises:
            EngineError: The system prompt is longer than the context, or the model failed.
        """
        if not system_prompt.strip():
            return
        ids = tuple(self._format.prefix(system_prompt))
        self._check_length(len(ids), 1)
        job = Job(Prompt(ids, len(ids)), None, None, asyncio.get_running_loop())
        self._line.submit(job, bounded=False)
        try:
            while (event := await job.events.get()) is not None:
                if isinstance(event, ChatError):
                    raise event
        finally:
            self._line.cancel(job)

    def count_tokens(self, messages: Sequence[ChatMessage]) -> int:
        """See `Engine.count_tokens`."""
        return len(self._format.render(messages, self._sampled_as).ids)

    def close(self) -> None:
        """See `Engine.close`. Waits for the step under way; a second call does nothing."""
        atexit.unregister(self.close)
        self._line.close()
        self._thread.join()

    def _render(self, messages: Sequence[ChatMessage], max_tokens: int) -> Prompt:
        n_chars = sum(len(message["content"]) for message in messages)
        self._check_length(n_chars // MAX_CHARS_PER_TOKEN, max_tokens)
        prompt = self._format.render(messages, self._sampled_as)
        self._check_length(len(prompt.ids), max_tokens)
        return prompt

    def _sampled_as(self, ids: Sequence[int], answer: str) -> tuple[int, ...] | None:
        return self._answers.get(hash((tuple(ids), answer)))

    def _check_length(self, n_prompt: int, n_answer: int) -> None:
        if n_prompt + n_answer > self._info.n_ctx:
            raise EngineError(
                f"A prompt of at least {n_prompt} tokens and an answer of {n_answer} are more than the context of "
                f"{self._info.n_ctx}; cut the conversation.",
                code="conversation_too_long",
            )

    # What follows runs in the worker thread, alone with the model.

    def _work(self) -> None:
        while (job := self._line.next()) is not None:
            answer_s: float | None = None
            last: Finished | ChatError | None = None
            try:
                if job.params is None:
                    self._keep_prefix(job, job.prompt.ids)
                else:
                    last = self._answer(job, job.params)
                    answer_s = last.usage.total_s
            except _GoneError:
                logger.info("request %d: cancelled", job.number)
            except EngineError as error:
                logger.info("request %d: %s", job.number, error)
                last = error
            except Exception:  # a fault of ours must not end the thread: every later caller would wait for ever
                logger.exception("request %d failed", job.number)
                self._forget()
                last = EngineError("The engine failed; the log says why.")
            self._line.done(answer_s)  # before the last event: a caller who asks again at once finds the place free
            job.send(last)
        self._model.close()

    def _answer(self, job: Job, params: SamplingParams) -> Finished:
        started = time.monotonic()
        cached = self._recall(job)
        row = self._read(job, CHAT, job.prompt.ids, cached)
        sampler = Sampler(params, _seed(params), self._model.n_vocab)
        saying = _Saying(job)
        try:
            reason = self._generate(job, params, sampler, row, saying)
        finally:
            sampler.close()
        self._remember(job.prompt, saying)
        usage = Usage(
            prompt_tokens=len(job.prompt.ids),
            cached_tokens=cached,
            completion_tokens=len(saying.sampled),
            queued_s=started - job.submitted,
            first_token_s=saying.began - started,
            total_s=time.monotonic() - started,
        )
        logger.info("request %d: %s, %s", job.number, reason, usage)
        return Finished(reason, usage)

    def _generate(
        self, job: Job, params: SamplingParams, sampler: Sampler, row: int, saying: "_Saying"
    ) -> FinishReason:
        """Sample, show and read tokens until something ends the answer; return what."""
        text = AnswerText((*params.stop, OPEN), sentences=params.end_at_sentence)
        tail = max(TAIL, params.max_tokens // 4)
        started = time.monotonic()
        while True:
            token = self._model.sample(sampler, row, speak=text.is_blank)
            if self._model.is_control(token):
                saying.show(text.finish())
                reason: FinishReason = "stop"
                break
            saying.sampled.append(token)
            count = len(saying.sampled)
            left = min(params.max_tokens - count, _steps_left(job, started, count))
            saying.show(text.feed(self._model.piece(token), hold=left < tail))
            if text.stopped or count >= params.max_tokens or job.is_late:
                reason = "stop" if text.stopped else "length" if count >= params.max_tokens else "deadline"
                saying.show(text.finish(cut=reason != "stop"))
                break
            self._check(job)
            row = self._decode(CHAT, (token,), len(self._chat))
        if not saying.said and reason == "deadline":
            raise EngineTimeout("The deadline passed before the first word; ask again later.")
        if not saying.said:
            raise EngineError("The model answered with nothing that can be shown; ask again.", code="answer_empty")
        return reason

    def _remember(self, prompt: Prompt, saying: "_Saying") -> None:
        """Note which of the sampled ids spell what was shown: the chat's next turn gives them back."""
        pieces = list(map(self._model.piece, saying.sampled))
        for count in range(len(pieces), 0, -1):
            text = b"".join(pieces[:count]).decode("utf-8", errors="ignore").strip()
            if text == saying.said:
                self._answers[hash((prompt.ids, saying.said))] = tuple(saying.sampled[:count])
                while len(self._answers) > N_REMEMBERED:
                    del self._answers[next(iter(self._answers))]
            if len(text) <= len(saying.said):
                return

    def _recall(self, job: Job) -> int:
        """Make sequence CHAT hold the longest beginning of the prompt that is known; return its length.

        The last token of the prompt is always read again: its row gives the first token of the answer.
        """
        ids, n_shared = job.prompt.ids, job.prompt.n_shared
        kept = min(_n_common(self._chat, ids), len(ids) - 1)
        prefix = ids[:n_shared]
        if kept < n_shared and prefix in self._prefixes and self._keep_prefix(job, prefix):
            self._model.share(self._prefixes[prefix], CHAT)
            self._chat = list(prefix)
            return n_shared
        self._chat = self._chat[:kept] if self._model.rewind(CHAT, kept) else []
        return len(self._chat)

    def _keep_prefix(self, job: Job, ids: tuple[int, ...]) -> bool:
        """Read a system prompt into a sequence of its own, dropping the least recently used for it.

        Returns False when it is too long to be kept beside a chat.
        """
        if len(ids) > PREFIX_CELLS:
            logger.warning("a system prompt of %d tokens is not kept, at most %d are", len(ids), PREFIX_CELLS)
            return False
        sequence = self._prefixes.pop(ids, None)
        if sequence is None:
            while len(self._prefixes) >= N_SEQUENCES - 1 or sum(map(len, self._prefixes)) + len(ids) > PREFIX_CELLS:
                dropped = self._prefixes.pop(next(iter(self._prefixes)))
                self._resident.discard(dropped)
                self._model.rewind(dropped, 0)
            sequence = next(s for s in range(CHAT + 1, N_SEQUENCES) if s not in self._prefixes.values())
        self._prefixes[ids] = sequence
        if sequence not in self._resident:
            self._model.rewind(sequence, 0)  # a reading that was broken off may have left a part
            self._read(job, sequence, ids, 0)
            self._resident.add(sequence)
        return True

    def _read(self, job: Job, sequence: int, ids: tuple[int, ...], start: int) -> int:
        """Decode `ids[start:]` in chunks, looking at Stop and the clock before each; return the row to sample."""
        row = 0
        for at in range(start, len(ids), CHUNK):
            self._check(job)
            if job.is_late:
                raise EngineTimeout("The deadline passed before the first word; ask again later.")
            row = self._decode(sequence, ids[at : at + CHUNK], at)
        return row

    def _decode(self, sequence: int, ids: tuple[int, ...], position: int) -> int:
        try:
            row = self._model.decode(ids, position, sequence)
        except EngineError:
            logger.exception("the context is emptied")
            self._forget()
            raise
        if sequence == CHAT:
            self._chat += ids
        return row

    def _check(self, job: Job) -> None:
        if job.cancelled:
            raise _GoneError
        if self._line.closed:
            raise EngineError("The engine was closed.")

    def _forget(self) -> None:
        """Empty the context after a failure; system prompts are read again when they are next needed."""
        self._model.clear()
        self._chat = []
        self._resident.clear()


def _n_common(first: Sequence[int], second: Sequence[int]) -> int:
    """Length of the longest common beginning."""
    for count, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return count
    return min(len(first), len(second))


def _seed(params: SamplingParams) -> int:
    """32 bits; all of them set would ask llama.cpp for a random seed."""
    return secrets.randbits(31) if params.seed is None else params.seed % 0xFFFFFFFF


def _steps_left(job: Job, began: float, count: int) -> float:
    """How many more tokens the deadline allows, at the speed so far."""
    if job.deadline is None:
        return float("inf")
    now = time.monotonic()
    return (job.deadline - now) / max((now - began) / count, 1e-6)
