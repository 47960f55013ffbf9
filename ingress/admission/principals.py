"""Who signs in: a token becomes a principal, or a refusal.

Two ways. ``Tokens`` knows hashes: every one of them is compared, in constant time, whichever fits.
``Jwts`` checks signatures (RFC 7519), by the algorithms that the operator wrote down, whatever the
token says of itself, and wants an expiry (RFC 8725).

No token and no key is ever in a log, a repr or an error.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import jwt

from ingress.admission.refusal import Refused
from ingress.policy import Jwt

MAX_TOKEN = 4096
_MAX_NAME = 256


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who signed in; ``expires_at``, in seconds of the epoch, where the token ends."""

    name: str
    expires_at: float | None = None

    def left_s(self, now: float | None = None) -> float | None:
        """Seconds until it ends; None: it does not."""
        if self.expires_at is None:
            return None
        return self.expires_at - (time.time() if now is None else now)


class Authentication(Protocol):
    """One way to sign in."""

    def principal(self, token: str) -> Principal:
        """Who comes with ``token``; raises Refused."""


class Tokens:
    """Tokens that are known by their SHA-256."""

    def __init__(self, known: Sequence[tuple[str, str]]) -> None:
        """``known``: pairs of a hash in hex and the principal's name."""
        self._known = tuple(known)

    def principal(self, token: str) -> Principal:
        given = hashlib.sha256(token.encode(errors="replace")).hexdigest()
        found = [name for sha256, name in self._known if hmac.compare_digest(given, sha256)]
        if not found:
            raise Refused("token_wrong")
        return Principal(found[0])


@dataclass(frozen=True, slots=True)
class Key:
    """A key, and the ``kid`` of the tokens that it is for; None: of any."""

    id: str | None
    material: Any = field(repr=False)


class Jwts:
    """JSON Web Tokens."""

    def __init__(
        self, settings: Jwt, keys: Sequence[Key], now: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._keys = tuple(keys)
        self._now = now

    def principal(self, token: str) -> Principal:
        refused = Refused("token_wrong")
        for key in self._keys_for(token):
            try:
                return self._read(self._claims(token, key))
            except jwt.ExpiredSignatureError:
                refused = Refused("token_expired")
            except (jwt.PyJWTError, ValueError, OverflowError):
                continue
        raise refused

    def _keys_for(self, token: str) -> list[Key]:
        """Those that the token asks for, or all: there are few."""
        try:
            wanted = jwt.get_unverified_header(token).get("kid")
        except jwt.PyJWTError:
            return []
        return [key for key in self._keys if key.id is None or key.id == wanted]

    def _claims(self, token: str, key: Key) -> Mapping[str, Any]:
        settings = self._settings
        return jwt.decode(
            token,
            key.material,
            algorithms=list(settings.algorithms),
            audience=settings.audience,
            issuer=settings.issuer,
            leeway=settings.leeway_s,
            options={"require": ["exp", settings.principal_claim]},
        )

    def _read(self, claims: Mapping[str, Any]) -> Principal:
        name = claims[self._settings.principal_claim]
        if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME:
            raise ValueError("the principal is no name")
        return Principal(name, float(claims["exp"]) + self._settings.leeway_s)


def bearer(authorization: str | None) -> str | None:
    """The token in an ``Authorization`` header; None where there is no such header.

    Raises:
        Refused: the header holds something else (RFC 6750 section 2.1).
    """
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Refused("token_missing")
    if len(token) > MAX_TOKEN:
        raise Refused("token_wrong")
    return token


def is_operator(authorization: str | None, token_sha256: str | None) -> bool:
    """Whether an ``Authorization`` header carries the operator's token; without one, nobody's."""
    scheme, _, token = (authorization or "").partition(" ")
    given = hashlib.sha256(token.strip().encode()).hexdigest()
    return scheme.lower() == "bearer" and hmac.compare_digest(given, token_sha256 or "")
