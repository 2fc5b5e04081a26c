"""An engine behind Ollama's own API, which knows what its OpenAI routes do not: context length, top_k, penalties."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import httpx
from pydantic import BaseModel, ValidationError

from engines.base import ChatMessage, EngineInfo, SamplingParams
from engines.openai_http import N_CTX, N_PARAMS, parsed_schema
from engines.remote import Piece, RemoteEngine
from errors import EngineError

URL = "http://127.0.0.1:11434"
SAID_CHARS = 200  # of an error, for the log


class _Message(BaseModel):
    content: str = ""


class _Line(BaseModel):
    """One line of a stream; the counts stand in the last one."""

    message: _Message = _Message()
    done: bool = False
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    error: str | None = None


class _Shown(BaseModel):
    """What `/api/show` says of a model; the keys of `model_info` are those of a GGUF."""

    model_info: dict[str, Any] = {}


class OllamaEngine(RemoteEngine):
    """See `engines.base.Engine` and `engines.remote.RemoteEngine`.

    Args:
        model: A name that `ollama list` shows, with or without its tag.
        url: Where Ollama listens.
        n_params: Number of parameters, where Ollama does not say it.
        n_ctx: Longest prompt and answer together; less when the model was trained on less.

    Raises:
        EngineError: The url is no address.
    """

    def __init__(self, model: str, *, url: str = URL, n_params: int | None = None, n_ctx: int = N_CTX) -> None:
        super().__init__(model, url)
        self._n_params = n_params
        self._n_ctx = n_ctx

    async def _pieces(
        self, client: httpx.AsyncClient, messages: Sequence[ChatMessage], params: SamplingParams
    ) -> AsyncGenerator[Piece, None]:
        body = request_body(self.model, messages, params, self._n_ctx)
        async with client.stream("POST", f"{self.url}/api/chat", json=body) as response:
            if response.status_code != 200:
                await response.aread()
                raise self._refusal(response)
            rest = b""
            async for chunk in response.aiter_bytes():
                # By hand: httpx's own lines also end at characters that may stand inside a JSON text.
                *lines, rest = (rest + chunk).split(b"\n")
                for line in filter(bytes.strip, lines):
                    yield self._piece(line)
            if rest.strip():
                yield self._piece(rest)

    def _piece(self, data: bytes) -> Piece:
        line = _Line.model_validate_json(data)
        if line.error is not None:
            raise EngineError(f"Ollama failed in the middle of an answer ({line.error[:SAID_CHARS]}).")
        return Piece(
            text=line.message.content,
            reason=None if not line.done else "length" if line.done_reason == "length" else "stop",
            prompt_tokens=line.prompt_eval_count,
            completion_tokens=line.eval_count,
        )

    def _ask_info(self, client: httpx.Client) -> EngineInfo:
        response = client.post(f"{self.url}/api/show", json={"model": self.model})
        if response.status_code != 200:
            raise self._refusal(response)
        said = _Shown.model_validate_json(response.content).model_info
        trained = said.get(f"{said.get('general.architecture')}.context_length")
        n_params = said.get("general.parameter_count")
        return EngineInfo(
            self.model,
            self._n_params or (n_params if isinstance(n_params, int) else N_PARAMS),
            min(self._n_ctx, trained) if isinstance(trained, int) else self._n_ctx,
        )

    def _no_model(self) -> EngineError:
        return EngineError(
            f"Ollama has no model {self.model!r}; fetch it with `ollama pull {self.model}`.", code="model_missing"
        )

    def _said(self, body: bytes) -> str:
        try:
            return (_Line.model_validate_json(body).error or "")[:SAID_CHARS]
        except ValidationError:
            return ""  # not JSON, as from a proxy


def request_body(model: str, messages: Sequence[ChatMessage], params: SamplingParams, n_ctx: int) -> dict[str, Any]:
    """Return the body of a streaming `/api/chat`.

    Raises:
        EngineError: `params.json_schema` is no JSON.
    """
    options: dict[str, Any] = {
        "temperature": params.temperature,
        "top_k": params.top_k,
        "top_p": params.top_p,
        "repeat_penalty": params.repeat_penalty,
        "repeat_last_n": params.repeat_last_n,
        "num_predict": params.max_tokens,
        "num_ctx": n_ctx,
    }
    if params.stop and params.json_schema is None:
        options["stop"] = list(params.stop)
    if params.seed is not None:
        options["seed"] = params.seed
    body: dict[str, Any] = {
        "model": model,
        "messages": list(messages),
        "stream": True,
        "options": options,
        "think": False,  # a pupil waits for what the philosopher says, and the budget is for that
        "truncate": False,  # refuse a prompt that is too long; without it Ollama drops its beginning and says nothing
        "shift": False,
    }
    if params.json_schema is not None:
        body["format"] = parsed_schema(params.json_schema)
    return body
