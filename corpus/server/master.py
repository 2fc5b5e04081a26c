"""A master schema of one's own in the place of a pack's. Knows JSON Schema; makes no target itself."""

import json
import random
from dataclasses import replace
from pathlib import Path

import jsonschema

from corpus.server.domain import Domain
from corpus.server.sampler import Sampler
from errors import CorpusError

TRIED = 24  # cells: enough to meet every level that is not rare


def with_schema(domain: Domain, path: Path) -> Domain:
    """Return a domain whose targets also have to fit another schema: stricter than its own, or wider.

    The pack goes on to make the targets; of those it drafts, the ones that fit are handed out.

    Raises:
        CorpusError: The file is no JSON Schema, or the pack's targets do not fit it; the message says where.
    """
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path}: {error}; pass a JSON Schema, in UTF-8.") from None
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise CorpusError(f"{path}: no JSON Schema: {error.json_path}: {error.message[:200]}") from None
    if not isinstance(schema, dict):
        raise CorpusError(f"{path}: expected an object, as a target is one.")
    changed = replace(domain, schema=schema)
    sampler = Sampler(changed.plan(TRIED), seed=0)
    for number in range(TRIED):
        cell = sampler.draw()
        if cell is None:
            break
        try:
            changed.target(cell, random.Random(number))  # noqa: S311  a rehearsal, not a secret
        except CorpusError as error:
            raise CorpusError(f"{path} does not fit the domain: {error}") from None
    return changed
