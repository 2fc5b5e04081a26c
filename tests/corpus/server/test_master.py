"""A master schema in the place of the domain's: what fits is handed out, what cannot fit is said at the start."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from corpus.server.ahead import Future
from corpus.server.domain import load_domain
from corpus.server.master import with_schema
from corpus.server.sampler import Sampler
from errors import CorpusError

DOMAIN = load_domain("schemes")


def test_a_stricter_schema_is_kept_to(tmp_path: Path) -> None:
    path = tmp_path / "schema.full.json"
    locus = {"properties": {"locus": {"type": "string", "maxLength": 60}}}
    path.write_text(json.dumps({**DOMAIN.schema, "allOf": [locus]}), encoding="utf-8")
    changed = with_schema(DOMAIN, path)
    assert changed.schema["allOf"] == [locus]
    assert Sampler(changed.plan(5)).draw() is not None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "pass a JSON Schema"),
        ('{"type": 3}', "no JSON Schema"),
        ("true", "expected an object"),
        ('{"type": "object", "required": ["date"]}', "does not fit the domain"),
    ],
)
def test_a_schema_that_cannot_be_met_is_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "schema.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(CorpusError, match=said):
        with_schema(DOMAIN, path)


def test_a_cell_that_cannot_be_made_gives_way_to_another() -> None:
    """The sampler wants each pair of levels; the one that the schema forbids is wanted in vain, and holds up nobody."""
    pair = {"philosopher": {"const": "kant"}, "scheme": {"properties": {"id": {"const": "MP"}}}}
    domain = replace(DOMAIN, schema={**DOMAIN.schema, "not": {"properties": pair}})
    future = Future(Sampler(domain.plan(200), seed=1), Counter(), domain.paths, seed=1, number=1, returned=0)
    drawn = [future.draw(domain) for _ in range(60)]
    assert [one.number for one in drawn if one] == list(range(1, 61))
    assert not any((one.cell["philosopher"], one.cell["scheme"]) == ("kant", "MP") for one in drawn if one)
