"""The house: who imports whom, where the environment is read, what is pinned, what the README names."""

import ast
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from errors import SettingsError
from settings import Settings, load_settings

ROOT = Path(__file__).parents[1]
# ARCHITECTURE: the rooms and what each may import. `errors` may be imported by any room, `cli` and `roles` by a
# room's entry.
MAY_IMPORT = {
    "app": "ui service tiers settings roles",
    "cli": "",
    "errors": "",
    "roles": "",
    "settings": "",
    "ui": "dialogue personas tiers",
    "service": "dialogue personas tiers",
    "tiers": "engines dialogue personas retrieval",
    "dialogue": "personas",
    "personas": "",
    "engines": "",
    "retrieval": "engines",
    "modal_deploy": "service tiers retrieval dialogue personas engines training",
    "conversion": "engines",
    "training": "",
    "corpus": "dialogue personas engines",
    "evaluation": "engines dialogue personas retrieval",
}
ENTRIES = {"app.py", "modal_deploy/app.py"}


def python_files() -> list[Path]:
    return [path for room in MAY_IMPORT for path in [*ROOT.glob(f"{room}.py"), *(ROOT / room).rglob("*.py")]]


def imported(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_are_those_of_the_table(path: Path) -> None:
    """A room imports only what the table allows; entries may read the settings too."""
    name = str(path.relative_to(ROOT))
    room = name.split("/")[0].removesuffix(".py")
    allowed = {room, "errors", *MAY_IMPORT[room].split()}
    if name in ENTRIES or path.name == "__main__.py":
        allowed |= {"settings", "cli", "roles"}
    rooms = imported(ast.parse(path.read_text(encoding="utf-8"))) & set(MAY_IMPORT)
    assert rooms <= allowed, f"{name} imports {sorted(rooms - allowed)}"


def test_only_settings_reads_the_environment() -> None:
    """A value read elsewhere would be missing from the README and from the types.

    What a program that we start inherits, and what a library reads at its import, is set by name and is no reading.
    """
    reading = re.compile(r"os\.getenv|os\.environ\.get|environ\[[^\]]+\](?!\s*=[^=])")
    found = [str(p.relative_to(ROOT)) for p in python_files() if reading.search(p.read_text(encoding="utf-8"))]
    assert found == []


def test_every_setting_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in Settings.model_fields if f"`BAF_{name.upper()}`" not in readme] == []


def test_every_room_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rooms = {p.parent.name for p in ROOT.glob("*/__init__.py")}
    assert [room for room in sorted(rooms) if f"{room}/" not in readme] == []


def test_every_direct_dependency_is_pinned_exactly() -> None:
    runtime = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    lines = [line for line in runtime if line and not line.startswith("#")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extra in project["optional-dependencies"].values():
        lines += [line for line in extra if not line.startswith("bergson-and-friends[")]
    assert [line for line in lines if not re.fullmatch(r"[\w.\[\]-]+==[\w.]+", line)] == []


def test_the_space_installs_no_torch() -> None:
    assert "torch" not in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()


def test_tracked_files_stay_small() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    sizes = {
        name: (ROOT / name).stat().st_size for name in listed.stdout.split("\0") if name and (ROOT / name).exists()
    }
    assert {name: size for name, size in sizes.items() if size > 16_000_000} == {}
    assert sum(sizes.values()) < 30_000_000


def test_every_line_of_make_help_is_a_target() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", text, re.M)
    assert phony
    targets = set(re.findall(r"^([a-z-]+):", text, re.M))
    assert set(phony.group(1).split()) <= targets


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"free_model": "hf:owner/file.gguf"}, "expected hf:owner/repo/file.gguf"),
        ({"free_model": "hf:owner/repo/weights.bin"}, "expected hf:owner/repo/file.gguf"),
        ({"port": 0}, "BAF_PORT"),
        ({"queue_size": -1}, "BAF_QUEUE_SIZE"),
        ({"trusted_proxies": "the school"}, "BAF_TRUSTED_PROXIES"),
    ],
)
def test_a_wrong_setting_is_named(given: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load_settings(**given)


def test_tests_that_share_fixtures_share_a_worker(request: pytest.FixtureRequest) -> None:
    """`--dist loadgroup` keeps a group together only where xdist has seen the marks; it then says so in the name."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        pytest.skip("Only `make test` has several workers.")
    assert request.node.nodeid.endswith("@tests/test_house.py")
