"""A pupil at the page, in real Chromium: choose, ask, watch, stop, ask again, edit, begin anew."""

import re
import time
from collections.abc import Callable

import pytest
from fastapi import FastAPI
from playwright.sync_api import Page, expect

from dialogue.conversation import MAX_MESSAGE_CHARS
from errors import EngineBusy, EngineTimeout, TierUnavailable
from personas import PERSONAS
from tests.browser.pupil import ANSWER, WATCH, Stage, ask, bot, box, choose, pupil, say, settled, words
from tests.serving import serving
from tiers.base import Notice, Queued, TierStatus, Token, Warming
from ui.texts import ENGLISH, FRENCH

# The server shares this process: a deprecation inside Gradio, raised as an error, would break the page that we test.
pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore")]
KANT = PERSONAS["kant"]
LONG = " ".join(["Encore un mot de plus dans cette longue réponse,"] * 14)


def eventually(holds: Callable[[], bool], within_s: float = 30.0) -> bool:
    """Wait for something that the page does not show."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.05)
    return holds()


def test_the_page_is_french_and_opens_with_a_question(stage: Stage) -> None:
    page = stage.new_page(locale="en-US")
    assert page.evaluate("document.documentElement.lang") == "fr"
    expect(bot(page)).to_have_text(PERSONAS["spinoza"].opening)
    expect(page.locator(".information")).to_contain_text("Tu parles à un programme qui imite Spinoza.")
    expect(page.locator(".card")).to_have_count(3)
    expect(page.locator(".card svg")).to_have_count(3)
    expect(page.locator("footer")).to_have_count(0)


def test_choosing_a_philosopher_begins_a_conversation_with_him(stage: Stage) -> None:
    page = stage.new_page()
    say(page, "Je veux.")
    expect(bot(page).last).to_contain_text("ce désir ?")
    choose(page, "kant", "Kant")
    expect(bot(page)).to_have_count(1)
    expect(bot(page)).to_have_text(KANT.opening)
    expect(pupil(page)).to_have_count(0)
    expect(box(page)).to_have_attribute("placeholder", "Écris à Kant…")
    ask(page, "Je pense que oui.")
    settled(page)
    asked = stage.tier.received[-1]
    assert (asked.persona, [turn.text for turn in asked.turns]) == (KANT, [KANT.opening, "Je pense que oui."])


def test_tokens_arrive_growing(stage: Stage) -> None:
    stage.tier.script, stage.tier.pause_s = words(LONG), 0.02
    page = stage.new_page()
    page.evaluate(WATCH)
    say(page, "Parle-moi longtemps.")
    expect(bot(page)).to_have_count(2)
    settled(page)
    expect(bot(page).last).to_contain_text(LONG[-40:])
    assert len(page.evaluate("window.grew")) >= 3
    assert not page.evaluate("window.shrank")


def test_stop_frees_the_tier_and_keeps_what_was_said(stage: Stage) -> None:
    stage.tier.script, stage.tier.pause_s = words(LONG), 0.3
    page = stage.new_page()
    say(page, "Parle.")
    expect(bot(page)).to_have_count(2)
    page.get_by_role("button", name="Arrêter").click()
    settled(page)
    assert eventually(lambda: stage.tier.closed_early == 1)
    expect(page.locator("#notice")).to_contain_text(FRENCH["stopped"])
    partial = bot(page).last.inner_text()
    assert partial
    assert len(partial) < len(LONG)
    page.wait_for_timeout(600)
    assert bot(page).last.inner_text() == partial
    stage.tier.script, stage.tier.pause_s = words(ANSWER), 0.01
    say(page, "Continue.")
    expect(bot(page)).to_have_count(3)
    settled(page)


def test_stop_before_the_first_word_gives_the_message_back(stage: Stage) -> None:
    stage.tier.pause_s = 30.0
    page = stage.new_page()
    say(page, "Ma question à moi.")
    expect(pupil(page)).to_have_count(1)
    assert eventually(lambda: bool(stage.tier.received))
    page.get_by_role("button", name="Arrêter").click()
    expect(box(page)).to_have_value("Ma question à moi.")
    expect(pupil(page)).to_have_count(0)
    assert eventually(lambda: stage.tier.closed_early == 1)


def test_another_answer(stage: Stage) -> None:
    page = stage.new_page()
    ask(page, "Je veux.")
    settled(page)
    stage.tier.script = words("Autrement dit : que veux-tu ?")
    page.get_by_role("button", name=FRENCH["icon_retry"]).click()
    expect(bot(page).last).to_have_text("Autrement dit : que veux-tu ?")
    settled(page)
    expect(bot(page)).to_have_count(2)
    expect(pupil(page)).to_have_count(1)
    assert stage.tier.received[0] == stage.tier.received[1]


def test_an_edited_message_is_answered_anew(stage: Stage) -> None:
    page = stage.new_page()
    for text in ("Premier.", "Second."):
        ask(page, text)
        settled(page)
    edit(page, 0, "Corrigé.")
    expect(pupil(page)).to_have_text(["Corrigé."])
    expect(bot(page).last).to_have_text(ANSWER)
    expect(bot(page)).to_have_count(2)
    assert [turn.text for turn in stage.tier.received[-1].exchanges] == ["Corrigé."]


def test_an_edit_that_cannot_be_used_gives_both_texts_back(stage: Stage) -> None:
    page = stage.new_page()
    ask(page, "Premier.")
    settled(page)
    edit(page, 0, "x" * (MAX_MESSAGE_CHARS + 1))
    expect(page.locator("#notice")).to_contain_text("trop long")
    expect(pupil(page)).to_have_text(["Premier."])
    expect(bot(page)).to_have_count(2)
    assert len(box(page).input_value()) == MAX_MESSAGE_CHARS + 1
    assert len(stage.tier.received) == 1


def edit(page: Page, index: int, text: str) -> None:
    page.get_by_role("button", name=FRENCH["icon_edit"]).nth(index).click()
    page.locator("#chat textarea").fill(text)
    page.get_by_role("button", name=FRENCH["icon_edit_submit"], exact=True).click()


def test_a_new_conversation_forgets_the_old_one(stage: Stage) -> None:
    page = stage.new_page()
    ask(page, "Un secret.")
    settled(page)
    page.get_by_role("button", name=FRENCH["new_conversation"]).last.click()
    expect(pupil(page)).to_have_count(0)
    expect(page.locator(".chip")).to_have_count(5)
    ask(page, "Autre chose.")
    settled(page)
    assert "Un secret." not in [turn.text for turn in stage.tier.received[-1].turns]


def test_a_starter_is_said_by_the_pupil(stage: Stage) -> None:
    page = stage.new_page()
    choose(page, "kant", "Kant")
    page.locator(".chip", has_text=KANT.starters[2]).click()
    expect(pupil(page)).to_have_text(KANT.starters[2])
    expect(bot(page).last).to_have_text(ANSWER)
    expect(page.locator(".chip")).to_have_count(0)


def test_english_changes_every_label_in_place(stage: Stage) -> None:
    page = stage.new_page()
    choose(page, "kant", "Kant")
    page.locator('[data-language="en"]').click()
    expect(page.locator("#heading")).to_have_text("Conversation with Kant")
    expect(bot(page)).to_have_text(KANT.opening_en)
    expect(page.locator(".chip").first).to_have_text(KANT.starters_en[0])
    expect(page.locator(".information")).to_contain_text(ENGLISH["information_rest"])
    expect(box(page)).to_have_attribute("placeholder", "Write to Kant…")
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    page.locator(".chip").first.click()
    expect(pupil(page)).to_have_text(KANT.starters_en[0])
    settled(page)
    expect(page.get_by_role("button", name=ENGLISH["icon_retry"])).to_be_visible()
    # Whatever the page shows, a tier is asked in French.
    assert [turn.text for turn in stage.tier.received[-1].turns] == [KANT.opening, KANT.starters[0]]
    page.locator('[data-language="fr"]').click()
    expect(page.locator("#heading")).to_have_text("Conversation avec Kant")
    expect(page.get_by_role("button", name=FRENCH["icon_retry"])).to_be_visible()
    expect(bot(page).last).to_have_text(ANSWER)


def test_the_language_changes_while_an_answer_comes(stage: Stage) -> None:
    stage.tier.script, stage.tier.pause_s = words(LONG), 0.2
    page = stage.new_page()
    say(page, "Parle.")
    expect(bot(page)).to_have_count(2)
    page.locator('[data-language="en"]').click()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    stage.tier.pause_s = 0.005  # the rest comes at once
    expect(bot(page).last).to_contain_text(LONG[-40:])
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    expect(page.get_by_role("group", name=ENGLISH["feedback"])).to_be_visible()
    expect(bot(page).first).to_have_text(PERSONAS["spinoza"].opening_en)
    assert stage.tier.closed_early == 0


def test_light_and_dark_follow_the_system_then_the_pupil(stage: Stage) -> None:
    paper, night = "rgb(248, 244, 236)", "rgb(23, 22, 20)"
    for scheme, first, second in (("light", paper, night), ("dark", night, paper)):
        page = stage.new_page(scheme=scheme)
        expect(page.locator("gradio-app")).to_have_css("background-color", first)
        page.locator(".theme").click()
        expect(page.locator("gradio-app")).to_have_css("background-color", second)
        page.reload()
        expect(bot(page)).to_have_count(1)
        expect(page.locator("gradio-app")).to_have_css("background-color", second)


def test_nothing_slides_sideways(stage: Stage) -> None:
    page = stage.new_page(width=390, height=844)
    ask(page, "Un mot" + "long" * 60 + " et une suite.")
    settled(page)
    for width, height in ((390, 844), (320, 568), (820, 1180), (1440, 900)):
        page.set_viewport_size({"width": width, "height": height})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        expect(page.locator("#box .submit-button")).to_be_in_viewport()
        expect(page.locator(".card").last).to_be_visible()


def test_two_pupils_never_see_each_other(stage: Stage) -> None:
    stage.tier.pause_s = 0.1
    first, second = stage.new_page(), stage.new_page()
    choose(second, "kant", "Kant")
    ask(first, "Je suis le premier.")
    ask(second, "Je suis le second.")
    settled(first)
    settled(second)
    expect(pupil(first)).to_have_text(["Je suis le premier."])
    expect(pupil(second)).to_have_text(["Je suis le second."])
    seen = {c.persona.key: [turn.text for turn in c.exchanges] for c in stage.tier.received}
    assert seen == {"spinoza": ["Je suis le premier."], "kant": ["Je suis le second."]}


def test_an_empty_message_is_not_sent(stage: Stage) -> None:
    page = stage.new_page()
    for text in ("", "   \n ", "\u200e\u0007"):
        say(page, text)
        expect(page.locator("#notice")).to_have_text(FRENCH["message_empty"])
        for language in ("en", "fr"):  # which clears the notice
            page.locator(f'[data-language="{language}"]').click()
            expect(page.locator("html")).to_have_attribute("lang", language)
        expect(page.locator("#notice .notice")).to_have_count(0)
    assert stage.tier.received == []
    ask(page, "Maintenant.")
    expect(bot(page).last).to_have_text(ANSWER)
    expect(page.locator("#notice .notice")).to_have_count(0)


def test_twenty_thousand_characters_stay_in_the_box(stage: Stage) -> None:
    page = stage.new_page()
    text = "Une phrase. " * 1_700
    say(page, text)
    expect(page.locator("#notice")).to_contain_text(f"{MAX_MESSAGE_CHARS} caractères au plus")
    assert box(page).input_value() == text
    expect(pupil(page)).to_have_count(0)
    assert stage.tier.received == []


def test_control_characters_and_markup_are_harmless(stage: Stage) -> None:
    page = stage.new_page()
    ask(page, "Suis-je\u0007 \u202elibre\u0000 ? <img src=x onerror=\"document.title='pris'\"><script>1</script>")
    settled(page)
    sent = stage.tier.received[-1].turns[-1].text
    assert sent.startswith("Suis-je libre ? <img")
    assert page.title() == "Bergson and Friends"
    assert page.locator("#chat script").count() == 0


def test_what_a_model_writes_runs_nothing_and_asks_no_other_machine(stage: Stage) -> None:
    """T15: HTML, scripts, addresses that are code, and images of elsewhere, as Markdown or as HTML."""
    elsewhere, asked = FastAPI(), []
    elsewhere.get("/{path:path}")(lambda path: asked.append(path))
    page = stage.new_page()
    with serving(elsewhere) as away:
        payloads = (
            f"![a]({away}/markdown.png)",
            f"<img src='{away}/html.png'>",
            "<img src=x onerror=\"document.title='pris'\">",
            "<script>document.title='pris'</script>",
            f"<iframe src='{away}/frame'></iframe>",
            f"<object data='{away}/object'></object>",
            f"<video src='{away}/video' autoplay></video>",
            "[clique](javascript:document.title='pris')",
            "<a href=\"javascript:document.title='pris'\">ici</a>",
            f"<style>body{{background:url({away}/css.png)}}</style>",
            "<svg onload=\"document.title='pris'\"></svg>",
            "La fin.",
        )
        stage.tier.script = words("\n\n".join(payloads))
        ask(page, "Que dis-tu ?")
        settled(page)
        expect(bot(page).last).to_contain_text("La fin.")
        for link in bot(page).last.locator("a").all():
            link.click()
        page.wait_for_timeout(300)
    assert asked == []
    assert page.title() == "Bergson and Friends"
    assert page.locator("#chat script, #chat iframe, #chat object").count() == 0


ERRORS = {
    "engine_busy": EngineBusy("16 wait."),
    "engine_timeout": EngineTimeout("60 s passed."),
    "model_missing": TierUnavailable("No model.", code="model_missing"),
    "tier_unavailable": TierUnavailable("Not configured."),
    "conversation_too_long": TierUnavailable("Too long.", code="conversation_too_long"),
    "internal": RuntimeError("Un secret du moteur"),
}


def test_an_error_is_one_sentence_and_the_message_comes_back(stage: Stage) -> None:
    page = stage.new_page()
    box(page).fill("Ma question.")
    for key, error in ERRORS.items():
        stage.tier.script = (error,)
        page.locator("#box .submit-button").click()
        expect(page.locator("#notice .error")).to_have_text(FRENCH[key])
        expect(box(page)).to_have_value("Ma question.")
        expect(pupil(page)).to_have_count(0)
    stage.tier.script = words(ANSWER)
    page.locator("#box .submit-button").click()
    expect(bot(page).last).to_have_text(ANSWER)
    expect(page.locator("#notice .notice")).to_have_count(0)


def test_what_was_said_before_an_error_stays(stage: Stage) -> None:
    page = stage.new_page()
    stage.tier.script = (*words("Par substance j'entends"), TierUnavailable("It fell.", code="engine_failed"))
    say(page, "Définis.")
    expect(page.locator("#notice .error")).to_have_text(FRENCH["engine_failed"])
    expect(bot(page).last).to_have_text("Par substance j'entends")
    expect(box(page)).to_have_value("")


def test_a_failed_retry_gives_the_old_answer_back(stage: Stage) -> None:
    page = stage.new_page()
    ask(page, "Je veux.")
    settled(page)
    stage.tier.script = (EngineBusy("16 wait."),)
    page.get_by_role("button", name=FRENCH["icon_retry"]).click()
    expect(page.locator("#notice .error")).to_have_text(FRENCH["engine_busy"])
    expect(bot(page).last).to_have_text(ANSWER)
    expect(box(page)).to_have_value("")


def test_the_queue_is_shown(stage: Stage) -> None:
    page = stage.new_page()
    stage.tier.pause_s = 2.0
    stage.tier.script = (Queued(3, 12.4), Queued(1), Notice("hub_unreachable"), *words("Voilà."))
    say(page, "Et moi ?")
    expect(page.locator("#notice")).to_contain_text("place 3 dans la file, encore 12 s")
    expect(page.locator("#notice")).to_contain_text(FRENCH["queued_next"])
    expect(page.locator("#notice")).to_contain_text(FRENCH["hub_unreachable"])
    expect(bot(page).last).to_have_text("Voilà.")


def test_preparing_then_ready(stage: Stage) -> None:
    stage.tier.status = TierStatus("preparing", "downloading", 0.25)
    page = stage.new_page()
    expect(page.locator("#status")).to_contain_text(FRENCH["downloading"])
    expect(page.locator("#status")).to_contain_text("25 %")
    stage.tier.script, stage.tier.pause_s = (Warming("loading"), Warming("loading"), *words(ANSWER)), 1.0
    say(page, "Je n'attends pas.")
    expect(page.locator("#notice")).to_contain_text(FRENCH["loading"])
    expect(bot(page).last).to_contain_text("ce désir ?")
    stage.tier.status = TierStatus("ready", "ready", notices=("hub_unreachable", "using_embedded"))
    expect(page.locator("#status")).to_contain_text(FRENCH["ready"])
    expect(page.locator("#status")).to_contain_text(FRENCH["hub_unreachable"])
    expect(page.locator("#status progress")).to_have_count(0)
    page.wait_for_timeout(1_500)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.wait_for_timeout(2_500)
    assert [url for url in requests if "queue/join" in url] == []  # the timer has stopped


def test_a_failed_tier_says_why(stage: Stage) -> None:
    stage.tier.status = TierStatus("failed", "source_unreachable")
    page = stage.new_page()
    expect(page.locator("#status .error")).to_contain_text(FRENCH["source_unreachable"])
    expect(page.locator("#status .error")).to_contain_text(FRENCH["nobody_answers"])


@pytest.mark.parametrize("pause_s", [0.3, 30.0], ids=["while it speaks", "while it thinks"])
def test_a_closed_page_frees_the_tier(stage: Stage, pause_s: float) -> None:
    stage.tier.script, stage.tier.pause_s = words(LONG), pause_s
    page = stage.new_page()
    say(page, "Parle.")
    assert eventually(lambda: bool(stage.tier.received))
    if pause_s < 1:
        expect(bot(page)).to_have_count(2)
    page.context.close()
    assert eventually(lambda: stage.tier.closed_early == 1)


@pytest.mark.parametrize("leave", ["choose", "new"])
def test_leaving_a_conversation_frees_the_tier(stage: Stage, leave: str) -> None:
    stage.tier.script, stage.tier.pause_s = words(LONG), 0.3
    page = stage.new_page()
    say(page, "Parle.")
    expect(bot(page)).to_have_count(2)
    if leave == "choose":
        choose(page, "kant", "Kant")
    else:
        page.locator("#new").click()
    expect(pupil(page)).to_have_count(0)
    assert eventually(lambda: stage.tier.closed_early == 1)
    page.wait_for_timeout(500)
    expect(bot(page)).to_have_count(1)
    stage.tier.script, stage.tier.pause_s = words(ANSWER), 0.01
    say(page, "Et toi ?")
    expect(bot(page).last).to_have_text(ANSWER)


def test_enter_while_an_answer_comes_sends_nothing(stage: Stage) -> None:
    stage.tier.script, stage.tier.pause_s = words(LONG), 0.15
    page = stage.new_page()
    say(page, "Parle.")
    expect(bot(page)).to_have_count(2)
    box(page).fill("Attends")
    box(page).press("Enter")
    page.wait_for_timeout(1_000)  # whatever Enter did has been done
    stage.tier.pause_s = 0.005
    settled(page)
    expect(pupil(page)).to_have_count(1)
    expect(box(page)).to_have_value("Attends")
    assert len(stage.tier.received) == 1


def test_keyboard_alone(stage: Stage) -> None:
    page = stage.new_page()
    page.locator('[data-persona="bergson"]').focus()
    page.keyboard.press("Enter")
    expect(page.locator("#heading h2")).to_contain_text("Bergson")
    expect(page.locator('[data-persona="bergson"]')).to_be_focused()
    box(page).focus()
    page.keyboard.type("Le temps passe.")
    page.keyboard.press("Enter")
    expect(bot(page).last).to_have_text(ANSWER)
    expect(box(page)).to_have_value("")


def test_every_control_has_a_name(stage: Stage) -> None:
    page = stage.new_page()
    ask(page, "Je veux.")
    settled(page)
    unnamed = page.evaluate(
        """[...document.querySelectorAll("button, textarea, [role=log]")].filter((e) => e.offsetParent).filter((e) =>
            !(e.ariaLabel || e.title || e.textContent.trim() || e.labels?.[0]?.innerText)).map((e) => e.outerHTML)"""
    )
    assert unnamed == []
    assert page.locator("#notice").get_attribute("aria-live") == "polite"
    assert not re.search(r"\b(Retry|Edit|Copy|Clear)\b", " ".join(page.locator("button").evaluate_all(
        "buttons => buttons.map((button) => button.ariaLabel ?? '')")))  # fmt: skip


def test_the_page_asks_nothing_of_other_machines(stage: Stage) -> None:
    page = stage.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    expect(bot(page)).to_have_count(1)
    ask(page, "Je veux.")
    settled(page)
    assert [url for url in asked if not url.startswith((stage.url, "data:", "blob:"))] == []
    # The conversation is kept by the browser, and by nothing else.
    page.wait_for_function("Object.keys(localStorage).some((key) => key.startsWith('baf-talk-'))")
    kept = page.evaluate("Object.keys(localStorage)")
    assert sorted(key[:9] for key in kept) == ["baf-brows", "baf-talk-"]
    assert page.context.cookies() == []


def test_a_token_at_a_time_or_all_at_once(stage: Stage) -> None:
    stage.tier.script, stage.tier.pause_s = (Token(LONG),), 0.0
    page = stage.new_page()
    say(page, "Vite.")
    expect(bot(page).last).to_contain_text(LONG[-40:])
    settled(page)
