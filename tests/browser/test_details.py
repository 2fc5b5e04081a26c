"""Small things of the page: what is deleted stays so, a low window, a teacher's link, keys alone, other languages."""

import json

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.pupil import ANSWER, Stage, ask, bot, box, pupil, say, settled, words
from tests.browser.test_walks import LONG, said_in, shelf, talks
from tests.serving import wait_until
from ui.texts import ENGLISH, FRENCH

# The server shares this process: a deprecation inside Gradio, raised as an error, would break the page that we test.
pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore")]
LINK = "/?philo=kant&q=Suis-je%20libre%20%3F"


def opened(page: Page, address: str) -> None:
    """Go there, and wait until the page has opened what it should."""
    page.goto(address)
    page.wait_for_function("document.querySelector('#status')?.role && !location.search")
    page.wait_for_timeout(500)


def lowest(page: Page) -> dict[str, float]:
    """Where the conversation ends and where the box begins, in pixels of the window."""
    found: dict[str, float] = page.evaluate(
        """() => {
            const at = (id) => document.getElementById(id).getBoundingClientRect();
            return { talk: at("margin").bottom, box: at("box").top };
        }"""
    )
    return found


@pytest.mark.parametrize(("how", "kind"), [("delete", "talk"), ("erase", "talk"), ("delete", "debate")])
def test_what_is_deleted_while_it_is_answered_stays_deleted(stage: Stage, how: str, kind: str) -> None:
    stage.tier.script, stage.tier.pause_s = words(LONG), 0.05
    page = stage.new_page()
    if kind == "debate":
        page.locator('[data-mode="debate"]').click()
        page.locator('[data-panel="begin"]').click()
    else:
        say(page, "Un secret.")
    wait_until(lambda: len(talks(page)) == 1)
    shelf(page)
    held: list[Route] = []
    for way in ("**/queue/join*", "**/cancel"):
        page.route(way, lambda route: held.append(route))  # the server hears of it late: the answer goes on meanwhile
    if how == "erase":
        page.get_by_role("button", name=FRENCH["kept_erase"]).click()
        page.get_by_role("button", name=FRENCH["kept_sure"]).click()
    else:
        page.locator("#kept-dialog li button", has_text=FRENCH["kept_delete"]).click()
    length = len(bot(page).last.inner_text())
    page.wait_for_timeout(1_200)
    assert len(bot(page).last.inner_text()) > length
    assert talks(page) == []
    for route in held:
        route.continue_()
    page.unroute_all()
    expect(pupil(page)).to_have_count(0)
    expect(bot(page)).to_have_count(0 if kind == "debate" else 1)
    page.wait_for_timeout(700)
    assert talks(page) == []
    # What is said next is kept again.
    page.get_by_role("button", name=FRENCH["kept_close"]).click()
    page.locator('[data-mode="talk"]').click()
    expect(bot(page)).to_have_count(1)
    stage.tier.script, stage.tier.pause_s = words(ANSWER), 0.01
    ask(page, "Autre chose.")
    settled(page)
    wait_until(lambda: [said_in(talk) for talk in talks(page)] == [["Autre chose."]])


def test_after_the_list_is_erased_beside_an_empty_chat_talks_are_kept_as_before(stage: Stage) -> None:
    page = stage.new_page()
    ask(page, "Un.")
    settled(page)
    page.locator("#new").click()
    expect(pupil(page)).to_have_count(0)
    shelf(page)
    page.get_by_role("button", name=FRENCH["kept_erase"]).click()
    page.get_by_role("button", name=FRENCH["kept_sure"]).click()
    page.get_by_role("button", name=FRENCH["kept_close"]).click()
    ask(page, "Deux.")
    settled(page)
    wait_until(lambda: [said_in(talk) for talk in talks(page)] == [["Deux."]])


@pytest.mark.parametrize(("width", "height"), [(390, 600), (844, 390), (1366, 600), (1366, 400)])
def test_a_low_window_shows_the_whole_conversation(stage: Stage, width: int, height: int) -> None:
    page = stage.new_page(width=width, height=height)
    stage.tier.script = words(LONG)
    expect(page.locator("#header h1")).to_be_in_viewport()  # what to know first is read first
    for text in ("Un.", "Deux."):
        ask(page, text)
        settled(page)
    expect(page.locator(".replies")).to_be_visible()
    page.wait_for_timeout(300)
    edges = lowest(page)
    assert edges["talk"] <= edges["box"]
    expect(page.locator("#box .submit-button")).to_be_in_viewport()
    page.locator(".reply").first.click(trial=True)  # nothing lies over it
    expect(page.locator(".reply").first).to_be_in_viewport()
    expect(bot(page).last).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_low_window_follows_an_answer_until_the_pupil_scrolls_up(stage: Stage) -> None:
    page = stage.new_page(width=390, height=600)
    stage.tier.script, stage.tier.pause_s = words(LONG), 0.02
    say(page, "Parle.")
    wait_until(lambda: page.evaluate("scrollY") > 300)
    page.evaluate("scrollTo(0, 40)")
    page.wait_for_timeout(600)
    assert page.evaluate("scrollY") < 100
    settled(page)
    assert page.evaluate("scrollY") < 100


def test_a_link_lasts_until_something_is_said(stage: Stage) -> None:
    page = stage.new_page()
    opened(page, stage.url + LINK)
    for _ in range(2):
        expect(box(page)).to_have_value("Suis-je libre ?")
        expect(page.locator("#heading h2")).to_contain_text("Kant")
        opened(page, stage.url)  # a reload, or the way back from the login
    box(page).press("Enter")
    expect(bot(page).last).to_have_text(ANSWER)
    settled(page)
    wait_until(lambda: len(talks(page)) == 1)
    page.locator("#new").click()
    expect(pupil(page)).to_have_count(0)
    opened(page, stage.url)
    expect(box(page)).to_have_value("")
    # One that is left for a kept conversation does not come back in its place.
    opened(page, stage.url + LINK)
    expect(box(page)).to_have_value("Suis-je libre ?")
    shelf(page)
    page.locator(".kept-talk").click()
    expect(pupil(page)).to_have_text("Suis-je libre ?")
    page.wait_for_timeout(500)
    opened(page, stage.url)
    expect(pupil(page)).to_have_text("Suis-je libre ?")


def test_a_word_on_an_answer_by_keys_goes_on_to_why_then_back_to_the_box(stage: Stage) -> None:
    page = stage.new_page()
    ask(page, "Un pas.")
    settled(page)
    box(page).fill("Ce que j'écris encore")
    page.locator('[data-act="down"]').focus()
    page.keyboard.press("Enter")
    why = page.locator('[data-act^="down:"]').first
    expect(why).to_be_focused()
    page.wait_for_timeout(500)
    expect(why).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".thanks")).to_be_visible()
    expect(box(page)).to_be_focused()
    expect(box(page)).to_have_value("Ce que j'écris encore")


def test_by_keys_alone_the_focus_is_never_lost(stage: Stage) -> None:
    page = stage.new_page()
    page.locator(".chip").first.focus()
    page.keyboard.press("Enter")
    expect(bot(page)).to_have_count(2)
    expect(box(page)).to_be_focused()
    settled(page)
    page.locator('[data-act="up"]').focus()
    page.keyboard.press("Space")
    expect(page.locator(".thanks")).to_be_visible()
    expect(box(page)).to_be_focused()
    page.locator('[data-mode="debate"]').focus()
    page.keyboard.press("Enter")
    expect(page.locator('[data-mode="debate"]')).to_have_attribute("aria-pressed", "true")
    expect(page.locator('[data-mode="debate"]')).to_be_focused()
    page.locator('[data-panel="redraw"]').focus()
    question = page.locator(".panel .question").inner_text()
    page.keyboard.press("Enter")
    expect(page.locator(".panel .question")).not_to_have_text(question)
    expect(page.locator('[data-panel="redraw"]')).to_be_focused()
    page.wait_for_timeout(500)  # Gradio hears no second press of a block before the first one is over
    page.locator('[data-panel="begin"]').focus()
    page.keyboard.press("Enter")
    expect(bot(page)).to_have_count(2)
    expect(box(page)).to_be_focused()
    settled(page)
    # A press with the mouse leaves the focus where it is: a phone would show its keyboard.
    page.locator('[data-act="up"]').click()
    expect(page.locator(".thanks")).to_be_visible()
    expect(box(page)).not_to_be_focused()


@pytest.mark.parametrize("locale", ["es-ES", "de-DE", "pt-BR", "fr-FR"])
def test_another_language_of_the_browser_changes_nothing(stage: Stage, locale: str) -> None:
    page = stage.new_page(locale=locale)
    again = page.get_by_role("button", name=FRENCH["icon_retry"])
    expect(page.get_by_role("button", name=FRENCH["icon_copy"])).to_be_visible()
    # An opening has no other answer, and nothing of another name stands there.
    expect(page.locator("#chat .message-buttons button:visible")).to_have_count(1)
    ask(page, "Un pas.")
    settled(page)
    expect(again).to_be_visible()
    known = {FRENCH[key] for key in ("icon_copy", "icon_retry", "icon_edit", "icon_scroll", "new_conversation")}
    named = page.locator("#chat button").evaluate_all("all => all.map((one) => one.ariaLabel).filter(Boolean)")
    assert set(named) <= known, json.dumps(named)


def test_what_is_said_in_french_is_read_as_french_on_the_english_page(stage: Stage) -> None:
    page = stage.new_page()
    page.locator('[data-language="en"]').click()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    ask(page, "Un pas.")
    settled(page)
    expect(bot(page).last).to_have_attribute("lang", "fr")
    expect(bot(page).first).to_have_attribute("lang", "en")
    expect(page.locator(".baf-live p").last).to_have_attribute("lang", "fr")
    page.locator('[data-language="fr"]').click()
    expect(bot(page).first).to_have_attribute("lang", "fr")
    page.locator('[data-language="en"]').click()
    page.locator('[data-mode="debate"]').click()
    page.locator('[data-panel="begin"]').click()
    expect(bot(page)).to_have_count(2)
    expect(bot(page).first).to_have_attribute("lang", "fr")
    settled(page)


def test_a_press_elsewhere_ends_a_renaming_and_counts(stage: Stage) -> None:
    page = stage.new_page()
    for text in ("Un.", "Deux."):
        ask(page, text)
        settled(page)
        page.locator("#new").click()
        expect(pupil(page)).to_have_count(0)
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 844})
        shelf(page)
        page.get_by_role("button", name=f"{FRENCH['kept_rename']} : ").first.click()
        page.locator("#kept-dialog input").fill(f"Autre {width}")
        page.get_by_role("button", name=FRENCH["kept_close"]).click()
        expect(page.locator("#kept-dialog")).not_to_be_visible()
        assert [talk["title"] for talk in talks(page)] == [f"Autre {width}", "Un."]
    shelf(page)
    page.get_by_role("button", name=f"{FRENCH['kept_rename']} : Autre 390").click()
    page.locator("#kept-dialog input").fill("Encore autre")
    page.keyboard.press("Escape")  # as it was
    expect(page.locator(".kept-title").first).to_have_text("Autre 390")
    page.get_by_role("button", name=f"{FRENCH['kept_rename']} : Autre 390").click()
    page.locator("#kept-dialog input").fill("Encore autre")
    page.get_by_role("button", name=f"{FRENCH['kept_delete']} : Un.").click()
    expect(page.locator(".kept-title")).to_have_text(["Encore autre"])
    expect(page.get_by_role("button", name=f"{FRENCH['kept_rename']} : Encore autre")).to_be_visible()
    assert [talk["title"] for talk in talks(page)] == ["Encore autre"]
    page.keyboard.press("Escape")
    page.locator('[data-language="en"]').click()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    shelf(page)
    expect(page.get_by_role("button", name=f"{ENGLISH['kept_rename']}: Encore autre")).to_be_visible()
    expect(page.get_by_role("button", name=f"{ENGLISH['kept_delete']}: Encore autre")).to_be_visible()
