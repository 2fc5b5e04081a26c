"""A recipe made ready to run on another machine: its files packed, its paths moved. Knows recipes; knows no Modal.

What travels is data and a template, never a base model: the recipe names one on the Hub, or one is put on the Volume.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from errors import TrainingError
from training.recipe import Recipe
from training.rows import read_rows

log = logging.getLogger(__name__)

MAX_BYTES = 100_000_000  # of all files: 100,000 dialogues
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")


@dataclass(frozen=True)
class Job:
    """A run for another machine.

    Attributes:
        name: Of its folder on the Volume.
        recipe: Its keys as JSON can hold them, with the paths of this machine.
        files: Content of what the recipe reads, by path.
    """

    name: str
    recipe: dict[str, Any]
    files: dict[str, bytes]


def pack(recipe: Recipe, name: str = "") -> Job:
    """Read what a recipe needs, so that it can be sent.

    Args:
        recipe: As it would run here.
        name: Of the run; unset, the recipe's.

    Raises:
        TrainingError: A file is missing or has a wrong line, the base is a folder of this machine, or the files are too
            large.
    """
    chosen = name or recipe.name
    if not NAME.fullmatch(chosen):
        raise TrainingError(f"{chosen!r} is no name for a run: small letters, digits, - _ . and 63 of them at most.")
    if recipe.init_adapter is not None:
        raise TrainingError(f"{recipe.name} goes on from {recipe.init_adapter}, which does not travel; train it here.")
    if Path(recipe.base_model).exists() or recipe.base_model.count("/") != 1:
        raise TrainingError(f"The base {recipe.base_model} is a folder of this machine; name one on the Hub (--base).")
    wanted = [*recipe.train_file, *recipe.eval_file, *([recipe.chat_template] if recipe.chat_template else [])]
    files: dict[str, bytes] = {}
    for path in wanted:
        try:
            files[str(path)] = path.read_bytes()
        except OSError as error:
            raise TrainingError(f"{path} cannot be read: {error.strerror}.") from None
    if (size := sum(map(len, files.values()))) > MAX_BYTES:
        raise TrainingError(f"The files have {size} bytes, more than {MAX_BYTES}; put them on the Volume instead.")
    for paths, split in ((recipe.train_file, recipe.train_split), (recipe.eval_file, recipe.eval_split)):
        read_rows(paths, split=split)  # there, a wrong line is found on a rented card, at each try
    return Job(chosen, recipe.model_dump(mode="json"), files)


def unpack(recipe: Mapping[str, Any], files: Mapping[str, bytes], name: str, inbox: Path, runs: Path) -> Recipe:
    """Write the files where this machine has room, and return the recipe that reads them there.

    Names are the same at each try of one run: a resumed run compares its recipe with the one it began with.
    """
    inbox.mkdir(parents=True, exist_ok=True)
    places: dict[str, str] = {}
    for number, (path, content) in enumerate(files.items()):
        place = inbox / f"{number}-{Path(path).name}"
        place.write_bytes(content)
        places[path] = str(place)
    moved = {**recipe, "output_dir": str(runs / name)}
    for key in ("train_file", "eval_file"):
        moved[key] = [places[path] for path in recipe[key]]
    if recipe.get("chat_template"):
        moved["chat_template"] = places[recipe["chat_template"]]
    return Recipe.model_validate(moved)


def where_to_go_on(folder: Path) -> str | None:
    """Return "last" for a run that has a checkpoint, None for a new one.

    A run that was broken off before its first checkpoint is moved aside, and begins again.

    Raises:
        TrainingError: The run is complete.
    """
    if (folder / "training_summary.json").is_file():
        raise TrainingError(f"The run {folder.name} is complete; fetch it, or give another --name.")
    if any(folder.glob("checkpoint-*/trainer_state.json")):
        return "last"
    if folder.exists():
        number = sum(1 for _ in folder.parent.glob(f"{folder.name}.begun-*"))
        aside = folder.with_name(f"{folder.name}.begun-{number + 1}")
        folder.rename(aside)
        log.warning("%s has no checkpoint; it was moved to %s.", folder.name, aside.name)
    return None
