"""The routes of OpenAI's shape through OpenAI's own client, against a real server on a free port."""

import asyncio
import json
import logging
import math
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from fastapi import FastAPI
from openai import AsyncOpenAI, OpenAI

from dialogue.conversation import Conversation
from engines.base import Usage
from errors import TierBusy, TierUnavailable
from personas import PERSONAS
from service.openai_api import openai_routes, visitor
from settings import load_settings
from tests.serving import serving, wait_until
from tiers.base import (
    ANSWER_AS_USUAL,
    AnswerOptions,
    Citation,
    Done,
    Event,
    Notice,
    Queued,
    Tier,
    TierStatus,
    Token,
    User,
    Warming,
)
from tiers.free import open_free_tier
from tiers.supply import ModelChoice
from tiers.testing import ScriptedTier

SAID = (Token("Je "), Token("pense."), Done("stop", Usage(prompt_tokens=20, cached_tokens=15, completion_tokens=4)))
PREPARING = TierStatus("preparing", "downloading", 0.4)
ASK: list[Any] = [{"role": "user", "content": "canari-7391, suis-je libre ?"}]
PAGES = [{"role": ("user", "assistant")[n % 2], "content": "a" * 4000} for n in range(17)]
PICTURE = [{"type": "image_url", "image_url": {"url": "x"}}]
JSON = {"content-type": "application/json"}


@contextmanager
def served(tier: Tier, **options: Any) -> Iterator[str]:
    with serving(FastAPI(routes=[*openai_routes(tier, **options)])) as url:
        yield f"{url}/v1"


@contextmanager
def client_of(tier: Tier, *, max_retries: int = 0, **options: Any) -> Iterator[OpenAI]:
    with served(tier, **options) as url, OpenAI(base_url=url, api_key="none", max_retries=max_retries) as client:
        yield client


def test_a_whole_answer() -> None:
    tier = ScriptedTier(Queued(2), Notice("hub_unreachable"), *SAID)
    with client_of(tier) as client:
        answer = client.chat.completions.create(model="scripted", messages=ASK, extra_body={"persona": "kant"})
    choice = answer.choices[0]
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", "Je pense.", "stop")
    assert answer.id.startswith("chatcmpl-")
    assert (answer.object, answer.model, answer.model_extra) == (
        "chat.completion", "scripted", {"persona": "kant", "notices": ["hub_unreachable"]},
    )  # fmt: skip
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (20, 4, 24)
    assert answer.usage.prompt_tokens_details.cached_tokens == 15
    assert tier.received[0].persona is PERSONAS["kant"]
    assert tier.options == [ANSWER_AS_USUAL]


def test_a_streamed_answer() -> None:
    with client_of(ScriptedTier(Queued(2), *SAID)) as client:
        stream = client.chat.completions.create(
            model="default", messages=ASK, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
    assert [c.choices[0].delta.content for c in chunks if c.choices] == ["Je ", "pense.", None]
    assert [c.choices[0].finish_reason for c in chunks if c.choices] == [None, None, "stop"]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert {(c.id, c.object, c.model) for c in chunks} == {(chunks[0].id, "chat.completion.chunk", "scripted")}
    assert [c.usage.total_tokens for c in chunks if c.usage] == [24]
    assert not chunks[-1].choices


def test_without_being_asked_no_usage_is_streamed() -> None:
    with client_of(ScriptedTier(*SAID)) as client:
        assert not any(c.usage for c in client.chat.completions.create(model="default", messages=ASK, stream=True))


async def test_the_asynchronous_client() -> None:
    with served(ScriptedTier(*SAID)) as url:
        async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            whole = await client.chat.completions.create(model="scripted", messages=ASK)
            assert whole.choices[0].message.content == "Je pense."
            stream = await client.chat.completions.create(model="scripted", messages=ASK, stream=True)
            texts = [chunk.choices[0].delta.content or "" async for chunk in stream]
            assert "".join(texts) == "Je pense."


async def test_eight_at_once() -> None:
    tier = ScriptedTier(*[Token(f"{n} ") for n in range(20)], pause_s=0.01)
    with served(tier) as url:
        async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:

            async def ask(streamed: bool) -> str:
                if not streamed:
                    answer = await client.chat.completions.create(model="scripted", messages=ASK)
                    return answer.choices[0].message.content or ""
                stream = await client.chat.completions.create(model="scripted", messages=ASK, stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

            assert set(await asyncio.gather(*(ask(bool(n % 2)) for n in range(8)))) == {
                "".join(f"{n} " for n in range(20))
            }


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, ANSWER_AS_USUAL),
        ({"max_tokens": 7, "temperature": 0, "seed": -3}, AnswerOptions(max_tokens=7, temperature=0.0, seed=-3)),
        ({"max_completion_tokens": 9, "max_tokens": 7}, AnswerOptions(max_tokens=9)),
        ({"top_p": 0.5, "stop": "Fin"}, AnswerOptions(top_p=0.5, stop=("Fin",))),
        ({"stop": ["a", "b"], "tools": [], "logit_bias": {}, "n": 1}, AnswerOptions(stop=("a", "b"))),
        ({"response_format": {"type": "text"}}, ANSWER_AS_USUAL),
        ({"response_format": {"type": "json_object"}}, AnswerOptions(json_schema='{"type": "object"}')),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "array"}}}},
            AnswerOptions(json_schema='{"type": "array"}'),
        ),
    ],
)
def test_what_a_client_wants_otherwise(body: dict[str, Any], expected: AnswerOptions) -> None:
    tier = ScriptedTier(*SAID)
    with served(tier) as url:
        answer = httpx.post(f"{url}/chat/completions", json={"model": "default", "messages": ASK, **body})
    assert answer.status_code == 200
    assert tier.options == [expected]


def test_an_opening_and_texts_in_parts() -> None:
    tier = ScriptedTier(*SAID)
    messages: list[Any] = [
        {"role": "assistant", "content": PERSONAS["kant"].opening},
        {
            "role": "user",
            "content": [{"type": "text", "text": "  Je crois "}, {"type": "text", "text": "que\x07 oui. "}],
        },
    ]
    with client_of(tier) as client:
        client.chat.completions.create(model="default", messages=messages, extra_body={"persona": "kant"})
    assert tier.received[0].opening == PERSONAS["kant"].opening.strip()
    assert tier.received[0].turns[-1].text == "Je crois que oui."


def message(role: str, content: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content}]}


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({"messages": []}, 400, "invalid_value", "messages"),
        ({"messages": None}, 400, "invalid_value", "messages"),
        (message("system", "Tu es un pirate."), 400, "system_message", "messages"),
        (message("developer", "Tu es un pirate."), 400, "system_message", "messages"),
        (message("tool", "3"), 400, "message_role", "messages"),
        (message("assistant", "Bonjour."), 400, "message_order", "messages"),
        (message("user", " \n"), 400, "message_empty", "messages"),
        (message("user", "a" * 4001), 400, "message_too_long", "messages"),
        (message("user", PICTURE), 400, "invalid_value", "messages.0.content"),
        ({"messages": ASK + ASK}, 400, "message_order", "messages"),
        ({"messages": [*ASK, {"role": "assistant", "content": "Oui."}] * 120}, 400, "invalid_value", "messages"),
        ({"messages": PAGES}, 400, "conversation_too_long", "messages"),
        ({"temperature": 3}, 400, "invalid_value", "temperature"),
        ({"temperature": -0.1}, 400, "invalid_value", "temperature"),
        ({"temperature": math.nan}, 400, "invalid_value", "temperature"),
        ({"top_p": 0}, 400, "invalid_value", "top_p"),
        ({"top_p": math.nan}, 400, "invalid_value", "top_p"),
        ({"seed": 2**63}, 400, "invalid_value", "seed"),
        ({"max_tokens": 0}, 400, "invalid_value", "max_tokens"),
        ({"n": 2}, 400, "invalid_value", "n"),
        ({"stop": list("abcde")}, 400, "invalid_value", "stop"),
        ({"stop": "a" * 65}, 400, "invalid_value", "stop.0"),
        ({"response_format": {"type": "json_schema"}}, 400, "bad_schema", "response_format"),
        ({"model": "gpt-5"}, 404, "model_not_found", "model"),
        ({"persona": "kante"}, 404, "persona_not_found", "persona"),
        ({"persona": "k" * 65}, 400, "invalid_value", "persona"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_request(body: dict[str, Any], status: int, code: str, param: str) -> None:
    tier = ScriptedTier(*SAID)
    content = json.dumps({"model": "default", "messages": ASK, **body})  # httpx itself sends no NaN
    with served(tier) as url:
        answer = httpx.post(f"{url}/chat/completions", content=content, headers=JSON)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (status, code, "invalid_request_error")
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param
    assert tier.received == []


def test_a_system_message_is_told_what_to_do() -> None:
    with client_of(ScriptedTier(*SAID)) as client, pytest.raises(openai.BadRequestError, match="name one in `persona`"):
        client.chat.completions.create(model="default", messages=[{"role": "system", "content": "x"}, *ASK])


def test_bodies_that_are_none() -> None:
    with served(ScriptedTier(*SAID)) as url:
        for content, status in ((b"{", 400), (b"\xff\xfe", 400), (b"", 400), (b"[]", 400), (b" " * 1_100_000, 413)):
            answer = httpx.post(f"{url}/chat/completions", content=content, headers=JSON)
            assert answer.status_code == status, content[:9]
            if status == 400:
                assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "raised", "status", "code", "retry_after"),
    [
        (TierBusy("inside"), openai.RateLimitError, 429, "engine_busy", "10"),
        (TierBusy("inside", retry_after_s=2.4), openai.RateLimitError, 429, "engine_busy", "2"),
        (
            TierBusy("inside", code="quota_browser", retry_after_s=7200),
            openai.RateLimitError,
            429,
            "quota_browser",
            "7200",
        ),
        (TierBusy("inside", code="engine_timeout"), openai.InternalServerError, 504, "engine_timeout", "10"),
        (TierUnavailable("inside", code="model_corrupt"), openai.InternalServerError, 503, "model_corrupt", "30"),
        (
            TierUnavailable("inside", code="conversation_too_long"),
            openai.BadRequestError,
            400,
            "conversation_too_long",
            None,
        ),
        (TierUnavailable("inside", code="bad_schema"), openai.BadRequestError, 400, "bad_schema", None),
        (ValueError("canari-7391"), openai.InternalServerError, 500, "internal", None),
    ],
)
def test_what_a_tier_raises(
    error: Exception, raised: type[openai.APIStatusError], status: int, code: str, retry_after: str | None, stream: bool
) -> None:
    """Known at once, it is a status, streamed or not; the message holds nothing of the inside."""
    with client_of(ScriptedTier(error)) as client, pytest.raises(raised) as caught:
        client.chat.completions.create(model="default", messages=ASK, stream=stream)
    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert caught.value.response.headers.get("retry-after") == retry_after
    assert str(error) not in str(caught.value.body)
    assert ("limit is reached" in str(caught.value)) == code.startswith("quota")


def test_an_error_in_mid_stream_is_raised_by_the_client() -> None:
    texts: list[str] = []
    with client_of(ScriptedTier(Token("Par "), TierUnavailable("/secret/path died"))) as client:
        stream = client.chat.completions.create(model="default", messages=ASK, stream=True)
        texts.append(next(stream).choices[0].delta.content or "")
        with pytest.raises(openai.APIError, match="cannot answer now") as caught:
            next(stream)
    assert texts == ["Par "]
    assert caught.value.code == "tier_unavailable"
    assert "secret" not in str(caught.value)


class OnceBusyTier(ScriptedTier):
    """Refuses the first request."""

    async def stream(
        self, conversation: Conversation, user: User, options: AnswerOptions = ANSWER_AS_USUAL
    ) -> AsyncGenerator[Event, None]:
        if not self.received:
            self.received.append(conversation)
            raise TierBusy("full", retry_after_s=1)
        async for event in super().stream(conversation, user, options):
            yield event


def test_the_client_waits_and_asks_again_by_itself() -> None:
    with client_of(OnceBusyTier(*SAID), max_retries=1) as client:
        answer = client.chat.completions.create(model="default", messages=ASK)
    assert answer.choices[0].message.content == "Je pense."


def test_a_model_that_is_being_prepared_is_waited_for() -> None:
    tier = ScriptedTier(Warming("downloading", 0.4), Warming("loading"), Queued(3), *SAID, status=PREPARING)
    with served(tier) as url:
        body = {"model": "any", "messages": ASK, "stream": True}
        answer = httpx.post(f"{url}/chat/completions", json=body)
        whole = httpx.post(f"{url}/chat/completions", json={"messages": ASK})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.split("\n\n")[:3] == [": preparing downloading 40%", ": preparing loading", ": queued 3"]
    assert answer.text.endswith("data: [DONE]\n\n")
    assert whole.json()["choices"][0]["message"]["content"] == "Je pense."


def test_but_not_for_ever() -> None:
    tier = ScriptedTier(*[Warming("downloading", 0.4)] * 1000, pause_s=0.05, status=PREPARING)
    with client_of(tier, preparing_wait_s=0.2) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(model="any", messages=ASK)
        assert (caught.value.status_code, caught.value.code) == (503, "preparing")
        assert caught.value.response.headers["retry-after"] == "5"
        stream = client.chat.completions.create(model="any", messages=ASK, stream=True)
        with pytest.raises(openai.APIError, match="preparing"):
            list(stream)
    assert tier.closed_early == 2


def test_models() -> None:
    tier = ScriptedTier()
    with client_of(tier) as client:
        listed = client.models.list()
        assert [model.id for model in listed.data] == ["scripted"]
        extra: Any = listed.model_extra
        assert [persona["id"] for persona in extra["personas"]] == list(PERSONAS)
        for name in ("scripted", "default"):
            assert client.models.retrieve(name).id == "scripted"
        with pytest.raises(openai.NotFoundError, match="'scripted'"):
            client.models.retrieve("owner/other")
        tier.status = PREPARING
        assert client.models.list().data == []
        with pytest.raises(openai.NotFoundError, match="being prepared"):
            client.models.retrieve("scripted")


def test_citations_come_with_the_end() -> None:
    citation = Citation(1, "Kant", "Fondements", "II", "Agis…")
    with client_of(ScriptedTier(citation, *SAID)) as client:
        answer = client.chat.completions.create(model="default", messages=ASK)
        chunks = list(client.chat.completions.create(model="default", messages=ASK, stream=True))
    whole, last = answer.model_extra, chunks[-1].model_extra
    assert whole is not None
    assert last is not None
    assert whole["citations"] == last["citations"] == [
        {
            "number": 1, "author": "Kant", "work": "Fondements", "locus": "II", "text": "Agis…", "id": "", "link": "",
            "original": True,
        }
    ]  # fmt: skip


@pytest.mark.parametrize(("streamed", "pause_s"), [(True, 0.01), (False, 0.01), (False, 30.0)])
async def test_a_client_that_leaves_frees_the_tier(streamed: bool, pause_s: float) -> None:
    tier = ScriptedTier(*[Token(f"{n} ") for n in range(10_000)], pause_s=pause_s)
    with served(tier) as url:
        async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            if streamed:
                stream = await client.chat.completions.create(model="default", messages=ASK, stream=True)
                await anext(stream)
                await stream.close()
            else:
                with pytest.raises(openai.APITimeoutError):
                    await client.chat.completions.create(model="default", messages=ASK, timeout=0.3)
            await asyncio.to_thread(wait_until, lambda: tier.closed_early == 1, 10)


async def test_a_client_that_leaves_while_nothing_is_said() -> None:
    tier = ScriptedTier(Queued(3), Token("trop tard"), pause_s=0.0)
    tier.pause_s = 0.5
    with served(tier) as url:
        async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            stream = await client.chat.completions.create(model="default", messages=ASK, stream=True)
            await stream.close()
            await asyncio.to_thread(wait_until, lambda: tier.closed_early == 1, 5)


def test_who_asks_is_a_key_and_nothing_else() -> None:
    """What a client adds itself stands first, in the same line or in one of its own; the rest is our proxies'."""
    tier = ScriptedTier(*SAID)
    who = partial(visitor, proxies=(ip_network("127.0.0.2/32"), ip_network("10.0.0.0/8")))

    def ask(url: str, *forwarded: str, user: str | None = None, peer: str = "127.0.0.2") -> str:
        headers = [("x-forwarded-for", line) for line in forwarded]
        with httpx.Client(transport=httpx.HTTPTransport(local_address=peer)) as client:
            client.post(f"{url}/chat/completions", json={"messages": ASK, "user": user}, headers=headers)
        return tier.users[-1].client

    with served(tier, who=who) as url:
        at_home = ask(url)
        lea = ask(url, user="léa")
        assert lea != at_home
        assert ask(url, user="léa") == lea
        school = ask(url, "8.8.8.8")
        assert school not in {at_home, lea}
        assert ask(url, "1.1.1.1, 8.8.8.8, 10.0.0.3") == ask(url, "1.1.1.1", "8.8.8.8, 10.0.0.3") == school
        assert ask(url, "1.1.1.1", "8.8.8.8") == school
        assert ask(url, "made up") == ask(url, "8.8.8.8, made up too") == at_home
        pupil = ask(url, peer="127.0.0.3")  # no proxy of ours: a pupil in the same network
        assert ask(url, "8.8.8.8", peer="127.0.0.3") == pupil
        assert pupil not in {at_home, school}
    assert all(len(user.client) == 32 for user in tier.users)


def test_whose_word_on_an_address_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Space is behind a proxy of its host, in a private network; in a school that network is the pupils'."""
    monkeypatch.delenv("SPACE_ID", raising=False)

    def trusted(address: str, **given: str) -> bool:
        return any(ip_address(address) in network for network in load_settings(**given).proxies)

    assert (trusted("127.0.0.1"), trusted("192.168.1.5"), trusted("10.0.0.3")) == (True, False, False)
    assert trusted("192.168.1.5", trusted_proxies="192.168.1.5, 10.0.0.0/8")
    monkeypatch.setenv("SPACE_ID", "owner/space")
    assert (trusted("10.0.0.3"), trusted("fd00::1"), trusted("8.8.8.8")) == (True, True, False)
    assert not trusted("127.0.0.1", trusted_proxies="")


def test_no_log_holds_a_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for said in (Token("canari-7391"), ValueError("canari-7391"), TierUnavailable("canari-7391", code="bad_schema")):
        tier = ScriptedTier(said)
        with served(tier) as url:
            for stream in (False, True):
                body = {"messages": ASK, "stream": stream, "user": "léa-7391"}
                httpx.post(f"{url}/chat/completions", json=body)
    ours = "\n".join(r.getMessage() for r in caplog.records if r.name.startswith(("service", "tiers", "errors")))
    assert "Completion asked: persona=spinoza turns=1 chars=28" in ours
    assert "7391" not in ours


# Over the real free tier, with a tiny model in llama.cpp.


@pytest.fixture
def real(tiny_gguf: Path, tmp_path: Path) -> Iterator[str]:
    tier = open_free_tier(
        ModelChoice(tmp_path, model=str(tiny_gguf), n_ctx=2048, threads=1, queue_size=16, embedder="none")
    )
    with served(tier) as url:
        wait_until(lambda: tier.status.state == "ready")
        yield url
    tier.close()


def test_a_real_model(real: str) -> None:
    with OpenAI(base_url=real, api_key="none", max_retries=0) as client:
        model = client.models.list().data[0].id
        answer = client.chat.completions.create(model=model, messages=ASK, max_tokens=30, seed=1)
        stream = client.chat.completions.create(
            model=model, messages=ASK, max_tokens=30, seed=1, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 50
    assert 0 < answer.usage.completion_tokens <= 30
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    assert (usage.prompt_tokens_details.cached_tokens or 0) > usage.prompt_tokens / 2


async def test_eight_at_once_on_a_real_model(real: str) -> None:
    async with AsyncOpenAI(base_url=real, api_key="none", max_retries=0) as client:

        async def ask(number: int) -> int:
            persona = list(PERSONAS)[number % 3]
            stream = await client.chat.completions.create(
                model="default",
                messages=ASK,
                max_tokens=40,
                stream=True,
                stream_options={"include_usage": True},
                extra_body={"persona": persona, "user": f"pupil {number}"},
            )
            usage = [chunk.usage async for chunk in stream][-1]
            assert usage is not None
            return usage.completion_tokens

        assert all(0 < count <= 40 for count in await asyncio.gather(*map(ask, range(8))))


async def test_leaving_a_real_model_in_mid_answer(real: str) -> None:
    """Many more leave than may be served or wait: had their places not been freed, the last one would be refused."""
    async with AsyncOpenAI(base_url=real, api_key="none", max_retries=0) as client:
        for _ in range(40):
            stream = await client.chat.completions.create(model="default", messages=ASK, max_tokens=512, stream=True)
            await anext(stream)
            await stream.close()
        answer = await client.chat.completions.create(model="default", messages=ASK, max_tokens=5)
        assert answer.choices[0].message.content
    assert threading.active_count() < 40
