"""The matrix: what is finished is kept, what fails is told, and nothing is measured beside other programs."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import table
from benchmarks.engine import Results, Run, chosen, fill, find_model, measure_cell, wait_until_alone
from benchmarks.load import Counter, make_workload
from benchmarks.peers import SERVERS, Server, Start, running
from errors import EngineError

DIES = Server("dies", lambda start: [sys.executable, "-c", "raise SystemExit('no such model')"])
KILLED = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def do_POST(self):
        os._exit(9)
http.server.HTTPServer(("127.0.0.1", {port}), Handler).serve_forever()
"""
IS_KILLED = Server("is-killed", lambda start: [sys.executable, "-c", KILLED.format(port=start.port)])


def at_once(patience_s: float) -> None:
    """Tests run beside other programs, and time nothing."""


@pytest.fixture
def run(start: Start) -> Run:
    naive = replace(SERVERS["naive"], at=(1,))
    return Run(start, (1, 2), (DIES, IS_KILLED, naive), rounds=1, turns=1, limit_s=60, patience_s=0)


def test_a_failed_server_is_a_failed_cell_and_the_run_goes_on(run: Run, count: Counter, tmp_path: Path) -> None:
    results = Results(tmp_path / "engine.json", run.said())
    fill(run, results, count, at_once)
    saved = json.loads((tmp_path / "engine.json").read_text(encoding="utf-8"))["cells"]
    assert list(saved) == ["dies/1/1", "is-killed/1/1", "naive/1/1", "dies/2/1", "is-killed/2/1"]
    assert "no such model" in saved["dies/1/1"]["error"]
    assert saved["is-killed/2/1"]["error"]
    assert saved["naive/1/1"]["answers"] == 1
    assert saved["naive/1/1"]["tokens"] == 64

    again = Results(tmp_path / "engine.json", run.said())
    todo = [key for key in saved if not again.has("cells", key)]
    assert todo == ["dies/1/1", "is-killed/1/1", "dies/2/1", "is-killed/2/1"]  # what failed is tried again


def test_a_resumed_matrix_skips_what_is_finished(run: Run, count: Counter, tmp_path: Path) -> None:
    """A server that cannot start would fail, were it started."""
    only = replace(run, servers=(DIES,), pupils=(1,), rounds=2)
    path = tmp_path / "engine.json"
    Results(path, only.said()).put("cells", "dies/1/1", {"tokens_per_s": 3.0, "ttft_s": None})
    fill(only, Results(path, only.said()), count, at_once)
    saved = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert saved["dies/1/1"] == {"tokens_per_s": 3.0, "ttft_s": None}
    assert "error" in saved["dies/1/2"]


def test_a_server_killed_in_mid_answer_is_reported(run: Run, count: Counter) -> None:
    found = measure_cell(run, IS_KILLED, make_workload(count, 1), "killed", warm=False)
    assert found["error"].startswith("The server died with status 9")


def test_results_of_another_run_are_not_mixed(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "engine.json"
    Results(path, run.said()).put("cells", "x/1/1", {})
    with pytest.raises(EngineError, match="holds another run"):
        Results(path, replace(run, turns=2).said())


def test_a_busy_machine_is_named_and_nothing_is_measured() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as spinning:
        try:
            with pytest.raises(EngineError, match=r"Other programs run \(\d"):
                wait_until_alone(0)
        finally:
            spinning.kill()


def test_a_server_is_stopped_with_all_that_it_started(start: Start, tmp_path: Path) -> None:
    """A child that ignores the polite signal, in a group of its own, is gone afterwards."""
    code = "import signal, subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
    command = [sys.executable, "-c", code + KILLED.format(port=start.port)]
    with running(command, f"http://127.0.0.1:{start.port}", "/", tmp_path / "log") as (pid, _):
        pass
    left = subprocess.run(["ps", "-o", "pid=", "--pgroup", str(pid)], capture_output=True, text=True, check=False)
    assert left.stdout.strip() == ""


def test_names_are_checked_first(tmp_path: Path) -> None:
    assert [server.name for server in chosen("ours, naive")] == ["ours", "naive"]
    with pytest.raises(EngineError, match=r"No server 'vllm'\. Known: ours"):
        chosen("vllm")
    with pytest.raises(EngineError, match="is missing"):
        find_model("demo", tmp_path)
    with pytest.raises(EngineError, match="Give one of mistral-7b"):
        find_model("mistral-8b", tmp_path)
    assert find_model("tiny", tmp_path).name == "tiny.gguf"


def cell(speed: float, wait: float, **more: Any) -> dict[str, Any]:
    spread = {"p50": wait, "p95": 2 * wait, "max": 3 * wait}
    return {"tokens_per_s": speed, "decode_tokens_per_s": speed, "ttft_s": spread, "ttft_first_turn_s": spread,
            "gap_s": spread, "rss_peak_gb": 5.0, "cpu_s": 9.0, "n_errors": 0, "cut_by_limit": False,
            "prompt_tokens": 100, "cached_tokens": 80, "new_tokens_first_turn": [30], **more}  # fmt: skip


@pytest.fixture
def data() -> dict[str, Any]:
    cells = {f"ours/8/{number}": cell(20.0 + number, 1.0) for number in (1, 2, 3)}
    cells |= {"ours/1/1": cell(9.0, 1.0), "llama-server-tuned/8/1": cell(11.0, 5.0), "naive/4/1": cell(5.0, 60.0)}
    cells |= {"llama-server-defaults/8/1": cell(8.0, 4.0), "llama_cpp.server/4/1": {"error": "died"}}
    answers = [{"pl": 8, "tg": 92, "t_tg": 30.0, "t_pp": 9.0}]
    limits = {
        "batched/tiled": {"rows": answers},
        "questions/tiled": {"rows": [{"pl": 8, "tg": 1, "t_tg": 1.0, "t_pp": 2.0}]},
        "decode/repacked/1": {"rows": [{"n_depth": 0, "avg_ts": 10.0}, {"n_depth": 512, "avg_ts": 9.2}]},
        "decode/tiled/2": {"rows": [{"n_depth": 0, "avg_ts": 3.0}, {"n_depth": 512, "avg_ts": 3.0}]},
        "read/tiled/1": {"rows": [{"avg_ts": 33.0}]},
    }
    starts = {"ours": {"load_s": [2.0, 2.2], "with_files_s": [2.5, 2.9]}}
    run = {"model": "shape", "threads": 2, "turns": 3}
    return {"run": run, "cells": cells, "cold": {"ours/16": cell(1.0, 9.0)}, "starts": starts, "limits": limits}


def test_targets_compare_medians_with_the_best_setting(data: dict[str, Any]) -> None:
    found: dict[str, Any] = {target.text: (target.found, target.verdict) for target in table.targets(data)}
    assert found["tokens/s at 8 / llama-server's best setting"] == (2.0, "met")
    assert found["tokens/s at 8 / naive lock"] == (pytest.approx(22 / 5), "met")
    limit = 8 * 92 / 32
    assert found["tokens/s at 8 / llama-batched-bench, questions in the time"] == (pytest.approx(22 / limit), "met")
    assert found["first text at 8, p50 / llama-server's best"] == (0.25, "met")
    assert found["tokens/s of one answer / llama-bench at depth 512"] == (pytest.approx(9 / 9.2), "met")
    assert found["the same / llama-bench at depth 0"] == (0.9, "missed")
    assert found["first text of one pupil, warm persona / reading its new tokens"] == (pytest.approx(33 / 30), "met")
    data["cells"] |= {f"ours/1/{number}": cell(3.0 * number / 2, 1.0) for number in (2, 3)}  # a slower hour, and alone
    assert table.decode_share(data, 512) == pytest.approx((9 / 9.2 + 1.0) / 2)
    assert found["resident GB at 8, tiled kernels"] == (None, "not measured")
    assert found["start with persona files, seconds beyond loading"][1] == "met"


def test_the_page_and_the_plot_are_written(data: dict[str, Any], tmp_path: Path) -> None:
    table.write(data, tmp_path / "engine.md")
    page = (tmp_path / "engine.md").read_text(encoding="utf-8")
    assert "| 8 | ours | 3 | 22.00 |" in page
    assert "llama_cpp.server/4/1 failed: died" in page
    assert "| ours/16 | 9.00 | 18.00 |" in page
    table.plot(data, tmp_path / "engine.png")
    assert (tmp_path / "engine.png").read_bytes().startswith(b"\x89PNG")


def test_an_empty_result_has_a_page_too(tmp_path: Path) -> None:
    empty = {"run": {"model": "m", "threads": 2, "turns": 3}, "cells": {}, "cold": {}, "starts": {}, "limits": {}}
    assert table.render(empty).count("not measured") == len(table.targets(empty))
    table.plot(empty, tmp_path / "empty.png")
