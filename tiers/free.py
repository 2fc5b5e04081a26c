"""The free tier: llama.cpp in process, or a server of one's own; no account.

Knows engines, dialogue, personas and retrieval; no page.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from dialogue.condense import LIMITS, Limits
from dialogue.conversation import Conversation
from dialogue.evaluation import MAX_TOKENS, EvaluationAsk, Request, request_for
from dialogue.prompt import STOPS, Hint, Message, build_messages, last_question, prefix_for
from dialogue.reading import read_evaluation
from dialogue.retelling import Retelling
from dialogue.turn import Plan, redacted
from engines.base import Engine, SamplingParams, Token, Usage
from errors import EngineBusy, EngineError, EngineTimeout, RetrievalError, TierBusy, TierUnavailable
from personas import PERSONAS
from retrieval.notes import Note, NoteIndex
from tiers.base import (
    ANSWER_AS_USUAL,
    MAX_ANSWER_TOKENS,
    AnswerOptions,
    Done,
    Evaluation,
    Event,
    Scheme,
    TierStatus,
    User,
    Warming,
)
from tiers.evaluating import aside_of, evaluated
from tiers.meaning import MeaningSupply
from tiers.rules import ruled
from tiers.supply import Load, ModelChoice, ModelSupply

log = logging.getLogger(__name__)

NOTES = Path(__file__).parents[1] / "data" / "notes"
EVALUATION_TOKENS = MAX_TOKENS + 400  # with the message that asks for it
SMALL_LIMITS = Limits(history_tokens=450)  # a turn of a small model carries its note as well
SMALL_PROMPT_TOKENS = 1_400  # what the embedded model was trained to follow; longer histories make it wander
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


def free_threads(load: Load | None, threads: int | None) -> int:
    """Return how many threads may find a note while the engine is as busy as `load` says.

    Args:
        load: Of an engine in this process; None where it computes elsewhere or says nothing.
        threads: The engine's; None for what the machine grants.

    >>> free_threads(None, 2), free_threads(Load(0, 0, 1, active=1), 2), free_threads(Load(0, 0, 1), 2)
    (1, 1, 2)
    """
    if load is None or load.active or load.waiting:
        return 1
    from engines.llama_model import granted_cpus  # loads llama.cpp, which an engine elsewhere does not need

    return threads or granted_cpus()


class FreeTier:
    """Answers with the engine that `supply` brings.

    Args:
        supply: Brings the model; started by the caller.
        index: Reading notes for small models; None to do without. May be replaced by a better one at any time.
        deadline_s: Seconds an answer may take, waiting in the queue included.
        evaluates: Who evaluates where an evaluation is wanted; None lets the model's size decide.
        hints: Whether a large model too is given reading notes.
        usual: Temperature and length where a caller leaves them open; None in it is what the persona says.
    """

    def __init__(
        self,
        supply: ModelSupply,
        index: NoteIndex | None,
        deadline_s: float = 60.0,
        *,
        evaluates: Literal["model", "rules"] | None = None,
        hints: bool = False,
        usual: AnswerOptions = ANSWER_AS_USUAL,
    ) -> None:
        self._supply = supply
        self._hints = hints
        self._usual = usual
        self._evaluates = evaluates
        self.index = index
        self.meaning: MeaningSupply | None = None
        self._deadline_s = deadline_s

    @property
    def status(self) -> TierStatus:
        """See `Tier.status`."""
        return self._supply.status

    @property
    def load(self) -> Load | None:
        """How busy the engine is."""
        return self._supply.load

    def close(self) -> None:
        """Free the model and the embedder."""
        if self.meaning:
            self.meaning.close()
        self._supply.close()

    async def stream(
        self, conversation: Conversation, user: User, options: AnswerOptions = ANSWER_AS_USUAL
    ) -> AsyncGenerator[Event, None]:
        """See `Tier.stream`."""
        filled = with_usual(options, self._usual)
        async with aclosing(ruled(conversation, lambda plan: self._answer(plan, user, filled))) as events:
            async for event in events:
                yield event

    async def _answer(self, plan: Plan, user: User, options: AnswerOptions) -> AsyncGenerator[Event, None]:
        """Ask the model for a turn that no rule has answered."""
        while (engine := self._supply.engine) is None:
            status = self._supply.status
            if status.state == "failed":
                raise TierUnavailable(
                    f"The free tier has no model ({status.step}); the log says why.", code=status.step
                )
            yield Warming(status.step, status.progress)
            await asyncio.sleep(STATUS_EVERY_S)
        if self._supply.is_away:
            plan = replace(plan, conversation=redacted(plan.conversation))
        try:
            # In a thread: finding a note by its meaning takes 20 ms, in which other pupils' tokens would wait.
            asked = await asyncio.to_thread(self._asked, engine, plan, options)
            async with aclosing(self._said(engine, plan, user, options, asked)) as events:
                async for event in events:
                    yield event
        except (EngineBusy, EngineTimeout) as error:
            raise TierBusy(str(error), code=error.code, retry_after_s=error.retry_after_s) from error
        except EngineError as error:
            log.error("The engine failed: %s", error)
            raise TierUnavailable(str(error), code=error.code) from error

    async def _said(
        self, engine: Engine, plan: Plan, user: User, options: AnswerOptions, asked: "_Asked | None"
    ) -> AsyncGenerator[Event, None]:
        """Yield what an engine says, or what is said in its place."""
        told, by_rules = can_be_told(engine), None
        if options.evaluation and (asked is None or asked.request is None):
            by_rules = await asyncio.to_thread(_read, plan, options.evaluation, can_judge=self._can_judge(engine))
        if asked is None:  # an evaluation alone, that no model is asked for
            yield by_rules or Evaluation(None, "missing")
            yield Done("stop", Usage())
            return
        if plan.limit and plan.limit.spoken and not told and not asked.alone:
            yield Token(plan.limit.spoken)
            if by_rules:
                yield by_rules
            yield Done("stop", Usage())
            return
        bounded = options.json_schema or options.stop  # rules can keep neither
        concludes = plan.spoken is not None and not told and not asked.alone and not bounded
        if plan.move and not asked.alone:
            yield Scheme(plan.move.scheme, plan.move.name, told=told or concludes)
        if plan.spoken and concludes:  # what follows from premises is read by rules: a small model is wrong too often
            yield Token(plan.spoken)
            if by_rules:
                yield by_rules
            yield Done("stop", Usage())
            return
        answer = engine.stream(asked.messages, asked.params, deadline_s=self._deadline_s, client=user.client)
        said = evaluated(answer, asked.request, alone=asked.alone)
        if asked.hint and not told:
            said = kept_to(asked.hint, said)
        async with aclosing(said) as events:
            async for event in events:
                if by_rules and isinstance(event, Done):
                    yield by_rules
                yield event

    def _can_judge(self, engine: Engine) -> bool:
        return self._evaluates == "model" or (self._evaluates is None and can_be_told(engine))

    def _asked(self, engine: Engine, plan: Plan, options: AnswerOptions) -> "_Asked | None":
        """Build what the engine is asked; None where only an evaluation is wanted and no model is asked for it."""
        alone = options.evaluation is not None and options.evaluation.place == "alone"
        asks = options.evaluation is not None and self._can_judge(engine)
        request = request_for(plan.conversation, options.evaluation) if options.evaluation and asks else None
        if alone and request is None:
            return None
        params = params_for(engine, plan.conversation, options)
        if request and alone:
            params = SamplingParams(
                temperature=request.temperature, repeat_penalty=1.0, max_tokens=request.max_tokens,
                json_schema=request.schema,
            )  # fmt: skip
        elif request:
            params = replace(params, aside=aside_of(request))
        n_aside = EVALUATION_TOKENS if request else 0
        n_answer = params.max_tokens + n_aside
        hints: Sequence[Hint | None] = ()
        if prefix_for(engine.info.n_params) == "short" or self._hints:
            hints = [to_hint(note) for note in notes_for(self.index, plan.conversation)]
        messages = self._messages(engine, plan, hints, n_answer, options.whole_history, request if alone else None)
        # JSON is said as its schema asks, and the note's words could hold what a caller's stop had kept out.
        hint = None if options.json_schema or options.stop or not hints else hints[-1]
        _ = plan.spoken  # read here, in a thread: the moves of a long talk take a while
        return _Asked(messages, params, request, alone, hint)

    def _messages(
        self,
        engine: Engine,
        plan: Plan,
        hints: Sequence[Hint | None],
        n_answer: int,
        whole_history: bool,
        last: Request | None,
    ) -> list[Message]:
        """Build the prompt: the oldest exchanges condensed, and left out where it would still not fit."""
        prefix = prefix_for(engine.info.n_params)
        limits: Limits | None = LIMITS
        budget = engine.info.n_ctx - n_answer
        if prefix == "short":
            budget, limits = budget if whole_history else min(budget, SMALL_PROMPT_TOKENS), SMALL_LIMITS
        messages = plan.prompt(
            lambda text: engine.count_tokens([{"role": "user", "content": text}]),
            hints=hints,
            prefix=prefix,
            told=can_be_told(engine),
            limits=None if whole_history else limits,
        ).messages
        if last:
            messages = _with_message(messages, last)
        while engine.count_tokens(messages) > budget and len(messages) > 2:
            # One system message, then pairs; the last message is the pupil's and always stays.
            messages = [messages[0], *messages[1:][min(2 * DROPPED_AT_ONCE, len(messages) - 2) :]]
        return messages


def _read(plan: Plan, ask: EvaluationAsk, *, can_judge: bool) -> Evaluation:
    """Return the evaluation that rules give for a model that cannot; a model that can was not asked for a reason."""
    data = None if can_judge else read_evaluation(plan.conversation, ask)
    return Evaluation(data, "missing" if data is None else "ok", by="model" if can_judge else "rules")


@dataclass(frozen=True)
class _Asked:
    """What an engine is asked for one turn; `hint` is the note that a small model says back."""

    messages: list[Message]
    params: SamplingParams
    request: Request | None
    alone: bool
    hint: Hint | None


async def kept_to(hint: Hint, events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
    """Yield an answer's events, its text kept to the note that stands in its prompt, see `Retelling`."""
    keeper = Retelling((hint.idea, hint.image, hint.question))
    async with aclosing(events):
        try:
            async for event in events:
                if isinstance(event, Token):
                    if text := keeper.feed(event.text):
                        yield Token(text)
                    continue
                if isinstance(event, Evaluation | Done) and (rest := keeper.finish()):
                    yield Token(rest)
                yield event
        except EngineError:
            if rest := keeper.finish():
                yield Token(rest)  # what was said until it broke stays on the page
            raise


def can_be_told(engine: Engine) -> bool:
    """Whether the model can follow a line that names a move: one that keeps the form alone says it aloud instead."""
    return prefix_for(engine.info.n_params) == "full"


def _with_message(messages: list[Message], request: Request) -> list[Message]:
    """Ask for an evaluation at the end of a conversation, whoever spoke last."""
    *before, last = messages
    if last["role"] == "user":
        return [*before, {"role": "user", "content": f"{last['content']}\n\n{request.message}"}]
    return [*messages, {"role": "user", "content": request.message}]


def with_usual(options: AnswerOptions, usual: AnswerOptions) -> AnswerOptions:
    """Fill in the temperature and the length that a caller leaves open."""
    return replace(
        options,
        temperature=usual.temperature if options.temperature is None else options.temperature,
        max_tokens=usual.max_tokens if options.max_tokens is None else options.max_tokens,
    )


def params_for(engine: Engine, conversation: Conversation, options: AnswerOptions) -> SamplingParams:
    """Return how an answer is sampled: as the persona says, unless `options` says otherwise."""
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


def open_free_tier(
    choice: ModelChoice, *, notes: Path = NOTES, deadline_s: float = 60.0, usual: AnswerOptions = ANSWER_AS_USUAL
) -> FreeTier:
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
    tier = FreeTier(supply, index, deadline_s, hints=choice.hints, usual=usual)
    if index is not None:
        tier.meaning = MeaningSupply(
            choice.data_dir, notes, spec=choice.embedder, api_key=choice.embedder_key,
            threads=lambda: free_threads(supply.load, choice.threads),
            begin=lambda: supply.engine is not None, take=lambda better: setattr(tier, "index", better),
            fail=lambda: supply.add_notice("lexical_only"),
        )  # fmt: skip
        tier.meaning.start()
    supply.start()
    return tier
