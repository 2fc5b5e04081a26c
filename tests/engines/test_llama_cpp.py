"""The llama.cpp engine on a real two-layer model: queue, deadlines, stop texts, caches, faults."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from engines.base import ChatMessage, EngineEvent, Finished, Queued, SamplingParams, Token, Usage
from engines.llama_cpp import PREFIX_CELLS, LlamaCppEngine
from engines.llama_model import N_BATCH, LlamaModel, Sampler, free_cpus, granted_cpus
from engines.prompt import Prompt
from engines.residents import N_PREFIXES
from engines.text import sentence_end
from errors import EngineBusy, EngineError, EngineTimeout, ModelUnfit

SHORT = SamplingParams(max_tokens=40, seed=3, end_at_sentence=False)
# How many rows are read in one step changes the last bits of a sum, and so now and then a drawn token.
LIKELIEST = replace(SHORT, temperature=0.0, max_tokens=20)
ENDLESS = replace(SHORT, max_tokens=7000)
KANT = "Tu es Kant. Tu parles de la loi et de la raison, sans peur."
SPINOZA = "Tu es Spinoza. Tu parles de la joie et des causes, sans peur."


def ask(*texts: str, system: str | None = KANT) -> list[ChatMessage]:
    messages: list[ChatMessage] = [] if system is None else [{"role": "system", "content": system}]
    for number, text in enumerate(texts):
        messages.append({"role": "assistant" if number % 2 else "user", "content": text})
    return messages


async def answer(
    engine: LlamaCppEngine, messages: Sequence[ChatMessage], params: SamplingParams = SHORT
) -> tuple[str, Finished]:
    async with aclosing(engine.stream(messages, params)) as events:
        seen = [event async for event in events]
    assert isinstance(seen[-1], Finished)
    return "".join(event.text for event in seen if isinstance(event, Token)), seen[-1]


async def usage_of(engine: LlamaCppEngine, messages: Sequence[ChatMessage]) -> Usage:
    return (await answer(engine, messages))[1].usage


async def until(stream: AsyncGenerator[EngineEvent, None], kind: type[EngineEvent]) -> EngineEvent:
    async for event in stream:
        if isinstance(event, kind):
            return event
    raise AssertionError(f"no {kind}")


@pytest.fixture
def engine(tiny_engine: LlamaCppEngine) -> LlamaCppEngine:
    return tiny_engine


@pytest.fixture
def wide(tiny_gguf: Path) -> Iterator[LlamaCppEngine]:
    """Room for answers that last for seconds, one at a time, and two who may wait."""
    engine = LlamaCppEngine(tiny_gguf, threads=1, n_ctx=8192, max_active=1, queue_size=2, kernels="tiled")
    yield engine
    engine.close()


# Sampling


async def test_a_seed_gives_the_same_text_again_and_another_one_another(engine: LlamaCppEngine) -> None:
    await answer(engine, ask("Libre ?"))  # from here on the same rows are read: sums are the same to the last bit
    first, _ = await answer(engine, ask("Libre ?"))
    assert (await answer(engine, ask("Libre ?")))[0] == first
    assert (await answer(engine, ask("Libre ?"), replace(SHORT, seed=4)))[0] != first


async def test_without_a_seed_two_answers_differ(engine: LlamaCppEngine) -> None:
    params = replace(SHORT, seed=None, temperature=1.5)
    assert (await answer(engine, ask("Libre ?"), params))[0] != (await answer(engine, ask("Libre ?"), params))[0]


async def test_temperature_zero_needs_no_seed(engine: LlamaCppEngine) -> None:
    zero, tiny = (replace(SHORT, seed=None, temperature=temperature) for temperature in (0.0, 2e-38))
    assert (await answer(engine, ask("Libre ?"), zero))[0] == (await answer(engine, ask("Libre ?"), tiny))[0]


async def test_a_penalty_avoids_repetition(engine: LlamaCppEngine) -> None:
    def longest_share(text: str) -> float:
        words = text.split()
        return max(map(words.count, words)) / len(words)

    plain, _ = await answer(engine, ask("Libre ?"), replace(SHORT, temperature=0.0, repeat_penalty=1.0))
    penalised, _ = await answer(engine, ask("Libre ?"), replace(SHORT, temperature=0.0, repeat_penalty=2.0))
    assert longest_share(penalised) < longest_share(plain)


# Ends


async def test_max_tokens_end_an_answer(engine: LlamaCppEngine) -> None:
    _, end = await answer(engine, ask("Libre ?"))
    assert (end.reason, end.usage.completion_tokens) == ("length", 40)
    assert 0 < end.usage.first_token_s <= end.usage.total_s


async def test_one_token_is_enough(engine: LlamaCppEngine) -> None:
    text, end = await answer(engine, ask("Libre ?"), SamplingParams(max_tokens=1, seed=1))
    assert text
    assert end.usage.completion_tokens == 1


async def test_the_model_ends_its_answer_itself(make_gguf: Callable[..., Path]) -> None:
    engine = LlamaCppEngine(make_gguf("ends.gguf", eos_bias=2.0), threads=1, n_ctx=1024)
    for seed in range(8):
        text, end = await answer(engine, ask("Libre ?"), replace(SHORT, max_tokens=400, seed=seed))
        assert text  # the end of an answer is never its first token
        assert end.reason == "stop"
    engine.close()


async def test_stop_texts_end_the_answer_and_are_never_shown(engine: LlamaCppEngine) -> None:
    whole, _ = await answer(engine, ask("Libre ?"))
    stop = whole[11:16]
    text, end = await answer(engine, ask("Libre ?"), replace(SHORT, stop=(stop, "jamais")))
    assert end.reason == "stop"
    assert text == whole[: whole.index(stop)].rstrip()


async def test_the_answer_never_opens_the_pupils_turn(make_gguf: Callable[..., Path]) -> None:
    """Where `[INST]` is plain text the model may write it; it ends the answer."""
    engine = LlamaCppEngine(make_gguf("v1-engine.gguf", inst_is_control=False), threads=1, n_ctx=1024)
    text, _ = await answer(engine, ask("Libre ?"))
    assert text
    assert "[INST]" not in text
    engine.close()


async def test_a_cut_answer_ends_at_a_sentence(engine: LlamaCppEngine) -> None:
    ended = 0
    for seed in range(12):
        params = SamplingParams(max_tokens=48, seed=seed, temperature=1.2)
        text, end = await answer(engine, ask("Libre ?"), params)
        assert end.reason == "length"
        ended += sentence_end(text) == len(text)
    assert ended >= 9  # the others have a sentence longer than the tail


# Caches


async def test_a_chat_reads_only_what_is_new(engine: LlamaCppEngine) -> None:
    first = await usage_of(engine, ask("Libre ?"))
    assert first.cached_tokens == engine.count_tokens(ask("", system=KANT)) - 1  # read once, into its own sequence
    text, _ = await answer(engine, ask("Libre ?"))
    later = await usage_of(engine, ask("Libre ?", text, "Et la joie ?"))
    new = engine.count_tokens(ask("Et la joie ?", system=None)) - len([1])  # less the <s> of a first turn
    assert later.prompt_tokens == first.prompt_tokens + 40 + len([2]) + new
    # The last sampled token was never read, as nothing followed it.
    assert later.cached_tokens == first.prompt_tokens + 39


async def test_warm_prompts_are_shared_with_every_chat(engine: LlamaCppEngine) -> None:
    await engine.warm(KANT)
    await engine.warm(SPINOZA)
    expected = engine.count_tokens(ask("", system=KANT)) - 1
    for question in ("Loi ?", "Joie ?"):
        assert (await usage_of(engine, ask("Libre ?", system=SPINOZA))).cached_tokens > 0
        assert (await usage_of(engine, ask(question, system=KANT))).cached_tokens == expected
    again = await usage_of(engine, ask("Joie ?", system=KANT))
    assert again.cached_tokens == again.prompt_tokens - 1  # another pupil's question is known too


async def test_caches_do_not_change_the_answer(tiny_gguf: Path) -> None:
    """The same chat on a fresh engine, on a warm one, after other chats, and after an edited question."""
    engine = LlamaCppEngine(tiny_gguf, threads=1, n_ctx=1024)
    chat = ask("Libre ?", "Peut-être.", "Et la joie ?")
    fresh, _ = await answer(engine, chat, LIKELIEST)
    await engine.warm(KANT)
    await engine.warm(SPINOZA)
    for other in (ask("La loi ?"), ask("La loi ?", system=SPINOZA), ask("Libre ?", "Peut-être.", "Et la loi ?")):
        await answer(engine, other)
        assert (await answer(engine, chat, LIKELIEST))[0] == fresh
    engine.close()


async def test_more_warm_prompts_than_places(engine: LlamaCppEngine) -> None:
    prompts = [f"Tu es le numéro {number}. " + "Tu parles de la joie. " * 20 for number in range(14)]
    for prompt in prompts:
        await engine.warm(prompt)
    last = await usage_of(engine, ask("Libre ?", system=prompts[-1]))
    assert last.cached_tokens > 200
    prompts_kept = engine._residents.prefixes
    assert len(prompts_kept) == N_PREFIXES
    kept = [any(tuple(engine._format.prefix(prompt)) == ids for ids in prompts_kept) for prompt in prompts]
    assert kept == [False] * (14 - N_PREFIXES) + [True] * N_PREFIXES  # the least recently used went
    assert (await usage_of(engine, ask("Libre ?", system=prompts[0]))).completion_tokens == 40


async def test_a_prompt_too_long_to_be_kept_still_works(tiny_gguf: Path) -> None:
    engine = LlamaCppEngine(tiny_gguf, threads=1, n_ctx=8192, n_cells=0, kernels="tiled")
    system = "La joie. " * 700
    assert engine.count_tokens(ask("Libre ?", system=system)) > PREFIX_CELLS
    await engine.warm(system)
    assert (await answer(engine, ask("Libre ?", system=system)))[0]
    engine.close()


# Too long


async def test_a_conversation_longer_than_the_context_is_refused(engine: LlamaCppEngine) -> None:
    for text in ("La joie. " * 300, "x" * 10_000_000):
        with pytest.raises(EngineError) as caught:
            await answer(engine, ask(text))
        assert caught.value.code == "conversation_too_long"
    with pytest.raises(EngineError) as caught:
        await engine.warm("La joie. " * 1000)
    assert caught.value.code == "conversation_too_long"
    fits = 1024 - engine.count_tokens(ask("Libre ?"))
    _, end = await answer(engine, ask("Libre ?"), replace(SHORT, max_tokens=fits))
    assert end.usage.prompt_tokens + end.usage.completion_tokens == 1024
    with pytest.raises(EngineError):
        await answer(engine, ask("Libre ?"), replace(SHORT, max_tokens=fits + 1))


def test_the_context_is_at_most_what_the_model_knows(make_gguf: Callable[..., Path]) -> None:
    engine = LlamaCppEngine(make_gguf("small.gguf", n_ctx=512), threads=1, n_ctx=4096)
    assert engine.info.n_ctx == 512
    engine.close()


# The queue


async def test_places_are_told_and_told_again_when_they_change(wide: LlamaCppEngine) -> None:
    await answer(wide, ask("Libre ?"))  # times an answer, so that there is an ETA
    streams = [wide.stream(ask(f"{n} ?"), ENDLESS) for n in range(3)]
    await until(streams[0], Token)
    one, two = await until(streams[1], Queued), await until(streams[2], Queued)
    assert isinstance(one, Queued)
    assert isinstance(two, Queued)
    assert (one.place, two.place) == (1, 2)
    assert one.eta_s is not None
    assert two.eta_s is not None
    assert two.eta_s > one.eta_s
    await streams[0].aclose()
    assert await until(streams[1], Token)
    moved = await until(streams[2], Queued)
    assert isinstance(moved, Queued)
    assert moved.place == 1
    await streams[1].aclose()
    assert await until(streams[2], Token)
    await streams[2].aclose()


async def test_a_full_queue_refuses_and_lives_on(wide: LlamaCppEngine) -> None:
    streams = [wide.stream(ask(f"{n} ?"), ENDLESS) for n in range(3)]
    await until(streams[0], Token)
    waiting = [asyncio.create_task(until(stream, Token)) for stream in streams[1:]]
    await asyncio.sleep(0.01)
    with pytest.raises(EngineBusy) as caught:
        await answer(wide, ask("Libre ?"))
    assert caught.value.retryable
    waiting[0].cancel()  # one who waits goes: its place is free
    await asyncio.wait(waiting[:1])
    late = asyncio.create_task(answer(wide, ask("Libre ?")))
    await asyncio.sleep(0.01)
    await streams[0].aclose()
    await waiting[1]
    await streams[2].aclose()
    assert (await late)[0]


async def test_no_queue_serves_one_after_the_other(tiny_gguf: Path) -> None:
    """The place is free as soon as the last event is there, not a moment later."""
    engine = LlamaCppEngine(tiny_gguf, threads=1, n_ctx=512, max_active=1, queue_size=0)
    for _ in range(20):
        await answer(engine, ask("Libre ?"), replace(SHORT, max_tokens=2))
    engine.close()


async def test_a_deadline_passes_in_the_queue(wide: LlamaCppEngine) -> None:
    first = wide.stream(ask("Libre ?"), ENDLESS)
    await until(first, Token)
    started = time.monotonic()
    with pytest.raises(EngineTimeout):
        async for _ in wide.stream(ask("Loi ?"), SHORT, deadline_s=0.1):
            pass
    assert time.monotonic() - started < 5.0  # not after the answer before it
    await first.aclose()
    assert (await answer(wide, ask("Loi ?")))[0]


async def test_a_deadline_passes_in_the_answer(wide: LlamaCppEngine) -> None:
    async with aclosing(wide.stream(ask("Libre ?"), ENDLESS, deadline_s=0.4)) as events:
        seen = [event async for event in events]
    assert isinstance(seen[-1], Finished)
    assert seen[-1].reason == "deadline"
    assert 0.3 < seen[-1].usage.total_s < 5.0
    assert any(isinstance(event, Token) for event in seen)


async def test_cancelling_while_the_prompt_is_read(wide: LlamaCppEngine) -> None:
    long_prompt = ask("La joie est la cause. " * 300)
    task = asyncio.create_task(answer(wide, long_prompt))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    after, _ = await answer(wide, ask("Libre ?"), LIKELIEST)
    assert (await answer(wide, ask("Libre ?"), LIKELIEST))[0] == after


async def test_many_at_once_each_get_their_own_answer(tiny_gguf: Path) -> None:
    engine = LlamaCppEngine(tiny_gguf, threads=1, n_ctx=1024, queue_size=16)
    chats = [ask(f"Question {number} ?") for number in range(12)]
    together = await asyncio.gather(*(answer(engine, chat, LIKELIEST) for chat in chats))
    for chat, (text, _) in zip(chats, together, strict=True):
        assert (await answer(engine, chat, LIKELIEST))[0] == text
    engine.close()


def test_two_event_loops_at_once(engine: LlamaCppEngine) -> None:
    texts: list[str] = []
    threads = [
        threading.Thread(target=lambda: texts.append(asyncio.run(answer(engine, ask("Libre ?")))[0])) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts) == 3
    assert all(texts)


def test_a_loop_that_ends_in_the_middle_does_not_stop_the_engine(wide: LlamaCppEngine) -> None:
    loop = asyncio.new_event_loop()
    stream = wide.stream(ask("Libre ?"), ENDLESS)
    loop.run_until_complete(until(stream, Token))
    loop.close()  # nobody closed the stream
    assert asyncio.run(answer(wide, ask("Loi ?")))[0]


# Faults


class FaultyEngine(LlamaCppEngine):
    """Gives the model a token that it does not have when asked about faults."""

    def _render(self, messages: Sequence[ChatMessage], max_tokens: int) -> Prompt:
        prompt = super()._render(messages, max_tokens)
        if "panne" in messages[-1]["content"]:
            return Prompt((*prompt.ids, 10**6), prompt.n_shared)
        return prompt


async def test_a_failed_step_is_told_and_the_engine_lives_on(tiny_gguf: Path) -> None:
    engine = FaultyEngine(tiny_gguf, threads=1, n_ctx=1024)
    await engine.warm(KANT)
    before, _ = await answer(engine, ask("Libre ?"), LIKELIEST)
    with pytest.raises(EngineError) as caught:
        await answer(engine, ask("Une panne ?"))
    assert caught.value.code == "engine_failed"
    after, end = await answer(engine, ask("Libre ?"), LIKELIEST)
    assert after == before
    assert end.usage.cached_tokens > 0  # its system prompt was read again and is shared
    engine.close()


def test_a_hybrid_model_is_refused(make_gguf: Callable[..., Path]) -> None:
    with pytest.raises(ModelUnfit, match="a state"):
        LlamaModel(make_gguf("jamba.gguf", arch="jamba"), threads=1, n_cells=256, n_seq=2)


def test_rows_that_would_end_the_process_are_refused(tiny_gguf: Path) -> None:
    model = LlamaModel(tiny_gguf, threads=1, n_cells=256, n_seq=2)
    for rows, position, sequence in (
        ([], 0, 0),
        ([1] * (N_BATCH + 1), 0, 0),
        ([-1], 0, 0),
        ([model.n_vocab], 0, 0),
        ([5], 0, 2),
        ([5], -1, 0),
    ):
        with pytest.raises(EngineError, match="out of range"):
            model.read(rows, position, sequence)
    model.read([5] * 200, 0, 0)
    with pytest.raises(EngineError, match="No free cells"):  # and what was there stays
        model.read([5] * 200, 200, 0)
    assert model.length(0) == 200
    with pytest.raises(EngineError, match="llama_decode returned"):  # a gap in the positions
        model.read([5], 230, 0)
    model.rows.clear()
    model.rows.add([5, 6], 200, 0, wanted=False)
    assert model.decode()
    with pytest.raises(EngineError, match="no logits"):
        model.logits(1)
    model.reopen()
    model.read([5], 0, 0)
    model.close()
    model.close()
    with pytest.raises(EngineError, match="closed"):
        model.encode("a")


def test_sequences_are_cut_shared_saved_and_restored(tiny_gguf: Path) -> None:
    model = LlamaModel(tiny_gguf, threads=1, n_cells=256, n_seq=2)
    sampler = Sampler(SamplingParams(temperature=0), 0, model)
    ids = model.encode("tu es libre sans cause")
    expected = model.sample(sampler, model.read(ids, 0, 0), speak=True)
    model.remove(0, 3)
    assert model.sample(sampler, model.read(ids[3:], 3, 0), speak=True) == expected
    model.remove(0, 3)
    model.copy(0, 1, 0, 3)
    assert model.sample(sampler, model.read(ids[3:], 3, 1), speak=True) == expected
    state = model.state(1)
    model.remove(1, -1)
    assert model.length(1) == 0
    assert model.restore(1, state)
    model.remove(1, 3)
    assert model.sample(sampler, model.read(ids[3:], 3, 1), speak=True) == expected
    assert not model.restore(1, state[: len(state) // 2])  # torn: refused, and nothing is left of it
    assert model.length(1) == 0
    sampler.close()
    model.close()


async def test_close_while_streams_wait(wide: LlamaCppEngine) -> None:
    first = wide.stream(ask("Libre ?"), ENDLESS)
    await until(first, Token)
    second = asyncio.create_task(answer(wide, ask("Loi ?")))
    await asyncio.sleep(0.01)
    wide.close()
    with pytest.raises(EngineError):
        await second
    with pytest.raises(EngineError):
        await until(first, Finished)
    for call in (wide.warm(KANT), answer(wide, ask("Libre ?"))):
        with pytest.raises(EngineError, match="closed"):
            await call
    with pytest.raises(EngineError, match="closed"):
        wide.count_tokens(ask("Libre ?"))


def test_closed_engines_leave_no_thread(tiny_gguf: Path) -> None:
    before = threading.active_count()
    for _ in range(5):
        LlamaCppEngine(tiny_gguf, threads=1, n_ctx=512).close()
    assert threading.active_count() == before


# Threads


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "99900000 100000\n"}, None),
    ],
)
def test_threads_follow_the_quota(tmp_path: Path, files: dict[str, str], expected: int | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert granted_cpus(tmp_path) == (expected or granted_cpus(tmp_path / "absent"))


@pytest.mark.parametrize(
    ("running", "free"),
    [("1/200", granted_cpus()), (f"{granted_cpus() + 1}/200", 1), ("99/200", 1), ("no number", 1)],
)
def test_only_processors_that_nobody_uses_are_free(tmp_path: Path, running: str, free: int) -> None:
    (tmp_path / "loadavg").write_text(f"0.10 0.20 0.30 {running} 4242\n", encoding="ascii")
    assert free_cpus(tmp_path / "loadavg", samples=3, pause_s=0) == free
    assert free_cpus(tmp_path / "absent") == 1
