"""A GGUF made smaller by llama.cpp. Knows the schemes by name; knows nothing of what the model says afterwards."""

import ctypes
import logging
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from conversion.container import read_container
from errors import ConversionError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Quantized:
    """What was written.

    Attributes:
        path: The file.
        scheme: E.g. "Q8_0".
        size_bytes: Its size.
    """

    path: Path
    scheme: str
    size_bytes: int


def schemes() -> dict[str, int]:
    """Return llama.cpp's schemes by name, e.g. {"Q8_0": 7, …}."""
    import llama_cpp

    names = {name: value for name, value in vars(llama_cpp).items() if name.startswith("LLAMA_FTYPE_MOSTLY_")}
    return {name.removeprefix("LLAMA_FTYPE_MOSTLY_"): int(value) for name, value in names.items()}


def _scheme(name: str) -> int:
    known = schemes()
    if name in known:
        return known[name]
    near = get_close_matches(name.upper(), known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ConversionError(f"No scheme {name!r}.{hint} Known: {', '.join(sorted(known))}.")


def quantize(source: Path, target: Path, scheme: str, *, threads: int = 2) -> Quantized:
    """Write `target`, the float GGUF `source` reduced to `scheme`, and say what was written.

    Raises:
        ConversionError: A file is missing, damaged or exists, the scheme is unknown, or llama.cpp failed.
    """
    ftype = _scheme(scheme)
    if not source.exists():
        raise ConversionError(f"{source} is missing. Make it with `python -m conversion gguf --out {source}`.")
    if target.exists():
        raise ConversionError(f"{target} exists and is never overwritten. Move it, or pass another --out.")
    read_container(source)  # a damaged file would end the whole process inside llama.cpp
    import llama_cpp

    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype, settings.nthread = ftype, threads
    status = llama_cpp.llama_model_quantize(str(source).encode(), str(partial).encode(), ctypes.byref(settings))
    if status:
        partial.unlink(missing_ok=True)
        raise ConversionError(f"llama.cpp could not quantise {source} to {scheme} (status {status}).")
    partial.rename(target)  # last: a file called *.gguf is always a finished one
    log.info("quantised scheme=%s bytes=%d", scheme, target.stat().st_size)
    return Quantized(target, scheme, target.stat().st_size)
