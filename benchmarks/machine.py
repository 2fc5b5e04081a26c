"""What a result must say of the machine it was measured on."""

import json
import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("gradio", "llama-cpp-python", "numpy", "bm25s")


def circumstances() -> dict[str, object]:
    """Return processor, cores, memory in GB, system, versions, date and command."""
    cpu = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "?")
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)  # KiB
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {"cpu": cpu, "cores": len(os.sched_getaffinity(0)), "memory_gb": round(memory * 1024 / 1e9, 1)},
        "system": platform.platform(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "command": "python -m " + " ".join(["benchmarks." + Path(sys.argv[0]).stem, *sys.argv[1:]]),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()


def save(path: Path, result: dict[str, object]) -> None:
    """Write a result with its circumstances; the old one, if any, stays until the new one is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    said = rounded({**circumstances(), **result})
    partial.write_text(json.dumps(said, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)


def rounded(value: Any) -> Any:
    """Return a value with every number in it to six digits: what is measured has no more.

    >>> rounded({"R@1": [0.7092568448500652, 2]})
    {'R@1': [0.709257, 2]}
    """
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one) for one in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
