"""Six axes, the score, what it decides; what a mean of vectors cannot know, shown on a real one; the commands."""

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from errors import RetrievalError
from retrieval.distill_commands import Given, open_measured, register
from retrieval.embedders import LlamaEmbedder, open_embedder
from retrieval.embedding_eval import (
    WEIGHTS,
    Axis,
    Words,
    decide,
    draw,
    evaluate_embedder,
    read_own,
    score_of,
    spearman,
    topics,
    unknowable,
    v_measure,
)

ROOT = Path(__file__).parents[2]
OWN = ROOT / "data" / "eval" / "embeddings.json"


def test_the_six_weigh_one_and_instructions_three_tenths() -> None:
    assert sum(WEIGHTS.values()) == pytest.approx(1)
    assert WEIGHTS["instructions"] == 0.30


@pytest.mark.parametrize(
    ("score", "instruction", "by_score", "with_instructions"),
    [
        (0.80, 0.70, "excellent: deploy", "deploy"),
        (0.76, 0.62, "excellent: deploy", "deploy after staging"),
        (0.70, 0.60, "excellent: deploy", "deploy after staging"),
        (0.65, 0.55, "good: deploy after staging", "deploy and monitor"),
        (0.62, 0.50, "fair: test further", "evaluate use cases"),
        (0.72, 0.30, "excellent: deploy", "abandon or optimise"),
        (0.59, 0.90, "poor: optimise", "abandon or optimise"),
        (None, 0.90, "not measured", "not measured"),
    ],
)
def test_the_tables_decide(score: float | None, instruction: float, by_score: str, with_instructions: str) -> None:
    assert decide(score, instruction) == {"by score": by_score, "with instructions": with_instructions}


def test_no_score_without_all_six() -> None:
    axes: dict[str, Axis | None] = {name: Axis(0.5, 1, "x", True) for name in WEIGHTS}
    assert score_of(axes) == pytest.approx(0.5)
    assert score_of({**axes, "topics": None}) is None


@pytest.mark.parametrize(
    ("found", "wanted", "value"),
    [([0, 0, 1, 1], [0, 0, 1, 1], 1), ([0, 1, 0, 1], [0, 0, 1, 1], 0), ([0, 1, 2, 3], [0, 0, 1, 1], 2 / 3)],
)
def test_v_measure(found: list[int], wanted: list[int], value: float) -> None:
    assert v_measure(found, wanted) == pytest.approx(value)


def test_spearman_of_a_constant_is_no_correlation() -> None:
    assert spearman(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])) == pytest.approx(-1)
    with pytest.warns(match="constant"):
        assert spearman(np.ones(3), np.arange(3)) == 0


def test_our_own_sets_are_what_they_say() -> None:
    own = read_own(OWN)
    kinds = {one["kind"] for one in own["instructions"]}
    assert kinds == {"subject", "task", "order", "negation"}
    for one in own["instructions"]:
        assert len({one["asked"], one["same"], one["other"]}) == 3
    words = Words()
    for one in own["instructions"]:
        if one["kind"] == "order":  # the very same words, whatever their order
            assert words.query(one["asked"]) @ words.query(one["other"]) == pytest.approx(1), one
    assert len({one["code"] for one in own["code"]}) == len(own["code"]) >= 20


@pytest.mark.parametrize("text", ["{", "[]", '{"instructions": [{"kind": "x"}], "code": []}'])
def test_a_wrong_set_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "own.json").write_text(text, encoding="utf-8")
    with pytest.raises(RetrievalError, match=r"own\.json is no set"):
        read_own(tmp_path / "own.json")


def test_without_the_public_sets_there_is_no_score(embedder: LlamaEmbedder, tmp_path: Path) -> None:
    result = evaluate_embedder(embedder, read_own(OWN), None, n_bytes=1000, limit=6)
    assert result["score"] is None
    assert result["decision"]["by score"] == "not measured"
    assert result["axes"]["topics"].startswith("not measured")
    assert 0 <= result["axes"]["code"]["value"] <= 1
    assert json.loads(json.dumps(result)) == result
    draw([result, result], tmp_path / "axes.png")
    assert (tmp_path / "axes.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(RetrievalError, match="'similarity' cannot be read"):
        evaluate_embedder(embedder, read_own(OWN), tmp_path, n_bytes=None, limit=2)


def test_a_mean_of_words_cannot_know_their_order(embedder: LlamaEmbedder) -> None:
    assert unknowable(Words(), read_own(OWN))["order is lost"] is True
    assert unknowable(embedder, read_own(OWN))["order is lost"] is False


def write_corpora(folder: Path) -> Path:
    """Write the public sets in miniature."""
    sets = folder / "retrieval_eval"
    (sets / "sts_fr").mkdir(parents=True)
    (sets / "sts_fr" / "stsb-fr-test.csv").write_text(
        "Un chat dort.,Un chat dort.,5\nUn chat dort.,Le roi mange.,0\nLe roi mange.,Le roi dort.,2\n", encoding="utf-8"
    )
    (sets / "piaf").mkdir()
    rows = [{"id": f"{t}{n}", "title": t, "text": f"{t} {t} numéro {n}"} for t in ("chat", "roi") for n in range(4)]
    (sets / "piaf" / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    question = {"id": "q", "question": "chat ?", "relevant": ["chat0"]}
    (sets / "piaf" / "queries.jsonl").write_text(json.dumps(question), encoding="utf-8")
    (sets / "bitext_fra_eng").mkdir()
    (sets / "bitext_fra_eng" / "tatoeba.fra-eng.fra").write_text("Paris brille.\nMozart joue.\n", encoding="utf-8")
    (sets / "bitext_fra_eng" / "tatoeba.fra-eng.eng").write_text("Paris shines.\nMozart plays.\n", encoding="utf-8")
    (folder / "instruct").mkdir()
    turns = [[f"Parle de {w}", f"Voici {w}"] for w in ("chats", "rois", "sucre")]
    talks = [{"messages": [{"role": "user", "content": a}, {"role": "assistant", "content": b}]} for a, b in turns]
    (folder / "instruct" / "oasst_fr_top1.jsonl").write_text("\n".join(map(json.dumps, talks)), encoding="utf-8")
    return folder


def test_all_six_on_sets_that_words_alone_solve(tmp_path: Path) -> None:
    result = evaluate_embedder(Words(), read_own(OWN), write_corpora(tmp_path), n_bytes=2_000_000)
    values = {name: axis["value"] for name, axis in result["axes"].items()}
    assert values["similarity"] == pytest.approx(1)
    assert values["topics"] == pytest.approx(1)
    assert values["alignment"] == values["conversation"] == 1
    assert result["score"] == pytest.approx(sum(WEIGHTS[name] * value for name, value in values.items()))
    assert result["quality_per_mb"] == pytest.approx(result["score"] / 2)
    assert result["cannot_know"]["evidence"]["cosine with the same words backwards, least"] == pytest.approx(1)


def test_one_heap_is_no_clustering(tmp_path: Path) -> None:
    corpora = write_corpora(tmp_path)
    assert topics(Words(), corpora, limit=2) is None
    limited = topics(Words(), corpora, limit=4)
    assert limited
    assert limited.set == "PIAF, paragraphs of 2 articles"


ALONE = Given(Path, lambda: None, open_embedder, lambda _: nullcontext(lambda *_: None))  # without corpora


def invoke(*arguments: str) -> Result:
    app = typer.Typer()
    register(app, ALONE)
    return CliRunner().invoke(app, arguments)


def test_nothing_is_best_of_what_was_not_measured(tiny_bert: Path) -> None:
    done = invoke("embeddings-compare", "words", f"gguf:{tiny_bert}", "--limit", "2", "--json")
    result = json.loads(done.stdout)
    assert (result["ranking"], result["best_quality_per_mb"], len(result["models"])) == ([], None, 2)


def test_what_stands_in_the_way_of_a_result_is_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "b.png").touch()
    for name, said in (("a.png", "end it with"), ("b.json", "b.png exists"), ("b.png/c.json", "cannot be written")):
        assert said in str(invoke("embeddings-eval", "no such embedder", "--out", str(tmp_path / name)).exception)


def test_a_teacher_of_the_hub_has_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it lies in the Hub's cache, without a network."""
    pytest.importorskip("torch")
    constants = pytest.importorskip("huggingface_hub").constants
    from tests.retrieval.teachers import write_bert

    cache = tmp_path / "models--owner--name"
    write_bert(cache / "snapshots" / "0123")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0123")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    teacher, size = open_measured("hf:owner/name", ALONE)
    assert size
    assert size > (cache / "snapshots" / "0123" / "model.safetensors").stat().st_size
    teacher.close()


def run(*arguments: str, corpora: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "retrieval", *arguments], cwd=ROOT, capture_output=True, text=True, check=False,
        timeout=120, env={**os.environ, "BAF_CORPORA_DIR": str(corpora)},
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done


@pytest.mark.proof
def test_the_commands_from_teacher_to_comparison(tmp_path: Path, tiny_bert: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("skeletoken")
    from tests.retrieval.teachers import TEXTS, write_bert

    corpora = write_corpora(tmp_path / "corpora")
    (corpora / "questions").mkdir()
    (corpora / "questions" / "sujets.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    teacher, out = str(write_bert(tmp_path / "teacher")), tmp_path / "static"
    done = run("distill", "--teacher", teacher, "--out", str(out), "--dim", "16", "--french-vocabulary", "90", "--int8",
               "--json", corpora=corpora)  # fmt: skip
    made = json.loads(done.stdout)
    assert (made["dimensions"], made["number"]) == (16, "int8")
    result = tmp_path / "model_comparison_results.json"
    specs = ("words", f"model2vec:{out}", f"gguf:{tiny_bert}")
    run("embeddings-compare", *specs, "--out", str(result), "--limit", "8", corpora=corpora)
    compared = json.loads(result.read_text(encoding="utf-8"))
    assert sorted(compared["ranking"]) == ["static", "tiny-e5.gguf", "words"]
    static = next(one for one in compared["models"] if one["model"]["name"] == "static")
    assert static["megabytes"] > 0
    assert static["texts_per_s"] > 0
    assert result.with_suffix(".png").is_file()
    again = run("embeddings-eval", "words", "--out", str(result), corpora=corpora, code=1)
    assert "never overwritten silently" in again.stderr
    assert len(again.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("embeddings-eval", "word2vec:x"), "No embedder 'word2vec:x'"),
        (("embeddings-compare", "words", "words"), "Two different embedders"),
        (("distill", "--teacher", "no/such/folder", "--out", "{}/x"), "is no teacher"),
        (("distill", "--teacher", "e5", "--out", "{}/x", "--pairs", "{}/none.jsonl"), "cannot be read as pairs"),
    ],
)
def test_an_error_is_one_line(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = run(*(one.replace("{}", str(tmp_path)) for one in arguments), corpora=tmp_path, code=1)
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
