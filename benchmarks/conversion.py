"""`python -m benchmarks.conversion`: merge, convert and quantise a checkpoint of a 7B's shape; time and peak memory.

The checkpoint is random, sharded bfloat16, written here and deleted after. Our streaming merge and PEFT's own merge run
one after the other in the same run, each step as a process of its own.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from safetensors.torch import save_file

from benchmarks.machine import save
from conversion.tensors import Spec, read_checkpoint, write_checkpoint

ROOT = Path(__file__).parents[1]
WIDTH, FEED, HEADS, KV_HEADS, PIECES = 4096, 14_336, 32, 8, 32_768  # Mistral-7B v0.3
RANK, ALPHA = 16, 32
POOL = 1 << 25  # random numbers that every tensor takes its own from: 7 billion new ones would take minutes
POLL_S = 0.1
MB = 10**6
PROJECTIONS = {
    "self_attn.q_proj": (WIDTH, WIDTH),
    "self_attn.k_proj": (WIDTH * KV_HEADS // HEADS, WIDTH),
    "self_attn.v_proj": (WIDTH * KV_HEADS // HEADS, WIDTH),
    "self_attn.o_proj": (WIDTH, WIDTH),
    "mlp.gate_proj": (FEED, WIDTH),
    "mlp.up_proj": (FEED, WIDTH),
    "mlp.down_proj": (WIDTH, FEED),
}
PEFT_MERGE = """
import sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
base, adapter, out = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(out, max_shard_size="5GB")
"""


@dataclass(frozen=True)
class Measured:
    """What one step took.

    Attributes:
        seconds: Wall clock.
        peak_mb: Largest resident memory of the process and its children, pages of mapped files included.
        anonymous_mb: Largest resident memory that belongs to no file, its own programs included; sampled.
        output_mb: Size of what it wrote.
    """

    seconds: float
    peak_mb: int
    anonymous_mb: int
    output_mb: int


def specs(layers: int, scale: int = 1) -> dict[str, Spec]:
    """Return the tensors of the checkpoint; `scale` divides the width, for a trial."""
    kind, width = torch.bfloat16, WIDTH // scale
    found = {"model.embed_tokens.weight": Spec(kind, (PIECES, width))}
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        for name, (rows, columns) in PROJECTIONS.items():
            found[f"{prefix}.{name}.weight"] = Spec(kind, (rows // scale, columns // scale))
        for name in ("input_layernorm", "post_attention_layernorm"):
            found[f"{prefix}.{name}.weight"] = Spec(kind, (width,))
    found["model.norm.weight"] = Spec(kind, (width,))
    found["lm_head.weight"] = Spec(kind, (PIECES, width))
    return found


def write_base(folder: Path, layers: int) -> Path:
    """Write the random checkpoint: configuration, a small SentencePiece tokenizer, shards of 5 GB."""
    from transformers import MistralConfig

    from tests.conversion.families import spm_tokenizer

    folder.mkdir()
    tokenizer = spm_tokenizer(folder)
    tokenizer.save_pretrained(folder)
    config = MistralConfig(
        vocab_size=PIECES, hidden_size=WIDTH, intermediate_size=FEED, num_hidden_layers=layers,
        num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, head_dim=WIDTH // HEADS, sliding_window=None,
        max_position_embeddings=32_768, rope_theta=1e6, architectures=["MistralForCausalLM"], dtype="bfloat16",
    )  # fmt: skip
    config.save_pretrained(folder)
    wanted = specs(layers)
    pool = torch.randn(POOL, generator=torch.Generator().manual_seed(1)).mul_(0.02).bfloat16()

    def produce(name: str) -> torch.Tensor:
        spec = wanted[name]
        if len(spec.shape) == 1:
            return torch.ones(spec.shape, dtype=spec.dtype)
        count = spec.n_bytes // spec.dtype.itemsize
        shifted = pool.roll(hash(name) % POOL)
        return shifted.repeat(-(-count // POOL))[:count].reshape(spec.shape)

    write_checkpoint(folder, wanted, produce)
    return folder


def write_adapter(folder: Path, layers: int, scale: int = 1) -> Path:
    """Write a random LoRA on every projection; `scale` as in `specs`."""
    folder.mkdir()
    draw = torch.Generator().manual_seed(2)
    tensors = {}
    for layer in range(layers):
        for name, (rows, columns) in PROJECTIONS.items():
            prefix = f"base_model.model.model.layers.{layer}.{name}"
            tensors[f"{prefix}.lora_A.weight"] = torch.randn(RANK, columns // scale, generator=draw) * 0.02
            tensors[f"{prefix}.lora_B.weight"] = torch.randn(rows // scale, RANK, generator=draw) * 0.02
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    targets = [name.split(".")[1] for name in PROJECTIONS]
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": ALPHA, "target_modules": targets}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def _memory(pid: int) -> tuple[int, int]:
    """Return bytes of resident memory of a process and its children: all, and what belongs to no file."""
    resident, anonymous = 0, 0
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        found = {line.split(":")[0]: int(line.split()[1]) << 10 for line in status.splitlines() if line.endswith(" kB")}
        # The high-water mark of the kernel, which no sampling misses; with children, what all of them hold now.
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        resident, anonymous = found.get("VmRSS" if children else "VmHWM", 0), found.get("RssAnon", 0)
        for child in children:
            more = _memory(int(child))
            resident, anonymous = resident + more[0], anonymous + more[1]
    except (FileNotFoundError, ProcessLookupError):
        return resident, anonymous  # it has just ended
    return resident, anonymous


def measured(command: list[str], output: Path) -> Measured:
    """Run a step as a process of its own and measure it.

    The resource usage that the kernel gives at the end is not used: it counts what this process held at the fork.
    """
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=sys.stderr, cwd=ROOT)
    peaks = [(0, 0)]
    while process.poll() is None:
        peaks.append(_memory(process.pid))
        time.sleep(POLL_S)
    if process.returncode:
        raise SystemExit(f"{' '.join(command[:5])} … ended with status {process.returncode}.")
    seconds = round(time.monotonic() - started, 1)
    resident, anonymous = (max(column) // MB for column in zip(*peaks, strict=True))
    return Measured(seconds, resident, anonymous, _size(output) // MB)


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [item for item in path.rglob("*") if item.is_file()]
    return sum(file.stat().st_size for file in files)


def apart(ours: Path, theirs: Path) -> dict[str, float]:
    """Return how far two merges are, over all tensors: largest difference, and share of numbers that differ."""
    mine, other = read_checkpoint(ours), read_checkpoint(theirs)
    largest, different, count = 0.0, 0, 0
    for name, stored in mine.items():
        a, b = stored.load(), other[name].load()
        different += int((a != b).sum())
        count += a.numel()
        largest = max(largest, float((a.float() - b.float()).abs().max()))
    return {"largest": largest, "share_different": different / count}


def run(folder: Path, layers: int, report: Callable[[str, Measured], None]) -> dict[str, Any]:
    """Run every step in `folder`; what is not needed any more is deleted at once."""
    ours = [sys.executable, "-m", "conversion"]
    started = time.monotonic()
    base, adapter = write_base(folder / "base", layers), write_adapter(folder / "adapter", layers)
    result: dict[str, Any] = {"checkpoint_mb": _size(base) // MB, "written_s": round(time.monotonic() - started, 1)}
    merged, by_peft = folder / "merged", folder / "peft"
    bf16, q4 = folder / "model-BF16.gguf", folder / "model-Q4_K_M.gguf"
    pair = ["--base", str(base), "--adapter", str(adapter), "--out", str(merged)]
    plan: dict[str, tuple[list[str], Path]] = {
        "merge (ours, streaming)": ([*ours, "merge", *pair], merged),
        "merge (PEFT, in bf16)": ([sys.executable, "-c", PEFT_MERGE, str(base), str(adapter), str(by_peft)], by_peft),
        "convert to bf16 GGUF": ([*ours, "gguf", "--model", str(merged), "--out", str(bf16)], bf16),
        "quantise to Q4_K_M": ([*ours, "quantize", "--gguf", str(bf16), "--type", "Q4_K_M", "--out", str(q4)], q4),
    }
    steps: dict[str, Any] = {}
    for name, (command, output) in plan.items():
        found = measured(command, output)
        steps[name] = vars(found)
        report(name, found)
        if output == by_peft:
            result["ours_and_peft"] = apart(merged, by_peft)
            shutil.rmtree(by_peft)
            shutil.rmtree(base)
        elif output == bf16:
            shutil.rmtree(merged)
    return {**result, "steps": steps}


def table(result: dict[str, Any]) -> str:
    """Return the measures as Markdown."""
    lines = [
        f"Checkpoint of {result['checkpoint_mb'] / 1000:.1f} GB ({result['layers']} layers).",
        "",
        "| step | seconds | peak resident, MB | of it in no file, MB | written, MB |",
        "|---|---|---|---|---|",
    ]
    for name, step in result["steps"].items():
        lines.append(
            f"| {name} | {step['seconds']} | {step['peak_mb']} | {step['anonymous_mb']} | {step['output_mb']} |"
        )  # fmt: skip
    both = result["ours_and_peft"]
    lines += [
        "",
        f"Ours and PEFT's differ in {both['share_different']:.2%} of the numbers, by {both['largest']:.2g} at most.",
    ]
    return "\n".join(lines) + "\n"


def main(
    out: Annotated[Path, typer.Option(help="Result; the table goes beside it.")] = Path(
        "benchmarks/results/conversion.json"
    ),
    layers: Annotated[int, typer.Option(min=1, help="32 make a 7B; fewer for a trial.")] = 32,
    scratch: Annotated[Path | None, typer.Option(help="Where to work: 45 GB for a 7B; deleted after.")] = None,
) -> None:
    """Merge, convert and quantise a random checkpoint of a 7B's shape; write times and peak memory."""
    with tempfile.TemporaryDirectory(prefix="conversion-", dir=scratch) as work:

        def report(name: str, found: Measured) -> None:
            typer.echo(f"{name}: {found.seconds} s, {found.peak_mb} MB", err=True)

        result = {"layers": layers, **run(Path(work), layers, report)}
    save(out, result)
    out.with_suffix(".md").write_text(table(result), encoding="utf-8")
    typer.echo(table(result))


if __name__ == "__main__":
    typer.run(main)
