"""Many chats at once on real two-layer models: nobody hears another, nothing leaks, what is known is not read."""

import asyncio
import gc
import json
import logging
import os
import random
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.base import ChatMessage, EngineEvent, Finished, SamplingParams, Token, Usage
from engines.llama_cpp import MAX_FAILURES, LlamaCppEngine
from engines.llama_model import LlamaModel
from engines.prefix_files import PrefixFiles
from engines.prompt import Prompt
from engines.scoring import ScoringModel
from engines.steps import StepCosts, prompt_rows
from engines.waiting import Job
from errors import EngineError, EngineTimeout

KANT = "Tu es Kant. Tu parles de la loi et de la raison, sans peur. " * 4
LIKELIEST = SamplingParams(temperature=0, max_tokens=24, repeat_penalty=1.0, end_at_sentence=False)
DRAWN = SamplingParams(temperature=0.8, max_tokens=24, seed=5, end_at_sentence=False)


def ask(*texts: str, system: str = KANT) -> list[ChatMessage]:
    messages: list[ChatMessage] = [{"role": "system", "content": system}]
    for number, text in enumerate(texts):
        messages.append({"role": "assistant" if number % 2 else "user", "content": text})
    return messages


async def answer(
    engine: LlamaCppEngine, messages: Sequence[ChatMessage], params: SamplingParams = LIKELIEST, client: str = ""
) -> tuple[str, Usage]:
    seen: list[EngineEvent] = []
    async with aclosing(engine.stream(messages, params, client=client)) as events:
        async for event in events:
            seen.append(event)  # noqa: PERF401 - aclosing needs the loop
    assert isinstance(seen[-1], Finished)
    return "".join(event.text for event in seen if isinstance(event, Token)), seen[-1].usage


class Judge:
    """Says whether every token of an answer is the likeliest one after its own prompt, read alone on a fresh context.

    Two tokens within `NEAR` of each other may change places with the number of rows in a step; a word from another
    chat, a wrong position or a lost cell moves the logits by whole units.
    """

    NEAR = 0.05

    def __init__(self, gguf: Path) -> None:
        self.model = ScoringModel(gguf, threads=1)

    def approves(self, engine: LlamaCppEngine, messages: Sequence[ChatMessage], text: str) -> bool:
        prompt = engine._format.render(messages, engine._sampled_as).ids
        sampled = engine._sampled_as(prompt, text)
        assert sampled, "the answer was not remembered"
        scores = self.model.log_probs([*prompt, *sampled])[len(prompt) - 1 : -1]
        return bool((scores.max(axis=1) - scores[np.arange(len(sampled)), list(sampled)]).max() < self.NEAR)


@pytest.fixture
def open_engine(tiny_gguf: Path) -> Any:
    opened: list[LlamaCppEngine] = []

    def make(path: Path = tiny_gguf, kind: type[LlamaCppEngine] = LlamaCppEngine, **options: Any) -> LlamaCppEngine:
        opened.append(kind(path, **{"threads": 1, "n_ctx": 1024, "kernels": "tiled", **options}))
        return opened[-1]

    yield make
    for engine in opened:
        engine.close()


Open = Callable[..., LlamaCppEngine]


@pytest.mark.parametrize("params", [LIKELIEST, DRAWN], ids=["likeliest", "drawn"])
async def test_a_chat_among_fifteen_others_says_what_it_says_alone(open_engine: Open, params: SamplingParams) -> None:
    engine = open_engine()
    alone, _ = await answer(engine, ask("Libre ?"), params)
    others = [answer(engine, ask(f"Et la joie numéro {n} ?"), replace(params, seed=n)) for n in range(15)]
    texts = await asyncio.gather(answer(engine, ask("Libre ?"), params), *others)
    assert texts[0][0] == alone


def test_how_far_other_rows_move_the_logits(tiny_gguf: Path) -> None:
    """The bound under which a seed gives the same text: the order of a sum depends on how many rows share a step."""
    model = LlamaModel(tiny_gguf, threads=1, n_cells=1024, n_seq=17, repack=False)
    ids = model.encode("tu es libre sans cause")
    alone = model.logits(model.read(ids, 0, 0)).copy()
    model.rows.clear()
    rows = [model.rows.add(ids, 0, sequence, wanted=True) for sequence in range(1, 17)]
    assert model.decode()
    for row in rows:
        assert np.abs(model.logits(row) - alone).max() < 0.02  # of logits from -100 to 4; keys and values are f16
    model.close()


async def test_fifty_chats_with_words_of_their_own(open_engine: Open, tiny_gguf: Path) -> None:
    engine, judge = open_engine(n_cells=6000), Judge(tiny_gguf)
    chats = [ask(f"Le mot {n * 7919} est le mien, {chr(97 + n % 26) * 5} ?") for n in range(50)]
    for _ in range(2):
        together = await asyncio.gather(*(answer(engine, chat, client=str(n)) for n, chat in enumerate(chats)))
        for chat, (text, usage) in zip(chats, together, strict=True):
            assert judge.approves(engine, chat, text)
            chat += [{"role": "assistant", "content": text}, {"role": "user", "content": "Pourquoi ?"}]
            assert usage.completion_tokens == 24
    judge.model.close()


def test_the_judge_sees_a_foreign_word(tiny_gguf: Path) -> None:
    """The check above can fail: an answer to another chat's prompt is not approved."""
    judge = Judge(tiny_gguf)
    ids = judge.model.encode("Le mot est le mien, aaaaa ?"), judge.model.encode("Le mot est le tien, bbbbb ?")
    first, second = (judge.model.log_probs(part)[-1] for part in ids)
    assert np.abs(first - second).max() > 20 * Judge.NEAR
    judge.model.close()


async def test_one_system_prompt_is_read_once_for_all_who_come_at_once(open_engine: Open) -> None:
    engine = open_engine()
    length = engine.count_tokens(ask(""))
    usages = await asyncio.gather(*(answer(engine, ask(f"{n} ?"), client=str(n)) for n in range(8)))
    assert all(usage.cached_tokens >= length - 2 for _, usage in usages)
    assert engine.stats.rows < length + 8 * (24 + 10)


async def test_an_edited_and_a_regenerated_turn_read_only_what_is_new(open_engine: Open) -> None:
    engine = open_engine()
    first, _ = await answer(engine, ask("Libre ?"))
    chat = ask("Libre ?", first, "Et la loi de la raison ?")
    said, usage = await answer(engine, chat)
    again, repeated = await answer(engine, chat)
    assert again == said
    assert repeated.cached_tokens == repeated.prompt_tokens - 1
    _, edited = await answer(engine, ask("Libre ?", first, "Et la loi de la joie ?"))
    assert edited.prompt_tokens - edited.cached_tokens < 12
    _, third = await answer(engine, [*chat, *ask("", said, "Oui ?")[2:]])
    assert third.cached_tokens > usage.prompt_tokens  # the first telling of the chat still rests there


async def test_who_was_left_out_of_a_step_has_waited_for_it(open_engine: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_engine(n_ctx=2048)
    engine.costs = StepCosts((1, 2, 8), (0.01, 0.02, 1.0), 4)  # two at a time are cheapest: answers take turns
    waits: list[float] = []

    def seen(*given: Any) -> int:
        if given[2]:  # a prompt is read
            waits.append(given[-1])
        return prompt_rows(*given)

    monkeypatch.setattr("engines.llama_cpp.prompt_rows", seen)
    long_one = replace(LIKELIEST, max_tokens=300)
    running = [asyncio.create_task(answer(engine, ask(f"{n} ?"), long_one)) for n in range(6)]
    while engine.stats.active < 6 or engine.stats.steps < 60:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    waits.clear()
    await answer(engine, ask("Et la loi ?"))
    await asyncio.gather(*running)
    assert max(waits) > 0


# Leaving


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
async def test_leaving_frees_the_cells_at_the_next_step(open_engine: Open, share: float) -> None:
    engine = open_engine(n_ctx=2048)
    await engine.warm(KANT)
    before = engine._residents.n_available()
    budget = 400
    async with aclosing(engine.stream(ask("Libre ?"), replace(LIKELIEST, max_tokens=budget))) as events:
        count = 0
        async for event in events:
            count += isinstance(event, Token)
            if count >= share * budget:
                break
    steps = engine.stats.steps
    while engine.stats.active:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    assert engine.stats.steps - steps <= 2, "the one under way, and the one that lets it go"
    assert not engine._residents.active
    assert engine._residents.n_available() == before
    await answer(engine, ask("Loi ?"), replace(LIKELIEST, max_tokens=2))


async def test_leaving_while_others_go_on(open_engine: Open) -> None:
    engine = open_engine()
    chats = [ask(f"Question {n} ?") for n in range(12)]
    expected = [(await answer(engine, chat))[0] for chat in chats]
    tasks = [asyncio.create_task(answer(engine, chat, client=str(n))) for n, chat in enumerate(chats)]
    await asyncio.sleep(0.01)
    for task in tasks[::3]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for number, result in enumerate(results):
        if number % 3 == 0 and isinstance(result, BaseException):
            assert isinstance(result, asyncio.CancelledError)
        else:
            assert not isinstance(result, BaseException)
            assert result[0] == expected[number]


async def test_a_deadline_while_a_long_prompt_is_read(open_engine: Open) -> None:
    engine = open_engine(n_ctx=8192, n_cells=20_000)
    long_prompt = ask("La joie est la cause. " * 330)
    with pytest.raises(EngineTimeout):
        async for _ in engine.stream(long_prompt, LIKELIEST, deadline_s=0.002):
            pass
    assert (await answer(engine, ask("Libre ?")))[0]


# Room


async def test_chats_make_room_and_come_back_without_reading_again(open_engine: Open, tiny_gguf: Path) -> None:
    """More chats than the cache holds: they go to host memory by turns, and go on as if they had not."""
    small, judge = open_engine(n_ctx=512, n_cells=0), Judge(tiny_gguf)
    assert small._residents.cells.n_cells < 4000
    length = small.count_tokens(ask(""))
    long_question = "Pourquoi la raison est-elle une loi ? " * 6
    talks = [ask(f"{n} : {long_question}") for n in range(24)]
    for _ in range(2):
        for talk in talks:
            here, usage = await answer(small, talk)
            assert judge.approves(small, talk, here)
            if len(talk) > 2:  # the second turn: only the new question was read
                assert usage.cached_tokens > length + 60
                assert usage.prompt_tokens - usage.cached_tokens < 20
            talk += [{"role": "assistant", "content": here}, {"role": "user", "content": "Et la joie ?"}]
    assert small._residents._parked
    judge.model.close()


async def test_without_host_memory_they_read_again(open_engine: Open) -> None:
    engine = open_engine(n_ctx=512, n_cells=0)
    engine._residents._park_bytes = 0
    talks = [ask(f"{n} : " + "Pourquoi la raison est-elle une loi ? " * 6) for n in range(24)]
    for talk in talks:
        await answer(engine, talk)
    text, usage = await answer(engine, talks[0])
    assert text
    assert usage.cached_tokens < usage.prompt_tokens - 60
    assert not engine._residents._parked


async def test_host_memory_has_a_limit(open_engine: Open) -> None:
    engine = open_engine(n_ctx=512, n_cells=0)
    engine._residents._park_bytes = limit = 300_000
    for n in range(24):
        await answer(engine, ask(f"{n} : " + "Pourquoi la raison est-elle une loi ? " * 6))
    assert 0 < engine._residents.parked_bytes <= limit


async def test_a_system_prompt_that_was_read_anew_is_held_once(open_engine: Open) -> None:
    """A chat from before holds the old cells; going on in them would take more than its turn was promised."""
    engine = open_engine()
    said, _ = await answer(engine, ask("Libre ?"))
    residents, ids = engine._residents, tuple(engine._format.prefix(KANT))
    residents.cells.close(residents.prefixes.pop(ids).sequence)  # made room, as for a ninth system prompt
    (chat,) = residents._idle
    await engine.warm(KANT)
    again = residents.prefixes[ids].sequence
    assert again.cells[0] != chat.cells[0]
    prompt = engine._format.render([*ask("Libre ?", said, "Et la loi ?")])
    found = residents._longest(list(prompt.ids), prompt.n_shared)
    assert found is again


async def test_more_than_fits_at_once_waits_and_is_served(open_engine: Open) -> None:
    engine = open_engine(n_ctx=1024, n_cells=0, queue_size=64)
    long_ones = [ask(f"{n} " + "La raison est une loi. " * 60) for n in range(12)]
    for text, usage in await asyncio.gather(*(answer(engine, chat) for chat in long_ones)):
        assert text
        assert usage.completion_tokens == 24


async def test_a_system_prompt_read_in_part_counts_for_that_part(open_engine: Open) -> None:
    engine = open_engine()
    ids = tuple(engine._format.prefix(KANT))
    assert engine._residents.prefix(ids)  # of one who left at once
    left = engine._residents.cells.n_cells - len(ids)
    for count in (left, left + 1):
        params = replace(LIKELIEST, max_tokens=count)
        job = Job(Prompt(ids, len(ids)), params, None, asyncio.get_running_loop())
        assert engine._fits(job) == (count == left)


async def test_a_sliding_window_through_edits_eviction_and_restarts(
    open_engine: Open, gemma_gguf: Path, tmp_path: Path
) -> None:
    """Whatever was shared, cut, moved or restored: the likeliest words, as on a fresh context."""
    judge = Judge(gemma_gguf)
    for _ in range(2):  # the second time with the system prompt out of its file
        engine = open_engine(gemma_gguf, n_ctx=512, n_cells=0, cache_dir=tmp_path)
        await engine.warm(KANT)
        talks = [ask(f"{n} : " + "Pourquoi la raison est-elle une loi ? " * 4) for n in range(28)]
        for turn in range(2):
            for talk in talks:
                said, usage = await answer(engine, talk)
                assert judge.approves(engine, talk, said)
                if turn:
                    assert usage.prompt_tokens - usage.cached_tokens < 30
                edited: list[ChatMessage] = [*talk[:-1], {"role": "user", "content": talk[-1]["content"][:-30] + " ?"}]
                assert judge.approves(engine, edited, (await answer(engine, edited))[0])
                talk += [{"role": "assistant", "content": said}, {"role": "user", "content": "Et la joie ?"}]
        assert engine._residents._parked
        engine.close()
    judge.model.close()


# System prompts on disk


async def test_a_system_prompt_survives_a_restart(
    open_engine: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first = open_engine(cache_dir=tmp_path)
    await first.warm(KANT)
    said, _ = await answer(first, ask("Libre ?"))
    first.close()
    (file,) = (tmp_path / "prefixes").iterdir()
    second = open_engine(cache_dir=tmp_path)
    await second.warm(KANT)
    assert second.stats.rows == 0
    assert "was restored in" in caplog.text
    again, usage = await answer(second, ask("Libre ?"))
    assert again == said
    assert usage.cached_tokens >= second.count_tokens(ask("")) - 2
    second.close()
    file.write_bytes(file.read_bytes()[:-100])  # torn
    third = open_engine(cache_dir=tmp_path)
    await third.warm(KANT)
    assert third.stats.rows > 0
    assert (await answer(third, ask("Libre ?")))[0] == said
    third.close()
    assert file.stat().st_size > 0  # made again


async def test_a_system_prompt_is_saved_though_who_asked_has_left(open_engine: Open, tmp_path: Path) -> None:
    engine = open_engine(cache_dir=tmp_path)
    ids = tuple(engine._format.prefix(KANT))
    prefix = engine._residents.prefix(ids)  # no request waits for it: the worker is at rest
    assert prefix is not None
    engine._model.read(ids, 0, prefix.sequence.id)
    engine._residents.make_room(len(ids))
    engine._residents.cells.extend(prefix.sequence, ids)
    await answer(engine, ask("Libre ?"))
    engine.close()
    assert list((tmp_path / "prefixes").glob("*.prefix"))


async def test_where_llama_finds_no_cells_a_resting_chat_makes_room(
    open_engine: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """Cells that our count knows nothing of: the step is tried again, nobody loses his answer."""
    engine = open_engine(n_ctx=512, n_cells=1024)
    for number in range(3):
        await answer(engine, ask(f"Question {number} " + "loi " * 60))
    assert engine.stats.resting == 3
    cells, position = engine._residents.cells, 0
    while (left := cells.n_free - position - 20) > 0:
        engine._model.read([5] * min(250, left), position, engine._residents._scratch)
        position += min(250, left)
    said, _ = await answer(engine, ask("Libre ? " + "raison " * 120))
    assert said
    assert "a chat that rests made room" in caplog.text
    assert engine.stats.failures == 0


async def test_a_state_of_other_shapes_under_the_right_name_is_read_anew(
    open_engine: Open, tmp_path: Path, gemma_gguf: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = open_engine(cache_dir=tmp_path)
    other = LlamaModel(gemma_gguf, threads=1, n_cells=512, n_seq=2, repack=False)
    ids = tuple(engine._format.prefix(KANT))
    other.read([5] * len(ids), 0, 0)
    assert engine._residents._files is not None
    engine._residents._files.save(ids, other.state(0))
    other.close()
    await engine.warm(KANT)
    assert "does not fit; it is read anew" in caplog.text
    assert (await answer(engine, ask("Libre ?")))[0]


# JSON


SCHEMA = {
    "type": "object",
    "properties": {"libre": {"type": "boolean"}, "notions": {"type": "array", "items": {"enum": ["loi", "joie"]}}},
    "required": ["libre", "notions"],
}


async def test_an_answer_in_json_beside_answers_in_prose(open_engine: Open) -> None:
    engine = open_engine()
    params = SamplingParams(temperature=0.5, seed=1, max_tokens=300, json_schema=json.dumps(SCHEMA), stop=("joie",))
    results = await asyncio.gather(
        answer(engine, ask("Libre ?"), params), answer(engine, ask("Et la loi ?")), answer(engine, ask("Loi ?"), params)
    )
    for text in (results[0][0], results[2][0]):
        found = json.loads(text)
        assert isinstance(found["libre"], bool)
        assert set(found["notions"]) <= {"loi", "joie"}
    assert results[1][0] == (await answer(engine, ask("Et la loi ?")))[0]


AGAIN = {"$ref": "#/$defs/a"}
REFUSED: list[Any] = [
    [], 1, {"type": "zorglub"}, {"$ref": "#/zorglub"}, {"$ref": "#"}, {"enum": [f"mot {n}" for n in range(500)]},
    {"$defs": {"a": {"items": {"anyOf": [AGAIN, AGAIN]}}}, **AGAIN}, {"items": {}, "maxItems": 10**7}, {"minItems": -1},
    {"type": "string", "minLength": 10**7}, {"enum": [], "title": "zorglub"},
    {"type": "object", "properties": {"a": {"enum": {}}}}, {"type": "object", "properties": {"a": {"anyOf": {}}}},
    *({"pattern": f"^zorglub{odd}$"} for odd in (r"\d", "\ud800", "{9999999}", "(a?){90}", "a*b*c*", "a" * 200)),
]  # fmt: skip


async def test_a_schema_that_cannot_be_used_is_refused(
    open_engine: Open, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    engine = open_engine()
    for schema in ("{", *map(json.dumps, REFUSED)):
        tracemalloc.start()
        with pytest.raises(EngineError, match="JSON Schema") as caught:
            await answer(engine, ask("Libre ?"), replace(LIKELIEST, json_schema=schema))
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
        tracemalloc.stop()
        assert caught.value.code == "bad_schema"
        assert "zorglub" not in f"{caught.value} {caplog.text} {capfd.readouterr()}"
    assert (await answer(engine, ask("Libre ?")))[0]


async def dead_ends(gguf: str) -> None:
    engine = LlamaCppEngine(gguf, threads=1, kernels="tiled")
    for schema, text in (
        ({"pattern": "^[b-a]$"}, None),
        ({"$defs": {"zzz": {"enum": []}}, "$ref": "#/$defs/zzz"}, None),
        ({"$defs": {"zzz": {"pattern": "^a{2}[é-é]$"}}, "$ref": "#/$defs/zzz"}, "aaé"),
        ({"const": '"é" \\ 😀\n'}, '"é" \\ 😀\n'),
    ):
        for temperature in (0.0, 2e-38, 0.7):
            params = SamplingParams(temperature, top_p=1.0, json_schema=json.dumps(schema))
            try:
                assert json.loads((await answer(engine, ask("Libre ?"), params))[0]) == text
            except EngineError:
                assert text is None
    engine.close()


def test_no_grammar_ends_the_process(tiny_gguf: Path) -> None:
    code = "import asyncio, sys, tests.engines.test_batching as t; asyncio.run(t.dead_ends(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, tiny_gguf], check=True)


# Faults


class FaultyEngine(LlamaCppEngine):
    """Gives the model a token that it does not have when asked about faults."""

    def _render(self, messages: Sequence[ChatMessage], max_tokens: int) -> Prompt:
        prompt = super()._render(messages, max_tokens)
        if "panne" in messages[-1]["content"]:
            return Prompt((*prompt.ids, 10**6), prompt.n_shared)
        return prompt


async def test_a_failed_step_is_told_to_all_and_the_context_is_made_anew(open_engine: Open, tmp_path: Path) -> None:
    engine = open_engine(kind=FaultyEngine, cache_dir=tmp_path, n_ctx=4096)
    await engine.warm(KANT)
    before, _ = await answer(engine, ask("Libre ?"))
    rows = engine.stats.rows
    long_one = replace(LIKELIEST, max_tokens=2000)
    running = [asyncio.create_task(answer(engine, ask(f"{n} ?"), long_one)) for n in range(3)]
    await asyncio.sleep(0.05)
    with pytest.raises(EngineError, match="begin"):  # and costs nobody else
        await answer(engine, ask("Loi ?"), replace(DRAWN, top_k=0.5))  # type: ignore[arg-type]
    results = await asyncio.gather(answer(engine, ask("Une panne ?")), *running, return_exceptions=True)
    assert all(isinstance(result, EngineError) and result.code == "engine_failed" for result in results)
    assert (engine.stats.failures, engine.failure) == (1, None)
    assert engine._residents.prefixes  # out of its file
    rows = engine.stats.rows
    after, usage = await answer(engine, ask("Libre ?"))
    assert after == before
    assert engine.stats.rows - rows < 24 + 12
    assert usage.cached_tokens > 0


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_whatever_happens_every_request_ends_exactly_once(open_engine: Open, tmp_path: Path, seed: int) -> None:
    """Whole answers, closed tabs, deadlines, a full line and failed steps, in any order."""
    engine = open_engine(kind=FaultyEngine, cache_dir=tmp_path, queue_size=12, max_active=4)
    chance = random.Random(seed)  # noqa: S311 - nothing secret

    async def one(number: int, how: str) -> list[str]:
        await asyncio.sleep(chance.uniform(0, 0.3))
        ends: list[str] = []
        text = "Une panne ?" if how == "fails" else f"Question {number} ?"
        deadline = chance.uniform(0.001, 0.1) if how == "late" else None
        params = replace(DRAWN, max_tokens=chance.randint(1, 60))
        stream = engine.stream(ask(text), params, client=str(number % 5), deadline_s=deadline)
        try:
            async with aclosing(stream) as events:
                async for event in events:
                    ends += ["finished"] * isinstance(event, Finished)
                    if how == "leaves" and isinstance(event, Token):
                        return [*ends, "left"]
        except EngineError as error:
            ends.append(error.code)
        return ends

    kinds = chance.choices(["whole", "leaves", "late", "fails"], [6, 3, 3, 1], k=60)
    ends = await asyncio.gather(*(one(number, how) for number, how in enumerate(kinds)))
    assert [len(each) for each in ends] == [1] * 60
    said = {each[0] for each in ends}
    assert {"finished", "left", "engine_failed"} <= said <= {
        "finished", "left", "engine_failed", "engine_busy", "engine_timeout",
    }  # fmt: skip
    while engine.stats.active:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    known = engine._residents
    held = [*known._idle, *(prefix.sequence for prefix in known.prefixes.values())]
    assert (engine.stats.waiting, known.active) == (0, set())
    assert known.cells.n_free == known.cells.n_cells - known.cells.n_held(held)
    assert all(prefix.wanted == 0 for prefix in known.prefixes.values())


async def test_an_engine_that_cannot_start_anew_tells_all(open_engine: Open) -> None:
    engine = open_engine(kind=FaultyEngine)
    await engine.warm(KANT)
    engine._residents._files = PrefixFiles(Path("\0"), "")  # no file has such a name
    calls = (answer(engine, ask(text)) for text in ("Libre ?", "Une panne ?"))
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, EngineError) for result in results)
    assert "null byte" in str(engine.failure)


async def test_an_engine_that_fails_again_and_again_says_so(open_engine: Open) -> None:
    engine = open_engine(kind=FaultyEngine)
    for _ in range(MAX_FAILURES):
        assert engine.failure is None
        with pytest.raises(EngineError):
            await answer(engine, ask("Une panne ?")[1:])  # without a system prompt no step succeeds in between
    assert engine.failure is not None
    assert "in a row" in engine.failure
    with pytest.raises(EngineError):
        await answer(engine, ask("Libre ?"))


# For a long time


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def resident_mb() -> float:
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def test_a_thousand_short_chats_leave_nothing_behind(open_engine: Open) -> None:
    engine = open_engine(n_cells=4000)
    params = replace(DRAWN, max_tokens=4)

    async def some(first: int, count: int) -> None:
        for start in range(first, first + count, 20):
            chats = [ask(f"{n} : {'la joie ' * (n % 7)} ?") for n in range(start, start + 20)]
            await asyncio.gather(*(answer(engine, chat, params, client=str(n)) for n, chat in enumerate(chats)))

    await some(0, 300)  # caches are full from here on
    gc.collect()
    memory, threads, files = resident_mb(), threading.active_count(), open_files()
    await some(300, 1000)
    gc.collect()
    assert resident_mb() - memory < 8
    assert threading.active_count() == threads
    assert open_files() == files
    residents = engine._residents
    held = residents.cells.n_held([*residents._idle, *(prefix.sequence for prefix in residents.prefixes.values())])
    assert residents.cells.n_free == residents.cells.n_cells - held
    assert not residents.active
