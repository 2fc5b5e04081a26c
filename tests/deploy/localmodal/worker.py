"""One deployed function executed in Modal's own container runtime, behind a local HTTP front.

Knows what the deployment uploaded and nothing else: a file or a secret that the deployment forgot is missing.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web
from grpclib.server import Server
from modal_proto import api_pb2 as pb

from tests.deploy.localmodal.container import ContainerRpcs
from tests.deploy.localmodal.control_plane import ControlPlane
from tests.deploy.localmodal.deployment import Deployment
from tests.deploy.localmodal.front import LOCAL_TOKEN, Handler, ProxyToken, asgi_front, require_token, server_front
from tests.deploy.localmodal.loop import BackgroundLoop

TASK_ID = "ta-1"


class ContainerFailed(RuntimeError):
    """The container ended before it was ready, or took too long. The message ends with its log."""


class Worker:
    """Run one deployed function while the `with` block lasts.

    Attributes:
        url: Address of the HTTP front. A web function queues requests while it starts; a server answers 503.
        token: Proxy token that the front accepts, where the deployed function asks for one.
        home: The container's home directory, for files that the code under test writes.
        rpcs: What the container reported, see `ContainerRpcs.lifecycle`.
        exit_code: Of the container's process; None while it runs.
    """

    def __init__(
        self,
        plane: ControlPlane,
        name: str,
        *,
        method: str = "",
        snapshot: bool = False,
        path: Sequence[Path] = (),
        env: Mapping[str, str] | None = None,
        token: ProxyToken = LOCAL_TOKEN,
    ) -> None:
        """Prepare the latest deployment's function `name`.

        Args:
            plane: The control plane that took the deployment.
            name: "gateway" for a function, "Engine.*" for an `@app.cls`, "Engine" for an `@app.server`.
            method: The web method of an `@app.cls`.
            snapshot: Take the path of a memory snapshot: pre-snapshot hooks, checkpoint, restore, other hooks.
            path: Directories to put before PATH in the container, for stub binaries.
            env: Variables to set in the container, over those of its secrets.
            token: Proxy token that the front shall accept.
        """
        self.url = ""
        self.token = token
        self.exit_code: int | None = None
        self._plane = plane
        self._deployment = Deployment(plane)
        self._function = pb.Function()
        self._function.CopyFrom(self._deployment.function(name))
        self._function.is_checkpointing_function = snapshot
        self._function_id = self._deployment.function_id(name)
        self._method = method
        self._snapshot = snapshot
        self._path = path
        self._extra_env = env or {}
        self._loop = BackgroundLoop()
        self._directory = tempfile.TemporaryDirectory(prefix="localmodal-", ignore_cleanup_errors=True)
        self.home = Path(self._directory.name)
        self._restore_file = self.home / "restore-state.json"
        self.rpcs = ContainerRpcs(self._restore_file)
        for file, content in self._deployment.files(name).items():
            target = self._root / file.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)

    def __enter__(self) -> Self:
        self._loop.__enter__()
        self._loop.run(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._loop.run(self._close())
        self._loop.__exit__(kind, error, trace)
        self._directory.cleanup()

    def wait_until_ready(self, timeout_s: float = 30) -> None:
        """Return once the container takes requests.

        Raises:
            ContainerFailed: It ended first, for instance because a module is missing, or took too long.
        """
        self._loop.run(self._ready_or_dead(timeout_s), timeout_s + 5)

    def stop(self, timeout_s: float = 60) -> int:
        """End the container as Modal does, run its exit hooks, and return its exit code."""
        if self.exit_code is None:
            if not self._function.is_server:
                self._loop.run(self._send_kill_switch())
            elif self.rpcs.ready.is_set():
                self._terminate_server()
            else:
                self._process.terminate()
            try:
                self.exit_code = self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self.exit_code = self._process.wait()
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # engines that no exit hook ended
        return self.exit_code

    def log(self) -> str:
        """What the container printed so far."""
        return self._log_file.read_text(errors="replace")

    @property
    def _root(self) -> Path:
        return self.home / "container"

    @property
    def _log_file(self) -> Path:
        return self.home / "container.log"

    async def _start(self) -> None:
        rpc_socket = self.home / "worker.sock"
        self._rpc_server = Server([self.rpcs])
        await self._rpc_server.start(path=str(rpc_socket))
        arguments = self.home / "arguments.bin"
        arguments.write_bytes(self._arguments().SerializeToString())
        with self._log_file.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - begins in milliseconds, and nothing else runs here
                [sys.executable, "-m", "modal._container_entrypoint"],
                env=self._env(rpc_socket, arguments),
                cwd=self.home,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._watcher = asyncio.create_task(self._watch())
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._front())
        # Without handler_cancellation a client that leaves would go unnoticed until the next write.
        self._runner = web.AppRunner(app, handler_cancellation=True)
        await self._runner.setup()
        listener = socket.create_server(("127.0.0.1", 0))
        await web.SockSite(self._runner, listener).start()
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    async def _close(self) -> None:
        await self._watcher
        await self._runner.cleanup()
        self._rpc_server.close()
        await self._rpc_server.wait_closed()

    def _terminate_server(self) -> None:
        """Send SIGTERM once the runtime listens to it, which it does a moment after it has reported ready."""
        status = Path(f"/proc/{self._process.pid}/status")
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self._process.poll() is None:
            caught = int(next(line for line in status.read_text().splitlines() if line.startswith("SigCgt"))[7:], 16)
            if caught >> (signal.SIGTERM - 1) & 1:
                break
            time.sleep(0.02)
        self._process.terminate()

    async def _send_kill_switch(self) -> None:
        self.rpcs.stop_container()

    async def _watch(self) -> None:
        code = await asyncio.to_thread(self._process.wait)
        self.rpcs.container_ended(f"the container ended with exit code {code}")

    async def _ready_or_dead(self, timeout_s: float) -> None:
        ready = asyncio.create_task(self.rpcs.ready.wait())
        await asyncio.wait({ready, self._watcher}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if not self.rpcs.ready.is_set():
            reason = self.rpcs.failures[-1] if self.rpcs.failures else "no answer in time"
            raise ContainerFailed(f"{reason}\n{self.log()}")

    def _front(self) -> Handler:
        if self._function.is_server:
            config = self._function.http_config
            handler = server_front(self.rpcs, config.port)
            protected = not config.unauthenticated
        else:
            handler = asgi_front(self.rpcs, self._method)
            owner = self._function.method_definitions[self._method] if self._method else self._function
            protected = owner.webhook_config.requires_proxy_auth
        return require_token(handler, self.token) if protected else handler

    def _arguments(self) -> pb.ContainerArguments:
        return pb.ContainerArguments(
            task_id=TASK_ID,
            function_id=self._function_id,
            app_id=self._deployment.request.app_id,
            function_def=self._function,
            app_layout=self._layout(),
            checkpoint_id="ch-1" if self._snapshot else None,
            environment_name="main",
        )

    def _env(self, rpc_socket: Path, arguments: Path) -> dict[str, str]:
        env = {
            "PATH": os.pathsep.join([*map(str, self._path), os.environ["PATH"]]),
            "HOME": str(self.home),
            "PYTHONPATH": str(self._root / "root"),  # where Modal puts the app's own files
            "PYTHONDONTWRITEBYTECODE": "1",
            "MODAL_SERVER_URL": f"unix://{rpc_socket}",
            "MODAL_TASK_ID": TASK_ID,
            "MODAL_IS_REMOTE": "1",
            "MODAL_CONTAINER_ARGUMENTS_PATH": str(arguments),
            "MODAL_RESTORE_STATE_PATH": str(self._restore_file),
        }
        if self._snapshot:
            env["MODAL_ENABLE_SNAP_RESTORE"] = "1"
        for secret_id in self._function.secret_ids:
            env.update(self._plane.secrets[secret_id].values)
        return {**env, **self._extra_env}

    def _layout(self) -> pb.AppLayout:
        """The app's functions and classes, and what the function depends on, with the metadata of each."""
        app_id = self._deployment.request.app_id
        layout = self._plane.app_layout(app_id)
        for name, function_id in layout.function_ids.items():
            metadata = self._plane.handle_metadata(self._deployment.function(name), function_id, app_id)
            layout.objects.add(object_id=function_id, function_handle_metadata=metadata)
        for class_id in layout.class_ids.values():
            layout.objects.add(object_id=class_id, class_handle_metadata=pb.ClassHandleMetadata())
        for dependency in self._function.object_dependencies:
            entry = layout.objects.add(object_id=dependency.object_id)
            if dependency.object_id.startswith("vo-"):
                entry.volume_metadata.version = pb.VOLUME_FS_VERSION_V2
            elif dependency.object_id.startswith("mo-"):
                entry.mount_handle_metadata.content_checksum_sha256_hex = "0" * 64
        return layout
