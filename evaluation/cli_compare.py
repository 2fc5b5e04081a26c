"""`requirements`, `compare`, `ablation`, `gate` and `report` as commands. Knows Typer; no measure."""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from errors import EngineError
from evaluation.ablation import BOTH, CELLS, PREMIUM, ablate, specs_of
from evaluation.ablation import render as ablation_page
from evaluation.cli_common import Force, FromSettings, Json, Limit, Threads, bar, deliver, settled, talk
from evaluation.compared import Compared, folder_name, unique_names
from evaluation.comparison import compare_runs
from evaluation.comparison import render as comparison_page
from evaluation.decisions import BASELINE, FREE_ACCURACY
from evaluation.pages import bars
from evaluation.result import as_json, environment, must_be_new, write_text
from evaluation.running import DEADLINE_S
from evaluation.runs import RESULTS, Run, save_run

METRICS = ("schemes", "requirements", "similarity")
GATE_METRICS = ("accuracy", "scheme", "conclusion", "requirements", "similarity")  # what a committed run keeps
RESULTS_FOLDER = Path("benchmarks/results")

Out = Annotated[Path | None, typer.Option(help="Folder for runs and result; unset, evaluation/ in the data folder.")]
Deadline = Annotated[float, typer.Option("--deadline", min=0.1, help="Seconds for one answer; then it has failed.")]
OwnLayout = Annotated[bool, typer.Option("--own-layout", help="Ask a model without a chat template in Mistral's.")]
Baseline = Annotated[float, typer.Option(min=0, max=100, help="Points that a requirements model has to beat.")]
MaxTokens = Annotated[int, typer.Option(min=16, help="Most tokens of a requirements document.")]


def register(app: typer.Typer) -> None:
    """Add this file's commands to the room's command line."""
    app.command()(requirements)
    app.command()(compare)
    app.command()(ablation)
    app.command()(gate)
    app.command()(report)


def requirements(
    ctx: typer.Context,
    engine: Annotated[str | None, typer.Option(help="Who answers, e.g. ollama:mistral@prompt=optimised.")] = None,
    answers: Annotated[Path | None, typer.Option(help="Instead: JSONL of answers, with id or concept.")] = None,
    documents: Annotated[Path, typer.Option("--set", help="JSONL of concepts.")] = Path(
        "data/business_analyst/validation.jsonl"
    ),
    limit: Limit = None,
    max_tokens: MaxTokens = 2048,
    baseline: Baseline = BASELINE,
    threads: Threads = None,
    deadline: Deadline = DEADLINE_S,
    own_layout: OwnLayout = False,
    out: Out = None,
    force: Force = False,
    as_data: Json = False,
) -> None:
    """Score requirements documents from 0 to 100: form, ids, priorities, coverage. Writes eval_report.json."""
    from evaluation.requirement_task import answers_run, requirements_on
    from evaluation.requirement_task import report as report_of

    if (engine is None) == (answers is None):
        raise EngineError("Give either --engine SPEC or --answers FILE.")
    how: dict[str, Any] = {"threads": threads, "deadline_s": deadline, "own_layout": own_layout, "force": force}
    compared = requirements_on(documents, limit, max_tokens=max_tokens)
    name = folder_name(engine) if engine is not None else f"answers-{(answers or Path()).stem}"
    given = settled(ctx)
    folder = out or given.data_dir() / "evaluation" / "requirements" / name
    must_be_new(folder / "eval_report.json", force=force)
    if answers is not None:
        must_be_new(folder / RESULTS, force=force)
        run = answers_run(compared.task, answers, environment(sys.argv[1:]))
        save_run(run, folder, force=force)
    else:
        runs = _runs(given, compared, {"engine": engine or ""}, {"engine": folder}, **how)
        run = runs["engine"]
    result = report_of(run, baseline=baseline)
    low, high = result["interval"]
    said = f"{result['score']:.2f} of 100 ({low:.2f} to {high:.2f}) on {result['documents']} documents, "
    said += f"{result['failures']} failed. {result['decision']['title']}"
    deliver(result, folder / "eval_report.json", as_data, said)


def _runs(
    given: FromSettings,
    compared: Compared,
    specs: Mapping[str, str],
    folders: Mapping[str, Path],
    **how: Any,
) -> dict[str, Run]:
    """Ask every spec in turn, one after the other: two engines at once would slow each other down."""
    compared.check(list(specs.values()), given.read_spec)
    found: dict[str, Run] = {}
    for name, spec in specs.items():
        with bar(name, len(compared.task.documents)) as (progress, task):
            found[name] = compared.run(
                spec, folders[name], read=given.read_spec, **how,
                on_sample=lambda _: progress.advance(task),  # called before the loop goes on
            )  # fmt: skip
    return found


def _compared(
    given: FromSettings, metric: str, documents: list[Path], limit: int | None, max_tokens: int
) -> tuple[Compared, Callable[[], None]]:
    """Return what a metric compares, and what has to be closed afterwards."""
    if len(documents) > 1 and metric != "schemes":
        raise EngineError(f"--metric {metric} takes one --set, not {len(documents)}.")
    if metric == "schemes":
        from evaluation.scheme_task import SETS, scheme_task
        from evaluation.specs import VARIANTS

        return Compared(scheme_task(documents or SETS, limit=limit), "accuracy", VARIANTS), lambda: None
    if metric == "requirements":
        from evaluation.requirement_task import VALIDATION, requirements_on

        return requirements_on(documents[0] if documents else VALIDATION, limit, max_tokens=max_tokens), lambda: None
    if metric == "similarity":
        from evaluation.similarity_task import SET, similarity_on
        from retrieval.embedders import default_embedder

        embedder = default_embedder(given.data_dir())
        if embedder is None:
            raise EngineError("Similarity needs the French embedder: `python -m conversion embedder` makes it.")
        return similarity_on(embedder, documents[0] if documents else SET, limit), embedder.close
    raise EngineError(f"--metric {metric!r}: known are {', '.join(METRICS)}.")


def compare(
    ctx: typer.Context,
    specs: Annotated[list[str], typer.Argument(help="Two engines or more, the baseline first; run:FOLDER for a run.")],
    documents: Annotated[list[Path], typer.Option("--set", help="JSONL; unset, the metric's own set.")] = [],  # noqa: B006
    metric: Annotated[str, typer.Option(help="schemes, requirements or similarity.")] = "schemes",
    limit: Limit = None,
    max_tokens: MaxTokens = 2048,
    baseline: Baseline = BASELINE,
    threads: Threads = None,
    deadline: Deadline = DEADLINE_S,
    own_layout: OwnLayout = False,
    out: Out = None,
    force: Force = False,
    as_data: Json = False,
) -> None:
    """Put the same documents to several engines: means, every two of them, and what may be concluded. Resumed.

    A spec may carry a prompt: ollama:mistral:7b-instruct@prompt=plain ollama:mistral:7b-instruct@prompt=optimised
    hf:BASE+ADAPTER --metric requirements compares a baseline, a better prompt and an adapter.
    """
    if len(specs) < 2:
        raise EngineError("Give two engines at least, the baseline first.")
    given = settled(ctx)
    folder = out or given.data_dir() / "evaluation" / f"compare-{metric}"
    must_be_new(folder / "compare.json", force=force)
    how: dict[str, Any] = {"threads": threads, "deadline_s": deadline, "own_layout": own_layout, "force": force}
    compared, close = _compared(given, metric, documents, limit, max_tokens)
    try:
        named = unique_names(specs)
        runs = _runs(given, compared, named, {name: folder / name for name in named}, **how)
    finally:
        close()
    result = compare_runs(runs, compared.metric, baseline=baseline)
    result["environment"] = environment(sys.argv[1:])
    write_text(folder / "compare.md", comparison_page(result))
    points = {name: _points(one) for name, one in result["models"].items()}
    title = f"{compared.metric} on {next(iter(result['models'].values()))['n']} documents"
    bars(points, folder / "compare.png", title=title, label="points of 100, with 95 % intervals")
    deliver(result, folder / "compare.json", as_data, "\n".join(result["conclusion"]))


def _points(one: Mapping[str, Any]) -> tuple[float, float, float]:
    return 100 * one["mean"], 100 * one["low"], 100 * one["high"]


def ablation(
    ctx: typer.Context,
    base: Annotated[str, typer.Option(help="Spec of the base, without a prompt: hf:PATH, or gguf:PATH.")],
    adapter: Annotated[Path | None, typer.Option(help="PEFT folder, attached at run time to an hf: base.")] = None,
    adapted: Annotated[str | None, typer.Option(help="Instead: spec of the base with the adapter in it.")] = None,
    prompt: Annotated[str, typer.Option(help="What is meant by prompts: persona or optimised.")] = "persona",
    premium: Annotated[str | None, typer.Option(help="Spec, or run:FOLDER, of the premium model.")] = None,
    documents: Annotated[list[Path], typer.Option("--set", help="JSONL; unset, questions and exercises.")] = [],  # noqa: B006
    limit: Limit = None,
    threads: Threads = None,
    deadline: Deadline = DEADLINE_S,
    own_layout: OwnLayout = False,
    out: Out = None,
    force: Force = False,
    as_data: Json = False,
) -> None:
    """Base, prompts only, LoRA only, LoRA with prompts: what each brings, and what it means for free and premium."""
    given = settled(ctx)
    folder = out or given.data_dir() / "evaluation" / "ablation"
    must_be_new(folder / "ablation.json", force=force)
    cells = dict(zip(CELLS, specs_of(base, str(adapter) if adapter else None, adapted, prompt), strict=True))
    if premium is not None:
        cells[PREMIUM] = premium
    how: dict[str, Any] = {"threads": threads, "deadline_s": deadline, "own_layout": own_layout, "force": force}
    compared, _ = _compared(given, "schemes", documents, limit, 0)
    folders = {name: folder / name.replace(" + ", "-").replace(" ", "-") for name in cells}
    runs = _runs(given, compared, cells, folders, **how)
    above = runs.pop(PREMIUM, None)
    result = ablate(runs, compared.metric, above)
    result["environment"] = environment(sys.argv[1:])
    points = {name: _points(one) for name, one in result["cells"].items()}
    title = f"Scheme accuracy, {result['cells'][BOTH]['n']} items"
    label = "points of 100, with 95 % intervals"
    bars(points, folder / "ablation.png", title=title, label=label, limit=100 * FREE_ACCURACY)
    write_text(folder / "ablation.md", ablation_page(result))
    said = "\n".join([*result["conclusion"], result["freemium"]["title"]])
    deliver(result, folder / "ablation.json", as_data, said)


def gate(
    candidate: Annotated[Path, typer.Option(help="Run of the new model: its folder.")],
    committed: Annotated[Path, typer.Option(help="Run of the model that ships.")] = RESULTS_FOLDER / "model-gate.json",
    metric: Annotated[list[str], typer.Option(help="Which; unset, all that the committed run keeps.")] = [],  # noqa: B006
    adopt: Annotated[bool, typer.Option("--adopt", help="Make the candidate's run the committed one.")] = False,
    force: Force = False,
    as_data: Json = False,
) -> None:
    """Fail when a new embedded model is worse than the committed one beyond its interval (exit status 1)."""
    from evaluation.gate import judge, load_figures, write_compact

    run = load_figures(candidate)
    if adopt:
        write_compact(run, committed, metric or GATE_METRICS, force=force)
        typer.echo(f"{committed}: the committed run is now that of {run.engine}.", err=True)
        return
    found = judge(run, load_figures(committed), metric)
    if as_data:
        print(json.dumps(found.to_data(), ensure_ascii=False))
    typer.echo(found.spoken(), err=True)
    if not found.passed:
        raise typer.Exit(1)


def report(
    results: Annotated[list[Path] | None, typer.Argument(help="Result files, or folders of them.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for index.html and README.md.")] = Path("docs/report"),
    force: Force = False,
    as_data: Json = False,
) -> None:
    """One page from all result files: what ships, what does not, why."""
    from evaluation.report import collect, find, write_report

    with talk.status("Reading results…"):
        found = collect(find(results or [RESULTS_FOLDER]))
        written = write_report(found, out, force=force)
    for line in found.unread:
        typer.echo(f"not read: {line}", err=True)
    if as_data:
        rulings = [{"what": one.subject, "verdict": one.verdict, "why": one.why} for one in found.rulings]
        print(as_json(rulings), end="")
    typer.echo(f"{written[0]}: {len(found.sections)} results, {len(found.rulings)} rulings.", err=True)
