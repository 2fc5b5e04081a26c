"""The premium tier's inside on a machine of one's own: any engine, the reading notes as its collection.

For `make premium` and for tests of the whole path. Knows engines and retrieval; knows no account and no HTTP.
"""

import logging
import time
from pathlib import Path

from dialogue.conversation import Conversation
from dialogue.prompt import build_messages, prefix_for
from engines.base import Engine
from engines.open import open_engine
from errors import RetrievalError, TierUnavailable
from personas import PERSONAS
from retrieval.embedders import default_embedder
from retrieval.notes import NoteIndex
from retrieval.store import Searcher
from tiers.cited import CitedTier, Reading
from tiers.supply import ModelChoice, ModelSupply

log = logging.getLogger(__name__)

NOTES = Path(__file__).parents[1] / "data" / "notes"
SMALL = Reading(n_ctx=2048, prefix="short", passages=2, passage_tokens=300)  # a small model wanders in more than that
READY_S = 900.0  # an embedded model that has to be downloaded and assembled first
LOOK_S = 0.2


class LocalPremium:
    """A `CitedTier` and what it stands on.

    Attributes:
        tier: Answers with passages.
    """

    def __init__(self, tier: CitedTier, engine: Engine, supply: ModelSupply | None) -> None:
        self.tier = tier
        self._engine, self._supply = engine, supply

    def close(self) -> None:
        """Free the model."""
        self._supply.close() if self._supply else self._engine.close()


def notes_searcher(data_dir: Path, notes: Path = NOTES) -> Searcher | None:
    """Return a search over the reading notes, by meaning where the embedder is there; None without notes."""
    try:
        embedder = default_embedder(data_dir)
        return NoteIndex.load(notes, embedder).to_searcher()
    except RetrievalError as error:
        log.error("Answers come without passages: %s", error)
        return None


def open_local_premium(spec: str | None, choice: ModelChoice, *, deadline_s: float = 60.0) -> LocalPremium:
    """Open an engine and the notes; blocks until the model is ready.

    Args:
        spec: "openai:http://host:port/v1#model", or any other of `engines.open`; None for the embedded model.
        choice: Of the embedded model.
        deadline_s: Seconds that an answer may take.

    Raises:
        TierUnavailable: The embedded model could not be had.
        EngineError: The engine cannot be opened, or is not reached.
    """
    supply = None if spec else _supply(choice)
    engine = open_engine(spec) if spec else _engine(supply)
    info = engine.info
    large = prefix_for(info.n_params) == "full"
    reading = Reading(n_ctx=info.n_ctx) if large else SMALL
    tier = CitedTier(engine, notes_searcher(choice.data_dir), reading, model=info.model, deadline_s=deadline_s)
    return LocalPremium(tier, engine, supply)


def _supply(choice: ModelChoice) -> ModelSupply:
    def prompts(n_params: int) -> list[str]:
        prefix = prefix_for(n_params)
        return [build_messages(Conversation(p, ()), prefix=prefix)[0]["content"] for p in PERSONAS.values()]

    supply = ModelSupply(choice, prompts)
    supply.start()
    return supply


def _engine(supply: ModelSupply | None) -> Engine:
    """Wait for the model."""
    until = time.monotonic() + READY_S
    while supply is not None and time.monotonic() < until:
        if supply.engine is not None:
            return supply.engine
        if supply.status.state == "failed":
            break
        time.sleep(LOOK_S)
    step = supply.status.step if supply else "loading"
    if supply:
        supply.close()
    raise TierUnavailable(f"The premium engine is not ready ({step}); the log says why.", code=step)
