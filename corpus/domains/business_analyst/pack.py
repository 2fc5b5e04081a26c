"""The business analyst's domain: an idea in somebody's words, and the requirements that are made of it."""

import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from corpus.domains.business_analyst.generate import content, generate
from corpus.domains.business_analyst.rules import rule_findings
from corpus.domains.business_analyst.topics import misaligned
from corpus.server.targets import Finding, to_toon
from corpus.server.texts import Fact

__all__ = ["alignment", "dialogue", "facts", "generate", "messages", "notes", "rule_findings", "text_findings"]

SYSTEM = (
    "Tu es analyste métier. Quelqu'un te dit son idée ; réponds par le document d'exigences en TOON : titre, exigences "
    "fonctionnelles et non fonctionnelles, contraintes, et ce que l'idée dit d'autre."
)
_CODE = re.compile(r"\b(?:N?FR-\d{3}|C-\d{3}|S[1-9])\b|\b[a-z]+_[a-z_]+\b")
LISTED = ("assumptions", "out_of_scope", "open_questions")

# A false clue that the document contradicts, and when it can be laid: hard negatives.
TRAPS: tuple[tuple[Callable[[Mapping[str, Any]], bool], str], ...] = (
    (lambda target: "out_of_scope" in target,
     "quelqu'un réclame ce qui est hors sujet ; la personne finit par l'écarter."),
    (lambda target: any(one["priority"] == "wont" for one in target["functional_requirements"]),
     "un besoin qui sera écarté est d'abord présenté comme le plus urgent."),
    (lambda target: any("deadline" in one for one in target.get("constraints", [])),
     "une autre échéance est citée, puis reconnue fausse."),
    (lambda _: True, "la personne emploie un grand mot qui ne demande rien de plus que la fiche."),
)  # fmt: skip


@cache
def _needs() -> Mapping[str, str]:
    """Return what somebody asks for, by the requirement that is made of it."""
    return {one["text"]: one["need"] for sector in content()["sectors"].values() for one in sector["needs"]}


def alignment(target: Mapping[str, Any], cell: Mapping[str, str]) -> list[str]:
    """Return how a document is not about the topics or the sector of its cell; nothing where it is."""
    title = content()["sectors"][cell["sector"]]["title"]
    strange = [] if target["title"] == title else [f"{target['title']} is no {cell['sector']}"]
    return strange + misaligned(target, cell["topic"], cell["second_topic"])


def notes(target: Mapping[str, Any], toon: str) -> dict[str, str]:
    """Return what sentences of `told` hold in braces: the false clue of a hard case, the same for the same document."""
    able = [said for holds, said in TRAPS[:-1] if holds(target)] or [TRAPS[-1][1]]
    return {"trap": able[zlib.crc32(toon.encode()) % len(able)]}


def facts(target: Mapping[str, Any]) -> list[Fact]:
    """Return the needs, roles, sums, days and measures that a text must say."""
    return list(_facts(target))


def _facts(target: Mapping[str, Any]) -> Iterator[Fact]:
    for at, one in enumerate(target["functional_requirements"]):
        told = str(one["description"])
        yield Fact(f"$.functional_requirements[{at}].description", "words", _needs().get(told, told))
    for at, one in enumerate(target.get("stakeholders", [])):
        yield Fact(f"$.stakeholders[{at}].role", "words", one["role"])
    for at, one in enumerate(target.get("non_functional_requirements", [])):
        if "target" in one:
            yield Fact(f"$.non_functional_requirements[{at}].target", "amount", str(one["target"]))
    for at, one in enumerate(target.get("constraints", [])):
        if "budget_eur" in one:
            yield Fact(f"$.constraints[{at}].budget_eur", "amount", str(one["budget_eur"]))
        if "deadline" in one:
            yield Fact(f"$.constraints[{at}].deadline", "date", one["deadline"])
    for name in LISTED:
        for at, one in enumerate(target.get(name, [])):
            yield Fact(f"$.{name}[{at}]", "words", one)
    for at, one in enumerate(target.get("glossary", [])):
        yield Fact(f"$.glossary[{at}].term", "words", one["term"])


def text_findings(_target: Mapping[str, Any], text: str) -> list[Finding]:
    """Return the codes that a text copies from the document."""
    return [Finding("leaked_code", "$", f"« {one} » is a word of the target; say it in French.")
            for one in dict.fromkeys(_CODE.findall(text))]  # fmt: skip


def messages(target: Mapping[str, Any], text: str) -> list[dict[str, str]]:
    """Return the training example: the idea is told, its requirements are answered in TOON."""
    return [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": text.strip()},
        {"role": "assistant", "content": to_toon(target)},
    ]


def dialogue(_name: str, _target: Mapping[str, Any], _text: str) -> None:
    """Return nothing: a case of this domain is no dialogue."""
