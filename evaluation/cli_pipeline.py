"""`pipeline`, `judge` and `acceptance`, as commands of `python -m evaluation`. Measures nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from errors import EngineError
from evaluation.cli_common import Force, Json, Limit, Spec, Threads, bar, deliver, settled, talk

if TYPE_CHECKING:
    from evaluation.pipeline.plan import Report

FULL_LAYERS = 32  # of Mistral-7B


def register(app: typer.Typer) -> None:
    """Add this file's commands to the room's command line."""
    _register_pipeline(app)
    _register_judge(app)
    _register_acceptance(app)


@contextmanager
def _shown() -> Iterator["Report"]:
    """Give a function that shows each step with its talks, on stderr."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=talk) as progress:
        tasks: dict[str, Any] = {}

        def report(step: str, done: int) -> None:
            if step not in tasks:
                tasks[step] = progress.add_task(step, total=None)
            progress.update(tasks[step], completed=done)

        yield report


def _register_pipeline(app: typer.Typer) -> None:
    @app.command()
    def pipeline(
        ctx: typer.Context,
        base: Annotated[Path | None, typer.Option(help="Base checkpoint; unset, the embedded model's.")] = None,
        adapter: Annotated[Path | None, typer.Option(help="PEFT folder; unset, the embedded model's.")] = None,
        shape: Annotated[
            str | None, typer.Option(help="mistral-7b: random weights of its true width instead; times alone.")
        ] = None,
        layers: Annotated[
            int | None, typer.Option(min=1, max=FULL_LAYERS, help="With --shape; unset, as many as memory allows.")
        ] = None,
        prompts: Annotated[Path, typer.Option(help="Talks.")] = Path("data/eval/bench_prompts.jsonl"),
        out: Annotated[Path | None, typer.Option(help="Folder of artefacts; what is there is kept.")] = None,
        summary: Annotated[
            Path | None, typer.Option(help="Also write the summary here, its table and picture beside it.")
        ] = None,
        scheme: Annotated[
            list[str] | None, typer.Option(help="Quantisation; again for finer ones, tried when it loses too much.")
        ] = None,
        outtype: Annotated[str, typer.Option(help="Of the 16-bit GGUF: f16 or bf16.")] = "f16",
        dtype: Annotated[
            str, typer.Option(help="Of a checkpoint while it computes: auto, float32, bfloat16.")
        ] = "auto",
        held_out: Annotated[
            Path | None, typer.Option(help="Chats for perplexity; unset, those of BAF_DATA_DIR, or the talks' own.")
        ] = None,
        max_tokens: Annotated[int | None, typer.Option(min=1, help="Of an answer; unset, the persona's.")] = None,
        limit: Limit = None,
        threads: Threads = None,
        force: Force = False,
        as_data: Json = False,
    ) -> None:
        """Measure the optimisation plan step by step: adapter, merged, GGUF, quantised, kept personas, condensed."""
        from evaluation.pipeline.plan import Pipeline
        from evaluation.pipeline.setup import Given, setup_for
        from retrieval.embedders import default_embedder

        given = Given(
            base=base, adapter=adapter, shape=shape, layers=layers, prompts=prompts, out=out,
            schemes=tuple(scheme or ()), outtype=outtype, dtype=dtype, held_out=held_out, max_tokens=max_tokens,
            limit=limit, threads=threads,
        )  # fmt: skip
        with talk.status("Making what is missing…"):
            setup = setup_for(given, settled(ctx).data_dir())
        embedder = None if setup.random else default_embedder(setup.data_dir)
        try:
            with _shown() as report:
                found = Pipeline(setup, embedder, report, force).run()
        finally:
            if embedder is not None:
                embedder.close()
        _deliver(found, setup.out, summary, as_data)


def _deliver(found: dict[str, Any], out: Path, summary: Path | None, as_data: bool) -> None:
    """Write table and picture, and the summary where it was asked for as well."""
    from evaluation.pipeline.show import table, waterfall
    from evaluation.result import as_json, write_text

    for place in (out / "pipeline.json", *([summary] if summary else [])):
        write_text(place.with_suffix(".md"), table(found))
        waterfall(found, place.with_suffix(".png"))
    if summary is not None:
        write_text(summary, as_json(found))
    deliver(found, None, as_data, table(found))


def _register_judge(app: typer.Typer) -> None:
    @app.command()
    def judge(
        ctx: typer.Context,
        engine: Spec,
        labels: Annotated[Path | None, typer.Option(help="Graded answers: pairs of them are judged.")] = None,
        pairs: Annotated[Path | None, typer.Option(help="JSONL of id, question, first, second, perhaps label.")] = None,
        per_scheme: Annotated[int, typer.Option(min=1, help="Most pairs of one scheme, with --labels.")] = 10,
        limit: Limit = None,
        out: Annotated[Path | None, typer.Option(help="Folder of the run; unset, one in the data folder.")] = None,
        threads: Threads = None,
        force: Force = False,
        as_data: Json = False,
    ) -> None:
        """Let a language model say which of two answers is better, in both orders, beside our labels. Never a gate."""
        from evaluation import judge as judging
        from evaluation.agreement import load_labels
        from evaluation.cli_schemes import folder_for
        from evaluation.running import run_spec
        from evaluation.runs import results_of

        if (labels is None) == (pairs is None):
            raise EngineError("Give either --labels or --pairs.")
        path = labels or pairs or Path()
        read = judging.pairs_of(load_labels(path), per_scheme) if labels else judging.load_pairs(path)
        given, chosen = settled(ctx), read[:limit]
        spec = given.read_spec(engine, allowed=())
        task = judging.judge_task(chosen, path)
        with bar("Judging", len(task.documents)) as (progress, shown):
            run = run_spec(
                spec, task, out or folder_for(judging.NAME, spec, given.data_dir()), threads=threads, force=force,
                on_sample=lambda _: progress.advance(shown),
            )  # fmt: skip
        found = judging.judged(chosen, run)
        said = f"{found['pairs']} pairs, steady in {found['steady']:.0%}, agreement {found['agreement']}"
        deliver({**results_of(run), "judge": found}, None, as_data, said)


def _register_acceptance(app: typer.Typer) -> None:
    @app.command()
    def acceptance(
        root: Annotated[Path, typer.Option(help="The repository.")] = Path(),
        out: Annotated[Path | None, typer.Option(help="Page to write; unset, docs/ACCEPTANCE_CRITERIA.md.")] = None,
        check: Annotated[
            bool, typer.Option("--check", help="Write nothing; exit status 1 when the page is not up to date.")
        ] = False,
    ) -> None:
        """Write each criterion with its measured value and the result file it comes from."""
        from evaluation.acceptance import PAGE, render
        from evaluation.result import write_text

        place, page = out or root / PAGE, render(root)
        if not check:
            write_text(place, page)
            typer.echo(place)
        elif not place.is_file() or place.read_text(encoding="utf-8") != page:
            raise EngineError(f"{place} is not what the results say. Write it with `python -m evaluation acceptance`.")
