"""Which sequence holds which cells of the context: a mirror of llama.cpp's unified cache, which has no such question.

Knows how sequences share, rewind and grow; knows no model beyond the few calls of `Memory`, no chat and no queue.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from errors import EngineError


class Memory(Protocol):
    """The cache that is mirrored."""

    def remove(self, sequence: int, start: int) -> None:
        """Take the positions from `start` on out of a sequence."""
        ...

    def first(self, sequence: int) -> int:
        """Return the first position that the window layers still hold of a sequence; -1 of an empty one."""
        ...

    def copy(self, source: int, target: int, start: int, end: int) -> None:
        """Make `target` hold positions `start` to `end` (excluded) of `source` too, without computing anything."""
        ...


@dataclass(eq=False)
class CachedSequence:
    """A sequence of the context and what it holds.

    Attributes:
        id: llama.cpp's number of it.
        tokens: Ids that were decoded, in order.
        cells: The cell of each.
        n_shared: How many of the first tokens depend on a system prompt alone.
        gaps: Positions `(start, end)` that came back from a saved state longer than the attention window: the window
            layers lack all but its end. Going on behind `end` is exact, and so is cutting at `start`; between, it is
            wrong and llama.cpp does not say so.
    """

    id: int
    tokens: list[int] = field(default_factory=list)
    cells: list[int] = field(default_factory=list)
    n_shared: int = 0
    gaps: tuple[tuple[int, int], ...] = ()

    def without_gaps(self, length: int) -> int:
        """Return the longest beginning of at most `length` tokens that ends in no gap."""
        length = min(length, len(self.tokens))
        for start, end in sorted(self.gaps, reverse=True):
            if start < length < end:
                length = start
        return length


class KVCells:
    """All cells and sequences of one context.

    Args:
        memory: The real cache; every change is made there too.
        n_cells: How many tokens all sequences hold together.
        n_sequences: How many sequences there are.
        window: Length of the sliding window in tokens, 0 for none.
    """

    def __init__(self, memory: Memory, n_cells: int, n_sequences: int, window: int = 0) -> None:
        self.n_cells = n_cells
        self.n_sequences = n_sequences
        self._memory = memory
        self._window = window
        self.reset()

    def reset(self) -> None:
        """Forget everything, because the real cache was emptied or made anew."""
        self._holders: npt.NDArray[np.int16] = np.zeros(self.n_cells, np.int16)  # sequences that hold each cell
        self._free_cells = list(range(self.n_cells - 1, -1, -1))
        self._free_ids = list(range(self.n_sequences - 1, -1, -1))

    @property
    def n_free(self) -> int:
        """Cells that nobody holds."""
        return len(self._free_cells)

    @property
    def n_free_sequences(self) -> int:
        """Sequences that are not open."""
        return len(self._free_ids)

    def open(self) -> CachedSequence | None:
        """Return an empty sequence, None when all are in use."""
        return CachedSequence(self._free_ids.pop()) if self._free_ids else None

    def close(self, sequence: CachedSequence) -> None:
        """Give a sequence and its cells back."""
        self.rewind(sequence, 0)
        self._free_ids.append(sequence.id)

    def reach(self, sequence: CachedSequence, length: int) -> int:
        """Return the longest beginning of at most `length` tokens that may be cut off exactly.

        llama.cpp gives cells that only one sequence holds, and that its own next token does not see, to whoever needs
        some: the window layers have lost that sequence's beginning then, which matters to who cuts it.
        """
        length = sequence.without_gaps(length)
        cut = 0 < length < len(sequence.tokens)
        lost = cut and self._window and self._memory.first(sequence.id) > max(0, length - self._window)
        return 0 if lost else length

    def extend(self, sequence: CachedSequence, tokens: Sequence[int]) -> None:
        """Note tokens that were decoded at the end of a sequence.

        Raises:
            EngineError: There are fewer free cells than tokens: the mirror is no longer true.
        """
        if len(tokens) > len(self._free_cells):
            raise EngineError(f"{len(tokens)} tokens were decoded into {len(self._free_cells)} free cells.")
        taken = [self._free_cells.pop() for _ in tokens]
        self._holders[taken] += 1
        sequence.tokens += tokens
        sequence.cells += taken

    def share(self, source: CachedSequence, target: CachedSequence, length: int) -> None:
        """Make an empty `target` hold the first `length` tokens of `source`; no cell is taken.

        Raises:
            EngineError: `target` is not empty, or `source` cannot be cut there exactly.
        """
        if target.tokens or self.reach(source, length) != length:
            raise EngineError(f"{length} tokens of sequence {source.id} cannot be shared with {target.id}.")
        self._memory.copy(source.id, target.id, 0, length)
        target.tokens, target.cells = source.tokens[:length], source.cells[:length]
        target.n_shared = min(source.n_shared, length)
        target.gaps = tuple(gap for gap in source.gaps if gap[1] <= length)
        self._holders[target.cells] += 1

    def rewind(self, sequence: CachedSequence, length: int) -> None:
        """Keep the first `length` tokens.

        Raises:
            EngineError: It cannot be cut there exactly.
        """
        if self.reach(sequence, length) != length:
            raise EngineError(f"Sequence {sequence.id} cannot be cut at {length}.")
        if length == len(sequence.tokens):
            return
        self._memory.remove(sequence.id, length)
        dropped = sequence.cells[length:]
        self._holders[dropped] -= 1
        self._free_cells += [cell for cell in dropped if self._holders[cell] == 0]
        del sequence.tokens[length:], sequence.cells[length:]
        sequence.n_shared = min(sequence.n_shared, length)
        sequence.gaps = tuple(gap for gap in sequence.gaps if gap[1] <= length)

    def adopt(
        self, sequence: CachedSequence, tokens: Sequence[int], *, shared_from: CachedSequence | None = None
    ) -> None:
        """Note that a saved state was read into an empty sequence, behind what it shares with another one.

        Args:
            sequence: Its real counterpart already holds the state, and nothing else.
            tokens: All tokens, those that are shared included.
            shared_from: Holds the first ones, all of it; None when the state holds everything.
        """
        n_shared = len(shared_from.tokens) if shared_from else 0
        if shared_from and n_shared:
            self._memory.copy(shared_from.id, sequence.id, 0, n_shared)
            sequence.tokens, sequence.cells = list(shared_from.tokens), list(shared_from.cells)
            sequence.n_shared, sequence.gaps = shared_from.n_shared, shared_from.gaps
            self._holders[sequence.cells] += 1
        self.extend(sequence, tokens[n_shared:])
        if 0 < self._window < len(tokens) - n_shared:
            sequence.gaps = (*sequence.gaps, (n_shared, len(tokens)))

    def n_held(self, sequences: Sequence[CachedSequence]) -> int:
        """Return how many cells these sequences hold together, a shared one counted once."""
        held: set[int] = set()
        for sequence in sequences:
            held.update(sequence.cells)
        return len(held)
