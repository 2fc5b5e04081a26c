"""`python -m benchmarks.instruction_server`: the instruction server under many writers, and under kill -9.

`balance`: simulated writers fill a corpus over HTTP; some let their lease run out, some write badly until they are
refused for good. From the log: how far each level ever was from its share, when every pair had been seen, what is left
in the end; from the clock: how long an instruction takes. `kills`: the server is killed under load, again and again;
what it acknowledged has to be there. Knows the routes and the log; nothing inside the server.
"""

import asyncio
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from benchmarks.instruction_load import ROOT, Seen, case_text, desk, serving, write
from benchmarks.machine import save
from cli import run_commands
from corpus.seed.cases import Found, load_seed, write_seed
from corpus.server.domain import Domain, load_domain
from corpus.server.quotas import remaining
from corpus.server.sampler import Sampler
from corpus.server.state import seeded_counts
from errors import CorpusError

RESULT = ROOT / "benchmarks" / "results" / "instruction-server.json"
WRITERS = 12
PATIENCE_S = 60.0  # for a first accepted text on a busy machine
LEASE_S = 4.0  # short, so that a writer who is gone is noticed within the measurement
P50_MS, P99_MS = 2.0, 10.0  # of an instruction over HTTP: the targets
COVERAGE = 1.6  # times the least number of issues in which every pair can be seen

app = typer.Typer(help=(__doc__ or "").split("\n", 1)[0], add_completion=False, no_args_is_help=True)
talk = Console(stderr=True)


def events_of(state: Path) -> list[dict[str, Any]]:
    """Return the log of a folder, a torn last line left out."""
    lines = (state / "log.jsonl").read_bytes().split(b"\n")[:-1]
    return [json.loads(line) for line in lines]


def least_issues(sampler: Sampler) -> int:
    """Return how many issues it takes at the least until every feasible pair has been seen, whoever draws.

    A level that is a tenth of all comes once in ten issues, and meets one level of another dimension each time.
    """
    least = 0.0
    for first, second in combinations(sampler.quotas, 2):
        for one, other in ((first, second), (second, first)):
            met = Counter(dict(pair)[one] for pair in sampler.feasible if {pair[0][0], pair[1][0]} == {one, other})
            for level, partners in met.items():
                least = max(least, 1 + (partners - 1) * sampler.wanted / sampler.quotas[one][level])
    return math.ceil(least)


def replayed(domain: Domain, total: int, seeds: Path, events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return balance and coverage after every event of a log, as numbers and as curves.

    The bound of the sampler is one of issues that follow each other. Where several cells come back between two issues,
    no choice of the next cell makes up for all of them: what holds then is told beside it (`while_cells_wait`).
    """
    plan = domain.plan(total, seeded_counts(load_seed(seeds).cells, domain.weights))
    sampler = Sampler(plan)
    free = sampler.free
    cells: dict[str, dict[str, str]] = {}
    accepted: Counter[tuple[str, str]] = Counter()
    worst_free = worst_all = worst_settled = 0.0
    most = 0  # cells served at once, so far: fewer now means that cells given back wait to be served again
    covered: int | None = None
    curve: list[tuple[int, float, float, int]] = []
    for event in events:
        kind = event["event"]
        if kind == "issued":
            cells[event["id"]] = event["cell"]
            sampler.count(event["cell"])
            far = sampler.worst_error(free)
            worst_free, worst_all = max(worst_free, far), max(worst_all, sampler.worst_error())
            most = max(most, sampler.served)
            if sampler.served == most:
                worst_settled = max(worst_settled, far)
            if covered is None and not sampler.unseen:
                covered = sampler.issued
            if sampler.issued % 20 == 0:
                curve.append((sampler.issued, sampler.worst_error(free), sampler.worst_error(), len(sampler.unseen)))
        elif kind == "accepted":
            accepted.update(cells[event["id"]].items())
        elif kind in ("expired", "released") or (kind == "rejected" and event["last"]):
            sampler.give_back(cells[event["id"]])
    quotas = remaining(plan)
    errors = {
        name: max(abs(accepted[name, level] - quota) for level, quota in levels.items())
        for name, levels in quotas.items()
    }
    least = least_issues(Sampler(plan))
    return {
        "wanted": sampler.wanted,
        "events": dict(Counter(event["event"] for event in events)),
        "free_dimensions": free,
        "worst_deviation_at_an_issue": {
            "free_dimensions": round(worst_settled, 3), "while_cells_wait": round(worst_free, 3),
            "all": round(worst_all, 3),
        },
        "final_error": {"free_dimensions": max(errors[name] for name in free), "all": max(errors.values())},
        "pairs": {
            "feasible": len(sampler.feasible), "seen": len(sampler.feasible) - len(sampler.unseen),
            "all_seen_after": covered, "least_possible": least, "allowed": math.floor(COVERAGE * least),
        },
        "curve": curve,
    }  # fmt: skip


def skewed_seed(domain: Domain, count: int, folder: Path, seed: int = 0) -> None:
    """Write a seed corpus in which the first levels of every dimension stand far too often."""
    chance = random.Random(seed)  # noqa: S311  a rehearsal, not a secret
    found: list[Found] = []
    while len(found) < count:
        cell = {
            name: chance.choices(
                list(levels), [weight**2 / (1 + place) for place, weight in enumerate(levels.values())]
            )[0]
            for name, levels in domain.weights.items()
        }
        if any(frozenset(pair) in domain.forbidden for pair in combinations(cell.items(), 2)):
            continue
        target = domain.target(cell, chance)
        found.append(Found("spec", f"skewed:{len(found) + 1}", case_text(target, chance), cell, target))
    write_seed(found, domain, folder)


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Return what is said of times, in milliseconds."""
    return {
        "n": len(values),
        **{f"p{at}": round(float(np.percentile(values, at)), 2) for at in (50, 90, 99)},
        "max": round(max(values), 2),
    }


@app.command()
def balance(
    total: Annotated[int, typer.Option(help="Cases in all.")] = 5000,
    seeds: Annotated[int, typer.Option(help="Of which a skewed seed corpus has so many.")] = 300,
    think: Annotated[float, typer.Option(help="Seconds that a text takes a writer, on average.")] = 1.0,
    out: Annotated[Path, typer.Option(help="Result (JSON); its part `balance` is replaced.")] = RESULT,
) -> None:
    """Fill a corpus with simulated writers, and look at every step of it."""
    domain = load_domain("succession")
    with TemporaryDirectory() as place:
        state, seeded = Path(place) / "state", Path(place) / "seed"
        skewed_seed(domain, seeds, seeded)
        seen = Seen()
        arguments = ["--state", str(state), "--target", str(total), "--seed-corpus", str(seeded)]
        arguments += ["--lease", str(LEASE_S)]
        load = [os.getloadavg()[0]]  # of the machine before, and after: others' work makes an answer late
        began = time.monotonic()
        with serving(arguments) as (process, port), desk() as texts:

            async def all_writers() -> None:
                names = [f"w{number}" for number in range(WRITERS)]
                await asyncio.gather(*(write(port, name, seen, think_s=think, seed=0, texts=texts) for name in names))

            asyncio.run(all_writers())
            took_s = time.monotonic() - began
            process.send_signal(signal.SIGINT)
            process.wait(30)
        load.append(os.getloadavg()[0])
        events = events_of(state)
        found = replayed(domain, total, seeded, events)
        full = sum(1 for _ in (state / "full_training_cases_mistral.jsonl").open(encoding="utf-8"))
        sizes = {path.name: path.stat().st_size for path in state.iterdir() if path.is_file()}
    curve = found.pop("curve")
    later = seen.issue_ms[-len(seen.issue_ms) // 5 :]
    result: dict[str, Any] = {
        "writers": WRITERS, "total": total, "seed_cases": seeds, "think_s": think, "lease_s": LEASE_S,
        "seconds": round(took_s, 1), "load_average": load, **found, "full_training_lines": full,
        "issue_ms": quantiles(seen.issue_ms), "issue_ms_last_fifth": quantiles(later),
        "submit_ms": quantiles(seen.submit_ms), "answers": dict(seen.answers),
        "good_texts_refused": dict(seen.reasons.most_common(10)), "bytes": sizes,
    }  # fmt: skip
    _keep(out, "balance", result)
    draw(curve, seen, result, out.with_suffix(".png"))
    _tell(result)


def _keep(out: Path, part: str, result: Mapping[str, Any]) -> None:
    """Replace one part of the result file, and leave the other."""
    old = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    save(out, {key: old[key] for key in ("balance", "kills") if key in old} | {part: dict(result)})


def _tell(result: Mapping[str, Any]) -> None:
    talk.print(
        {key: result[key] for key in ("seconds", "events", "worst_deviation_at_an_issue", "final_error", "pairs")}
    )
    talk.print({key: result[key] for key in ("issue_ms", "issue_ms_last_fifth", "submit_ms", "good_texts_refused")})


def draw(curve: Sequence[tuple[int, float, float, int]], seen: Seen, result: Mapping[str, Any], path: Path) -> None:
    """Draw deviation, coverage and times into a small PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from PIL import Image

    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    issues = [row[0] for row in curve]
    left.plot(issues, [row[2] for row in curve], color="#d9a441", lw=0.8, label="with forbidden pairs")
    left.plot(issues, [row[1] for row in curve], color="#3c6e71", lw=0.8, label="others")
    left.axhline(1, color="#a23b3b", lw=0.8)
    left.set(title="farthest level from its share, cases", xlabel="instructions issued", ylim=(0, None))
    left.legend(fontsize=8, frameon=False)
    middle.plot(issues, [row[3] for row in curve], color="#3c6e71")
    middle.axvline(result["pairs"]["allowed"], color="#a23b3b", lw=0.8)
    middle.set(title="pairs of levels not seen yet", xlabel="instructions issued (line: allowed)", xscale="log")
    bins = np.geomspace(0.3, max(30.0, *seen.issue_ms), 50)
    right.hist(seen.issue_ms, bins=bins, color="#8fa6b2")
    right.axvline(P50_MS, color="#d9a441", lw=0.8)
    right.axvline(P99_MS, color="#a23b3b", lw=0.8)
    right.set(title="ms for an instruction (lines: p50, p99 wanted)", xscale="log")
    partial = path.with_suffix(".partial")
    figure.savefig(partial, format="png", dpi=80)
    pyplot.close(figure)
    with Image.open(partial) as picture:
        picture.convert("RGB").quantize(64).save(partial, format="png", optimize=True)
    partial.replace(path)


def killed(
    state: Path, times: int, *, total: int, domain: str = "succession", under_load_s: float = 0.6
) -> dict[str, Any]:
    """Kill a server under load, again and again, and say what is missing of what it acknowledged.

    Args:
        state: Of the server.
        times: How often.
        total: Cases in all; more than can be written meanwhile.
        domain: Key; the writers know how to write for `succession`.
        under_load_s: Seconds of load before each kill, on average.
    """
    chance = random.Random(times)  # noqa: S311  a rehearsal, not a secret
    arguments = ["--state", str(state), "--target", str(total), "--domain", domain, "--lease", "600"]
    acknowledged, handed = set(), set()
    lost: list[str] = []
    for number in range(times):
        seen = Seen()
        with serving(arguments) as (process, port), desk() as texts:
            asyncio.run(_load_and_kill(process, port, seen, chance.uniform(0.5, 1.5) * under_load_s, number, texts))
        acknowledged |= set(seen.accepted)
        handed |= set(seen.issued)
        events = events_of(state)
        kept = {event["id"] for event in events if event["event"] == "accepted"}
        lost += sorted(
            (acknowledged - kept) | (handed - {event["id"] for event in events if event["event"] == "issued"})
        )
    with serving(arguments) as (process, port), desk() as texts:
        asyncio.run(_load_and_kill(process, port, Seen(), under_load_s, times, texts, how=signal.SIGINT))
    grown = derived(state)
    for name in grown:
        (state / name).unlink()
    again = [sys.executable, "-m", "corpus", "rebuild", *arguments[:6]]
    subprocess.run(again, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
    rebuilt = derived(state)
    twice = Counter(event["id"] for event in events_of(state) if event["event"] == "accepted")
    return {
        "kills": times,
        "acknowledged_submissions": len(acknowledged),
        "acknowledged_instructions": len(handed),
        "lost": lost,
        "accepted_twice": sorted(name for name, count in twice.items() if count > 1),
        "files": len(grown),
        "files_rebuilt_otherwise": sorted(name for name in grown if rebuilt.get(name) != grown[name]),
        "torn_lines": len((state / "log.torn").read_bytes().splitlines()) if (state / "log.torn").exists() else 0,
    }


async def _load_and_kill(
    process: subprocess.Popen[bytes],
    port: int,
    seen: Seen,
    after_s: float,
    seed: int,
    texts: Executor,
    how: int = signal.SIGKILL,
) -> None:
    work = [
        asyncio.create_task(write(port, f"w{n}", seen, think_s=0.02, seed=seed, texts=texts, faults=False))
        for n in range(WRITERS)
    ]
    await asyncio.sleep(after_s)
    with suppress(TimeoutError):  # a server that has promised nothing can break nothing
        await asyncio.wait_for(seen.promised.wait(), PATIENCE_S)
    os.kill(process.pid, how)
    await asyncio.gather(*work)
    process.wait(30)


def derived(state: Path) -> dict[str, bytes]:
    """Return every file of a folder but the log, its torn end and the lock."""
    kept = {"log.jsonl", "log.torn", "lock"}
    paths = [path for path in state.rglob("*") if path.is_file() and path.name not in kept]
    return {str(path.relative_to(state)): path.read_bytes() for path in sorted(paths)}


@app.command()
def kills(
    times: Annotated[int, typer.Option(min=1, help="How often the server is killed.")] = 30,
    out: Annotated[Path, typer.Option(help="Result (JSON); its part `kills` is replaced.")] = RESULT,
) -> None:
    """Kill the server under load and look for what it had promised to keep."""
    with TemporaryDirectory() as place:
        result = killed(Path(place) / "state", times, total=5000)
    _keep(out, "kills", result)
    talk.print(result)
    if result["lost"] or result["accepted_twice"] or result["files_rebuilt_otherwise"]:
        raise CorpusError("something that was acknowledged is missing; see the result.")


if __name__ == "__main__":
    run_commands(app)
