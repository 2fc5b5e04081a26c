"""Our French data as rows, for whatever here needs sentences. Knows the files; knows no model."""

import json
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[1] / "data"


def rows(folder: str) -> list[dict[str, Any]]:
    """Return the rows of every JSONL file of a folder of `data/`, in the order of the names."""
    paths = sorted((DATA / folder).glob("*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
