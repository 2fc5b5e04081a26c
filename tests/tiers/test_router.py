"""Who answers, what is charged, and what a page is told: on a real ledger, with logins and purses that end."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import pytest

from dialogue.conversation import Conversation, Turn
from errors import TierBusy, TierError, TierUnavailable
from personas import PERSONAS
from tests.service.premium import ASKED, MUCH, PERSON, PRICE, SlowLedger, heard, purse, spent
from tests.serving import wait_until
from tests.tiers.money import HandClock, key
from tiers.account import LedgerAccount
from tiers.base import (
    AnswerOptions,
    Card,
    Citation,
    Done,
    Event,
    Login,
    Notice,
    Token,
    Usage,
    User,
    Warming,
)
from tiers.budget import Cost, Limits, day_of, utc_now
from tiers.entitlements import MOST_TRIES, Account, Entitlements, Plan
from tiers.ledger import Ledger, Outcome, Quota, Refused, Reserved, Ticket
from tiers.router import EverybodyPlans, LoginPlans, PremiumSide, Route, Router, Standing
from tiers.store import Store
from tiers.testing import ScriptedTier

SECRET = "a ledger secret of more than 32 characters"
VISITOR = User("tab-1")
SOPHIE = User("tab-2", Login("sub-sophie", "token"))
HELD_S = 30.0
CITED = Citation(1, "Kant", "Fondements", "II", "Une note.", "n-1")
PAID = (Warming("premium_waking", 0.5), CITED, Token("Premium."), Done("stop", Usage(300, 0, 40, gpu_s=4.2)))
FREE = (Token("Gratuit."), Done("stop", Usage(100, 0, 10)))


class Plans:
    """Keeps the contract of `tiers.router.Plans`: everybody who is logged in has this plan."""

    def __init__(self, plan: Plan | None = None, error: TierUnavailable | None = None) -> None:
        self.plan_, self.error = plan or Plan("premium", "grant"), error

    async def plan(self, user: User) -> tuple[str | None, Plan]:
        if self.error:
            raise self.error
        return (PERSON, self.plan_) if user.login else (None, Plan("free", reason="none"))


@pytest.fixture
def account(tmp_path: Path) -> Iterator[LedgerAccount]:
    with purse(tmp_path) as one:
        yield one


def router_of(
    account: LedgerAccount | None, premium: ScriptedTier, free: ScriptedTier | None = None, plans: Plans | None = None
) -> Router:
    side = PremiumSide(premium, plans or Plans(), PRICE, HELD_S)
    return Router(free or ScriptedTier(*FREE), account, side, secret=SECRET)


def calls(account: LedgerAccount) -> dict[str, tuple[int, int]]:
    """Calls and failures of each tier today."""
    return {line.tier: (line.calls, line.failures) for line in account.ledger.day_costs(day_of(utc_now()))}


def words(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Token))


async def test_premium_answers_whoever_has_it_and_the_ledger_says_what_it_cost(account: LedgerAccount) -> None:
    premium = ScriptedTier(*PAID)
    said = await heard(router_of(account, premium).stream(ASKED, SOPHIE))
    assert [event for event in said if isinstance(event, (Warming, Citation, Token, Done))] == list(PAID)
    assert premium.users[0].person == PERSON
    assert premium.options[0].request_id
    assert spent(account).day == PRICE.of(4.2)
    assert calls(account) == {"premium": (1, 0)}


@pytest.mark.parametrize(
    ("user", "plan", "notices"),
    [
        (VISITOR, Plan("premium", "grant"), []),
        (SOPHIE, Plan("free", reason="none"), []),
        (SOPHIE, Plan("free", reason="barred"), []),
        (SOPHIE, Plan("free", reason="hub_unreachable"), ["membership_unknown"]),
    ],
)
async def test_everybody_else_is_answered_freely(
    account: LedgerAccount, user: User, plan: Plan, notices: list[str]
) -> None:
    premium = ScriptedTier(*PAID)
    said = await heard(router_of(account, premium, plans=Plans(plan)).stream(ASKED, user))
    assert [event.code for event in said if isinstance(event, Notice)] == notices
    assert words(said) == "Gratuit."
    assert premium.received == []
    assert calls(account) == {"free": (1, 0)}


# --- what keeps premium from beginning -------------------------------------------------------------------------------


def limits(n: int) -> Limits:
    held = PRICE.of(HELD_S)
    return Limits(Cost(held.gpu_ms * n, held.micro_usd * n), MUCH.month)


async def test_a_spent_budget_is_said_and_free_answers(tmp_path: Path) -> None:
    premium = ScriptedTier(*PAID)
    with purse(tmp_path, limits(0)) as account:
        said = await heard(router_of(account, premium).stream(ASKED, SOPHIE))
        assert (said[0], words(said)) == (Notice("budget_day"), "Gratuit.")
        assert calls(account) == {"free": (1, 0)}
    assert premium.received == []


async def test_200_at_the_edge_of_the_budget_overspend_by_nothing(tmp_path: Path) -> None:
    """T12: money for 12; 12 are answered by premium, 188 by the free tier, and the ledger is not over."""
    premium = ScriptedTier(Token("Premium."), Done("stop", Usage(gpu_s=HELD_S)), pause_s=0.2)
    with purse(tmp_path, limits(12), live=None) as account:
        router = router_of(account, premium)
        answers = await asyncio.gather(*(heard(router.stream(ASKED, SOPHIE)) for _ in range(200)))
        assert spent(account).day == limits(12).day
    said = [words(answer) for answer in answers]
    assert (said.count("Premium."), said.count("Gratuit.")) == (12, 188)


async def test_one_account_has_one_stream(account: LedgerAccount) -> None:
    """T7: a shared password serves one pupil at a time; the others are answered freely and told why."""
    router = router_of(account, ScriptedTier(*PAID, pause_s=0.2))
    answers = await asyncio.gather(*(heard(router.stream(ASKED, SOPHIE)) for _ in range(3)))
    assert sorted(words(answer) for answer in answers) == ["Gratuit.", "Gratuit.", "Premium."]
    assert sum(answer[0] == Notice("live_stream") for answer in answers) == 2


async def test_a_days_answers_are_counted_and_a_failed_one_is_not(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/l.sqlite")
    account = LedgerAccount(Ledger(store, MUCH, {"premium": Quota(person_a_day=2)}), store, MUCH)
    failing, router = ScriptedTier(TierUnavailable("x", code="premium_down")), router_of(account, ScriptedTier(*PAID))
    assert words(await heard(router_of(account, failing).stream(ASKED, SOPHIE))) == "Gratuit."
    assert await router.standing(SOPHIE) == Standing(
        "premium", None, None, 2, (await router.standing(SOPHIE)).resets_at
    )
    said = [words(await heard(router.stream(ASKED, SOPHIE))) for _ in range(3)]
    assert said == ["Premium.", "Premium.", "Gratuit."]
    assert (await router.standing(SOPHIE)).answers_left == 0
    store.close()


class GonePurse(LedgerAccount):
    """A purse whose database went away after it was opened."""

    async def reserve(self, ticket: Ticket) -> Reserved | Refused:
        raise TierUnavailable(f"gone {ticket.tier}", code="ledger_unavailable")

    async def settle(self, ticket: Ticket, outcome: Outcome) -> None:
        raise TierUnavailable(f"gone {ticket.tier} {outcome.failed}", code="ledger_unavailable")


async def test_a_purse_that_is_gone_closes_premium_and_leaves_the_free_tier_open(account: LedgerAccount) -> None:
    premium = ScriptedTier(*PAID)
    router = router_of(GonePurse(account.ledger, account.store, MUCH), premium)
    said = await heard(router.stream(ASKED, SOPHIE))
    assert (said[0], words(said)) == (Notice("ledger_unavailable"), "Gratuit.")
    assert premium.received == []
    assert words(await heard(Router(ScriptedTier(*FREE)).stream(ASKED, SOPHIE))) == "Gratuit."


async def test_plans_that_cannot_be_read_are_none(account: LedgerAccount) -> None:
    plans = Plans(error=TierUnavailable("gone", code="ledger_unavailable"))
    said = await heard(router_of(account, ScriptedTier(*PAID), plans=plans).stream(ASKED, SOPHIE))
    assert (said[0], words(said)) == (Notice("ledger_unavailable"), "Gratuit.")


@pytest.mark.parametrize("options", [AnswerOptions(json_schema="{}"), AnswerOptions(whole_history=True)])
async def test_what_premium_cannot_be_asked_is_answered_freely(account: LedgerAccount, options: AnswerOptions) -> None:
    assert words(await heard(router_of(account, ScriptedTier(*PAID)).stream(ASKED, SOPHIE, options))) == "Gratuit."


# --- what becomes of a failure ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TierBusy("cold", code="premium_waking"), "premium_waking"),
        (TierUnavailable("down", code="premium_down"), "premium_down"),
        (TierUnavailable("ours", code="premium_refused"), "premium_down"),
        (RuntimeError("foreign"), "premium_down"),
    ],
)
async def test_a_failure_before_the_first_word_falls_back_and_leaves_no_source(
    account: LedgerAccount, error: Exception, code: str
) -> None:
    router = router_of(account, ScriptedTier(Warming("premium_waking"), CITED, error))
    said = await heard(router.stream(ASKED, SOPHIE))
    assert next(event for event in said if not isinstance(event, Warming)) == Notice(code)
    assert (words(said), CITED in said) == ("Gratuit.", False)
    assert calls(account) == {"free": (1, 0), "premium": (1, 1)}


async def test_a_failure_after_the_first_word_is_an_error_and_costs_what_it_took(account: LedgerAccount) -> None:
    free = ScriptedTier(*FREE)
    router = router_of(account, ScriptedTier(Token("Je "), TierUnavailable("cut", code="engine_failed")), free)
    with pytest.raises(TierUnavailable, match="cut"):
        await heard(router.stream(ASKED, SOPHIE))
    assert free.received == []
    assert calls(account) == {"premium": (1, 1)}
    assert spent(account).day.gpu_ms < 1000


async def test_the_free_tiers_own_failure_is_its_own(account: LedgerAccount) -> None:
    router = router_of(account, ScriptedTier(), ScriptedTier(TierBusy("full")))
    with pytest.raises(TierBusy):
        await heard(router.stream(ASKED, VISITOR))
    assert calls(account) == {"free": (1, 1)}


@pytest.mark.parametrize("n_read", [1, 3])
async def test_a_closed_page_settles_and_frees_the_place(account: LedgerAccount, n_read: int) -> None:
    premium = ScriptedTier(*PAID[:2], *[Token("a ")] * 50, pause_s=0.01)
    router = router_of(account, premium)
    async with aclosing(router.stream(ASKED, SOPHIE)) as stream:
        for _ in range(n_read):
            await anext(stream)
    assert premium.closed_early == 1
    assert spent(account).day.gpu_ms < 2_000
    premium.script = PAID
    assert words(await heard(router.stream(ASKED, SOPHIE))) == "Premium."


async def test_a_cancelled_task_settles_too(account: LedgerAccount) -> None:
    premium = ScriptedTier(*[Token("a ")] * 500, pause_s=0.01)
    router = router_of(account, premium)
    task = asyncio.create_task(heard(router.stream(ASKED, SOPHIE)))
    await asyncio.to_thread(wait_until, lambda: bool(premium.received))
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait({task})
    assert premium.closed_early == 1
    assert spent(account).day.gpu_ms < 2_000


async def test_whoever_leaves_while_the_purse_is_asked_leaves_what_others_hold(account: LedgerAccount) -> None:
    theirs = Ticket("theirs", "premium", "kant", None, key("theirs"), PRICE.of(HELD_S))
    account.ledger.reserve(theirs)
    slow = LedgerAccount(SlowLedger(account.store, MUCH), account.store, MUCH)
    for name in ("theirs", "ours"):
        stream = router_of(slow, ScriptedTier()).stream(ASKED, SOPHIE, AnswerOptions(request_id=name))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(heard(stream), 0.2)
    assert (spent(account).day, calls(account)) == (theirs.held, {"premium": (1, 0)})


async def test_no_gateway_can_charge_more_than_was_held(account: LedgerAccount) -> None:
    router = router_of(account, ScriptedTier(Token("a"), Done("stop", Usage(gpu_s=1e6))))
    await heard(router.stream(ASKED, SOPHIE))
    assert spent(account).day == PRICE.of(HELD_S)


async def test_a_card_comes_first_and_nothing_leaves_and_nothing_is_held(account: LedgerAccount) -> None:
    premium = ScriptedTier(*PAID)
    said = await heard(
        router_of(account, premium).stream(
            Conversation(PERSONAS["kant"], (Turn("user", "J'ai envie de mourir, je vais me tuer ce soir."),)), SOPHIE
        )
    )
    assert [type(event) for event in said] == [Card, Done]
    assert premium.received == []
    assert calls(account) == {}


# --- logins ----------------------------------------------------------------------------------------------------------


def login_plans(store: Store, clock: HandClock, hub: dict[str, Account]) -> LoginPlans:
    async def ask(token: str) -> Account:
        if token not in hub:
            raise TierUnavailable("no hub", code="hub_unreachable")
        return hub[token]

    known = Entitlements(store, SECRET, organisations=frozenset({"lycee"}), ask=ask, clock=clock)
    return LoginPlans(known, clock=lambda: clock.now.timestamp())


async def test_a_grant_is_given_ends_and_is_revoked(account: LedgerAccount) -> None:
    clock = HandClock()
    plans = login_plans(account.store, clock, {})
    known = plans._entitlements
    user = User("tab", Login("sub-1"))
    assert (await plans.plan(user))[1].tier == "free"
    known.grant(known.person("sub-1"), clock.now + timedelta(days=1))
    assert (await plans.plan(user))[1].tier == "premium"
    clock.pass_(days=2)
    assert (await plans.plan(user))[1].tier == "free"
    known.grant(known.person("sub-1"), clock.now + timedelta(days=1))
    known.revoke_person(known.person("sub-1"))
    assert (await plans.plan(user))[1].reason == "barred"


async def test_a_login_that_has_ended_is_none(account: LedgerAccount) -> None:
    """T3, T4: the cookie lives for two weeks, the login for hours; a member who left is out within ten minutes."""
    clock = HandClock()
    hub = {"token": Account("sub-1", frozenset({"lycee"}))}
    plans = login_plans(account.store, clock, hub)
    user = User("tab", Login("sub-1", "token", clock.now.timestamp() + 3600))
    assert (await plans.plan(user))[1].source == "organisation"
    hub["token"] = Account("sub-1", frozenset())
    clock.pass_(minutes=10)
    assert (await plans.plan(user))[1].tier == "free"
    hub["token"] = Account("sub-1", frozenset({"lycee"}))
    clock.pass_(minutes=10)
    assert (await plans.plan(user))[1].tier == "premium"
    clock.pass_(hours=1)
    assert await plans.plan(user) == (None, Plan("free", reason="none"))
    router = Router(ScriptedTier(*FREE), account, PremiumSide(ScriptedTier(*PAID), plans, PRICE, HELD_S))
    said = await heard(router.stream(ASKED, user))
    assert (said[0], words(said)) == (Notice("login_expired"), "Gratuit.")


async def test_somebody_elses_token_makes_nobody_a_member(account: LedgerAccount) -> None:
    plans = login_plans(account.store, HandClock(), {"stolen": Account("sub-other", frozenset({"lycee"}))})
    assert (await plans.plan(User("tab", Login("sub-1", "stolen"))))[1].tier == "free"


async def test_a_hub_that_is_down_keeps_what_is_known_for_ten_minutes(account: LedgerAccount) -> None:
    """T16."""
    clock, hub = HandClock(), {"token": Account("sub-1", frozenset({"lycee"}))}
    plans = login_plans(account.store, clock, hub)
    user = User("tab", Login("sub-1", "token"))
    assert (await plans.plan(user))[1].tier == "premium"
    hub.clear()
    clock.pass_(minutes=9)
    assert (await plans.plan(user))[1].tier == "premium"
    clock.pass_(minutes=2)
    assert (await plans.plan(user))[1].reason == "hub_unreachable"


async def test_on_a_machine_of_ones_own_everybody_has_premium() -> None:
    person, plan = await EverybodyPlans(SECRET).plan(VISITOR)
    assert (plan.tier, len(person or "")) == ("premium", 64)
    assert person != key("tab-1")


def test_a_login_prints_no_secret() -> None:
    assert "sub-sophie" not in repr(SOPHIE)
    assert "token'" not in repr(SOPHIE)


# --- what a page is told ---------------------------------------------------------------------------------------------


async def test_standing_says_tier_reason_and_what_is_left(account: LedgerAccount) -> None:
    router = router_of(account, ScriptedTier(*PAID))
    assert (await router.standing(VISITOR)).reason == "no_login"
    assert (await router.standing(SOPHIE)).tier == "premium"
    assert (await Router(ScriptedTier()).standing(VISITOR)) == Standing("free", "no_premium")
    gone = router_of(account, ScriptedTier(), plans=Plans(error=TierUnavailable("x", code="ledger_unavailable")))
    assert await gone.standing(SOPHIE) == Standing("free", "ledger_unavailable")


async def test_free_answers_can_be_limited_by_browser(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/l.sqlite")
    account = LedgerAccount(Ledger(store, MUCH, {"free": Quota(browser_a_day=1, live=None)}), store, MUCH)
    router = Router(ScriptedTier(*FREE), account, secret=SECRET, free_quota=True)
    assert words(await heard(router.stream(ASKED, VISITOR))) == "Gratuit."
    assert (await router.standing(VISITOR)).answers_left == 0
    with pytest.raises(TierBusy) as caught:
        await heard(router.stream(ASKED, VISITOR))
    assert caught.value.code == "quota_browser"
    assert 0 < (caught.value.retry_after_s or 0) <= 25 * 3600  # at midnight in Paris
    alarm = Conversation(PERSONAS["kant"], (Turn("user", "je veux mourir"),))
    assert words(await heard(router.stream(alarm, VISITOR))) == "Gratuit."  # where the card is
    assert words(await heard(router.stream(ASKED, User("another")))) == "Gratuit."
    carded = Router(ScriptedTier(Card("crisis", "…", "…"), FREE[-1]), account, secret=SECRET, free_quota=True)
    third = User("third")
    await heard(carded.stream(alarm, third))
    assert words(await heard(router.stream(ASKED, third))) == "Gratuit."  # a card uses up no answer
    store.close()


# --- class passes ----------------------------------------------------------------------------------------------------


async def test_a_class_pass_gives_a_seat_or_says_why_not(account: LedgerAccount) -> None:
    clock = HandClock()
    plans = login_plans(account.store, clock, {})
    router = Router(ScriptedTier(), account, PremiumSide(ScriptedTier(*PAID), plans, PRICE, HELD_S))
    until = clock.now + timedelta(days=1)
    code, full = (plans._entitlements.new_pass(1, until) for _ in range(2))
    plans._entitlements.redeem(full, "sub-another")

    async def refused(one: Router, user: User, code: str) -> str:
        with pytest.raises(TierError) as caught:
            await one.redeem(user, code)
        return caught.value.code

    assert await refused(router, VISITOR, code) == "pass_login"
    assert await refused(router, User("tab", Login("sub-1", expires_s=0)), code) == "pass_login"
    assert await refused(Router(ScriptedTier()), SOPHIE, code) == "no_premium"
    tried = [await refused(router, SOPHIE, one) for one in (full, *["bonjour"] * MOST_TRIES, code)]
    assert tried == ["pass_full", *["pass_unknown"] * (MOST_TRIES - 1), "pass_tries", "pass_tries"]
    clock.pass_(hours=1)
    assert await router.redeem(SOPHIE, f" {code}\n") == Plan("premium", "pass", until)
    assert words(await heard(router.stream(ASKED, SOPHIE))) == "Premium."


def test_a_route_says_its_reason() -> None:
    assert "premium_waking" in repr(Route("free", "premium_waking"))
