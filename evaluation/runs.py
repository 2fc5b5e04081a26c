"""A run: one engine, one set of documents, one sample for each. Asking, resuming, summing up, and the files of it.

Knows the `Engine` protocol; knows no measure: what is counted comes as a function. An answer that fails is a sample
with its error and with zeros, so that two engines are always compared on the same documents.
"""

import hashlib
import json
import math
import statistics
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from engines.base import ChatMessage, Engine, SamplingParams
from errors import EngineError
from evaluation.asking import Answer, ask
from evaluation.labelled import lines_of, read_packed
from evaluation.result import as_json, must_be_new, write_text

RESULTS, SAMPLES = "results.json", "samples.jsonl"
PARTIAL = SAMPLES + ".partial"
NOT_ANSWERED = "prompt not made"  # in place of a hash, where nothing could be sent


@dataclass(frozen=True)
class Sample:
    """One document and what came of it: a line of `samples.jsonl`.

    Attributes:
        id: Of the document.
        cluster: What resampling keeps together: the base of a reworded item, a philosopher's question.
        persona: Who was asked.
        prompt_hash: sha256 of the messages sent.
        response: The answer; "" where it failed.
        metrics: What was measured, by name; zeros where it failed.
        first_token_s: Seconds to the first text; None where there was none, and so are the next three.
        total_s: Seconds to the end.
        tokens_in: Length of the prompt.
        tokens_out: Tokens sampled.
        error: Why there is no answer; None where there is one.
    """

    id: str
    cluster: str
    persona: str
    prompt_hash: str
    response: str
    metrics: dict[str, float]
    first_token_s: float | None
    total_s: float | None
    tokens_in: int | None
    tokens_out: int | None
    error: str | None = None


@dataclass(frozen=True)
class Run:
    """What one engine did with one set.

    Attributes:
        task: E.g. "schemes".
        version: Of the task: results of two versions are not compared.
        engine: The spec, with its prompt.
        settings: Template, sampling, limit, path and sha256 of the set, how many documents.
        samples: In the order of the documents.
        environment: As `evaluation.result.environment` returns it, and what else belongs to the machine.
    """

    task: str
    version: int
    engine: str
    settings: dict[str, Any]
    samples: tuple[Sample, ...]
    environment: dict[str, Any]


@dataclass(frozen=True)
class Document:
    """What an engine is asked, and what is known of the right answer.

    Attributes:
        id: Unique in its set.
        cluster: See `Sample`.
        persona: Key of the philosopher; "" where nobody in particular is asked.
        metrics: Names of what is measured on it: they are zero where the answer fails.
        facts: What a measure has to know, e.g. the scheme and the conclusion.
        broken: Why the line of the set cannot be used; it is counted as a failure and never asked.
    """

    id: str
    cluster: str
    persona: str
    metrics: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    broken: str | None = None


Prompt = Callable[[Document], tuple[Sequence[ChatMessage], SamplingParams]]
Measure = Callable[[Document, str], Mapping[str, float]]


def hash_of(messages: Sequence[ChatMessage]) -> str:
    """Return the sha256 of messages: two engines with the same hash were asked the same."""
    return hashlib.sha256(json.dumps(list(messages), ensure_ascii=False, sort_keys=True).encode()).hexdigest()


def failed(document: Document, error: str, prompt_hash: str = NOT_ANSWERED) -> Sample:
    """Return the sample of a document that has no answer."""
    zeros = dict.fromkeys(document.metrics, 0.0)
    return Sample(
        document.id, document.cluster, document.persona, prompt_hash, "", zeros, None, None, None, None, error
    )


def answered(document: Document, messages: Sequence[ChatMessage], answer: Answer, measure: Measure) -> Sample:
    """Return the sample of a document that has one."""
    return Sample(
        document.id, document.cluster, document.persona, hash_of(messages), answer.text,
        {name: float(value) for name, value in measure(document, answer.text).items()},
        round(answer.first_token_s, 4), round(answer.total_s, 4), answer.prompt_tokens, answer.tokens,
    )  # fmt: skip


async def run_task(
    engine: Engine,
    documents: Iterable[Document],
    prompt: Prompt,
    measure: Measure,
    *,
    deadline_s: float | None = None,
    on_sample: Callable[[Sample], Any] = lambda _: None,
    done: Mapping[str, Sample] | None = None,
    asking: Callable[..., Awaitable[Answer]] = ask,
) -> list[Sample]:
    """Ask every document that has no sample yet; an engine that fails is counted, and the run goes on.

    Args:
        engine: Who answers.
        documents: In order, ids unique.
        prompt: From a document to messages and sampling.
        measure: From a document and its answer to the metrics that `Document.metrics` names.
        deadline_s: Seconds for one answer; None waits.
        on_sample: Told every new sample, e.g. `SampleFile.add`.
        done: Samples of an interrupted run by id. Those that failed are asked again.
        asking: How a question is put.

    Returns:
        One sample for each document, in order.
    """
    kept = {key: sample for key, sample in (done or {}).items() if sample.error is None}
    samples: list[Sample] = []
    for document in documents:
        sample = kept.get(document.id)
        if sample is None:
            sample = await _sample(engine, document, prompt, measure, deadline_s, asking)
            on_sample(sample)
        samples.append(sample)
    return samples


async def _sample(
    engine: Engine,
    document: Document,
    prompt: Prompt,
    measure: Measure,
    deadline_s: float | None,
    asking: Callable[..., Awaitable[Answer]],
) -> Sample:
    if document.broken is not None:
        return failed(document, document.broken)
    messages, params = prompt(document)
    try:
        answer = await asking(engine, messages, params, deadline_s=deadline_s)
    except EngineError as error:
        return failed(document, f"{error.code}: {error}", hash_of(messages))
    if not answer.text.strip():
        return failed(document, "answer_empty: the engine ended without a word", hash_of(messages))
    return answered(document, messages, answer, measure)


def rows_of(path: Path) -> list[tuple[int, dict[str, Any] | str]]:
    """Return the lines of a JSONL file, packed (`.jsonl.xz`) or not, with their numbers: an object, or what is wrong.

    Raises:
        EngineError: The file cannot be read, or is empty.
    """
    found: list[tuple[int, dict[str, Any] | str]] = []
    for number, line in enumerate(lines_of(read_packed(path)), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            row = f"no JSON: {error}"
        found.append((number, row if isinstance(row, (dict, str)) else f"no object but {type(row).__name__}"))
    if not found:
        raise EngineError(f"{path} is empty; expected a JSON object on each line.")
    return found


def must_be_unique(documents: Sequence[Document], where: str) -> None:
    """Refuse a set in which two documents have one id: one of them would never be asked.

    Raises:
        EngineError: There are such.
    """
    seen: set[str] = set()
    for document in documents:
        if document.id in seen:
            raise EngineError(f"{where}: two documents are called {document.id!r}; give each an id of its own.")
        seen.add(document.id)


class SampleFile:
    """Samples kept on disk as they come, so that an interrupted run goes on; of one engine, prompt and set alone.

    Args:
        folder: Of the run; made when missing.
        identity: What the samples belong to; those of another identity are not used, and are set aside.

    Attributes:
        done: Samples of the interrupted run by id.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.path = folder / PARTIAL
        self.done: dict[str, Sample] = {}
        folder.mkdir(parents=True, exist_ok=True)
        head = json.dumps(dict(identity), ensure_ascii=False, sort_keys=True)
        if self.path.exists():
            lines = lines_of(self.path.read_text(encoding="utf-8"))
            if lines and lines[0] == head:
                whole = filter(None, map(_sample_or_none, lines[1:]))  # a kill may have cut the last line
                self.done = {sample.id: sample for sample in whole}
            elif lines:
                self.path.replace(self.path.with_name(PARTIAL + ".other"))
        kept = [head, *(json.dumps(asdict(sample), ensure_ascii=False) for sample in self.done.values())]
        write_text(self.path, "\n".join(kept) + "\n")

    def add(self, sample: Sample) -> None:
        """Keep one more."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(sample), ensure_ascii=False) + "\n")


def _sample_or_none(line: str) -> Sample | None:
    try:
        return sample_from(json.loads(line))
    except (json.JSONDecodeError, EngineError):
        return None


def sample_from(row: Any) -> Sample:
    """Build a sample from a line of `samples.jsonl`.

    Raises:
        EngineError: A field is missing, unknown or of another kind.
    """
    names = {one.name for one in fields(Sample)}
    if not isinstance(row, dict) or set(row) - names or names - {"error"} - set(row):
        raise EngineError(f"no sample: expected the fields {', '.join(sorted(names))}.")
    metrics = row["metrics"]
    if not isinstance(metrics, dict) or not all(isinstance(value, (int, float)) for value in metrics.values()):
        raise EngineError("no sample: metrics are numbers by name.")
    return Sample(**row)


def summary(run: Run) -> dict[str, float]:
    """Return what a run comes to.

    Returns:
        For each metric its mean and, as `<name>_n`, on how many samples; `n`, `failures`; over the answers, seconds
        (`latency_median_s`, `latency_p95_s`, `first_token_median_s`, `first_token_p95_s`) and tokens (`tokens_in`,
        `tokens_out` in all, `tokens_per_s` at the median). What nobody measured is not there.
    """
    found: dict[str, float] = {}
    for name in sorted({name for sample in run.samples for name in sample.metrics}):
        values = [sample.metrics[name] for sample in run.samples if name in sample.metrics]
        found[name], found[f"{name}_n"] = round(statistics.fmean(values), 6), len(values)
    found["n"] = len(run.samples)
    found["failures"] = sum(sample.error is not None for sample in run.samples)
    for name, key in (("latency", "total_s"), ("first_token", "first_token_s")):
        seconds = sorted(value for sample in run.samples if (value := getattr(sample, key)) is not None)
        if seconds:
            found[f"{name}_median_s"] = round(statistics.median(seconds), 4)
            found[f"{name}_p95_s"] = percentile(seconds, 95)
    answers = [sample for sample in run.samples if sample.error is None]
    found["tokens_in"] = sum(sample.tokens_in or 0 for sample in answers)
    found["tokens_out"] = sum(sample.tokens_out or 0 for sample in answers)
    speeds = [sample.tokens_out / sample.total_s for sample in answers if sample.tokens_out and sample.total_s]
    if speeds:
        found["tokens_per_s"] = round(statistics.median(speeds), 2)
    return found


def percentile(ordered: Sequence[float], percent: int) -> float:
    """Return the value that `percent` of an ordered sequence do not exceed.

    >>> percentile([1.0, 2.0, 3.0, 4.0], 50)
    2.0
    """
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def by_persona(run: Run, names: Collection[str]) -> dict[str, dict[str, float]]:
    """Return the mean of each named metric for each philosopher."""
    found: dict[str, dict[str, float]] = {}
    for persona in sorted({sample.persona for sample in run.samples}):
        own = [sample for sample in run.samples if sample.persona == persona]
        means = {name: [one.metrics[name] for one in own if name in one.metrics] for name in names}
        found[persona] = {name: round(statistics.fmean(values), 4) for name, values in means.items() if values}
    return found


def results_of(run: Run) -> dict[str, Any]:
    """Return `results.json`: the keys of lm-evaluation-harness, so that its readers find their way, and our own.

    Source: github.com/EleutherAI/lm-evaluation-harness, `results_*.json` of release 0.4.
    """
    found = summary(run)
    names = sorted({name for sample in run.samples for name in sample.metrics})
    hashes = hashlib.sha256("".join(sample.prompt_hash for sample in run.samples).encode()).hexdigest()
    return {
        "results": {run.task: {"alias": run.task, **{f"{name},none": found[name] for name in names}}},
        "configs": {
            run.task: {
                "task": run.task,
                "dataset_path": run.settings.get("set"),
                "num_fewshot": 0,
                "metric_list": [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in names],
                "generation_kwargs": run.settings.get("sampling"),
                "metadata": {"version": run.version},
            }
        },
        "versions": {run.task: run.version},
        "n-shot": {run.task: 0},
        "n-samples": {run.task: {"original": run.settings.get("n", len(run.samples)), "effective": len(run.samples)}},
        "higher_is_better": {run.task: dict.fromkeys(names, True)},
        "config": {"model": run.engine, "limit": run.settings.get("limit")},
        "task_hashes": {run.task: hashes},
        "chat_template_sha": run.settings.get("template_sha256"),
        "model_name": run.engine,
        "date": run.environment.get("date"),
        # From here on our own.
        "summary": found,
        "by_persona": by_persona(run, names),
        "errors": {sample.id: sample.error for sample in run.samples if sample.error is not None},
        "task": run.task,
        "version": run.version,
        "engine": run.engine,
        "settings": run.settings,
        "environment": run.environment,
    }


def save_run(run: Run, folder: Path, *, force: bool = False) -> Path:
    """Write `results.json` and `samples.jsonl` into a folder and return it; a folder with results is a whole run.

    Raises:
        EngineError: There are results already, and `force` was not given.
    """
    must_be_new(folder / RESULTS, force=force)
    (folder / RESULTS).unlink(missing_ok=True)  # first: new samples beside old results would look like one run
    lines = (json.dumps(asdict(sample), ensure_ascii=False) for sample in run.samples)
    write_text(folder / SAMPLES, "".join(line + "\n" for line in lines))
    write_text(folder / RESULTS, as_json(results_of(run)))
    (folder / PARTIAL).unlink(missing_ok=True)
    return folder


def load_run(folder: Path) -> Run:
    """Read a run back.

    Raises:
        EngineError: The folder has no whole run, or a line of it is wrong.
    """
    try:
        results = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
        head = {name: results[name] for name in ("task", "version", "engine", "settings", "environment")}
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise EngineError(f"{folder} has no run ({type(error).__name__}: {error}); make one with --out.") from None
    samples: list[Sample] = []
    for number, row in rows_of(folder / SAMPLES):
        try:
            samples.append(sample_from(row))
        except EngineError as error:
            raise EngineError(f"{folder / SAMPLES}:{number}: {row if isinstance(row, str) else error}") from None
    return Run(**head, samples=tuple(samples))
