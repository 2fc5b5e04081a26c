"""`python -m benchmarks.training_width`: the processor recipe at the true width of a 7B, for one layer and for two.

Two points give what a layer costs and what the rest costs, in time and in memory; 32 layers are a sum, and called so.
The weights are random: a product of matrices takes as long whatever is in them.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.machine import save

ROOT = Path(__file__).parents[1]
RECIPE = "training/recipes/mistral_7b_ba_cpu.yaml"
DOCUMENTS = ROOT / "data" / "business_analyst" / "train.jsonl"
LAYERS = 32  # of Mistral-7B
N_PIECES = 3000  # learnt from the documents; a token is then about as long as in a large vocabulary
WIDTH, FEED, HEADS, KV_HEADS, N_VOCAB = 4096, 14336, 32, 8, 32_000


def make_tokenizer(folder: Path) -> None:
    """Write a SentencePiece tokenizer with Mistral's first chat format."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as pb
    from transformers import LlamaTokenizerFast

    from conversion.checkpoint import merges_of

    lines = DOCUMENTS.read_text(encoding="utf-8").splitlines()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=str(folder / "tokenizer"), model_type="bpe", vocab_size=N_PIECES,
        byte_fallback=True, unk_id=0, bos_id=1, eos_id=2, pad_id=-1, hard_vocab_limit=False, minloglevel=2,
        max_sentence_length=20_000,
    )  # fmt: skip
    model = pb.ModelProto.FromString((folder / "tokenizer.model").read_bytes())
    scores = {piece.piece: piece.score for piece in model.pieces if piece.type == pb.ModelProto.SentencePiece.NORMAL}
    numbers = {piece.piece: number for number, piece in enumerate(model.pieces)}
    tokenizer = LlamaTokenizerFast(vocab=numbers, merges=merges_of(scores))
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ ' [INST] ' + m.content + ' [/INST]' }}"
        "{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}"
    )
    tokenizer.save_pretrained(folder)


def make_base(folder: Path, layers: int, scale: int) -> Path:
    """Write a Mistral of few layers and full width, in 16 bits; `scale` divides the width, for a trial."""
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    folder.mkdir()
    make_tokenizer(folder)
    config = MistralConfig(
        vocab_size=N_VOCAB, hidden_size=WIDTH // scale, intermediate_size=FEED // scale, num_hidden_layers=layers,
        num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, sliding_window=None, dtype="bfloat16",
    )  # fmt: skip
    torch.manual_seed(0)
    MistralForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


def train(base: Path, out: Path, quantization: str, steps: int) -> dict[str, Any]:
    """Run the recipe for a few steps as a program of its own; return its summary."""
    words = ["--base-model", base, "--output-dir", out, "--quantization", quantization, "--max-steps", steps]
    words += ["--gradient-accumulation-steps", 2, "--train-limit", 2 * steps, "--val-limit", 1, "--json"]
    command = [sys.executable, "-m", "training", "run", RECIPE, *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def sum_of(points: Sequence[Mapping[str, float]], layers: int) -> dict[str, float]:
    """Return what `layers` layers take, from two measured points.

    >>> sum_of([{"layers": 1, "s_per_token": 3.0, "bytes": 10.0}, {"layers": 2, "s_per_token": 5.0, "bytes": 14.0}], 4)
    {'layers': 4, 's_per_token': 9.0, 'bytes': 22.0, 'tokens_per_s': 0.111}
    """
    one, two = points
    found: dict[str, float] = {"layers": layers}
    for key in ("s_per_token", "bytes"):
        slope = (two[key] - one[key]) / (two["layers"] - one["layers"])
        found[key] = round(one[key] + slope * (layers - one["layers"]), 4)
    found["tokens_per_s"] = round(1 / found["s_per_token"], 3)
    return found


def main(
    out: Annotated[Path, typer.Option(help="Result file.")] = Path("benchmarks/results/training-width.json"),
    quantization: Annotated[str, typer.Option(help="How the base is held: bnb4, bf16 or fp32.")] = "bnb4",
    steps: Annotated[int, typer.Option(min=1, help="Steps of two documents each.")] = 3,
    scale: Annotated[int, typer.Option(min=1, help="Divides the width: a trial, no result.")] = 1,
) -> None:
    """Train one layer, then two, at full width, and write down what each took and what 32 would."""
    points: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="training-width-") as work:
        for layers in (1, 2):
            base = make_base(Path(work) / f"base-{layers}", layers, scale)
            summary = train(base, Path(work) / f"run-{layers}", quantization, steps)
            points.append(
                {
                    "layers": layers,
                    "s_per_token": summary["seconds_in_steps"] / summary["tokens_seen"],
                    "bytes": summary["peak_memory"]["machine_bytes"],
                    "tokens_per_s": summary["tokens_per_s"],
                    "tokens": summary["tokens_seen"],
                    "estimated_bytes": summary["estimate"]["memory_bytes"],
                    "estimated_s": summary["estimate"]["seconds"],
                    "measured_s": summary["seconds_in_steps"],
                }
            )
    result = {
        "recipe": RECIPE,
        "quantization": quantization,
        "precision": summary["precision"],
        "width": WIDTH // scale,
    }
    result |= {"width": WIDTH // scale, "measured": points, "extrapolated": sum_of(points, LAYERS)}
    save(out, result)
    sys.stdout.write(f"{json.dumps(result)}\n")


if __name__ == "__main__":
    typer.run(main)
