"""Training on a rented GPU: `modal run modal_deploy/train.py --recipe training/recipes/mistral_7b_schemes.yaml`.

An entry: names, sizes and hooks. The same recipe as `python -m training run`, on an A100; checkpoints lie on a Volume,
and a run that was interrupted goes on from the last one by itself.
"""
# Modal is optional, so mypy does not read it.
# mypy: disable-error-code="untyped-decorator"

from pathlib import Path
from typing import Any

import modal

from modal_deploy.images import training_image

GPU = "A100-40GB"
USD_PER_HOUR = 2.10 + 8 * 0.047 + 64 * 0.008  # card, cores, GiB; July 2026
HOURS = 4  # the longest try; what one costs at most is said before it begins
TRIES = 2  # beyond the first
RUNS_DIR, INBOX_DIR = "/runs", "/inbox"

app = modal.App("bergson-training", tags={"tier": "offline"})
runs = modal.Volume.from_name("bergson-training-runs", create_if_missing=True)
hub_secret = modal.Secret.from_name("huggingface-secret", required_keys=["HF_TOKEN"])


@app.function(
    image=training_image(),
    gpu=GPU,
    cpu=8,
    memory=64 * 1024,
    volumes={RUNS_DIR: runs},
    secrets=[hub_secret],
    timeout=HOURS * 3600,
    retries=modal.Retries(max_retries=TRIES, initial_delay=10.0),
    max_containers=1,
    single_use_containers=True,
    scaledown_window=2,
)
def train(recipe: dict[str, Any], files: dict[str, bytes], name: str) -> dict[str, Any]:
    """Run a packed recipe and return its summary; a second try goes on from the last checkpoint."""
    from modal_deploy.jobs import unpack, where_to_go_on
    from training.run import run

    runs.reload()
    chosen = unpack(recipe, files, name, Path(INBOX_DIR), Path(RUNS_DIR))
    try:
        return run(chosen, resume=where_to_go_on(chosen.output_dir)).summary
    finally:
        runs.commit()


@app.local_entrypoint()
def main(recipe: str, form: str = "", base: str = "", name: str = "", max_steps: int = 0) -> None:
    """Send a recipe and its files, wait, and say how to fetch the adapter.

    Args:
        recipe: A YAML file, e.g. training/recipes/mistral_7b_schemes.yaml.
        form: One of the recipe's forms.
        base: Repository of the base on the Hub, instead of the recipe's.
        name: Of the run; unset, the recipe's. An interrupted run of the same name goes on.
        max_steps: A limit, recorded as such; 0 is none.
    """
    import json

    from modal_deploy.jobs import pack
    from training.recipe import load_recipe

    chosen = load_recipe(Path(recipe), form=form or None, base_model=base or None, max_steps=max_steps or None)
    job = pack(chosen, name)
    dearest = USD_PER_HOUR * HOURS * (1 + TRIES)
    print(f"{job.name}: {len(job.files)} files to {GPU}, ${USD_PER_HOUR:.2f} an hour, ${dearest:.0f} at the very most.")
    print(json.dumps(train.remote(job.recipe, job.files, job.name), ensure_ascii=False, indent=2))
    for part in ("adapter", "tokenizer"):  # the chat template of the training is in the second
        print(f"modal volume get bergson-training-runs /{job.name}/{part} runs/{job.name}/")
