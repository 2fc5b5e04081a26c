"""Is the process alive, can it answer? Knows a tier's status; knows nothing of pupils, pages or models."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import Response
from fastapi.routing import APIRoute

if TYPE_CHECKING:  # the routes must also be served when a persona file is broken and no tier can be imported
    from tiers.base import Tier

NO_STORE = "no-store"  # a proxy that remembers yesterday's answer would hide today's fault
RETRY_S = "5"  # seconds a prober should wait while the model is prepared


@dataclass(frozen=True)
class Report:
    """What `/ready` says: the same fields as `tiers.base.TierStatus`, without the notices."""

    status: str
    step: str
    progress: float | None = None
    model: str | None = None


def routes(tier: "Tier") -> list[APIRoute]:
    """Return `/health` and `/ready`, to be served beside the page.

    `/health` answers 200 whenever the process lives. `/ready` answers 200 when the tier is ready, otherwise 503 with
    the step that is under way (or failed) and its progress.
    """

    def report() -> Report:
        now = tier.status
        return Report(now.state, now.step, now.progress, now.model)

    return _routes(report)


def closed_routes(code: str) -> list[APIRoute]:
    """Return the same routes for a page that cannot talk at all; `code` says why."""
    return _routes(lambda: Report("failed", code))


def _routes(report: Callable[[], Report]) -> list[APIRoute]:
    async def health(response: Response) -> dict[str, str]:
        response.headers["Cache-Control"] = NO_STORE
        return {"status": "ok"}

    async def ready(response: Response) -> Report:
        said = report()
        response.headers["Cache-Control"] = NO_STORE
        if said.status != "ready":
            response.status_code = 503
        if said.status == "preparing":
            response.headers["Retry-After"] = RETRY_S
        return said

    return [APIRoute("/health", health, methods=["GET"]), APIRoute("/ready", ready, methods=["GET"])]
