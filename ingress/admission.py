"""Who may come in: the origin of the page that opens a WebSocket.

Browsers let any page open a WebSocket anywhere and say in ``Origin`` which page
it is; programs send none (RFC 6455 section 10.2). How many may come in is
checked by the session itself, after accept, so that the refusal has a close
code that a browser can read.
"""

from __future__ import annotations

from collections.abc import Collection


def origin_allowed(origin: str | None, allowed: Collection[str]) -> bool:
    """Whether a handshake with this ``Origin`` header may go on."""
    return origin is None or "*" in allowed or origin.lower() in {a.lower() for a in allowed}
