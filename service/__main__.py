"""`python -m service`: the premium gateway on this machine, alone or with the page against it. Knows settings.

Data goes to stdout, talk to stderr. On loopback only: what is reachable from outside is deployed by `modal_deploy`.
"""

import json
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from cli import run_commands
from errors import SettingsError
from service.gateway import Bounds, gateway
from settings import Settings, load_settings
from tiers.account import LedgerAccount
from tiers.budget import Price
from tiers.ledger import Ledger, Quota
from tiers.local import open_local_premium
from tiers.opening import limits_of
from tiers.seal import Seal
from tiers.store import Store
from tiers.supply import ModelChoice

app = typer.Typer(help="The premium gateway on this machine.", no_args_is_help=True, add_completion=False)

ROOT = Path(__file__).parents[1]
HOST = "127.0.0.1"
LOCAL_USD = Decimal(100)  # nobody is paid: enough for any day, so that the path of the money is walked all the same
STOP_S = 15.0

Engine = Annotated[
    str | None, typer.Option(help="openai:http://host/v1#model, ollama:name, gguf:path; unset, BAF_PREMIUM_ENGINE.")
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")]
AsJson = Annotated[bool, typer.Option("--json", help="Say where it is as JSON on stdout.")]


@app.command("gateway")
def serve_gateway(engine: Engine = None, port: Port = 0, as_json: AsJson = False) -> None:
    """Serve the gateway until interrupted; its secret is BAF_PREMIUM_SECRET."""
    settings = load_settings()
    if settings.premium_secret is None:
        raise SettingsError('Set BAF_PREMIUM_SECRET: python -c "import secrets; print(secrets.token_urlsafe(32))"')
    with _gateway(settings, settings.premium_secret.get_secret_value(), engine, port) as (url, server):
        print(json.dumps({"url": url}) if as_json else url, flush=True)
        server.join()


@app.command()
def premium(engine: Engine = None, port: Port = 0) -> None:
    """Serve the gateway and the page against it, with premium for everybody who opens the page."""
    settings = load_settings()
    secret = secrets.token_urlsafe(32)
    typer.echo("The premium engine is being made ready.", err=True)
    with _gateway(settings, secret, engine, port) as (url, _):
        typer.echo(f"The gateway listens on {url}", err=True)
        page = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env={**os.environ, **_of_page(url, secret)})
        try:
            status = page.wait()
        except KeyboardInterrupt:
            page.send_signal(signal.SIGINT)
            status = page.wait(STOP_S)
        finally:
            if page.poll() is None:
                page.terminate()
                page.wait(STOP_S)
    raise typer.Exit(max(status, 0))


def _of_page(url: str, secret: str) -> dict[str, str]:
    """What the page is told: where premium is, and that everybody here may have it."""
    return {
        "BAF_PREMIUM_URL": url,
        "BAF_PREMIUM_SECRET": secret,
        "BAF_PREMIUM_FOR": "everybody",
        "BAF_PREMIUM_A_DAY": "1000",
        "BAF_LEDGER_SECRET": secret,
        "BAF_BUDGET_DAY_USD": str(LOCAL_USD),
        "BAF_BUDGET_MONTH_USD": str(LOCAL_USD),
    }


@contextmanager
def _gateway(settings: Settings, secret: str, engine: str | None, port: int) -> Iterator[tuple[str, threading.Thread]]:
    """Serve the gateway in a thread; give its address and the thread."""
    choice = ModelChoice(
        settings.data_dir, base=settings.demo_base, threads=settings.threads, n_ctx=settings.context_tokens,
        n_cells=settings.cache_tokens, max_active=settings.max_active, queue_size=settings.queue_size,
        kernels=settings.kernels,
    )  # fmt: skip
    local = open_local_premium(engine or settings.premium_engine, choice, deadline_s=settings.answer_deadline_s)
    store = Store(f"sqlite:///{settings.data_dir.resolve() / 'gateway.sqlite'}")
    limits = limits_of(LOCAL_USD, LOCAL_USD, settings.gpu_usd_per_hour)
    account = LedgerAccount(Ledger(store, limits, {"premium": Quota(live=1)}), store, limits)
    served = gateway(
        local.tier, seal=Seal(secret), account=account, price=Price(settings.gpu_usd_per_hour),
        bounds=Bounds(deadline_s=settings.answer_deadline_s + 30),
    )  # fmt: skip
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((HOST, port))
    server = uvicorn.Server(uvicorn.Config(served, log_level="warning", lifespan="off", timeout_graceful_shutdown=3))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{listener.getsockname()[1]}", thread
    finally:
        server.should_exit = True
        thread.join(STOP_S)
        listener.close()
        store.close()
        local.close()


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # otherwise page and model would outlive us
    run_commands(app, quiet={"httpx": logging.WARNING})


if __name__ == "__main__":
    main()
