"""The page that shows a workshop at work: what is on it, and how it is drawn. Changes nothing; sends no script."""

import time
from itertools import combinations
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from corpus.server.files import EXPORTS
from corpus.server.report import numbers
from corpus.server.state import State

REFRESH_S = 10
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_PAGES = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
    lstrip_blocks=True,
)  # fmt: skip
_SHADES = (0.5, 0.8, 1.25, 2.0)  # count over what is expected by now: far less, less, right, more, far more


def view(state: State, first: str = "", second: str = "") -> dict[str, Any]:
    """Return everything the page shows; cheap, so that the state need not stand still while the page is drawn.

    Args:
        state: Of the workshop.
        first: A dimension for the rows of the large map; another one is taken where there is no such dimension.
        second: Another one, for its columns.
    """
    names = list(state.sampler.quotas)
    first = first if first in names else names[0]
    second = second if second in names and second != first else next((one for one in names if one != first), first)
    return {
        "said": numbers(state),
        "refresh_s": REFRESH_S,
        "dimensions": names,
        "overview": _overview(state),
        "first": first,
        "second": second,
        "rows": _rows(state, first, second),
        "agents": _agents(state),
        "rejects": list(reversed(state.rejects)),
        "waiting": list(state.waiting.values()),
        "exports": EXPORTS,
        "clock": lambda at: time.strftime("%d %b %H:%M:%S", time.localtime(at)),
        "duration": duration,
    }


def draw(shown: dict[str, Any]) -> str:
    """Return the page of a view."""
    return _PAGES.get_template("dashboard.html.j2").render(shown)


def duration(seconds: float | None) -> str:
    """Say a time left.

    >>> duration(7260), duration(59), duration(None)
    ('2 h 01', '1 min', '–')
    """
    if seconds is None:
        return "–"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02}" if minutes >= 60 else f"{max(minutes, 1)} min"


def shade(count: int, expected: float) -> int:
    """Return how dark a field of a map is: 0 never seen, then 1 to 5 from far less than expected to far more."""
    if count <= 0:
        return 0
    return 1 + sum(count / expected >= bound for bound in _SHADES) if expected > 0 else 5


def _overview(state: State) -> dict[tuple[str, str], dict[str, Any]]:
    """Return, for two dimensions, how many of their feasible pairs were seen."""
    found = {pair: {"feasible": 0, "seen": 0} for pair in combinations(state.sampler.quotas, 2)}
    for one, other in state.sampler.feasible:
        found[one[0], other[0]]["feasible"] += 1
    for pair in found.values():
        pair["seen"] = pair["feasible"]
    for one, other in state.sampler.unseen:
        found[one[0], other[0]]["seen"] -= 1
    made: dict[tuple[str, str], dict[str, Any]] = {}
    for (a, b), pair in found.items():
        share = pair["seen"] / pair["feasible"] if pair["feasible"] else 1.0
        made[a, b] = made[b, a] = {**pair, "shade": 3 if share == 1 else min(2, int(share * 3))}
    return made


def _rows(state: State, first: str, second: str) -> list[dict[str, Any]]:
    """Return a row for each level of `first`: how often it was served with each level of `second`."""
    sampler = state.sampler
    swapped = list(sampler.quotas).index(first) > list(sampler.quotas).index(second)
    rows = []
    for a, quota_a in sampler.quotas[first].items():
        fields = []
        for b, quota_b in sampler.quotas[second].items():
            pair = ((second, b), (first, a)) if swapped else ((first, a), (second, b))
            count = sampler.times_met(*pair)
            expected = sampler.served * quota_a * quota_b / max(1, sampler.wanted) ** 2
            never = pair not in sampler.feasible
            fields.append({"level": b, "count": count, "shade": "no" if never else shade(count, expected)})
        rows.append({"level": a, "fields": fields})
    return rows


def _agents(state: State) -> list[dict[str, Any]]:
    """Return every agent with what it did and holds, those at work first."""
    rows = []
    for agent, counts in state.agents.items():
        held = state.live.get(agent)
        until = state.instructions[held].expires_at if held else None
        rows.append({"agent": agent, "counts": dict(counts), "held": held, "until": until})
    return sorted(rows, key=lambda row: (row["held"] is None, row["agent"]))
