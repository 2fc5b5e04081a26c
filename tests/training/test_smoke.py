"""Every recipe's smoke form, on a two-layer model of its architecture; one adapter goes through every gate."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from conversion.build import Recipe as BuildRecipe
from conversion.build import build
from errors import TrainingError
from settings import load_settings
from tests.conversion.families import CHATS, held_out, mistral_spm
from tests.training.families import gemma3, ministral3_that_sees
from training.base import check_frozen, hashes_of
from training.recipe import Recipe, load_recipe
from training.run import run

pytestmark = [pytest.mark.smoke, pytest.mark.filterwarnings("default")]
ROOT = Path(__file__).parents[2]
SCHEMES = ROOT / "data" / "schemes_levelA_base.jsonl"
ANALYST = ROOT / "data" / "business_analyst"


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[Path], Path]], Path]:
    """Each small base is made once."""
    folder, made = tmp_path_factory.mktemp("bases"), dict[str, Path]()

    def base(make: Callable[[Path], Path]) -> Path:
        if make.__name__ not in made:
            made[make.__name__] = make(folder / make.__name__)
        return made[make.__name__]

    return base


def smoke(name: str, base: Path, out: Path, **given: Any) -> Recipe:
    """Return a recipe's smoke form, on a small base and one thread."""
    path = ROOT / "training" / "recipes" / f"{name}.yaml"
    files = {"train_file": SCHEMES, "eval_file": SCHEMES}
    recipe = load_recipe(path, form="smoke", base_model=str(base), output_dir=out, threads=1, **(files | given))
    template = recipe.chat_template and ROOT / recipe.chat_template
    return recipe.model_copy(update={"chat_template": template})


def tensors_of(run_folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(run_folder / "adapter" / "adapter_model.safetensors")
    return found


def check_summary(summary: dict[str, Any], steps: int) -> None:
    assert summary["smoke"] is True
    assert summary["recipe"]["form"] == "smoke"
    assert summary["steps"] == steps
    assert all(0 < row["loss"] < 12 for row in (*summary["train"], *summary["eval"]))


def test_schemes_on_four_bits(bases: Any, tmp_path: Path) -> None:
    recipe = smoke("mistral_7b_schemes", bases(mistral_spm), tmp_path / "out")
    trained = run(recipe)
    check_summary(trained.summary, 4)
    assert trained.summary["quantization"] == "bnb4"
    assert "bitsandbytes" in trained.summary["versions"]
    assert trained.summary["trainable_share"] == pytest.approx(trained.summary["estimate"]["trainable_share"], abs=1e-5)
    assert len(tensors_of(recipe.output_dir)) == 2 * 2 * 7
    template = (recipe.output_dir / "tokenizer" / "chat_template.jinja").read_bytes()
    assert template == (ROOT / "training" / "templates" / "mistral_v3.jinja").read_bytes()
    assert (recipe.output_dir / "tokenizer" / "tokenizer.model").is_file()


def test_ministral_learns_words_and_its_eyes_stay_as_they_are(bases: Any, tmp_path: Path) -> None:
    base = bases(ministral3_that_sees)
    recipe = smoke("ministral_3b_lora", base, tmp_path / "out")
    trained = run(recipe)
    check_summary(trained.summary, 4)
    names = tensors_of(recipe.output_dir)
    assert len(names) == 2 * 2 * 7
    assert all("language_model" in name for name in names)
    from transformers import AutoModelForImageTextToText

    untouched = AutoModelForImageTextToText.from_pretrained(base, dtype="bfloat16")
    assert trained.summary["frozen"] == hashes_of(untouched, ("vision_tower", "multi_modal_projector"))
    parameter = next(p for name, p in untouched.named_parameters() if "vision_tower" in name)
    parameter.data.view(-1)[0] += 1  # one number of them: the proof would see it
    assert hashes_of(untouched, ("vision_tower",))["vision_tower"] != trained.summary["frozen"]["vision_tower"]
    with pytest.raises(TrainingError, match="has not"):
        hashes_of(untouched, ("ears",))


def test_a_list_of_names_would_train_the_eyes_and_is_refused(bases: Any, tmp_path: Path) -> None:
    recipe = smoke("ministral_3b_lora", bases(ministral3_that_sees), tmp_path / "out", quantization="fp32")
    lora = recipe.lora.model_copy(update={"target_modules": ("q_proj", "v_proj")})
    with pytest.raises(TrainingError, match="would train 4 layers in vision_tower, which is frozen"):
        run(recipe.model_copy(update={"lora": lora}))
    assert not recipe.output_dir.exists()
    free = torch.nn.ModuleDict({"vision_tower": torch.nn.Linear(2, 2)})
    with pytest.raises(TrainingError, match="2 tensors in vision_tower"):
        check_frozen(free, ("vision_tower",))


def test_requirement_documents_on_a_processor_stopped_and_resumed(bases: Any, tmp_path: Path) -> None:
    """In nf4 too, and stopped at an epoch's end, a run ends where the whole one does, its evaluations too."""
    files: dict[str, Any] = {"max_length": 4096}
    for name, part in (("train_file", "train"), ("eval_file", "validation")):
        lines = (ANALYST / f"{part}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        files[name] = tmp_path / f"{part}.jsonl"
        files[name].write_text("".join(sorted(lines, key=len)[:6]), encoding="utf-8")  # the shortest: seconds count
    whole = run(smoke("mistral_7b_ba_cpu", bases(mistral_spm), tmp_path / "whole", **files))
    check_summary(whole.summary, 4)
    assert whole.summary["data"]["train"]["kinds"] == {"requirements": 2}
    stopped = smoke("mistral_7b_ba_cpu", bases(mistral_spm), tmp_path / "stopped", **files)

    def interrupt(step: int) -> None:
        if step == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(TrainingError, match="Stopped at step 2 and saved"):
        run(stopped, on_step=interrupt)
    resumed = run(stopped, resume="last")
    for name in ("train", "eval"):
        expected = [row["loss"] for row in whole.summary[name]]
        assert [row["loss"] for row in resumed.summary[name]] == pytest.approx(expected, rel=1e-4)


def test_the_embedded_model(bases: Any, tmp_path: Path) -> None:
    trained = run(smoke("demo_philosophers", bases(gemma3), tmp_path / "out"))
    check_summary(trained.summary, 3)
    for form in ("cpu", "gpu"):
        path = ROOT / "training" / "recipes" / "demo_philosophers.yaml"
        chosen = load_recipe(path, form=form, epochs=1.3)
        assert chosen.step_examples == load_recipe(path).step_examples  # the same steps on either machine


@pytest.mark.proof
@pytest.mark.timeout(600)
def test_a_four_bit_adapter_passes_every_gate(bases: Any, tmp_path: Path) -> None:
    """Trained by the scheme recipe, merged both ways, converted, quantised, and held against itself."""
    base, texts = bases(mistral_spm), held_out(tmp_path / "chats.jsonl")
    given = {"train_file": texts, "eval_file": texts, "max_steps": 30, "learning_rate": 1e-2, "epochs": 30.0}
    recipe = smoke("mistral_7b_schemes", base, tmp_path / "run", **given)
    recipe = recipe.model_copy(update={"gradient_accumulation_steps": 1, "eval_steps": 30, "warmup": 0.0})
    trained = run(recipe.model_copy(update={"per_device_batch_size": len(CHATS)}))
    assert trained.summary["train"][-1]["loss"] < 0.1
    card = recipe.output_dir / "training_summary.json"
    plan = BuildRecipe(base, trained.adapter, tmp_path / "built", "tiny", (texts,), schemes=("Q8_0",), qlora=True)
    built = build(plan, data_dir=load_settings().data_dir.resolve())
    report = json.loads((built.out / "verify.json").read_text(encoding="utf-8"))
    failed = [gate for gate in report["gates"] if gate["verdict"] == "fail"]
    assert built.passed, failed
    assert report["about"]["merge"]["compared"]["chosen"] in ("full", "nf4")
    assert card.is_file()
