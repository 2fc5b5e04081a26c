"""An OpenID provider on this machine, for walks with a real login: code flow, signed id tokens, userinfo.

Whoever `next_user` names consents at once. Who is a member is asked when it is asked, as the Hub does it.
"""

import hashlib
import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import RedirectResponse
from jwt.algorithms import RSAAlgorithm

CLIENT_ID, CLIENT_SECRET = "the-page", "the secret that signs the page's cookies"
SCOPES = "openid profile read-memberships"
LIFETIME_S = 8 * 3600
ORGANISATION = "lycee"


def sub_of(name: str) -> str:
    """The identifier that stays when a name changes."""
    return hashlib.sha256(name.encode()).hexdigest()[:24]


def claims_of(name: str) -> dict[str, str]:
    """What an id token says of somebody."""
    at = f"https://hub.test/{name}"
    return {"sub": sub_of(name), "name": name.title(), "preferred_username": name, "profile": at, "picture": ""}


@dataclass
class Provider:
    """A provider to be served.

    Attributes:
        next_user: Who consents to the next login; nobody does when it is empty.
        members: Who belongs to the organisation now.
    """

    next_user: str = "sophie"
    members: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._codes: dict[str, tuple[str, str]] = {}  # code -> who, nonce
        self._tokens: dict[str, str] = {}  # access token -> who
        self.app = FastAPI()
        self.app.get("/.well-known/openid-configuration")(self.configuration)
        self.app.get("/keys")(self.keys)
        self.app.get("/authorize", response_model=None)(self.authorize)
        self.app.post("/token")(self.token)
        self.app.get("/oauth/userinfo")(self.userinfo)

    def configuration(self, request: Request) -> dict[str, Any]:
        here = str(request.base_url).rstrip("/")
        return {
            "issuer": here,
            "authorization_endpoint": f"{here}/authorize",
            "token_endpoint": f"{here}/token",
            "jwks_uri": f"{here}/keys",
            "response_types_supported": ["code"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def keys(self) -> dict[str, Any]:
        return {"keys": [{**json.loads(RSAAlgorithm.to_jwk(self._key.public_key())), "kid": "one", "use": "sig"}]}

    def authorize(self, redirect_uri: str, state: str, nonce: str = "") -> RedirectResponse:
        joint = "&" if "?" in redirect_uri else "?"
        if not self.next_user:
            refused = {"error": "access_denied", "error_description": "<b>declined</b>", "state": state}
            return RedirectResponse(f"{redirect_uri}{joint}{urlencode(refused)}")
        code = secrets.token_hex(16)
        self._codes[code] = (self.next_user, nonce)
        return RedirectResponse(f"{redirect_uri}{joint}{urlencode({'code': code, 'state': state})}")

    async def token(self, request: Request) -> dict[str, Any]:
        form = parse_qs((await request.body()).decode())
        known = self._codes.pop(form.get("code", [""])[0], None)  # a code is good once
        if known is None:
            raise HTTPException(400, "invalid_grant")
        name, nonce = known
        access = f"access-{secrets.token_hex(8)}"
        self._tokens[access] = name
        now = int(time.time())
        said = {
            "iss": str(request.base_url).rstrip("/"),
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 3600,
            "nonce": nonce,
        }
        id_token = jwt.encode({**said, **claims_of(name)}, self._key, "RS256", headers={"kid": "one"})
        return {"access_token": access, "token_type": "bearer", "expires_in": LIFETIME_S, "scope": SCOPES,
                "id_token": id_token}  # fmt: skip

    def userinfo(self, request: Request) -> dict[str, Any]:
        name = self._tokens.get(request.headers.get("authorization", "").removeprefix("Bearer "))
        if name is None:
            raise HTTPException(401)
        orgs = [{"preferred_username": ORGANISATION}] if name in self.members else []
        return {**claims_of(name), "orgs": orgs}
