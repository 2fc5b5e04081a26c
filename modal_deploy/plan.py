"""What would be deployed and what it would cost, as data and as text. Knows the settings; asks nobody."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from modal_deploy.config import WEIGHTS_DIR, Config
from modal_deploy.costs import (
    HOUR_S,
    MIB_PER_GIB,
    USD_PER_CORE_S,
    USD_PER_GIB_S,
    Month,
    Use,
    engine_usd_per_s,
    gateway_usd_per_s,
    isolated_usd,
    month,
)
from modal_deploy.sizing import GPUS, SHAPES
from modal_deploy.vllm_server import command

CLASSES = (1, 10, 30, 100, 300, 1000)  # pupils of the table beside those that are asked for
EXPECTED = (0.65, 0.78)  # of the ceiling, written in practice by 4-bit models of this size elsewhere; not measured here


@dataclass(frozen=True)
class Line:
    """One figure: what it is, its value as text, the formula with its numbers."""

    name: str
    value: str
    formula: str = ""


@dataclass(frozen=True)
class Plan:
    """Everything that `python -m modal_deploy plan` says.

    Attributes:
        deployed: What will run, and under which limits.
        memory: How the model lies in the GPU.
        costs: Dollars, with their formulas.
        months: One for each number of pupils.
        warnings: What the settings cannot keep.
    """

    deployed: tuple[Line, ...]
    memory: tuple[Line, ...]
    costs: tuple[Line, ...]
    months: tuple[Month, ...]
    warnings: tuple[str, ...]

    def to_data(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        more = ("usd", "usd_per_question", "within", "keeps_up")
        return {
            "deployed": {line.name: line.value for line in self.deployed},
            "memory": [asdict(line) for line in self.memory],
            "costs": [asdict(line) for line in self.costs],
            "months": [asdict(one) | {name: getattr(one, name) for name in more} for one in self.months],
            "warnings": list(self.warnings),
        }


def make_plan(config: Config, asked: Use) -> Plan:
    """Return the plan for `asked`, and for other numbers of pupils who ask as much in the same hours."""
    pupils = sorted({*CLASSES, asked.pupils})
    months = tuple(month(config, Use(n, asked.questions, asked.hours)) for n in pupils)
    own = next(one for one in months if one.use == asked)
    return Plan(tuple(_deployed(config)), tuple(_memory(config)), tuple(_costs(config, own)), months,
                tuple(_warnings(config, own)))  # fmt: skip


def _deployed(config: Config) -> Iterable[Line]:
    model, engine, gateway = config.model, config.engine, config.gateway
    kinds = {
        "merged": "adapter merged into the weights",
        "live": f"base, adapter {model.lora.folder} applied while it answers (rank {model.lora.rank})",
        "none": "base alone, no adapter",
    }
    yield Line("app", config.app)
    yield Line("model", f"{model.weights.folder}: {kinds[model.adapter]}")
    yield Line(
        "engine",
        f"vLLM {engine.vllm} on {engine.gpu}, {engine.cores:g} cores, {engine.host_gib} GiB; 0 to "
        f"{engine.max_containers} containers, asleep after {engine.idle_s} s; "
        f"{engine.max_seqs} answers at once, {engine.max_len} tokens each at most; "
        f"{'GPU snapshot' if engine.snapshot else 'no snapshot'}",
    )
    yield Line(
        "gateway",
        f"{gateway.cores:g} cores, {gateway.memory_mib} MiB; 0 to {gateway.max_containers} containers, asleep after "
        f"{gateway.idle_s} s; {gateway.max_inputs} requests at once, {gateway.timeout_s} s each at most",
    )
    yield Line("volumes", f"{config.app}-weights (read-only when serving), {config.app}-compiled, {config.app}-ledger")
    yield Line("secrets", f"{config.app}-engine, {config.app}-gateway, huggingface-secret (download alone)")
    yield Line("closed by", "proxy authentication on both addresses; a token of our own and a key behind it")
    yield Line("budget", f"${config.budget.day_usd} a day, ${config.budget.month_usd} a month; then refused unwoken")
    yield Line("command", shlex.join(command(config, WEIGHTS_DIR)))


def _memory(config: Config) -> Iterable[Line]:
    fit, engine = config.fit, config.engine
    shape, gpu = SHAPES[config.model.shape], GPUS[engine.gpu]
    share = f"{gpu.memory_mib / MIB_PER_GIB:.1f} GiB x {engine.memory_share:.2f}"
    yield Line("weights", f"{fit.weights_gib:.2f} GiB", f"{shape.linear / 1e9:.2f} G in 4 bits + 2 x "
               f"{shape.embedding / 1e9:.2f} G in 16")  # fmt: skip
    if fit.lora_gib:
        yield Line("adapter", f"{fit.lora_gib:.2f} GiB", f"rank {config.model.lora.rank} on all projections, 16 bits")
    yield Line("cache", f"{fit.kv_gib:.2f} GiB", f"{share} - weights - 2.25 GiB of work (estimated)")
    yield Line("cached tokens", f"{fit.kv_tokens}", f"cache / {shape.kv_bytes // 1024} KiB a token")
    yield Line(
        "conversations",
        f"{fit.kv_tokens // engine.max_len} of {engine.max_len} tokens, "
        f"{fit.kv_tokens // engine.typical_tokens} of {engine.typical_tokens}",
        "cached tokens / length",
    )
    low, high = (round(fit.ceiling * part) for part in EXPECTED)
    yield Line("speed of one answer", f"at most {fit.ceiling:.0f} tokens/s", f"{gpu.gb_per_s:g} GB/s / bytes read")
    yield Line("to be expected", f"{low} to {high} tokens/s", "65 to 78 % of it; an estimate, not a measurement")


def _costs(config: Config, own: Month) -> Iterable[Line]:
    engine, gateway, assumed = config.engine, config.gateway, config.assumed
    per_s, gateway_s = engine_usd_per_s(config), gateway_usd_per_s(config)
    yield Line(
        "an hour of the engine",
        f"${per_s * HOUR_S:.2f}",
        f"3600 s x ({GPUS[engine.gpu].usd_per_s} {engine.gpu} + {engine.cores:g} cores x {USD_PER_CORE_S:.7f} + "
        f"{engine.host_gib} GiB x {USD_PER_GIB_S:.8f})",
    )
    yield Line("an hour of the gateway", f"${gateway_s * HOUR_S:.3f}",
               f"3600 s x ({gateway.cores:g} cores, {gateway.memory_mib / MIB_PER_GIB:g} GiB)")  # fmt: skip
    yield Line(
        "a question asked alone",
        f"${isolated_usd(config):.3f}",
        f"({assumed.cold_s:g} s start + {assumed.answer_s:g} s answer + {engine.idle_s} s idle) x ${per_s:.6f}, "
        "and the gateway's",
    )
    yield Line(
        f"a month, {own.use.pupils} pupils",
        f"${own.usd:.2f}",
        f"r = {own.use.pupils} x {own.use.questions} questions / {own.use.hours:g} h; up for the share "
        f"1 - exp(-r x {assumed.answer_s + engine.idle_s:g} s) of it = {own.engine_hours:.1f} h with "
        f"{own.starts:.0f} starts",
    )
    yield Line(
        "the budget buys", f"{own.held / (per_s * HOUR_S):.0f} h of the engine a month", "budget / price of an hour"
    )


def _warnings(config: Config, own: Month) -> Iterable[str]:
    if not own.within:
        yield (
            f"{own.use.pupils} pupils would cost ${own.engine_usd:.2f} of engine; the budget ends at "
            f"${own.held:.2f}, and pupils then have the free tier."
        )
    if not own.keeps_up:
        yield (
            f"{own.load:.1f} answers are asked for at once on average, the engine keeps up with {own.capacity:.0f}: "
            "pupils would wait."
        )
    if config.engine.max_containers > 1:
        yield f"{config.engine.max_containers} containers may run at once: an hour may cost as many times as much."
    if config.model.adapter == "none":
        yield "No adapter: the base answers, with our prompts and passages alone."


def month_rows(months: Sequence[Month]) -> list[list[str]]:
    """Return the table of months as text, one row for each number of pupils."""
    return [
        [
            str(one.use.pupils),
            str(one.use.asked),
            f"{one.starts:.0f}",
            f"{one.engine_hours:.1f}",
            f"${one.usd:.2f}",
            f"${one.usd_per_question:.3f}",
            "yes" if one.within else "no",
        ]
        for one in months
    ]
