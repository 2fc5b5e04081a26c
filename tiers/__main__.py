"""`python -m tiers`: what a day cost, and who has premium. Knows settings; every decision is elsewhere.

Data goes to stdout, talk to stderr. The page may be open meanwhile: both write the same ledger, one at a time.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cli import run_commands
from errors import SettingsError, TierError
from settings import load_settings
from tiers.budget import Limits, day_of, start_of, utc_now
from tiers.costs import COLUMNS, row_of, write_costs
from tiers.entitlements import Entitlements
from tiers.ledger import KEY, Ledger
from tiers.store import Store, restore_newest

app = typer.Typer(help="What a day cost, and who has premium.", no_args_is_help=True, add_completion=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
LedgerUrl = Annotated[
    str | None, typer.Option("--ledger", help="sqlite:///path or postgresql://…; unset, BAF_LEDGER_URL.")
]
SecretFile = Annotated[
    Path | None, typer.Option(help="A file that holds the ledger's secret; unset, BAF_LEDGER_SECRET.")
]
Until = Annotated[str, typer.Option(help="Last day, YYYY-MM-DD, in Paris.")]
Person = Annotated[str, typer.Argument(help="The `sub` of the login, or the key that `list` shows.")]


@app.command()
def costs(
    day: Annotated[str, typer.Option(help="YYYY-MM-DD, today or yesterday, in Paris.")] = "yesterday",
    out: Annotated[Path | None, typer.Option(help="Folder of the reports; unset, BAF_REPORTS_DIR.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="A report that says otherwise becomes *.old1.")] = False,
    ledger_url: LedgerUrl = None,
    as_json: AsJson = False,
) -> None:
    """Write cost_YYYYMMDD.csv: calls, tokens, GPU time, dollars, failures by tier and persona."""
    wanted = _day(day)
    with _store(ledger_url) as store:
        ledger = Ledger(store, Limits())
        path, made = write_costs(ledger, wanted, out or load_settings().reports_dir, replace=replace)
        rows = [row_of(cost) for cost in ledger.day_costs(wanted)]
    if as_json:
        _say({"path": str(path), "made": made, "rows": rows})
        return
    _show("", COLUMNS, ([str(value) for value in row.values()] for row in rows))
    print(path)


@app.command()
def grant(
    person: Person,
    until: Until,
    ledger_url: LedgerUrl = None,
    secret_file: SecretFile = None,
    as_json: AsJson = False,
) -> None:
    """Give premium to one account until a day; a bar is lifted. Prints its key."""
    with _entitlements(ledger_url, secret_file) as known:
        key, end = _key(known, person), _end_of(until)
        known.grant(key, end)
    _say({"person": key, "until": end.isoformat()}) if as_json else print(key)


@app.command(name="pass")
def class_pass(
    seats: Annotated[int, typer.Option(min=1, help="How many accounts may use it.")],
    until: Until,
    ledger_url: LedgerUrl = None,
    secret_file: SecretFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a class pass and print its code, which each pupil types once; it is shown this once."""
    with _entitlements(ledger_url, secret_file) as known:
        end = _end_of(until)
        code = known.new_pass(seats, end)
    _say({"code": code, "seats": seats, "until": end.isoformat()}) if as_json else print(code)


@app.command()
def revoke(
    target: Annotated[str, typer.Argument(help="A pass (id or code), or a person (key or `sub`).")],
    person: Annotated[
        bool, typer.Option("--person", help="It is a person, barred from premium until `grant`.")
    ] = False,
    ledger_url: LedgerUrl = None,
    secret_file: SecretFile = None,
    as_json: AsJson = False,
) -> None:
    """End a class pass with all its seats, or, with --person, everything that an account has. Prints how many."""
    with _entitlements(ledger_url, secret_file) as known:
        ended = known.revoke_person(_key(known, target)) if person else known.revoke_pass(target)
    _say({"ended": ended}) if as_json else print(ended)


@app.command(name="list")
def list_all(ledger_url: LedgerUrl = None, secret_file: SecretFile = None, as_json: AsJson = False) -> None:
    """Show passes, grants, seats and bars. People are keys: nobody's name is known here."""
    with _entitlements(ledger_url, secret_file) as known:
        passes, people = known.listing()
    if as_json:
        _say(
            {
                "passes": [{**vars(one), "until": one.until.isoformat()} for one in passes],
                "people": [{**vars(one), "until": one.until.isoformat()} for one in people],
            }
        )
        return
    _show(
        "Passes",
        ("id", "seats", "taken", "until", "revoked"),
        ([p.id, str(p.seats), str(p.taken), _shown(p.until), _yes(p.revoked)] for p in passes),
    )
    _show(
        "People",
        ("key", "source", "pass", "until", "revoked"),
        ([p.person, p.source, p.pass_id or "", _shown(p.until), _yes(p.revoked)] for p in people),
    )


@contextmanager
def _store(url: str | None) -> Iterator[Store]:
    settings = load_settings()
    path = settings.data_dir / "ledger.sqlite"
    if not (url or settings.ledger_url) and settings.snapshots_dir is not None:
        # As the page does: an empty ledger would hide the snapshots from it.
        restore_newest(settings.snapshots_dir, path)
    store = Store(url or settings.ledger_url or f"sqlite:///{path}")
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _entitlements(url: str | None, secret_file: Path | None) -> Iterator[Entitlements]:
    known = load_settings().ledger_secret
    secret = known.get_secret_value() if known else None
    if secret_file is not None:
        try:
            secret = secret_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{secret_file} cannot be read: {type(error).__name__}.") from None
    if not secret:
        raise SettingsError("The ledger's secret is not set; set BAF_LEDGER_SECRET, or pass --secret-file.")
    with _store(url) as store:
        yield Entitlements(store, secret)


def _key(known: Entitlements, person: str) -> str:
    return person if KEY.fullmatch(person) else known.person(person)


def _day(text: str) -> date:
    today = day_of(utc_now())
    if text in ("today", "yesterday"):
        return today - timedelta(days=text == "yesterday")
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        raise TierError(f"{text!r} is no day; expected YYYY-MM-DD, today or yesterday.")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise TierError(f"{text!r} is no day of the calendar.") from None


def _end_of(last_day: str) -> datetime:
    return start_of(_day(last_day) + timedelta(days=1))


def _shown(until: datetime) -> str:
    return str(day_of(until - timedelta(seconds=1)))


def _yes(revoked: bool) -> str:
    return "yes" if revoked else ""


def _show(title: str, columns: tuple[str, ...], rows: Iterator[list[str]]) -> None:
    table = Table(title=title or None)
    for column in columns:
        table.add_column(column, overflow="fold")  # a key is for copying: never cut
    for row in rows:
        table.add_row(*row)
    console = Console(stderr=not title)
    console.width = console.width if console.is_terminal else 160
    console.print(table)  # the report's data is its file, whose path goes to stdout


def _say(result: dict[str, Any]) -> None:
    print(json.dumps(result, ensure_ascii=False))


def main() -> None:
    """Run the command line; an error of ours becomes one line on stderr and exit status 1."""
    run_commands(app)


if __name__ == "__main__":
    main()
