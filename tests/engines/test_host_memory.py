"""What a model will take, what is granted, and a clear refusal before anything is loaded."""

import logging
import mmap
from pathlib import Path

import pytest

from engines.gguf_file import inspect
from engines.host_memory import check_memory, estimate, granted_bytes, release_mapping
from engines.llama_cpp import LlamaCppEngine
from errors import EngineError

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
