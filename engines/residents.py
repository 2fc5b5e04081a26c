"""What the context holds: system prompts, chats that are answered, chats that rest. Knows cells; knows no queue.

A prompt begins where the longest beginning that is already known ends: in the chat's own last turn, in another chat
with the same first question, in a system prompt, or in a chat that was moved to host memory. Room is made by moving
the chat that has rested longest there, without the system prompt that it shares; from there the oldest go for good.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.cells import CachedSequence, KVCells
from engines.llama_model import LlamaModel
from engines.prefix_files import PrefixFiles
from errors import EngineError

logger = logging.getLogger(__name__)

N_PREFIXES = 8  # system prompts kept at once
PARKED_FROM = 32  # tokens; fewer are read again sooner than they are moved


@dataclass(eq=False)
class Prefix:
    """A system prompt in a sequence of its own, shared with every chat that begins with it.

    Attributes:
        ids: All of it.
        sequence: Holds it, or the part that was read so far.
        pinned: It was asked for by name, and goes after the others.
        wanted: How many requests wait for it to be read.
        saved: It came from its file, or was given to be written.
    """

    ids: tuple[int, ...]
    sequence: CachedSequence
    pinned: bool = False
    wanted: int = 0
    saved: bool = False

    @property
    def ready(self) -> bool:
        """Whether all of it was read."""
        return len(self.sequence.tokens) == len(self.ids)


@dataclass(frozen=True, eq=False)
class _Parked:
    """A chat in host memory: all its ids, and the state of those behind its system prompt."""

    tokens: tuple[int, ...]
    n_shared: int
    state: npt.NDArray[np.uint8]
    window: int

    def reach(self, length: int) -> int:
        """See `CachedSequence.reach`."""
        cut_short = 0 < self.window < len(self.tokens) - self.n_shared
        return self.n_shared if cut_short and self.n_shared < length < len(self.tokens) else length


class Residents:
    """Owns every sequence of one context.

    Args:
        model: Its context is ours alone.
        n_chats: Sequences for chats, answered or resting.
        prefix_cells: Tokens that system prompts may hold together.
        files: Where system prompts are saved; None to do without.
        park_bytes: Host memory for chats that had to make room.
    """

    def __init__(
        self, model: LlamaModel, *, n_chats: int, prefix_cells: int, files: PrefixFiles | None, park_bytes: int
    ) -> None:
        self._model = model
        self._scratch = N_PREFIXES + n_chats  # the last sequence; never open
        self._prefix_cells = prefix_cells
        self._files = files
        self._park_bytes = park_bytes
        self.cells = KVCells(model, model.n_cells, self._scratch, model.window)
        self.prefixes: OrderedDict[tuple[int, ...], Prefix] = OrderedDict()  # least recently used first
        self.active: set[CachedSequence] = set()
        self._idle: OrderedDict[CachedSequence, None] = OrderedDict()
        self._parked: OrderedDict[tuple[int, ...], _Parked] = OrderedDict()
        self.parked_bytes = 0  # host memory that they take
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="prefix-files")

    @staticmethod
    def n_sequences(n_chats: int) -> int:
        """Return how many sequences the context needs."""
        return N_PREFIXES + n_chats + 1

    @property
    def n_idle(self) -> int:
        """Chats that rest in the context."""
        return len(self._idle)

    def n_available(self) -> int:
        """Cells that are free, or would be without the chats that rest."""
        return self.cells.n_cells - self.cells.n_held([*self.active, *(p.sequence for p in self.prefixes.values())])

    def prefix(self, ids: tuple[int, ...], *, pinned: bool = False) -> Prefix | None:
        """Return the place of a system prompt, read, restored from its file, or still to be read.

        None when it is too long to be kept beside a chat, or all places are being waited for.
        """
        found = self.prefixes.get(ids)
        if found is None:
            found = self._new_prefix(ids)
        if found is not None:
            self.prefixes.move_to_end(ids)
            found.pinned |= pinned
        return found

    def save_read(self) -> None:
        """Write the system prompts that were read to their files, beside the work: a slow disk stops no answer."""
        for prefix in self.prefixes.values():
            if self._files and prefix.ready and not prefix.saved:
                self._writer.submit(self._files.save, prefix.ids, self._model.state(prefix.sequence.id))
                prefix.saved = True

    def close(self) -> None:
        """Finish what is being written."""
        self._writer.shutdown(wait=True)

    def place(self, ids: Sequence[int], n_shared: int) -> CachedSequence:
        """Return an active sequence that holds the longest known beginning of `ids`, at most all but the last.

        The last id is always read again: its row gives the first token of the answer.
        """
        ids = list(ids)
        found = self._longest(ids, n_shared)
        if found is None:
            sequence = self._open()
        elif found in self._idle and self._reach(found, ids) == len(found.tokens):
            del self._idle[found]  # the chat's next turn
            sequence = found
        else:  # its cells are shared, so that a chat that rests there can still go on
            if found in self._idle:
                self._idle.move_to_end(found)  # not to be the one that makes room
            sequence = self._open()
            self.cells.share(found, sequence, self._reach(found, ids))
        sequence.n_shared = n_shared
        self.active.add(sequence)
        return sequence

    def retire(self, sequence: CachedSequence) -> None:
        """Let a chat rest until its next turn; one that holds nothing of its own goes at once."""
        self.active.discard(sequence)
        if len(sequence.tokens) > sequence.n_shared:
            self._idle[sequence] = None
        else:
            self.cells.close(sequence)

    def make_room(self, n_cells: int) -> bool:
        """Move resting chats away until `n_cells` are free; False when there are not enough even so."""
        while self.cells.n_free < n_cells and self.evict_one():
            pass
        return self.cells.n_free >= n_cells

    def evict_one(self) -> bool:
        """Move the chat that has rested longest away; False when none rests."""
        if not self._idle:
            return False
        self._evict(next(iter(self._idle)))
        return True

    def forget(self) -> None:
        """Start anew on an empty context; what lies in host memory and in files stays good."""
        self.cells.reset()
        self.active.clear()
        self._idle.clear()
        known = list(self.prefixes.values())
        self.prefixes.clear()
        for prefix in known:
            if prefix.pinned:
                self.prefix(prefix.ids, pinned=True)

    def _new_prefix(self, ids: tuple[int, ...]) -> Prefix | None:
        if len(ids) > self._prefix_cells:
            return None
        while len(self.prefixes) >= N_PREFIXES or sum(map(len, self.prefixes)) + len(ids) > self._prefix_cells:
            unwanted = [prefix for prefix in self.prefixes.values() if not prefix.wanted]
            if not unwanted:
                return None
            oldest = min(unwanted, key=lambda prefix: prefix.pinned)  # the first of the least wanted kind
            del self.prefixes[oldest.ids]
            self.cells.close(oldest.sequence)
        prefix = self.prefixes[ids] = Prefix(ids, self._open())
        started = time.perf_counter()
        state = self._files.load(ids) if self._files else None
        if state is not None and self.make_room(len(ids)):
            if self._model.restore(prefix.sequence.id, state) and self._model.length(prefix.sequence.id) == len(ids):
                self.cells.adopt(prefix.sequence, ids)
                prefix.saved = True
                logger.info("a system prompt of %d tokens was restored in %.1f ms", len(ids),
                            1000 * (time.perf_counter() - started))  # fmt: skip
            else:
                self._model.remove(prefix.sequence.id, -1)
                logger.warning("a saved system prompt of %d tokens does not fit; it is read anew", len(ids))
        prefix.sequence.n_shared = len(ids)
        return prefix

    def _longest(self, ids: list[int], n_shared: int) -> CachedSequence | None:
        """Return the sequence with the longest beginning of `ids` that can be taken over, brought back if need be."""
        prefix = self.prefixes.get(tuple(ids[:n_shared])) if n_shared else None
        found_prefix = prefix.sequence if prefix and prefix.ready else None

        def longest() -> tuple[CachedSequence | None, int]:
            found = found_prefix
            reach = self._reach(found, ids) if found else 0
            for sequence in (*self._idle, *self.active):
                # One from before the system prompt was read anew holds cells of its own for it, promised to nobody.
                if found_prefix and sequence.cells[:1] != found_prefix.cells[:1]:
                    continue
                if (further := self._reach(sequence, ids)) > reach:
                    found, reach = sequence, further
            return found, reach

        best, length = longest()
        for parked in list(self._parked.values()):
            if found_prefix and parked.n_shared != n_shared:
                continue  # parked while the system prompt was away: it would bring its own
            if parked.reach(_n_common(parked.tokens, ids, len(ids) - 1)) > length:
                self._unpark(parked)
                best, length = longest()  # room may have been made for it by closing what was the best
        return best

    def _reach(self, sequence: CachedSequence, ids: list[int]) -> int:
        return self.cells.reach(sequence, _n_common(sequence.tokens, ids, len(ids) - 1))

    def _open(self) -> CachedSequence:
        if not self.cells.n_free_sequences:
            self._evict(next(iter(self._idle)))
        sequence = self.cells.open()
        if sequence is None:
            raise EngineError("Every sequence is in use; this is a fault of the engine.")
        return sequence

    def _evict(self, sequence: CachedSequence) -> None:
        """Move a resting chat to host memory, without the system prompt that it shares."""
        del self._idle[sequence]
        tokens = tuple(sequence.tokens)
        prefix = self.prefixes.get(tokens[: sequence.n_shared])
        n_shared = sequence.n_shared if prefix and prefix.ready else 0
        # What has a gap behind the system prompt would come back with a longer one: simpler to read it again.
        whole = all(end <= n_shared for _, end in sequence.gaps)
        if len(tokens) - n_shared >= PARKED_FROM and whole and self._park_bytes:
            self._model.copy(sequence.id, self._scratch, n_shared, -1)
            parked = _Parked(tokens, n_shared, self._model.state(self._scratch), self._model.window)
            self._model.remove(self._scratch, -1)
            self._forget_parked(tokens)
            self._parked[tokens] = parked
            self.parked_bytes += parked.state.nbytes
            while self.parked_bytes > self._park_bytes:
                self._forget_parked(next(iter(self._parked)))
        self.cells.close(sequence)

    def _forget_parked(self, tokens: tuple[int, ...]) -> None:
        if gone := self._parked.pop(tokens, None):
            self.parked_bytes -= gone.state.nbytes

    def _unpark(self, parked: _Parked) -> CachedSequence | None:
        """Bring a chat back to rest in the context; None when that is not possible."""
        if len(parked.tokens) - parked.n_shared > self.n_available():
            return None  # it stays where it is, and nobody makes room in vain
        self._forget_parked(parked.tokens)
        prefix = self.prefixes.get(parked.tokens[: parked.n_shared])
        if parked.n_shared and not (prefix and prefix.ready):
            return None
        if not self.make_room(len(parked.tokens) - parked.n_shared):
            return None
        sequence = self._open()
        if not self._model.restore(sequence.id, parked.state):
            self.cells.close(sequence)
            return None
        self.cells.adopt(sequence, parked.tokens, shared_from=prefix.sequence if prefix and parked.n_shared else None)
        sequence.n_shared = parked.n_shared
        self._idle[sequence] = None
        return sequence


def _n_common(first: Sequence[int], second: list[int], limit: int) -> int:
    """Length of the longest common beginning, at most `limit`."""
    low, high = 0, min(len(first), len(second), limit)
    first = list(first[:high])
    while low < high:  # comparing slices runs in C
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
