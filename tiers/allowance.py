"""How much one browser, and one address, may use: tokens of a session and of a day, counted in memory alone.

A long session helps nobody (a small model wanders, a pupil tires), and one visitor must not use up the day of others. A
browser's bounds are tight; an address's are loose, as a whole class may sit behind one. Knows a tier's events; knows no
ledger, no page and no text. Nothing is written down: a restart forgets it.
"""

import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from threading import Lock

from dialogue.conversation import Conversation
from errors import TierBusy
from tiers.base import ANSWER_AS_USUAL, AnswerOptions, Done, Event, Tier, TierStatus, Token, User
from tiers.rules import stops

SESSION_LIMIT, DAY_LIMIT = "session_limit", "day_limit"
DAY_S = 86_400.0
MOST_KEYS = 20_000  # browsers and addresses that are remembered; about 4 MB


@dataclass(frozen=True)
class Allowance:
    """The bounds, in tokens of prompts and answers together; None is no bound.

    Attributes:
        session: Of one browser, until it has been silent for `session_gap_s`.
        day: Of one browser in 24 hours.
        address_day: Of one address in 24 hours.
        session_gap_s: Seconds of silence after which a new session begins.
    """

    session: int | None = 80_000
    day: int | None = 240_000
    address_day: int | None = 8_000_000
    session_gap_s: float = 1_800.0


@dataclass
class _Use:
    session: int = 0
    day: int = 0
    day_began: float = 0.0
    last: float = 0.0


class LimitedTier:
    """A tier that ends a session in good time; otherwise the tier itself. Safe to share between threads.

    A message of distress is always let through: it gets the card, and costs nothing.

    Args:
        tier: Answers.
        allowance: The bounds.
        clock: Seconds, that only grow.
    """

    def __init__(self, tier: Tier, allowance: Allowance, clock: Callable[[], float] = time.monotonic) -> None:
        self._tier, self._allowance, self._clock = tier, allowance, clock
        self._uses: OrderedDict[str, _Use] = OrderedDict()  # least recently used first
        self._lock = Lock()

    @property
    def status(self) -> TierStatus:
        """See `Tier.status`."""
        return self._tier.status

    async def stream(
        self, conversation: Conversation, user: User, options: AnswerOptions = ANSWER_AS_USUAL
    ) -> AsyncGenerator[Event, None]:
        """See `Tier.stream`.

        Raises:
            TierBusy: The session's or the day's tokens are spent (`session_limit`, `day_limit`); `retry_after_s` says
                when there are new ones.
        """
        if not stops(conversation):
            self._check(user)
        written, counted = 0, False
        try:
            async with aclosing(self._tier.stream(conversation, user, options)) as events:
                async for event in events:
                    written += isinstance(event, Token)
                    if isinstance(event, Done):
                        counted = True
                        self._count(user, event.usage.prompt_tokens + event.usage.completion_tokens)
                    yield event
        except Exception:
            counted = True  # what failed costs nothing
            raise
        finally:
            if not counted:  # left before its end: what was written counts
                self._count(user, written)

    def _check(self, user: User) -> None:
        allowed = self._allowance
        with self._lock:
            if user.client != user.address:
                browser = self._use(f"browser {user.client}")
                self._refuse(browser.session, allowed.session, SESSION_LIMIT, allowed.session_gap_s)
                self._refuse(browser.day, allowed.day, DAY_LIMIT, browser.day_began + DAY_S - self._clock())
            if user.address:
                address = self._use(f"address {user.address}")
                self._refuse(address.day, allowed.address_day, DAY_LIMIT, address.day_began + DAY_S - self._clock())

    def _refuse(self, used: int, most: int | None, code: str, wait_s: float) -> None:
        if most is not None and used >= most:
            raise TierBusy(f"{used} tokens were used, {most} are allowed.", code=code, retry_after_s=max(wait_s, 1.0))

    def _count(self, user: User, tokens: int) -> None:
        if not tokens:
            return
        with self._lock:
            for key in (f"browser {user.client}", f"address {user.address}" if user.address else ""):
                if key:
                    use = self._use(key)
                    use.session += tokens
                    use.day += tokens
                    use.last = self._clock()

    def _use(self, key: str) -> _Use:
        """Return what a key has used, as of now."""
        now = self._clock()
        use = self._uses.setdefault(key, _Use(day_began=now, last=now))
        self._uses.move_to_end(key)
        if now - use.last >= self._allowance.session_gap_s:
            use.session = 0
        if now - use.day_began >= DAY_S:
            use.day, use.day_began = 0, now
        while len(self._uses) > MOST_KEYS:
            self._uses.popitem(last=False)
        return use
