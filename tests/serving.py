"""A real HTTP server on a free port, in a thread of its own, for tests that need one."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp


def wait_until(condition: Callable[[], bool], within_s: float = 30.0) -> None:
    """Wait until something is true; from a test with a loop, in a thread."""
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until, "it did not become true in time"
        time.sleep(0.005)


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """Serve `app` and give its address, `http://127.0.0.1:port`."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", lifespan="off", ws="none", timeout_graceful_shutdown=2)
    )
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
