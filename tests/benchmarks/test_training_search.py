"""The search over the first stage: each run is a recipe that could be trained, and reads as much as the others."""

import json
from pathlib import Path

import pytest
import yaml

from benchmarks.training_search import RECIPE, RUNS, search, variant
from errors import TrainingError
from training.recipe import load_recipe

EXAMPLES = 240


@pytest.mark.parametrize("name", RUNS)
def test_each_run_is_a_recipe_and_reads_as_much(name: str, tmp_path: Path) -> None:
    plain = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    made = variant(plain, RUNS[name], EXAMPLES)
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(made), encoding="utf-8")
    recipe = load_recipe(path, data_dir=tmp_path)
    assert recipe.train_limit is not None
    assert recipe.train_limit * recipe.epochs == EXAMPLES
    differs = {key for key in made if made[key] != plain.get(key)} - {"train_limit", "keep"}
    assert differs == set(RUNS[name]) - {"mix"}


def test_what_is_finished_is_not_trained_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "search.json"
    out.write_text(json.dumps({"runs": {"rank 8": {"loss": 3.2, "examples": EXAMPLES}}}), encoding="utf-8")
    search(out, EXAMPLES, "rank 8")
    assert json.loads(capsys.readouterr().out) == {"rank 8": 3.2}
    with pytest.raises(TrainingError, match="holds runs of 240 examples"):
        search(out, 80, "rank 8")
    with pytest.raises(TrainingError, match=r"No run 'rank 7'\. Known: as the recipe says"):
        search(out, EXAMPLES, "rank 7")
