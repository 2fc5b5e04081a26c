"""A recipe is read whole or refused with the key that is wrong."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from errors import TrainingError
from training.base import Held, choose_held, choose_precision, computes_in_bf16
from training.recipe import Precision, Recipe, load_recipe

SHIPPED = Path(__file__).parents[2] / "training" / "recipes"
GOOD = {"name": "n", "base_model": "b", "train_file": "{data_dir}/t", "eval_file": "e", "output_dir": "o"}


def write(tmp_path: Path, **changes: object) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in {**GOOD, **changes}.items() if v is not None}), encoding="utf-8")
    return path


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_load(path: Path) -> None:
    recipe = load_recipe(path, data_dir=Path("/elsewhere"))
    assert recipe.name == path.stem
    assert recipe.output_dir.is_relative_to("/elsewhere")
    assert recipe.limits == {}
    ours = [file for file in (*recipe.train_file, *recipe.eval_file) if not file.is_relative_to("/elsewhere")]
    assert all(file.parts[0] == "data" for file in ours)
    if recipe.chat_template is not None:
        assert (SHIPPED.parents[1] / recipe.chat_template).is_file()


def load(name: str, form: str | None = None, **given: Any) -> Recipe:
    return load_recipe(SHIPPED / f"{name}.yaml", form=form, **given)


def test_the_scheme_recipe_learns_from_32_examples_a_step_on_every_card() -> None:
    recipe = load("mistral_7b_schemes")
    assert (recipe.lora.r, recipe.lora.alpha, len(recipe.lora.target_modules)) == (64, 128, 7)
    assert (recipe.quantization, recipe.learning_rate, recipe.scheduler) == ("bnb4", 2e-4, "cosine")
    assert (recipe.warmup, recipe.epochs, recipe.precision) == (0.03, 3, "bf16")
    forms = [load("mistral_7b_schemes", form) for form in ("v100", "t4")]
    assert [one.step_examples for one in (recipe, *forms)] == [32, 32, 32]
    assert [(one.precision, one.per_device_batch_size) for one in forms] == [("fp16", 4), ("fp16", 2)]


def test_the_business_analyst_recipe() -> None:
    recipe = load("mistral_7b_ba_cpu")
    assert (recipe.lora.r, recipe.lora.alpha, recipe.lora.dropout) == (8, 32, 0.1)
    assert recipe.lora.target_modules == ("q_proj", "k_proj", "v_proj", "o_proj")
    assert (recipe.step_examples, recipe.warmup, recipe.weight_decay, recipe.seed) == (8, 10, 0.01, 42)
    assert (recipe.early_stopping, recipe.keep, recipe.max_length) == (1, "best", 2048)


def test_a_form_replaces_keys_and_an_option_wins_over_it(tmp_path: Path) -> None:
    forms = {"small": {"epochs": 5, "seed": 7, "output_dir": "{data_dir}/small", "lora": {"r": 2}}}
    path = write(tmp_path, lora={"r": 8, "alpha": 9}, forms=forms)
    plain, small = load_recipe(path), load_recipe(path, form="small", data_dir=Path("/d"), seed=1)
    assert (plain.form, plain.epochs, plain.lora.r) == (None, 2.0, 8)
    assert (small.form, small.epochs, small.seed) == ("small", 5.0, 1)
    assert (small.lora.r, small.lora.alpha, small.output_dir) == (2, 9, Path("/d/small"))
    with pytest.raises(TrainingError, match=r"no form 'smal'\. Did you mean 'small'\? Known: small"):
        load_recipe(path, form="smal")


def test_a_file_that_is_given_is_read_whole(tmp_path: Path) -> None:
    path = write(tmp_path, train_split="train", eval_split="test")
    recipe = load_recipe(path, train_file=[Path("mine"), Path("yours")])
    assert (recipe.train_file, recipe.train_split) == ((Path("mine"), Path("yours")), None)
    assert (recipe.eval_file, recipe.eval_split) == ((Path("e"),), "test")


def test_given_values_win_and_none_does_not(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, epochs=3, seed=4), epochs=1.0, seed=None, max_steps=2)
    assert (recipe.epochs, recipe.seed, recipe.limits) == (1.0, 4, {"max_steps": 2, "epochs": 1.0})


@pytest.mark.parametrize(
    ("own", "form", "given", "limits"),
    [
        (3, None, 0.01, {"epochs": 0.01}),
        (None, None, 1.0, {"epochs": 1.0}),  # the default is 2
        (3, None, 4.0, {}),
        (3, "short", 1.0, {}),  # the form's own epochs count
        (3, "short", None, {}),
    ],
)
def test_fewer_epochs_than_the_recipe_s_are_a_limit(
    tmp_path: Path, own: float | None, form: str | None, given: float | None, limits: dict[str, float]
) -> None:
    path = write(tmp_path, epochs=own, forms={"short": {"epochs": 1}})
    assert load_recipe(path, form=form, epochs=given).limits == limits


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"learning_rat": 1e-4}, "unknown key 'learning_rat'. Did you mean 'learning_rate'?"),
        ({"lora": {"alfa": 1}}, "unknown key 'lora.alfa'. Did you mean 'alpha'?"),
        ({"xyzzy": 1}, "unknown key 'xyzzy'."),
        ({"train_file": None}, "key 'train_file' is missing; add it."),
        ({"epochs": 0}, "epochs is 0: input should be greater than 0."),
        ({"learning_rate": "fast"}, "learning_rate is 'fast'"),
        ({"precision": "fp8"}, "precision is 'fp8'"),
        ({"lora": {"target_modules": []}}, "lora.target_modules"),
        ({"quantization": "int8"}, "quantization is 'int8'"),
        ({"trackers": ["wandb"]}, "trackers.0 is 'wandb'"),
        ({"train_file": []}, "train_file"),
        ({"warmup": 2.5}, "warmup is 2.5"),
        ({"keep": "last", "early_stopping": 1}, "early_stopping needs keep: best"),
        ({"precision": "fp32", "quantization": "bf16"}, "precision: fp32 needs quantization"),
        ({"form": "t4"}, "unknown key 'form'. Did you mean 'forms'?"),
        ({"forms": {"t4": {"precison": "fp16"}}}, "form t4: unknown key 'precison'. Did you mean 'precision'?"),
        ({"forms": ["t4"]}, "forms: expected a name and keys"),
    ],
)
def test_a_wrong_key_is_named(tmp_path: Path, changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(TrainingError) as raised:
        load_recipe(write(tmp_path, **changes))
    assert complaint in str(raised.value)
    assert str(raised.value).startswith("recipe.yaml: ")


@pytest.mark.parametrize(
    ("text", "complaint"), [("- a\n", "expected keys"), ("a: [", "no YAML"), ("", "expected keys")]
)
def test_no_recipe_at_all(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TrainingError, match=complaint):
        load_recipe(path)
    with pytest.raises(TrainingError, match="cannot be read"):
        load_recipe(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("wanted", "native", "gpu", "chosen"),
    [
        ("auto", True, False, "bf16"),
        ("auto", False, False, "fp32"),
        ("auto", False, True, "fp16"),
        ("bf16", False, False, "bf16"),
        ("fp32", True, True, "fp32"),
    ],
)
def test_precision(wanted: Precision, native: bool, gpu: bool, chosen: str) -> None:
    assert choose_precision(wanted, native, gpu) == chosen


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU fp16 is fine")
def test_how_a_base_is_held_on_a_processor() -> None:
    recipe = load("mistral_7b_ba_cpu")
    native = computes_in_bf16(torch)
    assert choose_held(recipe, torch) == Held("bnb4", *(("bf16", "bfloat16") if native else ("fp32", "float32")))
    sixteen = choose_held(recipe.model_copy(update={"quantization": "bf16"}), torch)
    assert sixteen == Held("bf16", "bf16", "bfloat16")
    with pytest.raises(TrainingError, match="fp16, which needs a GPU"):
        choose_held(load("mistral_7b_schemes", "t4"), torch)
