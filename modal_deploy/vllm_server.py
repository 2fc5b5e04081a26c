"""vLLM's command line, its start, its sleep, and the proof that it woke as it fell asleep. Knows nothing of Modal.

Only the standard library, so that a stub binary is enough to test it. What is asked here is our own text alone.
"""

import json
import logging
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from errors import EngineError
from modal_deploy.closed import IMPORT_PATH
from modal_deploy.config import WEIGHTS_DIR, Config

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[1]
CONTROL_S = 120.0  # a control route or a canary may take so long: waking copies ten gigabytes
LOOK_S = 0.1  # between two looks at whether the server answers
STOP_S = 10.0
WARM_UPS = 3  # calls before the first sleep: kernels are compiled and graphs are captured by then
CANARY = "Pour Spinoza, la liberté est"
CANARY_TOKENS = 8
# Log-probabilities of the same tokens before and after a sleep differ by rounding alone; without its adapter a model
# differs by several tenths on at least one of eight tokens.
TOLERANCE = 0.1
AT_HAND = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # our own server: no proxy is asked
COMPLETE = ".complete"  # written last into a folder of weights, see modal_deploy.weights


def command(config: Config, weights_dir: str = WEIGHTS_DIR) -> list[str]:
    """Return the arguments of `vllm serve`, program included. No key is among them: anybody may list processes."""
    model, engine = config.model, config.engine
    live = model.adapter == "live"
    sizes = [size for size in (1, 2, 4, 8, 16, 24, 32, 40, 48, 56, 64) if size < engine.max_seqs] + [engine.max_seqs]
    line = [
        "vllm", "serve", f"{weights_dir}/{model.weights.folder}",
        "--served-model-name", model.base_name if live else model.served_name,
        "--host", "0.0.0.0", "--port", str(engine.port),  # noqa: S104 - Modal's proxy comes from outside
        "--max-model-len", str(engine.max_len),
        "--max-num-seqs", str(engine.max_seqs),
        "--gpu-memory-utilization", f"{engine.memory_share:.2f}",
        "--enable-prefix-caching",
        "--compilation-config", json.dumps({"cudagraph_capture_sizes": sizes}),
        "--structured-outputs-config", json.dumps({"backend": "xgrammar"}),
        "--generation-config", "vllm",  # who asks says how to sample: a file beside the weights must not
        "--enable-prompt-tokens-details",
        "--no-enable-log-requests", "--disable-uvicorn-access-log",  # pupils' words are not for a log
        "--middleware", IMPORT_PATH,
    ]  # fmt: skip
    if engine.snapshot:
        line.append("--enable-sleep-mode")
    if live:
        lora = model.lora
        line += ["--enable-lora", "--max-loras", "1", "--max-lora-rank", str(_vllm_rank(lora.rank))]
        line += ["--lora-modules", f"{model.served_name}={weights_dir}/{lora.folder}"]
    return line


def _vllm_rank(rank: int) -> int:
    """Return the smallest rank that vLLM's kernels know and that holds `rank`."""
    return next(known for known in (8, 16, 32, 64, 128, 256) if known >= rank)


def check_weights(config: Config, weights_dir: str = WEIGHTS_DIR) -> None:
    """Refuse to start on weights that are missing or half there.

    Raises:
        EngineError: A folder is missing or was never finished; the message says how to fill it.
    """
    for weights in config.model.needed:
        folder = Path(weights_dir) / weights.folder
        if not (folder / COMPLETE).is_file():
            raise EngineError(
                f"{folder} is missing or incomplete; fill it with `modal run modal_deploy/app.py::download`.",
                code="model_missing",
            )


@dataclass(frozen=True)
class Trace:
    """What a model says of the canary: the tokens it likes best, and how much."""

    tokens: tuple[str, ...]
    logprobs: tuple[float, ...]

    def same_as(self, other: "Trace") -> bool:
        """Whether both come from the same weights."""
        return self.tokens == other.tokens and max(
            (abs(a - b) for a, b in zip(self.logprobs, other.logprobs, strict=True)), default=0.0
        ) <= TOLERANCE  # fmt: skip


class Server:
    """A `vllm serve` of this container: started, asleep, awake, ended.

    Args:
        config: What to serve.
        key: That the server asks for, on every route but /health.
        weights_dir: Where the folders of weights lie.

    Raises:
        EngineError: The key is empty.
    """

    def __init__(self, config: Config, key: str, weights_dir: str = WEIGHTS_DIR) -> None:
        self._config = config
        if not key:
            raise EngineError("The engine's key is empty: anybody with a proxy token could ask it directly.")
        self._key = key
        self._weights_dir = weights_dir
        self._process: subprocess.Popen[bytes] | None = None
        self._traces: dict[str, Trace] = {}

    def start(self) -> None:
        """Start, warm up, and remember what the model says of the canary.

        Raises:
            EngineError: The weights are missing, the server ended, or it did not answer in time.
        """
        check_weights(self._config, self._weights_dir)
        began = time.monotonic()
        # Not an argument, which any process could read. The path is for the middleware, and for nothing of Modal's.
        environment = {**os.environ, "VLLM_API_KEY": self._key, "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(command(self._config, self._weights_dir), env=environment)
        while True:
            healthy = self._healthy()
            if (code := self._process.poll()) is not None:  # even when healthy: another one may have the port
                raise EngineError(f"vllm ended with exit code {code} before it answered; its own log says why.")
            if healthy:
                break
            if time.monotonic() - began > self._config.engine.start_s:
                self.stop()
                raise EngineError(f"vllm did not answer in {self._config.engine.start_s} s.")
            time.sleep(LOOK_S)
        for _ in range(WARM_UPS):
            self._traces = self._ask_all()
        self._check_adapter()
        log.info("vllm answers after %.0f s", time.monotonic() - began)

    def sleep(self) -> None:
        """Move the weights into the host's memory, for the snapshot."""
        self._call("/sleep?level=1", {})

    def wake(self) -> None:
        """Bring the weights back and prove that the model is the one that fell asleep; else start anew, once.

        Raises:
            EngineError: A new start did not help either.
        """
        began = time.monotonic()
        try:
            self._call("/wake_up", {})
            fault = self._difference()
        except EngineError as error:
            fault = str(error)
        if fault:
            log.error("vllm woke up wrong (%s); it is started anew.", fault)
            self.stop()
            self.start()
        log.info("vllm awake after %.1f s", time.monotonic() - began)

    def stop(self) -> None:
        """End the server and wait for it."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _names(self) -> tuple[str, ...]:
        model = self._config.model
        return (model.served_name, model.base_name) if model.adapter == "live" else (model.served_name,)

    def _ask_all(self) -> dict[str, Trace]:
        return {name: self._trace(name) for name in self._names()}

    def _trace(self, name: str) -> Trace:
        asked = {
            "model": name, "prompt": CANARY, "max_tokens": CANARY_TOKENS, "temperature": 0, "seed": 0, "logprobs": 1,
        }  # fmt: skip
        answer = self._call("/v1/completions", asked)
        try:
            found = json.loads(answer)["choices"][0]["logprobs"]
            return Trace(tuple(found["tokens"]), tuple(map(float, found["token_logprobs"])))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise EngineError(f"vllm's answer to the canary cannot be read ({type(error).__name__}).") from None

    def _check_adapter(self) -> None:
        """A live adapter that changes nothing is not applied."""
        traces = list(self._traces.values())
        if len(traces) > 1 and traces[0].same_as(traces[1]):
            raise EngineError("The adapter changes nothing: it is not applied, or it is not this base's.")

    def _difference(self) -> str:
        now = self._ask_all()
        changed = [name for name, trace in now.items() if not trace.same_as(self._traces[name])]
        return f"{', '.join(changed)} answered otherwise than before" if changed else ""

    def _healthy(self) -> bool:
        try:
            AT_HAND.open(f"{self._url}/health", timeout=1).close()
        except (OSError, HTTPException):  # not there yet, or not yet in its senses
            return False
        return True

    def _call(self, path: str, body: Mapping[str, Any]) -> bytes:
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        request = urllib.request.Request(  # noqa: S310 - our own address
            f"{self._url}{path}", json.dumps(body).encode(), headers, method="POST"
        )
        try:
            with AT_HAND.open(request, timeout=CONTROL_S) as response:
                data: bytes = response.read()
        except urllib.error.HTTPError as error:
            error.close()
            raise EngineError(f"vllm answered {path} with status {error.code}.") from None
        except (OSError, HTTPException) as error:
            raise EngineError(f"vllm did not answer {path} ({type(error).__name__}).") from None
        return data

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self._config.engine.port}"
