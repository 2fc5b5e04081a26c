"""`python -m benchmarks.width`: a checkpoint of Mistral-7B's width and of few layers, and a LoRA for it, both random.

A layer is a layer: its matrices are those of the 7B, so what it costs per token is true, and the whole is a sum over
layers. What such a model says means nothing; the output matrix has rows for whole words alone, so that it says some.
"""

import json
import shutil
import zlib
from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks.conversion import FEED, HEADS, KV_HEADS, PIECES, POOL, WIDTH, specs, write_adapter
from benchmarks.training_width import make_tokenizer
from cli import run_commands
from conversion.tensors import write_checkpoint
from errors import ConversionError

ALONE = 2  # characters that a piece has at least, its space not counted: shorter ones make no word


def word_rows(folder: Path) -> torch.Tensor:
    """Return (PIECES,) booleans: which pieces of a tokenizer folder are words that an answer may be made of."""
    vocabulary = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    rows = torch.zeros(PIECES, dtype=torch.bool)
    for piece, number in vocabulary.items():
        rows[number] = len(piece.lstrip("▁")) >= ALONE and piece.lstrip("▁").isalpha()
    return rows


def write_base(folder: Path, layers: int, *, scale: int = 1) -> Path:
    """Write the checkpoint in bfloat16, one matrix in memory at a time; `scale` divides the width, for a trial.

    Raises:
        ConversionError: The folder exists.
    """
    from transformers import MistralConfig

    if folder.exists():
        raise ConversionError(f"{folder} exists and is never overwritten. Move it, or take another name.")
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    make_tokenizer(partial)
    speaks = word_rows(partial)
    MistralConfig(
        vocab_size=PIECES, hidden_size=WIDTH // scale, intermediate_size=FEED // scale, num_hidden_layers=layers,
        num_attention_heads=HEADS // scale, num_key_value_heads=KV_HEADS // scale, head_dim=WIDTH // HEADS,
        sliding_window=None, max_position_embeddings=32_768, rope_theta=1e6, bos_token_id=1, eos_token_id=2,
        architectures=["MistralForCausalLM"], dtype="bfloat16",
    ).save_pretrained(partial)  # fmt: skip
    wanted = specs(layers, scale)
    pool = torch.randn(POOL // scale**2, generator=torch.Generator().manual_seed(1)).mul_(0.02).bfloat16()

    def produce(name: str) -> torch.Tensor:
        spec = wanted[name]
        if len(spec.shape) == 1:
            return torch.ones(spec.shape, dtype=spec.dtype)
        count = spec.n_bytes // spec.dtype.itemsize
        own = pool.roll(zlib.crc32(name.encode()) % len(pool))  # no two matrices are alike
        weight = own.repeat(-(-count // len(pool)))[:count].reshape(spec.shape)
        return weight * speaks[:, None] if name == "lm_head.weight" else weight

    write_checkpoint(partial, wanted, produce)
    partial.rename(folder)
    return folder


def make(
    out: Annotated[Path, typer.Option(help="Folder; base/ and adapter/ are written in it.")],
    layers: Annotated[int, typer.Option(min=1, max=32, help="Of the 32 that Mistral-7B has.")],
    scale: Annotated[int, typer.Option(min=1, max=8, help="Divides the width: a trial, no result.")] = 1,
) -> None:
    """Write a random base of a 7B's width and an adapter for it; one that is there is kept."""
    base, adapter = out / "base", out / "adapter"
    if not base.exists():
        write_base(base, layers, scale=scale)
    if not adapter.exists():
        partial = out / "adapter.partial"
        shutil.rmtree(partial, ignore_errors=True)
        write_adapter(partial, layers, scale).rename(adapter)
    typer.echo(out)


def main() -> None:
    """Run the command line; an error of ours becomes one line on stderr and exit status 1."""
    run_commands(make)


if __name__ == "__main__":
    main()
