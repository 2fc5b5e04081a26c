"""What is done beside the answers, in a thread of its own: the report of each day, snapshots of the ledger.

Knows the ledger; knows no pupil and no answer. A thread, because a page may serve from any event loop, or from several.
"""

import asyncio
import logging
import threading
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path

from errors import ChatError, place_of
from tiers.costs import nightly
from tiers.ledger import Ledger
from tiers.store import Store, keep_snapshots

log = logging.getLogger(__name__)

CLOSING_S = 10.0


class Chores:
    """Writes reports at midnight, and snapshots every five minutes and at the end.

    Args:
        store: The ledger's; stays open until `close` has returned.
        ledger: What is reported.
        reports: Folder of the reports.
        snapshots: Folder of the snapshots, on a disk that outlives this one; None takes none.
    """

    def __init__(self, store: Store, ledger: Ledger, reports: Path, snapshots: Path | None) -> None:
        self._store, self._ledger, self._reports, self._snapshots = store, ledger, reports, snapshots
        self._loop = asyncio.new_event_loop()
        self._work: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="chores", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def close(self) -> None:
        """Take the last snapshot and stop."""
        if not self._thread.is_alive():
            return
        with suppress(RuntimeError):  # it has just ended by itself
            self._loop.call_soon_threadsafe(lambda: self._work and self._work.cancel())
        self._thread.join(CLOSING_S)

    def _run(self) -> None:
        try:
            self._work = self._loop.create_task(self._all())
            with suppress(asyncio.CancelledError):
                self._loop.run_until_complete(self._work)
        finally:
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    async def _all(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(_ending("reports", nightly(self._ledger, self._reports)))
            if self._snapshots is not None and self._store.is_sqlite:
                group.create_task(_ending("snapshots", keep_snapshots(self._store, self._snapshots)))


async def _ending(name: str, chore: Coroutine[None, None, None]) -> None:
    """Do a chore; where it fails, say so, and let the others go on."""
    try:
        await chore
    except Exception as error:
        said = error if isinstance(error, ChatError) else f"{type(error).__name__} at {place_of(error)}"
        log.error("No more %s until the next start: %s", name, said)
