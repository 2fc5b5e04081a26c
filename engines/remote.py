"""An engine behind HTTP, as far as all of them are alike: deadlines, cancelling, the cut of an answer, errors.

Knows httpx; knows no protocol: `engines.openai_http` and `engines.ollama` say how a request looks and what comes back.
Nothing is tried twice here: who asks knows how long a pupil waits.
"""

import asyncio
import logging
import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Literal

import httpx
from pydantic import ValidationError

from engines.base import ChatMessage, EngineEvent, EngineInfo, Finished, FinishReason, SamplingParams, Token, Usage
from engines.text import AnswerText, nears_end
from errors import EngineBusy, EngineError, EngineTimeout

log = logging.getLogger(__name__)

CONNECT_S = 5.0
SILENCE_S = 120.0  # between two bytes; a server that reads the long prompts of others first is silent for long
INFO_S = 5.0
WARM_S = 300.0  # a 7B on two cores reads a persona of 900 tokens in 90 s
CHARS_PER_TOKEN = 3  # French has about 4: too high an estimate cuts a chat early, too low a one makes the server refuse
MARKS = 8  # tokens that a chat template puts around a message, at most
CLOSED = "The engine was closed."


@dataclass(frozen=True)
class Piece:
    """What a server sent at once.

    Attributes:
        text: The next part of the answer, perhaps none.
        reason: Why the answer ended, once it has.
        prompt_tokens: The server's count, where it gives one; so are the next two.
        cached_tokens: How many of them were not read again.
        completion_tokens: Tokens of the answer.
    """

    text: str = ""
    reason: Literal["stop", "length"] | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None


COUNTS = ("prompt_tokens", "cached_tokens", "completion_tokens")


class _Answer:
    """One answer as it grows: its text, its counts, its times."""

    def __init__(
        self, params: SamplingParams, n_prompt: int, deadline_s: float | None, send: Callable[[EngineEvent], None]
    ) -> None:
        plain = params.json_schema is None  # JSON ends where its schema says: no stop text and no sentence may cut it
        whole = plain and params.aside is None  # no sentence may be held back that JSON stands behind
        self.text = AnswerText(params.stop if plain else (), sentences=whole and params.end_at_sentence)
        self.n_pieces = 0
        self._params = params
        self._counts = Piece(prompt_tokens=n_prompt)
        self._send = send
        self._started = time.monotonic()
        self._deadline = math.inf if deadline_s is None else self._started + deadline_s
        self._first_piece = self._first_shown = 0.0
        self._last_words = ""  # as long as a mark may be, so that one is found in two pieces
        self._n_before_aside: int | None = None

    def take(self, piece: Piece) -> None:
        """Show what may be shown of a piece. A piece counts as a token until the server says how many there were."""
        if piece.text:
            now = time.monotonic()
            self._first_piece = self._first_piece or now
            self.n_pieces += 1
            self._watch_mark(piece.text)
            hold = nears_end(
                self.n_pieces, self._params.max_tokens, spent_s=now - self._first_piece, left_s=self._deadline - now
            )
            self._show(self.text.feed(piece.text.encode("utf-8", errors="ignore"), hold=hold))
        told = {name: value for name in COUNTS if (value := getattr(piece, name)) is not None}
        self._counts = replace(self._counts, **told)

    def finish(self, reason: FinishReason) -> Finished:
        """Show the rest and say what the answer cost.

        Raises:
            EngineTimeout: The deadline passed before anything could be shown.
            EngineError: The answer is empty.
        """
        self._show(self.text.finish(cut=reason != "stop"))
        if not self._first_shown and reason == "deadline":
            raise EngineTimeout("The deadline passed before the first word; ask again later.")
        if not self._first_shown:
            raise EngineError("The model answered with nothing that can be shown; ask again.", code="answer_empty")
        told = self._counts.completion_tokens
        completion = self.n_pieces if told is None else told
        before = self.n_pieces if self._n_before_aside is None else self._n_before_aside
        usage = Usage(
            prompt_tokens=self._counts.prompt_tokens or 0,
            cached_tokens=self._counts.cached_tokens or 0,
            completion_tokens=completion,
            aside_tokens=round(completion * (self.n_pieces - before) / max(self.n_pieces, 1)),
            first_token_s=self._first_shown - self._started,
            total_s=time.monotonic() - self._started,
        )
        return Finished(reason, usage)

    def _watch_mark(self, text: str) -> None:
        aside = self._params.aside
        if aside is None or self._n_before_aside is not None:
            return
        said = self._last_words + text
        if aside.mark in said:
            self._n_before_aside = self.n_pieces - 1
        self._last_words = said[-len(aside.mark) :]

    def _show(self, text: str) -> None:
        if text:
            self._first_shown = self._first_shown or time.monotonic()
            self._send(Token(text))


class RemoteEngine(ABC):
    """See `engines.base.Engine`. A server that is away makes a call fail, and the next one may succeed.

    Each answer has a connection of its own: it can be closed, which is how every server is told to stop, and engines
    may be used from one event loop after another. Places in a server's queue are not known, so none is told.

    Args:
        model: The name that the server knows.
        url: Where the server's routes begin, with http or https.
        headers: Sent with each request; never logged.
    """

    def __init__(self, model: str, url: str, *, headers: Mapping[str, str] | None = None) -> None:
        try:
            parts = httpx.URL(url)
        except httpx.InvalidURL:
            shown = url.rpartition("@")[2]  # a key may stand before it
            raise EngineError(f"{shown!r} is no address; expected http://host:port or https://host.") from None
        if not all(value.isascii() for value in (headers or {}).values()):
            raise EngineError(f"The key for {parts.host} holds a character beyond ASCII; copy it again.")
        if parts.scheme not in {"http", "https"} or not parts.host:
            raise EngineError(f"{url!r} is no address; expected http://host:port or https://host.")
        if parts.userinfo:  # it would be shown wherever the address is
            raise EngineError(f"The address of {parts.host} holds a name or a key; pass the key as an option.")
        self.model = model
        self.url = url.rstrip("/")
        secure = parts.scheme == "https"
        self._headers = dict(headers or {})
        # Made once, as reading the certificates takes 20 ms. A plain address is a server at hand: no proxy is asked.
        self._verify = httpx.create_ssl_context() if secure else False
        self._proxies = secure
        self._info: EngineInfo | None = None
        self._closed = False
        self._tasks: dict[asyncio.Task[None], asyncio.AbstractEventLoop] = {}
        self._lock = threading.Lock()

    @property
    def info(self) -> EngineInfo:
        """See `Engine.info`. The first time, the server is asked; a server that is silent for 5 s is given up.

        Raises:
            EngineError: The server cannot be reached, or does not know the model.
        """
        if self._info is None:
            with (
                self._plain_errors(),
                httpx.Client(
                    headers=self._headers, timeout=INFO_S, verify=self._verify, trust_env=self._proxies
                ) as client,
            ):
                self._info = self._ask_info(client)
        return self._info

    @property
    def failure(self) -> str | None:
        """See `Engine.failure`: only closing is for ever, a server may always come back."""
        return CLOSED if self._closed else None

    async def stream(
        self,
        messages: Sequence[ChatMessage],
        params: SamplingParams,
        *,
        deadline_s: float | None = None,
        client: str = "",  # noqa: ARG002 - the server decides who is next
    ) -> AsyncGenerator[EngineEvent, None]:
        """See `Engine.stream`. An aside is asked for in the same message, so the model writes its mark itself."""
        messages, params = with_aside(messages, params)
        events: asyncio.Queue[EngineEvent | EngineError | None] = asyncio.Queue()
        task = asyncio.create_task(self._work(list(messages), params, deadline_s, events.put_nowait))
        task.add_done_callback(lambda _: events.put_nowait(None))
        with self._lock:
            self._tasks[task] = asyncio.get_running_loop()
        try:
            while True:
                event = await events.get()
                if self._closed:
                    raise EngineError(CLOSED)
                if event is None:
                    raise EngineError(f"The answer of {self.model} was lost.") from task.exception()
                if isinstance(event, EngineError):
                    raise event
                yield event
                if isinstance(event, Finished):
                    return
        finally:
            with self._lock:
                del self._tasks[task]
            task.cancel()
            await asyncio.wait({task})  # the connection is closed when this returns

    async def warm(self, system_prompt: str) -> None:
        """See `Engine.warm`: one token is asked for, so that a server which keeps prefixes keeps this one.

        Raises:
            EngineError: The server cannot be reached or refuses.
        """
        if not system_prompt.strip():
            return
        messages: list[ChatMessage] = [
            {"role": "system", "content": system_prompt},
            {"role": "user", "content": "Bonjour"},
        ]
        params = SamplingParams(temperature=0.0, max_tokens=1, end_at_sentence=False)
        try:
            async with asyncio.timeout(WARM_S):
                await self._read(messages, params, _Answer(params, 0, None, lambda _: None))
        except TimeoutError:
            raise EngineTimeout(f"{self.model} did not read its system prompt in {WARM_S:.0f} s.") from None

    def count_tokens(self, messages: Sequence[ChatMessage]) -> int:
        """See `Engine.count_tokens`. An estimate from above, as the vocabulary is the server's secret.

        A token for every three characters, rounded up, and eight for the marks around each message.
        """
        return sum(math.ceil(len(message["content"]) / CHARS_PER_TOKEN) + MARKS for message in messages)

    def close(self) -> None:
        """See `Engine.close`. The server goes on; only our connections are closed."""
        with self._lock:
            self._closed = True
            under_way = list(self._tasks.items())
        for task, loop in under_way:
            with suppress(RuntimeError):  # its loop is closed: nobody listens any more
                loop.call_soon_threadsafe(task.cancel)

    @abstractmethod
    def _pieces(
        self, client: httpx.AsyncClient, messages: Sequence[ChatMessage], params: SamplingParams
    ) -> AsyncGenerator[Piece, None]:
        """Ask, and yield what comes; a refusal is raised as an `EngineError`."""

    @abstractmethod
    def _ask_info(self, client: httpx.Client) -> EngineInfo:
        """Ask what the model is."""

    @abstractmethod
    def _said(self, body: bytes) -> str:
        """Return what an error's body says and a log may hold, or nothing. A body may quote what a pupil wrote."""

    def _no_model(self) -> EngineError:
        return EngineError(f"{self.url} has no model {self.model!r}.", code="model_missing")

    def _refusal(self, response: httpx.Response) -> EngineError:
        """Return the error for a status that is not 200; the body has been read."""
        status, said = response.status_code, self._said(response.content)
        match status:
            case 429 | 503:
                wait_s = _seconds(response.headers.get("retry-after"))
                return EngineBusy(f"{self.url} is busy (status {status}); ask again later.", retry_after_s=wait_s)
            case 408 | 504:
                return EngineTimeout(f"{self.url} gave up waiting (status {status}); ask again later.")
            case 401 | 403:
                return EngineError(f"{self.url} refuses the key (status {status}); check the option api_key.")
            case 404:
                return self._no_model()
        if status < 500 and _is_too_long(response.text):
            return EngineError(
                f"The prompt and its answer are more than the context of {self.model}; cut the conversation.",
                code="conversation_too_long",
            )
        return EngineError(f"{self.url} answered with status {status}{f' ({said})' if said else ''}.")

    async def _work(
        self,
        messages: Sequence[ChatMessage],
        params: SamplingParams,
        deadline_s: float | None,
        send: Callable[[EngineEvent | EngineError], None],
    ) -> None:
        """Read an answer and send what happens; no error of the server's leaves."""
        answer = _Answer(params, self.count_tokens(messages), deadline_s, send)
        reason: FinishReason
        try:
            try:
                async with asyncio.timeout(deadline_s):
                    reason = await self._read(messages, params, answer)
            except TimeoutError:
                reason = "deadline"
            finished = answer.finish(reason)
        except EngineError as error:
            log.info("%s: %s", self.model, error)
            send(error)
        else:
            log.info("%s: %s, %s", self.model, finished.reason, finished.usage)
            send(finished)

    async def _read(self, messages: Sequence[ChatMessage], params: SamplingParams, answer: _Answer) -> FinishReason:
        if self._closed:
            raise EngineError(CLOSED)
        reason: FinishReason | None = None
        timeout = httpx.Timeout(SILENCE_S, connect=CONNECT_S)
        with self._plain_errors():
            async with (
                httpx.AsyncClient(
                    headers=self._headers, timeout=timeout, verify=self._verify, trust_env=self._proxies
                ) as client,
                aclosing(self._pieces(client, messages, params)) as pieces,
            ):
                async for piece in pieces:
                    answer.take(piece)
                    if answer.text.stopped:  # found by us first: leaving closes the connection, so the server stops
                        return "stop"
                    if answer.n_pieces > params.max_tokens:  # a server that knows no bound
                        return "length"
                    reason = piece.reason or reason
        if reason is None:
            raise EngineError(f"{self.url} broke off in the middle of an answer.")
        return reason

    @contextmanager
    def _plain_errors(self) -> Generator[None, None, None]:
        """Turn what httpx and a server may do into our errors. No message quotes what was received."""
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise EngineError(f"{self.url} cannot be reached; is the server running?") from error
        except httpx.TimeoutException as error:
            raise EngineError(f"{self.url} was silent for too long.") from error
        except (httpx.InvalidURL, UnicodeError) as error:
            raise EngineError(f"{self.url} is no address that can be asked ({type(error).__name__}).") from error
        except httpx.HTTPError as error:
            raise EngineError(f"{self.url} broke the connection off ({type(error).__name__}).") from error
        except ValidationError:
            raise EngineError(f"{self.url} sent what cannot be read; is it the right kind of server?") from None


def with_aside(messages: Sequence[ChatMessage], params: SamplingParams) -> tuple[Sequence[ChatMessage], SamplingParams]:
    """Return both with the aside's message behind the last one, and with room for its JSON."""
    if params.aside is None:
        return messages, params
    *before, last = messages
    asked: ChatMessage = {"role": last["role"], "content": f"{last['content']}\n\n{params.aside.message}"}
    return [*before, asked], replace(params, max_tokens=params.max_tokens + params.aside.max_tokens)


def _seconds(text: str | None) -> float | None:
    """Return a Retry-After in seconds; a date is not read."""
    return float(text) if text and text.isdecimal() else None


def _is_too_long(said: str) -> bool:
    """Whether a refusal is about length: OpenAI, vLLM, llama-server and Ollama say it in words of their own."""
    words = said.lower()
    return any(
        mark in words
        for mark in (
            "context_length_exceeded",
            "exceed_context_size",
            "maximum context",
            "context length",
            "context size",
        )
    )
