"""A recipe is read whole or refused with the key that is wrong."""

from pathlib import Path

import pytest
import yaml

from errors import TrainingError
from training.recipe import load_recipe
from training.run import choose_precision

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
    assert recipe.train_file.is_relative_to("/elsewhere")
    assert recipe.limits == {}


def test_given_values_win_and_none_does_not(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, epochs=3, seed=4), epochs=1.0, seed=None, max_steps=2)
    assert (recipe.epochs, recipe.seed, recipe.limits) == (1.0, 4, {"max_steps": 2})


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
    ("wanted", "native", "chosen"),
    [("auto", True, "bf16"), ("auto", False, "fp32"), ("bf16", False, "bf16"), ("fp32", True, "fp32")],
)
def test_precision(wanted: str, native: bool, chosen: str) -> None:
    assert choose_precision(wanted, native) == chosen  # type: ignore[arg-type]
