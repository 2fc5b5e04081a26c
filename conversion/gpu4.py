"""Four bits for the GPU: a checkpoint quantised for vLLM, kept only if it says nearly the same. Imports no such tool.

llm-compressor (compressed-tensors) and GPT-QModel (classic GPTQ, AWQ) each live in an environment of their own. When a
result loses too much, the next attempt keeps more layers in 16 bits; when none is good enough, none is published.
"""

import logging
import math
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from conversion.embedder import EMBEDDER_FILE
from conversion.environments import make_environment, run_worker
from conversion.report import REPORT_FILE, Gate, Verdict, VerifyReport, folder_facts, write_report
from conversion.shrink import embed_lines
from conversion.texts import Texts, read_held_out
from conversion.tokenizer_files import copy_tokenizer
from errors import ConversionError

log = logging.getLogger(__name__)

METHODS = ("gptq", "awq")
Report = Callable[[str, float], None]

HERE = Path(__file__).parent
WORKER = HERE / "gpu4_worker.py"
MAX_LOSS = 1.05  # of perplexity, against the 16-bit checkpoint
MIN_SIMILARITY = 0.92  # of the answers, mean cosine
N_PROMPTS = 20
MAX_NEW_TOKENS = 64
ALWAYS_KEPT = ("lm_head",)
ATTENTION, DOWN = "re:.*self_attn.*", "re:.*down_proj.*"
FALLBACKS = ((), (ATTENTION,), (ATTENTION, DOWN))  # what each attempt keeps in 16 bits besides


@dataclass(frozen=True)
class Tool:
    """A tool in its own environment.

    Attributes:
        name: Of the environment.
        requirements: Its pins.
        job: What the worker is asked for.
        gpu_for: Methods that it does not run on a CPU.
    """

    name: str
    requirements: Path
    job: str
    gpu_for: frozenset[str]


TOOLS: dict[str, Tool] = {
    "compressed-tensors": Tool("llm-compressor", HERE / "requirements-gpu4.txt", "compress", frozenset({"awq"})),
    "classic": Tool("gptqmodel", HERE / "requirements-gptqmodel.txt", "pack", frozenset({"gptq", "awq"})),
}


@dataclass(frozen=True)
class Gpu4Request:
    """What is asked for.

    Attributes:
        model: A merged checkpoint folder in 16 bits.
        out: Must not exist.
        method: How weights are rounded: gptq, awq.
        layout: How they are stored: compressed-tensors for vLLM, or classic.
        calibration: Files of chats or prose that the rounding looks at.
        held_out: Other files, on which the result is judged.
        keep: Patterns of layers that every attempt keeps in 16 bits.
        samples: How many texts the rounding looks at.
        max_length: Tokens of one text.
        threads: Of a CPU; None leaves it to torch.
        max_loss: Perplexity of the result over the checkpoint's, at most.
        min_similarity: Mean cosine of the answers, at least.
    """

    model: Path
    out: Path
    method: str
    calibration: tuple[Path, ...]
    held_out: tuple[Path, ...]
    layout: str = "compressed-tensors"
    keep: tuple[str, ...] = ()
    samples: int = 256
    max_length: int = 1024
    threads: int | None = None
    max_loss: float = MAX_LOSS
    min_similarity: float = MIN_SIMILARITY

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConversionError(f"No method {self.method!r}; {' or '.join(METHODS)}.")
        if self.layout not in TOOLS:
            raise ConversionError(f"No layout {self.layout!r}; {' or '.join(TOOLS)}.")
        if not (self.model / "config.json").is_file():
            raise ConversionError(f"{self.model} is no checkpoint: config.json is missing.")
        if self.out.exists():
            raise ConversionError(f"{self.out} exists and is never overwritten. Move it, or pass another --out.")
        both = {path.resolve() for path in self.calibration} & {path.resolve() for path in self.held_out}
        if both:
            raise ConversionError(f"{both.pop()} is calibrated on and judged by; take two different files.")


@dataclass(frozen=True)
class Scored:
    """What a checkpoint says: perplexity of a held-out token, and its answers."""

    perplexity: float
    answers: tuple[str, ...]


def has_gpu() -> bool:
    """Say whether this machine shows an NVIDIA GPU, without any library."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def needs_gpu(request: Gpu4Request) -> None:
    """Refuse early what this machine cannot do.

    Raises:
        ConversionError: The method needs a GPU and there is none.
    """
    tool = TOOLS[request.layout]
    if request.method in tool.gpu_for and not has_gpu():
        raise ConversionError(
            f"{request.method} by {tool.name} needs an NVIDIA GPU and this machine has none. "
            "Run it where there is one; here, take --method gptq --layout compressed-tensors."
        )


def _rows(texts: Texts, limit: int) -> list[dict[str, Any]]:
    """Return chats and prose as the worker reads them."""
    chats: list[dict[str, Any]] = [{"messages": [dict(turn) for turn in chat]} for chat in texts.chats]
    return [*chats, *({"text": text} for text in texts.prose)][:limit]


def _prompts(texts: Texts) -> list[dict[str, Any]]:
    """Return what the models are asked: each chat up to its first message, or prose to go on with."""
    asked: list[dict[str, Any]] = []
    for chat in texts.chats:
        first = next((number for number, turn in enumerate(chat) if turn["role"] == "user"), None)
        if first is not None:
            asked.append({"messages": [dict(turn) for turn in chat[: first + 1]]})
    asked += [{"text": text[: len(text) // 2]} for text in texts.prose]
    return asked[:N_PROMPTS]


def similarity(reference: Sequence[str], other: Sequence[str], embedder: Path) -> float:
    """Return the mean cosine between answers, pair by pair; two empty answers are the same."""
    pairs = [(a.strip(), b.strip()) for a, b in zip(reference, other, strict=True)]
    found = np.array([float(a == b) for a, b in pairs])
    differ = [number for number, (a, b) in enumerate(pairs) if a != b and a and b]
    if differ:
        vectors = [embed_lines(embedder, [f"query: {pairs[n][side]}" for n in differ]) for side in (0, 1)]
        found[differ] = (vectors[0] * vectors[1]).sum(axis=1)
    return float(found.mean())


def judge(
    reference: Scored, other: Scored, embedder: Path, max_loss: float = MAX_LOSS, min_similarity: float = MIN_SIMILARITY
) -> tuple[Gate, Gate]:
    """Return the gates of one attempt: perplexity, and similarity of the answers."""
    more = "Keep more layers in 16 bits (--keep), or calibrate on more texts of the kind."
    loss = other.perplexity / reference.perplexity
    held = loss <= max_loss
    figures = {"reference": reference.perplexity, "quantised": other.perplexity}
    first = Gate("perplexity", round(loss, 4), max_loss, "pass" if held else "fail", "" if held else more, figures)
    alike = similarity(reference.answers, other.answers, embedder)
    n_prompts = len(reference.answers)
    verdict: Verdict = "fail" if alike < min_similarity else "pass" if n_prompts >= N_PROMPTS else "warn"
    few = f"Only {n_prompts} prompts were asked: give {N_PROMPTS} held-out chats."
    remedy = {"pass": "", "warn": few, "fail": more}[verdict]
    same = sum(a == b for a, b in zip(reference.answers, other.answers, strict=True))
    details = {"prompts": n_prompts, "same": same}
    return first, Gate("similarity", round(alike, 4), min_similarity, verdict, remedy, details)


class _Tool:
    """The worker of one run."""

    def __init__(self, request: Gpu4Request, report: Report) -> None:
        """Read the texts, so that a wrong file is found before minutes of installation."""
        self.request, self.report = request, report
        self.held_out = read_held_out(request.held_out)
        self.calibration = _rows(read_held_out(request.calibration), request.samples)
        self.python, self.work, self.device = Path(), Path(), "none yet"

    def _scoring(self, model: Path) -> dict[str, Any]:
        return {
            "model": str(model.resolve()),
            "max_length": self.request.max_length,
            "max_new_tokens": MAX_NEW_TOKENS,
            "rows": _rows(self.held_out, self.request.samples),
            "prompts": _prompts(self.held_out),
        }

    def _ask(self, jobs: dict[str, dict[str, Any]]) -> Scored:
        """Run jobs in the tool's environment; the last one scores."""
        asked = {"jobs": list(jobs), "threads": self.request.threads, **jobs}
        found = run_worker(self.python, WORKER, asked, self.work, self.report)
        if not found["tokens"]:
            raise ConversionError("The held-out texts are too short to be scored; give longer ones.")
        self.device = found["gpu"] or "cpu"
        return Scored(math.exp(found["nats"] / found["tokens"]), tuple(found["answers"]))

    def score(self, model: Path) -> Scored:
        """Score a checkpoint on the held-out texts."""
        return self._ask({"score": self._scoring(model)})

    def quantise(self, out: Path, ignore: Sequence[str]) -> Scored:
        """Quantise into `out`, tokenizer files as the checkpoint has them, and score what was written."""
        request = self.request
        job = {
            "model": str(request.model.resolve()),
            "out": str(out),
            "method": request.method,
            "ignore": list(ignore),
            "rows": self.calibration,
            "max_length": request.max_length,
        }
        scored = self._ask({TOOLS[request.layout].job: job, "score": self._scoring(out)})
        copy_tokenizer(request.model, out)
        return scored


def _attempts(request: Gpu4Request) -> list[tuple[str, ...]]:
    """Return what each attempt keeps in 16 bits, the least first."""
    return list(dict.fromkeys(tuple(dict.fromkeys((*ALWAYS_KEPT, *request.keep, *more))) for more in FALLBACKS))


def quantise_for_gpu(
    request: Gpu4Request, data_dir: Path, report: Report = lambda _step, _progress: None
) -> VerifyReport:
    """Quantise a checkpoint to 4 bits and keep the first attempt that is good enough; its `verify.json` is inside.

    Args:
        request: What is asked for.
        data_dir: The tool's environment and the embedder live there.
        report: Told each step.

    Raises:
        ConversionError: A GPU or the embedder is missing, the tool failed, or no attempt was good enough: its report
            then stands beside `out`, as `<out>.refused.json`.
        SourceError: The environment cannot be made.
    """
    needs_gpu(request)
    tool = TOOLS[request.layout]
    worker = _Tool(request, report)
    embedder = data_dir / "models" / EMBEDDER_FILE
    if not embedder.is_file():
        raise ConversionError(f"{embedder} is missing: it compares answers. Run `python -m conversion embedder`.")
    worker.python = make_environment(data_dir, tool.name, tool.requirements, report)
    request.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=request.out.parent, prefix=f".{request.out.name}-") as folder:
        work = worker.work = Path(folder).resolve()
        about = {"method": request.method, "layout": request.layout, "tool": tool.name, "base": request.model.name,
                 "samples": len(worker.calibration)}  # fmt: skip
        reference = worker.score(request.model)
        tried: list[dict[str, Any]] = []
        for number, ignore in enumerate(_attempts(request)):
            made = work / f"attempt-{number}"
            scored = worker.quantise(made, ignore)
            gates = judge(reference, scored, embedder, request.max_loss, request.min_similarity)
            tried.append({"kept": list(ignore), **{gate.name: gate.value for gate in gates}})
            files = sorted(path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file())
            about = {**about, "device": worker.device, "attempts": tried}
            found = VerifyReport(gates, folder_facts(made, files), about)
            log.info("gpu4 attempt=%d kept=%s passed=%s", number, " ".join(ignore), found.passed)
            if found.passed:
                write_report(found, made / REPORT_FILE)
                made.rename(request.out)
                return found
            shutil.rmtree(made)
    refused = write_report(found, request.out.with_name(f"{request.out.name}.refused.json"))
    said = "; ".join(f"{one.name} {one.value}, must be {one.threshold}" for one in found.gates if one.verdict == "fail")
    raise ConversionError(f"No attempt is good enough ({said}), so none is kept. The figures are in {refused}.")
