"""From a JSON Schema to the grammar that llama.cpp samples by. Knows the library's own converter; knows no model.

Anybody may send a schema. What would outgrow the memory, or be read in thousands of ways, is refused before it is
converted; none of it is in a message, nor in a grammar that llama.cpp would refuse and print.
"""

import json
import re
from functools import lru_cache
from typing import Any

from llama_cpp.llama_grammar import SchemaConverter

from errors import EngineError

MAX_BYTES = 50_000  # of a grammar
MAX_PARTS = 300  # objects, list entries, eighths of repeats; a reference counts as what it stands for
MAX_REPEATS = 900  # of one thing; llama.cpp refuses a thousand

# Characters and [classes], perhaps {n} times, two of them a varying number of times. None is a quotation mark.
_ONE = r"(?:[^\\\"\[\](){}.|?*+^$\x00-\x1f]|\[(?:\w-\w|[^\\\"\[\]^\-\x00-\x1f])+-?\])(?:\{\d\d?\})?"
_PATTERN = re.compile(rf"(?=.{{,200}}\Z)\^(?:(?:{_ONE})+(?:[?*+]|\{{\d\d?,\d?\d?\}})){{,2}}(?:{_ONE})*\$")


class _Converter(SchemaConverter):  # type: ignore[misc, unused-ignore]
    def _format_literal(self, literal: str) -> str:
        """Escape JSON text so that llama.cpp reads it back to the letter."""
        text = json.dumps(json.loads(literal), ensure_ascii=False)
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    def _add_rule(self, name: str, rule: str) -> str:
        if not rule.strip():  # llama.cpp would take the next rule's name for its body, refuse both and print them
            raise ValueError
        return str(super()._add_rule(name, rule))


@lru_cache(64)
def to_gbnf(json_schema: str) -> str:
    """Return the grammar of a JSON Schema.

    Args:
        json_schema: As JSON text.

    Raises:
        EngineError: `bad_schema`: it is no JSON Schema, refers to what is not there, or is too large or too intricate.
    """
    try:
        return _converted(json.loads(json_schema))
    except Exception as error:  # the converter asserts, indexes and recurses its way through what it does not know
        raise EngineError(
            f"The JSON Schema cannot be used ({type(error).__name__}). It may have {MAX_PARTS} parts, {MAX_REPEATS} "
            "repeats and patterns of ^ characters and [classes] $.",
            code="bad_schema",
        ) from None


def _converted(schema: dict[str, Any]) -> str:
    parts = 0.0

    def plain(node: Any) -> Any:
        """Return a part of the schema with what its references stand for."""
        nonlocal parts
        if not isinstance(node, dict | list):
            return node
        parts += _cost(node)
        if parts > MAX_PARTS:
            raise ValueError
        if isinstance(node, list):
            return [plain(one) for one in node]
        if isinstance(ref := node.get("$ref"), str):
            node = schema if ref.startswith("#/") else None
            for name in ref.split("/")[1:]:
                node = node[name]
            return plain(node)
        return {name: plain(value) for name, value in node.items()}

    converter = _Converter(prop_order={}, allow_fetch=False, dotall=False, raw_pattern=False)
    converter.visit(plain({name: value for name, value in schema.items() if name not in {"$defs", "definitions"}}), "")
    grammar: str = converter.format_grammar()
    if len(grammar.encode()) > MAX_BYTES:
        raise ValueError
    return grammar


def _cost(node: dict[str, Any] | list[Any]) -> float:
    if isinstance(node, list):
        return len(node)
    cost = 1.0
    for name, value in node.items():
        if name in {"minLength", "maxLength", "minItems", "maxItems"} and isinstance(value, int):
            cost += value / 8 if 0 <= value <= MAX_REPEATS else MAX_PARTS
        elif (name == "pattern" and isinstance(value, str) and not _PATTERN.fullmatch(value)) or (
            name in {"enum", "anyOf", "oneOf", "type"} and value == []  # the rule would be the next one's name
        ):
            cost += MAX_PARTS
    return cost
