"""One augmented item, from a content and a surface, or from a base exercise said again. Pure: draws nothing.

The logic of an item is built from the same slots as its text, so that the truth table speaks of what is written.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from corpus.check import plain
from corpus.dialogues import REFUSED
from corpus.logic import LETTERS
from corpus.schemes.bank import Entry
from corpus.schemes.french import Slots, capital, plain_start, que, si
from corpus.schemes.surfaces import CONCLUDES, INVALID, PROBABLE, VALID, Restating, SchemeSurfaces, Surface
from errors import CorpusError

_NEGATES = re.compile(r"\bfau(?:x|sse)\b|\bnul ne\b|\btort de\b", re.IGNORECASE)
# Somebody or something particular: « Hugo », « ce port », « les deux amis »; not « la joie », « on », « Dieu ».
_PARTICULAR = re.compile(r"(?:ce|cet|cette|ces|les deux|deux) (\w+)|([A-ZÉ]\w+)|.* ([A-ZÉ]\w+)")
_GENERAL = ("Dieu", "Achille", "État", "Nature", "Lumières", "Prague")
_CASE_FIRST = ("MP", "MT", "SH", "SD", "DI")  # their answers begin with the case; of the others, only these
_RULE_FIRST = ("ID", "CA")  # have one, which comes after a rule
# « Donc sous ce rapport, … »: a complement before its subject wants a comma in front too.
_ASIDE = re.compile(r"\b(donc|alors|ou) (?=(?:à|abattu|dans|devant|pendant|sous)\b[^,.:;]{0,40}, )", re.IGNORECASE)
# The two texts that make an item the item it is; a pair may not come back too often.
_PAIRS: dict[str, tuple[str, str]] = {
    "ID": ("rule", "fact"), "OP": ("all", "case"), "DS": ("thesis", "of_sense"), "CA": ("fact", "concl"),
    "AN": ("fact", "concl"), "IN": ("cases", "concl"),
}  # fmt: skip
_REFUSED_PAIRS: dict[str, tuple[str, str]] = {
    "ID": ("double", "how"), "OP": ("all", "none"), "DS": ("two_words", "verbal"), "CA": ("together", "coincidence"),
    "AN": ("likeness", "likeness_concl"), "IN": ("few", "hasty"),
}  # fmt: skip


@dataclass(frozen=True)
class Draft:
    """What one item says.

    Attributes:
        form: "exercise", "dialogue" or "refusal".
        register: Of the pupil's words.
        user: What the pupil says.
        answer: The right answer.
        conclusion: The bare conclusion, a sentence.
        logic: Letters, premises, conclusion and validity, for the schemes that have truth tables.
        propositions: The two texts that it is about.
        negated: Whether a surface says a negation in other words.
    """

    form: str
    register: str
    user: str
    answer: str
    conclusion: str
    logic: dict[str, Any] | None
    propositions: tuple[str, str]
    negated: bool = False


def _sentence(clause: str) -> str:
    return capital(clause) + "."


def _set_off(text: str) -> str:
    return _ASIDE.sub(r"\1, ", text)


def slots_of(entry: Entry) -> Slots:
    """Return the texts of an entry, with those that follow from them."""
    slots = Slots(entry.texts, ask=entry.ask)
    if entry.scheme == "SH":  # « il » still has its subject in « si p »; « on la regarde » has lost its object
        short = slots["r_short"]
        slots["r_end"] = short if re.match(r"(?:ils?|elles?)\b", short) else slots["r"]
    if entry.scheme == "ID":
        slots["law"] = "de non-contradiction" if "en même temps" in slots["rule"] else "d'identité"
    slots["c"] = CONCLUDES[entry.scheme].format_map(slots)
    return slots


def _logic(entry: Entry, slots: Slots, valid: bool, premises: Sequence[str] | None = None) -> dict[str, Any] | None:
    if entry.scheme not in VALID:
        return None
    letters, usual, conclusion = (VALID if valid else INVALID)[entry.scheme]
    texts = {letter: _sentence(slots[slot]) for letter, slot in letters.items()}
    return {**texts, "premises": list(premises or usual), "conclusion": conclusion, "valid": valid}


def _pair(entry: Entry, slots: Slots, valid: bool) -> tuple[str, str]:
    if entry.scheme in VALID:
        return slots["p"], slots["q"]
    first, second = (_PAIRS if valid else _REFUSED_PAIRS)[entry.scheme]
    return slots[first], slots[second]


def exercise(entry: Entry, surface: Surface, lead: str, *, asks: bool) -> Draft:
    """Return a question from which something follows, and the answer that draws it."""
    slots = slots_of(entry)
    if surface.concludes:
        slots["c"] = surface.concludes.format_map(slots)
    concluded = f"probablement, {slots['c']}" if entry.scheme in PROBABLE else slots["c"]
    answer = lead.format_map(slots) + (f" {entry.ask}" if asks else "")
    return Draft(
        form="exercise",
        register=surface.register,
        user=_set_off(surface.text.format_map(slots)),
        answer=_set_off(answer),
        conclusion=_sentence(concluded),
        logic=_logic(entry, slots, True, surface.premises),
        propositions=_pair(entry, slots, True),
        negated=bool(_NEGATES.search(surface.text)) or surface.concludes is not None,
    )


def speaks_of_a_case(entry: Entry) -> bool:
    """Whether the answer is about somebody or something particular that the pupil has not named.

    Where rule and conclusion are general, a particular word is no case: « Supposons qu'un nom épuise le sentiment ».

    >>> texts = {"p": "Hugo comprend sa colère", "q": "il est calme"}
    >>> speaks_of_a_case(Entry("a", "MP", "spinoza", "liberté", "", "je crie pour rien", "Et toi ?", texts))
    True
    """
    for slot in ("p", "q") if entry.scheme in _CASE_FIRST else ("fact",) if entry.scheme in _RULE_FIRST else ():
        text = entry.texts.get(slot, "")
        found = _PARTICULAR.match(text)
        name = found[found.lastindex] if found and found.lastindex else None
        if name and name not in _GENERAL and plain(name) not in plain(entry.pupil):
            return True
    return False


def dialogue(entry: Entry, template: str, opener: str) -> Draft:
    """Return the pupil's message of an entry, answered by its scheme.

    Args:
        entry: The content.
        template: The answer, with slots.
        opener: Put in front of the answer, where it begins with a case the pupil did not name.
    """
    slots = slots_of(entry)
    said = _set_off(template.format_map(slots))
    if speaks_of_a_case(entry):
        said = said.replace("Or ", "Or, par exemple, ", 1) if entry.scheme in _RULE_FIRST else f"{opener} {said}"
    concluded = f"probablement, {slots['c']}" if entry.scheme in PROBABLE else slots["c"]
    return Draft(
        form="dialogue",
        register="familier" if entry.pupil[0].islower() else "courant",
        user=entry.pupil,
        answer=said,
        conclusion=_sentence(concluded),
        logic=_logic(entry, slots, True),
        propositions=_pair(entry, slots, True),
    )


def refusal(
    entry: Entry, surface: Surface, said: SchemeSurfaces, lead: str, reason: str, fallacy: str, question: str
) -> Draft:
    """Return a question from which nothing follows, and the answer that says so and why."""
    slots = slots_of(entry)
    denied = said.denied.format_map(slots)
    slots.update(
        c=denied, reason=reason.format_map(slots), fallacy=fallacy, fallacy_low=fallacy[0].lower() + fallacy[1:]
    )
    return Draft(
        form="refusal",
        register=surface.register,
        user=surface.text.format_map(slots),
        answer=f"{lead.format_map(slots)} {question}".strip(),
        conclusion=f"{REFUSED} {que(denied)}.",
        logic=_logic(entry, slots, False),
        propositions=_pair(entry, slots, False),
    )


def clause_of(formula: str, sentences: Mapping[str, str], negations: Mapping[str, str]) -> str:
    """Say a formula in French.

    Raises:
        CorpusError: A negation is not written out in the bank.

    >>> clause_of("P -> ~Q", {"P": "On dort.", "Q": "On rit."}, {"On rit.": "On ne rit pas."})
    'si on dort, alors on ne rit pas'
    """
    formula = formula.strip()
    if formula.startswith("(") and formula.endswith(")"):
        formula = formula[1:-1]
    if " -> " in formula:
        left, right = (clause_of(part, sentences, negations) for part in formula.split(" -> ", 1))
        return f"{si(left)}, alors {right}"
    if " | " in formula:
        return ", ".join(f"ou {clause_of(part, sentences, negations)}" for part in formula.split(" | "))
    if " & " in formula:
        return " et ".join(clause_of(part, sentences, negations) for part in formula.split(" & "))
    sentence = sentences[formula.removeprefix("~")]
    if not formula.startswith("~"):
        return plain_start(sentence)
    if sentence not in negations:
        raise CorpusError(f"negations.toml: « {sentence} » is missing; write its negation.")
    return plain_start(negations[sentence])


def restated(row: Mapping[str, Any], negations: Mapping[str, str], way: Restating, by: str, lead: str) -> Draft:
    """Return a base exercise with its premises in reverse order and in another voice.

    Args:
        row: A line of the base file that has `logic`.
        negations: By sentence.
        way: How the premises are led in.
        by: Name of the scheme, e.g. "par dilemme".
        lead: How the answer begins, with the slots `c` and `que_c`, or "" for a refusal.

    Raises:
        CorpusError: A negation is missing.
    """
    logic, given, conclusion = row["logic"], row["messages"][2]["content"], row["conclusion"]
    sentences = {letter: logic[letter] for letter in LETTERS if letter in logic}
    clauses = [clause_of(formula, sentences, negations) for formula in reversed(logic["premises"])]
    refused = re.match(rf"{REFUSED} qu(?:e,? |')(.*)\.$", conclusion)
    denied = refused[1] if refused else ""
    said = [f"{opening}{clause}." for opening, clause in zip(way.lead, clauses, strict=False)]
    said.append(way.end.format_map(Slots(by=by, d=denied)))
    if row["form"] == "refusal":  # its reason stays: it is what the exercise teaches
        sentences_after = re.split(r"(?<=[.!?])\s+", given)[1:]
        replied = " ".join([conclusion, *sentences_after])
    else:
        question = re.search(r"(?<=[.!] )[^.!?]+\?$", given)
        replied = lead.format_map(Slots(c=plain_start(conclusion))) + (f" {question[0]}" if question else "")
    first, second = (plain_start(sentences[letter]) for letter in ("P", "Q"))
    user, answer = _set_off(" ".join(said)), _set_off(replied)
    return Draft(row["form"], way.register, user, answer, conclusion, dict(logic), (first, second))
