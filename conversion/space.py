"""Prepares the folder to upload as a Hugging Face Space. Knows which files run there; knows no network.

A Space gives the installation of its requirements less time than compiling llama.cpp takes, so they name a wheel that
was built here and is published beside the model on the Hub, by address and hash.
"""

import hashlib
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from errors import ConversionError

HUB = "https://huggingface.co"
RUNTIME = (
    "app.py", "cli.py", "errors.py", "roles.py", "settings.py", "config.yaml", "README.md", "LICENSE", "ui", "service",
    "tiers", "dialogue", "personas", "engines", "retrieval", "conversion", "data/notes", "data/safety", "models/demo",
    "models/embedder", "QUICKSTART.md", "USAGE.md", "docs",
)  # fmt: skip
DEBIAN_PACKAGES = "libgomp1\n"  # llama.cpp's threads
REPO = re.compile(r"[\w.-]+/[\w.-]+")


def requirements_with_wheel(requirements: str, wheel: Path, hub_repo: str) -> str:
    """Return `requirements` with its llama-cpp-python line naming `wheel` as published in `hub_repo`.

    Raises:
        ConversionError: There is no such line, or it pins another version than the wheel's.
    """
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    version = wheel.name.split("-")[1]
    line = f"llama-cpp-python=={version}\n"
    if line not in requirements:
        raise ConversionError(f"{wheel.name} is not the version that requirements.txt pins; run `make wheel` again.")
    address = f"{HUB}/{hub_repo}/resolve/main/{wheel.name}"
    return requirements.replace(line, f"llama-cpp-python @ {address}#sha256={digest}\n")


def prepare_space(root: Path, wheel: Path, hub_repo: str, out: Path) -> list[Path]:
    """Write the Space's folder and return its files.

    Args:
        root: The project.
        wheel: The portable llama-cpp-python wheel of `make wheel`.
        hub_repo: `owner/name` of the model repository that holds the wheel.
        out: Folder to make; it must not exist.

    Raises:
        ConversionError: `out` exists, the wheel or a file of the project is missing, or the repository has no owner.
    """
    if out.exists():
        raise ConversionError(f"{out} exists and is never overwritten; move it, or pass another --out.")
    if not REPO.fullmatch(hub_repo):
        raise ConversionError(f"The Hub repository is {hub_repo!r}; expected owner/name.")
    if not wheel.is_file():
        raise ConversionError(f"{wheel} is missing; build it with `make wheel`.")
    requirements = requirements_with_wheel((root / "requirements.txt").read_text(encoding="utf-8"), wheel, hub_repo)
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for name in RUNTIME:
        _copy(root / name, partial / name)
    (partial / "requirements.txt").write_text(requirements, encoding="utf-8")
    (partial / "packages.txt").write_text(DEBIAN_PACKAGES, encoding="utf-8")
    partial.rename(out)
    return sorted(path for path in out.rglob("*") if path.is_file())


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=_not_tracked)
    elif source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
    else:
        raise ConversionError(f"{source} is missing; a Space needs it.")


def _not_tracked(_folder: str, names: Iterable[str]) -> set[str]:
    return {name for name in names if name == "__pycache__" or name.endswith((".partial", ".pyc"))}
