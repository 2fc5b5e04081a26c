"""`python -m benchmarks.retrieval`: both stores at 14,000, 100,000 and a million passages, side by side.

The texts of the smallest size are real (BAF_CORPORA_DIR); larger ones are filled up with sentences of them, shuffled
with a seed. Vectors are synthetic at every size, seeded and clustered, and the result says so: what is measured is the
search after the question's vector, how near it comes to the exact one, how long an index takes to make, and its memory.
Every cell is a process of its own and is saved when it is done: an interrupted run goes on.
"""

import json
import lzma
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.machine import save
from errors import RetrievalError
from retrieval.cut import Paragraph, cut
from retrieval.embedders import EmbedderId, unit
from retrieval.passages import Passage
from retrieval.readers import read_document
from retrieval.store import Searcher, open_builder, open_store
from settings import load_settings

SIZES = (14_000, 100_000, 1_000_000)
STORES = ("embedded", "lance")
LIMITS_MS = {14_000: 5.0, 100_000: 10.0, 1_000_000: 20.0}  # p50 of a search on two threads, at recall@10 >= .95
DIMENSIONS = 384
QUERIES = 200
PART = 4_096  # passages put at once
NEARNESS = 0.75  # how much of a vector is its cluster's; e5's own neighbours are about as near
ROOT = Path(__file__).parents[1]


def real_passages(corpora: Path) -> list[Passage]:
    """Return the works, and general French after them, cut as an index cuts them."""
    texts: list[tuple[str, list[Paragraph]]] = [
        (path.stem, list(read_document(path).paragraphs)) for path in sorted((corpora / "works").rglob("*.jsonl"))
    ]
    for path in sorted((corpora / "french").glob("*.txt.xz"))[:1]:
        with lzma.open(path, "rt", encoding="utf-8") as file:
            texts.append((path.stem, [Paragraph(line) for line in file.read(8_000_000).splitlines() if line.strip()]))
    pieces = ((name, piece) for name, paragraphs in texts for piece in cut(paragraphs))
    return [
        Passage(f"{name}-{number}", one.text, author=one.author, work=one.work or name, section=one.section)
        for number, (name, one) in enumerate(pieces)
    ][: SIZES[0]]


def passages(real: Sequence[Passage], count: int) -> Iterator[Passage]:
    """Yield the real passages, then shuffled mixtures of their sentences, the same ones every time."""
    yield from real[:count]
    draw = random.Random(1)  # noqa: S311  # a seed, not a secret
    sentences = [part for one in real for part in one.text.split(". ") if len(part) > 20]
    for number in range(len(real), count):
        text = ". ".join(draw.choices(sentences, k=6))
        yield Passage(f"mixed-{number}", text, work=real[number % len(real)].work)


def vectors(count: int) -> np.ndarray:
    """Return (count, 384) float16 of length 1, in clusters of about 100, with a spectrum that falls as e5's does."""
    rng = np.random.default_rng(2)
    scale = (np.arange(1, DIMENSIONS + 1) ** -0.5).astype(np.float32)
    centres = unit(rng.standard_normal((max(count // 100, 1), DIMENSIONS), np.float32) * scale)
    made = np.empty((count, DIMENSIONS), np.float16)
    for at in range(0, count, PART):
        size = min(PART, count - at)
        near = centres[rng.integers(len(centres), size=size)]
        noise = unit(rng.standard_normal((size, DIMENSIONS), np.float32) * scale)
        made[at : at + size] = unit(NEARNESS * near + (1 - NEARNESS) * noise)
    return made


class GivenVectors:
    """An embedder whose vectors were made beforehand: only the search is timed."""

    def __init__(self, questions: dict[str, np.ndarray]) -> None:
        self._questions = questions

    id = EmbedderId("synthetic", "synthetic", DIMENSIONS)

    def query(self, text: str) -> np.ndarray:
        """Return the vector made for this question."""
        return self._questions[text]

    def passages(self, texts: Sequence[str]) -> np.ndarray:
        """Never asked here."""
        raise RetrievalError(f"No vectors for {len(texts)} passages.")

    def close(self) -> None:
        """Nothing is held."""


def cell(store: str, size: int, folder: Path, corpora: Path) -> dict[str, Any]:
    """Build one index and search it; see the module."""
    address = str(folder / "index") if store == "embedded" else f"lancedb://{folder}/db/index"
    real = real_passages(corpora)
    rows = vectors(size)
    began = time.perf_counter()
    builder = open_builder(address, GivenVectors.id)
    batch: list[Passage] = []
    at = 0
    for one in passages(real, size):
        batch.append(one)
        if len(batch) == PART or at + len(batch) == size:
            builder.put(f"part {at}", "-", batch, rows[at : at + len(batch)].astype(np.float32))
            at, batch = at + len(batch), []
    put_s = time.perf_counter() - began
    builder.commit()
    builder.close()
    build_s = time.perf_counter() - began
    build_mb = _peak_mb()
    searched = subprocess.run(
        [sys.executable, "-m", "benchmarks.retrieval", "--search", address, "--sizes", str(size)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if searched.returncode:
        raise RetrievalError(f"The search at {size} in {store} failed: {searched.stderr[-300:]}")
    disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    made = {"put_s": put_s, "build_s": build_s, "build_peak_mb": build_mb, "disk_mb": disk / 1e6, "real": len(real)}
    return {"store": store, "passages": size, **made, **json.loads(searched.stdout)}


def search(address: str, size: int, corpora: Path) -> dict[str, Any]:
    """Search an index with vectors near those of passages, and compare with the exact neighbours."""
    rows = vectors(size)
    rng = np.random.default_rng(3)
    chosen = rng.choice(size, QUERIES, replace=False)
    noise = unit(rng.standard_normal((QUERIES, DIMENSIONS), np.float32))
    asked = unit(rows[chosen].astype(np.float32) + 0.3 * noise)
    exact = _exact(rows, asked)
    real = real_passages(corpora)
    del rows
    words = [" ".join(real[int(place) % len(real)].text.split()[:12]) for place in chosen]
    questions = {f"{text} {number}": vector for number, (text, vector) in enumerate(zip(words, asked, strict=True))}
    before = _held_mb()
    began = time.perf_counter()
    store = open_store(address)
    opened_s = time.perf_counter() - began
    searcher = Searcher(store, GivenVectors(questions))
    places = {one.id: number for number, one in enumerate(real)}
    spent, legs, near = [], [], []
    for text in questions:
        searcher.search(text)  # once, so that files are in the page cache, as in a service that runs
    for number, (text, vector) in enumerate(questions.items()):
        began = time.perf_counter()
        searcher.search(text)
        spent.append(1000 * (time.perf_counter() - began))
        began = time.perf_counter()
        found = store.candidates(None, vector, pool=10)
        legs.append(1000 * (time.perf_counter() - began))
        ids = [one.id for one in store.fetch(found.rows.tolist())]
        got = {places[name] if name in places else int(name.removeprefix("mixed-")) for name in ids}
        near.append(len(got & set(exact[number].tolist())) / 10)
    times = {f"{name}_p{q}": float(np.percentile(of, q)) for name, of in (("search_ms", spent), ("vectors_ms", legs))
             for q in (50, 95)}  # fmt: skip
    return {
        **times,
        "recall@10": float(np.mean(near)),
        "open_s": opened_s,
        "memory_mb": _held_mb() - before,
    }


def _exact(rows: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Return (n_queries, 10) row numbers of the nearest vectors, looked at in chunks."""
    best = np.full((len(asked), 10), -np.inf, np.float32)
    where = np.zeros((len(asked), 10), np.int64)
    for at in range(0, len(rows), 50_000):
        scores = asked @ rows[at : at + 50_000].astype(np.float32).T
        both = np.concatenate([best, scores], axis=1)
        place = np.concatenate([where, np.broadcast_to(np.arange(at, at + scores.shape[1]), scores.shape)], axis=1)
        top = np.argpartition(-both, 9, axis=1)[:, :10]
        best, where = np.take_along_axis(both, top, 1), np.take_along_axis(place, top, 1)
    return where


def _held_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6  # Linux tells KiB


def main(
    out: Annotated[Path, typer.Option(help="Result file; cells in it are kept.")] = Path(
        "benchmarks/results/retrieval.json"
    ),
    sizes: Annotated[str, typer.Option(help="Passages, with commas.")] = ",".join(map(str, SIZES)),
    stores: Annotated[str, typer.Option(help="Stores, with commas.")] = ",".join(STORES),
    one: Annotated[str, typer.Option("--cell", hidden=True)] = "",
    searched: Annotated[str, typer.Option("--search", hidden=True)] = "",
) -> None:
    """Measure every store at every size, one after the other."""
    corpora = load_settings().corpora_dir
    if corpora is None:
        raise SystemExit("BAF_CORPORA_DIR is not set; the real texts lie there.")
    wanted = [int(size) for size in sizes.split(",")]
    if searched:
        sys.stdout.write(json.dumps(search(searched, wanted[0], corpora)))
        return
    if one:
        with tempfile.TemporaryDirectory(dir=load_settings().data_dir, prefix="bench-") as folder:
            sys.stdout.write(json.dumps(cell(one, wanted[0], Path(folder), corpora)))
        return
    done: list[dict[str, Any]] = json.loads(out.read_text(encoding="utf-8"))["cells"] if out.exists() else []
    for size in wanted:
        for store in stores.split(","):
            if any((kept["store"], kept["passages"]) == (store, size) for kept in done):
                continue
            if os.getloadavg()[0] > 1:
                sys.stderr.write(f"Another job is running (load {os.getloadavg()[0]:.1f}): times will be too long.\n")
            done.append(_run(store, size))
            save(out, {"vectors": "synthetic, seeded", "threads": 2, "queries": QUERIES, "cells": done})
            sys.stderr.write(f"{verdict(done[-1])}\n")


def _run(store: str, size: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.retrieval", "--cell", store, "--sizes", str(size)]
    env = {**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "LANCE_CPU_THREADS": "2"}
    ran = subprocess.run(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True, check=False)
    if ran.returncode:
        raise SystemExit(f"{store} at {size} ended with status {ran.returncode}.")
    result: dict[str, Any] = json.loads(ran.stdout)
    return result


def verdict(done: dict[str, Any]) -> str:
    """Say in a line what a cell came to."""
    limit = LIMITS_MS.get(done["passages"])
    met = (
        "" if limit is None else (" met" if done["search_ms_p50"] <= limit and done["recall@10"] >= 0.95 else " missed")
    )
    times = f"search p50 {done['search_ms_p50']:.1f} ms, p95 {done['search_ms_p95']:.1f}"
    return (
        f"{done['store']} {done['passages']}: {times}, "
        f"recall@10 {done['recall@10']:.3f}, built in {done['build_s']:.0f} s, {done['memory_mb']:.0f} MB{met}"
    )


if __name__ == "__main__":
    typer.run(main)
