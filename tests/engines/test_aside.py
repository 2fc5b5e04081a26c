"""JSON behind an answer in one call: by grammar on a real model, on a server that writes its mark itself."""

import asyncio
import json
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from engines.base import Aside, ChatMessage, Engine, Finished, SamplingParams, Token
from engines.llama_cpp import LlamaCppEngine
from engines.openai_http import OpenAIEngine, request_body
from tests.engines.servers import OpenAIServer
from tests.serving import serving

SCHEMA = json.dumps(
    {"type": "object", "properties": {"avis": {"enum": ["oui", "en partie", "très peu"]}}, "required": ["avis"],
     "additionalProperties": False}, ensure_ascii=False)  # fmt: skip
MARK = "<<<EVAL-77>>>"
ASIDE = Aside(MARK, f"Puis écris {MARK} et un objet JSON.", SCHEMA, max_tokens=80)
PLAIN = SamplingParams(max_tokens=30, temperature=0.0, seed=1, end_at_sentence=False)
WITH = replace(PLAIN, aside=ASIDE)


def ask(*texts: str) -> list[ChatMessage]:
    asked: list[ChatMessage] = [{"role": "system", "content": "Tu es Kant, sans peur."}]
    for number, text in enumerate(texts):
        asked.append({"role": "assistant" if number % 2 else "user", "content": text})
    return asked


async def said(
    engine: Engine, asked: list[ChatMessage], params: SamplingParams, deadline_s: float | None = None
) -> tuple[str, Finished]:
    async with aclosing(engine.stream(asked, params, deadline_s=deadline_s)) as events:
        seen = [event async for event in events]
    assert isinstance(seen[-1], Finished)
    return "".join(event.text for event in seen if isinstance(event, Token)), seen[-1]


@pytest.fixture
def engine(tiny_engine: LlamaCppEngine) -> LlamaCppEngine:
    return tiny_engine


async def test_the_answer_is_the_same_and_json_follows(engine: LlamaCppEngine) -> None:
    await said(engine, ask("Libre ?"), PLAIN)
    plain, end = await said(engine, ask("Libre ?"), PLAIN)
    both, with_aside = await said(engine, ask("Libre ?"), WITH)
    answer, _, behind = both.partition(MARK)
    assert answer.rstrip() == plain
    assert set(json.loads(behind)) == {"avis"}
    assert json.loads(behind)["avis"] in {"oui", "en partie", "très peu"}
    usage = with_aside.usage
    assert with_aside.reason == end.reason
    assert usage.aside_tokens > 0
    assert usage.completion_tokens == end.usage.completion_tokens + usage.aside_tokens
    assert usage.prompt_tokens > end.usage.prompt_tokens


async def test_what_followed_is_in_no_cache_that_the_chat_goes_on_from(engine: LlamaCppEngine) -> None:
    """The next turn knows as much of its prompt as it would without, and answers the same."""
    ends = []
    for question, params in (("Un ?", PLAIN), ("Deux ?", WITH)):
        both, _ = await said(engine, ask(question), params)
        answer = both.partition(MARK)[0].rstrip()
        ends.append((await said(engine, ask(question, answer, "Et la loi ?"), PLAIN))[1].usage)
    unread = [usage.prompt_tokens - usage.cached_tokens for usage in ends]
    assert unread[1] in {unread[0], unread[0] - 1}  # the answer's last token was read for what followed
    held = [s.tokens for s in engine._residents._idle]  # what the context really holds
    mark = engine._model.encode(MARK)
    assert not any(tokens[n : n + len(mark)] == mark for tokens in held for n in range(len(tokens)))


async def test_many_at_once_each_get_theirs(engine: LlamaCppEngine) -> None:
    texts = await asyncio.gather(*(said(engine, ask(f"Question {n} ?"), WITH if n % 2 else PLAIN) for n in range(10)))
    for number, (text, _) in enumerate(texts):
        assert (MARK in text) == bool(number % 2)
        if number % 2:
            json.loads(text.partition(MARK)[2])
    assert engine.stats.failures == 0


async def test_without_room_the_answer_stands_alone(engine: LlamaCppEngine) -> None:
    wide = replace(WITH, aside=replace(ASIDE, max_tokens=engine.info.n_ctx))
    text, end = await said(engine, ask("Libre ?"), wide)
    assert MARK not in text
    assert end.usage.aside_tokens == 0


async def test_json_that_is_cut_does_not_cost_the_answer(engine: LlamaCppEngine) -> None:
    text, end = await said(engine, ask("Libre ?"), replace(WITH, aside=replace(ASIDE, max_tokens=2)))
    assert text.startswith((await said(engine, ask("Libre ?"), PLAIN))[0])
    assert end.reason == "length"
    assert end.usage.aside_tokens == 2


async def test_a_deadline_in_the_middle_of_it_does_not_cost_the_answer(make_gguf: Callable[..., Path]) -> None:
    engine = LlamaCppEngine(make_gguf("aside.gguf"), threads=1, n_ctx=8192, kernels="tiled")
    endless = replace(ASIDE, max_tokens=7000, json_schema='{"type":"string"}')  # it knows no quote
    text, end = await said(engine, ask("Libre ?"), replace(PLAIN, aside=endless), deadline_s=1.0)
    answer, mark, _ = text.partition(MARK)
    assert mark
    assert answer.strip()
    assert end.reason == "length"  # the answer's own, not the aside's
    assert (await said(engine, ask("Et après ?"), PLAIN))[0]
    engine.close()


async def test_a_schema_that_is_none_does_not_cost_the_answer(engine: LlamaCppEngine) -> None:
    text, end = await said(engine, ask("Libre ?"), replace(WITH, aside=replace(ASIDE, json_schema="{")))
    assert MARK not in text
    assert text
    assert end.usage.aside_tokens == 0


async def test_leaving_in_the_middle_of_it_frees_the_place(engine: LlamaCppEngine) -> None:
    async with aclosing(engine.stream(ask("Libre ?"), WITH)) as events:
        async for event in events:
            if isinstance(event, Token) and MARK in event.text:
                break
    for _ in range(200):
        if engine.stats.active == 0:
            break
        await asyncio.sleep(0.01)
    assert engine.stats.active == 0
    assert (await said(engine, ask("Libre ?"), PLAIN))[0]


async def test_v1_where_marks_are_plain_text(make_gguf: Callable[..., Path]) -> None:
    engine = LlamaCppEngine(make_gguf("v1-aside.gguf", inst_is_control=False), threads=1, n_ctx=1024, kernels="tiled")
    text, _ = await said(engine, ask("Libre ?"), WITH)
    json.loads(text.partition(MARK)[2])
    engine.close()


async def test_a_window_model_forgets_it_too(gemma_gguf: Path) -> None:
    engine = LlamaCppEngine(gemma_gguf, threads=1, n_ctx=1024, kernels="tiled")
    ends = []
    for question, params in (("Un ?", PLAIN), ("Deux ?", WITH)):
        both, _ = await said(engine, ask(question), params)
        follow = ask(question, both.partition(MARK)[0].rstrip(), "Et la loi ?")
        ends.append((await said(engine, follow, PLAIN))[1].usage)
    unread = [usage.prompt_tokens - usage.cached_tokens for usage in ends]
    assert unread[1] in {unread[0], unread[0] - 1}  # the answer's last token was read for what followed
    engine.close()


async def test_a_server_is_asked_for_both_in_one_call() -> None:
    server = OpenAIServer(["Oui", ". ", "\n<<<EV", 'AL-77>>>{"avis":', '"oui"}'])
    with serving(server.app) as url:
        engine = OpenAIEngine(f"{url}/v1#tiny")
        text, end = await said(engine, ask("Libre ?"), WITH)
    assert text.partition(MARK)[2] == '{"avis":"oui"}'
    usage = end.usage
    assert usage.aside_tokens == round(usage.completion_tokens * 2 / 5)  # from the piece on that ends the mark
    body = server.bodies[0]
    assert len(server.bodies) == 1
    assert body["max_tokens"] == PLAIN.max_tokens + ASIDE.max_tokens
    assert body["messages"][:-1] == ask("Libre ?")[:-1]
    assert body["messages"][-1]["content"] == f"Libre ?\n\n{ASIDE.message}"
    tag = json.loads(body["structured_outputs"]["structural_tag"])
    assert tag["triggers"] == [MARK]
    assert tag["structures"][0]["schema"] == json.loads(SCHEMA)
    assert "response_format" not in body


def test_openai_s_own_dialect_sends_no_tag() -> None:
    assert "structured_outputs" not in request_body("gpt", ask("Libre ?"), WITH, "openai")
