"""Who has premium: grants, passes, membership, revocation; and nothing of anybody in the file."""

import asyncio
import base64
import json
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI, HTTPException, Request, Response
from itsdangerous import URLSafeSerializer

from errors import SettingsError, TierError, TierUnavailable
from tests.serving import serving
from tests.tiers.money import PLENTY, HandClock
from tiers.budget import Cost
from tiers.entitlements import Account, Entitlements, Plan, ask_hub, pseudonym
from tiers.ledger import Ledger, Outcome, Ticket
from tiers.store import Store

SECRET = "a secret of thirty-two characters!"
SUB = "65f0c1a2b3d4e5f60718293a"


class Hub:
    """Answers what it was told, and counts how often it was asked."""

    def __init__(self, *organisations: str, sub: str = SUB) -> None:
        self.account = Account(sub, frozenset(organisations))
        self.error: Exception | None = None
        self.asked = 0

    async def __call__(self, _token: str) -> Account:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.account


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    yield opened
    opened.close()


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def hub() -> Hub:
    return Hub("lycee-kant")


@pytest.fixture
def known(store: Store, clock: HandClock, hub: Hub) -> Entitlements:
    return Entitlements(store, SECRET, organisations=frozenset({"lycee-kant"}), ask=hub, clock=clock)


def in_days(clock: HandClock, days: int) -> datetime:
    return clock() + timedelta(days=days)


# --- the organisation ------------------------------------------------------------------------------------------------


async def test_a_member_has_premium_and_is_asked_about_again(known: Entitlements, hub: Hub, clock: HandClock) -> None:
    plan = await known.plan(SUB, "token")
    assert plan == Plan("premium", "organisation", clock() + timedelta(minutes=10))
    clock.pass_(minutes=4)
    assert (await known.plan(SUB, "token")).tier == "premium"
    assert hub.asked == 1
    clock.pass_(minutes=1)
    await known.plan(SUB, "token")
    assert hub.asked == 2


async def test_whoever_left_is_out_within_ten_minutes(known: Entitlements, hub: Hub, clock: HandClock) -> None:
    """T4: the cookie still says member; the Hub does not."""
    await known.plan(SUB, "token")
    hub.account = Account(SUB, frozenset())
    for _ in range(10):
        clock.pass_(minutes=1)
        plan = await known.plan(SUB, "token")
    assert plan == Plan("free", reason="none")


@pytest.mark.parametrize("error", [TierUnavailable("down", code="hub_unreachable"), TimeoutError()])
async def test_a_hub_that_is_down_is_bridged_for_ten_minutes(
    known: Entitlements, hub: Hub, clock: HandClock, error: Exception
) -> None:
    """T16: what was known holds for its time, then free; and back when the Hub is."""
    await known.plan(SUB, "token")
    hub.error = error
    clock.pass_(minutes=9, seconds=59)
    assert (await known.plan(SUB, "token")).tier == "premium"
    clock.pass_(seconds=1)
    assert await known.plan(SUB, "token") == Plan("free", reason="hub_unreachable")
    hub.error = None
    assert (await known.plan(SUB, "token")).tier == "premium"


async def test_a_stranger_while_the_hub_is_down_is_free(known: Entitlements, hub: Hub) -> None:
    hub.error = TierUnavailable("down")
    assert await known.plan(SUB, "token") == Plan("free", reason="hub_unreachable")


async def test_a_clock_set_back_makes_no_membership_longer(known: Entitlements, hub: Hub, clock: HandClock) -> None:
    await known.plan(SUB, "token")
    clock.pass_(days=-1)
    hub.account = Account(SUB, frozenset())
    assert (await known.plan(SUB, "token")).tier == "free"


async def test_another_ones_token_makes_nobody_a_member(known: Entitlements, hub: Hub) -> None:
    hub.account = Account("somebody-else", frozenset({"lycee-kant"}))
    assert await known.plan(SUB, "stolen") == Plan("free", reason="none")


async def test_a_login_that_the_hub_has_ended_is_free(known: Entitlements, hub: Hub, clock: HandClock) -> None:
    await known.plan(SUB, "token")
    clock.pass_(minutes=6)
    hub.error = TierError("ended", code="login_expired")
    assert await known.plan(SUB, "token") == Plan("free", reason="none")


async def test_the_hub_is_not_asked_without_need(store: Store, clock: HandClock, hub: Hub) -> None:
    without = Entitlements(store, SECRET, ask=hub, clock=clock)
    assert await without.plan(SUB, "token") == Plan("free", reason="none")
    known = Entitlements(store, SECRET, organisations=frozenset({"lycee-kant"}), ask=hub, clock=clock)
    assert await known.plan(SUB) == Plan("free", reason="none")
    known.grant(known.person(SUB), in_days(clock, 1))
    assert (await known.plan(SUB, "token")).source == "grant"
    assert hub.asked == 0


async def test_the_memory_of_memberships_is_bounded(known: Entitlements, hub: Hub) -> None:
    from tiers import entitlements as room

    for n in range(room.REMEMBERED + 3):
        room._remember(known._known, f"{n}", (datetime.min, True))
    assert len(known._known) == room.REMEMBERED


# --- the Hub's userinfo ----------------------------------------------------------------------------------------------


def userinfo(body: object, status: int = 200) -> FastAPI:
    app = FastAPI()

    @app.get("/oauth/userinfo")
    async def answer(request: Request) -> Response:
        if request.headers.get("authorization") != "Bearer good":
            raise HTTPException(401)
        text = body if isinstance(body, str) else json.dumps(body)
        return Response(text, status, media_type="application/json")

    return app


async def test_the_userinfo_is_read_over_http() -> None:
    said = {"sub": SUB, "name": "Sophie", "orgs": [{"sub": "1", "preferred_username": "lycee-kant"}]}
    with serving(userinfo(said)) as url:
        assert await ask_hub("good", url=f"{url}/oauth/userinfo") == Account(SUB, frozenset({"lycee-kant"}))
        with pytest.raises(TierError) as caught:
            await ask_hub("bad", url=f"{url}/oauth/userinfo")
    assert caught.value.code == "login_expired"


async def test_a_hub_that_names_no_organisations_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with serving(userinfo({"sub": SUB})) as url:
        assert await ask_hub("good", url=f"{url}/oauth/userinfo") == Account(SUB, frozenset())
    assert "read-memberships" in caplog.text


@pytest.mark.parametrize(
    ("body", "status"),
    [("{", 200), ("[]", 200), ("null", 200), ({"orgs": []}, 200), ({"sub": SUB, "orgs": [3]}, 200),
     ({"sub": SUB, "orgs": 3}, 200), ({"sub": SUB}, 500), ({"sub": SUB}, 303)],
)  # fmt: skip
async def test_a_hub_that_says_something_else_is_unreachable(body: object, status: int) -> None:
    with serving(userinfo(body, status)) as url, pytest.raises(TierUnavailable) as caught:
        await ask_hub("good", url=f"{url}/oauth/userinfo")
    assert caught.value.code == "hub_unreachable"
    assert SUB not in str(caught.value)


async def test_no_hub_at_all() -> None:
    with pytest.raises(TierUnavailable):
        await ask_hub("good", url="http://127.0.0.1:9/oauth/userinfo")


# --- grants and passes -----------------------------------------------------------------------------------------------


async def test_a_grant_holds_until_its_end(known: Entitlements, clock: HandClock) -> None:
    known.grant(known.person(SUB), in_days(clock, 2))
    known.grant(known.person(SUB), in_days(clock, 1))
    assert await known.plan(SUB) == Plan("premium", "grant", in_days(clock, 2))
    clock.pass_(days=2)
    assert await known.plan(SUB) == Plan("free", reason="none")


async def test_a_pass_has_seats(known: Entitlements, clock: HandClock) -> None:
    code = known.new_pass(2, in_days(clock, 3))
    assert known.redeem(f"  {code}\n", "a").until == in_days(clock, 3)
    assert known.redeem(code, "b").refused is None
    assert known.redeem(code, "a").refused is None, "the same seat again"
    assert known.redeem(code, "c").refused == "pass_full"
    assert (await known.plan("a")).source == "pass"
    assert (await known.plan("c")).tier == "free"
    clock.pass_(days=3)
    assert known.redeem(code, "a").refused == "pass_expired"
    assert (await known.plan("a")).tier == "free"


def test_forty_at_once_get_thirty_seats(store: Store, clock: HandClock) -> None:
    known = Entitlements(store, SECRET, clock=clock)
    code = known.new_pass(30, in_days(clock, 1))
    barrier, got = threading.Barrier(40), list[str | None]()

    def redeem(n: int) -> None:
        barrier.wait()
        got.append(known.redeem(code, f"sub-{n}").refused)

    threads = [threading.Thread(target=redeem, args=(n,)) for n in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, got)) == ["None"] * 30 + ["pass_full"] * 10


def test_a_forged_code_is_unknown(known: Entitlements, store: Store, clock: HandClock) -> None:
    code = known.new_pass(2, in_days(clock, 1))
    payload, signature = code.split(".")
    other = Entitlements(store, "another secret of 32 characters!!!", clock=clock)
    unsigned = base64.urlsafe_b64encode(b'"' + b"0" * 8 + b'"').decode().rstrip("=")
    forged = [
        "", ".", "é", "\ud800", code[:-2], payload, f"{unsigned}.{signature}", f"{payload}.", "x" * 10_000,
        "'; DROP TABLE usage", URLSafeSerializer(SECRET, salt="other").dumps(payload),
        str(URLSafeSerializer("").dumps("x")),
    ]  # fmt: skip
    assert {known.redeem(one, f"sub-{n}").refused for n, one in enumerate(forged)} == {"pass_unknown"}
    assert other.redeem(code, SUB).refused == "pass_unknown"


async def test_a_revoked_pass_ends_all_its_seats(known: Entitlements, clock: HandClock) -> None:
    code, kept = known.new_pass(3, in_days(clock, 1)), known.new_pass(3, in_days(clock, 1))
    for sub in ("a", "b"):
        known.redeem(code, sub)
    known.redeem(kept, "c")
    assert known.revoke_pass(code) == 2
    assert known.revoke_pass(code) == 0
    assert [(await known.plan(sub)).tier for sub in "abc"] == ["free", "free", "premium"]
    assert known.redeem(code, "a").refused == "pass_revoked"
    with pytest.raises(TierError, match="No pass"):
        known.revoke_pass("unknown")


async def test_a_revoked_person_stays_out_until_granted_again(known: Entitlements, clock: HandClock) -> None:
    code = known.new_pass(2, in_days(clock, 1))
    known.redeem(code, SUB)
    assert (await known.plan(SUB, "token")).tier == "premium"
    assert known.revoke_person(known.person(SUB)) == 1
    assert await known.plan(SUB, "token") == Plan("free", reason="barred"), "a member of the organisation as well"
    assert known.redeem(known.new_pass(2, in_days(clock, 1)), SUB).refused == "barred"
    known.grant(known.person(SUB), in_days(clock, 1))
    assert (await known.plan(SUB)).source == "grant"
    assert known.redeem(code, SUB).refused == "pass_revoked"


def test_the_listing_says_everything(known: Entitlements, clock: HandClock) -> None:
    code = known.new_pass(2, in_days(clock, 1))
    known.redeem(code, "a")
    known.grant(known.person("b"), in_days(clock, 2))
    known.revoke_pass(code)
    passes, people = known.listing()
    assert [(p.seats, p.taken, p.until, p.revoked) for p in passes] == [(2, 1, in_days(clock, 1), True)]
    assert [(e.source, e.revoked) for e in people] == [("pass", True), ("grant", False)]
    assert people[0].pass_id == passes[0].id


@pytest.mark.parametrize("seats", [0, -1, 1001])
def test_a_pass_needs_seats(known: Entitlements, clock: HandClock, seats: int) -> None:
    with pytest.raises(TierError, match="seats"):
        known.new_pass(seats, in_days(clock, 1))


def test_an_end_in_the_past_is_refused(known: Entitlements, clock: HandClock) -> None:
    for until in (clock(), clock() - timedelta(days=1), datetime(2099, 1, 1)):
        with pytest.raises(TierError, match="in the future"):
            known.grant(known.person(SUB), until)
        with pytest.raises(TierError, match="in the future"):
            known.new_pass(3, until)


def test_a_person_is_a_key(known: Entitlements, clock: HandClock) -> None:
    for change in (lambda: known.grant("sophie", in_days(clock, 1)), lambda: known.revoke_person("sophie")):
        with pytest.raises(TierError, match="64 hexadecimal") as caught:
            change()
        assert "sophie" not in str(caught.value)


# --- privacy ---------------------------------------------------------------------------------------------------------


def everything_in(folder: Path) -> bytes:
    found = [path for path in folder.rglob("*") if path.is_file()]
    assert len(found) >= 2
    return b"".join(path.read_bytes() for path in found)


async def test_the_file_holds_nothing_of_anybody(store: Store, clock: HandClock, hub: Hub, tmp_path: Path) -> None:
    """Neither sub, name, address nor token, in the database, its journal and its snapshots."""
    personal = [SUB, "Sophie Martin", "sophie.martin@lycee-kant.fr", "hf_oauth_secret_token", "session-hash-1234"]
    known = Entitlements(store, SECRET, organisations=frozenset({"lycee-kant"}), ask=hub, clock=clock)
    await known.plan(SUB, personal[3])
    code = known.new_pass(2, in_days(clock, 1))
    known.redeem(code, SUB)
    known.grant(known.person(personal[1]), in_days(clock, 1))
    known.revoke_person(known.person(personal[2]))
    ledger = Ledger(store, PLENTY, clock=clock)
    asked = Ticket("r", "premium", "kant", pseudonym(SECRET, "browser", personal[4]), known.person(SUB), Cost(1, 1))
    ledger.reserve(asked)
    ledger.settle(asked, Outcome(Cost(1, 1)))
    store.snapshot(tmp_path / "snapshots")
    content = everything_in(tmp_path)
    assert known.person(SUB).encode() in content
    for one in [*personal, SECRET, "lycee-kant", code]:
        for form in (
            one.encode(),
            one.encode("utf-16-le"),
            one.encode().hex().encode(),
            base64.b64encode(one.encode()),
        ):
            assert form not in content


def test_keys_depend_on_secret_kind_and_value() -> None:
    keys = {
        pseudonym(secret, kind, value)
        for secret in (SECRET, SECRET + "!")
        for kind in ("person", "browser")
        for value in ("a", "b")
    }
    assert len(keys) == 8


@pytest.mark.parametrize("secret", ["", "short", "x" * 31])
def test_a_short_secret_is_refused_and_not_said(store: Store, secret: str) -> None:
    with pytest.raises(SettingsError, match="32 or more") as caught:
        Entitlements(store, secret)
    assert not secret or secret not in str(caught.value)
    with pytest.raises(TierError):
        pseudonym(SECRET, "person", "")


async def test_fifty_plans_at_once(known: Entitlements) -> None:
    plans = await asyncio.gather(*(known.plan(SUB, "token") for _ in range(50)))
    assert {plan.tier for plan in plans} == {"premium"}
