"""A GGUF file as Python data: read in half a second, rows as arrays. Knows the format; knows nothing of models.

The reader of the `gguf` package makes several objects for every string: 10 s and 0.7 GB for a vocabulary of 262,144
pieces. This one walks the same bytes with `struct` and maps the tensors without reading them.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType, quant_shape_to_byte_shape

from errors import ConversionError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32  # bytes
MAX_COUNT = 1 << 24  # of keys, tensors or array items: a bigger number is a damaged header, not a model

SCALARS: dict[GGUFValueType, str] = {
    GGUFValueType.UINT8: "B",
    GGUFValueType.INT8: "b",
    GGUFValueType.UINT16: "H",
    GGUFValueType.INT16: "h",
    GGUFValueType.UINT32: "I",
    GGUFValueType.INT32: "i",
    GGUFValueType.FLOAT32: "f",
    GGUFValueType.BOOL: "?",
    GGUFValueType.UINT64: "Q",
    GGUFValueType.INT64: "q",
    GGUFValueType.FLOAT64: "d",
}


@dataclass(frozen=True)
class Field:
    """One metadata value.

    Attributes:
        value: A number, a text, or a list of either.
        kind: Its type in the file.
        item_kind: The type of the items when `kind` is ARRAY.
    """

    value: Any
    kind: GGUFValueType
    item_kind: GGUFValueType | None = None


@dataclass(frozen=True)
class Tensor:
    """One tensor, mapped from the file.

    Attributes:
        name: E.g. "blk.0.attn_q.weight".
        kind: How its numbers are stored.
        shape: Numbers along each axis, outermost first (numpy's order).
        data: (rows…, bytes of a row) uint8 for quantised kinds, else (shape) of the plain type; read-only.
    """

    name: str
    kind: GGMLQuantizationType
    shape: tuple[int, ...]
    data: npt.NDArray[Any]


@dataclass(frozen=True)
class Container:
    """What a GGUF file holds, in its own order."""

    path: Path
    fields: Mapping[str, Field]
    tensors: Mapping[str, Tensor]

    def value(self, key: str) -> Any:
        """Return the metadata under `key`.

        Raises:
            ConversionError: The file has no such key.
        """
        if key not in self.fields:
            raise ConversionError(f"{self.path} has no metadata {key!r}: it is not the model this step expects.")
        return self.fields[key].value


class _Cursor:
    """Reads values one after the other from mapped bytes."""

    def __init__(self, data: mmap) -> None:
        self.data = data
        self.at = 0

    def number(self, code: str) -> Any:
        """One number of the given `struct` code."""
        size = struct.calcsize("<" + code)
        (value,) = struct.unpack_from("<" + code, self.data, self.at)
        self.at += size
        return value

    def count(self) -> int:
        """A length, refused when no real file could hold it."""
        value = int(self.number("Q"))
        if value > MAX_COUNT:
            raise ValueError(f"a length of {value}")
        return value

    def text(self) -> str:
        """One string."""
        size = self.count()
        raw = self.data[self.at : self.at + size]
        if len(raw) < size:
            raise ValueError("the end of the file inside a string")
        self.at += size
        return raw.decode("utf-8")

    def field(self) -> Field:
        """One metadata value with its type."""
        kind = GGUFValueType(self.number("I"))
        if kind is GGUFValueType.STRING:
            return Field(self.text(), kind)
        if kind is not GGUFValueType.ARRAY:
            return Field(self.number(SCALARS[kind]), kind)
        item, size = GGUFValueType(self.number("I")), self.count()
        if item is GGUFValueType.STRING:
            return Field([self.text() for _ in range(size)], kind, item)
        code = f"<{size}{SCALARS[item]}"
        values = list(struct.unpack_from(code, self.data, self.at))
        self.at += struct.calcsize(code)
        return Field(values, kind, item)


PLAIN: dict[GGMLQuantizationType, npt.DTypeLike] = {
    GGMLQuantizationType.F32: np.float32,
    GGMLQuantizationType.F16: np.float16,
    GGMLQuantizationType.F64: np.float64,
    GGMLQuantizationType.I8: np.int8,
    GGMLQuantizationType.I16: np.int16,
    GGMLQuantizationType.I32: np.int32,
    GGMLQuantizationType.I64: np.int64,
}


def _tensor(data: mmap, start: int, name: str, shape: tuple[int, ...], kind: GGMLQuantizationType) -> Tensor:
    """Map one tensor; raises ValueError when it ends beyond the file."""
    block, size = GGML_QUANT_SIZES[kind]
    count = int(np.prod(shape, dtype=np.int64))
    end = start + count // block * size
    if end > len(data):
        raise ValueError(f"tensor {name} ends at byte {end} of {len(data)}")
    raw = np.frombuffer(data, dtype=np.uint8, count=end - start, offset=start)
    if kind in PLAIN:
        return Tensor(name, kind, shape, raw.view(PLAIN[kind]).reshape(shape))
    return Tensor(name, kind, shape, raw.reshape(quant_shape_to_byte_shape(shape, kind)))


def _parse(path: Path, data: mmap) -> Container:
    cursor = _Cursor(data)
    if data[:4] != MAGIC:
        raise ValueError("no GGUF magic at its start")
    cursor.at = 4
    version = cursor.number("I")
    if version not in VERSIONS:
        raise ValueError(f"GGUF version {version}")
    n_tensors, n_fields = cursor.count(), cursor.count()
    fields = {cursor.text(): cursor.field() for _ in range(n_fields)}
    infos = []
    for _ in range(n_tensors):
        name = cursor.text()
        dims = [cursor.number("Q") for _ in range(cursor.number("I"))]
        kind = GGMLQuantizationType(cursor.number("I"))
        infos.append((name, tuple(reversed(dims)), kind, cursor.number("Q")))
    alignment = fields["general.alignment"].value if "general.alignment" in fields else DEFAULT_ALIGNMENT
    start = -(-cursor.at // alignment) * alignment
    tensors = {name: _tensor(data, start + at, name, shape, kind) for name, shape, kind, at in infos}
    return Container(path, fields, tensors)


def read_container(path: Path) -> Container:
    """Read the header of a GGUF file and map its tensors.

    Raises:
        ConversionError: The file is missing, is no GGUF, or is shorter than its header says.
    """
    if not path.is_file():
        raise ConversionError(f"{path} is missing.")
    if path.stat().st_size < len(MAGIC):
        raise ConversionError(f"{path} is no whole GGUF file: it has {path.stat().st_size} bytes.")
    with path.open("rb") as file:
        data = mmap(file.fileno(), 0, access=ACCESS_READ)
    try:
        return _parse(path, data)
    except (ValueError, KeyError, ZeroDivisionError, struct.error) as error:
        raise ConversionError(f"{path} is no whole GGUF file: {error}. Fetch or make it again.") from error
