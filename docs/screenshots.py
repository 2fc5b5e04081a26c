"""`python -m docs.screenshots [name…]`: the pictures of the README, of the real page with the embedded model.

Each is a talk with one philosopher; without a name all are taken. An answer is drawn anew each time: look at the
pictures before you keep them.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright

from benchmarks.start import seconds_until
from tests.browser.conftest import CHROMIUM, FLAGS, PATIENCE_MS, free_port
from tests.browser.pupil import ROOT, ask, bot, choose, settled

IMAGES = ROOT / "docs" / "img"
DESKTOP, TABLET, PHONE = (1440, 900), (820, 1180), (390, 844)


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        name: Of its file, without ending.
        persona: Key and short name of who speaks.
        said: What the pupil says, one message after the other.
        size: Width and height in CSS pixels.
        scheme: "light" or "dark".
        mode: "talk", "maieuthon" or "debate".
    """

    name: str
    persona: tuple[str, str]
    said: tuple[str, ...]
    size: tuple[int, int] = DESKTOP
    scheme: str = "light"
    mode: str = "talk"


PICTURES = (
    Picture("page-desktop", ("spinoza", "Spinoza"), ("Oui, je crois que je choisis ce que je veux.",)),
    Picture(
        "page-desktop-dark", ("bergson", "Bergson"), ("Une heure de cours dure toujours une heure.",), scheme="dark"
    ),
    Picture("page-tablet", ("bergson", "Bergson"), ("La mémoire est un album de photos.",), TABLET),
    Picture(
        "page-tablet-dark", ("spinoza", "Spinoza"), ("Quand je suis en colère, je ne choisis rien.",), TABLET, "dark"
    ),
    Picture("page-phone", ("kant", "Kant"), ("Mentir pour aider un ami, c'est mal ?",), PHONE),
    Picture("page-phone-dark", ("kant", "Kant"), ("Je suis libre quand je fais ce que je veux.",), PHONE, "dark"),
    Picture(
        "maieuthon-phone",
        ("kant", "Kant"),
        ("Je pense que non, parce que j'ai vu le contraire arriver autour de moi.",),
        PHONE,
        mode="maieuthon",
    ),
    Picture("debate-desktop", ("spinoza", "Spinoza"), (), mode="debate"),
)


def take(browser: Browser, url: str, picture: Picture) -> Path:
    """Talk, take the picture, and return its file, which replaces an earlier one."""
    width, height = picture.size
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if picture.scheme == "dark" else "light",
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(url)
    expect(bot(page)).to_have_count(1)
    key, name = picture.persona
    if key != "spinoza":  # whom the page opens with
        choose(page, key, name)
    if picture.mode != "talk":
        page.locator(f'[data-mode="{picture.mode}"]').click()
        expect(page.locator(".panel")).to_be_visible()
    if picture.mode == "debate":
        page.locator('[data-panel="begin"]').click()
        expect(bot(page)).to_have_count(2)
        settled(page)
    for number, text in enumerate(picture.said, 1):
        ask(page, text)
        expect(bot(page)).to_have_count(1 + number)
        settled(page)
        print(f"{name}: {bot(page).last.inner_text()}")
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement?.blur()")
    target = IMAGES / f"{picture.name}.png"
    partial = target.with_suffix(".partial.png")
    page.screenshot(path=partial, animations="disabled")
    # A flat design loses nothing by 256 colours, and the repository gains two thirds of each picture.
    Image.open(partial).convert("RGB").quantize(48, dither=Image.Dither.NONE).save(partial, optimize=True)
    partial.replace(target)
    context.close()
    return target


def main(names: list[str]) -> None:
    """Start the page, wait for its model, take the pictures of these names, or all."""
    wanted = [picture for picture in PICTURES if not names or picture.name in names]
    expect.set_options(timeout=PATIENCE_MS)
    url = f"http://127.0.0.1:{free_port()}"
    env = {**os.environ, "BAF_PORT": url.rsplit(":", 1)[1]}
    with tempfile.TemporaryFile() as log:
        app = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=env, stdout=log, stderr=log)
        try:
            seconds_until(f"{url}/ready", time.monotonic(), app)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
                for picture in wanted:
                    print(take(browser, url, picture))
                browser.close()
        finally:
            app.terminate()
            app.wait(timeout=30)


if __name__ == "__main__":
    main(sys.argv[1:])
