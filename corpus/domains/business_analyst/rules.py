"""What a requirements document must keep to beyond its schema: B01 to B11.

Where a rule says what the schema says too, the schema names it in a $comment. Pure; knows no project.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rapidfuzz import fuzz

from corpus.check import plain, sentences
from corpus.server.targets import Finding

Document = Mapping[str, Any]
Broken = tuple[str, str]  # where, and what is expected
Rule = Callable[[Document], Iterator[Broken]]

NUMBERED = {"stakeholders": "S{}", "functional_requirements": "FR-{:03}", "non_functional_requirements": "NFR-{:03}",
            "constraints": "C-{:03}"}  # fmt: skip
REQUIREMENTS = ("functional_requirements", "non_functional_requirements")
NEAR = 85  # rapidfuzz ratio, 0 to 100, of two descriptions that say the same
MEASURE = ("metric", "operator", "target", "unit")
VAGUE = frozenset(  # words that nobody can verify
    """convivial conviviale ergonomique intuitif intuitive performant performante rapide rapidement facile facilement
    simplement efficace moderne optimal optimale adapte adaptee etc""".split()
)
_TWO = re.compile(r"\b(?:et|ou) (?:aussi |egalement )?(?:doit|doivent|peut|peuvent|il faut)\b")


def many(document: Document, name: str) -> list[Mapping[str, Any]]:
    """Return the items of a list, none where it is absent."""
    return list(document.get(name, []))


def b01_ids_in_a_row(document: Document) -> Iterator[Broken]:
    """Ids are unique and count from one in each list."""
    for name, form in NUMBERED.items():
        for at, one in enumerate(many(document, name)):
            if one["id"] != form.format(at + 1):
                yield f"$.{name}[{at}].id", f"{one['id']}; expected {form.format(at + 1)}."


def b02_references_exist(document: Document) -> Iterator[Broken]:
    """Source, actor and what a requirement depends on are there."""
    people = {one["id"] for one in many(document, "stakeholders")}
    known = {one["id"] for name in REQUIREMENTS for one in many(document, name)}
    for at, one in enumerate(many(document, "functional_requirements")):
        path = f"$.functional_requirements[{at}]"
        for key in ("source", "actor"):
            if key in one and one[key] not in people:
                yield f"{path}.{key}", f"{one[key]} is no stakeholder."
        for other in one.get("depends_on", []):
            if other not in known:
                yield f"{path}.depends_on", f"{other} is no requirement."


def b03_no_circle(document: Document) -> Iterator[Broken]:
    """No requirement depends on itself, by whatever way."""
    needs = {one["id"]: set(one.get("depends_on", [])) for one in many(document, "functional_requirements")}
    for start in needs:
        reached, ahead = set[str](), set(needs[start])
        while ahead:
            one = ahead.pop()
            reached.add(one)
            ahead |= needs.get(one, set()) - reached
        if start in reached:
            yield "$.functional_requirements", f"{start} depends on itself."


def b04_must_stands_on_what_comes(document: Document) -> Iterator[Broken]:
    """What must be does not depend on what will not be done, or was rejected."""
    dropped = {
        one["id"] for one in [*many(document, REQUIREMENTS[0]), *many(document, REQUIREMENTS[1])]
        if one.get("priority") == "wont" or one.get("status") == "rejected"
    }  # fmt: skip
    for at, one in enumerate(many(document, "functional_requirements")):
        if one["priority"] == "must" and (lost := dropped & set(one.get("depends_on", []))):
            yield f"$.functional_requirements[{at}].depends_on", f"{', '.join(sorted(lost))} will not be done."


def b05_approved_is_verifiable(document: Document) -> Iterator[Broken]:
    """What is approved or implemented has acceptance criteria."""
    for at, one in enumerate(many(document, "functional_requirements")):
        if one.get("status") in ("approved", "implemented") and "acceptance_criteria" not in one:
            yield f"$.functional_requirements[{at}].acceptance_criteria", f"{one['status']} without criteria."


def b06_measures_are_whole(document: Document) -> Iterator[Broken]:
    """A metric, its operator, target and unit come together."""
    for at, one in enumerate(many(document, "non_functional_requirements")):
        missing = [key for key in MEASURE if key not in one]
        if 0 < len(missing) < len(MEASURE):
            yield f"$.non_functional_requirements[{at}]", f"{', '.join(missing)} missing."


def b07_amounts_and_deadlines(document: Document) -> Iterator[Broken]:
    """An amount is a budget's, a deadline a calendar's."""
    for at, one in enumerate(many(document, "constraints")):
        for key, kind in (("budget_eur", "budgetaire"), ("deadline", "calendaire")):
            if key in one and one["type"] != kind:
                yield f"$.constraints[{at}].{key}", f"{key} with {one['type']}; it is for {kind}."


def b08_wont_is_not_done(document: Document) -> Iterator[Broken]:
    """What will not be done is neither approved nor implemented."""
    for at, one in enumerate(many(document, "functional_requirements")):
        if one["priority"] == "wont" and one.get("status") in ("approved", "implemented"):
            yield f"$.functional_requirements[{at}].status", f"{one['status']} with wont."


def _descriptions(document: Document) -> list[tuple[str, str]]:
    return [(f"$.{name}[{at}].description", str(one["description"]))
            for name in REQUIREMENTS for at, one in enumerate(many(document, name))]  # fmt: skip


def b09_said_once(document: Document) -> Iterator[Broken]:
    """No two requirements say nearly the same."""
    said = [(path, plain(text)) for path, text in _descriptions(document)]
    for at, (path, text) in enumerate(said):
        for other, earlier in said[:at]:
            if fuzz.ratio(text, earlier) >= NEAR:
                yield path, f"says nearly what {other} says."


def b10_out_of_scope_is_out(document: Document) -> Iterator[Broken]:
    """What is out of scope is required nowhere."""
    said = [(path, plain(text)) for path, text in _descriptions(document)]
    for at, one in enumerate(document.get("out_of_scope", [])):
        for path, text in said:
            if fuzz.ratio(plain(one), text) >= NEAR:
                yield f"$.out_of_scope[{at}]", f"is required at {path}."


def b11_one_verifiable_statement(document: Document) -> Iterator[Broken]:
    """A requirement is one statement, without words that nobody can verify (ISO/IEC/IEEE 29148)."""
    for path, text in _descriptions(document):
        vague = VAGUE & set(plain(text).split())
        if vague:
            yield path, f"« {min(vague)} » cannot be verified; say a measure."
        if len(sentences(text)) > 1 or _TWO.search(plain(text)):
            yield path, "two statements; write two requirements."


RULES: dict[str, Rule] = {
    rule.__name__[:3].upper(): rule
    for rule in (
        b01_ids_in_a_row, b02_references_exist, b03_no_circle, b04_must_stands_on_what_comes,
        b05_approved_is_verifiable, b06_measures_are_whole, b07_amounts_and_deadlines, b08_wont_is_not_done,
        b09_said_once, b10_out_of_scope_is_out, b11_one_verifiable_statement,
    )
}  # fmt: skip


def rule_findings(target: Document) -> list[Finding]:
    """Return every rule that a document breaks, by its code; it must keep to the schema's types."""
    return [Finding(code, path, said) for code, rule in RULES.items() for path, said in rule(target)]
