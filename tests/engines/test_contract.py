"""What every engine keeps: the real one, those behind HTTP and the scripted one through the same protocol."""

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from engines.base import ChatMessage, Engine, EngineEvent, Finished, Queued, SamplingParams, Token
from engines.llama_cpp import LlamaCppEngine
from engines.ollama import OllamaEngine
from engines.openai_http import OpenAIEngine
from engines.testing import ScriptedEngine
from errors import EngineError, EngineTimeout
from tests.engines.servers import OllamaServer, OpenAIServer
from tests.serving import serving

ASKED: list[ChatMessage] = [{"role": "system", "content": "Tu es Kant."}, {"role": "user", "content": "Libre ?"}]
SHORT = SamplingParams(max_tokens=30, seed=1)
LONG = SamplingParams(max_tokens=700, seed=1)


@pytest.fixture(scope="module")
def openai_url() -> Iterator[str]:
    with serving(OpenAIServer(pause_s=0.003).app) as url:
        yield url


@pytest.fixture(scope="module")
def ollama_url() -> Iterator[str]:
    with serving(OllamaServer(pause_s=0.003).app) as url:
        yield url


@pytest.fixture(params=["llama", "openai", "ollama", "scripted"])
def engine(request: pytest.FixtureRequest, tiny_gguf: Path) -> Iterator[Engine]:
    made: Engine
    match request.param:
        case "llama":
            made = LlamaCppEngine(tiny_gguf, threads=1, n_ctx=1024)
        case "openai":
            made = OpenAIEngine(f"{request.getfixturevalue('openai_url')}/v1#tiny")
        case "ollama":
            made = OllamaEngine("tiny", url=request.getfixturevalue("ollama_url"))
        case _:
            made = ScriptedEngine(*(Token(text) for text in ("La", " loi", " morale", ".")), pause_s=0.01)
    yield made
    made.close()


async def collect(engine: Engine, params: SamplingParams = SHORT, deadline_s: float | None = None) -> list[EngineEvent]:
    async with aclosing(engine.stream(ASKED, params, deadline_s=deadline_s)) as events:
        return [event async for event in events]


async def test_order_of_events(engine: Engine) -> None:
    events = await collect(engine)
    kinds = [kind for kind, _ in itertools.groupby(map(type, events))]
    assert kinds in ([Token, Finished], [Queued, Token, Finished])
    assert isinstance(events[-1], Finished)
    assert sum(isinstance(event, Finished) for event in events) == 1
    text = "".join(event.text for event in events if isinstance(event, Token))
    assert text
    assert text == text.strip()


async def test_closing_after_the_first_token_lets_the_next_one_be_served(engine: Engine) -> None:
    async with aclosing(engine.stream(ASKED, LONG)) as events:
        async for event in events:
            if isinstance(event, Token):
                break
    assert isinstance((await collect(engine))[-1], Finished)


async def test_a_cancelled_task_lets_the_next_one_be_served(engine: Engine) -> None:
    task = asyncio.create_task(collect(engine, LONG))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert isinstance((await collect(engine))[-1], Finished)


async def test_a_stream_never_started_costs_nothing(engine: Engine) -> None:
    await engine.stream(ASKED, LONG).aclose()
    assert isinstance((await collect(engine))[-1], Finished)


async def test_two_streams_at_once_both_end(engine: Engine) -> None:
    for events in await asyncio.gather(collect(engine), collect(engine)):
        assert isinstance(events[-1], Finished)


async def test_a_deadline_already_past(engine: Engine) -> None:
    with pytest.raises(EngineTimeout) as caught:
        await collect(engine, deadline_s=0.0)
    assert caught.value.retryable
    assert isinstance((await collect(engine))[-1], Finished)


async def test_closing_the_engine_ends_the_streams(engine: Engine) -> None:
    stream = engine.stream(ASKED, LONG)
    await anext(stream)
    engine.close()
    with pytest.raises(EngineError):
        async for _ in stream:
            pass
    with pytest.raises(EngineError):
        await collect(engine)
    engine.close()


async def test_longer_messages_have_more_tokens(engine: Engine) -> None:
    longer: list[ChatMessage] = [*ASKED, {"role": "assistant", "content": "Oui."}, {"role": "user", "content": "Et ?"}]
    assert 0 < engine.count_tokens(ASKED) < engine.count_tokens(longer)


async def test_warm_takes_any_prompt(engine: Engine) -> None:
    await engine.warm("Tu es Kant.")
    await engine.warm("")


def test_several_loops_one_after_the_other(engine: Engine) -> None:
    for _ in range(2):
        assert isinstance(asyncio.run(collect(engine))[-1], Finished)


async def test_script_of_errors_and_what_it_was_asked() -> None:
    engine = ScriptedEngine(Token("Par "), EngineError("broken"))
    stream = engine.stream(ASKED, SHORT, deadline_s=9.0)
    assert await anext(stream) == Token("Par ")
    with pytest.raises(EngineError, match="broken"):
        await anext(stream)
    assert (engine.received, engine.params, engine.deadlines, engine.closed_early) == ([ASKED], [SHORT], [9.0], 0)
    await engine.warm("x")
    assert engine.warmed == ["x"]


async def test_script_closed_early_and_cut_by_the_deadline() -> None:
    engine = ScriptedEngine(Token("a"), Token("b"), pause_s=0.4)
    stream = engine.stream(ASKED, SHORT)
    await anext(stream)
    await stream.aclose()
    assert engine.closed_early == 1
    events = await collect(engine, deadline_s=0.6)
    assert [type(event) for event in events] == [Token, Finished]
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "deadline"
    assert engine.closed_early == 1


async def test_who_asks_is_passed_on_and_a_failure_is_said(engine: Engine) -> None:
    assert engine.failure is None
    async with aclosing(engine.stream(ASKED, SHORT, client="somebody")) as events:
        assert [event async for event in events]
    scripted = ScriptedEngine(failure="The model died.")
    assert scripted.failure == "The model died."
    with pytest.raises(EngineError, match="died"):
        await collect(scripted)
    assert scripted.clients == [""]
