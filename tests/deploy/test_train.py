"""Training on a rented GPU: what travels, what goes on, and the definition that Modal was told."""

from pathlib import Path

import pytest

from errors import TrainingError
from modal_deploy.jobs import pack, unpack, where_to_go_on
from tests.deploy.conftest import ROOT, SECRETS
from tests.deploy.localmodal import ControlPlane, ControlPlaneServer, Deployment
from training.recipe import Recipe, load_recipe
from training.resume import started


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    for name in ("train.jsonl", "eval.jsonl", "template.jinja"):
        (tmp_path / name).write_text(f'{{"text": "{name}"}}\n', encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(
        "name: try\n"
        "base_model: mistralai/Mistral-7B-Instruct-v0.3\n"
        f"train_file: [{tmp_path}/train.jsonl]\n"
        f"eval_file: {tmp_path}/eval.jsonl\n"
        f"chat_template: {tmp_path}/template.jinja\n"
        "output_dir: runs/try\n",
        encoding="utf-8",
    )
    return load_recipe(tmp_path / "recipe.yaml")


def test_a_recipe_travels_with_its_files(recipe: Recipe, tmp_path: Path) -> None:
    job = pack(recipe, "class-1")
    there = unpack(job.recipe, job.files, job.name, tmp_path / "inbox", tmp_path / "runs")
    assert there.output_dir == tmp_path / "runs" / "class-1"
    assert there.train_file[0].read_bytes() == recipe.train_file[0].read_bytes()
    assert there.eval_file[0].read_bytes() == recipe.eval_file[0].read_bytes()
    assert there.chat_template is not None
    assert there.chat_template.name.endswith("template.jinja")
    assert there.lora == recipe.lora


def test_a_second_try_is_the_same_run(recipe: Recipe, tmp_path: Path) -> None:
    """What a resumed run compares: the recipe's keys and the hashes of its files."""
    job = pack(recipe)
    tries = [unpack(job.recipe, job.files, job.name, tmp_path / "inbox", tmp_path / "runs") for _ in range(2)]
    assert started(tries[0]) == started(tries[1])


@pytest.mark.parametrize(
    ("changes", "name", "said"),
    [
        ({"base_model": "."}, "", "is a folder of this machine"),
        ({"base_model": "a/b/c"}, "", "is a folder of this machine"),
        ({"init_adapter": Path("adapter")}, "", "does not travel"),
        ({"train_file": (Path("nowhere.jsonl"),)}, "", "nowhere.jsonl cannot be read"),
        ({}, "../other", "is no name for a run"),
    ],
)
def test_what_cannot_travel_is_named(recipe: Recipe, changes: dict[str, object], name: str, said: str) -> None:
    with pytest.raises(TrainingError, match=said):
        pack(recipe.model_copy(update=changes), name)


@pytest.mark.parametrize("name", ["train.jsonl", "eval.jsonl"])
def test_a_wrong_line_is_found_here(recipe: Recipe, tmp_path: Path, name: str) -> None:
    """Not on the rented card, at each of its tries."""
    with (tmp_path / name).open("a", encoding="utf-8") as file:
        file.write('{"texte": "a"}\n')
    with pytest.raises(TrainingError, match=rf"{name}:2: expected"):
        pack(recipe)


def test_where_a_run_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "try"
    assert where_to_go_on(folder) is None
    folder.mkdir()
    (folder / "started.json").write_text("{}")
    assert where_to_go_on(folder) is None
    assert (tmp_path / "try.begun-1" / "started.json").is_file(), "what was begun is kept"
    (folder / "checkpoint-3").mkdir(parents=True)
    (folder / "checkpoint-3" / "trainer_state.json").write_text("{}")
    assert where_to_go_on(folder) == "last"
    (folder / "training_summary.json").write_text("{}")
    with pytest.raises(TrainingError, match="is complete"):
        where_to_go_on(folder)


def test_definition() -> None:
    plane = ControlPlane(secrets={"huggingface-secret": SECRETS["huggingface-secret"]})
    with ControlPlaneServer(plane) as server:
        result = server.modal("deploy", "modal_deploy/train.py", cwd=ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    deployment = Deployment(plane)
    assert deployment.function_names == ["train"]
    function = deployment.function("train")
    assert (function.resources.gpu_config.gpu_type, function.resources.gpu_config.count) == ("A100-40GB", 1)
    assert (function.timeout_secs, function.retry_policy.retries) == (4 * 3600, 2)
    assert function.autoscaler_settings.max_containers == 1
    assert deployment.volumes("train") == {"/runs": ("bergson-training-runs", False)}
    assert deployment.secrets("train") == ["huggingface-secret"]
    said = "\n".join(deployment.image_commands("train"))
    for part in ("trl==", "peft==", "bitsandbytes==", "transformers==", "--torch-backend=cu129"):
        assert part in said, part
    files = deployment.files("train")
    assert {"/root/training/run.py", "/root/pyproject.toml", "/root/modal_deploy/jobs.py"} <= set(files)
    assert not [path for path in files if "/data/" in path]
