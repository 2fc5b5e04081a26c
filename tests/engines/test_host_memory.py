"""What a model will take, what is granted, and a clear refusal before anything is loaded."""

import ctypes
import logging
import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil
import pytest

from engines.gguf_file import inspect
from engines.host_memory import (
    BLOCK_BYTES,
    MMAPPED,
    check_memory,
    estimate,
    give_back_blank_cache,
    granted_bytes,
    own_mappings,
    release_mapping,
    trim_heap,
)
from engines.llama_cpp import LlamaCppEngine
from engines.llama_model import LlamaModel
from errors import EngineError
from tests.conftest import write_tiny_gemma

MEMINFO = "MemTotal: 16000000 kB\nMemFree: 100 kB\nMemAvailable: 8000000 kB\n"


def test_the_cache_is_counted_from_the_header(tiny_gguf: Path, gemma_gguf: Path) -> None:
    assert inspect(tiny_gguf).cache_bytes_per_token == 2 * 2 * (16 + 16) * 2  # layers, kv heads, key and value, f16
    assert inspect(gemma_gguf).cache_bytes_per_token == 6 * 1 * (16 + 16) * 2
    need = estimate(inspect(tiny_gguf), n_cells=1000, n_rows=256, repack=False)
    assert (need.cache, need.repacked) == (256_000, 0)
    assert need.weights == tiny_gguf.stat().st_size
    assert need.total > 400_000_000
    assert "weights" in str(need)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8_192_000_000),
        ({"memory.max": "max\n"}, 8_192_000_000),
        ({"memory.max": "3000\n", "memory.current": "2000\n", "memory.stat": "anon 5\ninactive_file 500\n"}, 1500),
        (
            {
                "memory.max": "9000\n",
                "memory.current": "8000\n",
                "memory.stat": "anon 5\ninactive_file 500\nactive_file 6000\n",  # mapped weights that are read often
            },
            7500,
        ),
        (
            {
                "memory/memory.limit_in_bytes": "4000\n",
                "memory/memory.usage_in_bytes": "1000\n",
                "memory/memory.stat": "inactive_file 0\n",
            },
            3000,
        ),
    ],
)
def test_the_smaller_of_machine_and_container(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    (tmp_path / "meminfo").write_text(MEMINFO)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert granted_bytes(tmp_path, tmp_path / "meminfo") == expected


def test_a_model_too_large_is_refused_with_what_to_lower(tiny_gguf: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    need = estimate(inspect(tiny_gguf), n_cells=10**9, n_rows=256, repack=False)
    with pytest.raises(EngineError, match="BAF_CACHE_TOKENS") as caught:
        check_memory(need, 10**10, "tiny.gguf")
    assert caught.value.code == "memory_short"
    with pytest.raises(EngineError) as caught:
        LlamaCppEngine(tiny_gguf, threads=1, n_cells=10**9)
    assert caught.value.code == "memory_short"


def resident_kb(path: Path) -> int:
    """Pages of a mapped file that this process holds."""
    blocks = Path("/proc/self/smaps").read_text(encoding="utf-8").split("VmFlags")
    return sum(int(block.split("Rss:")[1].split()[0]) for block in blocks if str(path) in block)


def test_pages_that_nobody_reads_again_are_given_back(tmp_path: Path) -> None:
    file = tmp_path / "les poids.bin"  # a blank in the name, as users have them
    file.write_bytes(b"spinoza " * 500_000)
    with file.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        assert data[:]
        assert resident_kb(file) > 3800
        assert release_mapping(file) >= 4_000_000
        assert resident_kb(file) < 200
        assert data[-8:] == b"spinoza "  # and what is read again is there
    assert release_mapping(file) == 0, "nothing is mapped any more"


def own_mb() -> float:
    return psutil.Process().memory_info().rss / 1e6


def block(fill: int, *, n_bytes: int = 128_000_000) -> Iterator[int]:
    """An aligned block as llama.cpp takes them, written over from end to end; its address."""
    libc, address = ctypes.CDLL(None), ctypes.c_void_p()
    libc.posix_memalign.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    assert libc.posix_memalign(ctypes.byref(address), 64, n_bytes) == 0
    ctypes.memset(address, fill, n_bytes)
    assert address.value
    yield address.value
    libc.free(address)


@pytest.fixture
def full_heap() -> Iterator[None]:
    """No hole of the heap, where the C library would put a large block, is left: each is a mapping of its own."""
    libc, held = ctypes.CDLL(None), list[int]()
    libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    while not held or not int.from_bytes(ctypes.string_at(held[-1] - 8, 8), "little") & MMAPPED:
        held.append(libc.malloc(BLOCK_BYTES))
    yield
    for address in held:
        libc.free(address)


@pytest.mark.usefixtures("full_heap")
def test_a_blank_cache_is_given_back_and_everything_else_stays() -> None:
    older = block(0)
    next(older)
    used, before = own_mb(), own_mappings()
    blocks = [block(7, n_bytes=120_000_000), block(0), block(0, n_bytes=90_000_000)]
    full, blank, other = (next(one) for one in blocks)
    assert own_mb() - used > 300
    for size in (128_000_000, 50_000_000, 338_000_000):  # not the older one; none; all three together are no cache
        expected = 128_000_000 if size == 128_000_000 else 0
        assert give_back_blank_cache(before, size) == pytest.approx(expected, abs=10_000)
    assert 200 < own_mb() - used < 230, "128 MB of 338"
    assert ctypes.string_at(full + 119_999_990, 10) == b"\7" * 10
    assert ctypes.string_at(blank, 3) + ctypes.string_at(blank + 127_999_997, 3) == bytes(6)
    ctypes.memset(blank, 9, 128_000_000)  # it can be written to as before
    assert own_mb() - used > 300
    ctypes.memset(other + 80_000_000, 1, 1)
    assert give_back_blank_cache(before, 90_000_000) == pytest.approx(89_000_000, abs=100_000)  # all but its piece
    assert ctypes.string_at(other + 79_999_999, 3) == b"\0\1\0"
    for one in [older, *blocks]:
        assert next(one, None) is None


@pytest.mark.usefixtures("full_heap")
def test_the_two_blocks_of_a_sliding_window_are_found_together() -> None:
    before = own_mappings()
    blocks = [block(0, n_bytes=50_000_000), block(0, n_bytes=70_000_000)]
    assert all(next(one) for one in blocks)
    assert give_back_blank_cache(before, 120_000_000) == pytest.approx(120_000_000, abs=20_000)
    for one in blocks:
        assert next(one, None) is None


@pytest.mark.usefixtures("full_heap")
def test_a_trimmed_heap_has_no_free_end_for_a_large_block() -> None:
    """What was freed last stays at the heap's end once a large block was freed: up to 64 MB, where a block would go."""
    libc = ctypes.CDLL(None)
    libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    libc.free(libc.malloc(32_000_000))
    held = [libc.malloc(100_000) for _ in range(600)]
    for address in held:
        libc.free(address)
    trim_heap()
    before = own_mappings()
    taken = block(0, n_bytes=50_000_000)
    assert next(taken)
    assert give_back_blank_cache(before, 50_000_000) > 49_000_000
    assert next(taken, None) is None


@pytest.mark.usefixtures("full_heap")
@pytest.mark.parametrize(("window", "cells"), [(False, 700_000), (True, 50_000)])  # 179 MB; 307 MB in two blocks
def test_an_empty_cache_takes_no_memory(tiny_gguf: Path, tmp_path: Path, window: bool, cells: int) -> None:
    path = write_tiny_gemma(tmp_path / "wide.gguf", head=256) if window else tiny_gguf
    answers: list[npt.NDArray[np.float32]] = []
    for n_cells in (1024, cells):
        used, cell = own_mb(), inspect(path).cache_bytes_per_token
        model = LlamaModel(path, threads=1, n_cells=n_cells, n_seq=2, repack=False, cell_bytes=cell)
        try:
            assert own_mb() - used < 120
            model.reopen()
            assert own_mb() - used < 120
            row = model.rows.add(range(5, 15), 0, 0, wanted=True)
            assert model.decode()
            answers.append(model.logits(row).copy())
        finally:
            model.close()
    assert np.array_equal(answers[0], answers[1])


def test_a_file_name_with_a_line_break_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "les\x85poids\u2028du modèle.bin"
    file.write_bytes(b"spinoza " * 500_000)
    with file.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        assert data[:]
        assert own_mappings()
        assert release_mapping(file) >= 4_000_000
