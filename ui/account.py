"""Who is at the page, as far as its login says, and what the page shows of that. Knows tiers; knows no chat.

Identity comes from the profile that the login itself brought into the session, never from what a browser sends.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from html import escape
from typing import Any

import gradio as gr

from tiers.base import Login, User
from tiers.logins import login_of
from tiers.router import Standing
from ui.actions import Desk
from ui.respond import Responder
from ui.tab import Updates
from ui.texts import Language, language_of, text

Standings = Callable[[User], Awaitable[Standing]]
Addresses = Callable[[gr.Request], str]
NAME_CHARS = 64  # of a browser's random name


def session_login(profile: gr.OAuthProfile | None, token: gr.OAuthToken | None, request: gr.Request) -> Login | None:
    """Return the login that the session holds; None for a visitor, and for a request that another site's page sent."""
    held, expires_s = (token.token, float(token.expires_at)) if token else (None, None)
    origin, host = request.headers.get("origin"), request.headers.get("host")
    return login_of(profile, held, expires_s=expires_s, origin=origin, host=host)


def user_of(browser: str | None, request: gr.Request, login: Login | None = None, address: str = "") -> User:
    """Who asks: a browser by its random name, or else a tab; `address` is an opaque key, for loose limits."""
    return User((browser or "")[:NAME_CHARS] or request.session_hash or "", login, address=address)


def badge(language: Language, standing: Standing | None) -> str:
    """Which model answers and how often it still does; nothing where there is only one, without a count."""
    if standing is None or (standing.tier == "free" and standing.answers_left is None and not _may_have_more(standing)):
        return ""
    parts = [f"<b>{text(language, f'tier_{standing.tier}')}</b>"]
    if standing.answers_left is not None:
        when = f"{standing.resets_at.astimezone():%H:%M}" if standing.resets_at else "00:00"
        parts.append(escape(text(language, "answers_left", count=standing.answers_left, when=when)))
    if _may_have_more(standing):
        parts.append(escape(text(language, "login_for_more")))
    return f'<p class="badge">{" · ".join(parts)}</p>'


def _may_have_more(standing: Standing) -> bool:
    return standing.reason == "no_login"


def responding(responder: Responder, address: Addresses, *, login: bool) -> Any:
    """The event that answers, with the login of the session where there is one."""

    async def respond(
        desk: Desk, key: str, language: str, session: str, trail: str, browser: str, request: gr.Request
    ) -> AsyncGenerator[Updates, None]:
        user = user_of(browser, request, None, address(request))
        async with aclosing(responder.respond(desk, key, language, session, trail, user)) as moments:
            async for updates in moments:
                yield updates

    async def respond_known(
        desk: Desk,
        key: str,
        language: str,
        session: str,
        trail: str,
        browser: str,
        request: gr.Request,
        profile: gr.OAuthProfile | None,
        token: gr.OAuthToken | None,
    ) -> AsyncGenerator[Updates, None]:
        user = user_of(browser, request, session_login(profile, token, request), address(request))
        async with aclosing(responder.respond(desk, key, language, session, trail, user)) as moments:
            async for updates in moments:
                yield updates

    return respond_known if login else respond


def showing(standings: Standings | None, *, login: bool) -> Any:
    """The event that shows a visitor's rights."""

    async def show(language: str, browser: str, request: gr.Request) -> str:
        if standings is None:
            return ""
        return badge(language_of(language), await standings(user_of(browser, request)))

    async def show_known(
        language: str,
        browser: str,
        request: gr.Request,
        profile: gr.OAuthProfile | None,
        token: gr.OAuthToken | None,
    ) -> str:
        if standings is None:
            return ""
        user = user_of(browser, request, session_login(profile, token, request))
        return badge(language_of(language), await standings(user))

    return show_known if login else show
