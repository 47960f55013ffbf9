"""How many frames a session may send, how many pixels and bytes in them, and how many messages.

Frames past the rate are dropped before they wait for a model. A text message that is no frame, a
bad one and a frame dropped for its rate come out of one more bucket: what is past that rate is
read later. Who owes there for ``control_patience_s`` at a stretch is let go. A long message counts
as several, and so does one for which others are asked, but never as more than the bucket holds: one
mistake makes nobody silent for long.

Pixels are those of the picture's own header; whoever knows pictures gives the function. A picture
that is larger than any may be is refused unread, so it counts as the largest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ingress.bucket import Bucket
from ingress.disconnects import Disconnect
from ingress.settings import SessionLimits

_MESSAGE_BYTES = 4096  # that count as one message
_GULPS = 10  # of a full bucket: a flood is read and answered by so many at once, for each way costs

PixelsOf = Callable[[bytes], int]


class Allowance:
    """What one session may still send."""

    def __init__(self, limits: SessionLimits, pixels_of: PixelsOf) -> None:
        """``pixels_of`` gives width times height of an encoded picture, at next to no cost."""
        self._limits = limits
        self._pixels_of = pixels_of
        self._frames, self._pixels, self._bytes = (
            Bucket(rate, rate * limits.rate_burst_s)
            for rate in (limits.frames_per_s, limits.pixels_per_s, limits.bytes_per_s)
        )
        self._control = Bucket(limits.control_per_s, limits.control_burst)
        self._gulp = limits.control_burst / _GULPS
        self._owing_since: float | None = None
        self._clock = asyncio.get_running_loop().time

    @property
    def debt_s(self) -> float:
        """Seconds until the next message may be read; who owes is read on when some may be."""
        now = self._clock()
        owes = self._control.debt_s(now) > 0
        return self._control.missing_s(self._gulp, now) if owes else 0.0

    def takes(self, image: bytes) -> bool:
        """Whether a frame that came is within the rates; it counts there if it is."""
        now = self._clock()
        if any(bucket.debt_s(now) > 0 for bucket in (self._frames, self._pixels, self._bytes)):
            return False
        self._frames.take(1, now)
        self._pixels.take(min(self._pixels_of(image), self._limits.max_frame_pixels), now)
        self._bytes.take(len(image), now)
        return True

    def count(self, size: int = 0, worth: float = 1) -> None:
        """A message of ``size`` came that is no frame, or bad, or a frame beyond its rates.

        It counts as ``worth`` messages, and as one more for each 4 KiB of it.

        Raises:
            Disconnect: the messages have been too many for too long.
        """
        now = self._clock()
        self._control.take(min(worth + size // _MESSAGE_BYTES, self._limits.control_burst), now)
        if not self._control.debt_s(now):
            self._owing_since = None
        elif self._owing_since is None:
            self._owing_since = now
        elif now - self._owing_since >= self._limits.control_patience_s:
            raise Disconnect(
                "policy_violation",
                f"more than {self._limits.control_per_s:g} messages a second for "
                f"{self._limits.control_patience_s:g} s",
            )
