"""A target: the object that a case is written from. Checks it and says it as TOON. Knows no domain's content."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema
import jsonschema_rs
import toon_format

from errors import CorpusError

TOON_SPEC = "4.4"  # of the language that the pinned toon-format writes; kept with every case
SCHEMA, EMPTY = "schema", "empty"  # codes: with one of these, no rule can be asked
_FENCE = re.compile(r"\A\s*```[a-z]*\n(.*?)\n?```\s*\Z", re.DOTALL)
_RULE = re.compile(r"[A-Z]\d\d")

# By id of the schema: making one costs more than using it. The validator keeps its schema, so the id stays its own.
# The quick one, in Rust, only says whether; the other one says what is wrong, and where.
_VALIDATORS: dict[int, tuple[jsonschema_rs.Draft202012Validator, jsonschema.Draft202012Validator]] = {}

Target = dict[str, Any]


@dataclass(frozen=True)
class Finding:
    """What is wrong with a target or a text.

    Attributes:
        code: Short and stable, for programs, e.g. "S01".
        path: Where, e.g. "$.logic.premises[0]"; "$" is the whole.
        message: What is expected, for the writer.
    """

    code: str
    path: str
    message: str


def empties(value: Any, path: str = "$") -> Iterator[Finding]:
    """Yield every null, empty text, empty list and empty object: a target says what there is, and nothing else."""
    if value is None or value == "" or value == [] or value == {}:
        yield Finding(EMPTY, path, f"{json.dumps(value)} says nothing; leave the key out.")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from empties(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from empties(inner, f"{path}[{number}]")


def schema_findings(target: Mapping[str, Any], schema: Mapping[str, Any]) -> list[Finding]:
    """Return what JSON Schema finds, formats such as dates included."""
    if id(schema) not in _VALIDATORS:
        _VALIDATORS[id(schema)] = (
            jsonschema_rs.Draft202012Validator(dict(schema), validate_formats=True),
            jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()),
        )
    quick, thorough = _VALIDATORS[id(schema)]
    if quick.is_valid(target):
        return []
    errors = sorted(thorough.iter_errors(target), key=lambda error: error.json_path)
    return [_found(error, schema) for error in errors]


def _found(error: jsonschema.ValidationError, schema: Mapping[str, Any]) -> Finding:
    """Say an error by the nearest $comment above it: "R05: why" is the finding R05, "why" is a finding "schema"."""
    said = ""
    at: Any = schema
    for step in error.absolute_schema_path:
        at = at[step]
        said = at.get("$comment", said) if isinstance(at, Mapping) else said
    code, _, why = said.partition(": ")
    if not _RULE.fullmatch(code):
        code, why = SCHEMA, said
    return Finding(code, error.json_path, why or error.message[:200])


def said_toon(target: Mapping[str, Any]) -> str:
    """Say a target in TOON that is known to survive it."""
    return toon_format.dumps(dict(target))


def to_toon(target: Mapping[str, Any]) -> str:
    """Say a target in TOON, and read it back.

    Raises:
        CorpusError: What would be read back is another object.
    """
    text = said_toon(target)
    if toon_format.loads(text) != target:
        raise CorpusError("a target does not survive TOON; use texts, whole numbers, lists and objects alone.")
    return text


def from_toon(text: str) -> Target:
    r"""Read TOON that a writer sent back, in a Markdown fence or not.

    Raises:
        CorpusError: It is empty, no TOON, or no object; the message names the line.

    >>> from_toon("```toon\nname: Inès\n```")
    {'name': 'Inès'}
    """
    fenced = _FENCE.match(text)
    body = fenced[1] if fenced else text
    if not body.strip():
        raise CorpusError("the TOON is empty; send the whole object.")
    try:
        value = toon_format.loads(body)
    except toon_format.ToonDecodeError as error:
        raise CorpusError(f"no TOON: {error}.") from None
    if not isinstance(value, dict):
        raise CorpusError(f"the TOON says a {type(value).__name__}; expected an object.")
    return value
