"""Train → merge → convert → quantise → load, on a two-layer Mistral: what was trained is what llama.cpp says."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import pytest

from conversion.checkpoint import merges_of
from conversion.container import read_container
from conversion.demo import logits_after
from conversion.gguf import to_gguf
from conversion.merge import merge
from conversion.quantize import quantize, schemes
from conversion.tokenizer_files import conversion_copy
from errors import ConversionError
from settings import load_settings
from tests.conversion.test_checkpoint import kl
from tests.conversion.tiny import FRENCH

pytestmark = [pytest.mark.smoke, pytest.mark.filterwarnings("default")]

VOCABULARY, STEPS = 420, 12
# Mistral's V3 spacing, with the system text in the first turn.
TEMPLATE = (
    "{{ bos_token }}{% for m in messages if m.role != 'system' %}{% if m.role == 'user' %}[INST] "
    "{% if loop.first and messages[0].role == 'system' %}{{ messages[0].content + '\n\n' }}{% endif %}"
    "{{ m.content }}[/INST]{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
CHAT = [
    {"role": "system", "content": "Tu es Spinoza."},
    {"role": "user", "content": "Qu'est-ce que la joie ?"},
    {"role": "assistant", "content": "La joie augmente la puissance d'agir."},
    {"role": "user", "content": "Et le désir ?"},
]


@dataclass(frozen=True)
class Chain:
    """Every file of one run."""

    base: Path
    adapter: Path
    merged: Path
    f32: Path
    bf16: Path
    q8: Path


def train_tokenizer(folder: Path) -> Any:
    """A SentencePiece BPE vocabulary as Mistral's: byte fallback, dummy prefix, `[INST]` pieces that no text gives."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as pb
    from transformers import LlamaTokenizerFast

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(FRENCH.splitlines() * 5), model_prefix=str(folder / "tokenizer"), model_type="bpe",
        vocab_size=VOCABULARY, byte_fallback=True, control_symbols=["[INST]", "[/INST]"],
        normalization_rule_name="identity", unk_id=0, bos_id=1, eos_id=2, pad_id=-1,
        hard_vocab_limit=False, minloglevel=2, remove_extra_whitespaces=False,
    )  # fmt: skip
    (folder / "tokenizer.vocab").unlink()
    model = pb.ModelProto.FromString((folder / "tokenizer.model").read_bytes())
    pieces = {piece.piece: piece.score for piece in model.pieces if piece.type == pb.ModelProto.SentencePiece.NORMAL}
    tokenizer = LlamaTokenizerFast(
        vocab={piece.piece: number for number, piece in enumerate(model.pieces)}, merges=merges_of(pieces),
        additional_special_tokens=["[INST]", "[/INST]"], add_bos_token=False, pad_token="</s>",
    )  # fmt: skip
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def make_base(folder: Path) -> Path:
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    folder.mkdir()
    tokenizer = train_tokenizer(folder)
    torch.manual_seed(3)
    model = MistralForCausalLM(
        MistralConfig(
            vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=512, sliding_window=None, initializer_range=0.2,
            bos_token_id=1, eos_token_id=2,
        )
    )  # fmt: skip
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def train_adapter(base: Path, out: Path) -> Path:
    """A few steps by heart: enough that greedy decoding changes."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        LoraConfig(r=8, lora_alpha=16, target_modules=targets, task_type="CAUSAL_LM"),
    )
    rendered = tokenizer.apply_chat_template(CHAT[:3], tokenize=False)
    ids = torch.tensor([tokenizer(rendered, add_special_tokens=False)["input_ids"]])
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-2)
    for _ in range(STEPS):
        loss = model(ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(out)
    return out


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    folder, data = tmp_path_factory.mktemp("chain"), load_settings().data_dir
    base = make_base(folder / "base")
    adapter = train_adapter(base, folder / "adapter")
    merged = merge(base, adapter, folder / "merged")
    f32 = to_gguf(merged, folder / "f32.gguf", "f32", data_dir=data)
    bf16 = to_gguf(merged, folder / "bf16.gguf", data_dir=data)
    return Chain(base, adapter, merged, f32, bf16, quantize(bf16, folder / "q8_0.gguf", "Q8_0").path)


@pytest.fixture(scope="module")
def tokenizer(chain: Chain) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(chain.merged)


@pytest.fixture(scope="module")
def merged_model(chain: Chain) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(chain.merged, dtype=torch.float32).eval()


def torch_logits(model: Any, ids: list[int]) -> np.ndarray[Any, Any]:
    import torch

    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0, -1].numpy()  # type: ignore[no-any-return]


def prompt_ids(tokenizer: Any) -> list[int]:
    rendered = tokenizer.apply_chat_template(CHAT, tokenize=False)
    return tokenizer(rendered, add_special_tokens=False)["input_ids"]  # type: ignore[no-any-return]


def test_the_adapter_changes_the_model_and_the_merge_keeps_it(chain: Chain, tokenizer: Any, merged_model: Any) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    ids = prompt_ids(tokenizer)
    base = AutoModelForCausalLM.from_pretrained(chain.base, dtype=torch.float32).eval()
    plain = torch_logits(base, ids)
    adapted = torch_logits(PeftModel.from_pretrained(base, chain.adapter), ids)
    assert kl(adapted, plain) > 0.1
    assert kl(adapted, torch_logits(merged_model, ids)) < 1e-6


def test_the_gguf_cuts_text_as_training_did(chain: Chain, tokenizer: Any) -> None:
    import sentencepiece

    pieces = sentencepiece.SentencePieceProcessor(model_file=str(chain.merged / "tokenizer.model"))
    model = llama_cpp.Llama(str(chain.f32), vocab_only=True, verbose=False)
    for line in [*FRENCH.splitlines(), "émoji 😀 œuvre", "deux  espaces"]:
        ids = tokenizer(line, add_special_tokens=False)["input_ids"]
        assert ids == pieces.encode(line)
        # The conversion copy takes the dummy prefix out of the GGUF, so the space before a raw text is ours to give.
        assert ids == model.tokenize(f" {line}".encode(), add_bos=False)
    rendered = tokenizer.apply_chat_template(CHAT, tokenize=False)
    ids = prompt_ids(tokenizer)
    assert ids == model.tokenize(rendered.encode(), add_bos=False, special=True)
    assert ids[:2] == [1, tokenizer.convert_tokens_to_ids("[INST]")]
    model.close()


def test_the_gguf_carries_pieces_and_template(chain: Chain) -> None:
    for path in (chain.f32, chain.bf16, chain.q8):
        read = read_container(path)
        tokens = read.value("tokenizer.ggml.tokens")
        assert not [token for token in tokens if token.startswith("[PAD")]
        for piece in ("[INST]", "[/INST]"):
            assert read.value("tokenizer.ggml.token_type")[tokens.index(piece)] == 3
        assert read.value("tokenizer.chat_template") == TEMPLATE
        assert read.value("tokenizer.ggml.eos_token_id") == 2


def test_torch_and_llama_cpp_say_the_same(chain: Chain, tokenizer: Any, merged_model: Any) -> None:
    ids = prompt_ids(tokenizer)
    expected = torch_logits(merged_model, ids)
    assert kl(expected, logits_after(chain.f32, ids)) <= 1e-3
    assert kl(expected, logits_after(chain.bf16, ids)) <= 1e-3
    assert kl(expected, logits_after(chain.q8, ids)) <= 2e-2


def test_greedy_answers_are_equal(chain: Chain, tokenizer: Any, merged_model: Any) -> None:
    ours, theirs = prompt_ids(tokenizer), prompt_ids(tokenizer)
    for _ in range(16):
        ours.append(int(torch_logits(merged_model, ours).argmax()))
        theirs.append(int(logits_after(chain.f32, theirs).argmax()))
    assert ours == theirs


def test_sizes_fall_and_outputs_are_never_overwritten(chain: Chain) -> None:
    sizes = [path.stat().st_size for path in (chain.f32, chain.bf16, chain.q8)]
    assert sizes == sorted(sizes, reverse=True)
    with pytest.raises(ConversionError, match="never overwritten"):
        quantize(chain.bf16, chain.q8, "Q8_0")
    with pytest.raises(ConversionError, match="never overwritten"):
        to_gguf(chain.merged, chain.f32, data_dir=load_settings().data_dir)
    with pytest.raises(ConversionError, match="never overwritten"):
        merge(chain.base, chain.adapter, chain.merged)


def test_without_tokenizer_model_nothing_is_converted(chain: Chain, tmp_path: Path) -> None:
    """The trap: the converter would go on with invented scores."""
    folder = shutil.copytree(chain.merged, tmp_path / "merged")
    (folder / "tokenizer.model").unlink()
    with pytest.raises(ConversionError, match=r"no tokenizer\.model"):
        to_gguf(folder, tmp_path / "out.gguf", data_dir=load_settings().data_dir)
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]


def test_the_conversion_copy_repairs_and_leaves_the_folder_alone(chain: Chain, tmp_path: Path) -> None:
    before = (chain.merged / "tokenizer_config.json").read_bytes()
    conversion_copy(chain.merged, tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert config["add_prefix_space"] is False
    assert {token["content"] for token in config["added_tokens_decoder"].values()} >= {"[INST]", "[/INST]"}
    assert (chain.merged / "tokenizer_config.json").read_bytes() == before
    assert (tmp_path / "model.safetensors").is_symlink()


def test_two_templates_are_refused(chain: Chain, tmp_path: Path) -> None:
    folder = shutil.copytree(chain.merged, tmp_path / "merged")
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {"chat_template": "{{ bos_token }}"}
    path.write_text(json.dumps(config), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    (tmp_path / "copy").mkdir()
    with pytest.raises(ConversionError, match="two chat templates"):
        conversion_copy(folder, tmp_path / "copy")


def test_an_adapter_of_another_base_is_refused(chain: Chain, tmp_path: Path) -> None:
    folder = shutil.copytree(chain.base, tmp_path / "base")
    import torch
    from transformers import AutoConfig, MistralForCausalLM

    config = AutoConfig.from_pretrained(folder)
    config.hidden_size = 32
    MistralForCausalLM(config).to(torch.float32).save_pretrained(folder)
    with pytest.raises(ConversionError, match="does not fit"):
        merge(folder, chain.adapter, tmp_path / "merged")
    with pytest.raises(ConversionError, match=r"adapter_config\.json is missing"):
        merge(chain.base, tmp_path, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_what_llama_cpp_would_die_of_is_refused_before(chain: Chain, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(chain.bf16.read_bytes()[:-500])
    with pytest.raises(ConversionError, match="ends at byte"):
        quantize(broken, tmp_path / "out.gguf", "Q8_0")
    with pytest.raises(ConversionError, match="is missing"):
        quantize(tmp_path / "none.gguf", tmp_path / "out.gguf", "Q8_0")
    with pytest.raises(ConversionError, match="Did you mean 'Q4_K_M'"):
        quantize(chain.bf16, tmp_path / "out.gguf", "q4_k_m")
    with pytest.raises(ConversionError, match="could not quantise"):  # rounding a rounded file needs a request
        quantize(chain.q8, tmp_path / "out.gguf", "Q4_0")
    assert {"Q8_0", "Q4_K_M", "Q6_K"} <= set(schemes())
    assert not (tmp_path / "out.gguf").exists()


def test_a_folder_that_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"config\.json is missing"):
        to_gguf(tmp_path, tmp_path / "out.gguf", data_dir=tmp_path)
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConversionError, match=r"tokenizer\.json is missing"):
        to_gguf(tmp_path, tmp_path / "out.gguf", data_dir=tmp_path)
