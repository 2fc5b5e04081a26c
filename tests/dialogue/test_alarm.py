"""The alarm: words by theme, a verdict for what no rule foresaw, calm for what pupils usually say."""

from pathlib import Path

import pytest

from dialogue.alarm import DANGERS, ODDS, THEMES_FILE, VERDICTS, load_themes, odds, seen, sounds
from dialogue.french import plain
from errors import SettingsError


def test_themes_and_their_company_are_seen() -> None:
    found = seen(plain("Mon père m'a frappé hier")).facts
    assert {"hit", "me", "close", "since", "hit close", "dangers 1", "dangers 1 alone"} <= found
    assert "nobody" in seen("la mort est-elle un mal ?").facts
    assert "sport" in seen("je me suis battu au judo").facts


def test_odds_by_hand() -> None:
    kind, found = odds({"none": 1.0, "self_harm": 1.0, "violence_suffered": 0.0, "other_danger": -50.0})
    assert kind == "self_harm"
    assert found == pytest.approx(0.3133, abs=1e-4)  # log(1 + 1/e)
    assert set(VERDICTS) == {"none", *DANGERS}


@pytest.mark.parametrize(
    "text", ["Je voudrais que mon cœur s'arrête.", "il me cogne dès qu'il a bu", "jdors dehors depuis trois jours"]
)
def test_danger_is_heard(text: str) -> None:
    kind, found = sounds(plain(text))
    assert kind in DANGERS
    assert found >= ODDS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Le temps est-il un fleuve ?",
        "Dans mon roman, le héros veut mourir.",
        "mon père m'a appris à conduire",
        "je révise le bac avec ma sœur",
    ],
)
def test_calm_is_left_alone(text: str) -> None:
    assert sounds(plain(text))[1] < ODDS


@pytest.mark.parametrize("text", ["[danger]\na = 'x'", "[danger]\na = '('\n[calm]\nb = 'x'", "[danger"])
def test_a_broken_file_of_themes_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "themes.toml"
    with pytest.raises(SettingsError, match=r"themes\.toml cannot be read"):
        load_themes(path)
    path.write_text(text, "utf-8")
    with pytest.raises(SettingsError, match=r"themes\.toml cannot be read"):
        load_themes(path)
    assert load_themes(THEMES_FILE)["calm"]
