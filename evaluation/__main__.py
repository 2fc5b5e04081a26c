"""`python -m evaluation`: the command line of this room. Knows settings; every measure is elsewhere."""

import asyncio
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import run_commands
from engines.open import open_engine
from errors import EngineError
from evaluation import cli_compare, cli_pipeline, cli_schemes
from evaluation.cli_common import Force, FromSettings, Json, Limit, Out, Spec, Threads, bar, deliver, model_of, talk
from evaluation.result import environment, must_be_new, sha256_of, write_text
from roles import load_roles
from settings import load_settings

app = typer.Typer(help="Measure how good the answers are.", no_args_is_help=True, add_completion=False)


def _role(name: str) -> str:
    settings = load_settings()
    return load_roles(settings.config).get(name).spec(settings.data_dir)


@app.callback()
def begin(ctx: typer.Context) -> None:
    """Measure how good the answers are, and how fast."""
    ctx.obj = FromSettings(lambda: load_settings().data_dir, _role)


@app.command("demo-answers")
def demo_answers(
    engine: Spec,
    out: Annotated[Path, typer.Option(help="Markdown page to write.")] = Path("models/demo/ANSWERS.md"),
    questions: Annotated[Path, typer.Option(help="The examination.")] = Path("data/eval/questions.jsonl"),
    notes: Annotated[Path, typer.Option(help="Folder of reading notes.")] = Path("data/notes"),
    limit: Limit = None,
    threads: Threads = None,
    force: Force = False,
    as_data: Json = False,
) -> None:
    """Ask the starter questions and the examination, and write every answer down. Resumed when interrupted."""
    from evaluation import demo_answers as demo
    from evaluation.text_counts import unknown_words, words
    from retrieval.embedders import default_embedder
    from retrieval.notes import NoteIndex

    must_be_new(out, force=force)
    asked_for = demo.load_questions(questions)[:limit]
    index = NoteIndex.load(notes, default_embedder(load_settings().data_dir))  # as the page finds them
    model = model_of(engine)
    opened = open_engine(engine, threads=threads)
    try:
        n_params = opened.info.n_params
        identity = {
            "model": model,
            "questions": sha256_of(questions),
            "limit": limit,
            "prompts": [demo.prompt_for(one, index, n_params)[0] for one in asked_for],
            "sampling": [asdict(demo.params_for(one, n_params)) for one in asked_for],
        }
        kept = demo.Journal(out.with_name(out.name + ".partial"), identity)
        with bar("Asking", len(asked_for)) as (progress, task):
            progress.update(task, completed=len(kept.done))

            def on_answer(asked: demo.Asked) -> None:
                kept.add(asked)
                progress.advance(task)

            asked = asyncio.run(demo.ask_all(opened, asked_for, index, kept.done, on_answer))
    finally:
        opened.close()
    corpora = load_settings().corpora_dir
    unknown = None
    if corpora is not None:
        said = {word for one in asked for word in words(one.answer)}
        unknown = unknown_words(said, corpora, demo.own_words(index.notes, asked_for))
    about = {"environment": environment(sys.argv[1:]), "model": model}
    counts = demo.count(asked, unknown)
    write_text(out, demo.render(asked, counts, about, unknown))
    kept.path.unlink()
    result = {**about, "limit": limit, "counts": counts, "unknown_words": sorted(unknown) if unknown else []}
    deliver({**result, "samples": [asdict(one) for one in asked]}, None, as_data, f"{out}: {counts}")


@app.command()
def exercises(
    engine: Spec,
    data: Annotated[Path, typer.Option(help="JSONL of exercises.")] = Path("data/schemes_levelA_base.jsonl"),
    split: Annotated[str, typer.Option(help="Which of them.")] = "test",
    limit: Limit = None,
    threads: Threads = None,
    out: Out = None,
    force: Force = False,
    as_data: Json = False,
) -> None:
    """Put held-out scheme exercises to an engine, greedily: how many conclusions are right."""
    from evaluation.exercises import load_exercises, run_exercises

    must_be_new(out, force=force)
    chosen = load_exercises(data, split)[:limit]
    opened = open_engine(engine, threads=threads)
    try:
        with bar("Exercises", len(chosen)) as (progress, task):
            done = asyncio.run(run_exercises(opened, chosen, lambda number: progress.update(task, completed=number)))
    finally:
        opened.close()
    about = {"environment": environment(sys.argv[1:]), "model": model_of(engine), "split": split, "limit": limit}
    summary = f"{done['right']} of {done['n']} conclusions right ({done['share']:.0%}), {done['alone']['right']} alone"
    deliver({**about, "data_sha256": sha256_of(data), **done}, out, as_data, summary)


def _named(models: list[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for given in models:
        name, equals, path = given.partition("=")
        if not equals or not name or not path or name in found:
            raise EngineError(f"--model {given!r}: expected NAME=PATH, each name once.")
        found[name] = Path(path)
    return found


@app.command()
def perplexity(
    model: Annotated[list[str], typer.Option(help="NAME=PATH of a GGUF; give it again for several.")] = [],  # noqa: B006
    kl: Annotated[
        tuple[Path, Path] | None, typer.Option(help="QUANTISED REFERENCE: how far the first is from the second.")
    ] = None,
    dialogues: Annotated[Path | None, typer.Option(help="Held-out file of `python -m corpus mix`.")] = None,
    prose: Annotated[bool, typer.Option(help="Measure on general prose as well (BAF_CORPORA_DIR).")] = True,
    limit: Limit = None,
    threads: Threads = None,
    out: Out = None,
    force: Force = False,
    as_data: Json = False,
) -> None:
    """Perplexity on held-out dialogues (the answers alone) and on general prose; divergence by quantisation."""
    from engines.llama_model import granted_cpus
    from evaluation import perplexity as measure
    from evaluation.logits import ScoringModel
    from evaluation.text_counts import held_out_prose

    must_be_new(out, force=force)
    named = _named(model)
    settings = load_settings()
    held_out = dialogues or settings.data_dir / "training" / "demo.eval.jsonl"
    chats = measure.layouts(measure.load_chats(held_out, limit))
    texts: list[measure.Layout] = []
    if prose and named:
        if settings.corpora_dir is None:
            raise EngineError("BAF_CORPORA_DIR is not set: set it, or pass --no-prose.")
        texts = measure.layouts([], held_out_prose(settings.corpora_dir))
    result: dict[str, Any] = {"dialogues_sha256": sha256_of(held_out), "limit": limit, "models": {}, "kl": None}
    threads = threads or granted_cpus()
    steps = len(named) * (len(chats) + len(texts)) + (len(chats) if kl else 0)
    with bar("Scoring", steps) as (progress, task):

        def advance() -> None:
            progress.advance(task)

        for name, path in named.items():
            scoring = ScoringModel(path, threads=threads)
            try:
                found: dict[str, Any] = {"file": path.name, "sha256": sha256_of(path)}
                found["dialogues"] = measure.perplexity(scoring, chats, advance)
                found["prose"] = measure.perplexity(scoring, texts, advance) if texts else None
            finally:
                scoring.close()
            result["models"][name] = found
        if kl is not None:
            result["kl"] = _divergence(kl, threads, chats, advance)
    result["environment"] = environment(sys.argv[1:])
    deliver(result, out, as_data, _spoken(result))


def _divergence(pair: tuple[Path, Path], threads: int, chats: list[Any], advance: Any) -> dict[str, Any]:
    from evaluation.logits import ScoringModel
    from evaluation.perplexity import divergence

    quantised = ScoringModel(pair[0], threads=threads)
    try:
        reference = ScoringModel(pair[1], threads=threads)
        try:
            found = divergence(quantised, reference, chats, advance)
        finally:
            reference.close()
    finally:
        quantised.close()
    files = {"quantised_sha256": sha256_of(pair[0]), "reference_sha256": sha256_of(pair[1])}
    return {"quantised": pair[0].name, "reference": pair[1].name, **files, **asdict(found)}


def _spoken(result: dict[str, Any]) -> str:
    lines = []
    for name, found in result["models"].items():
        prose = f", prose {found['prose']['perplexity']:.2f}" if found["prose"] else ""
        lines.append(f"{name}: perplexity on dialogues {found['dialogues']['perplexity']:.2f}{prose}")
    if result["kl"]:
        lines.append(f"KL {result['kl']['mean']:.4f} nats, same likeliest token {result['kl']['same_top']:.1%}")
    return "\n".join(lines)


@app.command("dialogue-rules")
def dialogue_rules(
    half: Annotated[str, typer.Option(help="tune, to work on; judge, to report: it prints counts alone.")] = "tune",
    data: Annotated[Path, typer.Option(help="Folder with eval/ and dialogue_rules/.")] = Path("data"),
    dialogues: Annotated[Path, typer.Option(help="Folder of dialogues.")] = Path("data/dialogues"),
    fit: Annotated[
        bool, typer.Option("--fit", help="Only fit the weights of stance and alarm, and write them; then measure.")
    ] = False,
    folds: Annotated[
        int | None, typer.Option(min=2, help="Say as well how models do on so many parts that they did not learn from.")
    ] = None,
    sets: Annotated[
        bool,
        typer.Option("--sets", help="Say as well how the alarm does on each set, learned from the others: minutes."),
    ] = False,
    out: Out = None,
    force: Force = False,
    as_data: Json = False,
) -> None:
    """Stances, crises, attacks, personal data: macro-F1, recall and false alarms on labelled sentences."""
    must_be_new(out, force=force)
    if half not in ("tune", "judge"):
        raise EngineError(f"--half {half!r}: expected tune or judge.")
    if fit:
        from evaluation.rules_fit import fit_all

        with talk.status("Fitting the stance and the alarm…"):
            made = fit_all(data, dialogues)
        typer.echo(f"Wrote {', '.join(path.name for path in made)}.", err=True)  # read by the next start
        return
    from evaluation import dialogue_rules as rules

    corpora = load_settings().corpora_dir
    questions = corpora / "questions" / "sujets.txt" if corpora else None
    exam = questions.read_text(encoding="utf-8").splitlines() if questions and questions.is_file() else []
    with talk.status("Measuring…"):
        measured = rules.measure(data, "judge" if half == "judge" else "tune", dialogues, exam)
    result = {**measured, "environment": environment(sys.argv[1:])}
    summary = rules.spoken(measured)
    if folds is not None:
        from evaluation.rules_fit import across_folds

        with talk.status("Fitting on all parts but one…"):
            result["folds"] = across_folds(data, dialogues, folds)
        summary += f"\non parts that were not learned from: {result['folds']}"
    if sets:
        from evaluation.rules_fit import across_sets

        with talk.status("Fitting on all sets but one…"):
            result["sets"] = across_sets(data, dialogues, folds or 2)
        summary += "".join(f"\n{name}: {found}" for name, found in result["sets"].items())
    deliver(result, out, as_data, summary)


for commands in (cli_schemes, cli_compare, cli_pipeline):
    commands.register(app)


def main() -> None:
    """Run the command line; an error of ours becomes one line on stderr and exit status 1."""
    run_commands(app, level=logging.WARNING)


if __name__ == "__main__":
    main()
