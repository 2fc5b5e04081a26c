"""Every question of the examination put to the embedded model as the page puts it, and a page to read them on.

Knows engines, prompts, personas and notes. Judges nothing that needs understanding: it counts, a reader judges.
"""

import json
import statistics
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dialogue.conversation import Conversation, Turn
from dialogue.prompt import STOPS, Hint, build_messages, last_question, prefix_for
from dialogue.retelling import retell
from engines.base import Engine, SamplingParams
from errors import EngineError
from evaluation.asking import ask
from evaluation.labelled import lines_of
from evaluation.result import write_text
from evaluation.runs import percentile
from evaluation.text_counts import ends_on_question, has_loop, words
from personas import PERSONAS, Persona, get_persona
from retrieval.notes import Note, NoteIndex


@dataclass(frozen=True)
class Question:
    """What is asked of whom. `kind` is "starter" or "examination"."""

    id: str
    philosopher: str
    kind: str
    text: str


@dataclass(frozen=True)
class Asked:
    """A question, its answer and what was measured; times in seconds.

    `mended` counts the sentences of the answer that the note gave in the model's place, as on the page.
    """

    id: str
    philosopher: str
    kind: str
    question: str
    note: str | None
    answer: str
    first_token_s: float
    total_s: float
    tokens: int
    prompt_tokens: int
    reason: str
    mended: int = 0


def load_questions(path: Path, personas: Mapping[str, Persona] = PERSONAS) -> list[Question]:
    """Return the starter questions and those of the examination file, philosopher by philosopher.

    Raises:
        EngineError: The file cannot be read, or a line is wrong.
    """
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        exam = [Question(row["id"], row["philosopher"], "examination", row["question"]) for row in rows]
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise EngineError(f"{path.name} is no file of questions ({type(error).__name__}: {error}).") from None
    found: list[Question] = []
    for key, persona in personas.items():
        found += [Question(f"{key}-s{n:02}", key, "starter", text) for n, text in enumerate(persona.starters, 1)]
        found += [question for question in exam if question.philosopher == key]
    if len(found) != len(exam) + sum(len(persona.starters) for persona in personas.values()):
        raise EngineError(f"{path.name} asks a philosopher that personas/ does not have.")
    return found


def params_for(question: Question, n_params: int) -> SamplingParams:
    """Return the page's sampling with a seed of the question's own, so that a later run compares."""
    sampling = get_persona(question.philosopher).sampling_for(prefix_for(n_params))
    return SamplingParams(**asdict(sampling), seed=zlib.crc32(question.id.encode()) & 0x7FFFFFFF, stop=STOPS)


def prompt_for(question: Question, index: NoteIndex | None, n_params: int) -> tuple[list[Any], Note | None]:
    """Return the messages as the free tier sends them for a first question, and the note that was given."""
    persona = get_persona(question.philosopher)
    conversation = Conversation(persona, (Turn("assistant", persona.opening), Turn("user", question.text)))
    if prefix_for(n_params) == "full":
        return build_messages(conversation, prefix="full"), None
    note = index.nearest(persona.key, question.text, last_question(persona.opening)) if index else None
    hint = Hint(note.idea, note.image, note.question) if note else None
    return build_messages(conversation, [hint], prefix="short"), note


async def ask_all(
    engine: Engine,
    questions: Sequence[Question],
    index: NoteIndex | None,
    done: Iterable[Asked] = (),
    on_answer: Callable[[Asked], None] = lambda _: None,
) -> list[Asked]:
    """Ask what is not yet answered, the personas read ahead as on the page.

    Args:
        engine: Who answers.
        questions: In order.
        index: Reading notes; None to do without.
        done: Answers of an earlier, interrupted run.
        on_answer: Told each new answer.

    Raises:
        EngineError: The engine refused or stopped.
    """
    answered = {one.id: one for one in done}
    warmed: set[str] = set()
    for question in questions:
        if question.id in answered:
            continue
        messages, note = prompt_for(question, index, engine.info.n_params)
        if question.philosopher not in warmed:
            await engine.warm(messages[0]["content"])
            warmed.add(question.philosopher)
        answer = await ask(engine, messages, params_for(question, engine.info.n_params))
        text, mended = retell(answer.text, (note.idea, note.image, note.question)) if note else (answer.text, 0)
        asked = Asked(
            question.id, question.philosopher, question.kind, question.text, note.id if note else None,
            text, round(answer.first_token_s, 3), round(answer.total_s, 3),
            answer.tokens, answer.prompt_tokens, answer.reason, mended,
        )  # fmt: skip
        answered[question.id] = asked
        on_answer(asked)
    return [answered[question.id] for question in questions]


class Journal:
    """Answers kept on disk as they come, so that an interrupted run goes on; of one model, prompt and set alone.

    Args:
        path: The file; its first line says what the answers belong to.
        identity: What they belong to.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = path
        self.done: list[Asked] = []
        head = json.dumps(dict(identity), ensure_ascii=False)
        lines = lines_of(path.read_text(encoding="utf-8")) if path.exists() else []
        if lines and lines[0] == head:
            self.done = [Asked(**json.loads(line)) for line in lines[1:] if line.endswith("}")]
        kept = [head, *(json.dumps(asdict(one), ensure_ascii=False) for one in self.done)]
        write_text(path, "\n".join(kept) + "\n")

    def add(self, asked: Asked) -> None:
        """Keep one more."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(asked), ensure_ascii=False) + "\n")


def count(asked: Sequence[Asked], unknown: set[str] | None) -> dict[str, Any]:
    """Return what can be counted without reading.

    Args:
        asked: At least one answer.
        unknown: Words of the answers that stand in no French text; None when there was none to look in.
    """
    first, total = sorted(one.first_token_s for one in asked), sorted(one.total_s for one in asked)
    lengths = [len(words(one.answer)) for one in asked]
    broken = None if unknown is None else sum(not unknown.isdisjoint(words(one.answer)) for one in asked)
    return {
        "answers": len(asked),
        "with_note": sum(one.note is not None for one in asked),
        "end_on_question": sum(ends_on_question(one.answer) for one in asked),
        "ended_by_itself": sum(one.reason == "stop" for one in asked),
        "with_loop": sum(has_loop(one.answer) for one in asked),
        "with_broken_word": broken,
        "with_sentence_of_the_note_in_the_models_place": sum(one.mended > 0 for one in asked),
        "empty": sum(not one.answer.strip() for one in asked),
        "words_median": statistics.median(lengths),
        "words_most": max(lengths),
        "first_token_s": {"median": statistics.median(first), "p95": percentile(first, 95), "most": first[-1]},
        "total_s": {"median": statistics.median(total), "p95": percentile(total, 95), "most": total[-1]},
        "tokens_per_s_median": round(statistics.median(one.tokens / max(one.total_s, 1e-9) for one in asked), 1),
    }


def own_words(notes: Mapping[str, Sequence[Note]], questions: Iterable[Question]) -> set[str]:
    """Return the words that a prompt brings: they are right in an answer whether or not a French text has them."""
    texts = [question.text for question in questions]
    for persona in PERSONAS.values():
        texts += [persona.short_prompt, persona.full_prompt, persona.opening, persona.name]
    for note in (note for of_one in notes.values() for note in of_one):
        texts += [note.idea, note.image, note.question, note.author, note.work, " ".join(note.keywords)]
    return {word for text in texts for word in words(text)}


def render(
    asked: Sequence[Asked], counts: Mapping[str, Any], about: Mapping[str, Any], unknown: set[str] | None
) -> str:
    """Return the Markdown page: what was measured, how, and every answer."""
    environment, model = about["environment"], about["model"]
    machine = environment["machine"]
    lines = [
        "# Answers of the embedded model",
        "",
        "Every starter question and every question of the examination, asked once, as a first message, with the page's",
        "prompt and sampling and a fixed seed. Nothing was chosen or left out. As on the page, a sentence that loses",
        "its way in the note is said as the note says it; such answers are marked.",
        "",
        f"- Model: `{model['name']}`, sha256 `{model['sha256']}`",
        f"- Date: {environment['date']}",
        f"- Machine: {machine['cpu']}, {machine['cores']} cores, load {machine['load_1min']}",
        f"- Command: `{environment['command']}`",
        "",
        "## Counted",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name.replace('_', ' ')} | {_cell(value)} |" for name, value in counts.items()),
        "",
    ]
    if unknown:
        lines += [f"Words found in no French text: {', '.join(f'« {word} »' for word in sorted(unknown))}.", ""]
    for key in dict.fromkeys(one.philosopher for one in asked):
        lines += [f"## {get_persona(key).name}", ""]
        for one in (one for one in asked if one.philosopher == key):
            quoted = "\n".join(f"> {line}" for line in one.answer.strip().splitlines()) or "> (empty)"
            figures = f"{one.first_token_s:.2f} s, {one.total_s:.2f} s, {one.tokens} tokens, {one.reason}"
            note = f"`{one.note}`" if one.note else "none"
            mended = ", mended" if one.mended else ""
            lines += [f"### {one.question}", "", f"`{one.id}` · note: {note} · {figures}{mended}", "", quoted, ""]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number:.2f}" for name, number in value.items())
    return "not looked for" if value is None else str(value)
