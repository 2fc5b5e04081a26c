"""The rules that tell a pupil in distress from a pupil who writes about death. Knows patterns; no card, no number.

The patterns stand in `distress.toml`, by kind of danger, on text that `dialogue.french.plain` has spelled out: lower
case, no accents. Where a pattern does not itself say who suffers, the rule asks for a first person in the same
sentence. Rules miss paraphrase, more than half of it: `dialogue.alarm` looks after them, and docs/safety.md says what
both miss.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from errors import SettingsError

Kind = Literal["self_harm", "violence_suffered", "other_danger"]
KINDS: tuple[Kind, ...] = get_args(Kind)
RULES_FILE = Path(__file__).with_name("distress.toml")
_APART = ("idioms", "fiction", "exercise", "first_person", "topic", "own_danger", "meant", "course")
_NAME = re.compile(r"\{([a-z_]+)(\d?)\}")  # a quantifier such as {0,4} holds no letter


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        name: For logs and tests; it quotes nobody.
        kind: What the pupil seems to suffer.
        needs: The rule is tried only on a message that holds one of these: a page of text costs little.
        pattern: Searched in one sentence.
        first_person: Whether the sentence must also say je, me, moi, mon…
    """

    name: str
    kind: Kind
    needs: frozenset[str]
    pattern: re.Pattern[str]
    first_person: bool


@dataclass(frozen=True)
class Rules:
    """All of them, in the order in which they are tried.

    Attributes:
        rules: Of each kind.
        apart: What is taken out before the rules look, or read with them: idioms, fiction, exercise, first_person,
            topic; own_danger and meant, which keep a sentence from being taken for one of the first three; course,
            what only sounds like distress.
    """

    rules: tuple[Rule, ...]
    apart: Mapping[str, re.Pattern[str]]


def load_rules(path: Path = RULES_FILE) -> Rules:
    """Read the rules.

    Raises:
        SettingsError: The file cannot be read, lacks a table or a key, or a pattern of it is none.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        words: dict[str, str] = {}
        for name, text in tables["words"].items():  # each may name the ones before it
            words[name] = _put_together(text, words)
        apart = {name: re.compile(_put_together(tables["apart"][name], words)) for name in _APART}
        rules = tuple(_rule(kind, row, words) for kind in KINDS for row in tables[kind])
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path.name} cannot be read: {error}.") from None
    except (KeyError, TypeError, ValueError, AttributeError, re.error) as error:
        raise SettingsError(f"{path.name} is no table of rules: {error!r}.") from None
    return Rules(rules, apart)


def _rule(kind: Kind, row: Mapping[str, Any], words: Mapping[str, str]) -> Rule:
    needs = _put_together(row["needs"], words).split("|")
    pattern = re.compile(_put_together(row["pattern"], words))
    return Rule(row["name"], kind, frozenset(needs), pattern, row.get("first_person") is True)


def _put_together(text: str, words: Mapping[str, str]) -> str:
    """Return a pattern on one line, every {name} replaced by what it stands for."""
    return _NAME.sub(lambda found: _gap(found[2]) if found[1] == "gap" else words[found[1]], text.replace("\n", ""))


def _gap(most: str) -> str:
    """At most this many words."""
    return rf"(?:[\w'-]+ ){{0,{int(most)}}}?"


_READ = load_rules()
RULES = _READ.rules
IDIOMS, FICTION, EXERCISE, FIRST_PERSON, TOPIC, OWN_DANGER, MEANT, COURSE = (_READ.apart[name] for name in _APART)
