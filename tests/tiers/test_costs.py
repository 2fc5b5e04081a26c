"""The daily report and the command line, against real files."""

import asyncio
import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from errors import SettingsError, TierError
from tests.tiers.money import HELD, PLENTY, ROOT, HandClock, key, ticket
from tiers.__main__ import app
from tiers.budget import Cost, day_of, utc_now
from tiers.costs import COLUMNS, as_csv, nightly, write_costs
from tiers.entitlements import Entitlements
from tiers.ledger import Ledger, Outcome, Ticket
from tiers.store import Store

DAY = date(2026, 11, 20)
REPORT = """\
day,tier,persona,calls,failures,tokens_in,tokens_out,gpu_seconds,dollars
2026-11-20,free,kant,2,0,20,8,0.000,0.000000
2026-11-20,premium,bergson,1,1,0,0,20.000,0.008223
2026-11-20,premium,spinoza,3,1,1400,240,9.100,0.003742
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    yield opened
    opened.close()


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def ledger(store: Store, clock: HandClock) -> Ledger:
    return Ledger(store, PLENTY, clock=clock)


def a_day(ledger: Ledger, clock: HandClock) -> None:
    """Three premium answers of Spinoza (one failed), one of Bergson abandoned, two free ones of Kant."""
    for n, outcome in enumerate(
        [Outcome(Cost(4200, 1727), 700, 120), Outcome(Cost(4200, 1727), 700, 120), Outcome(Cost(700, 288), failed=True)]
    ):
        ledger.reserve(ticket(f"s{n}"))
        ledger.settle(ticket(f"s{n}"), outcome)
    ledger.reserve(Ticket("b", "premium", "bergson", key("t"), key("b"), HELD))
    for n in range(2):
        ledger.settle(Ticket(f"k{n}", "free", "kant", key("t")), Outcome(tokens_in=10, tokens_out=4))
    clock.pass_(minutes=6)


def test_the_report_is_exact(ledger: Ledger, clock: HandClock, tmp_path: Path) -> None:
    a_day(ledger, clock)
    path, made = write_costs(ledger, DAY, tmp_path / "reports")
    assert (path, made) == (tmp_path / "reports" / "cost_20261120.csv", "written")
    assert path.read_text() == REPORT
    assert [path.name for path in path.parent.iterdir()] == ["cost_20261120.csv"]


def test_a_day_without_anybody_is_a_header(ledger: Ledger, tmp_path: Path) -> None:
    path, _ = write_costs(ledger, DAY, tmp_path)
    assert path.read_text() == ",".join(COLUMNS) + "\n"


def test_a_report_is_never_overwritten_silently(ledger: Ledger, clock: HandClock, tmp_path: Path) -> None:
    path, _ = write_costs(ledger, DAY, tmp_path)
    assert write_costs(ledger, DAY, tmp_path) == (path, "same")
    a_day(ledger, clock)
    with pytest.raises(TierError, match="--replace"):
        write_costs(ledger, DAY, tmp_path)
    assert path.read_text() == ",".join(COLUMNS) + "\n"
    assert write_costs(ledger, DAY, tmp_path, replace=True) == (path, "replaced")
    path.write_text("mine")
    write_costs(ledger, DAY, tmp_path, replace=True)
    assert path.read_text() == REPORT
    assert (tmp_path / "cost_20261120.csv.old1").read_text() == ",".join(COLUMNS) + "\n"
    assert (tmp_path / "cost_20261120.csv.old2").read_text() == "mine"
    path.write_text(REPORT, encoding="utf-16")  # as a spreadsheet may
    assert write_costs(ledger, DAY, tmp_path, replace=True) == (path, "replaced")
    assert path.read_text() == REPORT


def test_a_folder_that_is_a_file_is_said(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "reports").touch()
    with pytest.raises(TierError, match="cannot be written"):
        write_costs(ledger, DAY, tmp_path / "reports")


def test_a_report_reads_as_csv(ledger: Ledger, clock: HandClock) -> None:
    a_day(ledger, clock)
    rows = list(csv.DictReader(as_csv(ledger.day_costs(DAY)).splitlines()))
    assert sum(int(row["calls"]) for row in rows) == 6
    assert tuple(rows[0]) == COLUMNS


# --- midnight --------------------------------------------------------------------------------------------------------


async def until(what: object, *, seconds: float = 10.0) -> None:
    for _ in range(int(seconds / 0.02)):
        if what():  # type: ignore[operator]
            return
        await asyncio.sleep(0.02)
    raise AssertionError("It did not come true.")


async def test_the_night_writes_the_day_when_its_last_answer_is_settled(
    ledger: Ledger, clock: HandClock, tmp_path: Path
) -> None:
    clock.now = datetime(2026, 11, 20, 22, 58, tzinfo=UTC)
    night = asyncio.create_task(nightly(ledger, tmp_path / "reports", clock, poll_s=0.02))
    ledger.reserve(ticket("late"))
    path = tmp_path / "reports" / "cost_20261120.csv"
    await asyncio.sleep(0.2)
    assert not path.exists(), "the day is not over"
    clock.pass_(minutes=3)
    await asyncio.sleep(0.2)
    assert not path.exists(), "an answer is under way"
    ledger.settle(ticket("late"), Outcome(Cost(1000, 412), 5, 6))
    await until(path.exists)
    assert "premium,spinoza,1,0,5,6,1.000,0.000412" in path.read_text()
    clock.pass_(days=1)
    await until((tmp_path / "reports" / "cost_20261121.csv").exists)
    night.cancel()
    with pytest.raises(asyncio.CancelledError):
        await night


async def test_days_while_the_process_was_down_are_written(ledger: Ledger, clock: HandClock, tmp_path: Path) -> None:
    a_day(ledger, clock)
    clock.pass_(days=5)
    night = asyncio.create_task(nightly(ledger, tmp_path / "reports", clock, poll_s=0.02))
    await until((tmp_path / "reports" / "cost_20261120.csv").exists)
    await until((tmp_path / "reports" / "cost_20261124.csv").exists)
    night.cancel()
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == ["cost_20261120.csv", "cost_20261124.csv"]
    assert (tmp_path / "reports" / "cost_20261120.csv").read_text() == REPORT


async def test_a_report_made_before_the_end_is_made_whole_and_kept(
    ledger: Ledger, clock: HandClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, _ = write_costs(ledger, DAY, tmp_path)
    a_day(ledger, clock)
    clock.pass_(days=1)
    night = asyncio.create_task(nightly(ledger, tmp_path, clock, poll_s=0.02))
    await until(lambda: path.exists() and path.read_text() == REPORT)
    await until(lambda: "it is whole now" in caplog.text)
    night.cancel()
    assert (tmp_path / "cost_20261120.csv.old1").exists()


async def test_the_night_survives_a_fault(ledger: Ledger, clock: HandClock, tmp_path: Path) -> None:
    (tmp_path / "reports").touch()
    a_day(ledger, clock)
    clock.pass_(days=1)
    night = asyncio.create_task(nightly(ledger, tmp_path / "reports", clock, poll_s=0.02))
    await asyncio.sleep(0.2)
    assert not night.done()
    (tmp_path / "reports").unlink()
    await until((tmp_path / "reports" / "cost_20261120.csv").exists)
    night.cancel()


# --- the command line ------------------------------------------------------------------------------------------------


class Cli:
    """`python -m tiers` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secret = folder / "secret"
        self.secret.write_text("s" * 40 + "\n")
        self.ledger = f"sqlite:///{folder / 'cli.sqlite'}"

    def __call__(self, *command: str) -> Result:
        own = [] if command[0] == "costs" else ["--secret-file", str(self.secret)]
        return CliRunner().invoke(app, [*command, "--ledger", self.ledger, *own])

    def json(self, *command: str) -> dict[str, object]:
        run = self(*command, "--json")
        assert run.exit_code == 0, run.output
        said: dict[str, object] = json.loads(run.stdout)
        return said


def test_a_lost_ledger_is_restored_before_it_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty one in its place would hide the snapshots from the page, which then deletes them one by one."""
    store = Store(f"sqlite:///{tmp_path / 'lost.sqlite'}")
    Entitlements(store, "s" * 40).new_pass(3, utc_now() + timedelta(days=2))
    store.snapshot(tmp_path / "snapshots")
    store.close()
    monkeypatch.setenv("BAF_SNAPSHOTS_DIR", str(tmp_path / "snapshots"))
    monkeypatch.setenv("BAF_DATA_DIR", str(tmp_path / "new"))
    monkeypatch.setenv("BAF_LEDGER_SECRET", "s" * 40)
    run = CliRunner().invoke(app, ["list", "--json"])
    assert [one["seats"] for one in json.loads(run.stdout)["passes"]] == [3]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def test_grant_pass_list_revoke(cli: Cli) -> None:
    until_day = str(day_of(utc_now()) + timedelta(days=30))
    person = cli("grant", "65f0c1a2b3d4", "--until", until_day).stdout.strip()
    made = cli.json("pass", "--seats", "35", "--until", until_day)
    said = cli.json("list")
    assert said["people"][0]["person"] == person  # type: ignore[index]
    assert [(p["seats"], p["taken"]) for p in said["passes"]] == [(35, 0)]  # type: ignore[attr-defined]
    shown = cli("list").stdout
    assert until_day in shown
    assert "65f0c1a2b3d4" not in shown
    assert person in "".join(line.split("│")[1].strip() for line in shown.splitlines() if line.count("│") > 4)
    assert cli("revoke", str(made["code"])).stdout == "0\n"
    assert cli.json("revoke", "--person", person) == {"ended": 1}


def test_costs_writes_and_prints(cli: Cli, tmp_path: Path) -> None:
    store = Store(cli.ledger)
    Ledger(store, PLENTY).settle(ticket("a"), Outcome(Cost(4200, 1727), 700, 120))
    store.close()
    reports = str(tmp_path / "reports")
    said = cli.json("costs", "--day", "today", "--out", reports)
    assert said["made"] == "written"
    assert said["rows"][0]["dollars"] == "0.001727"  # type: ignore[index]
    again = cli("costs", "--day", "today", "--out", reports)
    assert again.stdout.strip() == said["path"]
    assert "spinoza" in again.stderr
    Path(str(said["path"])).write_text("mine")
    refused = subprocess.run(
        [sys.executable, "-m", "tiers", "costs", "--day", "today", "--out", reports, "--ledger", cli.ledger],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.count("\n") == 1
    assert "--replace" in refused.stderr


def test_reports_are_written_where_the_page_writes_them(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAF_REPORTS_DIR", str(tmp_path / "elsewhere"))
    assert Path(str(cli.json("costs", "--day", "today")["path"])).parent == tmp_path / "elsewhere"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("grant", "x", "--until", "2020-01-01"), "in the future"),
        (("grant", "x", "--until", "demain"), "expected YYYY-MM-DD"),
        (("grant", "x", "--until", "2027-02-30"), "no day of the calendar"),
        (("revoke", "nothing"), "No pass 'nothing'"),
        (("costs", "--day", "20261120"), "expected YYYY-MM-DD"),
    ],
)
def test_a_wrong_command_is_said(cli: Cli, command: tuple[str, ...], said: str) -> None:
    run = cli(*command)
    assert isinstance(run.exception, TierError)
    assert said in str(run.exception)
    assert run.stdout == ""


def test_a_missing_secret_is_said(cli: Cli) -> None:
    run = CliRunner().invoke(app, ["list", "--ledger", cli.ledger, "--secret-file", "/nonexistent"])
    assert isinstance(run.exception, SettingsError)
    assert "cannot be read: FileNotFoundError" in str(run.exception)
