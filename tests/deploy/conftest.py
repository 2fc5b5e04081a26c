"""What the tests share: the house deployed as it stands, a copy that runs here, weights of a few bytes."""

import json
import shutil
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from modal_deploy.config import Config, load_config
from modal_deploy.vllm_server import COMPLETE
from tests.deploy.localmodal import ControlPlane, ControlPlaneServer, Deployment

ROOT = Path(__file__).parents[2]
STUB_BIN = Path(__file__).with_name("stub_bin")
APP = "modal_deploy/app.py"
ENGINE_KEY, PAGE_SECRET = "k" * 40, "p" * 40
SECRETS = {
    "huggingface-secret": {"HF_TOKEN": "hf_local"},
    "bergson-premium-engine": {"BAF_ENGINE_KEY": ENGINE_KEY},
    "bergson-premium-gateway": {
        "BAF_PREMIUM_SECRET": PAGE_SECRET,
        "BAF_ENGINE_URL": "http://127.0.0.1:9",
        "BAF_ENGINE_PROXY_KEY": "wk-engine",
        "BAF_ENGINE_PROXY_SECRET": "ws-engine",
    },
}
ROOMS = (
    "modal_deploy",
    "service",
    "tiers",
    "retrieval",
    "dialogue",
    "personas",
    "engines",
    "data/notes",
    "data/safety",
)
FILES = ("errors.py", "settings.py", "requirements.txt")


@dataclass(frozen=True)
class Deployed:
    """The house, deployed twice as it stands.

    Attributes:
        plane: The control plane that took it.
        said: What the CLI printed.
        ids: Of the functions, at each of the two.
    """

    plane: ControlPlane
    said: str
    ids: tuple[dict[str, str], ...]


@pytest.fixture(scope="session")
def deployed() -> Deployed:
    plane, ids, said = ControlPlane(secrets=SECRETS), [], ""
    with ControlPlaneServer(plane) as server:
        for tag in ("v1", "v2"):
            result = server.modal("deploy", APP, "--tag", tag, cwd=ROOT)
            assert result.returncode == 0, result.stdout + result.stderr
            said = result.stdout
            ids.append(dict(Deployment(plane).request.function_ids))
    return Deployed(plane, said, tuple(ids))


@pytest.fixture(scope="session")
def deployment(deployed: Deployed) -> Deployment:
    return Deployment(deployed.plane)


@pytest.fixture(scope="session")
def config() -> Config:
    return load_config()


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    def find() -> int:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            return int(listener.getsockname()[1])

    return find


def write_safetensors(path: Path, n_bytes: int = 16) -> Path:
    """A safetensors file with one tensor."""
    header = json.dumps({"a": {"dtype": "U8", "shape": [n_bytes], "data_offsets": [0, n_bytes]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\1" * n_bytes)
    return path


def write_checkpoint(folder: Path, *, complete: bool = False) -> Path:
    """A folder that looks like a 4-bit checkpoint."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"quantization_config": {"bits": 4}}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    write_safetensors(folder / "model.safetensors")
    if complete:
        (folder / COMPLETE).write_text("{}")
    return folder


def write_adapter(folder: Path, rank: int = 16, *, complete: bool = False) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank}))
    write_safetensors(folder / "adapter_model.safetensors")
    if complete:
        (folder / COMPLETE).write_text("{}")
    return folder


@dataclass(frozen=True)
class House:
    """A copy of what is deployed, whose Volumes are folders of this machine.

    Attributes:
        root: Of the copy.
        plane: To which it was deployed.
        port: Of the engine.
        volumes: Folder with `weights` and `ledger`.
    """

    root: Path
    plane: ControlPlane
    port: int
    volumes: Path


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int], config: Config) -> House:
    """The same code, deployed from a copy: mount paths and the port are those of this machine, nothing else changes."""
    root, volumes, port = tmp_path_factory.mktemp("house"), tmp_path_factory.mktemp("volumes"), free_port()
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    for room in ROOMS:
        shutil.copytree(ROOT / room, root / room, ignore=ignored)
    for file in FILES:
        shutil.copy(ROOT / file, root / file)
    (volumes / "ledger").mkdir()
    write_checkpoint(volumes / "weights" / config.model.merged.folder, complete=True)
    _edit(root / "modal_deploy/config.py", '"/weights"', f'"{volumes}/weights"')
    _edit(root / APP, '"/ledger"', f'"{volumes}/ledger"')
    _edit(root / "modal_deploy/premium.toml", "port = 8000", f"port = {port}")
    plane = ControlPlane(secrets=SECRETS)
    with ControlPlaneServer(plane) as server:
        result = server.modal("deploy", APP, cwd=root)
    assert result.returncode == 0, result.stdout + result.stderr
    return House(root, plane, port, volumes)


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old} in {path.name}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def noted(home: Path) -> list[dict[str, Any]]:
    """What the stub wrote down, oldest first."""
    path = home / "vllm.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
