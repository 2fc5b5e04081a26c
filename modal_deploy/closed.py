"""What stands before vLLM's routes: without the key only /health is answered. Runs inside vLLM, knows ASGI alone.

vLLM's own key guards /v1 and nothing else, while the routes that put it to sleep, and others for developers, lie beside
it: whoever may pass Modal's proxy could call them.
"""

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

OPEN = frozenset({"/health"})  # says whether it is awake, and takes nothing
IMPORT_PATH = "modal_deploy.closed.Closed"  # for vLLM's --middleware


class Closed:
    """ASGI middleware that asks for `Authorization: Bearer KEY`.

    Args:
        app: What it stands before.
        key: Unset, the one that vLLM itself was given; without any, everything is refused.
    """

    def __init__(self, app: App, key: str | None = None) -> None:
        self._app = app
        self._expected = f"Bearer {_vllm_key() if key is None else key}".encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass on, or refuse with 401."""
        if scope["type"] == "lifespan" or scope.get("path") in OPEN or self._holds_key(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": b'{"error": "Unauthorized"}'})
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _holds_key(self, scope: Message) -> bool:
        given = dict(scope.get("headers", [])).get(b"authorization", b"")
        return len(self._expected) > len(b"Bearer ") and hmac.compare_digest(given, self._expected)


def _vllm_key() -> str:
    from vllm import envs  # type: ignore[import-not-found]  # there where this runs

    return str(envs.VLLM_API_KEY or "")
