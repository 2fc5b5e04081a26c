"""The rules' file: put together as it says, verdicts that nobody changes unawares, a broken file that is named."""

import hashlib
from pathlib import Path

import pytest

from dialogue.distress import KINDS, RULES, RULES_FILE, load_rules
from dialogue.safety import assess
from errors import SettingsError
from evaluation.labelled import tuning_sets

DATA = Path(__file__).parents[2] / "data"
TEXT = RULES_FILE.read_text(encoding="utf-8")
# Of every rule on every tuning sentence. Whoever changes a rule on purpose writes the new one here.
VERDICTS = "9ca62df9466a1344"


def test_names_and_gaps_are_filled(tmp_path: Path) -> None:
    text = TEXT + "\n[[other_danger]]\nname = 'made'\nneeds = 'zz'\npattern = '''\nzz {gap3}\n{hurt}x{0,4}'''\n"
    path = tmp_path / "rules.toml"
    path.write_text(text, "utf-8")
    *_, made = load_rules(path).rules
    hurt = made.pattern.pattern.removeprefix(r"zz (?:[\w'-]+ ){0,3}?").removesuffix("x{0,4}")
    assert hurt.startswith("(?:couper|")
    assert made.kind == "other_danger"
    assert not made.first_person
    assert made.needs == {"zz"}
    assert made.pattern.search("zz un deux trois griffer")
    assert not made.pattern.search("zz un deux trois quatre griffer")


def test_no_verdict_changes_unawares() -> None:
    sets = tuning_sets(DATA, "crisis")
    rows = [*sets["crisis_cases"], *sets["crisis_tune"]]
    found = [one.rule if (one := assess(row["text"])).rule != "model" else "" for row in rows]
    assert hashlib.sha256("\n".join(found).encode()).hexdigest()[:16] == VERDICTS


def test_every_rule_is_one() -> None:
    assert {rule.kind for rule in RULES} == set(KINDS)
    assert len({(rule.kind, rule.name) for rule in RULES}) == len(RULES)
    assert all(all(rule.needs) for rule in RULES)  # an empty one would try its rule on every page


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("\n[words]", "\n[words", "cannot be read"),
        ("\n[words]", "\n[mots]", "no table of rules"),
        ("{hurt}", "{hurts}", "no table of rules"),
        ("[[self_harm]]\nname", "[[self_harm]]\nnom", "no table of rules"),
        ("(?:couper", "(?:(couper", "no table of rules"),
        ("{gap6}", "{gap}", "no table of rules"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in TEXT
    path = tmp_path / "rules.toml"
    with pytest.raises(SettingsError, match=r"rules\.toml cannot be read"):
        load_rules(path)
    path.write_text(TEXT.replace(old, new, 1), "utf-8")
    with pytest.raises(SettingsError, match=rf"rules\.toml.*{said}"):
        load_rules(path)
