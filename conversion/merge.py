"""A base checkpoint and a LoRA adapter become one checkpoint, tensor by tensor. Knows shards; loads no model.

Each tensor is read, changed in float32 if the adapter says so, rounded once, written. The largest tensor bounds the
memory; a tensor that is not changed is copied byte for byte.
"""

import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from conversion.base import check_space, disk_errors, sha256_of
from conversion.peft_adapter import OUTPUT, Fitted, PeftAdapter, fit, input_embedding, read_peft
from conversion.tensors import SHARD_BYTES, Progress, Spec, Stored, float_dtype, read_checkpoint, write_checkpoint
from conversion.tokenizer_files import TEMPLATE, copy_tokenizer, keep_one_template, pieces_of, template_of
from errors import ConversionError

log = logging.getLogger(__name__)

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Weights = Literal["full", "nf4"]
Change = Callable[[str, torch.Tensor], torch.Tensor]
FACTS = "merge.json"
BESIDE = ("LICENSE", "LICENSE.txt", "NOTICE")  # files of a base that go with it wherever it goes


@dataclass(frozen=True)
class Merged:
    """What was written.

    Attributes:
        path: The folder.
        dtype: Of its weights, e.g. "bfloat16".
        base_weights: "full", or "nf4" where the base was rounded to nf4 and back first.
        tensors: How many there are.
        changed: How many of them differ from the base's.
        n_bytes: Of all weights.
        untied: The output matrix has become a tensor of its own.
    """

    path: Path
    dtype: str
    base_weights: Weights
    tensors: int
    changed: int
    n_bytes: int
    untied: bool


@dataclass(frozen=True)
class Plan:
    """What a merge will do, checked before anything is written.

    Attributes:
        base: The base's tensors.
        config: The base's `config.json`.
        fitted: The adapter, in the base's names.
        dtype: Of the result's floating-point tensors; None keeps each one's own.
    """

    base: Mapping[str, Stored]
    config: Mapping[str, Any]
    fitted: Fitted
    dtype: torch.dtype | None

    @property
    def specs(self) -> dict[str, Spec]:
        """Every tensor of the result, in the base's order."""
        found = {name: self._spec(name, tensor.spec) for name, tensor in self.base.items()}
        extra = set(self.fitted.changed) - set(self.base)
        if self.fitted.untied:
            extra.add(OUTPUT)
        embedding = input_embedding(self.base)
        for name in sorted(extra - set(found)):
            found[name] = self._spec(name, self.base[str(embedding)].spec)
        return found

    @property
    def rows(self) -> int | None:
        """Rows of the input embedding where the adapter's vocabulary has grown, else None."""
        embedding = str(input_embedding(self.base))
        saved = self.fitted.saved.get(embedding)
        return saved.spec.shape[0] if saved and saved.spec.shape != self.base[embedding].spec.shape else None

    def _spec(self, name: str, origin: Spec) -> Spec:
        saved = self.fitted.saved.get(name)
        shape = saved.spec.shape if saved else origin.shape
        wanted = self.dtype if self.dtype is not None and origin.dtype.is_floating_point else origin.dtype
        return Spec(wanted, shape)

    def weight(self, name: str, before: Change | None = None) -> torch.Tensor:
        """Return one tensor of the result.

        Args:
            name: Which.
            before: Changes the base's weight before the adapter is added.
        """
        saved, pair = self.fitted.saved.get(name), self.fitted.pairs.get(name)
        origin = self.base.get(name) or self.base[str(input_embedding(self.base))]
        weight = (saved or origin).load()
        if before is not None and saved is None:
            weight = before(name, weight)
        if pair is not None:
            weight = pair.applied(weight.float())
        dtype = self.specs_dtype(name, origin)
        made = weight.to(dtype)
        if dtype is torch.float16 and not made.isfinite().all():
            raise ConversionError(f"{name} holds what float16 cannot: it ends at 65504. Use --dtype bfloat16.")
        return made

    def specs_dtype(self, name: str, origin: Stored) -> torch.dtype:
        """Return the dtype that a tensor is stored in."""
        return self._spec(name, origin.spec).dtype


def plan_merge(base_dir: Path, adapter_dir: Path, dtype: Dtype = "auto") -> Plan:
    """Read both sides and check that they fit.

    Raises:
        ConversionError: A file is missing or incomplete, the base is quantised, or the adapter does not fit.
    """
    config = read_config(base_dir)
    if config.get("quantization_config"):
        raise ConversionError(f"{base_dir} is quantised; an adapter is merged into the base's full-precision weights.")
    adapter, base = read_peft(adapter_dir), read_checkpoint(base_dir)
    fitted = fit(adapter, base, tied=is_tied(config, base))
    _name_base(adapter, base_dir)
    return Plan(base, config, fitted, None if dtype == "auto" else getattr(torch, dtype))


def read_config(folder: Path) -> dict[str, Any]:
    """Return `config.json` of a checkpoint.

    Raises:
        ConversionError: It is missing or damaged.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ConversionError(f"{path} is missing: {folder} is no checkpoint.")
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ConversionError(f"{path} is no JSON: {error}.") from error
    return config


def is_tied(config: Mapping[str, Any], base: Mapping[str, Stored]) -> bool:
    """Whether the output matrix is the input embedding. A file with an output matrix of its own is not tied."""
    text = config.get("text_config") or {}
    said = config.get("tie_word_embeddings", text.get("tie_word_embeddings", True))
    return bool(said) and not any(name.endswith(OUTPUT) for name in base)


def _name_base(adapter: PeftAdapter, base_dir: Path) -> None:
    """Say it when the adapter names another base; only shapes and names can refuse it."""
    named = str(adapter.config.get("base_model_name_or_path") or "")
    if named and Path(named).name != base_dir.name:
        log.info("the adapter names %s as its base, %s is given", Path(named).name, base_dir.name)


def merge(
    base_dir: Path,
    adapter_dir: Path,
    out_dir: Path,
    *,
    dtype: Dtype = "auto",
    base_weights: Weights = "full",
    max_shard_bytes: int = SHARD_BYTES,
    on_progress: Progress = lambda _: None,
) -> Merged:
    """Write `out_dir`: the base with the adapter added to its weights, and the tokenizer that it was trained with.

    Args:
        base_dir: A full-precision checkpoint in safetensors.
        adapter_dir: A PEFT folder.
        out_dir: Must not exist; written beside itself, named last.
        dtype: Of the result; "auto" keeps the base's.
        base_weights: "nf4" rounds the base's linear layers to nf4 and back first: what the adapter of a QLoRA run saw.
        max_shard_bytes: Of one file.
        on_progress: Called with the share written, 0 to 1.

    Raises:
        ConversionError: A folder is missing or incomplete, the adapter does not fit the base, a weight does not fit
            the dtype, or `out_dir` exists.
        SourceError: The disk is full.
    """
    if out_dir.exists():
        raise ConversionError(f"{out_dir} exists and is never overwritten. Move it, or pass another --out.")
    plan = plan_merge(base_dir, adapter_dir, dtype)
    specs = plan.specs
    n_bytes = sum(spec.n_bytes for spec in specs.values())
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    check_space(out_dir.parent, n_bytes)
    before: Change | None = None
    if base_weights == "nf4":
        from conversion.nf4 import rounded as before
    with (
        tempfile.TemporaryDirectory(dir=out_dir.parent, prefix=f".{out_dir.name}-") as work,
        disk_errors(out_dir.parent),
    ):
        folder = Path(work) / "merged"
        folder.mkdir()
        write_beside(base_dir, adapter_dir, folder, plan)
        write_checkpoint(
            folder,
            specs,
            lambda name: plan.weight(name, before),
            max_shard_bytes=max_shard_bytes,
            on_progress=on_progress,
        )
        changed = len(plan.fitted.changed)
        name = str(plan.dtype or float_dtype(specs.values())).removeprefix("torch.")
        made = Merged(out_dir, name, base_weights, len(specs), changed, n_bytes, plan.fitted.untied)
        _write_facts(folder, made, base_dir, adapter_dir)
        folder.rename(out_dir)
    log.info("merged tensors=%d changed=%d bytes=%d dtype=%s", len(specs), changed, n_bytes, name)
    return made


def write_beside(base_dir: Path, adapter_dir: Path, folder: Path, plan: Plan) -> None:
    """Write everything of a checkpoint folder but the weights.

    Raises:
        ConversionError: The vocabulary has grown and the adapter brings no tokenizer.
    """
    _write_tokenizer(base_dir, adapter_dir, folder, plan)
    for path in sorted(base_dir.iterdir()):
        kept = path.name in BESIDE or (path.suffix == ".json" and not path.name.endswith(".index.json"))
        if kept and path.is_file() and not (folder / path.name).exists() and path.name != FACTS:
            shutil.copy2(path, folder / path.name)
    config = dict(plan.config)
    parts = [config, config["text_config"]] if isinstance(config.get("text_config"), dict) else [config]
    for part in parts:
        if plan.dtype is not None:
            part.update(
                {key: str(plan.dtype).removeprefix("torch.") for key in ("dtype", "torch_dtype") if key in part}
            )
        if plan.fitted.untied and (part is config or "tie_word_embeddings" in part):
            part["tie_word_embeddings"] = False
        if plan.rows and "vocab_size" in part:
            part["vocab_size"] = plan.rows
    (folder / "config.json").write_text(json.dumps(config, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _write_tokenizer(base_dir: Path, adapter_dir: Path, folder: Path, plan: Plan) -> None:
    """Write the base's tokenizer, the adapter's where it has pieces of its own, with the template of the training."""
    copy_tokenizer(base_dir, folder)
    if plan.rows and not (adapter_dir / "tokenizer.json").is_file():
        raise ConversionError(
            f"The adapter's vocabulary has grown, but {adapter_dir} holds no tokenizer.json of its own."
        )
    if plan.rows or pieces_of(adapter_dir) - pieces_of(base_dir):  # a padded embedding takes pieces without growing
        copy_tokenizer(adapter_dir, folder)
    whose, template = trained_template(base_dir, adapter_dir)
    if template is not None and template != template_of(folder):
        (folder / TEMPLATE).write_text(template, encoding="utf-8")
    keep_one_template(folder)
    log.info("chat template of the %s", whose)


def trained_template(base_dir: Path, adapter_dir: Path) -> tuple[Literal["base", "adapter"], str | None]:
    """Return whose chat template an adapter was trained with, and the template; None where nobody has one.

    A run of ours leaves it in `tokenizer/` beside the adapter's folder, other trainers in the folder itself.
    """
    own = template_of(base_dir)
    for folder in (adapter_dir.parent / "tokenizer", adapter_dir):
        found = template_of(folder)
        if found is not None:
            return ("base" if found == own else "adapter"), found
    return "base", own


def _write_facts(folder: Path, made: Merged, base_dir: Path, adapter_dir: Path) -> None:
    """Write where a merged checkpoint comes from, last of all in the folder."""
    facts: dict[str, Any] = {key: value for key, value in asdict(made).items() if key != "path"}
    facts |= {
        "base": base_dir.name,
        "adapter": adapter_dir.name,
        "adapter_sha256": sha256_of(adapter_dir / "adapter_model.safetensors"),
        "adapter_config_sha256": sha256_of(adapter_dir / "adapter_config.json"),
        "chat_template": trained_template(base_dir, adapter_dir)[0],
    }
    (folder / FACTS).write_text(json.dumps(facts, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def read_facts(folder: Path) -> dict[str, Any]:
    """Return what `merge` wrote about a folder; empty where the folder was not merged here."""
    path = folder / FACTS
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return facts
