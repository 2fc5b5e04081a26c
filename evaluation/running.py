"""A task put to an engine that a spec names: opening, asking, memory, resuming. Knows engines; knows no measure.

An engine that cannot be opened is no reason to stop: every document it should have answered is a failure with its
reason, so that a comparison of five engines ends with four figures and a sentence.
"""

import asyncio
import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engines.base import ChatMessage, Engine, SamplingParams
from engines.gguf_file import inspect
from engines.open import open_engine
from errors import EngineError, ModelUnfit
from evaluation.cli_common import model_of
from evaluation.memory import MemoryWatch
from evaluation.result import environment, machine, must_be_new
from evaluation.runs import RESULTS, Document, Measure, Run, Sample, SampleFile, failed, run_task, save_run
from evaluation.specs import EvaluationSpec

LOCAL = ("gguf", "hf")  # engines that compute in this process
NO_TEMPLATE = "the file holds no chat template; pass --own-layout to ask it in Mistral's"
DEADLINE_S = 300.0  # for one answer: a 7B on two cores reads a long prompt in 90 s


@dataclass(frozen=True)
class Task:
    """What is put to an engine.

    Attributes:
        name: E.g. "schemes".
        version: Raised when the same answer could be measured otherwise.
        documents: In order.
        prompt: From a document, the spec's prompt variant and the engine's number of parameters to what is sent.
        measure: From a document and its answer to metrics.
        settings: Path and sha256 of the set, limit, sampling: what a result says of the task.
    """

    name: str
    version: int
    documents: tuple[Document, ...]
    prompt: Callable[[Document, str | None, int], tuple[Sequence[ChatMessage], SamplingParams]]
    measure: Measure
    settings: Mapping[str, Any] = field(default_factory=dict)


def open_spec(spec: EvaluationSpec, *, threads: int | None = None, **options: Any) -> Engine:
    """Open the engine of a spec; threads are for those that compute here.

    Raises:
        EngineError: It cannot be opened, or a library that it needs is not installed.
    """
    if spec.engine.partition(":")[0] in LOCAL:
        options["threads"] = threads
    try:
        return open_engine(spec.engine, **options)
    except ImportError as error:
        raise EngineError(f"{spec.engine} needs {error.name}; install the extra `convert`.") from None


def chat_template(spec: EvaluationSpec) -> str | None:
    """Return the chat template in a GGUF, "" where it holds none; None where there is no such file to look into."""
    scheme, _, address = spec.engine.partition(":")
    if scheme != "gguf" or not Path(address).is_file():
        return None
    try:
        return inspect(Path(address)).chat_template or ""
    except EngineError:
        return None  # whoever opens the file will say what is wrong with it


def run_spec(
    spec: EvaluationSpec,
    task: Task,
    folder: Path,
    *,
    threads: int | None = None,
    deadline_s: float | None = DEADLINE_S,
    force: bool = False,
    resume: bool = True,
    own_layout: bool = False,
    on_sample: Callable[[Sample], Any] = lambda _: None,
    options: Mapping[str, Any] | None = None,
    arguments: Sequence[str] | None = None,
) -> Run:
    """Put a task to an engine and write the run into a folder; one that was interrupted there goes on.

    Args:
        spec: Who answers, and how it is prompted.
        task: What is asked.
        folder: Of this run alone.
        threads: Of an engine in this process.
        deadline_s: Seconds for one answer; None waits.
        force: Replace a run that is there.
        resume: Go on with what was interrupted; without it all is asked again, as times must be taken together.
        own_layout: Ask a GGUF without a chat template in our own layout. Otherwise all it is asked has failed: nobody
            knows how it was meant to be asked.
        on_sample: Told every new sample.
        options: What the engine takes beside its address, e.g. `url` of an Ollama.
        arguments: Of the command line, for the record; those of the process when None.

    Raises:
        EngineError: There is a run already, or no place to write one.
    """
    must_be_new(folder / RESULTS, force=force)
    model, template = model_of(spec.engine), chat_template(spec)
    hashed = hashlib.sha256(template.encode()).hexdigest() if template else None
    how = {"own_layout": own_layout, "threads": threads, "deadline_s": deadline_s}
    settings = {**task.settings, "n": len(task.documents), "template_sha256": hashed, **how}
    kept = SampleFile(folder, _identity(spec, task, settings, model))

    def told(sample: Sample) -> None:
        kept.add(sample)
        on_sample(sample)

    done = kept.done if resume else {}
    with MemoryWatch() as memory:
        if template == "" and not own_layout:
            samples = _all_failed(task, done, told, ModelUnfit(NO_TEMPLATE, code="model_not_chat"))
        else:
            samples = _samples(spec, task, done, told, threads, deadline_s, options or {})
    about = {**environment(sys.argv[1:] if arguments is None else arguments), "model": model}
    about["memory"] = memory.figures()
    run = Run(task.name, task.version, spec.text, settings, tuple(samples), about)
    save_run(run, folder, force=force)
    return run


def _identity(
    spec: EvaluationSpec, task: Task, settings: Mapping[str, Any], model: Mapping[str, Any]
) -> dict[str, Any]:
    """What samples of an interrupted run must have in common with this one to be kept."""
    ids = "\n".join(one.id for one in task.documents)
    return {
        "task": task.name,
        "version": task.version,
        "engine": spec.text,
        "model": model,
        "machine": machine(),
        "settings": settings,
        "ids": hashlib.sha256(ids.encode()).hexdigest(),
    }


def _samples(
    spec: EvaluationSpec,
    task: Task,
    done: Mapping[str, Sample],
    told: Callable[[Sample], None],
    threads: int | None,
    deadline_s: float | None,
    options: Mapping[str, Any],
) -> list[Sample]:
    try:
        engine = open_spec(spec, threads=threads, **options)
    except EngineError as error:
        return _all_failed(task, done, told, error)
    try:
        try:
            n_params = engine.info.n_params  # asks a server, which may be away
        except EngineError as error:
            return _all_failed(task, done, told, error)
        return asyncio.run(
            run_task(
                engine,
                task.documents,
                lambda document: task.prompt(document, spec.variant, n_params),
                task.measure,
                deadline_s=deadline_s,
                on_sample=told,
                done=done,
            )
        )
    finally:
        engine.close()


def _all_failed(
    task: Task, done: Mapping[str, Sample], told: Callable[[Sample], None], error: EngineError
) -> list[Sample]:
    """What an engine that is not there has answered: what it did before it went away, and nothing else."""
    samples = []
    for document in task.documents:
        before = done.get(document.id)
        if before is None or before.error is not None:
            before = failed(document, document.broken or f"{error.code}: {error}")
            told(before)
        samples.append(before)
    return samples
