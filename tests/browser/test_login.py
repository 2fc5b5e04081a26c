"""A real login in Chromium: who has premium and for how long, what a passage is, and cookies that others made.

The provider stands for the Hub; the page is a process of its own that believes to run on a Space, and behind it the
gateway, a search over the notes and an engine that follows a script.
"""

import base64
import hashlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any

import httpx
import itsdangerous
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from engines.base import Token
from engines.testing import ScriptedEngine
from retrieval.notes import NoteIndex
from retrieval.store import Searcher
from tests.browser.conftest import PATIENCE_MS, free_port
from tests.browser.events import Events
from tests.browser.login_app import SMALL
from tests.browser.provider import CLIENT_ID, CLIENT_SECRET, LIFETIME_S, SCOPES, Provider, claims_of, sub_of
from tests.browser.pupil import ROOT, answers, ask, bot, choose, settled
from tests.service.premium import SECRET, gateway_over, purse
from tests.serving import serving, wait_until
from tiers.budget import utc_now
from tiers.cited import CitedTier, Reading
from tiers.entitlements import Entitlements
from tiers.local import NOTES
from tiers.store import Store
from ui.texts import ENGLISH, FRENCH

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore")]
LARGE = ("Mentir ", "nie ", "la loi ", "morale [1].")
QUESTION = "Est-ce que mentir par humanité est contraire au devoir et à la loi morale ?"
MINUTE, HOUR = 60, 3600


@dataclass
class Site:
    """The page and what stands behind it.

    Attributes:
        url: Of the page.
        provider: Who logs in, who is a member.
        engine: Of premium.
        rights: Grants, as `python -m tiers` writes them.
        folder: Where the page's clock is set.
        context: Opens a browser of somebody's own.
    """

    url: str
    provider: Provider
    engine: ScriptedEngine
    rights: Entitlements
    folder: Path
    context: Callable[[], BrowserContext]

    def ahead(self, seconds: float) -> None:
        """Let the page's clock run ahead."""
        (self.folder / "ahead.new").write_text(str(seconds))
        (self.folder / "ahead.new").rename(self.folder / "ahead")

    def grant(self, name: str, seconds: float) -> None:
        self.rights.grant(self.rights.person(sub_of(name)), utc_now() + timedelta(seconds=seconds))

    def open(self, context: BrowserContext, path: str = "/") -> Page:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(self.url + path)
        expect(bot(page)).to_have_count(1)
        return page


@contextmanager
def page_of(folder: Path, gateway: str, provider: str) -> Iterator[str]:
    """The page as a process; gives its address."""
    port = free_port()
    space = {"SYSTEM": "spaces", "SPACE_ID": "owner/space", "OAUTH_CLIENT_ID": CLIENT_ID, "OAUTH_SCOPES": SCOPES,
             "OAUTH_CLIENT_SECRET": CLIENT_SECRET, "OPENID_PROVIDER_URL": provider,
             "GRADIO_ANALYTICS_ENABLED": "False"}  # fmt: skip
    command = [sys.executable, "-m", "tests.browser.login_app", str(port), str(folder), gateway, provider]
    log = folder / "page.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **space}, stdout=out, stderr=out)
        try:
            wait_until(lambda: process.poll() is not None or answers(f"http://127.0.0.1:{port}/"), 180)
            assert process.poll() is None, log.read_text(encoding="utf-8")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()
    said = log.read_text(encoding="utf-8")  # Gradio looks in vain for a Space's own package, and says so
    assert not any(f"/{room}/" in said for room in ("ui", "tiers", "service", "dialogue")), said


@pytest.fixture(scope="module")
def site(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("login")
    (folder / "ahead").write_text("0")
    engine, provider = ScriptedEngine(*map(Token, LARGE)), Provider()
    tier = CitedTier(engine, Searcher(NoteIndex.load(NOTES).to_store()), Reading(n_ctx=4096), model="scripted")
    contexts: list[BrowserContext] = []

    def context() -> BrowserContext:
        contexts.append(chromium.new_context(reduced_motion="reduce"))
        return contexts[-1]

    store = Store(f"sqlite:///{folder}/page.sqlite")
    with (
        serving(provider.app) as hub,
        purse(folder, name="gateway") as account, gateway_over(tier, account) as gateway,
        page_of(folder, gateway, hub) as url,
    ):  # fmt: skip
        yield Site(url, provider, engine, Entitlements(store, SECRET), folder, context)
        for one in contexts:
            one.close()
    store.close()


def is_small(page: Page) -> None:
    """The next question is answered by the small model."""
    ask(page, QUESTION)
    settled(page)
    expect(bot(page).last).to_have_text(SMALL)


def is_large(page: Page) -> None:
    """The next question is answered by premium, with its sources."""
    ask(page, QUESTION)
    settled(page)
    expect(bot(page).last).to_contain_text("nie la loi morale [1]")


def log_in(page: Page, name: str, label: str = FRENCH["login"]) -> None:
    """Press the button; the way leads over the provider and back to the French page."""
    button = page.locator("#login")
    expect(button).to_have_text(label)
    button.click()
    expect(button).to_have_text(FRENCH["logout"].format(name))


@pytest.mark.proof
def test_premium_is_granted_used_revoked_and_ends(site: Site) -> None:
    page = site.open(site.context())
    choose(page, "kant", "Kant")
    expect(page.locator("#badge")).to_contain_text(FRENCH["login_for_more"])
    is_small(page)
    log_in(page, "sophie")
    is_small(page)  # a login alone gives nothing
    site.grant("sophie", 2 * HOUR)
    is_large(page)
    expect(page.locator("#badge")).to_contain_text(FRENCH["tier_premium"])
    sources_are_read_and_left_out(site, page)
    site.rights.revoke_person(site.rights.person(sub_of("sophie")))
    is_small(page)
    site.grant("sophie", 2 * HOUR)
    is_large(page)
    site.ahead(3 * HOUR)
    is_small(page)
    site.grant("sophie", 24 * HOUR)
    is_large(page)
    site.ahead(LIFETIME_S + MINUTE)  # the grant goes on, the login does not, whatever the cookie says
    is_small(page)
    expect(page.locator("#notice")).to_contain_text(FRENCH["login_expired"])
    site.ahead(0)


def sources_are_read_and_left_out(site: Site, page: Page) -> None:
    """Open the panel, read a passage, untick it, ask again: the other side does without it."""
    page.locator("summary", has_text="Sources").click()
    passage = page.locator(".sources > li").first
    passage.locator("summary").click()
    text = passage.locator("blockquote").inner_text()[:40]
    assert text in site.engine.received[-1][-1]["content"]
    n_answers = bot(page).count()
    again = page.get_by_role("button", name=FRENCH["sources_without"])
    again.click()
    expect(page.locator("#notice")).to_contain_text(FRENCH["sources_untick"])
    passage.get_by_role("checkbox").uncheck()
    again.click()
    expect(page.locator(".left-out")).to_have_text(FRENCH["sources_left"].format(count=1))
    settled(page)
    expect(bot(page)).to_have_count(n_answers)  # in place of the one before
    assert text not in site.engine.received[-1][-1]["content"]
    assert page.locator(".sources > li").count() > 0


@pytest.mark.proof
def test_who_declines_to_be_known_reads_a_sentence_and_goes_on(site: Site) -> None:
    site.provider.next_user = ""
    page = site.open(site.context())
    page.locator("#login").click()
    expect(page.get_by_role("alert")).to_have_text(FRENCH["login_refused"])
    assert "declined" not in page.content()
    site.provider.next_user = "sophie"
    page.get_by_role("link").click()
    expect(bot(page)).to_have_count(1)
    log_in(page, "sophie")


def test_a_class_pass_is_given_on_the_page_in_either_language(site: Site) -> None:
    site.provider.next_user = "lea"
    page = site.open(site.context())
    english = page.locator('[data-language="en"]')
    english.click()
    expect(page.locator("#badge")).to_contain_text(ENGLISH["login_for_more"])
    expect(page.locator(".pass")).to_have_count(0)  # for whoever is logged in
    log_in(page, "lea", ENGLISH["login"])
    english.click()
    expect(page.locator("#login")).to_have_text(ENGLISH["logout"].format("lea"))
    page.get_by_text(ENGLISH["pass_have"]).click()
    code = page.get_by_role("textbox", name=ENGLISH["pass_code"])
    code.fill("a code that <nobody> made")
    page.get_by_role("button", name=ENGLISH["pass_send"]).click()
    expect(page.locator("#pass").get_by_role("alert")).to_have_text(ENGLISH["pass_unknown"])
    expect(code).to_have_value("a code that <nobody> made")
    code.fill(site.rights.new_pass(1, utc_now() + timedelta(hours=1)))
    code.press("Enter")
    expect(page.locator("#pass")).to_have_text(ENGLISH["pass_taken"])
    expect(page.locator("#badge")).to_contain_text(ENGLISH["tier_premium"])
    choose(page, "kant", "Kant")
    is_large(page)
    expect(page.locator(".pass")).to_have_count(0)


def test_who_left_the_organisation_is_out_within_ten_minutes(site: Site) -> None:
    name = f"henri{secrets.token_hex(2)}"  # a membership is believed for some minutes: a second try is another's
    site.provider.next_user, site.provider.members = name, {name}
    page = site.open(site.context(), "/?__theme=dark&from=class")
    log_in(page, name)
    expect(page).to_have_url(f"{site.url}/?__theme=dark&from=class")  # all that the address said comes back
    choose(page, "kant", "Kant")
    is_large(page)
    site.provider.members.clear()
    is_large(page)  # believed for some minutes
    site.ahead(6 * MINUTE)
    is_small(page)
    site.ahead(0)


def cookie_of(url: str, value: str) -> list[dict[str, object]]:
    here = {"domain": url.split("//")[1].split(":")[0], "path": "/"}
    return [{"name": "session", "value": value, **here, "httpOnly": True, "secure": True, "sameSite": "None"}]


def session_of(name: str, secret: str) -> str:
    """A session's cookie as the login library writes it, made by whoever knows the secret."""
    login = {"access_token": "x", "scope": SCOPES, "expires_at": int(time.time()) + HOUR, "userinfo": claims_of(name)}
    signer = itsdangerous.TimestampSigner(hashlib.sha256(f"{secret}-v4".encode()).hexdigest())
    return signer.sign(base64.b64encode(json.dumps({"oauth_info": login}).encode())).decode()


def test_a_cookie_that_somebody_made_is_nobodys(site: Site) -> None:
    """T3: made as it could be made where the secret is unset. The same cookie, made with the secret, is a login."""
    site.grant("ada", HOUR)
    context = site.context()
    context.add_cookies(cookie_of(site.url, session_of("ada", "")))  # type: ignore[arg-type]
    page = site.open(context)
    choose(page, "kant", "Kant")
    expect(page.locator("#login")).to_have_text(FRENCH["login"])
    is_small(page)
    context.add_cookies(cookie_of(site.url, session_of("ada", CLIENT_SECRET)))  # type: ignore[arg-type]
    is_large(page)


def test_nobody_is_logged_in_as_somebody_else(site: Site) -> None:
    """T6: an answer of the provider that was meant for another browser, and a cookie that was planted before."""
    site.grant("mallory", HOUR)
    site.provider.next_user = "mallory"
    began = httpx.get(f"{site.url}/login/huggingface")  # in mallory's browser
    theirs = httpx.get(began.headers["location"]).headers["location"]
    planted = began.cookies["session"]
    site.provider.next_user = "rose"
    context = site.context()
    context.add_cookies(cookie_of(site.url, planted))  # type: ignore[arg-type]
    page = site.open(context)
    log_in(page, "rose")
    context.clear_cookies()
    page.goto(theirs)  # rose's browser is led to mallory's answer: it begins a login of its own
    expect(page.locator("#login")).to_have_text(FRENCH["logout"].format("rose"))
    is_small(page)
    context.clear_cookies()
    context.add_cookies(cookie_of(site.url, planted))  # type: ignore[arg-type]
    page.reload()
    expect(page.locator("#badge")).to_contain_text(FRENCH["login_for_more"])  # written once the server has been asked
    expect(page.locator("#login")).to_have_text(FRENCH["login"])  # what was planted is no login, then or now


# --- the events, without the page ------------------------------------------------------------------------------------


@pytest.fixture
def events(site: Site) -> Iterator[Events]:
    found = Events(site.url)
    yield found
    found.close()


def is_asked(site: Site, events: Events, headers: dict[str, str], **body: Any) -> bool:
    """Whether a question of a tab of its own reaches premium."""
    before, tab = len(site.engine.received), token_hex(6)
    events.send(tab, headers, QUESTION, **body)
    assert SMALL.split()[0] in (said := events.respond(tab, headers, **body)) or "Mentir" in said
    return len(site.engine.received) > before


def test_an_event_called_directly_asks_for_what_its_session_may_have(site: Site, events: Events) -> None:
    """T1, T2, T5: no header, no field and no other site's page makes somebody of anybody."""
    site.grant("ada", HOUR)
    cookie = {"Cookie": f"session={session_of('ada', CLIENT_SECRET)}"}
    own = {"Origin": site.url}
    assert is_asked(site, events, {**cookie, **own})
    named = dict.fromkeys(("X-User", "X-Forwarded-User", "X-Forwarded-Email", "X-Person", "Remote-User"), sub_of("ada"))
    assert not is_asked(site, events, {**own, **named})
    assert not is_asked(site, events, {**own, "Authorization": f"Bearer {sub_of('ada')}"}, oauth_token="access-1")
    assert not is_asked(site, events, own, tier="premium", person=sub_of("ada"), username="ada")
    for origin in ({}, {"Origin": "https://evil.test"}, {"Origin": "null"}, {"Origin": f"{site.url}.evil.test"}):
        assert not is_asked(site, events, {**cookie, **origin})


def test_a_programs_route_knows_no_login(site: Site) -> None:
    """T1: the page's cookie buys nothing on the routes beside the page, whatever else is said."""
    cookie = {"Cookie": f"session={session_of('ada', CLIENT_SECRET)}", "Origin": site.url, "X-User": sub_of("ada")}
    messages = [{"role": "user", "content": QUESTION}]
    body = {"persona": "kant", "messages": messages, "user": sub_of("ada"), "tier": "premium"}
    before = len(site.engine.received)
    said = httpx.post(f"{site.url}/v1/chat/completions", json=body, headers=cookie, timeout=30).json()
    assert said["choices"][0]["message"]["content"] == SMALL
    assert len(site.engine.received) == before


def test_whoever_guesses_a_session_finds_no_conversation_in_it(site: Site, events: Events) -> None:
    """T8: what was said lies in the browser; the server's session holds a question only while it is answered."""
    site.grant("ada", HOUR)
    tab, canary = token_hex(6), "La loi morale et le devoir, ZEBRA-7741 ?"
    ada = {"Cookie": f"session={session_of('ada', CLIENT_SECRET)}", "Origin": site.url}
    events.send(tab, ada, canary)
    events.respond(tab, ada)
    assert "ZEBRA-7741" in str(site.engine.received[-1])
    site.grant("mallory", HOUR)
    mallory = {"Cookie": f"session={session_of('mallory', CLIENT_SECRET)}", "Origin": site.url}
    before = len(site.engine.received)
    assert "ZEBRA" not in events.respond(tab, mallory)  # nothing is under way
    assert len(site.engine.received) == before
    assert "ZEBRA" not in events.send(tab, mallory, QUESTION) + events.respond(tab, mallory)
    assert "ZEBRA" not in str(site.engine.received[-1])
