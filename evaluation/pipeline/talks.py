"""The benchmark's talks, and the words that each step of the pipeline sends an engine. Knows dialogue; asks nobody."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from dialogue.condense import LIMITS
from dialogue.conversation import Conversation
from dialogue.prompt import STOPS, Message, Prefix, build_messages
from dialogue.turn import plan_turn
from engines.base import SamplingParams
from evaluation.bench import Chat as Talk
from evaluation.bench import load_chats
from evaluation.runs import Document, must_be_unique

__all__ = ["Talk", "chats_of", "documents", "load_talks", "messages_for", "params_for", "system_prompts"]

SEED = 1


def load_talks(path: Path, limit: int | None = None) -> list[Talk]:
    """Read the benchmark's talks, see `evaluation.bench.load_chats`. Every one is put to the model, whatever rules say.

    Raises:
        EngineError: The file cannot be used, or two talks have one id.
    """
    found = load_chats(path, limit)
    must_be_unique(documents(found, ()), path.name)
    return found


def messages_for(talk: Talk, count: Callable[[str], int], *, prefix: Prefix, condensed: bool) -> list[Message]:
    """Return what an engine is sent: the whole history, or the history that `dialogue.condense` makes of it.

    Reading notes are left out: they are the same in every step, and premium has none.

    Args:
        talk: Which.
        count: Length of a text in tokens of the model in use.
        prefix: "short" for small models.
        condensed: Whether the oldest exchanges become bullets.
    """
    plan = plan_turn(talk.conversation)
    return plan.prompt(count, prefix=prefix, told=prefix == "full", limits=LIMITS if condensed else None).messages


def system_prompts(talks: Sequence[Talk], prefix: Prefix) -> list[str]:
    """Return the system text of each persona once, as `messages_for` sends it."""
    personas = {talk.conversation.persona.key: talk.conversation.persona for talk in talks}
    return [build_messages(Conversation(one, ()), prefix=prefix)[0]["content"] for one in personas.values()]


def params_for(talk: Talk, *, prefix: Prefix, max_tokens: int | None, sentences: bool = True) -> SamplingParams:
    """Return the persona's sampling, but the likeliest token always: steps are compared word by word.

    Args:
        talk: Which.
        prefix: See `messages_for`.
        max_tokens: Of the answer; None takes the persona's.
        sentences: Whether a cut answer loses its unfinished sentence.
    """
    sampling = asdict(talk.conversation.persona.sampling_for(prefix)) | {"temperature": 0.0}
    if max_tokens is not None:
        sampling["max_tokens"] = max_tokens
    return SamplingParams(**sampling, seed=SEED, stop=STOPS, end_at_sentence=sentences)


def documents(talks: Sequence[Talk], metrics: Sequence[str]) -> list[Document]:
    """Return the talks as `evaluation.runs` takes them."""
    return [Document(talk.id, talk.id, talk.conversation.persona.key, tuple(metrics)) for talk in talks]


def chats_of(talks: Sequence[Talk], prefix: Prefix) -> list[list[Message]]:
    """Return each talk up to its last answer, as a chat whose answers can be scored."""
    found = []
    for talk in talks:
        turns = talk.conversation.turns
        last = max((place for place, turn in enumerate(turns) if turn.role == "assistant"), default=-1)
        if last > 0:
            found.append(build_messages(Conversation(talk.conversation.persona, turns[: last + 1]), prefix=prefix))
    return found
