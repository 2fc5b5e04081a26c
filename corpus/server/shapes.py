"""What travels over HTTP, and what the OpenAPI document says of it. Knows no workshop."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from corpus.server.workshop import ANONYMOUS

AGENT = r"^[A-Za-z0-9_.:-]{1,64}$"
PLAIN = r"^[A-Za-z0-9-]+$"

Agent = Annotated[str, Field(pattern=AGENT, description="Who writes: letters, digits and _ . : - alone.")]
Name = Annotated[str, Field(max_length=32, pattern=PLAIN, description="Of an instruction, e.g. INS-0001.")]
Token = Annotated[
    str | None,
    Field(
        default=None,
        max_length=64,
        pattern=PLAIN,
        description="Of the lease; needed only once the lease has changed hands.",
    ),
]


class _Sent(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Asking(_Sent):
    """Who asks for an instruction."""

    agent_id: Agent = ANONYMOUS


class Holding(_Sent):
    """A lease, by its instruction and agent."""

    instruction_id: Name
    agent_id: Agent = ANONYMOUS
    lease_token: Token


class Submission(Holding):
    """A text that comes back."""

    case_text: str


class Decision(_Sent):
    """What a person says of a text that waits for review."""

    instruction_id: Name
    accept: bool


class Leased(BaseModel):
    """An instruction as its writer gets it."""

    state: Literal["leased"]
    instruction_id: str
    agent_id: str
    dimensions: dict[str, str]
    target_toon: str
    prompt: str
    lease_token: str
    expires_at: float = Field(description="Seconds since the epoch.")


class NoneLeft(BaseModel):
    """Nothing to write: every case is there, or every one that lacks is in somebody's hands."""

    state: Literal["done", "all_handed_out"]


class Mend(BaseModel):
    """One reason against a text."""

    code: str
    path: str
    message: str


class Judged(BaseModel):
    """The answer to a text."""

    status: Literal["accepted", "rejected", "review", "surplus"]
    again: bool = Field(description="Whether the same instruction may be sent once more.")
    findings: list[Mend]


_REFUSED = {  # the one shape of every error, JSON even where the route answers with a page
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
        }
    },
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what the OpenAPI document says of refusals: those that any route may give, and its own."""
    told = {
        400: "No request, or one that broke off.",
        401: "The server's token is missing.",
        403: "A foreign host, or another agent's instruction.",
        404: "No such instruction.",
        409: "Settled with another text, or a stale token.",
        413: "Too long.",
        415: "Not JSON.",
        422: "Not what is expected.",
        500: "A fault of the server's.",
        507: "No room on the disk.",
    }
    shape = {"application/json": {"schema": _REFUSED}}
    return {status: {"content": shape, "description": told[status]} for status in (401, 403, 422, 500, 507, *statuses)}
