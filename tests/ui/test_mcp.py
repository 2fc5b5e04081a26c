"""The philosophers as tools, asked by a real MCP client; without the setting there is no such door."""

import asyncio
import gc
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from mcp.types import CallToolResult, TextContent

from dialogue.conversation import Turn
from engines.base import Token
from errors import EngineBusy
from personas import SCHEMES
from service.openai_api import client_key
from tiers.base import Card
from tiers.testing import ScriptedTier
from ui.page import build_page
from ui.theme import launch_options

pytestmark = pytest.mark.filterwarnings("ignore")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


SAID = (Token("Distinguons. "), Token("Qui commande ?"))


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[ScriptedTier, str]]:
    tier, port = ScriptedTier(*SAID), free_port()
    page = build_page(tier, mcp=True, address=lambda request: client_key(request, None))
    page.launch(
        server_name="127.0.0.1", server_port=port, prevent_thread_lock=True, quiet=True, mcp_server=True,
        **launch_options(),
    )  # fmt: skip
    yield tier, f"http://127.0.0.1:{port}"
    page.close(verbose=False)
    gc.collect()


@pytest.fixture
def tier(served: tuple[ScriptedTier, str]) -> ScriptedTier:
    tier = served[0]
    tier.script = SAID
    tier.received.clear()
    tier.users.clear()
    return tier


@asynccontextmanager
async def client(url: str, headers: dict[str, str] | None = None) -> AsyncIterator[ClientSession]:
    async with (
        streamablehttp_client(f"{url}/gradio_api/mcp/", headers) as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        yield session


def call(url: str, tool: str, *, address: str = "", **arguments: str) -> CallToolResult:
    async def run() -> CallToolResult:
        async with client(url, {"X-Forwarded-For": address}) as session:
            return await session.call_tool(tool, arguments)

    return asyncio.run(run())


def said(result: CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


def test_a_client_finds_two_tools_with_their_descriptions(served: tuple[ScriptedTier, str]) -> None:
    async def run() -> dict[str, str]:
        async with client(served[1]) as session:
            return {tool.name: tool.description or "" for tool in (await session.list_tools()).tools}

    tools = asyncio.run(run())
    assert sorted(tools) == ["ask_philosopher", "find_scheme"]
    assert "imitates the philosopher" in tools["ask_philosopher"]
    assert "the fallacy that it is mistaken for" in tools["find_scheme"]


def test_a_philosopher_answers(tier: ScriptedTier, served: tuple[ScriptedTier, str]) -> None:
    assert said(call(served[1], "ask_philosopher", question="Suis-je libre ?", philosopher="Kant")) == (
        "Distinguons. Qui commande ?"
    )
    (asked,) = tier.received
    assert (asked.persona.key, asked.turns) == ("kant", (Turn("user", "Suis-je libre ?"),))


def test_an_address_has_one_allowance(tier: ScriptedTier, served: tuple[ScriptedTier, str]) -> None:
    """Whatever programs there are behind it, and also where one asks Gradio itself, as a new session each time."""
    for address in ("8.8.8.8", "9.9.9.9", "8.8.8.8"):
        call(served[1], "ask_philosopher", address=address, question="Suis-je libre ?")
    asked = {"data": ["Suis-je libre ?", "kant"], "session_hash": "new"}
    direct = f"{served[1]}/gradio_api/run/ask_philosopher"
    httpx.post(direct, json=asked, headers={"X-Forwarded-For": "8.8.8.8"}).raise_for_status()
    first, second, *others = tier.users
    assert others == [first, first]
    assert first != second
    assert first.client == first.address != ""


def test_a_crisis_gets_the_card_alone(tier: ScriptedTier, served: tuple[ScriptedTier, str]) -> None:
    tier.script = (Token("Tu dois"), Card("crisis", "Appelle le 3114.", "Call 3114."))
    assert said(call(served[1], "ask_philosopher", question="…")) == "Appelle le 3114."


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"question": "Oui ?", "philosopher": "hume"}, "No persona 'hume'"),
        ({"question": " "}, "empty"),
        ({"question": "x" * 5_000}, "at most 4000"),
    ],
)
def test_a_bad_call_is_told_so(
    tier: ScriptedTier, served: tuple[ScriptedTier, str], arguments: dict[str, str], sentence: str
) -> None:
    result = call(served[1], "ask_philosopher", **arguments)
    assert result.isError
    assert sentence in said(result)
    assert tier.received == []


def test_a_full_queue_is_told_so(tier: ScriptedTier, served: tuple[ScriptedTier, str]) -> None:
    tier.script = (EngineBusy("16 wait."),)
    result = call(served[1], "ask_philosopher", question="Suis-je libre ?")
    assert result.isError
    assert "16 wait." in said(result)


def test_a_scheme_is_found_without_a_model(tier: ScriptedTier, served: tuple[ScriptedTier, str]) -> None:
    found = json.loads(said(call(served[1], "find_scheme", message="Je ne suis pas d'accord, tous mentent toujours.")))
    scheme = SCHEMES[found["id"]]
    assert (found["name"], found["form"], found["validity"]) == (scheme.name, scheme.form, scheme.validity)
    assert found["stance"] == "résistance"
    assert found["follows"] is None
    asked = "Si tu lis, alors tu sais. Or tu sais. Donc tu lis ?"
    found = json.loads(said(call(served[1], "find_scheme", message=asked)))
    assert (found["id"], found["follows"]) == ("MP", "Schéma : modus ponens. Ne suit pas : « tu lis ».")
    assert tier.received == []


def test_without_the_setting_there_is_no_such_door() -> None:
    port = free_port()
    page = build_page(ScriptedTier())
    page.launch(server_name="127.0.0.1", server_port=port, prevent_thread_lock=True, quiet=True, **launch_options())
    try:
        answer = httpx.post(f"http://127.0.0.1:{port}/gradio_api/mcp/", json={})
        assert answer.status_code in (404, 405)
    finally:
        page.close(verbose=False)
        gc.collect()
