"""axe-core finds nothing serious on any face of the page, by day and by night."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from dialogue.safety import card
from tests.browser.pupil import ROOT, Stage, ask, say, settled
from tests.browser.test_walks import RICH, SAID, shelf
from tiers.base import Card, TierStatus

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore")]
AXE = ROOT / "tests" / "browser" / "npm" / "node_modules" / "axe-core" / "axe.min.js"


def faults(page: Page) -> list[str]:
    """What axe calls serious or critical, one line each, with the first place."""
    found: dict[str, Any] = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{one['impact']} {one['id']}: {one['nodes'][0]['html'][:160]}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize(("scheme", "width"), [pytest.param("light", 1440, marks=pytest.mark.proof), ("dark", 390)])
def test_nothing_serious(stage: Stage, scheme: str, width: int) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is missing: npm ci --prefix tests/browser/npm")
    stage.tier.status = TierStatus("preparing", "downloading", 0.4, notices=("hub_unreachable",))
    page = stage.new_page(width=width, height=844, scheme=scheme)
    page.add_script_tag(path=AXE)
    expect(page.locator("#status progress")).to_be_visible()
    seen = {"start": faults(page)}
    stage.tier.status = TierStatus("ready", "ready")
    stage.tier.script = RICH
    ask(page, "Mentir, c'est mal ?")
    settled(page)
    page.locator("summary.scheme").click()
    seen["talk"] = faults(page)
    page.keyboard.press("Escape")
    shelf(page)
    seen["shelf"] = faults(page)
    page.keyboard.press("Escape")
    page.locator('[data-mode="maieuthon"]').click()
    expect(page.locator(".steps")).to_be_visible()
    for text in SAID:
        ask(page, text)
        settled(page)
    expect(page.locator(".recap")).to_be_visible()
    seen["recap"] = faults(page)
    page.locator('[data-mode="debate"]').click()
    expect(page.locator('[data-panel="begin"]')).to_be_visible()
    seen["debate"] = faults(page)
    page.locator('[data-mode="talk"]').click()
    expect(page.locator(".chip").first).to_be_visible()
    stage.tier.script = (Card("crisis", card("fr"), card("en")),)
    say(page, "Un message.")
    expect(page.locator(".crisis")).to_be_visible()
    seen["crisis"] = faults(page)
    assert {face: found for face, found in seen.items() if found} == {}
