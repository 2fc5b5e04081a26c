"""How the notes get their meaning: beside the page, and never at its expense."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from retrieval.notes import NoteIndex
from tiers.free import NOTES
from tiers.meaning import MeaningSupply

DATA_DIR = Path(os.environ.get("BAF_DATA_DIR", NOTES.parents[1] / ".data"))
EMBEDDER = DATA_DIR / "models" / "multilingual-e5-small-fr-q4_0.gguf"


class Outcome:
    def __init__(self) -> None:
        self.taken: list[NoteIndex] = []
        self.failed = 0
        self.ready = True
        self.happened = threading.Event()

    def take(self, index: NoteIndex) -> None:
        self.taken.append(index)
        self.happened.set()

    def fail(self) -> None:
        self.failed += 1
        self.happened.set()

    def supply(self, data_dir: Path, spec: str | None) -> MeaningSupply:
        return MeaningSupply(data_dir, NOTES, spec=spec, api_key=None, begin=lambda: self.ready, take=self.take,
                             fail=self.fail)  # fmt: skip


def threads_named(name: str) -> list[Any]:
    return [thread for thread in threading.enumerate() if thread.name == name]


@pytest.mark.parametrize("spec", ["gguf:no/such/file.gguf", "nonsense", "model2vec:no/such/folder"])
def test_an_embedder_that_cannot_be_opened_is_said(tmp_path: Path, spec: str) -> None:
    outcome = Outcome()
    supply = outcome.supply(tmp_path, spec)
    supply.start()
    assert outcome.happened.wait(30)
    supply.close()
    assert (outcome.taken, outcome.failed) == ([], 1)


def test_none_does_nothing(tmp_path: Path) -> None:
    outcome = Outcome()
    supply = outcome.supply(tmp_path, "none")
    supply.start()
    supply.close()
    assert not outcome.happened.is_set()
    assert not threads_named("meaning-supply")


def test_closed_while_it_waits(tmp_path: Path) -> None:
    outcome = Outcome()
    outcome.ready = False
    supply = outcome.supply(tmp_path, None)
    supply.start()
    time.sleep(0.05)
    supply.close()
    assert not outcome.happened.is_set()
    assert not threads_named("meaning-supply")


@pytest.mark.model
def test_the_default_embedder_finds_what_no_word_says() -> None:
    if not EMBEDDER.is_file():
        pytest.skip(f"{EMBEDDER} is missing; `make setup` assembles it")
    outcome = Outcome()
    supply = outcome.supply(DATA_DIR, None)
    supply.start()
    assert outcome.happened.wait(60)
    (index,) = outcome.taken
    assert index.by_meaning
    found = index.nearest("spinoza", "j'ai peur de rater mon bac")
    assert found is not None
    supply.close()
