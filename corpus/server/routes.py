"""The workshop over HTTP, for writing agents on this machine. Thin: every decision is the workshop's."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from corpus.server.targets import to_toon
from corpus.server.texts import MOST_CHARS
from corpus.server.workshop import ANONYMOUS, Instruction, Workshop
from errors import CorpusError

LOCAL = ("127.0.0.1", "localhost", "[::1]")
MOST_BODY = 4 * MOST_CHARS + 10_000  # bytes: a letter of French takes two at most, an escaped one six
STATUS = {"unknown_instruction": 404, "foreign_agent": 403, "settled": 409}
RETRY_S = 30


class Asking(BaseModel):
    """Who asks for an instruction."""

    model_config = ConfigDict(extra="forbid")
    agent_id: str = Field(default=ANONYMOUS, min_length=1, max_length=64, pattern=r"^[\w.:-]+$")


class Submission(BaseModel):
    """A text that comes back."""

    model_config = ConfigDict(extra="forbid")
    instruction_id: str = Field(min_length=1, max_length=32)
    agent_id: str = Field(default=ANONYMOUS, min_length=1, max_length=64, pattern=r"^[\w.:-]+$")
    case_text: str = Field(min_length=1)


def refusal(status: int, code: str, message: str) -> JSONResponse:
    """Return an error in the one shape that all have."""
    return JSONResponse({"error": {"code": code, "message": message}}, status)


def told(instruction: Instruction, workshop: Workshop) -> dict[str, Any]:
    """Return an instruction as its writer gets it."""
    return {
        "state": "leased",
        "instruction_id": instruction.id,
        "agent_id": instruction.agent,
        "dimensions": instruction.cell,
        "target_toon": to_toon(instruction.target),
        "prompt": workshop.domain.instruct(instruction.target),
        "lease_token": instruction.token,
        "expires_at": instruction.expires_at,
    }


def build_app(workshop: Workshop) -> FastAPI:
    """Return the routes over an open workshop, which stays the caller's to close."""
    app = FastAPI(title="Instruction server", docs_url=None, redoc_url=None)
    _refuse_strangers(app)
    _name_errors(app)
    _add_routes(app, workshop)
    return app


def _refuse_strangers(app: FastAPI) -> None:
    @app.middleware("http")
    async def guard(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        """Refuse what a web page of elsewhere could send, and bodies that no text needs."""
        host = request.headers.get("host", "").rsplit(":", 1)[0]
        origin = request.headers.get("origin")
        if host not in LOCAL or (origin is not None and origin.split("//")[-1].rsplit(":", 1)[0] not in LOCAL):
            return refusal(403, "foreign_host", "this server answers this machine alone.")
        if request.method == "POST" and request.headers.get("content-type", "").split(";")[0] != "application/json":
            return refusal(415, "not_json", "send application/json.")
        length = request.headers.get("content-length", "0")
        if request.method == "POST" and (not length.isdigit() or int(length) > MOST_BODY):
            return refusal(413, "too_long", f"at most {MOST_BODY} bytes, their number in content-length.")
        return await call(request)


def _name_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def unfit(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return refusal(422, "unfit_request", f"{place}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def unknown(_: Request, error: HTTPException) -> JSONResponse:
        return refusal(error.status_code, "unfit_request", str(error.detail))

    @app.exception_handler(CorpusError)
    async def refused(_: Request, error: CorpusError) -> JSONResponse:
        return refusal(STATUS.get(error.code, 500), error.code, str(error))


def _add_routes(app: FastAPI, workshop: Workshop) -> None:
    def give(agent: str) -> JSONResponse:
        instruction = workshop.next(agent)
        if instruction is not None:
            return JSONResponse(told(instruction, workshop))
        done = workshop.summary()["done"]
        headers = {} if done else {"Retry-After": str(RETRY_S)}
        return JSONResponse({"state": "done" if done else "all_handed_out"}, headers=headers)

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok", "domain": workshop.domain.key}

    @app.get("/next-instruction")
    def next_by_get(agent_id: str = ANONYMOUS) -> JSONResponse:
        return give(Asking(agent_id=agent_id).agent_id) if fits(agent_id) else refusal(422, "unfit_request", "agent_id")

    @app.post("/next-instruction")
    def next_by_post(asking: Asking) -> JSONResponse:
        return give(asking.agent_id)

    @app.post("/submit-case")
    def submit(submission: Submission) -> JSONResponse:
        verdict = workshop.submit(submission.instruction_id, submission.agent_id, submission.case_text)
        body = {"status": verdict.status, "again": verdict.again, "findings": [asdict(one) for one in verdict.findings]}
        return JSONResponse(body, 422 if verdict.status == "rejected" else 200)

    @app.get("/schema")
    def schema() -> dict[str, Any]:
        return dict(workshop.domain.schema)

    @app.get("/metrics")
    def metrics() -> dict[str, Any]:
        return workshop.summary()


def fits(agent_id: str) -> bool:
    """Whether a name is one that `Asking` takes."""
    return 1 <= len(agent_id) <= 64 and all(char.isalnum() or char in "_.:-" for char in agent_id)
