"""The gateway as it runs on Modal: engine, passages, purse and routes put together. Knows nothing of Modal itself.

The ledger is SQLite on the container's own disk, since a Volume is no place for a live database: it begins as the
newest snapshot on the Volume, and a snapshot is taken every minute and at the end. A host that disappears forgets a
minute at most; the page's own ledger and Modal's budget stand beside it. `BAF_LEDGER_URL` takes PostgreSQL instead.
"""

import asyncio
import logging
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from fastapi import FastAPI

from engines.openai_http import OpenAIEngine
from errors import SettingsError
from modal_deploy.config import Config
from modal_deploy.costs import HOUR_S, engine_usd_per_s
from retrieval.embedders import default_embedder
from retrieval.notes import NoteIndex
from retrieval.store import Searcher, open_store
from service.gateway import Bounds, gateway
from tiers.account import LedgerAccount
from tiers.budget import MICRO, MS_PER_HOUR, Cost, Limits, Price
from tiers.cited import CitedTier, Reading
from tiers.ledger import Ledger, Quota, TierName
from tiers.seal import Seal
from tiers.store import Store, keep_snapshots, restore_newest
from tiers.waking import ColdStarts, Waker, http_awake

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[1]
NOTES = ROOT / "data" / "notes"
INDEX = "index"  # folder of the weights' Volume with an index of real texts, in place of our notes
SNAPSHOT_S = 60.0
SPARE_S = 30.0  # between our own deadline and Modal's, which would cut a stream without a word
ANSWER_S = 60.0  # of the answer itself
LIVE = 2  # answers of one person at once: the second, while one that was stopped is still being closed on the way here


@dataclass(frozen=True)
class Keys:
    """What the gateway's container is told in secrets.

    Attributes:
        engine_url: Of the GPU engine.
        engine_key: That vLLM asks for.
        proxy_key: Id of the proxy token that opens the engine's address.
        proxy_secret: Its secret.
        page_secret: Shared with the page, which signs its requests with it.
        ledger_url: PostgreSQL, where several containers share a ledger; None for SQLite.
        metrics_token: Opens /metrics.
    """

    engine_url: str
    engine_key: str
    proxy_key: str
    proxy_secret: str
    page_secret: str
    ledger_url: str | None = None
    metrics_token: str | None = None

    def __post_init__(self) -> None:
        needed = ("engine_url", "engine_key", "proxy_key", "proxy_secret", "page_secret")
        if empty := [name for name in needed if not getattr(self, name)]:
            raise SettingsError(f"The gateway's secret leaves {', '.join(empty)} empty; see docs/operations/deploy.md.")

    def __repr__(self) -> str:
        """Say nothing of the secrets."""
        return f"Keys({self.engine_url!r}, …)"

    @property
    def proxy_headers(self) -> dict[str, str]:
        """What Modal's proxy before the engine asks for."""
        return {"Modal-Key": self.proxy_key, "Modal-Secret": self.proxy_secret}


def price_of(config: Config) -> Price:
    """Return the price of every engine container that may run at once: who counts cannot see how many do."""
    return Price(Decimal(str(round(engine_usd_per_s(config) * HOUR_S * config.engine.max_containers, 4))))


def limits_of(config: Config) -> Limits:
    """Return the budget in money and in the GPU time that it buys."""
    return Limits(day=_cost(config, config.budget.day_usd), month=_cost(config, config.budget.month_usd))


def _cost(config: Config, usd: Decimal) -> Cost:
    return Cost(gpu_ms=int(usd / price_of(config).usd_per_hour * MS_PER_HOUR), micro_usd=int(usd * MICRO))


def build_gateway(
    config: Config, keys: Keys, weights_dir: Path, ledger_dir: Path, *, kept: Callable[[], None] = lambda: None
) -> FastAPI:
    """Return the gateway, ready to be served; nothing here asks the engine.

    Args:
        config: Of the deployment.
        keys: From the container's secrets.
        weights_dir: Where the embedder and an index of texts may lie.
        ledger_dir: Where snapshots of the ledger are kept.
        kept: Called after the last snapshot, to make the Volume keep it.

    Raises:
        SettingsError: A secret is empty or too short, or several gateways would each count alone.
        TierUnavailable: The ledger cannot be opened, or none of its snapshots can be read: premium stays closed.
    """
    if config.gateway.max_containers > 1 and not keys.ledger_url:
        raise SettingsError(
            f"gateway.max_containers is {config.gateway.max_containers} and BAF_LEDGER_URL is not set: over SQLite "
            "each container would count alone. Set 1, or a PostgreSQL URL in the gateway's secret."
        )
    store = _open_store(keys, ledger_dir)
    limits = limits_of(config)
    quotas: dict[TierName, Quota] = {"premium": Quota(person_a_day=config.gateway.answers_a_day, live=LIVE)}
    account = LedgerAccount(Ledger(store, limits, quotas), store, limits)
    tier = _tier(config, keys, weights_dir)
    bounds = Bounds(_deadline_s(config), config.engine.idle_s)
    app = gateway(
        tier,
        seal=Seal(keys.page_secret),
        account=account,
        price=price_of(config),
        bounds=bounds,
        metrics_token=keys.metrics_token,
    )
    app.router.lifespan_context = _lifespan(store, ledger_dir, kept)
    return app


def _deadline_s(config: Config) -> float:
    """Return the seconds that a request may take, its cold start included."""
    return config.gateway.timeout_s - SPARE_S


def _tier(config: Config, keys: Keys, weights_dir: Path) -> CitedTier:
    url, engine = keys.engine_url.rstrip("/"), config.engine
    remote = OpenAIEngine(
        f"{url}/v1#{config.model.served_name}", api_key=keys.engine_key, n_ctx=engine.max_len,
        headers=keys.proxy_headers,
    )  # fmt: skip
    awake = http_awake(f"{url}/health", keys.proxy_headers)
    waker = Waker(awake, patience_s=_deadline_s(config) - ANSWER_S / 2, starts=ColdStarts(config.assumed.cold_s))
    return CitedTier(
        remote,
        open_searcher(weights_dir),
        Reading(engine.max_len, by_author=not (weights_dir / INDEX).is_dir()),
        model=config.model.served_name,
        deadline_s=ANSWER_S,
        waker=waker,
    )


def open_searcher(weights_dir: Path) -> Searcher:
    """Open the texts on the Volume, else our notes; by meaning when the embedder is on the Volume, else by words.

    Raises:
        RetrievalError: The index is damaged, or was made with another embedder.
    """
    embedder = default_embedder(weights_dir)
    if (weights_dir / INDEX).is_dir():
        return Searcher(open_store(weights_dir / INDEX), embedder)
    return NoteIndex.load(NOTES, embedder).to_searcher()


def _open_store(keys: Keys, ledger_dir: Path) -> Store:
    if keys.ledger_url:
        return Store(keys.ledger_url)
    path = Path(tempfile.mkdtemp(prefix="ledger-")) / "ledger.sqlite"
    found = restore_newest(ledger_dir, path)
    log.info("The ledger begins %s", f"as {found.name}" if found else "empty")
    return Store(f"sqlite:///{path}")


def _lifespan(
    store: Store, ledger_dir: Path, kept: Callable[[], None]
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[None, None]:
        if not store.is_sqlite:
            yield
            store.close()
            return
        keeping = asyncio.create_task(keep_snapshots(store, ledger_dir, SNAPSHOT_S))
        try:
            yield
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping  # takes the last snapshot
            await asyncio.to_thread(kept)
            store.close()

    return lifespan
