"""Short-lived proof that a request comes from our page, unchanged and once: a signed token. Knows no HTTP.

One algorithm and no other, a body bound by its hash, an id that is good once. The subject is a pseudonym: the gateway
never learns who asks. A clock may be off by `LEEWAY_S`.
"""

import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

import jwt

from errors import SettingsError, TierError

ALGORITHM = "HS256"  # what a token says of its own algorithm is never believed
ISSUER, AUDIENCE = "baf-page", "baf-gateway"
TTL_S = 60  # no token may live longer, whatever it says
LEEWAY_S = 5
MIN_SECRET = 32  # characters
REFUSED = "seal_refused"
REMEMBERED = 100_000  # ids at once: more than a gateway can answer in two minutes
_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Sealed:
    """What a token proves.

    Attributes:
        person: Pseudonym of the account, 64 hexadecimal digits.
        token_id: Good once.
        expires_s: When it ends, in seconds since 1970.
    """

    person: str
    token_id: str
    expires_s: float


class Once(Protocol):
    """Remembers ids until they expire."""

    async def take(self, token_id: str, expires_s: float) -> bool:
        """Return True the first time, False ever after."""
        ...


class OnceInMemory:
    """See `Once`. For a gateway of one process: what it remembers is its own.

    Args:
        clock: Seconds since 1970.
        most: Ids remembered at once.
    """

    def __init__(self, clock: Callable[[], float] = time.time, *, most: int = REMEMBERED) -> None:
        self._clock = clock
        self._most = most
        self._known: OrderedDict[str, float] = OrderedDict()
        self._lock = Lock()

    async def take(self, token_id: str, expires_s: float) -> bool:
        """See `Once.take`. A memory that is full of living ids refuses: a flood must not open a window for a replay."""
        now = self._clock()
        with self._lock:
            while self._known and next(iter(self._known.values())) < now:  # ends are nearly in order: all live as long
                self._known.popitem(last=False)
            if token_id in self._known or len(self._known) >= self._most:
                return False
            self._known[token_id] = expires_s + 2 * LEEWAY_S
            return True


class Seal:
    """Makes and verifies tokens with one secret that both sides hold.

    Args:
        secret: 32 characters or more.
        clock: Seconds since 1970.

    Raises:
        SettingsError: The secret is shorter.
    """

    def __init__(self, secret: str, *, clock: Callable[[], float] = time.time) -> None:
        if len(secret) < MIN_SECRET:
            raise SettingsError(f"The secret of premium has {len(secret)} characters; {MIN_SECRET} or more are needed.")
        self._secret = secret
        self._clock = clock

    def __repr__(self) -> str:
        """Say nothing of the secret."""
        return "Seal(…)"

    def make(self, person: str, body: bytes) -> str:
        """Return a new token for one request.

        Args:
            person: Pseudonym of the account, 64 hexadecimal digits.
            body: Of the request, as it will be sent.

        Raises:
            TierError: `person` is no pseudonym; it may be a name, which must not travel.
        """
        if not _KEY.fullmatch(person):
            raise TierError("A token's subject is a key of 64 hexadecimal digits.")
        now = int(self._clock())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": person,
            "tier": "premium",
            "jti": secrets.token_urlsafe(18),
            "iat": now,
            "exp": now + TTL_S,
            "body_sha256": hashlib.sha256(body).hexdigest(),
        }
        return jwt.encode(claims, self._secret, algorithm=ALGORITHM)

    def verify(self, token: str, body: bytes) -> Sealed:
        """Return what a token proves of this body. Whether its id is new is `Once`'s to say.

        Raises:
            TierError: It proves nothing (`code` is "seal_refused"); the message says which claim, never its value.
        """
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                options={
                    "require": ["iss", "aud", "sub", "tier", "jti", "iat", "exp", "body_sha256"],
                    "verify_exp": False,  # the three times are compared below, with the clock that tests can set
                    "verify_iat": False,
                    "verify_nbf": False,
                    "strict_aud": True,
                },
            )
        except jwt.InvalidTokenError as error:
            raise TierError(f"The token is refused: {type(error).__name__}.", code=REFUSED) from None
        return self._checked(claims, body)

    def _checked(self, claims: dict[str, object], body: bytes) -> Sealed:
        person, token_id, digest = claims["sub"], claims["jti"], claims["body_sha256"]
        issued, expires = claims["iat"], claims["exp"]
        if not (isinstance(issued, int) and isinstance(expires, int)) or isinstance(issued, bool):
            raise _refused("iat, exp")
        now = self._clock()
        if not (issued - LEEWAY_S <= now < expires + LEEWAY_S and 0 < expires - issued <= TTL_S):
            raise _refused("iat, exp")
        if claims["tier"] != "premium":
            raise _refused("tier")
        if not (isinstance(person, str) and _KEY.fullmatch(person)):
            raise _refused("sub")
        if not (isinstance(token_id, str) and 16 <= len(token_id) <= 64):
            raise _refused("jti")
        if not (isinstance(digest, str) and hmac.compare_digest(digest.encode(), _digest(body))):
            raise _refused("body_sha256")
        return Sealed(person, token_id, float(expires))


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


def _refused(claim: str) -> TierError:
    return TierError(f"The token is refused: {claim}.", code=REFUSED)
