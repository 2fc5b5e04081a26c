"""Runs side by side: comparison, ablation, decisions, gate and report, on figures made here and on a tiny engine."""

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from errors import EngineError
from evaluation import ablation, decisions, gate, report
from evaluation.__main__ import app
from evaluation.cli_common import model_of
from evaluation.compared import Compared, column, unique_names
from evaluation.comparison import compare_runs, render
from evaluation.pages import save_small
from evaluation.report_sections import NOT, SHIPS, read_pipeline
from evaluation.requirements import WEIGHTS
from evaluation.runs import Run, Sample, load_run, save_run
from evaluation.scheme_task import scheme_task
from evaluation.similarity_task import similarity_on
from evaluation.statistics import Estimate, Pair
from retrieval.embedders import EmbedderId

ROOT = Path(__file__).parents[2]
N = 60


def a_run(right: Sequence[float], *, metric: str = "accuracy", engine: str = "gguf:m.gguf", **more: Any) -> Run:
    """Return a run with one item for each figure, three items from each source."""
    samples = tuple(
        Sample(f"q{at:03}", f"source{at // 3}", "kant", f"{at:064x}", "Donc.", {metric: float(value)}, 0.1, 0.5, 10, 5)
        for at, value in enumerate(right)
    )
    about = {"machine": {"cores": 2, "cpu": "a processor"}, "date": "2026-11-22T00:00:00", "command": "python -m x"}
    return Run(more.pop("task", "schemes"), more.pop("version", 1), engine, more, samples, about)


def chance(share: float, seed: int, n: int = N) -> list[float]:
    return [float(one) for one in np.random.default_rng(seed).random(n) < share]


GOOD, BAD = chance(0.8, 1), chance(0.2, 2)


def test_a_model_beside_itself_and_a_worse_one() -> None:
    runs = {"a": a_run(GOOD), "again": a_run(GOOD), "worse": a_run(BAD)}
    found = compare_runs(runs, "accuracy")
    same, worse = found["pairs"][0], found["pairs"][1]
    assert (same["difference"], same["different"], worse["different"]) == (0, False, True)
    assert found["conclusion"][0].startswith("again and a are not told apart")
    assert found["conclusion"][1].startswith("worse is worse than a")
    assert found["decision"] is None
    page = render(found)
    assert "| worse − a |" in page
    assert "# accuracy: 3 models on 60 documents" in page


def test_requirements_come_with_the_rule() -> None:
    full = dict.fromkeys(WEIGHTS, 1.0)
    runs = {}
    for name, value in (("base", 0.8), ("tuned", 0.93)):
        made = a_run([value] * 12, metric="requirements", task="requirements")
        runs[name] = replace(made, samples=tuple(replace(s, metrics={**full, **s.metrics}) for s in made.samples))
    found = compare_runs(runs, "requirements")
    assert found["decision"]["verdict"] == "adopt"
    assert "**Adopt tuned.**" in render(found)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (a_run(GOOD[:-1]), "answer different documents, e.g. 'q059'"),
        (a_run(GOOD, metric="grade"), "answer different documents"),
    ],
)
def test_runs_that_cannot_be_compared(other: Run, why: str) -> None:
    with pytest.raises(EngineError, match=why):
        compare_runs({"a": a_run(GOOD), "b": other}, "accuracy")
    with pytest.raises(EngineError, match="no metric 'beauty'; it has accuracy"):
        column({"a": a_run(GOOD)}, "beauty")


def estimate_of(points: float, half: float = 2) -> Estimate:
    return Estimate(points / 100, (points - half) / 100, (points + half) / 100, 22, 22)


@pytest.mark.parametrize(
    ("points", "costs", "verdict", "said"),
    [
        (95, {"coverage": 5}, "adopt", "config.yaml"),
        (90, {"coverage": 10}, "adopt", "config.yaml"),
        (87, {"schema": 10, "coverage": 3}, "between", "not surely above"),
        (88, {"coverage": 10, "schema": 2}, "between", "above the baseline and under 90"),
        (85.35, {"ids": 9, "coverage": 6}, "keep", "200 documents"),
        (70, {"coverage": 20, "schema": 10}, "keep", "larger base"),
        (0, {name: float(weight) for name, weight in WEIGHTS.items()}, "keep", "does not hold the form"),
    ],
)
def test_adopt_or_keep(points: float, costs: dict[str, float], verdict: str, said: str) -> None:
    """The rule of the brief, at its edges: 90 adopts, 85.35 is not better than 85.35."""
    found = decisions.adopt_or_keep("tuned", estimate_of(points), costs)
    assert found.verdict == verdict
    assert said in " ".join([found.title, *found.next_steps]) or said.capitalize() in " ".join(found.next_steps)


def figures(accuracy: float, latency: float | None) -> decisions.Figures:
    return decisions.Figures("one", estimate_of(100 * accuracy), latency, "here")


def pair(difference: float, different: bool) -> Pair:
    return Pair("a", "b", difference, difference - 0.1, difference + 0.1, 0.01, 0.01, different)


FASTER, SLOWER, AS_FAST = pair(-3.0, True), pair(55.0, True), pair(-0.1, False)


@pytest.mark.parametrize(
    ("free", "prompts", "gap", "wait", "option", "justified"),
    [
        ((0.8, 5.0), (0.4, 5.0), pair(0.15, True), FASTER, "A", True),
        ((0.8, 5.0), (0.4, 5.0), pair(0.15, True), SLOWER, "A", False),
        ((0.8, 5.0), (0.4, 5.0), pair(0.15, True), AS_FAST, "A", False),
        ((0.8, 5.0), (0.4, 5.0), pair(0.15, True), None, "A", None),
        ((0.8, 5.0), (0.4, 5.0), pair(0.05, False), FASTER, "A", False),
        ((0.8, 5.0), (0.4, 5.0), None, None, "A", None),
        ((0.8, 20.0), (0.76, 14.9), pair(0.15, True), FASTER, "B", True),
        ((0.75, 5.0), (0.4, 5.0), pair(0.3, True), FASTER, "C", True),
        ((0.75, 5.0), (0.4, 5.0), pair(-0.3, True), FASTER, "none", False),
        ((0.8, None), (0.4, None), None, None, "none", None),
        ((0.8, 15.0), (0.4, 3.0), None, None, "none", None),
    ],
)
def test_free_and_premium(
    free: tuple[float, float | None],
    prompts: tuple[float, float | None],
    gap: Pair | None,
    wait: Pair | None,
    option: str,
    justified: bool | None,
) -> None:
    """Viable under 15 s and over 75 %, both strictly; premium by two significant gaps, in quality and in seconds."""
    premium = None if gap is None else figures(0.95, 2)
    found = decisions.freemium(figures(*free), figures(*prompts), pair(0.3, True), premium, gap, wait)
    assert (found.option, found.premium_justified) == (option, justified)
    assert [name[0] for name, _ in found.options] == ["A", "B", "C"]
    with pytest.raises(EngineError, match="go together"):
        decisions.freemium(figures(*free), figures(*prompts), pair(0.3, True), figures(0.9, 1), None)


def four(*shares: float) -> dict[str, Run]:
    return {name: a_run(chance(share, at)) for at, (name, share) in enumerate(zip(ablation.CELLS, shares, strict=True))}


def test_ablation_finds_what_helps() -> None:
    found = ablation.ablate(four(0.1, 0.1, 0.85, 0.9), premium=a_run(chance(0.95, 9)))
    assert found["effects"]["LoRA"]["sure"]
    assert not found["effects"]["prompts"]["sure"]
    assert any(line.startswith("The adapter helps") for line in found["conclusion"])
    assert any(line.startswith("The prompts: no effect shown") for line in found["conclusion"])
    assert found["freemium"]["free_viable"] is True
    assert found["freemium"]["premium_justified"] is False
    page = ablation.render(found)
    assert "| LoRA + prompts |" in page
    assert "## Free and premium" in page
    with pytest.raises(EngineError, match="has the cells base, prompts only"):
        ablation.ablate({"base": a_run(GOOD)})


def test_a_model_that_was_not_there_is_no_model_that_knows_nothing() -> None:
    cells = four(0.1, 0.1, 0.85, 0.9)
    lost = tuple(replace(one, error="model_missing: base.gguf is missing") for one in cells["base"].samples)
    with pytest.raises(EngineError, match=r"answered nothing\. The first error: model_missing"):
        ablation.ablate({**cells, "base": replace(cells["base"], samples=lost)})


@pytest.mark.parametrize(("seconds", "justified"), [(0.3, True), (60.0, False), (None, None)])
def test_a_premium_that_is_better_and_slower_earns_no_price(seconds: float | None, justified: bool | None) -> None:
    """Seconds are compared over what both answered; of nothing timed, nothing is said."""
    best = a_run([1.0] * N)
    premium = replace(best, samples=tuple(replace(one, total_s=seconds) for one in best.samples))
    found = ablation.ablate(four(0.1, 0.1, 0.3, 0.4), premium=premium)["freemium"]
    assert found["premium_justified"] is justified
    assert any("wait against free" in line for line in found["reasons"]) is (seconds is not None)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (("hf:base", None, None), "Give either --adapter"),
        (("hf:base", "a", "gguf:b"), "Give either --adapter"),
        (("gguf:base", "a", None), "takes no adapter"),
        (("hf:base+a", "b", None), "takes no adapter"),
        (("hf:base@prompt=plain", "a", None), "sets the prompts itself"),
    ],
)
def test_ablation_specs(given: tuple[str, str | None, str | None], why: str) -> None:
    assert ablation.specs_of("hf:b", "dir", None, "persona").both == "hf:b+dir@prompt=persona"
    assert ablation.specs_of("gguf:b", None, "gguf:m", "persona").lora == "gguf:m@prompt=plain"
    with pytest.raises(EngineError, match=why):
        ablation.specs_of(*given, "persona")


def test_the_gate(tmp_path: Path) -> None:
    """The same model passes, a little noise passes, a worse model does not, and the command says so by its status."""
    committed = tmp_path / "model-gate.json"
    shipped, run = CliRunner(), a_run(GOOD)
    folder = save_run(run, tmp_path / "shipped")
    assert shipped.invoke(app, gate_call(folder, committed, "--adopt")).exit_code == 0
    refused = shipped.invoke(app, gate_call(folder, committed, "--adopt"))
    assert isinstance(refused.exception, EngineError)
    assert gate.judge(run, gate.load_figures(committed)).passed
    noisy = [1 - value if at in (3, 40) else value for at, value in enumerate(GOOD)]
    assert gate.judge(a_run(noisy), gate.load_figures(committed)).passed
    worse = save_run(a_run(BAD), tmp_path / "worse")
    done = shipped.invoke(app, gate_call(worse, committed, "--json"))
    assert done.exit_code == 1
    assert json.loads(done.stdout.splitlines()[0])["passed"] is False
    assert shipped.invoke(app, gate_call(folder, committed)).exit_code == 0


def gate_call(candidate: Path, committed: Path, *more: str) -> list[str]:
    return ["gate", "--candidate", str(candidate), "--committed", str(committed), *more]


def test_the_gate_seldom_refuses_a_model_that_is_no_worse(tmp_path: Path) -> None:
    """Of 200 models as good as the committed one, at most 5 % are refused."""
    hardness = np.random.default_rng(0).beta(1, 1, N)
    rng = np.random.default_rng(1)

    def drawn() -> Run:
        return a_run((rng.random(N) < hardness).astype(float).tolist())

    assert sum(not gate.judge(drawn(), drawn()).passed for _ in range(200)) <= 10


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (a_run(GOOD, version=2), "schemes version 2"),
        (a_run(GOOD[:-1]), "answer different items, 1 of them"),
        (a_run(GOOD, metric="beauty"), "No common metric"),
        *(
            (a_run(GOOD, **{name: "another"}), f"differ in {name}")
            for name in ("set_sha256", "split", "sampling", "own_layout", "scorer_sha256", "embedder")
        ),
        (replace(a_run(BAD), samples=tuple(replace(s, error="x: y") for s in a_run(BAD).samples)), "answered nothing"),
        (
            replace(a_run(GOOD), samples=tuple(replace(s, prompt_hash="f" * 64) for s in a_run(GOOD).samples)),
            "60 prompts",
        ),
    ],
)
def test_the_gate_judges_like_with_like(other: Run, why: str) -> None:
    with pytest.raises(EngineError, match=why):
        gate.judge(other, a_run(GOOD))


def test_what_may_not_be_adopted(tmp_path: Path) -> None:
    """A run that answered nothing, or a part of the set; an adopted one keeps its answers."""
    run, path = a_run(GOOD), tmp_path / "model-gate.json"
    for other, why in (
        (replace(run, samples=tuple(replace(one, error="x: y") for one in run.samples)), "answered nothing"),
        (a_run(GOOD, limit=60), "--limit"),
    ):
        with pytest.raises(EngineError, match=why):
            gate.write_compact(other, path, ["accuracy"])
    gate.write_compact(a_run(GOOD, limit=None), path, ["accuracy"])
    assert {one.response for one in gate.load_figures(path).samples} == {"Donc."}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"kind": "other"}', '{"kind": "model-gate", "samples": [1]}'])
def test_a_broken_committed_run_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "model-gate.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(EngineError, match="model-gate"):
        gate.load_figures(path)
    with pytest.raises(EngineError, match="nothing"):
        gate.load_figures(tmp_path / "nothing.json")


def test_the_report_of_what_is_there(tmp_path: Path) -> None:
    """Files are known by their keys; a broken one is named; nothing of a file can become markup."""
    evil = "<script>alert(1)</script>"
    found = {**ablation.ablate(four(0.1, 0.1, 0.3, 0.4)), "environment": {"date": "2026-11-22", "command": evil}}
    (tmp_path / "ablation.json").write_text(json.dumps(found), encoding="utf-8")
    Image.new("RGB", (60, 40), "#9a3324").save(drawn := io.BytesIO(), format="png")
    save_small(drawn.getvalue(), tmp_path / "ablation.png")
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    (tmp_path / "list.json").write_text("[1]", encoding="utf-8")
    (tmp_path / "context.json").write_text('{"tokens": {}, "talks": 1, "met": true}', encoding="utf-8")
    (tmp_path / "other.json").write_text(json.dumps({"kind": evil, "speed": {"x|y": 2.5}}), encoding="utf-8")
    gate.write_compact(a_run(GOOD), tmp_path / "model-gate.json", ["accuracy"])
    save_run(a_run(BAD), tmp_path / "run")
    out = tmp_path / "report"
    done = CliRunner().invoke(app, ["report", str(tmp_path), "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    page, markdown = ((out / name).read_text(encoding="utf-8") for name in ("index.html", "README.md"))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert 'src="data:image/png;base64,' in page
    assert not any(sign in page for sign in ('src="http', "<link", "@import", "url("))
    for name in ("broken.json", "list.json", "context.json"):
        assert name in markdown.split("could not be read")[1]
    assert "ships as a demonstration" in markdown
    assert "| speed · x\\|y | 2.5 |" in markdown
    assert "A run of schemes" in markdown
    again = CliRunner().invoke(app, ["report", str(tmp_path), "--out", str(out)])
    assert isinstance(again.exception, EngineError)


def test_our_own_results_are_all_read() -> None:
    found = report.collect(report.find([ROOT / "benchmarks" / "results"]))
    assert found.unread == ()
    assert {"The embedded model's file (Q8_0)", "The server under load"} <= {one.subject for one in found.rulings}
    assert all(one.why and one.verdict for one in found.rulings)
    report.render_html(found)


@pytest.mark.parametrize(
    ("speed", "likeness", "verdict"), [(3.1, 0.93, SHIPS), (3.1, 0.7, NOT), (3.1, None, NOT), (None, 0.93, NOT)]
)
def test_the_chain_ships_when_it_is_fast_and_says_the_same(
    speed: float | None, likeness: float | None, verdict: str
) -> None:
    total = {"speed_up": speed, "speed_up_met": speed and speed >= 3, "similarity": likeness,
             "similarity_met": likeness and likeness >= 0.92}  # fmt: skip
    data = {"total": total, "steps": [], "note": "", "origin": {"base": {"name": "b"}}}
    _, rulings = read_pipeline(Path("pipeline.json"), data)
    assert [one.verdict for one in rulings] == [verdict]


@pytest.mark.parametrize("given", [[], ["nowhere.json"]])
def test_nothing_to_report(given: list[str], tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"is not there|No result file"):
        report.find([tmp_path / name for name in given] or [tmp_path])


class Lengths:
    """An embedder whose vectors say how long a text is: near texts are near."""

    id = EmbedderId("lengths", "0", 2)

    def query(self, text: str) -> np.ndarray:
        row: np.ndarray = self.passages([text])[0]
        return row

    def passages(self, texts: Sequence[str]) -> np.ndarray:
        angles = np.array([min(len(text), 90) for text in texts]) * np.pi / 180
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)

    def close(self) -> None:
        return


def test_similarity_is_to_the_reference_of_each(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    lines = [json.dumps({"question": "Q ?", "reference": "a" * length}) for length in (10, 80)]
    chat = {"messages": [{"role": "user", "content": "Q ?"}, {"role": "assistant", "content": "b" * 40}], "id": "chat"}
    path.write_text("\n".join([*lines, json.dumps(chat), "{", '{"question": "Q ?"}']), encoding="utf-8")
    compared = similarity_on(Lengths(), path)
    first, second, third, broken, without = compared.task.documents
    found = compared.task.measure(first, "c" * 10)
    assert found["similarity"] == pytest.approx(1, abs=1e-6)
    assert found["chance"] == pytest.approx(np.cos(np.pi / 6), abs=1e-6)  # the chat's reference, before it in a ring
    assert compared.task.measure(second, "c" * 10)["similarity"] < 0.5
    assert (third.id, third.broken) == ("chat", None)
    assert "no JSON" in str(broken.broken)
    assert "no question with a reference" in str(without.broken)
    messages, _ = compared.task.prompt(first, "plain", 1)
    assert messages == [{"role": "user", "content": "Q ?"}]
    with pytest.raises(EngineError, match="optimised"):
        compared.spec("gguf:x@prompt=optimised")


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    asked = [{"id": f"q{n}", "scheme": "MP", "philosopher": "kant", "question": f"Pourquoi {n} ?"} for n in range(3)]
    path.write_text("\n".join(map(json.dumps, asked)), encoding="utf-8")
    return path


def test_engines_are_asked_once_and_a_stopped_comparison_goes_on(
    tiny_gguf: Path, questions: Path, tmp_path: Path
) -> None:
    """The tiny model beside itself and an engine that is not there: its failures are counted, the rest is measured."""
    specs = [f"gguf:{tiny_gguf}@prompt=plain", f"gguf:{tiny_gguf}@prompt=plain", "gguf:nowhere.gguf"]
    out = tmp_path / "out"
    call = ["compare", *specs, "--set", str(questions), "--threads", "1", "--out", str(out), "--json"]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    found = json.loads((out / "compare.json").read_text(encoding="utf-8"))
    assert list(found["models"]) == list(unique_names(specs))
    assert [one["failures"] for one in found["models"].values()] == [0, 0, 3]
    assert found["pairs"][0]["difference"] == 0
    assert "With 3 independent documents no difference could be shown" in found["conclusion"][-1]
    assert (out / "compare.png").stat().st_size < 20_000
    refused = CliRunner().invoke(app, call)
    assert "never overwritten" in str(refused.exception)
    (out / "compare.json").unlink()
    samples = {path: path.stat().st_mtime_ns for path in out.glob("gguf-tiny*/samples.jsonl")}
    assert len(samples) == 2
    assert CliRunner().invoke(app, call).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in samples} == samples
    saved = [f"run:{path.parent}" for path in samples]
    other = tmp_path / "other"
    assert CliRunner().invoke(app, ["compare", *saved, "--set", str(questions), "--out", str(other)]).exit_code == 0
    questions.write_text(questions.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    (out / "compare.json").unlink()
    stale = CliRunner().invoke(app, call)
    assert "a run with another set_sha256" in str(stale.exception)


def test_a_run_of_another_set_scorer_or_machine_is_no_run_of_this(
    tiny_gguf: Path, questions: Path, tmp_path: Path
) -> None:
    spec, folder = f"gguf:{tiny_gguf}@prompt=plain", tmp_path / "run"
    task = scheme_task([questions], max_tokens=4)
    compared = Compared(task, "accuracy", ("plain",))
    run = compared.run(spec, folder, threads=1)
    assert compared.run(spec, folder, threads=1) == run
    for how in ({"threads": 2}, {"threads": 1, "deadline_s": 5.0}, {"threads": 1, "own_layout": True}):
        with pytest.raises(EngineError, match=f"another {list(how)[-1]}"):
            compared.run(spec, folder, **how)
    for name in ("set_sha256", "scorer_sha256"):
        other = replace(compared, task=replace(task, settings={**task.settings, name: "another"}))
        with pytest.raises(EngineError, match=f"another {name}: measure it anew"):
            other.check([f"run:{folder}"])
    elsewhere = replace(run, environment={**run.environment, "machine": {"cpu": "another", "cores": 1}})
    save_run(elsewhere, folder, force=True)
    with pytest.raises(EngineError, match="another cpu"):
        compared.run(spec, folder, threads=1)
    assert compared.saved(folder) == load_run(folder)  # `run:FOLDER` may come from any machine


def test_a_checkpoint_is_known_by_its_weights_and_its_adapter_s(tmp_path: Path) -> None:
    """An adapter that was trained again in place is another model."""
    for name in ("base", "adapter"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(name.encode())
    spec = f"hf:{tmp_path / 'base'}+{tmp_path / 'adapter'}"
    before, base = model_of(spec), model_of(f"hf:{tmp_path / 'base'}")
    assert before["sha256"] not in (None, base["sha256"])
    (tmp_path / "adapter" / "model.safetensors").write_bytes(b"trained again")
    assert model_of(spec)["sha256"] not in (None, before["sha256"])
    assert model_of(f"hf:{tmp_path / 'base'}") == base
    assert model_of("ollama:mistral:7b") == {"name": "mistral:7b", "sha256": None}


def test_an_ablation_from_the_command_line(tiny_gguf: Path, questions: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    call = ["ablation", "--base", f"gguf:{tiny_gguf}", "--adapted", f"gguf:{tiny_gguf}", "--set", str(questions)]
    done = CliRunner().invoke(app, [*call, "--limit", "2", "--threads", "1", "--out", str(out)])
    assert done.exit_code == 0, done.output
    found = json.loads((out / "ablation.json").read_text(encoding="utf-8"))
    assert list(found["cells"]) == list(ablation.CELLS)
    assert found["cells"]["base"]["n"] == 2
    assert found["freemium"]["option"] == "none"
    assert sorted(path.name for path in out.iterdir() if path.is_file()) == [
        "ablation.json", "ablation.md", "ablation.png",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (["compare", "gguf:a"], "two engines at least"),
        (["compare", "gguf:a", "gguf:b", "--metric", "beauty"], "known are schemes, requirements, similarity"),
        (["compare", "gguf:a@prompt=plian", "gguf:b"], "Did you mean 'plain'"),
        (["compare", "gguf:a@prompt=persona", "gguf:b", "--metric", "requirements"], "Known: plain, optimised"),
        (["compare", "run:nowhere", "gguf:b"], "nowhere has no run"),
        (["compare", "a", "b", "--metric", "requirements", "--set", "x", "--set", "y"], "takes one --set"),
        (["gate", "--candidate", "nowhere"], "nowhere"),
    ],
)
def test_a_wrong_call_is_refused_before_anything_is_asked(call: list[str], why: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [*call, *(["--out", str(tmp_path)] if call[0] == "compare" else [])])
    assert isinstance(done.exception, EngineError)
    assert why in str(done.exception)
