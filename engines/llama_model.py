"""One llama.cpp model and its context, as a few safe calls. Knows the C library; knows no prompt, no queue, no asyncio.

Everything that would make the C library end the process (rows out of range, too many rows, a missing row) is checked
here before the call. The context belongs to one thread at a time; `encode` and `piece` may be called from any thread.
"""

import ctypes
import logging
import math
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.base import SamplingParams
from engines.grammar import to_gbnf
from engines.host_memory import give_back_blank_cache, own_mappings, release_mapping, trim_heap
from errors import EngineError, ModelUnfit

# Both are read when the library is loaded. A dying process must not start a debugger. And threads that wait for each
# other spin for some ten milliseconds, then sleep: long enough for the event loop's turns on their processor. Embedded
# model, two pupils over HTTP: 74 tokens a second, 54 where they sleep after 20 microseconds. Beside two other programs
# that never rest a step takes 1.5 times as long as it would with threads that sleep early, beside three twice as long.
os.environ.setdefault("GGML_NO_BACKTRACE", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "1000000")

import llama_cpp as lib

logger = logging.getLogger(__name__)

CGROUP = Path("/sys/fs/cgroup")
LOADAVG = Path("/proc/loadavg")
N_BATCH = 256  # rows that one step may hold
NULL_TOKEN = -1
GREEDY = 1e-3  # temperatures below are 0: logits over them leave the range of a float
_LEVELS = {2: logging.DEBUG, 3: logging.DEBUG, 4: logging.ERROR}  # ggml.h: info, warning, error


@lib.llama_log_callback  # type: ignore[untyped-decorator, unused-ignore]
def _on_log(level: int, text: bytes, _: Any) -> None:
    if level in _LEVELS:
        logger.log(_LEVELS[level], "%s", text.decode("utf-8", errors="replace").rstrip())


def granted_cpus(cgroup: Path = CGROUP) -> int:
    """Return how many threads the container may really run: its CPU quota, at most the CPUs it is bound to.

    A container often sees all the cores of its machine; threads beyond the quota make every step several times slower.
    """
    limit = len(os.sched_getaffinity(0))
    names = [("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")]  # cgroup v2, v1
    for group in names:
        files = [cgroup / name for name in group]
        if all(file.is_file() for file in files):
            quota, period = " ".join(file.read_text(encoding="ascii") for file in files).split()
            if quota not in {"max", "-1"}:
                limit = min(limit, int(quota) // int(period))
            break
    return max(limit, 1)


def free_cpus(loadavg: Path = LOADAVG, *, samples: int = 5, pause_s: float = 0.02) -> int:
    """Return how many of the granted processors nobody uses now, at least one; one where the system does not say.

    Args:
        loadavg: Its fourth field says how many threads run.
        samples: Looks at it; their median counts.
        pause_s: Seconds between two looks.
    """
    running = []
    for _ in range(samples):
        try:
            running.append(int(loadavg.read_text(encoding="ascii").split()[3].split("/")[0]))
        except (OSError, ValueError, IndexError):
            return 1
        time.sleep(pause_s)
    return max(1, granted_cpus() - (sorted(running)[samples // 2] - 1))  # the one that looks runs, too


class Rows:
    """The rows of one step, over numpy memory that llama.cpp reads in place; filled without a Python loop.

    Args:
        capacity: Most rows.
        n_vocab: Ids at or above it are refused: they would end the process.
        n_seq: Number of sequences, refused likewise.
    """

    def __init__(self, capacity: int, n_vocab: int, n_seq: int) -> None:
        self.capacity = capacity
        self.count = 0
        self._n_vocab, self._n_seq = n_vocab, n_seq
        self._token, self._position, self._sequence = (np.zeros(capacity, np.int32) for _ in range(3))
        self._one, self._wanted = np.ones(capacity, np.int32), np.zeros(capacity, np.int8)
        pointer = ctypes.POINTER(ctypes.c_int32)
        first: int = self._sequence.ctypes.data
        self._ids = (pointer * capacity)(*(ctypes.cast(first + 4 * i, pointer) for i in range(capacity)))
        self._batch = lib.llama_batch(
            0,
            _int32(self._token),
            None,
            _int32(self._position),
            _int32(self._one),
            ctypes.cast(self._ids, ctypes.POINTER(pointer)),
            self._wanted.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    def clear(self) -> None:
        """Begin a new step."""
        self.count = 0

    def add(self, tokens: Sequence[int], position: int, sequence: int, *, wanted: bool) -> int:
        """Add tokens of one sequence, in order, and return the row of the last.

        Args:
            tokens: Ids, at least one.
            position: Of the first of them: how long the sequence is.
            sequence: Its number.
            wanted: Whether the last row is to be sampled from.

        Raises:
            EngineError: They do not fit, or an id is out of range; nothing was added.
        """
        start, end = self.count, self.count + len(tokens)
        fits = start < end <= self.capacity and 0 <= sequence < self._n_seq and position >= 0
        if not fits or min(tokens) < 0 or max(tokens) >= self._n_vocab:
            raise EngineError(f"{len(tokens)} rows for sequence {sequence} or their ids are out of range.")
        self._token[start:end] = tokens
        self._position[start:end] = range(position, position + len(tokens))
        self._sequence[start:end] = sequence
        self._wanted[start:end] = 0
        self._wanted[end - 1] = wanted
        self.count = end
        return end - 1

    @property
    def batch(self) -> Any:
        """llama.cpp's view of the rows."""
        self._batch.n_tokens = self.count
        return self._batch


class LlamaModel:
    """A loaded model with one context of several sequences (unified KV, flash attention, f16).

    Args:
        path: A GGUF that `check_chat_model` has passed.
        threads: Threads of one step.
        n_cells: Tokens that all sequences hold together.
        n_seq: Number of sequences, at most `N_BATCH`.
        repack: Whether to keep a second copy of the weights, rearranged for steps of a few rows.
        cell_bytes: What the cache takes for a token, as the file's header says; where it is given, the cache takes
            memory as tokens come.

    Raises:
        ModelUnfit: llama.cpp refuses the file, or the model has more than attention.
        EngineError: There is no memory for the context.
    """

    def __init__(
        self, path: Path, *, threads: int, n_cells: int, n_seq: int, repack: bool = True, cell_bytes: int = 0
    ) -> None:
        lib.llama_log_set(_on_log, ctypes.c_void_p())
        lib.llama_backend_init()
        if not 0 < n_seq <= N_BATCH:
            raise EngineError(f"{n_seq} sequences: llama.cpp knows {N_BATCH} at most; lower BAF_MAX_ACTIVE.")
        self._lock = threading.Lock()  # text calls against close()
        self._ctx: Any = None
        self.name, self.threads, self.n_cells, self.n_seq = path.name, threads, n_cells, n_seq
        self._cell_bytes = cell_bytes
        model_params = lib.llama_model_default_params()
        model_params.load_mode = lib.LLAMA_LOAD_MODE_MMAP
        model_params.use_extra_bufts = repack
        self._model: Any = lib.llama_model_load_from_file(os.fsencode(path), model_params)
        if not self._model:
            raise ModelUnfit(f"llama.cpp cannot load {path.name}; the log says why. Fetch it again, or take another.")
        if lib.llama_model_is_recurrent(self._model) or lib.llama_model_is_hybrid(self._model):
            lib.llama_model_free(self._model)
            raise ModelUnfit(
                f"{path.name} keeps a state that cannot be shared or cut; give a model of attention alone.",
                code="model_not_chat",
            )
        if repack:
            release_mapping(path)
        self._vocab = lib.llama_model_get_vocab(self._model)
        self.n_vocab: int = lib.llama_vocab_n_tokens(self._vocab)
        self.n_ctx_train: int = lib.llama_model_n_ctx_train(self._model)
        self.n_params: int = lib.llama_model_n_params(self._model)
        self.window: int = lib.llama_model_n_swa(self._model)  # of the sliding attention, 0 for none
        try:
            self.reopen()
        except EngineError:
            lib.llama_model_free(self._model)
            raise
        self.rows = Rows(N_BATCH, self.n_vocab, n_seq)
        # Kept here, as the library may not be asked about them in one thread while another closes the model.
        bos = lib.llama_vocab_bos(self._vocab)
        self.bos: int | None = None if bos == NULL_TOKEN else bos
        self.eos: int = lib.llama_vocab_eos(self._vocab)
        self._silent = {
            token
            for token in range(self.n_vocab)
            if self._attribute(token) & lib.LLAMA_TOKEN_ATTR_CONTROL or lib.llama_vocab_is_eog(self._vocab, token)
        }
        self.adds_space = b"".join(map(self.piece, self.encode("a"))).startswith(b" ")
        template: bytes = lib.llama_model_chat_template(self._model, None) or b""
        self.spaced = not self.adds_space and b"[INST] " in template

    def reopen(self) -> None:
        """Make the context anew, empty.

        Raises:
            EngineError: There is no memory for it; the model cannot be used any more.
        """
        if self._ctx:
            gone, self._ctx = self._ctx, None
            lib.llama_free(gone)
        params = lib.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max = self.n_cells, N_BATCH, N_BATCH, self.n_seq
        params.kv_unified, params.swa_full = True, True  # sharing without copies; exact rewinds with a sliding window
        params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_ENABLED
        params.n_threads = params.n_threads_batch = self.threads
        trim_heap()
        before = own_mappings()
        self._ctx = lib.llama_init_from_model(self._model, params)
        if not self._ctx:
            raise EngineError(
                f"No context of {self.n_cells} tokens for {self.name}; lower BAF_CACHE_TOKENS.", code="memory_short"
            )
        self._memory = lib.llama_get_memory(self._ctx)
        if self._cell_bytes:
            give_back_blank_cache(before, lib.llama_n_ctx(self._ctx) * self._cell_bytes)

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Ids of a text; control pieces written in it are found only when `special` is set."""
        raw = text.encode("utf-8", errors="replace")
        out = (lib.llama_token * (len(raw) + 8))()
        with self._lock:
            if not self._model:
                raise EngineError("The engine is closed.")
            count = lib.llama_tokenize(self._vocab, raw, len(raw), out, len(out), False, special)
        return list(out[:count])

    def control(self, piece: str) -> int | None:
        """See `engines.prompt.Vocabulary`. A user-defined piece asked for here is a control piece from then on."""
        ids = self.encode(piece, special=True)
        if len(ids) != 1 or not self._attribute(ids[0]) & (
            lib.LLAMA_TOKEN_ATTR_CONTROL | lib.LLAMA_TOKEN_ATTR_USER_DEFINED
        ):
            return None
        self._silent.add(ids[0])
        return ids[0]

    def is_control(self, token: int) -> bool:
        """See `engines.prompt.Vocabulary`."""
        return token in self._silent

    def piece(self, token: int) -> bytes:
        """Bytes of a piece, perhaps a part of a character; none for a control piece."""
        buffer = ctypes.create_string_buffer(64)
        with self._lock:
            if not self._model:
                raise EngineError("The engine is closed.")
            count = lib.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, False)
            if count < 0:  # the length that it needs
                buffer = ctypes.create_string_buffer(-count)
                count = lib.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, False)
        return buffer.raw[: max(count, 0)]

    def decode(self) -> bool:
        """Compute the step that `rows` holds. False: there are not enough free cells, and nothing has changed.

        Raises:
            EngineError: The step failed. What the sequences hold is then uncertain: `reopen`.
        """
        code = lib.llama_decode(self._ctx, self.rows.batch)
        if code not in {0, 1}:
            raise EngineError(f"llama_decode returned {code} for {self.rows.count} rows.")
        lib.llama_synchronize(self._ctx)
        return bool(code == 0)

    def read(self, tokens: Sequence[int], position: int, sequence: int) -> int:
        """Decode tokens of one sequence and return the row to sample the next one from.

        Raises:
            EngineError: As `Rows.add` and `decode`, or there are not enough free cells.
        """
        self.rows.clear()
        row = self.rows.add(tokens, position, sequence, wanted=True)
        if not self.decode():
            raise EngineError(f"No free cells for {len(tokens)} rows at position {position} of sequence {sequence}.")
        return row

    def logits(self, row: int) -> npt.NDArray[np.float32]:
        """Return (n_vocab,) float32, llama.cpp's own memory: valid until the next step.

        Raises:
            EngineError: The row was not asked for.
        """
        pointer = lib.llama_get_logits_ith(self._ctx, row)
        if not pointer:
            raise EngineError(f"Row {row} has no logits; it was not wanted.")
        return np.ctypeslib.as_array(pointer, (self.n_vocab,))

    def sample(self, sampler: "Sampler", row: int, *, speak: bool) -> int:
        """Return the next token of a wanted row; with `speak` and without a grammar, one that can become text.

        Raises:
            EngineError: `bad_schema`: the grammar lets nothing pass. Accepting that would end the process.
        """
        logits = self.logits(row)
        if not sampler.has_grammar:
            if speak:
                logits[list(self._silent)] = -np.inf
            return int(lib.llama_sampler_sample(sampler.chain, self._ctx, row))
        data = np.zeros(self.n_vocab, "i4,f4,f4")
        data["f0"], data["f1"] = np.arange(self.n_vocab), logits
        left = lib.llama_token_data_array(data.ctypes.data_as(lib.llama_token_data_p), self.n_vocab, -1, False)
        lib.llama_sampler_apply(sampler.chain, ctypes.byref(left))
        drawn = left.data[left.selected]
        if not drawn.logit > -math.inf:  # false of a NaN, too
            raise EngineError("The model has no token that fits the JSON Schema here.", code="bad_schema")
        lib.llama_sampler_accept(sampler.chain, drawn.id)
        return int(drawn.id)

    def grammar(self, json_schema: str) -> Any:
        """Return a sampler that lets nothing pass but JSON of this schema; ours to free, or its chain's.

        Raises:
            EngineError: `bad_schema`, see `engines.grammar.to_gbnf`.
        """
        made = lib.llama_sampler_init_grammar(self._vocab, to_gbnf(json_schema).encode(), b"root")
        if not made:  # adding NULL to a chain would crash at the first token
            raise EngineError("llama.cpp refuses the grammar of this JSON Schema.", code="bad_schema")
        return made

    def remove(self, sequence: int, start: int) -> None:
        """See `engines.cells.Memory`."""
        lib.llama_memory_seq_rm(self._memory, sequence, start, -1)

    def first(self, sequence: int) -> int:
        """See `engines.cells.Memory`."""
        position: int = lib.llama_memory_seq_pos_min(self._memory, sequence)
        return position

    def copy(self, source: int, target: int, start: int, end: int) -> None:
        """See `engines.cells.Memory`."""
        lib.llama_memory_seq_cp(self._memory, source, target, start, end)

    def length(self, sequence: int) -> int:
        """Return how many tokens a sequence holds, counted from the beginning."""
        last: int = lib.llama_memory_seq_pos_max(self._memory, sequence)
        return last + 1

    def state(self, sequence: int) -> npt.NDArray[np.uint8]:
        """Return what a sequence holds, uint8 of shape (n_bytes,)."""
        data = np.empty(lib.llama_state_seq_get_size(self._ctx, sequence), np.uint8)
        written = lib.llama_state_seq_get_data(self._ctx, _bytes(data), data.size, sequence)
        return data[:written]

    def restore(self, sequence: int, state: npt.NDArray[np.uint8]) -> bool:
        """Make a sequence hold a saved state and nothing else; False: no room, or damaged, and it is empty."""
        read: int = lib.llama_state_seq_set_data(self._ctx, _bytes(state), state.size, sequence)
        if read != state.size:
            self.remove(sequence, -1)
        return read == state.size

    def clear(self) -> None:
        """Empty all sequences."""
        lib.llama_memory_clear(self._memory, True)

    def close(self) -> None:
        """Free the memory; a second call does nothing."""
        with self._lock:
            if self._model:
                lib.llama_free(self._ctx)
                lib.llama_model_free(self._model)
            self._model = self._ctx = None

    def _attribute(self, token: int) -> int:
        attribute: int = lib.llama_vocab_get_attr(self._vocab, token)
        return attribute


class Sampler:
    """A chain of llama.cpp samplers for one answer: grammar, penalties, top_k, top_p, temperature, draw.

    The penalties look at the answer's own tokens, not at the prompt's: the words of a doctrine given there may come
    back.

    Args:
        params: How to sample.
        seed: 32 bits.
        model: Whose vocabulary the grammar and the penalties are about.

    Raises:
        EngineError: `bad_schema`: no grammar can be made of `params.json_schema`.
    """

    def __init__(self, params: SamplingParams, seed: int, model: "LlamaModel") -> None:
        # The grammar comes first: behind top_k it may reject all that is left, which ends the process.
        self.has_grammar = bool(params.json_schema)
        parts = [model.grammar(params.json_schema)] if params.json_schema else []
        if params.repeat_penalty != 1 and params.repeat_last_n:
            parts.append(
                lib.llama_sampler_init_penalties(model.n_vocab, params.repeat_last_n, params.repeat_penalty, 0, 0)
            )
        if params.temperature < GREEDY:
            parts.append(lib.llama_sampler_init_greedy())
        else:
            # top_k before top_p: top_p alone sorts the whole vocabulary, a hundred times slower.
            parts += [
                lib.llama_sampler_init_top_k(params.top_k),
                lib.llama_sampler_init_top_p(params.top_p, 1),
                lib.llama_sampler_init_temp(params.temperature),
                lib.llama_sampler_init_dist(seed),
            ]
        self.chain: Any = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        for part in parts:
            lib.llama_sampler_chain_add(self.chain, part)

    def close(self) -> None:
        """Free the chain and its parts."""
        lib.llama_sampler_free(self.chain)


def _int32(array: npt.NDArray[np.int32]) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))


def _bytes(array: npt.NDArray[np.uint8]) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
