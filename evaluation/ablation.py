"""What the adapter brings and what the prompt brings: four runs on the same items, and what they mean for the tiers.

Base, prompts only, LoRA only, LoRA with prompts. Every two are compared (Holm over the six pairs), and the two effects
and their interaction are taken out of the four. Knows runs; asks no engine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import inf
from typing import Any, NamedTuple

from errors import EngineError
from evaluation.compared import column, must_have_answered
from evaluation.decisions import FREE_ACCURACY, Figures, freemium
from evaluation.pages import table
from evaluation.runs import Run, summary
from evaluation.statistics import Comparison, Pair, compare, contrast, estimate, holm

KIND = "ablation"
BASE, PROMPTS, LORA, BOTH = "base", "prompts only", "LoRA only", "LoRA + prompts"
CELLS = (BASE, PROMPTS, LORA, BOTH)
PREMIUM = "premium"
# Weights of the four cells, in their order: what one part brings on average over the other's presence and absence.
EFFECTS: Mapping[str, tuple[float, float, float, float]] = {
    "prompts": (-0.5, 0.5, -0.5, 0.5),
    "LoRA": (-0.5, -0.5, 0.5, 0.5),
    "together, beyond the sum": (1.0, -1.0, -1.0, 1.0),
}


class Specs(NamedTuple):
    """The four specs, by cell."""

    base: str
    prompts: str
    lora: str
    both: str


def specs_of(base: str, adapter: str | None, adapted: str | None, prompt: str) -> Specs:
    """Return the four specs.

    Args:
        base: A spec without a prompt, e.g. "hf:.data/checkpoints/demo-base" or "gguf:base.gguf".
        adapter: A PEFT folder, for a base of hf: alone; None when `adapted` is given.
        adapted: A spec of the base with the adapter in it, e.g. a merged GGUF; None when `adapter` is given.
        prompt: The variant that is meant by prompts.

    Raises:
        EngineError: Both, or neither, is given, or the base cannot take an adapter.
    """
    if "@" in base.partition(":")[2] or (adapted and "@prompt=" in adapted):
        raise EngineError(f"The ablation sets the prompts itself: give {base!r} without @prompt=.")
    if (adapter is None) == (adapted is None):
        raise EngineError("Give either --adapter DIR, or --adapted SPEC with the adapter merged into it.")
    if adapted is None:
        if not base.startswith("hf:") or "+" in base:
            raise EngineError(
                f"{base!r} takes no adapter at run time: only hf:PATH does. Merge it, and give --adapted."
            )
        adapted = f"{base}+{adapter}"
    return Specs(
        f"{base}@prompt=plain", f"{base}@prompt={prompt}", f"{adapted}@prompt=plain", f"{adapted}@prompt={prompt}"
    )


def ablate(runs: Mapping[str, Run], metric: str = "accuracy", premium: Run | None = None) -> dict[str, Any]:
    """Return `ablation.json`.

    Args:
        runs: The four cells, by name.
        metric: From 0 to 1.
        premium: A run of the premium model on the same items; None when there is none.

    Raises:
        EngineError: A cell is missing or answered nothing, or the runs answer different items.
    """
    if tuple(runs) != CELLS:
        raise EngineError(f"An ablation has the cells {', '.join(CELLS)}, in this order; given: {', '.join(runs)}.")
    for run in runs.values():
        must_have_answered(run)  # a file that is not there is no model that knows nothing
    values, clusters = column(runs, metric)
    found = compare(values, clusters)
    latency = {name: summary(run) for name, run in runs.items()}
    result: dict[str, Any] = {
        "kind": KIND,
        "task": runs[BASE].task,
        "version": runs[BASE].version,
        "metric": metric,
        "level": found.level,
        "cells": {name: {"engine": runs[name].engine, "model": runs[name].environment.get("model"), **asdict(one),
                         **_counted(latency[name])}
                  for name, one in found.estimates.items()},
        "pairs": [asdict(pair) for pair in found.pairs],
        "effects": effects(values, clusters),
        "also": {other: _means(runs, other) for other in _others(runs, metric)},
        "settings": runs[BASE].settings,
    }  # fmt: skip
    result["conclusion"] = conclusion(found, result["effects"])
    result["freemium"] = asdict(_freemium(runs, found, metric, premium))
    return result


def _counted(found: Mapping[str, float]) -> dict[str, float]:
    kept = ("failures", "latency_median_s", "latency_p95_s", "tokens_in", "tokens_out")
    return {key: found[key] for key in kept if key in found}


def _others(runs: Mapping[str, Run], metric: str) -> list[str]:
    common = [{name for sample in run.samples for name in sample.metrics} for run in runs.values()]
    return sorted(set.intersection(*common) - {metric, "grade"})


def _means(runs: Mapping[str, Run], metric: str) -> dict[str, dict[str, float]]:
    values, clusters = column(runs, metric)
    return {name: asdict(estimate(found, clusters)) for name, found in values.items()}


def effects(values: Mapping[str, Sequence[float]], clusters: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return each effect with its interval, and p after Holm over the three."""
    found = {}
    for name, weights in EFFECTS.items():
        cells = [values[cell] for cell in CELLS]
        deltas = [sum(w * value for w, value in zip(weights, row, strict=True)) for row in zip(*cells, strict=True)]
        found[name] = contrast(deltas, clusters)
    raised = holm([p for *_, p in found.values()])
    return {
        name: {"points": 100 * mean, "low": 100 * low, "high": 100 * high, "p_holm": p, "sure": p < 0.05}
        for (name, (mean, low, high, _)), p in zip(found.items(), raised, strict=True)
    }


def conclusion(found: Comparison, measured: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Say in plain words what each part brings."""
    said = []
    for name, subject, helps, harms in (
        ("prompts", "The prompts", "help", "harm"),
        ("LoRA", "The adapter", "helps", "harms"),
    ):
        one = measured[name]
        amount = f"{one['points']:+.1f} points ({one['low']:+.1f} to {one['high']:+.1f})"
        if not one["sure"]:
            said.append(f"{subject}: no effect shown, {amount}.")
        else:
            said.append(f"{subject} {helps if one['points'] > 0 else harms}: {amount}.")
    both = found.pair(PROMPTS, BOTH)
    amount = f"{100 * both.difference:+.1f} points ({100 * both.low:+.1f} to {100 * both.high:+.1f})"
    if both.different:
        better = "is better than" if both.difference > 0 else "is worse than"
        said.append(f"The adapter with prompts {better} prompts alone: {amount}.")
    else:
        said.append(f"The adapter with prompts is not told apart from prompts alone: {amount}.")
    best = max(found.estimates, key=lambda name: found.estimates[name].mean)
    top = found.estimates[best]
    enough = "over" if top.mean > FREE_ACCURACY else "under"
    said.append(
        f"The best of the four is {best}, with {top.mean:.1%}: {enough} the {FREE_ACCURACY:.0%} that are asked."
    )
    if top.clusters < 6:
        said.append(f"With {top.clusters} independent items no difference could be shown; six are the least.")
    return said


def figures_of(name: str, run: Run, metric: str) -> Figures:
    """Return how a run did, for the decision on the tiers."""
    values, clusters = column({name: run}, metric)
    machine = run.environment.get("machine", {})
    where = f"{machine.get('cores', '?')} cores of {machine.get('cpu', 'an unnamed processor')}"
    return Figures(name, estimate(values[name], clusters), summary(run).get("latency_median_s"), where)


def _freemium(runs: Mapping[str, Run], found: Comparison, metric: str, premium: Run | None) -> Any:
    free, prompts = (figures_of(name, runs[name], metric) for name in (BOTH, PROMPTS))
    gain = found.pair(PROMPTS, BOTH)
    if premium is None:
        return freemium(free, prompts, gain, None, None)
    values, clusters = column({BOTH: runs[BOTH], PREMIUM: premium}, metric)
    gap = compare(values, clusters).pair(BOTH, PREMIUM)
    return freemium(free, prompts, gain, figures_of(PREMIUM, premium, metric), gap, _wait(runs[BOTH], premium))


def _wait(free: Run, premium: Run) -> Pair | None:
    """Return how much longer premium's answers take, over the items that both answered; None where there is none."""
    theirs = {sample.id: sample.total_s for sample in premium.samples}
    both = [(one, one.total_s, theirs.get(one.id)) for one in free.samples]
    timed = [(one.cluster, ours, other) for one, ours, other in both if ours is not None and other is not None]
    if not timed:
        return None
    clusters, ours, others = zip(*timed, strict=True)
    return compare({BOTH: ours, PREMIUM: others}, clusters, bounds=(0.0, inf)).pair(BOTH, PREMIUM)


def render(result: Mapping[str, Any]) -> str:
    """Return the ablation as Markdown."""
    cells, n = result["cells"], result["cells"][BASE]
    rows = [
        [
            name,
            f"{100 * one['mean']:.1f}",
            f"{100 * one['low']:.1f} to {100 * one['high']:.1f}",
            *(f"{100 * result['also'][other][name]['mean']:.1f}" for other in result["also"]),
            f"{one['latency_median_s']:.2f}" if "latency_median_s" in one else "–",
            str(one["failures"]),
        ]
        for name, one in cells.items()
    ]
    effect_rows = [
        [name, f"{one['points']:+.1f}", f"{one['low']:+.1f} to {one['high']:+.1f}", f"{one['p_holm']:.3f}"]
        for name, one in result["effects"].items()
    ]
    pair_rows = [
        [
            f"{one['second']} − {one['first']}",
            f"{100 * one['difference']:+.1f}",
            f"{100 * one['low']:+.1f} to {100 * one['high']:+.1f}",
            f"{one['p_holm']:.3f}",
        ]
        for one in result["pairs"]
    ]
    head = ["", result["metric"], "interval", *result["also"], "median s", "failed"]
    lines = [
        "# Ablation: what the adapter brings, what the prompt brings",
        "",
        f"{n['n']} items from {n['clusters']} independent sources; points of 100, {result['level']:.0%} intervals.",
        "",
        *table(head, rows),
        "",
        *(f"- {line}" for line in result["conclusion"]),
        "",
        "![ablation](ablation.png)",
        "",
        *table(["effect", "points", "interval", "p after Holm"], effect_rows),
        "",
        *table(["difference", "points", "interval", "p after Holm"], pair_rows),
        *freemium_lines(result["freemium"]),
    ]
    return "\n".join(lines) + "\n"


def freemium_lines(decision: Mapping[str, Any]) -> list[str]:
    """Return the decision on the tiers as Markdown."""
    lines = ["", "## Free and premium", "", f"**{decision['title']}**", ""]
    lines += [f"- {line}" for line in decision["reasons"]]
    lines += ["", *table(["option", "what the figures say"], decision["options"])]
    return lines
