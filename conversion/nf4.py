"""What a 4-bit base (nf4) really holds: weights rounded to nf4 and back. Knows bitsandbytes; knows no adapter.

The rounding is bitsandbytes' own, on tensors: never on a live 4-bit model, whose weights one forward step may repack in
place on some processors, so that a merge afterwards reads them in the wrong order.
"""

from typing import Any

import torch

BLOCK = 64  # weights that share a scale, bitsandbytes' default
# transformers quantises linear layers, the output matrix excepted; a QLoRA run of ours leaves other towers in 16 bits.
KEPT = ("embed_tokens", "lm_head", "wte", "wpe", "vision_tower", "vision_model", "multi_modal_projector")


def is_rounded(name: str, weight: torch.Tensor) -> bool:
    """Whether a 4-bit load of a model rounds this tensor: matrices of linear layers."""
    linear = name.endswith(".weight") and weight.dim() == 2  # norms have one dimension
    return linear and not any(part in name.split(".") for part in KEPT)


def rounded(name: str, weight: torch.Tensor) -> torch.Tensor:
    """Return a weight as an nf4 base with double quantisation holds it, in its own dtype."""
    if not is_rounded(name, weight):
        return weight
    from bitsandbytes import functional

    packed, state = functional.quantize_4bit(weight, blocksize=BLOCK, compress_statistics=True, quant_type="nf4")
    back: torch.Tensor = functional.dequantize_4bit(packed, state)
    return back.to(weight.dtype)


def round_linears(model: Any, stored: torch.dtype) -> None:
    """Round the linear layers of a loaded model in place, adapters excepted: what a QLoRA run computed with.

    Args:
        model: In any dtype.
        stored: The dtype of the base's files: a merge rounds what stands there.
    """
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and "lora_" not in name:
            weight = module.weight.data
            if is_rounded(f"{name}.weight", weight):
                module.weight.data = rounded(f"{name}.weight", weight.to(stored)).to(weight.dtype)
