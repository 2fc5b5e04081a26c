"""What the containers are made of: packages at their pins, our own rooms, the data they read. Knows Modal's images.

Pins are those of requirements.txt, stated once. The code is added last and is not part of a layer, so that a change of
ours rebuilds nothing.
"""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

import modal

from errors import SettingsError
from modal_deploy.config import Config

ROOT = Path(__file__).parents[1]  # in a container, /root
PYTHON = "3.11"  # the project's
VLLM_PYTHON = "3.12"
CUDA = "nvidia/cuda:12.9.1-devel-ubuntu22.04"  # with the compiler that vLLM's kernels are built by at the first start

SETTINGS_PACKAGES = ("pydantic", "pydantic-settings")
GATEWAY_PACKAGES = (
    *SETTINGS_PACKAGES, "fastapi", "starlette", "httpx", "httpx-sse", "numpy", "bm25s", "PyStemmer", "simplemma",
    "rapidfuzz", "SQLAlchemy", "PyJWT", "prometheus-client", "gguf", "huggingface_hub", "llama-cpp-python",
)  # fmt: skip
MORE_PACKAGES = ("psycopg[binary]==3.3.9",)  # pyproject.toml's, for a ledger that several containers share
# llama.cpp is compiled on one machine of Modal's and runs on another: nothing newer than AVX2 may be assumed.
PORTABLE = (
    "-DGGML_NATIVE=OFF -DGGML_SSE42=ON -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON "
    "-DLLAVA_BUILD=OFF"
)
TORCH_BACKEND = "cu129"  # which build of torch uv takes; the index's own may be for a CPU
CODE = ("errors", "settings", "modal_deploy")  # what every container imports
ROOMS = ("service", "tiers", "retrieval", "dialogue", "personas", "engines")
DATA = ("data/notes", "data/safety")
UNWANTED = ["**/__pycache__/**", "**/*.pyc", "**/.*"]


def pinned(names: Iterable[str], requirements: Path = ROOT / "requirements.txt") -> list[str]:
    """Return packages with the pins of requirements.txt.

    Raises:
        SettingsError: One of them is not there.
    """
    text = requirements.read_text(encoding="utf-8")
    lines = dict(re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?(==\S+)", text, re.M))
    missing = [name for name in names if name not in lines]
    if missing:
        raise SettingsError(f"{requirements.name} has no pin for {', '.join(missing)}.")
    return [name + lines[name] for name in names]


def gateway_image() -> modal.Image:
    """Return the gateway's image: our rooms, the notes, and llama.cpp for the embedder."""
    image = (
        modal.Image.debian_slim(python_version=PYTHON)
        .apt_install("g++", "cmake", "make")
        .env({"CMAKE_ARGS": PORTABLE, "OMP_NUM_THREADS": "1"})
        .uv_pip_install(*pinned(GATEWAY_PACKAGES), *MORE_PACKAGES)
    )
    image = _with_code(image, *ROOMS)
    for folder in DATA:
        image = image.add_local_dir(ROOT / folder, f"/root/{folder}", ignore=UNWANTED)
    return image


def engine_image(config: Config) -> modal.Image:
    """Return the engine's image: vLLM alone, offline, with the routes that put it to sleep."""
    image = (
        modal.Image.from_registry(CUDA, add_python=VLLM_PYTHON)
        .entrypoint([])
        .uv_pip_install(f"vllm=={config.engine.vllm}", *pinned(SETTINGS_PACKAGES))
        .env(
            {
                "HF_HUB_OFFLINE": "1",
                "VLLM_SERVER_DEV_MODE": "1",  # /sleep and /wake_up
                "VLLM_NO_USAGE_STATS": "1",
                "DO_NOT_TRACK": "1",
                "TORCHINDUCTOR_COMPILE_THREADS": "1",  # a pool of workers does not survive a snapshot
            }
        )
    )
    return _with_code(image)


def download_image() -> modal.Image:
    """Return the image that fills the Volume."""
    image = modal.Image.debian_slim(python_version=PYTHON)
    return _with_code(image.uv_pip_install(*pinned((*SETTINGS_PACKAGES, "huggingface_hub"))))


def training_image() -> modal.Image:
    """Return the image that trains: pyproject.toml's extra `train`, torch for a GPU."""
    image = modal.Image.debian_slim(python_version=PYTHON).uv_pip_install(
        *extra_pins("convert", "train"), *pinned(("pydantic", "pydantic-settings", "huggingface_hub", "numpy")),
        extra_options=f"--torch-backend={TORCH_BACKEND}",
    )  # fmt: skip
    image = image.env({"HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"})
    return _with_code(image, "training").add_local_file(ROOT / "pyproject.toml", "/root/pyproject.toml")


def extra_pins(*names: str) -> list[str]:
    """Return the packages of pyproject.toml's extras, the project's own name left out."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    return [line for name in names for line in extras[name] if not line.startswith(project["name"])]


def _with_code(image: modal.Image, *rooms: str) -> modal.Image:
    """Add the code that the container runs, settings and requirements of the deployment included."""
    return image.add_local_python_source(*CODE, *rooms, ignore=UNWANTED).add_local_file(
        ROOT / "requirements.txt", "/root/requirements.txt"
    )
