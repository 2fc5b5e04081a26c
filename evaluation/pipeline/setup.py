"""From what was typed to what is measured: the embedded model, a model of one's own, or a 7B's width at random.

Knows where things lie and how they are made when they are missing; measures nothing.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import psutil

from dialogue.prompt import prefix_for
from engines.base import ChatMessage
from errors import EngineError
from evaluation.perplexity import load_chats
from evaluation.pipeline.ask import Machine
from evaluation.pipeline.parts import Run, run_module
from evaluation.pipeline.plan import Setup
from evaluation.pipeline.talks import Talk, chats_of, load_talks
from evaluation.result import as_json, write_text

DEMO_ADAPTER = Path(__file__).parents[2] / "models" / "demo" / "adapter"
SCHEMES = ("Q4_K_M", "Q5_K_M", "Q8_0")  # finer and finer: the first that loses little is taken
RANDOM_TOKENS = 32  # of an answer of random weights, which never ends by itself
SCORED = 24  # finished chats whose answers are scored
SHAPES = ("mistral-7b",)
FULL_LAYERS = 32
LAYER_PARAMS = 218_112_000  # of one layer of Mistral-7B, norms included
OTHER_PARAMS = 2 * 32_768 * 4096  # its embedding and its output matrix
MEMORY_SHARE = (
    0.6  # of what is free, for the weights in the widest step; the rest is for activations and the page cache
)
N_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Given:
    """What was typed; see the help of `python -m evaluation pipeline`."""

    base: Path | None = None
    adapter: Path | None = None
    shape: str | None = None
    layers: int | None = None
    prompts: Path = Path("data/eval/bench_prompts.jsonl")
    out: Path | None = None
    schemes: tuple[str, ...] = ()
    outtype: str = "f16"
    dtype: str = "auto"
    held_out: Path | None = None
    max_tokens: int | None = None
    limit: int | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        if (self.base is None) != (self.adapter is None):
            raise EngineError("Give both --base and --adapter, or neither for the embedded model.")
        if self.shape is not None and self.base is not None:
            raise EngineError("--shape makes its own base; leave out --base and --adapter.")
        if self.layers is not None and self.shape is None:
            raise EngineError("--layers belongs to --shape.")
        if self.shape is not None and self.shape not in SHAPES:
            near = get_close_matches(self.shape, SHAPES, n=1, cutoff=0.4)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise EngineError(f"No shape {self.shape!r}.{hint} Known: {', '.join(SHAPES)}.")
        if self.outtype not in ("f16", "bf16"):
            raise EngineError(f"--outtype {self.outtype!r}: expected f16 or bf16.")
        if self.dtype not in ("auto", *N_BYTES):
            raise EngineError(f"--dtype {self.dtype!r}: expected auto, {', '.join(N_BYTES)}.")


def setup_for(given: Given, data_dir: Path, run: Run = run_module) -> Setup:
    """Return what is measured; a base that is missing and can be made is made.

    Args:
        given: What was typed.
        data_dir: Of the settings.
        run: Runs `python -m` with these words.

    Raises:
        EngineError: A file is missing or wrong, or something could not be made.
    """
    talks = load_talks(given.prompts, given.limit)
    if given.shape is not None:
        return _shape(given, data_dir, talks, run)
    if given.base is not None and given.adapter is not None:
        base, adapter, name = given.base, given.adapter, given.base.name
    else:
        base, adapter, name = data_dir / "checkpoints" / "demo-base", DEMO_ADAPTER, "demo"
        if not base.exists():
            run(["conversion", "checkpoint", "--data-dir", str(data_dir), "--out", str(base)])
    if not list(base.glob("*.safetensors")):
        raise EngineError(f"The base {base} is missing, or has no *.safetensors.")
    prefix = prefix_for(count_params(base))
    held_out = given.held_out
    if held_out is None and given.base is None and (data_dir / "training" / "demo.eval.jsonl").is_file():
        held_out = data_dir / "training" / "demo.eval.jsonl"
    chats: Sequence[Sequence[ChatMessage]] = load_chats(held_out, SCORED) if held_out else chats_of(talks, prefix)
    out = given.out or data_dir / "pipeline" / name
    return Setup(
        base=base, adapter=adapter, out=out, data_dir=data_dir, prompts=given.prompts, talks=talks,
        schemes=given.schemes or SCHEMES, machine=_machine(given, out, given.dtype), prefix=prefix,
        outtype=given.outtype, max_tokens=given.max_tokens, chats=chats,
        chats_of=held_out.name if held_out else f"the histories of {given.prompts.name}",
    )  # fmt: skip


def _machine(given: Given, out: Path, dtype: str) -> Machine:
    return Machine(cache=out / "kernels", threads=given.threads, dtype=dtype)


def count_params(folder: Path) -> int:
    """Return how many numbers the weights of a checkpoint are, from their headers alone.

    Raises:
        EngineError: A file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "numpy") as file:
                total += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise EngineError(f"{path} is damaged: {error}.") from None
    return total


def layers_that_fit(available: int, n_bytes: int) -> int:
    """Return how many layers of Mistral-7B's width fit into memory, at least one and at most all.

    Args:
        available: Bytes that are free.
        n_bytes: Of one number.

    >>> layers_that_fit(16_000_000_000, 4), layers_that_fit(1, 4), layers_that_fit(10**12, 2)
    (9, 1, 32)
    """
    fit = (MEMORY_SHARE * available / n_bytes - OTHER_PARAMS) / LAYER_PARAMS
    return max(1, min(FULL_LAYERS, int(fit)))


def _shape(given: Given, data_dir: Path, talks: Sequence[Talk], run: Run) -> Setup:
    """A random checkpoint of the true width, its layers as many as were asked for, or as memory allows."""
    out = given.out or data_dir / "pipeline" / str(given.shape)
    dtype = "float32" if given.dtype == "auto" else given.dtype  # bfloat16 has no fast kernel on most processors
    chosen = _layers(given, out, dtype)
    if not ((out / "base").exists() and (out / "adapter").exists()):
        run(["benchmarks.width", "--out", str(out), "--layers", str(chosen["layers"])])
    note = (
        f"Random weights of Mistral-7B's width, {chosen['layers']} of its {FULL_LAYERS} layers ({chosen['why']}), "
        f"computed in {dtype} by transformers: times and tokens are measured, what is said means nothing. A layer "
        "costs what a layer of the 7B costs; the embedding and output matrices weigh more beside so few of them."
    )
    return Setup(
        base=out / "base", adapter=out / "adapter", out=out, data_dir=data_dir, prompts=given.prompts, talks=talks,
        schemes=given.schemes or SCHEMES[:1], machine=_machine(given, out, dtype), prefix="full",
        outtype=given.outtype, max_tokens=given.max_tokens or RANDOM_TOKENS, random=True, note=note,
    )  # fmt: skip


def _layers(given: Given, out: Path, dtype: str) -> dict[str, Any]:
    """Return how many layers there are and why; a folder keeps the number it was made with.

    Raises:
        EngineError: The folder was made with another number.
    """
    path = out / "shape.json"
    if path.exists():
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if given.layers not in (None, kept["layers"]):
            raise EngineError(f"{out} has {kept['layers']} layers, not {given.layers}. Remove it, or pass --out.")
        return kept
    available = psutil.virtual_memory().available
    layers = given.layers or layers_that_fit(available, N_BYTES[dtype])
    why = "as many as were asked for" if given.layers else f"as many as fit with {available / 1e9:.1f} GB free"
    chosen = {"shape": given.shape, "layers": layers, "why": why}
    write_text(path, as_json(chosen))
    return chosen
