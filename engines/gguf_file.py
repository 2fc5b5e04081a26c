"""What a GGUF file says of itself, read from its header alone. Knows the format; loads no model, needs no llama.cpp.

The `gguf` package reads the same, but builds an object for each of the 262,144 pieces of a large vocabulary (10 s);
here they are walked over (0.1 s) and only the control pieces are kept.

Source: the GGUF specification, ggml-org/ggml, docs/gguf.md.
"""

import mmap
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from errors import ModelUnfit

# Architectures that only encode: they turn a text into a vector, and cannot go on with it.
ENCODERS = frozenset({"bert", "distilbert", "eurobert", "gemma-embedding", "jina-bert-v2", "jina-bert-v3",
                      "llama-embed", "modern-bert", "neo-bert", "nomic-bert", "nomic-bert-moe",
                      "t5encoder"})  # fmt: skip

MAGIC = b"GGUF"
VERSIONS = (2, 3)
SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
STRING, ARRAY = 8, 9
SHORT_ARRAY = 64  # longer arrays are vocabularies: walked over, not kept
CONTROL = 3  # token type of a piece that no text turns into
MAX_DIMS = 4


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of the file.

    Attributes:
        name: As in the file, e.g. "blk.0.attn_q.weight".
        shape: Innermost dimension first, as ggml counts.
        type: ggml's name of the type, e.g. "Q8_0".
        n_bytes: Size in the file.
        offset: Where it begins, in bytes from the beginning of the file.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    n_bytes: int
    offset: int


@dataclass(frozen=True)
class GGUFInfo:
    """What the header of a GGUF says.

    Attributes:
        path: The file.
        architecture: "llama", "gemma3", "bert", …; empty when the header does not say.
        name: What the file calls itself; empty when it does not.
        kind: "model" unless the header says otherwise, e.g. "adapter".
        n_params: Number of parameters, all tensors together.
        n_ctx_train: Longest context seen in training, in tokens; 0 when unknown.
        tokenizer: "llama" (SentencePiece), "gpt2" (byte-pair), …; empty when there is none.
        chat_template: Jinja source, or None.
        control_tokens: Control pieces, in the order of their ids.
        pooling: 0 for none; otherwise this is an embedder.
        cache_bytes_per_token: Keys and values of one token in f16, all layers together; 0 when the header does not say.
        tensors: In the order of the file.
        n_bytes: Size of the file.
        n_bytes_expected: Where the last tensor ends; more than `n_bytes` means that the file is truncated.
    """

    path: Path
    architecture: str
    name: str
    kind: str
    n_params: int
    n_ctx_train: int
    tokenizer: str
    chat_template: str | None
    control_tokens: tuple[str, ...]
    pooling: int
    cache_bytes_per_token: int
    tensors: tuple[TensorInfo, ...]
    n_bytes: int
    n_bytes_expected: int


class _Reader:
    """A cursor over the header; every read is checked against the end of the file."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.at = 0

    def scalar(self, form: str) -> Any:
        (value,) = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value

    def skip(self, n_bytes: int) -> int:
        start = self.at
        if n_bytes > len(self.data) - start:
            raise ValueError(f"{n_bytes} bytes are announced at byte {start}, fewer are left")
        self.at += n_bytes
        return start

    def string(self) -> str:
        start = self.skip(self.scalar("<Q"))
        return self.data[start : self.at].decode("utf-8", errors="replace")

    def array(self) -> "list[Any] | _LongArray":
        kind, count = self.scalar("<I"), self.scalar("<Q")
        if kind == STRING:
            if count * 8 > len(self.data) - self.at:
                raise ValueError(f"{count} strings are announced at byte {self.at}, the file is too short")
            starts = [self._string_start() for _ in range(count)]
            return _LongArray(self.data, kind, starts) if count > SHORT_ARRAY else [self._text(s) for s in starts]
        if kind == ARRAY:
            raise ValueError(f"an array of arrays at byte {self.at}, which llama.cpp does not know")
        form = SCALARS[kind]
        start = self.skip(count * struct.calcsize(form))
        if count > SHORT_ARRAY:
            return _LongArray(self.data, kind, range(start, self.at, struct.calcsize(form)))
        return [struct.unpack_from(form, self.data, start + i * struct.calcsize(form))[0] for i in range(count)]

    def value(self) -> Any:
        kind = self.scalar("<I")
        if kind == STRING:
            return self.string()
        return self.array() if kind == ARRAY else self.scalar(SCALARS[kind])

    def _string_start(self) -> int:
        start = self.at
        self.skip(self.scalar("<Q"))
        return start

    def _text(self, start: int) -> str:
        text: str = _LongArray(self.data, STRING, [start])[0]
        return text


@dataclass(frozen=True)
class _LongArray:
    """An array left in the file: where each entry stands, read when asked for."""

    data: mmap.mmap
    kind: int
    starts: Sequence[int]

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> Any:
        start = self.starts[index]
        if self.kind != STRING:
            return struct.unpack_from(SCALARS[self.kind], self.data, start)[0]
        (length,) = struct.unpack_from("<Q", self.data, start)
        return self.data[start + 8 : start + 8 + length].decode("utf-8", errors="replace")


def inspect(path: Path) -> GGUFInfo:
    """Read the header of a GGUF.

    Raises:
        ModelUnfit: The file is missing (`model_missing`), or its header cannot be read (`model_corrupt`). A file that
            is merely truncated is described: compare `n_bytes_expected` with `n_bytes`.
    """
    if not path.is_file():
        raise ModelUnfit(f"{path} is missing or no file; give the path of a GGUF.", code="model_missing")
    try:
        with path.open("rb") as file:
            if file.read(4) != MAGIC:
                raise ModelUnfit(
                    f"{path.name} does not begin with GGUF; it is no model of llama.cpp. Take another file."
                )
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _describe(path, _Reader(data))
    except OSError as error:
        raise ModelUnfit(f"{path} cannot be read: {error.strerror}.", code="model_missing") from error
    except (struct.error, ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise ModelUnfit(f"The header of {path.name} is damaged ({error}); fetch the file again.") from error


def _describe(path: Path, reader: _Reader) -> GGUFInfo:
    reader.skip(len(MAGIC))
    version = reader.scalar("<I")
    if version not in VERSIONS:
        raise ValueError(f"version {version}, expected 2 or 3")
    n_tensors, n_keys = reader.scalar("<Q"), reader.scalar("<Q")
    values: dict[str, Any] = {}
    for _ in range(n_keys):
        key = reader.string()
        values[key] = reader.value()
    tensors = _read_tensors(reader, n_tensors)
    alignment = int(values.get("general.alignment", 32))
    data_start = -(-reader.at // alignment) * alignment
    arch = str(values.get("general.architecture", ""))
    template = values.get("tokenizer.chat_template")
    return GGUFInfo(
        path=path,
        architecture=arch,
        name=str(values.get("general.name", "")),
        kind=str(values.get("general.type", "model")),
        n_params=sum(_n_entries(tensor.shape) for tensor in tensors),
        n_ctx_train=int(values.get(f"{arch}.context_length", 0)),
        tokenizer=str(values.get("tokenizer.ggml.model", "")),
        chat_template=template if isinstance(template, str) else None,
        control_tokens=_control_tokens(values),
        pooling=int(values.get(f"{arch}.pooling_type", 0)),
        cache_bytes_per_token=_cache_bytes(values, arch),
        tensors=tuple(replace(tensor, offset=data_start + tensor.offset) for tensor in tensors),
        n_bytes=len(reader.data),
        n_bytes_expected=data_start + max(t.offset + t.n_bytes for t in tensors) if tensors else reader.at,
    )


def _cache_bytes(values: dict[str, Any], arch: str) -> int:
    """Bytes of one token's keys and values in f16; some models have another number of heads in each layer."""
    layers, width = int(values.get(f"{arch}.block_count", 0)), int(values.get(f"{arch}.embedding_length", 0))
    heads = values.get(f"{arch}.attention.head_count", 0)
    kv_heads = values.get(f"{arch}.attention.head_count_kv", heads)
    all_heads = sum(int(n) for n in kv_heads) if isinstance(kv_heads, list) else int(kv_heads) * layers
    one = int(heads[0]) if isinstance(heads, list) and heads else heads
    head = width // int(one) if isinstance(one, int) and one else 0
    key, value = (int(values.get(f"{arch}.attention.{name}_length", head)) for name in ("key", "value"))
    return all_heads * (key + value) * 2


def _read_tensors(reader: _Reader, count: int) -> list[TensorInfo]:
    """Return the tensors, with offsets from the start of the data."""
    tensors: list[TensorInfo] = []
    for _ in range(count):
        name, n_dims = reader.string(), reader.scalar("<I")
        if n_dims > MAX_DIMS:
            raise ValueError(f"tensor {name!r} has {n_dims} dimensions")
        shape = tuple(reader.scalar("<Q") for _ in range(n_dims))
        kind = GGMLQuantizationType(reader.scalar("<I"))
        n_block, n_bytes_block = GGML_QUANT_SIZES[kind]
        n_bytes = _n_entries(shape) // n_block * n_bytes_block
        tensors.append(TensorInfo(name, shape, kind.name, n_bytes, reader.scalar("<Q")))
    return tensors


def _n_entries(shape: Sequence[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product


def _control_tokens(values: dict[str, Any]) -> tuple[str, ...]:
    pieces, types = values.get("tokenizer.ggml.tokens", []), values.get("tokenizer.ggml.token_type", [])
    return tuple(pieces[i] for i in range(min(len(pieces), len(types))) if types[i] == CONTROL)


def check_chat_model(path: Path) -> GGUFInfo:
    """Return what `path` says of itself if it is a whole chat model.

    Raises:
        ModelUnfit: `model_missing`, `model_corrupt` (no GGUF, damaged, truncated) or `model_not_chat` (an embedder, an
            adapter, a vocabulary alone, no tokenizer); the message says which and what to do.
    """
    info = inspect(path)
    reason = _why_not_chat(info)
    if reason:
        raise ModelUnfit(f"{path.name} {reason}; give a model that was trained to chat.", code="model_not_chat")
    if info.n_bytes_expected > info.n_bytes:
        raise ModelUnfit(
            f"{path.name} is truncated: {info.n_bytes} bytes of {info.n_bytes_expected}; fetch it again.",
            code="model_corrupt",
        )
    return info


def _why_not_chat(info: GGUFInfo) -> str | None:
    if info.kind != "model":
        return f"is of the kind {info.kind!r}"
    if info.architecture in ENCODERS:
        return f"has the architecture {info.architecture!r}, an embedder's"
    if info.pooling:
        return "pools its output into one vector: it is an embedder"
    if not info.tensors:
        return "holds no tensor, only a vocabulary"
    if not info.tokenizer or info.tokenizer == "none":
        return "holds no tokenizer"
    if all(tensor.name != "token_embd.weight" for tensor in info.tensors):
        return "has no token embedding"
    return None
