"""`/health` and `/ready`, over a real FastAPI app."""

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service.health import closed_routes, routes
from tiers.base import TierStatus
from tiers.testing import ScriptedTier


def client_of(tier: ScriptedTier) -> TestClient:
    return TestClient(FastAPI(routes=[*routes(tier)]))


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (TierStatus("ready", "ready", model="tiny"), 200, ("ready", "ready", None, "tiny")),
        (TierStatus("preparing", "downloading", 0.4), 503, ("preparing", "downloading", 0.4, None)),
        (TierStatus("failed", "disk_full"), 503, ("failed", "disk_full", None, None)),
    ],
)
def test_ready_says_what_the_tier_says(status: TierStatus, code: int, said: tuple[object, ...]) -> None:
    answer = client_of(ScriptedTier(status=status)).get("/ready")
    assert answer.status_code == code
    assert answer.json() == dict(zip(("status", "step", "progress", "model"), said, strict=True))
    assert answer.headers["cache-control"] == "no-store"
    assert ("retry-after" in answer.headers) == (status.state == "preparing")


@pytest.mark.parametrize("state", ["ready", "preparing", "failed"])
def test_health_is_about_the_process_alone(state: str) -> None:
    answer = client_of(ScriptedTier(status=TierStatus(state, "loading"))).get("/health")  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_ready_follows_the_tier() -> None:
    tier = ScriptedTier(status=TierStatus("preparing", "loading"))
    client = client_of(tier)
    assert client.get("/ready").status_code == 503
    tier.status = TierStatus("ready", "ready")
    assert client.get("/ready").status_code == 200


def test_only_get_is_answered() -> None:
    client = client_of(ScriptedTier())
    assert [client.post(path).status_code for path in ("/health", "/ready")] == [405, 405]


def test_a_closed_page_lives_and_is_never_ready() -> None:
    client = TestClient(FastAPI(routes=[*closed_routes("persona")]))
    assert client.get("/health").status_code == 200
    answer = client.get("/ready")
    assert (answer.status_code, answer.json()["step"]) == (503, "persona")
