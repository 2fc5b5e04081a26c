"""`python -m benchmarks.serve M.gguf`: our engine behind our routes, with the benchmark's personas.

The way that a pupil's question takes, less the page, the reading notes and the dialogue's rules: every server that is
measured is asked the same words, and answers all of them.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
import uvicorn
from fastapi import FastAPI
from fastapi.routing import APIRoute

from benchmarks.load import persona_key, persona_texts, token_counter
from cli import run_commands
from dialogue.conversation import Conversation
from dialogue.prompt import build_messages, prefix_for
from engines.base import Engine, Finished, Queued, Token
from engines.llama_cpp import LlamaCppEngine
from errors import EngineBusy, EngineError, EngineTimeout, TierBusy, TierUnavailable
from personas import PERSONAS
from personas.loader import Persona, Sampling
from service.health import routes
from service.openai_api import openai_routes
from tiers.base import ANSWER_AS_USUAL, AnswerOptions, Done, Event, User
from tiers.free import FreeTier, params_for
from tiers.supply import ModelChoice, ModelSupply

log = logging.getLogger("benchmarks.serve")

SAMPLING = Sampling(temperature=0.7, top_k=40, top_p=0.95, repeat_penalty=1.0)  # the peers' defaults
DEADLINE_S = 3600.0  # nobody is sent away: a peer's pupils wait as long as it takes


class OpenSupply(ModelSupply):
    """A supply whose engine is open already."""

    def __init__(self, engine: Engine, path: Path) -> None:
        super().__init__(ModelChoice(data_dir=path.parent, model=str(path)), _no_prompts)
        self._engine = engine
        self._say("ready", "ready", model=engine.info.model)


class BareTier(FreeTier):
    """The free tier without its rules, which answer by themselves or change what a model is told."""

    def __init__(self, engine: Engine, path: Path) -> None:
        super().__init__(OpenSupply(engine, path), None, DEADLINE_S)
        self._engine = engine

    async def stream(
        self, conversation: Conversation, user: User, options: AnswerOptions = ANSWER_AS_USUAL
    ) -> AsyncGenerator[Event, None]:
        """See `Tier.stream`."""
        messages = build_messages(conversation, prefix=prefix_for(self._engine.info.n_params))
        params = params_for(self._engine, conversation, options)
        try:
            asked = self._engine.stream(messages, params, deadline_s=DEADLINE_S, client=user.client)
            async with aclosing(asked) as events:
                async for event in events:
                    match event:
                        case Queued() | Token():
                            yield event
                        case Finished():
                            yield Done(event.reason, event.usage)
        except (EngineBusy, EngineTimeout) as error:
            raise TierBusy(str(error), code=error.code, retry_after_s=error.retry_after_s) from error
        except EngineError as error:
            raise TierUnavailable(str(error), code=error.code) from error


def _no_prompts(n_params: int) -> Sequence[str]:  # noqa: ARG001
    return []


def bench_personas(texts: Sequence[str]) -> dict[str, Persona]:
    """Return personas that have the benchmark's system prompts, byte for byte, for small and for large models."""
    plain = PERSONAS["spinoza"]
    return {
        persona_key(number): replace(
            plain, key=persona_key(number), short_prompt=text, full_prompt=text, sampling=SAMPLING,
            small_sampling=SAMPLING,
        )
        for number, text in enumerate(texts)
    }  # fmt: skip


def state_route(engine: LlamaCppEngine) -> APIRoute:
    """Return `/state`: what the engine has done and holds, for a soak."""

    async def state() -> dict[str, Any]:
        return asdict(engine.stats)

    return APIRoute("/state", state, methods=["GET"])


def serve(
    model: Annotated[Path, typer.Argument(help="A GGUF.")],
    port: Annotated[int, typer.Option(help="On 127.0.0.1.")] = 8101,
    threads: Annotated[int, typer.Option(min=1, help="Of the engine.")] = 2,
    n_ctx: Annotated[int, typer.Option(help="Longest prompt and answer together.")] = 4096,
    n_cells: Annotated[int | None, typer.Option(help="Tokens that all chats hold together.")] = None,
    queue_size: Annotated[int, typer.Option(help="How many may wait.")] = 64,
    cache_dir: Annotated[Path | None, typer.Option(help="Where persona files are kept between two starts.")] = None,
    kernels: Annotated[str | None, typer.Option(help="repacked or tiled; unset, the engine chooses.")] = None,
    warm: Annotated[bool, typer.Option(help="Read the personas before the port opens.")] = True,
) -> None:
    """Serve a model with the benchmark's personas, until interrupted."""
    started = time.monotonic()
    options: dict[str, Any] = {"threads": threads, "n_ctx": n_ctx, "queue_size": queue_size}
    chosen = {"cache_dir": cache_dir, "kernels": kernels, "n_cells": n_cells}
    options |= {name: value for name, value in chosen.items() if value is not None}
    personas = bench_personas(persona_texts(token_counter(model)))
    engine = LlamaCppEngine(model, **options)
    opened = time.monotonic()
    if warm:
        for persona in personas.values():
            asyncio.run(engine.warm(persona.full_prompt))
    log.info("opened in %.2f s, personas read in %.2f s", opened - started, time.monotonic() - opened)
    tier = BareTier(engine, model)
    app = FastAPI(routes=[*openai_routes(tier, personas), *routes(tier), state_route(engine)])
    try:
        uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=2)
    finally:
        tier.close()


def main() -> None:
    """Run the command line; an error of ours becomes one line on stderr and exit status 1."""
    run_commands(serve)


if __name__ == "__main__":
    main()
