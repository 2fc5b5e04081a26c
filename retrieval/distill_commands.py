"""The commands of static embeddings: `distill`, `distill-targets`, `distill-trim`, `embeddings-eval`, and -compare.

Knows options alone. `register` adds them to the room's command line; what settings say is handed in, as only the entry
reads settings.
"""

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from errors import RetrievalError
from retrieval.embedders import DEFAULT_FILE, Embedder

if TYPE_CHECKING:
    from retrieval.distill_teacher import Teacher
    from retrieval.distill_train import Lesson, Pair

ROOT = Path(__file__).parents[1]
NOTES, QUERIES, DIALOGUES = (ROOT / "data" / name for name in ("notes", "queries", "dialogues"))
OWN_SETS = ROOT / "data" / "eval" / "embeddings.json"
ADAPTER = ROOT / "models" / "demo" / "adapter"
QWEN = "Qwen/Qwen2.5-1.5B-Instruct"
NEEDED = ("torch", "transformers", "model2vec", "skeletoken", "datasets")
COUNTED = 200_000  # sentences in which pieces are counted

Bar = Callable[[str], AbstractContextManager[Callable[[float, str], None]]]
TeacherName = Annotated[
    str,
    typer.Option(help="A Hugging Face folder, owner/name on the Hub, a GGUF of a BERT, `demo` (ours), or `e5` (ours)."),
]
Json = Annotated[bool, typer.Option("--json", help="Data on stdout as JSON.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first N items of each axis; said in the result.")]
Layers = Annotated[int, typer.Option(min=1, help="Last hidden states averaged.")]
SPEC_HELP = "model2vec:FOLDER, gguf:PATH, openai:URL#MODEL, hf:FOLDER (a teacher), e5, demo, or words (the baseline)."


@dataclass(frozen=True)
class Given:
    """What the entry hands in.

    Attributes:
        data_dir: The settings' data folder.
        corpora: The settings' folder of real texts, None when it is not set.
        open: Opens an embedder by its spec.
        bar: Shows the share done on stderr.
    """

    data_dir: Callable[[], Path]
    corpora: Callable[[], Path | None]
    open: Callable[[str], Embedder | None]
    bar: Bar


def register(app: typer.Typer, given: Given) -> None:
    """Add the commands of this module to `app`."""
    _register_distill(app, given)
    _register_targets(app, given)
    _register_trim(app)
    _register_eval(app, given)
    _register_compare(app, given)


def _teacher(name: str, given: Given, layers: int = 1) -> "Teacher":
    from retrieval.distill_teacher import open_teacher

    if name == "e5":
        path = given.data_dir() / "models" / DEFAULT_FILE
        if not path.is_file():
            raise RetrievalError(f"{path} is missing. Make it with `python -m conversion embedder`.")
        return open_teacher(path, layers=layers)
    if name == "demo":
        base = given.data_dir() / "checkpoints" / "demo-base"
        if not base.is_dir():
            raise RetrievalError(f"{base} is missing. Make it with `python -m conversion checkpoint --out {base}`.")
        return open_teacher(base, adapter=ADAPTER, layers=layers, name="bergson-and-friends-demo")
    return open_teacher(_found(name), layers=layers)


def _found(name: str) -> Path:
    """Return the folder of a teacher, fetched first where it is one of the Hub."""
    from retrieval.distill_teacher import fetch_teacher

    path = Path(name)
    on_hub = not path.exists() and name.count("/") == 1 and not name.startswith((".", "/"))
    return fetch_teacher(name) if on_hub else path


def _texts(given: Given, count: int) -> list[str]:
    """Return sentences of our own notes, dialogues and messages, and of the corpora where they are."""
    from retrieval.distill_texts import corpora_sources, sentences

    corpora = given.corpora()
    own = [sorted(NOTES.glob("*.jsonl")), sorted(DIALOGUES.glob("*.jsonl")) + sorted(QUERIES.glob("*.jsonl"))]
    return sentences([*own, *(corpora_sources(corpora) if corpora else [])], count)


def _pairs(names: Sequence[str], given: Given) -> "list[Pair]":
    from retrieval import distill_train as train

    found: list[Pair] = []
    for name in names:
        if name == "notes":
            found += train.note_pairs(NOTES)
        elif name == "messages":
            found += train.message_pairs(NOTES, [DIALOGUES, QUERIES])
        elif name in ("piaf:0", "piaf:1"):
            corpora = given.corpora()
            if corpora is None:
                raise RetrievalError("BAF_CORPORA_DIR is not set; PIAF lies there.")
            found += train.piaf_pairs(corpora, int(name[-1]))
        else:
            found += train.read_pairs(Path(name))
    return found


def _register_distill(app: typer.Typer, given: Given) -> None:
    @app.command()
    def distill(
        out: Annotated[Path, typer.Option(help="Folder to write; must not exist.")],
        teacher: TeacherName = QWEN,
        dim: Annotated[int, typer.Option(min=1, help="Dimensions; no more than the teacher's width.")] = 1024,
        french_vocabulary: Annotated[
            int | None, typer.Option(min=1, help="Keep the N commonest pieces of French texts; unset, all.")
        ] = None,
        sif: Annotated[float, typer.Option(min=0, max=1, help="SIF's a; 0 weighs all pieces alike.")] = 1e-3,
        by_rank: Annotated[
            bool, typer.Option("--by-rank", help="Weigh a piece by its place in the vocabulary, not by counts.")
        ] = False,
        removed: Annotated[int, typer.Option(min=0, help="Strongest common directions left out.")] = 0,
        prompt: Annotated[str, typer.Option(help="What a decoder reads before each piece.")] = "",
        layers: Layers = 1,
        int8: Annotated[bool, typer.Option("--int8", help="One byte a number instead of two.")] = False,
        targets: Annotated[
            Path | None, typer.Option(help="Folder of `distill-targets`: teach by the teacher's vectors of sentences.")
        ] = None,
        pairs: Annotated[
            list[str] | None,
            typer.Option(help="Teach by pairs: notes, messages, piaf:0, piaf:1, or a jsonl of a and b; repeatable."),
        ] = None,
        epochs: Annotated[int, typer.Option(min=1, help="Over the sentences, at most.")] = 10,
        pair_epochs: Annotated[int, typer.Option(min=1, help="Over the pairs, at most.")] = 4,
        rate: Annotated[float, typer.Option(help="Learning rate of both.")] = 1e-3,
        dropout: Annotated[float, typer.Option(help="Share of the pieces of a pair's texts left out.")] = 0.1,
        as_json: Json = False,
    ) -> None:
        """Boil a transformer down to one vector a piece: texts in microseconds, without torch afterwards."""
        from retrieval.distill import Recipe
        from retrieval.distill_train import Lesson

        recipe = Recipe(dim, french_vocabulary, sif or None, removed, prompt, int8, counted=not by_rank)
        lessons = (Lesson(epochs, rate, batch=512), Lesson(pair_epochs, rate, dropout=dropout))
        made = _distil(given, out, (teacher, layers), recipe, lessons, targets, pairs or [])
        if as_json:
            print(json.dumps(made, ensure_ascii=False))
            return
        typer.echo(f"{made['pieces']} pieces, {made['dimensions']} dimensions, {made['bytes'] / 1e6:.1f} MB", err=True)
        print(out)


def _distil(
    given: Given,
    out: Path,
    named: tuple[str, int],
    recipe: Any,
    lessons: "tuple[Lesson, Lesson]",
    targets: Path | None,
    pairs: Sequence[str],
) -> dict[str, Any]:
    from retrieval.distill import distil, folder_in_work, write_static
    from retrieval.distill_texts import count_pieces, read_targets
    from retrieval.distill_train import contrast, teach

    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise RetrievalError(f'{", ".join(missing)} not installed: pip install -e ".[train,retrieval]".')
    pairs_read = _pairs(pairs, given)  # all that can be wrong first: the teacher's work takes minutes
    with folder_in_work(out) as work, given.bar("Distilling") as show:
        opened = _teacher(named[0], given, named[1])
        sentences, vectors = read_targets(targets, opened.id) if targets else ([], None)
        texts = _texts(given, COUNTED)
        counts = count_pieces(opened.tokenizer, texts)
        model, basis = distil(
            opened, recipe, counts, sentence_vectors=vectors, progress=lambda share: show(0.8 * share, "")
        )
        if vectors is not None:
            show(0.8, "taught by sentences")
            model = teach(model, sentences, vectors, basis, lessons[0])
        if pairs_read:
            show(0.9, "taught by pairs")
            model = contrast(model, pairs_read, lessons[1])
        about = {
            "layers": named[1],
            "counted_sentences": len(texts),
            "variance_kept": round(basis.kept, 4),
            "sentences": len(sentences),
            "sentence_lesson": asdict(lessons[0]) if sentences else None,
            "pairs": {"of": list(pairs), "count": len(pairs_read)},
            "pair_lesson": asdict(lessons[1]) if pairs_read else None,
        }
        return write_static(model, recipe, opened.id, work, about)


def _register_targets(app: typer.Typer, given: Given) -> None:
    @app.command("distill-targets")
    def distill_targets(
        out: Annotated[Path, typer.Option(help="Folder; one that exists goes on.")],
        teacher: TeacherName = "e5",
        count: Annotated[int, typer.Option(min=1, help="Sentences.")] = 40_000,
        minutes: Annotated[float, typer.Option(min=0, help="After which to stop; run again to go on.")] = 30.0,
        layers: Layers = 1,
    ) -> None:
        """Keep the teacher's vectors of sentences, to teach a static model by. Interrupted, it goes on."""
        from retrieval.distill_texts import make_targets

        texts = _texts(given, count)
        with given.bar("Asking the teacher") as show:
            done = make_targets(
                _teacher(teacher, given, layers), texts, out, minutes=minutes, progress=lambda share: show(share, "")
            )
        typer.echo(f"{done} of {len(texts)} sentences.", err=True)
        print(out)


def _register_trim(app: typer.Typer) -> None:
    @app.command("distill-trim")
    def distill_trim(
        model: Annotated[Path, typer.Argument(help="A static model that `distill` wrote.")],
        out: Annotated[Path, typer.Option(help="Folder to make.")],
        pieces: Annotated[int, typer.Option(min=1, help="How many pieces to keep, the commonest.")],
    ) -> None:
        """Make a smaller static model out of a finished one: its rarest pieces leave, nothing is taught again."""
        from retrieval.distill_trim import trim

        made = trim(model, out, pieces)
        typer.echo(f"{made['pieces']} of {made['trimmed']['from']} pieces, {made['bytes'] / 1e6:.1f} MB.", err=True)
        print(out)


def open_measured(spec: str, given: Given) -> tuple[Embedder, int | None]:
    """Open what is to be measured, and say its size on disk where that is known."""
    from retrieval.embedding_eval import Words

    scheme, _, address = spec.partition(":")
    if spec == "words":
        return Words(), None
    if spec == "demo":
        return _teacher(spec, given), _size(given.data_dir() / "checkpoints" / "demo-base")
    if scheme == "hf":
        from retrieval.distill_teacher import open_teacher

        folder = _found(address)
        return open_teacher(folder), _size(folder)
    if spec == "e5":
        scheme, address = "gguf", str(given.data_dir() / "models" / DEFAULT_FILE)
    opened = given.open(f"{scheme}:{address}" if address else spec)
    if opened is None:
        raise RetrievalError(f"No embedder {spec!r}; expected {SPEC_HELP}")
    return opened, _size(Path(address)) if scheme in ("gguf", "model2vec") else None


def _size(place: Path) -> int:
    """Return the bytes of a file, or of the weights and the tokenizer in a folder."""
    if place.is_file():
        return place.stat().st_size
    return sum(path.stat().st_size for path in place.iterdir() if path.suffix in (".safetensors", ".json"))


def _measure(spec: str, given: Given, limit: int | None) -> dict[str, Any]:
    from retrieval.embedding_eval import evaluate_embedder, read_own

    embedder, size = open_measured(spec, given)
    try:
        with given.bar(f"Measuring {embedder.id.name}") as show:
            return evaluate_embedder(
                embedder, read_own(OWN_SETS), given.corpora(), n_bytes=size, limit=limit,
                progress=lambda share: show(share, ""),
            )  # fmt: skip
    finally:
        embedder.close()


def _write(result: dict[str, Any], shown: Sequence[dict[str, Any]], out: Path) -> None:
    from retrieval.embedding_eval import draw

    draw(shown, out.with_suffix(".png"))
    partial = out.with_name(out.name + ".partial")
    partial.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    partial.replace(out)


def _register_eval(app: typer.Typer, given: Given) -> None:
    @app.command("embeddings-eval")
    def embeddings_eval(
        spec: Annotated[str, typer.Argument(help=SPEC_HELP)],
        out: Annotated[
            Path | None, typer.Option(help="Result (JSON), and a picture beside it: NAME_eval_results.json.")
        ] = None,
        limit: Limit = None,
        force: Annotated[bool, typer.Option("--force", help="Replace a result that exists.")] = False,
        as_json: Json = False,
    ) -> None:
        """Six axes, one score, and what it decides; says what averaged vectors cannot know."""
        _free(out, force)
        result = _measure(spec, given, limit)
        if out:
            _write(result, [result], out)
        if as_json:
            sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")
            return
        _show([result])
        typer.echo(result["cannot_know"]["says"], err=True)


def _free(out: Path | None, force: bool) -> None:
    """Claim a result and the picture beside it."""
    if out and out.suffix == ".png":
        raise RetrievalError(f"{out} is the name of the result's picture; end it with .json.")
    claim([out, out.with_suffix(".png")] if out else [], force)


def claim(paths: Sequence[Path], force: bool) -> None:
    """Make the folders of results.

    Raises:
        RetrievalError: One stands there already, or none can: it is said before minutes of work.
    """
    for path in paths:
        if path.exists() and not force:
            raise RetrievalError(f"{path} exists and is never overwritten silently. Move it, or pass --force.")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RetrievalError(f"{path} cannot be written: {error}.") from None


def _register_compare(app: typer.Typer, given: Given) -> None:
    @app.command("embeddings-compare")
    def embeddings_compare(
        specs: Annotated[list[str], typer.Argument(help=SPEC_HELP)],
        out: Annotated[Path | None, typer.Option(help="Result, e.g. model_comparison_results.json.")] = None,
        limit: Limit = None,
        force: Annotated[bool, typer.Option("--force", help="Replace a result that exists.")] = False,
        as_json: Json = False,
    ) -> None:
        """Embedders side by side: quality, size, texts a second, quality per MB; best first."""
        if len(set(specs)) < 2:
            raise RetrievalError("Two different embedders at least can be compared.")
        _free(out, force)
        measured = [_measure(spec, given, limit) for spec in dict.fromkeys(specs)]
        ranked = sorted(measured, key=lambda one: -(one["score"] or 0.0))
        best = max(ranked, key=lambda one: one["quality_per_mb"] or 0.0)
        result = {
            "ranking": [one["model"]["name"] for one in ranked if one["score"] is not None],
            "best_quality_per_mb": best["model"]["name"] if best["quality_per_mb"] else None,
            "models": ranked,
        }
        if out:
            _write(result, ranked, out)
        if as_json:
            sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")
            return
        _show(ranked)


def _show(results: Sequence[dict[str, Any]]) -> None:
    from retrieval.embedding_eval import WEIGHTS

    table = Table("model", *WEIGHTS, "score", "MB", "texts/s", "quality per MB", "decision")
    for one in results:
        values = [f"{axis['value']:.3f}" if isinstance(axis := one["axes"][name], dict) else "–" for name in WEIGHTS]
        score, size, per_mb = one["score"], one["megabytes"], one["quality_per_mb"]
        table.add_row(
            one["model"]["name"],
            *values,
            "–" if score is None else f"{score:.3f}",
            "–" if size is None else f"{size:.1f}",
            f"{one['texts_per_s']:.0f}",
            "–" if per_mb is None else f"{per_mb:.4f}",
            one["decision"]["by score"],
        )
    Console().print(table)
