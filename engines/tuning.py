"""What a step costs on this processor, and which of llama.cpp's kernels to take; measured once, then remembered.

Two sets of kernels compute the same: *repacked* ones keep a second copy of the weights and are faster for steps of a
few rows on some processors; *tiled* ones load at once, take half the memory and read prompts faster. Which wins differs
from one processor to the next, so both are timed at the first start. Knows the model's calls; knows no chat.
"""

import json
import logging
import math
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import llama_cpp

from engines.llama_model import LlamaModel
from engines.steps import StepCosts, cheapest_quantum
from errors import EngineError

logger = logging.getLogger(__name__)

Kernels = Literal["repacked", "tiled"]
ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
JUDGED = (1, 2, 4, 8, 16, 32)  # what pupils who answer each other's silence need: one alone, a few, a class
MARGIN = 1.05  # repacked kernels cost memory and seconds at each start: they must be worth it
ROUNDS = 3
REPEATS_S = 0.5  # short steps are timed again until this much time is spent on each size
MOST_REPEATS = 4  # of a size in one round
STEADY = 1.5  # the second best time of a step is at most so many times the best, or something else was running
CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Tuning:
    """The decision and its reason.

    Attributes:
        kernels: "repacked" or "tiled".
        costs: What a step costs with them.
        reason: For the log.
        steady: Whether the machine was quiet; a decision made beside other work is not remembered.
    """

    kernels: Kernels
    costs: StepCosts
    reason: str
    steady: bool = True


def measure(
    model: LlamaModel, ratio: float = STEADY, stopped: Callable[[], bool] = lambda: False
) -> tuple[StepCosts, bool]:
    """Time steps of 1 to 32 rows on an empty context; leaves it empty. Takes about thirty steps.

    All sizes are timed in turn, and that three times: a machine that is slow for some seconds would else make the sizes
    that were measured meanwhile look dear, and the best way to share a step would not be found.

    Returns:
        The costs, and whether repeated steps took the same time.

    Raises:
        EngineError: `stopped` said so between two steps.
    """
    times: dict[int, list[float]] = {count: [] for count in ROWS}
    for number in range(1, ROUNDS + 1):
        for count, known in times.items():
            if stopped():
                raise EngineError("Closed while its kernels were timed; the next start times them.")
            known.append(_time(model, count))
            while sum(known) < number * REPEATS_S / ROUNDS and len(known) < number * MOST_REPEATS:
                known.append(_time(model, count))
    seconds = tuple(min(known) for known in times.values())
    # The very first step reads the weights from disk.
    steady = all(sorted(known)[1] <= ratio * min(known) for count, known in times.items() if count != ROWS[0])
    return StepCosts(ROWS, seconds, cheapest_quantum(ROWS, seconds)), steady


def _time(model: LlamaModel, count: int) -> float:
    """Return the seconds of one step of `count` rows."""
    model.rows.clear()
    for row in range(count):
        # One sequence, as it is one pass over the weights either way; answers want logits of every row.
        model.rows.add((row % model.n_vocab,), row, 0, wanted=row < 16)
    started = time.perf_counter()
    if not model.decode():
        raise EngineError(f"No free cells for {count} rows; raise BAF_CACHE_TOKENS.")
    took = time.perf_counter() - started
    model.remove(0, -1)
    return took


def choose(tiled: StepCosts, repacked: StepCosts | None) -> Tuning:
    """Decide between the two, by the geometric mean of what a step costs.

    Args:
        tiled: Costs of the tiled kernels.
        repacked: Costs of the others; None where they do not fit in memory.
    """
    if repacked is None:
        return Tuning("tiled", tiled, "the second copy of the weights does not fit in memory")
    gain = math.exp(sum(math.log(tiled.answer_s(n) / repacked.answer_s(n)) for n in JUDGED) / len(JUDGED))
    said = f"repacked kernels are {gain:.2f} x as fast over steps of {', '.join(map(str, JUDGED))} rows"
    if gain > MARGIN:
        return Tuning("repacked", repacked, said)
    return Tuning("tiled", tiled, f"{said}, less than the {MARGIN} that their memory is worth")


def open_tuned(
    open_model: Callable[[bool], LlamaModel],
    *,
    fits_repacked: bool,
    cache: Path | None,
    key: str,
    kernels: str = "auto",
    ratio: float = STEADY,
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[LlamaModel, Tuning]:
    """Open a model with the kernels that suit this machine.

    Args:
        open_model: Opens it; told whether to repack.
        fits_repacked: Whether the memory suffices for the second copy.
        cache: A JSON file where decisions are remembered; None to decide anew.
        key: Of the model and the threads; the processor and the library are added here.
        kernels: "auto", "repacked" or "tiled".
        ratio: See `STEADY`.
        stopped: Whether to give up; asked between two steps that are timed.

    Raises:
        EngineError: `kernels` is none of these, the model cannot be opened, or it was `stopped`.
    """
    if kernels not in {"auto", "repacked", "tiled"}:
        raise EngineError(f"Kernels {kernels!r} are unknown; expected auto, repacked or tiled.")
    key = f"{key} {processor()} llama-cpp-python {llama_cpp.__version__} {kernels} {fits_repacked} {ROUNDS} rounds"
    known = _remembered(cache, key)
    if known:
        logger.info("kernels: %s, quantum %d rows, as decided before: %s",
                    known.kernels, known.costs.quantum, known.reason)  # fmt: skip
        return open_model(known.kernels == "repacked"), known
    if kernels != "auto":
        model = open_model(kernels == "repacked")
        costs, steady = _apart(model, ratio, stopped)
        tuning = Tuning("repacked" if kernels == "repacked" else "tiled", costs, "as set", steady)
    else:
        model = open_model(False)
        tiled, steady = _apart(model, ratio, stopped)
        repacked = None
        if fits_repacked:
            model.close()  # both at once would need the memory of both
            model = open_model(True)
            repacked, also = _apart(model, ratio, stopped)
            steady &= also
        tuning = replace(choose(tiled, repacked), steady=steady)
        if fits_repacked and tuning.kernels == "tiled":
            model.close()
            model = open_model(False)
    logger.info("kernels: %s, quantum %d rows: %s; steps %s ms", tuning.kernels, tuning.costs.quantum, tuning.reason,
                {n: round(1000 * s) for n, s in zip(tuning.costs.rows, tuning.costs.seconds, strict=True)})  # fmt: skip
    if tuning.steady:
        _remember(cache, key, tuning)
    else:
        logger.warning("the machine was busy while its kernels were timed; the next start times them again")
    return model, tuning


def _apart(model: LlamaModel, ratio: float, stopped: Callable[[], bool]) -> tuple[StepCosts, bool]:
    """Measure in a thread that ends: its OpenMP threads would else count beside the worker's for ever.

    With more of them than processors they sleep at once instead of waiting for each other: half the speed, measured.
    """
    found: Future[tuple[StepCosts, bool]] = Future()
    left = threading.Event()

    def run() -> None:
        try:
            found.set_result(measure(model, ratio, lambda: left.is_set() or stopped()))
        except BaseException as error:  # raised again where it is waited for
            found.set_exception(error)

    thread = threading.Thread(target=run, name="tuning", daemon=True)  # a pool takes no work while the process ends
    thread.start()
    try:
        return found.result()
    except BaseException:
        left.set()
        thread.join()  # interrupted: the step under way is waited for, as nothing may free the model below it
        model.close()  # nobody gets it, and it holds gigabytes
        raise


def processor() -> str:
    """Return the processor's name and the instructions that matter here."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown processor"
    names = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8")
    return " ".join([*sorted(names), *(flag for flag in wanted if flag in flags)])


def _remembered(cache: Path | None, key: str) -> Tuning | None:
    try:
        known = json.loads(cache.read_text(encoding="utf-8"))[key] if cache else None
        if not known:
            return None
        costs = known["costs"]
        return Tuning(
            known["kernels"],
            StepCosts(tuple(costs["rows"]), tuple(costs["seconds"]), int(costs["quantum"])),
            str(known["reason"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not there, or damaged: measured again and written anew


def _remember(cache: Path | None, key: str, tuning: Tuning) -> None:
    if cache is None:
        return
    try:
        known = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    if not isinstance(known, dict):
        known = {}
    partial = cache.with_suffix(f".{os.getpid()}.partial")
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps({**known, key: asdict(tuning)}, indent=1), encoding="utf-8")
        partial.replace(cache)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        logger.warning("%s cannot be written (%s); the next start measures again", cache, error.strerror)
