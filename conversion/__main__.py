"""`python -m conversion`: the command line of this room. Knows settings; every decision is elsewhere.

Data goes to stdout, talk to stderr. Heavy libraries are imported by the command that needs them.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from cli import run_commands
from conversion import commands_make, commands_publish
from conversion.console import bar, say, told
from errors import ConversionError
from settings import load_settings

HELP = "From a base and an adapter to a GGUF that llama.cpp runs."
app = typer.Typer(help=HELP, no_args_is_help=True, add_completion=False)

ROOT = Path(__file__).parents[1]
MODELS_DIR = ROOT / "models" / "demo"
KEPT = MODELS_DIR / "kept_pieces.txt.xz"

DataDir = Annotated[Path | None, typer.Option(help="Downloads and results; unset, BAF_DATA_DIR.")]
BaseFile = Annotated[Path | None, typer.Option("--base", help="The base as a local GGUF; unset, it is downloaded.")]
ModelsDir = Annotated[Path, typer.Option(help="Our parts of the embedded model.", show_default="models/demo")]
Kept = Annotated[Path, typer.Option(help="The list of kept pieces.", show_default="models/demo/kept_pieces.txt.xz")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, one object a line.")]
Out = Annotated[Path, typer.Option(help="Where to write; must not exist.")]


@app.callback()
def room() -> None:
    """From a base and an adapter to a GGUF that llama.cpp runs."""


def _data_dir(given: Path | None) -> Path:
    return given or load_settings().data_dir


def _hub_token() -> str | None:
    token = load_settings().hub_token
    return token.get_secret_value() if token else None


def _base(data_dir: Path, given: Path | None) -> Path:
    """Return the base, downloaded behind a progress bar if need be."""
    from conversion.base import fetch_base

    with bar() as show:
        return fetch_base(data_dir, given or load_settings().demo_base, lambda done: show("downloading", done))


@app.command()
def demo(
    data_dir: DataDir = None,
    base: BaseFile = None,
    models_dir: ModelsDir = MODELS_DIR,
    as_json: AsJson = False,
) -> None:
    """Assemble the embedded model (numpy alone); at once when it is there and right. Prints its path."""
    from conversion.demo import assemble_demo

    with told(as_json) as show:
        made = assemble_demo(models_dir, _data_dir(data_dir), base_path=base or load_settings().demo_base, report=show)
    say({"step": "done", "progress": 1.0, "path": str(made)}, as_json)


@app.command()
def manifest(
    data_dir: DataDir = None, base: BaseFile = None, models_dir: ModelsDir = MODELS_DIR, as_json: AsJson = False
) -> None:
    """Maker's side, after training: assemble once and write manifest.json from what came out."""
    from conversion.demo import write_manifest

    folder = _data_dir(data_dir)
    written = write_manifest(models_dir, folder, base_path=_base(folder, base))
    made = {"gguf_sha256": written.gguf_sha256, "gguf_bytes": written.gguf_bytes}
    say({"path": str(models_dir / "manifest.json"), **made}, as_json)


def _corpora(given: Path | None) -> Path:
    folder = given or load_settings().corpora_dir
    if folder is None or not folder.is_dir():
        raise ConversionError(f"The corpora folder is {folder}; set BAF_CORPORA_DIR, or pass --corpora-dir.")
    return folder


@app.command()
def vocabulary(
    corpora_dir: Annotated[Path | None, typer.Option(help="French texts; unset, BAF_CORPORA_DIR.")] = None,
    data_dir: DataDir = None,
    base: BaseFile = None,
    out: Kept = KEPT,
    min_word_count: Annotated[int, typer.Option(help="Rarer words are not looked at.")] = 4,
    min_piece_weight: Annotated[int, typer.Option(help="Rarer pieces are not kept.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Choose the pieces that French needs, with every word of our own data (about 40 s); replaces the list."""
    from conversion.vocabulary import RENAMED, choose_pieces, general_files, own_files, read_texts, write_kept

    texts, own = general_files(_corpora(corpora_dir)), own_files(ROOT)
    source = _base(_data_dir(data_dir), base)
    with bar() as show:

        def following() -> Iterator[str]:
            for number, path in enumerate(texts):
                show("reading", number / len(texts))
                yield from read_texts(path)
            show("merging", 0.0)

        ours = (text for path in own for text in read_texts(path))
        kept = choose_pieces(
            source, following(), own=ours, min_word_count=min_word_count, min_piece_weight=min_piece_weight
        )
    renamed = ", ".join(f"{old} becomes {new}" for old, new in RENAMED.items())
    notes = (
        "Ids of the pieces of google/gemma-3-270m that the French vocabulary keeps, in the base's order.",
        f"Made by `python -m conversion vocabulary`: words seen {min_word_count} times, pieces {min_piece_weight}.",
        f"{len(kept)} pieces; {renamed}.",
    )
    write_kept(out, kept, notes)
    say({"path": str(out), "pieces": len(kept)}, as_json)


@app.command()
def checkpoint(
    out: Out,
    data_dir: DataDir = None,
    base: BaseFile = None,
    kept: Kept = KEPT,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    as_json: AsJson = False,
) -> None:
    """Write the cut base as a Hugging Face folder, to train an adapter on (needs torch)."""
    from conversion.checkpoint import cut_checkpoint
    from conversion.vocabulary import read_kept

    if dtype not in ("float32", "bfloat16"):
        raise ConversionError(f"No dtype {dtype!r}; float32 or bfloat16.")
    ids = read_kept(kept)
    made = cut_checkpoint(_base(_data_dir(data_dir), base), ids, out, dtype=dtype)  # type: ignore[arg-type]
    say({"path": str(made), "pieces": len(ids)}, as_json)


@app.command()
def cut(
    out: Out,
    data_dir: DataDir = None,
    base: BaseFile = None,
    kept: Kept = KEPT,
    adapter: Annotated[Path | None, typer.Option(help="PEFT folder to merge in.")] = None,
    outtype: Annotated[str, typer.Option(help="keep (the base's own bytes), bf16, f32 or q8_0.")] = "keep",
    as_json: AsJson = False,
) -> None:
    """Write the cut base, with or without an adapter, as a GGUF: what measurements compare (numpy alone)."""
    from conversion.assemble import cut_gguf
    from conversion.vocabulary import read_kept

    if outtype not in ("keep", "bf16", "f32", "q8_0"):
        raise ConversionError(f"No outtype {outtype!r}; keep, bf16, f32 or q8_0.")
    source = _base(_data_dir(data_dir), base)
    made = cut_gguf(source, read_kept(kept), out, adapter=adapter, outtype=outtype)  # type: ignore[arg-type]
    say({"path": str(made), "size_bytes": made.stat().st_size}, as_json)


@app.command()
def space(
    wheel: Annotated[Path, typer.Option(help="Portable llama-cpp-python wheel; `make wheel` builds it.")],
    hub_repo: Annotated[str, typer.Option(help="owner/name of the model repository that will hold the wheel.")],
    out: Out,
    as_json: AsJson = False,
) -> None:
    """Prepare the folder to upload as a Hugging Face Space."""
    from conversion.space import prepare_space

    files = prepare_space(ROOT, wheel, hub_repo, out)
    say({"path": str(out), "files": len(files)}, as_json)


commands_make.register(app, lambda: load_settings().data_dir, _hub_token)
commands_publish.register(app, lambda: load_settings().data_dir)


def main() -> None:
    """Run the command line; an error of ours becomes one line on stderr and exit status 1."""
    run_commands(app, quiet={"httpx": logging.WARNING, "gguf": logging.WARNING})


if __name__ == "__main__":
    main()
