"""An embedder's weights in miniature, in the format that `conversion.embedder` reads: two layers, few words."""

import struct
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import quantize

from conversion.embedder import HEADER, LAYER

WIDTH, HEADS, LAYERS, FEED, POSITIONS = 64, 2, 2, 128, 64
PAD_ROWS = 3  # the real file has more rows than pieces
TOKENS = ["<s>", "<pad>", "</s>", "<unk>", ",", ".", "▁", "s", "▁la", "▁joie", "▁raison", "▁liberté", "▁world", "wide",
          *"abcdefghijklmnopqrtuvxyzé:", "▁2003", "▁1987", "稣", "<mask>"]  # fmt: skip
SCORES = [0.0] * 4 + [-3.0 - 0.1 * number for number in range(len(TOKENS) - 5)] + [0.0]


def write_tiny_e5(path: Path, *, tokens: list[str] = TOKENS) -> Path:
    rng = np.random.default_rng(3)
    pieces = [token.encode() for token in tokens]
    text = b"".join(pieces)
    offsets = np.cumsum([0, *map(len, pieces)]).astype("<u4").tobytes()
    n = len(tokens)
    head = HEADER.pack(b"E5S1", 1, WIDTH, LAYERS, HEADS, FEED, n + PAD_ROWS, POSITIONS, 2, 1e-12, 32,
                       n, 0, 2, 1, 3, len(text))  # fmt: skip
    table = struct.pack("<IBI", 0xE9, 1, 0xE9)  # a map of one character, as the real file has of thousands
    head += offsets + np.asarray([*SCORES[: n - 1], 0.0], "<f4").tobytes() + text
    head += struct.pack("<iI", 1, len(table)) + table

    def matrix(rows: int, columns: int) -> tuple[int, int, bytes]:
        values = rng.normal(0, columns**-0.5, (rows, columns)).astype(np.float32)
        return 1, rows * columns, quantize(values, GGMLQuantizationType.Q4_0).tobytes()

    def plain(*shape: int, around: float = 0.0) -> tuple[int, int, bytes]:
        values = (around + rng.normal(0, 0.1, shape)).astype("<f4")
        return 0, values.size, values.tobytes()

    tensors = {
        "emb.word": matrix(n + PAD_ROWS, WIDTH),
        "emb.pos": plain(POSITIONS, WIDTH),
        "emb.type": plain(2, WIDTH),
        "emb.ln.w": plain(WIDTH, around=1.0),
        "emb.ln.b": plain(WIDTH),
    }
    for layer in range(LAYERS):
        for part in LAYER:
            rows, columns = {"fi": (FEED, WIDTH), "fo": (WIDTH, FEED)}.get(part, (WIDTH, WIDTH))
            tensors[f"l{layer}.{part}.w"] = plain(WIDTH, around=1.0) if "ln" in part else matrix(rows, columns)
            tensors[f"l{layer}.{part}.b"] = plain(rows)
    entries = sum(2 + len(name) + 21 for name in tensors)
    at = len(head) + 4 + entries
    listed, data = struct.pack("<i", len(tensors)), b""
    for name, (kind, count, raw) in tensors.items():
        listed += struct.pack("<H", len(name)) + name.encode() + struct.pack("<BIQQ", kind, count, at, len(raw))
        at += len(raw)
        data += raw
    path.write_bytes(head + listed + data)
    return path
