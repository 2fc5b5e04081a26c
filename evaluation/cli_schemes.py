"""`schemes`, `bench`, and what validates the scorer, as commands of `python -m evaluation`.."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from evaluation.cli_common import Force, Json, Limit, Spec, Threads, bar, deliver, settled, talk
from evaluation.result import environment, must_be_new, sha256_of, write_text
from evaluation.runs import Run, Sample, results_of
from evaluation.specs import EvaluationSpec

Folder = Annotated[Path | None, typer.Option("--out", help="Folder of the run; unset, one in the data folder.")]
OwnLayout = Annotated[bool, typer.Option("--own-layout", help="Ask a model without a chat template in Mistral's.")]
Deadline = Annotated[float, typer.Option("--deadline", min=0.1, help="Seconds for one answer; then it has failed.")]
LABELS = Path("data/eval/scheme_labels_judge.jsonl.xz")


def register(app: typer.Typer) -> None:
    """Add this file's commands to the room's command line."""
    app.command()(schemes)
    app.command()(bench)
    app.command("schemes-sample")(schemes_sample)
    app.command("schemes-agreement")(schemes_agreement)


def folder_for(task: str, spec: EvaluationSpec, data_dir: Path) -> Path:
    """Return the folder of a run that was given none: named after task and engine."""
    name = re.sub(r"[^\w.@=+-]+", "_", spec.text).strip("_")
    return data_dir / "evaluation" / task / name


def _ask(label: str, total: int, work: Callable[[Callable[[Sample], None]], Run]) -> Run:
    """Run something under a progress bar; what fails is said as it happens."""
    with bar(label, total) as (progress, task):

        def on_sample(sample: Sample) -> None:
            progress.advance(task)
            if sample.error is not None:
                talk.print(f"{sample.id}: {sample.error}", style="yellow", markup=False, highlight=False)

        run = work(on_sample)
        progress.update(task, completed=total)
    return run


def schemes(
    ctx: typer.Context,
    engine: Spec,
    sets: Annotated[
        list[Path] | None, typer.Option("--set", help="JSONL of questions or exercises; again for several.")
    ] = None,
    split: Annotated[str, typer.Option(help="Of exercises, which of them.")] = "test",
    limit: Limit = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Of one answer; unset, 160.")] = None,
    out: Folder = None,
    deadline: Deadline = 300.0,
    threads: Threads = None,
    own_layout: OwnLayout = False,
    force: Force = False,
    as_data: Json = False,
) -> None:
    """Does the engine reason by the scheme it was asked for, and conclude rightly? Resumed when interrupted."""
    from evaluation.running import run_spec
    from evaluation.scheme_task import NAME, SETS, scheme_task

    given = settled(ctx)
    spec = given.read_spec(engine)
    task = scheme_task(sets or SETS, split=split, limit=limit, max_tokens=max_tokens)
    folder = out or folder_for(NAME, spec, given.data_dir())
    how: dict[str, Any] = {"threads": threads, "deadline_s": deadline, "force": force, "own_layout": own_layout}
    total = len(task.documents)
    run = _ask("Schemes", total, lambda told: run_spec(spec, task, folder, on_sample=told, **how))
    result = results_of(run)
    if as_data:
        print(json.dumps(result, ensure_ascii=False))
    typer.echo(spoken_schemes(result["summary"]) + f"\n{folder}", err=True)


def spoken_schemes(found: dict[str, float]) -> str:
    """Return a run's figures in a sentence or two."""
    lines = [f"{found['n']:.0f} asked, {found['failures']:.0f} failed; accuracy {found.get('accuracy', 0):.1%}"]
    if "grade" in found:
        lines.append(f"scheme {found['grade']:.2f} of 4 on {found['grade_n']:.0f}")
    if "conclusion" in found:
        lines.append(f"conclusion right {found['conclusion']:.1%}, to the letter {found['conclusion_exact']:.1%}")
    if "latency_median_s" in found:
        lines.append(f"latency median {found['latency_median_s']:.2f} s, p95 {found['latency_p95_s']:.2f} s")
    return "; ".join(lines)


def bench(
    ctx: typer.Context,
    engine: Spec,
    prompts: Annotated[Path, typer.Option(help="JSONL of chats.")] = Path("data/eval/bench_prompts.jsonl"),
    repeats: Annotated[int, typer.Option(min=1, help="How often each chat is asked.")] = 2,
    max_tokens: Annotated[int, typer.Option(min=2, help="Of one answer.")] = 128,
    limit: Limit = None,
    out: Folder = None,
    deadline: Deadline = 300.0,
    threads: Threads = None,
    own_layout: OwnLayout = False,
    force: Force = False,
    as_data: Json = False,
) -> None:
    """How fast: chats of five exchanges, median and p95, first token, tokens, memory. Writes baseline.json as well."""
    from evaluation import bench as measure
    from evaluation.running import run_spec

    given = settled(ctx)
    spec = given.read_spec(engine)
    task = measure.bench_task(prompts, repeats=repeats, limit=limit, max_tokens=max_tokens)
    folder = out or folder_for(measure.NAME, spec, given.data_dir())
    for name in (measure.BASELINE, measure.ENVIRONMENT):
        must_be_new(folder / name, force=force)
    how: dict[str, Any] = {"threads": threads, "deadline_s": deadline, "force": force, "own_layout": own_layout}
    how["resume"] = False  # times are comparable only when they are taken together
    total = len(task.documents)
    run = _ask("Bench", total, lambda told: run_spec(spec, task, folder, on_sample=told, **how))
    found = measure.write_baseline(run, folder, force=force)
    if as_data:
        print(json.dumps(found, ensure_ascii=False))
    if found["n"]:
        said = f"median {found['median_latency']:.2f} s, p95 {found['p95_latency']:.2f} s, first token "
        said += f"{found['median_first_token']:.2f} s, {found['median_tokens_per_s']} tokens/s on {found['n']} answers"
    else:
        said = "nothing was answered"
    typer.echo(f"{said}, {found['failures']} failed\n{folder}", err=True)


def schemes_sample(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option(help="JSONL to write: answers without verdicts, in a shuffled order.")],
    engine: Spec = "role:philosopher",
    n: Annotated[int, typer.Option("--n", min=1, help="How many answers.")] = 180,
    threads: Threads = None,
    force: Force = False,
) -> None:
    """Write answers for a reader to grade from 0 to 4, blind to the scorer. Resumed when interrupted."""
    from evaluation.running import run_spec
    from evaluation.scheme_sample import as_lines, rows_to_label, sample_task

    must_be_new(out, force=force)
    spec = settled(ctx).read_spec(engine, allowed=())
    task = sample_task(n)
    folder = out.with_name(out.name + ".run")
    run = _ask("Sample", n, lambda told: run_spec(spec, task, folder, threads=threads, force=True, on_sample=told))
    rows = rows_to_label(task, run)
    write_text(out, as_lines(rows))
    typer.echo(f"{out}: {len(rows)} answers; {len(run.samples) - len(rows)} failed", err=True)


def schemes_agreement(
    labels: Annotated[Path, typer.Option(help="JSONL of labelled answers.")] = LABELS,
    out: Annotated[Path | None, typer.Option(help="Result file (JSON).")] = None,
    force: Force = False,
    as_data: Json = False,
) -> None:
    """How far the scorer agrees with a reader's grades: confusion table, weighted kappa, shares."""
    from evaluation.agreement import agreement, load_labels, table_lines

    must_be_new(out, force=force)
    found = agreement(load_labels(labels))
    about = {"labels_sha256": sha256_of(labels), "environment": environment(sys.argv[1:])}
    deliver({**about, **found}, out, as_data, table_lines(found))
