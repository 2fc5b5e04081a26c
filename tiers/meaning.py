"""Brings the notes' index its embedder, so that notes are found by meaning and not by words alone.

Runs in a thread of its own, after the model: a page answers with words alone until then. Knows retrieval and the
command that assembles the embedder; knows no conversation and no engine.
"""

import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from errors import ChatError
from retrieval.embedders import Embedder, Threads, default_embedder, one, open_embedder
from retrieval.notes import NoteIndex

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[1]
LOOK_S = 0.5  # between two looks at whether to begin, or to stop


class MeaningSupply:
    """Opens the embedder that was asked for, or assembles the default one, and hands over the index that uses it.

    Args:
        data_dir: Where the default embedder lies or will lie.
        notes: Folder of the reading notes.
        spec: See `retrieval.embedders.open_embedder`; None for the default one, "none" for words alone.
        api_key: For an embedder behind an address.
        threads: How many threads may read a question; asked before each.
        begin: Tells when the machine is free for it; asked again and again.
        take: Is given the index.
        fail: Is called when notes stay found by words alone though meaning was wanted.
    """

    def __init__(
        self,
        data_dir: Path,
        notes: Path,
        *,
        spec: str | None,
        api_key: str | None,
        threads: Threads = one,
        begin: Callable[[], bool],
        take: Callable[[NoteIndex], None],
        fail: Callable[[], None],
    ) -> None:
        self._data_dir, self._notes, self._spec, self._api_key = data_dir, notes, spec, api_key
        self._threads = threads
        self._begin, self._take, self._fail = begin, take, fail
        self._closing = threading.Event()
        self._embedder: Embedder | None = None
        self._thread = threading.Thread(target=self._run, name="meaning-supply", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        if self._spec != "none":
            self._thread.start()

    def close(self) -> None:
        """Stop what is under way and free the embedder."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        if self._embedder:
            self._embedder.close()

    def _run(self) -> None:
        while not self._begin():
            if self._closing.wait(LOOK_S):
                return
        try:
            self._embedder = (
                open_embedder(self._spec, api_key=self._api_key, threads=self._threads)
                if self._spec
                else self._default()
            )
            index = NoteIndex.load(self._notes, self._embedder) if self._embedder else None
        except (ChatError, ImportError, OSError) as error:
            log.error("Notes are found by words alone: %s", error)
            index = None
        if index is not None and index.by_meaning:
            self._take(index)
            log.info("Notes are found by meaning, too")
        elif not self._closing.is_set():
            self._fail()

    def _default(self) -> Embedder | None:
        """Open the default embedder, assembled in a process of its own where it is missing."""
        command = [
            sys.executable,
            "-m",
            "conversion",
            "embedder",
            "--json",
            "--data-dir",
            str(self._data_dir.resolve()),
        ]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as child:
            while child.poll() is None:
                if self._closing.wait(LOOK_S):
                    child.terminate()
                    return None
        return default_embedder(self._data_dir, threads=self._threads)
