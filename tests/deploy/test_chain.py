"""What was deployed, executed in Modal's own container runtime: page, edge, gateway, edge, vLLM (a stub)."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.deploy.conftest import ENGINE_KEY, House, noted
from tests.deploy.localmodal import Worker
from tests.deploy.page import QUESTION, ask, asked, events_of, headers_of, posted, run_engine, run_gateway, text_of
from tiers.base import Citation, Done, Event, Token, Warming
from tiers.budget import Limits
from tiers.ledger import Ledger
from tiers.store import Store, restore_newest
from tiers.wire import EventReader, Fault


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Once this file is there, vLLM answers."""
    return tmp_path_factory.mktemp("boot") / "booted"


@pytest.fixture(scope="module")
def begun(house: House, booted: Path) -> Iterator[tuple[Worker, Worker]]:
    """The engine, still starting, and the gateway before it."""
    with run_engine(house, STUB_WAITS_FOR=str(booted)) as engine, run_gateway(house, engine.url) as gateway:
        gateway.wait_until_ready(60)
        yield engine, gateway


@pytest.fixture(scope="module")
def engine(begun: tuple[Worker, Worker], booted: Path) -> Worker:
    booted.touch()
    begun[0].wait_until_ready(60)
    return begun[0]


@pytest.fixture(scope="module")
def gateway(begun: tuple[Worker, Worker], engine: Worker) -> Worker:
    """The gateway before an engine that is awake."""
    return begun[1]


def test_a_cold_engine_is_announced_then_answers(begun: tuple[Worker, Worker], booted: Path) -> None:
    gateway = begun[1]
    body, reader = asked(), EventReader()
    events: list[Event | Fault] = []
    with posted(gateway, body, headers_of(gateway, body)) as response:
        for data in response.iter_raw():
            events += reader.feed(data)
            if events and isinstance(events[-1], Warming):
                booted.touch()
    assert isinstance(events[0], Warming)
    assert events[0].code == "premium_waking"
    assert events[0].eta_s == pytest.approx(60, abs=30)
    assert "perfection" in text_of(events)
    assert isinstance(events[-1], Done)
    assert not any(isinstance(event, Warming) for event in ask(gateway)), "it is awake now"


def test_strangers_are_stopped_at_the_edge(gateway: Worker, engine: Worker) -> None:
    before = noted(engine.home)
    with httpx.Client(trust_env=False) as client:
        for token in ({}, {"Modal-Key": "wk-local", "Modal-Secret": "guess"}):
            assert client.get(f"{gateway.url}/health", headers=token).status_code == 401
            assert client.get(f"{engine.url}/health", headers=token).status_code == 401
        assert client.get(f"{gateway.url}/health", headers=gateway.token.headers).json() == {"status": "ok"}
    assert noted(engine.home) == before


def test_the_token_of_the_edge_is_not_enough(gateway: Worker, engine: Worker) -> None:
    """Behind the edge our own token is asked for, and its refusals never reach the engine."""
    before, body = noted(engine.home), asked()
    with posted(gateway, body, gateway.token.headers) as response:
        assert response.status_code == 401
    with posted(gateway, body + b" ", headers_of(gateway, body)) as response:
        assert response.status_code == 403
    headers = headers_of(gateway, body)
    with posted(gateway, body, headers) as response:
        assert response.status_code == 200
        response.read()
    between = noted(engine.home)
    with posted(gateway, body, headers) as response:
        assert response.status_code == 403, "a token is good once"
    assert len(between) > len(before)
    assert noted(engine.home) == between


def test_the_page_s_proxy_token_does_not_open_the_engine(engine: Worker) -> None:
    """A proxy token of the same workspace may pass the edge; vLLM asks for a key that the gateway alone has."""
    with httpx.Client(trust_env=False) as client:
        for path in ("/v1/chat/completions", "/v1/completions", "/sleep?level=1", "/collective_rpc"):
            answer = client.post(f"{engine.url}{path}", headers=engine.token.headers, json={"model": "snb"})
            assert answer.status_code == 401


def test_an_answer_streams_with_citations(gateway: Worker) -> None:
    body = asked()
    with posted(gateway, body, headers_of(gateway, body)) as response:
        timed = events_of(response)
    events = [event for _, event in timed]
    citations = [event for event in events if isinstance(event, Citation)]
    assert citations
    assert citations[0].number == 1
    assert citations[0].author == "Spinoza"
    assert text_of(events).startswith("La joie est le passage à une perfection plus grande [1]")
    done = events[-1]
    assert isinstance(done, Done)
    assert (done.usage.prompt_tokens, done.usage.cached_tokens) == (700, 512)
    assert done.usage.gpu_s > 0
    tokens = [at for at, event in timed if isinstance(event, Token)]
    assert tokens[-1] - tokens[0] > 0.05, "the words came all at once"


def test_the_engine_is_asked_with_the_passages_last(gateway: Worker, engine: Worker) -> None:
    ask(gateway)
    messages = [event["asked"] for event in noted(engine.home) if "asked" in event][-1]["messages"]
    assert messages[0]["role"] == "system"
    assert "Spinoza" in messages[0]["content"]
    assert "[1]" in messages[-1]["content"]
    assert messages[-1]["content"].rstrip().endswith(QUESTION) or QUESTION in messages[-1]["content"]


def test_eight_at_once(gateway: Worker, engine: Worker) -> None:
    before = len(noted(engine.home))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: ask(gateway, person=f"{n:064x}"), range(8)))
    assert all(isinstance(answer[-1], Done) and "perfection" in text_of(answer) for answer in answers)
    seen = ["asked" in event for event in noted(engine.home)[before:] if "asked" in event or "chat" in event]
    assert seen[:2] == [True, True], "one after the other"


def test_the_engine_stops_when_the_reader_leaves(gateway: Worker, engine: Worker) -> None:
    body = asked("Parle-moi longuement de la joie, est-elle une perfection ?")
    with posted(gateway, body, headers_of(gateway, body)) as response:
        reader = EventReader()
        for data in response.iter_raw():
            if any(isinstance(event, Token) for event in reader.feed(data)):
                break
    deadline = time.monotonic() + 10
    while {"chat": "aborted"} not in noted(engine.home):
        assert time.monotonic() < deadline, noted(engine.home)[-3:]
        time.sleep(0.05)


def test_the_engine_s_command_line_and_hooks(engine: Worker, house: House) -> None:
    events = noted(engine.home)
    line = events[0]["argv"]
    assert line[:2] == ["serve", f"{house.volumes}/weights/qwen2.5-14b-snb-w4a16"]
    for option, value in {
        "--max-model-len": "8192", "--max-num-seqs": "8", "--gpu-memory-utilization": "0.90", "--port": str(house.port),
        "--host": "0.0.0.0", "--served-model-name": "snb",
    }.items():  # fmt: skip
        assert line[line.index(option) + 1] == value
    assert {"--enable-prefix-caching", "--enable-sleep-mode"} <= set(line)
    assert ENGINE_KEY not in " ".join(line)
    assert [event["route"] for event in events if "route" in event][:2] == ["/sleep?level=1", "/wake_up"]
    assert engine.rpcs.lifecycle[:2] == ["checkpoint", "ready"]


def test_nothing_that_a_pupil_wrote_is_logged(gateway: Worker, engine: Worker) -> None:
    secret = "mirabelle"
    ask(gateway, f"{QUESTION} Je pense à une {secret}.")
    assert any(secret in str(event) for event in noted(engine.home) if "asked" in event)
    assert secret not in gateway.log() + engine.log()


def test_both_end_well_and_what_was_spent_is_kept(
    engine: Worker, gateway: Worker, house: House, tmp_path: Path
) -> None:
    """The last of this file: exit hooks, the ledger on its Volume."""
    ask(gateway)
    assert gateway.stop() == 0
    assert gateway.rpcs.unknown == []
    assert gateway.rpcs.failures == []
    assert any(entry.startswith("commit") for entry in gateway.rpcs.lifecycle)
    assert engine.stop() == 0
    assert engine.rpcs.unknown == []
    assert noted(engine.home)[-1] == {"signal": "SIGTERM"}
    assert restore_newest(house.volumes / "ledger", tmp_path / "ledger.sqlite")
    store = Store(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    assert Ledger(store, Limits()).spent().day.gpu_ms > 0
    store.close()
