"""A GGUF made smaller by llama.cpp. Knows the schemes by name; knows nothing of what the model says afterwards."""

import ctypes
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import llama_cpp as lib
import numpy as np
import numpy.typing as npt

from conversion.base import check_space
from conversion.container import Container, read_container
from conversion.imatrix_file import Importance, read_importance
from errors import ConversionError

log = logging.getLogger(__name__)

Progress = Callable[[float], None]
POLL_S = 0.2  # seconds between two looks at the growing file, and at Ctrl-C
OVERRIDE_INT, OVERRIDE_TEXT = 0, 3  # llama.h: LLAMA_KV_OVERRIDE_TYPE_INT, _STR
OVERRIDE_CHARS = 127  # that a text of an override may have
SPARE_SHARE = 0.02  # of the estimate: metadata and alignment are not in it


@dataclass(frozen=True)
class Quantized:
    """What was written, or would be.

    Attributes:
        path: The file.
        scheme: E.g. "Q8_0".
        size_bytes: Its size; in a dry run llama.cpp's estimate of the tensors.
        importance: Name of the importance matrix, None without one.
        dry_run: Nothing was written.
    """

    path: Path
    scheme: str
    size_bytes: int
    importance: str | None = None
    dry_run: bool = False


def schemes() -> dict[str, int]:
    """Return llama.cpp's schemes by name, e.g. {"Q8_0": 7, …}."""
    names = {name: value for name, value in vars(lib).items() if name.startswith("LLAMA_FTYPE_MOSTLY_")}
    return {name.removeprefix("LLAMA_FTYPE_MOSTLY_"): int(value) for name, value in names.items()}


def scheme_number(name: str) -> int:
    """Return llama.cpp's number of a scheme.

    Raises:
        ConversionError: There is no such scheme.
    """
    known = schemes()
    if name in known:
        return known[name]
    near = get_close_matches(name.upper(), known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ConversionError(f"No scheme {name!r}.{hint} Known: {', '.join(sorted(known))}.")


class _Log:
    """llama.cpp's own messages during one call; the callback must live as long as the library may use it."""

    lines: list[str]

    def __init__(self) -> None:
        self.lines = []


_messages = _Log()


@lib.llama_log_callback  # type: ignore[untyped-decorator, unused-ignore]
def _on_log(_level: int, text: bytes, _: Any) -> None:
    line = text.decode("utf-8", errors="replace").rstrip()
    _messages.lines.append(line)
    log.debug("%s", line)


def listen() -> None:
    """Take llama.cpp's messages into our own log, at its lowest level, instead of the terminal."""
    lib.llama_log_set(_on_log, ctypes.c_void_p())


def check_files(source: Path, target: Path, *, dry_run: bool) -> Container:
    """Return the header of `source`; raises ConversionError where `quantize` would not begin."""
    if not source.exists():
        raise ConversionError(f"{source} is missing. Make it with `python -m conversion gguf --out {source}`.")
    if target.exists() and not dry_run:
        raise ConversionError(f"{target} exists and is never overwritten. Move it, or pass another --out.")
    return read_container(source)  # a damaged file would end the whole process inside llama.cpp


def quantize(
    source: Path,
    target: Path,
    scheme: str,
    *,
    importance: Path | None = None,
    threads: int = 2,
    dry_run: bool = False,
    on_progress: Progress = lambda _: None,
) -> Quantized:
    """Write `target`, the float GGUF `source` reduced to `scheme`, and say what was written.

    Args:
        source: A float GGUF.
        target: Must not exist; written as `<target>.partial`, named last.
        scheme: See `schemes`.
        importance: An importance matrix in llama.cpp's own GGUF form; its name, texts and counts go into the metadata.
        threads: llama.cpp's.
        dry_run: Compute the size, write nothing.
        on_progress: Called with the share written, 0 to 1, measured against the estimate.

    Raises:
        ConversionError: A file is missing, damaged or exists, the scheme is unknown, the matrix is of another model, or
            llama.cpp failed.
        SourceError: The disk has no room.
    """
    ftype = scheme_number(scheme)
    container = check_files(source, target, dry_run=dry_run)
    matrix = read_importance(importance) if importance else None
    if matrix is not None:
        _check_importance(matrix, container)
    estimate = _call(source, target, ftype, matrix, threads, dry_run=True)
    name = importance.name if importance else None
    if dry_run:
        return Quantized(target, scheme, estimate, name, dry_run=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    check_space(target.parent, int(estimate * (1 + SPARE_SHARE)))
    partial = target.with_name(target.name + ".partial")
    try:
        _watched(
            lambda: _call(source, partial, ftype, matrix, threads, dry_run=False),
            lambda: on_progress(min(1.0, _size(partial) / max(1, estimate))),
        )
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    partial.rename(target)  # last: a file called *.gguf is always a finished one
    log.info("quantised scheme=%s bytes=%d", scheme, target.stat().st_size)
    return Quantized(target, scheme, target.stat().st_size, name)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _watched(work: Callable[[], int], look: Callable[[], None]) -> None:
    """Run `work` in a thread, so that Ctrl-C is heard while the C library works; the caller then ends the process."""
    failure: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, name="quantize", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(POLL_S)
        look()
    if failure:
        raise failure[0]


def _call(source: Path, target: Path, ftype: int, matrix: Importance | None, threads: int, *, dry_run: bool) -> int:
    """Call llama.cpp; return the bytes of the tensors as it counts them."""
    settings = lib.llama_model_quantize_default_params()
    settings.ftype, settings.nthread, settings.dry_run = ftype, threads, dry_run
    kept: list[Any] = []  # what the library reads by address must outlive the call
    if matrix is not None:
        _set_importance(settings, matrix, kept)
    _messages.lines.clear()
    listen()
    status = lib.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(settings))
    if status:
        reason = next((line for line in reversed(_messages.lines) if "fail" in line or "error" in line.lower()), "")
        raise ConversionError(f"llama.cpp could not quantise {source} (status {status}). {reason}".strip())
    return _quantised_bytes(_messages.lines)


def _quantised_bytes(lines: list[str]) -> int:
    """Read the size that llama.cpp reports at its end, in MiB.

    >>> _quantised_bytes(["llama_model_quantize_impl: quant size  =     2.00 MiB (4.5 BPW)"])
    2097152
    """
    for line in reversed(lines):
        if "quant size" in line:
            return int(float(line.split("=")[1].split()[0]) * (1 << 20))
    return 0


def _check_importance(matrix: Importance, container: Container) -> None:
    """Refuse a matrix of another model: llama.cpp would fail in the middle, or not look at it at all."""
    for name, values in matrix.values.items():
        tensor = container.tensors.get(name)
        if tensor is None or tensor.shape[-1] != values.size:
            columns = "no such tensor" if tensor is None else f"{tensor.shape[-1]} columns"
            raise ConversionError(
                f"{matrix.path} has {values.size} values for {name}, {container.path.name} has {columns}: it was "
                "computed on another model."
            )


def _set_importance(settings: Any, matrix: Importance, kept: list[Any]) -> None:
    """Give llama.cpp the matrix, and the metadata that its own tool would write about it."""
    entries = (lib.llama_model_imatrix_data * (len(matrix.values) + 1))()  # the last one, empty, ends the list
    for entry, (name, values) in zip(entries, matrix.values.items(), strict=False):
        raw: npt.NDArray[np.float32] = np.ascontiguousarray(values, np.float32)
        kept.append(raw)
        entry.name, entry.size = name.encode(), raw.size
        entry.data = raw.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    facts: Mapping[str, int | str] = {
        "quantize.imatrix.file": matrix.path.name,
        "quantize.imatrix.dataset": ", ".join(matrix.datasets),
        "quantize.imatrix.entries_count": len(matrix.values),
        "quantize.imatrix.chunks_count": matrix.chunks,
    }
    overrides = (lib.llama_model_kv_override * (len(facts) + 1))()
    for override, (key, value) in zip(overrides, facts.items(), strict=False):
        override.key = key.encode()
        if isinstance(value, int):
            override.tag, override.value.val_i64 = OVERRIDE_INT, value
        else:
            text = value.encode()[:OVERRIDE_CHARS].decode("utf-8", errors="ignore").encode()
            override.tag, override.value.val_str = OVERRIDE_TEXT, text
    kept += [entries, overrides]
    settings.imatrix, settings.kv_overrides = entries, overrides
