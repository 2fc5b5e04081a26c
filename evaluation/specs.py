"""From a line of text to an engine and the way it is prompted. Knows engines; reads no file of roles itself.

gguf:.data/models/demo.gguf@prompt=plain      an engine spec (`engines.open`), then how it is prompted
role:philosopher                              who plays a role, as `config.yaml` says it
"""

from collections.abc import Callable, Collection
from difflib import get_close_matches
from typing import NamedTuple

from engines.open import SCHEMES
from errors import EngineError

MARK = "@prompt="
# plain: no system text; persona: the philosopher's own system text; optimised: that, and how the scheme is written.
VARIANTS = ("plain", "persona", "optimised")
ROLE = "role:"


class EvaluationSpec(NamedTuple):
    """What is compared: an engine, and how it is prompted.

    Attributes:
        engine: What `engines.open.open_engine` takes.
        variant: Name of the prompt, or None where the spec says nothing of it.
    """

    engine: str
    variant: str | None

    @property
    def text(self) -> str:
        """The spec as it is written: the name of an engine in a result."""
        return self.engine if self.variant is None else f"{self.engine}{MARK}{self.variant}"


def parse_spec(
    text: str, *, allowed: Collection[str] = VARIANTS, role: Callable[[str], str] | None = None
) -> EvaluationSpec:
    """Divide a spec into the engine and its prompt.

    Args:
        text: E.g. "hf:base+adapter@prompt=plain".
        allowed: Names of prompts that this measure has.
        role: From the name of a role to an engine spec, e.g. `roles.Roles.spec`; None where there are no roles.

    Raises:
        EngineError: There is no such prompt or no engine, or a role is asked for where there are none.

    >>> parse_spec("ollama:mistral:7b@prompt=plain")
    EvaluationSpec(engine='ollama:mistral:7b', variant='plain')
    """
    engine, mark, variant = text.strip().partition(MARK)
    if mark and variant not in allowed:
        near = get_close_matches(variant, allowed, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise EngineError(f"{text!r}: no prompt {variant!r}.{hint} Known: {', '.join(allowed)}.")
    if engine.startswith(ROLE):
        if role is None:
            raise EngineError(f"{text!r}: roles are not known here; name the engine itself.")
        engine = role(engine.removeprefix(ROLE))
    scheme, colon, address = engine.partition(":")
    if not (colon and address) or scheme not in SCHEMES:
        near = get_close_matches(scheme, SCHEMES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise EngineError(f"{text!r} names no engine.{hint} Expected gguf:PATH, hf:PATH+ADAPTER, ollama:NAME, "
                          "openai:URL#MODEL or role:NAME.")  # fmt: skip
    return EvaluationSpec(engine, variant if mark else None)
