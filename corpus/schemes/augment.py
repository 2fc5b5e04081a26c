"""Three more items for each base item: the same scheme with another content, another voice, another form. Seeded.

Each base item owns one entry of the bank, so that no content crosses from training to test and no pair of
propositions comes back more than three times. An item that is nearly one that stands already is said otherwise.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from corpus.check import plain, sentences, words
from corpus.dialogues import PROPOSITIONAL, parse_exercise, read_objects
from corpus.schemes.bank import Entry, load_bank, load_negations
from corpus.schemes.drafts import Draft, dialogue, exercise, refusal, restated
from corpus.schemes.surfaces import PROBABLE, Surfaces, load_surfaces
from errors import CorpusError

MOST_WORDS = 20  # of a sentence, as in the base file
NEAR_ITEM = 88  # rapidfuzz ratio, 0 to 100, of two items' whole texts: above it, one is a copy of the other
ELSEWHERE = frozenset({"DS", "CA", "AN", "IN"})  # schemes whose refusals bring a case of their own
PER_BASE = 3
DRAWS = 24  # of a form, before another one is tried: every surface comes at least once
ASKING_SHARE = 0.6  # of the exercises and refusals that end on a question, as in the base file

Row = dict[str, Any]


class Turning:
    """Choices in turn, in a drawn order, so that each is taken as often as the others."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)  # noqa: S311  a choice, not a secret
        self._left: dict[str, list[int]] = defaultdict(list)

    def pick(self, name: str, many: Sequence[Any]) -> Any:
        """Return the next of `many`; `name` says which turn this is."""
        if not self._left[name]:
            self._left[name] = list(range(len(many)))
            self._chance.shuffle(self._left[name])
        return many[self._left[name].pop()]

    def sometimes(self, share: float) -> bool:
        """Whether something that happens in `share` of all cases happens now."""
        return self._chance.random() < share

    def shuffled(self, many: Sequence[Any]) -> list[Any]:
        """Return `many` in a drawn order."""
        return self._chance.sample(many, len(many))


def text_of(row: Mapping[str, Any]) -> str:
    """Return what counts for likeness: what the pupil says and what is answered."""
    return plain(f"{row['messages'][1]['content']} {row['messages'][2]['content']}")


def longest_sentence(row: Mapping[str, Any]) -> int:
    """Return the words of the longest sentence of an item."""
    return max(len(words(part)) for message in row["messages"][1:] for part in sentences(message["content"]))


def assign(base: Sequence[Row], bank: Mapping[str, Sequence[Entry]], turning: Turning) -> dict[str, Entry]:
    """Give each base item an entry of its own, of its scheme and philosopher.

    Raises:
        CorpusError: There are fewer entries than base items.
    """
    owned: dict[str, Entry] = {}
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in base:
        groups[row["scheme"], row["philosopher"]].append(row["id"])
    for (scheme, philosopher), ids in groups.items():
        entries = [entry for entry in bank[scheme] if entry.philosopher == philosopher]
        if len(entries) < len(ids):
            raise CorpusError(
                f"{scheme.lower()}.toml: {len(entries)} entries of {philosopher}, {len(ids)} base items; write more."
            )
        owned |= dict(zip(ids, turning.shuffled(entries), strict=False))
    return owned


def plan(row: Row, number: int) -> tuple[str, str, str]:
    """Return what is made of a base item: forms of new content, or "restated".

    Args:
        row: The base item.
        number: Its place among those of its scheme and form; even and odd ones differ in the third item.
    """
    premises = row.get("logic", {}).get("premises", [])
    # Only exercises name their premises one by one, and one premise alone has no other order.
    sayable = row["scheme"] in PROPOSITIONAL and row["id"].startswith("ex-") and len(premises) > 1
    if row["form"] == "refusal":
        return "refusal", "restated" if sayable else "dialogue", "exercise"
    if row["form"] == "dialogue":
        return "dialogue", "exercise", ("refusal", "exercise")[number % 2]
    if sayable:
        return "exercise", "restated", ("refusal", "dialogue")[number % 2]
    return "exercise", "dialogue", ("refusal", "exercise")[number % 2]


def draw(what: str, row: Row, entry: Entry, said: Surfaces, negations: Mapping[str, str], turning: Turning) -> Draft:
    """Return one item, its surface taken in turn."""
    scheme = row["scheme"]
    kind = "probable" if scheme in PROBABLE else "conditional" if scheme == "SH" else "strict"
    asks = turning.sometimes(ASKING_SHARE)
    if what == "restated":
        way = turning.pick(f"restated-{row['form']}", said.restated[row["form"]])
        return restated(row, negations, way, said.names[scheme], turning.pick(kind, said.answers[kind]))
    own = said.schemes[scheme]
    if what == "dialogue":
        return dialogue(entry, turning.pick(f"{scheme}-dialogue", own.dialogue), turning.pick("case", said.openers))
    if what == "exercise":
        surface = turning.pick(f"{scheme}-exercise", own.exercise)
        return exercise(entry, surface, turning.pick(kind, said.answers[kind]), asks=asks)
    return refusal(
        entry,
        turning.pick(f"{scheme}-refusal", own.refusal),
        own,
        turning.pick("refusal", said.answers["refusal"]),
        turning.pick(f"{scheme}-reasons", own.reasons),
        turning.pick(f"{scheme}-fallacies", own.fallacies),
        turning.pick(f"{scheme}-questions", own.questions or (entry.ask,)) if asks else "",
    )


def transforms(row: Row, draft: Draft, what: str) -> list[str]:
    """Name what was changed: surface, content, register, negation, hard_negative, form."""
    named = ["surface"] if what == "restated" else ["content"]
    if draft.register != row["register"]:
        named.append("register")
    if draft.negated:
        named.append("negation")
    if draft.form == "refusal" and row["form"] != "refusal":
        named.append("hard_negative")
    elif draft.form != row["form"]:
        named.append("form")
    return named


def item(row: Row, number: int, entry: Entry | None, draft: Draft, named: list[str]) -> Row:
    """Return the line of the augmented file: the base item's metadata where the content is the base's."""
    harder = bool({"negation", "hard_negative"} & set(named))
    # A refusal of these speaks of two robots or three cheats, not of what the doctrine says there.
    locus = None if draft.form == "refusal" and row["scheme"] in ELSEWHERE else entry.locus if entry else row["locus"]
    made: Row = {
        "id": f"aug-{row['id']}-{number}",
        "base": row["id"],
        "bank": entry.id if entry else None,
        "transforms": named,
        "philosopher": row["philosopher"],
        "scheme": row["scheme"],
        "notion": entry.notion if entry else row["notion"],
        "register": draft.register,
        "difficulty": min(3, row["difficulty"] + harder),
        "form": draft.form,
        "conclusion": draft.conclusion,
        "split": row["split"],
        "locus": locus,
        "propositions": list(draft.propositions),
    }
    if draft.logic is not None:
        made["logic"] = draft.logic
    made["messages"] = [
        {"role": "system", "content": ""},
        {"role": "user", "content": draft.user},
        {"role": "assistant", "content": draft.answer},
    ]
    return made


def unlike(
    what: str,
    row: Row,
    number: int,
    entry: Entry,
    standing: Sequence[str],
    said: Surfaces,
    negations: Mapping[str, str],
    turning: Turning,
) -> Row:
    """Return an item of short sentences that is near to none that stands; if need be, in another form.

    Raises:
        CorpusError: There is none.
    """
    from rapidfuzz import fuzz, process

    for kind in (what, "exercise", "refusal", "dialogue"):
        for _ in range(DRAWS):
            draft = draw(kind, row, entry, said, negations, turning)
            one = item(row, number, None if kind == "restated" else entry, draft, transforms(row, draft, kind))
            near = process.extractOne(text_of(one), standing, scorer=fuzz.ratio, score_cutoff=NEAR_ITEM)
            if near is None and longest_sentence(one) <= MOST_WORDS:
                return one
    raise CorpusError(f"{row['id']}: no short item unlike the others; add surfaces to surfaces.toml.")


def augment(
    base: Sequence[Row],
    bank: Mapping[str, Sequence[Entry]],
    said: Surfaces,
    negations: Mapping[str, str],
    *,
    seed: int = 0,
) -> list[Row]:
    """Return `PER_BASE` new items for each base item, in the order of the base.

    Raises:
        CorpusError: The bank is too small, a negation is missing, or an item cannot be said unlike the others.
    """
    turning = Turning(seed)
    owned = assign(base, bank, turning)
    standing = [text_of(row) for row in base]
    places: Counter[tuple[str, str]] = Counter()
    made: list[Row] = []
    for row in base:
        number = places[row["scheme"], row["form"]]
        places[row["scheme"], row["form"]] += 1
        for count, what in enumerate(plan(row, number), 1):
            one = unlike(what, row, count, owned[row["id"]], standing, said, negations, turning)
            standing.append(text_of(one))
            made.append(one)
    return made


def augment_file(base: Path, *, seed: int = 0) -> list[Row]:
    """Read the base file, check its lines, and return the augmented items.

    Raises:
        CorpusError: A line of the base, of the bank or of the surfaces is wrong.
    """
    rows = []
    for where, row in read_objects(base):
        parse_exercise(row, where)
        rows.append(row)
    return augment(rows, load_bank(), load_surfaces(), load_negations(), seed=seed)
