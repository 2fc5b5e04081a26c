"""How good a requirements document is, from 0 to 100: what can be checked of it without an opinion. Pure, no engine.

Seven parts, each from 0 to 1, weighted by `WEIGHTS` (they sum to 100): the answer is YAML with keys of ours; it fits
the JSON Schema; each required section is there and filled; ids are unique; priorities are of the three; the concept's
words are taken up; the project has constraints. Whether a requirement is wise is nobody's business in this file.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import Stemmer
import yaml

from errors import EngineError

VERSION = 1  # of the metric: a change of weights or of a part makes it another one
SCHEMA = Path(__file__).parents[1] / "data" / "business_analyst" / "requirements.schema.json"
WEIGHTS: Mapping[str, float] = {
    "parsed": 10,
    "schema": 20,
    "sections": 20,
    "ids": 10,
    "priorities": 10,
    "coverage": 20,
    "constraints": 10,
}
LISTS = ("functional_requirements", "non_functional_requirements", "constraints")
SECTIONS = ("title", "description", *LISTS)
PRIORITIES = ("high", "medium", "low")
# Share of the concept's content words that is asked for; more earns no more. The training documents' lower quartile is
# 0.33, their median 0.44; documents on something else take up 0.06.
ENOUGH = 0.4
MOST_CHARS = 50_000  # the longest document of ours has 3,000
MOST_BRACKETS = 400  # a YAML document of ours has none; thousands, nested, keep the reader busy for minutes
_FENCED = re.compile(r"```[a-zA-Z]*[ \t]*\n(.*?)(?:\n```|\Z)", re.S)
_STOP_WORDS = frozenset(
    """a about after again all also an and any are as at be because been before being between both but by can cannot
    could do does down each even every few for from get gets had has have having he her him his how i if in into is it
    its itself just keep know let like made make makes many may more most must my need needs new no not now of off on
    once one only or other our out over own per should so some such than that the their them then there these they
    this those through to too two three four five six ten twenty hundred under until up us use very want wants was we
    were what when where which while who whose why will with without would you your""".split()
)


@dataclass(frozen=True)
class Requirements:
    """What was found in one answer; each part from 0 to 1.

    Attributes:
        score: The weighted sum, 0 to 100.
        parsed: 1 when the answer is YAML with a key of ours.
        schema: 1 when it fits the JSON Schema, whole.
        sections: Share of the five required sections that are there, of the right kind and not empty.
        ids: Share of the items whose id stands once.
        priorities: Share of the items with one of the three priorities.
        coverage: Share of the concept's content words taken up, `ENOUGH` of them being all that is asked.
        constraints: 1 when there is a constraint with a text.
        fault: The first thing wrong, for the report; empty when nothing is.
    """

    score: float
    parsed: float
    schema: float
    sections: float
    ids: float
    priorities: float
    coverage: float
    constraints: float
    fault: str

    def metrics(self) -> dict[str, float]:
        """Return the score and its parts as a sample keeps them; the score from 0 to 1 as well, as `requirements`."""
        parts = {name: value for name, value in asdict(self).items() if name not in ("score", "fault")}
        return {"requirements": self.score / 100, **parts}


class _Loader(yaml.SafeLoader):
    """Safe YAML without aliases, whose expansion could fill the memory, and without a key said twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not read")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [key.value for key, _ in node.value]
        if len(set(map(str, keys))) < len(keys):
            raise yaml.YAMLError("a key stands twice")
        return super().construct_mapping(node, deep=deep)


@cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))


@cache
def _stemmer() -> Stemmer.Stemmer:
    return Stemmer.Stemmer("english")


def terms(text: str) -> frozenset[str]:
    """Return the stems of the content words of an English text.

    >>> sorted(terms("Bakers want to know how many loaves to bake."))
    ['bake', 'baker', 'loav']
    """
    words = [word for word in re.findall(r"[a-z]+", text.lower()) if len(word) > 2 and word not in _STOP_WORDS]
    return frozenset(_stemmer().stemWords(words))


def parse(answer: str) -> tuple[dict[str, Any] | None, str]:
    """Return the document, or None and why there is none. A fence around the YAML, and words around it, are let pass.

    >>> parse("I cannot do that.")
    (None, 'no YAML mapping')
    """
    if len(answer) > MOST_CHARS:
        return None, f"longer than {MOST_CHARS} characters"
    if answer.count("[") + answer.count("{") > MOST_BRACKETS:
        return None, f"no YAML (more than {MOST_BRACKETS} brackets)"
    fenced = _FENCED.search(answer)
    try:
        found = yaml.load(fenced[1] if fenced else answer, Loader=_Loader)  # noqa: S506  # it is a SafeLoader
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        # e.g. 2024-99-99 is no date, and tags like `!!bool maybe` or `!!timestamp x` fail inside the library
        first = str(error).splitlines()[0] if str(error) else ""
        return None, f"no YAML ({first or type(error).__name__})"
    if not isinstance(found, dict):
        return None, "no YAML mapping"
    if not any(key in SECTIONS for key in found):
        return None, f"none of the keys {', '.join(SECTIONS)}"
    return found, ""


def _items(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    lists = [document.get(name) for name in LISTS]
    return [item for one in lists if isinstance(one, list) for item in one if isinstance(item, dict)]


def _filled(document: Mapping[str, Any], section: str) -> bool:
    value = document.get(section)
    if section in LISTS:
        return isinstance(value, list) and any(isinstance(item, dict) and _said(item) for item in value)
    return isinstance(value, str) and bool(value.strip())


def _said(item: Mapping[str, Any]) -> bool:
    text = item.get("description")
    return isinstance(text, str) and bool(text.strip())


def _texts(document: Mapping[str, Any]) -> str:
    said = [document.get("title"), document.get("description"), *(item.get("description") for item in _items(document))]
    return " ".join(text for text in said if isinstance(text, str))


def _fault(document: Mapping[str, Any]) -> str:
    """Return the first thing the schema says against a document."""
    errors = sorted(_validator().iter_errors(document), key=lambda error: [str(part) for part in error.absolute_path])
    if not errors:
        return ""
    where = ".".join(str(part) for part in errors[0].absolute_path) or "document"
    return f"{where}: {str(errors[0].message)[:160]}"


def taken_up(document: Mapping[str, Any], concept: str) -> float:
    """Return the share of the concept's content words that stand in the document, 0 to 1."""
    wanted = terms(concept)
    return len(wanted & terms(_texts(document))) / len(wanted) if wanted else 1.0


def score(answer: str, concept: str) -> Requirements:
    """Score one answer; an empty one, or one that is no document, gets 0.

    >>> score("", "A bakery.").score
    0.0
    """
    document, why = parse(answer)
    if document is None:
        return Requirements(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, why)
    items = _items(document)
    ids = [str(item["id"]).strip() for item in items if item.get("id")]
    fault = _fault(document)
    parts = {
        "parsed": 1.0,
        "schema": float(not fault),
        "sections": sum(_filled(document, name) for name in SECTIONS) / len(SECTIONS),
        "ids": sum(ids.count(one) == 1 for one in ids) / len(items) if items else 0.0,
        "priorities": sum(item.get("priority") in PRIORITIES for item in items) / len(items) if items else 0.0,
        "coverage": min(1.0, taken_up(document, concept) / ENOUGH),
        "constraints": float(_filled(document, "constraints")),
    }
    return Requirements(round(sum(WEIGHTS[name] * parts[name] for name in parts), 4), **parts, fault=fault)


def lost(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return how many points of 100 each part costs on average, the dearest first.

    Args:
        found: The metrics of samples.
    """
    if not found:
        raise EngineError("There is no answer to analyse.")
    costs = {
        name: weight * (1 - sum(one.get(name, 0.0) for one in found) / len(found)) for name, weight in WEIGHTS.items()
    }
    return dict(sorted(costs.items(), key=lambda cost: -cost[1]))
