"""The main job, end to end: `python app.py`, the embedded model that `make setup` assembles, pupils in Chromium."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.pupil import WATCH, RunningApp, ask, bot, box, choose, picture, pupil, settled, until_ready
from ui.texts import FRENCH

pytestmark = [pytest.mark.browser, pytest.mark.model]
StartApp = Callable[..., RunningApp]
OpenPage = Callable[[RunningApp], Page]
PUPILS = {"spinoza": "Spinoza", "bergson": "Bergson", "kant": "Kant"}
QUESTIONS = {
    "spinoza": "Pourquoi je m'énerve alors que je sais que ça ne sert à rien ?",
    "bergson": "Pourquoi le temps passe plus vite quand je m'amuse ?",
    "kant": "Si je mens pour aider un ami, est-ce que c'est mal ?",
}


@pytest.mark.smoke
def test_a_pupil_talks_with_kant(embedded_app: RunningApp, open_page: OpenPage) -> None:
    """Choose, ask, see words arrive, ask again; nothing the pupil wrote is in the log."""
    page = open_page(embedded_app)
    choose(page, "kant", "Kant")
    ask(page, QUESTIONS["kant"])
    expect(bot(page)).to_have_count(2)
    settled(page)
    first = bot(page).nth(1).inner_text()
    assert len(first.split()) >= 3
    ask(page, "Je comprends pas trop, tu peux donner un exemple ?")
    expect(bot(page)).to_have_count(3)
    settled(page)
    assert len(bot(page).nth(2).inner_text().split()) >= 3
    picture(page, "first-light")
    log = embedded_app.said()
    assert "mens pour aider" not in log
    assert "donner un exemple" not in log
    assert first[:30] not in log


@pytest.mark.proof
def test_three_answers_grow_side_by_side(embedded_app: RunningApp, open_page: OpenPage) -> None:
    """Two tabs and a third ask at the same time; each philosopher answers his own pupil, none waits for another."""
    tabs = {key: open_page(embedded_app) for key in PUPILS}
    for key, page in tabs.items():
        choose(page, key, PUPILS[key])
        page.evaluate(WATCH)
        box(page).fill(QUESTIONS[key])
    for page in tabs.values():
        page.locator("#box .submit-button").click()
    for page in tabs.values():
        expect(bot(page)).to_have_count(2)
    picture(tabs["kant"], "together")
    for key, page in tabs.items():
        settled(page)
        expect(page.locator("#notice .notice")).to_have_count(0)
        expect(pupil(page)).to_have_text([QUESTIONS[key]])
        assert len(bot(page).last.inner_text()) > 40
    grew = [page.evaluate("window.grew") for page in tabs.values()]
    assert min(map(len, grew)) >= 2
    assert max(times[0] for times in grew) < min(times[-1] for times in grew)  # a moment in which all three grew


@pytest.mark.proof
def test_who_waits_is_told_the_place(start_app: StartApp, open_page: OpenPage, embedded_dir: Path) -> None:
    """One answer at a time: the second pupil is next, the third behind; both are answered in their turn."""
    app = start_app({"BAF_DATA_DIR": str(embedded_dir), "BAF_MAX_ACTIVE": "1"})
    first, second, third = tabs = [open_page(app) for _ in range(3)]
    until_ready(app)
    ask(first, QUESTIONS["spinoza"])
    expect(bot(first)).to_have_count(2)
    ask(second, "Est-ce que je choisis vraiment ce que je veux ?")
    expect(second.locator("#notice")).to_have_text(FRENCH["queued_next"])
    ask(third, "La joie, ça rend plus fort ?")
    expect(third.locator("#notice")).to_contain_text("tu es à la place 2 dans la file")
    picture(second, "queue-next")
    picture(third, "queue-behind")
    expect(third.locator("#notice")).to_have_text(FRENCH["queued_next"])  # the second is being answered
    for page in tabs:
        expect(bot(page)).to_have_count(2)
        settled(page)
        expect(page.locator("#notice .notice")).to_have_count(0)
