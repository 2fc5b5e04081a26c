"""Small bases of the architectures that recipes name: two layers, a vocabulary of hundreds, a tower that sees."""

from pathlib import Path
from typing import Any

from tests.conversion.families import TEKKEN, bpe_tokenizer

WIDTH, FEED, LAYERS = 64, 128, 2


def _save(folder: Path, tokenizer: Any, model: Any) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def ministral3_that_sees(folder: Path) -> Path:
    """A Ministral-3 as published: a language tower, a vision tower whose layers are called the same, no template."""
    from transformers import (
        Ministral3Config,
        Mistral3Config,
        Mistral3ForConditionalGeneration,
        PixtralVisionConfig,
        set_seed,
    )

    special = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[IMG]"]
    roles = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    tokenizer = bpe_tokenizer(TEKKEN, special, "", **roles)
    tokenizer.chat_template = None
    text = Ministral3Config(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=FEED, num_hidden_layers=LAYERS,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, max_position_embeddings=2048, sliding_window=None,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    vision = PixtralVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=LAYERS, num_attention_heads=2, image_size=28,
        patch_size=14,
    )  # fmt: skip
    set_seed(1)
    config = Mistral3Config(text_config=text, vision_config=vision, image_token_index=5, spatial_merge_size=1)
    return _save(folder, tokenizer, Mistral3ForConditionalGeneration(config))


def gemma3(folder: Path) -> Path:
    """The embedded model's architecture, its layers alternating between a window and the whole."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig, set_seed

    special = ["<pad>", "<eos>", "<bos>", "<unk>", "[INST]", "[/INST]"]
    roles = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    template = Path(__file__).parents[2] / "conversion" / "chat_template.jinja"
    tokenizer = bpe_tokenizer(TEKKEN, special, template.read_text(encoding="utf-8"), **roles)
    set_seed(2)
    config = Gemma3TextConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=FEED, num_hidden_layers=LAYERS,
        num_attention_heads=4, num_key_value_heads=1, head_dim=16, max_position_embeddings=2048, sliding_window=64,
        pad_token_id=0, eos_token_id=1, bos_token_id=2,
    )  # fmt: skip
    return _save(folder, tokenizer, Gemma3ForCausalLM(config))
