"""`make premium`: the page, its gateway and an OpenAI-compatible engine as processes of one machine."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.engines.servers import OpenAIServer
from tests.serving import serving

ROOT = Path(__file__).parents[2]
START_S = 200.0


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def running(command: list[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours, told to end as a host would tell it."""
    with log.open("wb") as file:
        child = subprocess.Popen(
            [sys.executable, "-m", "service", *command], cwd=ROOT, stdout=file, stderr=file,
            env={**os.environ, **environment},
        )  # fmt: skip
        try:
            yield child
        finally:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(30)
            finally:
                child.kill()


def ask(url: str, log: Path) -> httpx.Response:
    """Ask until the page is there and its answer is."""
    until = time.monotonic() + START_S
    body = {"persona": "kant", "messages": [{"role": "user", "content": "La loi morale permet-elle de mentir ?"}]}
    while True:
        try:
            return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=30, trust_env=False)
        except httpx.TransportError:
            assert time.monotonic() < until, log.read_text(encoding="utf-8")[-3000:]
            time.sleep(0.3)


def test_the_whole_premium_path_runs_on_one_machine(tmp_path: Path, tiny_gguf: Path) -> None:
    engine, port = OpenAIServer([" La", " loi", " morale", " [1]", " dit", " non", " [9]."]), free_port()
    log = tmp_path / "log"
    with (
        serving(engine.app) as address,
        running(
            ["premium", "--engine", f"openai:{address}/v1#tiny"], log,
            BAF_PORT=str(port), BAF_DATA_DIR=str(tmp_path / "data"), BAF_REPORTS_DIR=str(tmp_path / "reports"),
            BAF_FREE_MODEL=str(tiny_gguf), BAF_EMBEDDER="none",
        ),
    ):  # fmt: skip
        said = ask(f"http://127.0.0.1:{port}", log)
        left = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    assert said.status_code == 200, log.read_text(encoding="utf-8")[-3000:]
    answer = said.json()
    assert answer["choices"][0]["message"]["content"] == "La loi morale [1] dit non."
    assert answer["citations"][0]["author"] == "Kant"
    assert "marker_removed" in answer["notices"]
    assert 'calls_count{persona="kant",tier="premium"} 1.0' in left
    assert 'breaker_state{tier="premium"} 0.0' in left
    assert 'budget_left_dollars{tier="premium",window="day"}' in left
    [asked] = engine.bodies
    assert "Passages :" in asked["messages"][-1]["content"]
    assert "Traceback" not in log.read_text(encoding="utf-8")


@pytest.mark.parametrize("given", [{}, {"BAF_PREMIUM_SECRET": "short"}])
def test_a_gateway_without_its_secret_does_not_start(tmp_path: Path, given: dict[str, str]) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "service", "gateway", "--engine", "openai:http://127.0.0.1:1/v1#x"],
        cwd=ROOT, env={**os.environ, "BAF_DATA_DIR": str(tmp_path), **given}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert "BAF_PREMIUM_SECRET" in result.stderr
    assert "Traceback" not in result.stderr
