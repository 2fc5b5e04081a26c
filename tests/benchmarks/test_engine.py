"""The matrix: what is finished is kept, what fails is told, and nothing is measured beside other programs."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import table
from benchmarks.engine import (
    RESULTS,
    Results,
    Run,
    chosen,
    fill,
    fill_beside,
    fill_limits,
    find_model,
    measure_cell,
    wait_until_alone,
    weights_of,
    worked,
)
from benchmarks.load import Counter, make_workload
from benchmarks.machine import circumstances
from benchmarks.peers import SERVERS, TOOLS, Server, Start, running, tool_folder
from errors import EngineError
from evaluation.bench import memory_gb

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
MADE = {"engines": "e" * 64, "model_sha256": "abc", "llama_cpp": "1", "cpu": "a cpu", "command": "python -m x"}
IS_KILLED = Server("is-killed", lambda start: [sys.executable, "-c", KILLED.format(port=start.port)])


def at_once(patience_s: float) -> None:
    """Tests run beside other programs, and time nothing."""


@pytest.fixture
def run(start: Start) -> Run:
    naive = replace(SERVERS["naive"], at=(1,))
    return Run(start, (1, 2), (DIES, IS_KILLED, naive), rounds=1, turns=1, limit_s=60, patience_s=0)


def test_a_shape_is_the_same_whatever_its_vocabulary_and_another_model_is_its_bytes(tmp_path: Path) -> None:
    shape, again, other = tmp_path / "tiny.gguf", tmp_path / "new" / "tiny.gguf", tmp_path / "mistral-7b-v0.3.gguf"
    mine, changed = tmp_path / "mine.gguf", tmp_path / "changed" / "mine.gguf"
    for place, path in enumerate((shape, again, other, mine, changed)):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes([place]))
    assert weights_of(shape) == weights_of(again) != weights_of(other)
    assert weights_of(mine) != weights_of(changed)


def test_a_failed_server_is_a_failed_cell_and_the_run_goes_on(run: Run, count: Counter, tmp_path: Path) -> None:
    results = Results(tmp_path / "engine.json", run.said(), run.made())
    fill(run, results, count, at_once)
    saved = json.loads((tmp_path / "engine.json").read_text(encoding="utf-8"))["cells"]
    assert list(saved) == ["dies/1/1", "is-killed/1/1", "naive/1/1", "dies/2/1", "is-killed/2/1"]
    assert "no such model" in saved["dies/1/1"]["error"]
    assert saved["is-killed/2/1"]["error"]
    assert saved["naive/1/1"]["answers"] == 1
    assert saved["naive/1/1"]["tokens"] == 64

    again = Results(tmp_path / "engine.json", run.said(), run.made())
    todo = [key for key in saved if not again.has("cells", key)]
    assert todo == ["dies/1/1", "is-killed/1/1", "dies/2/1", "is-killed/2/1"]  # what failed is tried again


def test_a_resumed_matrix_skips_what_is_finished(run: Run, count: Counter, tmp_path: Path) -> None:
    """A server that cannot start would fail, were it started."""
    only = replace(run, servers=(DIES,), pupils=(1,), rounds=2)
    path = tmp_path / "engine.json"
    Results(path, only.said(), MADE).put("cells", "dies/1/1", {"tokens_per_s": 3.0, "ttft_s": None})
    fill(only, Results(path, only.said(), MADE), count, at_once)
    saved = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert saved["dies/1/1"].items() > {"tokens_per_s": 3.0, "ttft_s": None}.items()
    assert "error" in saved["dies/1/2"]


def test_a_server_killed_in_mid_answer_is_reported(run: Run, count: Counter) -> None:
    found = measure_cell(run, IS_KILLED, make_workload(count, 1), "killed", warm=False)
    assert found["error"].startswith("The server died with status 9")


def test_a_cell_of_ours_says_how_much_of_its_steps_is_python(start: Start, count: Counter) -> None:
    only = Run(start, (1,), (SERVERS["ours"],), rounds=1, turns=1, limit_s=60, patience_s=0)
    found = measure_cell(only, SERVERS["ours"], make_workload(count, 1, turns=1), "python-share")
    assert 0 < found["python_share"] < 1
    with pytest.raises(EngineError, match=r"/state does not answer: ConnectError"):
        worked("http://127.0.0.1:9")


def test_results_of_another_run_are_not_mixed(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "engine.json"
    Results(path, run.said(), MADE).put("cells", "x/1/1", {})
    with pytest.raises(EngineError, match="holds another run"):
        Results(path, replace(run, turns=2).said(), MADE)
    for name in ("model_sha256", "llama_cpp", "cpu"):
        with pytest.raises(EngineError, match=f"measured with another {name}"):
            Results(path, run.said(), {**MADE, name: "another"})


def test_every_cell_says_with_what_it_was_measured_and_when(run: Run, tmp_path: Path) -> None:
    """An engine may become better between two cells; the file then says so."""
    path = tmp_path / "engine.json"
    Results(path, run.said(), MADE).put("cells", "x/1/1", {})
    later = Results(path, run.said(), {**MADE, "engines": "f" * 64})
    later.put("cells", "x/1/2", {})
    later.put("limits", "y", {"rows": []})
    saved = json.loads(path.read_text(encoding="utf-8"))
    assert [one["engines"][0] for one in saved["made"]] == ["e", "f"]
    assert [saved["cells"][key]["made"] for key in ("x/1/1", "x/1/2")] == [0, 1]
    assert saved["limits"]["y"]["at"].startswith("20")
    said = table.render({**saved, "cells": {}, "starts": {"older": {}}})
    assert f"| 1 | {saved['limits']['y']['at']} | {saved['limits']['y']['at']} | ffffffff | abc | 1 | a cpu |" in said
    assert "| 1 | not noted |" in said
    made = run.made()
    assert set(made) == set(MADE)
    assert len(made["engines"]) == len(made["model_sha256"]) == 64


def test_results_that_were_committed_before_are_read(tmp_path: Path) -> None:
    for committed in RESULTS.glob("engine-*.json"):
        path = tmp_path / committed.name
        path.write_bytes(committed.read_bytes())
        data = json.loads(path.read_text(encoding="utf-8"))
        made = data.get("made") or [MADE]
        assert Results(path, data["run"], made[0]).data["cells"] == data["cells"]
        page = table.render(data)
        assert "| met |" in page
        assert ("not noted" in page) is any("made" not in cell for cell in data["cells"].values())


TOOL = """#!{python}
import json, sys
options = dict(zip(sys.argv[1:], sys.argv[2:]))
with open(__file__ + ".asked", "a") as asked:
    asked.write(options.get("-npl", options.get("-p")) + " ")
if "batched" in sys.argv[0]:
    for pupils in options["-npl"].split(","):
        print(json.dumps({{"pl": int(pupils), "tg": 92, "t_tg": 30.0, "t_pp": 2.0}}))
else:
    print(json.dumps([dict.fromkeys(
        ("test_time", "n_prompt", "n_gen", "n_depth", "avg_ts", "stddev_ts", "samples_ts"), 1)]))
"""


@pytest.fixture
def tools(run: Run) -> Path:
    """Programs with the names and the output of llama.cpp's, which write down what they were asked."""
    folder = tool_folder(run.start.data_dir.resolve())
    folder.mkdir(parents=True)
    for name in TOOLS:
        (folder / name).write_text(TOOL.format(python=sys.executable), encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder


def asked(tools: Path, name: str) -> str:
    path = tools / f"{name}.asked"
    said = path.read_text(encoding="utf-8") if path.exists() else ""
    path.unlink(missing_ok=True)
    return said


def test_a_limit_is_measured_for_the_numbers_of_pupils_that_are_missing(run: Run, tools: Path, tmp_path: Path) -> None:
    results = Results(tmp_path / "engine.json", run.said(), MADE)
    fill_limits(replace(run, pupils=(8,)), results, at_once)
    assert asked(tools, "llama-batched-bench") == "8 " * 4
    fill_limits(replace(run, pupils=(1, 8, 16)), results, at_once)
    assert asked(tools, "llama-batched-bench") == "1,16 " * 4
    fill_limits(replace(run, pupils=(1, 8, 16)), results, at_once)
    assert asked(tools, "llama-batched-bench") == ""
    assert [table.limit_of(results.data, pupils) is None for pupils in (1, 2, 8, 16)] == [False, True, False, False]


def test_what_stands_beside_ours_is_measured_just_before_it(run: Run, tools: Path, tmp_path: Path) -> None:
    """A cell that failed yesterday is measured today: so is what it is divided by."""
    results = Results(tmp_path / "engine.json", run.said(), MADE)
    for _ in range(2):
        fill_beside(run, results, 1, at_once)
        assert asked(tools, "llama-bench").split() == ["0", "32"] * 2
    assert sorted(results.data["limits"]) == ["decode/repacked/1", "decode/tiled/1", "read/repacked/1", "read/tiled/1"]


def test_memory_is_in_gigabytes() -> None:
    machine = circumstances()["machine"]
    assert isinstance(machine, dict)
    assert machine["memory_gb"] == memory_gb()


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


def test_targets_compare_what_was_measured_in_one_round(data: dict[str, Any]) -> None:
    """Of three rounds of ours, the one that the peers have too counts beside them: the host was slower in it."""
    found: dict[str, Any] = {target.text: (target.found, target.verdict) for target in table.targets(data)}
    assert found["tokens/s at 8 / llama-server's best setting"] == (pytest.approx(21 / 11), "missed")
    assert found["tokens/s at 8 / naive lock"] == (pytest.approx(21 / 5), "met")
    limit = 8 * 92 / 32
    assert found["tokens/s at 8 / llama-batched-bench, questions in the time"] == (pytest.approx(22 / limit), "met")
    assert found["first text at 8, p50 / llama-server's best"] == (0.25, "met")
    assert found["tokens/s of one answer / llama-bench at depth 512"] == (pytest.approx(9 / 9.2), "met")
    assert found["the same / llama-bench at depth 0"] == (0.9, "missed")
    assert found["first text of one pupil, warm persona / reading its new tokens"] == (pytest.approx(33 / 30), "met")
    data["cells"] |= {f"ours/1/{number}": cell(3.0 * number / 2, 1.0) for number in (2, 3)}  # a slower hour, and alone
    assert table.decode_share(data, 512) == pytest.approx([9 / 9.2, 1.0])
    data["cells"] |= {"llama-server-tuned/8/2": cell(10.0, 5.0), "llama-server-defaults/8/4": cell(1.0, 5.0)}
    assert table.beside_peers(data, 8, table.SPEED) == pytest.approx([21 / 11, 22 / 10])
    assert table.beside_peers(data, 8, table.FIRST, best=min) == pytest.approx([1 / 4, 1 / 5])
    assert found["resident GB at 8, tiled kernels"] == (None, "not measured")
    assert found["start with persona files, seconds beyond loading"][1] == "met"
    data["cells"] |= {"ours-tiled/8/1": cell(9.0, 1.0, rss_peak_gb=6.7), "ours-tiled/8/2": cell(9.0, 1.0)}
    assert table.newest(data, "ours-tiled", 8, table.MEMORY) == 5.0, "what the code takes now"


def test_the_page_and_the_plot_are_written(data: dict[str, Any], tmp_path: Path) -> None:
    table.write(data, tmp_path / "engine.md")
    page = (tmp_path / "engine.md").read_text(encoding="utf-8")
    assert "| 8 | ours | 3 | 22.00 |" in page
    assert "| 1.91 (1) | 0 |" in page
    assert "| tokens/s at 8 / llama-server's best setting | ≥ 2.0 | 1.91 | 1 | missed |" in page
    assert "llama_cpp.server/4/1 failed: died" in page
    assert "| ours/16 | 9.00 | 18.00 |" in page
    table.plot(data, tmp_path / "engine.png")
    assert (tmp_path / "engine.png").read_bytes().startswith(b"\x89PNG")


def test_an_empty_result_has_a_page_too(tmp_path: Path) -> None:
    empty = {"run": {"model": "m", "threads": 2, "turns": 3}, "cells": {}, "cold": {}, "starts": {}, "limits": {}}
    assert table.render(empty).count("not measured") == len(table.targets(empty))
    table.plot(empty, tmp_path / "empty.png")
