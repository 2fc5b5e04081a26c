"""The gateway as it is put together for Modal: who it limits, and what a second's price is."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, Response

from errors import SettingsError
from modal_deploy.config import Config
from modal_deploy.gateway import LIVE, Keys, build_gateway, price_of
from tests.service.premium import SECRET, request
from tests.serving import serving
from tiers.wire import PATH

KEYS = Keys("http://127.0.0.1:9", "engine", "wk-1", "ws-1", SECRET)


@pytest.fixture
def asleep() -> Iterator[str]:
    """An engine that does not wake up before the test is over."""
    app, over = FastAPI(), threading.Event()

    def health() -> Response:
        over.wait(60)
        return Response(status_code=503)

    app.get("/health", response_model=None)(health)
    with serving(app) as url:
        yield url
        over.set()


async def test_one_person_has_so_many_answers_at_once_and_no_more(config: Config, asleep: str, tmp_path: Path) -> None:
    app = build_gateway(config, replace(KEYS, engine_url=asleep), tmp_path / "weights", tmp_path / "ledgers")
    with serving(app) as url:
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            waiting = [asyncio.create_task(_begun(client, url, f"r-{n}")) for n in range(LIVE)]
            assert await asyncio.gather(*waiting) == [200] * LIVE
            refused = await client.post(url + PATH, **request("r-more"))  # type: ignore[arg-type]
    assert (refused.status_code, "live_stream" in refused.text) == (429, True)


async def _begun(client: httpx.AsyncClient, url: str, request_id: str) -> int:
    """Ask, and read no more than that it has begun; the answer stays open as long as the client."""
    asked = client.build_request("POST", url + PATH, **request(request_id))  # type: ignore[arg-type]
    return (await client.send(asked, stream=True)).status_code


def test_every_container_that_may_run_is_paid_for(config: Config) -> None:
    two = config.model_copy(update={"engine": config.engine.model_copy(update={"max_containers": 2})})
    assert float(price_of(two).usd_per_hour) == pytest.approx(2 * float(price_of(config).usd_per_hour), rel=1e-3)


def test_several_gateways_need_one_ledger(config: Config, tmp_path: Path) -> None:
    two = config.model_copy(update={"gateway": config.gateway.model_copy(update={"max_containers": 2})})
    with pytest.raises(SettingsError, match="BAF_LEDGER_URL"):
        build_gateway(two, KEYS, tmp_path, tmp_path)
