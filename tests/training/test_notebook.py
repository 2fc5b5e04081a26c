"""The notebook runs from top to bottom on a small base; it calls the commands that a terminal would."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat.v4
import pytest
from nbclient import NotebookClient

from tests.conversion.families import mistral_spm
from training.curves import draw_losses

pytestmark = [pytest.mark.smoke, pytest.mark.filterwarnings("default")]
ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "train_mistral_7b_lora.ipynb"


def cell(name: str) -> str:
    notebook: Any = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    return next(str(one.source) for one in notebook.cells if one.id == name)


def test_it_runs_from_top_to_bottom(tmp_path: Path) -> None:
    notebook: Any = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    place = next(n for n, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    data = str(ROOT / "data" / "schemes_levelA_base.jsonl")
    options = ["--base-model", str(mistral_spm(tmp_path / "base")), "--train-file", data, "--eval-file", data]
    options += ["--max-steps", "2", "--threads", "1"]
    small = f"FORM = 'smoke'\nOUTPUT = {str(tmp_path / 'out')!r}\nOPTIONS = {options!r}\n"
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(small))  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    said = json.dumps([cell.get("outputs", []) for cell in notebook.cells], ensure_ascii=False)
    assert "2 steps over" in said
    assert "⟦" in said
    assert "A trial, limited to" in said
    assert "image/png" in said
    assert (tmp_path / "out" / "training_summary.json").is_file()


def test_it_is_kept_without_outputs() -> None:
    """What a run said is no part of the file: it would name somebody's machine."""
    notebook: Any = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)


def test_outside_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError, match="into REPOSITORY"):
        exec(cell("install"), {"REPOSITORY": ""})  # noqa: S102
    assert '"--python", "3.11"' in cell("install")


def test_what_was_trained_on_judges_nothing(tmp_path: Path) -> None:
    (tmp_path / "rows").write_text('{"split": "train"}\n\n{"split": "test"}\n', encoding="utf-8")
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "chat_template.jinja").touch()
    recipe = {"base_model": str(tmp_path), "eval_file": [str(tmp_path / "rows")], "eval_split": "test"}
    names: dict[str, Any] = {"RECIPE": "", "FORM": None, "OPTIONS": [], "OUTPUT": str(tmp_path), "BUILD": True}
    exec(cell("install"), names)  # noqa: S102  in a checkout, which needs no REPOSITORY
    names |= {"PYTHON": "true", "json": json, "summary": {"recipe": recipe, "quantization": "bf16"}}
    exec(cell("build"), names)  # noqa: S102
    assert (tmp_path / "held_out.jsonl").read_text(encoding="utf-8") == '{"split": "test"}'


def test_a_trial_of_too_few_steps_to_tell_a_loss_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = {"smoke": False, "train": [], "eval": [{"step": 1, "loss": 2.0}], "trainable_share": 0.1, "adapter_bytes": 1,
            "seconds_in_steps": 1.0, "tokens_per_s": 1.0}  # fmt: skip
    (tmp_path / "training_summary.json").write_text(json.dumps(said), encoding="utf-8")
    draw_losses([], [{"step": 1, "loss": 2.0}], tmp_path / "loss.png", "trial")
    exec(cell("summary"), {"done": tmp_path / "training_summary.json", "OUTPUT": tmp_path, "Path": Path})  # noqa: S102
    assert "training loss –, held-out loss 2.000" in capsys.readouterr().out


def test_an_interrupted_command_is_heard_to_its_end() -> None:
    hears = "import signal, sys, time; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    child = "try: print('ready', flush=True); time.sleep(30)\nexcept KeyboardInterrupt: time.sleep(0.5); print('saved')"
    program = cell("install").partition("\nfolder = ")[0] + f"\n{hears}run(sys.executable, '-c', {hears + child!r})"
    given: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "start_new_session": True}
    with subprocess.Popen([sys.executable, "-u", "-c", program], text=True, **given) as process:
        out: Any = process.stdout
        assert out.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGINT)
        said = out.read()
    assert said.startswith("saved\n")
    assert said.endswith("KeyboardInterrupt\n")
