"""The linear models of the dialogue (stance, alarm, attempts), fitted on labelled sentences and tried on folds of them.

Knows which files are for tuning, and how much a sentence of each counts; never reads a file whose name says "judge".
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from dialogue import alarm, attempts, stance
from dialogue.french import plain
from dialogue.limits import is_written
from dialogue.linear import Linear, pack
from dialogue.safety import assess
from evaluation.labelled import Row, exchanges, load_rows, macro_f1, tuning, tuning_sets
from evaluation.linear_fit import Example, Fit, fit
from evaluation.result import write_bytes

# How much a pupil's turn of our dialogues counts beside a sentence written for the purpose.
STANCE_FROM_DIALOGUES = 0.1
# The replies written by contrast are ordinary messages to the alarm: a tenth of them got the card before it knew them.
CONTRASTS = "stance_contrast"
ALARM_FROM_CONTRASTS = 0.6
ITEMS = ("schemes_levelA_base.jsonl", "schemes_levelA_augmented.jsonl")
WANTED_RECALL = 0.95  # of personal distress
NEIGHBOURS = 10  # sentences

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
STANCE_FIT = Fit(trust=0.6, scales={"facts": 1.5, "words": 4.0, "pieces": 4.0}, prior=PRIOR, kept=12_000)
ATTEMPTS_FROM_OTHERS = 0.3
ATTEMPTS_FIT = Fit(trust=1.0, scales={"facts": 0.5, "words": 5.0, "pieces": 5.0}, kept=6000)
ALARM_FIT = Fit(trust=1.0, scales={"facts": 0.5, "words": 5.0, "pieces": 5.0}, least=3, kept=20_000)


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


def asked_in_items(data: Path, split: str) -> list[Row]:
    """Return what pupils ask first in the scheme dataset's items of a split."""
    items = [row for name in ITEMS if (data / name).is_file() for row in load_rows(data / name)]
    return [{"text": row["messages"][1]["content"]} for row in items if row["split"] == split]


def ordinary_rows(data: Path, dialogues: Path) -> list[Row]:
    """Return what pupils usually say, as the alarm learns it: about stances, in our dialogues, questions, exercises.

    The replies by contrast are not among it: they count otherwise.
    """
    questions = [{"text": row["question"]} for row in load_rows(data / "eval/pupil_questions.jsonl")]
    replies = [row for name, rows in tuning_sets(data, "stance").items() if name != CONTRASTS for row in rows]
    return [*replies, *exchanges(dialogues), *questions, *asked_in_items(data, "train")]


def ordinary_examples(data: Path, dialogues: Path) -> list[Example]:
    """Return `ordinary_rows` and the replies by contrast as examples for the alarm."""
    contrasts = [{"text": row["text"]} for row in tuning_sets(data, "stance").get(CONTRASTS, [])]
    usual = alarm_examples(ordinary_rows(data, dialogues))
    return usual + alarm_examples(contrasts, ALARM_FROM_CONTRASTS)


def attempt_examples(data: Path, dialogues: Path) -> list[Example]:
    """Return what the model of the attempts learns from: attempts, what resembles them, and what pupils usually say."""
    rows = [row for row in tuning(data, "attacks") if row["kind"] in attempts.VERDICTS]
    others = [*tuning(data, "stance"), *tuning(data, "crisis"), *exchanges(dialogues)]
    usual = [row for row in others if not is_written(row["text"])]  # our dialogues hold insults and essays on purpose
    return [Example(attempts.seen(plain(row["text"])), row["kind"]) for row in rows] + [
        Example(attempts.seen(plain(row["text"])), "none", ATTEMPTS_FROM_OTHERS) for row in usual
    ]


def learned(data: Path, dialogues: Path) -> tuple[list[Example], list[Example]]:
    """Return what the stance and the alarm learn from.

    Args:
        data: Folder with eval/ and dialogue_rules/.
        dialogues: Folder of our dialogues.

    Raises:
        EngineError: A file cannot be read.
    """
    talks, stances = exchanges(dialogues), tuning(data, "stance")
    return (
        stance_examples(stances) + stance_examples(talks, STANCE_FROM_DIALOGUES),
        alarm_examples(tuning(data, "crisis")) + ordinary_examples(data, dialogues),
    )


def fit_all(data: Path, dialogues: Path, write: Callable[[Path, bytes], None] = write_bytes) -> dict[Path, Linear]:
    """Fit the models and write their files; return what was written.

    Raises:
        EngineError: A file of sentences cannot be read.
    """
    stances, alarms = learned(data, dialogues)
    made = {
        stance.WEIGHTS_FILE: fit(stances, stance.STANCES, STANCE_FIT),
        alarm.WEIGHTS_FILE: fit(alarms, alarm.VERDICTS, ALARM_FIT),
        attempts.WEIGHTS_FILE: fit(attempt_examples(data, dialogues), attempts.VERDICTS, ATTEMPTS_FIT),
    }
    for path, model in made.items():
        write(path, pack(model))
    return made


def across_folds(data: Path, dialogues: Path, folds: int) -> dict[str, Any]:
    """Return how both models do on sentences that they did not learn from, every part of the sentences in turn.

    Sentences about the same question stay in one part, and so do neighbours in a file. It flatters the stance, whose
    cues were written on a quarter of these sentences; the rules of distress are not asked.

    Args:
        data: As in `learned`.
        dialogues: As in `learned`.
        folds: How many parts.

    Raises:
        EngineError: A file cannot be read.
    """
    stances, alarms = learned(data, dialogues)
    written = len(tuning(data, "crisis"))  # for the alarm; what follows is what pupils usually say
    asked = [row["previous"] for row in tuning(data, "stance")]
    parts = {question: place % folds for place, question in enumerate(sorted(set(asked)))}
    told = _parts(len(alarms), folds)
    pairs: list[tuple[str, str]] = []
    stopped: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for fold in range(folds):
        held = {place for place, question in enumerate(asked) if parts[question] == fold}
        model = fit([one for place, one in enumerate(stances) if place not in held], stance.STANCES, STANCE_FIT)
        pairs += [(stances[place].label, _best(model, stances[place])) for place in sorted(held)]
        rest = [one for one, part in zip(alarms, told, strict=True) if part != fold]
        model = fit(rest, alarm.VERDICTS, ALARM_FIT)
        for place, one in enumerate(alarms):
            if told[place] != fold:
                continue
            kind = "ordinary" if place >= written else "near-miss" if one.label == "none" else "distress"
            seen[kind] += 1
            stopped[kind] += alarm.odds(model.scores(one.seen))[1] >= alarm.ODDS
    return {
        "stance_macro_f1": macro_f1(pairs, stance.STANCES)[0],
        "stopped_by_the_model": {kind: f"{stopped[kind]}/{seen[kind]}" for kind in sorted(seen)},
    }


def _parts(count: int, folds: int) -> list[int]:
    """Return the part of each sentence: neighbours in a file resemble one another, so that they stay in one."""
    return [place // NEIGHBOURS % folds for place in range(count)]


def threshold(odds: Sequence[float], recall: float) -> float:
    """Return the odds from which at least this share of the dangers, whose odds these are, is found: two decimals.

    >>> threshold([2.0, -1.234, 0.5, -3.0], 0.75)
    -1.24
    """
    found = sorted(odds, reverse=True)[math.ceil(recall * len(odds)) - 1]
    return math.floor(found * 100) / 100


def chosen_odds(examples: Sequence[Example], folds: int, recall: float = WANTED_RECALL) -> float:
    """Return the odds from which a card answers: chosen on examples that the model did not learn from, by parts."""
    found: list[float] = []
    parts = _parts(len(examples), folds)
    for fold in range(folds):
        rest = [one for one, part in zip(examples, parts, strict=True) if part != fold]
        model = fit(rest, alarm.VERDICTS, ALARM_FIT)
        held = (one for one, part in zip(examples, parts, strict=True) if part == fold and one.label != "none")
        found += [alarm.odds(model.scores(one.seen))[1] for one in held]
    return threshold(found, recall)


def across_sets(data: Path, dialogues: Path, folds: int, recall: float = WANTED_RECALL) -> dict[str, Any]:
    """Return how the alarm does on each set of sentences, a file written at a time of its own, learned from the others.

    Nested: the odds from which a card answers are chosen on parts of the other sets, so that the model alone finds
    `recall` of their dangers; what these odds find and cost is counted on the set that was left out. The rules are
    asked too, as in use; on the sets that were at hand when they were written that flatters them.

    Args:
        data: As in `learned`.
        dialogues: As in `learned`.
        folds: How many parts the odds are chosen on.
        recall: What is wanted.

    Raises:
        EngineError: A file cannot be read.
    """
    sets = tuning_sets(data, "crisis")
    ordinary = ordinary_examples(data, dialogues)
    told = {name: alarm_examples(rows) for name, rows in sets.items()}
    done: dict[str, Any] = {}
    for place, (name, rows) in enumerate(sets.items()):
        kept = [one for at, one in enumerate(ordinary) if at % len(sets) != place]
        others = [one for other, examples in told.items() if other != name for one in examples] + kept
        odds = chosen_odds(others, folds, recall)
        model = fit(others, alarm.VERDICTS, ALARM_FIT)
        done[name] = {
            "odds": odds,
            **_stopped(model, odds, rows),
            "ordinary": _cards(model, odds, ordinary[place :: len(sets)]),
        }
    return done


def _stops(model: Linear, odds: float, one: Example) -> bool:
    return alarm.odds(model.scores(one.seen))[1] >= odds


def _cards(model: Linear, odds: float, examples: Sequence[Example]) -> str:
    return f"{sum(_stops(model, odds, one) for one in examples)}/{len(examples)}"


def _stopped(model: Linear, odds: float, rows: Sequence[Row]) -> dict[str, str]:
    """Return how many of the dangers and of the near-misses are stopped, by the model alone and with the rules."""
    found: dict[str, str] = {}
    for label in ("crisis", "none"):
        here = [row for row in rows if row["label"] == label]
        by_model = [_stops(model, odds, one) for one in alarm_examples(here)]
        by_both = [hit or _by_rules(row["text"]) for hit, row in zip(by_model, here, strict=True)]
        found[f"{label}, the model alone"] = f"{sum(by_model)}/{len(here)}"
        found[f"{label}, with the rules"] = f"{sum(by_both)}/{len(here)}"
    return found


def _by_rules(text: str) -> bool:
    found = assess(text)
    return found.stops and found.rule != "model"


def _best(model: Linear, one: Example) -> str:
    found = model.scores(one.seen)
    return max(found, key=lambda label: found[label])
