"""The dialogue's rules around an answer, the same in every tier: card, fixed reply, check of what a model says.

Knows dialogue and this room's events; knows no engine. A tier gives the answer as a function of the plan, and this
puts the rules before it and behind it, so that no route and no page can leave them out.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from dialogue.conversation import Conversation
from dialogue.debate import own_words
from dialogue.safety import AnswerWatch, assess
from dialogue.safety import card as crisis_card
from dialogue.scheme_score import card as scheme_card
from dialogue.scheme_score import score
from dialogue.turn import Plan, plan_turn
from engines.base import Token, Usage
from tiers.base import Card, Done, Event, Notice, Scheme, SchemeRead

log = logging.getLogger(__name__)

CRISIS = Card("crisis", crisis_card("fr"), crisis_card("en"))


async def ruled(
    conversation: Conversation, answer: Callable[[Plan], AsyncGenerator[Event, None]], plan: Plan | None = None
) -> AsyncGenerator[Event, None]:
    """Yield what happens in a turn; see `Tier.stream`.

    Args:
        conversation: As it was asked.
        answer: Asks a model for the turn that is planned; is not called where a card or a fixed reply answers. Its
            `Done` is the last event.
        plan: Of this conversation, where it was made already.
    """
    if plan is None:
        plan = await asyncio.to_thread(plan_turn, conversation)
    if plan.distress.stops:
        log.info("A card answers")  # neither which rule nor which pupil
        yield CRISIS
        yield Done("stop", Usage())
        return
    if plan.distress.doubts:
        yield Notice("worry")
    if plan.reply is not None:
        yield Token(plan.reply)
        yield Done("stop", Usage())
        return
    said, announced, watch = "", None, AnswerWatch()
    async with aclosing(answer(plan)) as events:
        async for event in events:
            match event:
                case Token(text):
                    said += text
                    if watch.stops(text):  # before its last word is shown
                        log.warning("An answer was stopped: it urged a pupil to harm or to silence")
                        yield CRISIS
                        yield Done("stop", Usage())
                        return
                case Scheme():
                    announced = event
                case SchemeRead() | Card():
                    announced = None  # somebody nearer to the model has read it, or has taken the answer back
                case Done() if announced and said:
                    yield await asyncio.to_thread(read_scheme, announced.id, said, _premises(plan))
            yield event


def stops(conversation: Conversation) -> bool:
    """Return whether the card answers the pupil's last message: no quota and no bound may stand before it."""
    asked = next((turn.text for turn in reversed(conversation.turns) if turn.role == "user"), "")
    return assess(own_words(asked)).stops


def read_scheme(announced: str, answer: str, premises: str = "") -> SchemeRead:
    """Say what a finished answer's reasoning came to.

    Args:
        announced: Id of the scheme that was chosen before.
        answer: What the philosopher said.
        premises: The pupil's message where it sets out the premises that the answer concludes from; "" otherwise.

    Raises:
        PersonaError: There is no such scheme.
    """
    told = f"{premises}\n{answer}".strip()
    graded = score(told, announced)
    found = graded.found or (announced if graded.grade == 4 else "")
    return SchemeRead(
        announced, found, graded.grade, graded.fallacy, scheme_card(found, told).filled if found else None
    )


def _premises(plan: Plan) -> str:
    """Return the pupil's message where the answer concludes from what it sets out."""
    if plan.move is None or plan.move.inference is None:
        return ""
    return next(turn.text for turn in reversed(plan.conversation.exchanges) if turn.role == "user")
