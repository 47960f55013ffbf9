"""The WebSocket message that has begun on one connection and is not whole: how fast it comes.

A peer that drips a message holds what has come of it for as long as it likes. So in every
``stall_s`` that a message is under way ``least_bytes_per_s`` must come of it on the average; who is
slow but steady lives, however long the message takes. The parser is not asked: bytes in which no
frame ended belong to one that has begun.
"""

from __future__ import annotations


class Underway:
    """The message that is under way, if there is one; times are seconds of the caller's clock."""

    def __init__(self, least_bytes_per_s: float, stall_s: float) -> None:
        self._least_bytes = least_bytes_per_s * stall_s
        self._stall_s = stall_s
        self._fragments = False
        self._since: float | None = None
        self._bytes = 0

    @property
    def due(self) -> float | None:
        """When enough must have come; None while no message is under way."""
        return None if self._since is None else self._since + self._stall_s

    @property
    def is_slow(self) -> bool:
        """Whether less has come than must have when it is due."""
        return self._bytes < self._least_bytes

    def frame(self, *, last: bool) -> None:
        """A frame of data ended, ``last`` of its message."""
        self._fragments = not last
        if last:
            self._since = None

    def came(self, size: int, now: float, *, ended: bool) -> None:
        """``size`` bytes came; ``ended``: with the end of a frame, of whatever kind, in them."""
        if ended and not self._fragments:
            self._since = None
        elif self._since is None:
            self._since, self._bytes = now, size
        else:
            self._bytes += size

    def again(self, now: float) -> None:
        """Time begins anew: enough has come, or it was not the peer who kept it from coming."""
        if self._since is not None:
            self._since, self._bytes = now, 0
