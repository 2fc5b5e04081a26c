"""Programs at the gateway: OpenAI's client with a seal; the same checks, the same purse, personal data taken out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import APIStatusError, AuthenticationError, BadRequestError, OpenAI, PermissionDeniedError, RateLimitError

from service.paid import Bounds
from tests.service.premium import MUCH, PERSON, PRICE, SEAL, gateway_over, purse, spent
from tests.tiers.money import key
from tiers.account import LedgerAccount
from tiers.base import Citation, Done, Evaluation, Token, Usage
from tiers.budget import Cost, Limits, Spent
from tiers.premium import SealedAuth
from tiers.seal import Seal
from tiers.testing import ScriptedTier

CITED = Citation(1, "Kant", "Fondements", "II", "Une note.", "n-1")
SCRIPT = (CITED, Token("Mentir "), Token("nie la loi [1]."), Evaluation(None, "missing"),
          Done("stop", Usage(prompt_tokens=300, completion_tokens=40)))  # fmt: skip
ASKED: Any = [{"role": "user", "content": "Je m'appelle Ulysse. Suis-je libre de mentir ?"}]
KANT = {"persona": "kant"}


@pytest.fixture
def account(tmp_path: Path) -> Iterator[LedgerAccount]:
    with purse(tmp_path) as one:
        yield one


def client_of(url: str, auth: httpx.Auth | None = None) -> OpenAI:
    http: Any = httpx.Client(auth=auth or SealedAuth(SEAL, PERSON), trust_env=False)
    return OpenAI(base_url=f"{url}/v1", api_key="none", http_client=http, max_retries=0)


def ask(client: OpenAI, **more: Any) -> Any:
    return client.chat.completions.create(model="default", messages=ASKED, extra_body=KANT, **more)


def test_an_openai_client_with_a_seal_is_answered_and_pays(account: LedgerAccount) -> None:
    tier = ScriptedTier(*SCRIPT)
    with gateway_over(tier, account) as url, client_of(url) as client:
        whole = ask(client)
        streamed = "".join(part.choices[0].delta.content or "" for part in ask(client, stream=True) if part.choices)
        known = client.models.list().data[0].id
    assert (whole.choices[0].message.content, whole.citations[0]["id"]) == ("Mentir nie la loi [1].", "n-1")
    assert (streamed, known) == ("Mentir nie la loi [1].", "scripted")
    assert {user.person for user in tier.users} == {PERSON}
    assert [conversation.turns[-1].text for conversation in tier.received] == [
        "Je m'appelle [nom]. Suis-je libre de mentir ?"
    ] * 2
    assert spent(account).day.gpu_ms > 0
    assert spent(account).day.gpu_ms < PRICE.of(Bounds().gpu_s).gpu_ms


def test_answer_and_evaluation_in_one_call(account: LedgerAccount) -> None:
    tier = ScriptedTier(*SCRIPT)
    with gateway_over(tier, account) as url, client_of(url) as client:
        said = client._client.post(f"{url}/chat_plus_eval", json={"persona": "kant", "message": "Suis-je libre ?"})
        others = [client._client.post(f"{url}{path}", json={}).status_code
                  for path in ("/evaluate/incremental", "/bench/context_ab_test")]  # fmt: skip
    assert said.status_code == 200
    assert (said.json()["response_text"], said.json()["evaluation_result"]) == ("Mentir nie la loi [1].", "missing")
    assert tier.options[0].evaluation is not None
    assert others == [404, 404]


class Replayed(httpx.Auth):
    """Sends the token of the first request again and again."""

    requires_request_body = True

    def __init__(self) -> None:
        self.token = ""

    def auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:  # type: ignore[override]
        self.token = self.token or SEAL.make(PERSON, request.content)
        request.headers["Authorization"] = f"Bearer {self.token}"
        yield request


class Bare(httpx.Auth):
    """Sends no key."""

    def auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:  # type: ignore[override]
        request.headers.pop("Authorization", None)
        yield request


def test_nothing_unproven_wakes_anybody(account: LedgerAccount) -> None:
    """T9, T10 on every route that programs have."""
    tier = ScriptedTier(*SCRIPT)
    stranger = Seal("another secret of more than 32 characters")
    with gateway_over(tier, account) as url:
        with client_of(url, Bare()) as client, pytest.raises(AuthenticationError):
            ask(client)
        with client_of(url, SealedAuth(stranger, PERSON)) as client, pytest.raises(PermissionDeniedError):
            ask(client)
        with client_of(url, Bare()) as client:
            found = [client._client.post(f"{url}/chat_plus_eval", json={}).status_code]
            found += [client._client.get(f"{url}{path}").status_code for path in ("/v1/models", "/v1/models/x")]
        assert found == [401, 401, 401]
        assert tier.received == []
        assert spent(account) == Spent()
        replayed = Replayed()
        with client_of(url, replayed) as client:
            ask(client)
            with pytest.raises(PermissionDeniedError):
                ask(client)
            big = client._client.post(f"{url}/v1/chat/completions", content=b"x" * 300_000)
    assert big.status_code == 413
    assert len(tier.received) == 1


def test_a_spent_budget_and_a_second_stream_are_refused(tmp_path: Path) -> None:
    tier = ScriptedTier(*[Token("Oui ")] * 40, pause_s=0.1)
    with (
        purse(tmp_path, Limits(Cost(0, 0), MUCH.month), "spent") as poor, gateway_over(tier, poor) as url,
        client_of(url) as client, pytest.raises(APIStatusError) as caught,
    ):  # fmt: skip
        ask(client)
    assert (caught.value.status_code, caught.value.code) == (503, "budget_day")
    assert tier.received == []
    with (
        purse(tmp_path) as account, gateway_over(tier, account) as url, client_of(url) as client,
        ask(client, stream=True), pytest.raises(RateLimitError) as busy,
    ):  # fmt: skip
        ask(client)
    assert busy.value.code == "live_stream"


def test_a_card_costs_nothing_and_is_shown_without_any_budget(tmp_path: Path) -> None:
    tier = ScriptedTier(*SCRIPT)
    with (
        purse(tmp_path, Limits(Cost(0, 0), MUCH.month)) as poor, gateway_over(tier, poor) as url,
        client_of(url) as client,
    ):  # fmt: skip
        said = client.chat.completions.create(
            model="default", messages=[{"role": "user", "content": "Je veux mourir."}], extra_body=KANT
        )
    assert "3114" in (said.choices[0].message.content or "")
    assert tier.received == []
    assert spent(poor) == Spent()


def test_what_premium_cannot_do_is_said_before_anything_is_held(account: LedgerAccount) -> None:
    tier = ScriptedTier(*SCRIPT)
    with gateway_over(tier, account) as url, client_of(url) as client, pytest.raises(BadRequestError):
        ask(client, response_format={"type": "json_object"})
    assert tier.received == []
    assert spent(account) == Spent()


def test_a_program_cannot_name_who_pays(account: LedgerAccount) -> None:
    """T1: neither a header nor a field of the body makes somebody else of it."""
    tier = ScriptedTier(*SCRIPT)
    with gateway_over(tier, account) as url, client_of(url) as client:
        ask(client, user=key("somebody else"), extra_headers={"X-User": key("root"), "X-Person": key("root")})
    assert tier.users[0].person == PERSON
