"""The routes: the contract of writers, and what no request can do."""

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from corpus.server.domain import load_domain
from corpus.server.files import EXPORTS
from corpus.server.routes import MOST_BODY, build_app
from corpus.server.workshop import Workshop
from tests.corpus.server.test_workshop import write
from tests.serving import serving

TOKEN = "a-token-of-sixteen-or-more"


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    opened = Workshop(tmp_path, load_domain("schemes"), total=2, seed=1)
    yield opened
    opened.close()


@pytest.fixture
def client(workshop: Workshop) -> TestClient:
    return TestClient(build_app(workshop), base_url="http://127.0.0.1:8765")


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
    assert client.get("/status").json()["leased"] == 2
    assert "corpus_leased 2.0" in client.get("/metrics").text
    assert client.get("/health").json()["status"] == "ok"
    assert client.get("/schema").json()["type"] == "object"


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b'{"instruction_id": "INS-9", "case_text": "x"}', {}, 404, "unknown_instruction"),
        (b"{", {}, 422, "unfit_request"),
        (b'{"instruction_id": "INS-1", "case_text": "\xe9"}', {}, 422, "not_utf8"),
        (b'{"instruction_id": "INS-1", "case_text": "\\ud800"}', {}, 422, "not_utf8"),
        (b'{"instruction_id": "\\ud800", "case_text": "x"}', {}, 422, "unfit_request"),
        (b'{"case_text": "x"}', {}, 422, "unfit_request"),
        (b'{"instruction_id": "INS-1", "case_text": "x", "more": 1}', {}, 422, "unfit_request"),
        (b'{"instruction_id": "INS-1", "case_text": ""}', {}, 422, "empty_text"),
        (b'{"instruction_id": "INS-1", "case_text": "```toon\\na: 1\\n```"}', {}, 422, "fenced_text"),
        (b'"' + b"x" * 10_000_000 + b'"', {}, 413, "too_long"),
        (b"{}", {"content-type": "text/plain"}, 415, "not_json"),
        (b"{}", {"host": "evil.example"}, 403, "foreign_host"),
        (b"{}", {"host": "127.0.0.1.evil.example"}, 403, "foreign_host"),
        (b"{}", {"host": "[::1"}, 403, "foreign_host"),
        (b"{}", {"origin": "null"}, 403, "foreign_host"),
        (b"{}", {"origin": "https://evil.example"}, 403, "foreign_host"),
    ],
)
def test_bad_requests_are_named(
    client: TestClient, workshop: Workshop, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    before = (workshop.folder / "log.jsonl").read_bytes()
    answered = client.post("/submit-case", content=body, headers={"content-type": "application/json", **headers})
    assert (answered.status_code, answered.json()["error"]["code"]) == (status, code)
    assert (workshop.folder / "log.jsonl").read_bytes() == before


@pytest.mark.parametrize(("site", "taken"), [("cross-site", 0), ("same-site", 0), ("same-origin", 1), ("none", 1)])
def test_no_other_page_takes_an_instruction(client: TestClient, workshop: Workshop, site: str, taken: int) -> None:
    """An image sends no Origin; its browser says of what site the page is."""
    answered = client.get("/next-instruction", headers={"sec-fetch-site": site})
    assert answered.status_code == (200 if taken else 403)
    assert len(workshop.instructions) == taken


def test_a_name_that_is_no_name(client: TestClient) -> None:
    assert client.get("/next-instruction", params={"agent_id": "a b"}).status_code == 422
    assert client.get("/next-instruction", params={"agent_id": "²"}).status_code == 422
    assert client.post("/next-instruction", json={"agent_id": "a/b"}).status_code == 422


def test_no_route_and_a_wrong_method_have_the_same_shape(client: TestClient) -> None:
    assert client.get("/nothing").json()["error"]["code"] == "unfit_request"
    assert client.get("/submit-case").status_code == 405


def test_a_body_in_pieces_has_the_same_bound(client: TestClient) -> None:
    """Its length is not told before; it is counted as it comes."""
    headers = {"content-type": "application/json"}
    pieces = (b"x" * 10_000 for _ in range(MOST_BODY // 10_000 + 2))
    assert client.post("/submit-case", content=pieces, headers=headers).json()["error"]["code"] == "too_long"
    whole = (piece for piece in (b'{"agent_id"', b': "ada"}'))
    assert client.post("/next-instruction", content=whole, headers=headers).json()["agent_id"] == "ada"


def test_renewing_releasing_and_settling(client: TestClient, workshop: Workshop) -> None:
    given = client.post("/next-instruction", json={"agent_id": "ada"}).json()
    held = {"instruction_id": given["instruction_id"], "agent_id": "ada"}
    assert client.post("/renew-lease", json=held).json()["expires_at"] >= given["expires_at"]
    for path, body, status, code in (
        ("/renew-lease", {**held, "agent_id": "bob"}, 403, "foreign_agent"),
        ("/release-lease", {**held, "lease_token": "no"}, 409, "stale_lease"),
        ("/submit-case", {**held, "lease_token": "no", "case_text": "x"}, 409, "stale_lease"),
        ("/review-case", {"instruction_id": given["instruction_id"], "accept": True}, 409, "settled"),
        ("/review-case", {"instruction_id": "INS-9999", "accept": True}, 404, "unknown_instruction"),
    ):
        answered = client.post(path, json=body)
        assert (answered.status_code, answered.json()["error"]["code"]) == (status, code)
    assert client.post("/release-lease", json=held).status_code == 204
    assert client.post("/renew-lease", json=held).json()["error"]["code"] == "settled"
    assert client.get("/status").json()["leased"] == 0
    one = workshop.next("bob")
    assert one is not None
    sent = {"instruction_id": one.id, "agent_id": "bob", "lease_token": one.token, "case_text": write(one)}
    assert client.post("/submit-case", json=sent).json() == {"status": "accepted", "again": False, "findings": []}
    again = client.post("/submit-case", json={**sent, "case_text": "autre chose"})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "settled")


def test_a_token_opens_all_but_health(workshop: Workshop) -> None:
    client = TestClient(build_app(workshop, token=TOKEN), base_url="http://localhost:8765")
    assert client.get("/health").status_code == 200
    refused = client.get("/dashboard")
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "no_token")
    assert "Basic" in refused.headers["www-authenticate"]
    for wrong in ("Bearer no", "Basic !", "Basic /w==", "Digest x"):
        assert client.get("/status", headers={"authorization": wrong}).status_code == 401
    assert client.get("/status", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert client.get("/dashboard", auth=("anyone", TOKEN)).status_code == 200


def test_another_name_may_be_given(workshop: Workshop) -> None:
    client = TestClient(build_app(workshop, names=["10.0.0.7"]), base_url="http://10.0.0.7:8765")
    assert client.get("/health").status_code == 200
    assert client.get("/health", headers={"origin": "http://10.0.0.7:8765"}).status_code == 200
    assert client.get("/health", headers={"host": "10.0.0.8"}).status_code == 403


def test_the_dashboard_shows_and_escapes(client: TestClient, workshop: Workshop) -> None:
    empty = client.get("/dashboard")
    assert "Nobody has asked" in empty.text
    assert "default-src 'none'" in empty.headers["content-security-policy"]
    one = workshop.next("ada")
    assert one is not None
    workshop.submit(one.id, "ada", "<script>alert(1)</script> non")
    shown = client.get("/dashboard", params={"first": "voice", "second": "noise"}).text
    assert "voice and noise: cells served" in shown
    assert "too_short" in shown
    assert "INS-0001" in shown
    assert "<script>" not in shown
    for first in ("nothing", "<b>", ""):
        assert client.get("/dashboard", params={"first": first, "second": "voice"}).status_code == 200


def test_a_text_that_waits_is_shown_escaped(client: TestClient, workshop: Workshop) -> None:
    one = workshop.next("ada")
    assert one is not None
    for word in ("ce soir", "avec ta sœur et ses deux amies", "<b>à midi</b>, dans la cour du lycée"):
        text = f"Élève : je suis là et tu ne viens pas {word}\nPhilosophe : que dis-tu de la nuit et de la mer ?"
        sent = {"instruction_id": one.id, "agent_id": "ada", "case_text": text}
        answered = client.post("/submit-case", json=sent)
    assert (answered.status_code, answered.json()["status"]) == (202, "review")
    assert "&lt;b&gt;à midi" in client.get("/dashboard").text
    assert client.post("/review-case", json={"instruction_id": one.id, "accept": True}).status_code == 204
    assert client.get("/status").json()["accepted"] == 1


def test_files_can_be_taken_away(client: TestClient, workshop: Workshop) -> None:
    workshop.next("ada")
    for name in EXPORTS:
        taken = client.get(f"/export/{name}")
        assert taken.content == (workshop.folder / name).read_bytes()
        assert name in taken.headers["content-disposition"]
    for name in ("log.jsonl", "..%2Flog.jsonl", "lock"):
        assert client.get(f"/export/{name}").status_code == 404


def test_a_client_that_breaks_off_leaves_the_server_well(workshop: Workshop) -> None:
    with serving(build_app(workshop)) as url:
        host = httpx.URL(url)
        with socket.create_connection((host.host, host.port)) as half:
            half.sendall(b"POST /submit-case HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                         b"Content-Length: 90\r\n\r\n{\"instruction_id")  # fmt: skip
        assert httpx.get(f"{url}/health").json()["status"] == "ok"
        assert httpx.get(f"{url}/next-instruction").json()["state"] == "leased"
