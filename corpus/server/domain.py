"""A domain pack, loaded: dimensions and quotas from YAML, a JSON Schema, a prompt, and the code of its folder."""

import importlib
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import yaml

from corpus.server.paths import rarest, schema_paths
from corpus.server.quotas import Cell, Place, Plan
from corpus.server.targets import EMPTY, SCHEMA, Finding, Target, empties, said_toon, schema_findings, to_toon
from corpus.server.texts import Fact
from errors import CorpusError

DOMAINS = Path(__file__).parents[1] / "domains"
TRIES = 20  # targets drawn for a cell before the pack is called faulty
DRAFTS = 3  # of which the one with the rarest path is kept


class Pack(Protocol):
    """The code of a domain's folder, `pack.py`."""

    def generate(self, cell: Cell, chance: random.Random) -> Target:
        """Return a target for a cell; the same chance gives the same target."""
        ...

    def rule_findings(self, target: Mapping[str, Any]) -> list[Finding]:
        """Return every integrity rule that a target breaks."""
        ...

    def facts(self, target: Mapping[str, Any]) -> list[Fact]:
        """Return what a text must say."""
        ...

    def text_findings(self, target: Mapping[str, Any], text: str) -> list[Finding]:
        """Return what is wrong with the form of a text."""
        ...

    def messages(self, target: Mapping[str, Any], text: str) -> list[dict[str, str]]:
        """Return the training example: system, user, assistant."""
        ...

    def notes(self, target: Mapping[str, Any], toon: str) -> Mapping[str, str]:
        """Return what the sentences of `told` hold in braces, by name; the same for the same target and its TOON."""
        ...

    def alignment(self, target: Mapping[str, Any], cell: Mapping[str, str]) -> list[str]:
        """Return how a target is not about what its cell asks for; nothing where it is."""
        ...

    def dialogue(self, name: str, target: Mapping[str, Any], text: str) -> Mapping[str, Any] | None:
        """Return an accepted text as a line of data/dialogues; None where the domain has no dialogues."""
        ...


@dataclass(frozen=True)
class Domain:
    """What cases are about.

    Attributes:
        key: Name of its folder.
        weights: The share of each level, by dimension.
        forbidden: Pairs of levels that never meet.
        schema: JSON Schema of its targets.
        prompt: What the writer is told, with the slots `cell` and `target`.
        pack: Its code.
        told: A sentence for the writer, by dimension and level.
    """

    key: str
    weights: Mapping[str, Mapping[str, float]]
    forbidden: frozenset[frozenset[Place]]
    schema: Mapping[str, Any]
    prompt: str
    pack: Pack
    told: Mapping[Place, str] = field(default_factory=dict)

    def plan(self, total: int, seeded: Mapping[str, Mapping[str, int]] | None = None) -> Plan:
        """Return what is to be served."""
        return Plan(self.weights, total, seeded or {}, self.forbidden)

    def findings(self, target: Mapping[str, Any]) -> list[Finding]:
        """Return everything wrong with a target: schema, emptiness, then the rules, which need both."""
        found = [*schema_findings(target, self.schema), *empties(target)]
        if any(one.code in (SCHEMA, EMPTY) for one in found):
            return found
        named = {one.code for one in found}
        return found + [one for one in self.pack.rule_findings(target) if one.code not in named]

    def target(self, cell: Cell, chance: random.Random, seen: Mapping[str, int] | None = None) -> Target:
        """Return a valid target for a cell, that survives TOON.

        Args:
            cell: One level for each dimension.
            chance: The same one makes the same target, as long as `seen` is the same.
            seen: How many targets reached each path so far: of some drafts the one with the rarest path is taken.

        Raises:
            CorpusError: The pack makes none.
        """
        found: list[Finding] = []
        for _ in range(TRIES):
            target = self._draft(cell, chance, seen)
            found = self.findings(target)
            if not found:
                to_toon(target)
                return target
        raise CorpusError(f"domain {self.key}: no target for {cell}: {found[0].path}: {found[0].message}")

    def _draft(self, cell: Cell, chance: random.Random, seen: Mapping[str, int] | None) -> Target:
        if seen is None:
            return self.pack.generate(cell, chance)
        drafts = [self.pack.generate(cell, chance) for _ in range(DRAFTS)]
        return min(drafts, key=lambda one: rarest(one, self.paths, seen))  # of equals, the first

    def facts(self, target: Mapping[str, Any]) -> list[Fact]:
        """Return what a text must say."""
        return self.pack.facts(target)

    def text_findings(self, target: Mapping[str, Any], text: str) -> list[Finding]:
        """Return what is wrong with the form of a text."""
        return self.pack.text_findings(target, text)

    def messages(self, target: Mapping[str, Any], text: str) -> list[dict[str, str]]:
        """Return the training example of an accepted text."""
        return self.pack.messages(target, text)

    @cached_property
    def paths(self) -> frozenset[str]:
        """Every path of the schema."""
        return schema_paths(self.schema)

    def instruct(
        self, target: Mapping[str, Any], cell: Mapping[str, str] | None = None, toon: str | None = None
    ) -> str:
        """Return the whole prompt for the writer: what is told of each level of the cell, and the target.

        Args:
            target: The object to write from.
            cell: Its levels; None tells of none.
            toon: The target in TOON, where that is known already.
        """
        toon = said_toon(target) if toon is None else toon
        lines = [self.told[place] for place in (cell or {}).items() if place in self.told]
        for name, said in self.pack.notes(target, toon).items():
            lines = [line.replace(f"{{{name}}}", said) for line in lines]
        said_of_cell = "\n".join(f"- {line}" for line in lines)
        return self.prompt.replace("{cell}", said_of_cell).replace("{target}", toon)


def load_domain(key: str, folder: Path = DOMAINS) -> Domain:
    """Read a pack.

    Raises:
        CorpusError: There is no such folder, or a file of it is wrong.
    """
    known = sorted(path.parent.name for path in folder.glob("*/domain.yaml"))
    if key not in known:
        raise CorpusError(f"No domain {key!r}. Known: {', '.join(known)}.")
    home = folder / key
    try:
        told = yaml.safe_load((home / "domain.yaml").read_text(encoding="utf-8"))
        schema = json.loads((home / "target.schema.json").read_text(encoding="utf-8"))
        prompt = (home / "prompt.md").read_text(encoding="utf-8")
        weights = {name: {str(k): float(v) for k, v in levels.items()} for name, levels in told["dimensions"].items()}
        pairs = frozenset(
            frozenset((str(name), str(level)) for name, level in pair.items()) for pair in told.get("forbidden", [])
        )
        said = {
            (name, level): str(line) for name, levels in told.get("told", {}).items() for level, line in levels.items()
        }
    except (OSError, yaml.YAMLError, json.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorpusError(f"domain {key}: {type(error).__name__}: {error}. See corpus/domains/schemes.") from None
    for name, levels in told["dimensions"].items():  # YAML reads a bare on, no or 12 as something else than text
        for level in levels:
            if not isinstance(level, str):
                raise CorpusError(f"domain {key}: dimension {name}: level {level!r} is no text; put it in quotes.")
    pack: Any = importlib.import_module(f"corpus.domains.{key}.pack")
    for name, level in said:
        if level not in weights.get(name, {}):
            raise CorpusError(f"domain {key}: told: {name}={level} is no level; write one of the dimension's.")
    return Domain(key, weights, pairs, schema, prompt, pack, said)
