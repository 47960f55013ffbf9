"""A connection without sockets: what its end writes is kept, and it is fed what a test likes."""

from __future__ import annotations

import asyncio
from typing import Any

from deployments.lines.channel import Channel
from deployments.lines.handshake import Handshake, Key


class Wire(asyncio.Transport):
    """The transport of one end."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self.written = bytearray()
        self._channel = channel
        self._closing = False
        channel.connection_made(self)

    def feed(self, data: bytes) -> None:
        """The other side sends ``data``, of which a connection that has ended takes no more."""
        while data and not self._closing:
            buffer = self._channel.get_buffer(-1)
            piece, data = data[: len(buffer)], data[len(buffer) :]
            buffer[: len(piece)] = piece
            self._channel.buffer_updated(len(piece))

    def introduce(self, key: Key, *, calls: bool) -> None:
        """The other side has ``key`` and is the one that ``calls``, or is called."""
        other = Handshake(key, calls=calls)
        self.feed(other.hello)
        read = 0
        while other.awaits:
            piece = bytes(self.written[read : read + other.awaits])
            read += len(piece)
            self.feed(other.take(piece))
        del self.written[:read]

    def write(self, data: Any) -> None:
        self.written += data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._channel.connection_lost(None)

    def abort(self) -> None:
        self.close()
