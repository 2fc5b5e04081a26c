"""`python -m corpus`: the command line of this room. Knows settings; every decision is elsewhere."""

import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from cli import run_commands
from corpus.check import Report, check_all
from corpus.dialogues import (
    MORE,
    Exercise,
    NoteFields,
    load_dialogues,
    load_more,
    load_notes,
    parse_exercise,
    read_objects,
)
from corpus.mix import (
    HintForm,
    Row,
    exercise_messages,
    exercise_rows,
    is_held_out,
    mix,
    must_be_new,
    note_rows,
    prose_count,
    second_mix,
    write_rows,
)
from corpus.prose import draw_slices, read_french
from corpus.schemes.augment import augment_file
from corpus.schemes.bank import load_bank, load_negations
from corpus.schemes.check import AUGMENTED, check_schemes
from corpus.schemes.drill import cross, drill
from corpus.schemes.frames import load_lexicon
from corpus.schemes.picture import draw
from corpus.schemes.split import split_of
from corpus.schemes.surfaces import load_surfaces
from errors import CorpusError
from settings import load_settings

if TYPE_CHECKING:
    from corpus.server.workshop import Workshop

LOCAL = "127.0.0.1"
EVERYWHERE = ("0.0.0.0", "::", "0", "")  # noqa: S104  refused
app = typer.Typer(help="Check our texts and make training files of them.", no_args_is_help=True, add_completion=False)
talk = Console(stderr=True)

Data = Annotated[Path, typer.Argument(help="Folder with notes/, dialogues/ and the exercises.")]
EXERCISES = "schemes_levelA_base.jsonl"


@app.command()
def check(
    data: Data = Path("data"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON on stdout.")] = False,
    picture: Annotated[Path | None, typer.Option(help="Draw the scheme dataset on one page, a PNG.")] = None,
) -> None:
    """Check dialogues and exercises; each fault is named with file, line, key and reason. Exit status 1 if any."""
    report: Report = check_all(data)
    schemes = check_schemes(data)
    faults = list(dict.fromkeys([*report.faults, *schemes.faults]))
    if picture:
        rows = scheme_rows(data)
        draw(schemes, rows, dict(split_of(rows)), picture)
    if as_json:
        found = {"counts": report.counts, "schemes": schemes.as_json(), "faults": faults}
        print(json.dumps(found, ensure_ascii=False))
    else:
        for fault in faults:
            print(fault)
        show_tables(schemes.as_json())
        typer.echo(f"{len(faults)} faults; {report.counts}", err=True)
    if faults:
        raise SystemExit(1)


def scheme_rows(data: Path) -> list[dict[str, Any]]:
    """Return the lines of the base file, then those of the augmented file where there is one."""
    paths = [path for name in (EXERCISES, AUGMENTED) if (path := data / name).exists()]
    return [row for path in paths for _, row in read_objects(path)]


def show_tables(found: dict[str, Any]) -> None:
    """Print what the scheme dataset holds, by key and value."""
    table = Table("key", "items", title="Scheme dataset")
    for key, counts in {**found["tables"], "parts": found["splits"]}.items():
        table.add_row(key, ", ".join(f"{value} {count}" for value, count in counts.items()))
    table.add_row(
        "near", f"highest {found['near_duplicates']['highest']} %, under {found['near_duplicates']['threshold']}"
    )
    table.add_row("longest", f"{found['sentence_words']['longest']} of {found['sentence_words']['most_allowed']} words")
    talk.print(table)


@app.command("augment")
def augment_command(
    data: Data = Path("data"),
    out: Annotated[Path | None, typer.Option(help=f"File to write; default: DATA/{AUGMENTED}.")] = None,
    seed: Annotated[int, typer.Option(help="Of the contents' order and of the surfaces.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON on stdout.")] = False,
) -> None:
    """Make three more exercises of each base exercise: other contents, voices and forms, the logic kept or denied."""
    target = out or data / AUGMENTED
    rows = augment_file(data / EXERCISES, seed=seed)
    write_rows(rows, target, compact=True, force=force)
    counts = {key: dict(Counter(row[key] for row in rows)) for key in ("philosopher", "form", "register", "split")}
    counts["transforms"] = dict(Counter(name for row in rows for name in row["transforms"]))
    if as_json:
        print(json.dumps({"out": str(target), "items": len(rows), "counts": counts}, ensure_ascii=False))
    else:
        typer.echo(f"{target}: {len(rows)} items; {counts}", err=True)


@app.command("split")
def split_command(
    out: Annotated[Path, typer.Option(help="Folder for train.jsonl, validation.jsonl and test.jsonl.")],
    data: Data = Path("data"),
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
) -> None:
    """Write the scheme dataset as training files; no base item stands in two of them, nor what was made of it."""
    rows = scheme_rows(data)
    parts = split_of(rows)
    made: dict[str, list[dict[str, Any]]] = {"train": [], "validation": [], "test": []}
    for row in rows:
        messages = exercise_messages(parse_exercise(row, row["id"]))
        made[parts[row["id"]]].append({"messages": messages, "group": row.get("base", row["id"]), "kind": "exercise"})
    paths = {name: out / f"{name}.jsonl" for name in made}
    must_be_new(*paths.values(), force=force)
    for name, many in made.items():
        write_rows(many, paths[name], force=force)
    typer.echo(f"{out}: {', '.join(f'{name} {len(many)}' for name, many in made.items())}", err=True)


def trained_exercises(data: Path, drills: int, seed: int) -> list[Exercise]:
    """Return what training reads of the scheme dataset, and `drills` more on each of its contents."""
    rows = scheme_rows(data)
    exercises = [parse_exercise(row, row["id"]) for row in rows if row["split"] == "train"]
    more = drill(rows, load_bank(), load_surfaces(), load_negations(), per_content=drills, seed=seed)
    return exercises + more


@app.command("mix")
def mix_command(
    out: Annotated[Path, typer.Option(help="Training file to write (JSONL).")],
    data: Data = Path("data"),
    eval_out: Annotated[Path | None, typer.Option(help="Held-out file; default: OUT with .eval before .jsonl.")] = None,
    prose: Annotated[int | None, typer.Option(min=0, help="Slices of prose; default: 15 % of the examples.")] = None,
    drills: Annotated[int, typer.Option(min=0, help="Exercises made of each content of the scheme bank.")] = 4,
    hints: Annotated[HintForm, typer.Option(help="Before a message: the note, its idea alone, or nothing.")] = "full",
    seed: Annotated[int, typer.Option(help="Of hints left out, of slices and of the order.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON on stdout.")] = False,
) -> None:
    """Make the training file and the held-out file of dialogues, exercises and slices of general French."""
    held_out_path = eval_out or out.with_name(f"{out.stem}.eval.jsonl")
    must_be_new(out, held_out_path, force=force)
    dialogues, exercises = load_dialogues(data / "dialogues"), trained_exercises(data, drills, seed)
    trained = sum(not is_held_out(one.id) for one in dialogues) + len(exercise_rows(exercises, seed=seed))
    slices: list[str] = []
    if (wanted := prose_count(trained) if prose is None else prose) > 0:
        folder = load_settings().corpora_dir
        if folder is None:
            raise CorpusError("BAF_CORPORA_DIR is not set; set it to a folder with french/*.txt.xz, or pass --prose 0.")
        slices = draw_slices(read_french(folder), wanted, seed)
    mixed = mix(dialogues, load_notes(data / "notes"), exercises, slices, seed=seed, form=hints)
    for rows, path in ((mixed.train, out), (mixed.held_out, held_out_path)):
        write_rows(rows, path, force=force)
    counts = {kind: sum(row["kind"] == kind for row in mixed.train) for kind in ("dialogue", "exercise", "prose")}
    counts["held_out"] = len(mixed.held_out)
    if as_json:
        print(json.dumps({"train": str(out), "eval": str(held_out_path), "counts": counts}, ensure_ascii=False))
    else:
        typer.echo(f"{out}, {held_out_path}: {counts}", err=True)


def talks_on_notes(data: Path, notes: Mapping[str, NoteFields], seed: int) -> list[Row]:
    """Return talks in which each question of data/queries is answered with its note."""
    rows: list[Row] = []
    for path in sorted((data / "queries").glob("*.jsonl")):
        queries = [row for _, row in read_objects(path)]
        rows += note_rows(queries, notes, path.stem, seed=seed)
    return rows


@app.command("mix-notes")
def mix_notes(
    out: Annotated[Path, typer.Option(help="Training file to write (JSONL).")],
    data: Data = Path("data"),
    dialogues: Annotated[int, typer.Option(min=0, help="Dialogues of the first stage to read again.")] = 40,
    exercises: Annotated[int, typer.Option(min=0, help="Talks of exercises of the first stage to read again.")] = 60,
    drills: Annotated[int, typer.Option(min=0, help="As given to `mix`.")] = 4,
    more: Annotated[bool, typer.Option("--more", help=f"Each exercise of DATA/{MORE} as well.")] = False,
    seed: Annotated[int, typer.Option(help="Of the choice and of the order.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Make the second stage's training file: notes said back to the questions of data/queries, some dialogues."""
    notes = load_notes(data / "notes")
    known = trained_exercises(data, drills, seed)
    first = mix(load_dialogues(data / "dialogues"), notes, known, [], seed=seed)
    said_back = talks_on_notes(data, notes, seed)
    others = exercise_rows(load_more(data / MORE), seed=seed) if more else []
    rows = second_mix(first, said_back + others, dialogues=dialogues, exercises=exercises, seed=seed)
    write_rows(rows, out, force=force)
    typer.echo(f"{out}: {len(said_back)} talks on notes, {len(others)} of other exercises, {len(rows)} rows", err=True)


@app.command("mix-schemes")
def mix_schemes(
    out: Annotated[Path, typer.Option(help="Training file to write (JSONL).")],
    data: Data = Path("data"),
    crossed: Annotated[int, typer.Option(min=0, help="Exercises whose clauses come from different contents.")] = 1800,
    drills: Annotated[int, typer.Option(min=0, help="Exercises made of each content of the scheme bank.")] = 4,
    dialogues: Annotated[int, typer.Option(min=0, help="Dialogues to read again.")] = 50,
    notes: Annotated[int, typer.Option(min=0, help="Talks on notes to read again.")] = 60,
    seed: Annotated[int, typer.Option(help="Of the contents, of the choice and of the order.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Make the third stage's training file: exercises in which only the form can be followed, some of all the rest."""
    known, exercises = load_notes(data / "notes"), trained_exercises(data, drills, seed)
    exercises += cross(scheme_rows(data), load_bank(), load_surfaces(), load_lexicon(), count=crossed, seed=seed)
    mixed = mix(load_dialogues(data / "dialogues"), known, exercises, [], seed=seed)
    talks = sum(row["kind"] == "exercise" for row in mixed.train)
    every = talks_on_notes(data, known, seed)
    said_back = random.Random(seed).sample(every, min(notes, len(every)))  # noqa: S311  a choice, not a secret
    rows = second_mix(mixed, said_back, dialogues=dialogues, exercises=talks, seed=seed)
    write_rows(rows, out, force=force)
    typer.echo(f"{out}: {len(exercises)} exercises in {talks} talks among {len(rows)} rows", err=True)


State = Annotated[Path, typer.Option(help="Folder of the log and of everything made from it.")]
DomainName = Annotated[str, typer.Option(help="Folder of corpus/domains.")]
Wanted = Annotated[int, typer.Option(min=1, help="Cases in all, those of the seed corpus included.")]
Seed = Annotated[int, typer.Option(help="Of the cells and of the targets.")]
Master = Annotated[Path | None, typer.Option("--schema", help="A master schema of your own (JSON Schema).")]
SeedFolder = Annotated[
    Path | None, typer.Option("--seed-corpus", help="Of `seed`; default: data/DOMAIN_e2e where there is one.")
]
Known = Annotated[list[Path] | None, typer.Option("--known", help="JSONL that no case may copy; may stand twice.")]
STATE, DOMAIN, TOTAL = Path("data/case_instruction_server"), "succession", 5000
TRAINED_ON = {"schemes": ("dialogues/*.jsonl",), "business_analyst": ("business_analyst/*.jsonl",)}  # under data/


def open_workshop(
    domain: str, state: Path, target: int, seed: int, schema: Path | None, seeds: Path | None, known: list[Path] | None,
    lease_s: float | None = None, *, later: bool = False,
) -> "Workshop":  # fmt: skip
    """Open the workshop that the options name: the same ones open the same."""
    from corpus.seed.cases import known_texts, load_seed
    from corpus.server.domain import load_domain
    from corpus.server.master import with_schema
    from corpus.server.workshop import LEASE_S, SeedCorpus, Workshop

    loaded = load_domain(domain)
    if schema is not None:
        loaded = with_schema(loaded, schema)
    usual = Path("data") / f"{domain}_e2e"
    folder = seeds or (usual if usual.is_dir() else None)
    given = load_seed(folder) if folder is not None else SeedCorpus()
    paths = [*(known or ()), *(path for name in TRAINED_ON.get(domain, ()) for path in sorted(Path("data").glob(name)))]
    texts = [*given.texts, *(text for path in paths for text in known_texts(path))]
    given = SeedCorpus(given.cells, given.messages, texts)
    return Workshop(state, loaded, total=target, seed=seed, seeds=given, lease_s=lease_s or LEASE_S, later=later)


@app.command()
def serve(
    domain: DomainName = DOMAIN,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port.")] = 8765,
    host: Annotated[str, typer.Option(help="Address to listen on; any but 127.0.0.1 needs BAF_CORPUS_TOKEN.")] = LOCAL,
    state: State = STATE,
    target: Wanted = TOTAL,
    seed: Seed = 0,
    schema: Master = None,
    seed_corpus: SeedFolder = None,
    known: Known = None,
    lease: Annotated[float | None, typer.Option(min=1, help="Seconds of a lease that nobody renews; 1800.")] = None,
) -> None:
    """Hand out balanced writing instructions to agents on this machine, check what comes back and keep it."""
    import uvicorn

    from corpus.server.routes import build_app

    secret = load_settings().corpus_token
    if host != LOCAL and (secret is None or host in EVERYWHERE):
        raise CorpusError(f"--host {host}: set BAF_CORPUS_TOKEN, and name the one address by which agents call.")
    workshop = open_workshop(domain, state, target, seed, schema, seed_corpus, known, lease, later=True)
    try:
        said = workshop.summary()
        talk.print(f"http://{host}:{port}/dashboard: domain {domain}, {said['wanted']} cases to write, kept in {state}")
        routes = build_app(workshop, names=[host], token=secret.get_secret_value() if secret else None)
        sys.setswitchinterval(0.001)  # seconds: who asks for an instruction waits for no comparison of texts
        uvicorn.run(routes, host=host, port=port, log_level="warning", access_log=False)
    finally:
        workshop.close()


@app.command()
def rebuild(
    domain: DomainName = DOMAIN,
    state: State = STATE,
    target: Wanted = TOTAL,
    seed: Seed = 0,
    schema: Master = None,
    seed_corpus: SeedFolder = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON on stdout.")] = False,
) -> None:
    """Make every file of a stopped server again from its log; the options are the server's."""
    if not (state / "log.jsonl").exists():
        raise CorpusError(f"{state} has no log.jsonl; pass the server's --state.")
    workshop = open_workshop(domain, state, target, seed, schema, seed_corpus, None)
    counts = workshop.summary()
    workshop.close()
    if as_json:
        print(json.dumps(counts, ensure_ascii=False))
    typer.echo(f"{state}: {counts['issued']} issued, {counts['accepted']} accepted", err=True)


@app.command("seed")
def seed_command(
    cases: Annotated[list[Path] | None, typer.Option(help="Folder with ENONCE.md files; may stand twice.")] = None,
    specs: Annotated[
        list[Path] | None, typer.Option(help="Test specifications of TypeScript or JavaScript, or a folder of them.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write; default: data/DOMAIN_e2e.")] = None,
    domain: DomainName = DOMAIN,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON on stdout.")] = False,
) -> None:
    """Make a seed corpus of cases that exist: case files, prompts and searches inside test specifications."""
    from corpus.seed.case_files import read_case_files
    from corpus.seed.cases import write_seed
    from corpus.seed.specs import read_specs
    from corpus.server.domain import load_domain

    found = [case for folder in cases or () for case in read_case_files(folder)]
    for place in specs or ():
        read = read_specs(place)
        found += read.found
        for where in read.unread:
            typer.echo(f"{where}: left out: only running it would tell this string", err=True)
        for name in read.damaged:
            typer.echo(f"{name}: not quite its language; what could be read is taken", err=True)
    folder = out or Path("data") / f"{domain}_e2e"
    manifest = write_seed(found, load_domain(domain), folder, force=force)
    if as_json:
        print(json.dumps(manifest, ensure_ascii=False))
    said = f"{manifest['cases']} cases {manifest['by_source']}, {manifest['trained']} with a target"
    typer.echo(f"{folder}: {said}", err=True)


@app.command()
def write(
    engine: Annotated[str, typer.Option(help="gguf:PATH, openai:URL#MODEL, ollama:NAME, hf:PATH, or role:NAME.")] = (
        "role:writer"
    ),
    agents: Annotated[int, typer.Option(min=1, max=64, help="How many write at once.")] = 4,
    url: Annotated[str, typer.Option(help="Address of the server.")] = "http://127.0.0.1:8765",
    cases: Annotated[int | None, typer.Option(min=1, help="Instructions to take; default: until all is done.")] = None,
    name: Annotated[str, typer.Option(help="First part of the agents' names.")] = "writer",
    tokens: Annotated[
        int | None, typer.Option(min=1, help="Most tokens of a text; default: the role's, or 700.")
    ] = None,
    idle: Annotated[float, typer.Option(min=0, help="Seconds to wait while others hold all that is left.")] = 120,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON on stdout.")] = False,
) -> None:
    """Let an engine write: fetch instructions from a running server, write, send, mend what is refused."""
    import httpx

    from corpus.writing import WRITING, Writers
    from engines.open import open_engine
    from roles import load_roles

    settings = load_settings()
    params, spec = WRITING, engine
    if engine.startswith("role:"):
        role = load_roles(settings.config).get(engine.removeprefix("role:"))
        spec = role.spec(settings.data_dir)
        if role.temperature is not None:
            params = replace(params, temperature=role.temperature)
        tokens = tokens or role.max_tokens
    params = replace(params, max_tokens=tokens or params.max_tokens)
    token = settings.corpus_token
    headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
    opened = open_engine(spec)

    async def work() -> dict[str, int]:
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60, trust_env=False) as client:
            writers = Writers(opened, client, name=name, cases=cases, params=params, idle_s=idle)
            with Progress(*Progress.get_default_columns(), console=talk, transient=True) as progress:
                task = progress.add_task("Writing", total=cases)
                await writers.run(agents, lambda counts: progress.update(task, completed=taken(counts)))
            return dict(writers.counts)

    try:
        counts = asyncio.run(work())
    finally:
        opened.close()
    if as_json:
        print(json.dumps(counts, ensure_ascii=False))
    typer.echo(", ".join(f"{key} {count}" for key, count in sorted(counts.items())) or "nothing to write", err=True)


def taken(counts: Mapping[str, int]) -> int:
    """Return how many instructions are over; a refused text is not yet one."""
    return sum(count for key, count in counts.items() if key != "rejected")


def main() -> None:
    """Run the command line; an error of ours becomes one line on stderr and exit status 1."""
    run_commands(app)


if __name__ == "__main__":
    main()
