"""What our texts must keep to, and every place where they do not. Knows dialogues and exercises; changes nothing."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from corpus.dialogues import (
    MORE,
    Dialogue,
    Exercise,
    NoteFields,
    parse_dialogue,
    parse_exercise,
    parse_more,
    parse_note,
    read_objects,
)
from errors import CorpusError

T = TypeVar("T")

ANSWER_WORDS = (20, 75)  # asked for: 30 to 60; a joke is answered shorter, and counts of words differ by their rules
SENTENCE_WORDS = 24  # asked for: under 20
OPENING_USES = 3
NOTE_WORDS = {"idea": 27, "image": 27, "question": 17}  # asked for: 25, 25, 15
NEAR_QUESTION = 85  # rapidfuzz ratio, 0 to 100, of a pupil's message and an examination question
NEAR_EXERCISE = 88  # of a train and a test exercise


@dataclass(frozen=True)
class Report:
    """What was found: sentences that name file, line, key and reason, and counts of what was read."""

    faults: list[str]
    counts: dict[str, int]


def words(text: str) -> list[str]:
    """Cut at spaces; signs that stand alone, such as « ? », are no words."""
    return [word for word in text.split() if any(char.isalnum() for char in word)]


def opening_of(text: str) -> str:
    """Return the first three words, lower case, without signs."""
    return " ".join(re.findall(r"\w+", text.lower())[:3])


def plain(text: str) -> str:
    """Return what counts for likeness: lower case, accents folded, letters and digits alone."""
    folded = unicodedata.normalize("NFD", text.lower())
    return " ".join(re.findall(r"\w+", "".join(char for char in folded if not unicodedata.combining(char))))


def invites(text: str) -> bool:
    """Whether a text ends on a question, or on an imperative that hands over to the pupil."""
    end = text.rstrip(" »\"'")
    if end.endswith("?"):
        return True
    last = re.split(r"(?<=[.!?…])\s+", end)[-1]
    verbs = (
        r"dis|essaie|cherche|prends|donne|raconte|propose|choisis|écris|commence|regarde|observe|explique|cite|nomme|"
        r"trouve|formule|décris|montre|imagine|demande|pense|compare|reprends|envoie|parle|note|pose|reformule|apporte|"
        r"reviens|reste|viens|avance|tente|relis|pars|allons|cherchons|voyons|reprenons|commençons|parlons|partons|"
        r"revenons|prenons|continuons|essayons"
    )
    asked = re.search(rf"(?<!je )(?<!tu )(?<!il )(?<!elle )(?<!on )\b(?:{verbs})(?:-[a-z]+)*\b", last.lower())
    return asked is not None


def is_mojibake(text: str) -> bool:
    """Whether ftfy would repair more than the form of quotes."""
    import ftfy

    return bool(ftfy.fix_text(text, uncurl_quotes=False) != unicodedata.normalize("NFC", text))


def sentences(text: str) -> list[str]:
    """Cut after signs that end a sentence."""
    return [part for part in re.split(r"(?<=[.!?…])\s+", text.strip()) if part]


def read_all(paths: Iterable[Path], parse: Callable[[dict[str, Any], str], T], faults: list[str]) -> list[T]:
    """Read what can be read; each line that cannot be becomes a fault."""
    found: list[T] = []
    for path in paths:
        try:
            rows = list(read_objects(path))
        except CorpusError as error:
            faults.append(str(error))
            continue
        for where, row in rows:
            try:
                found.append(parse(row, where))
            except CorpusError as error:
                faults.append(str(error))
    return found


def check_notes(notes: Sequence[NoteFields]) -> Iterator[str]:
    """Yield the faults of notes: ids, lengths, mojibake."""
    for note_id, count in Counter(note.id for note in notes).items():
        if count > 1:
            yield f"note {note_id}: id: stands {count} times; rename."
    for note in notes:
        for key, most in NOTE_WORDS.items():
            text = getattr(note, key)
            if len(words(text)) > most:
                yield f"note {note.id}: {key}: {len(words(text))} words, at most {most}; shorten it."
            if is_mojibake(text):
                yield f"note {note.id}: {key}: mojibake; repair it."


def _answer_faults(answer: str, place: str, allowed: tuple[int, int]) -> Iterator[str]:
    low, high = allowed
    if not low <= len(words(answer)) <= high:
        yield f"{place}: answer: {len(words(answer))} words, expected {low} to {high}."
    for sentence in sentences(answer):
        if len(words(sentence)) > SENTENCE_WORDS:
            yield f"{place}: answer: a sentence of {len(words(sentence))} words, at most {SENTENCE_WORDS}."
    if not invites(answer):
        yield f"{place}: answer: ends on no question and no invitation: « …{answer[-40:]} »."


def check_dialogues(
    dialogues: Sequence[Dialogue],
    note_ids: set[str],
    *,
    answer_words: tuple[int, int] = ANSWER_WORDS,
    opening_uses: int | None = OPENING_USES,
) -> Iterator[str]:
    """Yield the faults of dialogues: ids, notes, lengths, ends, mojibake, openings used too often.

    Args:
        dialogues: What to check.
        note_ids: The notes that there are.
        answer_words: Fewest and most words of an answer.
        opening_uses: How many answers of a philosopher may open alike; None for a corpus too large to ask.
    """
    for dialogue_id, count in Counter(one.id for one in dialogues).items():
        if count > 1:
            yield f"dialogue {dialogue_id}: id: stands {count} times; rename."
    openings: dict[tuple[str, str], list[str]] = defaultdict(list)
    for dialogue in dialogues:
        for number, exchange in enumerate(dialogue.exchanges, 1):
            place = f"{dialogue.where}: exchange {number}"
            if exchange.note is not None and exchange.note not in note_ids:
                yield f"{place}: note: {exchange.note!r} is not in data/notes."
            yield from _answer_faults(exchange.answer, place, answer_words)
            for key in ("pupil", "answer"):
                text = getattr(exchange, key)
                if is_mojibake(text):
                    yield f"{place}: {key}: mojibake; repair it."
            openings[dialogue.philosopher, opening_of(exchange.answer)].append(place)
    for (philosopher, opening), places in openings.items():
        if opening_uses is not None and len(places) > opening_uses:
            uses = f"{len(places)} answers of {philosopher}, at most {opening_uses}"
            yield f"{places[-1]}: answer: « {opening} » opens {uses}; begin otherwise."


def propositions(exercise: Exercise) -> str:
    """Return the content of an exercise without the words that name its scheme and ask."""
    text = plain(exercise.user)
    return re.sub(
        r"\b(?:applique|complete|modus|ponens|tollens|syllogisme|que|peut|on|conclure|si|alors|or|donc)\b", "", text
    )


def check_exercises(exercises: Sequence[Exercise]) -> Iterator[str]:
    """Yield the faults of exercises: ids, mojibake, test items that training has nearly seen."""
    from rapidfuzz import fuzz, process

    for exercise_id, count in Counter(one.id for one in exercises).items():
        if count > 1:
            yield f"exercise {exercise_id}: id: stands {count} times; rename."
    for one in exercises:
        for key in ("user", "answer", "conclusion"):
            if is_mojibake(getattr(one, key)):
                yield f"{one.where}: {key}: mojibake; repair it."
    train = [one for one in exercises if one.split == "train"]
    contents = [propositions(one) for one in train]
    conclusions = {plain(one.conclusion): one for one in train}
    for test in (one for one in exercises if one.split == "test"):
        near = process.extractOne(
            propositions(test), contents, scorer=fuzz.token_sort_ratio, score_cutoff=NEAR_EXERCISE
        )
        if near is not None:
            trained = train[near[2]].id
            yield f"{test.where}: split: the test item is {near[1]:.0f} % like {trained}, which is trained on."
        if (same := conclusions.get(plain(test.conclusion))) is not None:
            yield f"{test.where}: conclusion: the test item concludes as {same.id} does, which is trained on."


def read_questions(path: Path) -> list[tuple[str, str]]:
    """Return `(id, question)` of the examination questions; none where there is no such file."""
    if not path.exists():
        return []
    return [(row["id"], row["question"]) for _, row in read_objects(path)]


def check_examination(dialogues: Sequence[Dialogue], questions: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield pupils' messages and openings that are nearly examination questions."""
    from rapidfuzz import fuzz, process

    texts = [plain(question) for _, question in questions]
    for dialogue in dialogues:
        said = [(f"exchange {n}: pupil", one.pupil) for n, one in enumerate(dialogue.exchanges, 1)]
        said += [("opening", dialogue.opening)] if dialogue.opening else []
        for key, text in said:
            near = process.extractOne(plain(text), texts, scorer=fuzz.ratio, score_cutoff=NEAR_QUESTION)
            if near is not None:
                question_id, question = questions[near[2]]
                yield f"{dialogue.where}: {key}: {near[1]:.0f} % like {question_id} « {question} »; ask something else."


def check_all(data: Path, exercises_name: str = "schemes_levelA_base.jsonl") -> Report:
    """Check everything under `data`.

    A folder of the instruction server holds cases in their place.

    Raises:
        CorpusError: `data` holds nothing to check.
    """
    from corpus.cases import check_cases, is_state  # it stands on this module

    if is_state(data):
        return check_cases(data)
    if not (data / "dialogues").is_dir():
        raise CorpusError(f"No folder {data / 'dialogues'}; pass the folder that holds dialogues/ and notes/.")
    faults: list[str] = []
    notes = read_all(sorted((data / "notes").glob("*.jsonl")), parse_note, faults)
    dialogues = read_all(sorted((data / "dialogues").glob("*.jsonl")), parse_dialogue, faults)
    exercises = read_all([data / exercises_name], parse_exercise, faults)
    more = read_all([path for path in (data / MORE,) if path.exists()], parse_more, faults)
    faults += check_notes(notes)
    faults += check_dialogues(dialogues, {note.id for note in notes})
    faults += check_exercises([*exercises, *more])
    faults += check_examination(dialogues, read_questions(data / "eval" / "questions.jsonl"))
    counts = {
        "notes": len(notes),
        "dialogues": len(dialogues),
        "exchanges": sum(len(one.exchanges) for one in dialogues),
        "exercises": len(exercises),
        "more": len(more),
    }
    return Report(faults, counts)
