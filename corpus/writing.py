"""Writing agents: they fetch an instruction, let an engine write, send the text, and mend what is refused.

Knows the server's routes and the `Engine` protocol; knows no domain, and keeps nothing of what is written.
"""

import asyncio
import math
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

import httpx

from engines.base import ChatMessage, Engine, SamplingParams, Token
from errors import CorpusError, EngineBusy

TRIES = 3  # texts for one instruction; the server takes no more
IDLE_S = 120.0  # without anything to write, because all is in other agents' hands
LOOK_S = 5.0  # between two looks whether there is something again
WRITING = SamplingParams(temperature=0.8, max_tokens=700, repeat_penalty=1.05)
_FENCE = re.compile(r"\A\s*(?:```|~~~)\w*\n(.*?)\n?(?:```|~~~)?\s*\Z", re.DOTALL)
_MEND = (
    "Ce texte est refusé :\n{reasons}\nÉcris-le à nouveau, en entier, en corrigeant cela. Donne le texte seul, sans "
    "rien avant ni après."
)


class Writers:
    """Some agents over one engine and one server.

    Args:
        engine: What writes.
        client: Of the server, its address and token set.
        name: First part of the agents' names; two commands at once need two names.
        cases: Instructions to take in all; None goes on until everything is done.
        params: How to sample.
        idle_s: How long to wait when all is handed out.

    Attributes:
        counts: What became of texts and instructions: accepted, review, rejected, surplus, given_up, lost.
    """

    def __init__(
        self,
        engine: Engine,
        client: httpx.AsyncClient,
        *,
        name: str = "writer",
        cases: int | None = None,
        params: SamplingParams = WRITING,
        idle_s: float = IDLE_S,
    ) -> None:
        self._engine, self._client, self._name = engine, client, name
        self._left: float = math.inf if cases is None else cases
        self._params, self._idle_s = params, idle_s
        self.counts: Counter[str] = Counter()

    async def run(self, agents: int, on_change: Callable[[Mapping[str, int]], None] = lambda _: None) -> None:
        """Write with `agents` at once until there is nothing to write, or `cases` are taken.

        Raises:
            CorpusError: The server does not answer, or refuses us.
            EngineError: The engine stopped.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(1, agents + 1):
                    group.create_task(self._agent(f"{self._name}-{number}", on_change))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None  # the others were only stopped with it

    async def _agent(self, agent: str, on_change: Callable[[Mapping[str, int]], None]) -> None:
        idle_since: float | None = None
        while self._left > 0:
            self._left -= 1  # before asking: the others look at it meanwhile
            given = await self._next(agent)
            if given["state"] == "leased":
                idle_since = None
                await self._case(agent, given)
                on_change(self.counts)
                continue
            self._left += 1
            now = time.monotonic()
            idle_since = now if idle_since is None else idle_since
            if given["state"] == "done" or now - idle_since >= self._idle_s:
                return
            await asyncio.sleep(min(LOOK_S, self._idle_s))

    async def _next(self, agent: str) -> dict[str, Any]:
        """Ask for an instruction; who is stopped while it is on its way gives it back."""
        asked = asyncio.ensure_future(self._post("/next-instruction", {"agent_id": agent}))
        try:
            given: dict[str, Any] = (await _to_the_end(asked)).json()
        except asyncio.CancelledError:
            given = asked.result().json()
            if given["state"] == "leased":
                await self._release({"instruction_id": given["instruction_id"], "agent_id": agent})
            raise
        return given

    async def _case(self, agent: str, given: Mapping[str, Any]) -> None:
        """Write one case, mended as often as the server allows; give it back when it is not settled."""
        held = {"instruction_id": given["instruction_id"], "agent_id": agent}
        asked: list[ChatMessage] = [{"role": "user", "content": given["prompt"]}]
        settled = False
        try:
            async with self._renewed(held, given["expires_at"]):
                for _ in range(TRIES):
                    text = await self._text(asked, agent)
                    answer = await self._post("/submit-case", {**held, "case_text": text}, may_refuse=True)
                    told = answer.json()
                    if answer.status_code in (403, 404, 409):  # expired and somebody else's meanwhile, or unknown
                        self.counts["lost"] += 1
                        settled = True
                        return
                    status = told.get("status", "rejected")
                    self.counts[status] += 1
                    if status != "rejected":
                        settled = True
                        return
                    if told.get("again") is False:
                        settled = True
                        break
                    asked = [asked[0], *_mend(text, told)]
            self.counts["given_up"] += 1
        finally:
            if not settled:
                await self._release(held)

    async def _release(self, held: Mapping[str, str]) -> None:
        """Give a case back, also when we are stopped while doing so."""
        await _to_the_end(asyncio.ensure_future(self._post("/release-lease", held, may_refuse=True)))

    @asynccontextmanager
    async def _renewed(self, held: Mapping[str, str], expires_at: float) -> AsyncIterator[None]:
        """Keep a lease alive, at a third of its time, for as long as the block takes."""

        async def renew() -> None:
            until = expires_at
            while True:
                await asyncio.sleep(max(0.05, (until - time.time()) / 3))
                try:
                    answer = await self._post("/renew-lease", held, may_refuse=True)
                except CorpusError:  # a server that starts again; the submission says so of one that is gone
                    await asyncio.sleep(1)
                    continue
                if answer.is_error:  # settled or expired: the next submission is told so
                    return
                until = answer.json()["expires_at"]

        task = asyncio.create_task(renew())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _text(self, asked: list[ChatMessage], agent: str) -> str:
        while True:
            try:
                async with aclosing(self._engine.stream(asked, self._params, client=agent)) as events:
                    parts = [event.text async for event in events if isinstance(event, Token)]
            except EngineBusy as busy:
                await asyncio.sleep(busy.retry_after_s or 1.0)
                continue
            return unfenced("".join(parts))

    async def _post(self, path: str, body: Mapping[str, Any], *, may_refuse: bool = False) -> httpx.Response:
        """Send JSON. With `may_refuse`, an answer about the case itself is returned, whatever it is."""
        try:
            answer = await self._client.post(path, json=dict(body))
        except httpx.TransportError as error:
            raise CorpusError(
                f"{self._client.base_url}: no answer ({type(error).__name__}); start `python -m corpus serve`."
            ) from None
        about_case = answer.status_code in (403, 404, 409, 413, 422)
        if answer.is_error and not (may_refuse and about_case):
            try:
                said = answer.json()["error"]["message"]
            except (ValueError, KeyError, TypeError):
                said = "it is no instruction server"
            raise CorpusError(f"{self._client.base_url}{path.lstrip('/')}: {answer.status_code}: {said}")
        return answer


async def _to_the_end(request: asyncio.Future[httpx.Response]) -> httpx.Response:
    """Wait for a request; who is stopped meanwhile is stopped when it has ended, since a server acts on half of one."""
    try:
        return await asyncio.shield(request)
    except asyncio.CancelledError:
        await asyncio.wait({request})
        raise


def unfenced(text: str) -> str:
    r"""Return a text without the Markdown fence that models like to put around it.

    >>> unfenced("```text\nElle laisse deux enfants.\n```")
    'Elle laisse deux enfants.'
    """
    fenced = _FENCE.match(text)
    return (fenced[1] if fenced else text).strip()


def _mend(text: str, told: Mapping[str, Any]) -> list[ChatMessage]:
    """Return what a writer is told after a refusal: its text, and why."""
    reasons = [f"- {one['path']} : {one['message']}" for one in told.get("findings", [])]
    reasons = reasons or [f"- {told['error']['message']}"]
    return [
        {"role": "assistant", "content": text or "…"},
        {"role": "user", "content": _MEND.format(reasons="\n".join(reasons))},
    ]
