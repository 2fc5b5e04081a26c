"""Routes behind keys: open to whoever sends one, closed to all others before anything is read."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from openai import AuthenticationError, OpenAI

from errors import SettingsError
from service.dialogue_api import dialogue_routes
from service.keys import behind_keys
from service.openai_api import openai_routes
from settings import load_settings
from tests.serving import serving
from tiers.base import Token
from tiers.testing import ScriptedTier

KEYS = ["first-key-of-a-school", "second-key-of-a-club"]
ASKED: Any = [{"role": "user", "content": "Suis-je libre ?"}]


@pytest.fixture
def tier() -> ScriptedTier:
    return ScriptedTier(Token("Oui."))


@pytest.fixture
def url(tier: ScriptedTier) -> Iterator[str]:
    with serving(FastAPI(routes=[*behind_keys([*openai_routes(tier), *dialogue_routes(tier)], KEYS)])) as address:
        yield address


def ask(url: str, key: str) -> str | None:
    with OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
        return client.chat.completions.create(model="default", messages=ASKED).choices[0].message.content


@pytest.mark.parametrize("key", KEYS)
def test_a_key_opens(url: str, key: str) -> None:
    assert ask(url, key) == "Oui."


@pytest.mark.parametrize("key", ["none", KEYS[0][:-1], KEYS[0] + "x", ",".join(KEYS)])
def test_no_key_asks_nobody(url: str, tier: ScriptedTier, key: str) -> None:
    with pytest.raises(AuthenticationError) as caught:
        ask(url, key)
    assert caught.value.code == "invalid_api_key"
    assert tier.received == []


def test_every_route_is_closed_and_without_keys_every_one_is_open(tier: ScriptedTier) -> None:
    routes = [*openai_routes(tier), *dialogue_routes(tier)]
    with TestClient(FastAPI(routes=[*behind_keys(routes, KEYS)])) as client:
        for route in routes:
            for header in (b"", b"Basic eDp5", "Bearer é".encode(), f"Bearer  {KEYS[0]}x".encode()):
                method, path = min(route.methods or ()), route.path.replace("{model:path}", "x")
                answer = client.request(method, path, json={}, headers={b"Authorization": header})
                assert answer.status_code == 401, route.path
    with TestClient(FastAPI(routes=[*behind_keys(openai_routes(tier), [])])) as client:
        assert client.get("/v1/models").status_code == 200


def test_keys_are_read_from_one_setting() -> None:
    assert load_settings().api_key_list == []
    assert load_settings(api_keys=f" {KEYS[0]} , {KEYS[1]},").api_key_list == KEYS
    for wrong in ("", " , ", "short", f"{KEYS[0]},short"):
        with pytest.raises(SettingsError, match="BAF_API_KEYS: each key has 16") as caught:
            load_settings(api_keys=wrong)
        assert "short" not in str(caught.value)
