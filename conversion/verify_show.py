"""A verification as a Markdown table and as one picture. Knows the report; measures nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from conversion.card import gates_table
from conversion.report import Gate, VerifyReport

COLOURS: Mapping[str, str] = {"pass": "#4c8c6b", "warn": "#c9932b", "fail": "#b5403a", "skipped": "#9a9a9a"}
# The gates that are drawn: beginning of their names, title, axis on a logarithmic scale.
PANELS = (
    ("kl ", "Divergence from the checkpoint (KL, nats)", True),
    ("top-1 ", "Same likeliest token", False),
    ("perplexity ", "Increase of perplexity", False),
    ("adapter kept ", "What is kept of the adapter", False),
)
SMALLEST = 1e-7  # what a logarithmic axis can show


def markdown(report: VerifyReport) -> str:
    """Return the verdict and the gates as a table."""
    verdict = report.praise if report.passed else "The model is **not** fit to be published."
    return f"{verdict}\n\n{gates_table(report.gates)}\n"


def draw(report: VerifyReport, path: Path) -> Path:
    """Write a picture of the figures that say how near the files are to the checkpoint; an earlier one is replaced."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [(title, log, gates) for start, title, log in PANELS if (gates := _of(report.gates, start))]
    figure = Figure(figsize=(11, 3.2 * max(1, (len(panels) + 1) // 2)), layout="constrained")
    FigureCanvasAgg(figure)
    for number, (title, log, gates) in enumerate(panels, 1):
        axes = figure.add_subplot((len(panels) + 1) // 2, 2, number)
        _panel(axes, title, gates, log=log)
    partial = path.with_name(path.name + ".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(partial, format="png", dpi=110)
    partial.replace(path)
    return path


def _of(gates: Sequence[Gate], start: str) -> list[Gate]:
    return [gate for gate in gates if gate.name.startswith(start) and isinstance(gate.value, int | float)]


def _panel(axes: Any, title: str, gates: Sequence[Gate], *, log: bool) -> None:
    names = [gate.name.split(" ")[-1] for gate in gates]
    values = [float(gate.value or 0) for gate in gates]
    shown = [max(value, SMALLEST) if log else value for value in values]
    axes.barh(range(len(gates)), shown, color=[COLOURS[gate.verdict] for gate in gates])
    axes.set_yticks(range(len(gates)), names)
    axes.invert_yaxis()
    axes.set_title(title, fontsize=10, loc="left")
    if log:
        axes.set_xscale("log")
    for row, (gate, value) in enumerate(zip(gates, values, strict=True)):
        if isinstance(gate.threshold, int | float):
            axes.plot([gate.threshold] * 2, [row - 0.4, row + 0.4], color="black", linewidth=1.2)
        axes.annotate(f"{value:.4g}", (shown[row], row), xytext=(3, 0), textcoords="offset points", va="center", size=8)
    axes.margins(x=0.18)
    axes.spines[["top", "right"]].set_visible(False)
