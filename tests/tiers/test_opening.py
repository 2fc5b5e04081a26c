"""From settings to the router: what is opened, what stays closed and why, what is done at midnight and at the end."""

import time
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from fastapi import FastAPI, Response

from errors import SettingsError, TierUnavailable
from service.counting import open_counted
from settings import load_settings
from tests.service.premium import ASKED, MUCH, SECRET, heard
from tests.serving import serving, wait_until
from tests.tiers.money import HandClock, ticket
from tiers.base import Notice, Token, User
from tiers.budget import day_of, utc_now
from tiers.chores import Chores
from tiers.ledger import Ledger, Outcome
from tiers.opening import LedgerChoice, PremiumChoice, limits_of, open_router
from tiers.store import Store
from tiers.testing import ScriptedTier
from tiers.waking import http_awake

FREE = ScriptedTier(Token("Gratuit."))
GATEWAY = PremiumChoice("http://127.0.0.1:9", SECRET, everybody=True)


def choice(folder: Path, **changed: object) -> LedgerChoice:
    values: dict[str, object] = {"secret": SECRET, "reports": folder / "reports", **changed}
    return LedgerChoice(folder, **values)  # type: ignore[arg-type]


async def words(opened_by: LedgerChoice, premium: PremiumChoice | None = None) -> tuple[list[str], str]:
    opened = open_router(FREE, opened_by, premium)
    try:
        events = await heard(opened.router.stream(ASKED, User("tab")))
    finally:
        await opened.aclose()
        opened.close()
    said = "".join(event.text for event in events if isinstance(event, Token))
    return [event.code for event in events if isinstance(event, Notice)], said


async def test_a_page_without_premium_counts_its_answers(tmp_path: Path) -> None:
    assert await words(choice(tmp_path)) == ([], "Gratuit.")
    store = Store(f"sqlite:///{tmp_path}/ledger.sqlite")
    [line] = Ledger(store, MUCH).day_costs(day_of(utc_now()))
    store.close()
    assert (line.tier, line.calls, line.failures) == ("free", 1, 0)


async def test_a_budget_of_nothing_is_spent(tmp_path: Path) -> None:
    """The default: premium that nobody allowed money for asks no gateway."""
    assert await words(choice(tmp_path), GATEWAY) == (["budget_month"], "Gratuit.")


async def test_a_gateway_that_is_not_there_is_said(tmp_path: Path) -> None:
    rich = choice(tmp_path, day_usd=Decimal(10), month_usd=Decimal(10))
    assert await words(rich, GATEWAY) == (["premium_down"], "Gratuit.")


async def test_a_ledger_that_cannot_be_opened_closes_premium_alone(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"no database at all" * 100)
    assert await words(choice(tmp_path), GATEWAY) == (["ledger_unavailable"], "Gratuit.")


async def test_a_ledger_that_is_mended_while_the_page_runs_opens_premium(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"no database at all" * 100)
    opened = open_router(FREE, choice(tmp_path, day_usd=Decimal(10), month_usd=Decimal(10)), GATEWAY)
    try:
        found = []
        for mended in (False, True):
            if mended:
                (tmp_path / "ledger.sqlite").unlink()
            events = await heard(opened.router.stream(ASKED, User("tab")))
            found.append([event.code for event in events if isinstance(event, Notice)])
        assert found == [["ledger_unavailable"], ["premium_down"]]  # the second was paid for, and asked
    finally:
        await opened.aclose()
        opened.close()


def test_a_ledger_that_could_not_be_opened_is_said_to_who_watches(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    page, metrics = open_counted(FREE, choice(tmp_path / "file"), GATEWAY)
    try:
        assert b"state_readable 0.0" in metrics.text()
    finally:
        page.close()


def test_premium_without_the_secrets_does_not_open(tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        open_router(FREE, choice(tmp_path, secret=None), GATEWAY)
    with pytest.raises(SettingsError):
        open_router(FREE, choice(tmp_path), PremiumChoice("http://127.0.0.1:9", "short"))


def test_a_quota_of_browsers_without_the_secret_does_not_open(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="BAF_LEDGER_SECRET"):
        open_router(FREE, choice(tmp_path, secret=None, free_a_day=3))


def test_dollars_buy_time() -> None:
    limits = limits_of(Decimal("0.50"), Decimal(15), Decimal("1.48"))
    assert (limits.day.gpu_ms, limits.day.micro_usd) == (1_216_216, 500_000)
    assert limits.month.micro_usd == 15_000_000


def test_yesterdays_report_and_the_last_snapshot_are_written(tmp_path: Path) -> None:
    yesterday = HandClock(utc_now() - timedelta(days=1))
    store = Store(f"sqlite:///{tmp_path}/ledger.sqlite")
    ledger = Ledger(store, MUCH, clock=yesterday)
    ledger.reserve(ticket("one"))
    ledger.settle(ticket("one"), Outcome(tokens_in=5))
    store.close()
    opened = open_router(FREE, choice(tmp_path, snapshots=tmp_path / "snapshots"))
    report = tmp_path / "reports" / f"cost_{day_of(yesterday.now):%Y%m%d}.csv"
    wait_until(report.exists)
    opened.close()
    assert "premium,spinoza,1,0,5" in report.read_text(encoding="utf-8")
    [snapshot] = (tmp_path / "snapshots").glob("ledger_*.sqlite")
    assert snapshot.stat().st_size > 0


class Unreadable(Ledger):
    def n_open(self, day: date) -> int:
        raise RuntimeError(day)


def test_a_chore_that_fails_says_so_and_stops_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store, folder = Store(f"sqlite:///{tmp_path}/l.sqlite"), tmp_path / "a file"
    folder.touch()
    chores = Chores(store, Unreadable(store, MUCH), tmp_path, folder)
    chores.start()
    wait_until(lambda: "No more reports until the next start: RuntimeError at" in caplog.text)
    assert "not copied" not in caplog.text  # the last snapshot is not due yet
    chores.close()
    store.close()
    assert "The ledger was not copied" in caplog.text


async def test_a_new_disk_goes_on_from_the_last_snapshot(tmp_path: Path) -> None:
    """T12: a restart refills no budget."""
    first, second = tmp_path / "a", tmp_path / "b"
    kept = tmp_path / "snapshots"
    assert await words(choice(first, snapshots=kept)) == ([], "Gratuit.")
    opened = open_router(FREE, choice(second, snapshots=kept))
    assert opened.account is not None
    assert [line.calls for line in opened.account.ledger.day_costs(day_of(utc_now()))] == [1]
    opened.close()


async def test_damaged_snapshots_keep_premium_closed(tmp_path: Path) -> None:
    kept = tmp_path / "snapshots"
    kept.mkdir()
    (kept / "ledger_20260101T000000000000.sqlite").write_bytes(b"damaged")
    rich = choice(tmp_path / "new", snapshots=kept, day_usd=Decimal(10), month_usd=Decimal(10))
    assert await words(rich, GATEWAY) == ([], "Gratuit.")


def test_closing_takes_no_time(tmp_path: Path) -> None:
    opened = open_router(FREE, choice(tmp_path))
    began = time.monotonic()
    opened.close()
    assert time.monotonic() - began < 2


# --- settings --------------------------------------------------------------------------------------------------------

WHOLE = {
    "premium_url": "http://127.0.0.1:7861", "premium_secret": SECRET, "ledger_secret": SECRET,
    "budget_day_usd": "0.5", "budget_month_usd": "15", "premium_for": "everybody",
}  # fmt: skip


def test_whole_settings_open(tmp_path: Path) -> None:
    settings = load_settings(**WHOLE, data_dir=tmp_path, premium_organisations=" lycee , classe-2 ,")
    assert settings.premium_options is not None
    premium = PremiumChoice(**settings.premium_options)
    assert premium.everybody
    assert premium.organisations == {"lycee", "classe-2"}
    assert dict(premium.headers) == {}
    assert LedgerChoice(**settings.ledger_options).limits.day.micro_usd == 500_000
    assert load_settings().premium_options is None
    assert SECRET not in repr(settings) + repr(premium) + repr(LedgerChoice(**settings.ledger_options))


def test_the_hosts_keys_travel_as_its_headers() -> None:
    settings = load_settings(**WHOLE, premium_proxy_key="wk-1", premium_proxy_secret="ws-1")
    assert settings.premium_options is not None
    assert settings.premium_options["headers"] == {"Modal-Key": "wk-1", "Modal-Secret": "ws-1"}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"premium_secret": None}, "BAF_PREMIUM_SECRET is not"),
        ({"ledger_secret": None}, "BAF_LEDGER_SECRET is not"),
        ({"budget_day_usd": 0}, "BAF_BUDGET_DAY_USD is not"),
        ({"budget_month_usd": 0}, "BAF_BUDGET_MONTH_USD is not"),
        ({"premium_url": "https://x.modal.run"}, "everybody"),
        ({"premium_url": "http://x.modal.run", "premium_for": "entitled"}, "https://"),
        ({"premium_url": "http://127.0.0.1.evil.test"}, "https://"),
        ({"premium_for": "entitled"}, "OAUTH_CLIENT_SECRET"),
        ({"premium_url": "https://x.modal.run", "premium_for": "entitled"}, "OAUTH_CLIENT_SECRET"),
        ({"premium_secret": "short"}, "BAF_PREMIUM_SECRET"),
    ],
)
def test_a_premium_that_is_not_whole_does_not_start(changed: dict[str, object], said: str) -> None:
    """T3: without the login's secret its cookie can be made by anybody, so premium refuses to start."""
    with pytest.raises(SettingsError, match=said) as caught:
        load_settings(**{**WHOLE, **changed})
    assert SECRET not in str(caught.value)


def test_on_a_space_with_its_login_premium_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACE_ID", "owner/space")
    monkeypatch.setenv("OAUTH_CLIENT_SECRET", "x" * 40)
    changed = {"premium_url": "https://x.modal.run", "premium_for": "entitled"}
    assert load_settings(**{**WHOLE, **changed}).premium_options is not None


@pytest.mark.parametrize(("port", "opens"), [("", False), (":5432", False), (":443", True), (":8080", True)])
def test_a_space_refuses_a_ledger_that_it_cannot_reach(monkeypatch: pytest.MonkeyPatch, port: str, opens: bool) -> None:
    changed = {"ledger_url": f"postgresql://baf:canari@db.test{port}/baf"}
    assert load_settings(**{**WHOLE, **changed}).ledger_url  # elsewhere any port is good
    monkeypatch.setenv("SPACE_ID", "owner/space")
    if opens:
        assert load_settings(**{**WHOLE, **changed}).ledger_url
        return
    with pytest.raises(SettingsError, match="port 5432") as caught:
        load_settings(**{**WHOLE, **changed})
    assert "canari" not in str(caught.value)


# --- knocking --------------------------------------------------------------------------------------------------------


async def test_a_knock_says_awake_asleep_or_locked() -> None:
    app = FastAPI()
    status = [200]

    def health() -> Response:
        return Response(status_code=status[0])

    app.get("/health", response_model=None)(health)
    with serving(app) as url:
        awake = http_awake(f"{url}/health", {"Modal-Key": "wk"})
        assert await awake()
        for status[0] in (502, 503, 303):
            assert not await awake()
        for status[0] in (401, 403, 404):
            with pytest.raises(TierUnavailable):
                await awake()
    assert not await awake()
    assert not await http_awake("http://127.0.0.1:1/health")()
