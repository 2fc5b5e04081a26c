"""The optimisation plan on a two-layer model and an adapter for it: every step, resuming, and what is refused."""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from engines.base import ChatMessage
from errors import EngineError
from evaluation.__main__ import app
from evaluation.pipeline.ask import TWO, Machine, Way, put_talks
from evaluation.pipeline.gpu import attention_settings, why_not
from evaluation.pipeline.parts import Parts, make_parts, run_module
from evaluation.pipeline.plan import Pipeline, Setup
from evaluation.pipeline.quality import similarity
from evaluation.pipeline.setup import Given, setup_for
from evaluation.pipeline.show import change, table, waterfall
from evaluation.pipeline.steps import ATTENTION, CHAIN, TOGETHER, figures, gain, total, verdict
from evaluation.pipeline.talks import chats_of, load_talks, messages_for, system_prompts
from evaluation.runs import Run, Sample, SampleFile
from retrieval.embedders import EmbedderId, unit
from settings import load_settings
from tests.conversion.families import mistral_spm, train_adapter

pytestmark = [pytest.mark.smoke, pytest.mark.filterwarnings("default")]

ROOT = Path(__file__).parents[2]
PROMPTS = ROOT / "data" / "eval" / "bench_prompts.jsonl"
LONG = "Le désir est l'essence même de l'homme, et la joie augmente sa puissance d'agir. " * 3
STEPS = [step.key for step in CHAIN]


class Letters:
    """An embedder that counts letters: the same text, the same vector."""

    id = EmbedderId("letters", "0", 128)

    def query(self, text: str) -> np.ndarray:
        rows: np.ndarray = self.passages([text])
        return np.asarray(rows[0])

    def passages(self, texts: Sequence[str]) -> np.ndarray:
        rows = [np.bincount([ord(one) % 128 for one in text] or [0], minlength=128) for text in texts]
        return unit(np.array(rows, np.float32))

    def close(self) -> None:
        pass


def in_this_process(words: Sequence[str]) -> None:
    """`python -m conversion …` without another interpreter."""
    from conversion.__main__ import app

    assert words[0] == "conversion"
    app(list(words[1:]), standalone_mode=False)


def write_talks(path: Path, count: int = 2) -> Path:
    rows = [
        {
            "id": f"talk-{number}",
            "persona": persona,
            "history": [
                {"role": "user", "content": f"La joie et le désir, est-ce la même cause ? {LONG}"},
                {"role": "assistant", "content": f"Distinguons les deux. {LONG} Qu'en penses-tu ?"},
                {"role": "user", "content": "Je crois que la raison les ordonne."},
                {"role": "assistant", "content": "Bien. La raison connaît leur cause. Et la liberté ?"},
            ],
            "message": "La liberté dépend de ce que nous comprenons.",
        }
        for number, persona in zip(range(count), ["spinoza", "kant", "bergson"] * count, strict=False)
    ]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that reads long prompts, an adapter, and their parts as a first call leaves them."""
    folder = tmp_path_factory.mktemp("pipeline")
    base = mistral_spm(folder / "base")
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    (base / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 8192}), encoding="utf-8")
    train_adapter(base, folder / "adapter", steps=6)
    make_parts(
        base, folder / "adapter", folder / "out" / "parts", schemes=("Q4_0", "Q8_0"), outtype="f16",
        data_dir=load_settings().data_dir, run=in_this_process,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def setup(folder: Path) -> Setup:
    prompts = write_talks(folder / "talks.jsonl")
    talks = load_talks(prompts)
    return Setup(
        base=folder / "base", adapter=folder / "adapter", out=folder / "out", data_dir=load_settings().data_dir,
        prompts=prompts, talks=talks, schemes=("Q4_0", "Q8_0"), max_tokens=8,
        machine=Machine(cache=folder / "kernels", threads=1, dtype="float32", kernels="tiled"),
        chats=chats_of(talks, "short"), chats_of="the histories of talks.jsonl",
    )  # fmt: skip


@pytest.fixture(scope="module")
def parts(folder: Path) -> Parts:
    """The files that are there: nothing is started."""
    return make_parts(
        folder / "base", folder / "adapter", folder / "out" / "parts", schemes=("Q4_0", "Q8_0"), outtype="f16",
        data_dir=folder, run=lambda words: pytest.fail(f"started {words}"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def summary(setup: Setup) -> dict[str, Any]:
    return Pipeline(setup, Letters(), arguments=["pipeline"]).run()


def test_every_step_leaves_its_artefact_and_its_figures(setup: Setup, summary: dict[str, Any]) -> None:
    assert [one["key"] for one in summary["steps"]] == STEPS
    names = [step.artefact for step in (*CHAIN, TOGETHER, ATTENTION)]
    assert [name for name in [*names, "pipeline.json", "ENVIRONMENT.md"] if not (setup.out / name).is_file()] == []
    for one in summary["steps"]:
        assert one["n"] == 2
        assert one["failures"] == 0
        assert one["calls"] == 2
        assert 0 < one["median_first_token"] <= one["median_latency"] <= one["p95_latency"]
    baseline = json.loads((setup.out / "baseline.json").read_text(encoding="utf-8"))
    assert {"median_latency", "p95_latency", "gpu_mem", "tokens_sent"} <= set(baseline)
    assert [one["id"] for one in baseline["samples"]] == ["talk-0", "talk-1"]
    assert "samples" not in summary["steps"][0]


def test_merging_and_converting_change_no_answer_and_no_token(summary: dict[str, Any]) -> None:
    adapter, merged, sixteen, quantised, persona, condensed = summary["steps"]
    assert merged["similarity"]["mean"] == pytest.approx(1.0, abs=1e-4)
    assert merged["perplexity_ratio"] == pytest.approx(1.0, abs=1e-3)
    assert sixteen["perplexity_ratio"] == pytest.approx(1.0, abs=0.01)
    assert adapter["tokens_sent"] == merged["tokens_sent"] == sixteen["tokens_sent"] == persona["tokens_sent"]
    assert quantised["weights_mb"] < sixteen["weights_mb"] < merged["weights_mb"] < adapter["weights_mb"]
    assert "perplexity" not in persona
    assert condensed["tokens_sent"] < persona["tokens_sent"]


def test_only_a_kept_persona_is_not_read_again(setup: Setup, summary: dict[str, Any]) -> None:
    by_key = {one["key"]: one for one in summary["steps"]}
    for key in ("adapter", "merged", "float", "quantised"):
        assert by_key[key]["tokens_read"] == by_key[key]["tokens_sent"], key
    assert by_key["persona"]["tokens_read"] < by_key["persona"]["tokens_sent"]
    assert len(system_prompts(setup.talks, "short")) == 2


def test_the_first_quantisation_that_loses_little_is_taken(setup: Setup, summary: dict[str, Any]) -> None:
    ratios = summary["schemes_tried"]
    chosen = summary["settings"]["scheme"]
    assert list(ratios)[-1] == chosen or ratios[chosen] <= 1.05
    assert json.loads((setup.out / "schemes.json").read_text(encoding="utf-8"))["ratios"] == ratios


def test_one_call_is_counted_beside_two(summary: dict[str, Any]) -> None:
    together = summary["beside"]["together"]
    assert together["two_calls"]["calls"] == 4
    assert 2 <= together["calls"] <= 4
    assert together["gain"] == gain(together["two_calls"], together, "calls")
    assert 0 <= together["one_call_enough"] <= 1
    assert together["answer_s"]["one call"] <= together["p95_latency"]


def test_without_a_card_the_step_says_why(summary: dict[str, Any]) -> None:
    if why_not() is None:
        pytest.skip("this machine has a card")
    attention = summary["beside"]["attention"]
    assert attention["skipped"].startswith("no GPU")
    assert attention["met"] is None


def test_what_is_there_is_kept_and_what_is_missing_is_measured(setup: Setup, summary: dict[str, Any]) -> None:
    for name in ("post_merge.json", "pipeline.json"):
        (setup.out / name).unlink()
    before = {step.artefact: _age(setup.out / step.artefact) for step in CHAIN if step.key != "merged"}
    again = Pipeline(setup, Letters(), arguments=["pipeline"]).run()
    assert {name: _age(setup.out / name) for name in before} == before
    assert again["steps"][0] == summary["steps"][0]
    assert again["steps"][1]["tokens_sent"] == summary["steps"][1]["tokens_sent"]


def _age(path: Path) -> int:
    return path.stat().st_mtime_ns


def test_an_artefact_that_was_measured_otherwise_is_refused(setup: Setup, summary: dict[str, Any]) -> None:
    with pytest.raises(EngineError, match=r"baseline\.json was measured otherwise \(max_tokens\)"):
        Pipeline(replace(setup, max_tokens=9), Letters()).run()


def test_perplexity_on_other_texts_of_the_same_name_is_refused(setup: Setup, summary: dict[str, Any]) -> None:
    other: list[list[ChatMessage]] = [
        [*chat[:-1], {"role": "assistant", "content": "Autre chose."}] for chat in setup.chats
    ]
    with pytest.raises(EngineError, match=r"measured otherwise \(scored\)"):
        Pipeline(replace(setup, chats=other), Letters()).run()


def test_what_a_machine_without_a_card_left_out_is_measured_where_there_is_one(
    setup: Setup, summary: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if why_not() is None:
        pytest.skip("this machine has a card")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    with pytest.raises((AssertionError, RuntimeError), match=r"(?i)cuda"):  # it is tried: torch finds no card here
        Pipeline(setup, Letters()).run()


def test_a_damaged_artefact_is_named(setup: Setup, summary: dict[str, Any]) -> None:
    path = setup.out / "baseline.json"
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole[:200], encoding="utf-8")
    try:
        with pytest.raises(EngineError, match=r"baseline\.json is damaged"):
            Pipeline(setup, Letters()).run()
    finally:
        path.write_text(whole, encoding="utf-8")


def test_an_interrupted_step_goes_on_with_the_talks_that_are_missing(
    setup: Setup, parts: Parts, tmp_path: Path
) -> None:
    samples = SampleFile(tmp_path, {"step": "quantised"})
    way = Way("short", max_tokens=4)

    def opening() -> Any:
        return setup.machine.open("quantised", parts, "Q4_0")

    put_talks(opening, setup.talks[:1], way, renewed=True, told=samples.add)
    told: list[str] = []
    kept = SampleFile(tmp_path, {"step": "quantised"}).done
    found = put_talks(opening, setup.talks, way, renewed=True, done=kept, told=lambda one: told.append(one.id))
    assert told == ["talk-1"]
    assert [one.id for one in found] == ["talk-0", "talk-1"]
    done = {one.id: one for one in found}

    def never() -> Any:
        raise EngineError("nothing is left to ask")

    assert put_talks(never, setup.talks, way, done=done) == found


def test_a_talk_that_fails_is_counted_and_the_others_go_on(setup: Setup, parts: Parts) -> None:
    machine = replace(setup.machine, n_ctx=100)  # too short for any of them
    found = put_talks(lambda: machine.open("quantised", parts, "Q4_0"), setup.talks, Way("short"), evaluate=TWO)
    assert [one.error is None for one in found] == [False, False]
    assert "conversation_too_long" in str(found[0].error)


def test_parts_of_another_adapter_are_refused(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "adapter"
    other.mkdir()
    for path in (folder / "adapter").iterdir():
        if path.is_file():
            (other / path.name).write_bytes(path.read_bytes())
    with (other / "adapter_model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x01")
    options: dict[str, Any] = {"schemes": ("Q8_0",), "outtype": "f16", "data_dir": tmp_path}
    with pytest.raises(EngineError, match="parts of another base or adapter"):
        make_parts(folder / "base", other, folder / "out" / "parts", **options)
    with pytest.raises(EngineError, match=r"The base .*nowhere is missing"):
        make_parts(tmp_path / "nowhere", other, tmp_path / "parts", **options)


def test_a_conversion_that_fails_is_named() -> None:
    with pytest.raises(EngineError, match=r"python -m json\.tool /nowhere ended with \d"):
        run_module(["json.tool", "/nowhere"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"base": Path("base")}, "Give both --base and --adapter"),
        ({"shape": "mistral"}, "Did you mean 'mistral-7b'"),
        ({"shape": "mistral-7b", "base": Path("b"), "adapter": Path("a")}, "makes its own base"),
        ({"layers": 2}, "--layers belongs to --shape"),
        ({"outtype": "f32"}, "expected f16 or bf16"),
        ({"dtype": "int8"}, "expected auto"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(EngineError, match=said):
        Given(**given)


def test_a_base_of_ones_own_is_measured_by_its_size(folder: Path, tmp_path: Path) -> None:
    given = Given(base=folder / "base", adapter=folder / "adapter", prompts=folder / "talks.jsonl", out=tmp_path)
    found = setup_for(given, tmp_path)
    assert (found.prefix, found.schemes[0], len(found.talks)) == ("short", "Q4_K_M", 2)
    assert found.chats_of == "the histories of talks.jsonl"
    with pytest.raises(EngineError, match="is missing, or has no"):
        setup_for(replace(given, base=tmp_path / "none"), tmp_path)


def test_the_embedded_base_is_made_when_it_is_missing(folder: Path, tmp_path: Path) -> None:
    asked: list[list[str]] = []
    given = Given(prompts=folder / "talks.jsonl")
    with pytest.raises(EngineError, match="demo-base is missing"):
        setup_for(given, tmp_path, lambda words: asked.append(list(words)))
    assert asked == [["conversion", "checkpoint", "--data-dir", str(tmp_path), "--out",
                      str(tmp_path / "checkpoints" / "demo-base")]]  # fmt: skip


def test_a_shape_keeps_its_layers_and_says_what_it_is(folder: Path, tmp_path: Path) -> None:
    asked: list[list[str]] = []
    given = Given(shape="mistral-7b", layers=3, prompts=folder / "talks.jsonl", out=tmp_path)
    found = setup_for(given, tmp_path, lambda words: asked.append(list(words)))
    assert asked == [["benchmarks.width", "--out", str(tmp_path), "--layers", "3"]]
    assert (found.random, found.prefix, found.machine.dtype, found.max_tokens) == (True, "full", "float32", 32)
    assert "3 of its 32 layers" in found.note
    with pytest.raises(EngineError, match="has 3 layers, not 4"):
        setup_for(replace(given, layers=4), tmp_path, lambda _: None)
    free = setup_for(replace(given, layers=None, out=tmp_path / "free"), tmp_path, lambda _: None)
    assert "as many as fit with" in free.note


def test_random_weights_are_timed_and_not_compared(setup: Setup, folder: Path, summary: dict[str, Any]) -> None:
    out = folder / "random"
    out.mkdir()
    (out / "parts").symlink_to(folder / "out" / "parts")
    for one in CHAIN[:-1]:
        (out / one.artefact).symlink_to(setup.out / one.artefact)  # only the last step is measured at random
    chosen = (summary["settings"]["scheme"],)
    found = Pipeline(replace(setup, out=out, schemes=chosen, random=True, note="at random"), Letters()).run()
    last = found["steps"][-1]
    assert "similarity" not in last
    assert "random weights" in last["quality"]
    assert "random weights" in found["beside"]["together"]["skipped"]
    assert found["total"]["similarity_met"] is None
    assert found["note"] == "at random"


def test_attention_settings_on_a_processor(setup: Setup, parts: Parts) -> None:
    prompts = [messages_for(talk, len, prefix="short", condensed=False) for talk in setup.talks[:1]]
    found = attention_settings(parts.merged, prompts, max_tokens=3, device="cpu", dtype="float32", graphs=False)
    assert list(found) == ["eager attention", "fused attention", "TF32"]
    assert all(one["median_latency"] > 0 and one["gpu_mem"] is None for one in found.values())


def test_table_and_picture(summary: dict[str, Any], tmp_path: Path) -> None:
    page = table(summary)
    assert "| tokens read | failed |" in page
    assert page.count("\n|") == 2 + len(CHAIN) + 1
    assert "no GPU" in page
    waterfall(summary, tmp_path / "w.png")
    with Image.open(tmp_path / "w.png") as picture:
        assert len(picture.getcolors() or []) <= 64
    assert (tmp_path / "w.png").stat().st_size < 60_000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w.png"]


def test_the_command_keeps_what_is_there_and_delivers(setup: Setup, summary: dict[str, Any], tmp_path: Path) -> None:
    place = tmp_path / "pipeline.json"
    words = ["pipeline", "--base", setup.base, "--adapter", setup.adapter, "--prompts", setup.prompts, "--out"]
    words += [setup.out, "--scheme", "Q4_0", "--scheme", "Q8_0", "--dtype", "float32", "--max-tokens", 8]
    words += ["--threads", 1, "--summary", place, "--json"]
    done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exit_code == 0, done.output
    delivered = json.loads(place.read_text(encoding="utf-8"))
    assert json.loads(done.stdout) == delivered
    assert delivered["steps"][0] == json.loads(json.dumps(summary["steps"][0]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pipeline.json", "pipeline.md", "pipeline.png"]


def a_sample(key: str, total_s: float | None, tokens: int = 100, cached: int = 0) -> Sample:
    error = "engine_failed: x" if total_s is None else None
    first = None if total_s is None else total_s / 2
    return Sample(key, key, "kant", "h", "Oui." if total_s else "", {"cached": cached, "calls": 1}, first, total_s,
                  tokens, 10, error)  # fmt: skip


def test_figures_leave_failures_out() -> None:
    run = Run("pipeline", 1, "x", {}, (a_sample("a", 1.0, 100, 40), a_sample("b", 3.0), a_sample("c", None)), {})
    found = figures(run)
    assert (found["n"], found["failures"], found["calls"]) == (3, 1, 2)
    assert found["median_latency"] == 2.0
    assert (found["tokens_sent"], found["tokens_read"]) == (200, 160)


@pytest.mark.parametrize(
    ("key", "found", "others", "gained", "met"),
    [
        ("adapter", {"median_latency": 4.0}, {}, None, None),
        ("merged", {"median_latency": 3.0}, {"adapter": {"median_latency": 4.0}}, 0.25, True),
        ("merged", {"median_latency": 3.9}, {"adapter": {"median_latency": 4.0}}, 0.025, False),
        ("merged", {"median_latency": 3.9}, {}, None, None),
        ("quantised", {"median_latency": 1, "perplexity_ratio": 1.04}, {"merged": {"median_latency": 2}}, 0.5, True),
        ("quantised", {"median_latency": 1, "perplexity_ratio": 1.06}, {"merged": {"median_latency": 2}}, 0.5, False),
        ("quantised", {"median_latency": 1}, {"merged": {"median_latency": 2}}, 0.5, None),
        ("quantised", {"median_latency": 2}, {"merged": {"median_latency": 2}}, 0.0, False),
        ("condensed", {"tokens_sent": 26, "failures": 5}, {"persona": {"tokens_sent": 60, "failures": 0}}, None, None),
        ("condensed", {"tokens_sent": 26, "failures": 0}, {"persona": {"tokens_sent": 60, "failures": 1}}, None, None),
        ("condensed", {"tokens_sent": 60}, {"persona": {"tokens_sent": 100}}, 0.4, True),
        ("together", {"calls": 12, "one_call_enough": 0.8}, {"two calls": {"calls": 20}}, 0.4, True),
        ("together", {"calls": 12, "one_call_enough": 0.6}, {"two calls": {"calls": 20}}, 0.4, False),
        ("attention", {"skipped": "no GPU"}, {}, None, None),
    ],
)  # fmt: skip
def test_verdicts(key: str, found: dict[str, Any], others: dict[str, Any], gained: float | None, met: bool) -> None:
    step = next(one for one in (*CHAIN, TOGETHER, ATTENTION) if one.key == key)
    said = verdict(step, found, others)
    assert (said["gain"], said["met"]) == (gained, met)


def test_the_whole_is_the_first_beside_the_last() -> None:
    first = {"key": "adapter", "median_latency": 9.0, "tokens_read": 1000, "similarity": {"mean": 1.0}}
    persona = {"key": "persona", "median_latency": 4.0, "tokens_read": 400, "similarity": {"mean": 0.95}}
    last = {"key": "condensed", "median_latency": 3.0, "tokens_read": 100, "similarity": {"mean": 0.9}}
    found = total([first, persona, last])
    assert (found["speed_up"], found["speed_up_met"]) == (3.0, True)
    assert (found["similarity_met"], found["similarity_before_condensing"]) == (False, 0.95)
    assert found["tokens_read_saved"] == 0.9
    failing = total([first, persona, {**last, "failures": 1}])
    assert (failing["speed_up"], failing["speed_up_met"], failing["tokens_read_saved"]) == (None, None, None)
    assert change(-0.5) == "+50.0 %"


def test_similarity_leaves_out_what_failed() -> None:
    found = similarity(Letters(), {"a": "la joie", "b": "le temps", "c": ""}, {"a": "la joie", "b": "", "c": "oui"})
    assert found is not None
    assert (found["n"], found["mean"]) == (1, 1.0)
    assert similarity(Letters(), {"a": ""}, {"a": ""}) is None


def test_the_benchmarks_own_talks_can_be_used() -> None:
    talks = load_talks(PROMPTS)
    assert len(talks) >= 10
    assert all(len(talk.conversation.turns) == 11 for talk in talks)
    whole = [messages_for(talk, len, prefix="full", condensed=False) for talk in talks]
    short = [messages_for(talk, lambda text: len(text) // 3, prefix="full", condensed=True) for talk in talks]
    assert all(len(a) > len(b) for a, b in zip(whole, short, strict=True))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"persona": "hegel"}, "hegel"),
        ({"history": [{"role": "user", "content": "a"}]}, "Two user turns"),
        ({"message": " "}, "empty"),
    ],
)
def test_a_wrong_talk_is_named(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = write_talks(tmp_path / "talks.jsonl", 1)
    row = json.loads(path.read_text(encoding="utf-8")) | change
    path.write_text(json.dumps(row, ensure_ascii=False), encoding="utf-8")
    with pytest.raises(EngineError, match=said):
        load_talks(path)


def test_two_talks_of_one_name_are_refused(tmp_path: Path) -> None:
    path = write_talks(tmp_path / "talks.jsonl", 1)
    path.write_text(path.read_text(encoding="utf-8") * 2, encoding="utf-8")
    with pytest.raises(EngineError, match="talk-0"):
        load_talks(path)
