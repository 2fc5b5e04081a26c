"""What a run was, and where it goes on. Knows recipes and folders; knows no model.

`started.json` says what began: only the same recipe on the same data and base, computed in the same precision, may go
on from a checkpoint, as only then does the resumed run end where the whole one would have.
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
# Names of what is read: what counts is what is there, by hash or, of a base on the Hub, by commit.
NAMES = {"train_file", "eval_file", "chat_template", "init_adapter"}
BASE_NAMES = {"base_model", "base_revision"}  # see `check_same_base`
HASHES = ("train_sha256", "eval_sha256", "chat_template_sha256", "init_adapter_sha256")


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
    adapter = recipe.init_adapter
    return {
        "recipe": recipe.model_dump(mode="json"),
        "train_sha256": _hashes(recipe.train_file),
        "eval_sha256": _hashes(recipe.eval_file),
        "chat_template_sha256": sha256_of(recipe.chat_template) if recipe.chat_template else None,
        "init_adapter_sha256": sha256_of(adapter / "adapter_model.safetensors") if adapter else None,
    }


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    free = FREE_ON_RESUME | NAMES | (BASE_NAMES if "base" in before else set())
    keys = [key for key in now["recipe"] if key not in free and before["recipe"].get(key) != now["recipe"][key]]
    return keys + [key for key in HASHES if _values(before.get(key, now[key])) != _values(now[key])]


def _values(hashes: Any) -> Any:
    """Return hashes without the paths they stand under."""
    return list(hashes.values()) if isinstance(hashes, dict) else hashes


def check_same_base(out: Path, now: dict[str, Any]) -> None:
    """Refuse to go on with another base, or in another precision, than the `started.json` in `out` says.

    Raises:
        TrainingError: One of them is another.
    """
    before = json.loads((out / "started.json").read_text(encoding="utf-8"))
    if "base" not in before:  # of a version that did not write it
        return
    was = {"precision": before["precision"], **before["base"]}
    found = {"precision": now["precision"], **now["base"]}
    different = [key for key in was | found if was.get(key) != found.get(key)]
    if different:
        said = "; ".join(f"{key} was {str(was.get(key))[:12]}, is now {str(found.get(key))[:12]}" for key in different)
        raise TrainingError(
            f"The run in {out} began otherwise: {said}. "
            "Bring back its base, go on on a machine like the first, or start anew with another --output-dir."
        )


def inherited_limits(recipe: Recipe) -> dict[str, float]:
    """Return the limits of the earlier stage, with its name, from the summary beside its adapter; none without one."""
    if recipe.init_adapter is None:
        return {}
    path = recipe.init_adapter.parent / "training_summary.json"
    if not path.is_file():
        return {}
    before = json.loads(path.read_text(encoding="utf-8"))
    return {key if "." in key else f"{before['name']}.{key}": value for key, value in before["limits"].items()}


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
