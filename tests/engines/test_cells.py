"""The mirror of the cache: whatever is done, it says what llama.cpp holds, and no cell is lost."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engines.cells import CachedSequence, KVCells
from engines.llama_model import LlamaModel
from errors import EngineError
from tests.conftest import write_tiny_llama

N_CELLS, N_SEQUENCES = 256, 6


class Nothing:
    """A cache that forgets what it is told."""

    def remove(self, sequence: int, start: int) -> None: ...

    def first(self, sequence: int) -> int:  # noqa: ARG002 - of the protocol
        return 0

    def copy(self, source: int, target: int, start: int, end: int) -> None: ...


def opened(cells: KVCells) -> CachedSequence:
    sequence = cells.open()
    assert sequence is not None
    return sequence


def test_shared_cells_are_counted_once_and_freed_by_the_last_holder() -> None:
    cells = KVCells(Nothing(), 100, 3)
    first, second, third = opened(cells), opened(cells), opened(cells)
    assert cells.open() is None
    cells.extend(first, range(40))
    cells.share(first, second, 30)
    cells.share(second, third, 10)
    cells.extend(second, range(5))
    assert (cells.n_free, cells.n_held([first, second, third])) == (55, 45)
    cells.close(first)
    assert cells.n_free == 65  # thirty are still held
    cells.rewind(second, 10)
    assert cells.n_free == 90
    cells.close(second)
    cells.close(third)
    assert (cells.n_free, cells.n_free_sequences) == (100, 3)


def test_what_cannot_be_done_is_refused() -> None:
    cells = KVCells(Nothing(), 10, 2)
    first, second = opened(cells), opened(cells)
    cells.extend(first, range(8))
    with pytest.raises(EngineError, match="free cells"):
        cells.extend(second, range(3))
    with pytest.raises(EngineError, match="cannot be shared"):
        cells.share(first, second, 9)
    with pytest.raises(EngineError, match="cannot be cut"):
        cells.rewind(first, 9)
    cells.extend(second, range(1))
    with pytest.raises(EngineError, match="cannot be shared"):
        cells.share(first, second, 2)


def test_a_restored_sequence_is_cut_only_where_its_window_is_whole() -> None:
    cells = KVCells(Nothing(), 1000, 3, window=50)
    persona, chat = opened(cells), opened(cells)
    cells.adopt(persona, range(200))
    assert [cells.reach(persona, n) for n in (0, 1, 199, 200, 300)] == [0, 0, 0, 200, 200]
    cells.adopt(chat, range(300), shared_from=persona)  # a chat that came back: one gap in each part
    assert [cells.reach(chat, n) for n in (100, 200, 201, 299, 300)] == [0, 200, 200, 200, 300]
    cells.extend(chat, range(20))
    assert [cells.reach(chat, n) for n in (310, 320, 299)] == [310, 320, 200]
    cells.rewind(chat, 200)
    cells.extend(chat, range(20))
    assert cells.reach(chat, 210) == 210  # what was read anew has no gap
    short = opened(cells)
    cells.adopt(short, range(50))
    assert cells.reach(short, 20) == 20  # as long as the window: all of it came back
    with pytest.raises(EngineError, match="cannot be cut"):
        cells.rewind(persona, 100)


class MirrorMachine(RuleBasedStateMachine):
    """Random sharing, reading, cutting and closing on a real context."""

    gguf: Path

    @initialize()
    def start(self) -> None:
        self.model = LlamaModel(self.gguf, threads=1, n_cells=N_CELLS, n_seq=N_SEQUENCES + 1, repack=False)
        self.cells = KVCells(self.model, N_CELLS, N_SEQUENCES)
        self.open: list[CachedSequence] = []

    @rule()
    def open_one(self) -> None:
        sequence = self.cells.open()
        assert (sequence is None) == (len(self.open) == N_SEQUENCES)
        if sequence:
            self.open.append(sequence)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), count=st.integers(1, 60))
    def read(self, data: st.DataObject, count: int) -> None:
        sequence = data.draw(st.sampled_from(self.open))
        tokens = data.draw(st.lists(st.integers(5, 200), min_size=count, max_size=count))
        if count > self.cells.n_free:
            with pytest.raises(EngineError, match="No free cells"):
                self.model.read(tokens, len(sequence.tokens), sequence.id)
            return
        self.model.read(tokens, len(sequence.tokens), sequence.id)
        self.cells.extend(sequence, tokens)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def share(self, data: st.DataObject) -> None:
        source = data.draw(st.sampled_from(self.open))
        target = self.cells.open()
        if target is None:
            return
        self.open.append(target)
        self.cells.share(source, target, data.draw(st.integers(0, len(source.tokens))))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def cut(self, data: st.DataObject) -> None:
        sequence = data.draw(st.sampled_from(self.open))
        self.cells.rewind(sequence, data.draw(st.integers(0, len(sequence.tokens))))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def close_one(self, data: st.DataObject) -> None:
        sequence = data.draw(st.sampled_from(self.open))
        self.open.remove(sequence)
        self.cells.close(sequence)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def save_and_restore(self, data: st.DataObject) -> None:
        sequence = data.draw(st.sampled_from(self.open))
        if not sequence.tokens or self.cells.n_free < len(sequence.tokens) or not self.cells.n_free_sequences:
            return
        state = self.model.state(sequence.id)
        back = opened(self.cells)
        self.open.append(back)
        assert self.model.restore(back.id, state)
        self.cells.adopt(back, sequence.tokens)

    @invariant()
    def the_mirror_is_true(self) -> None:
        if not hasattr(self, "model"):
            return
        assert self.cells.n_free == N_CELLS - self.cells.n_held(self.open)
        for sequence in self.open:
            assert self.model.length(sequence.id) == len(sequence.tokens) == len(sequence.cells)

    def teardown(self) -> None:
        if not hasattr(self, "model"):
            return
        for sequence in self.open:
            self.cells.close(sequence)
        assert self.cells.n_free == N_CELLS
        for start in range(0, N_CELLS, 128):  # every cell can be used again
            self.model.read([5] * 128, start, 0)
        self.model.close()


def test_the_mirror_is_true_on_a_real_context(tmp_path_factory: pytest.TempPathFactory) -> None:
    MirrorMachine.gguf = write_tiny_llama(tmp_path_factory.mktemp("mirror") / "tiny.gguf")
    machine = MirrorMachine.TestCase
    machine.settings = settings(max_examples=25, stateful_step_count=40, suppress_health_check=list(HealthCheck))
    machine().runTest()


def extend_logits(model: LlamaModel, sequence: int, position: int, ids: list[int]) -> np.ndarray:
    return model.logits(model.read(ids, position, sequence)).copy()


def test_a_window_restored_and_shared_goes_on_exactly(gemma_gguf: Path) -> None:
    """And cut where the mirror forbids it, llama.cpp says nothing and computes something else."""
    model = LlamaModel(gemma_gguf, threads=1, n_cells=1024, n_seq=4, repack=False)
    assert model.window == 32
    persona = [5 + n % 90 for n in range(120)]
    new = [40, 41, 42, 43, 44]
    model.read(persona, 0, 0)
    state = model.state(0)
    expected = extend_logits(model, 0, 120, new)
    cells = KVCells(model, 1024, 4, model.window)
    model.remove(0, -1)
    restored, chat = opened(cells), opened(cells)
    assert model.restore(restored.id, state)
    cells.adopt(restored, persona)
    cells.share(restored, chat, 120)
    np.testing.assert_allclose(extend_logits(model, chat.id, 120, new), expected, atol=2e-4)
    model.reopen()
    model.read(persona[:60], 0, 0)
    right = extend_logits(model, 0, 60, new)
    assert model.restore(1, state)
    model.remove(1, 60)  # the mirror would refuse it: the rule of `reach`
    assert restored.without_gaps(60) == 0
    assert np.abs(extend_logits(model, 1, 60, new) - right).max() > 0.01
    model.close()


def test_a_window_that_gave_its_beginning_away_is_not_cut(gemma_gguf: Path) -> None:
    """Others take the cells that a sequence's own next token does not see: whole it goes on, cut it is wrong."""
    model = LlamaModel(gemma_gguf, threads=1, n_cells=256, n_seq=4, repack=False)
    cells = KVCells(model, 256, 3, model.window)
    long, others, back = opened(cells), opened(cells), opened(cells)

    def read(sequence: CachedSequence, ids: list[int]) -> np.ndarray:
        found = extend_logits(model, sequence.id, len(sequence.tokens), ids)
        cells.extend(sequence, ids)
        return found

    said = [5 + n % 90 for n in range(120)]
    read(others, [9] * 60)
    read(long, said)
    assert cells.reach(long, 60) == 60  # nobody has taken anything yet
    cells.rewind(others, 0)
    read(others, [7 + n % 80 for n in range(100)])  # sixty into the cells that are free, forty into those behind
    assert model.first(long.id) == 40
    assert cells.reach(long, 80) == 80  # what it sees from there is whole
    assert cells.reach(long, 60) == 0
    with pytest.raises(EngineError, match="cannot be shared"):
        cells.share(long, back, 60)
    new = [11, 12, 13]
    model.copy(long.id, back.id, 0, 60)
    cut = extend_logits(model, back.id, 60, new)  # what the mirror refuses: no error, and other words
    whole = read(long, new)  # it goes on as if nothing had happened
    model.reopen()
    model.read(said, 0, 0)
    model.copy(0, 1, 0, 60)
    assert np.abs(whole - extend_logits(model, 0, 120, new)).max() < 0.05  # of logits up to 14; keys are f16
    assert np.abs(cut - extend_logits(model, 1, 60, new)).max() > 0.5
    model.close()
