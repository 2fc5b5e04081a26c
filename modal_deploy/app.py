"""The Modal app: `modal deploy modal_deploy/app.py`. An entry: only names, sizes and hooks; the rest is beside it.

- gateway: on a CPU. Checks, retrieval, prompts, events; wakes the engine. Proxy authentication, then our own token.
- Engine: on a GPU. vLLM behind proxy authentication and a key that only the gateway has; scales to zero.
- download: fills the weights' Volume, `modal run modal_deploy/app.py::download`.
"""
# Modal is optional, so mypy does not read it.
# mypy: disable-error-code="untyped-decorator"

from typing import TYPE_CHECKING

import modal

from modal_deploy.config import WEIGHTS_DIR, load_config
from modal_deploy.images import download_image, engine_image, gateway_image
from settings import load_settings

if TYPE_CHECKING:
    from fastapi import FastAPI
    from pydantic import SecretStr

CONFIG = load_config()
GIB = 1024  # MiB
MINUTES = 60  # seconds
LEDGER_DIR = "/ledger"
COMPILED_DIR = "/root/.cache/vllm"

ENGINE_KEYS = ["BAF_ENGINE_KEY"]
GATEWAY_KEYS = ["BAF_PREMIUM_SECRET", "BAF_ENGINE_URL", "BAF_ENGINE_PROXY_KEY", "BAF_ENGINE_PROXY_SECRET"]

app = modal.App(CONFIG.app, tags={"tier": "premium"})
weights = modal.Volume.from_name(f"{CONFIG.app}-weights", create_if_missing=True)
compiled = modal.Volume.from_name(f"{CONFIG.app}-compiled", create_if_missing=True)
ledger = modal.Volume.from_name(f"{CONFIG.app}-ledger", create_if_missing=True)
engine_secret = modal.Secret.from_name(f"{CONFIG.app}-engine", required_keys=ENGINE_KEYS)
gateway_secret = modal.Secret.from_name(f"{CONFIG.app}-gateway", required_keys=GATEWAY_KEYS)
hub_secret = modal.Secret.from_name("huggingface-secret", required_keys=["HF_TOKEN"])


@app.function(
    image=download_image(),
    volumes={WEIGHTS_DIR: weights},
    secrets=[hub_secret],
    timeout=60 * MINUTES,
    max_containers=1,
    scaledown_window=2,
)
def download() -> None:
    """Fill the weights' Volume and check it; what is there and whole is not fetched again."""
    from pathlib import Path

    from modal_deploy.weights import as_lines, fill

    try:
        print(as_lines(fill(CONFIG, Path(WEIGHTS_DIR))))
    finally:
        weights.commit()  # what came goes on from here next time


@app.server(
    image=engine_image(CONFIG),
    gpu=CONFIG.engine.gpu,
    cpu=CONFIG.engine.cores,
    memory=CONFIG.engine.host_gib * GIB,
    port=CONFIG.engine.port,
    startup_timeout=CONFIG.engine.start_s,
    scaledown_window=CONFIG.engine.idle_s,
    exit_grace_period=30,
    min_containers=0,
    max_containers=CONFIG.engine.max_containers,
    target_concurrency=CONFIG.engine.max_seqs,
    enable_memory_snapshot=CONFIG.engine.snapshot,
    experimental_options={"enable_gpu_snapshot": True} if CONFIG.engine.snapshot else None,
    volumes={WEIGHTS_DIR: weights.with_mount_options(read_only=True), COMPILED_DIR: compiled},
    secrets=[engine_secret],
)
class Engine:
    """vLLM: started and put to sleep before the snapshot, woken and proved after each restore."""

    @modal.enter(snap=True)
    def boot(self) -> None:
        """Start; with a snapshot to come, go to sleep."""
        from modal_deploy.vllm_server import Server

        self.server = Server(CONFIG, _plain(load_settings().engine_key), WEIGHTS_DIR)
        self.server.start()
        if CONFIG.engine.snapshot:
            self.server.sleep()

    @modal.enter(snap=False)
    def wake(self) -> None:
        """Wake up; a model that woke up wrong is started anew."""
        if CONFIG.engine.snapshot:
            self.server.wake()

    @modal.exit()
    def stop(self) -> None:
        """End vLLM."""
        self.server.stop()


@app.function(
    image=gateway_image(),
    cpu=CONFIG.gateway.cores,
    memory=CONFIG.gateway.memory_mib,
    min_containers=0,
    max_containers=CONFIG.gateway.max_containers,
    scaledown_window=CONFIG.gateway.idle_s,
    timeout=CONFIG.gateway.timeout_s,
    volumes={WEIGHTS_DIR: weights.with_mount_options(read_only=True), LEDGER_DIR: ledger},
    secrets=[gateway_secret, engine_secret],
)
@modal.concurrent(max_inputs=CONFIG.gateway.max_inputs)
@modal.asgi_app(requires_proxy_auth=True)
def gateway() -> "FastAPI":
    """Everything that needs no GPU."""
    from pathlib import Path

    from modal_deploy.gateway import Keys, build_gateway

    told = load_settings()
    keys = Keys(
        engine_url=told.engine_url or "",
        engine_key=_plain(told.engine_key),
        proxy_key=_plain(told.engine_proxy_key),
        proxy_secret=_plain(told.engine_proxy_secret),
        page_secret=_plain(told.premium_secret),
        ledger_url=told.ledger_url,
        metrics_token=_plain(told.metrics_token) or None,
    )
    return build_gateway(CONFIG, keys, Path(WEIGHTS_DIR), Path(LEDGER_DIR), kept=ledger.commit)


def _plain(secret: "SecretStr | None") -> str:
    return secret.get_secret_value() if secret else ""
