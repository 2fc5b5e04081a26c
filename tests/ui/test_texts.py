"""Every sentence stands in both languages, and every code of the project has one."""

import re
from pathlib import Path
from string import Formatter
from typing import get_args

import pytest

import errors
from dialogue.maieuthon import LEVELS, SKILLS, Advice, Delta, Title
from personas.loader import Validity
from tiers.entitlements import NoSeat
from ui.session import KINDS, REASONS
from ui.texts import ENGLISH, FRENCH, TEXTS, language_of, text, text_of_code

# Codes that a tier makes of its own reasons: why an answer comes from the small model, what was mended in a quotation.
SAID_BY_TIERS = (
    "quota_browser", "quota_person", "live_stream", "budget_day", "budget_month", "session_limit", "day_limit",
    "membership_unknown", "login_expired", "ledger_unavailable", "premium_waking", "premium_slow", "premium_down",
    "premium_refused", "marker_removed", "quote_unmarked", "server_unreachable", "worry", *get_args(NoSeat),
)  # fmt: skip
ROOT = Path(__file__).parents[2]
# The same in both, or empty in French.
SHARED = {"title", "chat_label", "information_language", "mode_talk", "mode_maieuthon", "sources"}


def names(sentence: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(sentence) if name}


def test_no_key_is_untranslated() -> None:
    assert set(FRENCH) ^ set(ENGLISH) == set()
    assert [key for key in FRENCH if FRENCH[key] == ENGLISH[key] and key not in SHARED] == []
    assert [key for key in FRENCH if not FRENCH[key].strip() and key not in SHARED] == []
    assert [key for key in ENGLISH if not ENGLISH[key].strip()] == []


@pytest.mark.parametrize("key", sorted(FRENCH))
def test_both_languages_fill_the_same_names(key: str) -> None:
    assert names(FRENCH[key]) == names(ENGLISH[key])


def codes_of_errors() -> set[str]:
    family = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.ChatError)]
    return {error.code for error in family} - {"corpus", "training"}  # offline rooms, never on the page


def codes_in_the_source() -> set[str]:
    """Codes given by keyword in the rooms that a page can hear from."""
    found: set[str] = set()
    for room in ("dialogue", "engines", "tiers", "personas", "retrieval", "conversion"):
        for path in (ROOT / room).rglob("*.py"):
            if path.name == "hub.py":  # publishing a model: never on the page
                continue
            found |= set(re.findall(r'\bcode="([a-z_]+)"', path.read_text(encoding="utf-8")))
    return found


def test_every_code_has_a_sentence() -> None:
    assert sorted((codes_of_errors() | codes_in_the_source()) - set(FRENCH)) == []


@pytest.mark.parametrize("code", SAID_BY_TIERS)
def test_what_tiers_say_has_a_sentence(code: str) -> None:
    assert text_of_code("fr", code) != text("fr", "internal")


@pytest.mark.parametrize("step", ["downloading", "assembling", "checking", "loading", "ready", "hub_unreachable"])
def test_every_step_has_a_sentence(step: str) -> None:
    assert text_of_code("fr", step) != text("fr", "internal")


def test_an_unknown_code_is_an_internal_error() -> None:
    assert text_of_code("en", "never_heard_of") == ENGLISH["internal"]
    assert text_of_code("en", "a_new_step", otherwise="starting") == ENGLISH["starting"]


def test_an_unknown_language_is_french() -> None:
    assert [language_of(value) for value in ("en", "fr", "de", None, 3)] == ["en", "fr", "fr", "fr", "fr"]


def test_a_name_is_filled() -> None:
    assert text("fr", "box_placeholder", name="Kant") == "Écris à Kant…"


def test_french_marks_stand_after_a_space() -> None:
    """« ; », « : », « ? » and « ! » are set off in French, and the sentence ends."""
    assert [key for key, sentence in FRENCH.items() if re.search(r"\w[;:?!](\s|$)", sentence)] == []


def test_a_pupil_is_one_person() -> None:
    """« Tu » throughout, on the page and in what leads to it."""
    said = " ".join(FRENCH.values()) + (ROOT / "QUICKSTART.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\b(?:vous|vos|votre|\w+ez)\b", said.lower())) <= {"assez", "chez"}


def test_every_sentence_is_used() -> None:
    """A key that nobody asks for is a leftover; codes and steps come from other rooms."""
    texts = {"texts.py", "french.py", "english.py"}
    source = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "ui").glob("*.py") if p.name not in texts)
    heard = codes_of_errors() | codes_in_the_source() | {"downloading", "assembling", "checking", "loading"}
    heard |= {"hub_unreachable", "using_embedded", "answer_empty", "information_first", "information_rest",
              "lexical_only", *SAID_BY_TIERS}  # fmt: skip
    # Keys that are put together from what they speak of.
    heard |= {f"{skill}_{level}" for skill in SKILLS for level in LEVELS}
    heard |= {f"delta_{delta}" for delta in get_args(Delta)} | {f"try_{advice}" for advice in get_args(Advice)}
    heard |= {f"title_{title}{end}" for title in get_args(Title) for end in ("", "_why")}
    heard |= {f"validity_{validity}" for validity in get_args(Validity)} | {f"reason_{reason}" for reason in REASONS}
    heard |= {f"mode_{kind}" for kind in KINDS} | {"tier_free", "tier_premium"}
    heard |= {*SKILLS, "export_markdown", "export_fiche", "export_copy"}
    assert [key for key in TEXTS["fr"] if not re.search(rf"['\"]{key}['\"]", source) and key not in heard] == []
