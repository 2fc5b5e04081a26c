"""What happens beside the steps: a clock, the memory's peak, Ctrl-C. Knows the trainer's callbacks; knows no recipe."""

import contextlib
import logging
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

log = logging.getLogger(__name__)

WHOLE = 1e-6  # an epoch nearer than this to a whole number is at its end


@dataclass
class Clock:
    """Time of the steps of this session.

    Attributes:
        stop: Set when somebody asked the run to stop.
        stopped: Whether a step was the last one for that reason; a run whose steps are all made is complete.
        seconds: In steps.
        steps: Timed.
        began: When the step in progress began.
    """

    stop: threading.Event = field(default_factory=threading.Event)
    stopped: bool = False
    seconds: float = 0.0
    steps: int = 0
    began: float = 0.0


@contextlib.contextmanager
def stop_requests(stop: threading.Event) -> Iterator[None]:
    """Turn the first Ctrl-C or SIGTERM into `stop`; a second Ctrl-C ends at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set signal handlers
        return

    def asked(number: int, _frame: Any) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()
        log.warning("Stopping after this step, and its evaluation where one is due; a checkpoint will be saved.")

    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def watch(clock: Clock, on_step: Callable[[int], None] | None) -> Any:
    """Return a callback that times the steps, reports them, and saves and stops where that was asked for."""
    from transformers import TrainerCallback

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            clock.began = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            clock.seconds += time.perf_counter() - clock.began
            clock.steps += 1
            if on_step is not None:
                on_step(state.global_step)
            if clock.stop.is_set() and state.global_step < state.max_steps:
                clock.stopped = True
                control.should_save = control.should_training_stop = True

        def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            # An evaluation that is due here is done: the resumed run begins behind it. One in mid-epoch is not due.
            if clock.stopped and abs(state.epoch - round(state.epoch)) > WHOLE:
                control.should_evaluate = control.should_save = False

    return Watch()


def peak_memory(torch: Any) -> dict[str, int]:
    """Return the most bytes this process has held, on the machine and on the GPU where there is one."""
    found = {"machine_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    if torch.cuda.is_available():
        found["gpu_bytes"] = int(torch.cuda.max_memory_allocated())
    return found
