"""How well passages are found: evaluation sets, measures, and intervals that say what may be chance. Knows no command.

Source of the intervals: Efron's bootstrap, paired (the same questions for both rankings) and by cluster (the questions
of one article rise and fall together), bias-corrected and accelerated, as `scipy.stats.bootstrap` computes it.
"""

import json
import os
import platform
import resource
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from engines.llama_model import granted_cpus
from errors import RetrievalError
from retrieval.embedders import Embedder
from retrieval.memory_store import MemoryStore
from retrieval.notes import load_notes
from retrieval.passages import EVERYTHING, Filter, Passage, query_tokens
from retrieval.ranking import mix
from retrieval.store import Found, Mode, Searcher

DEPTH = 10  # ranks that are looked at
MEASURES = ("R@1", "R@5", "R@10", "MRR@10", "nDCG@10")
WEIGHTS = tuple(round(0.05 * step, 2) for step in range(21))  # of the vectors, tried when tuning
K1S, BS = (0.7, 0.9, 1.2), (0.6, 0.75)  # of BM25, tried with each of them
TUNED = "both, k1, b and weight tuned on the other half"
RESAMPLES = 2000


Tuned = tuple[float, float, float]  # k1, b, weight


@dataclass(frozen=True)
class Question:
    """One question of an evaluation set.

    Attributes:
        id: Its name.
        text: As asked.
        relevant: Ids of the passages that answer it; empty when nothing does.
        cluster: Questions of one cluster are resampled together.
        where: Which passages may be found for it.
    """

    id: str
    text: str
    relevant: frozenset[str]
    cluster: str
    where: Filter = EVERYTHING


@dataclass(frozen=True)
class EvalSet:
    """Questions and the passages among which they are asked.

    Attributes:
        name: Of the set.
        passages: All of them.
        questions: In order.
        embedded: What is embedded of each passage.
    """

    name: str
    passages: tuple[Passage, ...]
    questions: tuple[Question, ...]
    embedded: tuple[str, ...]


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        # Not splitlines: JSON may hold U+2028 as it is.
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except OSError as error:
        raise RetrievalError(f"The evaluation set {path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise RetrievalError(f"{path.name} holds a line that is no JSON ({error}).") from None


def read_piaf(corpora: Path) -> EvalSet:
    """Read PIAF: Wikipedia paragraphs, each with the title of its article, and questions about them.

    Raises:
        RetrievalError: The files are missing or wrong.
    """
    folder = corpora / "retrieval_eval" / "piaf"
    passages = tuple(Passage(one["id"], one["text"], title=one["title"]) for one in _lines(folder / "corpus.jsonl"))
    article = {one.id: one.title for one in passages}
    questions = tuple(
        Question(one["id"], one["question"], frozenset(one["relevant"]), article[one["relevant"][0]])
        for one in _lines(folder / "queries.jsonl")
    )
    return EvalSet("piaf", passages, questions, tuple(one.embedded_text for one in passages))


def _note_set(name: str, notes: Path, questions: Sequence[Question]) -> EvalSet:
    read = [note for path in sorted(notes.glob("*.jsonl")) for note in load_notes(path)]
    passages = tuple(note.to_passage() for note in read)
    return EvalSet(name, passages, tuple(questions), tuple(note.embedded_text for note in read))


def read_notes(notes: Path, queries: Path, split: str = "test") -> EvalSet:
    """Read messages in pupils' words, each put to one philosopher's notes; some are answered by none.

    Raises:
        RetrievalError: The files are missing or wrong.
    """
    questions = [
        Question(
            f"{path.stem}-{number}",
            one["message"],
            frozenset([one["note"], *one["also"]] if one["note"] else []),
            f"{path.stem}-{number}",
            Filter(author=path.stem),
        )
        for path in sorted(queries.glob("*.jsonl"))
        for number, one in enumerate(_lines(path), 1)
        if one["split"] == split
    ]
    if not questions:
        raise RetrievalError(f"No questions of the split {split!r} in {queries}.")
    return _note_set("notes", notes, questions)


def read_questions(path: Path, notes: Path) -> EvalSet:
    """Read a jsonl of {"id", "question", "relevant": [ids of notes]} and, if it is said, "philosopher".

    Raises:
        RetrievalError: A line lacks a key, or names a note that does not exist.
    """
    known = {one.id for one in _note_set("", notes, ()).passages}
    questions = []
    for number, one in enumerate(_lines(path), 1):
        try:
            where = Filter(author=one.get("philosopher") or "")
            question = Question(str(one["id"]), one["question"], frozenset(one["relevant"]), str(one["id"]), where)
        except (KeyError, TypeError, AttributeError) as error:
            raise RetrievalError(f"{path.name}:{number}: expected id, question, relevant ({error!r}).") from None
        if question.relevant - known:
            raise RetrievalError(f"{path.name}:{number}: no note {sorted(question.relevant - known)[0]!r}.")
        questions.append(question)
    return _note_set(path.stem, notes, questions)


def measures_of(ranked: Sequence[str], relevant: frozenset[str]) -> list[float]:
    """Return the five `MEASURES` of one ranking, each from 0 to 1.

    >>> [round(value, 2) for value in measures_of(["a", "b", "c"], frozenset({"b"}))]
    [0.0, 1.0, 1.0, 0.5, 0.63]
    """
    gains = [1.0 if one in relevant else 0.0 for one in ranked[:DEPTH]]
    first = next((place for place, gain in enumerate(gains) if gain), None)
    ideal = sum(1 / np.log2(place + 2) for place in range(min(len(relevant), DEPTH)))
    found = sum(gain / np.log2(place + 2) for place, gain in enumerate(gains))
    hits = [float(any(gains[:depth])) for depth in (1, 5, 10)]
    return [*hits, 0.0 if first is None else 1 / (first + 1), float(found / ideal)]


def interval(differences: np.ndarray, clusters: Sequence[str]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of paired differences, resampling whole clusters.

    Args:
        differences: (n_questions,) of one measure.
        clusters: Of each question.
    """
    from scipy.stats import bootstrap

    _, place = np.unique(np.array(clusters), return_inverse=True)
    sums, counts = np.bincount(place, differences), np.bincount(place).astype(float)
    if len(sums) < 2 or np.ptp(sums / counts) == 0:  # nothing varies: the bootstrap would find no number
        return float(differences.mean()), float(differences.mean())

    def mean(of_sums: np.ndarray, of_counts: np.ndarray, axis: int) -> np.ndarray:
        ratio: np.ndarray = of_sums.sum(axis=axis) / of_counts.sum(axis=axis)
        return ratio

    found = bootstrap(
        (sums, counts), mean, paired=True, vectorized=True, n_resamples=RESAMPLES, rng=np.random.default_rng(0)
    ).confidence_interval
    return float(found.low), float(found.high)


@dataclass(frozen=True)
class Row:
    """What one way of ranking reaches on a set.

    Attributes:
        name: Of the way.
        means: Of each of `MEASURES`.
        gains: Over words alone: mean difference and its 95 % interval, of each measure; empty for words alone.
        times_ms: Of a search after the question's vector: "p50" and "p95"; empty where nothing was timed.
    """

    name: str
    means: dict[str, float]
    gains: dict[str, list[float]]
    times_ms: dict[str, float]


def open_searcher(chosen: EvalSet, embedder: Embedder | None, progress: Callable[[float], None]) -> Searcher:
    """Embed a set's passages and return a searcher over them."""
    vectors = None
    if embedder:
        parts = []
        for at in range(0, len(chosen.embedded), 16):
            parts.append(embedder.passages(chosen.embedded[at : at + 16]))
            progress(at / len(chosen.embedded))
        vectors = np.concatenate(parts)
    return Searcher(MemoryStore(chosen.name, chosen.passages, vectors, embedder.id if embedder else None), embedder)


def evaluate(
    chosen: EvalSet, searcher: Searcher, progress: Callable[[float], None], reranked: Searcher | None = None
) -> dict[str, Any]:
    """Rank every question by words, by vectors, by both, and, where asked, reranked; side by side.

    Returns:
        The set's sizes, a `Row` for each way, the tuned weights, and how the threshold decides.

    Raises:
        RetrievalError: No question has an answer.
    """
    asked = [question for question in chosen.questions if question.relevant]
    if not asked:
        raise RetrievalError(f"{chosen.name}: none of {len(chosen.questions)} questions has an answer to be ranked.")
    ways: dict[str, Callable[[Question], Found]] = {"words": _way(searcher, "lexical")}
    if searcher.embedder:
        ways |= {"vectors": _way(searcher, "dense"), "both": _way(searcher, "hybrid")}
    if reranked:
        ways["both, reranked"] = _way(reranked, "hybrid")
    values: dict[str, np.ndarray] = {}
    times: dict[str, dict[str, float]] = {}
    embedding: list[float] = []
    for number, (name, way) in enumerate(ways.items()):
        rows, spent = [], []
        for place, question in enumerate(asked):
            progress((number + place / len(asked)) / len(ways))
            if searcher.embedder and name != "words":  # beforehand: the embedder remembers its last questions
                began = time.perf_counter()
                searcher.embedder.query(question.text)
                embedding += [1000 * (time.perf_counter() - began)] if name == "vectors" else []
            began = time.perf_counter()
            found = way(question)
            spent.append(1000 * (time.perf_counter() - began))
            rows.append(measures_of([hit.passage.id for hit in found.hits], question.relevant))
        values[name] = np.array(rows)
        times[name] = _percentiles(spent)
    tuned: list[Tuned] = []
    if searcher.embedder and isinstance(searcher.store, MemoryStore):
        values[TUNED], tuned = _tuned(chosen, searcher, searcher.store)
    clusters = [question.cluster for question in asked]
    return {
        "set": chosen.name,
        "passages": len(chosen.passages),
        "questions": len(asked),
        "unanswered": len(chosen.questions) - len(asked),
        "weight": searcher.weight,
        "tuned_weights": [weight for _, _, weight in tuned],
        "tuned_bm25": [[k1, b] for k1, b, _ in tuned],
        "query_vector_ms": _percentiles(embedding),
        "rows": [_row(name, rows, values["words"], clusters, times.get(name, {})) for name, rows in values.items()],
        "threshold": threshold_report(chosen, searcher),
    }


def _percentiles(spent: Sequence[float]) -> dict[str, float]:
    return {f"p{share}": float(np.percentile(spent, share)) for share in (50, 95)} if spent else {}


def _way(searcher: Searcher, mode: Mode) -> Callable[[Question], Found]:
    return lambda question: searcher.search(question.text, DEPTH, where=question.where, mode=mode)


def _row(
    name: str, values: np.ndarray, base: np.ndarray, clusters: Sequence[str], times: Mapping[str, float]
) -> dict[str, Any]:
    gains = {}
    if values is not base:
        for place, measure in enumerate(MEASURES):
            difference = values[:, place] - base[:, place]
            gains[measure] = [float(difference.mean()), *interval(difference, clusters)]
    means = dict(zip(MEASURES, values.mean(axis=0).tolist(), strict=True))
    return Row(name, means, gains, dict(times)).__dict__


def _tuned(chosen: EvalSet, searcher: Searcher, store: MemoryStore) -> tuple[np.ndarray, list[Tuned]]:
    """Choose k1, b and the weight together on each half of the clusters, by MRR, and score them on the other half."""
    asked = [question for question in chosen.questions if question.relevant]
    vectors = [searcher.embedder.query(question.text) if searcher.embedder else None for question in asked]
    ids = [one.id for one in chosen.passages]
    tried: list[Tuned] = [(k1, b, weight) for k1, b in product(K1S, BS) for weight in WEIGHTS]
    scores = np.zeros((len(tried), len(asked), len(MEASURES)))
    for start, (k1, b) in zip(range(0, len(tried), len(WEIGHTS)), product(K1S, BS), strict=True):
        weighed = store.with_bm25(k1, b)
        for number, (question, vector) in enumerate(zip(asked, vectors, strict=True)):
            found = weighed.candidates(query_tokens(question.text), vector, where=question.where)
            for place, weight in enumerate(WEIGHTS, start):
                order = np.argsort(-mix(found, weight), kind="stable")[:DEPTH]
                scores[place, number] = measures_of([ids[row] for row in found.rows[order]], question.relevant)
    names = sorted({question.cluster for question in asked})
    half = {name: place % 2 for place, name in enumerate(np.random.default_rng(0).permutation(names).tolist())}
    side = np.array([half[question.cluster] for question in asked])
    mrr = MEASURES.index("MRR@10")
    best = [int(scores[:, side == own, mrr].mean(axis=1).argmax()) for own in (0, 1)]
    pooled = np.where((side == 0)[:, None], scores[best[1]], scores[best[0]])
    return pooled, [tried[best[0]], tried[best[1]]]


def threshold_report(chosen: EvalSet, searcher: Searcher) -> dict[str, Any]:
    """Say how often the threshold keeps what answers, and holds back where nothing does."""
    kept: list[bool] = []
    held_back: list[bool] = []
    for question in chosen.questions:
        relevant = searcher.search(question.text, 3, where=question.where).relevant
        if question.relevant:
            kept.append(bool(relevant))
        else:
            held_back.append(not relevant)
    return {
        "kept where something answers": float(np.mean(kept)) if kept else None,
        "held back where nothing does": float(np.mean(held_back)) if held_back else None,
    }


def circumstances() -> dict[str, Any]:
    """Return the command, date, cores and load of the machine, and the most memory this process has held, in MB."""
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "command": f"python -m retrieval {shlex.join(sys.argv[1:])}",
        "machine": f"{platform.system()} {platform.machine()}",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": granted_cpus(),
        "load_1min": round(os.getloadavg()[0], 2),
        "peak_memory_mb": round(peak_kb / 1024),
    }
