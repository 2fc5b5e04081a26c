"""The append-only log of a workshop: one event a line, written before anybody is told. Knows no event's meaning."""

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any, TextIO

from errors import CorpusError

Event = dict[str, Any]


class Log:
    """`log.jsonl` of one folder, with one writer.

    A killed process can leave a torn last line: it was never acknowledged, and is moved to `log.torn`.
    """

    def __init__(self, folder: Path) -> None:
        """Take the folder.

        Raises:
            CorpusError: Another process has it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "log.jsonl"
        self._lock: TextIO = (folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise CorpusError(f"{folder} is in use by another server; stop it, or pass another --state.") from None
        self._mend(folder / "log.torn")
        self._file = self.path.open("ab", buffering=0)  # no buffer: what failed must not be written later
        self._size = self.path.stat().st_size
        self._settled = self._size  # bytes that a power cut leaves

    def _mend(self, torn: Path) -> None:
        if not self.path.exists():
            return
        content = self.path.read_bytes()
        end = content.rfind(b"\n") + 1
        if end < len(content):
            with torn.open("ab") as file:
                file.write(content[end:] + b"\n")
            with self.path.open("r+b") as file:
                file.truncate(end)

    def events(self) -> Iterator[Event]:
        """Yield every event, oldest first.

        Raises:
            CorpusError: A whole line is no event; the message names it.
        """
        if not self.path.exists():
            return
        with self.path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    event = json.loads(line)
                except json.JSONDecodeError:
                    event = None
                if not isinstance(event, dict) or "event" not in event:
                    raise CorpusError(f"{self.path}:{number}: no event; restore the log from a copy.")
                yield event

    def append(self, event: Event) -> None:
        """Write one event: it survives the end of this process, and a power cut once `settle` has returned.

        Raises:
            CorpusError: It cannot be written (`code`: not_kept); the log is as it was.
        """
        line = json.dumps(event, ensure_ascii=False).encode() + b"\n"
        try:
            _write(self._file, line)
        except OSError as error:
            self._file.truncate(self._size)  # half a line would spoil the next one
            raise CorpusError(f"{self.path}: {error.strerror}; make room, then send again.", code="not_kept") from None
        self._size += len(line)

    def settle(self) -> None:
        """Wait until the disk has every event so far; others may append meanwhile.

        Raises:
            CorpusError: The disk refuses (`code`: not_kept).
        """
        size = self._size
        if self._settled >= size:
            return
        try:
            os.fdatasync(self._file.fileno())
        except OSError as error:
            raise CorpusError(
                f"{self.path}: {error.strerror}; look at the disk, then send again.", code="not_kept"
            ) from None
        self._settled = max(self._settled, size)

    def close(self) -> None:
        """Give the folder back."""
        self._file.close()
        self._lock.close()


def _write(file: FileIO, line: bytes) -> None:
    if file.write(line) != len(line):  # a full disk takes the beginning
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
