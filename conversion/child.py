"""Programs of ours that must not outlive us. Knows processes; knows no step."""

import ctypes
import signal
import subprocess
import sys

GRACE_S = 10.0  # seconds a program has to clean up after Ctrl-C before it is killed
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent() -> None:
    """Have the kernel end this process when its parent dies. For `preexec_fn`; without effect where not on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def stop(process: "subprocess.Popen[str]") -> None:
    """End a program: politely first, so that it removes what it had begun."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
