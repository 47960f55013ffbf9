"""A connection between two replicas, over which one calls the other.

A call of a Serve handle passes a router, an admission and gRPC on both sides: half of what a lone
client waits for beside the pipeline (docs/adr/0011). Here it is one message there, one back.
Whom to call, and that a replica has come, is still Serve's to say (``deployments.lines.caller``).

Rules
1. It begins with a handshake (``deployments.lines.handshake``). Before that has shown each side
   whom it has before it, nothing else of the other is read or acted upon.
2. Then come messages (``deployments.lines.messages``), each behind its length, four bytes. What is
   too long or not understood ends the connection: what follows it could not be trusted either.
3. A call is answered once, a cancelled one too, unless the connection ends before.
4. ``Leaving``, from the side that is called, asks for no more calls. The caller hangs up when it
   has the answers that are due, so none is lost.
5. Who calls waits while the other side reads too slowly, and nothing else is written but answers
   to calls: what is buffered is bounded by that.
6. Why a connection ended is told once, to who holds the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

from deployments.lines.handshake import Handshake, Key, Stranger
from deployments.lines.messages import NotUnderstood, Parts

SHOW_S = 5.0  # for the other side to come through the handshake

_LONGEST = 2**29  # bytes of a message: more than a batch or its answer holds
_BUFFERED = 2**20  # bytes that wait for the other side before who calls does


class CallFailed(Exception):
    """The other side could not answer a call; the words are for the log."""


class ChannelLost(Exception):
    """The connection ended before the answer was there; the words are for the log."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a replica answers calls, as it tells those who ask it through Serve."""

    replica: str
    host: str
    port: int
    key: Key


class End(Protocol):
    """Who holds one end of a channel."""

    def met(self, channel: Channel) -> None:
        """The other side has the key."""

    def received(self, channel: Channel, body: memoryview) -> None:
        """A message has come; never before ``met``.

        Raises:
            NotUnderstood: the other side does not keep to what was agreed, and is let go.
        """

    def lost(self, channel: Channel, why: str) -> None:
        """The connection has ended, met or not; the last that is heard of it.

        ``why`` says what this side would not take; it is empty where that was not the reason.
        """


class Channel(asyncio.BufferedProtocol):
    """One end of a connection."""

    def __init__(self, end: End, key: Key, *, calls: bool) -> None:
        """``calls`` where this is the end of the side that calls."""
        self._end = end
        self._handshake = Handshake(key, calls=calls)
        self._transport: asyncio.Transport | None = None
        self._room = asyncio.Event()
        self._why_lost = ""
        # The piece of the stream that is being read: of the handshake, then lengths and bodies.
        self._piece = bytearray()
        self._filled = 0
        self._take: Callable[[bytearray], None]
        self._expect(self._handshake.awaits, self._take_handshake)

    @property
    def is_open(self) -> bool:
        """Whether what is sent may still arrive."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, parts: Parts) -> None:
        """Write the message of these ``parts``; nothing where the connection has ended.

        Raises:
            CallFailed: it is longer than a message may be.
        """
        length = sum(map(len, parts))
        if length > _LONGEST:
            raise CallFailed(f"a message has {length} bytes; at most {_LONGEST} are taken")
        if self._transport is not None and self.is_open:
            # Of an empty last part, asyncio from Python 3.12 on never finds that it was written.
            self._transport.writelines((length.to_bytes(4, "big"), *filter(None, parts)))

    async def room(self) -> None:
        """Return when the other side has taken most of what was sent, or has gone."""
        await self._room.wait()

    def close(self) -> None:
        """Hang up, after what was sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self, why: str = "") -> None:
        """Hang up at once; ``why`` is for who holds the end."""
        self._why_lost = self._why_lost or why
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is no subclass
        self._transport.set_write_buffer_limits(high=_BUFFERED)
        self._room.set()
        self._transport.write(self._handshake.hello)

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._piece)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        if self._filled == len(self._piece):
            self._filled = 0
            if self.is_open:  # what comes behind an abort is of nobody
                self._take_or_end(self._piece)

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._room.set()
        self._end.lost(self, self._why_lost)

    def _take_or_end(self, piece: bytearray) -> None:
        try:
            self._take(piece)
        except (Stranger, NotUnderstood) as reason:
            self.abort(str(reason))

    def _expect(self, length: int, take: Callable[[bytearray], None]) -> None:
        """Read so many bytes next, and have them taken when they are there."""
        self._piece, self._filled, self._take = bytearray(length), 0, take

    def _take_handshake(self, piece: bytearray) -> None:
        said = self._handshake.take(bytes(piece))
        if said and self._transport is not None:
            self._transport.write(said)
        if self._handshake.awaits:
            self._expect(self._handshake.awaits, self._take_handshake)
        else:
            self._expect(4, self._take_length)
            self._end.met(self)

    def _take_length(self, piece: bytearray) -> None:
        length = int.from_bytes(piece, "big")
        if not 0 < length <= _LONGEST:
            raise NotUnderstood(f"a message of {length} bytes")
        self._expect(length, self._take_body)

    def _take_body(self, body: bytearray) -> None:
        self._expect(4, self._take_length)
        self._end.received(self, memoryview(body))
