"""From a base and an adapter to a verified folder, step by step, resumable. Knows the steps' order and their manifests.

Each step is a program of its own (`python -m conversion merge …`): it frees its memory when it ends, and nothing that
happens to it ends the others. A finished step is recognised by its manifest: hashes of what went in and came out,
arguments, versions. What a killed run left is removed and made again; a file under its final name is always whole.
"""

import json
import logging
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from conversion.base import check_space, sha256_of
from conversion.card import read_recipe
from conversion.child import die_with_parent, stop
from conversion.hub import check_repo
from conversion.lock import one_at_a_time
from conversion.merge import plan_merge
from conversion.quantize import scheme_number
from conversion.report import versions
from conversion.texts import read_held_out
from conversion.vocabulary import own_files
from errors import ConversionError

log = logging.getLogger(__name__)

Report = Callable[[str, float], None]
KITCHEN = ".build"  # manifests, logs, lock and importance matrix, inside the folder that is built
LOCK_WAIT_S = 1.0
ROOT = Path(__file__).parents[1]
BITS = {"Q4_K_M": 4.9, "Q5_K_M": 5.7, "Q6_K": 6.6, "Q8_0": 8.5}  # a weight; of others we expect the most
MOST_BITS = 8.5
LEFTOVERS = ("*.partial", ".merged-*", ".convert-*", ".verify-*")
TAIL = 3  # lines of a step's own words in an error


@dataclass(frozen=True)
class Card:
    """What the model card says that no step can know; see `python -m conversion card`.

    Attributes:
        repo: owner/name of the model on the Hub.
        base: owner/name of the base.
        licence: Of the model.
        summary: training_summary.json, or None.
    """

    repo: str
    base: str
    licence: str
    summary: Path | None = None

    def __post_init__(self) -> None:
        check_repo(self.repo)


@dataclass(frozen=True)
class Recipe:
    """What is built.

    Attributes:
        base: Checkpoint folder.
        adapter: PEFT folder.
        out: The folder; made when missing.
        name: Of the GGUF files.
        held_out: Texts of the fine-tuning kind that the adapter was not trained on.
        schemes: Quantisations to make.
        calibration: Texts for an importance matrix; none is computed without them.
        outtype: Of the 16-bit GGUF.
        qlora: The adapter was trained on nf4: both bases are tried.
        also: Quantisations to measure and not to keep.
        card: What to write on the model card; None writes none.
    """

    base: Path
    adapter: Path
    out: Path
    name: str
    held_out: tuple[Path, ...]
    schemes: tuple[str, ...] = ("Q4_K_M",)
    calibration: tuple[Path, ...] = ()
    outtype: Literal["bf16", "f16", "f32"] = "bf16"
    qlora: bool = False
    also: tuple[str, ...] = ()
    card: Card | None = None

    def __post_init__(self) -> None:
        made = (self.outtype.upper(), *self.schemes)
        if len(set(made)) < len(made):
            raise ConversionError(f"{', '.join(made)}: name none twice; the first is made whatever is named.")

    @property
    def merged(self) -> Path:
        """The merged checkpoint."""
        return self.out / "merged"

    @property
    def importance(self) -> Path:
        """The importance matrix, beside the manifests: it is not published."""
        return self.out / KITCHEN / "imatrix.gguf"

    def gguf(self, scheme: str) -> Path:
        """The GGUF of one scheme."""
        return self.out / f"{self.name}-{scheme}.gguf"

    @property
    def floats(self) -> Path:
        """The GGUF that the others are made from."""
        return self.gguf(self.outtype.upper())


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        name: Unique in the build.
        arguments: Of `python -m conversion`.
        inputs: Files and folders it reads.
        outputs: Files and folders it writes; each gets its name last.
    """

    name: str
    arguments: tuple[str, ...]
    inputs: tuple[Path, ...]
    outputs: tuple[Path, ...]


@dataclass(frozen=True)
class Built:
    """What a build has done.

    Attributes:
        out: The folder.
        ran: Steps that ran now, with their seconds.
        kept: Steps that were finished already.
        passed: The verdict of the gates.
    """

    out: Path
    ran: dict[str, float]
    kept: tuple[str, ...]
    passed: bool


def _many(option: str, values: Sequence[Any]) -> list[str]:
    return [word for value in values for word in (option, str(value))]


def steps(recipe: Recipe, data_dir: Path) -> list[Step]:
    """Return the steps of a build, in order."""
    held = _many("--held-out", recipe.held_out)
    merge = ["merge", "--base", recipe.base, "--adapter", recipe.adapter, "--out", recipe.merged]
    if recipe.qlora:
        merge += ["--qlora", *held]
    gguf = ["gguf", "--model", recipe.merged, "--out", recipe.floats]
    gguf += ["--outtype", recipe.outtype, "--data-dir", data_dir]
    inputs: tuple[Path, ...] = (recipe.base, recipe.adapter, *(recipe.held_out if recipe.qlora else ()))
    beside = recipe.adapter.parent / "tokenizer"  # where a run of ours leaves its chat template
    found = [
        _step("merge", merge, (*inputs, *([beside] if beside.is_dir() else ())), recipe.merged),
        _step("gguf", gguf, (recipe.merged,), recipe.floats),
    ]
    if recipe.calibration:
        arguments = ["imatrix", "--model", recipe.merged, "--gguf", recipe.floats, "--out", recipe.importance]
        arguments += _many("--texts", recipe.calibration)
        found.append(
            _step("imatrix", arguments, (recipe.merged, recipe.floats, *recipe.calibration), recipe.importance)
        )  # fmt: skip
    for scheme in recipe.schemes:
        arguments = ["quantize", "--gguf", recipe.floats, "--type", scheme, "--out", recipe.gguf(scheme)]
        inputs = (recipe.floats,)
        if recipe.calibration:
            arguments += ["--imatrix", recipe.importance]
            inputs += (recipe.importance,)
        found.append(_step(f"quantize {scheme}", arguments, inputs, recipe.gguf(scheme)))
    return [*found, _verify_step(recipe, held), *([_card_step(recipe, recipe.card)] if recipe.card else [])]


def _step(name: str, arguments: Sequence[Any], inputs: Sequence[Path], *outputs: Path) -> Step:
    return Step(name, tuple(map(str, arguments)), tuple(inputs), outputs)


def _verify_step(recipe: Recipe, held: list[str]) -> Step:
    files = (recipe.floats, *(recipe.gguf(scheme) for scheme in recipe.schemes))
    arguments = ["verify", "--base", recipe.base, "--adapter", recipe.adapter, "--merged", recipe.merged]
    arguments += [*_many("--gguf", files), *held, *_many("--scheme", recipe.also), "--out", recipe.out / "verify.json"]
    # A verdict is one of the gates as they are now, on the lines that we have now; the other steps are judged by it.
    code = (path for room in ("conversion", "engines") for path in sorted((ROOT / room).rglob("*.py")))
    inputs = (recipe.base, recipe.adapter, recipe.merged, *files, *recipe.held_out, *code, *own_files(ROOT))
    outputs = tuple(recipe.out / f"verify.{kind}" for kind in ("json", "md", "png"))
    return _step("verify", [*arguments, "--force"], inputs, *outputs)


def _card_step(recipe: Recipe, card: Card) -> Step:
    arguments = ["card", "--folder", recipe.out, "--repo", card.repo, "--base", card.base, "--licence", card.licence]
    arguments += ["--adapter", recipe.adapter.name]
    inputs = [recipe.out / "verify.json"]
    if card.summary is not None:
        arguments += ["--recipe", card.summary]
        inputs.append(card.summary)
    return _step("card", arguments, inputs, recipe.out / "README.md")


class Hashes:
    """SHA-256 of files, remembered while neither size nor time of change is another; kept between runs.

    Args:
        path: Where they are kept.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, list[Any]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def of(self, path: Path) -> str:
        """Return the hash of a file, or one of all files of a folder with their names."""
        if path.is_dir():
            parts = [f"{item.relative_to(path).as_posix()} {self.of(item)}" for item in sorted(_files(path))]
            return "folder " + _digest("\n".join(parts))
        status = path.stat()
        key, mark = str(path.resolve()), [status.st_size, status.st_mtime_ns]
        if self._known.get(key, [])[:2] != mark:
            self._known[key] = [*mark, sha256_of(path)]
            self._save()
        return str(self._known[key][2])

    def _save(self) -> None:
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps(self._known, indent=1) + "\n", encoding="utf-8")
        partial.replace(self._path)


def _files(folder: Path) -> Iterator[Path]:
    return (item for item in folder.rglob("*") if item.is_file())


def _digest(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()


def build(recipe: Recipe, *, data_dir: Path, report: Report = lambda _step, _done: None) -> Built:
    """Run the steps that are not finished; the same call after an interruption goes on.

    Args:
        recipe: What to build.
        data_dir: Where llama.cpp's converter is kept.
        report: Called with each step and its share done.

    Raises:
        ConversionError: The inputs are missing or do not fit, the folder holds something else, its card was edited,
            another build runs there, or a step failed (its own words are in the message; the others are kept).
        SourceError: The disk has no room, found out before the first step.
    """
    _check_inputs(recipe)
    _check_out(recipe.out)
    kitchen = recipe.out / KITCHEN
    kitchen.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(kitchen / "lock", wait_s=LOCK_WAIT_S):
        _sweep(recipe.out)
        hashes = Hashes(kitchen / "hashes.json")
        plan = steps(recipe, data_dir)
        if recipe.card:
            _check_card(plan[-1], kitchen, hashes)
        kept: list[str] = []
        ran: dict[str, float] = {}
        for number, step in enumerate(plan):
            if _is_done(step, kitchen, hashes):
                kept.append(step.name)
                report(step.name, 1.0)
                continue
            if not ran:
                _check_disk(recipe, plan[number:])
            ran[step.name] = _do(step, kitchen, hashes, report)
        passed = json.loads((recipe.out / "verify.json").read_text(encoding="utf-8"))["passed"]
    return Built(recipe.out, ran, tuple(kept), bool(passed))


def _check_inputs(recipe: Recipe) -> None:
    """Refuse at once what a later step would refuse after hours."""
    for scheme in (*recipe.schemes, *recipe.also):
        scheme_number(scheme)
    read_held_out(recipe.held_out)
    if recipe.calibration:
        read_held_out(recipe.calibration)
    if recipe.card and recipe.card.summary:
        read_recipe(recipe.card.summary)


def _check_card(step: Step, kitchen: Path, hashes: Hashes) -> None:
    """Refuse to replace a card that somebody wrote or edited."""
    path = _manifest(step, kitchen)
    left = json.loads(path.read_text(encoding="utf-8"))["outputs"] if path.is_file() else {}
    for item in step.outputs:
        if item.exists() and left.get(str(item)) != hashes.of(item):
            raise ConversionError(f"{item} is not as the build left it. Move it away, then run the same command again.")


def _check_out(out: Path) -> None:
    """Refuse a folder that no build has made: what is in it is not ours to replace."""
    if out.is_file():
        raise ConversionError(f"{out} is a file; give an empty or a new folder.")
    if out.is_dir() and any(out.iterdir()) and not (out / KITCHEN).is_dir():
        raise ConversionError(f"{out} holds something that no build made; give an empty or a new folder.")


def _sweep(out: Path) -> None:
    """Remove what a killed run left under working names."""
    for pattern in LEFTOVERS:
        for item in out.glob(pattern):
            log.info("removed %s, left by an interrupted run", item.name)
            shutil.rmtree(item) if item.is_dir() else item.unlink()


def _check_disk(recipe: Recipe, rest: Sequence[Step]) -> None:
    """Refuse to begin what the disk cannot hold."""
    specs = plan_merge(recipe.base, recipe.adapter).specs
    weights = sum(spec.n_bytes // spec.dtype.itemsize for spec in specs.values())
    merged = sum(spec.n_bytes for spec in specs.values())
    needed = {"merge": merged * (2 if recipe.qlora else 1), "gguf": weights * (4 if recipe.outtype == "f32" else 2)}
    needed |= {f"quantize {scheme}": int(weights * BITS.get(scheme, MOST_BITS) / 8) for scheme in recipe.schemes}
    finer = [BITS.get(scheme, MOST_BITS) for scheme in (*recipe.also, "Q5_K_M", "Q6_K", "Q8_0")]
    needed["verify"] = int(weights * sum(finer) / 8)
    check_space(recipe.out, sum(needed.get(step.name, 0) for step in rest))


def _manifest(step: Step, kitchen: Path) -> Path:
    return kitchen / f"{step.name.replace(' ', '-')}.json"


def _facts(step: Step, hashes: Hashes) -> dict[str, Any]:
    """Return what a step depends on."""
    return {
        "arguments": list(step.arguments),
        "inputs": {str(path): hashes.of(path) for path in step.inputs},
        "versions": versions(),
    }


def _is_done(step: Step, kitchen: Path, hashes: Hashes) -> bool:
    """Say whether a manifest proves a step finished for the same inputs, its outputs being as it left them."""
    path = _manifest(step, kitchen)
    if not path.is_file() or not all(item.exists() for item in (*step.inputs, *step.outputs)):
        return False
    written = json.loads(path.read_text(encoding="utf-8"))
    if any(written.get(key) != value for key, value in _facts(step, hashes).items()):
        return False
    return bool(written["outputs"] == {str(item): hashes.of(item) for item in step.outputs})


def _do(step: Step, kitchen: Path, hashes: Hashes, report: Report) -> float:
    """Run one step and write its manifest, last."""
    manifest = _manifest(step, kitchen)
    manifest.unlink(missing_ok=True)
    for item in step.outputs:
        if item.exists():
            log.info("removed %s: it was made from other inputs, or never finished", item.name)
            shutil.rmtree(item) if item.is_dir() else item.unlink()
    facts = _facts(step, hashes)
    started = time.monotonic()
    report(step.name, 0.0)
    _run(step, kitchen, report)
    seconds = round(time.monotonic() - started, 1)
    facts |= {"outputs": {str(item): hashes.of(item) for item in step.outputs}, "seconds": seconds}
    partial = manifest.with_suffix(".partial")
    partial.write_text(json.dumps(facts, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    partial.replace(manifest)
    report(step.name, 1.0)
    return seconds


@contextmanager
def _program(step: Step, errors: Path) -> Iterator["subprocess.Popen[str]"]:
    """Start a step as a program of its own; it never outlives us."""
    command = [sys.executable, "-m", "conversion", *step.arguments, "--json"]
    with errors.open("w", encoding="utf-8") as said:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=said, text=True, cwd=Path(__file__).parents[1],
            preexec_fn=die_with_parent,
        )  # fmt: skip
        try:
            yield process
            process.wait()
        except BaseException:
            stop(process)
            raise
        finally:
            if process.stdout is not None:
                process.stdout.close()


def _run(step: Step, kitchen: Path, report: Report) -> None:
    """Run a step, following its progress.

    Raises:
        ConversionError: It failed.
    """
    errors = kitchen / f"{step.name.replace(' ', '-')}.log"
    with _program(step, errors) as process:
        assert process.stdout is not None  # noqa: S101  for the type checker: PIPE was asked for
        for line in process.stdout:
            try:
                said = json.loads(line)
            except json.JSONDecodeError:
                continue  # a library that talks on stdout; the log has stderr
            if isinstance(said, dict) and isinstance(said.get("progress"), int | float):
                report(step.name, float(said["progress"]))
    if process.returncode == 0:
        return
    if step.name == "verify" and all(item.exists() for item in step.outputs):
        return  # its report says what failed
    lines = [line.strip() for line in errors.read_text(encoding="utf-8").splitlines() if line.strip()]
    raise ConversionError(
        f"The step {step.name!r} failed: {' '.join(lines[-TAIL:]) or f'status {process.returncode}'} "
        f"({errors} has all of it). Finished steps are kept; run the same command again."
    )
