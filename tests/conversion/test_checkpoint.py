"""The checkpoint folder, its tokenizers and the GGUF are one model: same ids, same logits, adapter or not."""

import json
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import pytest
from safetensors import safe_open

from conversion.assemble import cut_gguf
from conversion.checkpoint import cut_checkpoint, merges_of
from conversion.demo import logits_after
from errors import ConversionError
from tests.conversion.tiny import FRENCH, Source

pytestmark = pytest.mark.filterwarnings("default")  # torch and transformers warn of their own affairs

LINES = [
    *FRENCH.splitlines(),
    "  deux  espaces\n\n\nfin ",
    "émoji 😀 œuvre",
    "« … » — ’",
    "tab\tici",
    "<eos> n'est rien",
]
CHAT = [
    {"role": "system", "content": "Tu es Kant."},
    {"role": "user", "content": "Qui es-tu ?"},
    {"role": "assistant", "content": "La raison."},
    {"role": "user", "content": "Bien."},
]


@pytest.fixture(scope="module")
def folder(tiny: Source, tiny_kept: list[int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cut_checkpoint(tiny.path, tiny_kept, tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def test_the_folder_is_whole(folder: Path, tiny_kept: list[int]) -> None:
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer.model", "chat_template.jinja"} <= names
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["Gemma3ForCausalLM"]
    assert config["vocab_size"] == len(tiny_kept)
    assert "quantization_config" not in config
    assert [item.name for item in folder.parent.iterdir()] == ["tiny"]


def test_three_tokenizers_cut_alike(
    folder: Path, tokenizer: Any, tiny: Source, tiny_kept: list[int], tmp_path: Path
) -> None:
    import sentencepiece

    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    model = llama_cpp.Llama(str(cut_gguf(tiny.path, tiny_kept, tmp_path / "cut.gguf")), vocab_only=True, verbose=False)
    for line in LINES[:-1]:
        ids = tokenizer(line, add_special_tokens=False)["input_ids"]
        assert ids == pieces.encode(line), line
        assert ids == model.tokenize(line.encode(), add_bos=False), line
    # Hugging Face alone searches texts for special pieces: what pupils type never goes through it.
    assert pieces.encode(LINES[-1]) == model.tokenize(LINES[-1].encode(), add_bos=False)
    rendered = tokenizer.apply_chat_template(CHAT, tokenize=False)
    ids = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    assert ids == model.tokenize(rendered.encode(), add_bos=False, special=True)
    assert (ids.count(2), ids.count(4), ids.count(5), ids.count(1)) == (1, 2, 2, 1)
    model.close()


def test_the_tokenizer_has_no_piece_beyond_the_embedding(tokenizer: Any, tiny_kept: list[int]) -> None:
    assert len(tokenizer) == len(tiny_kept)
    assert tokenizer.mask_token is None
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id) == (0, 1, 2)
    assert tokenizer.padding_side == "right"


def kl(reference: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    def logs(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        x = x.astype(np.float64) - x.max()
        return x - np.log(np.exp(x).sum())  # type: ignore[no-any-return]

    p, q = logs(reference), logs(other)
    return float((np.exp(p) * (p - q)).sum())


@pytest.mark.parametrize("with_adapter", [False, True])
def test_torch_and_llama_cpp_say_the_same(
    folder: Path, tokenizer: Any, tiny: Source, tiny_kept: list[int], tiny_adapter: Path, tmp_path: Path,
    with_adapter: bool,
) -> None:  # fmt: skip
    """The numpy merge is PEFT's, tensor for tensor, as the logits show."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if with_adapter:
        model = PeftModel.from_pretrained(model, tiny_adapter)
    gguf = cut_gguf(
        tiny.path, tiny_kept, tmp_path / "cut.gguf", outtype="f32", adapter=tiny_adapter if with_adapter else None
    )
    ids = [2, *tokenizer(FRENCH, add_special_tokens=False)["input_ids"]][:120]
    for length in (5, 60, 120):  # below and beyond the sliding window
        with torch.no_grad():
            expected = model(torch.tensor([ids[:length]])).logits[0, -1].numpy()
        found = logits_after(gguf, ids[:length])
        assert kl(expected, found) < 1e-4
        assert int(expected.argmax()) == int(found.argmax())


def test_bfloat16_on_disk(tiny: Source, tiny_kept: list[int], tmp_path: Path) -> None:
    folder = cut_checkpoint(tiny.path, tiny_kept, tmp_path / "bf16", dtype="bfloat16")
    with safe_open(folder / "model.safetensors", "np") as weights:
        kinds = {weights.get_slice(key).get_dtype() for key in weights.keys()}  # noqa: SIM118
    assert kinds == {"BF16"}


def test_an_existing_folder_is_never_touched(tiny: Source, tiny_kept: list[int], tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="never overwritten"):
        cut_checkpoint(tiny.path, tiny_kept, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_merges_follow_the_scores() -> None:
    pieces = {"a": -9.0, "b": -9.0, "ab": -1.0, "aba": -2.0}
    assert merges_of(pieces) == [("a", "b"), ("ab", "a")]
