"""Questions of the kind a bac paper asks, by philosopher and notion. Knows `questions.toml`; knows no conversation."""

from dataclasses import dataclass
from pathlib import Path
from random import Random

from errors import PersonaError
from personas.loader import PERSONAS, build, read

FILE = Path(__file__).parent / "questions.toml"

# The notions of the programme in its own words. Source: programme of 25 July 2019, BOEN spécial 8.
NOTIONS = (
    "art", "bonheur", "conscience", "devoir", "État", "inconscient", "justice", "langage", "liberté", "nature",
    "raison", "religion", "science", "technique", "temps", "travail", "vérité",
)  # fmt: skip


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        persona: Key of the philosopher who has most to say about it.
        notion: One of `NOTIONS`.
        text: The question, in French; `text_en` translates it.
    """

    persona: str
    notion: str
    text: str
    text_en: str

    def __post_init__(self) -> None:
        if self.persona not in PERSONAS:
            raise PersonaError(f"persona is {self.persona!r}; expected one of {', '.join(PERSONAS)}.")
        if self.notion not in NOTIONS:
            raise PersonaError(f"notion is {self.notion!r}; expected one of {', '.join(NOTIONS)}.")
        for sentence in (self.text, self.text_en):
            if not sentence.endswith("?"):
                raise PersonaError(f"{sentence!r} does not end with a question mark; end it with one.")


def load_questions(path: Path = FILE) -> tuple[Question, ...]:
    """Read the questions, in the order of the file.

    Raises:
        PersonaError: The file is missing or wrong, or a question stands twice; the message names the place.
    """
    questions: list[Question] = []
    for number, table in enumerate(read(path).get("question", []), 1):
        question = build(Question, table, f"{path.name}: question {number}")
        if question.text in {one.text for one in questions}:
            raise PersonaError(f"{path.name}: question {number}: {question.text!r} stands twice; drop one.")
        questions.append(question)
    return tuple(questions)


QUESTIONS = load_questions()


def questions_of(key: str) -> tuple[Question, ...]:
    """Return the questions of one philosopher, empty for a name that nobody has."""
    return tuple(question for question in QUESTIONS if question.persona == key)


def draw(key: str, *, but: str = "", chance: Random | None = None) -> Question:
    """Return one question of a philosopher at random.

    Args:
        key: Of the persona.
        but: A question that must not come, in French or English: the one that stands there now.
        chance: Where the draw comes from; a new one by default.

    Raises:
        PersonaError: This philosopher has no question.
    """
    left = [question for question in questions_of(key) if but not in (question.text, question.text_en)]
    if not left:
        raise PersonaError(f"{FILE.name} has no other question for {key!r}; write one.")
    return (chance or Random()).choice(left)  # noqa: S311 - nothing depends on its being secret


def find(text: str) -> Question | None:
    """Return the question with these words, in either language; None when it is not one of ours."""
    return next((question for question in QUESTIONS if text in (question.text, question.text_en)), None)
