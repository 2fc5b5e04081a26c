"""The routes: the contract of writers, and what no request can do."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from corpus.server.domain import load_domain
from corpus.server.routes import build_app
from corpus.server.workshop import Workshop


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    workshop = Workshop(tmp_path, load_domain("schemes"), total=2, seed=1)
    yield TestClient(build_app(workshop), base_url="http://127.0.0.1:8765")
    workshop.close()


def test_a_bare_get_then_a_submission(client: TestClient) -> None:
    given = client.get("/next-instruction").json()
    assert given["agent_id"] == "anonymous"
    assert given.keys() >= {"instruction_id", "dimensions", "target_toon", "prompt", "lease_token", "expires_at"}
    assert client.post("/next-instruction", json={}).json() == given
    sent = {"instruction_id": given["instruction_id"], "case_text": "non"}
    refused = client.post("/submit-case", json=sent)
    assert refused.status_code == 422
    assert refused.json()["findings"][0]["code"] == "too_short"
    assert refused.json()["again"] is True


def test_all_handed_out_is_an_answer(client: TestClient) -> None:
    for name in ("a", "b"):
        assert client.post("/next-instruction", json={"agent_id": name}).json()["state"] == "leased"
    answered = client.get("/next-instruction", params={"agent_id": "c"})
    assert (answered.status_code, answered.json()["state"]) == (200, "all_handed_out")
    assert answered.headers["retry-after"]
    assert client.get("/metrics").json()["leased"] == 2
    assert client.get("/health").json()["status"] == "ok"
    assert client.get("/schema").json()["type"] == "object"


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b'{"instruction_id": "INS-9", "case_text": "x"}', {}, 404, "unknown_instruction"),
        (b"{", {}, 422, "unfit_request"),
        (b"\xff\xfe", {}, 422, "unfit_request"),
        (b'{"case_text": "x"}', {}, 422, "unfit_request"),
        (b'{"instruction_id": "INS-1", "case_text": "x", "more": 1}', {}, 422, "unfit_request"),
        (b'{"instruction_id": "INS-1", "case_text": ""}', {}, 422, "unfit_request"),
        (b'"' + b"x" * 200_000 + b'"', {}, 413, "too_long"),
        (b"{}", {"content-type": "text/plain"}, 415, "not_json"),
        (b"{}", {"host": "evil.example"}, 403, "foreign_host"),
        (b"{}", {"origin": "https://evil.example"}, 403, "foreign_host"),
    ],
)
def test_bad_requests_are_named(
    client: TestClient, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answered = client.post("/submit-case", content=body, headers={"content-type": "application/json", **headers})
    assert (answered.status_code, answered.json()["error"]["code"]) == (status, code)


def test_a_name_that_is_no_name(client: TestClient) -> None:
    assert client.get("/next-instruction", params={"agent_id": "a b"}).status_code == 422
    assert client.post("/next-instruction", json={"agent_id": "a/b"}).status_code == 422


def test_no_route_and_a_wrong_method_have_the_same_shape(client: TestClient) -> None:
    assert client.get("/nothing").json()["error"]["code"] == "unfit_request"
    assert client.get("/submit-case").status_code == 405
