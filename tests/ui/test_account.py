"""Who asks, from the session alone; what the page says of somebody's rights."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from tiers.base import Login, User
from tiers.router import Standing
from ui.account import badge, session_login, user_of
from ui.texts import FRENCH

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


def test_what_is_left_is_said_with_its_hour() -> None:
    html = badge("fr", Standing("premium", None, None, 7, datetime(2030, 1, 2, 0, 0, tzinfo=UTC)))
    assert FRENCH["tier_premium"] in html
    assert "encore 7 réponses" in html


def test_a_visitor_is_told_how_to_have_more() -> None:
    html = badge("fr", Standing("free", "no_login"))
    assert FRENCH["login_for_more"] in html
    assert "13 ans" in html
