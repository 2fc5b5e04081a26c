"""The line: clients in turn, each job ended exactly once, places and times that are true."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engines.base import Queued, SamplingParams
from engines.prompt import Prompt
from engines.waiting import Job, WaitingLine
from errors import ChatError, EngineBusy, EngineError, EngineTimeout

PROMPT = Prompt((1, 2, 3), 0)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def job(client: str = "", deadline: float | None = None) -> Job:
    return Job(PROMPT, SamplingParams(), deadline, asyncio.get_running_loop(), client)


async def told(one: Job) -> list[object]:
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return [one.events.get_nowait() for _ in range(one.events.qsize())]


async def places_told(one: Job) -> list[int]:
    return [event.place for event in await told(one) if isinstance(event, Queued)]


async def test_clients_take_turns() -> None:
    line = WaitingLine(10)
    greedy = [job("greedy") for _ in range(3)]
    for one in greedy:
        line.submit(one)
    others = [job("a"), job("b")]
    for one in others:
        line.submit(one)
    order = []
    while one := line.take(lambda _: True):  # type: ignore[assignment]
        order.append(one)
        line.done(1.0)
    assert order == [greedy[0], others[0], others[1], greedy[1], greedy[2]]


async def test_places_that_nobody_can_have_are_not_free() -> None:
    line = WaitingLine(10, places=3)
    line.submit(job())
    assert line.take(lambda _: True)
    line.done(9.0)
    long, behind, new = job("long"), job("behind"), job("new")
    for one in (long, behind):
        line.submit(one)
    assert line.take(lambda one: one is not long) is None
    line.submit(new)  # told the same as before: a place that goes up and down is believed by nobody
    assert [await places_told(one) for one in (long, behind, new)] == [[1], [2], [3]]
    assert line.eta_s == pytest.approx(4 * 9.0 / 3)
    assert line.take(lambda _: True) is long
    assert line.eta_s == pytest.approx(1 * 9.0 / 3)


async def test_a_newcomer_s_wait_is_counted_by_turns() -> None:
    """Who fills the line with requests lengthens their own wait, and nobody else's by more than one."""
    line = WaitingLine(30, places=2)
    for _ in range(2):
        line.submit(job("script"))
        assert line.take(lambda _: True)
    line.done(60.0)
    line.submit(job("script"))
    assert line.take(lambda _: True)
    now = asyncio.get_running_loop().time()
    for _ in range(16):
        line.submit(job("script"))
    assert line.eta_s == pytest.approx(2 * 60.0 / 2)
    with pytest.raises(EngineBusy, match="later than this request may wait"):
        line.submit(job("script", deadline=now + 100))
    pupil, neighbour = job("pupil", deadline=now + 100), job("neighbour")
    line.submit(neighbour)
    line.submit(pupil)
    assert await places_told(pupil) == [3]
    assert line._place_of("neighbour") == 2 + 3  # behind their own, two of the script's, and the pupil's
    assert line._place_of("script") == 1 + 16 + 2


async def test_the_wait_is_known_before_asking() -> None:
    line = WaitingLine(10, places=2)

    def wait() -> float | None:
        return line.eta_s

    assert wait() == 0
    for _ in range(2):
        line.submit(job())
        assert line.take(lambda _: True)
    assert wait() is None  # no answer has been timed
    line.done(8.0)
    assert wait() == 0
    line.submit(job())
    assert line.take(lambda _: True)
    assert wait() == pytest.approx(4.0)
    line.submit(job())
    assert line.eta_s == pytest.approx(8.0)


async def test_places_follow_the_turns() -> None:
    line = WaitingLine(10, places=1)
    first = job("x")
    line.submit(first)
    assert line.take(lambda _: True) is first
    waiting = [job("x"), job("x"), job("y")]
    for one in waiting:
        line.submit(one)
    assert [event.place for event in await told(waiting[1]) if isinstance(event, Queued)] == [2, 3]
    assert [event.place for event in await told(waiting[2]) if isinstance(event, Queued)] == [2]
    line.cancel(waiting[0])
    # x has had its turn no more than y: x was there first
    assert [event.place for event in await told(waiting[2]) if isinstance(event, Queued)] == []
    assert [event.place for event in await told(waiting[1]) if isinstance(event, Queued)] == [1]


async def test_nobody_overtakes_one_that_does_not_fit() -> None:
    line = WaitingLine(10, places=4)
    large, small = job("large"), job("small")
    line.submit(large)
    line.submit(small)
    assert line.take(lambda one: one is small) is None
    assert isinstance((await told(large))[-1], Queued)
    assert line.take(lambda _: True) is large


async def test_the_full_line_and_the_one_that_would_come_too_late() -> None:
    line = WaitingLine(2, places=1)
    served = job()
    line.submit(served)
    assert line.take(lambda _: True) is served
    line.done(10.0)
    again = job()
    line.submit(again)
    assert line.take(lambda _: True) is again
    with pytest.raises(EngineBusy, match="later than this request may wait"):
        line.submit(job(deadline=asyncio.get_running_loop().time() + 1))
    line.submit(job())
    line.submit(job())
    with pytest.raises(EngineBusy, match="2 requests wait already") as busy:
        line.submit(job())
    assert busy.value.retry_after_s == pytest.approx(30.0), "who is answered, and two in line"
    line.submit(job(), bounded=False)


async def test_closing_tells_those_who_wait() -> None:
    line = WaitingLine(3)
    one, two = job(), job()
    line.submit(one)
    line.submit(two)
    line.close(EngineError("over", code="x"))
    for each in (one, two):
        last = (await told(each))[-1]
        assert isinstance(last, EngineError)
    assert not line.wait()
    with pytest.raises(EngineError, match="closed"):
        line.submit(job())


class LineMachine(RuleBasedStateMachine):
    """Submit, take, finish, expire, cancel in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.line = WaitingLine(2, places=2)
        self.waiting: list[Job] = []
        self.served: list[Job] = []
        self.ended: list[Job] = []

    def drain(self) -> None:
        self.loop.run_until_complete(asyncio.sleep(0))

    @rule(client=st.sampled_from("abc"))
    def submit(self, client: str) -> None:
        one = Job(PROMPT, SamplingParams(), None, self.loop, client)
        count = Counter(each.client for each in self.waiting)
        full = len(self.waiting) + len(self.served) >= 4
        if full and (client in count or max(count.values(), default=0) < 2):
            with pytest.raises(EngineBusy):
                self.line.submit(one)
            return
        self.line.submit(one)
        if full:  # the newest of who has most went
            (out,) = set(self.waiting) - set(self.line._in_turn())
            assert count[out.client] == max(count.values())
            assert out is [each for each in self.waiting if each.client == out.client][-1]
            self.drain()
            *_, last = (out.events.get_nowait() for _ in range(out.events.qsize()))
            assert isinstance(last, EngineBusy)
            self.waiting.remove(out)
        self.waiting.append(one)

    @precondition(lambda self: len(self.served) < 2)
    @rule()
    def take(self) -> None:
        one = self.line.take(lambda _: True)
        assert (one is None) == (not self.waiting)
        if one:
            self.waiting.remove(one)
            self.served.append(one)

    @precondition(lambda self: self.served)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.served))
        self.served.remove(one)
        self.line.done(0.5)
        self.ended.append(one)

    @precondition(lambda self: self.waiting or self.served)
    @rule(data=st.data(), expire=st.booleans())
    def leave(self, data: st.DataObject, expire: bool) -> None:
        one = data.draw(st.sampled_from([*self.waiting, *self.served]))
        (self.line.expire if expire else self.line.cancel)(one)
        if one in self.waiting:
            self.waiting.remove(one)
            self.ended.append(one)

    @invariant()
    def nobody_is_lost(self) -> None:
        assert self.line.n_waiting == len(self.waiting)
        self.drain()
        for one in [*self.waiting, *self.served, *self.ended]:
            events = [one.events.get_nowait() for _ in range(one.events.qsize())]
            ends = [event for event in events if isinstance(event, ChatError)]
            assert len(ends) <= (0 if one in self.waiting or one in self.served else 1)
            assert all(isinstance(end, EngineTimeout) for end in ends)

    def teardown(self) -> None:
        self.loop.close()


TestLine = LineMachine.TestCase
TestLine.settings = settings(max_examples=50, stateful_step_count=30)


@given(st.lists(st.sampled_from("abcd"), max_size=20))
def test_each_client_is_served_before_anybody_twice(clients: list[str]) -> None:
    async def work() -> None:
        line = WaitingLine(100)
        for client in clients:
            line.submit(job(client))
        order = []
        while one := line.take(lambda _: True):
            order.append(one.client)
        assert sorted(order) == sorted(clients)
        distinct = len(set(clients))
        assert len(set(order[:distinct])) == distinct

    run(work())
