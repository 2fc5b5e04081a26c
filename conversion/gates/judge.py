"""From a number and a limit to a gate. Knows verdicts; measures nothing."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from conversion.report import Gate, Verdict
from errors import ChatError


def at_most(
    name: str,
    value: float,
    limit: float,
    *,
    remedy: str,
    soft: bool = False,
    details: Mapping[str, Any] | None = None,
) -> Gate:
    """Return a gate that passes when `value` is not above `limit`.

    Args:
        name: Of the gate.
        value: What was measured; NaN never passes.
        limit: The threshold.
        remedy: What to do when it does not hold.
        soft: A warning instead of a failure.
        details: Further figures.
    """
    return _gate(name, value, limit, value <= limit, remedy, soft, details)


def at_least(
    name: str,
    value: float,
    limit: float,
    *,
    remedy: str,
    soft: bool = False,
    details: Mapping[str, Any] | None = None,
) -> Gate:
    """Return a gate that passes when `value` is not below `limit`; see `at_most`."""
    return _gate(name, value, limit, value >= limit, remedy, soft, details)


def _gate(
    name: str, value: float, limit: float, holds: bool, remedy: str, soft: bool, details: Mapping[str, Any] | None
) -> Gate:
    verdict: Verdict = "pass" if holds else "warn" if soft else "fail"
    # JSON has no infinity and no NaN; a text says the same.
    shown: float | str = value if math.isfinite(value) else str(value)
    return Gate(name, shown, limit, verdict, "" if holds else remedy, dict(details or {}))


def skipped(name: str, why: str) -> Gate:
    """Return a gate for which something was missing."""
    return Gate(name, None, None, "skipped", why)


def guarded(name: str, measure: Callable[[], Gate]) -> Gate:
    """Return what `measure` finds; an error of ours is a failure with its own words as remedy."""
    try:
        return measure()
    except ChatError as error:
        return Gate(name, type(error).__name__, None, "fail", str(error))
