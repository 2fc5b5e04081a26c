"""How much memory a measurement takes: this process, and the graphics card where there is one. Knows psutil."""

import shutil
import subprocess
import threading
from types import TracebackType
from typing import Self

import psutil

EVERY_S = 0.05  # between two looks; a model is loaded and a prompt is read in longer than that
GPU_EVERY = 20  # looks at this process for one at the cards: their tool takes tens of milliseconds
MB = 1e6


class MemoryWatch:
    """Looks at this process's resident memory while the block runs.

    An engine behind an address holds its model elsewhere: then this is the memory of whoever asks, and no more.

    Attributes:
        before_mb: At the beginning of the block, in MB of 10^6 bytes; None before it.
        peak_mb: The most that was seen.
        gpu_peak_mb: The most that was seen on the graphics cards, other programs included, in the same MB; None where
            there is no card.
    """

    def __init__(self, *, every_s: float = EVERY_S, gpu_every: int = GPU_EVERY) -> None:
        self.before_mb: float | None = None
        self.peak_mb = 0.0
        self.gpu_peak_mb: float | None = None
        self._every_s, self._gpu_every = every_s, gpu_every
        self._process = psutil.Process()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="memory-watch", daemon=True)

    def __enter__(self) -> Self:
        self._look()
        self.before_mb = self.peak_mb
        self.gpu_peak_mb = gpu_memory_mb()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._look()
        self._look_at_cards()

    def figures(self) -> dict[str, float | None]:
        """Return what a result carries."""
        return {
            "before_mb": None if self.before_mb is None else round(self.before_mb, 1),
            "peak_mb": round(self.peak_mb, 1),
            "gpu_peak_mb": self.gpu_peak_mb,
        }

    def _look(self) -> None:
        self.peak_mb = max(self.peak_mb, self._process.memory_info().rss / MB)

    def _look_at_cards(self) -> None:
        if self.gpu_peak_mb is not None:
            self.gpu_peak_mb = max(self.gpu_peak_mb, gpu_memory_mb() or 0.0)

    def _look_on(self) -> None:
        looks = 0
        while not self._over.wait(self._every_s):
            self._look()
            looks += 1
            if looks % self._gpu_every == 0:  # an engine in this process gives the card back before the block ends
                self._look_at_cards()


def gpu_memory_mb() -> float | None:
    """Return what all NVIDIA cards hold, in MB of 10^6 bytes; None where there is no card."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    command = [tool, "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
        return round(sum(float(line) for line in said.split()) * 2**20 / MB, 1)  # the tool counts in MiB
    except (OSError, subprocess.SubprocessError, ValueError):
        return None  # the tool is there and the card is not, as in a container without one
