"""From a tier's events to what is shown of an answer. Knows tiers and texts; knows no widget."""

import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Literal

from dialogue.conversation import MAX_MESSAGE_CHARS, Conversation
from errors import ChatError, place_of
from tiers.base import Done, Event, Notice, Queued, Tier, Token, User, Warming
from tiers.pulse import pulsed
from ui.texts import Language, text, text_of_code

log = logging.getLogger(__name__)

PULSE_S = 1.0  # Gradio notices a closed page only when something is yielded: never be silent for longer
FRAME_S = 0.06  # between two updates of a growing answer: Gradio needs some 10 ms for each, for every pupil


@dataclass(frozen=True)
class Shown:
    """What the page shows of an answer at one moment.

    Attributes:
        answer: The answer so far; it only grows.
        notice: A sentence above the chat, empty for none.
        kind: "wait" while nothing was said, "notice" for something to know, "error" when the answer ended badly.
        progress: From 0 to 1 where the wait has a known end.
        over: True once, for the last one.
    """

    answer: str = ""
    notice: str = ""
    kind: Literal["wait", "notice", "error"] = "wait"
    progress: float | None = None
    over: bool = False


def after(shown: Shown, event: Event | None, language: Language) -> Shown:
    """What is shown once `event` has happened; None is a moment in which nothing did."""
    match event:
        case Token():
            notice = shown.notice if shown.kind == "notice" else ""
            return Shown(shown.answer + event.text, notice, "notice" if notice else "wait")
        case Queued(place=place, eta_s=eta) if shown.kind == "wait":
            key = "queued_next" if place <= 1 else "queued" if eta is None else "queued_eta"
            return replace(shown, notice=text(language, key, place=place, seconds=round(eta or 0)), progress=None)
        case Warming(code=code, progress=progress) if shown.kind == "wait":
            return replace(shown, notice=text_of_code(language, code, otherwise="starting"), progress=progress)
        case Notice(code=code):
            return replace(shown, notice=text_of_code(language, code), kind="notice", progress=None)
        case Done(reason=reason):
            notice = shown.notice if shown.kind == "notice" else ""
            if reason == "deadline":
                notice = text(language, "deadline")
            return Shown(shown.answer, notice, "notice", over=True)
    return shown  # citations and evaluations have no place on this page yet


def failed(shown: Shown, error: Exception, language: Language) -> Shown:
    """What was already said stays; the sentence says what happened and what to do."""
    code = error.code if isinstance(error, ChatError) else "internal"
    return Shown(shown.answer, text_of_code(language, code, limit=MAX_MESSAGE_CHARS), "error", over=True)


async def answering(
    tier: Tier, conversation: Conversation, user: User, language: Language, *, pulse_s: float = PULSE_S
) -> AsyncGenerator[Shown, None]:
    """Yield what to show, the last one `over`; closing this generator closes the tier's stream at once.

    No error leaves: each becomes a sentence, its details go to the log, never with what the pupil wrote.
    """
    shown, start, key = Shown(), time.monotonic(), conversation.persona.key
    last = 0.0
    turns = conversation.turns
    log.info("Answer asked: persona=%s turns=%d chars=%d", key, len(turns), len(turns[-1].text))
    ended = "closed"
    try:
        async with aclosing(pulsed(tier.stream(conversation, user), pulse_s)) as events:
            async for event in events:
                shown = after(shown, event, language)
                ended = "done" if shown.over else ended
                now = time.monotonic()
                if isinstance(event, Token) and now - last < FRAME_S:
                    continue  # shown with the next token, or at the next pulse
                last = now
                yield shown
        if not shown.over:  # a tier that forgets `Done` must not leave the page waiting
            ended = "done"
            yield replace(shown, over=True)
    except ChatError as error:
        ended = error.code
        log.warning("Answer failed: persona=%s code=%s: %s", key, error.code, error)
        yield failed(shown, error, language)
    except Exception as error:
        ended = "internal"
        # The text of a foreign error may quote the pupil: its type and place are enough to find the fault.
        log.error("Answer failed: persona=%s %s at %s", key, type(error).__name__, place_of(error))
        yield failed(shown, error, language)
    finally:
        seconds = time.monotonic() - start
        log.info("Answer ended: persona=%s how=%s chars=%d s=%.2f", key, ended, len(shown.answer), seconds)
