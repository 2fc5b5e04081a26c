"""The measurement itself, small: a server that is killed thrice, and a log that is read back."""

import random
from pathlib import Path
from typing import Any

import pytest

from benchmarks.instruction_load import case_text
from benchmarks.instruction_server import killed, least_issues, replayed, skewed_seed
from corpus.server.domain import load_domain
from corpus.server.quotas import Plan
from corpus.server.sampler import Sampler
from corpus.server.texts import Copies, findings


def test_a_killed_server_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    found = killed(tmp_path, 3, total=2000, under_load_s=0.3)
    assert found["acknowledged_submissions"] > 0
    assert (found["lost"], found["accepted_twice"], found["files_rebuilt_otherwise"]) == ([], [], [])


def test_the_simulated_writers_write_what_is_accepted() -> None:
    domain = load_domain("succession")
    sampler = Sampler(domain.plan(60), seed=5)
    for number in range(8):
        cell = sampler.draw()
        assert cell is not None
        target = domain.target(cell, random.Random(number))  # noqa: S311
        text = case_text(target, random.Random(number))  # noqa: S311
        assert findings(text, domain.facts(target), Copies()) + domain.text_findings(target, text) == []


def test_a_log_read_back(tmp_path: Path) -> None:
    domain = load_domain("succession")
    skewed_seed(domain, 12, tmp_path)
    sampler = Sampler(domain.plan(20), seed=1)
    events: list[dict[str, Any]] = [{"event": "began", "id": ""}]
    events += [{"event": "issued", "id": str(number), "cell": sampler.draw()} for number in range(4)]
    events += [{"event": "expired", "id": "0"}, {"event": "accepted", "id": "1"}]
    found = replayed(domain, 1000, tmp_path, events)
    assert found["wanted"] == 988
    assert found["events"] == {"began": 1, "issued": 4, "expired": 1, "accepted": 1}
    assert found["pairs"]["seen"] > 0
    assert found["pairs"]["all_seen_after"] is None


@pytest.mark.parametrize(
    ("weights", "least"),
    [
        ({"a": {"x": 1, "y": 1}, "b": {"u": 1, "v": 1}}, 3),  # x comes every second time, and has to come twice
        ({"a": {"x": 9, "y": 1}, "b": {"u": 1, "v": 1}}, 11),
    ],
)
def test_the_least_number_of_issues(weights: dict[str, dict[str, float]], least: int) -> None:
    assert least_issues(Sampler(Plan(weights, total=100))) == least
