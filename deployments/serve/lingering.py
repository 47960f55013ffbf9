"""The end of a connection whose peer is still sending: it is to hear why before it is reset.

A socket that is closed with something unread, or is sent more, answers with a reset, and to many a
client the reset is all that is left of the last word (RFC 9112 section 9.6). So the last word is
followed by the end of our side alone, and what comes is read and let go, until the peer ends its
own, or for so many bytes and seconds.
"""

from __future__ import annotations

import asyncio


class Lingering:
    """One connection that has said its last word, once it ``begins``."""

    def __init__(self, transport: asyncio.Transport, most_bytes: float, patience_s: float) -> None:
        self._transport = transport
        self._left_bytes = most_bytes
        self._patience_s = patience_s
        self._end: asyncio.TimerHandle | None = None

    @property
    def has_begun(self) -> bool:
        """Whether what comes is to be let go."""
        return self._end is not None

    def begin(self) -> asyncio.TimerHandle | None:
        """The last word was written; returns the timer that ends it at the latest."""
        if self.has_begun or self._transport.is_closing():
            return self._end
        loop = asyncio.get_running_loop()
        self._end = loop.call_later(self._patience_s, self._transport.abort)
        if self._transport.can_write_eof():
            self._transport.write_eof()
            self._transport.resume_reading()
        else:  # TLS
            self._transport.close()
        return self._end

    def let_go(self, size: int) -> None:
        """So many bytes came."""
        self._left_bytes -= size
        if self._left_bytes < 0:
            self._transport.abort()

    def cancel(self) -> None:
        """The connection is no more."""
        if self._end:
            self._end.cancel()
