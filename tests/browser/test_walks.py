"""Longer ways through the page: kept conversations, schemes and sources, a Maïeuthon, a debate, files, a crisis."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from dialogue.safety import card
from personas import PERSONAS, SCHEMES
from personas.questions import QUESTIONS, questions_of
from tests.browser.conftest import PATIENCE_MS, free_port
from tests.browser.pupil import ANSWER, ROOT, Stage, answers, ask, bot, box, choose, pupil, say, settled, words
from tests.serving import wait_until
from tiers.base import Card, Citation, Queued, Scheme, SchemeRead, Token
from tiers.supply import Load
from ui.texts import ENGLISH, FRENCH, untied

# The server shares this process: a deprecation inside Gradio, raised as an error, would break the page that we test.
pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore")]
KANT = PERSONAS["kant"]
LONG = " ".join(f"Voici la phrase numéro {n} de cette réponse." for n in range(60))
FILLED = "Si tu mens, alors on ne te croit plus."
RICH = (
    Scheme("MT", "contredire", told=True),
    Citation(1, "Kant", "Fondements", "section II", "Agis d'après une maxime.", "k1", "https://example.org/k"),
    Citation(2, "Note de lecture", "Le mensonge", "", "Mentir détruit la parole.", "k2", "", original=False),
    *words(ANSWER),
    SchemeRead("MT", "MT", 4, "", FILLED),
)
SAID = (
    "Je pense que non, parce que si je mens, alors plus personne ne me croit.",
    "Mais il y a une différence entre mentir et se taire.",
    "Oui.",
    "Par exemple, quand je protège un ami, est-ce que je mens encore ?",
    "Finalement je dirais que le devoir ne suffit pas toujours, puisque sans intérêt j'abandonne.",
)


def talks(page: Page) -> list[dict[str, object]]:
    """What the browser keeps, newest first."""
    kept: str = page.evaluate(
        """JSON.stringify(Object.keys(localStorage).filter((key) => key.startsWith("baf-talk-"))
            .map((key) => JSON.parse(localStorage.getItem(key))).sort((a, b) => b.at - a.at))"""
    )
    return list(json.loads(kept))


def said_in(talk: dict[str, object]) -> list[str]:
    """What the pupil said in a talk that is kept."""
    return [text for role, text in talk["turns"] if role == "user"]  # type: ignore[attr-defined]


def shelf(page: Page) -> None:
    page.locator(".kept-open").click()
    expect(page.locator("#kept-dialog")).to_be_visible()


def test_conversations_are_kept_listed_renamed_opened_and_erased(stage: Stage) -> None:
    page = stage.new_page()
    stage.tier.script = RICH
    ask(page, "Mentir, c'est mal ?")
    settled(page)
    choose(page, "kant", "Kant")
    ask(page, "Une autre question.")
    settled(page)
    both = [("kant", "Une autre question."), ("spinoza", "Mentir, c'est mal ?")]
    wait_until(lambda: [(talk["persona"], talk["title"]) for talk in talks(page)] == both)
    page.reload()  # the conversation of this tab comes back, with what stands beside it
    expect(pupil(page)).to_have_text("Une autre question.")
    expect(page.locator("#heading h2")).to_contain_text("Kant")
    expect(page.locator("summary.scheme")).to_contain_text("Modus tollens")
    shelf(page)
    expect(page.locator(".kept-talk")).to_have_count(2)
    page.get_by_role("button", name=f"{FRENCH['kept_rename']} : Mentir, c'est mal ?").click()
    page.locator("#kept-dialog input").fill("Le <b>mensonge</b>")
    page.keyboard.press("Enter")
    expect(page.locator(".kept-title").last).to_have_text("Le <b>mensonge</b>")
    page.locator(".kept-talk").last.click()
    expect(page.locator("#kept-dialog")).not_to_be_visible()
    expect(pupil(page)).to_have_text("Mentir, c'est mal ?")
    expect(page.locator("#heading h2")).to_contain_text("Spinoza")
    ask(page, "Je continue.")
    settled(page)
    wait_until(lambda: said_in(talks(page)[0]) == ["Mentir, c'est mal ?", "Je continue."])
    shelf(page)
    page.get_by_role("button", name=f"{FRENCH['kept_delete']} : Une autre question.").click()
    expect(page.locator(".kept-talk")).to_have_count(1)
    page.get_by_role("button", name=FRENCH["kept_erase"]).click()
    page.get_by_role("button", name=FRENCH["kept_sure"]).click()
    expect(page.locator("#kept-dialog")).to_contain_text(FRENCH["kept_none"])
    page.get_by_role("button", name=FRENCH["kept_close"]).click()
    expect(pupil(page)).to_have_count(0)
    assert talks(page) == []


def test_two_tabs_keep_their_own_conversations(stage: Stage) -> None:
    first = stage.new_page()
    second = first.context.new_page()
    second.goto(stage.url)
    expect(bot(second)).to_have_count(1)
    for page, text in ((first, "Dans le premier."), (second, "Dans le second.")):
        ask(page, text)
        settled(page)
    wait_until(lambda: sorted(str(talk["title"]) for talk in talks(first)) == ["Dans le premier.", "Dans le second."])
    first.reload()
    expect(pupil(first)).to_have_text("Dans le premier.")


@contextmanager
def scripted_app(port: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", "tests.browser.scripted_app", str(port), LONG, "0.05"], cwd=ROOT)
    try:
        wait_until(lambda: process.poll() is not None or answers(f"http://127.0.0.1:{port}/"), 180)
        assert process.poll() is None
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_restart_in_mid_answer_leaves_what_was_said(chromium: Browser) -> None:
    port = free_port()
    context = chromium.new_context(reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    with scripted_app(port):
        page.goto(f"http://127.0.0.1:{port}")
        expect(bot(page)).to_have_count(1)
        say(page, "Parle-moi longtemps.")
        wait_until(lambda: any("phrase numéro 4" in str(talk["turns"]) for talk in talks(page)), 60)
    page.goto("about:blank")  # left open it looks for its server every two seconds, and would reload beside us
    with scripted_app(port):
        page.goto(f"http://127.0.0.1:{port}")
        expect(pupil(page)).to_have_text("Parle-moi longtemps.")
        expect(bot(page).last).to_contain_text("phrase numéro 3")
        assert "phrase numéro 59" not in bot(page).last.inner_text()
        say(page, "Continue.")
        expect(bot(page)).to_have_count(3)
    context.close()


def test_a_scheme_its_card_and_the_sources(stage: Stage) -> None:
    stage.tier.script = RICH
    page = stage.new_page()
    ask(page, "Mentir, c'est mal ?")
    settled(page)
    page.locator("summary.scheme").click()
    sheet = page.locator(".sheet-body:visible")
    for part in (SCHEMES["MT"].form, FILLED, SCHEMES["MT"].example, SCHEMES["MT"].fallacy):
        expect(sheet).to_contain_text(part)
    page.keyboard.press("Escape")
    expect(page.locator(".sheet-body:visible")).to_have_count(0)
    expect(page.locator("summary.scheme")).to_be_focused()
    page.get_by_text("Sources (2)").click()
    page.get_by_text("Kant, Fondements, section II").click()
    expect(page.locator(".sheet-body:visible")).to_contain_text("Agis d'après une maxime.")
    expect(page.locator(".sources a")).to_have_attribute("href", "https://example.org/k")
    expect(page.locator(".sources li").last).to_contain_text(FRENCH["source_note"])
    page.locator("#heading h2").click()
    expect(page.locator(".sheet-body:visible")).to_have_count(0)
    page.locator('[data-language="en"]').click()
    expect(page.locator("summary.scheme")).to_contain_text("Scheme: Modus tollens")


def test_a_crisis_shows_the_card_and_keeps_nothing(stage: Stage) -> None:
    page = stage.new_page(width=390, height=844)
    ask(page, "Une question.")
    settled(page)
    stage.tier.script = (Token("Tu"), Card("crisis", card("fr"), card("en")))
    say(page, "Un message grave.")
    alarm = page.locator(".crisis")
    expect(alarm).to_contain_text("Ce que tu écris m'inquiète.")
    expect(alarm.locator('a[href="tel:3114"]')).to_be_visible()
    assert alarm.get_attribute("role") == "alert"
    expect(pupil(page)).to_have_text(["Une question."])
    expect(bot(page)).to_have_count(2)
    expect(box(page)).to_have_value("")
    page.wait_for_timeout(700)
    assert "Un message grave." not in json.dumps(talks(page), ensure_ascii=False)
    stage.tier.script = words(ANSWER)
    ask(page, "Autre chose.")
    settled(page)
    expect(page.locator(".crisis")).to_have_count(0)
    # The same at the first message, and when words of an answer had been shown: nothing of it stays either.
    page.locator("#new").click()
    expect(pupil(page)).to_have_count(0)
    stage.tier.script = (Card("crisis", card("fr"), card("en")),)
    say(page, "Encore un message grave.")
    expect(page.locator(".crisis")).to_be_visible()
    stage.tier.script, stage.tier.pause_s = (*words(ANSWER), Card("crisis", card("fr"), card("en"))), 0.3
    say(page, "Un autre message grave.")
    expect(bot(page)).to_have_count(2)
    expect(page.locator(".crisis")).to_be_visible()
    page.wait_for_timeout(700)
    assert "grave" not in json.dumps(talks(page), ensure_ascii=False)
    assert [talk["title"] for talk in talks(page)] == ["Une question."]  # the one before is no part of it


def test_reply_feedback_undo_surprise_and_link(stage: Stage) -> None:
    page = stage.new_page()
    ask(page, "Un premier pas.")
    settled(page)
    page.locator('[data-act="down"]').click()
    page.get_by_role("button", name=FRENCH["reason_too_long"]).click()
    expect(page.locator(".thanks")).to_have_text(FRENCH["feedback_thanks"])
    page.get_by_role("button", name="Je ne suis pas d'accord, car…").click()
    expect(box(page)).to_have_value("Je ne suis pas d'accord, car ")
    expect(box(page)).to_be_focused()
    page.keyboard.type("rien ne le montre.")
    page.keyboard.press("Enter")
    expect(pupil(page)).to_have_count(2)
    settled(page)
    expect(page.locator(".replies")).to_be_visible()
    page.get_by_role("button", name=FRENCH["undo"]).click()
    expect(pupil(page)).to_have_text(["Un premier pas."])
    expect(bot(page)).to_have_count(2)
    page.get_by_role("button", name=FRENCH["undo"]).click()
    expect(pupil(page)).to_have_count(0)
    expect(page.locator(".chip")).to_have_count(5)
    wait_until(lambda: talks(page) == [])  # what was taken back whole is not kept either
    page.locator(".surprise").click()
    expect(page.locator(".chip")).to_have_count(0)
    asked = re.sub(r"\s", " ", bot(page).inner_text())  # it is shown with spaces that do not break
    assert any(asked.endswith(question.text) for question in questions_of("spinoza"))
    ask(page, "Je crois que oui.")
    settled(page)
    assert stage.tier.received[-1].turns[0].text == asked
    page.goto(f"{stage.url}/?philo=kant&q=Suis-je%20libre%20%3F%20%3Cb%3E")
    expect(box(page)).to_have_value("Suis-je libre ? <b>")
    expect(page.locator("#heading h2")).to_contain_text("Kant")
    expect(pupil(page)).to_have_count(0)
    assert page.url == f"{stage.url}/"
    page.goto(f"{stage.url}/?philo=hume")
    page.wait_for_function("!location.search")
    expect(page.locator("#heading h2")).to_contain_text("Spinoza")


def test_a_conversation_is_exported(stage: Stage) -> None:
    stage.tier.script = RICH
    page = stage.new_page()
    expect(page.locator(".menu")).to_have_count(0)
    ask(page, "Mentir, c'est mal ?")
    settled(page)
    page.evaluate("window.print = () => {}")
    page.locator(".menu summary").click()
    with page.expect_download() as waited:
        page.get_by_role("button", name=FRENCH["export_markdown"]).click()
    assert waited.value.suggested_filename == "spinoza-talk.md"
    text = Path(waited.value.path()).read_text(encoding="utf-8")
    for part in ("**Moi** : Mentir, c'est mal ?", ANSWER, FILLED, "Kant, Fondements, section II"):
        assert part in text
    page.locator(".menu summary").click()
    page.get_by_role("button", name=FRENCH["export_fiche"]).click()
    fiche = page.frame_locator("#baf-fiche")
    expect(fiche.locator("h1")).to_have_text("Dis-moi, la liberté est-elle une illusion ?")
    expect(fiche.locator("body")).to_contain_text("Modus tollens")


def test_a_whole_maieuthon_on_a_phone(stage: Stage) -> None:
    page = stage.new_page(width=390, height=844)
    choose(page, "kant", "Kant")
    stage.tier.script = RICH
    page.locator('[data-mode="maieuthon"]').click()
    question = page.locator(".panel .question")
    expect(page.locator(".panel")).to_contain_text(FRENCH["maieuthon_rules"])
    before = question.text_content() or ""
    page.locator('[data-panel="redraw"]').click()
    expect(question).not_to_have_text(before)
    for number, text in enumerate(SAID, 1):
        ask(page, text)
        settled(page)
        expect(page.locator(".remark")).to_be_visible()
        if number < len(SAID):
            expect(page.locator(".steps")).to_contain_text(f"Échange {number + 1} sur 5")
    assert all(
        asked.evaluation for asked in stage.tier.options[-len(SAID) :]
    )  # a model that can is asked for its words
    recap = page.locator(".recap")
    expect(recap).to_contain_text(FRENCH["title_voyage"])
    expect(recap).to_contain_text(SAID[0])
    expect(recap).to_contain_text("Modus tollens")
    expect(recap).to_contain_text(FRENCH["recap_formative"])
    assert not re.search(r"\d+ ?/ ?\d+|\d+ ?%", recap.inner_text())
    expect(page.locator("#notice")).to_contain_text(FRENCH["maieuthon_over"])
    say(page, "Encore.")
    expect(page.locator("#notice")).to_contain_text(FRENCH["maieuthon_more"])
    expect(pupil(page)).to_have_count(5)
    stage.tier.script = (Card("crisis", card("fr"), card("en")),)
    say(page, "J'ai plus envie de vivre.")
    expect(page.locator(".crisis")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    with page.expect_download() as waited:
        page.locator('[data-act="panel:markdown"]').click()
    assert FRENCH["recap_best"] in Path(waited.value.path()).read_text(encoding="utf-8")
    page.reload()
    expect(page.locator(".recap")).to_contain_text(SAID[0])
    page.locator('[data-act="panel:again"]').click()
    expect(page.locator(".steps")).to_contain_text("Échange 1 sur 5")


def test_a_debate_is_arbitrated(stage: Stage) -> None:
    page = stage.new_page()
    page.locator('[data-mode="debate"]').click()
    expect(bot(page)).to_have_count(0)
    page.locator('[data-panel="other:bergson"]').click()
    expect(page.locator(".faces")).to_contain_text("Bergson")
    expect(page.locator("#heading h2")).to_have_text("Débat entre Spinoza et Bergson")
    question = untied(page.locator(".panel .question").inner_text().split("\n")[-1])
    assert question in [one.text for one in QUESTIONS]
    page.locator('[data-panel="begin"]').click()
    expect(bot(page)).to_have_count(2)
    settled(page)
    expect(bot(page).first).to_contain_text("Spinoza")
    expect(bot(page).last).to_contain_text("Bergson")
    first, second = stage.tier.received
    assert (first.persona.key, [turn.text for turn in first.turns]) == ("spinoza", [question])
    assert second.persona.key == "bergson"
    assert f"Spinoza répond : « {ANSWER} »" in second.turns[-1].text
    page.get_by_role("button", name="Bergson me convainc, parce que…").click()
    expect(box(page)).to_have_value("Bergson me convainc, parce que ")
    box(page).fill("Bergson me convainc, parce que le temps ne se compte pas.")
    box(page).press("Enter")
    expect(bot(page)).to_have_count(4)
    settled(page)
    assert [one.persona.key for one in stage.tier.received] == ["spinoza", "bergson", "spinoza", "bergson"]
    assert "le temps ne se compte pas" in stage.tier.received[-1].turns[-1].text
    wait_until(lambda: [len(talk["turns"]) for talk in talks(page)] == [5])  # type: ignore[arg-type]
    page.reload()
    expect(bot(page)).to_have_count(4)
    expect(page.locator('[data-mode="debate"]')).to_have_attribute("aria-pressed", "true")
    page.locator('[data-mode="talk"]').click()  # it is left, and stays whole in the list
    expect(bot(page)).to_have_count(1)
    page.wait_for_timeout(1200)
    assert [len(talk["turns"]) for talk in talks(page)] == [5]  # type: ignore[arg-type]


def test_two_tabs_of_one_talk_go_on_apart(stage: Stage) -> None:
    page = stage.new_page()
    ask(page, "Un.")
    settled(page)
    wait_until(lambda: len(talks(page)) == 1)
    other = page.context.new_page()
    other.goto(stage.url)
    expect(bot(other)).to_have_count(1)
    shelf(other)
    other.locator(".kept-talk").click()
    expect(bot(other)).to_have_count(2)
    for tab, said in ((other, "Deux."), (page, "Trois.")):
        ask(tab, said)
        expect(bot(tab)).to_have_count(3)
        settled(tab)
    wait_until(lambda: sorted(map(said_in, talks(page))) == [["Un.", "Deux."], ["Un.", "Trois."]])


def test_a_draft_stays_while_another_answer_comes(stage: Stage) -> None:
    page = stage.new_page()
    ask(page, "Un premier pas.")
    settled(page)
    box(page).fill("Ce que j'écris encore")
    stage.tier.script = words("Autrement dit.")
    page.get_by_role("button", name=FRENCH["icon_retry"]).click()
    expect(bot(page).last).to_have_text("Autrement dit.")
    settled(page)
    expect(box(page)).to_have_value("Ce que j'écris encore")


def test_by_keys_alone_the_focus_stays_in_the_box(stage: Stage) -> None:
    page = stage.new_page()
    box(page).fill("Un pas.")
    page.locator("#box .submit-button").focus()
    page.keyboard.press("Enter")
    expect(bot(page)).to_have_count(2)
    settled(page)
    expect(box(page)).to_be_focused()


def test_the_place_is_told_beside_the_box_before_sending(stage: Stage) -> None:
    page = stage.new_page()
    line = page.locator("#queue .queue")
    expect(line).to_have_count(0)
    stage.loads[0] = Load(3, 0, 4096, 41.7)
    box(page).focus()
    expect(line).to_have_text(FRENCH["ahead_eta"].format(place=4, seconds=42))
    stage.loads[0] = Load(0, 0, 4096, 0.0)
    expect(line).to_have_count(0)  # it goes by itself when the others have gone
    ask(page, "Et moi ?")
    settled(page)


def test_who_begins_to_write_while_the_page_opens_is_told_the_place_too(stage: Stage) -> None:
    stage.slow_s[0] = 2.5
    page = stage.new_page()
    wait_until(lambda: bool(stage.looks))
    stage.loads[0] = Load(3, 0, 4096, 41.7)
    box(page).focus()  # the look that the opening page took is still under way, and says that nobody waits
    expect(page.locator("#queue .queue")).to_have_text(FRENCH["ahead_eta"].format(place=4, seconds=42))


def test_a_debate_can_be_stopped_between_two_speeches(stage: Stage) -> None:
    stage.tier.script, stage.tier.pause_s = words(LONG), 0.05
    page = stage.new_page()
    page.locator('[data-mode="debate"]').click()
    page.locator('[data-panel="begin"]').click()
    expect(bot(page)).to_have_count(1)
    page.get_by_role("button", name="Arrêter").click()
    settled(page)
    page.wait_for_timeout(500)
    expect(bot(page)).to_have_count(1)
    wait_until(lambda: stage.tier.closed_early == 1)
    assert len(stage.tier.received) == 1


def test_a_screen_reader_hears_whole_sentences(stage: Stage) -> None:
    stage.tier.script, stage.tier.pause_s = words(" ".join(LONG.split()[:40])), 0.1
    page = stage.new_page()
    page.evaluate(
        """() => {
            window.heard = [];
            const hear = (all) => all.forEach((one) => one.addedNodes.forEach((n) => window.heard.push(n.textContent)));
            new MutationObserver(hear).observe(document.querySelector(".baf-live"), { childList: true });
        }"""
    )
    say(page, "Parle.")
    expect(bot(page)).to_have_count(2)
    settled(page)
    end = bot(page).last.inner_text().strip()[-30:]
    page.wait_for_function("(end) => window.heard.join(' ').endsWith(end)", arg=end)
    heard: list[str] = page.evaluate("window.heard")
    assert len(heard) > 1
    assert all(piece.rstrip()[-1] in ".!?…" for piece in heard[:-1])
    expect(page.locator('#chat [role="log"]')).to_have_attribute("aria-live", "off")


def test_a_session_by_keyboard_in_english(stage: Stage) -> None:
    stage.tier.script = (Queued(2, 5.0), *RICH)
    page = stage.new_page()
    page.locator('[data-language="en"]').focus()
    page.keyboard.press("Enter")
    expect(page.locator("html")).to_have_attribute("lang", "en")
    page.locator('[data-mode="maieuthon"]').focus()
    page.keyboard.press("Space")
    expect(page.locator(".panel")).to_contain_text(ENGLISH["maieuthon_rules"])
    box(page).focus()
    page.keyboard.type("Je pense que oui, parce que je le vois.")
    page.keyboard.press("Enter")
    expect(page.locator(".remark")).to_contain_text(ENGLISH["argumenter_en_partie"])
    settled(page)
    order = []
    for _ in range(40):
        page.keyboard.press("Tab")
        order.append(
            page.evaluate("['cards', 'modes', 'margin'].find((id) => document.activeElement.closest('#' + id))")
        )
    # In the order of the page, round and round.
    assert list(dict.fromkeys(part for part in order if part)) == ["cards", "modes", "margin"]
    page.locator("summary.scheme").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".sheet-body:visible")).to_contain_text(ENGLISH["scheme_trap"])
    page.keyboard.press("Escape")
    page.locator(".kept-open").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#kept-dialog")).to_contain_text(ENGLISH["kept_note"])
    page.keyboard.press("Escape")
    expect(page.locator("#kept-dialog")).not_to_be_visible()
    # Whatever the page shows, the tier is asked in French.
    assert stage.tier.received[-1].turns[0].text.startswith("Prends le temps")


def test_the_page_is_light_and_quick(stage: Stage, chromium: Browser) -> None:
    stage.new_page()  # the server has answered once before a visitor with an empty cache comes
    context = chromium.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    sizes: list[float] = []
    wire = context.new_cdp_session(page)
    wire.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    wire.send("Network.enable")
    start = time.monotonic()
    page.goto(stage.url)
    expect(bot(page)).to_have_count(1)
    seconds = time.monotonic() - start
    page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime") / 1000
    context.close()
    print(f"first paint {paint:.2f} s, usable after {seconds:.2f} s, {sum(sizes) / 1e6:.2f} MB in {len(sizes)} files")
    assert paint < 20  # the aim is 1.5 s on a machine that does nothing else; the sizes are what a test can hold
    assert sum((ROOT / "ui" / name).stat().st_size for name in ("style.css", "page.js", "kept.js")) < 60_000
    assert sum(sizes) < 2_000_000
