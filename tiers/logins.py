"""From what a login brought to who asks. Knows the claims of an OIDC profile; knows no page and no cookie.

Who somebody is comes from the profile that the login itself put into the session, and from nothing that a request can
say of itself: no header, no field of a body. A request from another site's page counts as one without login, whatever
cookie comes with it.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from tiers.base import Login


def login_of(
    profile: Mapping[str, Any] | None,
    token: str | None,
    *,
    expires_s: float | None = None,
    origin: str | None,
    host: str | None,
) -> Login | None:
    """Return the login of a request; None for a visitor.

    Args:
        profile: Claims of the id token, as the page's framework injects them; None when nobody is logged in.
        token: Access token of the same login.
        expires_s: When it ends, in seconds since 1970.
        origin: The request's `Origin` header.
        host: The request's `Host` header: the page's own, since a browser lets no other page set it.
    """
    sub = profile.get("sub") if profile is not None else None
    if not isinstance(sub, str) or not sub or not is_own(origin, host):
        return None
    return Login(sub, token or None, expires_s)


def is_own(origin: str | None, host: str | None) -> bool:
    """Whether a request comes from the page itself.

    >>> is_own("https://owner-name.hf.space", "owner-name.hf.space")
    True
    >>> is_own("https://evil.test", "owner-name.hf.space"), is_own(None, "owner-name.hf.space"), is_own("null", "null")
    (False, False, False)
    """
    if not origin or not host:
        return False
    parts = urlsplit(origin)
    return parts.scheme in ("https", "http") and parts.netloc.lower() == host.lower()
