"""The workshop over HTTP, for writing agents on this machine. Thin: every decision is the workshop's."""

from collections.abc import Collection
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException

from corpus.server.dashboard import HEADERS, draw, view
from corpus.server.files import EXPORTS
from corpus.server.guard import Guard, refusal
from corpus.server.metrics import CONTENT_TYPE, scrape
from corpus.server.shapes import (
    AGENT,
    Asking,
    Decision,
    Holding,
    Judged,
    Leased,
    NoneLeft,
    Submission,
    responses,
)
from corpus.server.state import Instruction
from corpus.server.texts import MOST_CHARS
from corpus.server.workshop import ANONYMOUS, Workshop
from errors import CorpusError

MOST_BODY = 6 * MOST_CHARS + 10_000  # bytes: an escaped letter takes six
RETRY_S = 30  # after which an agent may ask again when all is handed out
STATUS = {
    "unknown_instruction": 404, "foreign_agent": 403, "settled": 409, "stale_lease": 409, "empty_text": 422,
    "fenced_text": 422, "too_long": 413, "not_kept": 507, "files_lag": 507,
    "not_utf8": 422,
}  # fmt: skip


def build_app(workshop: Workshop, *, names: Collection[str] = (), token: str | None = None) -> FastAPI:
    """Return the routes over an open workshop, which stays the caller's to close.

    Args:
        workshop: Open.
        names: Hosts by which the server may be called besides those of this machine.
        token: What every request has to show, `/health` apart; None asks for nothing.
    """
    app = FastAPI(title="Instruction server", version="1", docs_url=None, redoc_url=None)
    app.add_middleware(Guard, most_bytes=MOST_BODY, names=names, token=token)
    _name_errors(app)
    _add_writers_routes(app, workshop)
    _add_readers_routes(app, workshop)
    return app


def _name_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def unfit(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return refusal(422, "unfit_request", f"{place}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def unknown(_: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers) if error.headers else None
        return refusal(error.status_code, "unfit_request", str(error.detail), headers)

    @app.exception_handler(CorpusError)
    async def refused(_: Request, error: CorpusError) -> JSONResponse:
        return refusal(STATUS.get(error.code, 500), error.code, str(error))


def _add_writers_routes(app: FastAPI, workshop: Workshop) -> None:
    def as_leased(one: Instruction) -> JSONResponse:
        return JSONResponse({"state": "leased", **workshop.told(one)})

    def give(agent: str) -> JSONResponse:
        one = workshop.next(agent)
        if one is not None:
            return as_leased(one)
        done = workshop.look(lambda state: state.done)
        headers = {} if done else {"Retry-After": str(RETRY_S)}
        return JSONResponse({"state": "done" if done else "all_handed_out"}, headers=headers)

    @app.get("/next-instruction", response_model=Leased | NoneLeft, responses=responses())
    def next_by_get(agent_id: Annotated[str, Query(pattern=AGENT)] = ANONYMOUS) -> JSONResponse:
        """Return the agent's live instruction, or lease it a new one."""
        return give(agent_id)

    @app.post("/next-instruction", response_model=Leased | NoneLeft, responses=responses(400, 413, 415))
    async def next_by_post(asking: Asking) -> JSONResponse:
        """Return the agent's live instruction, or lease it a new one."""
        return give(asking.agent_id)

    @app.post(
        "/submit-case",
        response_model=Judged,
        responses={**responses(400, 404, 409, 413, 415), 202: {"model": Judged, "description": "A person decides."}},
    )
    def submit(sent: Submission) -> JSONResponse:
        """Take a text back: accepted, refused with what to mend (422), kept for review (202), or too late."""
        verdict = workshop.submit(sent.instruction_id, sent.agent_id, sent.case_text, sent.lease_token)
        body: dict[str, Any] = {
            "status": verdict.status, "again": verdict.again, "findings": [asdict(one) for one in verdict.findings],
        }  # fmt: skip
        if verdict.status == "rejected":
            named = ", ".join(sorted({one.code for one in verdict.findings}))
            return JSONResponse({**body, "error": {"code": "rejected", "message": f"mend: {named}"}}, 422)
        return JSONResponse(body, 202 if verdict.status == "review" else 200)

    @app.post("/renew-lease", response_model=Leased, responses=responses(400, 404, 409, 413, 415))
    def renew(held: Holding) -> JSONResponse:
        """Begin a live lease again; with its token, another agent takes it over and gets a new one."""
        return as_leased(workshop.renew(held.instruction_id, held.agent_id, held.lease_token))

    @app.post("/release-lease", status_code=204, response_class=Response, responses=responses(400, 404, 409, 413, 415))
    def release(held: Holding) -> Response:
        """Give an instruction back unwritten."""
        workshop.release(held.instruction_id, held.agent_id, held.lease_token)
        return Response(status_code=204)

    @app.post("/review-case", status_code=204, response_class=Response, responses=responses(400, 404, 409, 413, 415))
    def review(said: Decision) -> Response:
        """Say what becomes of a text that waits for a person."""
        workshop.decide(said.instruction_id, accept=said.accept)
        return Response(status_code=204)


def _add_readers_routes(app: FastAPI, workshop: Workshop) -> None:
    @app.get("/health")
    def health() -> dict[str, str]:
        """Say that the server is there."""
        return {"status": "ok", "domain": workshop.domain.key}

    @app.get("/schema", responses=responses())
    def schema() -> dict[str, Any]:
        """Return the JSON Schema of the targets."""
        return dict(workshop.domain.schema)

    @app.get("/status", responses=responses())
    def status() -> dict[str, Any]:
        """Return progress and each level against its quota, as `summary.json` has it."""
        return workshop.summary()

    @app.get("/metrics", response_class=Response, responses=responses())
    def metrics() -> Response:
        """Return the same numbers for Prometheus."""
        return Response(scrape(workshop.summary()), media_type=CONTENT_TYPE)

    @app.get("/dashboard", response_class=HTMLResponse, responses=responses())
    def dashboard(
        first: Annotated[str, Query(max_length=64)] = "", second: Annotated[str, Query(max_length=64)] = ""
    ) -> HTMLResponse:
        """Show it all on a page that refreshes itself; `first` and `second` choose the pair of dimensions shown."""
        return HTMLResponse(draw(workshop.look(lambda state: view(state, first, second))), headers=HEADERS)

    @app.get("/export/{name}", response_class=Response, responses=responses(404))
    def export(name: str) -> Response:
        """Return a file of the folder."""
        if name not in EXPORTS:
            return refusal(404, "unknown_file", f"no file {name!r}; there are {', '.join(EXPORTS)}.")
        content = workshop.read(name)
        named = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(content, media_type="application/octet-stream", headers=named)
