"""Answers for somebody to label: what was asked and what came, in an order that says nothing, and no verdict.

Knows the scheme task; measures nothing.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engines.base import ChatMessage, SamplingParams
from errors import EngineError
from evaluation.running import Task
from evaluation.runs import Document, Run
from evaluation.scheme_task import SETS, load_documents, prompt_of
from evaluation.specs import VARIANTS

NAME, VERSION, SEED = "schemes-sample", 1, 19


def sample_documents(count: int, paths: Sequence[Path] = SETS, seed: int = SEED) -> list[Document]:
    """Return documents to ask: every question and exercise in every prompt, `count` of them, shuffled.

    Refusals have no scheme to be graded, and are left out.

    Raises:
        EngineError: There are fewer than `count`.
    """
    asked = [one for one in load_documents(paths) if one.broken is None and not one.facts["refusal"]]
    every = [
        replace(one, id=f"{one.id}@{variant}", facts={**one.facts, "variant": variant})
        for variant in VARIANTS
        for one in asked
    ]
    if len(every) < count:
        raise EngineError(f"There are {len(every)} prompts, fewer than {count}; pass a smaller --n.")
    return random.Random(seed).sample(every, count)  # noqa: S311  # an order, not a secret


def sample_task(count: int, paths: Sequence[Path] = SETS, seed: int = SEED) -> Task:
    """Return the task: greedy answers, nothing measured, so that no verdict lies beside them.

    Raises:
        EngineError: See `sample_documents`.
    """
    documents = tuple(replace(one, metrics=()) for one in sample_documents(count, paths, seed))

    def prompt(document: Document, _: str | None, n_params: int) -> tuple[list[ChatMessage], SamplingParams]:
        return prompt_of(document, document.facts["variant"], n_params)

    settings = {"set": [path.as_posix() for path in paths], "seed": seed, "limit": count}
    return Task(NAME, VERSION, documents, prompt, lambda *_: {}, settings)


def rows_to_label(task: Task, run: Run) -> list[dict[str, Any]]:
    """Return a row for every answer: id, scheme, kind, prompt, answer, and of an exercise the conclusion due."""
    facts = {one.id: one.facts for one in task.documents}
    found = []
    for sample in run.samples:
        if sample.error is None:
            known = facts[sample.id]
            row = {
                "id": sample.id,
                "scheme": known["scheme"],
                "kind": "exercise" if known["conclusion"] else "question",
            }
            found.append(
                {**row, "prompt": known["asked"], "answer": sample.response, "conclusion": known["conclusion"]}
            )
    return found


def as_lines(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as JSONL."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
