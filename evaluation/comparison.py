"""Several runs side by side: means with intervals, every two of them, the adopt-or-keep rule. Knows runs, no engine."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from evaluation import requirements
from evaluation.compared import column
from evaluation.decisions import BASELINE, adopt_or_keep
from evaluation.pages import table
from evaluation.runs import Run, summary
from evaluation.statistics import Comparison, compare

KIND = "compare"


def compare_runs(runs: Mapping[str, Run], metric: str, *, baseline: float = BASELINE) -> dict[str, Any]:
    """Return `compare.json`.

    Args:
        runs: By name, the baseline first; on the same documents.
        metric: From 0 to 1.
        baseline: Points that a requirements model has to beat.

    Raises:
        EngineError: Fewer than two runs, or they answer different documents.
    """
    values, clusters = column(runs, metric)
    found = compare(values, clusters)
    first, *others = runs
    best = max(others, key=lambda name: found.estimates[name].mean)
    result: dict[str, Any] = {
        "kind": KIND,
        "task": runs[first].task,
        "version": runs[first].version,
        "metric": metric,
        "level": found.level,
        "baseline": first,
        "best_other": best,
        "models": {name: _model(run, name, found) for name, run in runs.items()},
        "pairs": [asdict(pair) for pair in found.pairs],
        "conclusion": conclusion(found, first),
        "decision": None,
    }
    if metric == "requirements":
        costs = requirements.lost([sample.metrics for sample in runs[best].samples])
        result["decision"] = asdict(adopt_or_keep(best, found.estimates[best], costs, baseline=baseline))
    if metric == "similarity":
        chance, _ = column(runs, "chance")
        result["chance"] = {name: round(sum(found) / len(found), 4) for name, found in chance.items()}
    return result


def _model(run: Run, name: str, found: Comparison) -> dict[str, Any]:
    counted = summary(run)
    kept = ("failures", "latency_median_s", "latency_p95_s", "tokens_in", "tokens_out", "tokens_per_s")
    return {
        "engine": run.engine,
        "model": run.environment.get("model"),
        **asdict(found.estimates[name]),
        "p_best": round(found.p_best[name], 4),
        **{key: counted[key] for key in kept if key in counted},
    }


def conclusion(found: Comparison, first: str) -> list[str]:
    """Say in plain words how each model compares with the first, and which is best."""
    said = []
    for name in list(found.estimates)[1:]:
        pair = found.pair(first, name)
        amount = f"{100 * pair.difference:+.1f} points ({100 * pair.low:+.1f} to {100 * pair.high:+.1f})"
        if pair.different:
            said.append(f"{name} is {'better' if pair.difference > 0 else 'worse'} than {first}: {amount}.")
        else:
            said.append(f"{name} and {first} are not told apart by these documents: {amount}.")
    clusters = next(iter(found.estimates.values())).clusters
    if clusters < 6:
        said.append(f"With {clusters} independent documents no difference could be shown; six are the least.")
    return said


def render(result: Mapping[str, Any]) -> str:
    """Return the comparison as Markdown."""
    models = result["models"]
    n = next(iter(models.values()))
    rows = [
        [
            name,
            f"{100 * one['mean']:.1f}",
            f"{100 * one['low']:.1f} to {100 * one['high']:.1f}",
            f"{one['p_best']:.0%}",
            str(one["failures"]),
            f"{one['latency_median_s']:.2f}" if "latency_median_s" in one else "–",
        ]
        for name, one in models.items()
    ]
    pairs = [
        [
            f"{pair['second']} − {pair['first']}",
            f"{100 * pair['difference']:+.1f}",
            f"{100 * pair['low']:+.1f} to {100 * pair['high']:+.1f}",
            f"{pair['p']:.3f}",
            f"{pair['p_holm']:.3f}",
            "yes" if pair["different"] else "no",
        ]
        for pair in result["pairs"]
    ]
    lines = [
        f"# {result['metric']}: {len(models)} models on {n['n']} documents",
        "",
        f"Points of 100, {result['level']:.0%} intervals; {n['clusters']} independent sources.",
        "",
        *table(["model", "points", "interval", "best in", "failed", "median s"], rows),
        "",
        *table(["difference", "points", "interval", "p", "p after Holm", "different"], pairs),
        "",
        *(f"- {line}" for line in result["conclusion"]),
    ]
    if result.get("chance"):
        said = ", ".join(f"{name} {value:.3f}" for name, value in result["chance"].items())
        lines += ["", f"Similarity with the reference of another document, which no answer can claim as merit: {said}."]
    lines += decision_lines(result["decision"])
    return "\n".join(lines) + "\n"


def decision_lines(decision: Mapping[str, Any] | None) -> list[str]:
    """Return a decision as Markdown; nothing where there is none."""
    if decision is None:
        return []
    listed = [f"- {line}" for line in (*decision["reasons"], *decision["next_steps"])]
    return ["", f"**{decision['title']}**", "", *listed]
