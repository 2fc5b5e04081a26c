"""Exercises in any number for a small model: every content of the bank under many surfaces. Seeded; writes no file.

A model of a hundred million parameters learns a form by meeting it often. What the dataset's test items say is kept
out: neither their contents, nor those of what was made of them, nor a text that is nearly one of theirs.
"""

from collections.abc import Mapping, Sequence

from corpus.dialogues import Exercise, parse_exercise
from corpus.schemes.augment import NEAR_ITEM, Row, Turning, draw, item, text_of
from corpus.schemes.bank import Entry
from corpus.schemes.surfaces import Surfaces

FORMS = ("exercise", "refusal", "exercise", "exercise", "refusal", "exercise")  # of one content, in turn


def drill(
    rows: Sequence[Row],
    bank: Mapping[str, Sequence[Entry]],
    said: Surfaces,
    negations: Mapping[str, str],
    *,
    per_content: int = len(FORMS),
    seed: int = 0,
) -> list[Exercise]:
    """Return exercises and refusals on the bank's contents that no test item is made of.

    Args:
        rows: The dataset, base and augmented items: a content belongs to the items made of it.
        bank: Contents by scheme.
        said: Surfaces.
        negations: How a sentence is denied.
        per_content: At most so many for each; those that say nearly what a test item says are left out.
        seed: Of the surfaces.
    """
    from rapidfuzz import fuzz, process

    turning = Turning(seed)
    owners = {row["bank"]: row for row in rows if row.get("bank")}
    tests = [text_of(row) for row in rows if row["split"] == "test"]
    made: list[Exercise] = []
    seen: set[str] = set()
    for entry in (one for scheme in bank for one in bank[scheme]):
        owner = owners.get(entry.id)
        if owner is None or owner["split"] != "train":
            continue
        for number in range(per_content):
            draft = draw(FORMS[number % len(FORMS)], owner, entry, said, negations, turning)
            one = item(owner, number + 1, entry, draft, []) | {"id": f"drill-{entry.id}-{number + 1}"}
            text = text_of(one)
            if text in seen or process.extractOne(text, tests, scorer=fuzz.ratio, score_cutoff=NEAR_ITEM):
                continue
            seen.add(text)
            made.append(parse_exercise(one, one["id"]))
    return made
