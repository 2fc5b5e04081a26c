"""Tables and bars for the pages of this room. Knows Markdown and matplotlib; knows no measure."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

COLOURS = 64  # of a picture: a bar chart has a dozen, and its edges a few shades of them
DPI = 90
INK = "#2b2b2b"
BARS = ("#9aa5b1", "#5b7db1", "#c98b4b", "#3f7d5d", "#8a5a83", "#b0a149")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    r"""Return a Markdown table, a line each; what would end a cell is escaped.

    >>> table(["a"], [["x|y"]])
    ['| a |', '|---|', '| x\\|y |']
    """
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [" ".join(str(cell).replace("|", "\\|").split()) for cell in row]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def bars(
    values: Mapping[str, tuple[float, float, float]], path: Path, *, title: str, label: str, limit: float | None = None
) -> Path:
    """Draw means with their intervals as a PNG of 64 colours.

    Args:
        values: Name to mean and both ends of its interval, in points of 100.
        path: Where; replaced when it is there.
        title: Above the picture.
        label: Of the value axis.
        limit: A dashed line: what is asked.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.2, 0.55 * len(values) + 1.6))
    names = list(values)
    for at, name in enumerate(names):
        mean, low, high = values[name]
        axes.barh(at, mean, color=BARS[at % len(BARS)], height=0.62)
        axes.plot([low, high], [at, at], color=INK, linewidth=1.6)
        axes.text(max(high, mean) + 1.2, at, f"{mean:.1f}", va="center", fontsize=9, color=INK)
    if limit is not None:
        axes.axvline(limit, color=INK, linestyle="--", linewidth=1)
        axes.text(limit, -0.75, f"asked: {limit:g}", ha="center", va="bottom", fontsize=8, color=INK)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set(xlim=(0, 108), xlabel=label)
    axes.set_title(title, loc="left", fontsize=11, pad=14)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI)
    pyplot.close(figure)
    return save_small(drawn.getvalue(), path)


def save_small(png: bytes, path: Path) -> Path:
    """Write a PNG with at most 64 colours under its final name last, and return the path."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with Image.open(io.BytesIO(png)) as image:
        few = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        few.save(partial, format="png", optimize=True)
    partial.rename(path)
    return path
