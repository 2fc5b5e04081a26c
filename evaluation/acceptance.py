"""`docs/ACCEPTANCE_CRITERIA.md`, made from the result files. Knows criteria; measures nothing."""

import os
from pathlib import Path

from evaluation.acceptance_criteria import CRITERIA, Found, Shelf
from evaluation.pages import table

PAGE = Path("docs/ACCEPTANCE_CRITERIA.md")
HEAD = ("criterion", "promised", "measured", "", "where")
VERDICTS = {True: "met", False: "**missed**", None: "reported"}
OPENING = (
    "Each criterion that was asked for, the value that was measured, and the file it stands in. Made by "
    "`python -m evaluation acceptance` from the result files; a test compares this page with them."
)
KEY = (
    "*Reported* is what was promised for a 7B and measured on the embedded model of 0.1 billion parameters: it is "
    "said, not aimed at. *Not measured* is what needs a GPU, a trained 7B or a class. `pipeline`, `chat_plus_eval`, "
    "`context`, `requirements` and `soak` were measured with an earlier adapter of the embedded model."
)


def render(root: Path) -> str:
    """Return the page for the result files of a repository.

    Args:
        root: The repository.
    """
    shelf = Shelf(root)
    lines = ["# Acceptance criteria", "", OPENING, "", KEY, ""]
    counted = {"met": 0, "missed": 0, "reported": 0, "not measured": 0}
    for title, criteria in CRITERIA.items():
        rows = []
        for one in criteria:
            found = one.find(shelf)
            rows.append((one.text, one.promised, *_cells(found)))
            counted["not measured" if found is None else VERDICTS[found.met].strip("*")] += 1
        lines += [f"## {title}", "", *table(HEAD, rows), ""]
    said = ", ".join(f"{count} {name}" for name, count in counted.items())
    return "\n".join([*lines[:5], "", f"{said}.", *lines[5:]]).rstrip() + "\n"


def _cells(found: Found | None) -> tuple[str, str, str]:
    if found is None:
        return "–", "not measured", "–"
    link = os.path.relpath(found.source, PAGE.parent)
    return found.value, VERDICTS[found.met], f"[{Path(found.source).name}]({link})"
