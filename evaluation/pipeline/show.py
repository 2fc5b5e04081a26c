"""The pipeline's summary as a table and as a waterfall. Knows the summary; measures nothing."""

import io
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.pages import save_small
from evaluation.pages import table as markdown
from evaluation.pipeline.steps import SPEED_UP

FALL, REST, RISE, GOAL = "#2F5D50", "#B9C7C2", "#B5533C", "#8A6D1D"
SAID = {True: "met", False: "missed", None: "not measured"}
COLUMNS = ("step", "median s", "p95 s", "first text s", "tokens sent", "tokens read", "failed", "similarity",
           "perplexity", "promised", "found")  # fmt: skip
FIGURES = {"median_latency": "latency", "tokens_sent": "tokens sent", "calls": "calls"}


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def change(value: float | None) -> str:
    """Return a gain as the change that it is.

    >>> change(0.25), change(-0.1), change(None)
    ('−25.0 %', '+10.0 %', '–')
    """
    if value is None:
        return "–"
    return f"{'−' if value >= 0 else '+'}{abs(100 * value):.1f} %"


def table(summary: Mapping[str, Any]) -> str:
    """Return the steps as Markdown, with the plan's promises beside what was found."""
    lines = [f"{summary['note']}\n"] if summary["note"] else []
    rows = [*summary["steps"], *summary["beside"].values()]
    lines += markdown((*COLUMNS, ""), [_row(one) for one in rows])
    whole = summary["total"]
    speed, likeness = whole["speed_up"], whole["similarity"]
    faster = "–" if speed is None else f"{speed:.2f} ×"
    near = "–" if likeness is None else f"{likeness:.3f}"
    lines += ["", f"The whole chain: {faster}, 3 × promised: {SAID[whole['speed_up_met']]}."]
    lines += [f"Similarity to the first step's answers: {near}, 0.92 promised: {SAID[whole['similarity_met']]}."]
    return "\n".join(lines) + "\n"


def _row(one: Mapping[str, Any]) -> list[str]:
    if "skipped" in one:
        return [one["title"], *["–"] * 8, one["promised"], one["skipped"], SAID[None]]
    likeness = (one.get("similarity") or {}).get("mean")
    surprise = one.get("perplexity")
    return [
        one["title"], _seconds(one["median_latency"]), _seconds(one.get("p95_latency")),
        _seconds(one.get("median_first_token")), str(one.get("tokens_sent", "–")), str(one.get("tokens_read", "–")),
        str(one.get("failures", "–")), "–" if likeness is None else f"{likeness:.3f}",
        "–" if surprise is None else f"{surprise:.2f}", one["promised"] or "–",
        f"{FIGURES[one['figure']]} {change(one['gain'])}" if one["promised"] else "–",
        SAID[one["met"]] if one["promised"] else "–",
    ]  # fmt: skip


def waterfall(summary: Mapping[str, Any], path: Path) -> None:
    """Draw how the median seconds of an answer go down from step to step; written under its name last."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    steps: Sequence[Mapping[str, Any]] = summary["steps"]
    values = [one["median_latency"] for one in steps]
    figure, axes = pyplot.subplots(figsize=(9.5, 4.8))
    for place, value in enumerate(values):
        before = values[place - 1] if place else value
        axes.bar(place, value, color=REST, width=0.6)
        moved = FALL if value <= before else RISE
        axes.bar(place, abs(before - value), bottom=min(before, value), color=moved, width=0.6)
        label = f"{value:.2f} s"
        if place:
            label += f"\n{change(1 - value / before)}"
        axes.text(place, max(before, value), label, ha="center", va="bottom", fontsize=8)
    goal = values[0] / SPEED_UP
    axes.axhline(goal, color=GOAL, linestyle="--", linewidth=1, label="a third of the first")
    axes.legend(frameon=False, fontsize=8)
    axes.set_xticks(range(len(steps)), [textwrap.fill(one["title"], 18) for one in steps], fontsize=8)
    axes.set(ylabel="seconds of an answer, median", ylim=(0, max(values) * 1.18), title=_title(summary))
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=100)
    pyplot.close(figure)
    save_small(drawn.getvalue(), path)


def _title(summary: Mapping[str, Any]) -> str:
    whole = summary["total"]
    base, n = summary["origin"]["base"]["name"], summary["prompts"]["n"]
    faster = "" if whole["speed_up"] is None else f", {whole['speed_up']:.2f} × in all"
    return f"{base}: {n} talks of five exchanges{faster}"
