"""The database of the ledger and of the entitlements: how it is opened, written by one at a time, and copied.

SQLite by default, PostgreSQL by URL for several replicas. Knows SQLAlchemy; knows no table, no pupil and no price.

SQLite before 3.51.3 can lose data in WAL mode when two connections write or checkpoint at once (the WAL-reset bug), and
the command line is a second writer. So WAL is used where the bug is mended, and a rollback journal where it is not; the
mode is read back. Every transaction takes the write lock at its start: what it reads is true until it ends, in all
processes. SQLite belongs on a local disk: an object-store mount keeps no lock.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import URL, Connection, Engine, MetaData, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from errors import SettingsError, TierError, TierUnavailable
from tiers.budget import Clock, utc_now

log = logging.getLogger(__name__)

METADATA = MetaData()  # the tables of this room register here

WAL_MENDED_IN = (3, 51, 3)
WAIT_S = 10.0  # how long a transaction waits for its turn; past it, premium is refused
LOCK_KEY = 0x42_41_46  # of PostgreSQL's advisory lock: one writer at a time, in all replicas
SNAPSHOTS_KEPT = 12  # one hour of them, at one in five minutes
SNAPSHOT_EVERY_S = 300.0  # the stated loss when a host disappears: five minutes

P = ParamSpec("P")
T = TypeVar("T")


def journal_for(version: tuple[int, ...]) -> str:
    """Return the journal mode that is safe with this SQLite and several writers.

    >>> journal_for((3, 40, 1)), journal_for((3, 51, 3))
    ('delete', 'wal')
    """
    return "wal" if version >= WAL_MENDED_IN else "delete"


def assert_journal(version: tuple[int, ...], mode: str) -> None:
    """Refuse a database in WAL mode under a SQLite whose WAL can lose data.

    Raises:
        TierUnavailable: It is.
    """
    if mode != journal_for(version) and mode == "wal":
        raise TierUnavailable(
            f"The ledger is in WAL mode, and SQLite {'.'.join(map(str, version))} can lose its data (fixed in 3.51.3). "
            "Stop what else has it open, or use a newer SQLite.",
            code="ledger_unavailable",
        )


class Store:
    """An open database. Safe to share between threads.

    Args:
        url: `sqlite:///path/ledger.sqlite` (the file and its folder are made when missing) or
            `postgresql://user:password@host/name`.
        wait_s: Seconds that a transaction may wait for its turn.
        patient: A database that cannot be used now is tried again by each transaction, instead of being refused here.

    Raises:
        SettingsError: The URL is neither.
        TierUnavailable: The database cannot be opened, or is damaged (`code` is "ledger_unavailable", as everywhere).
    """

    def __init__(self, url: str, *, wait_s: float = WAIT_S, patient: bool = False) -> None:
        self._engine, self.path = _engine(url, wait_s)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._has_tables = False
        try:
            with self.transaction():
                pass
        except BaseException as error:
            if patient and isinstance(error, TierUnavailable):
                log.error("The ledger is tried again with each answer: %s", error)
                return
            self.close()
            raise

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file of this machine."""
        return self.path is not None

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Give a connection that alone may write, in all processes; committed at the end, undone by an exception.

        Raises:
            TierUnavailable: The database is gone, full, damaged or busy for too long. Nothing was written.
        """
        try:
            with self._engine.begin() as connection:
                if not self.is_sqlite:
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK_KEY})")
                if not self._has_tables:
                    METADATA.create_all(connection)
                yield connection
            self._has_tables = True
        except SQLAlchemyError as error:
            raise TierUnavailable(
                f"The ledger cannot be used: {_cause(error)}", code="ledger_unavailable", retry_after_s=60.0
            ) from error

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function of the ledger or the entitlements in this store's thread, one after the other, in order.

        A cancelled call that has begun goes on to its end; what is called next comes after it.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._writer, lambda: function(*args, **kwargs))

    def snapshot(self, folder: Path, clock: Clock = utc_now, *, keep: int = SNAPSHOTS_KEPT) -> Path:
        """Copy the whole database into one closed file of `folder`, check it, name it last, and drop the oldest.

        Raises:
            TierError: The database is PostgreSQL, which has `pg_dump`.
            TierUnavailable: It could not be written.
        """
        if self.path is None:
            raise TierError("PostgreSQL is copied with pg_dump; a snapshot is of SQLite alone.")
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"ledger_{clock():%Y%m%dT%H%M%S%f}.sqlite"
        partial = target.with_name(target.name + ".partial")
        partial.unlink(missing_ok=True)
        try:
            with closing(self._engine.raw_connection()) as connection:
                connection.cursor().execute("VACUUM INTO ?", (str(partial),))
        except (SQLAlchemyError, sqlite3.Error) as error:
            partial.unlink(missing_ok=True)
            raise TierUnavailable(f"No snapshot: {_cause(error)}", code="ledger_unavailable") from error
        if not is_whole(partial):
            partial.unlink()
            raise TierUnavailable(f"The snapshot {target.name} is damaged.", code="ledger_unavailable")
        partial.rename(target)
        for old in _snapshots(folder)[keep:]:
            old.unlink()
        return target

    def close(self) -> None:
        """Wait for what is under way, then close every connection."""
        self._writer.shutdown()
        self._engine.dispose()


async def keep_snapshots(store: Store, folder: Path, every_s: float = SNAPSHOT_EVERY_S, clock: Clock = utc_now) -> None:
    """Take a snapshot every `every_s` seconds, and a last one when cancelled; one that fails is logged."""
    try:
        while True:
            await asyncio.sleep(every_s)
            await store.run(_copy, store, folder, clock)
    finally:
        _copy(store, folder, clock)


def _copy(store: Store, folder: Path, clock: Clock) -> None:
    try:
        store.snapshot(folder, clock)
    except (TierUnavailable, OSError) as error:
        log.error("The ledger was not copied: %s", error)


def restore_newest(folder: Path, path: Path) -> Path | None:
    """Put the newest whole snapshot where no database is yet; return which one, None when there is no snapshot.

    Raises:
        TierUnavailable: There are snapshots, and none is whole: what was spent is unknown, so premium stays closed.
    """
    if path.exists():
        return None
    found = _snapshots(folder)
    for snapshot in found:
        if is_whole(snapshot):
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(path.name + ".partial")
            partial.write_bytes(snapshot.read_bytes())
            partial.chmod(0o600)
            partial.rename(path)
            return snapshot
        log.error("The snapshot %s is damaged.", snapshot.name)
    if found:
        raise TierUnavailable(
            f"None of {len(found)} snapshots in {folder} can be read; put a good one there, or remove them all.",
            code="ledger_unavailable",
        )
    return None


def is_whole(path: Path) -> bool:
    """Whether a file is a SQLite database without a fault."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            return bool(connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)])
    except sqlite3.Error:
        return False


def _snapshots(folder: Path) -> list[Path]:
    return sorted(folder.glob("ledger_*.sqlite"), reverse=True)  # their names are their times


def _cause(error: Exception) -> str:
    """What the driver says. SQLAlchemy's own text would quote the statement."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {' '.join(str(cause).split())}"


def _engine(url: str, wait_s: float) -> tuple[Engine, Path | None]:
    """Return an engine that opens nothing yet, and the file when it is SQLite."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise SettingsError("The ledger's URL is none; expected sqlite:///path or postgresql://…") from None
    backend = parsed.get_backend_name()
    if backend == "sqlite" and parsed.database and parsed.database != ":memory:":
        path = Path(parsed.database)
        return _sqlite(path, wait_s), path
    if backend == "postgresql":
        wait_ms = int(wait_s * 1000)
        options = f"-c lock_timeout={wait_ms} -c statement_timeout={wait_ms}"
        try:
            engine = create_engine(
                parsed.set(drivername="postgresql+psycopg"),
                pool_size=2, max_overflow=0, pool_timeout=wait_s, pool_pre_ping=True, hide_parameters=True,
                connect_args={"connect_timeout": 3, "options": options},
            )  # fmt: skip
        except ImportError:
            raise SettingsError(
                "A ledger in PostgreSQL needs psycopg, which is not installed; add psycopg[binary] as pyproject.toml "
                "pins it, or take sqlite:///path."
            ) from None
        return engine, None
    raise SettingsError(f"The ledger's URL begins with {backend!r}; expected sqlite:///path or postgresql://…")


def _sqlite(path: Path, wait_s: float) -> Engine:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError as error:
        raise TierUnavailable(
            f"The ledger {path} cannot be made: {error.strerror}.", code="ledger_unavailable"
        ) from None
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        pool_size=1, max_overflow=0, pool_timeout=wait_s, hide_parameters=True,
        connect_args={"timeout": wait_s, "check_same_thread": False},
    )  # fmt: skip
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
    """Settings of a new SQLite connection; the driver's own BEGIN would come too late to hold what was read."""
    connection.isolation_level = None
    wanted = journal_for(sqlite3.sqlite_version_info)
    for attempt in range(20):  # the mode cannot change while another process is inside, and that wait is not SQLite's
        try:
            mode = connection.execute(f"PRAGMA journal_mode={wanted}").fetchone()[0]
            break
        except sqlite3.OperationalError:
            if attempt == 19:
                raise
            time.sleep(0.1)
    assert_journal(sqlite3.sqlite_version_info, str(mode))
    connection.execute("PRAGMA synchronous=FULL")  # a settled row survives a power cut as well
    connection.execute("PRAGMA foreign_keys=ON")
    said = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if said != "ok":
        raise sqlite3.DatabaseError(f"the file is damaged ({said})")
