"""A target: the object that a case is written from. Checks it and says it as TOON. Knows no domain's content."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema
import toon_format

from errors import CorpusError

TOON_SPEC = "4.4"  # of the language that the pinned toon-format writes; kept with every case
_FENCE = re.compile(r"\A\s*```[a-z]*\n(.*?)\n?```\s*\Z", re.DOTALL)

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
        yield Finding("empty", path, f"{json.dumps(value)} says nothing; leave the key out.")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from empties(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from empties(inner, f"{path}[{number}]")


def schema_findings(target: Mapping[str, Any], schema: Mapping[str, Any]) -> list[Finding]:
    """Return what JSON Schema finds, formats such as dates included."""
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    errors = sorted(validator.iter_errors(target), key=lambda error: error.json_path)
    return [Finding("schema", error.json_path, error.message[:200]) for error in errors]


def to_toon(target: Mapping[str, Any]) -> str:
    """Say a target in TOON.

    Raises:
        CorpusError: What would be read back is another object.
    """
    text = toon_format.dumps(dict(target))
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
