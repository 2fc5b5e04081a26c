"""Writing agents over a real server: they fetch, write, send, mend, and give back what they cannot write."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from corpus.server.domain import load_domain
from corpus.server.routes import build_app
from corpus.server.targets import from_toon
from corpus.server.workshop import Workshop
from corpus.writing import Writers
from engines.base import ChatMessage, EngineEvent, EngineInfo, Finished, SamplingParams, Token, Usage
from engines.testing import ScriptedEngine
from errors import CorpusError, EngineBusy, EngineError
from tests.serving import serving

ROOT = Path(__file__).parents[2]


class Scribe(ScriptedEngine):
    """Writes what its instruction asks for; its first text for each instruction leaves the conclusion out."""

    info = EngineInfo("scribe", 1, 4096)

    def __init__(self, *, pause_s: float = 0.0, busy: int = 0) -> None:
        super().__init__()
        self.slow_s, self.busy, self.asked = pause_s, busy, 0

    async def stream(
        self,
        messages: Sequence[ChatMessage],
        params: SamplingParams,
        *,
        deadline_s: float | None = None,
        client: str = "",
    ) -> AsyncGenerator[EngineEvent, None]:
        self.received.append(list(messages))
        self.params.append(params)
        self.deadlines.append(deadline_s)
        self.clients.append(client)
        self.asked += 1
        if self.asked <= self.busy:
            raise EngineBusy("full", retry_after_s=0.01)
        await asyncio.sleep(self.slow_s)
        prompt = messages[0]["content"]
        target = from_toon(prompt[prompt.index("philosopher:") :])
        conclusion = target["conclusion"] if len(messages) > 1 else "Que dis-tu de la nuit ?"
        words = "".join(
            f" et la {word}" for word in "mer nuit fête classe route porte chambre voix".split()[: self.asked]
        )
        yield Token(f"```\nÉlève : je ne sais pas trop, c'est mon numéro {self.asked} {words}\n")
        yield Token(f"Philosophe : {conclusion} Et toi, qu'en dis-tu ?\n```")
        yield Finished("stop", Usage())


@asynccontextmanager
async def opened(
    folder: Path, total: int, lease_s: float = 60, transport: httpx.AsyncBaseTransport | None = None
) -> AsyncIterator[tuple[Workshop, httpx.AsyncClient]]:
    workshop = Workshop(folder, load_domain("schemes"), total=total, seed=1, lease_s=lease_s)
    try:
        with serving(build_app(workshop)) as url:
            async with httpx.AsyncClient(base_url=url, trust_env=False, transport=transport) as client:
                yield workshop, client
    finally:
        workshop.close()


async def test_writers_fill_a_corpus_and_mend_what_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path, total=6) as (workshop, client):
        engine = Scribe(busy=1)
        writers = Writers(engine, client, idle_s=0)
        told: list[int] = []
        await writers.run(2, lambda counts: told.append(counts["accepted"]))
        assert workshop.summary()["done"]
        assert writers.counts["accepted"] == 6
        assert writers.counts["rejected"] >= 6
        assert told[-1] == 6
        mended = [asked for asked in engine.received if len(asked) == 3]
        assert [one["role"] for one in mended[0]] == ["user", "assistant", "user"]
        assert "n'est pas" not in mended[0][2]["content"]
        assert "is not said" in mended[0][2]["content"]


async def test_what_a_model_cannot_write_is_given_back(tmp_path: Path) -> None:
    async with opened(tmp_path, total=6) as (workshop, client):
        writers = Writers(ScriptedEngine(Token("non")), client, cases=2, idle_s=0)
        await writers.run(1)
        assert writers.counts == {"rejected": 6, "given_up": 2}
        empty = Writers(ScriptedEngine(), client, cases=1, idle_s=0)  # says nothing at all: refused as no text
        await empty.run(1)
        assert empty.counts == {"rejected": 3, "given_up": 1}
        said = workshop.summary()
        assert (said["leased"], said["released"], said["accepted"]) == (0, 3, 0)


class Broken(httpx.AsyncHTTPTransport):
    """Loses the first renewal, as a server does that is started again."""

    lost = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/renew-lease" and not self.lost:
            self.lost = True
            raise httpx.ConnectError("refused")
        return await super().handle_async_request(request)


async def test_agents_take_no_more_cases_than_they_are_given(tmp_path: Path) -> None:
    async with opened(tmp_path, total=6) as (workshop, client):
        await Writers(Scribe(), client, cases=1, idle_s=0).run(4)
        said = workshop.summary()
        assert (said["issued"], said["accepted"]) == (1, 1)


async def test_a_lease_is_kept_alive_while_the_engine_writes(tmp_path: Path) -> None:
    async with opened(tmp_path, total=1, lease_s=3, transport=Broken()) as (workshop, client):
        writers = Writers(Scribe(pause_s=3.2), client, idle_s=0)
        await writers.run(1)
        assert writers.counts["accepted"] == 1
        assert workshop.summary()["expired"] == 0


async def test_an_engine_that_stops_leaves_no_lease(tmp_path: Path) -> None:
    async with opened(tmp_path, total=6) as (workshop, client):
        for _ in range(8):  # two that stop at the same moment: one is told to while it gives its case back
            with pytest.raises(EngineError, match="gone"):
                await Writers(ScriptedEngine(EngineError("gone")), client, idle_s=0).run(3)
            assert workshop.summary()["leased"] == 0


async def test_a_server_that_is_not_there_or_refuses_is_named(tmp_path: Path) -> None:
    async with httpx.AsyncClient(base_url="http://127.0.0.1:9", trust_env=False) as client:
        with pytest.raises(CorpusError, match="start `python -m corpus serve`"):
            await Writers(ScriptedEngine(), client).run(1)
    workshop = Workshop(tmp_path, load_domain("schemes"), total=1, seed=1)
    with serving(build_app(workshop, token="a-token-of-sixteen-or-more")) as url:
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            with pytest.raises(CorpusError, match="401: send the server's token"):
                await Writers(ScriptedEngine(), client).run(1)
    workshop.close()


def test_the_command_writes_with_a_model_on_disk(tmp_path: Path, tiny_gguf: Path) -> None:
    """The tiny model says French words without sense: its texts are refused, and nothing of it is kept as a case."""
    workshop = Workshop(tmp_path, load_domain("schemes"), total=3, seed=1)
    with serving(build_app(workshop)) as url:
        command = [sys.executable, "-m", "corpus", "write", "--engine", f"gguf:{tiny_gguf}", "--agents", "1", "--cases",
                   "1", "--tokens", "24", "--url", url, "--json"]  # fmt: skip
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert '"given_up": 1' in done.stdout
    said = workshop.summary()
    assert (said["accepted"], said["rejected"], said["leased"]) == (0, 3, 0)
    workshop.close()
