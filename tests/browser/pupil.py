"""What the tests of this room share: a script, a pupil at a page, a running app. Knows the page's ids alone."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
from playwright.sync_api import Locator, Page, expect

from engines.base import Token
from tests.serving import wait_until
from tiers.base import Event
from tiers.supply import Load
from tiers.testing import ScriptedTier

ROOT = Path(__file__).parents[2]
ARTIFACTS = ROOT / "tests" / "artifacts"
# When the last answer grew, in milliseconds of the one clock of this machine, and whether it ever shrank.
WATCH = """() => {
  window.grew = [];
  window.shrank = false;
  let length = 0;
  new MutationObserver(() => {
    const said = document.querySelectorAll("[data-testid=bot]");
    const now = said.length > 1 ? said[said.length - 1].innerText.length : 0;
    if (now < length) window.shrank = true;
    if (now > length) { length = now; window.grew.push(Date.now()); }
  }).observe(document.getElementById("chat"), { subtree: true, childList: true, characterData: true });
}"""
ANSWER = "Tu veux, et tu ignores pourquoi. D'où vient ce désir ?"


def words(text: str) -> tuple[Event | Exception, ...]:
    """A text as the tokens of a script."""
    return tuple(Token(piece) for piece in text.replace(" ", " \0").split("\0"))


@dataclass
class Stage:
    """What a test plays with: the script of the tier, and as many pupils as it likes.

    Attributes:
        tier: Its `script`, `pause_s` and `status` may be changed at any time.
        url: Of the page.
        new_page: Opens a page of its own browser context (a pupil of its own), ready to use.
        loads: Its one entry is what the page is told of the line; may be changed at any time.
        slow_s: Its one entry is how long it takes to be told.
        looks: What it was told so far.
    """

    tier: ScriptedTier
    url: str
    new_page: Callable[..., Page]
    loads: list[Load | None]
    slow_s: list[float]
    looks: list[Load | None]


@dataclass(frozen=True)
class RunningApp:
    """`python app.py` as a process.

    Attributes:
        url: Of its page.
        process: The process itself.
        log: What it wrote so far, stdout and stderr together.
    """

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        """The log as text."""
        return self.log.read_text(encoding="utf-8", errors="replace")


def bot(page: Page) -> Locator:
    """What the philosopher said, one element for each message."""
    return page.get_by_test_id("bot")


def pupil(page: Page) -> Locator:
    """What the pupil said."""
    return page.get_by_test_id("user")


def box(page: Page) -> Locator:
    """Where the pupil writes."""
    return page.locator("#box textarea")


def say(page: Page, text: str) -> None:
    """Write a message and press Send."""
    box(page).fill(text)
    page.locator("#box .submit-button").click()


def ask(page: Page, text: str) -> None:
    """Send a message that the page accepts, and wait until it stands in the chat."""
    before = pupil(page).count()
    say(page, text)
    expect(pupil(page)).to_have_count(before + 1)


def choose(page: Page, key: str, name: str) -> None:
    """Press a philosopher's card and wait for him."""
    page.locator(f'[data-persona="{key}"]').click()
    expect(page.locator("#heading h2")).to_contain_text(name)


def picture(page: Page, name: str) -> None:
    """Keep what the page shows as `tests/artifacts/<name>.png`, to be looked at."""
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement?.blur()")
    page.screenshot(path=ARTIFACTS / f"{name}.png", animations="disabled")
    assert (ARTIFACTS / f"{name}.png").stat().st_size < 400_000


def until_ready(app: RunningApp, within_s: float = 180) -> None:
    """Wait until its model is there; the page opens before."""
    wait_until(lambda: answers(f"{app.url}/ready"), within_s)


def answers(url: str) -> bool:
    """Whether somebody is there and content."""
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def settled(page: Page) -> None:
    """Wait until nothing is under way."""
    expect(page.locator("#box .submit-button")).to_be_visible()
