"""`python -m benchmarks.bare`: from clone to first answer, the time of each step, in an empty home without any cache.

Debian's packages are those of the machine: what of them was there already is said in the result.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from playwright.sync_api import expect, sync_playwright

from benchmarks.machine import save
from benchmarks.start import PORT, seconds_until, stop
from evaluation.result import sha256_of

ROOT = Path(__file__).parents[1]
CHROMIUM = "/usr/bin/chromium"
QUESTION = "Suis-je esclave de mes désirs ?"


def first_answer(url: str) -> dict[str, float]:
    """Ask as a pupil does, in Chromium; return seconds to the first words and to the whole answer."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.goto(url)
        page.locator("#box textarea").fill(QUESTION)
        asked = time.monotonic()
        page.locator("#box .submit-button").click()
        expect(page.get_by_test_id("bot").nth(1)).to_contain_text(re.compile(r"\w"), timeout=60_000)
        first = time.monotonic() - asked
        expect(page.locator("#box .submit-button")).to_be_visible(timeout=60_000)
        whole = time.monotonic() - asked
        browser.close()
    return {"first words on the page": round(first, 2), "whole answer on the page": round(whole, 2)}


def main(out: Annotated[Path, typer.Option(help="Result file.")] = Path("benchmarks/results/bare.json")) -> None:
    """Clone this checkout into an empty folder and follow it to its first answer."""
    times: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bare-") as scratch:
        clone, home = Path(scratch) / "clone", Path(scratch) / "home"
        home.mkdir()
        env = {**os.environ, "HOME": str(home), "PIP_NO_CACHE_DIR": "1", "BAF_PORT": str(PORT)}
        env["BAF_DATA_DIR"] = str(clone / ".data")
        steps = {
            "clone": ["git", "clone", "--quiet", str(ROOT), str(clone)],
            "Debian packages": ["make", "-C", str(clone), "packages"],
            "venv, pinned packages, llama.cpp compiled": ["make", "-C", str(clone), ".venv/.installed"],
            "embedded model fetched and assembled": [str(clone / ".venv/bin/python"), "-m", "conversion", "demo"],
        }
        for name, command in steps.items():
            started = time.monotonic()
            subprocess.run(command, env=env, check=True, cwd=clone if clone.exists() else scratch, stdout=sys.stderr)
            times[name] = round(time.monotonic() - started, 1)
        started = time.monotonic()
        child = subprocess.Popen(["make", "run"], cwd=clone, env=env, start_new_session=True)
        try:
            times["make run: page opens"] = round(seconds_until(f"http://127.0.0.1:{PORT}/health", started, child), 2)
            times["make run: model ready"] = round(seconds_until(f"http://127.0.0.1:{PORT}/ready", started, child), 2)
            times |= first_answer(f"http://127.0.0.1:{PORT}")
        finally:
            stop(child)
        model = sha256_of(clone / ".data" / "models" / "bergson-and-friends-demo.gguf")
    save(out, {"model_sha256": model, "seconds": times})
    sys.stdout.write(f"{times}\n")


if __name__ == "__main__":
    typer.run(main)
