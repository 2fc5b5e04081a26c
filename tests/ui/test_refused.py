"""What a failed login becomes: a sentence in two languages, and nothing of what the other side said."""

import logging

import httpx
import pytest
from authlib.integrations.base_client.errors import OAuthError
from fastapi import FastAPI
from fastapi.testclient import TestClient

from ui.refused import login_handlers
from ui.texts import ENGLISH, FRENCH

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def visitor() -> TestClient:
    app = FastAPI(exception_handlers=dict(login_handlers()))  # type: ignore[arg-type]

    @app.get("/login/callback")
    def callback() -> None:
        raise OAuthError("access_denied", HOSTILE)

    @app.get("/login/huggingface")
    @app.get("/elsewhere")
    def away() -> None:
        raise httpx.ConnectError("no route to 10.0.0.7")

    return TestClient(app, raise_server_exceptions=False)


def test_a_refused_login_is_a_sentence_and_a_way_back(visitor: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        answer = visitor.get("/login/callback", params={"error": "access_denied", "error_description": HOSTILE})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert FRENCH["login_refused"].split(" :")[0].replace("'", "&#x27;") in answer.text
    assert ENGLISH["login_refused"][:20] in answer.text
    assert '<a href="/">' in answer.text
    assert "script" not in answer.text
    assert "script" not in caplog.text


def test_a_provider_that_does_not_answer_is_said(visitor: TestClient) -> None:
    answer = visitor.get("/login/huggingface")
    assert answer.status_code == 503
    assert ENGLISH["login_unreachable"][:20] in answer.text
    assert "10.0.0.7" not in answer.text


def test_other_errors_stay_errors(visitor: TestClient) -> None:
    assert visitor.get("/elsewhere").status_code == 500
