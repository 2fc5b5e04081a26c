"""Does a quantised file still hold the adapter? Knows weights of the 16-bit file, of the quantised one, and the change.

A merged weight is the base's plus a change that is often smaller than the quantisation's grid. Where the base stood on
that grid already (a base that was quantised once, an nf4 base), rounding puts the sum back where the base was: the
adapter vanishes, and the file answers as the base does.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from conversion.assemble import to_float
from conversion.container import Container
from conversion.merge import Change, Plan
from conversion.names import gguf_names, head_counts, reordered

MAX_TENSORS = 12  # looked at, spread over the layers
SAME = 0.02  # relative difference at which a row order is the file's

F32 = npt.NDArray[np.float32]


def _in_file_order(weight: F32, change: F32, stored: F32, name: str, heads: Mapping[str, int]) -> F32 | None:
    """Return the change with its rows in the GGUF's order, None when the file's weight is neither order's."""
    scale = float(np.abs(stored).mean()) or 1.0
    if float(np.abs(weight - stored).mean()) <= SAME * scale:
        return change
    count = next((count for part, count in heads.items() if f".{part}." in name), 0)
    if count and float(np.abs(reordered(weight, count) - stored).mean()) <= SAME * scale:
        return reordered(change, count)
    return None


def kept_weights(plan: Plan, sixteen: Container, other: Container, before: Change | None = None) -> float | None:
    """Return how much of the adapter's change a quantised file's weights hold: 1 all, 0 none.

    It is the projection of (quantised - base) on (merged - base), over a few tensors. Rounding alone leaves it at 1,
    because its errors point nowhere; a file that fell back on the base has 0.

    Args:
        plan: Of the merge.
        sixteen: The 16-bit GGUF.
        other: The quantised GGUF.
        before: What was done to the base before the adapter was added.

    Returns:
        None where no tensor could be compared.
    """
    names = gguf_names(sixteen, sorted(plan.fitted.pairs))
    if not names:
        return None
    step = max(1, len(names) // MAX_TENSORS)
    heads = head_counts(sixteen)
    dot, norm = 0.0, 0.0
    for name, place in list(names.items())[::step]:
        if place not in other.tensors:
            continue
        stored = to_float(sixteen.tensors[place])
        merged = plan.weight(name, before).float().numpy()
        ordered = _in_file_order(merged, _change(plan, name, before, merged), stored, place, heads)
        if ordered is None:
            continue
        moved = to_float(other.tensors[place]) - (stored - ordered)
        dot += float((moved.astype(np.float64) * ordered).sum())
        norm += float((ordered.astype(np.float64) ** 2).sum())
    return dot / norm if norm else None


def _change(plan: Plan, name: str, before: Change | None, merged: F32) -> F32:
    """Return what the adapter changes in a tensor."""
    if name not in plan.base:  # an output matrix that was shared before
        return np.asarray(plan.fitted.pairs[name].delta().numpy())
    base = plan.base[name].load()
    return np.asarray(merged - (base if before is None else before(name, base)).float().numpy())
