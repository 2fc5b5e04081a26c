"""Who is at the page, as far as its login says, what is shown of that, and the box for a class pass. Knows no chat.

Identity comes from the profile that the login itself brought into the session, never from what a browser sends.
"""

import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from html import escape
from typing import Any

import gradio as gr

from errors import ChatError
from tiers.base import Login, User
from tiers.budget import PARIS
from tiers.entitlements import Plan
from tiers.logins import login_of
from tiers.router import Standing
from ui.actions import Desk
from ui.respond import Responder
from ui.session import read_ids
from ui.tab import Updates, Widgets
from ui.texts import TEXTS, Language, language_of, text, text_of_code

log = logging.getLogger(__name__)

Standings = Callable[[User], Awaitable[Standing]]
Addresses = Callable[[gr.Request], str]
Redeem = Callable[[User, str], Awaitable[Plan]]  # the code of a class pass for premium; see `tiers.router`
NAME_CHARS = 64  # of a browser's random name
# Gradio's own click knows « not logged in » by the label of one language; otherwise this is what it does.
LOG_IN_OR_OUT = """(label) => {
    window.parent?.postMessage({ type: "SET_SCROLLING", enabled: true }, "*");
    const way = LABELS.includes(label) ? "/login/huggingface" : "/logout";
    const target = encodeURIComponent(`/${location.search}`);
    setTimeout(() => location.assign(`${way}?_target_url=${target}`), 500);  // a deep link keeps all it says
}""".replace("LABELS", json.dumps([TEXTS["fr"]["login"], TEXTS["en"]["login"]]))


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
        when = f"{standing.resets_at.astimezone(PARIS):%H:%M}" if standing.resets_at else "00:00"
        key = {0: "answers_none", 1: "answers_one"}.get(standing.answers_left, "answers_left")
        parts.append(escape(text(language, key, count=standing.answers_left, when=when)))
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


def pass_box(language: Language, *, refused: str = "", code: str = "") -> str:
    """Where somebody who is logged in gives the code of a class pass; open, with the code, once it was refused."""
    told = f'<p id="pass-said" role="alert">{escape(refused)}</p>' if refused else ""
    state = ' aria-invalid="true" aria-describedby="pass-said"' if refused else ""
    return (
        f'<details class="pass"{" open" if refused else ""}><summary>{text(language, "pass_have")}</summary>'
        f'<form onsubmit="return false"><input aria-label="{text(language, "pass_code")}" value="{escape(code)}"'
        f'{state} maxlength="128" autocomplete="off" autocapitalize="off" spellcheck="false">'
        '<button class="quiet" data-pass="redeem" data-gather="#pass input">'
        f"{text(language, 'pass_send')}</button></form>{told}</details>"
    )


def showing(w: Widgets, standings: Standings, *, login: bool, passes: bool) -> Any:
    """The event that shows a visitor's rights, in the page's language."""

    async def show(language: str, browser: str, request: gr.Request) -> Updates:
        return {w.badge: badge(language_of(language), await standings(user_of(browser, request)))}

    async def show_known(
        language: str,
        browser: str,
        shown: str,
        request: gr.Request,
        profile: gr.OAuthProfile | None,
        token: gr.OAuthToken | None,
    ) -> Updates:
        tongue = language_of(language)
        now = await standings(user_of(browser, request, session_login(profile, token, request)))
        label = TEXTS[tongue]["logout"].format(profile.username) if profile else text(tongue, "login")
        updates: Updates = {w.badge: badge(tongue, now), w.login: label}
        box = pass_box(tongue) if passes and now.reason in ("none", "hub_unreachable") else ""
        if box != (shown or ""):  # or a code that is being typed would go
            updates[w.class_pass] = box
        return updates

    return show_known if login else show


def redeeming(w: Widgets, standings: Standings, redeem: Redeem, address: Addresses) -> Any:
    """The event that gives the code of a class pass for premium; what refuses it becomes a sentence beside it."""

    async def give(
        event: gr.EventData,
        language: str,
        browser: str,
        request: gr.Request,
        profile: gr.OAuthProfile | None,
        token: gr.OAuthToken | None,
    ) -> Updates:
        tongue = language_of(language)
        user = user_of(browser, request, session_login(profile, token, request), address(request))
        code = "".join(read_ids(str(event.value).removeprefix("redeem:"))[:1])
        try:
            await redeem(user, code)
        except ChatError as error:
            log.info("Class pass refused: code=%s", error.code)
            return {w.class_pass: pass_box(tongue, refused=text_of_code(tongue, error.code), code=code)}
        said = f'<p class="pass" role="status">{text(tongue, "pass_taken")}</p>'
        return {w.class_pass: said, w.badge: badge(tongue, await standings(user))}

    return give
