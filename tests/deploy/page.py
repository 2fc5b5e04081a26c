"""A page of premium as the gateway sees it: signed questions, events with their moments; engine and gateway as run."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from dialogue.conversation import Conversation, Turn
from personas import get_persona
from tests.deploy.conftest import PAGE_SECRET, STUB_BIN, House
from tests.deploy.localmodal import ProxyToken, Worker
from tiers.base import ANSWER_AS_USUAL, Event, Token
from tiers.seal import Seal
from tiers.wire import PATH, EventReader, Fault, write_request

ENGINE_TOKEN = ProxyToken("wk-engine", "ws-engine")
QUESTION = "La joie est-elle le passage à une plus grande perfection ?"
ANYONE = "a" * 64


def run_engine(house: House, **env: str) -> Worker:
    """The deployed engine with the stub in place of vLLM, through the path of a memory snapshot."""
    return Worker(house.plane, "Engine", path=[STUB_BIN], env=env, token=ENGINE_TOKEN, snapshot=True)


def run_gateway(house: House, engine_url: str) -> Worker:
    return Worker(house.plane, "gateway", env={"BAF_ENGINE_URL": engine_url})


def asked(question: str = QUESTION, client: str = "tab") -> bytes:
    return write_request(Conversation(get_persona("spinoza"), (Turn("user", question),)), client, ANSWER_AS_USUAL)


def headers_of(worker: Worker, body: bytes, person: str = ANYONE) -> dict[str, str]:
    return {**worker.token.headers, "Authorization": f"Bearer {Seal(PAGE_SECRET).make(person, body)}"}


@contextmanager
def posted(worker: Worker, body: bytes, headers: dict[str, str]) -> Iterator[httpx.Response]:
    with (
        httpx.Client(timeout=60, trust_env=False) as client,
        client.stream("POST", worker.url + PATH, content=body, headers=headers) as response,
    ):
        yield response


def events_of(response: httpx.Response) -> list[tuple[float, Event | Fault]]:
    """Every event with the moment it came."""
    reader = EventReader()
    found = [(time.monotonic(), event) for data in response.iter_raw() for event in reader.feed(data)]
    reader.finish()
    return found


def ask(worker: Worker, question: str = QUESTION, person: str = ANYONE) -> list[Event | Fault]:
    body = asked(question)
    with posted(worker, body, headers_of(worker, body, person)) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        return [event for _, event in events_of(response)]


def text_of(events: list[Any]) -> str:
    return "".join(event.text for event in events if isinstance(event, Token))
