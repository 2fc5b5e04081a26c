"""The table of static models and the verdict, from cells made by hand."""

from typing import Any

from benchmarks.static_embeddings import SHIPPED, VECTORS, identity, keep_current, passes, table
from retrieval.embedding_eval import WEIGHTS
from retrieval.scoring import MEASURES
from retrieval.scoring import TUNED as MEASURED_TUNED


def retrieval_cell(low: float, words: float = 0.5) -> dict[str, Any]:
    gains = {measure: [0.02, low, 0.04] for measure in MEASURES}
    means = dict.fromkeys(MEASURES, 0.5)
    rows = [{"name": "words", "means": dict.fromkeys(MEASURES, words), "gains": {}}]
    rows += [{"name": name, "means": means, "gains": gains} for name in (VECTORS, MEASURED_TUNED)]
    return {"questions": 3, "passages": 4, "tuned_weights": [0.3, 0.4], "rows": rows}


def axes_cell() -> dict[str, Any]:
    kinds = dict.fromkeys(("subject", "task", "order", "negation"), 0.5)
    evidence = {
        "cosine with the same words backwards, least": 1.0,
        "cosine with the opposite request": 0.9,
        "cosine with the same request in other words": 0.4,
    }
    return {
        "axes": {name: {"value": 0.5, "parts": kinds} for name in WEIGHTS},
        "score": 0.5,
        "megabytes": 4.0,
        "texts_per_s": 9000.0,
        "limit": None,
        "decision": {"by score": "poor: optimise", "with instructions": "abandon or optimise"},
        "cannot_know": {"order is lost": True, "says": "Order is lost.", "evidence": evidence},
    }


FACTS = {
    "static": {
        "teacher": {"name": "e5"}, "recipe": {"sif": 1e-3, "counted": True}, "pieces": 9, "dimensions": 8,
        "number": "int8", "bytes": 4_000_000, "sentences": 7, "pairs": {"of": ["notes"], "count": 5},
    }
}  # fmt: skip


def test_a_model_ships_only_when_every_interval_is_above_zero() -> None:
    good, poor = retrieval_cell(0.001), retrieval_cell(-0.001)
    assert passes({"static/piaf": good}, "static") is None
    verdict = passes({"static/piaf": good, "static/pupils": good}, "static")
    assert verdict
    assert verdict["ships"] is True
    missed = passes({"static/piaf": good, "static/pupils": poor}, "static")
    assert missed
    assert missed["ships"] is False


def test_a_model_made_anew_has_no_cells_yet() -> None:
    """Nor has one that another SPEC names, or axes that were cut; those of other models stay."""
    made, anew = {"sha256": "a"}, {"sha256": "b"}

    def kept(spec: str, limit: int | None, now: dict[str, str] | None, before: str | None) -> list[str]:
        wanted = {where: identity(spec, where, limit, now) for where in ("axes", "piaf")}
        return [key for key in keep_current(cells, "static", wanted, before) if key.startswith("static/")]

    both = ["static/axes", "static/piaf"]
    cells: dict[str, dict[str, Any]] = {key: {} for key in (*both, "teacher/piaf")}  # of before they said of what
    assert kept("m", None, made, "a") == both
    assert kept("m", None, anew, "a") == []
    assert kept("m", 5, made, "a") == ["static/piaf"]
    cells = {key: {"identity": identity("m", key.partition("/")[2], None, made)} for key in cells}
    assert kept("m", None, made, "b") == both
    assert kept("m", None, anew, "a") == kept("another", None, made, "a") == []
    wanted = {where: identity("another", where, None, made) for where in ("axes", "piaf")}
    assert list(keep_current(cells, "static", wanted, "a")) == ["teacher/piaf"]


def test_the_page_says_all_of_it() -> None:
    cells = {
        "static/axes": axes_cell(),
        "static/piaf": retrieval_cell(0.001),
        "static/pupils": retrieval_cell(0.001),
        "a teacher/piaf": retrieval_cell(0.001),
        "another/piaf": retrieval_cell(0.001, words=0.4),
    }
    page = table(cells, FACTS)
    assert "| static | e5 | 9 | 8 | int8 | 4.0 | SIF 0.001, counted in French | 7 | 5 notes |" in page
    assert page.count("| titled BM25, of the day of what follows | 0.500") == 2
    assert page.count("| titled BM25, of the day of what follows | 0.400") == 1
    assert "| static, mixed with BM25 | 0.500 | 0.500 | 0.500 | 0.500 | +0.020 (+0.001..+0.040)" in page
    assert "- static: passes." in page
    assert "- a teacher" not in page
    assert "Order is lost." in page
    assert "is no held-out figure" not in page
    shipped = axes_cell()
    shipped["axes"]["conversation"] = {"value": 0.61234, "parts": {}}
    page = table({f"{SHIPPED}/axes": shipped}, {})
    assert f"{SHIPPED} was taught on the texts of the axis conversation: its .612 is no held-out" in page
    assert "and .14 of its score rests on it." in page
