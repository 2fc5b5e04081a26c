"""How much each input of each weight matters, by our own pass over a calibration text. Knows torch; writes the file.

The matrix is the mean of squared inputs of each linear layer. llama.cpp reorders rows of some weights, never columns,
so what torch sees is what llama.cpp needs.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from conversion.base import sha256_of
from conversion.container import read_container
from conversion.imatrix_file import write_importance
from conversion.names import gguf_names
from conversion.reference import HubModel, lay_out, wanted_dtype
from conversion.tensors import Progress, read_checkpoint
from conversion.texts import read_held_out
from errors import ConversionError

log = logging.getLogger(__name__)


class _Sums:
    """Squared inputs of every linear layer, summed in float64 while texts pass."""

    def __init__(self, model: Any) -> None:
        self.sums: dict[str, torch.Tensor] = {}
        self.counts: dict[str, int] = {}
        self._handles = [
            module.register_forward_hook(self._hook(name))
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear)
        ]

    def _hook(self, name: str) -> Any:
        def add(_module: Any, inputs: tuple[torch.Tensor, ...], _output: Any) -> None:
            rows = inputs[0].detach().reshape(-1, inputs[0].shape[-1]).double()
            squares = rows.square().sum(0)
            self.sums[name] = self.sums[name] + squares if name in self.sums else squares
            self.counts[name] = self.counts.get(name, 0) + len(rows)

        return add

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()


def compute_importance(
    model_dir: Path,
    gguf: Path,
    texts: Sequence[Path],
    out: Path,
    *,
    limit: int = 200,
    on_progress: Progress = lambda _: None,
) -> Path:
    """Write `out`, the importance matrix of a model over calibration texts, in llama.cpp's own form.

    Args:
        model_dir: The checkpoint.
        gguf: Its GGUF, for the names of its tensors.
        texts: Files as `read_held_out` takes them; French, of the kind that the model will be asked.
        out: Must not exist.
        limit: Most chats, and most prose texts.
        on_progress: Called with the share done, 0 to 1.

    Raises:
        ConversionError: A file is missing, or checkpoint and GGUF are not the same model.
        ModelUnfit: The checkpoint cannot be loaded.
    """
    if out.exists():
        raise ConversionError(f"{out} exists and is never overwritten. Move it, or pass another --out.")
    container = read_container(gguf)
    stored = read_checkpoint(model_dir)
    held = read_held_out(texts).first(limit)
    hub = HubModel(model_dir, dtype=wanted_dtype(sum(int(np.prod(t.spec.shape)) for t in stored.values())))
    laid = lay_out(hub.tokenizer, held, hub.ends)
    sums = _Sums(hub.model)
    for number, one in enumerate(laid):
        hub.logits(one.ids)
        on_progress((number + 1) / len(laid))
    sums.remove()
    hub.close()
    names = gguf_names(container, (f"{name}.weight" for name in sums.sums))
    blocks = {name: place for name, place in names.items() if place.startswith("blk.")}
    if not blocks:
        raise ConversionError(f"{gguf.name} has none of the linear layers of {model_dir}: they are different models.")
    description = (
        f"Mean squared inputs of {len(blocks)} weights over {len(laid)} texts, {sum(len(o.ids) for o in laid)} tokens, "
        f"computed with transformers on {model_dir.name}."
    )
    write_importance(
        out,
        {place: sums.sums[name.removesuffix(".weight")].float().numpy() for name, place in blocks.items()},
        {place: sums.counts[name.removesuffix(".weight")] for name, place in blocks.items()},
        datasets=[f"{path.name} sha256:{sha256_of(path)}" for path in texts],
        chunks=len(laid),
        chunk_size=max(len(one.ids) for one in laid),
        name=model_dir.name,
        description=description,
    )
    log.info("importance weights=%d texts=%d bytes=%d", len(blocks), len(laid), out.stat().st_size)
    return out
