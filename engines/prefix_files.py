"""System prompts that were read once, on disk: the next start restores them at once. Knows files, no model.

llama.cpp tells two models apart by their shapes alone and ends the process on a truncated file. So a file here carries
a key of everything that its bytes depend on and a checksum of them; one that does not fit is removed and made again.
"""

import hashlib
import json
import logging
import os
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

logger = logging.getLogger(__name__)

MAGIC = b"BAFSTATE1\n"
KEPT = 24  # files, over all models; the least recently used go first
PARTIAL_S = 3600.0
SAMPLE_BYTES = 16_384  # of each tensor


def model_key(path: Path, offsets: Sequence[int], **facts: object) -> str:
    """Return a key of a model file and of what else its states depend on.

    Its size, its header and the beginning of every tensor stand for its bytes: reading all of 4 GB would take longer
    than reading the prompts anew, and a training changes whole tensors, if perhaps not all.

    Args:
        path: The model.
        offsets: Where its tensors begin, in bytes.
        facts: Versions and settings, e.g. the type of the cache.
    """
    size = path.stat().st_size
    found = hashlib.sha256(json.dumps([size, facts], sort_keys=True, default=str).encode())
    with path.open("rb") as file:
        for offset in (0, *offsets):
            file.seek(offset)
            found.update(file.read(SAMPLE_BYTES))
    return found.hexdigest()[:32]


class PrefixFiles:
    """Saved states of system prompts for one model.

    Args:
        folder: Where they are kept; made when missing.
        key: See `model_key`.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._folder = folder
        self._key = key

    def path(self, ids: Sequence[int]) -> Path:
        """Return the file of a prompt, there or not."""
        name = hashlib.sha256(np.asarray(ids, np.int32).tobytes()).hexdigest()[:16]
        return self._folder / f"{self._key[:16]}-{name}.prefix"

    def load(self, ids: Sequence[int]) -> npt.NDArray[np.uint8] | None:
        """Return the state of a prompt, uint8 of shape (n_bytes,); None when there is none that can be trusted."""
        path = self.path(ids)
        try:
            data = np.fromfile(path, np.uint8)
        except FileNotFoundError:
            return None
        except OSError as error:
            logger.warning("%s cannot be read (%s); the prompt is read anew", path.name, error.strerror)
            return None
        start = len(self._header(ids, np.empty(0, np.uint8)))
        state = data[start:]
        if data[:start].tobytes() != self._header(ids, state):
            logger.warning("%s is damaged or of another model; it is made again", path.name)
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):  # readable, and not ours
            os.utime(path)
        return state

    def save(self, ids: Sequence[int], state: npt.NDArray[np.uint8]) -> None:
        """Write the state of a prompt; a disk that is full or read-only costs a warning, nothing else."""
        path = self.path(ids)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                file.write(self._header(ids, state))
                file.write(state.data)
            partial.replace(path)
            self._prune()
        except OSError as error:
            with suppress(OSError):
                partial.unlink()
            logger.warning("%s cannot be written (%s); the next start reads the prompt again", path, error.strerror)

    def _header(self, ids: Sequence[int], state: npt.NDArray[np.uint8]) -> bytes:
        """Magic, key, checksum of the ids, length and checksum of the state: always of the same length."""
        n_bytes = len(state)
        checks = f"{zlib.crc32(np.asarray(ids, np.int32).tobytes()):08x} {n_bytes:016x} {zlib.crc32(state.data):08x}"
        return MAGIC + f"{self._key} {checks}\n".encode()

    def _prune(self) -> None:
        files = sorted(self._folder.glob("*.prefix"), key=lambda file: file.stat().st_mtime)
        for file in files[:-KEPT]:
            file.unlink(missing_ok=True)
        for file in self._folder.glob("*.partial"):  # of a process that was killed; a younger one is being written
            if time.time() - file.stat().st_mtime > PARTIAL_S:
                file.unlink(missing_ok=True)
