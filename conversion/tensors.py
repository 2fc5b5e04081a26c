"""Checkpoint folders as tensors on disk, read and written one by one. Knows safetensors; never holds a whole model.

The library maps files into memory, where the pages read count as resident, and writes a shard from memory. Here a
tensor is read with plain reads and written at once, so that the largest tensor bounds the memory, whatever the model's
size.

Source: the safetensors format, huggingface/safetensors, README.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch

from errors import ConversionError

DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
MAX_HEADER = 100 << 20  # bytes, the format's own limit
SHARD_BYTES = 5_000_000_000

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Spec:
    """How a tensor is stored: its dtype and shape."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def n_bytes(self) -> int:
        """Size in a file."""
        return prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Stored:
    """A tensor in a file.

    Attributes:
        name: As in the file.
        spec: Its dtype and shape.
        file: Where.
        start: First byte, from the file's beginning.
    """

    name: str
    spec: Spec
    file: Path
    start: int

    def load(self) -> torch.Tensor:
        """Read it into memory of its own."""
        if not self.spec.n_bytes:
            return torch.empty(self.spec.shape, dtype=self.spec.dtype)
        buffer = bytearray(self.spec.n_bytes)
        view, done = memoryview(buffer), 0
        with self.file.open("rb", buffering=0) as file:
            file.seek(self.start)
            while done < len(buffer):
                count = file.readinto(view[done:])
                if not count:
                    raise ConversionError(f"{self.file} ends inside {self.name}. Fetch or make it again.")
                done += count
        return torch.frombuffer(buffer, dtype=self.spec.dtype).reshape(self.spec.shape)


def read_header(path: Path) -> dict[str, Stored]:
    """Return the tensors of one safetensors file, in the order of their bytes.

    Raises:
        ConversionError: The file is missing, is no safetensors, or is shorter than its header says.
    """
    if not path.is_file():
        raise ConversionError(f"{path} is missing.")
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(MAX_HEADER, size):
            raise ConversionError(f"{path} is no whole safetensors file ({size} bytes). Fetch or make it again.")
        try:
            header: dict[str, Any] = json.loads(file.read(length))
            header.pop("__metadata__", None)
            found = [_stored(path, name, entry, 8 + length) for name, entry in header.items()]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConversionError(f"The header of {path} is damaged: {error!r}. Fetch or make it again.") from error
    end = max((tensor.start + tensor.spec.n_bytes for tensor in found), default=0)
    if end > size:
        raise ConversionError(f"{path} has {size} bytes of {end}: it was fetched or copied in part. Fetch it again.")
    return {tensor.name: tensor for tensor in sorted(found, key=lambda tensor: tensor.start)}


def _stored(path: Path, name: str, entry: Any, data_start: int) -> Stored:
    begin, end = entry["data_offsets"]
    spec = Spec(DTYPES[entry["dtype"]], tuple(entry["shape"]))
    if end - begin != spec.n_bytes:
        raise ValueError(f"{name} has {end - begin} bytes, its shape needs {spec.n_bytes}")
    return Stored(name, spec, path, data_start + begin)


def read_checkpoint(folder: Path) -> dict[str, Stored]:
    """Return every tensor of a checkpoint folder, file by file.

    Raises:
        ConversionError: There are no safetensors, a shard is missing or incomplete, or the index names what is not
            there.
    """
    index = folder / INDEX
    if not index.is_file():
        if (folder / SINGLE).is_file():
            return read_header(folder / SINGLE)
        if any(folder.glob("pytorch_model*.bin")):
            raise ConversionError(f"{folder} holds .bin weights; save the model again as safetensors.")
        raise ConversionError(f"{folder} holds no {SINGLE} and no {INDEX}: it is no checkpoint.")
    try:
        places: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    except (ValueError, KeyError) as error:
        raise ConversionError(f"{index} is damaged: {error!r}. Fetch it again.") from error
    files = sorted(set(places.values()))
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise ConversionError(
            f"{folder} lacks {', '.join(missing[:3])} ({len(missing)} of {len(files)} shards). Fetch them again."
        )
    found = {name: tensor for file in files for name, tensor in read_header(folder / file).items()}
    lost = sorted(set(places) - set(found))
    if lost:
        raise ConversionError(f"No shard of {folder} holds {lost[0]}, which its index names. Fetch it again.")
    return found


def float_dtype(specs: Iterable[Spec]) -> torch.dtype:
    """Return the dtype of the first floating-point tensor: what a checkpoint is said to be stored in."""
    return next(spec.dtype for spec in specs if spec.dtype.is_floating_point)


def shards(specs: Mapping[str, Spec], max_bytes: int = SHARD_BYTES) -> list[list[str]]:
    """Divide tensors into files of at most `max_bytes`, in order; a larger tensor has a file alone."""
    found: list[list[str]] = [[]]
    used = 0
    for name, spec in specs.items():
        if used and used + spec.n_bytes > max_bytes:
            found.append([])
            used = 0
        found[-1].append(name)
        used += spec.n_bytes
    return found


def write_checkpoint(
    folder: Path,
    specs: Mapping[str, Spec],
    produce: Callable[[str], torch.Tensor],
    *,
    max_shard_bytes: int = SHARD_BYTES,
    on_progress: Progress = lambda _: None,
) -> None:
    """Write tensors into `folder` as safetensors: one file, or shards with their index; nothing else is touched.

    Args:
        folder: Exists.
        specs: What will be written, in order.
        produce: Gives each tensor when its turn comes; only one is held.
        max_shard_bytes: Of one file.
        on_progress: Called with the share of bytes written, 0 to 1.

    Raises:
        ConversionError: A tensor is not what its spec says.
    """
    total = sum(spec.n_bytes for spec in specs.values()) or 1
    parts = shards(specs, max_shard_bytes)
    places: dict[str, str] = {}
    done = 0
    for number, names in enumerate(parts, 1):
        file = SINGLE if len(parts) == 1 else f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        # Wide types first, so that every tensor stays aligned to its type.
        names = sorted(names, key=lambda name: -specs[name].dtype.itemsize)
        with (folder / file).open("wb") as out:
            out.write(_header(specs, names))
            for name in names:
                out.write(_bytes_of(produce(name), specs[name], name))
                done += specs[name].n_bytes
                on_progress(done / total)
        places |= dict.fromkeys(names, file)
    if len(parts) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _header(specs: Mapping[str, Spec], names: Iterable[str]) -> bytes:
    """Return the length and the header of a file, padded to eight bytes as the format wants."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name in names:
        spec = specs[name]
        header[name] = {
            "dtype": NAMES[spec.dtype],
            "shape": list(spec.shape),
            "data_offsets": [at, at + spec.n_bytes],
        }
        at += spec.n_bytes
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    return len(raw).to_bytes(8, "little") + raw


def _bytes_of(tensor: torch.Tensor, spec: Spec, name: str) -> Any:
    if tensor.dtype != spec.dtype or tuple(tensor.shape) != spec.shape:
        raise ConversionError(f"{name} came as {tensor.dtype} {tuple(tensor.shape)}; {spec} was announced.")
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data
