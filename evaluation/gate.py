"""Whether a new model may replace the committed one: not when it is worse beyond its interval. Knows runs, no engine.

The committed run is kept small: for each item the hash of its prompt, the answer, and what was measured of it.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from errors import EngineError
from evaluation.compared import MEASURED_BY, column, must_have_answered
from evaluation.result import as_json, must_be_new, write_text
from evaluation.runs import Run, Sample, load_run
from evaluation.statistics import LEVEL, contrast, estimate

KIND = "model-gate"
HASH_CHARS = 16  # of a prompt's hash: enough to see that a prompt is another one
SAME = (*MEASURED_BY, "split", "sampling", "own_layout")  # settings in which both runs must agree


@dataclass(frozen=True)
class Row:
    """One metric of both models.

    Attributes:
        metric: Its name.
        committed: Mean of the committed model.
        candidate: Mean of the new one.
        difference: Candidate minus committed, item by item.
        low: Lower end of its interval; the interval's level is raised for the number of metrics.
        high: Upper end.
        n: Items.
        clusters: Independent sources of them.
        worse: The whole interval is under 0.
    """

    metric: str
    committed: float
    candidate: float
    difference: float
    low: float
    high: float
    n: int
    clusters: int
    worse: bool


@dataclass(frozen=True)
class Gate:
    """The verdict, and what it rests on."""

    passed: bool
    candidate: str
    committed: str
    rows: tuple[Row, ...]

    def to_data(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return asdict(self)

    def spoken(self) -> str:
        """Say it in a few lines."""
        lines = [
            f"{row.metric}: {row.committed:.4f} -> {row.candidate:.4f}, difference {row.difference:+.4f} "
            f"({row.low:+.4f} to {row.high:+.4f}), {row.n} items{', WORSE' if row.worse else ''}"
            for row in self.rows
        ]
        last = "The gate is open: nothing is worse beyond its interval." if self.passed else "The gate stays shut."
        return "\n".join([*lines, last])


def compact(run: Run, metrics: Sequence[str]) -> dict[str, Any]:
    """Return the run as it is committed.

    Raises:
        EngineError: The run answered nothing, or not the whole set, or has none of the metrics.
    """
    must_have_answered(run)
    if run.settings.get("limit") is not None:
        raise EngineError(f"The run of {run.engine} was cut with --limit: measure the whole set and adopt that run.")
    kept = [name for name in metrics if any(name in sample.metrics for sample in run.samples)]
    if not kept:
        raise EngineError(f"The run of {run.engine} has none of the metrics {', '.join(metrics)}.")
    samples = [
        {
            "id": sample.id,
            "cluster": sample.cluster,
            "persona": sample.persona,
            "prompt": sample.prompt_hash[:HASH_CHARS],
            "response": sample.response,
            "metrics": {name: round(sample.metrics[name], 4) for name in kept if name in sample.metrics},
            **({"error": sample.error} if sample.error else {}),
        }
        for sample in run.samples
    ]
    head = {"kind": KIND, "task": run.task, "version": run.version, "engine": run.engine}
    means = {name: asdict(estimate(*_values(run, name), bounds=_bounds(run, name))) for name in kept}
    return {**head, "settings": run.settings, "environment": run.environment, "means": means, "samples": samples}


def _values(run: Run, metric: str) -> tuple[list[float], list[str]]:
    values, clusters = column({"run": run}, metric)
    return values["run"], clusters


def _bounds(run: Run, metric: str) -> tuple[float, float]:
    return 0.0, max(1.0, *(sample.metrics.get(metric, 0.0) for sample in run.samples))


def write_compact(run: Run, path: Path, metrics: Sequence[str], *, force: bool = False) -> Path:
    """Write the run as it is committed, one item a line, and return the path.

    Raises:
        EngineError: The file exists, or the run has none of the metrics.
    """
    must_be_new(path, force=force)
    data = compact(run, metrics)
    samples = data.pop("samples")
    lines = ",\n".join("  " + json.dumps(sample, ensure_ascii=False) for sample in samples)
    write_text(path, as_json(data).rstrip().removesuffix("}").rstrip() + f',\n  "samples": [\n{lines}\n  ]\n}}\n')
    return path


def load_figures(path: Path) -> Run:
    """Read a run: its folder, or the file that `write_compact` wrote.

    Raises:
        EngineError: It is neither.
    """
    if path.is_dir():
        return load_run(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["kind"] != KIND:
            raise EngineError(f"{path} is no committed run but {data['kind']!r}.")
        samples = tuple(
            Sample(
                row["id"], row["cluster"], row["persona"], row["prompt"], row.get("response", ""), dict(row["metrics"]),
                None, None, None, None, row.get("error"),
            )
            for row in data["samples"]
        )  # fmt: skip
        head = {name: data[name] for name in ("task", "version", "engine", "settings", "environment")}
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise EngineError(
            f"{path} holds no run ({type(error).__name__}: {error}); make one with `gate --adopt`."
        ) from None
    if not samples:
        raise EngineError(f"{path} holds a run without a sample.")
    return Run(**head, samples=samples)


def judge(candidate: Run, committed: Run, metrics: Sequence[str] = (), *, level: float = LEVEL) -> Gate:
    """Compare a new model with the committed one on the same items, asked in the same words.

    Args:
        candidate: The new model's run.
        committed: The one that ships.
        metrics: Which; none given, all that both have.
        level: Of the intervals together (Bonferroni).

    Raises:
        EngineError: The two cannot be compared: other task, settings, items or prompts, or no common metric.
    """
    must_have_answered(candidate)
    if (candidate.task, candidate.version) != (committed.task, committed.version):
        raise EngineError(
            f"The candidate is {candidate.task} version {candidate.version}, the committed run {committed.task} "
            f"version {committed.version}: not comparable. Measure the shipped model anew and adopt that run."
        )
    other = [name for name in SAME if candidate.settings.get(name) != committed.settings.get(name)]
    if other:
        raise EngineError(
            f"The runs differ in {', '.join(other)}: not comparable. "
            "Measure the shipped model anew and adopt that run, or measure the candidate as the shipped model was."
        )
    _must_ask_the_same(candidate, committed)
    known = {name for sample in committed.samples for name in sample.metrics}
    own = {name for sample in candidate.samples for name in sample.metrics}
    wanted = list(metrics) or sorted(known & own)
    if not wanted or not set(wanted) <= known & own:
        raise EngineError(
            f"No common metric: wanted {wanted or 'any'}, candidate {sorted(own)}, committed {sorted(known)}."
        )
    rows = tuple(_row(candidate, committed, name, 1 - (1 - level) / len(wanted)) for name in wanted)
    return Gate(not any(row.worse for row in rows), candidate.engine, committed.engine, rows)


def _must_ask_the_same(candidate: Run, committed: Run) -> None:
    asked = {sample.id: sample.prompt_hash[:HASH_CHARS] for sample in candidate.samples}
    before = {sample.id: sample.prompt_hash[:HASH_CHARS] for sample in committed.samples}
    if set(asked) != set(before):
        odd = sorted(set(asked) ^ set(before))
        raise EngineError(f"The runs answer different items, {len(odd)} of them, e.g. {odd[0]!r}: not comparable.")
    changed = sorted(name for name in asked if asked[name] != before[name])
    if changed:
        raise EngineError(
            f"{len(changed)} prompts are not those of the committed run, e.g. of {changed[0]!r}: a changed prompt is "
            "no worse model. Measure the shipped model with the new prompts and adopt that run first."
        )


def _row(candidate: Run, committed: Run, metric: str, level: float) -> Row:
    values, clusters = column({"committed": committed, "candidate": candidate}, metric)
    deltas = [new - old for new, old in zip(values["candidate"], values["committed"], strict=True)]
    deltas = [delta if abs(delta) > 1e-4 else 0.0 for delta in deltas]  # the committed run keeps four digits
    difference, low, high, _ = contrast(deltas, clusters, level=level)
    means = [sum(values[name]) / len(deltas) for name in ("committed", "candidate")]
    return Row(metric, means[0], means[1], difference, low, high, len(deltas), len(set(clusters)), high < 0)
