"""What the context holds, under random use: cells, sequences and host memory add up after every change."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engines.cells import CachedSequence
from engines.llama_model import LlamaModel
from engines.residents import Residents
from tests.conftest import write_tiny_llama

N_CELLS, N_CHATS, PARK_BYTES = 512, 3, 100_000
PERSONAS = tuple(tuple(range(first, first + 48)) for first in (10, 70, 130))
QUESTIONS = st.lists(st.sampled_from([6, 7]), min_size=30, max_size=90)  # of two pieces: chats begin alike


class ResidentsMachine(RuleBasedStateMachine):
    """Chats that come, go on, rest, are moved away and come back, on a real context that is too small for them."""

    gguf: Path

    @initialize()
    def start(self) -> None:
        n_seq = Residents.n_sequences(N_CHATS)
        self.model = LlamaModel(self.gguf, threads=1, n_cells=N_CELLS, n_seq=n_seq, repack=False)
        self.residents = Residents(self.model, n_chats=N_CHATS, prefix_cells=2 * 48, files=None, park_bytes=PARK_BYTES)
        self.told: list[tuple[int, ...]] = []

    def read(self, sequence: CachedSequence, tokens: tuple[int, ...]) -> bool:
        """As a step does: make room, compute, note."""
        if not self.residents.make_room(len(tokens)):
            return False
        self.model.read(tokens, len(sequence.tokens), sequence.id)
        self.residents.cells.extend(sequence, tokens)
        return True

    @rule(
        persona=st.sampled_from(PERSONAS), question=QUESTIONS, again=st.booleans(), stays=st.booleans(), data=st.data()
    )
    def talk(
        self, persona: tuple[int, ...], question: list[int], again: bool, stays: bool, data: st.DataObject
    ) -> None:
        ids = (*persona, *question)
        if again and self.told:
            ids = (*data.draw(st.sampled_from(self.told)), *question)
            persona = ids[:48]
        if len(self.residents.active) == N_CHATS or len(ids) > self.residents.n_available():
            return
        prefix = self.residents.prefix(persona)
        if prefix is None:
            return
        if not prefix.ready:
            prefix.wanted += 1
            done = self.read(prefix.sequence, persona[len(prefix.sequence.tokens) :])
            prefix.wanted -= 1
            if not done:
                return
        sequence = self.residents.place(ids, len(persona))
        known = len(sequence.tokens)
        assert sequence.tokens == list(ids[:known])
        assert len(persona) <= known < len(ids)
        for at in range(known, len(ids), 200):
            if not self.read(sequence, ids[at : at + 200]):
                break
        if not stays:
            self.told = [*self.told[-5:], tuple(sequence.tokens)]
            self.residents.retire(sequence)

    @precondition(lambda self: self.residents.active)
    @rule(data=st.data(), count=st.integers(1, 40))
    def answer(self, data: st.DataObject, count: int) -> None:
        sequence = data.draw(st.sampled_from(sorted(self.residents.active, key=lambda one: one.id)))
        self.read(sequence, (8,) * count)

    @precondition(lambda self: self.residents.active)
    @rule(data=st.data())
    def rest(self, data: st.DataObject) -> None:
        sequence = data.draw(st.sampled_from(sorted(self.residents.active, key=lambda one: one.id)))
        self.told = [*self.told[-5:], tuple(sequence.tokens)]
        self.residents.retire(sequence)

    @rule(count=st.integers(N_CELLS // 2, N_CELLS))
    def squeeze(self, count: int) -> None:
        assert self.residents.make_room(count) == (count <= self.residents.cells.n_free)

    @rule(really=st.sampled_from(range(8)))
    def fail(self, really: int) -> None:
        if really:
            return
        self.model.reopen()
        self.residents.forget()

    @invariant()
    def it_adds_up(self) -> None:
        if not hasattr(self, "residents"):
            return
        known = self.residents
        held = [*known.active, *known._idle, *(prefix.sequence for prefix in known.prefixes.values())]
        assert len({one.id for one in held}) == len(held) == known.cells.n_sequences - known.cells.n_free_sequences
        assert known.cells.n_free == N_CELLS - known.cells.n_held(held)
        assert 0 <= known.cells.n_free <= known.n_available()
        for one in held:
            assert self.model.length(one.id) == len(one.tokens) == len(one.cells)
        assert known.parked_bytes == sum(one.state.nbytes for one in known._parked.values()) <= PARK_BYTES

    def teardown(self) -> None:
        if hasattr(self, "residents"):
            self.residents.close()
            self.model.close()


def test_cells_sequences_and_host_memory_add_up(tmp_path_factory: pytest.TempPathFactory) -> None:
    ResidentsMachine.gguf = write_tiny_llama(tmp_path_factory.mktemp("residents") / "tiny.gguf")
    machine = ResidentsMachine.TestCase
    machine.settings = settings(max_examples=40, stateful_step_count=50, suppress_health_check=list(HealthCheck))
    machine().runTest()
