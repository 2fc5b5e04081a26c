"""The control plane on a local port or unix socket, and `modal` commands run against it."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from grpclib.server import Server

from tests.deploy.localmodal.control_plane import TOKEN_ID, TOKEN_SECRET, ControlPlane
from tests.deploy.localmodal.loop import BackgroundLoop


class ControlPlaneServer:
    """Serve a control plane while the `with` block lasts.

    Attributes:
        plane: The control plane served.
        url: Value of MODAL_SERVER_URL that reaches it.
    """

    def __init__(self, plane: ControlPlane, *, socket_path: Path | None = None) -> None:
        """Listen on `socket_path`, which works even without a network interface, else on a free port."""
        self.plane = plane
        self.url = ""
        self._socket_path = socket_path
        self._loop = BackgroundLoop()

    def __enter__(self) -> Self:
        self._loop.__enter__()
        self._loop.run(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.run(self._stop())
        self._loop.__exit__(kind, error, trace)

    def client_env(self, home: Path) -> dict[str, str]:
        """A complete environment for a client: this server, its token, and nothing of the developer's own account."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "MODAL_CONFIG_PATH": str(home / "no-such-config.toml"),
            "MODAL_SERVER_URL": self.url,
            "MODAL_TOKEN_ID": TOKEN_ID,
            "MODAL_TOKEN_SECRET": TOKEN_SECRET,
            "MODAL_DISABLE_API_PROXY": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def modal(
        self,
        *arguments: str,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        wrapper: Sequence[str] = (),
        timeout_s: float = 180,
    ) -> subprocess.CompletedProcess[str]:
        """Run `modal <arguments>` in `cwd`; `env` adds variables, `wrapper` is a command that runs the command."""
        with tempfile.TemporaryDirectory() as home:
            return subprocess.run(
                [*wrapper, sys.executable, "-m", "modal", *arguments],
                cwd=cwd,
                env={**self.client_env(Path(home)), **(env or {})},
                capture_output=True,
                text=True,
                timeout=timeout_s,
            )

    async def _start(self) -> None:
        self._server = Server([self.plane])
        if self._socket_path:
            await self._server.start(path=str(self._socket_path))
            self.url = f"unix://{self._socket_path}"
        else:
            listener = socket.create_server(("127.0.0.1", 0))
            await self._server.start(sock=listener)
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    async def _stop(self) -> None:
        self._server.close()
        await self._server.wait_closed()
