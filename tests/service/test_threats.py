"""The table of threats is checked like code: sixteen rows, and every test that it names exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| (T\d+) \|[^|]*\|[^|]*\|(?P<tests>[^|]*)\|$", re.M)
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
WAITING = {"T13"}  # nothing can be bought yet


def test_every_threat_has_a_test_that_exists() -> None:
    rows = {row[1]: row["tests"] for row in ROW.finditer((ROOT / "docs" / "security.md").read_text(encoding="utf-8"))}
    assert list(rows) == [f"T{n}" for n in range(1, 17)]
    named = {threat: NAMED.findall(tests) for threat, tests in rows.items()}
    assert {threat for threat, tests in named.items() if not tests} == WAITING
    for tests in named.values():
        for file, name in tests:
            written = (ROOT / file).read_text(encoding="utf-8")
            assert re.search(rf"^(?:async )?def {name}\(", written, re.M), f"{file}::{name}"
