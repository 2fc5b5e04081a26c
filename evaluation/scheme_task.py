"""Scheme accuracy as a task: what is asked, in which prompt, and how an answer is measured. Knows no engine.

Two kinds of documents. A question asks for a scheme by its name or its gesture, and the answer alone is graded. An
exercise brings its premises, so the conclusion that is due is the whole scheme: see `evaluation.scheme_grade`.
A refusal (an exercise from which nothing follows) has a conclusion and no scheme.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rapidfuzz import fuzz

from dialogue.conversation import Conversation, Turn
from dialogue.french import count_negations
from dialogue.prompt import STOPS, build_messages, prefix_for
from dialogue.scheme_score import clauses
from engines.base import ChatMessage, SamplingParams
from errors import EngineError, PersonaError
from evaluation.result import sha256_of
from evaluation.running import Task
from evaluation.runs import Document, must_be_unique, rows_of
from evaluation.scheme_grade import FULL, grade, letters
from evaluation.schemes import judge
from personas import get_persona, get_scheme

ROOT = Path(__file__).parents[1]
NAME, VERSION = "schemes", 3  # 2: graded as the labels of data/eval taught; 3: a result says by which scorer
# What grades an answer: a change of any of them may change a grade, whatever the version says.
SCORER = ("dialogue/french.py", "dialogue/scheme_score.py", "evaluation/scheme_grade.py", "evaluation/schemes.py",
          "personas/schemes.toml")  # fmt: skip
SETS = (Path("data/eval/schemes_questions.jsonl"), Path("data/schemes_levelA_base.jsonl"))
GREEDY = SamplingParams(temperature=0, repeat_penalty=1.0, max_tokens=160, stop=STOPS)

OF_A_SCHEME = ("grade", "scheme")
OF_A_CONCLUSION = ("conclusion", "conclusion_exact", "conclusion_near")


def document_of(row: Mapping[str, Any], where: str) -> Document:
    """Return the document of a line: one of our questions, one of our exercises, or a line with the same fields.

    Args:
        row: `scheme` and one of `question`, `prompt`, `messages`; perhaps `id`, `philosopher`, `conclusion`, `form`,
            `base` (of a reworded item).
        where: File and line, the id of a document that has none.

    Raises:
        EngineError: A field is missing or of another kind; a philosopher or a scheme is unknown.
    """
    try:
        asked = row.get("question") or row.get("prompt")
        if asked is None:
            asked = next(one["content"] for one in row["messages"] if one["role"] == "user")
        scheme, persona = get_scheme(row["scheme"]).id, row.get("philosopher", "")
        if persona:
            get_persona(persona)
        if not isinstance(asked, str) or not asked.strip():
            raise EngineError("the question is empty")
    except (KeyError, TypeError, AttributeError, StopIteration) as error:
        raise EngineError(f"no question and no exercise ({type(error).__name__}: {error})") from None
    except PersonaError as error:
        raise EngineError(str(error)) from None
    name, conclusion, refusal = str(row.get("id") or where), row.get("conclusion"), row.get("form") == "refusal"
    metrics = (() if refusal else OF_A_SCHEME) + (OF_A_CONCLUSION if conclusion else ()) + ("accuracy",)
    return Document(
        id=name,
        cluster=str(row.get("cluster") or row.get("base") or name),
        persona=persona,
        metrics=metrics,
        facts={"asked": asked, "scheme": scheme, "conclusion": conclusion, "refusal": refusal},
    )


def load_documents(paths: Sequence[Path], split: str = "test", limit: int | None = None) -> list[Document]:
    """Read sets of questions and exercises; a broken line is a document that fails.

    Args:
        paths: JSONL files.
        split: Of lines that have a split, only these are taken; dialogues have no one right answer and are left out.
        limit: Only so many of each file.

    Raises:
        EngineError: A file cannot be read, has nothing of this split, or two documents have one id.
    """
    found: list[Document] = []
    for path in paths:
        own: list[Document] = []
        for number, row in rows_of(path):
            where = f"{path.name}:{number}"
            if isinstance(row, str):
                own.append(Document(where, where, "", ("accuracy",), broken=f"{where}: {row}"))
            elif row.get("form") != "dialogue" and row.get("split", split) == split:
                try:
                    own.append(document_of(row, where))
                except EngineError as error:
                    own.append(Document(where, where, "", ("accuracy",), broken=f"{where}: {error}"))
        if not own:
            raise EngineError(f"{path.name} has nothing whose split is {split!r}.")
        found += own[:limit]
    must_be_unique(found, ", ".join(path.name for path in paths))
    return found


def prompt_of(document: Document, variant: str | None, n_params: int) -> tuple[list[ChatMessage], SamplingParams]:
    """Return what is sent: greedy, so that two engines differ by themselves and not by luck.

    Args:
        document: A question or an exercise.
        variant: "plain" has no system text; "persona" (and None) the philosopher's, as the free tier sends it;
            "optimised" has it too, and says how the scheme is written, with an example.
        n_params: Of the engine: a small one gets the short system text.
    """
    asked = document.facts["asked"]
    if not document.persona:
        return [{"role": "user", "content": asked}], GREEDY
    told = _guide(document.facts["scheme"]) if variant == "optimised" else ""
    talk = Conversation(get_persona(document.persona), (Turn("user", asked),))
    messages: list[ChatMessage] = [
        {"role": one["role"], "content": one["content"]}
        for one in build_messages(talk, lines=[told], prefix=prefix_for(n_params))
        if variant != "plain" or one["role"] != "system"
    ]
    return messages, GREEDY


def _guide(scheme_id: str) -> str:
    scheme = get_scheme(scheme_id)
    return f"Schéma à suivre : {scheme.name}. {scheme.form}\nExemple : {scheme.example}\nConclus en trois phrases."


def conclusion_likeness(answer: str, conclusion: str) -> tuple[bool, float]:
    """Return whether a statement of the answer is the conclusion letter by letter, and how near the nearest one is.

    What leads to a statement (« donc », « il s'ensuit que ») and accents are set aside; one that is negated when the
    conclusion is not is not near at all.

    Returns:
        Exact, and 0 to 1: the share of letters that need not be changed.

    >>> conclusion_likeness("Il s'ensuit que ta colère perd sa force.", "Ta colère perd sa force.")
    (True, 1.0)
    >>> conclusion_likeness("Donc ta colère ne perd pas sa force.", "Ta colère perd sa force.")
    (False, 0.0)
    """
    wanted = letters(" ".join(one.text for one in clauses(conclusion)) or conclusion)
    parity = count_negations(conclusion) % 2
    said = [one.text for one in clauses(answer)]
    near = [fuzz.ratio(letters(one), wanted) / 100 for one in said if count_negations(one) % 2 == parity]
    best = max(near, default=0.0)
    return best == 1.0, round(best, 4)


def measure(document: Document, answer: str) -> dict[str, float]:
    """Return the metrics of an answer.

    Returns:
        `grade` 0 to 4 and `scheme`, its quarter; `conclusion` 0 or 1, `conclusion_exact`, `conclusion_near`;
        `accuracy`: of an exercise that the conclusion is right, of a question that the scheme is there in full.
    """
    facts, found = document.facts, dict[str, float]()
    conclusion = facts["conclusion"]
    if not facts["refusal"]:
        found["grade"] = grade(facts["asked"], answer, facts["scheme"], conclusion)
        found["scheme"] = found["grade"] / FULL
    if conclusion:
        found["conclusion"] = float(judge(answer, conclusion, facts["asked"]).right)
        exact, found["conclusion_near"] = conclusion_likeness(answer, conclusion)
        found["conclusion_exact"] = float(exact)
    found["accuracy"] = found["conclusion"] if conclusion else float(found["grade"] == FULL)
    return found


def scorer_sha256() -> str:
    """Return the hash of all that grades: results of two scorers are not compared."""
    return hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in SCORER)).hexdigest()


def scheme_task(
    paths: Iterable[Path] = SETS, *, split: str = "test", limit: int | None = None, max_tokens: int | None = None
) -> Task:
    """Return the task that `python -m evaluation schemes` runs.

    Args:
        paths: Sets of questions and exercises.
        split: See `load_documents`; so is `limit`.
        limit: Only so many of each set.
        max_tokens: Of an answer; `GREEDY`'s where None.

    Raises:
        EngineError: A set cannot be used.
    """
    sets = tuple(paths)
    most = max_tokens or GREEDY.max_tokens
    documents = tuple(load_documents(sets, split, limit))

    def prompt(document: Document, variant: str | None, n_params: int) -> tuple[list[ChatMessage], SamplingParams]:
        messages, params = prompt_of(document, variant, n_params)
        return messages, replace(params, max_tokens=most)

    settings = {
        "set": [path.as_posix() for path in sets],
        "set_sha256": [sha256_of(path) for path in sets],
        "split": split,
        "limit": limit,
        "sampling": {"temperature": 0, "repeat_penalty": 1.0, "max_tokens": most},
        "scorer_sha256": scorer_sha256(),
    }
    return Task(NAME, VERSION, documents, prompt, measure, settings)
