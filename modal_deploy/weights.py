"""The folders of the weights' Volume: filled once, checked, then only read. Knows the Hub; knows no Modal, no vLLM.

A folder is used only when its mark is there, and the mark is written last: half a download never starts a GPU.
"""

import json
import logging
import shutil
import struct
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from errors import EngineError, ModelUnfit, SourceError
from modal_deploy.config import Config, Lora, Weights
from modal_deploy.vllm_server import COMPLETE

log = logging.getLogger(__name__)

# Nothing that runs: a checkpoint's own Python is never fetched, older formats of the same weights neither.
WANTED = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "LICENSE*")
INDEX = "model.safetensors.index.json"
HEADER_LENGTH = struct.Struct("<Q")
MAX_HEADER_BYTES = 100_000_000  # the format's own bound

Fetch = Callable[[Weights, Path], None]


@dataclass(frozen=True)
class Filled:
    """What became of a folder.

    Attributes:
        folder: Its name.
        made: "there" when its mark was found, "fetched" from the Hub, "checked" when it had been put by hand.
        size_bytes: Of its files.
    """

    folder: str
    made: Literal["there", "fetched", "checked"]
    size_bytes: int


def fetch_from_hub(weights: Weights, target: Path) -> None:
    """Fetch a repository at its commit into `target`, going on where an earlier try stopped.

    Raises:
        SourceError: The Hub cannot be reached, or does not give the repository.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        snapshot_download(weights.repo, revision=weights.revision, local_dir=target, allow_patterns=list(WANTED))
    except (HfHubHTTPError, OSError) as error:
        raise SourceError(
            f"{weights.repo} at {weights.revision[:8]} could not be fetched ({type(error).__name__}). "
            "Is the repository's licence accepted by the account of HF_TOKEN? Run the download again: it goes on."
        ) from error


def fill(config: Config, root: Path, *, fetch: Fetch = fetch_from_hub) -> list[Filled]:
    """Make every folder that the engine needs complete, and say what was done.

    Args:
        config: Which folders.
        root: Of the Volume.
        fetch: Brings a repository into a folder.

    Raises:
        SourceError: The Hub does not give it.
        EngineError: A folder that must be put by hand is missing; the message says how to put it.
        ModelUnfit: What is there is damaged, or is not what the settings say.
    """
    return [_fill_one(weights, root, fetch) for weights in config.model.needed]


def _fill_one(weights: Weights, root: Path, fetch: Fetch) -> Filled:
    folder = root / weights.folder
    mark = folder / COMPLETE
    if mark.is_file():
        _same_source(weights, json.loads(mark.read_text(encoding="utf-8")))
        return Filled(weights.folder, "there", _size(check(weights, folder)))
    made: Literal["fetched", "checked"] = "checked"
    if not folder.is_dir():
        if not weights.repo:
            raise EngineError(
                f"{weights.folder} is not on the Volume and names no repository; put it there with "
                f"`modal volume put APP-weights PATH/TO/{weights.folder} /{weights.folder}`, then run this again.",
                code="model_missing",
            )
        partial = root / f"{weights.folder}.partial"
        fetch(weights, partial)
        check(weights, partial)
        shutil.rmtree(partial / ".cache", ignore_errors=True)  # the Hub's own bookkeeping
        partial.rename(folder)
        made = "fetched"
    files = check(weights, folder)
    partial_mark = folder / f"{COMPLETE}.partial"
    source = {"repo": weights.repo, "revision": weights.revision, "files": files}
    partial_mark.write_text(json.dumps(source), encoding="utf-8")
    partial_mark.rename(mark)
    log.info("%s: %s, %d bytes", weights.folder, made, _size(files))
    return Filled(weights.folder, made, _size(files))


def _same_source(weights: Weights, source: dict[str, Any]) -> None:
    if weights.repo and (source.get("repo"), source.get("revision")) != (weights.repo, weights.revision):
        raise ModelUnfit(
            f"{weights.folder} holds {source.get('repo') or 'what was put by hand'} at "
            f"{str(source.get('revision'))[:8]}, the settings say {weights.repo} at {weights.revision[:8]}: "
            "name another folder, so that what runs now keeps its own."
        )


def check(weights: Weights, folder: Path) -> dict[str, int]:
    """Return the files of a finished folder with their sizes.

    Raises:
        ModelUnfit: A file is missing or cut, or it is not the kind of folder that the settings say.
    """
    files = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.relative_to(folder).parts[0].startswith(".")
    }
    if isinstance(weights, Lora):
        _check_adapter(weights, folder)
        shards = ["adapter_model.safetensors"]
    else:
        _check_checkpoint(folder)
        index = folder / INDEX
        shards = sorted(set(_json(index)["weight_map"].values())) if index.is_file() else ["model.safetensors"]
    for shard in shards:
        if shard not in files:
            raise ModelUnfit(f"{folder.name}/{shard} is missing.", code="model_missing")
        _check_shard(folder / shard)
    return files


def _check_checkpoint(folder: Path) -> None:
    if "quantization_config" not in _json(folder / "config.json"):
        raise ModelUnfit(f"{folder.name} is not in 4 bits (config.json has no quantization_config): it would not fit.")
    tokenizer = _json(folder / "tokenizer_config.json")
    if "chat_template" not in tokenizer and not (folder / "chat_template.jinja").is_file():
        raise ModelUnfit(f"{folder.name} has no chat template.", code="model_not_chat")


def _check_adapter(lora: Lora, folder: Path) -> None:
    rank = _json(folder / "adapter_config.json").get("r")
    if rank != lora.rank:
        raise ModelUnfit(f"{folder.name} has the rank {rank}, the settings say {lora.rank}.")


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise ModelUnfit(f"{path.parent.name}/{path.name} is missing.", code="model_missing") from None
    except ValueError:
        raise ModelUnfit(f"{path.parent.name}/{path.name} is no JSON.") from None
    if not isinstance(content, dict):
        raise ModelUnfit(f"{path.parent.name}/{path.name} is no JSON object.")
    return content


def _check_shard(path: Path) -> None:
    """A safetensors file says in its header where its last tensor ends: a cut one is shorter."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(HEADER_LENGTH.size)
        length = HEADER_LENGTH.unpack(start)[0] if len(start) == HEADER_LENGTH.size else size
        header_end = HEADER_LENGTH.size + length
        if length > MAX_HEADER_BYTES or header_end > size:
            raise ModelUnfit(f"{path.parent.name}/{path.name} is no safetensors file, or was cut.")
        try:
            tensors = json.loads(file.read(length))
            ends = [one["data_offsets"][1] for name, one in tensors.items() if name != "__metadata__"]
        except (ValueError, TypeError, KeyError, AttributeError, IndexError):
            raise ModelUnfit(f"{path.parent.name}/{path.name} has a header that cannot be read.") from None
    if header_end + max(ends, default=0) != size:
        raise ModelUnfit(f"{path.parent.name}/{path.name} was cut: it has {size} bytes.")


def _size(files: dict[str, int]) -> int:
    return sum(files.values())


def as_lines(filled: list[Filled]) -> str:
    """Return what was done, one JSON object a line."""
    return "\n".join(json.dumps(asdict(one)) for one in filled)
