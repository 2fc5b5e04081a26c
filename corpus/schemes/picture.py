"""The scheme dataset on one page. Knows a report; draws with matplotlib."""

from pathlib import Path
from typing import Any

from corpus.dialogues import PHILOSOPHERS
from corpus.schemes.augment import MOST_WORDS, NEAR_ITEM
from corpus.schemes.check import SchemeReport
from errors import CorpusError

FORMS = ("exercise", "dialogue", "refusal")
SPLITS = ("train", "validation", "test")
COLOURS = {"exercise": "#3c6e71", "dialogue": "#d9a441", "refusal": "#a23b3b"}


def _stacked(axes: Any, counts: dict[str, dict[str, int]], parts: tuple[str, ...], colours: list[str]) -> None:
    names = list(counts)
    below = [0] * len(names)
    for part, colour in zip(parts, colours, strict=True):
        heights = [counts[name].get(part, 0) for name in names]
        axes.bar(names, heights, bottom=below, label=part, color=colour)
        below = [low + high for low, high in zip(below, heights, strict=True)]
    axes.legend(fontsize=7, ncols=len(parts), loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)


def draw(report: SchemeReport, rows: list[dict[str, Any]], parts: dict[str, str], path: Path) -> None:
    """Draw counts, likeness and lengths of both files into a PNG, under its final name last.

    Args:
        report: Of `check_schemes`.
        rows: Every line of both files.
        parts: Train, validation or test, by id.
        path: The picture; an older one is replaced.

    Raises:
        CorpusError: There is nothing to draw.
    """
    if not rows:
        raise CorpusError("No scheme items to draw; restore data/schemes_levelA_base.jsonl.")
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    def count(key: str, value: Any, other: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for row in rows:
            if row[key] == value:
                part = parts[row["id"]] if other == "part" else row[other]
                found[part] = found.get(part, 0) + 1
        return found

    schemes = sorted({row["scheme"] for row in rows})
    figure, grid = pyplot.subplots(2, 3, figsize=(13, 7.6), layout="constrained")
    figure.suptitle(f"Scheme dataset: {len(rows)} items ({' + '.join(map(str, report.rows.values()))})")
    _stacked(grid[0, 0], {name: count("scheme", name, "form") for name in schemes}, FORMS, list(COLOURS.values()))
    greys = ["#284b63", "#8fa6b2", "#d9d9d9"]
    _stacked(grid[0, 1], {name: count("scheme", name, "part") for name in schemes}, SPLITS, greys)
    _stacked(
        grid[0, 2], {name: count("philosopher", name, "form") for name in PHILOSOPHERS}, FORMS, list(COLOURS.values())
    )
    notions = sorted(report.tables["notion"].items(), key=lambda pair: pair[1])
    grid[1, 0].barh([name for name, _ in notions], [number for _, number in notions], color="#3c6e71")
    grid[1, 0].tick_params(axis="y", labelsize=7)
    grid[1, 0].set_title("items by notion", fontsize=9)
    grid[1, 1].hist(report.nearest, bins=30, color="#8fa6b2")
    grid[1, 1].axvline(NEAR_ITEM, color="#a23b3b")
    grid[1, 1].set_title(f"likeness to the nearest item, %; refused from {NEAR_ITEM}", fontsize=9)
    grid[1, 2].hist(report.lengths, bins=range(1, MOST_WORDS + 3), color="#d9a441")
    grid[1, 2].set_title(f"words of the longest sentence; at most {MOST_WORDS}", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    figure.savefig(partial, format="png", dpi=90)
    pyplot.close(figure)
    partial.replace(path)
