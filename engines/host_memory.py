"""How much memory a model will take, and how much the container grants. Knows GGUF headers; loads nothing."""

import ctypes
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from engines.gguf_file import GGUFInfo
from errors import EngineError

logger = logging.getLogger(__name__)

CGROUP, MEMINFO = Path("/sys/fs/cgroup"), Path("/proc/meminfo")
MB = 1_000_000
# Types that llama.cpp keeps a second, rearranged copy of on x86 when its kernels for a few rows are chosen.
REPACKED = frozenset({"Q4_0", "Q4_K", "Q2_K", "IQ4_NL", "Q8_0"})
PYTHON_BYTES = 400 * MB  # the interpreter, the page, llama.cpp's own tables
MAPS, MADV_DONTNEED = Path("/proc/self/maps"), 4


@dataclass(frozen=True)
class MemoryNeed:
    """What an engine will take, in bytes.

    Attributes:
        weights: The file, read through the page cache.
        repacked: A second copy of most of it, 0 with tiled kernels; both are there while it loads.
        cache: Keys and values of all cells.
        work: Room for one step, and the program itself.
    """

    weights: int
    repacked: int
    cache: int
    work: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.repacked + self.cache + self.work

    def __str__(self) -> str:
        parts = {"weights": self.weights, "repacked": self.repacked, "cache": self.cache, "work": self.work}
        return " + ".join(f"{name} {size / MB:.0f}" for name, size in parts.items()) + f" = {self.total / MB:.0f} MB"


def estimate(header: GGUFInfo, *, n_cells: int, n_rows: int, repack: bool) -> MemoryNeed:
    """Return what a model will take.

    Args:
        header: Of its file.
        n_cells: Tokens that the cache holds.
        n_rows: Most rows of a step.
        repack: Whether its kernels keep a second copy.
    """
    vocabulary = next((t.shape[-1] for t in header.tensors if t.name == "token_embd.weight"), 0)
    copied = sum(t.n_bytes for t in header.tensors if t.type in REPACKED and len(t.shape) == 2)
    work = n_rows * vocabulary * 4 + n_cells * n_rows * 2  # logits; the attention mask in f16
    return MemoryNeed(
        header.n_bytes, copied if repack else 0, n_cells * header.cache_bytes_per_token, work + PYTHON_BYTES
    )


def granted_bytes(cgroup: Path = CGROUP, meminfo: Path = MEMINFO) -> int:
    """Return how many bytes this process may still take: what the machine has, at most what the container grants."""
    fields = dict(line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines())
    free = int(fields["MemAvailable"].split()[0]) * 1024
    for limit, used, stat in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ):
        if (cgroup / limit).is_file():
            text = (cgroup / limit).read_text(encoding="ascii").strip()
            if text.isdigit():
                inside = dict(line.split() for line in (cgroup / stat).read_text(encoding="ascii").splitlines())
                # Both are given back at need; mapped weights that are read often stand in the second.
                cached = sum(int(inside.get(name, 0)) for name in ("inactive_file", "active_file"))
                taken = int((cgroup / used).read_text(encoding="ascii")) - cached
                free = min(free, int(text) - taken)
            break
    return free


def release_mapping(path: Path) -> int:
    """Give back the pages of a mapped file that this process holds, and return their number of bytes.

    What llama.cpp has rearranged into a copy it never reads from the file again: for a 7B these are 3.3 GB. What it
    does read again comes back by itself, page by page, from the system's cache.
    """
    released = 0
    if not MAPS.is_file():  # not Linux: the pages stay
        return released
    libc = ctypes.CDLL(None, use_errno=True)
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for line in MAPS.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        where, _, rest = line.partition(" ")
        if rest.split(maxsplit=4)[-1] != os.fspath(path.resolve()):
            continue
        start, end = (int(part, 16) for part in where.split("-"))
        if libc.madvise(start, end - start, MADV_DONTNEED) == 0:
            released += end - start
        else:
            logger.warning("the pages of %s stay in memory: %s", path.name, os.strerror(ctypes.get_errno()))
    return released


def check_memory(need: MemoryNeed, granted: int, name: str) -> None:
    """Refuse what would be killed half-way.

    Raises:
        EngineError: `memory_short`; the message says what is needed, what is there and what to lower.
    """
    logger.info("%s needs %s, %d MB are granted", name, need, granted // MB)
    if need.total > granted:
        raise EngineError(
            f"{name} needs {need}, but only {granted / MB:.0f} MB are granted. Lower BAF_CACHE_TOKENS, take a smaller "
            "model, or give the container more memory.",
            code="memory_short",
        )
