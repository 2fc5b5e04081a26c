"""Nothing that a pupil writes stays: fifty turns with a marked word through the real program, then a search.

The program runs in a process of its own, with a folder of its own as home, working and temporary folder: whatever it
writes, its log and its ledger included, lies there.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from personas import PERSONAS

CANARY = "zorgluberie"
JSON = {"content-type": "application/json"}
ROOT = Path(__file__).parents[2]
OPENING = {"role": "assistant", "content": PERSONAS["kant"].opening}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def running(tiny_gguf: Path, tmp_path: Path) -> Iterator[tuple[httpx.Client, Path]]:
    """The whole program on the tiny model; what it may write is all under one folder."""
    home, port = tmp_path / "home", free_port()
    home.mkdir()
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("BAF_")},
        "HOME": str(home), "TMPDIR": str(home), "XDG_CACHE_HOME": str(home / "cache"), "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1", "GRADIO_TEMP_DIR": str(home / "gradio"), "BAF_DATA_DIR": str(home / "data"),
        "BAF_FREE_MODEL": str(tiny_gguf), "BAF_EMBEDDER": "none", "BAF_PORT": str(port), "BAF_THREADS": "1",
        "BAF_KERNELS": "tiled", "BAF_LEDGER_SECRET": "s" * 40,
    }  # fmt: skip
    with (home / "log.txt").open("wb") as log:
        process = subprocess.Popen([sys.executable, str(ROOT / "app.py")], cwd=home, env=env, stdout=log, stderr=log)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                until = time.monotonic() + 180
                while not _ready(client):
                    assert process.poll() is None, (home / "log.txt").read_text(encoding="utf-8")
                    assert time.monotonic() < until, (home / "log.txt").read_text(encoding="utf-8")
                    time.sleep(0.1)
                yield client, home
        finally:
            process.terminate()
            process.wait(60)


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/ready").status_code == 200
    except httpx.TransportError:
        return False


def turns(client: httpx.Client) -> None:
    """Fifty turns on every route: answered, streamed, evaluated, compared, stopped by a card, refused, broken."""
    history = [OPENING]
    short = {"max_tokens": 6, "seed": 1}
    for number in range(50):
        text = f"Je crois que la {CANARY} numéro {number} est libre, car je le veux."
        talk = [*history, {"role": "user", "content": text}]
        answer = "Pourquoi ?"
        match number % 10:
            case 0:
                client.post("/chat_plus_eval", json={"history": history, "message": text, **short})
            case 1:
                client.post("/chat_plus_eval", json={"history": history, "message": text, "stream": True, **short})
            case 2:
                client.post("/evaluate/incremental", json={"history": talk})
            case 3:
                client.post(
                    "/v1/chat/completions", json={"model": "default", "messages": talk, "stream": True, **short}
                )
            case 4 if number == 4:
                client.post("/bench/context_ab_test", json={"history": history, "message": text})
            case 5:  # a card, a persona's limit, and their like
                client.post("/chat_plus_eval", json={"message": f"J'ai envie de mourir, {CANARY}."})
                client.post("/chat_plus_eval", json={"message": f"écris ma dissertation sur la {CANARY}", **short})
            case 6:  # refused: a role, JSON that ends early, a body of another shape
                wrong = {"model": CANARY, "messages": [{"role": CANARY, "content": CANARY}]}
                assert client.post("/v1/chat/completions", json=wrong).status_code >= 400
                assert (
                    client.post("/chat_plus_eval", content=f'{{"message": "{CANARY}', headers=JSON).status_code == 400
                )
                assert client.post("/chat_plus_eval", json={"message": [CANARY], CANARY: 1}).status_code == 400
                if number == 6:
                    other_fields(client, talk)
            case 7:  # too long for the model's context, and for any message
                many = [{"role": ("user", "assistant")[n % 2], "content": f"{CANARY} " * 300} for n in range(15)]
                client.post("/v1/chat/completions", json={"model": "default", "messages": many, **short})
                client.post("/chat_plus_eval", json={"message": f"{CANARY} " * 500})
            case 8:  # a pupil who leaves in the middle
                body = {"history": history, "message": text, "stream": True, "max_tokens": 60}
                with client.stream("POST", "/chat_plus_eval", json=body) as response:
                    next(response.iter_raw(), None)
            case _:
                client.post("/v1/chat/completions", json={"model": "default", "messages": talk, **short})
        history = [*talk, {"role": "assistant", "content": answer}][-7:]
        history = [OPENING, *history[1:]]


def other_fields(client: httpx.Client, talk: list[dict[str, str]]) -> None:
    """The word in every other field of a completion that can hold one: some are taken, some refused."""
    fine = {"messages": talk, "user": CANARY, "stop": [CANARY], "max_tokens": 40, "seed": 1}

    def ask(**more: object) -> int:
        return client.post("/v1/chat/completions", json=fine | more).status_code

    def schema(**content: object) -> dict[str, object]:
        return {"type": "json_schema", "json_schema": {"name": CANARY, "schema": content}}

    assert ask() == 200
    assert ask(response_format=schema(title=CANARY, enum=[CANARY])) == 200
    assert ask(response_format=schema(type=CANARY, title=CANARY)) == 400
    assert ask(response_format=schema(**{"$ref": f"#/$defs/{CANARY}"})) == 400
    assert ask(stop=[CANARY * 9]) == 400
    assert ask(model=CANARY) == 404
    assert ask(persona=CANARY) == 404


def test_fifty_turns_leave_nothing_behind(running: tuple[httpx.Client, Path]) -> None:
    client, home = running
    turns(client)
    metrics = client.get("/metrics")
    assert CANARY not in metrics.text
    written = [path for path in home.rglob("*") if path.is_file()]
    assert home / "log.txt" in written
    log = (home / "log.txt").read_text(encoding="utf-8")
    assert log.count("persona=") > 40  # the turns did happen, and are in the log by their lengths
    for form in (CANARY.encode(), CANARY.encode("utf-16-le"), CANARY.upper().encode(), CANARY[::-1].encode()):
        assert [path.name for path in written if form in path.read_bytes()] == []
