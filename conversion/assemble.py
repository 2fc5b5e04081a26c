"""From the base's GGUF, the kept pieces and an adapter to one smaller GGUF, with numpy alone. Knows no torch.

The result is the merged model: rows of the embedding selected, tokens filtered, `W + (α/r)·B·A` where the adapter has
a pair, everything stored as asked.
"""

import json
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, GGUFValueType, GGUFWriter, LlamaFileType
from gguf.quants import dequantize, quantize

from conversion.adapter_kind import check_kind
from conversion.container import Container, Field, Tensor, read_container
from conversion.vocabulary import CONTROL, RENAMED, TOKEN_ID
from errors import ConversionError

log = logging.getLogger(__name__)

Outtype = Literal["keep", "bf16", "f32", "q8_0"]
KINDS: Mapping[str, tuple[GGMLQuantizationType, LlamaFileType]] = {
    "f32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "bf16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}
# Modules of a checkpoint, as PEFT names them, and their tensors in a GGUF.
MODULES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
ARCHITECTURE = "general.architecture"
ALIGNMENT = "general.alignment"
EMBEDDING = "token_embd.weight"
BY_TOKEN = (EMBEDDING, "output.weight")  # tensors with a row for each piece
PER_TOKEN = ("tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.ggml.token_type")
NEEDED_IDS = ("bos_token_id", "eos_token_id", "unknown_token_id", "padding_token_id")  # others go with their piece
# What `merge` can do and this cannot; a file that uses one is refused, never half applied.
UNSUPPORTED = ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "fan_in_fan_out")
CHAT_TEMPLATE = Path(__file__).with_name("chat_template.jinja")
LICENSE_LINK = "https://ai.google.dev/gemma/terms"

F32 = npt.NDArray[np.float32]
Progress = Callable[[float], None]
Stored = tuple[str, npt.NDArray[Any], GGMLQuantizationType]  # a tensor as it is written


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter read from a PEFT folder.

    Attributes:
        scale: α/r, or α/√r for rank-stabilised LoRA.
        pairs: Tensor name in the GGUF → A of shape (r, inputs) and B of shape (outputs, r).
    """

    scale: float
    pairs: Mapping[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]]

    def delta(self, name: str, shape: tuple[int, ...]) -> F32 | None:
        """Return what the adapter adds to a tensor, computed in float64, or None when it leaves it alone.

        Raises:
            ConversionError: The pair has another shape than the tensor: the adapter belongs to another base.
        """
        if name not in self.pairs:
            return None
        a, b = self.pairs[name]
        if (b.shape[0], a.shape[1]) != shape:
            raise ConversionError(
                f"The adapter gives {name} the shape {(b.shape[0], a.shape[1])}; the base has {shape}. "
                "It was trained on another base."
            )
        return (self.scale * (b.astype(np.float64) @ a.astype(np.float64))).astype(np.float32)


def _tensor_name(key: str) -> tuple[str, str]:
    """Split a PEFT key into the GGUF's tensor name and "A" or "B"."""
    parts = key.split(".")
    try:
        at = parts.index("layers")
        module = ".".join(parts[at + 2 : at + 4])
        side = parts[at + 4].removeprefix("lora_")
        tensor = f"blk.{int(parts[at + 1])}.{MODULES[module]}.weight"
    except (ValueError, KeyError, IndexError):
        raise ConversionError(f"The adapter holds {key!r}, which is no LoRA pair of a projection we know.") from None
    if side not in ("A", "B") or parts[-1] != "weight":
        raise ConversionError(f"The adapter holds {key!r}; only lora_A and lora_B can be merged.")
    return tensor, side


def read_adapter(folder: Path) -> Adapter:
    """Read a PEFT LoRA adapter (`adapter_config.json`, `adapter_model.safetensors`).

    Raises:
        ConversionError: A file is missing or damaged, or the adapter is of a kind that is not a plain LoRA.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    weights, settings = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    for path in (settings, weights):
        if not path.is_file():
            raise ConversionError(f"{path} is missing: {folder} holds no adapter. Train it with `make demo-model`.")
    try:
        config = json.loads(settings.read_text(encoding="utf-8"))
        tensors = load_file(weights)
    except (json.JSONDecodeError, SafetensorError) as error:
        raise ConversionError(f"The adapter in {folder} cannot be read: {error}.") from error
    check_kind(settings, config, UNSUPPORTED)
    sides: dict[str, dict[str, npt.NDArray[Any]]] = {}
    for key, tensor in tensors.items():
        name, side = _tensor_name(key)
        sides.setdefault(name, {})[side] = tensor
    alone = [name for name, pair in sides.items() if len(pair) != 2 or pair["A"].shape[0] != pair["B"].shape[1]]
    if alone or not sides:
        raise ConversionError(f"The adapter in {folder} has no whole pair for {alone[:3] or 'any tensor'}.")
    rank = math.sqrt(config["r"]) if config.get("use_rslora") else config["r"]
    return Adapter(config["lora_alpha"] / rank, {name: (pair["A"], pair["B"]) for name, pair in sides.items()})


def to_float(tensor: Tensor) -> F32:
    """Return a tensor's numbers as float32, in its shape."""
    return np.asarray(dequantize(tensor.data, tensor.kind), dtype=np.float32).reshape(tensor.shape)


def _stored(tensor: Tensor, delta: F32 | None, outtype: Outtype) -> tuple[npt.NDArray[Any], GGMLQuantizationType]:
    """Return a tensor's data as it is to be written, and its kind; norms and other vectors stay float32."""
    wanted = tensor.kind if outtype == "keep" or len(tensor.shape) == 1 else KINDS[outtype][0]
    if delta is None and tensor.kind is wanted:
        return tensor.data, wanted  # the base's own bytes
    values = to_float(tensor)
    if delta is not None:
        values += delta
    return (values if wanted is GGMLQuantizationType.F32 else quantize(values, wanted)), wanted


def _cut_tokens(source: Container, kept: Sequence[int], renamed: Mapping[str, str]) -> dict[str, Field]:
    """Return all metadata with the tokenizer's lists and ids for the kept pieces."""
    fields = dict(source.fields)
    for key in PER_TOKEN:
        field = source.fields[key]
        fields[key] = Field([field.value[i] for i in kept], field.kind, field.item_kind)
    tokens, kinds = fields[PER_TOKEN[0]].value, fields[PER_TOKEN[2]].value
    for old, new in renamed.items():
        if old not in tokens:
            raise ConversionError(f"The kept pieces lack {old!r}, which becomes {new!r}. Make the list again.")
        at = tokens.index(old)
        tokens[at], kinds[at] = new, CONTROL
    place = {number: at for at, number in enumerate(kept)}
    for key in filter(TOKEN_ID.fullmatch, source.fields):
        name, number = key.removeprefix("tokenizer.ggml."), source.value(key)
        if number in place:
            fields[key] = Field(place[number], source.fields[key].kind)
        elif name in NEEDED_IDS:
            raise ConversionError(f"The kept pieces lack {number}, the base's {name}. Make the list again.")
        else:
            del fields[key]
    size = f"{source.value(ARCHITECTURE)}.vocab_size"
    if size in fields:
        fields[size] = Field(len(kept), fields[size].kind)
    return fields


def cut_container(source: Container, kept: Sequence[int], *, renamed: Mapping[str, str] | None = None) -> Container:
    """Return a model with the kept pieces alone: rows selected, ids counted anew, everything else its own bytes.

    Args:
        source: A model with a row of scores, types and embedding for each piece.
        kept: Ids of its pieces, rising.
        renamed: Pieces that get another name and become control pieces.

    Raises:
        ConversionError: A piece is not there, or one that the model needs is not kept.
    """
    size = len(source.value(PER_TOKEN[0]))
    if not kept or kept[-1] >= size:
        raise ConversionError(f"Piece {kept[-1] if kept else None} is asked for; {source.path} has {size} pieces.")
    if EMBEDDING not in source.tensors:
        raise ConversionError(f"{source.path} has no {EMBEDDING}: it is no model with a vocabulary.")
    rows = np.asarray(kept)
    tensors = dict(source.tensors)
    for name in (name for name in BY_TOKEN if name in tensors):
        tensor = tensors[name]
        if tensor.shape[0] < size:
            raise ConversionError(f"{name} of {source.path} has {tensor.shape[0]} rows for {size} pieces.")
        # A row's bytes are whole whatever the kind.
        tensors[name] = Tensor(name, tensor.kind, (len(kept), *tensor.shape[1:]), tensor.data[rows])
    return Container(source.path, _cut_tokens(source, kept, renamed or {}), tensors)


def _described(base: Container, name: str, outtype: Outtype, n_kept: int, *, merged: bool) -> dict[str, Field]:
    """Return the metadata that says what the file is and what was done to its base."""
    shapes = [(n_kept, *t.shape[1:]) if key == EMBEDDING else t.shape for key, t in base.tensors.items()]
    n_parameters = sum(math.prod(shape) for shape in shapes)
    changes = "vocabulary cut to French, chat template added" + (", LoRA merged" if merged else "")
    texts = {
        "general.name": name,
        "general.size_label": f"{n_parameters / 1e6:.0f}M",
        "general.description": f"Modified from {base.value('general.name')}: {changes}.",
        "general.license": "gemma",
        "general.license.name": "Gemma Terms of Use",
        "general.license.link": LICENSE_LINK,
        "tokenizer.chat_template": CHAT_TEMPLATE.read_text(encoding="utf-8"),
    }
    fields = {key: Field(text, GGUFValueType.STRING) for key, text in texts.items()}
    fields["general.languages"] = Field(["fr"], GGUFValueType.ARRAY, GGUFValueType.STRING)
    if outtype != "keep":
        fields["general.file_type"] = Field(int(KINDS[outtype][1]), GGUFValueType.UINT32)
    return fields


def _write(writer: GGUFWriter, partial: Path, out: Path) -> None:
    """Write what the writer holds, under its final name last."""
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    partial.rename(out)  # last: a file called *.gguf is always a finished one


def write_gguf(out: Path, fields: Mapping[str, Field], tensors: Iterable[Stored]) -> Path:
    """Write a GGUF from its metadata and its tensors (name, data, kind), under its final name last.

    Raises:
        ConversionError: `out` exists.
    """
    if out.exists():
        raise ConversionError(f"{out} exists and is never overwritten. Move it, or choose another path.")
    partial = out.with_name(out.name + ".partial")
    out.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(partial, str(fields[ARCHITECTURE].value))
    if ALIGNMENT in fields:
        writer.data_alignment = fields[ALIGNMENT].value
    for key, field in fields.items():
        if key != ARCHITECTURE:  # the writer has put it first
            writer.add_key_value(key, field.value, field.kind, field.item_kind)
    for name, data, kind in tensors:
        writer.add_tensor(name, data, raw_dtype=kind)
    _write(writer, partial, out)
    return out


def write_container(container: Container, out: Path) -> Path:
    """Write a container as a GGUF, its tensors byte for byte.

    Raises:
        ConversionError: `out` exists.
    """
    return write_gguf(out, container.fields, ((one.name, one.data, one.kind) for one in container.tensors.values()))


def cut_gguf(
    base: Path,
    kept: Sequence[int],
    out: Path,
    *,
    adapter: Path | None = None,
    outtype: Outtype = "keep",
    name: str = "Bergson and Friends",
    on_progress: Progress = lambda _: None,
) -> Path:
    """Write `out`, the base with the kept pieces alone and, if given, the adapter merged.

    Args:
        base: GGUF with a SentencePiece vocabulary and tied embeddings.
        kept: Ids of the base's pieces, rising.
        out: Must not exist; written as `<out>.partial`, named last.
        adapter: PEFT folder of a LoRA trained on this base.
        outtype: How matrices are stored; "keep" leaves the base's own bytes and takes no adapter: rounded back to
            the grid its base came from, an adapter vanishes.
        name: Written in the file's metadata.
        on_progress: Called with the share done, 0 to 1.

    Raises:
        ConversionError: Something does not fit; nothing is written under the final name.
    """
    if out.exists():
        raise ConversionError(f"{out} exists and is never overwritten. Move it, or choose another path.")
    if adapter and outtype == "keep":
        raise ConversionError("A merged adapter vanishes in the base's own grid; choose bf16, f32 or q8_0.")
    source = read_container(base)
    lora = read_adapter(adapter) if adapter else Adapter(1.0, {})
    unknown = [tensor for tensor in lora.pairs if tensor not in source.tensors]
    if unknown:
        raise ConversionError(f"The adapter changes {unknown[0]}, which {base} has not: it belongs to another base.")
    if BY_TOKEN[1] in source.tensors:
        raise ConversionError(f"{base} has an output matrix of its own; only tied embeddings can be cut here.")
    cut = cut_container(source, kept, renamed=RENAMED)
    fields = {**cut.fields, **_described(source, name, outtype, len(kept), merged=bool(adapter))}

    def stored() -> Iterator[Stored]:
        for done, (tensor_name, tensor) in enumerate(cut.tensors.items()):
            data, kind = _stored(tensor, lora.delta(tensor_name, tensor.shape), outtype)
            yield tensor_name, data, kind
            on_progress(0.9 * (done + 1) / len(cut.tensors))

    write_gguf(out, fields, stored())
    on_progress(1.0)
    log.info("cut pieces=%d outtype=%s bytes=%d", len(kept), outtype, out.stat().st_size)
    return out
