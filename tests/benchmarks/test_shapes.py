"""Random models with real shapes: valid blocks, the right mix, and answers that are text."""

import json
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType
from gguf.quants import dequantize

from benchmarks import shapes
from benchmarks.load import Counter
from benchmarks.shapes import Q4, Q6, SHAPES, more_bits, plan
from engines.base import SamplingParams, Token
from engines.gguf_file import check_chat_model
from engines.llama_cpp import LlamaCppEngine
from errors import ConversionError
from personas import PERSONAS


@pytest.mark.parametrize(("kind", "spread"), [(Q4, 1.0), (Q4, 0.01), (Q6, 1.0), (Q6, 0.01)])
def test_blocks_are_finite_centred_and_as_large_as_asked(kind: GGMLQuantizationType, spread: float) -> None:
    blocks = shapes.BLOCKS[kind](np.random.Generator(np.random.SFC64(3)), 4000, spread)
    values = dequantize(blocks, kind)
    assert np.isfinite(values).all()
    assert abs(values.mean()) < 0.02 * spread
    assert values.std() == pytest.approx(spread, rel=0.03)


def test_a_7b_has_the_numbers_of_the_real_file() -> None:
    """7,248,023,552 parameters; half of attn_v and ffn_down with more bits, as in the published Q4_K_M files."""
    tensors = plan(SHAPES["mistral-7b-v0.3"])
    assert sum(one.rows * one.columns for one in tensors) == 7_248_023_552
    for name in ("attn_v", "ffn_down"):
        kinds = [one.kind for one in tensors if name in one.name]
        assert (kinds.count(Q6), kinds.count(Q4)) == (16, 16)
    assert [layer for layer in range(32) if more_bits(layer, 32)][:6] == [0, 1, 2, 3, 6, 9]
    assert tensors[-1].name == "output.weight"
    assert tensors[-1].kind is Q6


def test_a_14b_has_the_numbers_of_the_real_file() -> None:
    tensors = plan(SHAPES["qwen2.5-14b"])
    assert sum(one.rows * one.columns for one in tensors) == 14_770_033_664
    assert sum(one.name.endswith(".bias") for one in tensors) == 3 * 48


def test_the_file_is_a_chat_model_with_the_vocabulary_of_v3(shape_gguf: Path) -> None:
    info = check_chat_model(shape_gguf)
    assert info.n_bytes == info.n_bytes_expected
    assert len(info.control_tokens) == 2 + 768
    assert info.control_tokens[:4] == ("<s>", "</s>", "[INST]", "[/INST]")
    assert info.chat_template
    assert "[INST]" in info.chat_template


def test_french_has_as_many_characters_a_token_as_in_a_real_vocabulary(count: Counter) -> None:
    for persona in PERSONAS.values():
        assert 3.3 < len(persona.full_prompt) / count(persona.full_prompt) < 4.5


async def test_it_answers_with_words_that_are_read_back_as_the_same_tokens(shape_gguf: Path, count: Counter) -> None:
    engine = LlamaCppEngine(shape_gguf, threads=1, n_ctx=512, kernels="tiled")
    params = SamplingParams(max_tokens=60, repeat_penalty=1.0, seed=5, end_at_sentence=False)
    try:
        async with aclosing(engine.stream([{"role": "user", "content": "Suis-je libre ?"}], params)) as events:
            text = "".join([event.text async for event in events if isinstance(event, Token)])
    finally:
        engine.close()
    assert all(word.isalpha() for word in text.split())
    assert len(text.split()) == 60
    assert len(set(text.split())) > 30
    assert count(text) == 60


def test_a_seed_gives_the_same_bytes_and_another_one_others(shape_gguf: Path, tmp_path: Path) -> None:
    shapes.write("tiny", tmp_path / "again.gguf")
    shapes.write("tiny", tmp_path / "other.gguf", seed=2)
    assert (tmp_path / "again.gguf").read_bytes() == shape_gguf.read_bytes()
    assert (tmp_path / "other.gguf").read_bytes() != shape_gguf.read_bytes()


def test_nothing_is_overwritten_and_an_unknown_shape_is_named(tmp_path: Path) -> None:
    (tmp_path / "there.gguf").write_bytes(b"mine")
    with pytest.raises(ConversionError, match=r"exists and is never overwritten"):
        shapes.write("tiny", tmp_path / "there.gguf")
    with pytest.raises(ConversionError, match=r"Known: mistral-7b-v0\.3"):
        shapes.write("mistral-8b", tmp_path / "new.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["there.gguf"]


def test_the_command_line_says_what_was_written(tmp_path: Path) -> None:
    out = tmp_path / "tiny.gguf"
    command = [sys.executable, "-m", "benchmarks.shapes", "tiny", str(out), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"path": str(out), "size_bytes": out.stat().st_size}
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "never overwritten" in again.stderr
