"""How near an answer is to one that we wrote, by the French embedder, as a task. Knows prompts; knows no engine.

Cosines of such an embedder lie high: two answers on different things have 0.8. Each sample therefore has `chance`, the
cosine with the reference of another document; only what lies above it says anything.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engines.base import ChatMessage, SamplingParams
from errors import EngineError, PersonaError
from evaluation.compared import Compared, set_settings
from evaluation.running import Task
from evaluation.runs import Document, must_be_unique, rows_of
from evaluation.scheme_task import GREEDY, prompt_of
from personas import get_persona
from retrieval.embedders import Embedder

NAME, VERSION = "similarity", 1
SET = Path("data/schemes_levelA_base.jsonl")
METRICS = ("similarity", "chance")
VARIANTS = ("plain", "persona")


def document_of(row: Mapping[str, Any] | str, where: str) -> Document:
    """Return a document: a question and a reference answer, or a chat of one exchange.

    Args:
        row: `question` and `reference`, or `messages`; perhaps `id`, `philosopher`, `base`.
        where: File and line: the id of a document that has none.
    """
    if isinstance(row, str):
        return Document(where, where, "", METRICS, broken=f"{where}: {row}")
    try:
        asked, reference = row.get("question"), row.get("reference")
        if reference is None:
            texts = {one["role"]: one["content"] for one in row["messages"]}
            asked, reference = texts["user"], texts["assistant"]
        persona = row.get("philosopher", "")
        if persona:
            get_persona(persona)
        whole = all(isinstance(text, str) and text.strip() for text in (asked, reference))
    except (KeyError, TypeError, AttributeError, PersonaError) as error:
        why = f"{where}: no question with a reference ({type(error).__name__}: {error})"
        return Document(where, where, "", METRICS, broken=why)
    if not whole:
        return Document(where, where, "", METRICS, broken=f"{where}: question or reference is empty")
    name = str(row.get("id") or where)
    cluster = str(row.get("cluster") or row.get("base") or name)
    return Document(name, cluster, persona, METRICS, {"asked": asked, "reference": reference})


def load_documents(path: Path, split: str = "test", limit: int | None = None) -> tuple[Document, ...]:
    """Read a set; of lines with a split, those of `split`; dialogues have no one answer and are left out.

    Raises:
        EngineError: The file cannot be read, or nothing is left of it.
    """
    found = []
    for number, row in rows_of(path):
        if isinstance(row, str) or (row.get("form") != "dialogue" and row.get("split", split) == split):
            found.append(document_of(row, f"{path.name}:{number}"))
    if not found:
        raise EngineError(f"{path.name} has nothing whose split is {split!r}.")
    must_be_unique(found, str(path))
    return tuple(found[:limit])


def similarity_on(embedder: Embedder, path: Path = SET, limit: int | None = None) -> Compared:
    """Return the task over a set, and what engines are compared by on it.

    Args:
        embedder: A French one; its name stands in the result.
        path: JSONL of questions with a reference, or of chats.
        limit: Only the first.

    Raises:
        EngineError: The file cannot be read.
    """
    documents = load_documents(path, limit=limit)
    whole = [document for document in documents if document.broken is None]
    others = {one.id: whole[at - 1].facts["reference"] for at, one in enumerate(whole)}

    def measure(document: Document, answer: str) -> dict[str, float]:
        said, wanted, other = embedder.passages([answer, document.facts["reference"], others[document.id]])
        return {"similarity": _cosine(said @ wanted), "chance": _cosine(said @ other)}

    def prompt(document: Document, variant: str | None, n_params: int) -> tuple[list[ChatMessage], SamplingParams]:
        return prompt_of(document, variant, n_params)

    settings = {**set_settings(path, limit), "embedder": embedder.id.to_data()}
    settings["sampling"] = {"temperature": GREEDY.temperature, "max_tokens": GREEDY.max_tokens}
    return Compared(Task(NAME, VERSION, documents, prompt, measure, settings), "similarity", VARIANTS)


def _cosine(value: float) -> float:
    return round(min(1.0, max(0.0, float(value))), 6)  # rounding reaches past 1; below 0 nothing is likened at all
