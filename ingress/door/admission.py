"""Who may come in: the origin of the page that opens a WebSocket, and the operator.

Browsers let any page open a WebSocket anywhere and say in ``Origin`` which page
it is; programs send none (RFC 6455 section 10.2). How many may come in is
checked by the session itself, after accept, so that the refusal has a close
code that a browser can read. What only an operator may see wants a bearer
token, of which the configuration holds the SHA-256: the Ray dashboard shows it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection


def origin_allowed(origin: str | None, allowed: Collection[str]) -> bool:
    """Whether a handshake with this ``Origin`` header may go on."""
    return origin is None or "*" in allowed or origin.lower() in {a.lower() for a in allowed}


def is_operator(authorization: str | None, token_sha256: str) -> bool:
    """Whether an ``Authorization`` header carries the operator's token (RFC 6750 section 2.1)."""
    scheme, _, token = (authorization or "").partition(" ")
    given = hashlib.sha256(token.strip().encode()).hexdigest()
    return scheme.lower() == "bearer" and hmac.compare_digest(given, token_sha256)
