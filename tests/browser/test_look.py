"""How the page looks, as pictures in tests/artifacts/: three widths, light and dark, before and during a talk."""

import pytest
from playwright.sync_api import expect

from tests.browser.pupil import Stage, ask, bot, choose, picture, settled, words
from tiers.base import TierStatus

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore")]

SIZES = {"desktop": (1440, 900), "tablet": (820, 1180), "phone": (390, 844)}
KANT = (
    "Distinguons deux sens du mot. Faire ce que l'on désire, c'est encore obéir à ses penchants ; vouloir, c'est se "
    "donner à soi-même une loi. Quand tu suis ton envie, qui commande : toi, ou elle ?"
)
BERGSON = (
    "Pour l'horloge, oui : elle compte des positions d'aiguille. Mais l'heure que tu as *vécue*, était-elle aussi "
    "longue en philosophie qu'en vacances ?"
)
TALK = {
    "kant": ("Je suis libre quand je fais ce que je veux.", KANT),
    "bergson": ("Une heure de cours dure toujours une heure.", BERGSON),
}
NAMES = {"kant": "Kant", "bergson": "Bergson"}
# Contrast of every visible text against the first opaque colour behind it. Source: WCAG 2.2, contrast ratio.
FAINT = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour, under) => {
    canvas.fillStyle = `rgb(${under})`; canvas.fillRect(0, 0, 1, 1);
    canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (c) => c.map((v) => v / 255).map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const faint = [];
  for (const node of document.querySelectorAll("gradio-app *")) {
    const text = [...node.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data.trim()).join("");
    const seen = node.checkVisibility({ opacityProperty: true, visibilityProperty: true });
    if (!text || !seen || node.disabled || node.matches(".sr-only")) continue;
    const behind = [];
    for (let up = node; up; up = up.parentElement) behind.unshift(getComputedStyle(up).backgroundColor);
    const under = behind.reduce((below, colour) => rgb(colour, below), [255, 255, 255]);
    const [low, high] = [light(under), light(rgb(getComputedStyle(node).color, under))].sort((a, b) => a - b);
    const ratio = (high + .05) / (low + .05);
    if (ratio < 4.5) faint.push(`${ratio.toFixed(2)} ${node.className} ${text.slice(0, 40)}`);
  }
  return faint;
}"""


@pytest.mark.parametrize(("scheme", "key"), [("light", "kant"), ("dark", "bergson")])
def test_every_text_can_be_read(stage: Stage, scheme: str, key: str) -> None:
    question, answer = TALK[key]
    stage.tier.script = words(answer)
    page = stage.new_page(scheme=scheme)
    for moment in ("start", "talk"):
        for size, (width, height) in SIZES.items():
            page.set_viewport_size({"width": width, "height": height})
            assert page.evaluate(FAINT) == [], size
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            picture(page, f"{size}-{scheme}-{moment}")
        if moment == "start":
            choose(page, key, NAMES[key])
            ask(page, question)
            settled(page)
            expect(bot(page)).to_have_count(2)


def test_notices_can_be_read(stage: Stage) -> None:
    for scheme in ("light", "dark"):
        stage.tier.status = TierStatus("preparing", "downloading", 0.42, notices=("hub_unreachable",))
        page = stage.new_page(scheme=scheme)
        page.locator("#box .submit-button").click()
        expect(page.locator("#notice .error")).to_be_visible()
        expect(page.locator("#status progress")).to_be_visible()
        assert page.evaluate(FAINT) == []
        picture(page, f"desktop-{scheme}-notices")
