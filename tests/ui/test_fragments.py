"""What we draw ourselves: portraits, cards, notices; nothing of a file or a pupil passes unescaped."""

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from personas import PERSONAS, get_persona
from tiers.base import TierStatus
from ui import fragments
from ui.texts import FRENCH, Language, tied

KANT = get_persona("kant")
READY = TierStatus("ready", "ready")
EVIL = '<img src=x onerror="alert(1)">'


@pytest.mark.parametrize("key", sorted(PERSONAS))
def test_every_philosopher_has_a_portrait_of_our_own(key: str) -> None:
    svg = fragments.portrait(key)
    drawing = ET.fromstring(svg)  # noqa: S314 - our own file
    assert drawing.attrib["aria-hidden"] == "true"
    assert not re.search(r"<(script|image|foreignObject|style|use)|href|url\(", svg)
    assert len(svg) < 8_000


def test_a_persona_without_a_portrait_is_shown_without() -> None:
    assert fragments.portrait("hume") == ""


@pytest.mark.parametrize("language", ["fr", "en"])
def test_one_card_is_pressed(language: Language) -> None:
    html = fragments.cards(language, "kant")
    assert html.count('class="card"') == len(PERSONAS)
    assert re.findall(r'data-persona="(\w+)" aria-pressed="true"', html) == ["kant"]
    assert (tied(KANT.tagline) if language == "fr" else KANT.tagline_en) in html.replace("&#x27;", "'")


def test_what_comes_from_a_file_is_escaped() -> None:
    evil = replace(KANT, short_name=EVIL, starters=(EVIL,) * 5)
    for html in (
        fragments.heading("fr", evil),
        fragments.information("fr", evil),
        fragments.starters("fr", evil, shown=True),
    ):
        assert "<img" not in html
    assert "<img" not in fragments.notice(EVIL, "error")


@pytest.mark.parametrize(
    ("waiting", "eta_s", "said"),
    [
        (0, 9.0, None),
        (1, None, FRENCH["ahead"].format(place=2)),
        (3, 0.0, FRENCH["ahead"].format(place=4)),
        (3, 41.7, FRENCH["ahead_eta"].format(place=4, seconds=42)),
        (1, 0.2, FRENCH["ahead_eta"].format(place=2, seconds=1)),
    ],
)
def test_the_place_is_told_before_sending(waiting: int, eta_s: float | None, said: str | None) -> None:
    html = fragments.queue("fr", waiting, eta_s).replace("&#x27;", "'")
    assert html == "" if said is None else f">{said}<" in html


def test_a_debate_is_headed_by_both() -> None:
    both = fragments.heading("fr", KANT, get_persona("spinoza"))
    assert re.sub("<[^>]+>", "", both) == "Débat entre Kant et Spinoza"
    assert re.sub("<[^>]+>", "", fragments.heading("fr", KANT)) == "Conversation avec Kant"


def test_no_starters_once_the_pupil_has_spoken() -> None:
    assert fragments.starters("fr", KANT, shown=False) == ""
    chips = fragments.starters("fr", KANT, shown=True)
    assert chips.count('class="chip"') == 5
    assert chips.count("\u202f?") >= 5, "no question mark begins a line of its own"
    assert fragments.starters("fr", KANT, shown=True).count('data-starter="surprise"') == 1


@pytest.mark.parametrize(
    ("progress", "shown"), [(None, None), (0.0, "0"), (0.256, "26"), (1.0, "100"), (7.0, "100"), (-1, "0")]
)
def test_progress_stays_between_0_and_100(progress: float | None, shown: str | None) -> None:
    assert re.findall(r'value="(\d+)"', fragments.notice("Attends.", "wait", progress)) == ([shown] if shown else [])


def test_no_sentence_no_notice() -> None:
    assert fragments.notice("") == ""


@pytest.mark.parametrize(
    ("status", "said", "not_said"),
    [
        (READY, [], ["ready"]),
        (TierStatus("preparing", "downloading", 0.5), ["downloading"], ["ready"]),
        (TierStatus("failed", "disk_full"), ["disk_full", "nobody_answers"], []),
        (TierStatus("failed", "engine_failed"), ["engine_down", "nobody_answers"], ["engine_failed"]),
        (replace(READY, notices=("hub_unreachable", "using_embedded")), ["hub_unreachable", "using_embedded"], []),
        (
            TierStatus("failed", "source_corrupt", notices=("model_missing", "using_embedded")),
            ["model_missing", "source_corrupt", "nobody_answers"],
            ["using_embedded"],
        ),
        (TierStatus("preparing", "loading", notices=("retrieval",)), ["retrieval", "loading"], []),
    ],
)
def test_status_in_words(status: TierStatus, said: list[str], not_said: list[str]) -> None:
    html = fragments.status("fr", status).replace("&#x27;", "'")
    assert all(FRENCH[key] in html for key in said)
    assert not any(FRENCH[key] in html for key in not_said)


def test_the_end_of_a_preparation_is_said_once() -> None:
    assert FRENCH["ready"] in fragments.status("fr", READY, was_preparing=True)
    assert fragments.status("fr", READY) == ""
