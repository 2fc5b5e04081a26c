"""`python -m benchmarks.shapes SHAPE OUT.gguf`: a model with the shapes of a real one and random weights.

Speed depends on the shapes and on how each matrix is stored, not on what was learnt: a file made here in seconds is
as fast, or as slow, as the one that takes an hour to download. Knows llama.cpp's quantisation mix Q4_K_M and its block
layouts (ggml-common.h), and a vocabulary learnt from our own French data; knows no engine.

The random model speaks: only whole words that are one piece have a row in the output matrix, so an answer never ends
early, is valid text, and is cut into the same ids when it is read again, as a trained model's is. A cache of keys and
values therefore holds from turn to turn, for every server alike.
"""

import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import gguf
import numpy as np
import numpy.typing as npt
import sentencepiece
import typer
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from rich.console import Console
from rich.progress import track

from benchmarks.texts import rows
from cli import run_commands
from errors import ConversionError

ROOT = Path(__file__).parents[1]
TEMPLATE = ROOT / "conversion" / "chat_template.jinja"  # system text first: a prompt begins with the one before it
TOOLS = ("[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
         "[/TOOL_RESULTS]")  # fmt: skip
N_CONTROL = 768  # of Mistral's v3 vocabulary, beside <unk>, <s> and </s>
N_LEARNT = 13_000  # pieces learnt: 3.6 characters of our French a token; Mistral's own vocabulary is about there
BLOCK = 256  # weights of a k-quant block
LOGIT_SPREAD = 2.0  # of logits: an answer neither repeats one word nor draws from all of them alike

Bytes = npt.NDArray[np.uint8]
F32, Q4, Q6 = GGMLQuantizationType.F32, GGMLQuantizationType.Q4_K, GGMLQuantizationType.Q6_K


@dataclass(frozen=True)
class Shape:
    """The numbers that decide how fast a model is.

    Attributes:
        architecture: llama.cpp's name of it.
        layers: Blocks.
        width: Of the residual stream.
        feed: Inner width of the feed-forward part.
        heads: Of attention; `kv_heads` of them are stored.
        n_vocab: Pieces.
        eps: Of the norms.
        bias: Whether queries, keys and values have one.
        n_ctx: Longest context announced.
    """

    architecture: str
    layers: int
    width: int
    feed: int
    heads: int
    kv_heads: int
    n_vocab: int = 32_768
    eps: float = 1e-5
    bias: bool = False
    n_ctx: int = 32_768


SHAPES = {
    "mistral-7b-v0.3": Shape("llama", 32, 4096, 14336, 32, 8),
    "qwen2.5-14b": Shape("qwen2", 48, 5120, 13824, 40, 8, n_vocab=152_064, eps=1e-6, bias=True),
    "tiny": Shape("llama", 4, 256, 512, 4, 2, n_ctx=8192),
}


@dataclass(frozen=True)
class Matrix:
    """One tensor to write: `rows` x `columns` of `kind`, of which a number is `spread` large on average."""

    name: str
    kind: GGMLQuantizationType
    rows: int
    columns: int
    spread: float = 0.0


def more_bits(layer: int, layers: int) -> bool:
    """Whether Q4_K_M stores `attn_v` and `ffn_down` of a layer as Q6_K (llama-quant.cpp, `use_more_bits`).

    >>> sum(more_bits(layer, 32) for layer in range(32))
    16
    """
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def plan(shape: Shape) -> list[Matrix]:
    """Return the tensors of a shape, in the order of the file."""
    kv = shape.width // shape.heads * shape.kv_heads
    wide = shape.width**-0.5  # keeps the size of what passes through

    def norm(name: str) -> Matrix:
        return Matrix(f"{name}.weight", F32, 1, shape.width)

    tensors = [Matrix("token_embd.weight", Q4, shape.n_vocab, shape.width, 1.0)]
    for layer in range(shape.layers):
        block, high = f"blk.{layer}", Q6 if more_bits(layer, shape.layers) else Q4
        tensors += [
            norm(f"{block}.attn_norm"),
            Matrix(f"{block}.attn_q.weight", Q4, shape.width, shape.width, wide),
            Matrix(f"{block}.attn_k.weight", Q4, kv, shape.width, wide),
            Matrix(f"{block}.attn_v.weight", high, kv, shape.width, wide),
            Matrix(f"{block}.attn_output.weight", Q4, shape.width, shape.width, wide),
            norm(f"{block}.ffn_norm"),
            Matrix(f"{block}.ffn_gate.weight", Q4, shape.feed, shape.width, wide),
            Matrix(f"{block}.ffn_up.weight", Q4, shape.feed, shape.width, wide),
            Matrix(f"{block}.ffn_down.weight", high, shape.width, shape.feed, shape.feed**-0.5),
        ]
        if shape.bias:
            sizes = {"attn_q": shape.width, "attn_k": kv, "attn_v": kv}
            tensors += [Matrix(f"{block}.{name}.bias", F32, 1, size) for name, size in sizes.items()]
    return [*tensors, norm("output_norm"), Matrix("output.weight", Q6, shape.n_vocab, shape.width, LOGIT_SPREAD * wide)]


def _noise(rng: np.random.Generator, rows: int, columns: int) -> Bytes:
    words = rng.integers(0, 2**64 - 1, -(-rows * columns // 8), np.uint64, endpoint=True)
    return words.view(np.uint8)[: rows * columns].reshape(rows, columns)


def _half(value: float) -> Bytes:
    return np.array([value], np.float16).view(np.uint8)


def q4_k(rng: np.random.Generator, n_blocks: int, spread: float) -> Bytes:
    """Return (n_blocks, 144) blocks whose numbers are d * scale * (q - 7.5), q from 0 to 15, scale from 0 to 63."""
    raw = _noise(rng, n_blocks, 144)
    d = spread / (1333.5 * 21.25) ** 0.5  # mean squares of a scale and of q - 7.5
    raw[:, 0:2], raw[:, 2:4] = _half(d), _half(7.5 * d)
    raw[:, 8:12] = raw[:, 4:8]  # the minimum of each sub-block has the same scale, so that numbers are centred
    low = raw[:, 12:16] & 15
    raw[:, 12:16] = low | low << 4
    return raw


def q6_k(rng: np.random.Generator, n_blocks: int, spread: float) -> Bytes:
    """Return (n_blocks, 210) blocks whose numbers are d * scale * (q - 32), q from 0 to 63, scale a signed byte."""
    raw = _noise(rng, n_blocks, 210)
    raw[:, 208:210] = _half(spread / (5461.5 * 341.5) ** 0.5)
    return raw


BLOCKS: dict[GGMLQuantizationType, Callable[[np.random.Generator, int, float], Bytes]] = {Q4: q4_k, Q6: q6_k}


def french_lines() -> list[str]:
    """Return the sentences of our dialogues and reading notes, in the order of the files."""
    spoken = [exchange for row in rows("dialogues") for exchange in row["exchanges"]]
    lines = [text for exchange in spoken for text in (exchange["pupil"], exchange["answer"])]
    return lines + [row[key] for row in rows("notes") for key in ("idea", "image", "question")]


def _learnt() -> tuple[list[str], list[str]]:
    """Return pieces learnt from our French data, the first merge first, and the characters they are made of."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(french_lines()), model_writer=model, model_type="bpe", vocab_size=N_LEARNT,
        character_coverage=1.0, normalization_rule_name="identity", split_digits=True, num_threads=1, minloglevel=2,
    )  # fmt: skip
    found = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ids = [i for i in range(found.get_piece_size()) if not (found.is_control(i) or found.is_unknown(i))]
    pieces = [found.id_to_piece(i) for i in ids]
    return [p for p in pieces if len(p) > 1], [p for p in pieces if len(p) == 1]


def cut(word: str, rank: dict[str, int]) -> list[str]:
    """Cut a word into pieces as SentencePiece does: of all neighbours, join those whose piece was learnt first.

    >>> cut("lala", {"la": 0, "al": 1, "lala": 2})
    ['lala']
    """
    parts = list(word)
    while len(parts) > 1:
        joined = [rank.get(a + b, sys.maxsize) for a, b in pairwise(parts)]
        at = joined.index(min(joined))
        if joined[at] == sys.maxsize:
            break
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts


@dataclass(frozen=True)
class Vocabulary:
    """Pieces with their scores and types; `speaks` says which have a row in the output matrix."""

    pieces: list[str]
    scores: list[float]
    types: list[int]
    speaks: npt.NDArray[np.bool_]


def vocabulary(n_vocab: int, rng: np.random.Generator) -> Vocabulary:
    """Lay out Mistral's v3 vocabulary: specials, 768 control pieces, bytes, learnt and made-up pieces, characters.

    Made-up words join a learnt beginning and a learnt end. They are merged last of all, so real text is cut as the
    learnt pieces say, and they fill the vocabulary up to its size.
    """
    merges, characters = _learnt()
    rank = {piece: number for number, piece in enumerate(merges)}
    heads = [piece for piece in merges if piece[0] == "▁" and piece[1:].isalpha() and len(piece) > 2]
    tails = [piece for piece in merges if piece.isalpha() and len(piece) < 5]
    control = [*TOOLS, *(f"[control_{number}]" for number in range(len(TOOLS) + 1, N_CONTROL + 1))]
    special = ["<unk>", "<s>", "</s>", *control]
    n_made = n_vocab - len(special) - 256 - len(merges) - len(characters)
    made: dict[str, None] = {}
    while len(made) < n_made:
        head, tail = heads[rng.integers(len(heads))], tails[rng.integers(len(tails))]
        if head + tail not in rank and cut(head + tail, rank) == [head, tail]:
            made[head + tail] = None
    normal = [*merges, *made, *characters]
    pieces = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *normal]
    types = [TokenType.UNKNOWN] + [TokenType.CONTROL] * (len(special) - 1)
    types += [TokenType.BYTE] * 256 + [TokenType.NORMAL] * len(normal)
    scores = [0.0] * (len(special) + 256) + [-float(number) for number in range(len(normal))]
    words = {piece for piece in heads if cut(piece, rank) == [piece]} | made.keys()
    return Vocabulary(pieces, scores, [int(kind) for kind in types], np.array([piece in words for piece in pieces]))


def _describe(writer: GGUFWriter, name: str, shape: Shape, words: Vocabulary) -> None:
    writer.add_name(f"{name} (its shapes, random weights)")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_K_M)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(shape.n_ctx)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(shape.eps)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_rope_freq_base(1e6)
    writer.add_vocab_size(shape.n_vocab)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(words.pieces)
    writer.add_token_scores(words.scores)
    writer.add_token_types(words.types)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(True)
    writer.add_chat_template(TEMPLATE.read_text(encoding="utf-8"))


def _fill(matrix: Matrix, words: Vocabulary, rng: np.random.Generator) -> npt.NDArray[np.generic]:
    if matrix.kind is F32:
        start = 0.0 if matrix.name.endswith(".bias") else 1.0
        return start + rng.normal(0, 0.02, matrix.columns).astype(np.float32)
    blocks = BLOCKS[matrix.kind](rng, matrix.rows * matrix.columns // BLOCK, matrix.spread)
    rows = blocks.reshape(matrix.rows, -1)
    if matrix.name == "output.weight":
        rows[~words.speaks] = 0
    return rows


def write(name: str, out: Path, *, seed: int = 1, show: Callable[[Sequence[Matrix]], Iterator[Matrix]] = iter) -> int:
    """Write the shape called `name` to `out`, one matrix in memory at a time, and return its size in bytes.

    Args:
        name: A key of `SHAPES`.
        out: Must not exist; written as `<out>.partial`, named last.
        seed: The same seed gives the same file.
        show: Told the matrices, it gives them back one by one: a progress bar.

    Raises:
        ConversionError: No such shape, or `out` exists.
    """
    if name not in SHAPES:
        raise ConversionError(f"No shape {name!r}. Known: {', '.join(SHAPES)}.")
    if out.exists():
        raise ConversionError(f"{out} exists and is never overwritten. Move it, or take another name.")
    shape = SHAPES[name]
    rng = np.random.Generator(np.random.SFC64(seed))
    words = vocabulary(shape.n_vocab, rng)
    matrices = plan(shape)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".partial")
    writer = GGUFWriter(partial, shape.architecture)
    _describe(writer, name, shape, words)
    for matrix in matrices:
        if matrix.kind is F32:
            writer.add_tensor_info(matrix.name, (matrix.columns,), np.dtype(np.float32), 4 * matrix.columns)
        else:
            row = gguf.quant_shape_to_byte_shape((matrix.rows, matrix.columns), matrix.kind)
            writer.add_tensor_info(matrix.name, row, np.dtype(np.uint8), row[0] * row[1], matrix.kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for matrix in show(matrices):
        writer.write_tensor_data(_fill(matrix, words, rng))
    writer.close()
    partial.rename(out)
    return out.stat().st_size


def bar(label: str) -> Callable[[Sequence[Matrix]], Iterator[Matrix]]:
    """Return a `show` for `write` that draws a progress bar on stderr."""
    return lambda todo: iter(track(todo, label, console=Console(stderr=True), transient=True))


def make(
    shape: Annotated[str, typer.Argument(help=f"One of {', '.join(SHAPES)}.")],
    out: Annotated[Path, typer.Argument(help="The GGUF to write; must not exist.")],
    seed: Annotated[int, typer.Option(help="Of the random weights.")] = 1,
    as_data: Annotated[bool, typer.Option("--json", help="Print the path and size as JSON.")] = False,
) -> None:
    """Write a random-weight GGUF with the exact shapes and quantisation mix of a real model in Q4_K_M."""
    size = write(shape, out, seed=seed, show=bar(shape))
    print(json.dumps({"path": str(out), "size_bytes": size}) if as_data else out)


def main() -> None:
    """Run the command line; an error of ours becomes one line on stderr and exit status 1."""
    run_commands(make)


if __name__ == "__main__":
    main()
