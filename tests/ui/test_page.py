"""The page as Gradio serves it, without a browser: no model loaded, no public endpoint, nothing kept."""

import asyncio
import gc
import json
import re
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from gradio.routes import App

from service.health import routes
from tiers.testing import ScriptedTier
from ui.actions import Asked, Desk
from ui.closed import build_closed_page
from ui.page import build_page
from ui.texts import FRENCH
from ui.theme import launch_options

# Gradio leaves event loops and their sockets to the garbage collector, and warns about itself.
pytestmark = pytest.mark.filterwarnings("ignore")
MOUNTABLE = (
    "theme",
    "css_paths",
    "head",
    "favicon_path",
    "footer_links",
    "run_history",
    "enable_monitoring",
    "ssr_mode",
)


def client_of(page: gr.Blocks, tier: ScriptedTier) -> TestClient:
    options = {name: value for name, value in launch_options().items() if name in MOUNTABLE}
    app = gr.mount_gradio_app(FastAPI(), page, path="/", app_kwargs={"routes": routes(tier)}, **options)
    return TestClient(app)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    tier = ScriptedTier()
    with client_of(build_page(tier), tier) as client:
        yield client
    gc.collect()


@pytest.fixture(scope="module")
def config(client: TestClient) -> dict[str, Any]:
    return dict(client.get("/config").json())


def component(config: dict[str, Any], elem_id: str) -> dict[str, Any]:
    (props,) = [c["props"] for c in config["components"] if c["props"].get("elem_id") == elem_id]
    return dict(props)


def test_the_page_opens(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert "Bergson and Friends" in page.text


def test_no_endpoint_is_public(client: TestClient, config: dict[str, Any]) -> None:
    assert client.get("/gradio_api/info").json() == {"named_endpoints": {}, "unnamed_endpoints": {}}
    assert {d["api_visibility"] for d in config["dependencies"]} == {"private"}


def test_nothing_is_kept(client: TestClient) -> None:
    assert client.get("/gradio_api/runs").status_code == 404
    assert client.get("/monitoring/summary").status_code in (403, 404)


def test_the_conversation_cannot_be_shared_nor_flagged(config: dict[str, Any]) -> None:
    chat = component(config, "chat")
    assert chat["buttons"] == ["copy"]
    assert not chat.get("feedback_options")
    assert chat["editable"] == "user"
    assert chat["sanitize_html"] is True


def test_the_page_is_not_counted(config: dict[str, Any]) -> None:
    assert config["analytics_enabled"] is False


def test_many_pupils_are_served_at_once() -> None:
    """The tier admits and queues; a limit of Gradio's own would serve one pupil at a time."""
    page = build_page(ScriptedTier())
    assert page._queue.default_concurrency_limit is None
    assert {fn.concurrency_limit for fn in page.fns.values()} <= {None, "default"}


def test_what_a_pupil_has_to_know_is_on_the_first_screen(config: dict[str, Any]) -> None:
    html = component(config, "information")["value"].replace("&#x27;", "'")
    for words in (
        "programme qui imite Spinoza",
        "se trompe",
        "ni ton nom, ni ton lycée",
        "Rien n'est enregistré",
        "15 ans",
    ):
        assert words in re.sub(r"<[^>]+>", "", html)


def test_health_stands_beside_the_page(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/ready").status_code == 200


async def test_nothing_of_a_closed_tab_stays_within_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that was cut looks the same: what is under way then is not disturbed, and a new desk takes its place."""
    monkeypatch.setattr("ui.page.QUIET_S", 0.02)
    page = build_page(ScriptedTier())
    App.create_app(page)
    (forget,) = [fn.fn for fn in page.fns.values() if any(target[1] == "unload" for target in fn.targets)]
    (widget,) = [one for one in page.blocks.values() if isinstance(one, gr.State) and isinstance(one.value, Desk)]
    session = page.state_holder["tab"]
    desk = session[widget._id]
    desk.under_way = Asked((), (), "canari-7391")
    with desk.speaking():
        await forget(SimpleNamespace(session_hash="tab"))
        await asyncio.sleep(0.1)
        assert session[widget._id] is desk
        session._update_value_in_config(widget._id, "canari-7391")  # as a last frame does
    left = weakref.ref(desk.under_way)
    del desk
    await asyncio.sleep(0.1)
    gc.collect()
    assert left() is None
    assert not session.config_values
    assert session[widget._id] == Desk()
    await forget(SimpleNamespace(session_hash="nobody"))


def test_two_tiers_make_two_pages() -> None:
    """No page knows another one's tier: nothing is global."""
    first, second = build_page(ScriptedTier()), build_page(ScriptedTier())
    assert first is not second
    assert first.blocks.keys().isdisjoint(second.blocks.keys())


def test_the_closed_page_says_why_in_both_languages() -> None:
    with client_of(build_closed_page("persona"), ScriptedTier()) as client:
        said = json.dumps(client.get("/config").json(), ensure_ascii=False)
    assert FRENCH["persona"].split(":")[0] in said.replace("&#x27;", "'")
    assert "damaged" in said
