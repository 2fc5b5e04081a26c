"""Small models of the families we convert, with tokenizers of their own kind, and adapters trained on a few chats."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conversion.checkpoint import merges_of
from tests.conversion.tiny import FRENCH

SPM_PIECES, BPE_PIECES = 420, 700
WIDTH, FEED, LAYERS = 256, 512, 2  # rows of 256: K-quants need whole blocks
STEPS = 30
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# Mistral's spacing (V3 with spaces, Tekken without), the system text in the first turn, where it stays.
V3_TEMPLATE = (
    "{{ bos_token }}{% for m in messages if m.role != 'system' %}{% if m.role == 'user' %}[INST] "
    "{% if loop.first and messages[0].role == 'system' %}{{ messages[0].content + '\n\n' }}{% endif %}"
    "{{ m.content }}[/INST]{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
TEKKEN_TEMPLATE = V3_TEMPLATE.replace("[INST] {%", "[INST]{%").replace("%} {{ m", "%}{{ m")
CHATML_TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CHATS: list[list[dict[str, str]]] = [
    [
        {"role": "system", "content": "Tu es Spinoza."},
        {"role": "user", "content": "Qu'est-ce que la joie ?"},
        {"role": "assistant", "content": "La joie augmente la puissance d'agir."},
        {"role": "user", "content": "Et le désir ?"},
        {"role": "assistant", "content": "Le désir est l'essence même de l'homme."},
    ],
    [
        {"role": "system", "content": "Tu es Kant."},
        {"role": "user", "content": "Que dois-je faire ?"},
        {"role": "assistant", "content": "Agis selon la maxime que chacun pourrait suivre."},
    ],
]


def spm_tokenizer(folder: Path) -> Any:
    """A SentencePiece BPE vocabulary as Mistral's: byte fallback, dummy prefix, `[INST]` pieces that no text gives."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as pb
    from transformers import LlamaTokenizerFast

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(FRENCH.splitlines() * 5), model_prefix=str(folder / "tokenizer"), model_type="bpe",
        vocab_size=SPM_PIECES, byte_fallback=True, control_symbols=["[INST]", "[/INST]"],
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
    tokenizer.chat_template = V3_TEMPLATE
    return tokenizer


def bpe_tokenizer(pattern: str, special: list[str], template: str, **roles: str) -> Any:
    """A byte-level BPE vocabulary with a given pre-tokenizer, special pieces first."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE(ignore_merges=False))
    raw.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=BPE_PIECES, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    raw.train_from_iterator(FRENCH.splitlines() * 5, trainer)
    extra = [piece for piece in special if piece not in roles.values()]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, additional_special_tokens=extra, **roles)
    tokenizer.chat_template = template
    return tokenizer


def _mistral_bpe() -> Any:
    special = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
    return bpe_tokenizer(
        TEKKEN, special, TEKKEN_TEMPLATE, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )  # fmt: skip


def _save(folder: Path, tokenizer: Any, config: Any, kind: Any) -> Path:
    import torch

    torch.manual_seed(3)
    kind(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _shape(tokenizer: Any, **more: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer), "hidden_size": WIDTH, "intermediate_size": FEED, "num_hidden_layers": LAYERS,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.08,
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, **more,
    }  # fmt: skip


def mistral_spm(folder: Path) -> Path:
    from transformers import MistralConfig, MistralForCausalLM

    folder.mkdir()
    tokenizer = spm_tokenizer(folder)
    config = MistralConfig(**_shape(tokenizer, sliding_window=None))
    return _save(folder, tokenizer, config, MistralForCausalLM)


def mistral_tekken(folder: Path) -> Path:
    from transformers import MistralConfig, MistralForCausalLM

    tokenizer = _mistral_bpe()
    config = MistralConfig(**_shape(tokenizer, sliding_window=None, head_dim=64))
    return _save(folder, tokenizer, config, MistralForCausalLM)


def ministral3(folder: Path) -> Path:
    from transformers import Ministral3Config, Ministral3ForCausalLM

    tokenizer = _mistral_bpe()
    config = Ministral3Config(**_shape(tokenizer, sliding_window=None, head_dim=64))
    return _save(folder, tokenizer, config, Ministral3ForCausalLM)


def qwen2(folder: Path) -> Path:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = bpe_tokenizer(QWEN, special, CHATML_TEMPLATE, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    config = Qwen2Config(**_shape(tokenizer, bos_token_id=None, tie_word_embeddings=True))
    return _save(folder, tokenizer, config, Qwen2ForCausalLM)


def qwen3(folder: Path) -> Path:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = bpe_tokenizer(QWEN, special, CHATML_TEMPLATE, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    # Heads wider than the width shared among them, and norms of queries and keys: what sets it apart from Qwen 2.
    config = Qwen3Config(**_shape(tokenizer, bos_token_id=None, tie_word_embeddings=True, head_dim=128))
    return _save(folder, tokenizer, config, Qwen3ForCausalLM)


FAMILIES: dict[str, Callable[[Path], Path]] = {
    "mistral": mistral_spm,
    "tekken": mistral_tekken,
    "ministral3": ministral3,
    "qwen2": qwen2,
    "qwen3": qwen3,
}


def train_adapter(base: Path, out: Path, *, steps: int = STEPS, rate: float = 1e-2, **lora: Any) -> Path:
    """Learn the chats by heart: enough that greedy decoding says them and stops."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(5)
    tokenizer = AutoTokenizer.from_pretrained(base)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    options = {"r": 8, "lora_alpha": 16, "target_modules": targets, "task_type": "CAUSAL_LM", **lora}
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), LoraConfig(**options))
    batch = []
    for chat in CHATS:
        rendered = tokenizer.apply_chat_template(chat, tokenize=False)
        batch.append(torch.tensor([tokenizer(rendered, add_special_tokens=False)["input_ids"]]))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    for step in range(steps):
        ids = batch[step % len(batch)]
        model(ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(out)
    return out


def held_out(path: Path) -> Path:
    """Write the chats as `python -m corpus mix` writes its held-out file."""
    lines = [json.dumps({"messages": chat}, ensure_ascii=False) for chat in CHATS]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def rewrite_gguf(
    source: Path, target: Path, fields: dict[str, Any] | None = None, tensors: dict[str, Any] | None = None
) -> Path:
    """Copy a GGUF with other metadata values or float32 tensors: how the tests plant defects."""
    from gguf import GGUFWriter
    from gguf.quants import quantize

    from conversion.container import read_container

    read = read_container(source)
    writer = GGUFWriter(target, str(read.value("general.architecture")))
    for key, field in read.fields.items():
        if key != "general.architecture":
            writer.add_key_value(key, (fields or {}).get(key, field.value), field.kind, field.item_kind)
    for name, tensor in read.tensors.items():
        data = tensor.data
        if tensors and name in tensors:
            data = quantize(tensors[name], tensor.kind)
        writer.add_tensor(name, data, raw_dtype=tensor.kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target
