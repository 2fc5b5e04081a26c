"""What a run was, and where it goes on. Knows recipes and folders; knows no model.

`started.json` says what began: only the same recipe on the same data may go on from a checkpoint, as only then does
the resumed run end where the whole one would have.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from errors import TrainingError
from training.recipe import Recipe

# What a resumed run may change: none of them alters a step that is still to come.
FREE_ON_RESUME = {"output_dir", "logging_steps", "threads", "trackers"}
HASHES = ("train_sha256", "eval_sha256", "chat_template_sha256")


def write_json(path: Path, content: Any) -> None:
    """Write JSON for people to read; the name comes last."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    partial.rename(path)


def sha256_of(path: Path) -> str:
    """Return the hexadecimal hash of a file.

    Raises:
        TrainingError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise TrainingError(f"{path} cannot be read ({error}).") from None


def _hashes(paths: Sequence[Path]) -> str | dict[str, str]:
    if len(paths) == 1:
        return sha256_of(paths[0])
    return {str(path): sha256_of(path) for path in paths}


def started(recipe: Recipe) -> dict[str, Any]:
    """What a run is: its recipe and the hashes of what it reads."""
    return {
        "recipe": recipe.model_dump(mode="json"),
        "train_sha256": _hashes(recipe.train_file),
        "eval_sha256": _hashes(recipe.eval_file),
        "chat_template_sha256": sha256_of(recipe.chat_template) if recipe.chat_template else None,
    }


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    keys = [
        key for key in now["recipe"] if key not in FREE_ON_RESUME and before["recipe"].get(key) != now["recipe"][key]
    ]
    return keys + [key for key in HASHES if before.get(key, now[key]) != now[key]]


def _checkpoints(out: Path) -> list[Path]:
    """Return the whole checkpoints of a run, the newest last."""
    whole = (path.parent for path in out.glob("checkpoint-*/trainer_state.json"))  # written last of each
    found = {path.name.removeprefix("checkpoint-"): path for path in whole}
    return [found[step] for step in sorted(filter(str.isdecimal, found), key=int)]  # others are somebody's copies


def find_checkpoint(recipe: Recipe, wanted: str | None) -> Path | None:
    """Check the output folder and return the checkpoint to go on from; None begins anew.

    Args:
        recipe: Its `output_dir` must not exist, unless the run is resumed.
        wanted: "last", the newest whole one, or a checkpoint folder; None begins anew.

    Raises:
        TrainingError: The folder exists, or there is nothing to resume, or the run was another one or is complete.
    """
    out = recipe.output_dir
    if (out / "training_summary.json").is_file():
        raise TrainingError(f"{out} holds a complete run. Move it, or pass another --output-dir.")
    found = _checkpoints(out)
    if wanted is None:
        if out.exists():
            way = ", or go on with --resume-from-checkpoint last" if found else ""
            raise TrainingError(f"{out} exists and is never overwritten. Move it, or pass another --output-dir{way}.")
        return None
    if wanted == "last" and not found:
        raise TrainingError(f"No checkpoint in {out} is whole; move it and start without --resume-from-checkpoint.")
    checkpoint = found[-1] if wanted == "last" else Path(wanted)
    if not (checkpoint / "trainer_state.json").is_file():
        raise TrainingError(f"{checkpoint} is no checkpoint; expected a folder with trainer_state.json, or `last`.")
    if checkpoint.resolve().parent != out.resolve():
        raise TrainingError(f"{checkpoint} is of another run than {out}; pass one of its own, or `last`.")
    written = out / "started.json"
    if not written.is_file():
        raise TrainingError(f"{written} is missing: what this run was is unknown; start it anew elsewhere.")
    different = _differences(json.loads(written.read_text(encoding="utf-8")), started(recipe))
    if different:
        raise TrainingError(f"The run in {out} was another one: {', '.join(different)} changed. Start anew.")
    return checkpoint
