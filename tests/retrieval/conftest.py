"""A small real embedder: a one-layer BERT with random weights, whose vectors follow the letters of a text."""

from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest

from retrieval.embedders import LlamaEmbedder

WIDTH, FEED = 32, 64
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789,.;:!?'-"
PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"▁{c}" for c in LETTERS), *LETTERS)


def write_tiny_bert(
    path: Path, *, seed: int = 7, name: str = "tiny e5", n_ctx: int = 64, unigram: bool = False
) -> Path:
    """Write a BERT that llama.cpp loads in milliseconds; with a Unigram vocabulary, as e5 has, if asked."""
    rng = np.random.default_rng(seed)

    def small(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.1, shape).astype(np.float32)

    tensors = {
        "token_embd.weight": rng.normal(0, 1, (len(PIECES), WIDTH)).astype(np.float32),
        "token_types.weight": small(2, WIDTH),
        "position_embd.weight": small(n_ctx, WIDTH),
    }
    norms = ["token_embd_norm", "blk.0.attn_output_norm", "blk.0.layer_output_norm"]
    layers = {"attn_q": (WIDTH, WIDTH), "attn_k": (WIDTH, WIDTH), "attn_v": (WIDTH, WIDTH),
              "attn_output": (WIDTH, WIDTH), "ffn_up": (FEED, WIDTH), "ffn_down": (WIDTH, FEED)}  # fmt: skip
    for one, shape in layers.items():
        tensors |= {f"blk.0.{one}.weight": small(*shape), f"blk.0.{one}.bias": np.zeros(shape[0], np.float32)}
    for one in norms:
        tensors |= {f"{one}.weight": np.ones(WIDTH, np.float32), f"{one}.bias": np.zeros(WIDTH, np.float32)}
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_name(name)
    writer.add_context_length(n_ctx)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(FEED)
    writer.add_head_count(2)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_tokenizer_model("t5" if unigram else "bert")
    if unigram:
        writer.add_token_scores([-float(place) for place in range(len(PIECES))])
        writer.add_add_space_prefix(True)
        writer.add_remove_extra_whitespaces(True)
        writer.add_add_bos_token(True)
        writer.add_add_eos_token(True)
    writer.add_token_type_count(2)
    writer.add_token_list(PIECES)
    writer.add_token_types([int(gguf.TokenType.CONTROL)] * 5 + [int(gguf.TokenType.NORMAL)] * (len(PIECES) - 5))
    for key, number in (("pad", 0), ("unk", 1), ("sep", 3), ("mask", 4), ("bos", 2), ("eos", 3)):
        getattr(writer, f"add_{key}_token_id")(number)
    for key, tensor in tensors.items():
        writer.add_tensor(key, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF embedder of 32 dimensions and a window of 64 tokens."""
    return write_tiny_bert(tmp_path_factory.mktemp("embedders") / "tiny-e5.gguf")


@pytest.fixture(scope="session")
def embedder(tiny_bert: Path) -> Iterator[LlamaEmbedder]:
    opened = LlamaEmbedder(tiny_bert)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def other_embedder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaEmbedder]:
    """Other weights of the same shape."""
    opened = LlamaEmbedder(write_tiny_bert(tmp_path_factory.mktemp("embedders") / "other.gguf", seed=8, name="other"))
    yield opened
    opened.close()
