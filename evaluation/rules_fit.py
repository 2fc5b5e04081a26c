"""The models of `dialogue.stance` and `dialogue.alarm`, fitted on labelled sentences and tried on folds of them.

Knows which files are for tuning, and how much a sentence of each counts; never reads a file whose name says "judge2".
"""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from dialogue import alarm, stance
from dialogue.french import plain
from dialogue.linear import Linear, dump_linear
from evaluation.labelled import Row, exchanges, load_rows, macro_f1, tuning
from evaluation.linear_fit import Example, Fit, fit
from evaluation.result import write_text

# How much a pupil's turn of our dialogues counts beside a sentence written for the purpose.
STANCE_FROM_DIALOGUES = 0.1
ALARM_FROM_DIALOGUES = 0.5

# Where a cue points before any sentence is seen, and how strongly. The facts that are not here start at nothing.
_POINTS: dict[stance.Stance, dict[float, str]] = {
    "confusion": {
        2.5: "not_understood lost only_marks",
        1.5: "link_missing unclear meaning_asked explain how_so dont_know many_marks begins_as_what",
        0.7: "or_question same_thing wait as_what asks asks_echo asks_short_echo how_possible where_asked",
    },
    "résistance": {
        2.5: "not_agreed",
        1.8: "your_opinion false exaggerated contradiction doubt i_dont_think but_begins",
        1.2: "i_do stop_it irony no_begins no_inside si_to_open and_those counter known_cases",
        0.6: "strong_yes but so_question your_claim it_is_not opinion exclaims says_you",
    },
    "accord": {
        2.8: "not_false agreed",
        1.8: "yes_begins right understood si_to_leading",
        1.2: "yes_inside",
        0.6: "example_mine",
    },
    "neutre": {
        1.3: "depends information learned and_for",
        0.8: "numbers my_life names_somebody asks_new asks_short_new",
        0.5: "plain_answer says_new answer_noun",
    },
}
PRIOR: dict[str, dict[str, float]] = {
    label: {name: weight for weight, names in groups.items() for name in names.split()}
    for label, groups in _POINTS.items()
}
STANCE_FIT = Fit(scales={"facts": 1.5, "words": 4.0, "pieces": 4.0}, prior=PRIOR, kept=6000)
ALARM_FIT = Fit(trust=1.0, scales={"facts": 0.5, "words": 5.0, "pieces": 5.0}, kept=6000)


def stance_examples(rows: Iterable[Row], weight: float = 1.0) -> list[Example]:
    """Return what the model of the stance learns from; jokes and digressions have none of the four and are left out."""
    return [
        Example(stance.seen(row["text"], row["previous"]), row["stance"], weight)
        for row in rows
        if row["stance"] in stance.STANCES
    ]


def alarm_examples(rows: Iterable[Row], weight: float = 1.0) -> list[Example]:
    """Return what the model of the alarm learns from; a row without a label is an ordinary message."""
    return [
        Example(alarm.seen(plain(row["text"])), row["kind"] if row.get("label") == "crisis" else "none", weight)
        for row in rows
    ]


def learned(data: Path, dialogues: Path) -> tuple[list[Example], list[Example]]:
    """Return what the stance and the alarm learn from.

    Args:
        data: Folder with eval/ and dialogue_rules/.
        dialogues: Folder of our dialogues.

    Raises:
        EngineError: A file cannot be read.
    """
    talks = exchanges(dialogues)
    stances = tuning(data, "stance")
    ordinary = [
        *stances,
        *talks,
        *({"text": row["question"]} for row in load_rows(data / "eval/pupil_questions.jsonl")),
    ]
    return (
        stance_examples(stances) + stance_examples(talks, STANCE_FROM_DIALOGUES),
        alarm_examples(tuning(data, "crisis")) + alarm_examples(ordinary, ALARM_FROM_DIALOGUES),
    )


def fit_both(data: Path, dialogues: Path, write: Callable[[Path, str], None] = write_text) -> dict[Path, Linear]:
    """Fit both models and write their files; return what was written.

    Raises:
        EngineError: A file of sentences cannot be read.
    """
    stances, alarms = learned(data, dialogues)
    made = {
        stance.WEIGHTS_FILE: fit(stances, stance.STANCES, STANCE_FIT),
        alarm.WEIGHTS_FILE: fit(alarms, alarm.VERDICTS, ALARM_FIT),
    }
    for path, model in made.items():
        write(path, dump_linear(model))
    return made


def across_folds(data: Path, dialogues: Path, folds: int) -> dict[str, Any]:
    """Return how both models do on sentences that they did not learn from, every part of the sentences in turn.

    Sentences about the same question stay in one part. It flatters the stance, whose cues were written on a quarter of
    these sentences; the rules of distress are not asked.

    Args:
        data: As in `learned`.
        dialogues: As in `learned`.
        folds: How many parts.

    Raises:
        EngineError: A file cannot be read.
    """
    stances, alarms = learned(data, dialogues)
    asked = [row["previous"] for row in tuning(data, "stance")]
    parts = {question: place % folds for place, question in enumerate(sorted(set(asked)))}
    pairs: list[tuple[str, str]] = []
    stopped: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for fold in range(folds):
        held = {place for place, question in enumerate(asked) if parts[question] == fold}
        model = fit([one for place, one in enumerate(stances) if place not in held], stance.STANCES, STANCE_FIT)
        pairs += [(stances[place].label, _best(model, stances[place])) for place in sorted(held)]
        model = fit([one for place, one in enumerate(alarms) if place % folds != fold], alarm.VERDICTS, ALARM_FIT)
        for one in alarms[fold::folds]:
            kind = "ordinary" if one.weight < 1 else "near-miss" if one.label == "none" else "distress"
            seen[kind] += 1
            stopped[kind] += alarm.odds(model.scores(one.seen))[1] > alarm.ODDS
    return {
        "stance_macro_f1": macro_f1(pairs, stance.STANCES)[0],
        "stopped_by_the_model": {kind: f"{stopped[kind]}/{seen[kind]}" for kind in sorted(seen)},
    }


def _best(model: Linear, one: Example) -> str:
    found = model.scores(one.seen)
    return max(found, key=lambda label: found[label])
