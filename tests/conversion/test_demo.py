"""The assembly: right or refused, at once the second time, one at a time, and never half-made under a final name."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from conversion.container import read_container
from conversion.demo import (
    DEMO_FILE,
    TOLERANCE,
    Parts,
    assemble_demo,
    fingerprint_distance,
    read_manifest,
    take_fingerprint,
    write_manifest,
)
from conversion.lock import one_at_a_time
from conversion.vocabulary import write_kept
from errors import ConversionError
from tests.conversion.tiny import CLOSED, Source, write_adapter

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def made_models(
    tiny: Source, tiny_kept: list[int], tiny_adapter: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A `models/demo` of the miniature base, manifest included."""
    folder = tmp_path_factory.mktemp("models")
    write_kept(folder / "kept_pieces.txt.xz", tiny_kept, ["test"])
    shutil.copytree(tiny_adapter, folder / "adapter")
    write_manifest(folder, tmp_path_factory.mktemp("maker"), base_path=tiny.path, base=tiny.base)
    return folder


@pytest.fixture
def models(made_models: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made_models, tmp_path / "models")


def edit_manifest(models: Path, **changes: object) -> None:
    path = Parts(models).manifest
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def test_it_is_assembled_once_and_found_afterwards(tiny: Source, models: Path, tmp_path: Path) -> None:
    data, steps = tmp_path / "data", []
    out = assemble_demo(models, data, base_path=tiny.path, base=tiny.base, report=lambda step, _: steps.append(step))
    assert out == data / "models" / DEMO_FILE
    assert list(dict.fromkeys(steps)) == ["downloading", "assembling", "checking"]
    assert read_container(out).value("general.file_type") == 7
    assert sorted(item.name for item in out.parent.iterdir()) == [
        ".demo.lock",
        DEMO_FILE,
        DEMO_FILE.replace(".gguf", ".stamp"),
    ]
    before = out.stat().st_mtime_ns
    steps.clear()
    assert (
        assemble_demo(models, data, base=tiny.base, endpoint=CLOSED, report=lambda step, _: steps.append(step)) == out
    )
    assert (steps, out.stat().st_mtime_ns) == ([], before)


def test_it_downloads_its_base(tiny: Source, models: Path, index: Path, tmp_path: Path) -> None:
    assert assemble_demo(models, tmp_path / "data", base=tiny.base, endpoint=CLOSED).exists()


def test_a_truncated_model_is_made_again(tiny: Source, models: Path, tmp_path: Path) -> None:
    out = assemble_demo(models, tmp_path, base_path=tiny.path, base=tiny.base)
    whole = out.read_bytes()
    out.write_bytes(whole[:1000])
    assert assemble_demo(models, tmp_path, base_path=tiny.path, base=tiny.base).read_bytes() == whole


def test_a_new_manifest_replaces_the_model(tiny: Source, tiny_kept: list[int], models: Path, tmp_path: Path) -> None:
    old = assemble_demo(models, tmp_path, base_path=tiny.path, base=tiny.base).read_bytes()
    write_kept(Parts(models).kept, tiny_kept[:-1], ["one letter less"])
    with pytest.raises(ConversionError, match="kept_sha256"):
        assemble_demo(models, tmp_path / "other", base_path=tiny.path, base=tiny.base)
    write_manifest(models, tmp_path, base_path=tiny.path, base=tiny.base)
    new = assemble_demo(models, tmp_path, base_path=tiny.path, base=tiny.base)
    assert new.read_bytes() != old


def test_another_hash_with_the_same_logits_is_accepted(tiny: Source, models: Path, tmp_path: Path) -> None:
    edit_manifest(models, gguf_sha256="0" * 64)
    assert assemble_demo(models, tmp_path, base_path=tiny.path, base=tiny.base).exists()


def test_another_hash_with_other_logits_is_refused(tiny: Source, models: Path, tmp_path: Path) -> None:
    marks = json.loads(Parts(models).manifest.read_text(encoding="utf-8"))["fingerprint"]
    marks["logits"][0] += 3.0
    edit_manifest(models, gguf_sha256="0" * 64, fingerprint=marks)
    with pytest.raises(ConversionError, match="its logits differ by 3"):
        assemble_demo(models, tmp_path, base_path=tiny.path, base=tiny.base)
    assert not (tmp_path / "models" / DEMO_FILE).exists()
    assert not (tmp_path / "models" / ".assembling").exists()


def test_the_fingerprint_tells_the_adapter(tiny: Source, models: Path, tmp_path: Path) -> None:
    out = assemble_demo(models, tmp_path, base_path=tiny.path, base=tiny.base)
    marks = take_fingerprint(out)
    assert marks == read_manifest(Parts(models).manifest).fingerprint
    assert marks.prompt_ids[:2] == (2, 4)
    assert fingerprint_distance(out, marks) < 0.01
    shutil.rmtree(models / "adapter")
    write_adapter(models / "adapter", scale=0.01)
    write_manifest(models, tmp_path, base_path=tiny.path, base=tiny.base)
    plain = assemble_demo(models, tmp_path, base_path=tiny.path, base=tiny.base)
    assert fingerprint_distance(plain, marks) > TOLERANCE
    assert fingerprint_distance(plain, replace(marks, top_ids=(10**6,), logits=(0.0,))) == float("inf")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda models: (models / "manifest.json").unlink(), "python -m conversion manifest"),
        (lambda models: (models / "manifest.json").write_text("{", encoding="utf-8"), "is no manifest"),
        (lambda models: (models / "manifest.json").write_text("[]", encoding="utf-8"), "is no manifest"),
        (lambda models: edit_manifest(models, extra=1), "is no manifest"),
        (lambda models: shutil.rmtree(models / "adapter"), "Train the adapter"),
        (lambda models: edit_manifest(models, base_sha256="0" * 64), "base_sha256"),
        (lambda models: (models / "kept_pieces.txt.xz").unlink(), "kept_sha256"),
        (
            lambda models: (models / "adapter" / "adapter_config.json").write_text("{}", encoding="utf-8"),
            "adapter_sha256",
        ),
    ],
)
def test_parts_that_do_not_fit_are_named(
    tiny: Source, models: Path, tmp_path: Path, spoil: Callable[[Path], object], said: str
) -> None:
    spoil(models)
    with pytest.raises(ConversionError, match=said):
        assemble_demo(models, tmp_path / "data", base_path=tiny.path, base=tiny.base)
    assert not (tmp_path / "data").exists()


def test_two_at_once_make_it_once(tiny: Source, models: Path, tmp_path: Path) -> None:
    worked: list[str] = []
    made: list[Path] = []

    def one(name: str) -> None:
        def report(step: str, _: float) -> None:
            if step == "checking":
                worked.append(name)

        made.append(assemble_demo(models, tmp_path, base_path=tiny.path, base=tiny.base, report=report))

    threads = [threading.Thread(target=one, args=(name,)) for name in ("first", "second")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [tmp_path / "models" / DEMO_FILE] * 2
    assert len(set(worked)) == 1


def test_a_lock_that_is_held_too_long_is_named(tiny: Source, models: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with (
        one_at_a_time(data / "models" / ".demo.lock", wait_s=0),
        pytest.raises(ConversionError, match=r"Another process has held .*\.demo\.lock"),
    ):
        assemble_demo(models, data, base_path=tiny.path, base=tiny.base, wait_s=0.1)


# A process of its own, so that it can really die: it makes the tiny model and reports every step to `act`.
CHILD = """
import os, signal, sys
from pathlib import Path
from conversion.base import Base, sha256_of
from conversion.demo import assemble_demo
path, models, data, when = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
def act(step, done):
    if (step, done >= 0.5) == (when, when != "downloading"):
        os.kill(os.getpid(), signal.SIGKILL)
base = Base("tiny/base", path.name, path.stat().st_size, sha256_of(path), "tiny/none", "1.0.0", ())
print(assemble_demo(models, data, base_path=path, base=base, report=act))
"""


def child(
    tiny: Source, models: Path, tmp_path: Path, when: str, **options: object
) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", CHILD, tiny.path, models, tmp_path / "data", when]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize("when", ["downloading", "assembling", "checking"])
def test_killed_in_the_middle_nothing_half_made_has_the_final_name(
    tiny: Source, models: Path, tmp_path: Path, when: str
) -> None:
    killed = child(tiny, models, tmp_path, when)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not list((tmp_path / "data" / "models").glob("bergson*"))
    again = child(tiny, models, tmp_path, "never")
    assert again.returncode == 0, again.stderr
    assert not (tmp_path / "data" / "models" / ".assembling").exists()


def test_a_disk_that_fills_while_it_is_written(tiny: Source, models: Path, tmp_path: Path) -> None:
    """A limit on file sizes stops the write of the model where a full disk would."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    failed = child(tiny, models, tmp_path, "never", preexec_fn=limited)
    assert failed.returncode == 1
    assert "is full. Free some space" in failed.stderr
    assert not list((tmp_path / "data" / "models").glob("bergson*"))


def run_command(*arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "conversion", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip


def test_the_command_reports_an_error_as_json_and_as_a_line(models: Path, tmp_path: Path) -> None:
    """The miniature parts do not fit the real base, which is seen before anything is downloaded."""
    done = run_command("demo", "--json", "--models-dir", models, "--data-dir", tmp_path / "data")
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert said["error"] == "conversion"
    assert "base_sha256" in said["message"]
    assert done.stderr.startswith("ConversionError: ")
    assert len(done.stderr.splitlines()) == 1


def test_the_command_names_the_sources(models: Path, tmp_path: Path) -> None:
    from conversion.base import GEMMA_3_270M

    edit_manifest(models, base_sha256=GEMMA_3_270M.sha256)
    done = run_command(
        "demo", "--json", "--models-dir", models, "--data-dir", tmp_path / "data",
        HF_ENDPOINT=CLOSED, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path), PIP_CONFIG_FILE="/dev/null",
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[0] == {"step": "downloading", "progress": 0.0}
    assert lines[-1]["error"] == "source_unreachable"
    assert "the Hub: no answer" in lines[-1]["message"]
    assert done.returncode == 1


def test_a_base_that_is_given_and_wrong(models: Path, tiny: Source, tmp_path: Path) -> None:
    from conversion.base import GEMMA_3_270M

    edit_manifest(models, base_sha256=GEMMA_3_270M.sha256)
    done = run_command("demo", "--json", "--models-dir", models, "--data-dir", tmp_path, "--base", tiny.path)
    assert json.loads(done.stdout.splitlines()[-1])["error"] == "source_corrupt"


@pytest.mark.model
def test_the_embedded_model_is_the_one_of_the_manifest() -> None:
    from conversion.base import sha256_of
    from settings import load_settings

    models = ROOT / "models" / "demo"
    path = load_settings().data_dir / "models" / DEMO_FILE
    if not path.exists() or not (models / "manifest.json").exists():
        pytest.skip("the embedded model has not been assembled")
    manifest = read_manifest(models / "manifest.json")
    assert sha256_of(path) == manifest.gguf_sha256 or fingerprint_distance(path, manifest.fingerprint) <= TOLERANCE
