"""A task put to real engines: our own on a tiny model, servers that speak Ollama's and OpenAI's API, our own routes."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.responses import JSONResponse

from engines.base import ChatMessage, SamplingParams, Usage
from errors import EngineError, EngineTimeout, TierBusy
from evaluation.memory import MemoryWatch, gpu_memory_mb
from evaluation.running import Task, chat_template, run_spec
from evaluation.runs import PARTIAL, RESULTS, Document, Run, Sample, load_run
from evaluation.scheme_task import scheme_task
from evaluation.specs import parse_spec
from service.openai_api import openai_routes
from tests.engines.servers import OllamaServer, OpenAIServer
from tests.serving import serving, wait_until
from tiers.base import Done, Token
from tiers.testing import ScriptedTier

ROOT = Path(__file__).parents[2]
QUESTIONS = ROOT / "data/eval/schemes_questions.jsonl"


def asked(document: Document, *_: object) -> tuple[list[ChatMessage], SamplingParams]:
    return [{"role": "user", "content": f"{document.id} ?"}], SamplingParams(max_tokens=4)


TASK = Task(
    "t",
    1,
    tuple(Document(f"d{n}", f"d{n}", "kant", ("right",)) for n in range(3)),
    asked,
    lambda _, answer: {"right": float("libre" in answer or bool(answer))},
    {"set": ["t.jsonl"]},
)


def ran(text: str, folder: Path, task: Task = TASK, **how: object) -> Run:
    run = run_spec(parse_spec(text), task, folder, threads=1, arguments=["schemes"], **how)  # type: ignore[arg-type]
    assert load_run(folder) == run
    return run


def test_our_engine(tiny_gguf: Path, tmp_path: Path) -> None:
    task = scheme_task([QUESTIONS], limit=2, max_tokens=6)
    run = ran(f"gguf:{tiny_gguf}@prompt=plain", tmp_path, task)
    assert [sample.error for sample in run.samples] == [None, None]
    assert all((sample.tokens_out, bool(sample.tokens_in)) == (6, True) for sample in run.samples)
    assert run.engine.endswith("@prompt=plain")
    assert run.settings["template_sha256"]
    assert run.environment["memory"]["peak_mb"] >= run.environment["memory"]["before_mb"] > 0
    results = json.loads((tmp_path / RESULTS).read_text(encoding="utf-8"))
    assert results["results"]["schemes"]["alias"] == "schemes"
    assert results["n-samples"]["schemes"] == {"original": 2, "effective": 2}
    with pytest.raises(EngineError, match="never overwritten"):
        ran(f"gguf:{tiny_gguf}@prompt=plain", tmp_path, task)


def test_an_ollama(tmp_path: Path) -> None:
    server = OllamaServer([" Tu es", " libre", "."])
    with serving(server.app) as url:
        run = ran("ollama:mistral:7b-instruct@prompt=persona", tmp_path, options={"url": url})
    assert [sample.response for sample in run.samples] == ["Tu es libre."] * 3
    assert [(sample.tokens_in, sample.tokens_out) for sample in run.samples] == [(11, 3)] * 3
    chats = [body for body in server.bodies if "messages" in body]
    assert [body["messages"][0]["content"] for body in chats] == ["d0 ?", "d1 ?", "d2 ?"]
    assert {body["model"] for body in chats} == {"mistral:7b-instruct"}


def test_an_ollama_without_the_model_that_has_it_later(tmp_path: Path) -> None:
    server = OllamaServer()
    with serving(server.app) as url:
        server.refusal = JSONResponse({"error": "model 'm' not found"}, 404)
        told: list[Sample] = []
        run = ran("ollama:m", tmp_path, options={"url": url}, on_sample=told.append)
        assert [sample.error for sample in told] == [sample.error for sample in run.samples]
        assert "`ollama pull m`" in str(run.samples[0].error)
        assert [sample.metrics for sample in run.samples] == [{"right": 0.0}] * 3
        server.refusal = None
        assert not any(s.error for s in ran("ollama:m", tmp_path, options={"url": url}, force=True).samples)


def test_an_ollama_that_is_away(tmp_path: Path) -> None:
    run = ran("ollama:m", tmp_path, options={"url": "http://127.0.0.1:9"})
    assert all(sample.error for sample in run.samples)


def test_our_own_routes(tmp_path: Path) -> None:
    tier = ScriptedTier(Token("Tu es "), Token("libre."), Done("stop", Usage(prompt_tokens=20, completion_tokens=4)))
    with serving(FastAPI(routes=[*openai_routes(tier)])) as url:
        run = ran(f"openai:{url}/v1#scripted", tmp_path)
    assert [(s.response, s.tokens_in, s.tokens_out, s.error) for s in run.samples] == [
        ("Tu es libre.", 20, 4, None)
    ] * 3
    assert [received.turns[-1].text for received in tier.received] == ["d0 ?", "d1 ?", "d2 ?"]


def test_our_own_routes_when_they_are_busy(tmp_path: Path) -> None:
    with serving(FastAPI(routes=[*openai_routes(ScriptedTier(TierBusy("full")))])) as url:
        run = ran(f"openai:{url}/v1#scripted", tmp_path)
    assert len(run.samples) == 3
    assert all(sample.error for sample in run.samples)


def test_a_server_whose_model_has_no_template(tmp_path: Path) -> None:
    server = OpenAIServer()
    said = "default chat template is no longer allowed, so you must provide a chat template"
    with serving(server.app) as url:
        _ = server.models
        server.refusal = JSONResponse({"error": {"message": said, "code": 400}}, 400)
        run = ran(f"openai:{url}/v1#tiny", tmp_path)
    assert all(sample.error for sample in run.samples)


def test_a_file_without_a_template_is_named_unless_our_layout_will_do(
    make_gguf: Callable[..., Path], tmp_path: Path
) -> None:
    path = make_gguf("plain.gguf", chat_template=False)
    assert chat_template(parse_spec(f"gguf:{path}")) == ""
    run = ran(f"gguf:{path}", tmp_path / "a")
    assert all("no chat template" in str(sample.error) for sample in run.samples)
    assert run.settings["template_sha256"] is None
    assert not any(sample.error for sample in ran(f"gguf:{path}", tmp_path / "b", own_layout=True).samples)


def test_files_that_are_no_chat_model(
    vocab_gguf: Path, embedder_gguf: Path, truncated_gguf: Path, garbage_gguf: Path, tmp_path: Path
) -> None:
    missing = tmp_path / "none.gguf"
    for number, path in enumerate((embedder_gguf, vocab_gguf, truncated_gguf, garbage_gguf, missing)):
        run = ran(f"gguf:{path}", tmp_path / str(number), own_layout=True)
        assert all(sample.error and sample.error.startswith("model_") for sample in run.samples)


def test_an_answer_that_takes_too_long_is_a_failure(tmp_path: Path) -> None:
    server = OllamaServer(pause_s=0.3)
    with serving(server.app) as url:
        run = ran("ollama:m", tmp_path, deadline_s=0.05, options={"url": url})
    assert [str(sample.error).split(":")[0] for sample in run.samples] == [EngineTimeout.code] * 3


def test_a_run_that_was_broken_off_goes_on(tmp_path: Path) -> None:
    server = OllamaServer(["Oui."])

    def stop(sample: Sample) -> None:
        if sample.id == "d1":
            raise KeyboardInterrupt

    with serving(server.app) as url:
        with pytest.raises(KeyboardInterrupt):
            ran("ollama:m", tmp_path, options={"url": url}, on_sample=stop)
        assert (tmp_path / PARTIAL).is_file()
        assert not (tmp_path / RESULTS).exists()
        server.bodies.clear()
        run = ran("ollama:m", tmp_path, options={"url": url})
    assert [body["messages"][0]["content"] for body in server.bodies if "messages" in body] == ["d2 ?"]
    assert [sample.id for sample in run.samples] == ["d0", "d1", "d2"]


def test_a_run_goes_on_with_the_same_threads_and_deadline_alone(tmp_path: Path) -> None:
    """Half of a run's seconds on one thread and half on eight would be one median."""
    server, spec = OllamaServer(["Oui."]), parse_spec("ollama:m")

    def stop(sample: Sample) -> None:
        if sample.id == "d0":
            raise KeyboardInterrupt

    def asked_again(**how: object) -> int:
        with pytest.raises(KeyboardInterrupt):
            run_spec(spec, TASK, tmp_path, threads=1, options={"url": url}, on_sample=stop)
        server.bodies.clear()
        run_spec(spec, TASK, tmp_path, force=True, options={"url": url}, **how)  # type: ignore[arg-type]
        (tmp_path / RESULTS).unlink()
        return sum("messages" in body for body in server.bodies)

    with serving(server.app) as url:
        assert asked_again(threads=1) == 2
        assert asked_again(threads=8) == 3
        assert asked_again(threads=1, deadline_s=5.0) == 3


CARD = """#!{python}
from pathlib import Path
place = Path(__file__).with_name("held")
print(place.read_text() if place.exists() else "100")
"""


def test_the_card_is_looked_at_while_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine in this process gives its memory back before the block ends; the tool counts in MiB."""
    tool, held = tmp_path / "nvidia-smi", tmp_path / "held"
    tool.write_text(CARD.format(python=sys.executable), encoding="utf-8")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_memory_mb() == 104.9
    with MemoryWatch(every_s=0.001, gpu_every=1) as memory:
        held.write_text("1000\n2000\n", encoding="utf-8")
        wait_until(lambda: (memory.gpu_peak_mb or 0) > 105)
        held.unlink()
    assert memory.figures()["gpu_peak_mb"] == 3145.7


def test_memory_is_looked_at_while_it_is_used() -> None:
    with MemoryWatch(every_s=0.001) as memory:
        held = bytearray(60_000_000)
        assert len(held) == 60_000_000
        del held
    figures = memory.figures()
    assert figures["peak_mb"] is not None
    assert figures["before_mb"] is not None
    assert (figures["gpu_peak_mb"] is None) == (gpu_memory_mb() is None)


def test_the_command_line(tiny_gguf: Path, tmp_path: Path) -> None:
    (tmp_path / "roles.yaml").write_text(
        f"roles: {{philosopher: {{provider: gguf, model: {tiny_gguf}}}}}", encoding="utf-8"
    )
    (tmp_path / "set.jsonl").write_text(
        QUESTIONS.read_text(encoding="utf-8").split("\n")[0] + "\n{broken\n", encoding="utf-8"
    )
    command = [
        sys.executable, "-m", "evaluation", "schemes", "--engine", "role:philosopher@prompt=plain", "--set",
        str(tmp_path / "set.jsonl"), "--max-tokens", "4", "--threads", "1", "--out", str(tmp_path / "run"), "--json",
    ]  # fmt: skip
    environment = {"PATH": "/usr/bin:/bin", "BAF_CONFIG": str(tmp_path / "roles.yaml"), "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert (found["summary"]["n"], found["summary"]["failures"]) == (2, 1)
    assert "set.jsonl:2: no JSON" in " ".join(done.stderr.split())
    again = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stdout) == (1, "")
    assert "never overwritten" in again.stderr
