"""The measures by hand, the intervals by a known case, the sets by their files, and a whole evaluation."""

import json
from pathlib import Path

import numpy as np
import pytest

from errors import RetrievalError
from retrieval import scoring
from retrieval.cut import Paragraph, cut
from retrieval.embedders import LlamaEmbedder
from retrieval.passages import Filter, Passage
from retrieval.rerank import SentenceReranker
from retrieval.scoring import EvalSet, Question, interval, measures_of
from retrieval.store import Searcher

ROOT = Path(__file__).parents[2]
PASSAGES = tuple(
    Passage(f"p{i}", text, author="Kant" if i % 2 else "Spinoza")
    for i, text in enumerate(["Le sucre fond.", "La joie grandit.", "La loi oblige.", "Le temps dure.", "Un ami ment."])
)
EMBEDDED = tuple(one.text for one in PASSAGES)


@pytest.mark.parametrize(
    ("ranked", "relevant", "expected"),
    [
        (["a", "b"], {"a"}, [1, 1, 1, 1, 1]),
        (["x", "a"], {"a", "b"}, [0, 1, 1, 0.5, (1 / np.log2(3)) / (1 + 1 / np.log2(3))]),
        ([*"mnopqr", "a"], {"a"}, [0, 0, 1, 1 / 7, 1 / np.log2(8)]),
        ([*"mnopqrstuv", "a"], {"a"}, [0, 0, 0, 0, 0]),
        ([], {"a"}, [0, 0, 0, 0, 0]),
    ],
)
def test_measures(ranked: list[str], relevant: set[str], expected: list[float]) -> None:
    assert measures_of(ranked, frozenset(relevant)) == pytest.approx(expected)


def test_an_interval_is_wider_when_questions_share_a_cluster() -> None:
    rng = np.random.default_rng(1)
    own = rng.normal(0.1, 0.5, 40)
    differences = np.repeat(own, 10)
    alone = interval(differences, [str(i) for i in range(400)])
    together = interval(differences, [str(i // 10) for i in range(400)])
    assert alone[0] < differences.mean() < alone[1]
    assert together[1] - together[0] > 2 * (alone[1] - alone[0])
    assert interval(np.zeros(5), list("abcde")) == (0, 0)
    assert interval(np.ones(3), list("aaa")) == (1, 1)
    assert interval(np.full(4, 0.5), list("aabc")) == (0.5, 0.5)  # JSON has no NaN


def test_a_whole_evaluation(embedder: LlamaEmbedder) -> None:
    questions = tuple(Question(f"q{i}", one.text, frozenset({one.id}), f"c{i}") for i, one in enumerate(PASSAGES))
    nothing = Question("q9", "zzz", frozenset(), "c9", Filter(author="kant"))
    chosen = EvalSet("small", PASSAGES, (*questions, nothing), EMBEDDED)
    searcher = scoring.open_searcher(chosen, embedder, lambda _: None)
    again = Searcher(searcher.store, embedder, reranker=SentenceReranker(embedder))
    result = scoring.evaluate(chosen, searcher, lambda _: None, again)
    names = ["words", "vectors", "both", "both, reranked", scoring.TUNED]
    assert [row["name"] for row in result["rows"]] == names
    assert result["rows"][0]["means"]["R@1"] == 1
    assert (result["questions"], result["unanswered"]) == (5, 1)
    assert result["threshold"]["held back where nothing does"] in (0, 1)
    assert json.loads(json.dumps(result)) == result


def test_without_an_embedder_words_are_measured_alone() -> None:
    chosen = EvalSet("small", PASSAGES, (Question("q", "le sucre", frozenset({"p0"}), "c"),), EMBEDDED)
    result = scoring.evaluate(chosen, scoring.open_searcher(chosen, None, lambda _: None), lambda _: None)
    assert [row["name"] for row in result["rows"]] == ["words"]


def test_a_set_without_answers_cannot_be_ranked() -> None:
    chosen = EvalSet("small", PASSAGES, (Question("q", "le sucre", frozenset(), "c"),), EMBEDDED)
    with pytest.raises(RetrievalError, match="none of 1 questions has an answer"):
        scoring.evaluate(chosen, scoring.open_searcher(chosen, None, lambda _: None), lambda _: None)


def test_the_notes_and_the_queries_that_ship_make_a_set() -> None:
    chosen = scoring.read_notes(ROOT / "data" / "notes", ROOT / "data" / "queries")
    known = {one.id for one in chosen.passages}
    assert all(question.relevant <= known for question in chosen.questions)
    assert {question.where.author for question in chosen.questions} == {"spinoza", "bergson", "kant"}
    assert not any(one.original for one in chosen.passages)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": "a", "question": "Quoi ?"}', "expected id, question, relevant"),
        ('{"id": "a", "question": "Quoi ?", "relevant": ["no-such-note"]}', "no note 'no-such-note'"),
        ("{", "no JSON"),
    ],
)
def test_a_wrong_set_is_named(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "set.jsonl").write_text(line, encoding="utf-8")
    with pytest.raises(RetrievalError, match=said):
        scoring.read_questions(tmp_path / "set.jsonl", ROOT / "data" / "notes")
    with pytest.raises(RetrievalError, match="cannot be read"):
        scoring.read_questions(tmp_path / "absent.jsonl", ROOT / "data" / "notes")


def test_a_set_of_ones_own(tmp_path: Path) -> None:
    note = json.loads((ROOT / "data" / "notes" / "kant.jsonl").read_text(encoding="utf-8").splitlines()[0])["id"]
    lines = [
        {"id": "a", "question": "Q\u2028?", "relevant": [note]},
        {"id": "b", "question": "Le PSG ?", "relevant": []},
    ]
    text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    (tmp_path / "set.jsonl").write_text(text, encoding="utf-8")
    chosen = scoring.read_questions(tmp_path / "set.jsonl", ROOT / "data" / "notes")
    assert [len(question.relevant) for question in chosen.questions] == [1, 0]


def test_a_passage_is_worth_its_best_sentence(embedder: LlamaEmbedder) -> None:
    drowned = "xyz zyx. " * 40 + "La joie grandit."
    assert len(list(cut([Paragraph(drowned)], 30))) > 2
    plain, best = embedder.passages([drowned])[0] @ embedder.query("La joie grandit."), None
    best = SentenceReranker(embedder).scores("La joie grandit.", [drowned])[0]
    assert best > plain
