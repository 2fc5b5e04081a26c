"""The main job, end to end: `python app.py`, the embedded model that `make setup` assembles, a pupil in Chromium."""

import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from settings import load_settings
from tests.browser.pupil import ARTIFACTS, ROOT, RunningApp, ask, bot, choose, settled

pytestmark = [pytest.mark.browser, pytest.mark.model, pytest.mark.smoke]
QUESTION = "Si je mens pour aider un ami, est-ce que c'est mal ?"


@pytest.fixture
def data_dir() -> Path:
    """Where `make setup` put the embedded model."""
    folder = (ROOT / load_settings().data_dir).resolve()
    if not list(folder.glob("models/*.gguf")):
        pytest.skip("the embedded model is not assembled; run `make setup`")
    return folder


def wait_until_ready(app: RunningApp, within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while httpx.get(f"{app.url}/ready", timeout=5).status_code != 200:
        assert time.monotonic() < deadline, app.said()
        time.sleep(0.2)


def test_a_pupil_talks_with_kant(start_app: Callable[..., RunningApp], data_dir: Path, chromium: Browser) -> None:
    """Choose, ask, see words arrive, ask again; nothing the pupil wrote is in the log."""
    app = start_app({"BAF_DATA_DIR": str(data_dir)})
    wait_until_ready(app)
    page = chromium.new_page(viewport={"width": 1280, "height": 860})
    page.goto(app.url)
    choose(page, "kant", "Kant")
    ask(page, QUESTION)
    expect(bot(page)).to_have_count(2)
    settled(page)
    first = bot(page).nth(1).inner_text()
    assert len(first.split()) >= 8
    ask(page, "Je comprends pas trop, tu peux donner un exemple ?")
    expect(bot(page)).to_have_count(3)
    settled(page)
    assert len(bot(page).nth(2).inner_text().split()) >= 5
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / "first-light.png")
    page.close()
    log = app.said()
    assert "mens pour aider" not in log
    assert "donner un exemple" not in log
    assert first[:30] not in log
