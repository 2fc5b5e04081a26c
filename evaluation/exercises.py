"""Scheme exercises put to an engine: how many conclusions are right. Knows engines and prompts; the verdict is pure."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dialogue.conversation import Conversation, Turn
from dialogue.inference import infer
from dialogue.prompt import build_messages, prefix_for
from engines.base import Engine, SamplingParams
from errors import EngineError
from evaluation.asking import ask
from evaluation.premises import agrees
from evaluation.runs import rows_of
from evaluation.schemes import judge
from personas import get_persona

GREEDY = SamplingParams(temperature=0, repeat_penalty=1.0, max_tokens=96)


@dataclass(frozen=True)
class Exercise:
    """One exercise: who is asked, what, and the bare conclusion that is due. `form` is "exercise" or "refusal"."""

    id: str
    philosopher: str
    scheme: str
    form: str
    question: str
    conclusion: str


def load_exercises(path: Path, split: str = "test") -> list[Exercise]:
    """Read the exercises of one split; a dialogue has no one conclusion to be right about, and is left out.

    Raises:
        EngineError: The file cannot be read, a line is wrong, or the split is empty.
    """
    found: list[Exercise] = []
    for number, row in rows_of(path):
        if isinstance(row, str):
            raise EngineError(f"{path.name}:{number}: no exercise ({row}).")
        try:
            if row["split"] == split and row["form"] != "dialogue":
                asked = next(one["content"] for one in row["messages"] if one["role"] == "user")
                found.append(
                    Exercise(row["id"], row["philosopher"], row["scheme"], row["form"], asked, row["conclusion"])
                )
        except (KeyError, TypeError, StopIteration) as error:
            raise EngineError(f"{path.name}:{number}: no exercise ({type(error).__name__}: {error}).") from None
    if not found:
        raise EngineError(f"{path.name} has no exercise whose split is {split!r}.")
    return found


def share(verdicts: Sequence[bool]) -> dict[str, Any]:
    """Return count, number right and share."""
    return {"n": len(verdicts), "right": sum(verdicts), "share": round(sum(verdicts) / len(verdicts), 4)}


def tally(exercises: Sequence[Exercise], verdicts: Sequence[bool]) -> dict[str, Any]:
    """Return shares: over all, by scheme, by form; and that of an engine that repeats the question, as a floor."""
    by_scheme, by_form = defaultdict(list), defaultdict(list)
    for exercise, right in zip(exercises, verdicts, strict=True):
        by_scheme[exercise.scheme].append(right)
        by_form[exercise.form].append(right)
    return {
        **share(verdicts),
        "by_scheme": {key: share(found) for key, found in sorted(by_scheme.items())},
        "by_form": {key: share(found) for key, found in sorted(by_form.items())},
        "if_the_question_were_repeated": share([judge(one.question, one.conclusion).right for one in exercises]),
    }


async def run_exercises(
    engine: Engine, exercises: Sequence[Exercise], on_done: Callable[[int], None] = lambda _: None
) -> dict[str, Any]:
    """Ask each exercise greedily, as the page would without a note.

    What rules read in the premises (`dialogue.inference`) they say in place of a small model, and tell a large one. A
    small model is asked all the same, so that its own conclusions are counted too.

    Returns:
        The tally; that of the rules' answers and of the model's ("by"); that of a small model without rules ("alone");
        and one sample per exercise with answer, verdict and times.

    Raises:
        EngineError: The engine refused or stopped.
    """
    prefix = prefix_for(engine.info.n_params)
    samples: list[dict[str, Any]] = []
    for number, exercise in enumerate(exercises, 1):
        found = infer(exercise.question)
        conversation = Conversation(get_persona(exercise.philosopher), (Turn("user", exercise.question),))
        lines = (found.line,) if found and prefix == "full" else ()
        answer = await ask(engine, build_messages(conversation, (), lines, prefix=prefix), GREEDY)
        verdict = judge(answer.text, exercise.conclusion, exercise.question)
        sample = {
            **{key: value for key, value in asdict(exercise).items() if key != "question"},  # it stands in the data
            "by": "model",
            "answer": answer.text,
            **asdict(verdict),
            "tokens": answer.tokens,
            "total_s": round(answer.total_s, 3),
        }
        if found and prefix == "short":  # their words are the rules' own: the outcome is compared
            said = {"by": "rules", "said_by_rules": found.spoken, "right": agrees(found, exercise.conclusion)}
            sample |= said | {"right_alone": verdict.right}
        samples.append(sample)
        on_done(number)
    by = {who: [bool(one["right"]) for one in samples if one["by"] == who] for who in ("rules", "model")}
    alone = [bool(one.get("right_alone", one["right"])) for one in samples]
    counted = {"by": {who: share(found) for who, found in by.items() if found}, "alone": share(alone)}
    return {**counted, **tally(exercises, [sample["right"] for sample in samples]), "samples": samples}
