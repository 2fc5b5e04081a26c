"""Every gate between an adapter and the files that are published, run in order. Knows the gates; publishes nothing.

Order: files, then vocabularies, then weights, then what the models say. A GGUF that is not whole is never loaded, as
the C library would end the process; its other gates are skipped and say so. A header that we cannot read fails.
"""

import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from conversion.base import check_space, disk_errors, sha256_of
from conversion.container import Container, read_container
from conversion.gates import files, kept, speech, tokens, weights
from conversion.gates.judge import at_least, at_most, guarded, skipped
from conversion.merge import Plan, plan_merge, read_facts
from conversion.quantize import quantize, scheme_number
from conversion.reference import HubModel, Laid, lay_out, wanted_dtype
from conversion.report import FileFacts, Gate, VerifyReport, file_facts, versions
from conversion.tensors import float_dtype, read_checkpoint
from conversion.texts import Texts, read_held_out
from engines.scoring import ScoringModel
from engines.transformers_local import load_tokenizer
from errors import ChatError, ConversionError, EngineError

log = logging.getLogger(__name__)

Report = Callable[[str, float], None]
FLOATS = {0: "F32", 1: "F16", 32: "BF16"}  # general.file_type of files whose matrices are not quantised
FINER = ("Q5_K_M", "Q6_K", "Q8_0")  # measured beside a file that is too coarse
N_CHATS = 24


@dataclass(frozen=True)
class Subject:
    """What is verified.

    Attributes:
        merged: The merged checkpoint, the reference of everything after it.
        ggufs: Files made from it; the first 16-bit one is what quantised ones are compared beside.
        base: The base checkpoint, or None where only the conversion is verified.
        adapter: The PEFT folder, or None likewise.
    """

    merged: Path
    ggufs: tuple[Path, ...]
    base: Path | None = None
    adapter: Path | None = None

    def __post_init__(self) -> None:
        if (self.base is None) != (self.adapter is None):
            raise ConversionError("Give both base and adapter, or neither.")
        missing = [path for path in (self.merged, *self.ggufs, self.base, self.adapter) if path and not path.exists()]
        if missing:
            raise ConversionError(f"{missing[0]} is missing.")


@dataclass(frozen=True)
class File:
    """A GGUF under verification.

    Attributes:
        path: Where it is.
        label: Its scheme, e.g. "Q4_K_M", or its name where two have the same scheme.
        container: Its header.
        quantised: Its matrices are no plain floats.
    """

    path: Path
    label: str
    container: Container
    quantised: bool


@dataclass
class _Run:
    """What one verification has found so far."""

    subject: Subject
    texts: Texts
    lines: Sequence[str]
    work: Path
    schemes: tuple[str, ...]
    threads: int
    report: Report
    gates: list[Gate] = field(default_factory=list)
    dtype: str = ""  # that the checkpoints compute in
    laid: list[Laid] = field(default_factory=list)
    reference: speech.Rows | None = None
    said: speech.Said | None = None
    ends: frozenset[int] = frozenset()
    tokenizer: Any = None
    expected: list[list[int]] = field(default_factory=list)
    effect: float | None = None  # mean KL(merged ‖ base)
    plan: Plan | None = None
    finer: dict[str, speech.Compared] = field(default_factory=dict)

    def add(self, name: str, measure: Callable[[], Gate]) -> Gate:
        """Run one gate and keep what it found."""
        gate = guarded(name, measure)
        self.gates.append(gate)
        log.info("gate %s: %s (%s, threshold %s)", gate.name, gate.verdict, gate.value, gate.threshold)
        return gate


def scheme_of(container: Container) -> str:
    """Return the scheme that a GGUF says it has, e.g. "Q4_K_M" or "BF16"."""
    from conversion.quantize import schemes

    number = container.fields.get("general.file_type")
    if number is None:
        return "GGUF"
    if number.value in FLOATS:
        return FLOATS[number.value]
    return next((name for name, value in schemes().items() if value == number.value), f"type {number.value}")


def verify(
    subject: Subject,
    held_out: Sequence[Path],
    *,
    root: Path,
    lines: Sequence[Path] = (),
    schemes: Sequence[str] = (),
    limit: int = 40,
    threads: int = 2,
    report: Report = lambda _step, _done: None,
) -> VerifyReport:
    """Run every gate and return what they found.

    Args:
        subject: The files.
        held_out: Texts of the fine-tuning kind that the adapter was not trained on; see `read_held_out`.
        root: The repository, whose own French lines the tokenizers are compared on.
        lines: Further files of French lines.
        schemes: Quantisations to measure as well without publishing them, e.g. to see which one keeps the adapter.
        limit: Most chats, and most prose texts.
        threads: llama.cpp's.
        report: Called with each step and its share done.

    Raises:
        ConversionError: The subject or the texts are missing, or a scheme is unknown. What fails a gate is in the
            report, no error.
        SourceError: The disk is full.
    """
    for scheme in schemes:
        scheme_number(scheme)
    texts = read_held_out(held_out).first(limit)
    french = tokens.french_lines(root, lines)
    with (
        tempfile.TemporaryDirectory(dir=subject.merged.parent, prefix=".verify-") as work,
        disk_errors(subject.merged.parent),
    ):
        run = _Run(subject, texts, french, Path(work), tuple(schemes), threads, report)
        run.add("files", lambda: files.preflight(subject.merged, subject.base))
        whole = _open_files(run)
        _adapter_gates(run)
        if _ask_merged(run):
            for file in whole:
                _file_gates(run, file)
            _kept_gates(run, whole)
        facts = _facts(subject)
        return VerifyReport(tuple(run.gates), facts, _about(run, held_out))


def _open_files(run: _Run) -> list[File]:
    """Return the GGUFs that are whole, after the gates that need no model."""
    found: list[File] = []
    used: set[str] = set()
    for path in run.subject.ggufs:
        label, unread = path.stem, ""
        container: Container | None = None
        try:
            container = read_container(path)
            scheme = scheme_of(container)
            label = scheme if scheme not in used else path.stem
        except ConversionError as error:
            unread = str(error)
        used.add(label)
        whole = run.add(f"integrity {label}", lambda p=path, n=label: files.integrity(n, p))  # type: ignore[misc]
        if whole.verdict != "pass":
            run.gates.append(skipped(f"contents {label}", f"{path.name} is not whole; make it again first."))
            continue
        if container is None:
            run.gates.append(Gate(f"contents {label}", "unread", None, "fail", unread))
            continue
        file = File(path, label, container, label not in FLOATS.values() and scheme not in FLOATS.values())
        sound = run.add(f"numbers {label}", lambda f=file: files.numbers(f.label, f.container))  # type: ignore[misc]
        run.add(f"config {label}", lambda f=file: files.configuration(f.label, f.container, run.subject.merged))  # type: ignore[misc]
        if sound.verdict == "pass":
            found.append(file)
        else:
            run.gates.append(skipped(f"contents {label}", f"{path.name} holds numbers that are none."))
    return found


def _adapter_gates(run: _Run) -> None:
    """Compare the merged checkpoint with base + adapter: weights, then logits."""
    subject = run.subject
    if subject.base is None or subject.adapter is None:
        run.gates.append(skipped("merged weights", "Give --base and --adapter to compare the merge with its parts."))
        return
    base, adapter = subject.base, subject.adapter

    def compare() -> Gate:
        return weights.merged_weights(base, adapter, subject.merged, lambda done: run.report("weights", done))

    run.add("merged weights", compare)
    try:
        run.plan = plan_merge(base, adapter, "float32")
    except ConversionError as error:  # the gate above has failed with the same words
        log.info("no plan: %s", error)


def _ask_merged(run: _Run) -> bool:
    """Ask base, adapter and merged checkpoint for every text; False when the checkpoint cannot be asked."""
    subject = run.subject
    adapted: speech.Rows | None = None
    plain: speech.Rows | None = None
    try:
        specs = [tensor.spec for tensor in read_checkpoint(subject.merged).values()]
        run.dtype = wanted_dtype(sum(int(np.prod(spec.shape)) for spec in specs))
        if subject.base is not None and subject.adapter is not None:
            adapted, plain = _ask_adapter(run, subject.base, subject.adapter)
        hub = HubModel(subject.merged, dtype=run.dtype)
        run.tokenizer, run.ends = hub.tokenizer, hub.ends
        if not run.laid:
            _lay(run, hub.tokenizer, hub.ends, n_models=2)
        run.said = speech.answers(hub, run.texts)
    except (EngineError, ConversionError) as error:  # a full disk is no fault of the checkpoint's
        run.gates.append(Gate("checkpoint", type(error).__name__, None, "fail", str(error)))
        return False
    run.expected = tokens.plain_ids(hub.tokenizer, run.lines)
    run.reference = speech.record(
        run.laid, hub.log_probs, run.work / "merged", lambda done: run.report("checkpoint", done)
    )  # fmt: skip
    hub.close()
    if adapted is not None:
        reference, exact = run.reference, float_dtype(specs) is torch.float32
        run.add("merged logits", lambda: _merged_logits(adapted, reference, exact=exact))
        adapted.drop()
    if plain is not None:
        run.effect = speech.compare(run.reference, plain).mean
        plain.drop()
    return True


def _lay(run: _Run, tokenizer: Any, ends: frozenset[int], *, n_models: int) -> None:
    """Lay the texts out; the disk must hold what so many models say of them at a time."""
    run.laid = lay_out(tokenizer, run.texts, ends)
    positions = sum(len(one.counted) for one in run.laid)
    check_space(run.work, n_models * positions * len(tokenizer) * 4)  # float32


def _ask_adapter(run: _Run, base: Path, adapter: Path) -> tuple[speech.Rows, speech.Rows | None]:
    """Ask the base with its adapter attached, then without; it cannot be asked for pieces that it has not."""
    rows = run.plan.rows if run.plan else None
    hub = HubModel(base, adapter, dtype=run.dtype, rows=rows)
    if read_facts(run.subject.merged).get("base_weights") == "nf4":
        from conversion.nf4 import round_linears

        round_linears(hub.model, float_dtype(tensor.spec for tensor in read_checkpoint(base).values()))
    _lay(run, load_tokenizer(run.subject.merged), hub.ends, n_models=3)
    adapted = speech.record(run.laid, hub.log_probs, run.work / "adapter", lambda done: run.report("adapter", done))
    plain = None
    if rows is None:
        with hub.model.disable_adapter():
            plain = speech.record(run.laid, hub.log_probs, run.work / "base", lambda done: run.report("base", done))
    hub.close()
    return adapted, plain


def _merged_logits(adapted: speech.Rows, merged: speech.Rows, *, exact: bool) -> Gate:
    """Judge what the merge changed in the answers: nothing in float32 (`exact`), one rounding in 16 bits."""
    found = speech.compare(adapted, merged)
    largest = max(
        float(np.abs(np.asarray(a) - np.asarray(b)).max()) for (_, a), (_, b) in zip(adapted, merged, strict=True)
    )
    details = {"largest_difference": round(largest, 6), **found.figures, "kl": found.mean}
    remedy = "The merged model does not answer as the adapter does: merge again."
    if exact:
        return at_most("merged logits", largest, speech.LOGIT_LIMIT, remedy=remedy, details=details)
    return at_most("merged logits", found.mean, speech.KL_FLOAT, remedy=remedy, details=details)


def _file_gates(run: _Run, file: File) -> None:
    """Run every gate that needs the model of one GGUF."""
    label = file.label
    run.report(label, 0.0)
    try:
        model = ScoringModel(file.path, threads=run.threads)
    except ChatError as error:
        run.gates.append(Gate(f"loads {label}", type(error).__name__, None, "fail", str(error)))
        return
    try:
        chats = run.texts.chats[:N_CHATS]
        tokenizer = run.tokenizer
        run.add(f"tokens {label}", lambda: tokens.same_ids(label, run.lines, run.expected, tokenizer, model))
        run.add(f"special tokens {label}", lambda: tokens.same_specials(label, tokenizer, model, file.container))
        run.add(f"template {label}", lambda: tokens.template(label, tokenizer, model, file.container, chats))
        run.add(f"engine layout {label}", lambda: tokens.layout(label, tokenizer, model, chats))
        _speech_gates(run, file, model)
    finally:
        model.close()


def _speech_gates(run: _Run, file: File, model: ScoringModel) -> None:
    label, quantised = file.label, file.quantised
    reference, said = run.reference, run.said
    assert reference is not None  # noqa: S101  for the type checker: asked before any file
    assert said is not None  # noqa: S101
    try:
        rows = speech.record(
            run.laid, model.log_probs, run.work / f"file-{len(run.gates)}", lambda done: run.report(label, done)
        )  # fmt: skip
        found = speech.compare(reference, rows)
        rows.drop()
        repeated = speech.repeated(said, model)
    except ChatError as error:
        run.gates.append(Gate(f"kl {label}", type(error).__name__, None, "fail", str(error)))
        return
    siblings = {}
    if quantised and found.mean > speech.KL_QUANTISED:
        siblings = {scheme: round(compared.mean, 6) for scheme, compared in _finer(run, FINER).items()}
    run.add(f"kl {label}", lambda: speech.divergence(label, found, quantised=quantised, siblings=siblings))
    run.add(f"top-1 {label}", lambda: speech.same_top(label, found, quantised=quantised))
    run.add(f"perplexity {label}", lambda: speech.perplexity(label, found, quantised=quantised))
    run.add(f"greedy {label}", lambda: speech.greedy(label, said, repeated, quantised=quantised))
    run.add(f"stop {label}", lambda: speech.stops(label, said, found, model, run.ends, quantised=quantised))
    run.finer.setdefault(label, found)


def _sixteen(run: _Run) -> Path | None:
    """Return the first 16-bit (or 32-bit) GGUF that is whole."""
    for path in run.subject.ggufs:
        try:
            if scheme_of(read_container(path)) in FLOATS.values():
                return path
        except ConversionError:
            continue
    return None


def _finer(run: _Run, schemes: Sequence[str]) -> dict[str, speech.Compared]:
    """Measure schemes that are not published, each made in the work folder; those known already are not made again.

    They are beside the point: one that cannot be made is left out.
    """
    source, reference = _sixteen(run), run.reference
    if source is None or reference is None:
        return {}
    for scheme in schemes:
        if scheme in run.finer:
            continue
        try:
            run.finer[scheme] = _measured(run, source, reference, scheme)
        except ChatError as error:
            log.warning("%s was not measured: %s", scheme, error)
    return {scheme: run.finer[scheme] for scheme in schemes if scheme in run.finer}


def _measured(run: _Run, source: Path, reference: speech.Rows, scheme: str) -> speech.Compared:
    """Make one scheme, compare it with the checkpoint, and remove it."""
    with tempfile.TemporaryDirectory(dir=run.work) as work:
        made = quantize(source, Path(work) / f"{scheme}.gguf", scheme, threads=run.threads)
        model = ScoringModel(made.path, threads=run.threads)
        try:
            rows = speech.record(
                run.laid, model.log_probs, Path(work) / "rows", lambda done: run.report("finer", done)
            )  # fmt: skip
        finally:
            model.close()
        return speech.compare(reference, rows)


def _kept_gates(run: _Run, whole: Sequence[File]) -> None:
    """Judge how much of the adapter's effect each quantised file keeps, and name the schemes that keep it."""
    quantised = [file for file in whole if file.quantised and file.label in run.finer]
    if run.effect is None:
        grown = "The base lacks pieces of the grown vocabulary: it cannot be asked the same."
        why = "Give --base and --adapter to see it." if run.subject.base is None else grown
        run.gates += [skipped(f"adapter kept {file.label}", why) for file in quantised]
        return
    effect = run.effect
    also = {scheme: speech.kept_effect(effect, found.mean) for scheme, found in _finer(run, run.schemes).items()}
    for file in quantised:
        run.add(f"adapter kept {file.label}", lambda f=file: _kept_gate(run, f, effect, also))  # type: ignore[misc]


def _kept_gate(run: _Run, file: File, effect: float, also: dict[str, float]) -> Gate:
    share = speech.kept_effect(effect, run.finer[file.label].mean)
    beside = dict(also)
    if not share >= speech.KEPT:
        finer = _finer(run, FINER)
        beside |= {scheme: speech.kept_effect(effect, found.mean) for scheme, found in finer.items()}
    details: dict[str, Any] = {
        "kl_of_the_base": round(effect, 6),
        "kl_of_this_file": round(run.finer[file.label].mean, 6),
        "schemes": {scheme: round(value, 4) for scheme, value in beside.items()},
    }
    source = _sixteen(run)
    if run.plan is not None and source is not None:
        held = kept.kept_weights(
            run.plan, read_container(source), file.container, weights.change_of_base(run.subject.merged)
        )
        details["kept_in_the_weights"] = None if held is None else round(held, 4)
    keeping = [scheme for scheme, value in beside.items() if value >= speech.KEPT]
    named = f"{keeping[0]} keeps {beside[keeping[0]]:.0%}" if keeping else "no scheme measured keeps it"
    remedy = (
        f"{file.label} keeps {max(0.0, share):.0%} of what the adapter taught; {named}. Publish a scheme that keeps it."
    )
    return at_least(f"adapter kept {file.label}", round(share, 4), speech.KEPT, remedy=remedy, details=details)


def _facts(subject: Subject) -> dict[str, FileFacts]:
    """Return hash and size of every GGUF and of the merged folder's files, relative to the folder that holds them."""
    top = subject.merged.parent
    paths = [*(path for path in sorted(subject.merged.iterdir()) if path.is_file()), *subject.ggufs]
    facts: dict[str, FileFacts] = {}
    for path in paths:
        inside = path.resolve().is_relative_to(top.resolve())
        name = path.resolve().relative_to(top.resolve()).as_posix() if inside else path.name
        facts[name] = file_facts(path)
    return facts


def _about(run: _Run, held_out: Sequence[Path]) -> dict[str, Any]:
    subject = run.subject
    merged = {key: value for key, value in read_facts(subject.merged).items() if key != "path"}
    return {
        "base": subject.base.name if subject.base else None,
        "adapter": subject.adapter.name if subject.adapter else None,
        "merged": subject.merged.name,
        "merge": merged,
        "texts": {path.name: sha256_of(path) for path in held_out},
        "dtype": run.dtype,
        "positions": sum(len(one.counted) for one in run.laid),
        "lines": len(run.lines),
        "versions": versions(),
    }
