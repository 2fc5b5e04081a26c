"""The notebook runs from top to bottom on a small base; it calls the commands that a terminal would."""

import json
from pathlib import Path
from typing import Any

import nbformat.v4
import pytest
from nbclient import NotebookClient

from tests.conversion.families import mistral_spm

pytestmark = [pytest.mark.smoke, pytest.mark.filterwarnings("default")]
ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "train_mistral_7b_lora.ipynb"


def test_it_runs_from_top_to_bottom(tmp_path: Path) -> None:
    notebook: Any = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    place = next(n for n, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    data = str(ROOT / "data" / "schemes_levelA_base.jsonl")
    options = ["--base-model", str(mistral_spm(tmp_path / "base")), "--train-file", data, "--eval-file", data]
    options += ["--max-steps", "2", "--threads", "1"]
    small = f"FORM = 'smoke'\nOUTPUT = {str(tmp_path / 'out')!r}\nOPTIONS = {options!r}\n"
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(small))  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    said = json.dumps([cell.get("outputs", []) for cell in notebook.cells], ensure_ascii=False)
    assert "2 steps over" in said
    assert "⟦" in said
    assert "A trial, limited to" in said
    assert "image/png" in said
    assert (tmp_path / "out" / "training_summary.json").is_file()


def test_it_is_kept_without_outputs() -> None:
    """What a run said is no part of the file: it would name somebody's machine."""
    notebook: Any = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)
