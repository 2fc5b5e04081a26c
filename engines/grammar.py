"""From a JSON Schema to the grammar that llama.cpp samples by. Knows the library's own converter; knows no model."""

from functools import lru_cache

from llama_cpp.llama_grammar import json_schema_to_gbnf

from errors import EngineError

MAX_CHARS = 50_000  # of a grammar; a schema that asks for thousands of items would stop the engine while it is read


@lru_cache(64)
def to_gbnf(json_schema: str) -> str:
    """Return the grammar of a JSON Schema.

    Args:
        json_schema: As JSON text.

    Raises:
        EngineError: `bad_schema`: it is no JSON Schema, refers to what is not there, or is too large.
    """
    try:
        grammar: str = json_schema_to_gbnf(json_schema)
    except Exception as error:  # the converter asserts, indexes and recurses its way through what it does not know
        raise EngineError(
            f"The JSON Schema cannot be used ({type(error).__name__}: {error}).", code="bad_schema"
        ) from error
    if len(grammar) > MAX_CHARS:
        raise EngineError(
            f"The grammar of this JSON Schema has {len(grammar)} characters, at most {MAX_CHARS} are taken.",
            code="bad_schema",
        )
    return grammar
