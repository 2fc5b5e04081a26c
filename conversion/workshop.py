"""Making a model under its final name, once, by one process. Knows stamps, locks and folders; knows no model.

A finished model has a stamp beside it that names what it was made from; a stamp never stands beside a file that it was
not written for, so a run that was killed at any point is seen and made again.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conversion.base import disk_errors
from conversion.lock import one_at_a_time


def is_ready(out: Path, mark: str) -> bool:
    """Say whether an earlier run finished `out` for the same mark; the stamp names mark and size."""
    stamp = out.with_suffix(".stamp")
    if not (out.is_file() and stamp.is_file()):
        return False
    return stamp.read_text(encoding="utf-8") == f"{mark} {out.stat().st_size}\n"


@contextmanager
def workshop(folder: Path, *, lock: str, work: str, wait_s: float) -> Iterator[Path]:
    """Hold a lock and give an empty folder to work in, on the disk of the result; the work folder is removed after.

    Args:
        folder: Where the result will be; made when missing.
        lock: Name of the lock file in it.
        work: Name of the work folder in it, of one kind of model alone.
        wait_s: Seconds to wait for another process that works on the same.

    Raises:
        ConversionError: Another process still works after `wait_s`.
        SourceError: The disk is full.
    """
    with one_at_a_time(folder / lock, wait_s=wait_s), disk_errors(folder):
        place = folder / work
        shutil.rmtree(place, ignore_errors=True)  # what a killed run left
        place.mkdir()
        try:
            yield place
        finally:
            shutil.rmtree(place)


def put_in_place(made: Path, out: Path, mark: str) -> None:
    """Give `made` its final name, stamp last; a model that an older mark gave is replaced."""
    stamp = out.with_suffix(".stamp")
    new_stamp = made.with_suffix(".stamp")
    new_stamp.write_text(f"{mark} {made.stat().st_size}\n", encoding="utf-8")
    stamp.unlink(missing_ok=True)  # a stamp never stands beside a file that it was not written for
    made.replace(out)
    new_stamp.replace(stamp)
