"""A random checkpoint of a 7B's shape, an eighth as wide: it loads, it says words, and it is never overwritten."""

import asyncio
from pathlib import Path

import pytest

from benchmarks.width import make
from engines.base import SamplingParams
from engines.open import open_engine
from errors import ConversionError
from evaluation.asking import ask

pytestmark = [pytest.mark.smoke, pytest.mark.filterwarnings("default")]


def test_it_loads_with_its_adapter_and_says_words(tmp_path: Path) -> None:
    make(tmp_path, layers=1, scale=8)
    make(tmp_path, layers=1, scale=8)  # kept
    engine = open_engine(f"hf:{tmp_path / 'base'}+{tmp_path / 'adapter'}", threads=1, dtype="float32")
    params = SamplingParams(temperature=0.0, max_tokens=6, seed=1, end_at_sentence=False)
    try:
        answer = asyncio.run(ask(engine, [{"role": "user", "content": "Suis-je libre ?"}], params))
    finally:
        engine.close()
    assert answer.tokens == 6
    assert answer.text.replace(" ", "").isalpha()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "base"]


def test_a_base_is_never_overwritten(tmp_path: Path) -> None:
    from benchmarks.width import write_base

    (tmp_path / "base").mkdir()
    with pytest.raises(ConversionError, match="never overwritten"):
        write_base(tmp_path / "base", 1)
