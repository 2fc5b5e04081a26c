"""An adapter trained on a 4-bit base, merged both ways; the better one is kept. Knows merge and a held-out text.

Trained on nf4, an adapter corrects the rounding of nf4 as well: on the full-precision base that correction is one too
many, on the rounded base the model keeps what nf4 lost. Which is better is measured, not believed.
"""

import json
import logging
import math
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from conversion.base import disk_errors
from conversion.gates import speech
from conversion.merge import FACTS, Dtype, Merged, Weights, merge, plan_merge, read_facts, write_beside
from conversion.reference import HubModel, lay_out, wanted_dtype
from conversion.tensors import SHARD_BYTES, Progress, read_checkpoint
from conversion.texts import Texts, read_held_out
from engines.transformers_local import load_tokenizer
from errors import ConversionError

log = logging.getLogger(__name__)

WAYS: tuple[Weights, ...] = ("full", "nf4")


@dataclass(frozen=True)
class Compared:
    """Both merges of one adapter, measured on a held-out text.

    Attributes:
        chosen: The base whose merge was kept, "full" or "nf4".
        nats_per_token: Of each, lower is better.
        perplexity: e to that power.
        kl: Mean divergence of the other merge from the chosen one, nats.
        same_top: Share of positions where both have the same likeliest token.
        tokens: Positions counted.
        texts: The files, by name.
    """

    chosen: Weights
    nats_per_token: dict[str, float]
    perplexity: dict[str, float]
    kl: float
    same_top: float
    tokens: int
    texts: tuple[str, ...]


def merge_both(
    base_dir: Path,
    adapter_dir: Path,
    out_dir: Path,
    *,
    held_out: Sequence[Path],
    dtype: Dtype = "auto",
    limit: int = 100,
    max_shard_bytes: int = SHARD_BYTES,
    on_progress: Progress = lambda _: None,
) -> tuple[Merged, Compared]:
    """Merge onto the full-precision base and onto the nf4-rounded one; keep the merge with the lower held-out loss.

    Args:
        base_dir: See `merge`.
        adapter_dir: See `merge`.
        out_dir: Must not exist; holds the better one, with both losses in its merge.json.
        held_out: Files of texts that the adapter was not trained on.
        dtype: Of the result.
        limit: Most chats, and most prose texts.
        max_shard_bytes: Of one file.
        on_progress: Called with the share done, 0 to 1.

    Raises:
        ConversionError: As `merge`, or the held-out files hold nothing that the model can be asked.
        SourceError: The disk has no room for both.
    """
    if out_dir.exists():
        raise ConversionError(f"{out_dir} exists and is never overwritten. Move it, or pass another --out.")
    texts = read_held_out(held_out).first(limit)
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=out_dir.parent, prefix=f".{out_dir.name}-") as work,
        disk_errors(out_dir.parent),
    ):
        beside = Path(work) / "beside"
        beside.mkdir()
        write_beside(base_dir, adapter_dir, beside, plan_merge(base_dir, adapter_dir, dtype))
        lay_out(load_tokenizer(beside), texts, frozenset())  # what it refuses, it refuses before two long merges
        made: dict[Weights, Merged] = {}
        for number, way in enumerate(WAYS):
            made[way] = merge(
                base_dir, adapter_dir, Path(work) / way, dtype=dtype, base_weights=way,
                max_shard_bytes=max_shard_bytes, on_progress=_part(on_progress, number),
            )  # fmt: skip
        compared = _compare(made, texts, tuple(path.name for path in held_out), Path(work))
        on_progress(1.0)
        chosen = made[compared.chosen]
        facts = read_facts(chosen.path) | {"compared": asdict(compared)}
        (chosen.path / FACTS).write_text(json.dumps(facts, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        chosen.path.rename(out_dir)
    log.info("chosen base=%s nats=%s kl=%.4f", compared.chosen, compared.nats_per_token, compared.kl)
    return Merged(**{**vars(chosen), "path": out_dir}), compared


def _part(on_progress: Progress, number: int) -> Progress:
    """Return a progress that fills one of three thirds; the last is the comparison."""
    return lambda done: on_progress((number + done) / (len(WAYS) + 1))


def _compare(made: dict[Weights, Merged], texts: Texts, names: tuple[str, ...], work: Path) -> Compared:
    """Ask both merges, one after the other: two models of 7 billion do not fit side by side."""
    rows: dict[Weights, speech.Rows] = {}
    for way, merged in made.items():
        size = sum(int(np.prod(tensor.spec.shape)) for tensor in read_checkpoint(merged.path).values())
        hub = HubModel(merged.path, dtype=wanted_dtype(size))
        laid = lay_out(hub.tokenizer, texts, hub.ends)
        rows[way] = speech.record(laid, hub.log_probs, work / f"rows-{way}", lambda _: None)
        hub.close()
    both = speech.compare(rows["full"], rows["nf4"])
    perplexity: dict[Weights, float] = {"full": both.reference_perplexity, "nf4": both.perplexity}
    best = min(WAYS, key=lambda way: perplexity[way])
    other = next(way for way in WAYS if way != best)
    apart = speech.compare(rows[best], rows[other])
    return Compared(
        best,
        {way: round(math.log(found), 6) for way, found in perplexity.items()},
        {way: round(found, 4) for way, found in perplexity.items()},
        apart.mean,
        apart.same_top,
        apart.tokens,
        names,
    )
