"""What an answer may cost is held before it, what it did cost is written after it. Knows ledgers; knows no engine.

`Account` is the seam: the page and the gateway each keep one, over the ledger of their own, so that a fault of one
does not open the purse of the other.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from errors import TierUnavailable
from tiers.budget import Limits, Spent
from tiers.ledger import Ledger, Outcome, QuotaLeft, Refused, Reserved, Ticket, TierName
from tiers.store import Store


class Account(Protocol):
    """Who may spend how much."""

    async def reserve(self, ticket: Ticket) -> Reserved | Refused:
        """Hold the cost of an answer, or say why not.

        Raises:
            TierUnavailable: It cannot be known; then nothing may be spent.
        """
        ...

    async def settle(self, ticket: Ticket, outcome: Outcome) -> None:
        """Replace what was held by what was spent; done once, whatever becomes of the caller.

        Raises:
            TierUnavailable: It could not be written; what was held stays counted.
        """
        ...

    @property
    def limits(self) -> Limits:
        """The whole budget."""
        ...

    def left(self) -> Spent:
        """What may still be spent. May read a database: not for an event loop.

        Raises:
            TierUnavailable: It cannot be known.
        """
        ...


class LedgerAccount:
    """See `Account`: over a ledger and its database.

    Args:
        ledger: Reserves and settles.
        store: The ledger's, opened and closed by the caller.
        limits: The ledger's, for `budget`.
    """

    def __init__(self, ledger: Ledger, store: Store, limits: Limits) -> None:
        self.ledger = ledger
        self.store = store
        self._limits = limits

    @property
    def limits(self) -> Limits:
        """See `Account.limits`."""
        return self._limits

    async def reserve(self, ticket: Ticket) -> Reserved | Refused:
        """See `Account.reserve`. What is held for a caller who is cancelled meanwhile is taken back."""
        held: list[Reserved | Refused] = []

        def hold() -> Reserved | Refused:
            held.append(self.ledger.reserve(ticket))
            return held[0]

        def take_back() -> None:
            if held and isinstance(held[0], Reserved):
                with suppress(TierUnavailable):  # then it expires
                    self.ledger.take_back(ticket)

        try:
            return await self.store.run(hold)
        except asyncio.CancelledError:  # the store's thread goes on, and nobody is left to settle
            await asyncio.shield(asyncio.ensure_future(self.store.run(take_back)))
            raise

    async def settle(self, ticket: Ticket, outcome: Outcome) -> None:
        """See `Account.settle`. A caller that is cancelled meanwhile leaves the writing to its end."""
        await asyncio.shield(asyncio.ensure_future(self.store.run(self.ledger.settle, ticket, outcome)))

    async def quota_left(self, tier: TierName, *, browser: str | None, person: str | None) -> QuotaLeft:
        """See `Ledger.quota_left`."""
        return await self.store.run(self.ledger.quota_left, tier, browser=browser, person=person)

    def left(self) -> Spent:
        """See `Ledger.left`. Reads the database: not for an event loop."""
        return self.ledger.left()


class GpuTime:
    """How much of a rented GPU's time each of several answers took.

    Answers at the same time share it: of a second with four of them, each took a quarter. While nobody asks, the GPU
    waits `idle_s`, and that is paid as well: by the last answer, in advance, since who counts may be gone before the
    wait is over. Whoever comes sooner is given back what was not waited. So the sum of all is what the GPU ran.

    Args:
        idle_s: Seconds that it stays on after the last answer.
        clock: Seconds, that only grow.
    """

    def __init__(self, idle_s: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._idle_s = idle_s
        self._clock = clock
        self._active = 0
        self._shared = 0.0  # seconds that an answer present from the beginning would have taken
        self._at: float | None = None
        self._ahead = 0.0  # of the wait that goes on: paid already
        self._credit = 0.0  # paid, and not waited

    def enter(self) -> float:
        """Begin an answer; return the mark to `leave` with."""
        if self._at is not None and not self._active:
            self._credit += max(self._ahead - (self._clock() - self._at), 0.0)
            self._ahead = 0.0
        self._advance()
        self._active += 1
        return self._shared

    @property
    def credit_s(self) -> float:
        """Seconds that were paid in advance and not waited, for whoever ends next."""
        return self._credit

    def taken(self, mark: float) -> float:
        """Return the seconds that an answer has taken until now."""
        self._advance()
        return self._shared - mark

    def leave(self, mark: float, *, ran: bool = True, starting_s: float = 0.0) -> float:
        """End an answer; return the seconds that it has to pay.

        Args:
            mark: Of `enter`.
            ran: Whether the GPU may be on for it: one that could not be had does not wait afterwards.
            starting_s: What is left of a start that nobody waits for any more: it goes on, and is paid as the wait is.
        """
        due = self.taken(mark)
        self._active -= 1
        if not self._active and ran:
            self._ahead = self._idle_s + starting_s
            due += self._ahead
        elif not self._active:
            self._ahead, self._credit = self._credit, 0.0
        used = min(due, self._credit)
        self._credit -= used
        return due - used

    def _advance(self) -> None:
        now = self._clock()
        if self._active and self._at is not None:
            self._shared += (now - self._at) / self._active
        self._at = now
