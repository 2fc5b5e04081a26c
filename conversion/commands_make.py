"""The commands from adapter to verified files: `merge`, `gguf`, `imatrix`, `quantize`, `verify`, `build`.

Knows options alone. `register` adds them to the room's command line; the settings' data folder is handed in, as only
the entry reads settings.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from conversion.console import say, told
from conversion.hub_folder import local_folder
from errors import ConversionError

if TYPE_CHECKING:
    from conversion.report import VerifyReport

ROOT = Path(__file__).parents[1]

Given = Callable[[], Path]
Fetch = Callable[..., Path]  # a folder or owner/name, and where downloads are kept; gives the folder
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, one object a line.")]
Out = Annotated[Path, typer.Option(help="Where to write; must not exist.")]
Base = Annotated[str, typer.Option(help="The base, not quantised: a folder, or owner/name (@revision) on the Hub.")]
Adapter = Annotated[str, typer.Option(help="PEFT adapter: a folder, or owner/name (@revision) on the Hub.")]
HeldOut = Annotated[
    list[Path] | None,
    typer.Option(help="JSONL of chats or texts of the fine-tuning kind, not trained on; may be repeated."),
]
Threads = Annotated[int | None, typer.Option(min=1, help="llama.cpp's threads; unset, what the machine grants.")]
Limit = Annotated[int, typer.Option(min=1, help="Most chats, and most prose texts, that are measured.")]
Outtype = Annotated[str, typer.Option(help="bf16, f16 (refused where it overflows) or f32.")]


def register(app: typer.Typer, data_dir: Given, hub_token: Callable[[], str | None]) -> None:
    """Add the commands of this module to `app`.

    Args:
        app: The room's command line.
        data_dir: Gives the settings' data folder when a command was not given one.
        hub_token: Gives the settings' token of the Hub.
    """

    def fetch(spec: str, place: Path | None = None) -> Path:
        return local_folder(spec, place or data_dir(), hub_token())

    _register_merge(app, fetch)
    _register_gguf(app, data_dir)
    _register_imatrix(app)
    _register_quantize(app)
    _register_verify(app, fetch)
    _register_build(app, data_dir, fetch)


def _checked(name: str, value: str, known: Sequence[str]) -> Any:
    if value not in known:
        raise ConversionError(f"No {name} {value!r}; {', '.join(known)}.")
    return value


def _threads(given: int | None) -> int:
    from engines.llama_model import granted_cpus

    return given or granted_cpus()


def _said(result: dict[str, Any], as_json: bool) -> None:
    say({key: str(value) if isinstance(value, Path) else value for key, value in result.items()}, as_json)


def _register_merge(app: typer.Typer, fetch: Fetch) -> None:
    @app.command()
    def merge(
        base: Base,
        adapter: Adapter,
        out: Out,
        dtype: Annotated[str, typer.Option(help="auto (the base's), float32, bfloat16 or float16.")] = "auto",
        qlora: Annotated[
            bool, typer.Option("--qlora", help="Trained on nf4: try both bases, keep the better on --held-out.")
        ] = False,
        held_out: HeldOut = None,
        as_json: AsJson = False,
    ) -> None:
        """Add a LoRA adapter to its base's weights, tensor by tensor: a 7B needs less than 4 GB of memory."""
        from conversion.merge import Dtype
        from conversion.merge import merge as merge_folders

        with told(as_json) as show:
            kind = _checked("dtype", dtype, get_args(Dtype))
            if qlora and not held_out:
                raise ConversionError("--qlora compares two bases on a held-out text: pass --held-out FILE.")
            source, learnt = fetch(base), fetch(adapter)
            more: dict[str, Any] = {}
            if qlora and held_out:
                from conversion.qlora import merge_both

                made, compared = merge_both(
                    source, learnt, out, held_out=held_out, dtype=kind, on_progress=lambda done: show("merging", done)
                )
                more = {"compared": asdict(compared)}
            else:
                made = merge_folders(source, learnt, out, dtype=kind, on_progress=lambda done: show("merging", done))
        _said({**asdict(made), **more}, as_json)  # behind the bar: inside it, stdout is the bar's


def _register_gguf(app: typer.Typer, data_dir: Given) -> None:
    @app.command()
    def gguf(
        model: Annotated[Path, typer.Option(help="Checkpoint folder.")],
        out: Out,
        outtype: Outtype = "bf16",
        data_folder: Annotated[Path | None, typer.Option("--data-dir", help="Unset, BAF_DATA_DIR.")] = None,
        as_json: AsJson = False,
    ) -> None:
        """Convert a checkpoint to GGUF with llama.cpp's own converter (needs torch)."""
        from conversion.gguf import to_gguf

        kind = _checked("outtype", outtype, ("bf16", "f16", "f32"))
        made = to_gguf(model, out, kind, data_dir=data_folder or data_dir())
        _said({"path": made, "size_bytes": made.stat().st_size}, as_json)


def _register_imatrix(app: typer.Typer) -> None:
    @app.command()
    def imatrix(
        model: Annotated[Path, typer.Option(help="Checkpoint folder.")],
        source: Annotated[Path, typer.Option("--gguf", help="Its 16-bit GGUF, for the names of the tensors.")],
        texts: Annotated[list[Path], typer.Option(help="Calibration texts: JSONL or lines; may be repeated.")],
        out: Out,
        limit: Limit = 200,
        as_json: AsJson = False,
    ) -> None:
        """Compute an importance matrix from calibration texts, with its provenance (needs torch)."""
        from conversion.imatrix import compute_importance

        with told(as_json) as show:
            made = compute_importance(
                model, source, texts, out, limit=limit, on_progress=lambda done: show("calibrating", done)
            )
        _said({"path": made, "size_bytes": made.stat().st_size}, as_json)


def _register_quantize(app: typer.Typer) -> None:
    @app.command()
    def quantize(
        source: Annotated[Path, typer.Option("--gguf", help="A float GGUF.")],
        out: Out,
        scheme: Annotated[str, typer.Option("--type", help="E.g. Q8_0, Q4_K_M.")],
        importance: Annotated[Path | None, typer.Option("--imatrix", help="Importance matrix (GGUF).")] = None,
        calibration: Annotated[
            list[Path] | None, typer.Option(help="Compute the matrix from these texts first (with --model).")
        ] = None,
        model: Annotated[Path | None, typer.Option(help="Checkpoint folder, for --calibration.")] = None,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the size, write nothing.")] = False,
        threads: Threads = None,
        as_json: AsJson = False,
    ) -> None:
        """Make a float GGUF smaller, with or without an importance matrix."""
        from conversion.quantize import check_files, scheme_number
        from conversion.quantize import quantize as make_smaller

        if calibration and (importance or model is None):
            raise ConversionError("--calibration needs --model, and takes the place of --imatrix.")
        with told(as_json) as show:
            scheme_number(scheme)
            check_files(source, out, dry_run=dry_run)  # the matrix takes minutes
            if calibration and model is not None and not dry_run:
                from conversion.imatrix import compute_importance

                importance = out.with_name(f"{out.stem}.imatrix.gguf")
                if importance.exists():
                    raise ConversionError(f"{importance} is there: pass it as --imatrix instead of --calibration.")
                compute_importance(model, source, calibration, importance, on_progress=lambda d: show("calibrating", d))
            done = make_smaller(
                source, out, scheme, importance=importance, threads=_threads(threads), dry_run=dry_run,
                on_progress=lambda share: show(scheme, share),
            )  # fmt: skip
        if dry_run and not as_json:
            typer.echo(f"{done.size_bytes / 1e6:.1f} MB")
            return
        _said(asdict(done), as_json)


def _register_verify(app: typer.Typer, fetch: Fetch) -> None:
    @app.command()
    def verify(
        merged: Annotated[Path, typer.Option(help="Merged checkpoint folder.")],
        gguf: Annotated[list[Path], typer.Option(help="A GGUF made from it; may be repeated.")],
        out: Annotated[Path, typer.Option(help="verify.json; a table (.md) and a picture (.png) go beside it.")],
        held_out: HeldOut = None,
        base: Annotated[str | None, typer.Option(help="Its base: a folder, or owner/name.")] = None,
        adapter: Annotated[str | None, typer.Option(help="Its adapter: a folder, or owner/name.")] = None,
        lines: Annotated[list[Path] | None, typer.Option(help="Further French lines for the tokenizers.")] = None,
        scheme: Annotated[list[str] | None, typer.Option(help="Also measure this quantisation, not kept.")] = None,
        limit: Limit = 40,
        threads: Threads = None,
        force: Annotated[bool, typer.Option("--force", help="Replace an earlier report.")] = False,
        as_json: AsJson = False,
    ) -> None:
        """Run every gate between adapter and files; exit status 1 when one fails."""
        from conversion.verify import Subject
        from conversion.verify import verify as run_gates

        with told(as_json) as show:
            if out.suffix != ".json":
                raise ConversionError(f"{out} must end in .json: a .md and a .png are written beside it.")
            there = [path for path in map(out.with_suffix, (".json", ".md", ".png")) if path.exists() and not force]
            if there:
                raise ConversionError(f"{there[0]} exists and is never overwritten silently. Move it, or pass --force.")
            if not held_out:
                raise ConversionError(
                    "Pass --held-out FILE: texts of the kind the adapter was trained for, not trained on."
                )
            folders = [fetch(spec) if spec else None for spec in (base, adapter)]
            subject = Subject(merged, tuple(gguf), *folders)
            report = run_gates(
                subject, held_out, root=ROOT, lines=lines or (), schemes=scheme or (), limit=limit,
                threads=_threads(threads), report=show,
            )  # fmt: skip
        _deliver(report, out, as_json)


def _deliver(report: "VerifyReport", out: Path, as_json: bool) -> None:
    """Write the report in its three forms, say what failed, end with the status."""
    from conversion.report import write_report
    from conversion.verify_show import draw, markdown

    partial = out.with_suffix(".md.partial")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial.write_text(markdown(report), encoding="utf-8")
    partial.replace(out.with_suffix(".md"))
    draw(report, out.with_suffix(".png"))
    write_report(report, out)
    for gate in report.gates:
        if gate.verdict in ("warn", "fail"):
            typer.echo(
                f"{gate.verdict}: {gate.name} = {gate.value} (threshold {gate.threshold}). {gate.remedy}", err=True
            )
    _said({"path": out, "passed": report.passed, "gates": {gate.name: gate.verdict for gate in report.gates}}, as_json)
    if not report.passed:
        raise typer.Exit(1)


def _register_build(app: typer.Typer, data_dir: Given, fetch: Fetch) -> None:
    @app.command()
    def build(
        base: Base,
        adapter: Adapter,
        out: Annotated[Path, typer.Option(help="Folder to build; a build that was broken off there goes on.")],
        held_out: HeldOut = None,
        scheme: Annotated[list[str] | None, typer.Option("--type", help="Quantisation; may be repeated.")] = None,
        also: Annotated[list[str] | None, typer.Option(help="Quantisation to measure and not to keep.")] = None,
        calibration: Annotated[list[Path] | None, typer.Option(help="Texts for an importance matrix.")] = None,
        name: Annotated[str | None, typer.Option(help="Of the GGUF files; unset, the folder's name.")] = None,
        outtype: Outtype = "bf16",
        qlora: Annotated[bool, typer.Option("--qlora", help="Trained on nf4: try both bases.")] = False,
        repo: Annotated[str | None, typer.Option(help="owner/name on the Hub: writes the model card.")] = None,
        licence: Annotated[str, typer.Option(help="For the card: SPDX id, or the Hub's name.")] = "other",
        base_name: Annotated[str | None, typer.Option(help="For the card: the base's owner/name.")] = None,
        summary: Annotated[Path | None, typer.Option(help="For the card: training_summary.json.")] = None,
        data_folder: Annotated[Path | None, typer.Option("--data-dir", help="Unset, BAF_DATA_DIR.")] = None,
        as_json: AsJson = False,
    ) -> None:
        """From base and adapter to a verified folder; finished steps are kept, exit status 1 when a gate fails."""
        from conversion.build import Card, Recipe
        from conversion.build import build as make

        if not held_out:
            raise ConversionError(
                "Pass --held-out FILE: texts of the kind the adapter was trained for, not trained on."
            )
        place = (data_folder or data_dir()).resolve()
        if repo and Path(base).is_dir() and not base_name:
            raise ConversionError(f"The card names the base as the Hub does, not {base}: pass --base-name owner/name.")
        named = base_name or base.partition("@")[0]
        recipe = Recipe(
            base=fetch(base, place).resolve(),
            adapter=fetch(adapter, place).resolve(),
            out=out.resolve(),
            name=name or out.resolve().name,
            held_out=tuple(path.resolve() for path in held_out),
            schemes=tuple(scheme or ("Q4_K_M",)),
            calibration=tuple(path.resolve() for path in calibration or ()),
            outtype=_checked("outtype", outtype, ("bf16", "f16", "f32")),
            qlora=qlora,
            also=tuple(also or ()),
            card=Card(repo, named, licence, summary.resolve() if summary else None) if repo else None,
        )
        with told(as_json) as show:
            done = make(recipe, data_dir=place, report=show)
        _said({"path": done.out, "passed": done.passed, "ran": done.ran, "kept": done.kept}, as_json)
        if not done.passed:
            typer.echo(f"A gate fails: {os.path.relpath(done.out / 'verify.md')} says which, and what to do.", err=True)
            raise typer.Exit(1)
