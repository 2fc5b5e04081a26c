"""The pupils: what they ask is exact, what they waited is told, whatever the server does."""

import asyncio
import time

import pytest

from benchmarks.load import (
    ANSWER_TOKENS,
    PERSONA_TOKENS,
    QUESTION_TOKENS,
    Answered,
    Counter,
    body_of,
    exactly,
    make_workload,
    measure,
    new_client,
    persona_texts,
    read_answer,
    run_pupils,
    summary,
    warm,
)
from errors import EngineError
from tests.benchmarks.conftest import Running, free_port


def test_personas_and_questions_have_the_lengths_promised(count: Counter) -> None:
    workload = make_workload(count, 8)
    assert [count(text) for text in workload.personas] == list(PERSONA_TOKENS)
    asks = [ask for pupil in workload.pupils for ask in pupil]
    assert all(QUESTION_TOKENS[0] <= count(ask.text) <= QUESTION_TOKENS[1] for ask in asks)
    assert {ask.max_tokens for ask in asks} == set(ANSWER_TOKENS)
    assert [number for number, ask in enumerate(asks) if ask.closes] == [7, 15, 23]


def test_a_seed_gives_the_same_questions_and_the_personas_never_change(count: Counter) -> None:
    first, again, other = (
        make_workload(count, 2, seed=4),
        make_workload(count, 2, seed=4),
        make_workload(count, 2, seed=5),
    )
    assert first == again
    assert first.pupils != other.pupils
    assert first.personas == other.personas == persona_texts(count)


def test_too_few_words_are_no_long_text(count: Counter) -> None:
    with pytest.raises(EngineError, match="No text of"):
        exactly(["bonjour"] * 3, 50, count)


def test_a_summary_counts_what_came() -> None:
    first = Answered(
        0, 0, sent=10.0, first=11.0, end=15.0, tokens=9, prompt_tokens=100, cached_tokens=90, gaps=[0.5] * 8
    )
    closed = Answered(1, 0, sent=10.0, first=13.0, end=14.0, tokens=3, closed=True, gaps=[0.5, 0.1])
    refused = Answered(1, 1, sent=14.0, end=14.1, error="429: busy")
    found = summary([first, closed, refused], cut=False)
    assert found["seconds"] == 5.0
    assert found["tokens_per_s"] == pytest.approx(12 / 5)
    assert found["decode_tokens_per_s"] == pytest.approx(8 / 4)
    assert (found["answers"], found["closed"], found["n_errors"], found["errors"]) == (1, 1, 1, ["429: busy"])
    assert found["ttft_s"] == {"p50": 2.0, "p95": None, "max": 3.0}  # of two there is no 95th of a hundred
    assert found["gap_s"]["max"] == 0.5
    assert (found["prompt_tokens"], found["cached_tokens"], found["new_tokens_first_turn"]) == (100, 90, [10])
    assert summary([], cut=True)["tokens_per_s"] == 0.0


def test_what_the_time_limit_cut_is_no_whole_answer_and_no_error() -> None:
    whole = Answered(0, 0, sent=0.0, first=1.0, end=5.0, tokens=9, gaps=[0.5] * 8)
    cut = Answered(1, 0, sent=0.0, first=1.0, end=9.0, tokens=3, cut=True, gaps=[4.0] * 2)
    waiting = Answered(2, 0, sent=2.0, end=9.0, cut=True)
    found = summary([whole, cut, waiting], cut=True)
    assert (found["answers"], found["cut"], found["waiting"], found["n_errors"]) == (1, 2, 1, 0)
    assert found["decode_tokens_per_s"] == pytest.approx(8 / 4)
    assert found["tokens_per_s"] == pytest.approx(12 / 9, abs=1e-3)
    assert len(found["ttft_s"]) == 3
    late = [Answered(0, 0, sent=0.0, first=float(n), end=50.0, tokens=2) for n in range(1, 21)]
    assert summary(late, cut=False)["ttft_s"]["p95"] == 19.05


async def test_four_pupils_talk_with_our_server(our_server: Running, count: Counter) -> None:
    """Every answer comes, personas and history come from the cache, and a closed tab is no error."""
    workload = make_workload(count, 4, turns=2)
    await warm(our_server.url, workload, ours=True)
    found = await measure(our_server.url, workload, our_server.pid, ours=True, limit_s=120)
    assert found["errors"] == []
    assert (found["answers"], found["closed"], found["cut_by_limit"]) == (7, 1, False)
    asked = [ask.max_tokens for pupil in workload.pupils for ask in pupil]
    assert sum(asked) - max(asked) < found["tokens"] <= sum(asked)
    # The server says what was cached at the end of an answer: not to the one who left.
    assert found["cached_tokens"] > 0.8 * found["prompt_tokens"]
    assert found["rss_peak_gb"] > 0.05
    assert found["cpu_s"] > 0
    assert len(found["requests"]) == 8
    assert all(row["first"] is not None and row["end"] >= row["first"] >= row["sent"] >= 0 for row in found["requests"])


async def test_a_time_limit_cuts_and_keeps_what_came(our_server: Running, count: Counter) -> None:
    began = time.monotonic()
    done, cut = await run_pupils(our_server.url, make_workload(count, 4, turns=50), ours=True, limit_s=1.5)
    assert cut
    assert time.monotonic() - began < 10
    assert sum(answered.tokens for answered in done) > 0
    found, counted = summary(done, cut=cut), [one for one in done if one.prompt_tokens is not None]
    assert found["cut"] == 4  # one of each pupil
    assert found["answers"] == len(counted)  # the server tells its count with the last event
    assert all(one.end is not None for one in done)


async def test_a_refusal_is_an_error_of_its_answer(our_server: Running, count: Counter) -> None:
    workload = make_workload(count, 1)
    body = body_of([{"role": "user", "content": "Qui ?"}], 0, workload, workload.pupils[0][0], ours=True)
    answered = Answered(0, 0, time.monotonic())
    async with new_client() as client:
        await read_answer(client, our_server.url, body | {"persona": "nobody"}, answered, closes=False)
    assert answered.error
    assert answered.error.startswith("404")
    assert answered.end is not None
    with pytest.raises(EngineError, match="refused persona 0: 404"):
        await warm(our_server.url, workload, ours=False)  # which knows only its own personas


async def test_a_server_that_is_not_there_is_an_error_of_every_answer(count: Counter) -> None:
    done, cut = await run_pupils(
        f"http://127.0.0.1:{free_port()}", make_workload(count, 2, turns=2), ours=False, limit_s=9
    )
    assert not cut
    assert [bool(answered.error and "ConnectError" in answered.error) for answered in done] == [True] * 4


async def test_an_error_in_mid_stream_and_a_broken_one_are_told(count: Counter) -> None:
    """A small real server: the first request ends with an error event, the second breaks off in the middle."""
    chunks = [b'data: {"choices": [{"delta": {"content": "Par"}}], "timings": {"cache_n": 7}}\n\n']
    bodies = [[*chunks, b'data: {"error": {"message": "lost"}}\n\n'], chunks]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = bodies.pop(0)
        length = sum(map(len, body)) if bodies else 10_000
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % length)
        writer.write(b"".join(body))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    workload = make_workload(count, 1, turns=2)
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        done, _ = await run_pupils(f"http://127.0.0.1:{port}", workload, ours=False, limit_s=20)
    assert [answered.text for answered in done] == ["Par", "Par"]
    assert done[0].error
    assert "lost" in done[0].error
    assert done[0].cached_tokens == 7
    assert done[1].error
    assert "RemoteProtocolError" in done[1].error
