"""The free tier: llama.cpp in process, no account. Knows engines, dialogue, personas and retrieval; no page."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path

from dialogue.conversation import Conversation
from dialogue.prompt import STOPS, Hint, Message, build_messages, last_question, prefix_for
from engines.base import Engine, Finished, Queued, SamplingParams, Token
from errors import EngineBusy, EngineError, EngineTimeout, RetrievalError, TierBusy, TierUnavailable
from personas import PERSONAS
from retrieval.notes import Note, NoteIndex
from tiers.base import ANSWER_AS_USUAL, AnswerOptions, Done, Event, TierStatus, User, Warming
from tiers.meaning import MeaningSupply
from tiers.supply import ModelChoice, ModelSupply

log = logging.getLogger(__name__)

NOTES = Path(__file__).parents[1] / "data" / "notes"
SMALL_PROMPT_TOKENS = 1_400  # what the embedded model was trained to follow; longer histories make it wander
MAX_ANSWER_TOKENS = 512  # a page; more would hold a place that others wait for, and the deadline cuts it anyway
DROPPED_AT_ONCE = 4  # exchanges; a cut is rare and deep, so that the prompt stays the same between two cuts
STATUS_EVERY_S = 0.5


def notes_for(index: NoteIndex | None, conversation: Conversation) -> list[Note | None]:
    """Return the reading note nearest to each of the pupil's turns, none of them twice: a small model says its note.

    Depends on the conversation alone: the notes of earlier turns come out the same at every later one.
    """
    if index is None:
        return []
    chosen: list[Note | None] = []
    asked = last_question(conversation.opening or "")
    for turn in conversation.exchanges:
        if turn.role == "assistant":
            asked = last_question(turn.text)
        else:
            used = {note.id for note in chosen if note}
            chosen.append(index.nearest(conversation.persona.key, turn.text, asked, exclude=used))
    return chosen


def to_hint(note: Note | None) -> Hint | None:
    """Return what a prompt needs of a note."""
    return Hint(note.idea, note.image, note.question) if note else None


class FreeTier:
    """Answers with the engine that `supply` brings.

    Args:
        supply: Brings the model; started by the caller.
        index: Reading notes for small models; None to do without. May be replaced by a better one at any time.
        deadline_s: Seconds an answer may take, waiting in the queue included.
    """

    def __init__(self, supply: ModelSupply, index: NoteIndex | None, deadline_s: float = 60.0) -> None:
        self._supply = supply
        self.index = index
        self.meaning: MeaningSupply | None = None
        self._deadline_s = deadline_s

    @property
    def status(self) -> TierStatus:
        """See `Tier.status`."""
        return self._supply.status

    def close(self) -> None:
        """Free the model and the embedder."""
        if self.meaning:
            self.meaning.close()
        self._supply.close()

    async def stream(
        self, conversation: Conversation, user: User, options: AnswerOptions = ANSWER_AS_USUAL
    ) -> AsyncGenerator[Event, None]:
        """See `Tier.stream`."""
        while (engine := self._supply.engine) is None:
            status = self._supply.status
            if status.state == "failed":
                raise TierUnavailable(
                    f"The free tier has no model ({status.step}); the log says why.", code=status.step
                )
            yield Warming(status.step, status.progress)
            await asyncio.sleep(STATUS_EVERY_S)
        params = _params(engine, conversation, options)
        # In a thread: finding a note by its meaning takes 20 ms, in which other pupils' tokens would wait.
        messages = await asyncio.to_thread(self._messages, engine, conversation, params.max_tokens)
        try:
            asked = engine.stream(messages, params, deadline_s=self._deadline_s, client=user.client)
            async with aclosing(asked) as events:
                async for event in events:
                    match event:
                        case Queued() | Token():
                            yield event
                        case Finished(reason, usage):
                            yield Done(reason, usage)
        except (EngineBusy, EngineTimeout) as error:
            raise TierBusy(str(error), code=error.code, retry_after_s=error.retry_after_s) from error
        except EngineError as error:
            log.error("The engine failed: %s", error)
            raise TierUnavailable(str(error), code=error.code) from error

    def _messages(self, engine: Engine, conversation: Conversation, n_answer: int) -> list[Message]:
        """Build the prompt, without the oldest exchanges where it would not fit."""
        prefix = prefix_for(engine.info.n_params)
        hints: Sequence[Hint | None] = ()
        budget = engine.info.n_ctx - n_answer
        if prefix == "short":
            hints = [to_hint(note) for note in notes_for(self.index, conversation)]
            budget = min(budget, SMALL_PROMPT_TOKENS)
        messages = build_messages(conversation, hints, prefix=prefix)
        while engine.count_tokens(messages) > budget and len(messages) > 2:
            # One system message, then pairs; the last message is the pupil's and always stays.
            messages = [messages[0], *messages[1:][min(2 * DROPPED_AT_ONCE, len(messages) - 2) :]]
        return messages


def _params(engine: Engine, conversation: Conversation, options: AnswerOptions) -> SamplingParams:
    """What the persona says, unless `options` says otherwise."""
    usual = conversation.persona.sampling_for(prefix_for(engine.info.n_params))
    allowed = min(MAX_ANSWER_TOKENS, engine.info.n_ctx // 2)  # half of a small context stays for the conversation
    return SamplingParams(
        temperature=usual.temperature if options.temperature is None else options.temperature,
        top_k=usual.top_k,
        top_p=usual.top_p if options.top_p is None else options.top_p,
        repeat_penalty=usual.repeat_penalty,
        repeat_last_n=usual.repeat_last_n,
        max_tokens=usual.max_tokens if options.max_tokens is None else min(options.max_tokens, allowed),
        seed=options.seed,
        stop=(*STOPS, *options.stop),
        json_schema=options.json_schema,
    )


def open_free_tier(choice: ModelChoice, *, notes: Path = NOTES, deadline_s: float = 60.0) -> FreeTier:
    """Start the free tier; returns at once, while its model is prepared in the background."""

    def prompts(n_params: int) -> list[str]:
        prefix = prefix_for(n_params)
        return [build_messages(Conversation(p, ()), prefix=prefix)[0]["content"] for p in PERSONAS.values()]

    supply = ModelSupply(choice, prompts)
    index: NoteIndex | None = None
    try:
        index = NoteIndex.load(notes)
    except RetrievalError as error:
        log.error("The page answers without reading notes: %s", error)
        supply.add_notice("retrieval")
    tier = FreeTier(supply, index, deadline_s)
    if index is not None:
        tier.meaning = MeaningSupply(
            choice.data_dir, notes, spec=choice.embedder, api_key=choice.embedder_key,
            begin=lambda: supply.engine is not None, take=lambda better: setattr(tier, "index", better),
            fail=lambda: supply.add_notice("lexical_only"),
        )  # fmt: skip
        tier.meaning.start()
    supply.start()
    return tier
