"""`python -m benchmarks.start`: seconds from `make run` to a page that opens, and to a model that answers."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import httpx
import typer

from benchmarks.machine import save

PORT = 7871  # not the page's own, which may be open


def seconds_until(url: str, started: float, child: subprocess.Popen[bytes], limit_s: float = 600) -> float:
    """Poll `url` until it answers 200; return the seconds since `started`.

    Ever more seldom, and over one connection: a server that times its kernels meanwhile needs every processor.
    """
    with httpx.Client(timeout=2, verify=False) as client:  # noqa: S501 - plain HTTP; a context of TLS takes 20 ms to make
        while (waited := time.monotonic() - started) < limit_s:
            if child.poll() is not None:
                raise SystemExit(f"The server ended with status {child.returncode} before {url} answered.")
            with suppress(httpx.TransportError):
                if client.get(url).status_code == httpx.codes.OK:
                    return time.monotonic() - started
            time.sleep(min(max(0.02, waited / 100), 0.25))
    raise SystemExit(f"{url} did not answer in {limit_s} s.")


def stop(child: subprocess.Popen[bytes]) -> None:
    """End a `make run` and all that it started; it must be the leader of its own process group."""
    with suppress(ProcessLookupError):  # it has ended already: whoever waited for it says how
        os.killpg(child.pid, signal.SIGTERM)
    child.wait(timeout=30)


def one_start() -> dict[str, float]:
    """Start the page as a user does, wait until it answers, stop it."""
    started = time.monotonic()
    child = subprocess.Popen(["make", "run"], env={**os.environ, "BAF_PORT": str(PORT)}, start_new_session=True)
    try:
        page = seconds_until(f"http://127.0.0.1:{PORT}/health", started, child)
        ready = seconds_until(f"http://127.0.0.1:{PORT}/ready", started, child)
    finally:
        stop(child)
    return {"page_s": round(page, 2), "ready_s": round(ready, 2)}


def main(
    out: Annotated[Path, typer.Option(help="Result file.")] = Path("benchmarks/results/start.json"),
    rounds: Annotated[int, typer.Option(min=1, help="How many starts.")] = 3,
) -> None:
    """Start the page several times and write down how long each start took."""
    starts = [one_start() for _ in range(rounds)]
    save(out, {"starts": starts})
    sys.stdout.write(f"{starts}\n")


if __name__ == "__main__":
    typer.run(main)
