"""`python -m benchmarks.domains`: 10,000 targets of each domain, drawn as the server draws them, all judged anew.

Each target is made for a cell of the balanced sampler, with the paths reached so far; then it is judged anew: schema,
rules, TOON, its cell's topics. Into a share of them every rule's violation is planted, which the validator has to name.
"""

import importlib
import json
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.machine import save
from cli import run_commands
from corpus.server.domain import Domain, load_domain
from corpus.server.paths import reached
from corpus.server.quotas import Cell
from corpus.server.sampler import Sampler
from corpus.server.targets import from_toon, to_toon

DOMAINS = ("succession", "schemes", "business_analyst")
PLANTED_EVERY = 50  # a violation of each rule is planted into each target with this number
SHOWN = 5  # faults kept in full


@dataclass
class Found:
    """What was seen of one domain's targets.

    Attributes:
        seen: How many targets reached each path.
        faults: Targets that are not valid, do not survive TOON, or are about something else.
        planted: Violations by code: how many, how many were named, how many were the only code named.
        texts: Targets as JSON, to count the distinct ones.
        made_s: Seconds for each target.
    """

    seen: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    planted: dict[str, Counter[str]] = field(default_factory=dict)
    texts: set[str] = field(default_factory=set)
    made_s: list[float] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)


def cells(domain: Domain, count: int, seed: int) -> list[Cell]:
    """Return balanced cells, as a server without expiries would serve them."""
    sampler = Sampler(domain.plan(count), seed=seed)
    return [cell for _ in range(count) if (cell := sampler.draw()) is not None]


def judge(domain: Domain, cell: Cell, target: Mapping[str, Any]) -> list[str]:
    """Return everything wrong with a target, as sentences."""
    found = [f"{one.code} {one.path}: {one.message}" for one in domain.findings(target)]
    found += domain.pack.alignment(target, cell)
    return found if from_toon(to_toon(target)) == target else [*found, "does not survive TOON"]


def plant_all(domain: Domain, target: Mapping[str, Any], found: Found) -> None:
    """Plant each violation of the domain into a target and count what the validator says of it."""
    violations = importlib.import_module(f"corpus.domains.{domain.key}.violations")
    for code, ways in violations.PLANTED.items():
        count = found.planted.setdefault(code, Counter())
        for number in range(len(ways)):
            spoilt = violations.plant(code, number, target)
            if spoilt is None:
                continue
            codes = {one.code for one in domain.findings(spoilt)}
            count["planted"] += 1
            count["named"] += code in codes
            count["alone"] += codes == {code}
            if code not in codes:
                found.missed.append(f"{code} way {number}: {sorted(codes)} in {json.dumps(spoilt, ensure_ascii=False)}")


def measure(domain: Domain, count: int, *, seed: int = 0, planted_every: int = PLANTED_EVERY) -> Found:
    """Make and judge `count` targets."""
    found = Found()
    for number, cell in enumerate(cells(domain, count, seed), 1):
        chance = random.Random(f"{seed}:{number}")  # noqa: S311  the same result on every machine
        begun = time.perf_counter()
        target = domain.target(cell, chance, found.seen)
        found.made_s.append(time.perf_counter() - begun)
        found.seen.update(set(reached(target)) & domain.paths)
        found.texts.add(json.dumps(target, sort_keys=True, ensure_ascii=False))
        found.faults += [f"{number}: {one}" for one in judge(domain, cell, target)]
        if number % planted_every == 0:
            plant_all(domain, target, found)
    return found


def summed(domain: Domain, found: Found, count: int) -> dict[str, Any]:
    """Return what a person wants to know."""
    unreached = sorted(domain.paths - set(found.seen))
    lengths = [len(text) for text in found.texts]
    return {
        "targets": len(found.made_s), "asked": count, "distinct": len(found.texts), "faults": len(found.faults),
        "first_faults": found.faults[:SHOWN], "paths": len(domain.paths), "unreached": unreached,
        "rarest": sorted([n, path] for path, n in found.seen.items())[:SHOWN],
        "json_characters": {"median": statistics.median(lengths), "longest": max(lengths)},
        "seconds": {
            "all": round(sum(found.made_s), 2), "median_ms": round(1000 * statistics.median(found.made_s), 3),
            "p99_ms": round(1000 * sorted(found.made_s)[int(0.99 * (len(found.made_s) - 1))], 3),
        },
        "planted": {code: dict(counts) for code, counts in sorted(found.planted.items())},
        "first_missed": found.missed[:SHOWN],
    }  # fmt: skip


def fine(told: Mapping[str, Any]) -> bool:
    """Whether a domain's result is what is asked: all made, all valid, every path reached, every violation named."""
    named = all(counts["named"] == counts["planted"] > 0 for counts in told["planted"].values())
    return named and not told["faults"] and not told["unreached"] and bool(told["targets"] == told["asked"])


def kept(out: Path, count: int, seed: int) -> dict[str, dict[str, Any]]:
    """Return the domains that a result file has already, measured alike: a stopped run goes on."""
    if not out.exists():
        return {}
    told = json.loads(out.read_text(encoding="utf-8"))
    return dict(told["domains"]) if (told["targets"], told["seed"]) == (count, seed) else {}


def run(
    out: Annotated[Path, typer.Option(help="Result file.")] = Path("benchmarks/results/domains.json"),
    count: Annotated[int, typer.Option("--targets", min=1, help="Of each domain.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Of the cells and of the targets.")] = 0,
    only: Annotated[list[str] | None, typer.Option("--domain", help="One domain, or several; default: all.")] = None,
) -> None:
    """Make targets of each domain, judge them, and write the result; a domain that the file has already is kept."""
    results = kept(out, count, seed)
    for key in [one for one in only or DOMAINS if one not in results]:
        domain = load_domain(key)
        begun = time.perf_counter()
        found = measure(domain, count, seed=seed)
        told = summed(domain, found, count)
        results[key] = {**told, "seconds_with_judging": round(time.perf_counter() - begun, 1)}
        sys.stderr.write(f"{key}: {told['targets']} targets, {told['faults']} faults, "
                         f"{len(told['unreached'])} unreached, {len(found.missed)} violations missed\n")  # fmt: skip
        met = set(DOMAINS) <= set(results) and all(map(fine, results.values()))
        save(out, {"met": met, "targets": count, "seed": seed, "domains": results})
    if not all(map(fine, results.values())):
        raise SystemExit(1)


if __name__ == "__main__":
    run_commands(run)
