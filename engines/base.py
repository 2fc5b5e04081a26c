"""The seam of this room: what an engine is asked, what it yields. Knows no model, no library, no tier."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypedDict

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length", "deadline"]


class ChatMessage(TypedDict):
    """One message, in the shape every chat library uses."""

    role: Role
    content: str


@dataclass(frozen=True)
class Aside:
    """JSON that follows an answer in the same call, behind a mark; whoever asks divides the text there.

    Attributes:
        mark: Stands between the answer and the JSON. New at every call, so that nobody can have written it before.
        message: Asks for the JSON and names the mark; written so that it may stand before the answer or after it.
        json_schema: What the JSON must match, as JSON text.
        max_tokens: Most tokens of the JSON.
        temperature: To sample it with.
    """

    mark: str
    message: str
    json_schema: str
    max_tokens: int = 320
    temperature: float = 0.3


@dataclass(frozen=True)
class SamplingParams:
    """How the next token is chosen, and when to stop.

    Attributes:
        temperature: From 0 (always the likeliest token) to 2.
        top_k: Only the k likeliest tokens are considered; 0 means all.
        top_p: Then only those that together hold this probability mass.
        repeat_penalty: 1 is none; above 1.1 small models lose French accents and articles.
        repeat_last_n: How many of the last tokens the penalty looks at.
        max_tokens: Upper bound of the answer, in tokens.
        seed: None for a new one at each call.
        stop: Texts that end the answer; none of them is ever yielded.
        end_at_sentence: When `max_tokens` or the deadline cuts the answer, drop the unfinished last sentence.
        json_schema: A JSON Schema, as JSON text, that the answer must match; None for free text.
        aside: JSON that follows the answer; None for none. Where it fails, or has no room, the answer stands alone.
    """

    temperature: float = 0.7
    top_k: int = 40
    top_p: float = 0.9
    repeat_penalty: float = 1.05
    repeat_last_n: int = 64
    max_tokens: int = 160
    seed: int | None = None
    stop: tuple[str, ...] = ()
    end_at_sentence: bool = True
    json_schema: str | None = None
    aside: Aside | None = None


@dataclass(frozen=True)
class EngineInfo:
    """What an engine says of its model.

    Attributes:
        model: Name for logs and for `/v1/models`.
        n_params: Number of parameters.
        n_ctx: Longest prompt and answer together, in tokens.
    """

    model: str
    n_params: int
    n_ctx: int


@dataclass(frozen=True)
class Usage:
    """What an answer cost.

    Attributes:
        prompt_tokens: Length of the prompt, in tokens.
        cached_tokens: How many of them were not decoded again.
        completion_tokens: Tokens sampled, those of an aside included.
        aside_tokens: How many of them are an aside's.
        queued_s: Seconds spent waiting for a place.
        first_token_s: Seconds from the start of the work to the first text.
        total_s: Seconds from the start of the work to the end.
        gpu_s: Seconds of a rented GPU that it took; 0 where nobody counts them.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    queued_s: float = 0.0
    first_token_s: float = 0.0
    total_s: float = 0.0
    gpu_s: float = 0.0
    aside_tokens: int = 0


@dataclass(frozen=True)
class Queued:
    """The request waits. `place` is 1 for the next one served; `eta_s` is None until an answer has been timed."""

    place: int
    eta_s: float | None = None


@dataclass(frozen=True)
class Token:
    """The next piece of the answer: whole characters, at least one."""

    text: str


@dataclass(frozen=True)
class Finished:
    """The answer is over; always the last event of a stream that did not raise."""

    reason: FinishReason
    usage: Usage


EngineEvent = Queued | Token | Finished


class Engine(Protocol):
    """A model that can be talked with. Safe to share between asyncio tasks of one event loop."""

    @property
    def info(self) -> EngineInfo:
        """What is loaded."""
        ...

    @property
    def failure(self) -> str | None:
        """Why this engine can answer no more, for the log; None while it can."""
        ...

    def stream(
        self,
        messages: Sequence[ChatMessage],
        params: SamplingParams,
        *,
        deadline_s: float | None = None,
        client: str = "",
    ) -> AsyncGenerator[EngineEvent, None]:
        """Yield `Queued` (zero or more), `Token` (one or more), then `Finished`.

        The joined `Token` texts are the whole answer, without leading space. With `params.aside`, its mark and JSON may
        follow; no later prompt of the chat goes on from them. Closing the generator, at any point, cancels the work and
        frees its place at the engine's next step.

        Args:
            messages: An optional system message first, then user and assistant in turn, a user message last.
            params: How to sample and when to stop.
            deadline_s: Seconds from now. Passed while waiting, `EngineTimeout` is raised; passed while answering,
                the answer ends with `Finished("deadline")`.
            client: Opaque key of who asks. Those who wait are served in turn, one of each client at a time.

        Raises:
            EngineBusy: The queue is full.
            EngineTimeout: The deadline passed before the first token.
            EngineError: The prompt is longer than the context, or the model failed.
        """
        ...

    async def warm(self, system_prompt: str) -> None:
        """Read a system prompt ahead, so that the first answer of every chat that begins with it is fast."""
        ...

    def count_tokens(self, messages: Sequence[ChatMessage]) -> int:
        """Length of the rendered prompt, in tokens."""
        ...

    def close(self) -> None:
        """Stop the work and free the model. Streams under way raise `EngineError`."""
        ...
