"""`python app.py` as a process: one line, a page that opens at once, a clear end, a broken persona survived."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.browser.pupil import ROOT, RunningApp
from ui.texts import FRENCH

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore")]
StartApp = Callable[..., RunningApp]


def test_a_broken_persona_file_leaves_a_page(start_app: StartApp, chromium: Browser, checkout: Path) -> None:
    path = checkout / "personas" / "kant.toml"
    path.write_text(path.read_text(encoding="utf-8").replace("tagline =", "tag_line ="), encoding="utf-8")
    app = start_app(cwd=checkout)
    page = chromium.new_page()
    page.goto(app.url)
    expect(page.get_by_role("alert")).to_have_text(FRENCH["persona"])
    page.close()
    assert "kant.toml: unknown key 'tag_line'. Did you mean 'tagline'?" in app.said()
    assert httpx.get(f"{app.url}/health").status_code == 200
    assert httpx.get(f"{app.url}/ready").json()["step"] == "persona"


def test_a_wrong_setting_is_one_line() -> None:
    ended = subprocess.run(
        [sys.executable, "app.py"], cwd=ROOT, env={**os.environ, "BAF_PORT": "99999"}, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert re.fullmatch(r"Bergson and Friends cannot start: BAF_PORT: .*\n", ended.stderr)


def test_a_port_in_use_is_one_line(checkout: Path) -> None:
    (checkout / "personas" / "kant.toml").unlink()  # no model is needed to find a port taken
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = str(holder.getsockname()[1])
        ended = subprocess.run(
            [sys.executable, "app.py"], cwd=checkout, env={**os.environ, "BAF_PORT": port}, capture_output=True,
            text=True, timeout=120, check=False,
        )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("Bergson and Friends cannot start: ")
    assert port in ended.stderr
    assert "Traceback" not in ended.stderr
