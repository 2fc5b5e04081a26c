"""Importance matrices in llama.cpp's own GGUF form, written and read. Knows the format; knows no model.

Source of the format: llama.cpp, tools/imatrix: for each weight, `<name>.in_sum2` holds the sums of squared inputs and
`<name>.counts` how many rows were summed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGUFWriter

from conversion.container import read_container
from errors import ConversionError

KIND = "imatrix"
SUMS, COUNTS = ".in_sum2", ".counts"

F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Importance:
    """How much each input column of each weight matters.

    Attributes:
        path: The file.
        values: Tensor of the GGUF → (columns,) mean squared input.
        datasets: What texts it was computed on, with their hashes.
        chunks: How many of them.
    """

    path: Path
    values: Mapping[str, F32]
    datasets: tuple[str, ...]
    chunks: int


def write_importance(
    path: Path,
    sums: Mapping[str, F32],
    counts: Mapping[str, int],
    *,
    datasets: list[str],
    chunks: int,
    chunk_size: int,
    name: str,
    description: str,
) -> Path:
    """Write an importance matrix, named last.

    Args:
        path: Must not exist.
        sums: Tensor of the GGUF → (columns,) sum of squared inputs.
        counts: Tensor of the GGUF → rows summed.
        datasets: What texts it was computed on.
        chunks: How many pieces of text.
        chunk_size: Longest of them, in tokens.
        name: Of the model.
        description: How it was computed.

    Raises:
        ConversionError: The file exists.
    """
    if path.exists():
        raise ConversionError(f"{path} exists and is never overwritten. Move it, or pass another --out.")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    writer = GGUFWriter(partial, KIND)
    try:
        writer.add_type(KIND)
        writer.add_name(name)
        writer.add_description(description)
        writer.add_array("imatrix.datasets", datasets)
        writer.add_uint32("imatrix.chunk_count", chunks)
        writer.add_uint32("imatrix.chunk_size", chunk_size)
        for tensor in sorted(sums):
            writer.add_tensor(tensor + SUMS, np.asarray(sums[tensor], np.float32).reshape(1, -1))
            writer.add_tensor(tensor + COUNTS, np.full((1, 1), counts[tensor], np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    partial.rename(path)
    return path


def read_importance(path: Path) -> Importance:
    """Read an importance matrix, ours or one of llama.cpp's own tool.

    Raises:
        ConversionError: The file is missing, damaged, or holds no importance matrix.
    """
    container = read_container(path)
    kind = container.fields.get("general.type")
    if kind is None or kind.value != KIND:
        raise ConversionError(
            f"{path} is a GGUF, but no importance matrix. Make one with `python -m conversion imatrix`."
        )
    values: dict[str, F32] = {}
    for name, tensor in container.tensors.items():
        if not name.endswith(SUMS):
            continue
        weight = name.removesuffix(SUMS)
        counts = container.tensors.get(weight + COUNTS)
        count = float(np.asarray(counts.data).reshape(-1)[0]) if counts is not None else 0.0
        if count <= 0:
            raise ConversionError(f"{path} says nothing of how many rows {weight} was summed over. Make it again.")
        values[weight] = np.asarray(tensor.data, np.float32).reshape(-1) / np.float32(count)
    if not values:
        raise ConversionError(f"{path} holds no importance matrix.")
    return Importance(
        path, values, tuple(container.value("imatrix.datasets")), int(container.value("imatrix.chunk_count"))
    )
