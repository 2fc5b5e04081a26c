"""The optimisation plan step by step on the same talks in one run: time, tokens, calls, and what is kept of quality.

Every step leaves an artefact with the plan's name; one that is there and was measured the same way is kept, so a run
that was stopped goes on, talk by talk. Knows parts, asking and quality; draws nothing.
"""

import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from dialogue.prompt import Prefix
from engines.base import ChatMessage
from errors import EngineError
from evaluation.bench import ENVIRONMENT, environment_page, versions
from evaluation.memory import MemoryWatch
from evaluation.pipeline.ask import ONE, TWO, Machine, Way, put_talks
from evaluation.pipeline.gpu import attention_settings, why_not
from evaluation.pipeline.parts import ORIGIN, Parts, make_parts
from evaluation.pipeline.quality import scorer, similarity, surprise_of
from evaluation.pipeline.steps import ATTENTION, CHAIN, LOSS, TOGETHER, Step, figures, total, verdict
from evaluation.pipeline.talks import Talk, messages_for
from evaluation.result import as_json, environment, machine, sha256_of, write_text
from evaluation.runs import PARTIAL, Run, Sample, SampleFile, sample_from
from retrieval.embedders import Embedder

TASK, VERSION = "pipeline", 1
RANDOM = "random weights: what they say means nothing, so it is not compared"
Report = Callable[[str, int], None]


@dataclass(frozen=True)
class Setup:
    """What is measured.

    Attributes:
        base: Full-precision checkpoint.
        adapter: PEFT folder for it.
        out: Where parts, samples and artefacts go.
        data_dir: Where llama.cpp's converter is.
        prompts: The file of the talks.
        talks: What stands in it, or the first of them.
        schemes: Quantisations in the order in which they are tried; the first that loses little is taken.
        machine: How engines are opened.
        prefix: Of the persona: "short" for small models.
        outtype: Of the 16-bit GGUF.
        max_tokens: Of an answer; None takes the persona's.
        chats: Finished chats whose answers are scored; none leaves perplexity out.
        chats_of: What they are, for the reader.
        random: The weights are random: only times, tokens and calls mean anything.
        note: What has to be said beside every figure.
    """

    base: Path
    adapter: Path
    out: Path
    data_dir: Path
    prompts: Path
    talks: Sequence[Talk]
    schemes: Sequence[str]
    machine: Machine
    prefix: Prefix = "short"
    outtype: str = "f16"
    max_tokens: int | None = None
    chats: Sequence[Sequence[ChatMessage]] = ()
    chats_of: str = ""
    random: bool = False
    note: str = ""


@dataclass
class Pipeline:
    """One run.

    Args:
        setup: What is measured.
        embedder: Compares answers; None leaves similarity out.
        report: Told each step and how many of its talks are done.
        force: Measure again what is there.
        arguments: Of the command line, for the record.
    """

    setup: Setup
    embedder: Embedder | None
    report: Report = lambda _step, _done: None
    force: bool = False
    arguments: Sequence[str] = ()
    _parts: Parts | None = field(default=None, init=False)
    _scheme: str | None = field(default=None, init=False)

    def run(self) -> dict[str, Any]:
        """Go through all steps and return the summary; it is also written to `pipeline.json`.

        Raises:
            EngineError: Something is missing, an artefact was measured otherwise, or a step answered no talk at all.
        """
        setup = self.setup
        say = partial(_say_part, self.report)
        self._parts = make_parts(
            setup.base, setup.adapter, setup.out / "parts", schemes=setup.schemes, outtype=setup.outtype,
            data_dir=setup.data_dir, say=say,
        )  # fmt: skip
        found: dict[str, dict[str, Any]] = {}
        for step in CHAIN:
            if step.model == "quantised" and self._scheme is None:
                self._scheme = self._chosen_scheme(found)
            found[step.key] = self._step(step, partial(self._chain_step, step, found), found)
        together = self._step(TOGETHER, self._together, found)
        attention = self._step(ATTENTION, self._attention, found)
        summary = self._summary(found, {TOGETHER.key: together, ATTENTION.key: attention})
        spec = f"hf:{setup.base.name}+{setup.adapter.name}"
        write_text(setup.out / ENVIRONMENT, environment_page(Run(TASK, VERSION, spec, {}, (), summary["environment"])))
        write_text(setup.out / "pipeline.json", as_json(summary))
        return summary

    @property
    def parts(self) -> Parts:
        """The files, once they are made."""
        if self._parts is None:
            raise EngineError("The parts are not made yet; call run().")
        return self._parts

    def _identity(self, step: Step) -> dict[str, Any]:
        """Return what a step's figures belong to."""
        setup, how = self.setup, asdict(self.setup.machine)
        del how["cache"], how["kernels"]  # where they are remembered, and the machine's own choice
        scheme = {"scheme": self._scheme} if step.model == "quantised" else {}
        return {
            "task": TASK, "version": VERSION, "step": step.key, "prompts_sha256": sha256_of(setup.prompts),
            "talks": len(setup.talks), "prefix": setup.prefix, "max_tokens": setup.max_tokens, "outtype": setup.outtype,
            "scored": self._scored(), "machine": machine(), "versions": versions(), **how, **scheme,
            "origin": json.loads((setup.out / "parts" / ORIGIN).read_text(encoding="utf-8")),
        }  # fmt: skip

    def _scored(self) -> dict[str, Any]:
        """Return on which texts perplexity is taken: a file of the same name may hold others."""
        texts = json.dumps(list(self.setup.chats), ensure_ascii=False)
        return {"of": self.setup.chats_of, "n": len(self.setup.chats), "sha256": sha256(texts.encode()).hexdigest()}

    def _step(
        self, step: Step, measure: Callable[[], dict[str, Any]], before: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Return a step's artefact: the one that is there, or a new one."""
        path, identity = self.setup.out / step.artefact, self._identity(step)
        kept = None if self.force else _stored(path, identity)
        if kept is not None and not (step is ATTENTION and "skipped" in kept and why_not() is None):  # a card came
            self.report(step.title, len(self.setup.talks))
            return kept
        if self.force:
            for folder in self._folders(step):
                shutil.rmtree(folder, ignore_errors=True)
        found = measure()
        against = {**before, **found.pop("against", {})}
        artefact = {
            "key": step.key, "title": step.title, **found, **verdict(step, found, against), "note": self.setup.note,
            "identity": identity, "environment": self._environment(),
        }  # fmt: skip
        write_text(path, as_json(artefact))
        for folder in self._folders(step):
            (folder / PARTIAL).unlink(missing_ok=True)
        return artefact

    def _folders(self, step: Step) -> list[Path]:
        names = [f"{step.key}-{way.replace(' ', '-')}" for way in (ONE, TWO)] if step is TOGETHER else [step.key]
        return [self.setup.out / "samples" / name for name in names]

    def _environment(self) -> dict[str, Any]:
        about = environment(self.arguments or sys.argv[1:])
        return {**about, "versions": {**about["versions"], **versions()}}

    def _way(self, step: Step) -> Way:
        setup = self.setup
        return Way(setup.prefix, step.condensed, step.kept, setup.max_tokens, sentences=not setup.random)

    def _ask(self, step: Step, folder: Path, evaluate: str | None = None) -> tuple[Run, dict[str, Any]]:
        """Put the talks to a step's engine; what an earlier call has answered is kept."""
        samples = SampleFile(folder, self._identity(step))
        done = len(samples.done)

        def told(sample: Sample) -> None:
            nonlocal done
            samples.add(sample)
            done += 1
            self.report(step.title, done)

        self.report(step.title, done)
        with MemoryWatch() as memory:
            found = put_talks(
                lambda: self.setup.machine.open(step.model, self.parts, self._scheme), self.setup.talks,
                self._way(step), renewed=step.renewed, done=samples.done, told=told, evaluate=evaluate,
            )  # fmt: skip
        if all(sample.error for sample in found):
            raise EngineError(f"Step {step.key}: not one talk was answered. The first error: {found[0].error}")
        return Run(TASK, VERSION, step.key, {}, tuple(found), {}), dict(memory.figures())

    def _chain_step(self, step: Step, before: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Measure one step of the chain."""
        run, memory = self._ask(step, self._folders(step)[0])
        found = figures(run) | {
            "gpu_mem": memory.pop("gpu_peak_mb"),
            "memory": memory,
            "weights_mb": round(self.parts.bytes_of(step.model, self._scheme) / 1e6, 1),
        }
        return found | self._quality(step, run, before) | {"samples": [asdict(one) for one in run.samples]}

    def _quality(self, step: Step, run: Run, before: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Return similarity to the first step's answers, and perplexity beside the first step's."""
        if self.setup.random:
            return {"quality": RANDOM}
        found: dict[str, Any] = {}
        first = before.get(CHAIN[0].key)
        if self.embedder is not None and first is not None:
            answers = {one["id"]: one["response"] for one in first["samples"]}
            found["similarity"] = similarity(self.embedder, answers, {one.id: one.response for one in run.samples})
            found["embedder"] = self.embedder.id.name
        if self.setup.chats and not step.same_weights:
            found |= self._perplexity(step.model, self._scheme)
            reference = first if first is not None else found
            found["perplexity_ratio"] = round(found["perplexity"] / reference["perplexity"], 4)
        return found

    def _perplexity(self, model: str, scheme: str | None) -> dict[str, Any]:
        machine = self.setup.machine
        with scorer(model, self.parts, scheme=scheme, threads=machine.threads, dtype=machine.dtype) as scoring:
            return surprise_of(scoring, self.setup.chats) | {"perplexity_on": self.setup.chats_of}

    def _chosen_scheme(self, before: Mapping[str, Mapping[str, Any]]) -> str:
        """Return the first quantisation that loses little, the last one where all lose more; none is measured twice."""
        schemes = self.setup.schemes
        if self.setup.random or not self.setup.chats or len(schemes) == 1:
            return schemes[0]
        path = self.setup.out / "schemes.json"
        texts = {**self._scored(), "versions": versions()}
        stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() and not self.force else {}
        ratios: dict[str, float] = stored.get("ratios", {}) if stored.get("texts") == texts else {}
        for scheme in schemes:
            if scheme not in ratios:
                self.report(f"scoring {scheme}", 0)
                found = self._perplexity("quantised", scheme)["perplexity"]
                ratios[scheme] = round(found / before[CHAIN[0].key]["perplexity"], 4)  # as the step is judged
                write_text(path, as_json({"texts": texts, "ratios": ratios}))
            if ratios[scheme] <= LOSS:
                return scheme
        return schemes[-1]

    def _together(self) -> dict[str, Any]:
        """Measure an answer with its evaluation, in one call and in two."""
        if self.setup.random:
            return {"skipped": f"{RANDOM}: no evaluation of theirs could be accepted"}
        runs: dict[str, Run] = {}
        for name, folder in zip((ONE, TWO), self._folders(TOGETHER), strict=True):
            runs[name], _ = self._ask(TOGETHER, folder, name)
        one, two = figures(runs[ONE]), figures(runs[TWO])
        answered = [sample for sample in runs[ONE].samples if sample.error is None]
        return {
            **one,
            "one_call_enough": round(sum(sample.metrics["calls"] == 1 for sample in answered) / len(answered), 4),
            "accepted": {name: _mean(run, "accepted") for name, run in runs.items()},
            "answer_s": {name: _mean(run, "answer_s") for name, run in runs.items()},
            "two_calls": two,
            "against": {TWO: two},
            "samples": {name: [asdict(sample) for sample in run.samples] for name, run in runs.items()},
        }

    def _attention(self) -> dict[str, Any]:
        """Measure attention and graph settings, where there is a card."""
        reason = why_not()
        if reason is not None:
            return {"skipped": reason}
        prompts = [
            messages_for(talk, len, prefix=self.setup.prefix, condensed=False) for talk in self.setup.talks
        ]  # whole histories: nothing is counted
        found = attention_settings(self.parts.merged, prompts, max_tokens=self.setup.max_tokens or 64)
        best = min(found.values(), key=lambda one: one["median_latency"])
        return {**best, "settings": found, "against": {"eager attention": found["eager attention"]}}

    def _summary(self, chain: Mapping[str, dict[str, Any]], beside: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        """Return everything but the answers."""
        setup = self.setup
        steps = [_without_samples(one) for one in chain.values()]
        schemes = setup.out / "schemes.json"
        return {
            "kind": TASK,
            "version": VERSION,
            "note": setup.note,
            "prompts": {"file": setup.prompts.name, "sha256": sha256_of(setup.prompts), "n": len(setup.talks)},
            "origin": json.loads((setup.out / "parts" / ORIGIN).read_text(encoding="utf-8")),
            "settings": {"prefix": setup.prefix, "max_tokens": setup.max_tokens, "outtype": setup.outtype,
                         "scheme": self._scheme, "threads": setup.machine.threads, "dtype": setup.machine.dtype},
            "schemes_tried": json.loads(schemes.read_text(encoding="utf-8"))["ratios"] if schemes.exists() else None,
            "steps": steps,
            "beside": {key: _without_samples(one) for key, one in beside.items()},
            "total": total(steps),
            "environment": chain[CHAIN[0].key]["environment"],
        }  # fmt: skip


def _say_part(report: Report, text: str) -> None:
    report(text, 0)


def _mean(run: Run, name: str) -> float:
    values = [one.metrics[name] for one in run.samples if one.error is None]
    return round(sum(values) / len(values), 4)


def _without_samples(artefact: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in artefact.items() if key not in ("samples", "identity", "environment", "note")}


def _stored(path: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return an artefact that is there.

    Raises:
        EngineError: It is damaged, or was measured otherwise.
    """
    if not path.exists():
        return None
    try:
        artefact: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        before = artefact["identity"]
        for row in artefact.get("samples", []) if isinstance(artefact.get("samples"), list) else []:
            sample_from(row)
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise EngineError(f"{path} is damaged ({type(error).__name__}: {error}). Remove it, or pass --force.") from None
    other = sorted(key for key in {*before, *identity} if before.get(key) != identity.get(key))
    if other:
        raise EngineError(f"{path} was measured otherwise ({', '.join(other)}). Pass --force, or another --out.")
    return artefact
