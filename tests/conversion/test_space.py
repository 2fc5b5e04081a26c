"""The folder of a Space: complete enough to start, its requirements naming the published wheel."""

import hashlib
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from conversion.space import prepare_space
from errors import ConversionError

ROOT = Path(__file__).parents[2]
PIN = next(line for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines() if "llama-cpp" in line)
VERSION = PIN.split("==")[1]


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A file with a wheel's name: its bytes are only hashed."""
    path = tmp_path / f"llama_cpp_python-{VERSION}-py3-none-linux_x86_64.whl"
    path.write_bytes(b"PK wheel")
    return path


def test_the_requirements_name_the_published_wheel_by_hash(wheel: Path, tmp_path: Path) -> None:
    out = tmp_path / "space"
    prepare_space(ROOT, wheel, "owner/models", out)
    lines = (out / "requirements.txt").read_text(encoding="utf-8").splitlines()
    digest = hashlib.sha256(b"PK wheel").hexdigest()
    address = f"https://huggingface.co/owner/models/resolve/main/{wheel.name}"
    assert f"llama-cpp-python @ {address}#sha256={digest}" in lines
    assert PIN not in lines
    assert [line for line in lines if line.startswith("torch")] == []
    assert (out / "packages.txt").read_text(encoding="utf-8") == "libgomp1\n"


def installed_by(requirements: Path) -> set[str]:
    """Names of the distributions that an installation of these requirements brings, theirs included."""
    lines = requirements.read_text(encoding="utf-8").splitlines()
    wanted = [Requirement(line) for line in lines if line and not line.startswith("#")]
    seen: set[tuple[str, frozenset[str]]] = set()
    while wanted:
        one = wanted.pop()
        key = (canonicalize_name(one.name), frozenset(one.extras))
        if key in seen:
            continue
        seen.add(key)
        for line in requires(one.name) or []:
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in (*one.extras, "")):
                wanted.append(needed)
    return {name for name, _ in seen}


def test_the_space_imports_what_it_starts_with(wheel: Path, tmp_path: Path) -> None:
    """Run in the prepared folder alone, with its requirements alone: a room or a pin that was forgotten is missed."""
    out = tmp_path / "space"
    files = prepare_space(ROOT, wheel, "owner/models", out)
    assert not [path for path in files if "__pycache__" in path.parts]
    there = installed_by(ROOT / "requirements.txt")
    absent = {
        module: None  # what makes its import fail as if it were not installed
        for module, owners in packages_distributions().items()
        if not there & set(map(canonicalize_name, owners))
    }
    rooms = "app, conversion.__main__, conversion.assemble, conversion.demo, tiers.free, ui.page, service.openai_api"
    path = f"import sys; sys.path.insert(0, '.'); sys.modules.update({absent})"
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"{path}; import {rooms}; print(app.__file__)"],
        cwd=out, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert str(out) in done.stdout


def test_the_pins_agree_with_what_the_builder_adds() -> None:
    """A Space's builder installs Gradio's own extras `oauth` and `mcp` beside the requirements, in one call of pip."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = {one.name: one for one in map(Requirement, (line.partition("#")[0] for line in lines if "==" in line))}
    added = [Requirement(line) for line in requires("gradio") or []]
    of_extras = [
        one for one in added if one.marker and any(one.marker.evaluate({"extra": e}) for e in ("oauth", "mcp"))
    ]
    assert {"mcp", "pydantic", "authlib"} <= {one.name for one in of_extras}
    for one in of_extras:
        for pin in pins[one.name].specifier if one.name in pins else ():
            assert pin.version in one.specifier, f"{one.name}=={pin.version}, and Gradio's extra wants {one.specifier}"
    front = (ROOT / "README.md").read_text(encoding="utf-8").split("---")[1]
    assert f"sdk_version: {next(iter(pins['gradio'].specifier)).version}\n" in front


def test_a_space_is_never_overwritten(wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "space").mkdir()
    with pytest.raises(ConversionError, match="never overwritten"):
        prepare_space(ROOT, wheel, "owner/models", tmp_path / "space")


@pytest.mark.parametrize("repo", ["models", "owner/", "https://hub/owner/name", ""])
def test_a_repository_needs_its_owner(wheel: Path, tmp_path: Path, repo: str) -> None:
    with pytest.raises(ConversionError, match="owner/name"):
        prepare_space(ROOT, wheel, repo, tmp_path / "space")


def test_a_missing_wheel_and_another_version_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="make wheel"):
        prepare_space(ROOT, tmp_path / "none.whl", "owner/models", tmp_path / "space")
    other = tmp_path / "llama_cpp_python-0.0.1-py3-none-linux_x86_64.whl"
    other.write_bytes(b"")
    with pytest.raises(ConversionError, match="not the version"):
        prepare_space(ROOT, other, "owner/models", tmp_path / "space")
    assert not (tmp_path / "space").exists()
