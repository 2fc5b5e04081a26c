"""From a line of text to an engine. Knows which engines there are; imports each only when it is asked for."""

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from engines.base import Engine
from errors import EngineError


def _open_gguf(address: str, **options: Any) -> Engine:
    from engines.llama_cpp import LlamaCppEngine  # loads llama.cpp, which a page that only waits does not need

    return LlamaCppEngine(address, **options)


SCHEMES: dict[str, Callable[..., Engine]] = {"gguf": _open_gguf}


def open_engine(spec: str, **options: Any) -> Engine:
    """Open the engine that `spec` names, e.g. "gguf:models/tiny.gguf". Blocks while the model is loaded.

    Args:
        spec: A scheme, a colon, an address.
        options: What the engine takes, e.g. `threads`, `n_ctx`, `queue_size`.

    Raises:
        EngineError: The scheme is unknown, or the engine cannot start (`ModelUnfit`).
    """
    scheme, colon, address = spec.partition(":")
    if not colon or not address or scheme not in SCHEMES:
        near = get_close_matches(scheme, SCHEMES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise EngineError(f"No engine {spec!r}.{hint} Known: {', '.join(f'{name}:…' for name in SCHEMES)}.")
    return SCHEMES[scheme](address, **options)
