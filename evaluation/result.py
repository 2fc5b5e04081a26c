"""What every result file carries: machine, date, command, versions; and writing it. Knows no measure."""

import hashlib
import json
import os
import platform
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from errors import EngineError

PACKAGES = ("llama-cpp-python", "numpy", "bm25s", "PyStemmer")


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the processor's name, as Linux tells it."""
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """Return what a time depends on: times of two machines are never put together."""
    return {"cpu": cpu_name(), "cores": len(os.sched_getaffinity(0))}


def spoken_command(arguments: Sequence[str], here: Path) -> str:
    """Return the command as it can be typed elsewhere: paths under `here` become relative to it.

    >>> spoken_command(["schemes", "--out", "/house/runs/a.json"], Path("/house"))
    'python -m evaluation schemes --out runs/a.json'
    """
    return shlex.join(["python", "-m", "evaluation", *(one.replace(f"{here}/", "") for one in arguments)])


def environment(arguments: Sequence[str]) -> dict[str, Any]:
    """Return where, when and with what a result was measured."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": spoken_command(arguments, Path.cwd()),
        "machine": {
            **machine(),
            "load_1min": round(os.getloadavg()[0], 2),  # another job on the same cores makes every timing worse
            "system": f"{platform.system()} {platform.machine()}",
        },
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
    }


def sha256_of(path: Path) -> str:
    """Return the hexadecimal hash of a file.

    Raises:
        EngineError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EngineError(f"{path} cannot be read: {error.strerror}.") from None


def weight_files(path: Path) -> list[Path]:
    """Return the file itself, or a checkpoint's files of weights; none where there is neither."""
    return [path] if path.is_file() else sorted(path.glob("*.safetensors"))


def write_text(path: Path, text: str) -> None:
    """Write a file under its final name last."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file under its final name last."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".writing.partial")
    partial.write_bytes(data)
    partial.rename(path)


def must_be_new(path: Path | None, *, force: bool) -> None:
    """Refuse to replace a result, before anything is measured.

    Raises:
        EngineError: The file exists.
    """
    if path is not None and path.exists() and not force:
        raise EngineError(f"{path} exists and is never overwritten silently. Move it, or pass --force.")


def as_json(content: Any) -> str:
    """Return JSON with French letters as they are."""
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"
