"""`python -m benchmarks.naive M.gguf --port 8104`: a lock around `Llama`, the way most chat Spaces are built.

One answer at a time; the library itself remembers the last prompt alone.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Annotated, Any

import llama_cpp
import typer
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from starlette.concurrency import iterate_in_threadpool

KEPT = ("max_tokens", "temperature", "seed")


def build(model: Path, threads: int, n_ctx: int) -> FastAPI:
    """Return the routes that the load needs, over one `Llama` and one lock."""
    llama = llama_cpp.Llama(str(model), n_ctx=n_ctx, n_threads=threads, n_threads_batch=threads, verbose=False)
    lock = asyncio.Lock()
    app = FastAPI()

    def events(body: dict[str, Any]) -> Iterator[str]:
        options = {key: body[key] for key in KEPT if key in body}
        for chunk in llama.create_chat_completion(body["messages"], stream=True, **options):
            yield f"data: {json.dumps(chunk)}\n\n"
        yield "data: [DONE]\n\n"

    async def stream(body: dict[str, Any]) -> AsyncGenerator[str, None]:
        async with lock:  # left only when the step under way is over: a thread cannot be interrupted
            async for event in iterate_in_threadpool(events(body)):
                yield event

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/chat/completions")
    async def complete(body: dict[str, Any]) -> StreamingResponse:
        return StreamingResponse(stream(body), media_type="text/event-stream")

    return app


def main(
    model: Annotated[Path, typer.Argument(help="A GGUF.")],
    port: Annotated[int, typer.Option(help="On 127.0.0.1.")] = 8104,
    threads: Annotated[int, typer.Option(min=1, help="Of every step.")] = 2,
    n_ctx: Annotated[int, typer.Option(help="Context, in tokens.")] = 4096,
) -> None:
    """Serve a model, one answer at a time, until interrupted."""
    uvicorn.run(build(model, threads, n_ctx), host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    typer.run(main)
