"""The servers that stand beside ours, and llama.cpp's own measuring tools: built once, started one at a time.

llama.cpp comes from the source archive of the very llama-cpp-python that is installed, pinned by its hash, and is
built as that wheel is: Release, for the processor at hand. Knows how each server is started; knows no workload.
"""

import logging
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks.start import seconds_until
from conversion.gguf import PACKAGE, _download_sdist
from conversion.lock import one_at_a_time
from errors import EngineError

log = logging.getLogger(__name__)

PORT = 8101
TOOLS = ("llama-server", "llama-bench", "llama-batched-bench")
# As the wheel is built (CMAKE_ARGS="-DLLAVA_BUILD=OFF" says nothing of the compute kernels): native, OpenMP.
FLAGS = ("-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF",
         "-DLLAMA_BUILD_TOOLS=ON", "-DLLAMA_BUILD_SERVER=ON", "-DLLAMA_BUILD_APP=OFF", "-DLLAMA_OPENSSL=OFF",
         "-DLLAMA_USE_PREBUILT_UI=OFF")  # fmt: skip
CELLS = 16_384  # tokens of context that all pupils share, in every server that can share
LOAD_LIMIT_S = 900.0  # a first start times its kernels and reads its personas: five minutes for a 7B on two cores
DYING_S = 0.3  # a server that broke a connection may be about to end


@dataclass(frozen=True)
class Start:
    """How a server is started: every one on the same model, port and threads.

    Attributes:
        model: The GGUF.
        port: On 127.0.0.1.
        threads: Of every step.
        data_dir: Where the built tools lie.
        cache_dir: Where ours keeps persona files between two starts.
        warm: Whether ours reads the personas before it is ready.
    """

    model: Path
    port: int
    threads: int
    data_dir: Path
    cache_dir: Path
    warm: bool = True


@dataclass(frozen=True)
class Server:
    """A server under test.

    Attributes:
        name: In tables and files.
        command: The command line that starts it.
        ready: Route that answers 200 once the model is loaded.
        ours: Whether it knows the personas by name.
        at: Numbers of pupils it is measured at; None for all.
    """

    name: str
    command: Callable[[Start], list[str]]
    ready: str = "/health"
    ours: bool = False
    at: tuple[int, ...] | None = None


def _ours(*options: str) -> Callable[[Start], list[str]]:
    def command(start: Start) -> list[str]:
        place = ["--port", str(start.port), "--threads", str(start.threads), "--cache-dir", str(start.cache_dir)]
        warm = "--warm" if start.warm else "--no-warm"
        return [sys.executable, "-m", "benchmarks.serve", str(start.model), *place, warm, *options]

    return command


def _llama_server(*options: str) -> Callable[[Start], list[str]]:
    def command(start: Start) -> list[str]:
        threads = ["-t", str(start.threads), "-tb", str(start.threads)]
        place = ["-m", str(start.model), "--host", "127.0.0.1", "--port", str(start.port)]
        return [str(tool_folder(start.data_dir) / "llama-server"), *place, *threads, *options]

    return command


def _llama_cpp_server(start: Start) -> list[str]:
    options = {"model": start.model, "host": "127.0.0.1", "port": start.port, "n_ctx": 4096, "n_batch": 256,
               "n_threads": start.threads, "n_threads_batch": start.threads, "flash_attn": "true",
               "logits_all": "false", "use_mlock": "false", "interrupt_requests": "false"}  # fmt: skip
    return [sys.executable, "-m", "llama_cpp.server", *(str(x) for k, v in options.items() for x in (f"--{k}", v))]


def _naive(start: Start) -> list[str]:
    options = ["--port", str(start.port), "--threads", str(start.threads)]
    return [sys.executable, "-m", "benchmarks.naive", str(start.model), *options]


# Room for 16 pupils, small steps so that no stream stalls for long, and the cache of prompts on. The chat template is
# the file's own in every server: it keeps the system text first and adds no space, so caches hold from turn to turn.
TUNED = ("-np", "16", "-kvu", "-c", str(CELLS), "-b", "256", "-ub", "256", "-fa", "on", "--cache-ram", "2048")
SERVERS = {
    server.name: server
    for server in (
        Server("ours", _ours(), "/ready", ours=True),
        Server("ours-repacked", _ours("--kernels", "repacked"), "/ready", ours=True),
        Server("ours-tiled", _ours("--kernels", "tiled"), "/ready", ours=True),
        Server("llama-server-defaults", _llama_server()),
        Server("llama-server-tuned", _llama_server(*TUNED)),
        Server("llama-server-tuned-no-repack", _llama_server(*TUNED, "--no-repack")),
        Server("llama_cpp.server", _llama_cpp_server, "/v1/models", at=(1, 4)),
        Server("naive", _naive, at=(1, 4)),
    )
}


def tool_folder(data_dir: Path) -> Path:
    """Where the programs lie once they are built."""
    return data_dir / "tools" / f"llama.cpp-{version(PACKAGE)}-build" / "bin"


def build_tools(data_dir: Path) -> Path:
    """Return the folder with `TOOLS`; unpacked and built on the first call, gone on with where a build was broken off.

    Raises:
        EngineError: cmake or a compiler is missing, or the build failed; its log is named.
        SourceError: The source archive cannot be had.
    """
    folder = tool_folder(data_dir.resolve())
    if all((folder / tool).exists() for tool in TOOLS):
        return folder
    if shutil.which("cmake") is None:
        raise EngineError("cmake is needed to build llama-server: apt-get install cmake g++")
    build = folder.parent
    with one_at_a_time(data_dir / "tools" / ".build.lock", wait_s=3600.0):
        source = _unpacked(data_dir)
        output = build.with_name(f"{build.name}.log")
        configure = ["cmake", "-S", str(source), "-B", str(build), *FLAGS]
        compile_ = ["cmake", "--build", str(build), "-j", str(len(os.sched_getaffinity(0))), "--target", *TOOLS]
        with output.open("w", encoding="utf-8") as file:
            for command in (configure, compile_):
                done = subprocess.run(["nice", "-n", "10", *command], stdout=file, stderr=file, check=False)
                if done.returncode:
                    raise EngineError(f"llama.cpp could not be built; see {output}.")
    return folder


def _unpacked(data_dir: Path) -> Path:
    number = version(PACKAGE)
    target = data_dir.resolve() / "tools" / f"llama.cpp-{number}-source"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".sdist-") as work:
            archive_path = _download_sdist(Path(work), number)
            prefix = f"{archive_path.name.removesuffix('.tar.gz')}/vendor/llama.cpp/"
            with tarfile.open(archive_path) as archive:
                members = [member for member in archive if member.name.startswith(prefix)]
                archive.extractall(work, members=members, filter="data")
            (Path(work) / prefix).rename(target)
    return target


@contextmanager
def running(command: Sequence[str], url: str, ready: str, log_file: Path) -> Iterator[tuple[int, float]]:
    """Start a server, wait until it is ready, and stop it with all that it started.

    Yields:
        Its process id, and the seconds from its start until it was ready.

    Raises:
        EngineError: It ended, or was not ready in time; the end of its log is in the message.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("wb") as output:
        started = time.monotonic()
        child = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        try:
            try:
                took = seconds_until(f"{url}{ready}", started, child, LOAD_LIMIT_S)
            except SystemExit as error:  # how the command line of benchmarks.start ends
                raise EngineError(f"{error} Its log ends: {_end(log_file)}") from None
            problem: EngineError | None = None
            try:
                yield child.pid, took
            except EngineError as error:  # perhaps only because the server is dead
                problem = error
            with suppress(subprocess.TimeoutExpired):
                child.wait(DYING_S)
                said = f"The server died with status {child.returncode}. Its log ends: {_end(log_file)}"
                raise EngineError(said) from problem
            if problem:
                raise problem
        finally:
            _stop(child)


def _stop(child: subprocess.Popen[bytes]) -> None:
    for how, wait_s in ((signal.SIGTERM, 20.0), (signal.SIGKILL, 20.0)):
        try:
            os.killpg(child.pid, how)
            child.wait(wait_s)
        except ProcessLookupError:
            child.wait()
            return
        except subprocess.TimeoutExpired:
            log.warning("process %d did not end on signal %d", child.pid, how)


def _end(log_file: Path) -> str:
    lines = log_file.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return " | ".join(lines[-3:]).replace(f"{Path.cwd()}/", "")[-400:]
