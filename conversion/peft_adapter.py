"""A PEFT LoRA adapter, as what it does to each weight of its base. Knows PEFT's files; holds no model.

Understood: rank and alpha patterns, rank-stabilised LoRA, DoRA on linear layers, LoRA on embeddings, saved modules,
transposed (Conv1D) weights. Everything else that changes what an adapter means is refused with its name.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from conversion.adapter_kind import check_kind
from conversion.tensors import Spec, Stored, read_header
from errors import ConversionError

# Names of one module in a checkpoint and in a loaded model: transformers 5 renames multimodal models while loading.
PREFIXES = (
    ("model.language_model.", "language_model.model."),
    ("model.language_model.", "model."),
    ("lm_head.", "language_model.lm_head."),
    ("model.", "language_model.model."),
)
INPUT_ENDS = ("embed_tokens.weight", "wte.weight")
OUTPUT = "lm_head.weight"
N_NAMED = 3  # tensors that an error names


@dataclass(frozen=True)
class Pair:
    """What one LoRA pair adds.

    Attributes:
        a: (r, inputs); for an embedding (r, pieces).
        b: (outputs, r); for an embedding (width, r).
        scale: α/r, or α/√r.
        magnitude: DoRA's norm of each row, or None.
        transposed: The weight is stored as (inputs, outputs).
    """

    a: Stored
    b: Stored
    scale: float
    magnitude: Stored | None
    transposed: bool

    @property
    def shape(self) -> tuple[int, int]:
        """Of the weight it belongs to."""
        rows, columns = self.b.spec.shape[0], self.a.spec.shape[1]
        return (columns, rows) if self.transposed else (rows, columns)

    def delta(self) -> torch.Tensor:
        """Return what is added to the weight, float32, in the weight's own shape."""
        added = self.b.load().float() @ self.a.load().float()
        return (added.T if self.transposed else added) * self.scale

    def applied(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the merged weight, float32; `weight` is float32 and may be changed."""
        weight += self.delta()
        if self.magnitude is None:
            return weight
        rows = weight.T if self.transposed else weight
        factor = self.magnitude.load().float().reshape(-1, 1) / torch.linalg.norm(rows, dim=1, keepdim=True)
        merged: torch.Tensor = rows * factor
        return merged.T if self.transposed else merged


@dataclass(frozen=True)
class PeftAdapter:
    """An adapter as its files hold it; modules are named as in the model it was trained on.

    Attributes:
        folder: Where it is.
        config: `adapter_config.json`.
        pairs: Module → what it adds.
        saved: Tensor → its whole new value.
    """

    folder: Path
    config: Mapping[str, Any]
    pairs: Mapping[str, Pair]
    saved: Mapping[str, Stored]


@dataclass(frozen=True)
class Fitted:
    """An adapter whose names are those of one base checkpoint.

    Attributes:
        pairs: Tensor of the base → what is added.
        saved: Tensor of the base, or one it did not have → its whole new value.
        untied: The output matrix gets a tensor of its own: the adapter changes only one end of a shared one.
    """

    pairs: Mapping[str, Pair]
    saved: Mapping[str, Stored]
    untied: bool = False

    @property
    def changed(self) -> set[str]:
        """Names of all tensors that differ from the base's."""
        return {*self.pairs, *self.saved}


def read_peft(folder: Path) -> PeftAdapter:
    """Read `adapter_config.json` and the header of `adapter_model.safetensors`.

    Raises:
        ConversionError: A file is missing or damaged, or the adapter is of a kind that cannot be merged exactly.
    """
    settings = folder / "adapter_config.json"
    if not settings.is_file():
        raise ConversionError(f"{settings} is missing: {folder} holds no adapter.")
    try:
        config: dict[str, Any] = json.loads(settings.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ConversionError(f"{settings} is no JSON: {error}.") from error
    check_kind(settings, config)
    sides: dict[str, dict[str, Stored]] = {}
    saved: dict[str, Stored] = {}
    for key, tensor in read_header(folder / "adapter_model.safetensors").items():
        module, side = _split(key)
        if side is None:
            saved[module] = tensor
        else:
            sides.setdefault(module, {})[side] = tensor
    pairs = {module: _pair(folder, module, found, config) for module, found in sides.items()}
    if not pairs and not saved:
        raise ConversionError(f"The adapter in {folder} is empty.")
    return PeftAdapter(folder, config, pairs, saved)


_SIDES = {
    "lora_A.weight": "A",
    "lora_B.weight": "B",
    "lora_embedding_A": "embedding A",
    "lora_embedding_B": "embedding B",
    "lora_magnitude_vector": "magnitude",
    "lora_magnitude_vector.weight": "magnitude",
}


def _split(key: str) -> tuple[str, str | None]:
    """Return a key's module and side; for a saved tensor its whole name and None."""
    name = key.removeprefix("base_model.model.").replace(".default", "")
    for ending, side in _SIDES.items():
        if name.endswith(f".{ending}"):
            return name.removesuffix(f".{ending}"), side
    if "lora_" in name:
        raise ConversionError(f"The adapter holds {key!r}, which is no part of a LoRA that we know.")
    return name.replace(".modules_to_save", "").replace(".base_layer", ""), None


def _matching(patterns: Mapping[str, Any], module: str, default: Any) -> Any:
    """Return the value of the first pattern that a module's name ends with, as PEFT chooses it."""
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default


def _pair(folder: Path, module: str, found: Mapping[str, Stored], config: Mapping[str, Any]) -> Pair:
    embedding = "embedding A" in found
    a, b = found.get("embedding A" if embedding else "A"), found.get("embedding B" if embedding else "B")
    if a is None or b is None:
        raise ConversionError(f"The adapter in {folder} has half a pair for {module}: it was saved or copied in part.")
    rank = _matching(config.get("rank_pattern") or {}, module, config.get("r"))
    alpha = _matching(config.get("alpha_pattern") or {}, module, config.get("lora_alpha"))
    found_ranks = (a.spec.shape[0], b.spec.shape[1])
    if len(a.spec.shape) != 2 or len(b.spec.shape) != 2 or found_ranks != (rank, rank):
        raise ConversionError(
            f"{module} has the ranks {found_ranks}; adapter_config.json says {rank}. Restore the file."
        )
    if config.get("use_dora") and "magnitude" not in found:
        raise ConversionError(f"The adapter uses DoRA, but {module} has no magnitude vector: it was saved in part.")
    if embedding and "magnitude" in found:
        raise ConversionError(
            f"{module} uses DoRA on an embedding, which cannot be merged here. Train it without DoRA."
        )
    scale = float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)
    transposed = embedding or bool(config.get("fan_in_fan_out"))
    return Pair(a, b, scale, found.get("magnitude"), transposed)


def _locate(name: str, base: Mapping[str, Stored]) -> str | None:
    """Return a tensor's name in the base's files, None where it has no such tensor."""
    if name in base:
        return name
    for loaded, stored in PREFIXES:
        for old, new in ((loaded, stored), (stored, loaded)):
            if name.startswith(old) and new + name.removeprefix(old) in base:
                return new + name.removeprefix(old)
    return None


def _some(names: list[str]) -> str:
    more = f" and {len(names) - N_NAMED} more" if len(names) > N_NAMED else ""
    return ", ".join(sorted(names)[:N_NAMED]) + more


def input_embedding(base: Mapping[str, Stored]) -> str | None:
    """Return the name of the input embedding in a checkpoint."""
    return next((name for name in base if name.endswith(INPUT_ENDS)), None)


def fit(adapter: PeftAdapter, base: Mapping[str, Stored], *, tied: bool) -> Fitted:
    """Give an adapter the names of a base and check that it belongs there.

    Args:
        adapter: The adapter.
        base: The base's tensors.
        tied: The base's output matrix is its input embedding.

    Raises:
        ConversionError: The adapter changes what the base has not, has other shapes, or lacks modules that its own
            configuration names: each time with names.
    """
    places = {f"{module}.weight": _locate(f"{module}.weight", base) for module in adapter.pairs}
    unknown = [name for name, place in places.items() if place is None and not (tied and name == OUTPUT)]
    if unknown:
        raise ConversionError(
            f"The adapter in {adapter.folder} changes {_some(unknown)}, which the base has not: it does not fit, it "
            "was trained on another base."
        )
    pairs = {places[f"{module}.weight"] or OUTPUT: pair for module, pair in adapter.pairs.items()}
    embedding = input_embedding(base)
    saved: dict[str, Stored] = {}
    for name, tensor in adapter.saved.items():
        place = _locate(name, base) or (OUTPUT if tied and name.endswith(OUTPUT) else None)
        if place is None:
            raise ConversionError(f"The adapter in {adapter.folder} saves {name}, which the base has not.")
        saved[place] = tensor
    _check_shapes(adapter, pairs, saved, base, embedding)
    _check_complete(adapter, pairs, base)
    ends = {name for name in (embedding, OUTPUT) if name in pairs or name in saved}
    return Fitted(pairs, saved, untied=tied and bool(ends))


def _check_shapes(
    adapter: PeftAdapter,
    pairs: Mapping[str, Pair],
    saved: Mapping[str, Stored],
    base: Mapping[str, Stored],
    embedding: str | None,
) -> None:
    for name, pair in pairs.items():
        origin = saved.get(name) or base.get(name) or base[str(embedding)]
        if pair.shape != origin.spec.shape:
            raise ConversionError(
                f"The adapter in {adapter.folder} does not fit: it gives {name} the shape {pair.shape}, the base has "
                f"{origin.spec.shape}. It was trained on another base."
            )
    for name, tensor in saved.items():
        there: Spec = (base.get(name) or base[str(embedding)]).spec
        ends = name in (embedding, OUTPUT)  # a vocabulary may have grown
        if tensor.spec.shape[1:] != there.shape[1:] or (not ends and tensor.spec.shape != there.shape):
            raise ConversionError(
                f"The adapter in {adapter.folder} does not fit: it saves {name} with the shape {tensor.spec.shape}, "
                f"the base has {there.shape}."
            )


def _check_complete(adapter: PeftAdapter, pairs: Mapping[str, Pair], base: Mapping[str, Stored]) -> None:
    """Refuse an adapter that lacks modules its configuration names: a part of it was lost on the way."""
    config = adapter.config
    targets = config.get("target_modules")
    if any(config.get(key) for key in ("layers_to_transform", "layers_pattern", "exclude_modules")) or not targets:
        return
    if targets == "all-linear":
        return
    wanted = []
    for name, tensor in base.items():
        module = name.removesuffix(".weight")
        if module == name or len(tensor.spec.shape) != 2:
            continue
        if isinstance(targets, str):
            hit = re.fullmatch(targets, module) is not None
        else:
            hit = any(module == target or module.endswith(f".{target}") for target in targets)
        if hit and name not in pairs:
            wanted.append(name)
    if wanted:
        raise ConversionError(
            f"The adapter in {adapter.folder} has nothing for {_some(wanted)}, which its adapter_config.json names: "
            "a part of it is missing. Copy it again."
        )
