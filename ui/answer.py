"""From a tier's events to what is shown of an answer. Knows tiers and texts; knows no widget."""

import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Literal

from dialogue.conversation import MAX_MESSAGE_CHARS, Conversation
from errors import ChatError, place_of
from tiers.base import (
    ANSWER_AS_USUAL,
    AnswerOptions,
    Card,
    Citation,
    Done,
    Evaluation,
    Event,
    Notice,
    Queued,
    Scheme,
    SchemeRead,
    Tier,
    Token,
    User,
    Warming,
)
from tiers.pulse import pulsed
from ui.session import Source
from ui.texts import TEXTS, Language, text, text_of_code

log = logging.getLogger(__name__)

PULSE_S = 1.0  # Gradio notices a closed page only when something is yielded: never be silent for longer
FRAME_S = 0.06  # between two updates of a growing answer: Gradio needs some 10 ms for each, for every pupil


@dataclass(frozen=True)
class Shown:
    """What the page shows of an answer at one moment.

    Attributes:
        answer: The answer so far; it only grows, until a card takes its place.
        notice: A sentence above the chat, empty for none.
        kind: "wait" while nothing was said, "notice" for something to know, "error" when the answer ended badly.
        worry: The line of help, where there is a doubt about how the pupil is: nothing that comes later takes it away.
        progress: From 0 to 1 where the wait has a known end.
        over: True once, for the last one.
        card: The fixed card in place of any answer, as Markdown; empty for none.
        scheme: Id of the scheme that a chip may name; empty while none is known for sure.
        filled: Its form with the answer's own words; empty where they are not read.
        sources: The passages that the answer rests on, in the order of their numbers.
        evaluation: What a model said of the pupil's reasoning; None where it was not asked or not accepted.
    """

    answer: str = ""
    notice: str = ""
    kind: Literal["wait", "notice", "error"] = "wait"
    worry: str = ""
    progress: float | None = None
    over: bool = False
    card: str = ""
    scheme: str = ""
    filled: str = ""
    sources: tuple[Source, ...] = ()
    evaluation: Mapping[str, object] | None = None


def after(shown: Shown, event: Event | None, language: Language) -> Shown:
    """What is shown once `event` has happened; None is a moment in which nothing did."""
    match event:
        case Token():
            told = shown.notice if shown.kind == "notice" else ""
            return replace(
                shown, answer=shown.answer + event.text, notice=told, kind="notice" if told else "wait", progress=None
            )
        case Queued() | Warming() if shown.kind == "wait":
            sentence, progress = _waiting(event, language)
            return replace(shown, notice=sentence, progress=progress)
        case Notice(code="worry"):
            return replace(shown, worry=text(language, "worry"))
        case Notice(code=code):
            return replace(shown, notice=text_of_code(language, code), kind="notice", progress=None)
        case Card():
            return Shown(card=event.text_en if language == "en" else event.text, kind="notice")
        case Done(reason=reason):
            told = shown.notice if shown.kind == "notice" else ""
            if reason == "deadline":
                told = text(language, "deadline")
            return replace(shown, notice=told, kind="notice", progress=None, over=True)
    return _beside(shown, event)


def _waiting(event: Queued | Warming, language: Language) -> tuple[str, float | None]:
    if isinstance(event, Warming):
        sentence = text_of_code(language, event.code, otherwise="starting")
        if event.eta_s:
            sentence = f"{sentence} {text(language, 'warming_eta', seconds=max(1, round(event.eta_s)))}"
        return sentence, event.progress
    key = "queued_next" if event.place <= 1 else "queued" if event.eta_s is None else "queued_eta"
    return text(language, key, place=event.place, seconds=max(1, round(event.eta_s or 0))), None


def _beside(shown: Shown, event: Event | None) -> Shown:
    """What stands in the margin of the answer."""
    match event:
        case Scheme(id=scheme, told=True):
            return replace(shown, scheme=scheme)
        case SchemeRead(found=found, filled=filled) if found:
            return replace(shown, scheme=found, filled=filled or "")
        case Citation():
            source = Source(event.number, event.author, event.work, event.locus, event.text, event.id, event.link,
                            event.original)  # fmt: skip
            others = [one for one in shown.sources if one.number != source.number]
            return replace(shown, sources=tuple(sorted([*others, source], key=lambda one: one.number)))
        case Evaluation(data=data, by="model") if data is not None:  # what rules read, the page reads itself
            return replace(shown, evaluation=data)
    return shown


def failed(shown: Shown, error: Exception, language: Language) -> Shown:
    """What was already said stays; the sentence says what happened and what to do."""
    code = error.code if isinstance(error, ChatError) else "internal"
    sentence = text_of_code(language, code, limit=MAX_MESSAGE_CHARS)
    return replace(shown, notice=sentence, kind="error", progress=None, over=True)


async def answering(
    tier: Tier,
    conversation: Conversation,
    user: User,
    language: Callable[[], Language],
    options: AnswerOptions = ANSWER_AS_USUAL,
    *,
    pulse_s: float = PULSE_S,
) -> AsyncGenerator[Shown, None]:
    """Yield what to show, the last one `over`; closing this generator closes the tier's stream at once.

    `language` is asked at each moment: the page may change it meanwhile.

    No error leaves: each becomes a sentence, its details go to the log, never with what the pupil wrote.
    """
    both, start, key = dict.fromkeys(TEXTS, Shown()), time.monotonic(), conversation.persona.key
    last = 0.0
    turns = conversation.turns
    log.info("Answer asked: persona=%s turns=%d chars=%d", key, len(turns), len(turns[-1].text))
    ended = "closed"
    try:
        async with aclosing(pulsed(tier.stream(conversation, user, options), pulse_s)) as events:
            async for event in events:
                both = {tongue: after(shown, event, tongue) for tongue, shown in both.items()}
                shown = both[language()]
                ended = "done" if shown.over else ended
                now = time.monotonic()
                if isinstance(event, Token) and now - last < FRAME_S:
                    continue  # shown with the next token, or at the next pulse
                last = now
                yield shown
        shown = both[language()]
        if not shown.over:  # a tier that forgets `Done` must not leave the page waiting
            ended = "done"
            yield replace(shown, over=True)
    except ChatError as error:
        ended = error.code
        log.warning("Answer failed: persona=%s code=%s: %s", key, error.code, error)
        yield failed(both[language()], error, language())
    except Exception as error:
        ended = "internal"
        # The text of a foreign error may quote the pupil: its type and place are enough to find the fault.
        log.error("Answer failed: persona=%s %s at %s", key, type(error).__name__, place_of(error))
        yield failed(both[language()], error, language())
    finally:
        seconds = time.monotonic() - start
        log.info("Answer ended: persona=%s how=%s chars=%d s=%.2f", key, ended, len(both["fr"].answer), seconds)
