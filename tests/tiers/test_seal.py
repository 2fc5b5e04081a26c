"""T10, T11: a token proves one request, once, for a minute, by one algorithm; each change of it proves nothing."""

import base64
import json
import time
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from errors import SettingsError, TierError
from tests.tiers.money import key
from tiers.seal import ALGORITHM, LEEWAY_S, REFUSED, TTL_S, OnceInMemory, Seal

SECRET = "a secret that is long enough for HMAC"
PERSON, BODY = key("sophie"), b'{"v":1}'
NOW = 1_790_000_000.0


def seal(now: float = NOW, secret: str = SECRET) -> Seal:
    return Seal(secret, clock=lambda: now)


def claims(**changed: Any) -> dict[str, Any]:
    token = seal().make(PERSON, BODY)
    made: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    made |= changed
    return {name: value for name, value in made.items() if value is not None}


def signed(values: dict[str, Any], secret: str = SECRET, algorithm: str = ALGORITHM) -> str:
    return jwt.encode(values, secret, algorithm=algorithm)


def test_a_token_proves_its_person_and_an_id_of_its_own() -> None:
    proven = [seal().verify(seal().make(PERSON, BODY), BODY) for _ in range(2)]
    assert {one.person for one in proven} == {PERSON}
    assert len({one.token_id for one in proven}) == 2
    assert proven[0].expires_s == NOW + TTL_S


def test_it_carries_no_name_and_no_body() -> None:
    token = seal().make(PERSON, b"ZEBRA-7741")
    text = base64.urlsafe_b64decode(token.split(".")[1] + "==")
    assert b"ZEBRA" not in text
    assert set(json.loads(text)) == {"iss", "aud", "sub", "tier", "jti", "iat", "exp", "body_sha256"}


@pytest.mark.parametrize("sub", ["sophie", "", "A" * 64, key("x")[:-1]])
def test_a_name_is_never_sealed(sub: str) -> None:
    with pytest.raises(TierError):
        seal().make(sub, BODY)


@pytest.mark.parametrize(
    "changed",
    [
        {"aud": "other"}, {"aud": None}, {"aud": ["baf-gateway", "other"]}, {"iss": "other"}, {"iss": None},
        {"sub": "sophie"}, {"sub": None}, {"sub": 7}, {"tier": "free"}, {"tier": None}, {"jti": ""}, {"jti": None},
        {"jti": ["a"] * 20}, {"jti": "x" * 65}, {"iat": None}, {"exp": None}, {"exp": int(NOW) + 3600},
        {"iat": int(NOW) + 600, "exp": int(NOW) + 660}, {"iat": int(NOW) - 600, "exp": int(NOW) - 540},
        {"exp": int(NOW)}, {"iat": True}, {"iat": "1"}, {"body_sha256": "0" * 64}, {"body_sha256": None},
        {"body_sha256": 5}, {"iat": 0, "exp": int(NOW) + 30},
    ],
)  # fmt: skip
def test_a_changed_claim_proves_nothing(changed: dict[str, Any]) -> None:
    """Signed with the right secret: the claims alone are wrong."""
    with pytest.raises(TierError) as caught:
        seal().verify(signed(claims(**changed)), BODY)
    assert caught.value.code == REFUSED
    assert PERSON not in str(caught.value)


@given(st.integers(0, 2000), st.integers(1, 255))
def test_a_changed_byte_proves_nothing(place: int, change: int) -> None:
    token = bytearray(seal().make(PERSON, BODY).encode())
    place %= len(token) - 1  # base64 leaves bits of the last character unused: the same bytes in another writing
    token[place] ^= change
    with pytest.raises(TierError) as caught:
        seal().verify(token.decode("latin-1"), BODY)
    assert caught.value.code == REFUSED


@given(st.binary(max_size=40).filter(lambda body: body != BODY))
def test_another_body_proves_nothing(body: bytes) -> None:
    with pytest.raises(TierError):
        seal().verify(seal().make(PERSON, BODY), body)


@pytest.mark.parametrize("algorithm", ["none", "HS384", "HS512"])
def test_only_one_algorithm_counts(algorithm: str) -> None:
    secret = "" if algorithm == "none" else SECRET * 3
    token = jwt.encode(claims(), secret, algorithm=algorithm)
    with pytest.raises(TierError):
        Seal(SECRET * 3, clock=lambda: NOW).verify(token, BODY)


def test_the_header_cannot_bring_its_own_key() -> None:
    token = jwt.encode(claims(), "another secret that is long enough too", algorithm=ALGORITHM,
                       headers={"jwk": {"kty": "oct", "k": "x"}, "kid": "../../dev/null"})  # fmt: skip
    with pytest.raises(TierError):
        seal().verify(token, BODY)


@pytest.mark.parametrize("token", ["", "a.b.c", "....", "é", "e30.e30.", "x" * 5000])
def test_what_is_no_token_proves_nothing(token: str) -> None:
    with pytest.raises(TierError):
        seal().verify(token, BODY)


def test_another_secret_proves_nothing() -> None:
    with pytest.raises(TierError):
        seal(secret="x" * 40).verify(seal().make(PERSON, BODY), BODY)


@pytest.mark.parametrize(("later", "good"), [(-LEEWAY_S, True), (-LEEWAY_S - 1, False), (TTL_S, True),
                                             (TTL_S + LEEWAY_S + 1, False)])  # fmt: skip
def test_clocks_may_differ_by_seconds(later: float, good: bool) -> None:
    token = seal().make(PERSON, BODY)
    if good:
        assert seal(NOW + later).verify(token, BODY).person == PERSON
    else:
        with pytest.raises(TierError):
            seal(NOW + later).verify(token, BODY)


def test_a_short_secret_is_refused_and_none_is_shown() -> None:
    with pytest.raises(SettingsError):
        Seal("short")
    assert SECRET not in repr(seal())


async def test_an_id_is_good_once_until_it_has_expired() -> None:
    now = [NOW]
    once = OnceInMemory(lambda: now[0])
    assert [await once.take("a", NOW + 60), await once.take("b", NOW + 60)] == [True, True]
    assert not await once.take("a", NOW + 60)
    now[0] += 60 + LEEWAY_S  # the last moment at which the token itself is still believed
    assert not await once.take("a", NOW + 60)
    now[0] += 60
    assert await once.take("c", now[0] + 60)


async def test_a_full_memory_refuses_rather_than_forgets() -> None:
    once = OnceInMemory(lambda: NOW, most=3)
    assert [await once.take(name, NOW + 60) for name in "abcd"] == [True, True, True, False]
    assert not await once.take("a", NOW + 60)


def test_making_and_verifying_take_no_time_to_speak_of() -> None:
    body = b"x" * 20_000
    began = time.process_time()
    for _ in range(100):
        seal().verify(seal().make(PERSON, body), body)
    assert (time.process_time() - began) / 100 < 0.05
