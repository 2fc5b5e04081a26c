"""The ledger on SQLite: nothing overspent, nothing lost, nothing refilled, nothing personal; faults close premium."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from errors import SettingsError, TierError, TierUnavailable
from tests.serving import wait_until
from tests.tiers import money
from tests.tiers.money import HELD, PLENTY, ROOT, HandClock, fits, key, states, ticket
from tiers.budget import NOTHING, Cost, Limits
from tiers.ledger import Ledger, Outcome, Quota, Refused, Reserved, Ticket
from tiers.store import Store, assert_journal, is_whole, journal_for, keep_snapshots, restore_newest


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.sqlite'}"


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = Store(url)
    yield opened
    opened.close()


def why(answer: Reserved | Refused) -> str:
    return answer.why if isinstance(answer, Refused) else "reserved"


# --- money -----------------------------------------------------------------------------------------------------------


def test_200_at_the_edge_overspend_nothing(url: str) -> None:
    money.overspend_by_threads(url)


def test_four_processes_at_the_edge_overspend_nothing(url: str) -> None:
    money.overspend_by_processes(url)


def test_thirty_kills_lose_no_settled_row(url: str, tmp_path: Path) -> None:
    money.killed_thirty_times(url)
    assert is_whole(tmp_path / "ledger.sqlite")


def test_a_restart_refills_nothing(url: str) -> None:
    money.restart_refills_nothing(url)


def test_everything_once(url: str) -> None:
    money.everything_once(url)


@pytest.mark.parametrize("limit", [Cost(HELD.gpu_ms, 10**9), Cost(10**9, HELD.micro_usd)])
@pytest.mark.parametrize("of", ["day", "month"])
def test_time_and_money_of_day_and_month_each_refuse(store: Store, clock: HandClock, limit: Cost, of: str) -> None:
    limits = Limits(**{"day": money.MUCH, "month": money.MUCH, of: limit})
    ledger = Ledger(store, limits, clock=clock)
    assert why(ledger.reserve(ticket("a"))) == "reserved"
    refused = ledger.reserve(ticket("b"))
    reset = datetime(2026, 11, 20, 23, tzinfo=UTC) if of == "day" else datetime(2026, 11, 30, 23, tzinfo=UTC)
    assert refused == Refused(f"budget_{of}", reset)  # type: ignore[arg-type]
    assert states(store) == {"a": "reserved"}


def test_settling_gives_back_what_was_not_used(store: Store, clock: HandClock) -> None:
    ledger = Ledger(store, fits(1), clock=clock)
    ledger.reserve(ticket("a"))
    assert ledger.left().day == NOTHING
    ledger.settle(ticket("a"), Outcome(Cost(1, 1)))
    assert ledger.left().day == HELD.minus(Cost(1, 1))
    assert why(ledger.reserve(ticket("b"))) == "budget_day"


def test_a_settled_ticket_is_not_charged_twice_nor_reserved_again(store: Store, clock: HandClock) -> None:
    ledger = Ledger(store, PLENTY, clock=clock)
    for _ in range(3):
        assert why(ledger.reserve(ticket("a"))) == "reserved"
    assert ledger.settle(ticket("a"), Outcome(HELD))
    assert not ledger.settle(ticket("a"), Outcome(HELD, failed=True))
    assert why(ledger.reserve(ticket("a"))) == "duplicate"
    assert ledger.spent().day == HELD


def test_somebody_else_cannot_use_my_ticket(store: Store, clock: HandClock) -> None:
    ledger = Ledger(store, PLENTY, clock=clock)
    ledger.reserve(ticket("a", person="sophie"))
    assert why(ledger.reserve(ticket("a", person="paul"))) == "duplicate"


def test_an_abandoned_reservation_frees_the_pupil_and_stays_in_the_sum(store: Store, clock: HandClock) -> None:
    ledger = Ledger(store, PLENTY, {"premium": Quota(1, 1, 1)}, clock=clock, ttl_s=300)
    ledger.reserve(ticket("a", person="sophie"))
    clock.pass_(seconds=299)
    assert why(ledger.reserve(ticket("b", person="sophie"))) == "quota_person"
    clock.pass_(seconds=1)
    assert why(ledger.reserve(ticket("b", person="sophie"))) == "reserved"
    assert ledger.spent().day == HELD + HELD
    assert ledger.settle(ticket("a", person="sophie"), Outcome(Cost(5, 5))), "better late than never"
    assert ledger.spent().day == HELD + Cost(5, 5)


def test_a_ticket_from_before_a_restored_snapshot_is_written(store: Store, clock: HandClock) -> None:
    ledger = Ledger(store, PLENTY, clock=clock)
    assert ledger.settle(ticket("a"), Outcome(HELD))
    assert ledger.spent().day == HELD


def test_free_answers_are_counted_and_cost_nothing(store: Store, clock: HandClock) -> None:
    ledger = Ledger(store, Limits(), clock=clock)
    free = Ticket("f", "free", "kant", key("tab"))
    assert why(ledger.reserve(free)) == "reserved"
    assert ledger.settle(free, Outcome(tokens_in=9, tokens_out=4))
    assert [(c.tier, c.calls, c.tokens_in) for c in ledger.day_costs(date(2026, 11, 20))] == [("free", 1, 9)]


# --- quotas ----------------------------------------------------------------------------------------------------------


def test_quotas_of_person_browser_and_live_stream(store: Store, clock: HandClock) -> None:
    ledger = Ledger(store, PLENTY, {"premium": Quota(2, 3, 1)}, clock=clock)

    def ask(name: str, person: str, browser: str, *, done: bool = True) -> str:
        asked = ticket(name, person, browser)
        said = why(ledger.reserve(asked))
        if done and said == "reserved":
            ledger.settle(asked, Outcome(Cost(1, 1)))
        return said

    assert ask("1", "sophie", "b1", done=False) == "reserved"
    assert ask("2", "sophie", "b2") == "live_stream"
    ledger.settle(ticket("1", "sophie", "b1"), Outcome(Cost(1, 1)))
    assert ask("3", "sophie", "b1") == "reserved"
    assert ask("4", "sophie", "b2") == "quota_person"
    assert ask("5", "paul", "b1") == "reserved"
    assert ask("6", "luc", "b1") == "quota_browser"
    assert ask("7", "luc", "b2") == "reserved"
    left = ledger.quota_left("premium", person=key("luc"), browser=key("b1"))
    assert (left.answers, left.resets_at) == (0, datetime(2026, 11, 20, 23, tzinfo=UTC))
    assert ledger.quota_left("premium", person=key("luc")).answers == 1
    assert ledger.quota_left("free", browser=key("b1")).answers is None
    clock.pass_(hours=12)
    assert ask("8", "sophie", "b1") == "reserved"


def test_a_failed_answer_is_charged_to_nobody_but_the_school(store: Store, clock: HandClock) -> None:
    ledger = Ledger(store, PLENTY, {"premium": Quota(1, 1, 1)}, clock=clock)
    for n in range(3):
        asked = ticket(f"{n}", "sophie", "tab")
        assert why(ledger.reserve(asked)) == "reserved"
        ledger.settle(asked, Outcome(Cost(700, 3), failed=True))
    assert ledger.quota_left("premium", person=key("sophie"), browser=key("tab")).answers == 1
    assert ledger.spent().day == Cost(2100, 9)
    assert [(c.calls, c.failures) for c in ledger.day_costs(date(2026, 11, 20))] == [(3, 3)]


# --- midnight --------------------------------------------------------------------------------------------------------


def test_midnight_refills_the_day_once_and_never_the_month(store: Store, clock: HandClock) -> None:
    per_day, per_month = 2, 3
    limits = Limits(fits(per_day).day, fits(per_month).day)
    ledger = Ledger(store, limits, clock=clock)
    got = []
    clock.now = datetime(2026, 11, 20, 22, 59, tzinfo=UTC)
    for hour in range(4):  # 23:59 in Paris, then 00:59, 01:59 (one in London), 02:59
        for i in range(3):
            asked = ticket(f"{hour}-{i}")
            answer = ledger.reserve(asked)
            got.append(why(answer))
            if isinstance(answer, Reserved):
                ledger.settle(asked, Outcome(HELD))
        clock.pass_(hours=1)
    assert got == ["reserved", "reserved", "budget_day", "reserved"] + ["budget_month"] * 8


def test_what_is_held_over_midnight_counts_on_the_new_day(store: Store, clock: HandClock) -> None:
    clock.now = datetime(2026, 11, 30, 22, 59, 59, tzinfo=UTC)  # a month ends too
    ledger = Ledger(store, Limits(fits(2).day, fits(2).day), clock=clock)
    ledger.reserve(ticket("before"))
    clock.pass_(seconds=2)
    assert ledger.spent().day == ledger.spent().month == HELD
    assert why(ledger.reserve(ticket("after"))) == "reserved"
    assert why(ledger.reserve(ticket("more"))) == "budget_month"
    ledger.settle(ticket("before"), Outcome(HELD))
    assert ledger.spent().day == HELD
    assert [c.calls for c in ledger.day_costs(date(2026, 11, 30))] == [1]


def test_a_clock_set_back_refills_nothing(store: Store, clock: HandClock) -> None:
    ledger = Ledger(store, fits(1), clock=clock)
    clock.now = datetime(2026, 11, 20, 22, 59, 59, tzinfo=UTC)
    assert why(ledger.reserve(ticket("a"))) == "reserved"
    ledger.settle(ticket("a"), Outcome(HELD))
    clock.pass_(seconds=2)
    assert why(ledger.reserve(ticket("b"))) == "reserved"
    ledger.settle(ticket("b"), Outcome(HELD))
    clock.pass_(seconds=-3)
    assert why(ledger.reserve(ticket("c"))) == "budget_day"


OVER_MIDNIGHT = """
import sys
from threading import Event
from tests.tiers.money import *
from tiers.budget import day_of, utc_now
store = Store(sys.argv[1])
ledger = Ledger(store, Limits(fits(2).day, fits(3).day))
def ask(name):
    asked = ticket(name)
    answer = ledger.reserve(asked)
    if isinstance(answer, Reserved):
        ledger.settle(asked, Outcome(HELD))
    return getattr(answer, "why", "reserved")
days, before = {day_of(utc_now())}, [ask(f"a{i}") for i in range(3)]
while len(days) == 1:
    Event().wait(0.05)  # time.sleep fails under faketime
    days.add(day_of(utc_now()))
print(",".join([*before, *[ask(f"b{i}") for i in range(3)]]))
store.close()
"""


@pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not installed: apt-get install faketime")
def test_a_real_midnight_under_faketime(url: str) -> None:
    """One process lives from 23:59:50 past midnight in Paris; later ones, at one and on the first, get their own."""

    def at(moment: str) -> list[str]:
        command = ["faketime", "--exclude-monotonic", "-f", f"@{moment}", sys.executable, "-c"]
        script = OVER_MIDNIGHT if moment.startswith("2026-11-20") else OVER_MIDNIGHT.replace("len(days) == 1", "False")
        run = subprocess.run(
            [*command, script.replace('f"a', f'"{moment[-8:-6]}" f"a').replace('f"b', f'"{moment[-8:-6]}" f"b'), url],
            cwd=ROOT, env={**os.environ, "TZ": "UTC"}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        return run.stdout.strip().split(",")

    assert at("2026-11-20 22:59:35") == ["reserved"] * 2 + ["budget_day", "reserved", "budget_month", "budget_month"]
    assert at("2026-11-21 00:59:59") == ["budget_month"] * 6
    assert at("2026-12-01 12:00:00") == ["reserved"] * 2 + ["budget_day"] * 4


# --- the machine -----------------------------------------------------------------------------------------------------


class LedgerMachine(RuleBasedStateMachine):
    """Any order of asking, settling, failing, waiting and restarting keeps the sums and the limits."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"ledger-{os.getpid()}-{id(self)}"  # noqa: S108
        self.url = f"sqlite:///{self.folder}/l.sqlite"
        self.clock = HandClock()
        self.limits = Limits(fits(3).day, fits(5).day)
        self.charged: dict[str, tuple[date, int]] = {}
        self.open: dict[str, datetime] = {}
        self.n = 0
        self._start()

    def _start(self) -> None:
        self.store = Store(self.url)
        self.ledger = Ledger(self.store, self.limits, clock=self.clock, ttl_s=60)

    @rule()
    def ask(self) -> None:
        self.n += 1
        name = f"t{self.n}"
        if isinstance(self.ledger.reserve(ticket(name)), Reserved):
            self.charged[name] = (self._today(), HELD.gpu_ms)
            self.open[name] = self.clock.now + timedelta(seconds=60)

    @rule(share=st.floats(0, 1), failed=st.booleans())
    def settle_one(self, share: float, failed: bool) -> None:
        if self.open:
            name = min(self.open)
            del self.open[name]
            gpu_ms = int(HELD.gpu_ms * share)
            assert self.ledger.settle(ticket(name), Outcome(Cost(gpu_ms, 0), failed=failed))
            self.charged[name] = (self.charged[name][0], gpu_ms)

    @rule(seconds=st.sampled_from([1, 59, 61, 3600, 86_400]))
    def wait(self, seconds: int) -> None:
        self.clock.pass_(seconds=seconds)

    @rule()
    def restart(self) -> None:
        self.store.close()
        self._start()

    @invariant()
    def sums_are_those_of_the_model(self) -> None:
        if not hasattr(self, "ledger"):
            return
        held = {n for n, until in self.open.items() if until > self.clock.now}
        spent = self.ledger.spent()
        today, month = self._today(), self._today().replace(day=1)
        assert spent.day.gpu_ms == sum(g for n, (d, g) in self.charged.items() if d == today or n in held)
        in_month = {n for n, (d, _) in self.charged.items() if d.replace(day=1) == month}
        assert spent.month.gpu_ms == sum(self.charged[n][1] for n in in_month | held)
        assert spent.day.fits(self.limits.day)
        assert spent.month.fits(self.limits.month)

    def _today(self) -> date:
        from tiers.budget import day_of

        return day_of(self.clock.now)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.folder)


LedgerMachine.TestCase.settings = settings(max_examples=15, stateful_step_count=20)
TestLedgerMachine = LedgerMachine.TestCase


# --- bad tickets, broken databases -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"request_id": ""}, "request_id"),
        ({"request_id": "a" * 65}, "request_id"),
        ({"request_id": "Je crois que Dieu existe"}, "request_id"),
        ({"persona": "l'élève"}, "persona"),
        ({"person": "65f0c1"}, "person is no HMAC"),
        ({"browser": "sophie@lycee.fr"}, "browser is no HMAC"),
        ({"person": None}, "needs a person"),
        ({"held": NOTHING}, "GPU time"),
        ({"tier": "gold"}, "No tier"),
        ({"tier": "free"}, "holds no money"),
    ],
)
def test_a_wrong_ticket_is_refused_without_quoting_it(wrong: dict[str, object], said: str) -> None:
    right = {
        "request_id": "r",
        "tier": "premium",
        "persona": "kant",
        "browser": key("b"),
        "person": key("p"),
        "held": HELD,
    }
    with pytest.raises(TierError, match=said) as caught:
        Ticket(**{**right, **wrong})  # type: ignore[arg-type]
    assert "sophie" not in str(caught.value)
    assert "Dieu" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "ledger.sqlite", "mysql://localhost/x", "sqlite://", "sqlite:///:memory:"])
def test_an_unknown_url_is_named(url: str) -> None:
    with pytest.raises(SettingsError, match="expected sqlite:///path or postgresql://"):
        Store(url)


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)  # as on a Space, whose requirements do not have it
    with pytest.raises(SettingsError, match="psycopg"):
        Store("postgresql://baf@127.0.0.1:9/none", wait_s=1)


def test_a_password_in_a_url_is_not_said() -> None:
    with pytest.raises(TierUnavailable) as caught:
        Store("postgresql://baf:hunter2@127.0.0.1:9/none", wait_s=1)
    assert "hunter2" not in str(caught.value)
    assert caught.value.code == "ledger_unavailable"


def test_a_damaged_file_closes_premium(tmp_path: Path, url: str) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 40)
    with pytest.raises(TierUnavailable) as caught:
        Store(url)
    assert caught.value.code == "ledger_unavailable"


def test_a_patient_store_takes_what_is_mended(tmp_path: Path, url: str) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 40)
    ledger = Ledger(Store(url, patient=True), PLENTY)
    with pytest.raises(TierUnavailable):
        ledger.reserve(ticket("a"))
    (tmp_path / "ledger.sqlite").unlink()
    assert why(ledger.reserve(ticket("a"))) == "reserved"


def test_a_folder_that_cannot_be_made_closes_premium(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TierUnavailable, match="cannot be made"):
        Store(f"sqlite:///{tmp_path}/file/ledger.sqlite")


def test_a_database_that_another_holds_refuses_after_the_wait(tmp_path: Path, url: str) -> None:
    store = Store(url, wait_s=0.2)
    ledger = Ledger(store, PLENTY)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for use in (lambda: ledger.reserve(ticket("a")), ledger.spent, lambda: ledger.settle(ticket("a"), Outcome())):
            with pytest.raises(TierUnavailable, match="locked"):
                use()
        other.execute("ROLLBACK")
    assert why(ledger.reserve(ticket("a"))) == "reserved"
    store.close()


FULL = """
import resource, signal, sys
from tests.tiers.money import *
from errors import TierUnavailable
store = Store(sys.argv[1])
ledger = Ledger(store, PLENTY)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, 120_000))
n = 0
try:
    while True:
        ledger.reserve(ticket(f"r{n}"))
        n += 1
except TierUnavailable:
    print(n)
"""


def test_a_full_disk_refuses_and_keeps_what_was_allowed(tmp_path: Path, url: str) -> None:
    run = subprocess.run([sys.executable, "-c", FULL, url], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    store = Store(url)
    assert len(states(store)) == int(run.stdout) > 10
    store.close()


# --- SQLite's settings, snapshots ------------------------------------------------------------------------------------


def test_the_mode_is_one_that_this_sqlite_keeps_whole(store: Store) -> None:
    with store.transaction() as connection:
        mode = str(connection.exec_driver_sql("PRAGMA journal_mode").scalar_one())
        assert mode == journal_for(sqlite3.sqlite_version_info)
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2
    assert_journal(sqlite3.sqlite_version_info, mode)


def test_wal_is_refused_where_it_can_lose_data() -> None:
    with pytest.raises(TierUnavailable, match=r"3\.40\.1 can lose its data"):
        assert_journal((3, 40, 1), "wal")
    assert_journal((3, 51, 3), "wal")
    assert_journal((3, 51, 3), "delete")


@pytest.mark.skipif(journal_for(sqlite3.sqlite_version_info) == "wal", reason="this SQLite's WAL is sound")
def test_a_file_left_in_wal_mode_is_changed(tmp_path: Path, url: str) -> None:
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as other:
        assert other.execute("PRAGMA journal_mode=wal").fetchone() == ("wal",)
    store = Store(url)
    with store.transaction() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "delete"
    store.close()


def test_the_file_is_the_owners_alone(store: Store) -> None:
    assert store.path is not None
    assert store.path.stat().st_mode & 0o777 == 0o600


def test_snapshots_are_whole_and_the_oldest_go(store: Store, clock: HandClock, tmp_path: Path) -> None:
    ledger = Ledger(store, PLENTY, clock=clock)
    for n in range(4):
        ledger.settle(ticket(f"{n}"), Outcome(HELD))
        store.snapshot(tmp_path / "snapshots", clock, keep=3)
        clock.pass_(minutes=5)
    found = sorted((tmp_path / "snapshots").iterdir())
    assert len(found) == 3
    assert all(map(is_whole, found))
    target = tmp_path / "new" / "ledger.sqlite"
    assert restore_newest(tmp_path / "snapshots", target) == found[-1]
    assert restore_newest(tmp_path / "snapshots", target) is None, "a ledger that is there stays"
    again = Store(f"sqlite:///{target}")
    assert Ledger(again, PLENTY, clock=clock).spent().day.gpu_ms == 4 * HELD.gpu_ms
    again.close()


def test_a_damaged_snapshot_is_passed_over_and_none_left_closes_premium(store: Store, tmp_path: Path) -> None:
    folder, clock = tmp_path / "snapshots", HandClock()
    older = store.snapshot(folder, clock)
    clock.pass_(minutes=5)
    newer = store.snapshot(folder, clock)
    newer.write_bytes(newer.read_bytes()[:5000])
    assert restore_newest(folder, tmp_path / "a.sqlite") == older
    older.write_bytes(b"")
    older.write_bytes(b"no database")
    with pytest.raises(TierUnavailable, match="None of 2 snapshots"):
        restore_newest(folder, tmp_path / "b.sqlite")
    assert not (tmp_path / "b.sqlite").exists()
    assert restore_newest(tmp_path / "nothing", tmp_path / "b.sqlite") is None


async def test_snapshots_are_kept_up_and_a_last_one_is_taken(store: Store, tmp_path: Path) -> None:
    task = asyncio.create_task(keep_snapshots(store, tmp_path / "s", every_s=0.05))
    await asyncio.to_thread(wait_until, lambda: bool(list((tmp_path / "s").glob("*.sqlite"))))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.run(lambda: None)  # what was under way has ended
    assert not list((tmp_path / "s").glob("*.partial"))
    last = asyncio.create_task(keep_snapshots(store, tmp_path / "last", every_s=60.0))
    await asyncio.sleep(0)
    last.cancel()
    with pytest.raises(asyncio.CancelledError):
        await last
    assert len(list((tmp_path / "last").glob("*.sqlite"))) == 1


async def test_calls_from_an_event_loop_keep_their_order_and_do_not_block_it(store: Store, clock: HandClock) -> None:
    ledger = Ledger(store, PLENTY, clock=clock)
    asked = ticket("a")
    reserving = asyncio.create_task(store.run(ledger.reserve, asked))
    await asyncio.sleep(0)
    reserving.cancel()  # the browser is gone before the answer
    assert await store.run(ledger.settle, asked, Outcome(failed=True))
    assert states(store) == {"a": "failed"}
    assert ledger.spent().day == NOTHING


def test_no_connection_is_left_open(tmp_path: Path) -> None:
    def n_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    Store(f"sqlite:///{tmp_path}/0.sqlite").close()
    before = n_files()
    for n in range(20):
        store = Store(f"sqlite:///{tmp_path}/{n}.sqlite")
        Ledger(store, PLENTY).reserve(ticket("a"))
        store.snapshot(tmp_path / f"s{n}")
        store.close()
    assert n_files() <= before + 2


def test_old_rows_are_deleted_a_bounded_number_at_once(store: Store, clock: HandClock) -> None:
    from tiers import ledger as room

    ledger = Ledger(store, PLENTY, clock=clock)
    with store.transaction() as connection:
        row = {"tier": "free", "persona": "kant", "day": "2024-01-01", "reserved_ms": 0, "expires_ms": 0,
               "state": "settled", "gpu_ms": 0, "micro_usd": 0, "tokens_in": 0, "tokens_out": 0}  # fmt: skip
        rows = [{**row, "request_id": f"r{n}"} for n in range(room.DELETED_AT_ONCE * 2 + 5)]
        connection.execute(room.USAGE.insert(), rows)
    ledger.settle(ticket("now"), Outcome(HELD))
    assert ledger.forget() == room.DELETED_AT_ONCE * 2 + 5
    assert states(store) == {"now": "settled"}
