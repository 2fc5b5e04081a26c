"""What stands beside an answer and above a chat: escaped, in words, quiet while an answer comes."""

import re
from typing import Any

import pytest

from dialogue.conversation import Turn
from dialogue.maieuthon import N_EXCHANGES, Remark, remark
from personas import SCHEMES, get_persona
from personas.questions import questions_of
from ui.fragments import card, tools
from ui.french import FRENCH
from ui.margin import margin, replies_of
from ui.panels import modes, panel
from ui.session import REASONS, Margin, Session, Source, Trail
from ui.texts import Language, tied, untied

KANT = get_persona("kant")
EVIL = '<img src=x onerror="alert(1)">'
CHAT = (Turn("assistant", "Es-tu libre ?"), Turn("user", "Oui."), Turn("assistant", "Pourquoi ?"))
QUESTION = questions_of("kant")[0]
MAIEUTHON, DEBATE = Session("maieuthon", QUESTION.text), Session("debate", QUESTION.text, "spinoza")


def words(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)).replace("&#x27;", "'")


def beside(trail: Trail, **changes: Any) -> str:
    given: dict[str, Any] = {"language": "fr", "persona": KANT, "session": Session(), "turns": CHAT, "trail": trail}
    return margin(**(given | changes))


@pytest.mark.parametrize("key", sorted(SCHEMES))
def test_a_chip_opens_the_card_of_its_scheme(key: str) -> None:
    made, scheme = beside({2: Margin(scheme=key)}), SCHEMES[key]
    html = words(made)
    for part in (scheme.name, scheme.form, scheme.example, scheme.fallacy, FRENCH[f"validity_{scheme.validity}"]):
        assert untied(part) in html.replace("&amp;", "&")
    assert tied(scheme.form) in made.replace("&amp;", "&").replace("&#x27;", "'"), "with French spaces"
    assert FRENCH["scheme_here"] not in html


def test_what_the_dialogue_filled_in_is_shown() -> None:
    assert "Si tu mens, alors tu perds." in beside({2: Margin("MP", "Si tu mens, alors tu perds.")})


def test_the_path_appears_from_its_second_step() -> None:
    one, two = beside({2: Margin("MP")}), beside({0: Margin("DS"), 2: Margin("MP")})
    assert FRENCH["path_title"] not in one
    assert re.findall(r"<li>([^<]+)</li>", two) == [SCHEMES["DS"].name, SCHEMES["MP"].name]


def test_sources_are_numbered_with_locus_and_link() -> None:
    sources = (Source(1, "Kant", "Fondements", "II", "La maxime.", "", "https://example.org/a", True),
               Source(3, "Note", "", "", "Notre note.", "", "", False))  # fmt: skip
    html = beside({2: Margin(sources=sources)})
    assert re.findall(r'<li value="(\d)">', html) == ["1", "3"]
    assert "Kant, Fondements, II" in html
    assert 'href="https://example.org/a" target="_blank" rel="noopener noreferrer"' in html
    assert FRENCH["source_note"] in html.split('value="3"')[1]
    assert FRENCH["source_note"] not in html.split('value="3"')[0]


def test_a_passage_can_be_unticked_where_another_answer_can_be_had() -> None:
    one, nameless = Source(1, "Kant", "Fondements", "II", "La maxime.", 'k"1'), Source(2, "Note", "", "", "Notre note.")
    trail = {2: Margin(sources=(one, nameless), excluded=("k7",))}
    html = beside(trail)
    assert re.findall(r'<input type="checkbox" checked value="([^"]*)"', html) == ["k&quot;1"]
    assert 'data-act="without" data-gather=".sources input:not(:checked)"' in html
    assert FRENCH["sources_left"].format(count=1) in words(html)
    assert FRENCH["sources_left"].format(count=0) not in words(beside({2: Margin(sources=(one,))}))
    debate = beside({2: Margin(sources=(one,))}, session=DEBATE)
    busy = beside({3: Margin(sources=(one,))}, turns=CHAT, busy=True)
    for html in (debate, busy):
        assert "La maxime." in html
        assert "<input" not in html
        assert 'data-act="without"' not in html


def test_nothing_passes_unescaped() -> None:
    evil = Source(1, EVIL, EVIL, EVIL, EVIL, EVIL, 'https://x/"onclick="alert(1)', True)
    read = Remark(EVIL, "non", "non", "non", "debut", (), "these", EVIL)
    html = beside({2: Margin("MP", EVIL, (evil,), read)})
    html += panel("fr", KANT, Session("maieuthon", EVIL), CHAT, {2: Margin(remark=read)})
    whole = {2 * n: Margin(remark=read) for n in range(1, 6)}
    evil_chat = (Turn("user", f"Je pense que {EVIL} est là."), Turn("assistant", EVIL)) * 6
    html += beside(whole, session=MAIEUTHON, turns=evil_chat)
    assert "<img" not in html
    assert 'onclick="alert' not in html


def test_an_answer_under_way_is_not_disturbed() -> None:
    html = beside({3: Margin("MP")}, turns=CHAT, busy=True)
    assert "Modus ponens" in html
    assert "data-act" not in html
    assert beside({2: Margin("MP")}, busy=True) == ""  # the chip of the answer before is not this one's


def test_nothing_stands_beside_an_opening() -> None:
    assert beside({}, turns=CHAT[:1]) == beside({}, turns=()) == ""


@pytest.mark.parametrize(
    ("feedback", "acts"),
    [("", ["up", "down"]), ("down", [f"down:{reason}" for reason in REASONS]), ("up", []), ("wrong", [])],
)
def test_a_word_on_the_answer_then_a_reason(feedback: str, acts: list[str]) -> None:
    html = beside({2: Margin(feedback=feedback)})
    assert [act for act in re.findall(r'data-act="([^"]+)"', html) if act.startswith(("up", "down"))] == acts
    assert (FRENCH["feedback_thanks"] in html) == (feedback in ("up", "wrong"))


def test_replies_are_french_on_every_page() -> None:
    assert replies_of("en", KANT, Session()) == replies_of("fr", KANT, Session())
    assert replies_of("fr", KANT, DEBATE)[:2] == ("Kant me convainc, parce que…", "Spinoza me convainc, parce que…")


@pytest.mark.parametrize("language", ["fr", "en"])
def test_a_remark_speaks_in_words_and_gives_no_mark(language: Language) -> None:
    read = remark("Je pense que non, parce que cela me nuit.")
    html = words(beside({2: Margin(remark=read)}, language=language, session=MAIEUTHON))
    assert "« Je pense que non, parce que cela me nuit. »" in html
    assert "«\u00a0Je pense que non" in beside({2: Margin(remark=read)}, language=language, session=MAIEUTHON)
    assert not re.search(r"\d+ ?(/|sur|%|points?)", html)


def test_a_maieuthon_says_where_it_is() -> None:
    start = panel("fr", KANT, MAIEUTHON, CHAT[:1], {})
    assert QUESTION.text in words(start)
    assert FRENCH["maieuthon_rules"] in words(start)
    assert 'data-panel="redraw"' in start
    assert tied(QUESTION.text) in start
    assert tied(QUESTION.text) != QUESTION.text
    one = remark("Je pense que non.")
    later = panel("fr", KANT, MAIEUTHON, CHAT, {2: Margin(remark=one)})
    assert "Échange 2 sur 5" in words(later)
    assert 'data-panel="redraw"' not in later


def test_a_maieuthon_ends_with_a_recap() -> None:
    said = [f"Je pense que la raison numéro {n} compte, car je la vois, donc je la tiens." for n in range(N_EXCHANGES)]
    said[-1] = "Mais je distingue deux raisons, car la première oblige, donc je la tiens."
    turns: list[Turn] = [*CHAT]  # its answer was stopped: no exchange
    trail: dict[int, Margin] = {}
    for text in said:
        turns += [Turn("user", text), Turn("assistant", "Et pourquoi ?")]
        trail[len(turns) - 1] = Margin("MT", remark=remark(text))
    assert FRENCH["steps_over"] in words(panel("fr", KANT, MAIEUTHON, turns, trail))
    html = words(beside(trail, session=MAIEUTHON, turns=turns))
    for key in ("recap", "recap_path", "recap_best", "recap_schemes", "to_try", "recap_formative", "title_batisseur"):
        assert FRENCH[key] in html
    assert said[0] in html
    assert f"{FRENCH['recap_best']} « {said[-1]} »" in html


def test_a_debate_shows_both_and_lets_the_pupil_choose() -> None:
    html = panel("fr", KANT, DEBATE, (), {})
    assert re.findall(r'data-panel="other:(\w+)" aria-pressed="(\w+)"', html) == [
        ("spinoza", "true"),
        ("bergson", "false"),
    ]
    begun = panel("fr", KANT, DEBATE, (Turn("assistant", "**Kant**\n\nNon."),), {})
    assert "data-panel" not in begun


def test_an_ordinary_talk_has_no_panel_and_its_mode_is_pressed() -> None:
    assert panel("fr", KANT, Session(), CHAT, {}) == ""
    assert re.findall(r'data-mode="(\w+)" aria-pressed="true"', modes("fr", DEBATE)) == ["debate"]


def test_files_are_offered_once_something_was_said() -> None:
    assert tools("fr", shown=False) == ""
    assert re.findall(r'data-tool="(\w+)"', tools("en", shown=True)) == ["markdown", "fiche", "copy"]


def test_the_numbers_of_the_card_can_be_dialled() -> None:
    lines = "- Idées noires : **3114** (gratuit).\n- Danger : **15** ou **112**."
    html = card("fr", f"Je suis un programme.\n\n{lines}\n\nParle <b>.")
    assert re.findall(r'href="tel:(\d+)"', html) == ["3114", "15", "112"]
    assert html.count("<li>") == 2
    assert html.count("<p>") == 2
    assert "<b>." not in html
    assert 'role="alert"' in html
    assert card("fr", "") == ""
