"""Targets of dialogues by a scheme, their rules, and the form of their texts.

Knows the bank of contents, and the dataset: what test items are about is not handed out.
"""

import random
import re
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from corpus.check import ANSWER_WORDS, SENTENCE_WORDS, invites, is_mojibake, sentences, words
from corpus.dialogues import read_objects
from corpus.logic import follows, letters_of
from corpus.schemes.bank import Entry, load_bank
from corpus.schemes.check import AUGMENTED
from corpus.schemes.drafts import Draft, refusal
from corpus.schemes.drafts import dialogue as drafted_dialogue
from corpus.schemes.drill import trained
from corpus.schemes.surfaces import load_surfaces
from corpus.server.quotas import Cell
from corpus.server.targets import Finding, Target
from corpus.server.texts import Fact
from personas import get_persona, get_scheme

DATASET = Path(__file__).parents[3] / "data" / AUGMENTED
_SPOKEN = re.compile(
    r"\A\s*[ÉE]l[èe]ve\s*:\s*(?P<pupil>\S.*?)\s*\n\s*Philosophe\s*:\s*(?P<answer>\S.*?)\s*\Z", re.DOTALL
)


@cache
def _bank() -> Mapping[str, list[Entry]]:
    """Return the contents by scheme that training may see: what is written of them is trained on."""
    found: dict[str, list[Entry]] = defaultdict(list)
    for _, entry in trained([row for _, row in read_objects(DATASET)], load_bank()):
        found[entry.scheme].append(entry)
    return found


def _draft(entry: Entry, form: str) -> Draft:
    own = load_surfaces().schemes[entry.scheme]
    if form == "dialogue":
        return drafted_dialogue(entry, own.dialogue[0], "")
    return refusal(entry, own.refusal[0], own, "{que_c}", own.reasons[0], own.fallacies[0], "")


def generate(cell: Cell, chance: random.Random) -> Target:
    """Return a target: a content of the bank for this scheme and philosopher, and how the pupil speaks."""
    scheme = get_scheme(cell["scheme"])
    entry = chance.choice([one for one in _bank()[scheme.id] if one.philosopher == cell["philosopher"]])
    draft = _draft(entry, cell["form"])
    texts = {"P": draft.propositions[0], "Q": draft.propositions[1]}
    target: Target = {
        "philosopher": cell["philosopher"],
        "scheme": {"id": scheme.id, "name": scheme.name, "pattern": scheme.form},
        "form": cell["form"],
        "notion": entry.notion,
        "locus": entry.locus,
        "pupil": {name: cell[name] for name in ("stance", "voice", "noise", "length")},
    }
    if draft.logic is not None:
        texts = {letter: draft.logic[letter] for letter in "PQRS" if letter in draft.logic}
        target["logic"] = {key: draft.logic[key] for key in ("premises", "conclusion", "valid")}
    target["propositions"] = [{"letter": letter, "text": text} for letter, text in texts.items()]
    if cell["form"] == "refusal":
        target["fallacy"] = scheme.fallacy
    target["conclusion"] = draft.conclusion
    return target


def rule_findings(target: Mapping[str, Any]) -> list[Finding]:
    """Return every integrity rule that a target breaks: S01 to S06."""
    found = []
    scheme, logic = get_scheme(target["scheme"]["id"]), target.get("logic")
    said = [one["letter"] for one in target["propositions"]]
    if len(set(said)) != len(said):
        found.append(Finding("S01", "$.propositions", "a letter stands twice; name each proposition once."))
    if len({one["text"] for one in target["propositions"]}) != len(said):
        found.append(Finding("S02", "$.propositions", "two propositions are the same text; write others."))
    if logic is not None:
        used = letters_of([*logic["premises"], logic["conclusion"]])
        if set(used) != set(said):
            found.append(Finding("S03", "$.logic", f"letters {used} are used, {''.join(said)} are said; say each."))
        try:
            if follows(logic["premises"], logic["conclusion"]) is not logic["valid"]:
                found.append(Finding("S04", "$.logic.valid", "the truth table says otherwise; correct it."))
        except ValueError as error:
            found.append(Finding("S04", "$.logic", f"no formula: {error}."))
        if logic["valid"] is (target["form"] == "refusal"):
            found.append(Finding("S05", "$.logic.valid", "a refusal does not follow, a dialogue does."))
    if (target["scheme"]["name"], target["scheme"]["pattern"]) != (scheme.name, scheme.form):
        found.append(Finding("S06", "$.scheme", f"name and pattern are not those of {scheme.id}."))
    return found


def facts(target: Mapping[str, Any]) -> list[Fact]:
    """Return the conclusion, whose words the answer must say."""
    return [Fact("$.conclusion", "words", target["conclusion"])]


def _parts(text: str) -> tuple[str, str] | None:
    found = _SPOKEN.match(text)
    return (found["pupil"], found["answer"]) if found else None


def text_findings(target: Mapping[str, Any], text: str) -> list[Finding]:
    """Return what is wrong with the form of an exchange; the target changes nothing of it."""
    parts = _parts(text)
    if parts is None or any("\n" in one for one in parts):  # a second exchange would be taken for the answer
        return [Finding("form", "$", "write two lines alone: « Élève : … » and « Philosophe : … ».")]
    pupil, answer = parts
    found = []
    if not invites(answer):
        found.append(Finding("no_question", "$", "the answer ends on no question."))
    if len(words(answer)) > ANSWER_WORDS[1]:
        found.append(Finding("long_answer", "$", f"at most {ANSWER_WORDS[1]} words in the answer."))
    if is_mojibake(text):
        found.append(Finding("mojibake", "$", "letters are broken; send the text in UTF-8."))
    longest = max(len(words(one)) for one in sentences(answer))
    if longest > SENTENCE_WORDS:
        found.append(Finding("long_sentence", "$", f"a sentence of {longest} words, at most {SENTENCE_WORDS}."))
    if target["pupil"]["length"] == "short" and len(sentences(pupil)) > 2:
        found.append(Finding("length", "$", "the pupil says more than a sentence or two."))
    return found


def messages(target: Mapping[str, Any], text: str) -> list[dict[str, str]]:
    """Return the exchange as the page would have it, with the persona's short prompt.

    Raises:
        ValueError: The text has not two lines; `text_findings` refuses it before.
    """
    parts = _parts(text)
    if parts is None:
        raise ValueError("the text is no exchange")
    return [
        {"role": "system", "content": get_persona(target["philosopher"]).short_prompt},
        {"role": "user", "content": parts[0]},
        {"role": "assistant", "content": parts[1]},
    ]


def notes(_target: Mapping[str, Any], _toon: str) -> dict[str, str]:
    """Return nothing: the levels of this domain are told by the target itself."""
    return {}


def alignment(target: Mapping[str, Any], cell: Mapping[str, str]) -> list[str]:
    """Return which levels of a cell its target does not have; nothing where it has them all."""
    had = {"philosopher": target["philosopher"], "scheme": target["scheme"]["id"], "form": target["form"],
           **target["pupil"]}  # fmt: skip
    return [f"{name} is {had.get(name)}, expected {level}" for name, level in cell.items() if had.get(name) != level]


def dialogue(name: str, target: Mapping[str, Any], text: str) -> dict[str, Any] | None:
    """Return an exchange as a line of data/dialogues.

    Raises:
        ValueError: The text has not two lines; `text_findings` refuses it before.
    """
    parts = _parts(text)
    if parts is None:
        raise ValueError("the text is no exchange")
    exchange = {"pupil": parts[0], "stance": target["pupil"]["stance"], "note": None, "answer": parts[1]}
    scheme = target["scheme"]["id"]
    return {"id": name, "philosopher": target["philosopher"], "notion": target["notion"], "opening": None,
            "exchanges": [{**exchange, "scheme": scheme}]}  # fmt: skip
