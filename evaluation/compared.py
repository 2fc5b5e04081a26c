"""What engines are compared on, their runs, and a metric of them side by side. Knows runs; knows no statistics.

A spec is an engine with its prompt, or `run:FOLDER`: a run that is there already and is taken as it is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from errors import EngineError
from evaluation.cli_common import model_of
from evaluation.result import machine, sha256_of
from evaluation.running import DEADLINE_S, Task, run_spec
from evaluation.runs import RESULTS, Run, Sample, load_run
from evaluation.specs import EvaluationSpec, parse_spec

SAVED = "run:"
MEASURED_BY = ("set_sha256", "embedder", "scorer_sha256")  # settings: with another one, an answer has another figure
Read = Callable[..., EvaluationSpec]  # `specs.parse_spec`, or one that knows the roles too


@dataclass(frozen=True)
class Compared:
    """A task that engines can be compared on.

    Attributes:
        task: What is asked.
        metric: What they are compared by, from 0 to 1.
        variants: Names of the prompts that the task has.
    """

    task: Task
    metric: str
    variants: tuple[str, ...]

    def spec(self, text: str, read: Read = parse_spec) -> EvaluationSpec:
        """Divide a spec into engine and prompt.

        Raises:
            EngineError: No such prompt here, or no engine.
        """
        return read(text, allowed=self.variants)

    def check(self, texts: Sequence[str], read: Read = parse_spec) -> None:
        """Refuse a wrong spec before the first engine is asked anything.

        Raises:
            EngineError: One of them is wrong, or names no run.
        """
        for text in texts:
            if text.startswith(SAVED):
                self.saved(Path(text.removeprefix(SAVED)))
            else:
                self.spec(text, read)

    def run(
        self,
        text: str,
        folder: Path,
        *,
        read: Read = parse_spec,
        force: bool = False,
        on_sample: Callable[[Sample], None] = lambda _: None,
        **how: Any,
    ) -> Run:
        """Return a spec's run; one that stands in the folder for the same spec is not measured again.

        Args:
            text: An engine spec with its prompt, or "run:FOLDER".
            folder: Where the run is written.
            read: From text to a spec.
            force: Measure again what is there.
            on_sample: Told each new sample.
            how: As `running.run_spec` takes it, e.g. `threads`.

        Raises:
            EngineError: The spec is wrong, or the folder has a run of something else.
        """
        if text.startswith(SAVED):
            return self.saved(Path(text.removeprefix(SAVED)))
        spec = self.spec(text, read)
        if (folder / RESULTS).exists() and not force:
            found = self.saved(folder)
            self._must_be_current(found, spec, folder, how)
            if any(sample.error is None for sample in found.samples):
                return found
            force = True  # an engine that was not there may be there now
        return run_spec(spec, self.task, folder, force=force, on_sample=on_sample, **how)

    def saved(self, folder: Path) -> Run:
        """Return a run that is there, cut to this task's documents.

        Raises:
            EngineError: There is none, or it belongs to another task, version, set, embedder or scorer.
        """
        run = load_run(folder)
        if (run.task, run.version) != (self.task.name, self.task.version):
            raise EngineError(
                f"{folder} holds {run.task} version {run.version}, not {self.task.name} version {self.task.version}: "
                "measure it anew."
            )
        other = [name for name in MEASURED_BY if run.settings.get(name) != self.task.settings.get(name)]
        if other:
            raise EngineError(f"{folder} has a run with another {other[0]}: measure it anew.")
        by_id = {sample.id: sample for sample in run.samples}
        missing = [one.id for one in self.task.documents if one.id not in by_id]
        if missing:
            raise EngineError(f"{folder} has no answer to {len(missing)} of the documents, e.g. {missing[0]!r}.")
        return replace(run, samples=tuple(by_id[one.id] for one in self.task.documents))

    def _must_be_current(self, found: Run, spec: EvaluationSpec, folder: Path, how: Mapping[str, Any]) -> None:
        """Refuse a run of other weights, sampling, threads, deadline or machine: it would be compared in their name."""
        usual = {"threads": None, "deadline_s": DEADLINE_S, "own_layout": False}
        wanted = {name: how.get(name, value) for name, value in usual.items()} | machine()
        wanted |= {"engine": spec.text, "model": model_of(spec.engine)["sha256"]}
        wanted["sampling"] = self.task.settings.get("sampling")
        there = {**found.settings, **found.environment.get("machine", {}), "engine": found.engine}
        there["model"] = found.environment.get("model", {}).get("sha256")
        other = [name for name in wanted if wanted[name] != there.get(name)]
        if other:
            raise EngineError(
                f"{folder} has a run with another {other[0]} ({there.get(other[0])}). Move it, or pass --force."
            )


def set_settings(path: Path, limit: int | None) -> dict[str, object]:
    """Return what a result says of the set it was measured on."""
    return {"set": str(path), "set_sha256": sha256_of(path), "limit": limit}


def must_have_answered(run: Run) -> None:
    """Refuse a run in which nothing was answered: it says nothing of a model.

    Raises:
        EngineError: Every sample failed; the message holds the first error.
    """
    if all(sample.error for sample in run.samples):
        raise EngineError(f"{run.engine} answered nothing. The first error: {run.samples[0].error}")


def column(runs: Mapping[str, Run], metric: str) -> tuple[dict[str, list[float]], list[str]]:
    """Return the values of a metric by name, on the same documents in the same order, and their clusters.

    Raises:
        EngineError: The runs do not answer the same documents, or have not the metric.
    """
    first_name, first = next(iter(runs.items()))
    ids = [sample.id for sample in first.samples if metric in sample.metrics]
    if not ids:
        known = sorted({name for sample in first.samples for name in sample.metrics})
        raise EngineError(f"{first_name} has no metric {metric!r}; it has {', '.join(known) or 'none'}.")
    found: dict[str, list[float]] = {}
    for name, run in runs.items():
        own = {sample.id: sample.metrics[metric] for sample in run.samples if metric in sample.metrics}
        if set(own) != set(ids):
            odd = sorted(set(own) ^ set(ids))
            raise EngineError(f"{name} and {first_name} answer different documents, e.g. {odd[0]!r}: not comparable.")
        found[name] = [own[one] for one in ids]
    clusters = {sample.id: sample.cluster for sample in first.samples}
    return found, [clusters[one] for one in ids]


def folder_name(spec: str) -> str:
    """Return a name for the folder of a spec's run.

    >>> folder_name("gguf:.data/models/demo.gguf@prompt=plain")
    'gguf-demo.gguf-prompt-plain'
    >>> folder_name("hf:runs/base+models/demo/adapter")
    'hf-base-adapter'
    """
    scheme, _, address = spec.partition(":")
    parts = [scheme, *(part.rstrip("/").rsplit("/", 1)[-1] for part in address.split("+"))]
    return "".join(one if one.isalnum() or one in "._-" else "-" for one in "-".join(parts)).strip("-")


def unique_names(specs: Sequence[str]) -> dict[str, str]:
    """Return each spec under a short name of its own, in order; a name given twice gets a number.

    >>> list(unique_names(["gguf:a/m.gguf", "gguf:b/m.gguf"]))
    ['gguf-m.gguf', 'gguf-m.gguf-2']
    """
    found: dict[str, str] = {}
    for spec in specs:
        name, number = folder_name(spec), 1
        while name in found:
            number += 1
            name = f"{folder_name(spec)}-{number}"
        found[name] = spec
    return found
