"""The base of a run: where it is, its tokenizer, how it is held and computed in. Knows recipes; trains nothing."""

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from errors import TrainingError
from training.recipe import Precision, Quantization, Recipe
from training.resume import sha256_of, write_json

log = logging.getLogger(__name__)

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
WANTED = ("*.json", "model*.safetensors", "tokenizer*", "*.jinja", "LICENSE*", "NOTICE*")
# Mistral's own copies of the same weights and vocabulary: twice the download, and a tokenizer without a template.
UNWANTED = ("consolidated*", "tekken.json", "params.json")
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "chat_template.jinja",
)  # fmt: skip
CHECKLIST = """{name} is no folder here and cannot be fetched from the Hub: {reason}
Without the Hub, do this once on a machine that reaches it, then bring the folder here:
  1. Accept the model's terms on its page, and log in: hf auth login (or set HF_TOKEN).
  2. hf download {name} --local-dir {folder} --exclude "consolidated*" "tekken.json"
  3. The folder must hold config.json, model*.safetensors (all of them, and their index), tokenizer.json,
     tokenizer_config.json and, where the repository has it, tokenizer.model.
  4. Run the same command again with --base-model {folder}"""


@dataclass(frozen=True)
class Base:
    """Where a base is.

    Attributes:
        folder: Checkpoint folder on this machine.
        name: Hub repository, or the folder's name: what an adapter says it belongs to.
        revision: Commit on the Hub, where it comes from there.
    """

    folder: Path
    name: str
    revision: str | None = None

    def identity(self) -> dict[str, str | None]:
        """Say which base it is: by its commit on the Hub, or by the hash of each file of weights (a minute for 7B)."""
        config = sha256_of(self.folder / "config.json")
        weights = () if self.revision else sorted(self.folder.glob("model*.safetensors"))
        hashes = {path.name: sha256_of(path) for path in weights}
        return {"name": self.name, "revision": self.revision, "config_sha256": config, **hashes}


@dataclass(frozen=True)
class Held:
    """How a base is held and computed in, chosen for this machine.

    Attributes:
        quantization: "bnb4", "bf16" (16 bits) or "fp32".
        precision: What is computed in: "fp32", "bf16" or "fp16".
        dtype: Of weights that are not quantised, by torch's name.
    """

    quantization: Quantization
    precision: Precision
    dtype: str


def find_base(recipe: Recipe, hub_token: str | None = None) -> Base:
    """Return the base's folder; a Hub repository is downloaded into the Hub's own cache.

    Args:
        recipe: Names the base.
        hub_token: Opens a gated repository; None is the Hub library's own, of `hf auth login`.

    Raises:
        TrainingError: There is no such folder, or the Hub gave nothing: then with a checklist of what to bring.
    """
    folder = Path(recipe.base_model)
    if (folder / "config.json").is_file():
        return Base(folder, folder.name)
    if folder.exists() or not HUB_ID.fullmatch(recipe.base_model):
        raise TrainingError(
            f"{recipe.base_model} is no checkpoint folder (no config.json). "
            "Make it with `python -m conversion checkpoint`, or pass --base-model."
        )
    import httpx
    from huggingface_hub import snapshot_download

    name, wanted, unwanted = recipe.base_model, list(WANTED), list(UNWANTED)
    try:
        found = snapshot_download(
            name, revision=recipe.base_revision, allow_patterns=wanted, ignore_patterns=unwanted, token=hub_token
        )
    except (OSError, ValueError, httpx.HTTPError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        folder_name = name.rsplit("/", 1)[1]
        raise TrainingError(CHECKLIST.format(name=name, reason=reason, folder=folder_name)) from None
    fetched = Path(found)
    return Base(fetched, name, fetched.name)  # a snapshot's folder is called after its commit


def computes_in_bf16(torch: Any) -> bool:
    """Whether bf16 is computed by instructions of its own here: emulated, it is some hundred times slower than fp32."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def choose_precision(wanted: Precision, native: bool, gpu: bool = False) -> Precision:
    """Return "fp32", "bf16" or "fp16".

    >>> choose_precision("auto", native=False)
    'fp32'
    >>> choose_precision("auto", native=False, gpu=True)
    'fp16'
    """
    if wanted != "auto":
        return wanted
    if native:
        return "bf16"
    return "fp16" if gpu else "fp32"


def choose_held(recipe: Recipe, torch: Any) -> Held:
    """Return how the recipe's base is held and computed in on this machine.

    Raises:
        TrainingError: It asks for fp16 without a GPU, where torch has no fp16 training.
    """
    gpu = bool(torch.cuda.is_available())
    native = computes_in_bf16(torch)
    precision = choose_precision(recipe.precision, native, gpu)
    if precision == "fp16" and not gpu:
        raise TrainingError("precision is fp16, which needs a GPU; use auto, fp32 or bf16.")
    if recipe.quantization == "fp32":
        return Held("fp32", precision, "float32")
    sixteen = "float16" if precision == "fp16" else "bfloat16"
    if recipe.quantization == "bnb4":
        return Held("bnb4", precision, "float32" if precision == "fp32" else sixteen)
    if sixteen == "bfloat16" and not native:
        log.warning("This processor emulates bf16: very slow. With enough memory, --quantization fp32 is faster.")
    return Held("bf16", "fp16" if precision == "fp16" else "bf16", sixteen)  # held in 16 bits, computed in them


def load_tokenizer(recipe: Recipe, base: Base) -> Any:
    """Return the base's tokenizer, with the recipe's chat template where it names one.

    Raises:
        TrainingError: It cannot be read, or it cannot train: no BOS or EOS, no fast tokenizer.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(base.folder)
        if recipe.chat_template is not None:
            tokenizer.chat_template = recipe.chat_template.read_text(encoding="utf-8")
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(f"The tokenizer of {base.name} cannot be loaded: {error}") from error
    for name in ("bos_token", "eos_token"):
        if not getattr(tokenizer, name, None):
            raise TrainingError(f"The tokenizer of {base.name} has no {name}; the base must bring one.")
    if not getattr(tokenizer, "is_fast", False):
        raise TrainingError(f"The tokenizer of {base.name} has no tokenizer.json; its labels could not be placed.")
    if tokenizer.pad_token is None:
        # Labels are ours and padding is never among them, so any token will do; EOS last, to be read easily.
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    tokenizer.padding_side = "right"
    return tokenizer


def save_tokenizer(recipe: Recipe, base: Base, folder: Path) -> None:
    """Write the base's tokenizer files, with one template: what transformers would save again lacks half of them."""
    import shutil

    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for name in TOKENIZER_FILES:
        if (base.folder / name).is_file():
            shutil.copy2(base.folder / name, partial / name)
    if recipe.chat_template is not None:
        shutil.copy2(recipe.chat_template, partial / "chat_template.jinja")
    config = partial / "tokenizer_config.json"
    if config.is_file() and (partial / "chat_template.jinja").is_file():
        keys = json.loads(config.read_text(encoding="utf-8"))
        if keys.pop("chat_template", None):  # some read the key, some the file
            write_json(config, keys)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _model_class(config: Any) -> Any:
    """Return transformers' class for a configuration: a model that also sees is not among the causal ones."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    return AutoModelForImageTextToText if getattr(config, "vision_config", None) else AutoModelForCausalLM


def empty_model(base: Base) -> Any:
    """Return the base's model without weights: its shapes are known before gigabytes are read.

    Raises:
        TrainingError: The configuration is of no known model.
    """
    import torch
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(base.folder)
        with torch.device("meta"):
            return _model_class(config).from_config(config)
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(f"{base.name} cannot be loaded: {error}") from error


def load_model(recipe: Recipe, base: Base, held: Held) -> Any:
    """Return the model of a base, held as chosen.

    Raises:
        TrainingError: It cannot be loaded.
    """
    import torch
    from transformers import AutoConfig, BitsAndBytesConfig

    options: dict[str, Any] = {"dtype": held.dtype}
    if held.quantization == "bnb4":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, held.dtype),
            llm_int8_skip_modules=["lm_head", *recipe.frozen],  # the name is historical: it holds for 4 bits too
        )  # fmt: skip
        if torch.cuda.is_available():
            options["device_map"] = {"": 0}
    try:
        config = AutoConfig.from_pretrained(base.folder)
        model = _model_class(config).from_pretrained(base.folder, **options)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise TrainingError(f"{base.name} cannot be loaded: {error}") from error
    for module in model.modules():
        # On processors with AVX512-BF16 an evaluation would repack 4-bit weights in place, and the steps after it
        # would read them in the wrong order.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def hashes_of(model: Any, parts: tuple[str, ...]) -> dict[str, str]:
    """Return a SHA-256 of the weights of each named part, adapters excepted: equal hashes prove that none changed.

    Raises:
        TrainingError: The model has no such part.
    """
    import torch

    found: dict[str, str] = {}
    for part in parts:
        digest, count = hashlib.sha256(), 0
        for name, tensor in sorted(_named(model).items()):
            if part in name.split(".") and "lora_" not in name:
                digest.update(name.encode())
                digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
                count += 1
        if not count:
            raise TrainingError(f"frozen names {part!r}, which this model has not; see the names of its tensors.")
        found[part] = digest.hexdigest()
    return found


def _named(model: Any) -> Mapping[str, Any]:
    """Return a model's parameters under the names they have without an adapter around them."""
    return {
        name.removeprefix("base_model.model.").replace(".base_layer.", "."): parameter
        for name, parameter in model.named_parameters()
    }


def check_frozen(model: Any, parts: tuple[str, ...]) -> None:
    """Refuse an adapter that would train what must stay as it is.

    Raises:
        TrainingError: Trainable tensors lie in one of the parts.
    """
    for part in parts:
        trained = [name for name, p in model.named_parameters() if p.requires_grad and part in name.split(".")]
        if trained:
            raise TrainingError(
                f"The adapter has {len(trained)} tensors in {part}, which is frozen; "
                "make lora.target_modules a pattern of the language tower alone."
            )
