"""A connection between two replicas, over which one calls the other.

A call of a Serve handle passes a router, an admission and gRPC on both sides: half of what a lone
client waits for beside the pipeline (docs/adr/0011). Here it is one message there, one back.
Whom to call, and that a replica has come, is still Serve's to say (``deployments.lines.caller``).

Rules
1. Who calls shows its half of a key that only Serve's own calls carry, and then who is called
   shows the other. Before it has seen that, neither reads more than those bytes, or unpickles.
2. A message is its length, four bytes, and a pickle: what crosses is plain data.
3. A call is ``(number, arguments)``, its answer ``(number, outcome)``; ``(number, None)`` cancels
   the call. Each is answered once, a cancelled one too, unless the connection ends before.
4. ``LEAVING``, from the side that is called, asks for no more calls. The caller hangs up when it
   has the answers that are due, so none is lost.
5. Who calls waits while the other side reads too slowly, and nothing else is written but answers
   to calls: what is buffered is bounded by that.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import pickle
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

log = logging.getLogger("segstream.channel")

LEAVING = (0, None)
SHOW_S = 5.0  # for the other side's half of the key to come

_LONGEST = 2**28  # bytes of a message: more than a batch or its answer holds
_BUFFERED = 2**20  # bytes that wait for the other side before who calls does

# What unpickling raises where the two sides run different versions of the code, in a redeploy.
_UNREADABLE = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    TypeError,
)


class CallFailed(Exception):
    """The other side could not answer a call; the words are for the log."""


class ChannelLost(Exception):
    """The connection ended before the answer was there."""


@dataclass(frozen=True, slots=True)
class Key:
    """Halves of a secret: each side knows the other by one."""

    caller: bytes = field(default_factory=lambda: secrets.token_bytes(16), repr=False)
    called: bytes = field(default_factory=lambda: secrets.token_bytes(16), repr=False)


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
        """The other side has shown its half of the key."""

    def received(self, channel: Channel, message: Any) -> None:
        """A message has come; never before ``met``."""

    def lost(self, channel: Channel) -> None:
        """The connection has ended, met or not; the last that is heard of it."""


class Channel(asyncio.BufferedProtocol):
    """One end of a connection."""

    def __init__(self, end: End, key: Key, *, calls: bool) -> None:
        """``calls`` where this is the end of the side that calls."""
        self._end = end
        self._key = key
        self._calls = calls
        self._expects = key.called if calls else key.caller
        self._transport: asyncio.Transport | None = None
        self._room = asyncio.Event()
        # The piece of the stream that is being read: the key, then lengths and bodies in turn.
        self._piece = bytearray(len(self._expects))
        self._filled = 0
        self._take: Callable[[bytearray], None] = self._take_key

    @property
    def is_open(self) -> bool:
        """Whether what is sent may still arrive."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, message: Any) -> None:
        """Write ``message``; nothing is written where the connection has ended.

        Raises:
            CallFailed: it is longer than a message may be.
        """
        body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        if len(body) > _LONGEST:
            raise CallFailed(f"a message has {len(body)} bytes; at most {_LONGEST} are taken")
        if self._transport is not None and self.is_open:
            self._transport.writelines((len(body).to_bytes(4, "big"), body))

    async def room(self) -> None:
        """Return when the other side has taken most of what was sent, or has gone."""
        await self._room.wait()

    def close(self) -> None:
        """Hang up, after what was sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Hang up at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is no subclass
        self._transport.set_write_buffer_limits(high=_BUFFERED)
        self._room.set()
        if self._calls:
            self._transport.write(self._key.caller)

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._piece)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        if self._filled == len(self._piece):
            self._filled = 0
            if self.is_open:  # what comes behind an abort is of nobody
                self._take(self._piece)

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._room.set()
        self._end.lost(self)

    def _take_key(self, shown: bytearray) -> None:
        self._await_length()
        if not hmac.compare_digest(shown, self._expects):
            log.warning("somebody without the key was met at a port for calls")
            self.abort()
            return
        if self._transport is not None and not self._calls:
            self._transport.write(self._key.called)
        self._end.met(self)

    def _take_length(self, piece: bytearray) -> None:
        length = int.from_bytes(piece, "big")
        if 0 < length <= _LONGEST:
            self._piece, self._take = bytearray(length), self._take_body
        else:
            log.warning("a message of %d bytes ends its connection", length)
            self.abort()

    def _take_body(self, body: bytearray) -> None:
        self._await_length()
        try:
            message = pickle.loads(body)
        except _UNREADABLE as error:
            log.warning("a message that cannot be read ends its connection: %r", error)
            self.abort()
        else:
            self._end.received(self, message)

    def _await_length(self) -> None:
        self._piece, self._take = bytearray(4), self._take_length
