"""The business analyst's documents as a task: a concept is asked, its requirements are scored. Knows no engine.

The plain prompt is word for word the one an adapter is trained with; the optimised one says the rules that the schema
checks, and shows one document of the training set.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from engines.base import ChatMessage, SamplingParams
from errors import EngineError
from evaluation import requirements
from evaluation.compared import Compared, column, set_settings
from evaluation.decisions import BASELINE, adopt_or_keep
from evaluation.result import sha256_of
from evaluation.running import Task
from evaluation.runs import Document, Run, Sample, failed, must_be_unique, rows_of
from evaluation.statistics import estimate

VALIDATION = Path("data/business_analyst/validation.jsonl")
TRAINING = Path("data/business_analyst/train.jsonl")
VARIANTS = ("plain", "optimised")
METRICS = ("requirements", *requirements.WEIGHTS)
MAX_TOKENS = 2048  # the longest document of ours has about 900
# The same words as training.requirement_documents.INSTRUCTION, which this room may not import; a test compares them.
INSTRUCTION = (
    "You are a business analyst. Write the requirements of this project as YAML with the keys title, description, "
    "functional_requirements, non_functional_requirements and constraints; each list holds items with id, "
    "description and priority (high, medium or low).\n\nConcept: {concept}"
)
RULES = (
    "You are a business analyst. You answer with one YAML document and nothing else: no comment, no code fence.\n"
    "- Keys, in this order: title, description, functional_requirements, non_functional_requirements, constraints.\n"
    "- Every list has at least two items; every item has id, description and priority, and no other key.\n"
    "- Ids are FR-1, FR-2, … then NFR-1, … then C-1, …; none stands twice.\n"
    "- priority is high, medium or low.\n"
    "- Use the concept's own words for its people, things and limits; what it forbids or lacks becomes a constraint.\n"
    "- Put a text that holds a colon between double quotes.\n\nAn example."
)


def sampling(max_tokens: int = MAX_TOKENS) -> SamplingParams:
    """Return greedy sampling that leaves the end of the document as it came."""
    return SamplingParams(temperature=0, repeat_penalty=1.0, max_tokens=max_tokens, end_at_sentence=False)


def load_documents(path: Path, limit: int | None = None) -> tuple[Document, ...]:
    """Read documents; a line that is none becomes a failure with its reason.

    Raises:
        EngineError: The file cannot be read, or two documents have one id.
    """
    found = [_document(path, number, row) for number, row in rows_of(path)[:limit]]
    must_be_unique(found, str(path))
    return tuple(found)


def _document(path: Path, number: int, row: Mapping[str, Any] | str) -> Document:
    name = f"{path.stem}-{number:03}"
    if isinstance(row, str):
        return Document(name, name, "", METRICS, broken=f"{path.name}:{number}: {row}")
    concept = row.get("concept")
    if not isinstance(concept, str) or not concept.strip():
        return Document(name, name, "", METRICS, broken=f"{path.name}:{number}: no concept")
    name = str(row.get("id") or name)
    return Document(name, name, "", METRICS, {"concept": concept})


def example(path: Path = TRAINING) -> tuple[str, str]:
    """Return concept and YAML of the first document of the training set.

    Raises:
        EngineError: There is none.
    """
    try:
        with path.open(encoding="utf-8") as file:
            row = json.loads(file.readline())
        return row["concept"], as_yaml(row["requirements"])
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise EngineError(f"{path} has no document to show ({type(error).__name__}: {error}).") from None


def as_yaml(document: Mapping[str, Any]) -> str:
    """Return a document as a training answer has it."""
    return yaml.safe_dump(dict(document), allow_unicode=True, sort_keys=False, width=100).strip()


def messages_for(concept: str, variant: str, shown: tuple[str, str] | None) -> list[ChatMessage]:
    """Return what is sent.

    Args:
        concept: An idea in a sentence or two.
        variant: "plain" or "optimised".
        shown: Concept and YAML of the example that the optimised prompt has.

    Raises:
        EngineError: No such variant.
    """
    if variant == "plain":
        return [{"role": "user", "content": INSTRUCTION.format(concept=concept)}]
    if variant != "optimised" or shown is None:
        raise EngineError(f"No prompt {variant!r} for requirements; known: {', '.join(VARIANTS)}.")
    asked = f"{RULES}\n\nConcept: {shown[0]}\n\n{shown[1]}\n\nNow the project.\n\nConcept: {concept}"
    return [{"role": "user", "content": asked}]


def requirements_on(
    path: Path = VALIDATION, limit: int | None = None, *, max_tokens: int = MAX_TOKENS, training: Path = TRAINING
) -> Compared:
    """Return the task over a set of documents, and what engines are compared by on it.

    Args:
        path: JSONL of `{"concept": …}`, `id` optional.
        limit: Only the first.
        max_tokens: Of an answer.
        training: Where the optimised prompt takes its example from.

    Raises:
        EngineError: A file cannot be read.
    """
    params, shown = sampling(max_tokens), example(training)

    def prompt(document: Document, variant: str | None, _: int) -> tuple[list[ChatMessage], SamplingParams]:
        return messages_for(document.facts["concept"], variant or VARIANTS[0], shown), params

    settings = {**set_settings(path, limit), "sampling": {"temperature": 0, "max_tokens": max_tokens}}
    task = Task("requirements", requirements.VERSION, load_documents(path, limit), prompt, measure, settings)
    return Compared(task, "requirements", VARIANTS)


def measure(document: Document, answer: str) -> dict[str, float]:
    """Return the score, from 0 to 1, and its parts."""
    return requirements.score(answer, document.facts["concept"]).metrics()


def answers_run(task: Task, path: Path, environment: Mapping[str, Any]) -> Run:
    """Score answers that stand in a file: lines of `{"answer": …}` with the `id` or the `concept` they answer.

    A document without an answer is a failure, a broken line is named in the settings; an answer to nothing is refused.

    Raises:
        EngineError: The file cannot be read, or a line answers no document of the set, or one twice.
    """
    by_key = {document.id: document for document in task.documents}
    by_key |= {document.facts["concept"]: document for document in task.documents if document.broken is None}
    given: dict[str, str] = {}
    broken: list[str] = []
    for number, row in rows_of(path):
        if isinstance(row, str):
            broken.append(f"{path.name}:{number}: {row}")
            continue
        answer = row.get("answer", row.get("response"))
        document = by_key.get(str(row.get("id"))) or by_key.get(str(row.get("concept")))
        if not isinstance(answer, str) or document is None:
            raise EngineError(f"{path.name}:{number}: expected answer, and the id or concept of a document of the set.")
        if document.id in given:
            raise EngineError(f"{path.name}:{number}: {document.id} is answered twice.")
        given[document.id] = answer
    samples = tuple(_scored(document, given.get(document.id), path) for document in task.documents)
    settings = {**task.settings, "n": len(samples), "answers_sha256": sha256_of(path), "broken_lines": broken}
    return Run(task.name, task.version, f"answers:{path.name}", settings, samples, dict(environment))


def _scored(document: Document, answer: str | None, path: Path) -> Sample:
    if document.broken is not None:
        return failed(document, document.broken)
    if answer is None or not answer.strip():
        return failed(document, f"answer_empty: {path.name} has no answer to it")
    found = measure(document, answer)
    return Sample(document.id, document.cluster, "", "answered elsewhere", answer, found, None, None, None, None)


def report(run: Run, *, baseline: float = BASELINE) -> dict[str, Any]:
    """Return `eval_report.json`: the score with its interval, the rule's decision, and what is wrong where.

    Args:
        run: Of this task.
        baseline: Points to beat.
    """
    values, clusters = column({"run": run}, "requirements")
    found = estimate(values["run"], clusters)
    costs = requirements.lost([sample.metrics for sample in run.samples])
    decision = adopt_or_keep(run.engine, found, costs, baseline=baseline)
    return {
        "kind": "requirements",
        "engine": run.engine,
        "version": run.version,
        "score": round(100 * found.mean, 2),
        "interval": [round(100 * found.low, 2), round(100 * found.high, 2)],
        "documents": found.n,
        "failures": sum(sample.error is not None for sample in run.samples),
        "weights": dict(requirements.WEIGHTS),
        "points_lost": {part: round(cost, 2) for part, cost in costs.items()},
        "decision": asdict(decision),
        "baseline": baseline,
        "settings": run.settings,
        "environment": run.environment,
        "each": [_each(sample) for sample in run.samples],
    }


def _each(sample: Sample) -> dict[str, Any]:
    # The score knows the first fault; a concept is of no use to find it again.
    fault = sample.error or requirements.score(sample.response, "").fault
    return {"id": sample.id, "score": round(100 * sample.metrics["requirements"], 2), "fault": fault}
