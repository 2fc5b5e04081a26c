"""Is the merged checkpoint the base plus the adapter, number by number? Knows tensors; runs no model."""

from pathlib import Path
from typing import Any

import torch

from conversion.gates.judge import at_most
from conversion.merge import Change, plan_merge, read_facts
from conversion.report import Gate
from conversion.tensors import Progress, read_checkpoint
from errors import ConversionError

FLOOR = 1e-6  # of a tensor's largest weight: what the order of a sum in float32 may change
LIMIT = 1.0  # roundings to the result's dtype


def change_of_base(merged: Path) -> Change | None:
    """Return what was done to the base before the adapter was added, by the merge's own account."""
    if read_facts(merged).get("base_weights") != "nf4":
        return None
    from conversion.nf4 import rounded

    return rounded


def merged_weights(base: Path, adapter: Path, merged: Path, on_progress: Progress = lambda _: None) -> Gate:
    """Compare every weight with base + adapter computed anew in float32, in units of the result's own rounding.

    Exact to one rounding whatever the dtype, so a wrong α or a module that was left out shows at once, in a model of
    any size.
    """
    plan = plan_merge(base, adapter, "float32")
    before = change_of_base(merged)
    found, wanted = read_checkpoint(merged), plan.specs
    lost = sorted(set(wanted) ^ set(found))
    if lost:
        raise ConversionError(f"{merged} and base + adapter do not have the same tensors: {', '.join(lost[:3])}.")
    worst, where, changed = 0.0, "", 0.0
    error, effect = 0.0, 0.0
    for number, name in enumerate(wanted):
        expected, stored = plan.weight(name, before), found[name].load()
        ratio, squares = _apart(stored, expected)
        worst, where = max((worst, where), (ratio, name))
        if name in plan.fitted.changed:
            error += squares
            pair = plan.fitted.pairs.get(name)
            effect += float(pair.delta().double().square().sum()) if pair else 0.0
            changed += 1
        on_progress((number + 1) / len(wanted))
    details: dict[str, Any] = {"tensors": len(wanted), "changed": int(changed), "worst": where}
    if effect:
        details["rounding_of_the_change"] = round((error / effect) ** 0.5, 6)
    remedy = f"{where} is not base + adapter (wrong alpha, another adapter, a module left out): merge again."
    return at_most("merged weights", round(worst, 4), LIMIT, remedy=remedy, details=details)


def _apart(stored: torch.Tensor, expected: torch.Tensor) -> tuple[float, float]:
    """Return the largest difference in roundings of the stored dtype, and the sum of squared differences."""
    if stored.shape != expected.shape:
        raise ConversionError(f"A merged weight has the shape {tuple(stored.shape)}, expected {tuple(expected.shape)}.")
    if not stored.dtype.is_floating_point:
        return (0.0 if torch.equal(stored, expected) else float("inf")), 0.0
    difference = (stored.float() - expected).abs()
    room = expected.abs() * torch.finfo(stored.dtype).eps + FLOOR * expected.abs().max() + 1e-30
    ratio = float((difference / room).max()) if difference.numel() else 0.0
    return (ratio if ratio == ratio else float("inf")), float(difference.double().square().sum())
