"""The picture of a run. Knows losses by step, and nothing of how they came about."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def draw_losses(
    train: Sequence[Mapping[str, Any]], held_out: Sequence[Mapping[str, Any]], path: Path, title: str
) -> None:
    """Write a PNG of the loss on training batches and on the held-out examples.

    Args:
        train: Rows with `step` and `loss` (nats per trained token).
        held_out: The same for the held-out examples.
        path: The file to write.
        title: Shown above the axes.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([row["step"] for row in train], [row["loss"] for row in train], label="training", color="#7a8ca3")
    axes.plot(
        [row["step"] for row in held_out], [row["loss"] for row in held_out], "o-", label="held out", color="#9a3324"
    )
    axes.set(xlabel="step", ylabel="loss, nats per token", title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    partial = path.with_suffix(".partial")
    figure.savefig(partial, format="png", dpi=120)
    partial.rename(path)
