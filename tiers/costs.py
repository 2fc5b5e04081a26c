"""What a day cost, as a CSV for a spreadsheet: calls, tokens, GPU time, dollars and failures by tier and persona.

Derived from the ledger and nothing else. Knows no pupil: the ledger has none to tell.
"""

import asyncio
import csv
import io
import logging
import os
from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Literal

from errors import ChatError, TierError
from tiers.budget import Clock, day_of, utc_now
from tiers.ledger import DayCost, Ledger

log = logging.getLogger(__name__)

COLUMNS = (
    "day", "tier", "persona", "calls", "failures", "tokens_in", "tokens_out", "gpu_seconds", "dollars",
)  # fmt: skip
LOOKED_BACK_DAYS = 31  # days without a report that a process coming back writes
POLL_S = 30.0  # a machine that slept, or whose clock was set, is a new day's at most this late

Made = Literal["written", "same", "replaced"]


def path_of(folder: Path, day: date) -> Path:
    """Return where a day's report lies."""
    return folder / f"cost_{day:%Y%m%d}.csv"


def row_of(cost: DayCost) -> dict[str, str | int]:
    """Return one line of the report; amounts are exact decimals, in seconds and dollars."""
    gpu_s = Decimal(cost.cost.gpu_ms) / 1000
    values = (
        cost.day.isoformat(), cost.tier, cost.persona, cost.calls, cost.failures, cost.tokens_in, cost.tokens_out,
        f"{gpu_s:.3f}", f"{cost.cost.dollars:.6f}",
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def as_csv(costs: Iterable[DayCost]) -> str:
    """Return the report as text, its header included."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(row_of, costs))
    return text.getvalue()


def write_costs(ledger: Ledger, day: date, folder: Path, *, replace: bool = False) -> tuple[Path, Made]:
    """Write a day's report under its name last; return where, and whether it was new, the same, or another.

    A report that is replaced is kept beside the new one, as `cost_YYYYMMDD.csv.old1` and so on.

    Raises:
        TierError: Another report of the day is there and `replace` is not asked for, or the disk is full.
        TierUnavailable: The ledger cannot be read.
    """
    path, text = path_of(folder, day), as_csv(ledger.day_costs(day))
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    made: Made = "written"
    try:
        if path.exists():
            if path.read_text(encoding="utf-8", errors="replace") == text:  # a spreadsheet may save it otherwise
                return path, "same"
            if not replace:
                raise TierError(f"{path} says otherwise and is never overwritten silently. Move it, or pass --replace.")
            path.rename(next(old for n in count(1) if not (old := Path(f"{path}.old{n}")).exists()))
            made = "replaced"
        folder.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        if partial.exists():
            partial.unlink()
        raise TierError(f"{path} cannot be written: {error.strerror}.", code="disk_full") from error
    return path, made


async def nightly(ledger: Ledger, folder: Path, clock: Clock = utc_now, *, poll_s: float = POLL_S) -> None:
    """Write each day's report once the day is over and its last answer settled; runs until cancelled.

    Days that ended while the process was down are written at the start. A report that was written by hand before its
    day was over is replaced, and the log says so. What fails is tried again.
    """
    done: set[date] = set()
    while True:
        try:
            today = day_of(clock())
            for ago in range(LOOKED_BACK_DAYS, 0, -1):
                day = today - timedelta(days=ago)
                if day not in done and await asyncio.to_thread(_close_day, ledger, day, folder, latest=ago == 1):
                    done.add(day)
            done = {day for day in done if day >= today - timedelta(days=LOOKED_BACK_DAYS)}
        except ChatError as error:
            log.error("No report: %s", error)
        await asyncio.sleep(poll_s)


def _close_day(ledger: Ledger, day: date, folder: Path, *, latest: bool) -> bool:
    """Write one day that is over; return False when it must be tried again."""
    if ledger.n_open(day):
        return False
    path = path_of(folder, day)
    if not latest and (path.exists() or not ledger.day_costs(day)):
        return True  # an older report stands as it is; a day on which nobody came needs none
    path, made = write_costs(ledger, day, folder, replace=True)
    log.info("Report %s: %s", path.name, made)
    if made == "replaced":
        log.warning("%s was written before the day was over; it is whole now.", path.name)
    if latest and (n := ledger.forget()):
        log.info("%d rows of long ago were deleted", n)
    return True
