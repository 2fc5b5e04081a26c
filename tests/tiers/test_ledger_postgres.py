"""The same money, the same kills, on PostgreSQL: Debian's server, started by the test on loopback."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from errors import TierError, TierUnavailable
from tests.tiers import money
from tests.tiers.money import HELD, PLENTY, HandClock, key, states, ticket
from tiers.entitlements import Entitlements
from tiers.ledger import Ledger, Outcome, Reserved
from tiers.store import Store

FOUND = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
BIN = Path(shutil.which("postgres") or (FOUND[-1] if FOUND else "")).resolve().parent
INSTALLED = all((BIN / name).exists() for name in ("initdb", "pg_ctl", "postgres"))

pytestmark = pytest.mark.skipif(not INSTALLED, reason="PostgreSQL is not installed: apt-get install postgresql")


@dataclass
class Server:
    """A PostgreSQL with a data folder and a port of its own. It refuses to run as root, so root steps back."""

    folder: Path
    port: int

    def url(self, name: str) -> str:
        return f"postgresql://baf@127.0.0.1:{self.port}/{name}"

    def run(self, *command: str) -> None:
        user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
        program, *rest = command
        done = subprocess.run(
            [str(BIN / program), *rest], cwd=self.folder, capture_output=True, text=True, timeout=60, **user  # type: ignore[call-overload]
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def control(self, *command: str) -> None:
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-l", str(self.folder / "log"), "-w", *command)

    def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories= -c max_connections=50"
        self.control("-o", options, "start")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="baf-postgres-"))  # pytest's own folders are closed to other users
    if os.getuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    made = Server(folder, port)
    made.run("initdb", "-D", str(folder / "data"), "-U", "baf", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
    made.start()
    yield made
    made.control("stop", "-m", "fast")
    shutil.rmtree(folder)


@pytest.fixture
def url(server: Server, request: pytest.FixtureRequest) -> str:
    name = f"t{time.monotonic_ns()}"
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return server.url(name)


def test_200_at_the_edge_overspend_nothing(url: str) -> None:
    money.overspend_by_threads(url)


def test_four_processes_at_the_edge_overspend_nothing(url: str) -> None:
    money.overspend_by_processes(url)


def test_thirty_kills_lose_no_settled_row(url: str) -> None:
    money.killed_thirty_times(url)


def test_a_restart_refills_nothing(url: str) -> None:
    money.restart_refills_nothing(url)


def test_everything_once(url: str) -> None:
    money.everything_once(url)


def test_a_server_that_crashes_refuses_and_comes_back_with_everything(server: Server, url: str) -> None:
    store = Store(url, wait_s=5)
    ledger = Ledger(store, PLENTY)
    for n in range(5):
        ledger.reserve(ticket(f"{n}"))
        ledger.settle(ticket(f"{n}"), Outcome(HELD))
    server.control("stop", "-m", "immediate")
    with pytest.raises(TierUnavailable) as caught:
        ledger.reserve(ticket("down"))
    assert caught.value.code == "ledger_unavailable"
    server.start()
    assert isinstance(ledger.reserve(ticket("up")), Reserved), "the dead connections are replaced"
    assert list(states(store).values()) == ["settled"] * 5 + ["reserved"]
    store.close()


async def test_grants_and_passes(url: str) -> None:
    clock = HandClock()
    store = Store(url)
    known = Entitlements(store, "s" * 32, clock=clock)
    code = known.new_pass(2, clock() + timedelta(days=1))
    assert [known.redeem(code, sub).refused for sub in ("a", "b", "a", "c")] == [None, None, None, "pass_full"]
    assert (await known.plan("a")).source == "pass"
    known.grant(key("d"), clock() + timedelta(days=1))
    assert known.revoke_pass(code) == 2
    assert (await known.plan("a")).tier == "free"
    store.close()


def test_a_snapshot_is_pg_dumps_task(url: str, tmp_path: Path) -> None:
    store = Store(url)
    with pytest.raises(TierError, match="pg_dump"):
        store.snapshot(tmp_path)
    store.close()
