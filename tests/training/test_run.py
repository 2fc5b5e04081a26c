"""Runs on a two-layer model: what is left, what is refused, what a stopped run becomes."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from errors import TrainingError
from training.base import Base, save_tokenizer
from training.recipe import Recipe
from training.resume import find_checkpoint
from training.run import prepare, run

# PEFT 0.21 still reads a name that transformers 5 renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated and will be removed in v6:FutureWarning")
ROOT = Path(__file__).parents[2]


def test_a_run_leaves_adapter_summary_and_curve(recipe: Recipe) -> None:
    steps: list[int] = []
    trained = run(recipe, on_step=steps.append)
    assert steps == [1, 2, 3, 4, 5, 6]
    weights = load_file(trained.adapter / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    assert len(weights) == 2 * 2 * 7  # A and B of seven projections in two layers
    assert any(bool(tensor.abs().max() > 0) for name, tensor in weights.items() if "lora_B" in name)
    config = json.loads((trained.adapter / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["r"], config["lora_alpha"], config["base_model_name_or_path"]) == (32, 64, "tiny-base")
    assert sorted(path.name for path in trained.adapter.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    summary = json.loads((recipe.output_dir / "training_summary.json").read_text(encoding="utf-8"))
    assert summary == json.loads(json.dumps(trained.summary))
    assert [row["step"] for row in summary["eval"]] == [3, 6]
    assert summary["best_eval_loss"] == min(row["loss"] for row in summary["eval"])
    assert summary["data"]["train"]["kinds"] == {"dialogue": 4, "exercise": 2, "prose": 2}
    assert summary["tokens_seen"] == 2 * summary["data"]["train"]["tokens"]
    assert summary["data"]["eval"]["trained_on_too"] == 2
    assert summary["smoke"] is False
    assert 0 < summary["trainable_share"] < 1
    assert summary["train"][-1]["loss"] < summary["train"][0]["loss"]
    assert (recipe.output_dir / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert summary["peak_memory"]["machine_bytes"] > 10**8
    assert summary["base"]["name"] == "tiny-base"
    assert summary["estimate"]["steps"] == summary["steps"]
    assert summary["estimate"]["tokens"] == summary["tokens_seen"]
    assert summary["estimate"]["trainable_share"] == pytest.approx(summary["trainable_share"], abs=1e-5)
    card = (recipe.output_dir / "README.md").read_text(encoding="utf-8")
    assert f"{summary['best_eval_loss']:.4f} nats" in card
    assert "smoke" not in card
    assert "| `lora.r` | 32 |" in card
    assert "| 8 and 2 held out, 2 of them trained on too |" in card
    assert {"tokenizers", "sentencepiece", "numpy"} <= set(summary["versions"])
    assert summary["stopped_early"] is False
    assert "early stopping" not in card
    assert "of the last session" not in card
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        saved, own = (folder / name for folder in (recipe.output_dir / "tokenizer", Path(recipe.base_model)))
        assert saved.read_bytes() == own.read_bytes()


def test_limits_are_recorded(recipe: Recipe) -> None:
    summary = run(recipe.model_copy(update={"max_steps": 2, "train_limit": 4, "val_limit": 1})).summary
    assert summary["smoke"] is True
    assert summary["limits"] == {"max_steps": 2, "train_limit": 4, "val_limit": 1}
    assert (summary["steps"], summary["data"]["train"]["examples"], summary["data"]["eval"]["examples"]) == (2, 4, 1)
    assert "A smoke run, no model to use" in (recipe.output_dir / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("eval_steps", [None, 2], ids=["in mid-epoch", "where an evaluation is due"])
def test_a_stopped_run_resumes_to_the_same_end(recipe: Recipe, tmp_path: Path, eval_steps: int | None) -> None:
    recipe = recipe.model_copy(update={"eval_steps": eval_steps})
    whole = run(recipe.model_copy(update={"output_dir": tmp_path / "whole"}))

    def interrupt(step: int) -> None:
        if step == 4:
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job is born without
    try:
        with pytest.raises(TrainingError, match="Stopped at step 4 and saved"):
            run(recipe, on_step=interrupt)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert not (recipe.output_dir / "training_summary.json").exists()
    resumed = run(recipe, resume="last")
    assert [row["step"] for row in resumed.summary["train"]] == [1, 2, 3, 4, 5, 6]
    for name in ("train", "eval"):
        expected = [row["loss"] for row in whole.summary[name]]
        assert [row["loss"] for row in resumed.summary[name]] == pytest.approx(expected, rel=1e-4)
    one, other = (load_file(t.adapter / "adapter_model.safetensors") for t in (whole, resumed))
    assert all(torch.allclose(one[name], other[name], atol=1e-4) for name in one)
    assert resumed.summary["tokens_per_s"] is None  # the steps before the stop were not timed in this session
    assert "of the last session, 2 of 6 steps |" in (recipe.output_dir / "README.md").read_text(encoding="utf-8")


def test_a_run_goes_on_with_its_own_base_and_precision(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other weights of one shape, or another machine, end elsewhere; other paths to the same data do not."""
    base = Path(shutil.copytree(recipe.base_model, tmp_path / "base"))
    both = (recipe.train_file[0], recipe.eval_file[0])
    recipe = recipe.model_copy(update={"base_model": str(base), "train_file": both})
    run(recipe)
    (recipe.output_dir / "training_summary.json").unlink()
    monkeypatch.chdir(tmp_path)
    elsewhere = {"train_file": (Path("train.jsonl"), Path("eval.jsonl")), "eval_file": (Path("eval.jsonl"),)}
    recipe = recipe.model_copy(update={**elsewhere, "base_model": "base"})
    summary = run(recipe, resume="last").summary
    assert summary["steps"] == 8
    (recipe.output_dir / "training_summary.json").unlink()
    with (base / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\0")
    here, there = summary["precision"], "fp32" if summary["precision"] == "bf16" else "bf16"
    monkeypatch.setattr("training.base.computes_in_bf16", lambda _: there == "bf16")
    said = rf"began otherwise: precision was {here}, is now {there}; model\.safetensors was .* Bring back its base"
    with pytest.raises(TrainingError, match=said):
        run(recipe, resume="last")


def test_what_may_not_be_resumed(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="No checkpoint in"):
        find_checkpoint(recipe, "last")
    run(recipe)
    for wanted in (None, "last"):
        with pytest.raises(TrainingError, match="holds a complete run"):
            find_checkpoint(recipe, wanted)
    (recipe.output_dir / "training_summary.json").unlink()  # as a kill before the last file leaves it
    with pytest.raises(TrainingError, match=r"exists and is never overwritten.* or go on with"):
        find_checkpoint(recipe, None)
    newest = recipe.output_dir / "checkpoint-6"
    (recipe.output_dir / "checkpoint-9").mkdir()  # what a kill during a save leaves
    shutil.copytree(newest, recipe.output_dir / "checkpoint-6-old")
    assert find_checkpoint(recipe, "last") == newest
    with pytest.raises(TrainingError, match="is no checkpoint"):
        find_checkpoint(recipe, str(tmp_path))
    with pytest.raises(TrainingError, match="is of another run than"):
        find_checkpoint(recipe, str(shutil.copytree(newest, tmp_path / "other" / newest.name)))
    with pytest.raises(TrainingError, match="another one: learning_rate changed"):
        find_checkpoint(recipe.model_copy(update={"learning_rate": 1e-4}), "last")
    with pytest.raises(TrainingError, match="another one: chat_template_sha256 changed"):
        find_checkpoint(recipe.model_copy(update={"chat_template": recipe.eval_file[0]}), "last")
    with pytest.raises(TrainingError, match="nowhere cannot be read"):
        find_checkpoint(recipe.model_copy(update={"train_file": (tmp_path / "nowhere",)}), "last")
    with recipe.train_file[0].open("a", encoding="utf-8") as file:
        file.write('{"text": "a"}\n')
    with pytest.raises(TrainingError, match="train_sha256 changed"):
        find_checkpoint(recipe, "last")
    for path in recipe.output_dir.glob("checkpoint-*"):
        shutil.rmtree(path)
    with pytest.raises(TrainingError, match=r"Move it, or pass another --output-dir\.$"):
        find_checkpoint(recipe, None)


def test_a_stop_in_the_last_step_leaves_a_complete_run(recipe: Recipe) -> None:
    """Also in mid-epoch, where a limit ends it: nothing is left to go on with."""

    def interrupt(step: int) -> None:
        if step == 2:
            signal.raise_signal(signal.SIGTERM)

    trained = run(recipe.model_copy(update={"max_steps": 2}), on_step=interrupt)
    assert (recipe.output_dir / "training_summary.json").is_file()
    assert [row["step"] for row in trained.summary["eval"]] == [2]


def test_the_held_out_loss_is_per_token_whatever_the_batch(recipe: Recipe, tmp_path: Path) -> None:
    first = run(recipe)  # after it, one row is known better than another
    rows = tmp_path / "uneven.jsonl"
    texts = [recipe.train_file[0].read_text(encoding="utf-8").splitlines()[0], '{"text": "Zut !"}', '{"text": "Ah ?"}']
    rows.write_text("\n".join(texts), encoding="utf-8")
    still = {"eval_file": (rows,), "init_adapter": first.adapter, "learning_rate": 1e-12, "max_steps": 1}
    losses = [
        run(recipe.model_copy(update={**still, "per_device_batch_size": size, "output_dir": tmp_path / str(size)}))
        .summary["best_eval_loss"]
        for size in (1, 2)
    ]  # fmt: skip
    assert losses == pytest.approx([losses[0]] * 2, rel=1e-4)


def test_what_is_held_out_and_trained_on_is_said(recipe: Recipe, caplog: pytest.LogCaptureFixture) -> None:
    assert len(prepare(recipe).learnt_too) == 2
    assert f"2 of 2 held-out examples are trained on too: {recipe.eval_file[0]}:1" in caplog.text


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"base_model": "nowhere"}, "no config.json"),
        ({"lora": {"target_modules": ("no_proj",)}}, "does not fit its base: no layer is called no_proj"),
        ({"train_file": Path("nowhere")}, "cannot be read"),
    ],
)
def test_a_run_that_cannot_start_leaves_nothing(recipe: Recipe, change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(TrainingError, match=complaint):
        run(Recipe.model_validate({**recipe.model_dump(), **change}))
    assert not recipe.output_dir.exists()


def test_a_second_stage_goes_on_with_the_first_s_adapter(recipe: Recipe, tmp_path: Path) -> None:
    """With no step to speak of, what comes out is what went in: the adapter is trained on, not begun anew."""
    first = run(recipe)
    still = {"init_adapter": first.adapter, "output_dir": tmp_path / "second", "learning_rate": 1e-9, "max_steps": 1}
    second = run(recipe.model_copy(update=still))
    before, after = (load_file(one.adapter / "adapter_model.safetensors") for one in (first, second))
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[name].float(), after[name].float(), atol=1e-4) for name in before)
    assert any(bool(tensor.abs().max() > 0) for name, tensor in after.items() if "lora_B" in name)
    assert second.summary["init_adapter_sha256"] == first.summary["adapter_sha256"]


def test_a_stage_after_a_limited_one_is_limited(recipe: Recipe, tmp_path: Path) -> None:
    """And so is the one after it; an adapter without a summary beside it says nothing."""
    stage = recipe.model_copy(update={"max_steps": 1})
    for name in ("first", "second", "third"):
        trained = run(stage.model_copy(update={"output_dir": tmp_path / name, "name": f"{name} stage"}))
        stage = recipe.model_copy(update={"init_adapter": trained.adapter})
        limits = {"max_steps": 1} if name == "first" else {"first stage.max_steps": 1}
        assert (trained.summary["smoke"], trained.summary["limits"]) == (True, limits)
    assert "it was limited to first stage.max_steps = 1." in (tmp_path / "third" / "README.md").read_text("utf-8")
    (tmp_path / "third" / "training_summary.json").unlink()
    assert run(stage).summary["limits"] == {}


def test_a_second_stage_without_its_first_or_after_another_is_named(recipe: Recipe, tmp_path: Path) -> None:
    own = {"r": 32, "lora_alpha": 64, "lora_dropout": 0.1, "target_modules": list(recipe.lora.target_modules)}
    (tmp_path / "adapter_config.json").write_text(json.dumps(own), encoding="utf-8")
    with pytest.raises(TrainingError, match=r"lora\.dropout is 0\.05; .* keeps its own, 0\.1"):
        run(recipe.model_copy(update={"init_adapter": tmp_path}))
    with pytest.raises(TrainingError, match="holds no adapter"):
        run(recipe.model_copy(update={"init_adapter": tmp_path / "nowhere"}))


def test_a_tokenizer_is_left_with_one_template(recipe: Recipe, base: Path, tmp_path: Path) -> None:
    both = Path(shutil.copytree(base, tmp_path / "base"))
    (both / "tokenizer_config.json").write_text('{"chat_template": "another"}', encoding="utf-8")
    save_tokenizer(recipe, Base(both, "base"), tmp_path / "saved")
    assert (tmp_path / "saved" / "tokenizer_config.json").read_text(encoding="utf-8") == "{}\n"


def test_a_diverged_run_says_so(recipe: Recipe) -> None:
    with pytest.raises(TrainingError, match="not finite"):
        run(recipe.model_copy(update={"learning_rate": 0.99, "max_grad_norm": 1e30, "weight_decay": 1e30}))


def test_the_command_line_says_what_is_wrong_in_one_line(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("name: n\nepoch: 2\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "training", "run", str(path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("TrainingError: r.yaml: ")
    assert "Did you mean 'epochs'?" in done.stderr


def test_early_stopping_ends_with_the_last_gain(recipe: Recipe) -> None:
    """A rate that changes nothing gains nothing: the second evaluation is the last of five."""
    still = {"learning_rate": 1e-12, "early_stopping": 1, "epochs": 5.0, "warmup": 0.0}
    summary = run(recipe.model_copy(update=still)).summary
    assert (summary["steps"], len(summary["eval"]), summary["stopped_early"]) == (6, 2, True)
    assert "| 6, 2, ended by early stopping |" in (recipe.output_dir / "README.md").read_text(encoding="utf-8")


def test_the_last_step_may_be_kept_and_a_tracker_follow(recipe: Recipe) -> None:
    """A rate too high makes the second evaluation the worse one; `keep: last` keeps it all the same."""
    worse = {"keep": "last", "learning_rate": 0.5, "trackers": ("tensorboard",)}
    trained = run(recipe.model_copy(update=worse))
    assert trained.summary["kept_step"] == 6
    assert list(recipe.output_dir.glob("runs/*/events.out.tfevents*"))


def test_a_tracker_that_is_not_there_is_named_before_the_run(recipe: Recipe) -> None:
    with pytest.raises(TrainingError, match="pip install trackio"):
        run(recipe.model_copy(update={"trackers": ("trackio",)}))
    assert not recipe.output_dir.exists()
