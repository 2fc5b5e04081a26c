"""T1, T2, T5: nobody becomes somebody by what a request says of itself, nor through another site's page."""

from typing import Any

import pytest

from tiers.base import Login
from tiers.logins import login_of

HOST = "owner-name.hf.space"
OWN = f"https://{HOST}"
PROFILE = {"sub": "sub-1", "preferred_username": "sophie", "orgs": [{"preferred_username": "lycee"}]}


def test_a_login_is_known_by_its_sub() -> None:
    found = login_of(PROFILE, "token", expires_s=9.0, origin=OWN, host=HOST)
    assert found == Login("sub-1", "token", 9.0)
    assert login_of({**PROFILE, "preferred_username": "other"}, None, origin=OWN, host=HOST) == Login("sub-1")


@pytest.mark.parametrize(
    "profile", [None, {}, {"sub": ""}, {"sub": None}, {"sub": 7}, {"name": "x", "tier": "premium"}]
)
def test_without_a_sub_there_is_nobody(profile: dict[str, Any] | None) -> None:
    assert login_of(profile, "token", origin=OWN, host=HOST) is None


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (None, HOST), ("", HOST), ("null", HOST), ("https://evil.test", HOST), (f"https://{HOST}.evil.test", HOST),
        (f"https://evil.test/{HOST}", HOST), (f"https://{HOST}@evil.test", HOST), (f"https://{HOST}:8443", HOST),
        ("file://", HOST), (f"javascript://{HOST}", HOST), (OWN, None), (OWN, ""), ("https://huggingface.co", HOST),
    ],
)  # fmt: skip
def test_another_sites_page_brings_nobody(origin: str | None, host: str | None) -> None:
    assert login_of(PROFILE, "token", origin=origin, host=host) is None
