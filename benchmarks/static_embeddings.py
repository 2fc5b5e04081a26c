"""`python -m benchmarks.static_embeddings NAME=SPEC…`: static models beside their teachers and beside words alone.

Every model is asked the six axes of `embeddings-eval`, PIAF, the messages of data/queries (split "test") and the
pupils' questions. A cell is saved when it is done: an interrupted run goes on. The table is drawn from the cells, and
so is the verdict: a static model ships only if, mixed with titled BM25, it beats BM25 alone on PIAF and on the pupils'
questions, R@5 and MRR@10, by a paired 95 % interval.
"""

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.machine import save
from cli import run_commands
from errors import RetrievalError
from retrieval import scoring
from retrieval.distill import METADATA
from retrieval.distill_commands import OWN_SETS, Given, open_measured
from retrieval.embedders import open_embedder
from retrieval.embedding_eval import WEIGHTS, evaluate_embedder, read_own
from retrieval.notes import NoteIndex
from retrieval.store import Searcher
from settings import load_settings

ROOT = Path(__file__).parents[1]
DATA = ROOT / "data"
SETS = ("axes", "piaf", "notes", "pupils")
GATE = ("R@5", "MRR@10")
TUNED, VECTORS = "tuned on the other half", "vectors"  # ends and names of rows; what is tuned has changed
SHOWN = ("R@1", "R@5", "R@10", "MRR@10")
SHIPPED = "static, as it ships"
TAUGHT_AXIS = "conversation"  # whose texts it was taught on
Cells = dict[str, dict[str, Any]]


def eval_set(name: str, corpora: Path) -> scoring.EvalSet:
    """Return one of the three sets of questions."""
    if name == "piaf":
        return scoring.read_piaf(corpora)
    if name == "notes":
        return scoring.read_notes(DATA / "notes", DATA / "queries")
    return scoring.read_questions(DATA / "eval" / "pupil_questions.jsonl", DATA / "notes")


def cell(spec: str, name: str, given: Given, corpora: Path, limit: int | None) -> dict[str, Any]:
    """Measure one model on one set."""
    embedder, size = open_measured(spec, given)
    try:
        if name == "axes":
            return evaluate_embedder(embedder, read_own(OWN_SETS), corpora, n_bytes=size, limit=limit)
        chosen = eval_set(name, corpora)
        index = NoteIndex.load(DATA / "notes", embedder) if name != "piaf" else None
        if index and index.by_meaning:  # the vectors that ship
            searcher = Searcher(index.to_store(), embedder)
        else:
            searcher = scoring.open_searcher(chosen, embedder, lambda _: None)
        return {**scoring.evaluate(chosen, searcher, lambda _: None), **scoring.circumstances()}
    finally:
        embedder.close()


def identity(spec: str, where: str, limit: int | None, made: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what a cell belongs to: a model made anew under the same name is another one."""
    return {"spec": spec, "sha256": made["sha256"] if made else None, "limit": limit if where == "axes" else None}


def keep_current(kept: Cells, name: str, wanted: Mapping[str, Mapping[str, Any]], before: str | None) -> Cells:
    """Return the cells without those of this model that were measured on something else.

    Args:
        kept: All cells.
        name: The model's.
        wanted: The identity of its cells, by set.
        before: Hash of the weights that the result's facts are of: what cells belong to that have no identity yet.
    """

    def current(key: str, cell: Mapping[str, Any]) -> bool:
        model, _, where = key.rpartition("/")
        if model != name:
            return True
        now = wanted[where]
        older = {"spec": now["spec"], "sha256": before, "limit": cell.get("limit")}
        return bool(cell.get("identity", older) == now)

    return {key: cell for key, cell in kept.items() if current(key, cell)}


def passes(cells: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, Any] | None:
    """Return whether a model may ship, and the gains and intervals it is judged by; None where a set was not asked."""
    found = {}
    for where in ("piaf", "pupils"):
        measured = cells.get(f"{name}/{where}")
        if measured is None:
            return None
        gains = next(row for row in measured["rows"] if row["name"].endswith(TUNED))["gains"]
        found[where] = {measure: gains[measure] for measure in GATE}
    return {"ships": all(gain[1] > 0 for where in found.values() for gain in where.values()), "gains": found}


def table(cells: Mapping[str, Mapping[str, Any]], facts: Mapping[str, Any]) -> str:
    """Return the page that is read."""
    names = list(dict.fromkeys(key.rpartition("/")[0] for key in cells))
    lines = ["# Static embeddings beside their teachers and beside words alone", ""]
    lines += [
        "`python -m benchmarks.static_embeddings NAME=SPEC…`; an interval is 95 %, paired, resampled by article.",
        "",
    ]
    lines += _made(facts)
    lines += ["## Six axes", "", "| model | " + " | ".join(WEIGHTS) + " | score | MB | texts/s | decision |"]
    lines += ["|---|" + "---|" * (len(WEIGHTS) + 4)]
    for name in names:
        if axes := cells.get(f"{name}/axes"):
            values = [f"{axes['axes'][one]['value']:.3f}" for one in WEIGHTS]
            size = f"{axes['megabytes']:.1f}" if axes["megabytes"] else "–"
            limit = f" (first {axes['limit']} of each)" if axes["limit"] else ""
            lines.append(
                f"| {name}{limit} | {' | '.join(values)} | {axes['score']:.3f} | {size} | {axes['texts_per_s']:.0f} "
                f"| {axes['decision']['by score']}; with instructions: {axes['decision']['with instructions']} |"
            )
    if shipped := cells.get(f"{SHIPPED}/axes"):
        value, weight = (
            f"{one:.{digits}f}".lstrip("0")
            for one, digits in ((shipped["axes"][TAUGHT_AXIS]["value"], 3), (WEIGHTS[TAUGHT_AXIS], 2))
        )
        said = f"its {value} is no held-out figure, and {weight} of its score rests on it."
        lines += ["", f"{SHIPPED} was taught on the texts of the axis {TAUGHT_AXIS}: {said}"]
    for where in SETS[1:]:
        lines += _retrieval(cells, names, where)
    lines += ["", "## Verdicts", ""]
    for name in names:
        verdict = passes(cells, name) if name in facts else None
        if verdict:
            gains = "; ".join(
                f"{where} {measure} {gain[0]:+.3f} ({gain[1]:+.3f}..{gain[2]:+.3f})"
                for where, of in verdict["gains"].items()
                for measure, gain in of.items()
            )
            lines.append(f"- {name}: {'passes' if verdict['ships'] else 'does not pass'}. {gains}")
    return "\n".join([*lines, *_unknowable(cells, names), ""])


def _made(facts: Mapping[str, Any]) -> list[str]:
    lines = ["## How each static model was made", ""]
    lines += [
        "| model | teacher | pieces | dimensions | numbers | MB | weights | sentences | pairs |",
        "|---|" + "---|" * 8,
    ]
    for name, fact in facts.items():
        recipe, pairs = fact["recipe"], fact["pairs"]
        sif = f"SIF {recipe['sif']:g}, {'counted in French' if recipe['counted'] else 'by place in the vocabulary'}"
        lines.append(
            f"| {name} | {fact['teacher']['name']} | {fact['pieces']} | {fact['dimensions']} | {fact['number']} "
            f"| {fact['bytes'] / 1e6:.1f} | {sif} | {fact['sentences']} | {pairs['count']} {' '.join(pairs['of'])} |"
        )
    return [*lines, ""]


def _retrieval(cells: Mapping[str, Mapping[str, Any]], names: Sequence[str], where: str) -> list[str]:
    rows: list[str] = []
    for name in names:
        measured = cells.get(f"{name}/{where}")
        if measured is None:
            continue
        by_name = {TUNED if row["name"].endswith(TUNED) else row["name"]: row for row in measured["rows"]}
        if not rows:
            rows = ["", f"## {where}: {measured['questions']} questions, {measured['passages']} passages", ""]
            rows += ["| ranking | " + " | ".join(SHOWN) + " | gain in R@5 | gain in MRR@10 | weight |"]
            rows += ["|---|" + "---|" * (len(SHOWN) + 3)]
        words = _row("titled BM25, of the day of what follows", by_name["words"], "")
        rows += [words] if words not in rows else []  # the search by words has become better between two models
        for way, said in ((VECTORS, "alone"), (TUNED, "mixed with BM25")):
            if way in by_name:
                weight = " / ".join(map(str, measured["tuned_weights"])) if way == TUNED else ""
                rows.append(_row(f"{name}, {said}", by_name[way], weight))
    return rows


def _row(name: str, row: Mapping[str, Any], weight: str) -> str:
    gains = [
        f"{gain[0]:+.3f} ({gain[1]:+.3f}..{gain[2]:+.3f})" if (gain := row["gains"].get(one)) else "" for one in GATE
    ]
    means = [f"{row['means'][one]:.3f}" for one in SHOWN]
    return f"| {' | '.join([name, *means, *gains, weight])} |"


def _unknowable(cells: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    kinds = ("subject", "task", "order", "negation")
    lines = ["", "## What averaged static vectors cannot know", ""]
    lines += ["| model | least cosine with the same words backwards | cosine with the opposite request | "
              "with the same request in other words | told apart: " + " | ".join(kinds) + " |"]  # fmt: skip
    lines += ["|---|" + "---|" * (3 + len(kinds))]
    said = ""
    for name in names:
        if axes := cells.get(f"{name}/axes"):
            evidence, parts = axes["cannot_know"]["evidence"], axes["axes"]["instructions"]["parts"]
            figures = [
                f"{evidence['cosine with the same words backwards, least']:.4f}",
                f"{evidence['cosine with the opposite request']:.3f}",
                f"{evidence['cosine with the same request in other words']:.3f}",
                *(f"{parts[kind]:.2f}" for kind in kinds if kind in parts),
            ]
            lines.append(f"| {name} | {' | '.join(figures)} |")
            said = axes["cannot_know"]["says"] if axes["cannot_know"]["order is lost"] else said
    return [*lines, "", said]


def main(
    models: Annotated[list[str] | None, typer.Argument(help="NAME=SPEC; none draws the table anew.")] = None,
    out: Annotated[Path, typer.Option(help="Result; cells in it are kept.")] = Path(
        "benchmarks/results/static-embeddings.json"
    ),
    sets: Annotated[str, typer.Option(help="Of axes, piaf, notes, pupils, with commas.")] = ",".join(SETS),
    limit: Annotated[int | None, typer.Option(min=1, help="First N items of each axis: for slow teachers.")] = None,
) -> None:
    """Measure every model on every set, one after the other."""
    settings = load_settings()
    if settings.corpora_dir is None:
        raise RetrievalError("BAF_CORPORA_DIR is not set; the public sets lie there.")
    given = Given(
        lambda: settings.data_dir, lambda: settings.corpora_dir, open_embedder, lambda _: nullcontext(lambda *_: None)
    )
    kept: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    cells: Cells = kept.get("cells", {})
    facts: dict[str, Any] = kept.get("models", {})
    for model in models or []:
        name, equals, spec = model.partition("=")
        if not (name and equals and spec):
            raise RetrievalError(f"{model!r} is no NAME=SPEC.")
        metadata = Path(spec.removeprefix("model2vec:")) / METADATA
        made = json.loads(metadata.read_text(encoding="utf-8")) if metadata.is_file() else None
        wanted = {where: identity(spec, where, limit, made) for where in SETS}
        cells = keep_current(cells, name, wanted, facts.get(name, {}).get("sha256"))
        for where in sets.split(","):
            if f"{name}/{where}" in cells:
                continue
            sys.stderr.write(f"{name} on {where}\n")
            found = cell(spec, where, given, settings.corpora_dir, limit)
            cells[f"{name}/{where}"] = {**found, "identity": wanted[where]}
            if made:
                facts[name] = made  # with the first of its cells: facts of one model beside scores of another mislead
            save(out, {"models": facts, "cells": cells})
    out.with_suffix(".md").write_text(table(cells, facts), encoding="utf-8")


if __name__ == "__main__":
    run_commands(main, quiet={"bm25s": logging.WARNING})  # it sets itself to DEBUG
