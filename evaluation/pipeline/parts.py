"""What the pipeline measures, made by the conversion room as processes: merged checkpoint, GGUF files. Loads no model.

Every part has its name last, so one that is there is whole and is kept; the parts of another base or adapter are
refused.
"""

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from errors import EngineError
from evaluation.result import as_json, sha256_of, weight_files, write_text

log = logging.getLogger(__name__)

ORIGIN = "origin.json"
Say = Callable[[str], None]
Run = Callable[[Sequence[str]], None]


@dataclass(frozen=True)
class Parts:
    """The files of one pipeline.

    Attributes:
        base: Full-precision checkpoint.
        adapter: PEFT folder.
        merged: Checkpoint with the adapter in its weights.
        float_gguf: The same as a GGUF of 16 bits.
        quantised: The GGUF reduced, by scheme, in the order in which they are tried.
    """

    base: Path
    adapter: Path
    merged: Path
    float_gguf: Path
    quantised: dict[str, Path]

    def bytes_of(self, model: str, scheme: str | None = None) -> int:
        """Return the size of the weights of "adapter" (with its base), "merged", "float" or "quantised"."""
        if model == "adapter":
            return _weight_bytes(self.base) + _weight_bytes(self.adapter)
        if model == "quantised":
            return _weight_bytes(self.quantised[scheme or next(iter(self.quantised))])
        return _weight_bytes({"merged": self.merged, "float": self.float_gguf}[model])


def _weight_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in weight_files(path))


def run_module(command: Sequence[str]) -> None:
    """Run `python -m …` and wait; its own progress is not shown.

    Raises:
        EngineError: It failed; its last line is in the message.
    """
    log.info("python -m %s", " ".join(command))
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["it said nothing"]
        raise EngineError(f"python -m {' '.join(command[:2])} ended with {done.returncode}: {lines[-1]}")


def origin_of(base: Path, adapter: Path) -> dict[str, Any]:
    """Return what parts are made from: names and hashes of weights.

    Raises:
        EngineError: A folder is missing, or has no weights.
    """
    found: dict[str, Any] = {}
    for role, folder in (("base", base), ("adapter", adapter)):
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise EngineError(f"The {role} {folder} is missing, or has no *.safetensors.")
        found[role] = {"name": folder.name, "sha256": {file.name: sha256_of(file) for file in files}}
    return found


def make_parts(
    base: Path,
    adapter: Path,
    folder: Path,
    *,
    schemes: Sequence[str],
    outtype: str,
    data_dir: Path,
    say: Say = lambda _: None,
    run: Run = run_module,
) -> Parts:
    """Make what is missing and return all of it.

    Args:
        base: Full-precision checkpoint.
        adapter: PEFT folder.
        folder: Where parts are kept.
        schemes: Quantisations, e.g. "Q4_K_M", in the order in which they are tried.
        outtype: Of the 16-bit GGUF: "f16" or "bf16".
        data_dir: Where llama.cpp's converter is kept.
        say: Told what is being made.
        run: Runs `python -m` with these words.

    Raises:
        EngineError: Base or adapter is missing, the folder holds parts of others, or a conversion failed.
    """
    base, adapter, folder = base.resolve(), adapter.resolve(), folder.resolve()  # the converter works elsewhere
    origin = origin_of(base, adapter)
    kept = folder / ORIGIN
    if kept.exists() and json.loads(kept.read_text(encoding="utf-8")) != origin:
        raise EngineError(f"{folder} holds parts of another base or adapter. Remove it, or pass another --out.")
    write_text(kept, as_json(origin))
    parts = Parts(
        base, adapter, folder / "merged", folder / f"model-{outtype}.gguf",
        {scheme: folder / f"model-{scheme}.gguf" for scheme in schemes},
    )  # fmt: skip
    if not parts.merged.exists():
        say("merging the adapter")
        run(["conversion", "merge", "--base", str(base), "--adapter", str(adapter), "--out", str(parts.merged)])
    if not parts.float_gguf.exists():
        say("converting to GGUF")
        words = ["--model", str(parts.merged), "--outtype", outtype, "--data-dir", str(data_dir.resolve())]
        run(["conversion", "gguf", *words, "--out", str(parts.float_gguf)])
    for scheme, path in parts.quantised.items():
        if not path.exists():
            say(f"quantising to {scheme}")
            run(["conversion", "quantize", "--gguf", str(parts.float_gguf), "--type", scheme, "--out", str(path)])
    return parts
