"""The free tier's engine: one llama.cpp context in this process, many answers at once. Knows no tier and no persona.

One worker thread owns the context and goes round a loop: take in who waits, put the next token of every answer and a
bounded part of the prompts into one step, compute it, draw a token for each. A system prompt is read once and shared
with every chat; a chat keeps its cells between its turns.
"""

import atexit
import logging
import secrets
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

import llama_cpp

from engines.answer import Answer
from engines.base import Aside, ChatMessage, EngineEvent, EngineInfo, Finished, SamplingParams, Token, Usage
from engines.cells import CachedSequence
from engines.gguf_file import GGUFInfo, check_chat_model
from engines.grammar import to_gbnf
from engines.host_memory import check_memory, estimate, granted_bytes
from engines.llama_model import N_BATCH, LlamaModel, Sampler, granted_cpus
from engines.prefix_files import PrefixFiles, model_key
from engines.prompt import Prompt, PromptFormat
from engines.residents import Residents
from engines.slots import Ended, Reading, Slot, room
from engines.steps import prompt_rows
from engines.template import template_agrees
from engines.tuning import open_tuned
from engines.waiting import Job, WaitingLine
from errors import EngineError, EngineTimeout, place_of

logger = logging.getLogger(__name__)

N_RESTING = 39  # chats that may keep a sequence between turns, beside those that are answered
PREFIX_CELLS = 3072  # tokens of context kept for system prompts, beyond one chat of full length
PARK_BYTES = 1_000_000_000  # host memory for chats that had to make room; at most a tenth of what is granted
N_REMEMBERED = 512  # answers whose sampled ids are remembered, oldest forgotten first: about 1 MB
MAX_CHARS_PER_TOKEN = 16  # French has 4; beyond this a conversation is too long without counting its tokens
MAX_FAILURES = 3  # steps in a row that fail, each on a new context: then the model is given up
AGEING = 40  # rows a second: how fast a long prompt that waits overtakes shorter ones


@dataclass
class EngineStats:
    """What the worker has done since the start; its fields only grow, but for the last seven.

    Attributes:
        steps: Steps computed.
        rows: Rows in them.
        compute_s: Seconds inside llama.cpp's decode.
        python_s: Seconds of everything else in a step, sampling included.
        longest_pause_s: The longest time between two tokens of a running answer.
        failures: Contexts that had to be made anew.
        slowdown: How much longer steps take than when they were measured.
        active: Answers running.
        waiting: Requests in line.
        resting: Chats that keep their cells.
        cells: Cells in use.
        parked_bytes: Host memory that chats take which had to make room.
        eta_s: Seconds until one who asks now would be served; 0 where a place is free, None until an answer was timed.
    """

    steps: int = 0
    rows: int = 0
    compute_s: float = 0.0
    python_s: float = 0.0
    longest_pause_s: float = 0.0
    failures: int = 0
    slowdown: float = 1.0
    active: int = 0
    waiting: int = 0
    resting: int = 0
    cells: int = 0
    parked_bytes: int = 0
    eta_s: float | None = None


class LlamaCppEngine:
    """See `engines.base.Engine`.

    Args:
        path: A GGUF.
        threads: Threads of one step; None takes what the container grants.
        n_ctx: Longest prompt and answer together; less when the model was trained on less.
        n_cells: Tokens that all chats hold together; raised to what one chat and the system prompts need.
        max_active: How many answers run at once.
        queue_size: How many may wait.
        cache_dir: Where system prompts and the choice of kernels are kept; None keeps neither.
        kernels: "auto" measures and decides; "repacked" or "tiled" decide.
        stopped: Whether to give up opening; the measuring of kernels takes minutes with a large model.

    Raises:
        ModelUnfit: The file is missing, damaged or no chat model.
        EngineError: There is not enough memory (`memory_short`), `kernels` is unknown, or it was `stopped`.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        threads: int | None = None,
        n_ctx: int = 4096,
        n_cells: int = 16384,
        max_active: int = 16,
        queue_size: int = 64,
        cache_dir: Path | None = None,
        kernels: str = "auto",
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        started, path = time.monotonic(), Path(path)
        header = check_chat_model(path)
        n_ctx = min(n_ctx, header.n_ctx_train or n_ctx)
        cells = max(n_cells, n_ctx + PREFIX_CELLS)
        threads = threads or granted_cpus()
        granted = granted_bytes()
        check_memory(estimate(header, n_cells=cells, n_rows=N_BATCH, repack=kernels == "repacked"), granted, path.name)
        offsets = [tensor.offset for tensor in header.tensors]
        key = model_key(path, offsets, library=llama_cpp.__version__, cache="f16", flash=True, swa_full=True)
        n_chats = max_active + N_RESTING

        def open_model(repack: bool) -> LlamaModel:
            sequences = Residents.n_sequences(n_chats)
            size = header.cache_bytes_per_token
            return LlamaModel(path, threads=threads, n_cells=cells, n_seq=sequences, repack=repack, cell_bytes=size)

        self._model, tuning = open_tuned(
            open_model,
            fits_repacked=estimate(header, n_cells=cells, n_rows=N_BATCH, repack=True).total <= granted,
            cache=cache_dir / "kernels.json" if cache_dir else None,
            key=f"{key} {threads} threads",
            kernels=kernels,
            stopped=stopped,
        )
        need = estimate(header, n_cells=cells, n_rows=N_BATCH, repack=tuning.kernels == "repacked")
        self.costs = tuning.costs
        self._stats = EngineStats()
        self._residents = Residents(
            self._model,
            n_chats=n_chats,
            prefix_cells=cells - n_ctx,
            files=PrefixFiles(cache_dir / "prefixes", key) if cache_dir else None,
            park_bytes=max(0, min(PARK_BYTES, granted // 10, granted - need.total)),
        )
        self._format = PromptFormat(self._model)
        self._warn_of(header)
        self._info = EngineInfo(path.stem, header.n_params, n_ctx)
        self._line = WaitingLine(queue_size, max_active)
        self._max_active = max_active
        self._slots: list[Slot] = []
        self._failure: str | None = None
        self._failures_in_a_row = 0
        # Hash of a prompt and its answer -> the ids it was sampled as. Written by the worker, read by callers.
        self._answers: dict[int, tuple[int, ...]] = {}
        self._thread = threading.Thread(target=self._work, name=f"engine-{path.stem}", daemon=True)
        self._thread.start()
        atexit.register(self.close)  # a step that is under way while the process ends would crash it
        logger.info(
            "%s ready in %.2f s: %d threads, %d tokens a chat, %d in all, %d answers at once, pauses up to %.1f s "
            "at the speed measured",
            path.name, time.monotonic() - started, threads, n_ctx, cells, max_active,
            self.costs.pause_s(max_active),
        )  # fmt: skip

    def _warn_of(self, header: GGUFInfo) -> None:
        agreement = template_agrees(header.chat_template, self._format)
        if not agreement.agrees:
            logger.warning("%s: its chat template and our layout differ: %s", header.path.name, agreement.reason)

    @property
    def info(self) -> EngineInfo:
        """See `Engine.info`."""
        return self._info

    @property
    def failure(self) -> str | None:
        """See `Engine.failure`."""
        return self._failure

    @property
    def stats(self) -> EngineStats:
        """What the worker has done so far, and what it holds now."""
        cells = self._residents.cells
        return replace(
            self._stats,
            active=len(self._slots),
            waiting=self._line.n_waiting,
            resting=self._residents.n_idle,
            cells=cells.n_cells - cells.n_free,
            parked_bytes=self._residents.parked_bytes,
            eta_s=self._line.eta_s,
        )

    async def stream(
        self,
        messages: Sequence[ChatMessage],
        params: SamplingParams,
        *,
        deadline_s: float | None = None,
        client: str = "",
    ) -> AsyncGenerator[EngineEvent, None]:
        """See `Engine.stream`."""
        prompt = self._render(messages, params.max_tokens)
        if params.json_schema:
            to_gbnf(params.json_schema)  # here, not in the worker: others are being answered there
        if params.aside:
            prompt, params = self._with_aside(prompt, params, params.aside)
        async with aclosing(self._line.served(prompt, params, client=client, deadline_s=deadline_s)) as events:
            async for event in events:
                yield event

    async def warm(self, system_prompt: str) -> None:
        """See `Engine.warm`. Waits in line like an answer, and is never refused.

        Raises:
            EngineError: The system prompt is longer than the context, or the model failed.
        """
        if not system_prompt.strip():
            return
        ids = tuple(self._format.prefix(system_prompt))
        self._check_length(len(ids), 1)
        async with aclosing(self._line.served(Prompt(ids, len(ids)), None, bounded=False)) as events:
            async for _ in events:
                pass

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

    def _with_aside(self, prompt: Prompt, params: SamplingParams, aside: Aside) -> tuple[Prompt, SamplingParams]:
        """Return the prompt with what is read behind the answer, or both without the aside where it has no room."""
        ids = tuple(self._format.aside(aside.message, aside.mark))
        if len(prompt.ids) + params.max_tokens + len(ids) + aside.max_tokens > self._info.n_ctx:
            logger.info("an aside of %d tokens has no room behind a prompt of %d", len(ids), len(prompt.ids))
            return prompt, replace(params, aside=None)
        try:
            to_gbnf(aside.json_schema)
        except EngineError as error:
            logger.warning("an aside has no grammar: %s", error.code)
            return prompt, replace(params, aside=None)
        return replace(prompt, aside=ids), params

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
        while not self._line.closed:
            if not self._slots and not self._line.wait():
                break
            started, computed = time.perf_counter(), self._stats.compute_s
            try:
                self._step()
            except Exception as error:  # a fault of ours must not end the thread: every caller would wait for ever
                self._recover(error)
            self._stats.python_s += time.perf_counter() - started - (self._stats.compute_s - computed)
        closed = EngineError(self._failure or "The engine was closed.")
        for slot in list(self._slots):
            self._end(slot, closed)
        self._residents.close()
        self._model.close()

    def _step(self) -> None:
        """Take in who waits, compute one step, hand its tokens out."""
        for slot in list(self._slots):
            self._check(slot)
        while len(self._slots) < self._max_active and (job := self._line.take(self._fits)):
            self._begin(job)
        wanted = self._compose()
        if self._model.rows.count:
            self._compute()
        for slot, row in wanted:
            self._draw(slot, row)
        self._residents.save_read()
        for slot in list(self._slots):
            self._advance(slot)

    def _fits(self, job: Job) -> bool:
        """Whether there are cells for all that this job may come to, beside what the running ones were promised."""
        prompt = job.prompt
        need = len(prompt.ids) + (room(prompt, job.params) if job.params else 0)
        if prefix := self._residents.prefixes.get(prompt.ids[: prompt.n_shared]):  # what is wanted counts as unread
            need -= prompt.n_shared if prefix.wanted else len(prefix.sequence.tokens)
        unread = sum(len(p.ids) - len(p.sequence.tokens) for p in self._residents.prefixes.values() if p.wanted)
        return need + unread + sum(slot.promised for slot in self._slots) <= self._residents.n_available()

    def _begin(self, job: Job) -> None:
        """Give a job its slot; it reads its system prompt first where nobody has."""
        prompt, params = job.prompt, job.params
        shared = prompt.ids[: prompt.n_shared]
        slot = Slot(job)
        self._slots.append(slot)  # first: whatever fails from here on is told to its caller
        if params:
            try:
                slot.answer = Answer(job, params, self._model, Sampler(params, _seed(params), self._model))
            except Exception as error:
                if not isinstance(error, EngineError):  # one request's fault is not the others'
                    logger.error("request %d: %s at %s", job.number, type(error).__name__, place_of(error))
                    error = EngineError("The answer could not begin; the log says where.")
                self._end(slot, error)
                return
        if shared and (prefix := self._residents.prefix(shared, pinned=params is None)):
            prefix.wanted += 1
            slot.prefix = prefix
        elif params is None:
            logger.warning("a system prompt of %d tokens is too long to be kept", len(shared))
        self._advance(slot)

    def _advance(self, slot: Slot) -> None:
        """Let a slot go on whose system prompt has been read."""
        if slot.sequence or (slot.prefix and not slot.prefix.ready) or slot not in self._slots:
            return
        self._release(slot)
        if slot.answer is None:
            self._end(slot, None)
            return
        prompt = slot.job.prompt
        slot.sequence = self._residents.place(prompt.ids, prompt.n_shared)
        slot.n_cached = len(slot.sequence.tokens)

    def _release(self, slot: Slot) -> None:
        if slot.prefix:
            slot.prefix.wanted -= 1
            slot.prefix = None

    def _compose(self) -> list[tuple[Slot, int]]:
        """Fill the rows of a step; return the slots that get a token from it, each with its row."""
        rows = self._model.rows
        rows.clear()
        wanted: list[tuple[Slot, int]] = []
        readings = self._readings()
        answering = [slot for slot in self._slots if slot.sequence and slot.answer and not slot.unread]
        if not readings and answering:  # those who have waited longest
            answering.sort(key=lambda slot: slot.turn)
            del answering[self.costs.answers_at_once(len(answering)) :]
        turns = [(slot, slot.turn) for slot in answering]
        for slot in answering:
            assert slot.answer is not None and slot.sequence is not None  # noqa: S101, PT018 - for the type checker
            token = slot.answer.sampled[-1]
            wanted.append((slot, rows.add((token,), len(slot.sequence.tokens), slot.sequence.id, wanted=True)))
            slot.turn = self._stats.steps
            self._note(slot.sequence, (token,))
        waiting = sum(len(reading.ids) - len(reading.sequence.tokens) for reading in readings)
        # Who was left out of the step before, where answers take turns, has waited for that one already.
        now, before = time.monotonic(), self._stats.steps - 1
        waited = max((now - slot.spoke for slot, last in turns if slot.spoke and last < before), default=0.0)
        left = prompt_rows(self.costs, rows.count, waiting, rows.capacity, self._stats.slowdown, waited)
        for reading in sorted(readings):
            sequence, position = reading.sequence, len(reading.sequence.tokens)
            part = reading.ids[position : position + left]
            if not part:
                break
            last = reading.slot is not None and position + len(part) == len(reading.ids)
            row = rows.add(part, position, sequence.id, wanted=last)
            self._note(sequence, part)
            if reading.slot and last:
                wanted.append((reading.slot, row))
            left -= len(part)
        return wanted

    def _readings(self) -> list[Reading]:
        """Return what is still to be read: prompts whose system prompt is known, and system prompts that are wanted."""
        now = time.monotonic()
        found: list[Reading] = []
        for slot in self._slots:
            if slot.sequence and slot.unread:
                since = slot.ended.began if slot.ended else slot.started
                urgency = slot.unread - AGEING * (now - since)
                found.append(Reading(urgency, len(found), slot.prompt.ids, slot.sequence, slot))
        for prefix in self._residents.prefixes.values():
            if prefix.wanted and not prefix.ready:
                since = min(slot.started for slot in self._slots if slot.prefix is prefix)
                urgency = len(prefix.ids) - len(prefix.sequence.tokens) - AGEING * (now - since)
                found.append(Reading(urgency, len(found), prefix.ids, prefix.sequence, None))
        return found

    def _note(self, sequence: CachedSequence, tokens: Sequence[int]) -> None:
        """Count the cells of rows that are about to be computed; a step that fails throws the whole count away."""
        if not self._residents.make_room(len(tokens)):
            raise EngineError("The cache is full though every answer was promised its room; a fault of the engine.")
        self._residents.cells.extend(sequence, tokens)

    def _compute(self) -> None:
        count = self._model.rows.count
        started = time.perf_counter()
        done = self._model.decode()
        while not done and self._residents.evict_one():  # nothing has changed: the same step is tried again
            logger.warning("llama.cpp found no cells for %d rows; a chat that rests made room", count)
            done = self._model.decode()
        taken = time.perf_counter() - started
        if not done:
            raise EngineError("llama.cpp found no free cells where there are some; the context is made anew.")
        self._failures_in_a_row = 0
        stats = self._stats
        stats.steps, stats.rows, stats.compute_s = stats.steps + 1, stats.rows + count, stats.compute_s + taken
        # Steps take longer with more context, on a warm processor, beside another program: the plan follows.
        stats.slowdown += 0.1 * (min(max(taken / self.costs.of(count), 0.5), 10.0) - stats.slowdown)

    def _draw(self, slot: Slot, row: int) -> None:
        answer, now = slot.answer, time.monotonic()
        assert answer is not None  # noqa: S101 - only answers have rows that are wanted
        if slot.spoke:
            self._stats.longest_pause_s = max(self._stats.longest_pause_s, now - slot.spoke)
        slot.spoke = now
        try:
            answer.draw(row)
        except Exception as error:
            if not isinstance(error, EngineError):  # as in `_begin`
                logger.error("request %d: %s at %s", slot.job.number, type(error).__name__, place_of(error))
                error = EngineError("The answer broke off; the log says where.")
            self._end(slot, error)
            return
        if answer.reason is None:
            return
        if slot.ended:
            self._end(slot, None)
            return
        usage = Usage(
            prompt_tokens=len(slot.job.prompt.ids),
            cached_tokens=slot.n_cached,
            completion_tokens=len(answer.sampled),
            queued_s=slot.started - slot.job.submitted,
            first_token_s=answer.began - slot.started,
            total_s=now - slot.started,
        )
        self._remember(slot.job.prompt, answer)
        logger.info("request %d: %s, %s", slot.job.number, answer.reason, usage)
        finished = Finished(answer.reason, usage)
        if not self._go_aside(slot, answer, finished):
            self._end(slot, finished)

    def _go_aside(self, slot: Slot, answer: Answer, finished: Finished) -> bool:
        """Begin what follows an answer, on the same cells; False where nothing does, or not in time."""
        job, sequence = slot.job, slot.sequence
        if job.params is None or (aside := job.params.aside) is None:
            return False
        if sequence is None or not job.prompt.aside or finished.reason == "deadline":
            return False
        kept = (*job.prompt.ids, *(answer.kept() or self._format.answer(answer.said)))
        prompt = Prompt((*kept, *job.prompt.aside), job.prompt.n_shared, job.prompt.aside)
        wanted = SamplingParams(
            temperature=aside.temperature, repeat_penalty=1.0, max_tokens=aside.max_tokens, seed=job.params.seed,
            json_schema=aside.json_schema,
        )  # fmt: skip
        common = next((n for n, (a, b) in enumerate(zip(sequence.tokens, kept, strict=False)) if a != b), None)
        length = min(len(sequence.tokens), len(kept)) if common is None else common
        promised = len(job.prompt.ids) + room(job.prompt, job.params)
        if len(prompt.ids) + aside.max_tokens > promised or self._residents.cells.reach(sequence, length) != length:
            return False  # an answer that is cut into more pieces than were sampled, at the very end of its room
        try:
            sampler = Sampler(wanted, _seed(wanted), self._model)
        except EngineError as error:
            logger.warning("request %d: its aside cannot be written: %s", job.number, error)
            return False
        answer.close()
        self._residents.cells.rewind(sequence, length)
        slot.ended = Ended(finished, prompt, len(kept))
        slot.spoke = 0.0  # what is read now makes no pause in an answer
        slot.answer = Answer(job, wanted, self._model, sampler)
        job.send(Token(f"\n{aside.mark}\n"))
        return True

    def _with_aside_counted(self, slot: Slot, ended: Ended) -> Finished:
        """Return what the answer came to, with the tokens of its aside; the chat keeps the answer alone."""
        sequence = slot.sequence
        if sequence is not None and sequence in self._residents.active:
            cells = self._residents.cells
            # Where it cannot be cut there, all of it goes: an aside does not rest in a chat.
            cells.rewind(sequence, ended.n_kept if cells.reach(sequence, ended.n_kept) == ended.n_kept else 0)
        usage, n_aside = ended.finished.usage, len(slot.answer.sampled) if slot.answer else 0
        usage = replace(
            usage,
            prompt_tokens=usage.prompt_tokens + len(slot.job.prompt.aside),
            completion_tokens=usage.completion_tokens + n_aside,
            aside_tokens=n_aside,
            total_s=time.monotonic() - slot.started,
        )
        logger.info("request %d: an aside of %d tokens", slot.job.number, n_aside)
        return replace(ended.finished, usage=usage)

    def _check(self, slot: Slot) -> None:
        """End a slot whose caller has left, or whose time is up before its first token."""
        if slot.job.cancelled:
            logger.info("request %d: cancelled", slot.job.number)
            self._end(slot, None)
        elif slot.ended and slot.job.is_late and slot.answer and not slot.answer.sampled:
            self._end(slot, None)
        elif slot.job.is_late and slot.answer and not slot.answer.sampled:
            self._end(slot, EngineTimeout("The deadline passed before the first word; ask again later."))

    def _end(self, slot: Slot, last: Finished | EngineError | None) -> None:
        """Free what a slot holds, then tell its caller: one who asks again at once finds the place free."""
        if slot not in self._slots:
            return
        self._slots.remove(slot)
        self._release(slot)
        if slot.ended:  # whatever became of the aside, the answer stands
            last = self._with_aside_counted(slot, slot.ended)
        if slot.answer:
            slot.answer.close()
        if slot.sequence in self._residents.active:
            self._residents.retire(slot.sequence)
        self._line.done(last.usage.total_s if isinstance(last, Finished) else None)
        slot.job.send(last)

    def _remember(self, prompt: Prompt, answer: Answer) -> None:
        """Note the ids of an answer for the chat's next turn."""
        if kept := answer.kept():
            self._answers[hash((prompt.ids, answer.said))] = kept
            while len(self._answers) > N_REMEMBERED:
                del self._answers[next(iter(self._answers))]

    def _recover(self, error: Exception) -> None:
        """Tell every caller, and make the context anew with the system prompts out of their files."""
        if isinstance(error, EngineError):
            logger.error("a step failed: %s", error)
        else:
            logger.exception("a step failed")
        self._stats.failures += 1
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= MAX_FAILURES:
            self._give_up(f"{MAX_FAILURES} steps in a row failed, the last one so: {error}")
        else:
            try:
                self._model.reopen()
                self._residents.forget()
            except Exception as last:  # whatever it is, all who wait are told
                self._give_up(f"no new context: {last}")
        self._residents.active.clear()  # what they held is uncertain: not to be kept as resting chats
        for slot in list(self._slots):
            self._end(slot, EngineError("The engine failed; the log says why."))

    def _give_up(self, reason: str) -> None:
        logger.critical("the engine gives up: %s", reason)
        self._failure = reason
        self._line.close(EngineError(f"The engine failed for good: {reason}"))


def _seed(params: SamplingParams) -> int:
    """32 bits; all of them set would ask llama.cpp for a random seed."""
    return secrets.randbits(31) if params.seed is None else params.seed % 0xFFFFFFFF
