"""A base in miniature: a two-layer gemma3 with a BPE vocabulary learnt from the sentences below, and its sources."""

import hashlib
import json
import zipfile
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize
from safetensors.numpy import save_file

from conversion.base import Base, Part

WIDTH, HEADS, HEAD, FEED, LAYERS = 64, 2, 32, 128, 2
N_MERGES = 330
CLOSED = "http://127.0.0.1:9"  # nothing listens on the discard port
FRENCH = """La liberté n'est pas l'absence de causes, mais la connaissance de la nécessité.
Nous croyons choisir librement parce que nous ignorons ce qui nous détermine à vouloir.
La durée vécue par la conscience ne se mesure pas comme le temps des horloges.
Agis de telle sorte que la maxime de ta volonté puisse valoir comme loi universelle.
« Qu'est-ce qu'être libre ? » demande l'élève ; la réponse vient d'une autre question.
Le désir est l'essence même de l'homme, et la joie augmente sa puissance d'agir.
Où commence la mémoire, et où finit l'oubli ? À chaque instant le passé nous accompagne.
La morale ne dépend pas de nos sentiments : elle parle à la raison de chacun.
Un être raisonnable a une dignité, il n'a pas de prix ; les choses seules en ont un.
L'intelligence découpe, l'intuition coïncide : voilà deux façons de connaître le réel."""
STRAY = "the whole world Ã©tait"  # English and mojibake: what a French cut leaves out


def _merges(words: Counter[str]) -> list[str]:
    """Learn pieces as SentencePiece does: the most frequent pair, again and again."""
    split = {word: list(word) for word in words}
    found: list[str] = []
    while len(found) < N_MERGES:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in split.items():
            for pair in pairwise(parts):
                pairs[pair] += words[word]
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        found.append("".join(best))
        for parts in split.values():
            at = 0
            while at < len(parts) - 1:
                if (parts[at], parts[at + 1]) == best:
                    parts[at : at + 2] = ["".join(best)]
                at += 1
    return list(dict.fromkeys(found))


def tiny_vocabulary() -> tuple[list[str], list[float], list[int]]:
    """Pieces, scores and types in the base's own order: specials, unused, newlines, bytes, merges, characters."""
    text = f"{FRENCH}\n{STRAY}"
    words = Counter("▁" + word for word in text.split()) + Counter(line.split()[0] for line in text.splitlines())
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<unused0>", "<unused1>", "<unused2>"]
    kinds, scores = [3] * 8, [-1000.0] * 8
    tokens += ["\n", "\n\n", "\n\n\n"]
    kinds += [4] * 3
    scores += [-1000.0] * 3
    tokens += [f"<0x{byte:02X}>" for byte in range(256)]
    kinds += [6] * 256
    scores += [0.0] * 256
    merges = _merges(words)
    letters = sorted(set("".join(words)) - set(merges))
    tokens += [*merges, *letters]
    kinds += [1] * (len(merges) + len(letters))
    scores += [-float(rank) for rank in range(len(merges) + len(letters))]
    return tokens, scores, kinds


def write_tiny_base(path: Path) -> Path:
    tokens, scores, kinds = tiny_vocabulary()
    rng = np.random.default_rng(7)
    writer = GGUFWriter(path, "gemma3")
    writer.add_name("Tiny base")
    writer.add_license("gemma")
    writer.add_context_length(512)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(1)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_sliding_window(64)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(3)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    q8 = GGMLQuantizationType.Q8_0

    def matrix(name: str, rows: int, columns: int) -> None:
        values = rng.normal(0, 0.3 if name == "token_embd" else columns**-0.5, (rows, columns)).astype(np.float32)
        writer.add_tensor(f"{name}.weight", quantize(values, q8), raw_dtype=q8)

    def norm(name: str, size: int) -> None:
        writer.add_tensor(f"{name}.weight", 1 + rng.normal(0, 0.1, size).astype(np.float32))

    norm("output_norm", WIDTH)
    matrix("token_embd", len(tokens), WIDTH)
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        matrix(f"{block}.attn_q", HEADS * HEAD, WIDTH)
        matrix(f"{block}.attn_k", HEAD, WIDTH)
        matrix(f"{block}.attn_v", HEAD, WIDTH)
        matrix(f"{block}.attn_output", WIDTH, HEADS * HEAD)
        matrix(f"{block}.ffn_gate", FEED, WIDTH)
        matrix(f"{block}.ffn_up", FEED, WIDTH)
        matrix(f"{block}.ffn_down", WIDTH, FEED)
        for name in ("attn_norm", "ffn_norm", "post_attention_norm", "post_ffw_norm"):
            norm(f"{block}.{name}", WIDTH)
        norm(f"{block}.attn_q_norm", HEAD)
        norm(f"{block}.attn_k_norm", HEAD)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_adapter(folder: Path, *, rank: int = 4, width: int = WIDTH, layers: int = LAYERS, scale: float = 0.2) -> Path:
    """A PEFT LoRA on the attention and feed-forward projections, float16 as ours is."""
    rng = np.random.default_rng(11)
    shapes = {
        "self_attn.q_proj": (HEADS * HEAD, width),
        "self_attn.k_proj": (HEAD, width),
        "self_attn.v_proj": (HEAD, width),
        "self_attn.o_proj": (width, HEADS * HEAD),
        "mlp.gate_proj": (FEED, width),
        "mlp.up_proj": (FEED, width),
        "mlp.down_proj": (width, FEED),
    }
    tensors = {}
    for layer in range(layers):
        for module, (rows, columns) in shapes.items():
            prefix = f"base_model.model.model.layers.{layer}.{module}"
            tensors[f"{prefix}.lora_A.weight"] = rng.normal(0, scale, (rank, columns)).astype(np.float16)
            tensors[f"{prefix}.lora_B.weight"] = rng.normal(0, scale, (rows, rank)).astype(np.float16)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": 2 * rank,
        "target_modules": [module.split(".")[1] for module in shapes],
    }
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def _wheel(folder: Path, package: str, member: str, data: bytes) -> None:
    """A data package as the index serves it."""
    name = package.replace("-", "_")
    info = f"{name}-1.0.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(member, data)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def make_parts(path: Path, index: Path, *, count: int = 2) -> Base:
    """Slice a file into packages under `index`, and pin it as a base."""
    raw = path.read_bytes()
    cut = len(raw) // count + 1
    parts = []
    index.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        data = raw[number * cut : (number + 1) * cut]
        part = Part(f"tiny-base-part{number + 1}", f"tiny_base_part{number + 1}/data/{path.name}.part{number:02d}",
                    len(data), hashlib.sha256(data).hexdigest())  # fmt: skip
        _wheel(index, part.package, part.member, data)
        parts.append(part)
    whole = hashlib.sha256(raw).hexdigest()
    return Base("tiny/base", path.name, len(raw), whole, "tiny/base-GGUF", "1.0.0", tuple(parts))


@dataclass(frozen=True)
class Source:
    """The miniature base: the file, its pin, and the folder that stands for the package index."""

    path: Path
    base: Base
    index: Path


def use_index(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
