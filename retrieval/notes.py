"""Reading notes, and the nearest one to what a pupil says. Knows lexical search; knows no prompt and no model.

A small model keeps the form of its training, not the doctrine: the note brings the doctrine into its prompt.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import bm25s
import numpy as np

from errors import RetrievalError
from retrieval.french import search_tokens

# Low on purpose: a small model without a note babbles, so a far note does less harm than none. Chosen by reading talks;
# `python -m retrieval calibrate` says what they do on the dialogues of data/dialogues/.
CONTEXT_WEIGHT = 1.0  # of the philosopher's last question: a pupil's « oui » is about it
MIN_SCORE = 1.5  # BM25; below, nothing is near enough, unless the pupil names a notion: « Qu'est-ce que le temps ? »


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

    @property
    def indexed_text(self) -> str:
        """What a search sees; the keywords count twice, as they are what pupils type."""
        keywords = " ".join(self.keywords)
        return f"{keywords} {keywords} {' '.join(self.notions)} {self.idea} {self.image} {self.question}"


def _note(line: Mapping[str, Any], where: str) -> Note:
    values: dict[str, Any] = {}
    for field in fields(Note):
        value = line.get(field.name)
        wanted = list if field.name in {"notions", "keywords"} else str
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
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise RetrievalError(f"The notes {path} cannot be read: {error.strerror}; restore the file.") from None
    notes: dict[str, Note] = {}
    for number, line in enumerate(lines, 1):
        where = f"{path.name}:{number}"
        try:
            note = _note(json.loads(line), where)
        except json.JSONDecodeError as error:
            raise RetrievalError(f"{where}: no JSON ({error.msg}); one object a line.") from None
        if note.id in notes:
            raise RetrievalError(f"{where}: id {note.id!r} stands twice; rename one.")
        notes[note.id] = note
    if not notes:
        raise RetrievalError(f"{path.name} holds no note.")
    return tuple(notes.values())


class NoteIndex:
    """The notes of every philosopher, searchable. Built once, then only read: safe between threads."""

    def __init__(self, notes: Mapping[str, tuple[Note, ...]]) -> None:
        self.notes = notes
        self._notions = {
            stem for of_one in notes.values() for n in of_one for stem in search_tokens(" ".join(n.notions))
        }
        self._indexes: dict[str, bm25s.BM25] = {}
        for key, of_one in notes.items():
            index = bm25s.BM25(k1=1.2, b=0.75)
            index.index([search_tokens(note.indexed_text) for note in of_one], show_progress=False)
            self._indexes[key] = index

    @classmethod
    def load(cls, folder: Path) -> "NoteIndex":
        """Read `folder`/<philosopher>.jsonl.

        Raises:
            RetrievalError: There is no such file, or one of them is wrong.
        """
        paths = sorted(folder.glob("*.jsonl"))
        if not paths:
            raise RetrievalError(f"No notes in {folder}; expected <philosopher>.jsonl.")
        return cls({path.stem: load_notes(path) for path in paths})

    def scores(self, philosopher: str, message: str, context: str | None = None) -> np.ndarray:
        """Return (n_notes,) float scores, higher is nearer; 0 where no word is shared."""
        index = self._indexes[philosopher]
        total = np.zeros(len(self.notes[philosopher]))
        for text, weight in ((message, 1.0), (context or "", CONTEXT_WEIGHT)):
            # A word asked twice says no more than once; a word that no note knows is no use to the index.
            known = [token for token in dict.fromkeys(search_tokens(text)) if token in index.vocab_dict]
            if known:
                total += weight * index.get_scores(known)
                if message.rstrip().endswith("?"):
                    break  # a question of the pupil's own stands alone, unless it is a mere « pourquoi ? »
        return total

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
            if scores[position] < (0 if named else MIN_SCORE):
                return None
            if note.id not in exclude:
                return note
        return None
