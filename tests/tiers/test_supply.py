"""The supply watches its engine: one that fails is said, freed and opened anew."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from dialogue.conversation import Conversation, Turn
from engines.base import Token
from engines.testing import ScriptedEngine
from errors import TierUnavailable
from personas import PERSONAS
from service.health import routes
from tests.serving import wait_until
from tiers.base import AnswerOptions, Done, Event, TierStatus, User
from tiers.free import MAX_ANSWER_TOKENS, FreeTier
from tiers.supply import ModelChoice, ModelSupply

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

    supply = ModelSupply(ModelChoice(tmp_path, model="x.gguf"), lambda _: ["Tu es Kant."], opener=opener, retry_s=0.05)
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
    opened[0].failure = "closed"
    assert len(opened) == 1


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
