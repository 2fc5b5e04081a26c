"""What the tests of the ledger share: tickets, a clock set by hand, and the proofs that hold on both databases."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import select

from tiers.budget import Cost, Limits
from tiers.ledger import USAGE, Ledger, Outcome, Refused, Reserved, Ticket
from tiers.store import Store

ROOT = Path(__file__).parents[2]
HELD = Cost(gpu_ms=20_000, micro_usd=8_223)
MUCH = Cost(10**12, 10**12)
PLENTY = Limits(MUCH, MUCH)
NOON = datetime(2026, 11, 20, 11, 0, tzinfo=UTC)  # noon in Paris


@dataclass
class HandClock:
    """Says what it was set to."""

    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, **time: float) -> None:
        self.now += timedelta(**time)


def key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def ticket(name: str, person: str | None = None, browser: str | None = None, held: Cost = HELD) -> Ticket:
    return Ticket(name, "premium", "spinoza", key(browser or name), key(person or name), held)


def fits(n: int) -> Limits:
    """A day's budget for exactly `n` reservations, and a month's for more."""
    return Limits(Cost(HELD.gpu_ms * n, HELD.micro_usd * n), MUCH)


def states(store: Store) -> dict[str, str]:
    with store.transaction() as connection:
        rows = connection.execute(select(USAGE.c.request_id, USAGE.c.state)).all()
    return {row.request_id: row.state for row in rows}


def overspend_by_threads(url: str, n: int = 200, allowed: int = 37) -> None:
    """`n` threads over four connections ask at once; exactly `allowed` get it, and the sum is the budget."""
    stores = [Store(url, wait_s=60) for _ in range(4)]
    ledgers = [Ledger(store, fits(allowed)) for store in stores]
    barrier, answers = threading.Barrier(n), list[Reserved | Refused]()

    def ask(i: int) -> None:
        barrier.wait()
        answers.append(ledgers[i % 4].reserve(ticket(f"edge-{i}")))

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = ledgers[0].spent()
    for store in stores:
        store.close()
    said = Counter(answer.why if isinstance(answer, Refused) else "reserved" for answer in answers)
    assert said == {"reserved": allowed, "budget_day": n - allowed}
    assert spent.day == fits(allowed).day


ASK_50 = """
import sys
from tests.tiers.money import *
url, name = sys.argv[1:]
store = Store(url, wait_s=60)
ledger = Ledger(store, fits(37))
print("ready", flush=True)
sys.stdin.readline()
print(sum(isinstance(ledger.reserve(ticket(f"{name}-{i}")), Reserved) for i in range(50)))
store.close()
"""


def overspend_by_processes(url: str) -> None:
    """Four processes of fifty requests each at the edge of the budget."""
    command = [sys.executable, "-c", ASK_50, url]
    children = [
        subprocess.Popen([*command, f"p{i}"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for i in range(4)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    got = [int(child.communicate(timeout=120)[0]) for child in children]
    assert sum(got) == 37
    store = Store(url)
    assert Ledger(store, fits(37)).spent().day == fits(37).day
    store.close()


SETTLE = """
import os, sys
from itertools import count
from tests.tiers.money import *

def settle_for_ever(url, name):
    ledger = Ledger(Store(url, wait_s=60), PLENTY)
    for i in count():
        asked = ticket(f"{name}-{i}")
        ledger.reserve(asked)
        ledger.settle(asked, Outcome(Cost(1000, 7), tokens_in=5, tokens_out=3))
        os.write(1, f"{asked.request_id}\\n".encode())

for line in sys.stdin:  # a fork for each, so that thirty processes import once
    child = os.fork()
    if child == 0:
        settle_for_ever(sys.argv[1], line.strip())
    os.write(1, f"pid {child}\\n".encode())
    status = os.waitpid(child, 0)[1]
    os.write(1, f"ended {os.waitstatus_to_exitcode(status)}\\n".encode())
"""


def killed_thirty_times(url: str) -> None:
    """Thirty processes settle as fast as they can and are killed with -9; no row that they reported is lost."""
    Store(url).close()
    acknowledged: list[str] = []
    parent = subprocess.Popen(
        [sys.executable, "-c", SETTLE, url], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    for n in range(30):
        parent.stdin.write(f"k{n}\n")
        parent.stdin.flush()
        pid, rows = 0, list[str]()
        while not pid or len(rows) < 3 + n % 5:
            line = parent.stdout.readline().strip()
            assert not line.startswith("ended"), line
            if line.startswith("pid"):
                pid = int(line.split()[1])
            else:
                rows.append(line)
        os.kill(pid, signal.SIGKILL)
        while not (line := parent.stdout.readline().strip()).startswith("ended"):
            rows.append(line)
        assert line == "ended -9"
        acknowledged += rows
    parent.communicate(timeout=30)
    assert len(acknowledged) >= 30 * 3
    assert "" not in acknowledged
    store = Store(url, wait_s=60)
    found = states(store)
    assert {found.get(name) for name in acknowledged} == {"settled"}
    # Whoever died between the two holds its reservation in full, one for each process at most.
    n_open = sum(state == "reserved" for state in found.values())
    assert n_open <= 30
    settled = len(found) - n_open
    spent = Ledger(store, PLENTY).spent().day
    assert spent == Cost(settled * 1000 + n_open * HELD.gpu_ms, settled * 7 + n_open * HELD.micro_usd)
    store.close()


def restart_refills_nothing(url: str) -> None:
    """A budget spent is spent for the process that comes after."""
    clock = HandClock()
    for start in range(3):
        store = Store(url)
        ledger = Ledger(store, fits(2), clock=clock)
        answers = [ledger.reserve(ticket(f"restart-{start}-{i}")) for i in range(3)]
        expected = [Reserved, Reserved, Refused] if start == 0 else [Refused] * 3
        assert [type(answer) for answer in answers] == expected
        store.close()


def everything_once(url: str) -> None:
    """A day of the ledger, in order: the same on both databases."""
    clock = HandClock()
    store = Store(url)
    ledger = Ledger(store, fits(3), clock=clock)
    asked = ticket("one", person="sophie")
    first = ledger.reserve(asked)
    assert isinstance(first, Reserved)
    assert ledger.reserve(asked) == first
    assert ledger.settle(asked, Outcome(Cost(4_200, 1_727), 700, 120))
    assert not ledger.settle(asked, Outcome(HELD))
    assert ledger.spent().day == Cost(4_200, 1_727)
    [line] = ledger.day_costs(clock.now.date())
    assert (line.calls, line.failures, line.tokens_in, line.tokens_out) == (1, 0, 700, 120)
    clock.pass_(days=500)
    assert ledger.forget() == 1
    assert states(store) == {}
    store.close()
