"""What the smaller benchmarks count: megabytes, pupils that come one after the other, a server that ended by itself."""

import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from benchmarks import gateway
from benchmarks.start import seconds_until, stop
from engines.base import Token as Piece
from engines.base import Usage
from tests.benchmarks.conftest import free_port
from tiers.base import Done, Token
from tiers.premium import PremiumTier
from tiers.testing import ScriptedTier

ROOT = Path(__file__).parents[2]
PEAK = """
import psutil
from benchmarks.retrieval import _peak_mb
held = bytearray(300_000_000)
print(_peak_mb() / (psutil.Process().memory_info().rss / 1e6))
"""


def test_a_server_that_ended_says_how_and_is_stopped_all_the_same() -> None:
    """Its reason is not replaced by that of a process group that is gone."""
    child = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"], start_new_session=True)
    with pytest.raises(SystemExit, match="ended with status 3"):
        seconds_until(f"http://127.0.0.1:{free_port()}/health", 0.0, child, float("inf"))
    stop(child)


@pytest.mark.smoke
def test_a_step_s_output_is_in_megabytes(tmp_path: Path) -> None:
    from benchmarks.conversion import measured

    out = tmp_path / "out"
    found = measured([sys.executable, "-c", f"open({str(out)!r}, 'wb').write(bytes(30_000_000))"], out)
    assert found.output_mb == 30  # of 10^6 bytes, as the tables say


def test_an_index_s_memory_is_in_megabytes() -> None:
    """The most that was held is no less than what is held."""
    done = subprocess.run([sys.executable, "-c", PEAK], cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(done.stdout) > 0.995


async def test_how_long_a_pupil_waits_to_begin_is_nobody_s_loss() -> None:
    """Eight answers of .2 s each that begin up to .18 s apart: 400 tokens a second."""
    said = ScriptedTier(Token("mot "), Done("stop", Usage()))
    engine = gateway.paced((Piece("mot "),) * 10)
    found = await gateway.throughput(engine, cast("PremiumTier", said), 10, 8, 1)
    assert 300 < found["alone"] <= 400
