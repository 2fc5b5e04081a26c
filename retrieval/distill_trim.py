"""A smaller static model out of a finished one: its rarest pieces leave. Knows the files of a model; runs none.

What a piece that left stood for is cut into the smaller pieces that stayed, each with the vector it was taught.
SentencePiece's table of equal characters leaves as well, for Unicode's own NFKC, which no tokenizer file has to carry.
"""

import hashlib
import json
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from errors import RetrievalError
from retrieval.distill import METADATA

SHORTEST = 3  # letters: shorter pieces spell what no longer has one of its own
DIGITS = 5  # of a piece's score: beyond, one cut in 22,000 lines changes
SPACES = ({"Regex": " {2,}"}, {"Regex": r"\s+"})  # SentencePiece's table made one space of every line's end too
KEPT_FIRST = 4  # padding, the unknown and their neighbours keep their places


def trim(model: Path, out: Path, pieces: int) -> dict[str, Any]:
    """Write a copy of a static model that keeps its commonest pieces; return its metadata.

    Args:
        model: A folder that `distill` wrote, its tokenizer a Unigram one.
        out: Folder to make.
        pieces: How many to keep.

    Raises:
        RetrievalError: `out` exists, the model is not of that kind, or there are not so many pieces to leave.
    """
    from safetensors import safe_open
    from safetensors.numpy import save_file

    if out.exists():
        raise RetrievalError(f"{out} exists and is never overwritten silently. Move it, or choose another folder.")
    tokenizer, metadata = _read(model / "tokenizer.json"), _read(model / METADATA)
    if tokenizer.get("model", {}).get("type") != "Unigram":
        raise RetrievalError(f"{model} has no Unigram tokenizer; only such a model can be trimmed.")
    vocabulary = tokenizer["model"]["vocab"]
    with safe_open(model / "model.safetensors", "np") as file:
        about, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if any(len(one) != len(vocabulary) for one in tensors.values()):
        raise RetrievalError(f"{model}: {len(vocabulary)} pieces and other numbers of vectors; distil it anew.")
    rarest = sorted(
        (score, number)
        for number, (piece, score) in enumerate(vocabulary)
        if number >= KEPT_FIRST and len(piece.replace("▁", "")) >= SHORTEST
    )
    n_leaving = len(vocabulary) - pieces
    if not 0 < n_leaving <= len(rarest):
        raise RetrievalError(f"{len(vocabulary)} pieces cannot become {pieces}: {len(rarest)} of them may leave.")
    leaving = {number for _, number in rarest[:n_leaving]}
    kept = [number for number in range(len(vocabulary)) if number not in leaving]
    tokenizer["model"]["vocab"] = [[vocabulary[n][0], round(vocabulary[n][1], DIGITS)] for n in kept]
    _use_nfkc(tokenizer)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as name:
        work = Path(name) / out.name
        shutil.copytree(model, work)
        (work / "tokenizer.json").write_text(_compact(tokenizer), encoding="utf-8")
        save_file({key: np.ascontiguousarray(one[kept]) for key, one in tensors.items()}, work / "model.safetensors",
                  metadata=about)  # fmt: skip
        (work / "model.safetensors").chmod(0o644)
        metadata |= {
            "pieces": pieces,
            "trimmed": {"from": len(vocabulary), "sha256": metadata["sha256"]},
            "bytes": sum((work / one).stat().st_size for one in ("config.json", "tokenizer.json", "model.safetensors")),
            "sha256": hashlib.sha256((work / "model.safetensors").read_bytes()).hexdigest(),
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        (work / METADATA).write_text(json.dumps(metadata, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        work.rename(out)
    return metadata


def _use_nfkc(tokenizer: dict[str, Any]) -> None:
    """Let a tokenizer normalise by NFKC where it carries a table: of our 118,000 texts none is cut differently."""
    steps = (tokenizer.get("normalizer") or {}).get("normalizers", [])
    if any(step["type"] == "Precompiled" for step in steps):
        as_seen, as_meant = SPACES
        for step in steps:
            if step["type"] == "Precompiled":
                step.clear()
                step["type"] = "NFKC"
            elif step.get("pattern") == as_seen:
                step["pattern"] = as_meant


def _read(path: Path) -> dict[str, Any]:
    try:
        read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise RetrievalError(f"{path} cannot be read ({error}); expected a folder that `distill` wrote.") from None
    return read


def _compact(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))
