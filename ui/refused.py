"""What a visitor reads when a login did not come about: a sentence and the way back. Knows texts; knows no right."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from html import escape
from string import Template

import httpx
from authlib.common.errors import AuthlibBaseError
from fastapi import Request
from fastapi.responses import HTMLResponse, Response

from ui.texts import text

log = logging.getLogger(__name__)

Handler = Callable[[Request, Exception], Awaitable[Response]]
UNREACHABLE = 503
REFUSED = 400
PAGE = Template(
    '<!doctype html><html lang="fr"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    '<meta name="color-scheme" content="light dark"><title>Bergson and Friends</title>'
    "<style>body{max-width:36rem;margin:20vh auto;padding:0 1.25rem;font:1.15rem/1.6 Georgia,serif}</style>"
    '<main><p role="alert">$french</p><p lang="en"><small>$english</small></p><p><a href="/">$back</a></p>'
    "</main></html>"
)


def login_handlers() -> Mapping[type[Exception], Handler]:
    """Return what FastAPI is to do with a login that failed, for its `exception_handlers`.

    Gradio lets these errors pass, and a visitor who declines to be known would read « Internal Server Error ». What
    the provider says of it is neither shown nor logged: it comes from an address that anybody may write.
    """
    return {AuthlibBaseError: _refused, httpx.TransportError: _unreachable}


async def _refused(request: Request, error: Exception) -> Response:
    return _said(request, error, "login_refused", REFUSED)


async def _unreachable(request: Request, error: Exception) -> Response:
    return _said(request, error, "login_unreachable", UNREACHABLE)


def _said(request: Request, error: Exception, key: str, status: int) -> Response:
    if not request.url.path.startswith("/login/"):
        raise error
    log.warning("A login did not come about: %s", type(error).__name__)
    french, english, back = escape(text("fr", key)), escape(text("en", key)), escape(text("fr", "back_to_page"))
    page = PAGE.substitute(french=french, english=english, back=back)
    return HTMLResponse(page, status, {"Cache-Control": "no-store"})
