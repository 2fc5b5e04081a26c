"""The supply watches its engine: one that fails is said, freed and opened anew; it may be a server of one's own."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from conversion.base import sha256_of
from conversion.demo import DEMO_FILE
from conversion.workshop import put_in_place
from dialogue.conversation import Conversation, Turn
from engines.base import Engine, Token
from engines.open import open_engine
from engines.testing import ScriptedEngine
from errors import SettingsError, TierUnavailable
from personas import PERSONAS
from service.health import routes
from settings import load_settings
from tests.engines.servers import OllamaServer, OpenAIServer
from tests.serving import serving, wait_until
from tiers.base import MAX_ANSWER_TOKENS, AnswerOptions, Done, Event, TierStatus, User
from tiers.free import FreeTier
from tiers.supply import ModelChoice, ModelSupply

ROOT = Path(__file__).parents[2]
KANT = PERSONAS["kant"]
ASKED = Conversation(KANT, (Turn("user", "Suis-je libre ?"),))
Opened = list[ScriptedEngine]


@pytest.fixture
def opened() -> Opened:
    return []


@pytest.fixture
def supply(opened: Opened, tmp_path: Path) -> Iterator[ModelSupply]:
    """A supply whose model is a file that exists and whose engines follow a script."""

    def opener(spec: str, **options: Any) -> ScriptedEngine:
        opened.append(ScriptedEngine(Token("Oui.")))
        return opened[-1]

    supply = ModelSupply(ModelChoice(tmp_path, model="x.gguf"), lambda _: ["Tu es Kant."], opener=opener, retry_s=2.0)
    supply.start()
    wait_until(lambda: supply.engine is not None)
    yield supply
    supply.close()


async def collect(tier: FreeTier, options: AnswerOptions | None = None) -> list[Event]:
    stream = tier.stream(ASKED, User("tab")) if options is None else tier.stream(ASKED, User("tab"), options)
    async with aclosing(stream) as events:
        return [event async for event in events]


async def test_a_failed_engine_is_said_and_another_one_opened(supply: ModelSupply, opened: Opened) -> None:
    tier = FreeTier(supply, None)
    ready = TestClient(FastAPI(routes=[*routes(tier)]))
    assert ready.get("/ready").status_code == 200
    opened[0].failure = "Three steps in a row failed."
    assert tier.status == TierStatus("failed", "engine_failed")
    answer = ready.get("/ready")
    assert (answer.status_code, answer.json()["step"]) == (503, "engine_failed")
    with pytest.raises(TierUnavailable) as caught:
        await collect(tier)
    assert caught.value.code == "engine_failed"
    await asyncio.to_thread(wait_until, lambda: supply.engine is not None)
    assert [engine.closed for engine in opened] == [True, False]
    assert opened[1].warmed == ["Tu es Kant."]
    assert ready.get("/ready").status_code == 200
    assert isinstance((await collect(tier))[-1], Done)


def test_closing_ends_the_watch(supply: ModelSupply, opened: Opened) -> None:
    supply.close()
    assert [engine.closed for engine in opened] == [True]
    assert not supply._thread.is_alive()


ENDS_EARLY = """
import atexit, sys, threading, time
from pathlib import Path
from tiers.supply import ModelChoice, ModelSupply

supply = ModelSupply(ModelChoice(Path(sys.argv[1]), model=sys.argv[2], kernels="tiled"), lambda _: ["Tu es Kant."])
atexit.register(supply.close)
supply.start()
while not any(thread.name == "tuning" for thread in threading.enumerate()):
    assert supply.status.state == "preparing", supply.status
    time.sleep(0.001)
"""


def test_a_process_that_ends_while_kernels_are_timed_ends_quietly(tmp_path: Path, tiny_gguf: Path) -> None:
    command = [sys.executable, "-c", ENDS_EARLY, str(tmp_path), str(tiny_gguf)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
    assert not (tmp_path / "engine/kernels.json").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (AnswerOptions(), lambda p: p.max_tokens == KANT.small_sampling.max_tokens and p.seed is None),
        (
            AnswerOptions(max_tokens=7, seed=3, temperature=0.0),
            lambda p: (p.max_tokens, p.seed, p.temperature) == (7, 3, 0),
        ),
        (AnswerOptions(max_tokens=100_000), lambda p: p.max_tokens == MAX_ANSWER_TOKENS),
        (AnswerOptions(top_p=0.5, stop=("Fin",)), lambda p: p.top_p == 0.5 and "Fin" in p.stop and "[INST]" in p.stop),
        (AnswerOptions(json_schema="{}"), lambda p: p.json_schema == "{}"),
    ],
)
async def test_options_reach_the_engine(
    supply: ModelSupply, opened: Opened, options: AnswerOptions, said: Callable[[Any], bool]
) -> None:
    await collect(FreeTier(supply, None), options)
    assert said(opened[0].params[0])
    assert opened[0].clients == ["tab"]


# --- a server of one's own -------------------------------------------------------------------------------------------

TOLD = Conversation(KANT, (Turn("user", "Je m'appelle Ulysse. Suis-je libre ?"),))


def ready_supply(choice: ModelChoice, opener: Callable[..., Engine] = open_engine) -> ModelSupply:
    supply = ModelSupply(choice, lambda _: ["Tu es Kant."], opener=opener, retry_s=0.05)
    supply.start()
    wait_until(lambda: supply.engine is not None, 30)
    return supply


async def said_by(supply: ModelSupply) -> str:
    async with aclosing(FreeTier(supply, None).stream(TOLD, User("tab"))) as events:
        return "".join([event.text async for event in events if isinstance(event, Token)])


async def test_a_model_behind_an_address_answers_and_never_learns_a_name(tmp_path: Path) -> None:
    server = OpenAIServer([" Oui", "."])
    with serving(server.app) as url:
        choice = ModelChoice(tmp_path, model=f"openai:{url}/v1#tiny", model_key="key-of-the-server")
        supply = await asyncio.to_thread(ready_supply, choice)
        assert await said_by(supply) == "Oui."
        assert supply.status == TierStatus("ready", "ready", model="tiny")
        supply.close()
    assert "key-of-the-server" not in repr(choice)
    assert {headers.get("authorization") for headers in server.headers} == {"Bearer key-of-the-server"}
    assert [body["messages"][0]["content"] for body in server.bodies[:1]] == ["Tu es Kant."]  # read ahead
    assert server.bodies[-1]["messages"][-1]["content"].endswith("Je m'appelle [nom]. Suis-je libre ?")
    assert "Ulysse" not in str(server.bodies)


async def test_an_ollama_answers(tmp_path: Path) -> None:
    server = OllamaServer([" Oui", "."])
    with serving(server.app) as url:
        choice = ModelChoice(tmp_path, model="ollama:tiny", n_ctx=1024)
        supply = await asyncio.to_thread(
            ready_supply, choice, lambda spec, **options: open_engine(spec, url=url, **options)
        )
        assert await said_by(supply) == "Oui."
        assert not supply.is_away  # it is on this machine
        supply.close()
    assert server.bodies[-1]["options"]["num_ctx"] == 1024


async def test_a_server_that_is_not_there_is_said_and_the_embedded_model_answers(
    tmp_path: Path, tiny_gguf: Path
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    made = Path(shutil.copy(tiny_gguf, folder / "made.gguf"))
    put_in_place(made, folder / DEMO_FILE, sha256_of(ROOT / "models" / "demo" / "manifest.json"))

    def opener(spec: str, **options: Any) -> Engine:
        return ScriptedEngine(Token("Oui.")) if spec.startswith("gguf:") else open_engine(spec, **options)

    choice = ModelChoice(tmp_path, model="openai:http://127.0.0.1:9/v1#tiny")
    supply = await asyncio.to_thread(ready_supply, choice, opener)
    assert supply.status.notices == ("server_unreachable", "using_embedded")
    assert not supply.is_away
    assert await said_by(supply) == "Oui."
    supply.close()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("openai:localhost:8000", "expected openai:http://host:port/v1#model"),
        ("openai:http://localhost:8000/v1", "expected openai:http://host:port/v1#model"),
        ("openai:http://me:secret@localhost/v1#m", "expected openai:http://host:port/v1#model"),
        ("ollama:", "expected ollama:name"),
    ],
)
def test_an_address_that_is_none_is_refused_at_the_start(model: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        load_settings(free_model=model)
    assert "secret" not in str(caught.value)


def test_what_is_set_reaches_the_supply(tmp_path: Path) -> None:
    settings = load_settings(free_model="ollama:mistral", free_model_key="k", data_dir=tmp_path, max_active=3)
    choice = ModelChoice(**settings.model_options)
    assert (choice.model, choice.model_key, choice.max_active, choice.data_dir) == ("ollama:mistral", "k", 3, tmp_path)
