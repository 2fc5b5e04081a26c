"""`python -m benchmarks.engine mistral-7b-v0.3`: our engine beside its peers, cell by cell, and llama.cpp's own limits.

A cell is one server with N pupils in one round. Servers take turns, one is alive at a time, and nothing else may run.
Every finished cell is saved at once: the same command goes on where it was stopped. Knows the servers and the load;
`benchmarks.table` knows the targets.
"""

import asyncio
import json
import logging
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import httpx
import psutil
import typer
from rich.console import Console

from benchmarks import load, shapes, table
from benchmarks.machine import circumstances, save
from benchmarks.peers import CELLS, PORT, SERVERS, Server, Start, build_tools, running
from cli import run_commands
from conversion.gguf import PACKAGE
from errors import EngineError
from evaluation.result import cpu_name, sha256_of

ENGINES = Path(__file__).parents[1] / "engines"
SAME = ("model_sha256", "llama_cpp", "cpu")  # of what cells of one file are measured with; the engine's code may differ
RESULTS = Path("benchmarks/results")
DEMO = "demo"
DEMO_FILE = "bergson-and-friends-demo.gguf"
DEFAULT_SERVERS = tuple(name for name in SERVERS if not name.startswith("ours-"))
BUSY_CPUS = 0.3  # of other programs: above, a cell is not begun
BENCH_FIELDS = ("test_time", "n_prompt", "n_gen", "n_depth", "avg_ts", "stddev_ts", "samples_ts")  # of llama-bench
BATCHED_FIELDS = ("pp", "tg", "pl", "t_pp", "t_tg", "t")  # of llama-batched-bench
LOOK_S = 2.0
NEW_TOKENS = 32  # of a turn: the question, 15 to 40 tokens, and what surrounds it
ANSWER_TOKENS = sum(load.ANSWER_TOKENS) // len(load.ANSWER_TOKENS)
DEPTH = 512  # tokens that a chat holds already, on average
N_STARTS = 3

log = logging.getLogger(__name__)
talk = Console(stderr=True)


@dataclass(frozen=True)
class Run:
    """What is measured, the same for every cell.

    Attributes:
        start: Model, port, threads and folders.
        pupils: Numbers of pupils.
        servers: Who is measured, in this order.
        rounds: How often.
        turns: Questions of each pupil.
        limit_s: Seconds after which a cell is cut off; what came until then counts.
        patience_s: Seconds to wait for other programs to end.
    """

    start: Start
    pupils: tuple[int, ...]
    servers: tuple[Server, ...]
    rounds: int
    turns: int
    limit_s: float
    patience_s: float

    @property
    def url(self) -> str:
        """Where the server under test listens."""
        return f"http://127.0.0.1:{self.start.port}"

    def said(self) -> dict[str, Any]:
        """What a result says of it; results of different runs are never mixed."""
        return {"model": self.start.model.stem, "threads": self.start.threads,
                "turns": self.turns, "persona_tokens": list(load.PERSONA_TOKENS),
                "question_tokens": list(load.QUESTION_TOKENS), "answer_tokens": list(load.ANSWER_TOKENS),
                "closed_every": load.CLOSED_EVERY, "limit_s": self.limit_s}  # fmt: skip

    def made(self) -> dict[str, Any]:
        """What a measure depends on beside that: a file is filled over days, and every cell says with what."""
        code = b"".join(path.read_bytes() for path in sorted(ENGINES.rglob("*.py")))
        return {"engines": sha256(code).hexdigest(), "model_sha256": weights_of(self.start.model),
                "llama_cpp": version(PACKAGE), "cpu": cpu_name(), "command": circumstances()["command"]}  # fmt: skip


def weights_of(model: Path) -> str:
    """Return what tells weights from others: a file's hash; of a shape the hash of its numbers.

    A shape's weights are random, and its vocabulary follows our texts: it differs by some hundred bytes from week to
    week, which no speed depends on.
    """
    shape = shapes.SHAPES.get(model.stem)
    return sha256(repr(shape).encode()).hexdigest() if shape else sha256_of(model)


class Results:
    """The result file: read when it is there, written whole after every addition.

    Args:
        path: The file.
        run: As `Run.said` returns it.
        made: As `Run.made` returns it.

    Raises:
        EngineError: The file holds another run (another model, other turns, …), or one of another machine or library.
    """

    def __init__(self, path: Path, run: dict[str, Any], made: dict[str, Any]) -> None:
        self.path, self.made = path, made
        self.data: dict[str, Any] = {"run": run, "made": [], "cells": {}, "cold": {}, "starts": {}, "limits": {}}
        if path.exists():
            stored = json.loads(path.read_text(encoding="utf-8"))
            if stored.get("run") != run:
                raise EngineError(f"{path} holds another run ({stored.get('run')}); move it, or repeat that one.")
            self.data |= {key: stored[key] for key in self.data if key in stored}  # older files do not say how
            other = [name for one in self.data["made"] for name in SAME if one[name] != made[name]]
            if other:
                raise EngineError(f"{path} was measured with another {other[0]}; move it, or pass another --out-dir.")

    def has(self, section: str, key: str) -> bool:
        """Whether this was measured; what failed is tried again."""
        return key in self.data[section] and "error" not in self.data[section][key]

    def put(self, section: str, key: str, value: dict[str, Any]) -> None:
        """Add one result, with what it was measured and when, and save all."""
        if self.made not in self.data["made"]:
            self.data["made"].append(self.made)
        number, now = self.data["made"].index(self.made), datetime.now(UTC).isoformat(timespec="seconds")
        self.data[section][key] = {**value, "made": number, "at": now}
        save(self.path, self.data)


def others(look_s: float = LOOK_S) -> list[tuple[float, str]]:
    """Return the processors that every other program uses, the greediest first, with the beginning of its command."""

    def times() -> dict[int, tuple[float, str]]:
        found = {}
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                spent = process.cpu_times()
                found[process.pid] = (spent.user + spent.system, " ".join(process.cmdline())[:60] or process.name())
        return found

    before = times()
    time.sleep(look_s)
    used = [
        ((spent - before[pid][0]) / look_s, name)
        for pid, (spent, name) in times().items()
        if pid in before and pid != os.getpid()
    ]
    return sorted((one for one in used if one[0] > 0), reverse=True)


def wait_until_alone(patience_s: float) -> None:
    """Return once nothing else runs.

    Raises:
        EngineError: Something still does after `patience_s`; the message says what.
    """
    deadline = time.monotonic() + patience_s
    while True:
        busy = others()
        if sum(share for share, _ in busy) <= BUSY_CPUS:
            return
        said = "; ".join(f"{share:.2f} CPU {name}" for share, name in busy[:3])
        if time.monotonic() > deadline:
            raise EngineError(f"Other programs run ({said}). Stop them and repeat: finished cells are kept.")
        talk.print(f"waiting for other programs: {said}", highlight=False, markup=False)
        time.sleep(5)


def cells(run: Run) -> Iterator[tuple[str, Server, int, int]]:
    """Yield key, server, pupils and round of every cell: all servers in turn, then the next number of pupils."""
    for number in range(1, run.rounds + 1):
        for pupils in run.pupils:
            for server in run.servers:
                if server.at is None or pupils in server.at:
                    yield f"{server.name}/{pupils}/{number}", server, pupils, number


def worked(url: str) -> tuple[float, float]:
    """Return the seconds that our engine has spent in llama.cpp's decode, and in all else of its steps.

    Raises:
        EngineError: It does not say.
    """
    try:
        state = httpx.get(f"{url}/state", trust_env=False).json()
        return float(state["compute_s"]), float(state["python_s"])
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise EngineError(f"{url}/state does not answer: {type(error).__name__}.") from None


def measure_cell(run: Run, server: Server, workload: load.Workload, key: str, *, warm: bool = True) -> dict[str, Any]:
    """Start a server, send each persona once, let the pupils talk; a server that fails gives `{"error": …}`."""
    log_file = run.start.data_dir / "bench-logs" / f"{key.replace('/', '-')}.log"
    try:
        with running(server.command(run.start), run.url, server.ready, log_file) as (pid, ready_s):
            if warm:
                asyncio.run(load.warm(run.url, workload, ours=server.ours))
            before = worked(run.url) if server.ours else None
            found = asyncio.run(load.measure(run.url, workload, pid, ours=server.ours, limit_s=run.limit_s))
            if before:
                compute_s, python_s = (now - then for now, then in zip(worked(run.url), before, strict=True))
                found["python_share"] = round(python_s / (compute_s + python_s), 4)
    except EngineError as error:
        return {"error": str(error)}
    # Each request by itself is for whoever looks into a cell: beside the server's log, not in the result.
    log_file.with_suffix(".requests.json").write_text(json.dumps(found.pop("requests")), encoding="utf-8")
    return {"ready_s": round(ready_s, 2), **found}


def fill(run: Run, results: Results, count: load.Counter, alone: Callable[[float], None] = wait_until_alone) -> None:
    """Measure every cell that is missing."""
    todo = [cell for cell in cells(run) if not results.has("cells", cell[0])]
    for number, (key, server, pupils, round_) in enumerate(todo, 1):
        if server is SERVERS["ours"] and pupils == 1:
            fill_beside(run, results, round_, alone)
        alone(run.patience_s)
        workload = load.make_workload(count, pupils, turns=run.turns, seed=1000 * round_ + pupils)
        found = measure_cell(run, server, workload, key)
        results.put("cells", key, found)
        said = found.get("error") or f"{found['tokens_per_s']} tokens/s, first text {found['ttft_s']}"
        talk.print(f"{number}/{len(todo)} {key}: {said}", highlight=False, markup=False)


def fill_cold(run: Run, results: Results, count: load.Counter, alone: Callable[[float], None]) -> None:
    """Let the first users all come at once to servers that have read no persona yet."""
    for server in run.servers:
        key = f"{server.name}/{max(run.pupils)}"
        if server.at is not None or results.has("cold", key):
            continue
        alone(run.patience_s)
        with tempfile.TemporaryDirectory(prefix="cold-") as empty:
            cold = replace(run, start=replace(run.start, cache_dir=Path(empty), warm=False))
            workload = load.make_workload(count, max(run.pupils), turns=1, seed=7)
            results.put("cold", key, measure_cell(cold, server, workload, f"cold-{key}", warm=False))


def fill_starts(run: Run, results: Results, alone: Callable[[float], None]) -> None:
    """Time our starts: without personas, and with their files."""
    if results.has("starts", "ours"):
        return
    server = SERVERS["ours"]
    times: dict[str, list[float]] = {"load_s": [], "with_files_s": []}
    plans = [replace(run.start, warm=True)]  # writes the files, and is not counted
    plans += [replace(run.start, warm=warm) for _ in range(N_STARTS) for warm in (False, True)]
    for number, start in enumerate(plans):
        alone(run.patience_s)
        log_file = run.start.data_dir / "bench-logs" / "start.log"
        with running(server.command(start), run.url, server.ready, log_file) as (_, took):
            if number:
                times["with_files_s" if start.warm else "load_s"].append(round(took, 2))
    results.put("starts", "ours", times)


def tool(run: Run, name: str, *options: str) -> list[dict[str, Any]]:
    """Run one of llama.cpp's measuring programs and return its rows.

    Raises:
        EngineError: It failed; its last line is in the message.
    """
    threads = ["-t", str(run.start.threads)]
    command = [str(build_tools(run.start.data_dir) / name), "-m", str(run.start.model), *threads, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EngineError(f"{name} ended with {done.returncode}: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    # The other fields of a row, forty of the first, say again what stands in the command and in `run`.
    if name == "llama-bench":
        return [{key: row[key] for key in BENCH_FIELDS} for row in json.loads(done.stdout)]
    rows = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    return [{key: value for key, value in row.items() if key in BATCHED_FIELDS} for row in rows]


def fill_beside(run: Run, results: Results, round_: int, alone: Callable[[float], None]) -> None:
    """Measure what `llama-bench` does with one stream, just before ours has one: a host's speed changes by the hour."""
    for repack in (1, 0):
        bench = ["-b", "256", "-ub", "256", "-fa", "on", "--repack", str(repack), "-r", "3", "-o", "json"]
        plans = {
            "decode": ("-p", "0", "-n", "64", "-d", f"0,{DEPTH}"),
            "read": ("-p", str(NEW_TOKENS), "-n", "0", "-d", str(load.PERSONA_TOKENS[0])),
        }
        for what, options in plans.items():
            key = f"{what}/{'repacked' if repack else 'tiled'}/{round_}"
            measure_limit(run, results, key, ("llama-bench", *bench, *options), alone)  # one of yesterday is not beside


def fill_limits(run: Run, results: Results, alone: Callable[[float], None]) -> None:
    """Measure what llama.cpp itself can do with N streams in step, and with their questions; each N once."""
    batch = ["-c", str(CELLS), "-b", "256", "-ub", "256", "-fa", "on", "-kvu", "--output-format", "jsonl"]
    batch += ["-tb", str(run.start.threads)]
    for kind in ("repacked", "tiled"):
        options = [*batch, *([] if kind == "repacked" else ["--no-repack"])]
        plans = {
            "batched": ("-npp", str(DEPTH), "-ntg", str(ANSWER_TOKENS), "-pps"),
            "questions": ("-npp", str(NEW_TOKENS), "-ntg", "1"),
        }
        for what, more in plans.items():
            key = f"{what}/{kind}"
            known = results.data["limits"].get(key, {}).get("rows", [])
            missing = [str(one) for one in run.pupils if one not in {row["pl"] for row in known}]
            if missing:
                command = ("llama-batched-bench", *options, *more, "-npl", ",".join(missing))
                measure_limit(run, results, key, command, alone, known)


def measure_limit(
    run: Run,
    results: Results,
    key: str,
    command: Sequence[str],
    alone: Callable[[float], None],
    known: Sequence[dict[str, Any]] = (),
) -> None:
    """Run one of llama.cpp's measuring programs; its rows stand after those that are known."""
    alone(run.patience_s)
    results.put("limits", key, {"command": list(command), "rows": [*known, *tool(run, *command)]})
    talk.print(f"limit {key}", highlight=False)


def find_model(name: str, data_dir: Path) -> Path:
    """Return the file of a shape, of the embedded model ("demo") or of a path; a shape is written when missing.

    Raises:
        EngineError: There is no such file, or no such shape.
    """
    if name in shapes.SHAPES:
        path = data_dir / "models" / "shapes" / f"{name}.gguf"
        if not path.exists():
            shapes.write(name, path, show=shapes.bar(name))
        return path
    path = data_dir / "models" / DEMO_FILE if name == DEMO else Path(name)
    if not path.is_file():
        raise EngineError(
            f"{path} is missing. Give one of {', '.join(shapes.SHAPES)}, {DEMO} (`make setup`), or a path."
        )
    return path


def chosen(names: str) -> tuple[Server, ...]:
    """Return servers by their names.

    Raises:
        EngineError: There is no such server.
    """
    wanted = [name.strip() for name in names.split(",")]
    if unknown := [name for name in wanted if name not in SERVERS]:
        raise EngineError(f"No server {unknown[0]!r}. Known: {', '.join(SERVERS)}.")
    return tuple(SERVERS[name] for name in wanted)


def bench(
    model: Annotated[str, typer.Argument(help=f"{', '.join(shapes.SHAPES)}, {DEMO}, or the path of a GGUF.")],
    only: Annotated[str, typer.Option(help="Servers, by name, with commas.")] = ",".join(DEFAULT_SERVERS),
    n: Annotated[str, typer.Option(help="Numbers of pupils, with commas.")] = "1,2,4,8,16",
    rounds: Annotated[int, typer.Option(min=1, help="How often each cell is measured.")] = 3,
    turns: Annotated[int, typer.Option(min=1, help="Questions of each pupil.")] = load.TURNS,
    threads: Annotated[int, typer.Option(min=1, help="Of every server.")] = 2,
    what: Annotated[str, typer.Option(help="Parts to measure; none draws the page anew.")] = "cells,cold,starts,limits",
    limit_s: Annotated[float, typer.Option(help="Seconds a cell may take.")] = 900.0,
    patience_s: Annotated[float, typer.Option(help="Seconds to wait for other programs to end.")] = 600.0,
    data_dir: Annotated[Path, typer.Option(help="Where models and built tools lie.")] = Path(".data"),
    out_dir: Annotated[Path, typer.Option(help="Where results go.")] = RESULTS,
    port: Annotated[int, typer.Option(help="Of the server under test.")] = PORT,
) -> None:
    """Measure our engine beside its peers on one model; go on where the last call stopped; write table and plot."""
    path = find_model(model, data_dir)
    servers = chosen(only)
    cache = data_dir / "bench-cache" / path.stem
    start = Start(path, port, threads, data_dir, cache)
    run = Run(start, tuple(int(one) for one in n.split(",")), servers, rounds, turns, limit_s, patience_s)
    results = Results(out_dir / f"engine-{path.stem}.json", run.said(), run.made())
    if what and (any(server.name.startswith("llama-server") for server in servers) or "limits" in what):
        build_tools(data_dir)
    count = load.token_counter(path)
    parts: dict[str, Callable[[], None]] = {
        "cells": lambda: fill(run, results, count),
        "cold": lambda: fill_cold(run, results, count, wait_until_alone),
        "starts": lambda: fill_starts(run, results, wait_until_alone),
        "limits": lambda: fill_limits(run, results, wait_until_alone),
    }
    for part in filter(None, what.split(",")):
        if part not in parts:
            raise EngineError(f"No part {part!r}. Known: {', '.join(parts)}.")
        parts[part]()
    table.write(results.data, out_dir / f"engine-{path.stem}.md")
    table.plot(results.data, out_dir / f"engine-{path.stem}.png")
    print(out_dir / f"engine-{path.stem}.md")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; an error of ours becomes one line on stderr and exit status 1."""
    run_commands(bench, level=logging.WARNING, arguments=arguments)


if __name__ == "__main__":
    main()
