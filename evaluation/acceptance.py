"""`docs/ACCEPTANCE_CRITERIA.md`, made from the result files. Knows criteria; measures nothing."""

import os
from collections.abc import Iterable
from pathlib import Path

from evaluation.acceptance_criteria import CRITERIA, DEMO, RESULTS, Found, Shelf, weights_of
from evaluation.pages import table
from evaluation.result import sha256_of

PAGE = Path("docs/ACCEPTANCE_CRITERIA.md")
HEAD = ("criterion", "promised", "measured", "", "where")
VERDICTS = {True: "met", False: "**missed**", None: "reported"}
OPENING = (
    "Each criterion that was asked for, the value that was measured, and the file it stands in. Made by "
    "`python -m evaluation acceptance` from the result files; a test compares this page with them."
)
KEY = (
    "*Reported* is what was promised for a 7B and measured on the embedded model of 0.1 billion parameters: it is "
    "said, not aimed at. *Not measured* is what needs a GPU, a trained 7B or a class."
)
MANIFEST, ADAPTER = "models/demo/manifest.json", "models/demo/adapter/adapter_model.safetensors"


def render(root: Path) -> str:
    """Return the page for the result files of a repository.

    Args:
        root: The repository.
    """
    shelf = Shelf(root)
    lines = ["# Acceptance criteria", "", OPENING, "", KEY, ""]
    sources: set[str] = set()  # of what was measured on the embedded model
    counted = {"met": 0, "missed": 0, "reported": 0, "not measured": 0}
    for title, criteria in CRITERIA.items():
        rows = []
        for one in criteria:
            found = one.find(shelf)
            rows.append((one.text, one.promised, *_cells(found)))
            if found is not None and DEMO in found.value:
                sources.add(found.source)
            counted["not measured" if found is None else VERDICTS[found.met].strip("*")] += 1
        lines += [f"## {title}", "", *table(HEAD, rows), ""]
    said = ", ".join(f"{count} {name}" for name, count in counted.items())
    lines[5:5] = ["", f"{said}.", *_other_weights(shelf, sources)]
    return "\n".join(lines).rstrip() + "\n"


def _other_weights(shelf: Shelf, sources: Iterable[str]) -> list[str]:
    """Say which results were not, or perhaps not, measured with the weights that ship."""
    manifest, adapter = shelf.file(MANIFEST), shelf.root / ADAPTER
    ships = {manifest["gguf_sha256"] if manifest else None, sha256_of(adapter) if adapter.is_file() else None}
    measured = {Path(one).stem: weights_of(shelf.file(one)) for one in sorted(sources) if one.startswith(str(RESULTS))}
    earlier = [name for name, found in measured.items() if found is not None and found not in ships]
    silent = [name for name, found in measured.items() if found is None]
    said = []
    if earlier:
        said.append(f"Measured with an earlier adapter of the embedded model: {_listed(earlier)}.")
    if silent:
        said.append(f"With which adapter, these results do not say: {_listed(silent)}.")
    return ["", " ".join(said)] if said else []


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _cells(found: Found | None) -> tuple[str, str, str]:
    if found is None:
        return "–", "not measured", "–"
    link = os.path.relpath(found.source, PAGE.parent)
    return found.value, VERDICTS[found.met], f"[{Path(found.source).name}]({link})"
