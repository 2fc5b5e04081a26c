"""The picture of a run. Knows losses and learning rates by step, and nothing of how they came about."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

COLOURS = 16


def draw_losses(
    train: Sequence[Mapping[str, Any]], held_out: Sequence[Mapping[str, Any]], path: Path, title: str
) -> None:
    """Write a PNG: the loss on training batches and on the held-out examples, and the learning rate below.

    Args:
        train: Rows with `step`, `loss` (nats per trained token) and, where known, `learning_rate`.
        held_out: Rows with `step` and `loss` on the held-out examples.
        path: The file to write.
        title: Shown above the axes.
    """
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(7, 5), layout="constrained")
    axes, rates = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes.plot([row["step"] for row in train], [row["loss"] for row in train], label="training", color="#7a8ca3")
    axes.plot(
        [row["step"] for row in held_out], [row["loss"] for row in held_out], "o-", label="held out", color="#9a3324"
    )
    axes.set(ylabel="loss, nats per token", title=title)
    axes.legend()
    known = [row for row in train if "learning_rate" in row]
    rates.plot([row["step"] for row in known], [row["learning_rate"] for row in known], color="#5c7a5c")
    rates.set(xlabel="step", ylabel="learning rate")
    for one in (axes, rates):
        one.grid(alpha=0.3)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=120)
    partial = path.with_suffix(".partial")
    with Image.open(drawn) as image:  # three lines and some grey: a palette is a quarter of the bytes
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(partial, format="png", optimize=True)
    partial.rename(path)
