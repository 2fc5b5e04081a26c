"""The HTTP edge in front of one container: proxy authentication, then HTTP to ASGI messages or to a port.

Knows nothing of how the container was started.
"""

import asyncio
from collections.abc import Awaitable, Callable, Set
from typing import Any, NamedTuple

import aiohttp
from aiohttp import web

from tests.deploy.localmodal.container import ContainerRpcs, Failure, Finished, WebCall

# Headers that describe one connection, not the message, and those that the edge consumes.
_CONNECTION_HEADERS = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade"})
_TOKEN_HEADERS = frozenset({"modal-key", "modal-secret"})

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ProxyToken(NamedTuple):
    """A proxy auth token, as `modal workspace proxy-tokens create` gives."""

    key: str
    secret: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Modal-Key": self.key, "Modal-Secret": self.secret}


LOCAL_TOKEN = ProxyToken("wk-local", "ws-local")


def require_token(handler: Handler, token: ProxyToken) -> Handler:
    """Answer 401 before the container hears of a request that lacks the token."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        if (request.headers.get("Modal-Key"), request.headers.get("Modal-Secret")) != token:
            return web.Response(status=401, text="modal-http: missing credentials for proxy authorization")
        return await handler(request)

    return guarded


def asgi_front(rpcs: ContainerRpcs, method: str) -> Handler:
    """Serve a web function: `asgi_app`, `fastapi_endpoint`, or the `web_server` method of a class.

    Requests wait while the container starts. A client that leaves is reported to the app as `http.disconnect`.
    """

    async def handle(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        call = rpcs.open_call(_scope(request), method)
        call.send({"type": "http.request", "body": body, "more_body": False})
        try:
            return await _respond(request, call)
        except (asyncio.CancelledError, ConnectionError):
            call.send({"type": "http.disconnect"})
            raise

    return handle


def server_front(rpcs: ContainerRpcs, port: int) -> Handler:
    """Serve an `@app.server`: 503 until its enter hooks have run and the port answers, then a plain proxy."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if not rpcs.ready.is_set():
            return web.Response(status=503, text="no live container")
        try:
            async with (
                aiohttp.ClientSession(auto_decompress=False) as session,
                session.request(
                    request.method,
                    f"http://127.0.0.1:{port}{request.rel_url}",
                    headers=_headers(request, dropped={"host"}),
                    data=await request.read(),
                    allow_redirects=False,
                ) as upstream,
            ):
                headers = [(k, v) for k, v in upstream.headers.items() if k.lower() not in _CONNECTION_HEADERS]
                response = await _start(request, upstream.status, headers)
                async for chunk in upstream.content.iter_any():
                    await response.write(chunk)
                return response
        except aiohttp.ClientConnectorError:
            return web.Response(status=503, text="the port does not answer")

    return handle


def _headers(request: web.Request, dropped: Set[str] = frozenset()) -> list[tuple[str, str]]:
    """What the edge passes on of the request's headers."""
    unwanted = _CONNECTION_HEADERS | _TOKEN_HEADERS | dropped
    return [(name, value) for name, value in request.headers.items() if name.lower() not in unwanted]


def _scope(request: web.Request) -> dict[str, Any]:
    """The request as an ASGI connection scope."""
    return {
        "type": "http",
        "http_version": "1.1",
        "method": request.method,
        "scheme": "https",
        "path": request.path,
        "raw_path": request.rel_url.raw_path.encode(),
        "query_string": request.query_string.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in _headers(request)],
        "client": ["127.0.0.1", 1],
        "server": ["localhost", 443],
    }


async def _respond(request: web.Request, call: WebCall) -> web.StreamResponse:
    """Write the app's ASGI messages to the client as they come."""
    response: web.StreamResponse | None = None
    while True:
        message = await call.from_app.get()
        if isinstance(message, Failure | Finished):
            if response is None:
                error = message.error if isinstance(message, Failure) else "the app sent no response"
                return web.Response(status=500, text=error)
            if isinstance(message, Failure) and request.transport is not None:
                request.transport.abort()  # a cut body must not look like a whole one
            return response
        if message["type"] == "http.response.start":
            headers = [(name.decode(), value.decode()) for name, value in message.get("headers", [])]
            response = await _start(request, message["status"], headers)
        elif message["type"] == "http.response.body" and response is not None:
            await response.write(message.get("body", b""))
            if not message.get("more_body"):
                await response.write_eof()
                return response


async def _start(request: web.Request, status: int, headers: list[tuple[str, str]]) -> web.StreamResponse:
    response = web.StreamResponse(status=status)
    for name, value in headers:
        response.headers.add(name, value)
    await response.prepare(request)
    return response
