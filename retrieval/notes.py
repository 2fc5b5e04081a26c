"""Reading notes, and the nearest one to what a pupil says. Knows words and vectors; knows no prompt and no chat model.

A small model keeps the form of its training, not the doctrine: the note brings the doctrine into its prompt.
"""

import hashlib
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from errors import RetrievalError
from retrieval.embedders import Embedder, EmbedderId, StaticEmbedder, unit
from retrieval.french import search_tokens
from retrieval.memory_store import MemoryStore
from retrieval.passages import Passage
from retrieval.ranking import Lexical
from retrieval.store import RELEVANT, Reranker, Searcher

log = logging.getLogger(__name__)

# Low on purpose: a small model without a note babbles, so a far note does less harm than none. Chosen by reading talks;
# `python -m retrieval calibrate` says what they do on the dialogues of data/dialogues/.
CONTEXT_WEIGHT = 1.0  # of the philosopher's last question: a pupil's « oui » is about it
MIN_SCORE = 1.5  # by words alone; below, nothing is near enough, unless the pupil names a notion
# With vectors, BM25 + MEANING * (cosine - the mean cosine of the notes): a scale that means the same for every message,
# which scores spread over 0 to 1 do not. Chosen on data/queries, split "tune"; 20 to 120 differ by a point.
MEANING = 60.0
MIN_HYBRID = 3.0  # at 4.0 three of 60 real questions of pupils got no note (data/eval/pupil_questions, half "tune")
# The cosines of static vectors lie three times as far apart. Chosen on the same half: there, the best score of nine in
# ten questions that a note answers is 7.9 or more; of those that none answers, the middle one is 5.8.
MEANING_STATIC, MIN_STATIC = 20.0, 6.0
# For citations. The words of a pupil are far from any book: with the threshold of other collections (.31) 37 of 100
# questions that a note answers would get a source. Chosen on the same half: 68, and 80 of 100 others are held back; on
# the half set aside 72 and 100. Messages of data/queries, written by who wrote the keywords: 97 and 66. Static vectors
# keep .31: with it 77 and 73, 68 and 87; with .24 half of the others would get one.
RELEVANT_NOTE = 0.24
# A message of these alone asks about what was just said and names nothing: « c'est-à-dire ? », « c'est pas clair ».
ABOUT_SPEAKING = frozenset(
    search_tokens(
        "dire signifier préciser précis clair clairement clarifier capter captes développer développe détailler détail "
        "reformuler reformule répéter répète simple simplement simplifier concret concrètement mieux question réponse "
        "lien rapport suivre pige pigé capté paumé perdu perdue saisir"
    )
)
QUOTES = frozenset('«“"')  # what is quoted is named, even where no word of it is searched: « je »
VECTORS = "vectors.json"  # beside the notes: which embedder made the .npy files, and of which words


@dataclass(frozen=True)
class Note:
    """One idea of one place of one work, in our own words.

    Attributes:
        id: Unique name, e.g. "spinoza-illusion-libre-arbitre".
        author: E.g. "Spinoza".
        work: French title.
        locus: Place in the work, e.g. "E3P9S", "chap. II, p. 168", "CRP, B 75".
        notions: Notions of the programme it belongs to.
        keywords: Words a pupil would type.
        idea: The argument, at most 25 words.
        image: One concrete example.
        question: One open question.
        title: What the note says, as a heading.
        text: The argument in 60 to 150 words, in our own; nothing of it may be quoted as the author's.
        schemes: Keys of the logical schemes it shows.
    """

    id: str
    author: str
    work: str
    locus: str
    notions: tuple[str, ...]
    keywords: tuple[str, ...]
    idea: str
    image: str
    question: str
    title: str
    text: str
    schemes: tuple[str, ...]

    @property
    def indexed_text(self) -> str:
        """What a search by words sees; the keywords count twice, as they are what pupils type."""
        keywords = " ".join(self.keywords)
        return f"{keywords} {keywords} {' '.join(self.notions)} {self.title} {self.idea} {self.image} {self.question}"

    @property
    def embedded_text(self) -> str:
        """What a search by meaning sees; without the keywords it finds a tenth less."""
        return f"{', '.join(self.keywords)}. {self.title} {self.idea} {self.image} {self.question}"

    @property
    def digest(self) -> str:
        """Changes when the note's vector must be made anew."""
        return hashlib.sha256(self.embedded_text.encode()).hexdigest()[:16]

    def to_passage(self) -> Passage:
        """The note as a passage for a larger model: a paraphrase, never to be quoted."""
        return Passage(
            self.id,
            self.text,
            self.author,
            self.work,
            title=self.title,
            locus=self.locus,
            notions=self.notions,
            keywords=self.keywords,
            original=False,
        )


def _note(line: Mapping[str, Any], where: str) -> Note:
    values: dict[str, Any] = {}
    for field in fields(Note):
        value = line.get(field.name)
        wanted = list if field.name in {"notions", "keywords", "schemes"} else str
        if not isinstance(value, wanted) or not value:
            raise RetrievalError(f"{where}: key {field.name!r} is missing or empty; write it.")
        values[field.name] = tuple(value) if wanted is list else value
    return Note(**values)


def load_notes(path: Path) -> tuple[Note, ...]:
    """Read one JSONL file of notes, in its order.

    Raises:
        RetrievalError: The file is missing, a line is no JSON, lacks a key, or repeats an id.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RetrievalError(f"The notes {path} cannot be read: {error}; restore the file.") from None
    notes: dict[str, Note] = {}
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: JSON may hold U+2028 as it is
        if not line:
            continue
        where = f"{path.name}:{number}"
        try:
            note = _note(json.loads(line), where)
        except json.JSONDecodeError as error:
            raise RetrievalError(f"{where}: no JSON ({error.msg}); one object a line.") from None
        except AttributeError:
            raise RetrievalError(f"{where}: no object; one a line.") from None
        if note.id in notes:
            raise RetrievalError(f"{where}: id {note.id!r} stands twice; rename one.")
        notes[note.id] = note
    if not notes:
        raise RetrievalError(f"{path.name} holds no note.")
    return tuple(notes.values())


def write_vectors(folder: Path, embedder: Embedder, notes: Mapping[str, Sequence[Note]]) -> dict[str, int]:
    """Write `folder`/<philosopher>.npy, (n_notes, dimensions) int8, and last what they were made of.

    Args:
        folder: Of the notes.
        embedder: Makes the vectors; the same one must embed the questions.
        notes: Of each philosopher, in the order of their file.

    Returns:
        How many notes of each.
    """
    made: dict[str, dict[str, str]] = {}
    for key, of_one in notes.items():
        vectors = embedder.passages([note.embedded_text for note in of_one])
        with (folder / f"{key}.npy.partial").open("wb") as file:
            # Directions alone are compared: steps of a 127th are near enough, in half of float16's room.
            np.save(file, np.rint(vectors * (127 / np.abs(vectors).max(axis=1, keepdims=True))).astype(np.int8))
        made[key] = {note.id: note.digest for note in of_one}
    (folder / VECTORS).unlink(missing_ok=True)  # it would vouch for vectors of another embedder
    for key in made:
        (folder / f"{key}.npy.partial").replace(folder / f"{key}.npy")
    partial = folder / f"{VECTORS}.partial"
    partial.write_text(
        json.dumps({"embedder": embedder.id.to_data(), "notes": made}, indent=0) + "\n", encoding="utf-8"
    )
    partial.replace(folder / VECTORS)
    return {key: len(of_one) for key, of_one in made.items()}


def read_vectors(folder: Path, embedder: EmbedderId, notes: Mapping[str, Sequence[Note]]) -> dict[str, np.ndarray]:
    """Return (n_notes, dimensions) float32 for each philosopher, as `write_vectors` left them.

    Raises:
        RetrievalError: They are missing or damaged, of another embedder, or of other notes.
    """
    again = "run `python -m retrieval notes-vectors`"
    try:
        said = json.loads((folder / VECTORS).read_text(encoding="utf-8"))
        made_by, made = EmbedderId(**said["embedder"]), dict(said["notes"])
        vectors = {key: unit(np.load(folder / f"{key}.npy").astype(np.float32)) for key in notes}
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise RetrievalError(f"The notes' vectors in {folder} cannot be read ({error!r}); {again}.") from None
    if made_by.digest != embedder.digest:
        raise RetrievalError(f"The notes' vectors were made by {made_by.name}, not by {embedder.name}; {again}.")
    for key, of_one in notes.items():
        if made.get(key) != {note.id: note.digest for note in of_one} or list(made[key]) != [n.id for n in of_one]:
            raise RetrievalError(f"The vectors of {key}.jsonl are older than its notes; {again}.")
        if vectors[key].shape != (len(of_one), embedder.dimensions):
            raise RetrievalError(f"{key}.npy has the shape {vectors[key].shape}; {again}.")
    return vectors


class NoteIndex:
    """The notes of every philosopher, searchable. Built once, then only read: safe between threads.

    Args:
        notes: Of each philosopher.
        vectors: (n_notes, dimensions) of each, rows of length 1; None searches by words alone.
        embedder: The one that made them.
    """

    def __init__(
        self,
        notes: Mapping[str, tuple[Note, ...]],
        vectors: Mapping[str, np.ndarray] | None = None,
        embedder: Embedder | None = None,
    ) -> None:
        self.notes = notes
        self._notions = {
            stem for of_one in notes.values() for n in of_one for stem in search_tokens(" ".join(n.notions))
        }
        self._indexes = {
            key: Lexical.build(search_tokens(note.indexed_text) for note in of_one) for key, of_one in notes.items()
        }
        self._embedder = embedder if vectors is not None else None
        self._static = isinstance(self._embedder, StaticEmbedder)
        self._vectors = dict(vectors or {})
        self._means = {key: rows.mean(axis=0) for key, rows in self._vectors.items()}

    @classmethod
    def load(cls, folder: Path, embedder: Embedder | None = None) -> "NoteIndex":
        """Read `folder`/<philosopher>.jsonl and, for an embedder, the vectors beside them.

        Vectors that do not fit are left out with a line in the log: the notes are then found by words alone.

        Raises:
            RetrievalError: There is no such file, or one of them is wrong.
        """
        paths = sorted(folder.glob("*.jsonl"))
        if not paths:
            raise RetrievalError(f"No notes in {folder}; expected <philosopher>.jsonl.")
        notes = {path.stem: load_notes(path) for path in paths}
        if embedder is None:
            return cls(notes)
        if isinstance(embedder, StaticEmbedder):  # half a second for all notes: nothing needs to lie beside them
            made = {key: embedder.passages([note.embedded_text for note in of_one]) for key, of_one in notes.items()}
            return cls(notes, made, embedder)
        try:
            return cls(notes, read_vectors(folder, embedder.id, notes), embedder)
        except RetrievalError as error:
            log.warning("Notes are found by words alone: %s", error)
            return cls(notes)

    def to_store(self) -> MemoryStore:
        """Return the notes of all philosophers as a store, for a `Searcher` with the same embedder."""
        passages = [note.to_passage() for of_one in self.notes.values() for note in of_one]
        vectors = np.concatenate([self._vectors[key] for key in self.notes]) if self._embedder else None
        return MemoryStore("notes", passages, vectors, self._embedder.id if self._embedder else None)

    def to_searcher(self, reranker: Reranker | None = None) -> Searcher:
        """Return a search over the notes of all philosophers, with the threshold that suits them."""
        least = RELEVANT if self._static else RELEVANT_NOTE
        return Searcher(self.to_store(), self._embedder, reranker=reranker, relevant=least)

    @property
    def by_meaning(self) -> bool:
        """Whether vectors take part."""
        return self._embedder is not None

    @property
    def threshold(self) -> float:
        """The score below which nothing is near enough."""
        if not self.by_meaning:
            return MIN_SCORE
        return MIN_STATIC if self._static else MIN_HYBRID

    def scores(self, philosopher: str, message: str, context: str | None = None) -> np.ndarray:
        """Return (n_notes,) float scores, higher is nearer; 0 is as near as any note."""
        total = np.zeros(len(self.notes[philosopher]))
        for text, weight in ((message, 1.0), (context or "", CONTEXT_WEIGHT)):
            # A word asked twice says no more than once.
            stems = list(dict.fromkeys(search_tokens(text)))
            of_speaking = ABOUT_SPEAKING.issuperset(stems) and QUOTES.isdisjoint(text)
            if not stems or (context and text == message and of_speaking):
                continue
            words = self._indexes[philosopher].scores(stems)
            total += weight * (words + self._meaning(philosopher, text))
            known = self.by_meaning or words.any()
            if known and message.rstrip().endswith("?"):
                break  # a question of the pupil's own stands alone, unless it is a mere « pourquoi ? »
        return total

    def _meaning(self, philosopher: str, text: str) -> np.ndarray | float:
        if self._embedder is None:
            return 0.0
        vector = self._embedder.query(text)
        scale = MEANING_STATIC if self._static else MEANING
        found: np.ndarray = scale * (self._vectors[philosopher] @ vector - self._means[philosopher] @ vector)
        return found

    def nearest(
        self, philosopher: str, message: str, context: str | None = None, *, exclude: Collection[str] = ()
    ) -> Note | None:
        """Return the note nearest to what the pupil says, or None when nothing is near enough.

        Args:
            philosopher: Key of the persona; without notes, None is returned.
            message: What the pupil says.
            context: What it answers, e.g. the philosopher's last question.
            exclude: Ids not to return, e.g. those that the conversation has already used.
        """
        if philosopher not in self.notes:
            return None
        scores = self.scores(philosopher, message, context)
        named = not self._notions.isdisjoint(search_tokens(message))
        for position in np.argsort(-scores, kind="stable"):
            note = self.notes[philosopher][int(position)]
            if scores[position] < (0 if named else self.threshold):
                return None
            if note.id not in exclude:
                return note
        return None
