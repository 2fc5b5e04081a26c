"""Two small real servers that speak like vLLM and like Ollama, and say words without a model."""

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator, Iterable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

WORDS = (" La", " loi", " morale", " est", " libre", ".")


class WordServer:
    """What both have alike: what is said, what was asked, who is still connected.

    Args:
        says: Pieces of the answer; None says words until `max_tokens`.
        pause_s: Seconds before each piece.

    Attributes:
        refusal: A response to give in place of an answer.
        tail: Raw bytes to send after the pieces in place of a proper end.
    """

    def __init__(self, says: Iterable[str] | None = None, *, pause_s: float = 0.0) -> None:
        self.says = says
        self.pause_s = pause_s
        self.refusal: Response | None = None
        self.tail: bytes | None = None
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.open = 0
        self.app = FastAPI()

    def pieces(self, max_tokens: int) -> list[str]:
        return list(itertools.islice(itertools.cycle(WORDS), max_tokens)) if self.says is None else list(self.says)

    async def asked(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = await request.json()
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        return body

    async def sent(self, lines: Iterable[bytes], end: Iterable[bytes]) -> AsyncGenerator[bytes, None]:
        self.open += 1
        try:
            for line in lines:
                await asyncio.sleep(self.pause_s)
                yield line
            if self.tail is None:
                for line in end:
                    yield line
            else:
                yield self.tail
        finally:
            self.open -= 1


class OpenAIServer(WordServer):
    """`/v1/chat/completions` and `/v1/models`."""

    def __init__(self, says: Iterable[str] | None = None, *, pause_s: float = 0.0) -> None:
        super().__init__(says, pause_s=pause_s)
        self.models: Any = {"object": "list", "data": [{"id": "tiny", "object": "model", "max_model_len": 2048}]}
        self.app.post("/v1/chat/completions", response_model=None)(self.complete)
        self.app.get("/v1/models", response_model=None)(self.list)

    async def complete(self, request: Request) -> Response:
        body = await self.asked(request)
        if self.refusal is not None:
            return self.refusal
        limit = body.get("max_tokens") or body["max_completion_tokens"]
        pieces = self.pieces(limit)
        usage = {
            "prompt_tokens": 11,
            "completion_tokens": len(pieces),
            "total_tokens": 11 + len(pieces),
            "prompt_tokens_details": {"cached_tokens": 7},
        }
        end = [
            _sse({"choices": [{"delta": {}, "finish_reason": "length" if len(pieces) >= limit else "stop"}]}),
            _sse({"choices": [], "usage": usage}),
            b"data: [DONE]\n\n",
        ]
        lines = [_sse({"choices": [{"delta": {"content": text}, "finish_reason": None}]}) for text in pieces]
        return StreamingResponse(self.sent([b": hello\n\n", *lines], end), media_type="text/event-stream")

    async def list(self, request: Request) -> Response:
        self.headers.append(dict(request.headers))
        return self.refusal or JSONResponse(self.models)


class OllamaServer(WordServer):
    """`/api/chat` and `/api/show`."""

    def __init__(self, says: Iterable[str] | None = None, *, pause_s: float = 0.0) -> None:
        super().__init__(says, pause_s=pause_s)
        self.shown: dict[str, Any] = {
            "model_info": {
                "general.architecture": "llama",
                "general.parameter_count": 8_030_261_248,
                "llama.context_length": 2048,
            }
        }
        self.app.post("/api/chat", response_model=None)(self.chat)
        self.app.post("/api/show", response_model=None)(self.show)

    async def chat(self, request: Request) -> Response:
        body = await self.asked(request)
        if self.refusal is not None:
            return self.refusal
        limit = body["options"]["num_predict"]
        pieces = self.pieces(limit)
        end = {
            "message": {"role": "assistant", "content": ""},
            "done": True,
            "done_reason": "length" if len(pieces) >= limit else "stop",
            "prompt_eval_count": 11,
            "eval_count": len(pieces),
        }
        lines = [_line({"message": {"role": "assistant", "content": text}, "done": False}) for text in pieces]
        return StreamingResponse(self.sent(lines, [_line(end)]), media_type="application/x-ndjson")

    async def show(self, request: Request) -> Response:
        await self.asked(request)
        return self.refusal or JSONResponse(self.shown)


def _sse(chunk: dict[str, Any]) -> bytes:
    # Not escaped, as llama-server sends it.
    return f"data: {json.dumps({'object': 'chat.completion.chunk', **chunk}, ensure_ascii=False)}\n\n".encode()


def _line(chunk: dict[str, Any]) -> bytes:
    return f"{json.dumps({'model': 'tiny', **chunk}, ensure_ascii=False)}\n".encode()
