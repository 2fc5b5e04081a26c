"""Figures out of llama.cpp against the same figures computed directly, on a two-layer model."""

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from engines.base import ChatMessage
from engines.scoring import kl
from errors import EngineError, ModelUnfit
from evaluation.logits import MAX_TOKENS, ScoringModel, log_softmax, score_chat, score_text
from evaluation.perplexity import divergence, layouts, load_chats, perplexity

ROOT = Path(__file__).parents[2]
CHAT: list[ChatMessage] = [
    {"role": "system", "content": "la raison"},
    {"role": "user", "content": "que peut le désir ?"},
    {"role": "assistant", "content": "la joie est cause de joie."},
    {"role": "user", "content": "et le temps ?"},
    {"role": "assistant", "content": "le temps est durée."},
]


@pytest.fixture(scope="module")
def model(tiny_gguf: Path) -> Iterator[ScoringModel]:
    scoring = ScoringModel(tiny_gguf, threads=1)
    yield scoring
    scoring.close()


def one_by_one(model: ScoringModel, ids: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Log-probabilities through the plain path: a token a step, the last row's logits, softmax in float64."""
    model.clear()
    rows = []
    for position, token in enumerate(ids):
        logits = model.logits(model.read([token], position, 0)).astype(np.float64)
        shifted = logits - logits.max()
        rows.append(shifted - math.log(np.exp(shifted).sum()))
    return np.array(rows)


def test_log_probs_are_those_of_one_token_after_another(model: ScoringModel) -> None:
    scored = score_chat(model, CHAT)
    direct = one_by_one(model, scored.ids)
    assert np.abs(model.log_probs(scored.ids) - direct).max() < 0.02  # keys and values are kept in float16


def test_what_counts_is_each_answer_and_its_eos(model: ScoringModel) -> None:
    scored = score_chat(model, CHAT)
    counted = [token for token, yes in zip(scored.ids, scored.counted, strict=True) if yes]
    expected = [*model.encode(CHAT[2]["content"]), model.eos, *model.encode(CHAT[4]["content"]), model.eos]
    assert counted == expected
    assert scored.ids[0] == model.bos
    assert list(scored.ids).count(model.bos or -1) == 1
    plain = score_text(model, "la joie")
    assert plain.counted == (False, *[True] * (len(plain.ids) - 1))


def test_perplexity_against_a_direct_computation(model: ScoringModel) -> None:
    scored = score_chat(model, CHAT)
    direct = one_by_one(model, scored.ids)
    nats = [-direct[at - 1, scored.ids[at]] for at in range(len(scored.ids)) if scored.counted[at]]
    ticks: list[int] = []
    found = perplexity(model, layouts([CHAT]), lambda: ticks.append(1))
    assert found["tokens"] == len(nats)
    assert found["nats_per_token"] == pytest.approx(sum(nats) / len(nats), abs=0.01)
    assert found["perplexity"] == pytest.approx(math.exp(found["nats_per_token"]))
    assert ticks == [1]


def test_a_long_text_goes_in_several_batches(model: ScoringModel) -> None:
    ids = score_text(model, "la joie est cause de joie et le temps est durée. " * 60).ids[:700]
    whole = model.log_probs(ids)
    assert np.abs(whole[:100] - model.log_probs(ids[:100])).max() < 0.02
    assert whole.shape == (700, model.n_vocab)
    assert np.exp(whole.astype(np.float64)).sum(axis=1) == pytest.approx(np.ones(700), abs=1e-4)


def test_kl_against_a_direct_computation(model: ScoringModel, make_gguf: Callable[..., Path]) -> None:
    other = ScoringModel(make_gguf("other.gguf", eos_bias=1.0), threads=1)
    try:
        scored = score_chat(model, CHAT)
        p, q = one_by_one(model, scored.ids), one_by_one(other, scored.ids)
        rows = [at - 1 for at in range(len(scored.ids)) if scored.counted[at]]
        direct = [sum(math.exp(a) * (a - b) for a, b in zip(p[row], q[row], strict=True)) for row in rows]
        found = divergence(other, model, layouts([CHAT]))
        assert found.tokens == len(rows)
        assert found.mean == pytest.approx(sum(direct) / len(direct), rel=0.02)
        assert found.largest == pytest.approx(max(direct), rel=0.05)
        top = np.mean([p[row].argmax() == q[row].argmax() for row in rows])
        assert found.same_top == pytest.approx(top)
        same = divergence(model, model, layouts([CHAT]))
        assert same.mean == pytest.approx(0, abs=1e-9)
        assert same.same_top == 1.0
    finally:
        other.close()


def test_kl_of_impossible_tokens() -> None:
    with np.errstate(divide="ignore"):
        p, q = np.log(np.array([[0.5, 0.5, 0.0]], np.float32)), np.log(np.array([[0.25, 0.75, 0.0]], np.float32))
    assert kl(p, q)[0] == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(0.5 / 0.75))
    assert log_softmax(np.array([[1000.0, 0.0]], np.float32)).tolist() == [[0.0, -1000.0]]


def test_what_cannot_be_scored(model: ScoringModel, embedder_gguf: Path, make_gguf: Callable[..., Path]) -> None:
    for ids in ([], [model.n_vocab], [1] * (MAX_TOKENS + 1)):
        with pytest.raises(EngineError, match="out of range"):
            model.log_probs(ids)
    with pytest.raises(EngineError, match="holds no answer"):
        score_chat(model, CHAT[:2])
    with pytest.raises(ModelUnfit):
        ScoringModel(embedder_gguf)
    v1 = ScoringModel(make_gguf("v1.gguf", inst_is_control=False), threads=1)
    try:
        with pytest.raises(EngineError, match="cannot be compared"):
            divergence(v1, model, layouts([CHAT]))
    finally:
        v1.close()


def test_held_out_files(tmp_path: Path) -> None:
    path = tmp_path / "held.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in ({"messages": CHAT}, {"text": "a"}, {"messages": CHAT})))
    assert load_chats(path) == [CHAT, CHAT]
    assert load_chats(path, 1) == [CHAT]
    odd: list[ChatMessage] = [{"role": "user", "content": "Qui ?"}, {"role": "assistant", "content": "Moi.\u2028Toi."}]
    path.write_text(json.dumps({"messages": odd}, ensure_ascii=False) + "\n", encoding="utf-8")
    assert load_chats(path) == [odd]
    path.write_text('{"text": "a"}')
    with pytest.raises(EngineError, match="holds no chat"):
        load_chats(path)
    with pytest.raises(EngineError, match="cannot be read"):
        load_chats(tmp_path / "none.jsonl")


def test_the_command_line(tiny_gguf: Path, tmp_path: Path) -> None:
    held_out, out = tmp_path / "held.jsonl", tmp_path / "result.json"
    held_out.write_text(json.dumps({"messages": CHAT}) + "\n", encoding="utf-8")
    command = [
        sys.executable, "-m", "evaluation", "perplexity", "--model", f"tiny={tiny_gguf}", "--kl", str(tiny_gguf),
        str(tiny_gguf), "--dialogues", str(held_out), "--no-prose", "--threads", "1", "--out", str(out), "--json",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    assert result == json.loads(out.read_text(encoding="utf-8"))
    assert result["models"]["tiny"]["dialogues"]["tokens"] > 10
    assert result["kl"]["same_top"] == 1.0
    assert {"date", "command", "machine", "versions"} <= result["environment"].keys()
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "never overwritten" in again.stderr
