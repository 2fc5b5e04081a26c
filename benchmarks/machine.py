"""What a result must say of the machine it was measured on."""

import json
import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

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
    partial.write_text(json.dumps({**circumstances(), **result}, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)
