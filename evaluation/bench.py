"""How fast an engine answers: the same chats of five exchanges, timed one after the other. Knows no measure of quality.

A chat that is asked again would be read from the engine's cache, so every repeat begins with words of its own: what is
shared is the philosopher's system text alone, as between two pupils. The first chats only warm the machine up.
"""

import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from dialogue.conversation import Conversation, Turn
from dialogue.prompt import STOPS, build_messages, prefix_for
from engines.base import ChatMessage, SamplingParams
from errors import EngineError, MessageError, PersonaError
from evaluation.result import as_json, must_be_new, sha256_of, write_text
from evaluation.running import Task
from evaluation.runs import Document, Run, Sample, must_be_unique, percentile, rows_of
from personas import get_persona

NAME, VERSION = "bench", 1
PROMPTS = Path("data/eval/bench_prompts.jsonl")
WARM_UPS = 2  # chats whose times are dropped
MAX_TOKENS = 128
BASELINE, ENVIRONMENT = "baseline.json", "ENVIRONMENT.md"
PACKAGES = ("llama-cpp-python", "numpy", "torch", "transformers", "peft", "bitsandbytes")


@dataclass(frozen=True)
class Chat:
    """A talk that waits for an answer.

    Attributes:
        id: Its name.
        conversation: Philosopher and turns, the last one the pupil's.
    """

    id: str
    conversation: Conversation


def load_chats(path: Path, limit: int | None = None) -> list[Chat]:
    """Read chats: `id`, `persona`, `history` (a list of role and content, oldest first) and `message`.

    Raises:
        EngineError: The file cannot be read, or a line is no chat.
    """
    found: list[Chat] = []
    for number, row in rows_of(path)[:limit]:
        try:
            found.append(_chat(row))
        except (KeyError, TypeError, ValueError, AttributeError, MessageError, PersonaError) as error:
            raise EngineError(f"{path.name}:{number}: no chat ({type(error).__name__}: {error}).") from None
    return found


def _chat(row: dict[str, Any] | str) -> Chat:
    if isinstance(row, str):
        raise TypeError(row)
    turns = [Turn(one["role"], one["content"]) for one in row["history"]] + [Turn("user", row["message"])]
    if any(one.role not in ("user", "assistant") or not one.text.strip() for one in turns):
        raise ValueError("a turn is empty, or of nobody's")
    return Chat(str(row["id"]), Conversation(get_persona(row["persona"]), tuple(turns)))


def bench_task(
    path: Path = PROMPTS, *, repeats: int = 1, limit: int | None = None, max_tokens: int = MAX_TOKENS
) -> Task:
    """Return the task: `WARM_UPS` chats, then every chat `repeats` times.

    Raises:
        EngineError: The file of chats cannot be used.
    """
    chats = load_chats(path, limit)
    rounds = [(f"{chat.id}#warm", chat, "échauffement") for chat in chats[:WARM_UPS]]
    rounds += [(f"{chat.id}#{n}", chat, f"essai {n}") for n in range(1, repeats + 1) for chat in chats]
    documents = tuple(
        Document(name, chat.id, chat.conversation.persona.key, ("answered",), {"chat": chat, "mark": mark})
        for name, chat, mark in rounds
    )
    must_be_unique(documents, path.name)
    params = SamplingParams(temperature=0, repeat_penalty=1.0, max_tokens=max_tokens, stop=STOPS)

    def prompt(document: Document, variant: str | None, n_params: int) -> tuple[list[ChatMessage], SamplingParams]:
        messages = messages_of(document.facts["chat"].conversation, document.facts["mark"], variant, n_params)
        return messages, params

    settings = {
        "set": [path.as_posix()],
        "set_sha256": [sha256_of(path)],
        "limit": limit,
        "repeats": repeats,
        "warm_ups": min(WARM_UPS, len(chats)),
        "sampling": {"temperature": 0, "repeat_penalty": 1.0, "max_tokens": max_tokens},
    }
    return Task(NAME, VERSION, documents, prompt, lambda _, answer: {"answered": float(bool(answer))}, settings)


def messages_of(conversation: Conversation, mark: str, variant: str | None, n_params: int) -> list[ChatMessage]:
    """Return what is sent; `mark` stands before the pupil's first words, so that no cache holds this chat yet."""
    first, *others = conversation.turns
    marked = replace(conversation, turns=(replace(first, text=f"({mark}) {first.text}"), *others))
    return [
        {"role": one["role"], "content": one["content"]}
        for one in build_messages(marked, prefix=prefix_for(n_params))
        if variant != "plain" or one["role"] != "system"
    ]


def timed(run: Run) -> list[Sample]:
    """Return the samples that count: those of the warm-up are left out, those that failed too."""
    return [sample for sample in run.samples if sample.error is None and not sample.id.endswith("#warm")]


def figures(run: Run) -> dict[str, Any]:
    """Return the benchmark's figures: seconds, tokens, MB; None where nothing was answered.

    `median_latency`, `p95_latency`, `gpu_mem` and `tokens_sent` are the names that the plan of optimisation reads.
    """
    samples = timed(run)
    seconds = sorted(sample.total_s for sample in samples if sample.total_s is not None)
    first = sorted(sample.first_token_s for sample in samples if sample.first_token_s is not None)
    speeds = [
        (sample.tokens_out - 1) / (sample.total_s - sample.first_token_s)
        for sample in samples
        if sample.tokens_out and sample.total_s and sample.first_token_s and sample.total_s > sample.first_token_s
    ]
    memory = run.environment.get("memory", {})
    counted = [sample for sample in run.samples if not sample.id.endswith("#warm")]
    return {
        "n": len(samples),
        "failures": sum(sample.error is not None for sample in counted),
        "median_latency": round(statistics.median(seconds), 4) if seconds else None,
        "p95_latency": percentile(seconds, 95) if seconds else None,
        "min_latency": seconds[0] if seconds else None,
        "max_latency": seconds[-1] if seconds else None,
        "median_first_token": round(statistics.median(first), 4) if first else None,
        "p95_first_token": percentile(first, 95) if first else None,
        "median_tokens_per_s": round(statistics.median(speeds), 2) if speeds else None,
        "tokens_sent": sum(sample.tokens_in or 0 for sample in samples),
        "tokens_written": sum(sample.tokens_out or 0 for sample in samples),
        "memory_peak_mb": memory.get("peak_mb"),
        "gpu_mem": memory.get("gpu_peak_mb"),
    }


def write_baseline(run: Run, out: Path, *, force: bool = False) -> dict[str, Any]:
    """Write `baseline.json` and `ENVIRONMENT.md` into a folder; return what the first one holds.

    Raises:
        EngineError: One of them exists, and `force` was not given.
    """
    for name in (BASELINE, ENVIRONMENT):
        must_be_new(out / name, force=force)
    found = {
        "engine": run.engine,
        **figures(run),
        "settings": run.settings,
        "environment": {**run.environment, "versions": versions()},
    }
    write_text(out / ENVIRONMENT, environment_page(run))
    write_text(out / BASELINE, as_json(found))
    return found


def versions() -> dict[str, str | None]:
    """Return the version of every library that computes; None where it is not installed."""
    found: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def gpu_name(listing: Path = Path("/proc/driver/nvidia/gpus")) -> str | None:
    """Return the model of the first NVIDIA card, as its driver tells it; None where there is none."""
    for told in sorted(listing.glob("*/information")) if listing.is_dir() else ():
        for line in told.read_text(encoding="utf-8").splitlines():
            if line.startswith("Model:"):
                return line.partition(":")[2].strip()
    return None


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo"), wanted: Sequence[str] = ("avx2", "f16c", "fma", "avx512f")) -> str:
    """Return which of the instruction sets that llama.cpp uses the processor has."""
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    flags = next((set(line.split()) for line in lines if line.startswith("flags")), set[str]())
    return ", ".join(flag for flag in wanted if flag in flags) or "unknown"


def memory_gb(meminfo: Path = Path("/proc/meminfo")) -> float | None:
    """Return the machine's memory in GB of 10^9 bytes; None where the system does not tell."""
    lines = meminfo.read_text(encoding="utf-8").splitlines() if meminfo.is_file() else []
    total = next((int(line.split()[1]) for line in lines if line.startswith("MemTotal")), None)
    return None if total is None else round(total * 1024 / 1e9, 1)


def environment_page(run: Run) -> str:
    """Return `ENVIRONMENT.md`: where and with what the figures were taken."""
    machine: Mapping[str, Any] = run.environment["machine"]
    model = run.environment.get("model", {})
    rows = {
        "Date": run.environment["date"],
        "Command": f"`{run.environment['command']}`",
        "Engine": f"`{run.engine}`",
        "Model's sha256": model.get("sha256") or "not a file of this machine",
        "Chat template's sha256": run.settings.get("template_sha256") or "none in the file",
        "Processor": f"{machine['cpu']}, {machine['cores']} cores",
        "Instructions": cpu_flags(),
        "Memory": f"{memory_gb() or '?'} GB",
        "Load at the end": machine["load_1min"],
        "GPU": gpu_name() or "none",
        "System": platform.platform(),
        "Python": run.environment["python"],
        **{name: value or "not installed" for name, value in versions().items()},
    }
    lines = ["# Environment of `baseline.json`", "", "| | |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {value} |" for name, value in rows.items())]) + "\n"
