"""The instruction server's dashboard in Chromium: it fits a phone, and its own rules block nothing of it."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from corpus.server.domain import load_domain
from corpus.server.routes import build_app
from corpus.server.workshop import Workshop
from tests.browser.conftest import PATIENCE_MS
from tests.serving import serving

pytestmark = pytest.mark.browser


def test_the_dashboard_fits_a_phone(chromium: Browser, tmp_path: Path) -> None:
    workshop = Workshop(tmp_path, load_domain("schemes"), total=60, seed=1)
    for number in range(20):
        assert workshop.next(f"agent-with-a-rather-long-name-{number}") is not None
    workshop.submit("INS-0001", "agent-with-a-rather-long-name-0", "non")
    said: list[str] = []
    with serving(build_app(workshop)) as url:
        page = chromium.new_page(viewport={"width": 390, "height": 844})
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda message: said.append(message.text))
        page.goto(f"{url}/dashboard")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.locator("a[href*='first=philosopher']").first.click()
        expect(page).to_have_url(re.compile("first=philosopher"))
        with page.expect_download() as taken:
            page.get_by_role("link", name="summary.json").click()
        assert taken.value.path().read_bytes() == (tmp_path / "summary.json").read_bytes()
        page.close()
    workshop.close()
    assert [text for text in said if "favicon" not in text] == []
