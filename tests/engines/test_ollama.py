"""The engine behind Ollama's protocol, against a real server on a free port."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from fastapi.responses import JSONResponse, Response

from engines.base import ChatMessage, EngineEvent, Finished, SamplingParams, Token
from engines.ollama import OllamaEngine, request_body
from engines.open import open_engine
from errors import EngineBusy, EngineError
from tests.engines.servers import OllamaServer
from tests.serving import serving, wait_until

ASKED: list[ChatMessage] = [{"role": "system", "content": "Tu es Kant."}, {"role": "user", "content": "Libre ?"}]
SHORT = SamplingParams(max_tokens=30, seed=1)


async def collect(engine: OllamaEngine, params: SamplingParams = SHORT, **how: Any) -> list[EngineEvent]:
    async with aclosing(engine.stream(ASKED, params, **how)) as events:
        return [event async for event in events]


def text_of(events: list[EngineEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Token))


async def test_what_is_asked_and_what_it_cost() -> None:
    server = OllamaServer([" Bonjour", ", je suis\u2028", "\u0085Kant", ". "])
    with serving(server.app) as url:
        engine = open_engine("ollama:mistral:7b", url=url, n_ctx=1024)
        events = [event async for event in engine.stream(ASKED, SamplingParams(stop=("[INST]",), seed=3))]
    assert text_of(events) == "Bonjour, je suis\u2028\u0085Kant."
    last = events[-1]
    assert isinstance(last, Finished)
    assert (last.reason, last.usage.prompt_tokens, last.usage.completion_tokens) == ("stop", 11, 4)
    assert server.bodies == [
        {
            "model": "mistral:7b",
            "messages": ASKED,
            "stream": True,
            "think": False,
            "truncate": False,
            "shift": False,
            "options": {
                "temperature": 0.7,
                "top_k": 40,
                "top_p": 0.9,
                "repeat_penalty": 1.05,
                "repeat_last_n": 64,
                "num_predict": 160,
                "num_ctx": 1024,
                "stop": ["[INST]"],
                "seed": 3,
            },
        }
    ]


def test_a_json_schema() -> None:
    body = request_body("m", ASKED, SamplingParams(json_schema='{"type": "object"}', stop=("x",)), 512)
    assert body["format"] == {"type": "object"}
    assert "stop" not in body["options"]


@pytest.mark.parametrize(
    ("refusal", "expected", "said"),
    [
        (JSONResponse({"error": "model 'tiny' not found"}, 404), EngineError, "`ollama pull tiny`"),
        (JSONResponse({"error": "server busy, please try again"}, 503), EngineBusy, "busy"),
        (JSONResponse({"error": "the input exceeds the context length"}, 400), EngineError, "cut the conversation"),
        (JSONResponse({"error": "llama runner has terminated"}, 500), EngineError, "runner has terminated"),
        (Response("<html>", 502), EngineError, "status 502"),
        (Response('{"message": 3}', 200), EngineError, "cannot be read"),
    ],
)
async def test_refusals(refusal: Response, expected: type[EngineError], said: str) -> None:
    server = OllamaServer()
    server.refusal = refusal
    with serving(server.app) as url:
        with pytest.raises(EngineError, match=said) as caught:
            await collect(OllamaEngine("tiny", url=url))
        assert type(caught.value) is expected
        server.refusal = None
        assert text_of(await collect(OllamaEngine("tiny", url=url)))


@pytest.mark.parametrize(("tail", "said"), [(b'{"error": "out of memory"}\n', "out of memory"), (b"", "broke off")])
async def test_a_fault_in_mid_stream(tail: bytes, said: str) -> None:
    server = OllamaServer(["Par ", "exemple"])
    server.tail = tail
    with serving(server.app) as url, pytest.raises(EngineError, match=said):
        await collect(OllamaEngine("tiny", url=url))


async def test_leaving_closes_the_connection() -> None:
    server = OllamaServer(pause_s=0.005)
    with serving(server.app) as url:
        async with aclosing(OllamaEngine("tiny", url=url).stream(ASKED, SamplingParams(max_tokens=4000))) as events:
            await anext(events)
            assert server.open == 1
        await asyncio.to_thread(wait_until, lambda: server.open == 0)


@pytest.mark.parametrize(
    ("info", "options", "expected"),
    [
        (None, {}, (8_030_261_248, 2048)),
        (None, {"n_ctx": 512, "n_params": 5}, (5, 512)),
        ({}, {}, (7_000_000_000, 4096)),
    ],
)
def test_info(info: dict[str, Any] | None, options: dict[str, int], expected: tuple[int, int]) -> None:
    server = OllamaServer()
    if info is not None:
        server.shown = {"model_info": info}
    with serving(server.app) as url:
        engine = OllamaEngine("tiny", url=url, **options)
        assert (engine.info.model, engine.info.n_params, engine.info.n_ctx) == ("tiny", *expected)


def test_info_of_a_model_that_was_not_pulled() -> None:
    server = OllamaServer()
    server.refusal = JSONResponse({"error": "model 'tiny' not found"}, 404)
    with serving(server.app) as url, pytest.raises(EngineError, match="ollama pull tiny") as caught:
        _ = OllamaEngine("tiny", url=url).info
    assert caught.value.code == "model_missing"
