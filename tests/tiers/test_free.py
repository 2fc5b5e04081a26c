"""The free tier on a real tiny model: events, notes, cuts, fallbacks, and a supply that fails with a reason."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from dialogue.conversation import Conversation, Turn
from dialogue.prompt import prefix_for
from engines.base import Finished, Usage
from engines.testing import ScriptedEngine
from errors import EngineBusy, EngineError, EngineTimeout, TierBusy, TierUnavailable
from personas import PERSONAS
from retrieval.notes import NoteIndex
from tiers.base import Done, Event, Scheme, SchemeRead, TierStatus, Token, User, Warming
from tiers.free import NOTES, FreeTier, notes_for, open_free_tier
from tiers.supply import ModelChoice

KANT = PERSONAS["kant"]
ANYONE = User("tab-1")
ASKED = Conversation(KANT, (Turn("assistant", KANT.opening), Turn("user", "Je crois que oui.")))


class ReadySupply:
    """Keeps the part of `ModelSupply` that a tier sees, with an engine that is there already."""

    status = TierStatus("ready", "ready")
    is_away = False

    def __init__(self, engine: ScriptedEngine) -> None:
        self.engine = engine

    def close(self) -> None:
        self.engine.close()


async def collect(tier: FreeTier, conversation: Conversation = ASKED) -> list[Event]:
    async with aclosing(tier.stream(conversation, ANYONE)) as events:
        return [event async for event in events]


@pytest.fixture
def real(tiny_gguf: Path, tmp_path: Path) -> Iterator[FreeTier]:
    tier = open_free_tier(ModelChoice(tmp_path, model=str(tiny_gguf), n_ctx=1024, threads=1, embedder="none"))
    yield tier
    tier.close()


async def test_a_real_model_answers_through_the_whole_tier(real: FreeTier) -> None:
    """Warming until it is loaded, then tokens, then `Done` with what it cost."""
    events = await collect(real)
    kinds = [type(event) for event in events if not isinstance(event, Warming)]
    assert kinds[-1] is Done
    assert set(kinds[:-1]) <= {Token, Scheme, SchemeRead}
    done = events[-1]
    assert isinstance(done, Done)
    assert done.usage.completion_tokens > 0
    assert real.status.state == "ready"


async def test_a_second_turn_reads_only_what_is_new(real: FreeTier) -> None:
    first = await collect(real)
    answer = "".join(event.text for event in first if isinstance(event, Token)).strip() or "Oui."
    later = Conversation(KANT, (*ASKED.turns, Turn("assistant", answer), Turn("user", "Pourquoi ?")))
    done = (await collect(real, later))[-1]
    assert isinstance(done, Done)
    assert done.usage.cached_tokens > done.usage.prompt_tokens / 3


@pytest.mark.parametrize("fixture", ["truncated_gguf", "embedder_gguf", "vocab_gguf", "garbage_gguf"])
async def test_an_unfit_model_is_said_and_the_embedded_one_is_tried(
    fixture: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The base given is no model either, so that this test needs no network: both reasons are told, nothing crashes."""
    path = request.getfixturevalue(fixture)
    tier = open_free_tier(ModelChoice(tmp_path, model=str(path), base=tmp_path / "no-such-base.gguf", embedder="none"))
    try:
        with pytest.raises(TierUnavailable) as caught:
            await collect(tier)
        assert tier.status.state == "failed"
        assert tier.status.notices[0] in {"model_corrupt", "model_not_chat"}
        assert tier.status.notices[1] == "using_embedded"
        assert caught.value.code == tier.status.step
    finally:
        tier.close()


async def test_broken_notes_cost_the_notes_and_not_the_tier(tiny_gguf: Path, tmp_path: Path) -> None:
    (tmp_path / "kant.jsonl").write_text("{", encoding="utf-8")
    tier = open_free_tier(
        ModelChoice(tmp_path, model=str(tiny_gguf), n_ctx=1024, threads=1, embedder="none"), notes=tmp_path
    )
    try:
        assert isinstance((await collect(tier))[-1], Done)
        assert "retrieval" in tier.status.notices
    finally:
        tier.close()


@pytest.mark.parametrize(
    ("raised", "expected", "code"),
    [
        (EngineBusy("full"), TierBusy, "engine_busy"),
        (EngineTimeout("late"), TierBusy, "engine_timeout"),
        (EngineError("dead"), TierUnavailable, "engine_failed"),
        (EngineError("long", code="conversation_too_long"), TierUnavailable, "conversation_too_long"),
    ],
)
async def test_an_engine_s_error_becomes_the_tier_s(raised: EngineError, expected: type[Exception], code: str) -> None:
    tier = FreeTier(ReadySupply(ScriptedEngine(raised)), None)  # type: ignore[arg-type]
    with pytest.raises(expected) as caught:
        await collect(tier)
    assert getattr(caught.value, "code", None) == code


async def test_closing_the_stream_closes_the_engine_s() -> None:
    engine = ScriptedEngine(*[_token(i) for i in range(1000)], Finished("stop", Usage()), pause_s=0.001)
    tier = FreeTier(ReadySupply(engine), None)  # type: ignore[arg-type]
    async with aclosing(tier.stream(ASKED, ANYONE)) as events:
        async for event in events:
            if isinstance(event, Token):
                break
    await asyncio.sleep(0)
    assert engine.closed_early == 1


def _token(number: int) -> Token:
    return Token(f"{number} ")


def test_size_decides_the_prefix() -> None:
    assert (prefix_for(118_000_000), prefix_for(7_000_000_000)) == ("short", "full")


def test_notes_of_earlier_turns_never_change() -> None:
    """Otherwise a chat's own cache would be lost, and the philosopher would contradict what he was given."""
    index = NoteIndex.load(NOTES)
    said = ["La morale dépend-elle de nos sentiments ?", "bof", "un marchand honnête", "oui", "je comprends rien", "ok"]
    turns: list[Turn] = []
    chosen_before: list[object] = []
    for text in said:
        turns.append(Turn("user", text))
        chosen = notes_for(index, Conversation(KANT, tuple(turns)))
        assert chosen[:-1] == chosen_before
        chosen_before = list(chosen)
        turns.append(Turn("assistant", "Voilà. Qu'en penses-tu ?"))
    assert chosen_before[0] is not None


async def test_a_long_talk_is_cut_deep_and_keeps_the_last_question(real: FreeTier) -> None:
    turns: list[Turn] = []
    for number in range(40):
        turns += [Turn("user", f"Question {number} sur la raison ?"), Turn("assistant", "Une réponse. Et toi ?")]
    done = (await collect(real, Conversation(KANT, (*turns, Turn("user", "Et pour finir ?")))))[-1]
    assert isinstance(done, Done)
    assert done.usage.prompt_tokens <= 1024 - KANT.sampling.max_tokens
