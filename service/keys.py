"""Routes that are open to whoever sends one of our keys. Knows HTTP and OpenAI's shape of an error; knows no tier."""

import secrets
from collections.abc import Sequence
from typing import TypeVar

from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.openai_shapes import Fault

NO_KEY = Fault(401, "authentication_error", "A key is needed: Authorization: Bearer <key>.", "invalid_api_key")

Route = TypeVar("Route", bound=APIRoute)


def behind_keys(routes: Sequence[Route], keys: Sequence[str]) -> list[Route]:
    """Return the routes, each behind a key; without keys they stay open to everybody.

    Args:
        routes: To be served beside the page.
        keys: Any of them opens any route. A key that nobody is told closes the routes.
    """
    for route in routes if keys else ():
        route.app = _Locked(route.app, tuple(key.encode() for key in keys))
    return list(routes)


class _Locked:
    """A route that reads no body before it has seen a key."""

    def __init__(self, app: ASGIApp, keys: tuple[bytes, ...]) -> None:
        self._app, self._keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
        # Every key is compared to its end: the time that it takes says nothing of any.
        fits = [secrets.compare_digest(given.strip().encode(), key) for key in self._keys]
        allowed = scheme.lower() == "bearer" and any(fits)
        await (self._app if allowed else NO_KEY.response())(scope, receive, send)
