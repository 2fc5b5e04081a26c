"""The inference benchmark: chats, what is sent, what is counted, and its two files."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from errors import EngineError
from evaluation import bench
from evaluation.running import run_spec
from evaluation.runs import Run, Sample
from evaluation.specs import parse_spec

ROOT = Path(__file__).parents[2]
PROMPTS = ROOT / bench.PROMPTS
SAMPLE = Sample("a#1", "a", "kant", "h", "Oui.", {"answered": 1.0}, 0.5, 2.5, 100, 21)
ABOUT = {
    "date": "2026-01-01",
    "command": "python -m evaluation bench",
    "python": "3.11",
    "machine": {"cpu": "a cpu", "cores": 2, "load_1min": 0.1, "system": "Linux"},
    "memory": {"before_mb": 10.0, "peak_mb": 300.0, "gpu_peak_mb": None},
    "model": {"name": "m.gguf", "sha256": "abc"},
}
RUN = Run(
    "bench",
    1,
    "gguf:m.gguf",
    {"template_sha256": None},
    (
        replace(SAMPLE, id="a#warm", total_s=99.0),
        SAMPLE,
        replace(SAMPLE, id="b#1", total_s=4.5),
        replace(SAMPLE, id="c#1", error="x: y", total_s=None, first_token_s=None, tokens_in=None, tokens_out=None),
    ),
    ABOUT,
)


def test_our_chats_have_five_exchanges_each() -> None:
    chats = bench.load_chats(PROMPTS)
    assert len(chats) >= 10
    assert {len(chat.conversation.turns) for chat in chats} == {11}
    assert len({chat.conversation.persona.key for chat in chats}) == 3


def test_no_two_rounds_of_a_chat_share_more_than_the_system_text() -> None:
    task = bench.bench_task(PROMPTS, repeats=2, limit=3, max_tokens=9)
    assert [one.id.partition("#")[2] for one in task.documents] == ["warm"] * 2 + ["1"] * 3 + ["2"] * 3
    sent = [task.prompt(one, None, 7_000_000_000) for one in task.documents]
    assert all(params.max_tokens == 9 and params.temperature == 0 for _, params in sent)
    of_one = [messages for one, (messages, _) in zip(task.documents, sent, strict=True) if one.cluster == sent_id(task)]
    assert len(of_one) == 3
    assert len({messages[0]["content"] for messages in of_one}) == 1
    assert len({messages[1]["content"][:12] for messages in of_one}) == 3
    assert len({messages[-1]["content"] for messages in of_one}) == 1
    plain, _ = task.prompt(task.documents[0], "plain", 7_000_000_000)
    assert plain == of_one[0][1:]


def sent_id(task: object) -> str:
    return str(task.documents[0].cluster)  # type: ignore[attr-defined]


def test_the_warm_up_and_what_failed_are_not_timed() -> None:
    found = bench.figures(RUN)
    assert (found["n"], found["failures"]) == (2, 1)
    assert (found["median_latency"], found["p95_latency"], found["max_latency"]) == (3.5, 4.5, 4.5)
    assert (found["median_first_token"], found["median_tokens_per_s"]) == (0.5, 7.5)
    assert (found["tokens_sent"], found["tokens_written"]) == (200, 42)
    assert (found["memory_peak_mb"], found["gpu_mem"]) == (300.0, None)
    nothing = bench.figures(replace(RUN, samples=RUN.samples[3:]))
    assert (nothing["n"], nothing["median_latency"], nothing["failures"]) == (0, None, 1)


def test_the_two_files(tmp_path: Path) -> None:
    found = bench.write_baseline(RUN, tmp_path)
    assert json.loads((tmp_path / "baseline.json").read_text(encoding="utf-8")) == found
    assert {"median_latency", "p95_latency", "gpu_mem", "tokens_sent"} <= set(found)
    page = (tmp_path / "ENVIRONMENT.md").read_text(encoding="utf-8")
    assert "| GPU |" in page
    assert "| transformers |" in page
    assert "| Chat template's sha256 | none in the file |" in page
    with pytest.raises(EngineError, match="never overwritten"):
        bench.write_baseline(RUN, tmp_path)


def test_on_our_engine(tiny_gguf: Path, tmp_path: Path) -> None:
    task = bench.bench_task(PROMPTS, limit=2, max_tokens=4)
    run = run_spec(parse_spec(f"gguf:{tiny_gguf}"), task, tmp_path, threads=1, resume=False, arguments=["bench"])
    found = bench.write_baseline(run, tmp_path)
    assert (found["n"], found["failures"]) == (2, 0)
    assert found["tokens_written"] == 8
    assert found["median_latency"] > 0


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "{}",
        '{"id": "a", "persona": "platon", "history": [], "message": "?"}',
        '{"id": "a", "persona": "kant", "history": [{"role": "system", "content": "x"}], "message": "?"}',
        '{"id": "a", "persona": "kant", "history": [{"role": "user", "content": "x"}], "message": "?"}',
        '{"id": "a", "persona": "kant", "history": [], "message": " "}',
        '{"id": "a", "persona": "kant", "history": [], "message": 3}',
    ],
)
def test_a_wrong_chat_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text(line + "\n", encoding="utf-8")
    with pytest.raises(EngineError, match=r"chats\.jsonl:1: no chat"):
        bench.load_chats(path)


def test_what_the_system_does_not_tell(tmp_path: Path) -> None:
    nowhere = tmp_path / "none"
    assert bench.cpu_flags(nowhere) == "unknown"
    assert bench.memory_gb(nowhere) is None
    assert bench.gpu_name(nowhere) is None
    card = tmp_path / "gpus" / "0"
    card.mkdir(parents=True)
    (card / "information").write_text("Model: \t\t NVIDIA A10\nIRQ: 3\n", encoding="utf-8")
    assert bench.gpu_name(tmp_path / "gpus") == "NVIDIA A10"
