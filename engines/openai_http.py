"""An engine behind OpenAI's chat completions: vLLM, llama-server, any compatible server. Knows the protocol alone.

What OpenAI's own API does not define is sent under each name that the servers know: `top_k` (both), `repeat_penalty`
and `repeat_last_n` (llama-server), `repetition_penalty` and `structured_outputs` (vLLM: the one looks at the whole
text, the other constrains what follows a mark). Both ignore a name they do not know. api.openai.com refuses it: there,
`dialect="openai"` sends none.
"""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Literal

import httpx
from httpx_sse import aconnect_sse
from pydantic import BaseModel, ValidationError

from engines.base import Aside, ChatMessage, EngineInfo, SamplingParams
from engines.remote import Piece, RemoteEngine
from errors import EngineError

Dialect = Literal["extended", "openai"]
STRICT_HOST = "api.openai.com"  # refuses what it does not know

N_PARAMS = 7_000_000_000  # when nobody says: a model worth a server of its own can follow a whole persona
N_CTX = 4096  # when nobody says
MAX_STOPS = 4  # api.openai.com takes no more; the rest is looked for here


class _Details(BaseModel):
    cached_tokens: int | None = None


class _Usage(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None


class _Delta(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    delta: _Delta = _Delta()
    finish_reason: str | None = None


class _Chunk(BaseModel):
    """One event of a stream."""

    object: str = ""
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


class _Fault(BaseModel):
    type: str | None = None
    code: str | int | None = None


class _Refused(BaseModel):
    """An error as a body."""

    error: _Fault | None = None


class _Meta(BaseModel):
    n_ctx: int | None = None
    n_params: int | None = None


class _Model(BaseModel):
    """An entry of `/v1/models`: `max_model_len` is vLLM's, `meta` is llama-server's."""

    id: str
    max_model_len: int | None = None
    meta: _Meta | None = None


class _Models(BaseModel):
    data: list[_Model]


class OpenAIEngine(RemoteEngine):
    """See `engines.base.Engine` and `engines.remote.RemoteEngine`.

    Args:
        address: `http://host:port/v1#model`.
        api_key: Sent as a bearer; never part of an address or a log.
        dialect: "openai" sends only what api.openai.com takes; None: that for that host, "extended" for any other.
        n_params: Number of parameters, where the server does not say it or says it wrongly.
        n_ctx: Longest prompt and answer together, where the server does not say it.
        headers: Sent besides, for a proxy before the server; never logged.

    Raises:
        EngineError: The address names no server or no model.
    """

    def __init__(
        self,
        address: str,
        *,
        api_key: str | None = None,
        dialect: Dialect | None = None,
        n_params: int | None = None,
        n_ctx: int = N_CTX,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        url, _, model = address.partition("#")
        if not model:
            raise EngineError(f"{address!r} names no model; expected http://host:port/v1#model.")
        key = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        super().__init__(model, url, headers={**(headers or {}), **key})
        strict = httpx.URL(self.url).host == STRICT_HOST
        self._dialect: Dialect = dialect or ("openai" if strict else "extended")
        self._n_params = n_params
        self._n_ctx = n_ctx

    async def _pieces(
        self, client: httpx.AsyncClient, messages: Sequence[ChatMessage], params: SamplingParams
    ) -> AsyncGenerator[Piece, None]:
        body = request_body(self.model, messages, params, self._dialect)
        async with aconnect_sse(client, "POST", f"{self.url}/chat/completions", json=body) as source:
            if source.response.status_code != 200:
                await source.response.aread()
                raise self._refusal(source.response)
            async with aclosing(source.aiter_sse()) as events:
                async for event in events:
                    if event.data == "[DONE]":
                        return
                    yield self._piece(event.data)

    def _piece(self, data: str) -> Piece:
        chunk = _Chunk.model_validate_json(data)
        if chunk.error is not None or chunk.object == "error":
            said = self._said(data.encode())
            raise EngineError(f"{self.url} failed in the middle of an answer{f' ({said})' if said else ''}.")
        choice = chunk.choices[0] if chunk.choices else _Choice()
        usage = chunk.usage or _Usage()
        return Piece(
            text=choice.delta.content or "",
            reason=None if choice.finish_reason is None else "length" if choice.finish_reason == "length" else "stop",
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else None,
            completion_tokens=usage.completion_tokens,
        )

    def _ask_info(self, client: httpx.Client) -> EngineInfo:
        response = client.get(f"{self.url}/models")
        if response.status_code != 200:
            raise self._refusal(response)
        models = _Models.model_validate_json(response.content).data
        found = [model for model in models if model.id == self.model]
        if not found and len(models) != 1:  # llama-server has one model, under a name of its own, and takes any name
            raise self._no_model()
        model = (found or models)[0]
        meta = model.meta or _Meta()
        return EngineInfo(
            self.model, self._n_params or meta.n_params or N_PARAMS, model.max_model_len or meta.n_ctx or self._n_ctx
        )

    def _said(self, body: bytes) -> str:
        try:
            fault = _Refused.model_validate_json(body).error
        except ValidationError:
            return ""  # not JSON, as from a proxy
        return ", ".join(str(said) for said in (fault.type, fault.code) if said) if fault else ""


def request_body(
    model: str, messages: Sequence[ChatMessage], params: SamplingParams, dialect: Dialect = "extended"
) -> dict[str, Any]:
    """Return the body of a streaming request.

    Raises:
        EngineError: `params.json_schema` is no JSON.
    """
    extended = dialect == "extended"
    body: dict[str, Any] = {
        "model": model,
        "messages": list(messages),
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": params.temperature,
        "top_p": params.top_p,
        # OpenAI's newer models refuse the older name, the other servers know it best.
        "max_tokens" if extended else "max_completion_tokens": params.max_tokens,
    }
    if params.stop and params.json_schema is None:
        body["stop"] = list(params.stop) if extended else list(params.stop)[:MAX_STOPS]
    if params.seed is not None:
        body["seed"] = params.seed
    if params.json_schema is not None:
        schema = parsed_schema(params.json_schema)
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": True},
        }
    if params.aside and extended:
        body["structured_outputs"] = {"structural_tag": json.dumps(_tag(params.aside), ensure_ascii=False)}
    if extended:
        body |= {
            "top_k": params.top_k or -1,  # "all" is 0 here, -1 in vLLM, and either in llama-server
            "repetition_penalty": params.repeat_penalty,
            "repeat_penalty": params.repeat_penalty,
            "repeat_last_n": params.repeat_last_n,
        }
    return body


def _tag(aside: Aside) -> dict[str, Any]:
    """Return an aside in vLLM's words: free text, and JSON of the schema from the mark on."""
    closing = aside.mark.replace("<<<", "<<</", 1)
    structure = {"begin": aside.mark, "schema": parsed_schema(aside.json_schema), "end": closing}
    return {"type": "structural_tag", "structures": [structure], "triggers": [aside.mark]}


def parsed_schema(text: str) -> dict[str, Any]:
    """Return a JSON Schema as data.

    Raises:
        EngineError: It is no JSON object.
    """
    try:
        schema = json.loads(text)
    except json.JSONDecodeError as error:
        raise EngineError(f"The JSON Schema is no JSON ({error}).", code="bad_schema") from None
    if not isinstance(schema, dict):
        raise EngineError("The JSON Schema is no JSON object.", code="bad_schema")
    return schema
