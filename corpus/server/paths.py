"""What of a schema a target reaches: properties, enum values, true and false. Knows no domain; judges nothing."""

from collections.abc import Iterator, Mapping
from typing import Any


def schema_paths(schema: Mapping[str, Any]) -> frozenset[str]:
    """Return every path that a target could reach: "heirs[].age", "heirs[].link=child", "heirs[].minor=true".

    >>> sorted(schema_paths({"properties": {"a": {"enum": ["x", "y"]}, "b": {"type": "boolean"}}}))
    ['a', 'a=x', 'a=y', 'b', 'b=false', 'b=true']
    """
    return frozenset(_below(schema, ""))


def _below(schema: Any, path: str) -> Iterator[str]:
    if not isinstance(schema, Mapping):  # true or false: anything or nothing
        return
    values = schema.get("enum") or ([True, False] if schema.get("type") == "boolean" else [])
    for value in values:
        yield f"{path}={_said(value)}"
    if "items" in schema:
        yield from _below(schema["items"], f"{path}[]")
    for key, inner in schema.get("properties", {}).items():
        place = f"{path}.{key}".removeprefix(".")
        yield place
        yield from _below(inner, place)


def _said(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def reached(target: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of a target as `schema_paths` writes them, and those of every text; one may come twice.

    >>> sorted(set(reached({"a": "x", "c": [{"d": True}, {"d": True}]})))
    ['a', 'a=x', 'c', 'c[].d', 'c[].d=true']
    """
    if isinstance(target, dict):  # not Mapping, which costs as much as all the rest
        for key, inner in target.items():
            place = f"{path}.{key}" if path else key
            yield place
            yield from reached(inner, place)
    elif isinstance(target, list):
        for inner in target:
            yield from reached(inner, f"{path}[]")
    elif isinstance(target, bool | str):
        yield f"{path}={_said(target)}"


def rarest(target: Any, known: frozenset[str], seen: Mapping[str, int]) -> int:
    """Return how often the rarest path of a target was reached before; the lowest of several targets is wanted most.

    Args:
        target: A draft.
        known: Of `schema_paths`: a name or a date is no path.
        seen: How many targets reached each path.
    """
    return min((seen.get(path, 0) for path in known.intersection(reached(target))), default=0)
