"""Who may talk to the server and with what: Host, Origin, token, size, encoding. Knows HTTP; knows no workshop.

A server on this machine's own address is not out of reach of web pages: a browser sends what they tell it to. So a
foreign Host (a name that points here) and a foreign Origin are refused, and a POST must be JSON, which no form sends.
The GET of an image has no Origin, and could take an instruction: its Sec-Fetch-Site says that it is another page's.
"""

import base64
import binascii
import secrets
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL = ("127.0.0.1", "localhost", "::1")
OPEN = ("/health",)  # needs no token
FOREIGN = ("cross-site", "same-site")  # Sec-Fetch-Site of another page: elsewhere, or on another port of this machine


def refusal(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return an error in the one shape that all have."""
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)


class Guard:
    """ASGI middleware that answers instead of the routes where something is wrong.

    Args:
        app: The routes.
        most_bytes: Longest body.
        names: Hosts by which the server may be called, those of this machine apart.
        token: What has to be shown, as a bearer or as the password of a browser's prompt; None asks for nothing.
    """

    def __init__(self, app: ASGIApp, *, most_bytes: int, names: Collection[str] = (), token: str | None = None) -> None:
        self._app, self._most = app, most_bytes
        self._names = frozenset({*LOCAL, *names})
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the routes do it with a body that is whole and of UTF-8."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = self._stranger(headers) or self._tokenless(scope, headers) or self._unfit(scope, headers)
        body = b""
        if refused is None and scope["method"] == "POST":
            read = await self._read(receive)
            refused = read if isinstance(read, Response) else None
            body = read if isinstance(read, bytes) else b""
        if refused is not None:
            await refused(scope, receive, send)
            return
        if scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        given = False

        async def again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, again, send)

    def _stranger(self, headers: Headers) -> Response | None:
        origin = headers.get("origin")
        try:
            host = urlsplit(f"//{headers.get('host', '')}").hostname
            known = host in self._names and (origin is None or urlsplit(origin).hostname in self._names)
            known = known and headers.get("sec-fetch-site") not in FOREIGN
        except ValueError:  # of a bracket that does not close
            known = False
        return None if known else refusal(403, "foreign_host", "this server answers this machine alone.")

    def _tokenless(self, scope: Scope, headers: Headers) -> Response | None:
        if self._token is None or scope["path"] in OPEN:
            return None
        kind, _, shown = headers.get("authorization", "").partition(" ")
        if kind.lower() == "basic":
            try:
                shown = base64.b64decode(shown, validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                shown = ""
        if kind.lower() in ("basic", "bearer") and secrets.compare_digest(shown.encode(), self._token.encode()):
            return None
        ask = {"WWW-Authenticate": 'Basic realm="instruction server", Bearer'}
        return refusal(401, "no_token", "send the server's token as a bearer.", ask)

    def _unfit(self, scope: Scope, headers: Headers) -> Response | None:
        if scope["method"] != "POST":
            return None
        if headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            return refusal(415, "not_json", "send application/json.")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._most:
            return self._too_long()
        return None

    def _too_long(self) -> Response:
        return refusal(413, "too_long", f"at most {self._most} bytes.", {"Connection": "close"})

    async def _read(self, receive: Receive) -> bytes | Response:
        """Return the whole body, which a client may send in pieces without saying how long it will be."""
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return refusal(400, "unfit_request", "the request was not finished.")
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._most:
                return self._too_long()
        try:
            bytes(body).decode()
        except UnicodeDecodeError as error:
            return refusal(422, "not_utf8", f"byte {error.start} is not UTF-8; encode the text so.")
        return bytes(body)
