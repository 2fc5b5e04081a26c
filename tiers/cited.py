"""Answers with passages: a search, a prompt that carries what was found, references that are checked as they stream.

The premium tier's inside, where it runs: over any engine and any collection. Persona and history are byte-identical
from turn to turn, passages stand with the last question alone, so an engine's prefix cache holds. Knows engines,
retrieval and the dialogue's rules; knows no account, no price and no HTTP.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from dialogue.condense import Limits
from dialogue.conversation import Conversation
from dialogue.evaluation import Request, request_for
from dialogue.prompt import STOPS, Excerpt, Message, Prefix, last_question, with_passages
from dialogue.turn import Plan, plan_turn
from engines.base import Engine, SamplingParams
from errors import EngineBusy, EngineError, EngineTimeout, RetrievalError, TierBusy, TierUnavailable
from retrieval.citations import CheckedAnswer, Source, to_sources
from retrieval.passages import EVERYTHING, Filter, Passage
from retrieval.store import Searcher
from tiers.base import (
    ANSWER_AS_USUAL,
    MAX_ANSWER_TOKENS,
    AnswerOptions,
    Citation,
    Done,
    Evaluation,
    Event,
    Notice,
    Scheme,
    TierStatus,
    Token,
    User,
)
from tiers.evaluating import aside_of, evaluated
from tiers.rules import ruled
from tiers.waking import Waker

log = logging.getLogger(__name__)

HISTORY = Limits(history_tokens=1_500, kept_exchanges=3)  # a large model follows more than the free one, and caches it


@dataclass(frozen=True)
class Reading:
    """How much a prompt carries.

    Attributes:
        n_ctx: The engine's longest prompt and answer together, in tokens.
        prefix: Which persona prefix its model can follow.
        passages: At most so many.
        passage_tokens: All of them together, at most.
        by_author: Whether only the persona's own author is searched; False for a collection that names none.
        history: When the history is condensed.
    """

    n_ctx: int
    prefix: Prefix = "full"
    passages: int = 4
    passage_tokens: int = 700
    by_author: bool = True
    history: Limits = HISTORY


@dataclass(frozen=True)
class Prepared:
    """What a turn rests on, before a model is asked.

    Attributes:
        plan: Of the turn.
        passages: Worth showing, the best first; none where no model is asked.
        notice: Code, where the search failed.
    """

    plan: Plan
    passages: Sequence[Passage] = ()
    notice: str | None = None


class CitedTier:
    """See `EagerTier`. Nothing here asks the engine before `stream` is iterated, so that a sleeping one stays asleep.

    Args:
        engine: Any; its `info` is not read.
        searcher: The collection; None answers without passages.
        reading: How much a prompt carries.
        model: Name, for `status`.
        deadline_s: Seconds an answer may take once the engine is awake.
        waker: Wakes an engine that sleeps; None for one that does not.
    """

    def __init__(
        self,
        engine: Engine,
        searcher: Searcher | None,
        reading: Reading,
        *,
        model: str,
        deadline_s: float = 60.0,
        waker: Waker | None = None,
    ) -> None:
        self._engine, self._searcher, self._reading = engine, searcher, reading
        self._deadline_s, self._waker, self._model = deadline_s, waker, model

    @property
    def status(self) -> TierStatus:
        """See `Tier.status`. An engine that sleeps is ready: it wakes when it is asked."""
        if self._engine.failure is not None:
            return TierStatus("failed", "engine_failed")
        return TierStatus("ready", "ready", model=self._model)

    async def prepare(self, conversation: Conversation, options: AnswerOptions = ANSWER_AS_USUAL) -> Prepared:
        """See `EagerTier.prepare`: the rules and the search."""
        return await asyncio.to_thread(self._prepared, conversation, options.excluded)

    async def stream(
        self,
        conversation: Conversation,
        user: User,
        options: AnswerOptions = ANSWER_AS_USUAL,
        prepared: Awaitable[object] | None = None,
    ) -> AsyncGenerator[Event, None]:
        """See `EagerTier.stream`."""
        found = await prepared if prepared is not None else None
        ready = found if isinstance(found, Prepared) else await self.prepare(conversation, options)
        async with aclosing(ruled(conversation, lambda _: self._answer(ready, user, options), ready.plan)) as events:
            async for event in events:
                yield event

    async def _answer(self, ready: Prepared, user: User, options: AnswerOptions) -> AsyncGenerator[Event, None]:
        plan, passages = ready.plan, ready.passages
        if self._waker:
            async with aclosing(self._waker.wait()) as warmings:
                async for warming in warmings:
                    yield warming
        if ready.notice:
            yield Notice(ready.notice)
        request = request_for(plan.conversation, options.evaluation) if options.evaluation else None
        params = self._params(plan.conversation, options, request)
        n_answer = params.max_tokens + (request.max_tokens if request else 0)
        messages, n_kept = await asyncio.to_thread(self._messages, plan, passages, n_answer)
        kept, sources = passages[:n_kept], to_sources(passages[:n_kept])
        for source, passage in zip(sources, kept, strict=True):
            yield _citation(source, passage)
        if plan.move:
            yield Scheme(plan.move.scheme, plan.move.name, told=self._reading.prefix == "full")
        client = user.person or user.client
        asked = self._engine.stream(messages, params, deadline_s=self._deadline_s, client=client)
        async with aclosing(self._said(evaluated(asked, request), sources)) as events:
            async for event in events:
                yield event

    async def _said(self, asked: AsyncGenerator[Event, None], sources: Sequence[Source]) -> AsyncGenerator[Event, None]:
        """Pass an engine's answer on; what it says of sources is checked before it is shown."""
        checked: CheckedAnswer | None = CheckedAnswer(sources)
        try:
            async with aclosing(asked) as events:
                async for event in events:
                    if isinstance(event, Token) and checked:
                        if shown := checked.feed(event.text):
                            yield Token(shown)
                        continue
                    if isinstance(event, (Evaluation, Done)) and checked:
                        if rest := checked.finish():
                            yield Token(rest)
                        for code in sorted(checked.notices):
                            yield Notice(code)
                        checked = None
                    yield event
        except (EngineBusy, EngineTimeout) as error:
            self._missed()
            raise TierBusy(str(error), code=error.code, retry_after_s=error.retry_after_s) from error
        except EngineError as error:
            self._missed()
            log.error("The engine failed: %s", error)
            raise TierUnavailable(str(error), code=error.code) from error
        if self._waker:
            self._waker.answered()

    def _missed(self) -> None:
        if self._waker:
            self._waker.failed()

    def _prepared(self, conversation: Conversation, excluded: Sequence[str]) -> Prepared:
        plan = plan_turn(conversation)
        if plan.distress.stops or plan.reply is not None:  # no model will be asked
            return Prepared(plan)
        return Prepared(plan, *self._search(plan.conversation, excluded))

    def _search(self, conversation: Conversation, excluded: Sequence[str]) -> tuple[list[Passage], str | None]:
        """Return the passages worth showing, best first, and a notice where the search failed."""
        if self._searcher is None:
            return [], None
        where = Filter(author=conversation.persona.short_name) if self._reading.by_author else EVERYTHING
        wanted, left_out = self._reading.passages, set(excluded)
        try:
            found = self._searcher.search(question_of(conversation), wanted + len(left_out), where=where)
        except RetrievalError as error:
            log.error("An answer without passages: %s", error)
            return [], "retrieval"
        return [hit.passage for hit in found.relevant if hit.passage.id not in left_out][:wanted], None

    def _messages(self, plan: Plan, passages: Sequence[Passage], n_answer: int) -> tuple[list[Message], int]:
        """Return the prompt and how many passages stand in it."""
        reading = self._reading

        def count(text: str) -> int:
            return self._engine.count_tokens([{"role": "user", "content": text}])

        told = reading.prefix == "full"
        messages = plan.prompt(count, prefix=reading.prefix, told=told, limits=reading.history).messages
        room = reading.n_ctx - n_answer
        while self._engine.count_tokens(messages) > room and len(messages) > 2:
            messages = [messages[0], *messages[3:]]  # a pair; the last message is the pupil's and always stays
        excerpts = [Excerpt(s.number, s.reference, s.text, s.original) for s in to_sources(passages)]
        budget = min(room, self._engine.count_tokens(messages) + reading.passage_tokens)
        return with_passages(messages, excerpts, self._engine.count_tokens, budget)

    def _params(self, conversation: Conversation, options: AnswerOptions, request: Request | None) -> SamplingParams:
        usual = conversation.persona.sampling_for(self._reading.prefix)
        allowed = min(MAX_ANSWER_TOKENS, self._reading.n_ctx // 2)
        return SamplingParams(
            temperature=usual.temperature if options.temperature is None else options.temperature,
            top_k=usual.top_k,
            top_p=usual.top_p if options.top_p is None else options.top_p,
            repeat_penalty=usual.repeat_penalty,
            repeat_last_n=usual.repeat_last_n,
            max_tokens=min(usual.max_tokens if options.max_tokens is None else options.max_tokens, allowed),
            seed=options.seed,
            stop=(*STOPS, *options.stop),
            aside=aside_of(request) if request else None,
        )


def question_of(conversation: Conversation) -> str:
    """Return what is searched: the pupil's words, with the question that they answer unless they ask one themselves.

    A « oui » alone would find nothing, and what it is about stands in the turn before.
    """
    *before, last = conversation.turns
    asked = last_question(before[-1].text) if before else None
    return last.text if last.text.rstrip().endswith("?") or asked is None else f"{asked} {last.text}"


def _citation(source: Source, passage: Passage) -> Citation:
    return Citation(
        source.number, source.author, source.work, source.locus, source.text,
        id=passage.id, link=source.link, original=source.original,
    )  # fmt: skip
