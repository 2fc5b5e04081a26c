"""One process at a time for one piece of work. Knows a file to hold on to; knows nothing of the work."""

import fcntl
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from errors import ConversionError

log = logging.getLogger(__name__)

POLL_S = 0.2  # seconds between two looks at a lock that another process holds


@contextmanager
def one_at_a_time(path: Path, *, wait_s: float) -> Iterator[None]:
    """Hold the lock file `path`, made when missing and left behind; a process that dies lets go of it.

    Args:
        path: The file; nothing is written into it.
        wait_s: Seconds to wait for another process.

    Raises:
        ConversionError: Another process still holds it after `wait_s`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        deadline = time.monotonic() + wait_s
        waiting = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise ConversionError(
                        f"Another process has held {path} for {wait_s:.0f} s. Wait for its end, or stop it."
                    ) from None
                if not waiting:
                    log.info("waiting for another process that holds %s", path)
                    waiting = True
                time.sleep(POLL_S)
        yield
