"""How much memory a model will take, and how much the container grants. Knows GGUF headers; loads nothing."""

import ctypes
import logging
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, combinations
from pathlib import Path

from engines.gguf_file import GGUFInfo
from errors import EngineError

logger = logging.getLogger(__name__)

CGROUP, MEMINFO = Path("/sys/fs/cgroup"), Path("/proc/meminfo")
MB = 1_000_000
# Types that llama.cpp keeps a second, rearranged copy of on x86 when its kernels for a few rows are chosen.
REPACKED = frozenset({"Q4_0", "Q4_K", "Q2_K", "IQ4_NL", "Q8_0"})
PYTHON_BYTES = 400 * MB  # the interpreter, the page, llama.cpp's own tables
MAPS, MEM, MADV_DONTNEED = Path("/proc/self/maps"), Path("/proc/self/mem"), 4
PAGE = os.sysconf("SC_PAGESIZE")
BLOCK_BYTES = 34 * MB  # from here on every block is a mapping of its own, with GNU's malloc
MMAPPED = 2  # flag in the size that the C library writes before a block which is a mapping of its own
Ranges = list[tuple[int, int]]


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
                said = (cgroup / stat).read_text(encoding="ascii") if (cgroup / stat).is_file() else ""
                inside = dict(line.split() for line in said.splitlines())
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
    try:
        return sum(_give_back(start, end) for start, end in _mappings(os.fspath(path.resolve())))
    except (OSError, ValueError) as error:
        logger.warning("the pages of %s stay in memory: %s", path.name, error)
        return 0


def give_back_blank_cache(before: Ranges, n_bytes: int) -> int:
    """Give back the pages of a new cache, which llama.cpp has filled with zeros, and return their number of bytes.

    It writes over the whole cache of a context, so that the system holds all of it from the start: for a 7B and 16,384
    tokens 2.15 GB. A page that was given back reads as zeros and comes back when it is written: the cache takes what
    its tokens need. It is one block, two with a sliding window, found by its size; only zeros are given back. Where
    the system does not let us look, or a small cache found a hole in the C library's heap, the pages stay.

    Args:
        before: What `own_mappings` said before the context was made.
        n_bytes: Of the cache.
    """
    try:
        with MEM.open("rb", buffering=0) as file:
            memory = file.fileno()
            blocks = [block for start, end in _without(own_mappings(), before) for block in _blocks(memory, start, end)]
            for chosen in chain(combinations(blocks, 1), combinations(blocks, 2)):
                if abs(sum(end - start for start, end in chosen) - n_bytes) < MB:
                    return sum(_give_back_zeros(memory, start, end) for start, end in chosen)
    except (OSError, ValueError) as error:
        logger.info("the cache's pages stay in memory: %s", error)
    return 0


def trim_heap() -> None:
    """Give back the free end of the C library's heap: the next large block is a mapping of its own, and can be found.

    Only GNU's library has it; elsewhere nothing happens.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)


def own_mappings() -> Ranges:
    """Return the addresses that this process uses without a file, as (start, end); none where nobody says."""
    try:
        return _mappings("")
    except (OSError, ValueError):
        return []


def _mappings(name: str) -> Ranges:
    """Address ranges of this process that map the file of that name, in order; those of no file for an empty one."""
    found = []
    said = MAPS.read_text(encoding="utf-8", errors="surrogateescape") if MAPS.is_file() else ""
    for line in said.split("\n")[:-1]:  # a file's name may hold any other sign that ends a line
        where, *rest = line.split(maxsplit=5)
        if (rest[4] if len(rest) > 4 else "") == name:
            start, end = (int(part, 16) for part in where.split("-"))
            found.append((start, end))
    return found


def _without(ranges: Ranges, others: Ranges) -> Iterator[tuple[int, int]]:
    """Yield what of the ranges lies in none of the others.

    >>> list(_without([(0, 10), (20, 30)], [(2, 4), (8, 22)]))
    [(0, 2), (4, 8), (22, 30)]
    """
    for start, end in ranges:
        for other, other_end in others:
            if start < other_end and other < end:
                if start < other:
                    yield start, other
                start = max(start, other_end)
        if start < end:
            yield start, end


def _blocks(memory: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the whole pages inside large allocated blocks between two addresses.

    malloc(3) of the GNU library: a large block is a mapping, and its size stands in the second word of its first page,
    with a flag. The first and the last page, which hold such words, stay.
    """
    while end - start >= BLOCK_BYTES:
        try:
            (size,) = struct.unpack("Q", os.pread(memory, 8, start + 8))
        except (OSError, struct.error):  # another thread's, and gone by now
            return
        length = size & ~7
        if size & MMAPPED and length % PAGE == 0 and PAGE <= length <= end - start:
            if length >= BLOCK_BYTES:
                yield start + PAGE, start + length - PAGE
            start += length
        else:
            start += PAGE


def _give_back_zeros(memory: int, start: int, end: int) -> int:
    """Give back what holds zeros alone, piece by piece, each right after it was read: nobody else may write meanwhile.

    Read through the system, which says no where a plain read would end the process.
    """
    read, zeros, given = bytearray(2**20), bytes(2**20), 0
    for at in range(start, end, len(zeros)):
        size = min(len(zeros), end - at)
        if os.preadv(memory, [memoryview(read)[:size]], at) == size and read.startswith(zeros[:size]):
            given += _give_back(at, at + size)
    return given


def _give_back(start: int, end: int) -> int:
    """Give whole pages back to the system and return how many bytes.

    Raises:
        OSError: It refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    if libc.madvise(start, end - start, MADV_DONTNEED) == 0:
        return end - start
    raise OSError(ctypes.get_errno(), "madvise")


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
