"""Attention and graph settings on the transformers path, where a graphics card is at hand. Knows torch; no engine.

Settings are put on one after the other and timed on the same prompts: eager attention, torch's fused attention, TF32
for what is left in float32, and a fixed-size cache whose step is captured as a graph. `channels_last` is a layout of
images: a language model has no tensor of that kind, so there is nothing to set.
"""

import gc
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engines.base import ChatMessage


def why_not() -> str | None:
    """Return why there is nothing to measure on this machine; None where there is a card."""
    import torch

    if torch.cuda.is_available():
        return None
    return f"no GPU: torch {torch.__version__} sees none, and these settings change nothing on a processor"


def attention_settings(
    checkpoint: Path,
    prompts: Sequence[Sequence[ChatMessage]],
    *,
    max_tokens: int,
    device: str = "cuda",
    dtype: str = "bfloat16",
    graphs: bool = True,
) -> dict[str, dict[str, Any]]:
    """Return seconds and memory for each setting, each with those before it still on.

    Args:
        checkpoint: A merged one.
        prompts: Messages of each talk.
        max_tokens: Of an answer; all answers have that length.
        device: Where it computes.
        dtype: Of the weights.
        graphs: Whether a fixed cache and a captured graph are tried; they need a card and minutes of compiling.

    Raises:
        ModelUnfit: The checkpoint cannot be loaded.
    """
    import torch

    from engines.transformers_local import HubVocabulary, load_model, load_tokenizer

    tokenizer = load_tokenizer(checkpoint)
    ids = [_ids(HubVocabulary(tokenizer), messages) for messages in prompts]
    found: dict[str, dict[str, Any]] = {}
    precision = torch.get_float32_matmul_precision()
    model = load_model(checkpoint, dtype=dtype).to(device)
    try:
        for name in ("eager attention", "fused attention", "TF32", "static cache and graph"):
            if name == "static cache and graph" and not graphs:
                continue
            if name == "TF32":
                torch.set_float32_matmul_precision("high")
            model.set_attn_implementation("eager" if name == "eager attention" else "sdpa")
            options = {"cache_implementation": "static"} if name == "static cache and graph" else {}
            found[name] = _timed(model, ids, max_tokens, device, options)
    finally:
        torch.set_float32_matmul_precision(precision)
        del model
        gc.collect()
    return found


def _ids(vocabulary: Any, messages: Sequence[ChatMessage]) -> list[int]:
    from engines.prompt import PromptFormat

    return list(PromptFormat(vocabulary).render(messages).ids)


def _timed(
    model: Any, prompts: Sequence[Sequence[int]], max_tokens: int, device: str, options: dict[str, Any]
) -> dict[str, Any]:
    """Answer each prompt, greedily and always to the same length; the first one once more before, for nobody's clock.

    A fixed cache is compiled for one length of prompt at a time, so its first sight of each is left out as well.
    """
    import torch

    on_card = device.startswith("cuda")
    if on_card:
        torch.cuda.reset_peak_memory_stats()
    seconds: list[float] = []
    with torch.inference_mode():
        for number, ids in enumerate(prompts):
            given = torch.tensor([list(ids)], device=device)
            for ahead in range(2 if number == 0 or options else 1, 0, -1):
                began = time.perf_counter()
                model.generate(
                    given, attention_mask=torch.ones_like(given), do_sample=False, min_new_tokens=max_tokens,
                    max_new_tokens=max_tokens, pad_token_id=0, top_k=None, top_p=None, **options,
                )  # fmt: skip
                if on_card:
                    torch.cuda.synchronize()
                if ahead == 1:
                    seconds.append(time.perf_counter() - began)
    peak = round(torch.cuda.max_memory_allocated() / 1e6, 1) if on_card else None
    return {"median_latency": round(statistics.median(seconds), 4), "gpu_mem": peak, "tokens_out": max_tokens}
