"""A master schema in the place of the domain's: what fits is handed out, what cannot fit is said at the start."""

import json
from pathlib import Path

import pytest

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
