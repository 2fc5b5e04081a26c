"""The whole way in one command: killed in every step it goes on, and nothing half-made ever has a final name."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cli import run_commands
from conversion.__main__ import app
from conversion.build import KITCHEN, ROOT, Card, Recipe, build, steps
from conversion.container import read_container
from conversion.report import read_report
from conversion.tensors import read_checkpoint
from errors import ConversionError, SourceError
from settings import load_settings
from tests.conversion.families import held_out, mistral_spm, train_adapter

pytestmark = [pytest.mark.smoke, pytest.mark.filterwarnings("default"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    folder = tmp_path_factory.mktemp("inputs")
    base = mistral_spm(folder / "base")
    return base, train_adapter(base, folder / "adapter"), held_out(folder / "held.jsonl")


def command(inputs: tuple[Path, Path, Path], out: Path) -> list[str]:
    base, adapter, texts = inputs
    made = [sys.executable, "-m", "conversion", "build", "--base", base, "--adapter", adapter, "--out", out, "--json"]
    return [*map(str, made), "--held-out", str(texts), "--type", "Q8_0", "--name", "tiny"]


def whole(out: Path) -> set[str]:
    """Names of what is there under a final name, each proved to be whole."""
    found = set()
    for path in out.iterdir():
        if path.name.startswith(".") or path.name.endswith(".partial"):
            continue
        if path.suffix == ".gguf":
            read_container(path)
        elif path.name == "merged":
            read_checkpoint(path)
            assert (path / "tokenizer.json").is_file()
        elif path.name == "verify.json":
            read_report(path)
        found.add(path.name)
    return found


def run_until(inputs: tuple[Path, Path, Path], out: Path, step: str, sent: int) -> int:
    """Build, and send a signal as soon as a step has begun."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def hear_ctrl_c() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # tests started in the background inherit a deaf ear

    with subprocess.Popen(
        command(inputs, out), stdout=subprocess.PIPE, text=True, env=environment, preexec_fn=hear_ctrl_c
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line) == {"step": step, "progress": 0.0}:
                time.sleep(0.5)
                process.send_signal(sent)
                break
        process.stdout.read()
    return process.returncode


@pytest.mark.proof
def test_broken_off_in_every_step_it_goes_on(inputs: tuple[Path, Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "built"
    sequence = [("merge", signal.SIGKILL), ("gguf", signal.SIGINT), ("quantize Q8_0", signal.SIGKILL),
                ("verify", signal.SIGINT)]  # fmt: skip
    finished: set[str] = set()
    for step, sent in sequence:
        assert run_until(inputs, out, step, sent) != 0
        now = whole(out)
        assert finished <= now
        finished = now
    base, adapter, texts = (path.resolve() for path in inputs)
    recipe = Recipe(base, adapter, out, "tiny", (texts,), schemes=("Q8_0",))
    data = load_settings().data_dir.resolve()
    done = build(recipe, data_dir=data)
    assert done.passed
    assert "merge" in done.kept
    assert whole(out) == {"merged", "tiny-BF16.gguf", "tiny-Q8_0.gguf", "verify.json", "verify.md", "verify.png"}
    assert not [path.name for path in out.iterdir() if path.name.startswith(".") and path.name != KITCHEN]
    again = build(recipe, data_dir=data)
    assert (again.ran, len(again.kept)) == ({}, len(steps(recipe, data)))
    _changed_files_are_made_again(recipe, data)


def _changed_files_are_made_again(recipe: Recipe, data: Path) -> None:
    """A file that is not as its step left it is no finished step; what it was made from is kept."""
    with recipe.gguf("Q8_0").open("r+b") as file:
        file.seek(-10, os.SEEK_END)
        file.write(b"0123456789")
    done = build(recipe, data_dir=data)
    assert set(done.ran) == {"quantize Q8_0"}  # the same bytes again, so what was verified still holds
    assert done.passed


@pytest.mark.proof
def test_a_failed_gate_is_no_success(inputs: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """The report is there, the exit status says no; the second call says the same without measuring again."""
    base, adapter, texts = inputs
    damaged = Path(shutil.copytree(base, tmp_path / "base"))
    template = (damaged / "chat_template.jinja").read_text(encoding="utf-8")
    (damaged / "chat_template.jinja").write_text("{{ bos_token }}" + template, encoding="utf-8")
    out = tmp_path / "built"
    for _ in range(2):
        done = subprocess.run(
            command((damaged, adapter, texts), out), capture_output=True, text=True, check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 1, done.stderr
        assert "verify.md says which" in done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["ran"] == {}
    assert read_report(out / "verify.json").gate("template BF16").verdict == "fail"


def recipe_for(inputs: tuple[Path, Path, Path], out: Path, **more: Any) -> Recipe:
    base, adapter, texts = inputs
    return Recipe(base, adapter, out, "tiny", (texts,), **more)


def test_a_folder_of_somebody_else_is_left_alone(inputs: tuple[Path, Path, Path], tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConversionError, match="no build made"):
        build(recipe_for(inputs, tmp_path), data_dir=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_disk_without_room_is_found_before_the_first_step(
    inputs: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil._ntuple_diskusage(10**9, 10**9, 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)  # the standard library's, not ours
    with pytest.raises(SourceError, match="MB are needed"):
        build(recipe_for(inputs, tmp_path / "built"), data_dir=tmp_path)
    assert whole(tmp_path / "built") == set()


def test_two_builds_in_one_folder(inputs: tuple[Path, Path, Path], tmp_path: Path) -> None:
    from conversion.lock import one_at_a_time

    out = tmp_path / "built"
    (out / KITCHEN).mkdir(parents=True)
    with one_at_a_time(out / KITCHEN / "lock", wait_s=1), pytest.raises(ConversionError, match="Another process"):
        build(recipe_for(inputs, out), data_dir=tmp_path)


def test_a_step_that_fails_says_why(inputs: tuple[Path, Path, Path], tmp_path: Path) -> None:
    base, _, texts = inputs
    shallow = tmp_path / "adapter"
    shutil.copytree(inputs[1], shallow)
    (shallow / "adapter_model.safetensors").write_bytes(b"short")
    with pytest.raises(ConversionError, match="no whole safetensors"):
        build(recipe_for((base, shallow, texts), tmp_path / "built"), data_dir=tmp_path)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"schemes": ("BF16", "Q8_0")}, "none twice"),
        ({"schemes": ("Q8_0", "Q8_0")}, "none twice"),
        ({"schemes": ("q4_k_m",)}, "Did you mean 'Q4_K_M'"),
        ({"also": ("Q9",)}, "No scheme 'Q9'"),
        ({"held_out": (Path("none.jsonl"),)}, r"none\.jsonl is missing"),
        ({"calibration": (Path("none.txt"),)}, r"none\.txt is missing"),
        ({"card": Card("o/name", "o/base", "mit", Path("none.json"))}, r"none\.json is missing"),
        ({"out": Path(__file__)}, "is a file"),
    ],
)
def test_what_a_later_step_would_refuse_is_refused_at_once(more: dict[str, Any], said: str, tmp_path: Path) -> None:
    given = {"out": tmp_path / "built", "held_out": (held_out(tmp_path / "held.jsonl"),), **more}
    with pytest.raises(ConversionError, match=said):
        build(Recipe(tmp_path, tmp_path, name="tiny", **given), data_dir=tmp_path)
    assert not (tmp_path / "built").exists()
    with pytest.raises(ConversionError, match="expected owner/name"):
        Card("name", "o/base", "mit")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("build --base . --adapter . --out built --held-out h.jsonl --repo o/name", "pass --base-name"),
        ("verify --merged . --gguf a.gguf --held-out h.jsonl --out report.md", "must end in .json"),
        ("verify --merged . --gguf a.gguf --held-out h.jsonl --out report.json", "report.md exists"),
    ],
)
def test_options_that_would_write_over_something_or_say_nonsense(
    words: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("report.md").touch()
    with pytest.raises(SystemExit):
        run_commands(app, arguments=words.split())
    assert said in capsys.readouterr().err


def test_a_card_that_somebody_wrote_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "built"
    (out / KITCHEN).mkdir(parents=True)
    (out / "README.md").write_text("mine", encoding="utf-8")
    texts, card = held_out(tmp_path / "held.jsonl"), Card("o/name", "o/base", "mit")
    with pytest.raises(ConversionError, match="is not as the build left it"):
        build(Recipe(tmp_path, tmp_path, out, "tiny", (texts,), card=card), data_dir=tmp_path)
    assert (out / "README.md").read_text(encoding="utf-8") == "mine"


def test_a_verdict_is_one_of_todays_gates(tmp_path: Path) -> None:
    inputs = {step.name: step.inputs for step in steps(Recipe(tmp_path, tmp_path, tmp_path, "x", ()), tmp_path)}
    for path in ("conversion/gates/speech.py", "engines/prompt.py", "personas/kant.toml"):
        assert ROOT / path in inputs["verify"]
