"""A transformer boiled down to one vector for each piece of its vocabulary: a static model in Model2Vec's format.

Each piece goes through the teacher alone, the vectors are turned and shortened (PCA), and rare pieces are made to weigh
more than common ones (SIF). Model2Vec's own `distill` weighs a piece by its place in the vocabulary and sends a
decoder's pieces through at the position that gathers attention; here pieces are counted on French texts, a decoder
reads a few words first, and the basis may be that of whole sentences. Knows a teacher and counts; no index, no command.

Source: Tulkens and van Dongen, Model2Vec, 2024; SIF is that of Arora, Liang and Ma, ICLR 2017.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from errors import RetrievalError
from retrieval.distill_teacher import Teacher
from retrieval.embedders import EmbedderId

log = logging.getLogger(__name__)

METADATA, LOG = "metadata.json", "distill.log"
CHUNK = 2_048  # pieces between two reports of progress
CLIPPED = 0.9999  # share of the numbers that the 8-bit scale spans: one far number would coarsen all others
PACKAGES = ("model2vec", "skeletoken", "tokenizers", "transformers", "torch", "numpy")


@dataclass(frozen=True)
class Recipe:
    """How a static model is made.

    Attributes:
        dimensions: Of a vector; no more than the teacher's width.
        french_vocabulary: How many pieces are kept, the commonest in the counted texts; None keeps all.
        sif: The `a` of a / (a + share of the piece); None leaves every piece the same weight.
        removed: Strongest common directions taken out before the shortening.
        prompt: What a decoder reads before each piece.
        int8: Store one byte a number instead of two.
        counted: Whether the share of a piece is that in French texts, or the one that its place in the vocabulary lets
            guess, as Model2Vec does.
    """

    dimensions: int = 1024
    french_vocabulary: int | None = None
    sif: float | None = 1e-3
    removed: int = 0
    prompt: str = ""
    int8: bool = False
    counted: bool = True

    def __post_init__(self) -> None:
        if self.dimensions < 1 or self.removed < 0:
            raise RetrievalError(f"{self.dimensions} dimensions less {self.removed} cannot be made; give 1 or more.")
        if self.sif is not None and not 0 < self.sif < 1:
            raise RetrievalError(f"SIF needs a number between 0 and 1, not {self.sif}.")
        if self.french_vocabulary is not None and self.french_vocabulary < 1:
            raise RetrievalError(f"A vocabulary of {self.french_vocabulary} pieces says nothing; give 1 or more.")


@dataclass(frozen=True)
class Basis:
    """A turn of the teacher's space, and the part of it that is kept.

    Attributes:
        mean: (width,) taken off first.
        axes: (width, dimensions), strongest first.
        kept: Share of the variance that the axes hold.
    """

    mean: np.ndarray
    axes: np.ndarray
    kept: float

    def turn(self, vectors: np.ndarray, mean: np.ndarray | None = None) -> np.ndarray:
        """Return (n, dimensions) float32.

        Args:
            vectors: (n, width).
            mean: Taken off instead of the basis's own, e.g. that of single pieces.
        """
        turned: np.ndarray = ((vectors - (self.mean if mean is None else mean)) @ self.axes).astype(np.float32)
        return turned


def basis_of(vectors: np.ndarray, dimensions: int, removed: int = 0) -> Basis:
    """Return the principal axes of the rows.

    Args:
        vectors: (n, width).
        dimensions: How many axes; no more than the width less `removed`.
        removed: Strongest axes left out.

    >>> found = basis_of(np.array([[0.0, 0.0], [2.0, 0.0], [4.0, 1.0]]), 1)
    >>> found.axes.shape, round(found.kept, 2)
    ((2, 1), 0.98)
    """
    wide = vectors.astype(np.float64)
    mean = wide.mean(axis=0)
    values, axes = np.linalg.eigh(np.cov((wide - mean).T).reshape(wide.shape[1], -1))
    values, axes = np.clip(values[::-1], 0, None), axes[:, ::-1]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])  # one sign everywhere
    chosen = slice(removed, removed + dimensions)
    return Basis(mean, axes[:, chosen], float(values[chosen].sum() / max(values.sum(), 1e-30)))


def weights_of(counts: Mapping[int, int], ids: Sequence[int], sif: float | None) -> np.ndarray:
    """Return (len(ids),) float32 weights from 0 to 1: a piece that is everywhere says little and weighs little.

    Args:
        counts: How often each piece occurs; where it is empty, the place in the vocabulary stands for it (Zipf's law).
        ids: Pieces.
        sif: See `Recipe`.

    >>> [round(float(one), 2) for one in weights_of({1: 990, 2: 10}, [1, 2], 0.1)]
    [0.09, 0.91]
    """
    if sif is None:
        return np.ones(len(ids), np.float32)
    if counts:
        seen = np.array([max(counts.get(one, 0), 0.5) for one in ids])
        shares = seen / max(sum(counts.values()), 1)
    else:
        shares = 1 / np.arange(2, len(ids) + 2)
        shares /= shares.sum()
    weights: np.ndarray = (sif / (sif + shares)).astype(np.float32)
    return weights


def cut_tokenizer(tokenizer: Any, counts: Mapping[int, int], keep: int | None) -> tuple[Any, list[int]]:
    """Return a tokenizer without frames and special pieces, cut to the commonest ones, and their ids at the teacher.

    Args:
        tokenizer: The teacher's, of transformers.
        counts: How often each of its ids occurs.
        keep: How many to keep; None keeps all.

    Raises:
        RetrievalError: There is nothing to choose by.
    """
    from skeletoken import TokenizerModel

    whole = TokenizerModel.from_transformers_tokenizer(tokenizer).prune_added_tokens()
    own_ids = tokenizer.get_vocab()
    model = whole.deep_copy()
    model.post_processor = None
    if keep is not None:
        if not counts:
            raise RetrievalError("A French vocabulary is chosen by counts: set BAF_CORPORA_DIR or give --texts.")
        kept = _kept(model, own_ids, counts, keep)
        model = model.remove_tokens_from_vocabulary([one for one in model.sorted_vocabulary if one not in kept])
    return model.to_tokenizer(), [own_ids[one] for one in model.sorted_vocabulary]


def _kept(model: Any, own_ids: Mapping[str, int], counts: Mapping[int, int], keep: int) -> set[str]:
    """Return the pieces that stay: the commonest, single characters, and what a BPE builds these from."""
    pieces = sorted(model.sorted_vocabulary, key=lambda piece: -counts.get(own_ids.get(piece, -1), 0))
    kept = {piece for piece in pieces[:keep] if counts.get(own_ids.get(piece, -1), 0)}
    kept |= {piece for piece in pieces if len(piece.removeprefix("##").removeprefix("▁")) <= 1}
    kept |= {piece for piece in pieces if piece.startswith("<0x")}
    kept |= {piece for piece in (model.unk_token, model.pad_token) if piece}
    parts: dict[str, tuple[str, str]] = {}
    for left, right in json.loads(model.to_tokenizer().to_str())["model"].get("merges", []):
        parts.setdefault(left + right, (left, right))
    waiting = list(kept)
    while waiting:
        for part in parts.get(waiting.pop(), ()):
            if part not in kept:
                kept.add(part)
                waiting.append(part)
    return kept


def piece_vectors(
    teacher: Teacher, ids: Sequence[int], prompt: str, progress: Callable[[float], None] = lambda _: None
) -> np.ndarray:
    """Return (len(ids), width) float32: what the teacher makes of each piece alone between its frames.

    Args:
        teacher: An encoder's frames count in the mean; a decoder's, and what it reads first, do not.
        ids: Pieces.
        prompt: What a decoder reads first.
        progress: Called with the share done.
    """
    before, after = teacher.frame()
    if teacher.decoder:
        before = [*before, *teacher.tokenizer(prompt, add_special_tokens=False)["input_ids"]] if prompt else before
    skip = len(before) if teacher.decoder else 0
    rows = []
    for at in range(0, len(ids), CHUNK):
        progress(at / len(ids))
        rows.append(teacher.states([[*before, one, *after] for one in ids[at : at + CHUNK]], skip))
    vectors: np.ndarray = np.nan_to_num(np.concatenate(rows))
    return vectors


def distil(
    teacher: Teacher,
    recipe: Recipe,
    counts: Mapping[int, int],
    *,
    sentence_vectors: np.ndarray | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> tuple[Any, Basis]:
    """Return a static model (model2vec's, float32) and the basis in which its vectors lie.

    Args:
        teacher: Where the vectors come from.
        recipe: How.
        counts: How often each of the teacher's ids occurs in French; empty to weigh by the place in the vocabulary.
        sentence_vectors: (n, width) of the teacher; where given, the basis is that of sentences, so that a model may
            afterwards be taught by them. Otherwise it is that of the pieces.
        progress: Called with the share done.

    Raises:
        RetrievalError: The recipe leaves nothing of the teacher's width.
    """
    from model2vec import StaticModel

    if recipe.removed >= teacher.width:
        raise RetrievalError(f"The teacher is {teacher.width} wide: {recipe.removed} directions less leave nothing.")
    tokenizer, ids = cut_tokenizer(teacher.tokenizer, counts, recipe.french_vocabulary)
    raw = piece_vectors(teacher, ids, recipe.prompt, progress)
    weights = weights_of(counts if recipe.counted else {}, ids, recipe.sif)
    dimensions = min(recipe.dimensions, teacher.width - recipe.removed)
    if dimensions < recipe.dimensions:
        log.warning(
            "The teacher is %d wide: %d dimensions instead of %d.", teacher.width, dimensions, recipe.dimensions
        )
    basis = basis_of(raw if sentence_vectors is None else sentence_vectors, dimensions, recipe.removed)
    seen = np.array([counts.get(one, 0) for one in ids], np.float64) * weights  # what a sentence's mean is made of
    mean = np.average(raw, axis=0, weights=seen) if sentence_vectors is not None and seen.any() else raw.mean(axis=0)
    vectors = basis.turn(raw, mean) * weights[:, None]
    vectors /= max(float(np.linalg.norm(vectors, axis=1).mean()), 1e-12)  # a learning rate then means the same anywhere
    log.info("distilled pieces=%d dimensions=%d variance kept=%.3f", len(ids), dimensions, basis.kept)
    return StaticModel(vectors, tokenizer, normalize=True), basis


def stored(model: Any, recipe: Recipe, teacher: EmbedderId) -> Any:
    """Return the same static model with numbers of two bytes, or of one, and what Model2Vec's files say of a model."""
    from model2vec import StaticModel
    from model2vec.quantization import DType, quantize_embeddings

    vectors = np.asarray(model.embedding, np.float32)
    if recipe.int8:
        limit = float(np.quantile(np.abs(vectors), CLIPPED))
        vectors = quantize_embeddings(np.clip(vectors, -limit, limit), DType.Int8)
    else:
        vectors = vectors.astype(np.float16)
    width = vectors.shape[1]
    config = {"model_type": "model2vec", "architectures": ["StaticModel"], "tokenizer_name": teacher.name,
              "apply_pca": width, "sif_coefficient": recipe.sif, "hidden_dim": width, "seq_length": 1_000_000,
              "normalize": True, "pooling": "mean"}  # fmt: skip
    return StaticModel(
        vectors, model.tokenizer, config=config, normalize=True, base_model_name=teacher.name, language=["fr"]
    )


@contextmanager
def folder_in_work(out: Path) -> Iterator[Path]:
    """Give a folder to write into, with a log beside the files; it gets its name when all has gone well.

    Raises:
        RetrievalError: The name is taken.
    """
    if out.exists():
        raise RetrievalError(f"{out} exists and is never overwritten. Move it, or pass another --out.")
    import shutil
    import tempfile

    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    handler = logging.FileHandler(work / LOG, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    room = logging.getLogger("retrieval")
    level = room.level
    room.setLevel(logging.INFO)
    room.addHandler(handler)
    try:
        yield work
        handler.close()
        work.chmod(0o755)
        work.rename(out)
    finally:
        room.removeHandler(handler)
        room.setLevel(level)
        handler.close()
        shutil.rmtree(work, ignore_errors=True)  # gone already when it was named


def write_static(
    model: Any, recipe: Recipe, teacher: EmbedderId, folder: Path, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Write model.safetensors, config.json, tokenizer.json and metadata.json; return what the last one says.

    Args:
        model: What `distil` gave, taught or not.
        recipe: How it was made.
        teacher: From which.
        folder: Exists already.
        about: Further facts for the metadata.
    """
    packed = stored(model, recipe, teacher)
    packed.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)  # the library's card speaks of English models on the Hub
    weights = folder / "model.safetensors"
    weights.chmod(0o644)  # the library writes it for its owner alone
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    metadata = {
        "teacher": teacher.to_data(),
        "recipe": asdict(recipe),
        "pieces": len(packed.tokens),
        "dimensions": int(packed.dim),
        "number": packed.embedding_dtype,
        "bytes": sum(path.stat().st_size for path in folder.iterdir() if path.name != LOG),
        "sha256": digest,
        **about,
        "versions": {name: version(name) for name in PACKAGES},
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    (folder / METADATA).write_text(json.dumps(metadata, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    log.info("written pieces=%d bytes=%d", metadata["pieces"], metadata["bytes"])
    return metadata
