"""Are the files whole, and do they say the same of the model? Knows headers and configurations; runs no model."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import llama_cpp as lib
import numpy as np
from gguf import GGMLQuantizationType

from conversion.container import Container, Tensor
from conversion.gates.judge import at_most
from conversion.merge import read_config
from conversion.quantize import listen
from conversion.report import Gate
from conversion.tensors import read_checkpoint
from conversion.tokenizer_files import TEMPLATE, check_sentencepiece, read_json
from engines.gguf_file import inspect
from errors import ConversionError

WANTED = ("config.json", "tokenizer.json", "tokenizer_config.json")
OF_THE_BASE = ("tokenizer.model", TEMPLATE, "generation_config.json")
EPSILON = 1e-4  # relative: what float32 metadata may differ from JSON
EXPONENTS = {GGMLQuantizationType.F16: 0x7C00, GGMLQuantizationType.BF16: 0x7F80}  # all ones: infinite or no number
HALVES = np.dtype(np.uint16)
DEFAULT_THETA = 10_000.0
CHUNK = 1 << 24  # numbers looked at at once


def preflight(merged: Path, base: Path | None) -> Gate:
    """Count what a merged folder lacks or holds twice; a missing `tokenizer.model` changes every text, silently."""
    problems = [f"{name} is missing" for name in WANTED if not (merged / name).is_file()]
    if base is not None:
        problems += [
            f"{name} is missing, the base has it"
            for name in OF_THE_BASE
            if (base / name).is_file() and not (merged / name).is_file()
        ]
    for check in (read_checkpoint, check_sentencepiece):
        try:
            check(merged)
        except ConversionError as error:
            problems.append(str(error))
    if _has_two_templates(merged):
        problems.append("two chat templates: tokenizer_config.json and chat_template.jinja")
    remedy = f"Merge again with `python -m conversion merge`, or restore the files: {'; '.join(problems)}."
    return at_most("files", len(problems), 0, remedy=remedy, details={"problems": problems})


def _has_two_templates(folder: Path) -> bool:
    path = folder / "tokenizer_config.json"
    return path.is_file() and (folder / TEMPLATE).is_file() and "chat_template" in read_json(path)


def integrity(label: str, path: Path) -> Gate:
    """Count the bytes that a GGUF's header announces and the file has not."""
    info = inspect(path)
    return at_most(
        f"integrity {label}",
        max(0, info.n_bytes_expected - info.n_bytes),
        0,
        remedy=f"{path.name} is truncated: make or copy it again.",
        details={"bytes": info.n_bytes, "tensors": len(info.tensors)},
    )


def numbers(label: str, container: Container) -> Gate:
    """Count weights that are no finite number: what float16 makes of what it cannot hold."""
    bad = {name: count for name, tensor in container.tensors.items() if (count := _not_finite(tensor))}
    quantised = any(tensor.kind.name.startswith(("Q", "IQ", "TQ")) for tensor in container.tensors.values())
    refused = quantised and not _passes_llama_cpp(container.path)
    remedy = "Convert again with --outtype bf16: float16 overflows above 65504."
    details = {"tensors": dict(list(bad.items())[:5]), "refused_by_llama_cpp": refused}
    return at_most(f"numbers {label}", sum(bad.values()) + refused, 0, remedy=remedy, details=details)


def _not_finite(tensor: Tensor) -> int:
    if tensor.kind in EXPONENTS:
        mask = EXPONENTS[tensor.kind]
        halves = tensor.data.reshape(-1).view(HALVES)
        return sum(
            int(((halves[at : at + CHUNK] & mask) == mask).sum()) for at in range(0, len(halves), CHUNK)
        )  # fmt: skip
    if tensor.kind is GGMLQuantizationType.F32:
        return int(tensor.data.size - np.isfinite(tensor.data).sum())
    return 0


def _passes_llama_cpp(path: Path) -> bool:
    """Whether llama.cpp finds every quantised block valid."""
    listen()
    lib.llama_backend_init()
    params = lib.llama_model_default_params()
    params.check_tensors, params.n_gpu_layers = True, 0
    model = lib.llama_model_load_from_file(str(path).encode(), params)
    if not model:
        return False
    lib.llama_model_free(model)
    return True


def configuration(label: str, container: Container, merged: Path) -> Gate:
    """Count the settings of the architecture that a GGUF and `config.json` do not agree on."""
    wrong = {
        key: {"gguf": found, "config.json": expected}
        for key, found, expected in _settings(container, read_config(merged))
        if not _same(found, expected)
    }
    remedy = f"Convert again from this folder: {', '.join(wrong)} differ."
    return at_most(f"config {label}", len(wrong), 0, remedy=remedy, details=wrong)


def _same(found: Any, expected: Any) -> bool:
    if isinstance(expected, float) or isinstance(found, float):
        return math.isclose(found, expected, rel_tol=EPSILON)
    return bool(found == expected)


def rope_theta(config: Mapping[str, Any]) -> float:
    """Return the base of the rotary position embedding, of the full-attention layers where there are two kinds."""
    rope = config.get("rope_parameters") or {}
    rope = rope.get("full_attention", rope)
    return float(rope.get("rope_theta") or config.get("rope_theta") or DEFAULT_THETA)


def _settings(container: Container, config: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield key, the GGUF's value, the checkpoint's value, where the checkpoint has one."""
    text: Mapping[str, Any] = {**config, **(config.get("text_config") or {})}
    arch = container.value("general.architecture")
    heads = text.get("num_attention_heads")
    pairs = {
        "block_count": text.get("num_hidden_layers"),
        "embedding_length": text.get("hidden_size"),
        "feed_forward_length": text.get("intermediate_size"),
        "context_length": text.get("max_position_embeddings"),
        "attention.head_count": heads,
        "attention.head_count_kv": text.get("num_key_value_heads", heads),
        "attention.layer_norm_rms_epsilon": text.get("rms_norm_eps"),
    }
    for key, expected in pairs.items():
        field = container.fields.get(f"{arch}.{key}")
        if expected is not None and field is not None:
            yield key, field.value, expected
    theta = container.fields.get(f"{arch}.rope.freq_base")
    yield "rope.freq_base", DEFAULT_THETA if theta is None else theta.value, rope_theta(text)
