"""The engine behind OpenAI's protocol, against a real server on a free port; and against our own routes."""

import asyncio
import logging
import time
from contextlib import aclosing
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response

from engines.base import ChatMessage, EngineEvent, Finished, SamplingParams, Token
from engines.open import open_engine
from engines.openai_http import OpenAIEngine, request_body
from engines.remote import RemoteEngine
from errors import EngineBusy, EngineError, EngineTimeout
from service.openai_api import openai_routes
from tests.engines.servers import OpenAIServer
from tests.serving import serving, wait_until
from tiers.base import Queued as TierQueued
from tiers.base import Token as TierToken
from tiers.testing import ScriptedTier

ASKED: list[ChatMessage] = [{"role": "system", "content": "Tu es Kant."}, {"role": "user", "content": "Libre ?"}]
SHORT = SamplingParams(max_tokens=30, seed=1)


async def collect(engine: RemoteEngine, params: SamplingParams = SHORT, **how: Any) -> list[EngineEvent]:
    async with aclosing(engine.stream(ASKED, params, **how)) as events:
        return [event async for event in events]


def text_of(events: list[EngineEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Token))


def end_of(events: list[EngineEvent]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


async def test_what_is_asked_and_what_it_cost() -> None:
    server = OpenAIServer(["  Bonjour", ", je suis", " Kant", ". "])
    with serving(server.app) as url:
        engine = open_engine(f"openai:{url}/v1/#tiny", api_key="s3cret")
        events = [event async for event in engine.stream(ASKED, SamplingParams(stop=("[INST]",), seed=3))]
    assert text_of(events) == "Bonjour, je suis Kant."
    usage = end_of(events).usage
    assert (usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens) == (11, 7, 4)
    assert 0 < usage.first_token_s <= usage.total_s
    assert server.headers[0]["authorization"] == "Bearer s3cret"
    assert server.bodies == [
        {
            "model": "tiny",
            "messages": ASKED,
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0.7,
            "top_p": 0.9,
            "top_k": 40,
            "repetition_penalty": 1.05,
            "repeat_penalty": 1.05,
            "repeat_last_n": 64,
            "max_tokens": 160,
            "stop": ["[INST]"],
            "seed": 3,
        }
    ]


def test_openai_s_own_dialect() -> None:
    params = SamplingParams(stop=tuple("abcdef"), json_schema=None)
    body = request_body("gpt", ASKED, params, "openai")
    assert set(body) == {
        "model", "messages", "stream", "stream_options", "temperature", "top_p", "max_completion_tokens", "stop",
    }  # fmt: skip
    assert body["stop"] == ["a", "b", "c", "d"]


def test_a_json_schema_and_no_schema() -> None:
    body = request_body("m", ASKED, SamplingParams(json_schema='{"type": "object"}', stop=("x",)))
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert "stop" not in body
    assert request_body("m", ASKED, SamplingParams(top_k=0))["top_k"] == -1
    for wrong in ("{", "[]"):
        with pytest.raises(EngineError) as caught:
            request_body("m", ASKED, SamplingParams(json_schema=wrong))
        assert caught.value.code == "bad_schema"


async def test_json_is_cut_by_no_stop_text() -> None:
    with serving(OpenAIServer(['{"a": "x', '[INST]"}']).app) as url:
        params = SamplingParams(json_schema='{"type": "object"}', stop=("[INST]",))
        assert text_of(await collect(OpenAIEngine(f"{url}/v1#tiny"), params)) == '{"a": "x[INST]"}'


async def test_a_stop_text_across_pieces_ends_it_and_closes_the_connection() -> None:
    server = OpenAIServer([" Oui", ". [", "INST", "] et", *[" encore"] * 500], pause_s=0.005)
    with serving(server.app) as url:
        events = await collect(OpenAIEngine(f"{url}/v1#tiny"), SamplingParams(stop=("[INST]",), max_tokens=600))
        await gone(server)
    assert text_of(events) == "Oui."
    assert end_of(events).reason == "stop"
    assert end_of(events).usage.completion_tokens == 4  # counted here: the server was not asked to the end


async def gone(server: OpenAIServer) -> None:
    """Wait until the server has seen that nobody listens."""
    await asyncio.to_thread(wait_until, lambda: server.open == 0)


async def test_a_cut_answer_ends_with_a_sentence() -> None:
    with serving(OpenAIServer().app) as url:
        events = await collect(OpenAIEngine(f"{url}/v1#tiny"), SamplingParams(max_tokens=40))
    assert end_of(events).reason == "length"
    assert text_of(events).endswith("libre.")
    assert text_of(events).count(".") == 6


async def test_lines_that_only_look_like_ends() -> None:
    """U+2028 and U+0085 may stand unescaped in JSON; a reader of lines that splits there loses the answer."""
    with serving(OpenAIServer(["a\u2028b", "\u0085c", " é🕰️"]).app) as url:
        assert text_of(await collect(OpenAIEngine(f"{url}/v1#tiny"))) == "a\u2028b\u0085c é🕰️"


@pytest.mark.parametrize(
    ("refusal", "expected", "code", "retry_after_s"),
    [
        (JSONResponse({}, 429, {"retry-after": "7"}), EngineBusy, "engine_busy", 7.0),
        (JSONResponse({}, 503, {"retry-after": "Wed, 21 Oct 2026"}), EngineBusy, "engine_busy", None),
        (JSONResponse({}, 504), EngineTimeout, "engine_timeout", None),
        (JSONResponse({}, 401), EngineError, "engine_failed", None),
        (JSONResponse({"error": {"message": "x"}}, 404), EngineError, "model_missing", None),
        (
            JSONResponse({"error": {"message": "This model's maximum context length is 8"}}, 400),
            EngineError,
            "conversation_too_long",
            None,
        ),
        (
            JSONResponse({"error": {"type": "exceed_context_size_error", "message": ""}}, 400),
            EngineError,
            "conversation_too_long",
            None,
        ),
        (Response("<html>", 502), EngineError, "engine_failed", None),
        (Response("data", 200, media_type="text/plain"), EngineError, "engine_failed", None),
        (Response("data: {\n\n", 200, media_type="text/event-stream"), EngineError, "engine_failed", None),
    ],
)
async def test_refusals(refusal: Response, expected: type[EngineError], code: str, retry_after_s: float | None) -> None:
    server = OpenAIServer()
    server.refusal = refusal
    with serving(server.app) as url:
        with pytest.raises(EngineError) as caught:
            await collect(OpenAIEngine(f"{url}/v1#tiny"))
        assert type(caught.value) is expected
        assert (caught.value.code, caught.value.retry_after_s) == (code, retry_after_s)
        server.refusal = None
        assert end_of(await collect(OpenAIEngine(f"{url}/v1#tiny")))


@pytest.mark.parametrize(
    ("tail", "said"),
    [
        (b'data: {"error": {"message": "Libre ?", "type": "server_error", "code": 500}}\n\n', "(server_error, 500)"),
        (b'event: error\ndata: {"error": "Libre ?"}\n\n', "in the middle"),
        (b'data: {"object": "error", "message": "Libre ?"}\n\n', "in the middle"),
        (b"", "broke off"),
    ],
)
async def test_a_fault_in_mid_stream(tail: bytes, said: str) -> None:
    """What was said stays, and the error does not quote the server, who may quote the pupil."""
    server = OpenAIServer(["Par ", "exemple"])
    server.tail = tail
    shown: list[str] = []

    async def listen(url: str) -> None:
        async for event in OpenAIEngine(f"{url}/v1#tiny").stream(ASKED, SHORT):
            assert isinstance(event, Token)
            shown.append(event.text)

    with serving(server.app) as url, pytest.raises(EngineError) as caught:
        await listen(url)
    assert said in str(caught.value)
    assert "Libre" not in str(caught.value)
    assert "".join(shown) == "Par exemple"


async def test_an_empty_answer() -> None:
    with serving(OpenAIServer([" "]).app) as url:
        with pytest.raises(EngineError) as caught:
            await collect(OpenAIEngine(f"{url}/v1#tiny"))
        assert caught.value.code == "answer_empty"


async def test_nobody_listens_there() -> None:
    engine = OpenAIEngine("http://127.0.0.1:9/v1#tiny")
    with pytest.raises(EngineError, match="is the server running"):
        await collect(engine)
    with pytest.raises(EngineError, match="is the server running"):
        await engine.warm("Tu es Kant.")
    with pytest.raises(EngineError, match="is the server running"):
        _ = engine.info


async def test_the_deadline_before_and_after_the_first_word() -> None:
    server = OpenAIServer([" Oui", ".", *[" et encore"] * 200], pause_s=0.05)
    with serving(server.app) as url:
        engine = OpenAIEngine(f"{url}/v1#tiny")
        with pytest.raises(EngineTimeout):
            await collect(engine, deadline_s=0.02)
        events = await collect(engine, SamplingParams(max_tokens=300), deadline_s=2.0)
        await gone(server)
    assert end_of(events).reason == "deadline"
    assert text_of(events) == "Oui."


async def test_leaving_closes_the_connection() -> None:
    server = OpenAIServer(pause_s=0.005)
    with serving(server.app) as url:
        engine = OpenAIEngine(f"{url}/v1#tiny")
        async with aclosing(engine.stream(ASKED, SamplingParams(max_tokens=4000))) as events:
            await anext(events)
            assert server.open == 1
        await gone(server)
        task = asyncio.create_task(collect(engine, SamplingParams(max_tokens=4000)))
        await asyncio.to_thread(wait_until, lambda: server.open == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await gone(server)


async def test_closing_while_others_wait() -> None:
    server = OpenAIServer(pause_s=0.3)
    with serving(server.app) as url:
        engine = OpenAIEngine(f"{url}/v1#tiny")
        asked = [asyncio.create_task(collect(engine)) for _ in range(3)]
        await asyncio.sleep(0.1)
        began = time.monotonic()
        engine.close()
        for answer in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(answer, EngineError)
        assert time.monotonic() - began < 10
        assert engine.failure is not None
        with pytest.raises(EngineError):
            await engine.warm("Tu es Kant.")


async def test_warming_asks_for_one_token() -> None:
    server = OpenAIServer()
    with serving(server.app) as url:
        await OpenAIEngine(f"{url}/v1#tiny").warm("Tu es Kant.")
    assert server.bodies[0]["max_tokens"] == 1
    assert server.bodies[0]["messages"][0] == {"role": "system", "content": "Tu es Kant."}


@pytest.mark.parametrize(
    ("models", "options", "expected"),
    [
        ([{"id": "tiny", "max_model_len": 2048}], {}, (7_000_000_000, 2048)),
        ([{"id": "other"}, {"id": "tiny"}], {"n_ctx": 512, "n_params": 5}, (5, 512)),
        ([{"id": "/m/x.gguf", "meta": {"n_ctx": 1024, "n_params": 118_000_000}}], {}, (118_000_000, 1024)),
        ([{"id": "/m/x.gguf", "meta": None}], {}, (7_000_000_000, 4096)),
    ],
)
def test_info(models: list[dict[str, Any]], options: dict[str, Any], expected: tuple[int, int]) -> None:
    server = OpenAIServer()
    server.models = {"data": models}
    with serving(server.app) as url:
        engine = OpenAIEngine(f"{url}/v1#tiny", **options)
        assert (engine.info.model, engine.info.n_params, engine.info.n_ctx) == ("tiny", *expected)
    assert engine.info.n_ctx == expected[1]  # asked once


def test_info_of_an_unknown_model() -> None:
    server = OpenAIServer()
    server.models = {"data": [{"id": "a"}, {"id": "b"}]}
    with serving(server.app) as url, pytest.raises(EngineError, match="no model 'tiny'"):
        _ = OpenAIEngine(f"{url}/v1#tiny").info


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://127.0.0.1:9/v1", "names no model"),
        ("127.0.0.1:9/v1#m", "no address"),
        ("ftp://x/v1#m", "no address"),
        ("http://me:s3cret@host/v1#m", "pass the key as an option"),
    ],
)
def test_addresses(address: str, said: str) -> None:
    with pytest.raises(EngineError, match=said) as caught:
        open_engine(f"openai:{address}")
    assert "s3cret" not in str(caught.value)


async def test_no_log_holds_a_key_or_a_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server = OpenAIServer(["Une réponse", "."])
    with serving(server.app) as url:
        engine = OpenAIEngine(f"{url}/v1#tiny", api_key="s3cret")
        await collect(engine)
        server.refusal = JSONResponse({"error": {"message": "Libre ? est trop long", "type": "bad"}}, 400)
        with pytest.raises(EngineError, match=r"status 400 \(bad\)"):
            await collect(engine)
    ours = "\n".join(r.getMessage() for r in caplog.records if r.name.startswith("engines"))
    assert "tiny: stop" in ours
    for secret in ("s3cret", "Libre", "réponse"):
        assert secret not in ours


async def test_through_our_own_routes() -> None:
    """The engine understands what `service/` answers: comments, chunks, counts, errors."""
    tier = ScriptedTier(TierQueued(2), TierToken("Je "), TierToken("pense."))
    with serving(FastAPI(routes=[*openai_routes(tier)])) as url:
        engine = OpenAIEngine(f"{url}/v1#scripted")
        messages: list[ChatMessage] = [{"role": "user", "content": "Libre ?"}]
        events = [event async for event in engine.stream(messages, SHORT)]
        assert text_of(events) == "Je pense."
        with pytest.raises(EngineError, match="system_message"):  # its personas bring their own
            await collect(engine)


def test_an_estimate_from_above() -> None:
    engine = OpenAIEngine("http://127.0.0.1:9/v1#tiny")
    assert engine.count_tokens([{"role": "user", "content": "a" * 4}]) == 2 + 8
    assert engine.count_tokens([]) == 0


@pytest.mark.parametrize(
    ("url", "name"),
    [("https://api.openai.com/v1#m", "max_completion_tokens"), ("http://127.0.0.1:1/v1#m", "max_tokens")],
)
def test_the_dialect_follows_the_host(url: str, name: str) -> None:
    engine = OpenAIEngine(url)
    assert name in request_body("m", ASKED, SHORT, engine._dialect)


@pytest.mark.parametrize("url", ["http://host:80a/v1#m", "http://300.1.1.1/v1#m", "http://me:s3cret@host:80a/v1#m"])
def test_an_address_that_is_none_is_an_error_of_ours(url: str) -> None:
    with pytest.raises(EngineError) as caught:
        _ = OpenAIEngine(url).info
    assert "s3cret" not in str(caught.value)


def test_a_key_with_a_pasted_space_is_named_and_not_shown() -> None:
    with pytest.raises(EngineError, match="beyond ASCII") as caught:
        OpenAIEngine("http://127.0.0.1:1/v1#m", api_key="s3cret\u00a0")
    assert "s3cret" not in str(caught.value)
