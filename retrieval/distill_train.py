"""A static model taught: by a teacher's vectors of sentences, then by pairs of texts. Model2Vec's own training classes.

Neither gets a layer of its own on top of the vectors: it would be thrown away when the model is written, and what it
had learned with it. Knows texts and vectors; no file of a corpus, no command.
"""

import json
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from errors import RetrievalError
from retrieval.distill import Basis
from retrieval.embedders import unit
from retrieval.notes import load_notes
from retrieval.scoring import read_piaf

log = logging.getLogger(__name__)

HELD_OUT = 0.05  # of the texts or pairs: decides when training ends
Pair = tuple[str, str]


@dataclass(frozen=True)
class Lesson:
    """How long and how hard a model is taught.

    Attributes:
        epochs: At most; it ends earlier when the held-out loss rises.
        rate: Learning rate of Adam.
        batch: Texts or pairs of one step; of pairs, the others of a step are the wrong answers.
        dropout: Share of a text's pieces left out at random.
        temperature: Of the contrastive loss.
    """

    epochs: int = 8
    rate: float = 1e-3
    batch: int = 256
    dropout: float = 0.0
    temperature: float = 0.05

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 2 or not self.rate > 0 or not 0 <= self.dropout < 1 or self.temperature <= 0:
            raise RetrievalError(f"{self} cannot be taught: epochs 1 or more, batch 2 or more, dropout under 1.")


def teach(model: Any, texts: Sequence[str], vectors: np.ndarray, basis: Basis, lesson: Lesson) -> Any:
    """Return a static model whose vectors of texts point where the teacher's do.

    Args:
        model: What `distil` gave.
        texts: Sentences.
        vectors: (len(texts), width), the teacher's.
        basis: Of the model.
        lesson: How long and how hard.

    Raises:
        RetrievalError: There are too few texts.
    """
    import torch
    from model2vec.train import StaticModelForSimilarity

    held = int(len(texts) * HELD_OUT)
    if len(texts) != len(vectors) or held < 2:
        raise RetrievalError(f"{len(texts)} sentences with {len(vectors)} vectors cannot teach; give 40 or more.")
    wanted = torch.from_numpy(unit(basis.turn(vectors)))
    pupil = StaticModelForSimilarity.from_static_model(
        model=model, n_layers=0, out_dim=model.dim, freeze_weights=False
    ).fit(
        list(texts[held:]), wanted[held:], X_val=list(texts[:held]), y_val=wanted[:held], learning_rate=lesson.rate,
        batch_size=lesson.batch, max_epochs=lesson.epochs, token_dropout=lesson.dropout, device="cpu",
    )  # fmt: skip
    log.info("taught by sentences=%d epochs<=%d", len(texts), lesson.epochs)
    return pupil.to_static_model()


def contrast(model: Any, pairs: Sequence[Pair], lesson: Lesson) -> Any:
    """Return a static model whose vectors of the two texts of a pair lie nearer to each other than to other texts.

    Args:
        model: What `distil` or `teach` gave.
        pairs: E.g. a question and the passage that answers it.
        lesson: How long and how hard.

    Raises:
        RetrievalError: There are too few pairs.
    """
    from model2vec.train import StaticModelForPairSimilarity

    mixed = list(pairs)
    random.Random(0).shuffle(mixed)  # noqa: S311  # a seed, not a secret
    held = int(len(mixed) * HELD_OUT)
    if held < 2:
        raise RetrievalError(f"{len(pairs)} pairs cannot teach; give 40 or more.")
    (first, second), (first_held, second_held) = zip(*mixed[held:], strict=True), zip(*mixed[:held], strict=True)
    pupil = StaticModelForPairSimilarity.from_static_model(model=model, n_layers=0, freeze_weights=False).fit(
        first, second, text_a_val=first_held, text_b_val=second_held, learning_rate=lesson.rate,
        batch_size=lesson.batch, max_epochs=lesson.epochs, token_dropout=lesson.dropout,
        temperature=lesson.temperature, device="cpu",
    )  # fmt: skip
    log.info("taught by pairs=%d epochs<=%d", len(pairs), lesson.epochs)
    return pupil.to_static_model()


def note_pairs(notes: Path) -> list[Pair]:
    """Return what stands above or beside a note, with its text: title, idea, image and question, keywords."""
    found = []
    for path in sorted(notes.glob("*.jsonl")):
        for note in load_notes(path):
            said = (note.title, note.idea, note.image, note.question, ", ".join(note.keywords))
            found += [(one, note.text) for one in said if one]
    return found


def message_pairs(notes: Path, folders: Sequence[Path]) -> list[Pair]:
    """Return messages in pupils' words with the text of the note that answers them, of dialogues and of queries.

    Messages of the split "test" are left out: they measure.
    """
    texts = {note.id: note.text for path in sorted(notes.glob("*.jsonl")) for note in load_notes(path)}
    lines = [
        json.loads(line)
        for folder in folders
        for path in sorted(folder.glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").split("\n")  # JSON may hold U+2028
        if line
    ]
    said = [(turn["pupil"], turn["note"]) for one in lines for turn in one.get("exchanges", ())]
    said += [(one["message"], one["note"]) for one in lines if one.get("split") == "tune"]
    measuring = {one["message"] for one in lines if one.get("split") == "test"}  # some are asked of two philosophers
    return [(message, texts[note]) for message, note in said if note in texts and message not in measuring]


def piaf_halves(corpora: Path) -> tuple[set[str], set[str]]:
    """Return the articles of PIAF in two halves: what is taught on one is measured on the other."""
    names = sorted({question.cluster for question in read_piaf(corpora).questions})
    random.Random(0).shuffle(names)  # noqa: S311  # a seed, not a secret
    return set(names[::2]), set(names[1::2])


def piaf_pairs(corpora: Path, half: int) -> list[Pair]:
    """Return the questions of one half of PIAF's articles with their titled paragraphs."""
    chosen = read_piaf(corpora)
    texts = dict(zip((one.id for one in chosen.passages), chosen.embedded, strict=True))
    articles = piaf_halves(corpora)[half]
    return [
        (question.text, texts[next(iter(question.relevant))])
        for question in chosen.questions
        if question.cluster in articles
    ]


def read_pairs(path: Path) -> list[Pair]:
    """Read a jsonl of {"a": text, "b": text}.

    Raises:
        RetrievalError: It is missing, or a line has other keys.
    """
    found: list[Pair] = []
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):  # JSON may hold U+2028
            if not line:
                continue
            one = json.loads(line)
            if not (isinstance(one, dict) and all(isinstance(one.get(key), str) and one[key].strip() for key in "ab")):
                raise RetrievalError(f'{path.name}:{number}: expected {{"a": text, "b": text}}.')
            found.append((one["a"], one["b"]))
    except (OSError, ValueError) as error:
        raise RetrievalError(f"{path} cannot be read as pairs ({error}).") from None
    return found
