"""The checkpoint as an engine keeps the contract, and lays prompts out as llama.cpp's engine does."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conversion.gguf import to_gguf
from engines.base import ChatMessage, Finished, SamplingParams, Token
from engines.llama_model import LlamaModel
from engines.open import open_engine
from engines.prompt import PromptFormat
from engines.transformers_local import HubVocabulary, TransformersEngine, load_tokenizer, split_address
from errors import EngineBusy, EngineError, EngineTimeout, ModelUnfit
from settings import load_settings
from tests.conversion.families import CHATS, mistral_spm, mistral_tekken, qwen2, train_adapter

pytestmark = pytest.mark.filterwarnings("default")

GREEDY = SamplingParams(temperature=0, repeat_penalty=1, max_tokens=40)
ASKED: list[ChatMessage] = CHATS[0][:2]  # type: ignore[assignment]
LEARNT = "La joie augmente la puissance d'agir."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hf")
    train_adapter(mistral_spm(folder / "base"), folder / "adapter")
    return folder


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[TransformersEngine]:
    engine = TransformersEngine(f"{folder / 'base'}+{folder / 'adapter'}", threads=1, queue_size=1, dtype="float32")
    yield engine
    engine.close()


async def said(engine: Any, messages: list[ChatMessage], params: SamplingParams, **more: Any) -> tuple[str, Finished]:
    text, last = "", None
    async for event in engine.stream(messages, params, **more):
        if isinstance(event, Token):
            assert event.text
            text += event.text
        last = event
    assert isinstance(last, Finished)
    return text, last


async def test_it_says_what_the_adapter_learnt_and_ends(engine: TransformersEngine) -> None:
    text, last = await said(engine, ASKED, GREEDY)
    assert text == LEARNT
    assert last.reason == "stop"
    assert last.usage.prompt_tokens == engine.count_tokens(ASKED)
    assert 0 < last.usage.completion_tokens < 40
    assert engine.failure is None


async def test_without_the_adapter_it_has_not_learnt_it(folder: Path) -> None:
    engine = open_engine(f"hf:{folder / 'base'}", threads=1)
    try:
        text, _ = await said(engine, ASKED, GREEDY)
        assert text != LEARNT
        assert engine.info.n_params > 1_000_000
    finally:
        engine.close()


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        (SamplingParams(temperature=0, repeat_penalty=1, max_tokens=3, end_at_sentence=False), "length"),
        (SamplingParams(temperature=0, repeat_penalty=1, max_tokens=40, stop=("puissance",)), "stop"),
    ],
)
async def test_other_ends(params: SamplingParams, reason: str, engine: TransformersEngine) -> None:
    text, last = await said(engine, ASKED, params)
    assert last.reason == reason
    assert LEARNT.startswith(text)
    assert "puissance" not in text


async def test_the_same_seed_draws_the_same(engine: TransformersEngine) -> None:
    params = SamplingParams(temperature=1.5, max_tokens=12, seed=7, end_at_sentence=False)
    first, _ = await said(engine, ASKED, params)
    again, _ = await said(engine, ASKED, params)
    assert first == again


async def test_waiting_leaving_and_coming_too_late(engine: TransformersEngine) -> None:
    long = SamplingParams(temperature=0, repeat_penalty=1, max_tokens=200, end_at_sentence=False)
    first = engine.stream(CHATS[1][:2], long)  # type: ignore[arg-type]
    assert isinstance(await anext(first), Token)
    waiting = asyncio.create_task(said(engine, ASKED, GREEDY))
    await asyncio.sleep(0)
    with pytest.raises(EngineBusy):
        await said(engine, ASKED, GREEDY)
    await first.aclose()
    assert (await waiting)[0] == LEARNT
    with pytest.raises((EngineTimeout, EngineBusy)):
        await said(engine, ASKED, GREEDY, deadline_s=1e-6)


async def test_what_is_refused(engine: TransformersEngine, folder: Path) -> None:
    with pytest.raises(EngineError, match="JSON Schema"):
        await said(engine, ASKED, SamplingParams(json_schema="{}"))
    with pytest.raises(EngineError, match="more than the context"):
        await said(engine, ASKED, SamplingParams(max_tokens=600))
    with pytest.raises(EngineError, match="roles"):
        await said(engine, CHATS[0][:3], GREEDY)  # type: ignore[arg-type]
    with pytest.raises(ModelUnfit, match="cannot be read"):
        TransformersEngine(str(folder / "none"))
    with pytest.raises(ModelUnfit, match="cannot be loaded"):
        TransformersEngine(f"{folder / 'base'}+{folder / 'none'}")


async def test_a_closed_engine(folder: Path) -> None:
    engine = TransformersEngine(str(folder / "base"), threads=1)
    stream = engine.stream(ASKED, SamplingParams(max_tokens=300, end_at_sentence=False, seed=1))
    await anext(stream)
    await asyncio.to_thread(engine.close)
    with pytest.raises(EngineError):
        async for _ in stream:
            pass
    engine.close()


async def test_another_model_keeps_its_own_template(tmp_path: Path) -> None:
    engine = TransformersEngine(str(qwen2(tmp_path / "qwen2")), threads=1)
    try:
        tokenizer = load_tokenizer(tmp_path / "qwen2")
        rendered = tokenizer.apply_chat_template(ASKED, tokenize=False, add_generation_prompt=True)
        assert engine.count_tokens(ASKED) == len(tokenizer(rendered, add_special_tokens=False)["input_ids"])
    finally:
        engine.close()


@pytest.mark.smoke
@pytest.mark.parametrize("make", [mistral_spm, mistral_tekken])
def test_one_layout_in_training_in_torch_and_in_llama_cpp(make: Any, tmp_path: Path) -> None:
    """Converted with `add_prefix_space` false, a Mistral GGUF leaves the space after `[INST]` to us: it is there."""
    base = make(tmp_path / "base")
    tokenizer = load_tokenizer(base)
    gguf = to_gguf(base, tmp_path / "bf16.gguf", data_dir=load_settings().data_dir)
    model = LlamaModel(gguf, threads=1, n_cells=64, n_seq=1)
    try:
        assert model.adds_space is False
        assert model.spaced is (make is mistral_spm)
        for chat in CHATS:
            for upto in range(2, len(chat) + 1, 2):
                asked = chat[:upto]
                rendered = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
                expected = tuple(tokenizer(rendered, add_special_tokens=False)["input_ids"])
                assert PromptFormat(model).render(asked).ids == expected  # type: ignore[arg-type]
                assert PromptFormat(HubVocabulary(tokenizer)).render(asked).ids == expected  # type: ignore[arg-type]
        shared = PromptFormat(model).render(CHATS[0][:2])  # type: ignore[arg-type]
        assert shared.n_shared == len(PromptFormat(model).prefix(CHATS[0][0]["content"]))
        assert 0 < shared.n_shared < len(shared.ids)
    finally:
        model.close()


def test_addresses(tmp_path: Path) -> None:
    (tmp_path / "a+b").mkdir()
    assert split_address(str(tmp_path / "a+b")) == (str(tmp_path / "a+b"), None)
    assert split_address("owner/name") == ("owner/name", None)
