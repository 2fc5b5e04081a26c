"""Who asks, from the session alone; what the page says of somebody's rights."""

import time
from dataclasses import fields
from datetime import UTC, datetime
from html import escape
from types import SimpleNamespace
from typing import Any, get_args

import gradio as gr
import pytest

from errors import TierError
from tiers.base import Login, User
from tiers.entitlements import NoSeat, Plan
from tiers.router import Standing
from ui.account import badge, redeeming, session_login, user_of
from ui.tab import Widgets
from ui.texts import ENGLISH, FRENCH

PROFILE = gr.OAuthProfile(
    {"sub": "6f1", "name": "Ada", "preferred_username": "ada", "profile": "https://x/ada", "picture": ""}
)
TOKEN = gr.OAuthToken(token="secret", scope="openid", expires_at=1_800_000_000)


@pytest.mark.parametrize(
    ("profile", "token", "login"),
    [
        (None, None, None),
        (None, TOKEN, None),
        (PROFILE, None, Login("6f1")),
        (PROFILE, TOKEN, Login("6f1", "secret", 1_800_000_000.0)),
    ],
)
def test_a_login_comes_from_the_session(profile: Any, token: Any, login: Login | None) -> None:
    own = SimpleNamespace(headers={"origin": "https://page.test", "host": "page.test"})
    assert session_login(profile, token, own) == login


@pytest.mark.parametrize("headers", [{"origin": "https://evil.test", "host": "page.test"}, {"host": "page.test"}])
def test_another_site_s_page_has_no_login(headers: dict[str, str]) -> None:
    assert session_login(PROFILE, TOKEN, SimpleNamespace(headers=headers)) is None


@pytest.mark.parametrize(
    ("browser", "session", "client"),
    [("ab12", "tab", "ab12"), ("", "tab", "tab"), (None, None, ""), ("x" * 500, "tab", "x" * 64)],
)
def test_a_browser_asks_by_its_random_name(browser: Any, session: Any, client: str) -> None:
    assert user_of(browser, SimpleNamespace(session_hash=session)) == User(client)


def test_one_model_without_a_count_needs_no_badge() -> None:
    assert badge("fr", None) == badge("fr", Standing("free", "no_premium")) == ""


@pytest.mark.parametrize(("left", "said"), [(7, "encore 7 réponses"), (1, "encore une réponse"), (0, "épuisées")])
def test_what_is_left_is_said_with_its_hour(left: int, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The count begins anew at midnight in Paris, wherever the server stands."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    html = badge("fr", Standing("premium", None, None, left, datetime(2030, 1, 1, 23, 0, tzinfo=UTC)))
    monkeypatch.undo()
    time.tzset()
    assert FRENCH["tier_premium"] in html
    assert said in html
    assert "le compte repart à 00:00" in html


def test_a_visitor_is_told_how_to_have_more() -> None:
    html = badge("fr", Standing("free", "no_login"))
    assert FRENCH["login_for_more"] in html
    assert "13 ans" in html


@pytest.mark.parametrize("code", [*get_args(NoSeat), "pass_login", "ledger_unavailable"])
async def test_a_class_pass_that_is_refused_says_why_and_stays_in_the_box(code: str) -> None:
    asked: list[tuple[User, str]] = []

    async def redeem(user: User, typed: str) -> Plan:
        asked.append((user, typed))
        raise TierError("No seat.", code=code)

    async def standing(_user: User) -> Standing:
        raise AssertionError

    named = Widgets(**{one.name: one.name for one in fields(Widgets)})
    give = redeeming(named, standing, redeem, lambda _request: "there")
    request = SimpleNamespace(headers={"origin": "https://page.test", "host": "page.test"}, session_hash="tab")
    updates = await give(gr.EventData(None, {"value": 'redeem:["a\\"b"]'}), "en", "b1", request, PROFILE, None)
    assert asked == [(User("b1", Login("6f1"), address="there"), 'a"b')]
    html = updates[named.class_pass]
    assert f'role="alert">{escape(ENGLISH[code])}</p>' in html
    assert 'value="a&quot;b"' in html
