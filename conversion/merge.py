"""A base checkpoint and a LoRA adapter become one checkpoint. Knows PEFT, when it runs; knows no GGUF."""

import logging
import tempfile
from pathlib import Path

from conversion.tokenizer_files import copy_tokenizer
from errors import ConversionError

log = logging.getLogger(__name__)


def merge(base_dir: Path, adapter_dir: Path, out_dir: Path) -> Path:
    """Write `out_dir`: the base with the adapter added to its weights, in float32, with the base's tokenizer files.

    float32 because a bfloat16 sum would round small updates away; the next step stores what it wants.

    Raises:
        ConversionError: A folder is missing, the adapter does not fit the base, or `out_dir` exists.
    """
    for path in (base_dir / "config.json", adapter_dir / "adapter_config.json"):
        if not path.is_file():
            raise ConversionError(f"{path} is missing.")
    if out_dir.exists():
        raise ConversionError(f"{out_dir} exists and is never overwritten. Move it, or pass another --out.")
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    out_dir.parent.mkdir(parents=True, exist_ok=True)
    base = AutoModelForCausalLM.from_pretrained(base_dir, dtype=torch.float32)
    try:
        model = PeftModel.from_pretrained(base, adapter_dir)
    except (RuntimeError, ValueError) as error:  # PEFT's words for other shapes and other modules
        raise ConversionError(f"The adapter in {adapter_dir} does not fit {base_dir}: {error}") from error
    merged = model.merge_and_unload(safe_merge=True)
    with tempfile.TemporaryDirectory(dir=out_dir.parent, prefix=f".{out_dir.name}-") as work:
        folder = Path(work) / "merged"
        merged.save_pretrained(folder)
        copy_tokenizer(base_dir, folder)
        folder.rename(out_dir)
    log.info("merged parameters=%d", sum(p.numel() for p in merged.parameters()))
    return out_dir
