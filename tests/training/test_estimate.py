"""What a run is said to take is what it takes: counted exactly where it can be, refused where it cannot fit."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM
from typer.testing import CliRunner

from errors import TrainingError
from training.__main__ import app
from training.base import Held
from training.estimate import (
    PROCESS_BYTES,
    Estimate,
    Shape,
    activations_bytes,
    check_room,
    shape_of,
    steps_of,
    weights_bytes,
)
from training.recipe import Recipe, load_recipe

ROOT = Path(__file__).parents[2]
SEVEN_B = MistralConfig(vocab_size=32768)  # transformers' defaults are Mistral-7B's


@pytest.mark.parametrize(
    ("examples", "batch", "accumulated", "epochs", "most", "steps"),
    [(8, 3, 1, 2.0, None, 6), (1200, 8, 4, 3.0, None, 114), (1200, 2, 16, 3.0, None, 114), (10, 8, 4, 1.3, None, 2),
     (1200, 8, 4, 3.0, 5, 5)],
)  # fmt: skip
def test_steps(
    recipe: Recipe, examples: int, batch: int, accumulated: int, epochs: float, most: int | None, steps: int
) -> None:
    keys = {"per_device_batch_size": batch, "gradient_accumulation_steps": accumulated, "epochs": epochs}
    assert steps_of(recipe.model_copy(update={**keys, "max_steps": most}), examples) == steps


def test_the_scheme_recipe_at_its_true_size() -> None:
    """Shapes without weights: the figures that the recipe is known by, 1-2 % trained, an adapter of 250-350 MB."""
    recipe = load_recipe(ROOT / "training" / "recipes" / "mistral_7b_schemes.yaml")
    with torch.device("meta"):
        shape = shape_of(MistralForCausalLM(SEVEN_B), recipe)
    assert (shape.parameters, shape.layers, shape.targets) == (7_248_023_552, 32, 224)
    assert shape.adapter == 167_772_160
    assert 0.01 < shape.adapter / shape.parameters < 0.02 * 1.2
    assert 250e6 < 2 * shape.adapter < 350e6
    assert weights_bytes(shape, Held("bf16", "bf16", "bfloat16")) == 2 * shape.parameters
    assert 3.9e9 < weights_bytes(shape, Held("bnb4", "bf16", "bfloat16")) < 4.3e9


def test_a_base_that_does_not_fit_is_refused_before_it_is_read(recipe: Recipe) -> None:
    found = Estimate(1, 1, 1, 10, 1, 1, 9, 1.0, 1, 0.1)
    with pytest.raises(TrainingError, match="use --quantization bf16, or another machine"):
        check_room(found, recipe)
    check_room(replace(found, available_bytes=12), recipe)


def test_the_memory_said_is_what_a_run_took(recipe: Recipe) -> None:
    """The embedded model on a processor in fp32, one example of 573 tokens at a time: 2.70 GB at its peak."""
    shape = Shape(117_068_416, 100_000_000, 7_593_984, 126, layers=18, width=640, feed=2048, vocabulary=26_160)
    one = recipe.model_copy(update={"per_device_batch_size": 1})
    held = Held("fp32", "fp32", "float32")
    kept = activations_bytes(shape, one, held, 573, keeps=True, gpu=False)
    assert weights_bytes(shape, held) + 0.12e9 + kept + PROCESS_BYTES == pytest.approx(2.70e9, rel=0.1)


def test_a_run_that_may_not_fit_is_warned_of(recipe: Recipe, caplog: pytest.LogCaptureFixture) -> None:
    found = Estimate(1, 1, 1, 4 * 10**9, 1, 8 * 10**9, 13 * 10**9, 1.0, 1, 0.1)
    check_room(found, recipe)
    assert caplog.text == ""
    check_room(replace(found, available_bytes=11 * 10**9), recipe)
    assert "will take about 12.0 GB, 11.0 GB are free" in caplog.text


def words(recipe: Recipe, *options: str) -> list[str]:
    """Say how a shipped recipe is run on the small base."""
    given = ["--base-model", recipe.base_model, "--train-file", str(recipe.train_file[0])]
    given += ["--eval-file", str(recipe.eval_file[0]), "--output-dir", str(recipe.output_dir)]
    return ["run", str(ROOT / "training" / "recipes" / "demo_philosophers.yaml"), *given, *options]


def test_a_dry_run_shows_what_is_trained_and_leaves_nothing(recipe: Recipe) -> None:
    options = ("--dry-run", "--show-sample", "--json", "--form", "smoke", "--threads", "1")
    done = CliRunner().invoke(app, words(recipe, *options))
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["steps"], found["parameters"] > 0, found["memory_bytes"] > found["weights_bytes"]) == (3, True, True)
    assert "3 steps over" in done.stderr
    assert "⟦Tu te crois libre parce que tu connais tes désirs sans en connaître les causes.<eos>⟧" in done.stderr
    assert not recipe.output_dir.exists()


def test_without_the_hub_a_checklist_says_what_to_bring(recipe: Recipe) -> None:
    """A program of its own, as the Hub's library asks at its import whether it may go out."""
    given = words(recipe, "--base-model", "mistralai/Mistral-7B-Instruct-v0.3")
    done = subprocess.run(
        [sys.executable, "-m", "training", *given], cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("TrainingError: mistralai/Mistral-7B-Instruct-v0.3 is no folder here")
    assert "hf download mistralai/Mistral-7B-Instruct-v0.3 --local-dir Mistral-7B-Instruct-v0.3" in done.stderr
    assert "--base-model Mistral-7B-Instruct-v0.3" in done.stderr
    assert not recipe.output_dir.exists()


def test_contradicting_options_are_refused(recipe: Recipe) -> None:
    done = CliRunner().invoke(app, words(recipe, "--no-4bit", "--quantization", "bnb4"))
    assert isinstance(done.exception, TrainingError)
    assert "contradict each other" in str(done.exception)
