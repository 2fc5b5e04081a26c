"""The page in real Chromium: one browser and one page server for each module, and `python app.py` on a free port.

Module scope, not session: Playwright's loop stays in the main thread, and the asyncio tests of later rooms need it.
"""

import gc
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from service.health import routes
from settings import load_settings
from tests.browser.pupil import ANSWER, ROOT, RunningApp, Stage, bot, until_ready, words
from tests.serving import wait_until
from tiers.supply import Load
from tiers.testing import READY, ScriptedTier
from ui.page import build_page
from ui.theme import launch_options

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
PATIENCE_MS = 60_000  # a loaded machine with two cores; every wait ends as soon as its condition holds
LOADS: list[Load | None] = [None]  # what the page over a scripted tier is told of the line; see `Stage`
SLOW_S = [0.0]  # how long it takes to be told
LOOKS: list[Load | None] = []  # what it was told so far


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ask a second time what a real browser failed: on a loaded machine Chromium itself may be too late.

    A test that fails twice fails, and one that passed the second time is listed as a rerun.
    """
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.flaky(reruns=1))


def told() -> Load | None:
    """How busy the engine was when it was asked, said after a while."""
    load = LOADS[0]
    LOOKS.append(load)
    time.sleep(SLOW_S[0])
    return load


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    if not Path(CHROMIUM).exists():
        pytest.skip("chromium is missing: apt-get install chromium")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[ScriptedTier, str]]:
    """The page over a scripted tier, in this process: the tier and the page's address."""
    tier, port = ScriptedTier(), free_port()
    page = build_page(tier, load=told)
    page.launch(
        server_name="127.0.0.1",
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
        app_kwargs={"routes": routes(tier)},
        **launch_options(),
    )
    yield tier, f"http://127.0.0.1:{port}"
    page.close(verbose=False)
    gc.collect()  # what Gradio left open is closed here, not in the middle of a test of another room


@pytest.fixture
def stage(served: tuple[ScriptedTier, str], chromium: Browser) -> Iterator[Stage]:
    """A tier that says `ANSWER`, and no page open yet; every page is closed at the end, and none may have failed."""
    tier, url = served
    tier.script, tier.pause_s, tier.status = words(ANSWER), 0.01, READY
    tier.received.clear()
    tier.closed_early = 0
    LOADS[0], SLOW_S[0] = None, 0.0
    LOOKS.clear()
    contexts, faults = [], []

    def new_page(*, width: int = 1440, height: int = 900, scheme: str = "light", locale: str = "en-US") -> Page:
        context = chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,  # type: ignore[arg-type]
            locale=locale,
            reduced_motion="reduce",
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(url)
        expect(page.get_by_test_id("bot")).to_have_count(1)
        expect(page.locator("#status")).to_have_attribute("role", "status")
        page.wait_for_function("localStorage.getItem('baf-browser')")  # set when the opening is over
        return page

    yield Stage(tier, url, new_page, LOADS, SLOW_S, LOOKS)
    for context in contexts:
        context.close()
    wait_until(lambda: tier.open == 0)  # a stream that ends later would count in the next test
    assert faults == []


@contextmanager
def starting(folder: Path) -> Iterator[Callable[..., RunningApp]]:
    """Start `python app.py` on free ports, with data and logs in `folder`; every one is stopped at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(
        env: Mapping[str, str] | None = None, *, cwd: Path = ROOT, within_s: float = 180.0, under: Sequence[str] = ()
    ) -> RunningApp:
        port = free_port()
        given = {"BAF_PORT": str(port), "BAF_DATA_DIR": str(folder / "data"), "OMP_NUM_THREADS": "2", **(env or {})}
        log = folder / f"app-{port}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*under, sys.executable, "app.py"],
                cwd=cwd, env={**os.environ, **given}, stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip
        started.append(process)
        app = RunningApp(f"http://127.0.0.1:{port}", process, log)
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            assert process.poll() is None, f"app.py ended with status {process.returncode}:\n{app.said()}"
            try:
                if httpx.get(f"{app.url}/health", timeout=2).status_code == 200:
                    return app
            except httpx.TransportError:
                time.sleep(0.1)
        raise AssertionError(f"app.py did not answer within {within_s} s:\n{app.said()}")

    try:
        yield start
    finally:
        for process in started:
            process.terminate()
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def start_app(tmp_path: Path) -> Iterator[Callable[..., RunningApp]]:
    """Start `python app.py`: `start_app({"BAF_FREE_MODEL": path}, cwd=a_copy)`; stopped at the end.

    It returns once `/health` answers, within `within_s` seconds; the model may still be loading. `under` is a program
    that starts it in its turn, e.g. `prlimit`.
    """
    with starting(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def embedded_app(embedded_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    """One app for a module, ready to answer with the embedded model."""
    with starting(tmp_path_factory.mktemp("embedded")) as start:
        app = start({"BAF_DATA_DIR": str(embedded_dir)})
        until_ready(app)
        yield app


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Callable[[RunningApp], Page]]:
    """Open an app's page in a browser context of its own; all are closed at the end, and none may have failed."""
    contexts, faults = [], []

    def opened(app: RunningApp) -> Page:
        context = chromium.new_context(viewport={"width": 1280, "height": 860}, reduced_motion="reduce")
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(app.url)
        expect(bot(page)).to_have_count(1)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture(scope="module")
def embedded_dir() -> Path:
    """Where `make setup` put the embedded model."""
    folder = (ROOT / load_settings().data_dir).resolve()
    if not list(folder.glob("models/*.gguf")):
        pytest.skip("the embedded model is not assembled; run `make setup`")
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what `app.py` needs, to be damaged by a test."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("app.py", "errors.py", "roles.py", "settings.py"):
        shutil.copy(ROOT / name, copy / name)
    for room in ("ui", "service", "tiers", "dialogue", "personas", "engines", "retrieval"):
        shutil.copytree(ROOT / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "data").mkdir()
    for part in ("notes", "safety"):
        shutil.copytree(ROOT / "data" / part, copy / "data" / part)
    return copy
