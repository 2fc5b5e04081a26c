"""Each criterion that this project was asked to meet, and where its measured value stands. Knows result files by key.

A criterion reads the results and says what was found, whether that is enough, and in which file; None where nobody
measured it. What was promised for a 7B and measured on the embedded model is said to be so, and has no verdict.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path("benchmarks/results")
DEMO = "embedded model"
FREE_S, FREE_ACCURACY, FREE_GB = 15.0, 0.75, 4.0
SOAK_HOURS = 24.0
HOUR_S = 3500.0  # between two samples an hour ends


@dataclass(frozen=True)
class Found:
    """A measured value.

    Attributes:
        value: As it is read.
        met: Whether it is enough; None where it only reports.
        source: File, under the repository's root.
    """

    value: str
    met: bool | None
    source: str


class Shelf:
    """The result files of a repository.

    Args:
        root: The repository.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._read: dict[str, Any] = {}
        for path in sorted((root / RESULTS).glob("*.json")):
            self._read[path.relative_to(root).as_posix()] = _json(path)

    def result(self, name: str) -> Mapping[str, Any] | None:
        """Return `benchmarks/results/<name>.json`; None where it is not there."""
        return self._read.get(f"{RESULTS.as_posix()}/{name}.json")

    def with_keys(self, *keys: str, **values: Any) -> tuple[str, Mapping[str, Any]] | None:
        """Return the first result that has these keys, and these values under them, with its file."""
        for source, data in self._read.items():
            known = isinstance(data, dict) and all(key in data for key in keys)
            if known and all(data.get(key) == value for key, value in values.items()):
                return source, data
        return None

    def file(self, name: str) -> Mapping[str, Any] | None:
        """Return any other JSON file of the repository; None where it is not there."""
        path = self.root / name
        return _json(path) if path.is_file() else None

    def lines(self, name: str) -> int | None:
        """Return how many lines a file has; None where it is not there."""
        path = self.root / name
        return len(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else None


# Where a result says which weights of the embedded model it was measured with.
_WEIGHTS = ("environment>model>sha256", "model>sha256", "model_sha256", "run>model_sha256",
            "cells>LoRA + prompts>model>sha256", "origin>adapter>sha256>adapter_model.safetensors")  # fmt: skip


def weights_of(data: Any) -> str | None:
    """Return the hash of the weights that a result was measured with; None where it does not say."""
    return next((found for keys in _WEIGHTS if isinstance(found := _at(data, keys), str)), None)


def _at(data: Any, keys: str) -> Any:
    """Return what stands under keys parted by ">", None where one is missing; digits count through lists."""
    for key in keys.split(">"):
        if isinstance(data, Mapping):
            data = data.get(key)
        elif isinstance(data, list) and data and key.lstrip("-").isdigit():
            data = data[int(key)]
        else:
            return None
    return data


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


Finder = Callable[[Shelf], Found | None]


@dataclass(frozen=True)
class Criterion:
    """One thing that was asked for.

    Attributes:
        text: What.
        promised: How much.
        find: Reads the results.
    """

    text: str
    promised: str
    find: Finder


def _source(name: str) -> str:
    return f"{RESULTS.as_posix()}/{name}.json"


def number(
    name: str,
    keys: str,
    show: Callable[[float], str],
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    of: str = "",
    judged: bool = True,
) -> Finder:
    """Return a finder for one number of a result file.

    Args:
        name: Of `benchmarks/results/<name>.json`, or the path of another JSON file.
        keys: To the number, parted by ">"; digits count through lists, from the end with a minus.
        show: The number as it is read.
        at_least: The promise, from below.
        at_most: The promise, from above.
        of: What it was measured on, for the reader.
        judged: False where the promise was made for another model: then it is only reported.
    """

    def find(shelf: Shelf) -> Found | None:
        source = name if "/" in name else _source(name)
        data: Any = _at(shelf.file(name) if "/" in name else shelf.result(name), keys)
        if not isinstance(data, int | float):
            return None
        value = float(data)
        met = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
        return Found(f"{show(value)}{f' ({of})' if of else ''}", met if judged else None, source)

    return find


def nobody(_: Shelf) -> Found | None:
    """Nothing was measured."""
    return None


def lines_of(name: str, wanted: int) -> Finder:
    """Return a finder that counts lines."""

    def find(shelf: Shelf) -> Found | None:
        count = shelf.lines(name)
        return None if count is None else Found(str(count), count >= wanted, name)

    return find


def present(*names: str) -> Finder:
    """Return a finder that looks whether files are there."""

    def find(shelf: Shelf) -> Found | None:
        missing = [name for name in names if not (shelf.root / name).exists()]
        return Found(f"missing: {', '.join(missing)}" if missing else "present", not missing, names[0])

    return find


def seconds(value: float) -> str:
    """Return seconds as they are read."""
    return f"{value:.2f} s"


def percent(value: float) -> str:
    """Return a share as it is read."""
    return f"{100 * value:.1f} %"


def plain(value: float) -> str:
    """Return a number as it is read."""
    return f"{value:.3g}"


def _short(engine: str) -> str:
    return DEMO if "bergson-and-friends-demo" in engine else engine.rsplit("/", 1)[-1]


def step(key: str) -> Finder:
    """Return a finder for the promise of one step of the pipeline on the embedded model."""

    def find(shelf: Shelf) -> Found | None:
        data = shelf.result("pipeline")
        if data is None:
            return None
        steps = {one["key"]: one for one in [*data["steps"], *data["beside"].values()]}
        one = steps.get(key)
        if one is None or one.get("gain") is None:
            return None
        said = f"−{percent(one['gain'])}" if one["gain"] >= 0 else f"+{percent(-one['gain'])}"
        if one.get("perplexity_ratio") is not None:
            said += f", perplexity × {one['perplexity_ratio']:.3f}"
        if "one_call_enough" in one:
            said += f", one call enough in {one['one_call_enough']:.0%}"
        return Found(f"{said} ({DEMO})", one["met"], _source("pipeline"))

    return find


def requirements_score(shelf: Shelf) -> Found | None:
    """The business analyst's score."""
    found = shelf.with_keys("score", "baseline", kind="requirements")
    if found is None:
        return None
    source, data = found
    asked = f"{data['documents']} of 22 documents, {data['settings']['sampling']['max_tokens']} tokens at most"
    return Found(f"{data['score']:.2f} ({_short(data['engine'])}, {asked})", data["score"] > data["baseline"], source)


def freemium(shelf: Shelf) -> Found | None:
    """The decision on the tiers."""
    found = shelf.with_keys("effects", "freemium", kind="ablation")
    return None if found is None else Found(found[1]["freemium"]["title"], True, found[0])


def ablation(shelf: Shelf) -> Found | None:
    """What the adapter brings."""
    found = shelf.with_keys("effects", "freemium", kind="ablation")
    if found is None:
        return None
    one = found[1]["effects"]["LoRA"]
    said = f"{one['points']:+.1f} points ({one['low']:+.1f} to {one['high']:+.1f}), {DEMO}"
    return Found(said, True, found[0])


def held(shelf: Shelf) -> Found | None:
    """What engine and routes hold at the end of a soak; one of less than an hour says nothing of it."""
    data = shelf.result("soak")
    if data is None or not data["samples"] or data["samples"][-1]["seconds"] < HOUR_S:
        return None
    gigabytes = data["samples"][-1]["rss_mb"] / 1000
    return Found(f"{gigabytes:.2f} GB ({DEMO})", gigabytes <= FREE_GB, _source("soak"))


def soaked(shelf: Shelf) -> Found | None:
    """How long the server held under load and faults; a soak that broke off lasted as long as its last sample."""
    data = shelf.result("soak")
    if data is None or not data["samples"]:
        return None
    passed = data["verdict"]["passed"]
    lasted = data["run"]["hours"] if passed else data["samples"][-1]["seconds"] / 3600
    said = f"{lasted:.3g} h under load and faults{'' if passed else ', not passed'} ({DEMO})"
    return Found(said, passed and lasted >= SOAK_HOURS, _source("soak"))


def one_call(shelf: Shelf) -> Found | None:
    """What one call for answer and evaluation saves, in sessions of several turns; else on the pipeline's talks."""
    data = shelf.result("chat_plus_eval")
    if data is None:
        return step("together")(shelf)
    enough, saved = data["one call was enough"], data["calls_saved"]
    said = f"−{percent(saved)}, one call enough in {enough:.0%} ({DEMO})"
    return Found(said, enough >= 0.7 and saved >= data["goal"], _source("chat_plus_eval"))


CRITERIA: dict[str, tuple[Criterion, ...]] = {
    "Free and premium": (
        Criterion("Free: an answer, on a processor", "< 15 s",
                  number("bare", "seconds>whole answer on the page", seconds, at_most=FREE_S, of=DEMO)),
        Criterion("Free: scheme accuracy", "> 75 %, good is 80 %",
                  number("model-gate", "means>accuracy>mean", percent, at_least=FREE_ACCURACY, of=DEMO)),
        Criterion("Free: memory of engine and routes after an hour, chats at rest included", "about 4 GB", held),
        Criterion("Premium: scheme accuracy", "95 % and more", nobody),
        Criterion("Premium: an answer, on an A10", "1 to 3 s", nobody),
        Criterion("Premium: an hour of use", "$ 0.50 to 1", nobody),
        Criterion("Decision on the tiers, options A, B, C argued", "a report", freemium),
    ),
    "The scheme model": (
        Criterion("Base items of the dataset", "300", lines_of("data/schemes_levelA_base.jsonl", 300)),
        Criterion("Augmented items", "900", lines_of("data/schemes_levelA_augmented.jsonl", 900)),
        Criterion("Training loss, 7B", "< 0.5",
                  number("models/demo/training_summary.4.json", "train>-1>loss", plain, of=DEMO, judged=False)),
        Criterion("Validation loss, 7B", "< 0.6",
                  number("models/demo/training_summary.4.json", "eval>-1>loss", plain, of=DEMO, judged=False)),
        Criterion("Adapter, 7B", "250 to 350 MB",
                  number("models/demo/training_summary.4.json", "adapter_bytes", lambda n: f"{n / 1e6:.1f} MB",
                         of=DEMO, judged=False)),
        Criterion("Trainable parameters, 7B", "1 to 2 %",
                  number("models/demo/training_summary.4.json", "trainable_share", percent, of=DEMO, judged=False)),
        Criterion("Scheme accuracy, 7B", "> 80 %",
                  number("model-gate", "means>accuracy>mean", percent, of=DEMO, judged=False)),
        Criterion("Right conclusions of held-out exercises, as the page answers (rules where they can)", "reported",
                  number("demo-exercises", "share", percent, of=DEMO, judged=False)),
        Criterion("Right conclusions of held-out exercises, the model alone", "reported",
                  number("demo-exercises", "alone>share", percent, of=DEMO, judged=False)),
        Criterion("LoRA against prompts against both", "answered", ablation),
    ),
    "The optimisation plan": (
        Criterion("A: baseline of ten talks of five exchanges, median", "present",
                  number("pipeline", "steps>0>median_latency", seconds, at_least=0.0, of=DEMO)),
        Criterion("B: adapter merged, latency", "−15 %, or the gap explained", step("merged")),
        Criterion("C: quantised, latency against the merged one", "−25 %, quality loss ≤ 5 %", step("quantised")),
        Criterion("D: condensed history, tokens sent over five exchanges", "−40 %", step("condensed")),
        Criterion("D: the same over ten turns, as the page asks", "−40 %",
                  number("context", "tokens>small saved", lambda share: f"−{percent(share)}", at_least=0.4, of=DEMO)),
        Criterion("E: one call for answer and evaluation", "enough in 70 %, calls −25 %", one_call),
        Criterion("F: attention and graph settings", "> 10 % on top, where there is a GPU", step("attention")),
        Criterion("G: metrics, token limit, daily costs, alerts", "visible, tested",
                  present("docs/operations/alerts.yml", "tests/service/test_metrics.py",
                          "tests/service/alerts_test.yml", "tests/tiers/test_costs.py")),
        Criterion("H: Qwen-14B, quality of its personas", "after A to G", nobody),
        Criterion("The whole: median latency", "≤ a third of the baseline",
                  number("pipeline", "total>speed_up", lambda n: f"{n:.2f} × faster", at_least=3.0, of=DEMO)),
        Criterion("The same at a 7B's width, fewer layers, random weights", "≤ a third of the baseline",
                  number("pipeline-mistral-7b", "total>speed_up", lambda n: f"{n:.2f} × faster", at_least=3.0)),
        Criterion("Quality: semantic similarity of the answers, the same words asked", "≥ 0.92",
                  number("pipeline", "total>similarity_before_condensing", lambda n: f"{n:.3f}", at_least=0.92,
                         of=DEMO)),
        Criterion("Quality: the same, history condensed", "≥ 0.92",
                  number("pipeline", "total>similarity", lambda n: f"{n:.3f}", at_least=0.92, of=DEMO)),
        Criterion("Quality: 50 answers read by a person", "≥ 8 of 10, or similarity", nobody),
        Criterion("Up without running out of memory", "24 h", soaked),
    ),
    "The business analyst": (
        Criterion("Training documents", "98", lines_of("data/business_analyst/train.jsonl", 98)),
        Criterion("Validation documents", "22", lines_of("data/business_analyst/validation.jsonl", 22)),
        Criterion("Requirements score", "> 85.35; from 90 it is adopted", requirements_score),
    ),
    "Static embeddings": (
        Criterion("Quality over six axes", "≥ 0.60, else none is deployed",
                  number("static-embeddings", "cells>static, as it ships/axes>score", plain, at_least=0.6)),
        Criterion("Awareness of the instruction", "≥ 0.50",
                  number("static-embeddings", "cells>static, as it ships/axes>axes>instructions>value", plain,
                         at_least=0.5)),
        Criterion("Size", "about 65 MB",
                  number("static-embeddings", "models>static, as it ships>bytes", lambda n: f"{n / 1e6:.1f} MB",
                         at_most=65e6)),
    ),
    "Documents": (
        Criterion("README, three steps, complete use", "present", present("README.md", "QUICKSTART.md", "USAGE.md")),
        Criterion("Notebook and hyperparameters", "present",
                  present("notebooks/train_mistral_7b_lora.ipynb", "training/recipes/mistral_7b_schemes.yaml")),
        Criterion("Protocol for tests with pupils", "a teacher can run it", present("docs/user_test.md")),
        Criterion("Tests with pupils", "held", nobody),
    ),
}  # fmt: skip
