"""Brings the free tier its model: a file, a download, a server or the embedded default, then a warm engine.

Runs in a thread of its own, so that the page opens first. Knows engines and the command that assembles the embedded
model; knows no conversation and no page.
"""

import asyncio
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engines.base import Engine
from engines.open import open_engine
from engines.weights import fetch_from_hub
from errors import ChatError, EngineError, SourceError, TierUnavailable
from tiers.base import TierStatus

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[1]
FIRST_RETRY_S, LAST_RETRY_S = 15.0, 300.0  # between two tries when no model could be had, or the last one soon failed
WATCH_S = 1.0  # between two looks at the engine
SERVERS = ("openai:", "ollama:")  # specs of `engines.open` that name a server, not a file
AWAY = "openai:"  # an address: what pupils write goes to another program, perhaps on another machine


@dataclass(frozen=True)
class ModelChoice:
    """Which model, and how it is opened.

    Attributes:
        data_dir: Where downloads and assembled models live.
        model: A path, `hf:owner/repo/file.gguf`, `openai:http://host/v1#model`, `ollama:name`, or None for the embedded
            default.
        base: The embedded default's base as a local file; None to download it.
        threads: Threads of the engine; None for what the machine grants.
        n_ctx: Longest prompt and answer together, in tokens.
        n_cells: Tokens that the engine holds for all chats together.
        max_active: How many answers run at once.
        queue_size: How many more requests may wait.
        kernels: "auto", "repacked" or "tiled".
        embedder: How notes are found by meaning, see `retrieval.embedders.open_embedder`; None for the default one.
        embedder_key: For an embedder behind an address.
        model_key: For a model behind an address.
        hints: Whether a large model too is given the reading note nearest to each question; a small one always is.
    """

    data_dir: Path
    model: str | None = None
    base: Path | None = None
    threads: int | None = None
    n_ctx: int = 4096
    n_cells: int = 16_384
    max_active: int = 16
    queue_size: int = 32
    kernels: str = "auto"
    embedder: str | None = None
    embedder_key: str | None = None
    model_key: str | None = field(default=None, repr=False)
    hints: bool = False


@dataclass(frozen=True)
class Load:
    """How busy an engine is.

    Attributes:
        waiting: Requests in line.
        cells_used: Tokens that all chats hold together.
        cells: How many they may hold.
        eta_s: Seconds until one who asks now would be served; None where nobody knows.
        active: Answers running.
    """

    waiting: int
    cells_used: int
    cells: int
    eta_s: float | None = None
    active: int = 0


class ModelSupply:
    """Owns the engine of the free tier, from nothing to warm.

    Args:
        choice: Which model.
        system_prompts: Given the engine's number of parameters, the prompts to read ahead.
        opener: How an engine is opened.
        retry_s: Seconds before the first new try; they double up to five minutes.
    """

    def __init__(
        self,
        choice: ModelChoice,
        system_prompts: Callable[[int], Sequence[str]],
        *,
        opener: Callable[..., Engine] = open_engine,
        retry_s: float = FIRST_RETRY_S,
    ) -> None:
        self._choice = choice
        self._system_prompts = system_prompts
        self._opener = opener
        self._retry_s = retry_s
        self._status = TierStatus("preparing", "loading")
        self._standing: tuple[str, ...] = ()
        self._engine: Engine | None = None
        self._away = False
        self._closing = threading.Event()
        self._child: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, name="model-supply", daemon=True)

    @property
    def status(self) -> TierStatus:
        """What is being done now. Never blocks."""
        engine = self._engine  # read once: another thread may take it away
        if engine is not None and engine.failure is not None:
            return replace(self._status, state="failed", step="engine_failed", progress=None, model=None)
        return self._status

    @property
    def engine(self) -> Engine | None:
        """The engine, while it is ready."""
        engine = self._engine
        return engine if engine is not None and engine.failure is None else None

    @property
    def is_away(self) -> bool:
        """Whether the engine in use is behind an address: then personal data is taken out of what it is told."""
        return self._away

    @property
    def load(self) -> Load | None:
        """How busy the engine is; None while there is none, or where it does not say."""
        stats = getattr(self.engine, "stats", None)
        return Load(stats.waiting, stats.cells, self._choice.n_cells, stats.eta_s, stats.active) if stats else None

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def close(self) -> None:
        """Stop what is under way and free the engine."""
        self._closing.set()
        if self._child and self._child.poll() is None:
            self._child.terminate()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        if self._engine:
            self._engine.close()

    def add_notice(self, code: str) -> None:
        """Show one more lasting notice."""
        if code not in self._standing:
            self._standing = (*self._standing, code)
            self._status = replace(self._status, notices=(code, *self._status.notices))

    def _say_why(self, *codes: str) -> None:
        """Show why another model than the chosen one answers, in place of what an earlier try said."""
        self._status = replace(self._status, notices=(*self._standing, *codes))

    def _say(self, state: str, step: str, progress: float | None = None, model: str | None = None) -> None:
        self._status = replace(self._status, state=state, step=step, progress=progress, model=model)  # type: ignore[arg-type]

    def _run(self) -> None:
        wait = self._retry_s
        while not self._closing.is_set():
            try:
                self._open_best()
                lived_s = self._watch()
                if lived_s > LAST_RETRY_S:  # no fault of the model's: pupils need not wait for the next one
                    wait = self._retry_s
                    continue
            except ChatError as error:
                if self._closing.is_set():
                    return
                log.error("The free tier has no model: %s", error)
                self._say("failed", error.code)
                if not error.retryable:
                    return
            except Exception:
                log.exception("The free tier's model could not be opened")
                self._say("failed", "internal")
                return
            self._closing.wait(wait)
            wait = min(2 * wait, LAST_RETRY_S)

    def _watch(self) -> float:
        """Wait until the engine fails or this supply is closed, free a failed one, and return how long it lived."""
        opened = time.monotonic()
        while not self._closing.wait(WATCH_S):
            engine = self._engine
            if engine is not None and engine.failure is not None:
                log.error("The engine failed and is opened anew: %s", engine.failure)
                self._say("failed", "engine_failed")
                self._engine = None
                engine.close()
                break
        return time.monotonic() - opened

    def _open_best(self) -> None:
        """Open the chosen model; where it cannot be had, the embedded one, with a notice that says why."""
        if self._choice.model:
            try:
                self._open(self._chosen(self._choice.model))
            except (SourceError, EngineError) as error:
                if self._closing.is_set():
                    raise
                log.warning("BAF_FREE_MODEL=%s: %s Using the embedded model.", self._choice.model, error)
                # That of the chosen one: no source of the embedded one may be reachable either.
                code = "hub_unreachable" if error.code == "source_unreachable" else error.code
                if self._choice.model.startswith(SERVERS):
                    code = "server_unreachable"  # whatever is wrong there, a pupil cannot mend it
                self._say_why(code, "using_embedded")
            else:
                self._say_why()
                return
        self._open(f"gguf:{self._embedded_file()}")

    def _chosen(self, model: str) -> str:
        """Return what `open_engine` takes; a model on the Hub is fetched."""
        if model.startswith(SERVERS):
            return model
        return f"gguf:{self._chosen_file(model)}"

    def _chosen_file(self, model: str) -> Path:
        if not model.startswith("hf:"):
            return Path(model)
        owner, repo, *file = model.removeprefix("hf:").split("/")
        self._say("preparing", "downloading", 0.0)
        return fetch_from_hub(
            f"{owner}/{repo}", "/".join(file), self._choice.data_dir / "hub",
            lambda done: self._say("preparing", "downloading", done),
        )  # fmt: skip

    def _embedded_file(self) -> Path:
        """Assemble the embedded model in a process of its own: numpy would hold the page's thread for seconds."""
        data_dir = str(self._choice.data_dir.resolve())
        command = [sys.executable, "-m", "conversion", "demo", "--json", "--data-dir", data_dir]
        if self._choice.base:
            command += ["--base", str(self._choice.base.resolve())]
        self._say("preparing", "assembling")
        last: dict[str, object] = {}
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, encoding="utf-8") as child:
            self._child = child
            assert child.stdout is not None  # noqa: S101 - because of PIPE
            for line in child.stdout:
                last = json.loads(line)
                if "step" in last and last["step"] != "done":
                    self._say("preparing", str(last["step"]), _number(last.get("progress")))
        if child.returncode == 0 and "path" in last:
            return Path(str(last["path"]))
        code = str(last.get("error", "internal"))
        message = str(last.get("message", f"`python -m conversion demo` ended with status {child.returncode}."))
        if code.startswith(("source_", "disk_")):
            raise SourceError(message, code=code)
        raise TierUnavailable(message, code=code)

    def _options(self, spec: str) -> dict[str, Any]:
        choice = self._choice
        if spec.startswith(SERVERS):
            key = {"api_key": choice.model_key} if spec.startswith(AWAY) else {}
            return {"n_ctx": choice.n_ctx, **key}
        return {
            "threads": choice.threads,
            "n_ctx": choice.n_ctx,
            "n_cells": choice.n_cells,
            "max_active": choice.max_active,
            "queue_size": choice.queue_size,
            "cache_dir": choice.data_dir / "engine",
            "kernels": choice.kernels,
            "stopped": self._closing.is_set,
        }

    def _open(self, spec: str) -> None:
        self._say("preparing", "loading")
        try:
            engine = self._opener(spec, **self._options(spec))
        except (ImportError, OSError) as error:  # a host without the library, or with one built for another processor
            raise TierUnavailable(
                f"llama.cpp cannot be loaded ({error}); see README, « As a Space ».", code="engine_missing"
            ) from error
        self._say("preparing", "warming")
        try:
            for prompt in self._system_prompts(engine.info.n_params):
                asyncio.run(engine.warm(prompt))
        except BaseException:
            engine.close()
            raise
        self._away = spec.startswith(AWAY)
        self._engine = engine
        self._say("ready", "ready", model=engine.info.model)
        log.info("The free tier answers with %s (%d parameters)", engine.info.model, engine.info.n_params)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
