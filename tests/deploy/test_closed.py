"""The door before vLLM's routes: every route but /health wants the key."""

import pytest
from fastapi import FastAPI, WebSocket
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from modal_deploy.closed import Closed

KEY = "k" * 40


def served(key: str = KEY) -> TestClient:
    app = FastAPI()

    @app.get("/health")
    async def health() -> str:
        return "awake"

    @app.post("/{path:path}")
    async def anything(path: str) -> str:
        return path

    @app.websocket("/v1/realtime")
    async def realtime(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    return TestClient(Closed(app, key))


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/sleep", "/wake_up", "/collective_rpc", "/health/../sleep"])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer guess"}, {"Authorization": KEY}])
def test_without_the_key_nothing_is_answered(path: str, headers: dict[str, str]) -> None:
    assert served().post(path, headers=headers).status_code == 401


def test_with_the_key_everything_is() -> None:
    answer = served().post("/sleep", headers={"Authorization": f"Bearer {KEY}"})
    assert (answer.status_code, answer.json()) == (200, "sleep")


def test_health_is_open() -> None:
    assert served().get("/health").json() == "awake"


def test_an_empty_key_opens_nothing() -> None:
    assert served("").post("/sleep", headers={"Authorization": "Bearer "}).status_code == 401


def test_sockets_are_closed() -> None:
    with pytest.raises(WebSocketDisconnect), served().websocket_connect("/v1/realtime"):
        pass
