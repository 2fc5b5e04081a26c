"""From a line of text to an engine. Knows which engines there are; imports each only when it is asked for."""

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from engines.base import Engine
from errors import EngineError


def _open_gguf(address: str, **options: Any) -> Engine:
    from engines.llama_cpp import LlamaCppEngine  # loads llama.cpp, which a page that only waits does not need

    return LlamaCppEngine(address, **options)


def _open_openai(address: str, **options: Any) -> Engine:
    from engines.openai_http import OpenAIEngine

    return OpenAIEngine(address, **options)


def _open_ollama(address: str, **options: Any) -> Engine:
    from engines.ollama import OllamaEngine

    return OllamaEngine(address, **options)


def _open_hf(address: str, **options: Any) -> Engine:
    from engines.transformers_local import TransformersEngine

    return TransformersEngine(address, **options)


SCHEMES: dict[str, Callable[..., Engine]] = {
    "gguf": _open_gguf,
    "openai": _open_openai,
    "ollama": _open_ollama,
    "hf": _open_hf,
}


def open_engine(spec: str, **options: Any) -> Engine:
    """Open the engine that `spec` names, e.g. "gguf:models/tiny.gguf". Blocks while a model is loaded here.

    "openai:http://host:port/v1#model" asks vLLM, llama-server or any compatible server, "ollama:name" an Ollama,
    "hf:path+adapter" loads a Hugging Face checkpoint with a PEFT adapter (needs torch).

    Args:
        spec: A scheme, a colon, an address.
        options: What the engine takes, e.g. `threads`, `n_ctx` (gguf), `api_key` (openai), `url` (ollama).

    Raises:
        EngineError: The scheme is unknown, or the engine cannot start (`ModelUnfit`).
    """
    scheme, colon, address = spec.partition(":")
    if not colon or not address or scheme not in SCHEMES:
        near = get_close_matches(scheme, SCHEMES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise EngineError(f"No engine {spec!r}.{hint} Known: {', '.join(f'{name}:…' for name in SCHEMES)}.")
    return SCHEMES[scheme](address, **options)
