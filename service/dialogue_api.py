"""The routes of the dialogue itself: an answer with its evaluation, an evaluation alone, full against condensed.

`POST /chat_plus_eval`, `POST /evaluate/incremental`, `POST /bench/context_ab_test`. They wait in the same queue as the
page, under the same rules: a message of distress gets the card and no model. Knows tiers and personas; knows no engine
and no page. Nothing that is sent here is kept: an earlier evaluation comes back from whoever got it.
"""

import json
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from fastapi.sse import format_sse_event
from pydantic import BaseModel, Field

from dialogue.conversation import Conversation
from dialogue.evaluation import EvaluationAsk, Place, digest_of
from dialogue.french import likeness
from errors import MessageError
from personas import PERSONAS, Persona
from service.openai_api import (
    CLIENT_GONE,
    LOOK_S,
    MAX_BODY_BYTES,
    PREPARING_WAIT_S,
    PULSE_S,
    FaultRoute,
    Visitors,
    comment_of,
    patient,
    visitor,
)
from service.openai_shapes import (
    MAX_MESSAGES,
    ChatRequest,
    Message,
    Said,
    fault_of,
    to_conversation,
    usage_of,
)
from service.sse import EventStream
from tiers.base import (
    AnswerOptions,
    Card,
    Citation,
    Evaluation,
    Event,
    Notice,
    Queued,
    Scheme,
    SchemeRead,
    Tier,
    Token,
    Warming,
)
from tiers.pulse import pulsed

log = logging.getLogger(__name__)

ANSWER_AND_EVALUATION = "/chat_plus_eval"
NO_EVALUATION = Evaluation(None, "missing")
_NAMES: Mapping[type, str] = {
    Card: "card", Citation: "citation", Notice: "notice", Scheme: "scheme", SchemeRead: "scheme_read",
}  # fmt: skip

_Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class _Body(BaseModel):
    """What the three routes have in common."""

    persona: str = Field("spinoza", max_length=64)
    history: list[Message] = Field(default_factory=list, max_length=MAX_MESSAGES - 1)
    user: str | None = Field(None, max_length=512)


class EvalRequest(_Body):
    """The body of `POST /chat_plus_eval`. `previous` is the `evaluation_json` of the turn before."""

    message: str
    eval_mode: Literal["incremental", "none"] = "incremental"
    previous: dict[str, Any] | None = None
    stream: bool = False
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    seed: _Seed | None = None


class EvaluateRequest(_Body):
    """The body of `POST /evaluate/incremental`: the exchanges so far, the last one answered or not."""

    previous: dict[str, Any] | None = None


class ComparisonRequest(_Body):
    """The body of `POST /bench/context_ab_test`."""

    message: str
    seed: _Seed = 1


class _Api:
    """The routes' handlers."""

    def __init__(self, tier: Tier, personas: Mapping[str, Persona], preparing_wait_s: float, who: Visitors) -> None:
        self._tier = tier
        self._who = who
        self._personas = personas
        self._preparing_wait_s = preparing_wait_s

    async def chat_plus_eval(self, body: EvalRequest, request: Request) -> Response:
        """Answer and evaluate in one call, whole or as server-sent events."""
        conversation = self._conversation(body, body.message)
        wanted = _ask("after", body.previous) if body.eval_mode == "incremental" else None
        options = AnswerOptions(body.max_tokens, body.temperature, seed=body.seed, evaluation=wanted)
        events = self._events(conversation, body.user, options, request, PULSE_S if body.stream else LOOK_S)
        if body.stream:
            first = await anext(events, None)  # what is refused at once is refused with a status, not in mid-stream
            return EventStream(self._lines(first, events), events)
        answer = await _whole(events, request)
        return Response(status_code=CLIENT_GONE) if answer is None else JSONResponse(self._answer(*answer))

    async def evaluate(self, body: EvaluateRequest, request: Request) -> Response:
        """Evaluate the last exchanges, in a call of its own."""
        conversation = self._conversation(body, None)
        options = AnswerOptions(evaluation=_ask("alone", body.previous))
        answer = await _whole(self._events(conversation, body.user, options, request), request)
        if answer is None:
            return Response(status_code=CLIENT_GONE)
        said, evaluation = answer
        card = {"card": said.extras["card"], "response_text": "".join(said.texts)} if "card" in said.extras else {}
        return JSONResponse(_evaluation(evaluation) | {"usage": usage_of(said)} | card)

    async def compare(self, body: ComparisonRequest, request: Request) -> Response:
        """Answer twice, with the whole history and with the condensed one, each time the likeliest words."""
        conversation = self._conversation(body, body.message)
        sides: dict[str, Said] = {}
        for name, whole in (("full", True), ("condensed", False)):
            options = AnswerOptions(temperature=0.0, seed=body.seed, whole_history=whole)
            answer = await _whole(self._events(conversation, body.user, options, request), request)
            if answer is None:
                return Response(status_code=CLIENT_GONE)
            sides[name] = answer[0]
            if "card" in answer[0].extras:  # no model was asked, nor will be
                return JSONResponse({"card": answer[0].extras["card"], "response_text": "".join(answer[0].texts)})
        return JSONResponse(compared(sides["full"], sides["condensed"]))

    def _conversation(self, body: _Body, message: str | None) -> Conversation:
        """Return what is asked.

        Raises:
            PersonaError: There is no such persona.
            MessageError: A message cannot be used, or the roles are out of order.
        """
        messages = [*body.history, *([Message(role="user", content=message)] if message is not None else [])]
        if not messages:
            raise MessageError("The history is empty; there is nothing to evaluate.", code="message_empty")
        # Unchecked, as both were checked when they came.
        chat = ChatRequest.model_construct(messages=messages, persona=body.persona)
        return to_conversation(chat, self._personas, answered=message is None)

    def _events(
        self,
        conversation: Conversation,
        user: str | None,
        options: AnswerOptions,
        request: Request,
        every_s: float = LOOK_S,
    ) -> AsyncGenerator[Event | None, None]:
        turns = conversation.turns
        log.info("Asked: persona=%s turns=%d chars=%d", conversation.persona.key, len(turns), len(turns[-1].text))
        asked = self._tier.stream(conversation, self._who(request, user), options)
        return pulsed(patient(asked, self._preparing_wait_s), every_s)

    def _answer(self, said: Said, evaluation: Evaluation) -> dict[str, Any]:
        known = {"response_text": "".join(said.texts), **_evaluation(evaluation), "usage": usage_of(said)}
        known["usage"]["evaluation_tokens"] = evaluation.tokens
        return known | {"finish_reason": said.done.reason, "model": self._tier.status.model} | said.extras

    async def _lines(
        self, first: Event | None, events: AsyncGenerator[Event | None, None]
    ) -> AsyncGenerator[bytes, None]:
        """Yield server-sent events: `token`, `evaluation`, `done` and what else happens; or `error` as the last one."""
        said, evaluation = Said(), NO_EVALUATION
        try:
            async with aclosing(_after(first, events)) as all_events:
                async for event in all_events:
                    said.take(event)
                    match event:
                        case Token(text):
                            yield _line("token", {"text": text})
                        case Evaluation():
                            evaluation = event
                            yield _line("evaluation", _evaluation(event))
                        case None | Queued() | Warming():
                            yield format_sse_event(comment=comment_of(event))
                        case _ if type(event) in _NAMES:
                            yield _line(_NAMES[type(event)], asdict(event))
            yield _line("done", self._answer(said, evaluation))
        except Exception as error:
            yield _line("error", fault_of(error).body)


def _ask(place: Place, previous: Mapping[str, Any] | None) -> EvaluationAsk:
    return EvaluationAsk(place, digest_of(previous) if previous else None)


def _evaluation(evaluation: Evaluation) -> dict[str, Any]:
    data = None if evaluation.data is None else dict(evaluation.data)
    return {"evaluation_json": data, "evaluation_result": evaluation.result, "evaluation_by": evaluation.by}


async def _whole(events: AsyncGenerator[Event | None, None], request: Request) -> tuple[Said, Evaluation] | None:
    """Return what the events came to, None where nobody waits for it any more."""
    said, evaluation = Said(), NO_EVALUATION
    async with aclosing(events):
        async for event in events:
            if await request.is_disconnected():
                return None
            said.take(event)
            if isinstance(event, Evaluation):
                evaluation = event
    return said, evaluation


async def _after(first: Event | None, events: AsyncGenerator[Event | None, None]) -> AsyncGenerator[Event | None, None]:
    yield first
    async for event in events:
        yield event


def _line(name: str, data: Mapping[str, Any]) -> bytes:
    return format_sse_event(event=name, data_str=json.dumps(data, ensure_ascii=False))


def compared(full: Said, condensed: Said) -> dict[str, Any]:
    """Return two answers to the same question side by side.

    Returns:
        For each: text, prompt and completion tokens, tokens that were not read again, seconds to the first text and in
        all; then `tokens_saved`, the share of the full prompt that the condensed one lacks, and `similarity`, the share
        of content words that the answers have in common (0 to 1).
    """
    sides = {name: _side(said) for name, said in (("full", full), ("condensed", condensed))}
    sent = sides["full"]["prompt_tokens"]
    saved = 1 - sides["condensed"]["prompt_tokens"] / sent if sent else 0.0
    alike = likeness("".join(full.texts), "".join(condensed.texts))
    return sides | {"tokens_saved": round(saved, 4), "similarity": round(alike, 4)}


def _side(said: Said) -> dict[str, Any]:
    usage = said.done.usage
    return {
        "response_text": "".join(said.texts),
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "completion_tokens": usage.completion_tokens,
        "first_token_s": round(usage.first_token_s, 4),
        "total_s": round(usage.total_s, 4),
    }


def dialogue_routes(
    tier: Tier,
    personas: Mapping[str, Persona] = PERSONAS,
    *,
    preparing_wait_s: float = PREPARING_WAIT_S,
    who: Visitors | None = None,
) -> list[APIRoute]:
    """Return the three routes, to be served beside the page. Errors are those of `openai_routes`."""
    api = _Api(tier, personas, preparing_wait_s, who or visitor)
    paths: dict[str, Callable[..., Any]] = {
        ANSWER_AND_EVALUATION: api.chat_plus_eval,
        "/evaluate/incremental": api.evaluate,
        "/bench/context_ab_test": api.compare,
    }
    return [
        FaultRoute(path, handler, methods=["POST"], response_model=None, max_body_size=MAX_BODY_BYTES)
        for path, handler in paths.items()
    ]
