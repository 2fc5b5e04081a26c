"""From an engine's events to a tier's, with an evaluation behind the answer where one was asked for.

Knows `dialogue.evaluation` and the `Engine` seam; knows no model and no page. What stands behind the mark never becomes
a `Token`, and whatever is wrong with it, the answer stands.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from dialogue.evaluation import MarkSplitter, Request, accept
from engines.base import Aside, EngineEvent, Finished, Queued, Token, Usage
from errors import EngineError
from tiers.base import Done, Evaluation, Event


def aside_of(request: Request) -> Aside:
    """Return a request for an evaluation as an engine takes it."""
    return Aside(request.mark, request.message, request.schema, request.max_tokens, request.temperature)


async def evaluated(
    events: AsyncGenerator[EngineEvent, None], request: Request | None, *, alone: bool = False
) -> AsyncGenerator[Event, None]:
    """Yield what a tier says of an engine's answer: `Queued`, `Token`, then `Evaluation` if one was asked for, `Done`.

    Args:
        events: Of `Engine.stream`; closed with this generator.
        request: What was asked for behind the answer; None for nothing.
        alone: The answer is nothing but the evaluation.

    Raises:
        EngineError: As the engine, or `answer_empty`: an evaluation came and no answer.
    """
    splitter = MarkSplitter(request.mark) if request and not alone else None
    shown = False
    written: list[str] = []
    async with aclosing(events):
        try:
            async for event in events:
                match event:
                    case Queued():
                        yield event
                    case Token(text) if alone:
                        written.append(text)
                    case Token(text):
                        text = splitter.feed(text) if splitter else text
                        if text:
                            shown = True
                            yield Token(text)
                    case Finished(reason, usage):
                        if splitter and (rest := splitter.finish()):
                            shown = True
                            yield Token(rest)
                        if splitter and not shown:
                            raise _no_answer()
                        if request:
                            behind = "".join(written) if splitter is None else splitter.behind
                            n_tokens = usage.completion_tokens if alone else usage.aside_tokens
                            yield Evaluation(*accept(behind, request.said), tokens=n_tokens)
                        in_time = splitter is not None and splitter.behind is not None and reason == "deadline"
                        yield Done("stop" if in_time else reason, usage)  # the answer itself was over in time
                        return
        except EngineError:
            if splitter is None or splitter.behind is None or not shown:
                raise
            yield Evaluation(None, "invalid")  # what broke was the evaluation; the answer is whole
            yield Done("stop", Usage())


def _no_answer() -> EngineError:
    return EngineError("The model evaluated and did not answer; ask again.", code="answer_empty")
