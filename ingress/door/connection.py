"""One connection: the gate through which everything is sent, and its one end.

Rules
1. ``send`` is the only way out. Outside the sendable states it returns False,
   counts, and touches nothing; it never raises.
2. That the peer is gone is learned from ``receive`` alone. A send that finds
   the transport dead says False and waits for ``receive`` to say why: under
   Serve's default proxy a send to a dead peer succeeds, so it proves nothing.
3. At most one close frame, none after the peer closed or was lost.
4. Every await on the transport has a deadline, the close included. A send that
   passes its deadline marks the connection stalled; nothing is sent after it.

The transport below is named by ``Transport``; ``ingress.door.transport`` adapts
Starlette's, tests use one with delays, drops and races.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from ingress.disconnects import Disconnect
from ingress.lifecycle import GREETED, SENDABLE, Event, State, fire, may

# RFC 6455 section 5.5: a control frame carries at most 125 bytes, two of them the code.
_MAX_REASON_BYTES = 123


class TransportLost(ConnectionError):
    """The transport will take nothing more; the reason is for ``receive`` to tell."""


class Transport(Protocol):
    """A WebSocket below the gate."""

    on_progress: Callable[[], None]  # called when the peer took some of what was sent

    async def accept(self, subprotocol: str | None) -> None:
        """Finish the handshake; raises TransportLost where the peer has gone."""

    async def receive(self) -> str | bytes:
        """The next message; raises Disconnect once there will be none."""

    async def send(self, message: str | bytes) -> None:
        """Hand over one message; raises TransportLost where that is known to be vain."""

    async def close(self, code: int, reason: str) -> None:
        """Send the close frame; raises TransportLost where that is known to be vain."""


class Connection:
    """The guarded transport of one session."""

    def __init__(
        self,
        transport: Transport,
        *,
        send_timeout_s: float,
        close_timeout_s: float,
        on_move: Callable[[State, State], None],
        on_suppressed: Callable[[State], None],
    ) -> None:
        self._transport = transport
        self._send_timeout_s = send_timeout_s
        self._close_timeout_s = close_timeout_s
        self._on_move = on_move
        self._on_suppressed = on_suppressed
        self._dead = False
        self._sending: asyncio.Timeout | None = None
        transport.on_progress = self._taking
        self.state = State.NEW
        self.last_state = State.NEW  # the one before CLOSED
        self.stalled = False

    @property
    def is_open(self) -> bool:
        """Whether a message sent now would reach the transport."""
        return self.state in SENDABLE and not self._dead

    @property
    def is_greeted(self) -> bool:
        """Whether the peer may say what it likes, and be told anything."""
        return self.state in GREETED

    async def accept(self, subprotocol: str | None) -> bool:
        """Finish the handshake; False where the peer has gone meanwhile."""
        try:
            async with asyncio.timeout(self._send_timeout_s):
                await self._transport.accept(subprotocol)
        except (TransportLost, TimeoutError):
            self._fire(Event.END)
            return False
        self._fire(Event.ACCEPT)
        return True

    def hello(self) -> bool:
        """The peer said hello; whether this was the time for it."""
        timely = may(self.state, Event.HELLO)
        if timely:
            self._fire(Event.HELLO)
        return timely

    def greet(self) -> None:
        """The peer may be sent anything from now on."""
        self._fire(Event.GREET)

    def drain(self) -> None:
        """The server will close soon; until then everything goes on."""
        if may(self.state, Event.DRAIN):
            self._fire(Event.DRAIN)

    async def receive(self) -> str | bytes:
        """The next message; raises Disconnect once there will be none."""
        try:
            return await self._transport.receive()
        except Disconnect:
            self._fire(Event.END)
            raise

    async def send(self, message: str | bytes, timeout_s: float | None = None) -> bool:
        """Hand ``message`` to the transport; whether that was done before the deadline.

        The deadline begins again whenever the peer has taken something of what is before it.
        """
        if not self.is_open:
            self._on_suppressed(self.state)
            return False
        try:
            async with self._patience(timeout_s):
                await self._transport.send(message)
        except TransportLost:
            self._dead = True
            return False
        except TimeoutError:
            self._dead = self.stalled = True
            return False
        finally:
            self._sending = None
        return True

    def _patience(self, timeout_s: float | None) -> asyncio.Timeout:
        """The deadline of one send. No frame may keep it: it knows its task, a circle."""
        deadline = asyncio.timeout(timeout_s or self._send_timeout_s)
        self._sending = None if timeout_s else deadline
        return deadline

    def _taking(self) -> None:
        """The peer took something."""
        if self._sending is not None and not self._sending.expired():
            self._sending.reschedule(asyncio.get_running_loop().time() + self._send_timeout_s)

    async def close(self, disconnect: Disconnect) -> None:
        """End the connection for ``disconnect``: the first call counts, later ones do nothing."""
        if self.state in (State.NEW, State.CLOSING, State.CLOSED):
            return
        code = disconnect.reason.code
        if not disconnect.by_server or code is None:
            self._fire(Event.END)
            return
        self._fire(Event.CLOSE)
        try:
            async with asyncio.timeout(self._close_timeout_s):
                await self._transport.close(code, _fitting(disconnect.explanation))
        except (TransportLost, TimeoutError):
            pass  # nobody is there to read the close frame
        finally:
            self._fire(Event.END)

    async def last_words(self, deadline_s: float) -> Disconnect | None:
        """What ``receive`` still has to say after our task was cancelled from outside.

        Serve cancels a handler when the peer leaves (HAProxy mode without raw
        receive); the disconnect message with the code arrives beside it.
        """
        try:
            async with asyncio.timeout(deadline_s):
                while True:
                    await self.receive()
        except Disconnect as disconnect:
            return disconnect
        except TimeoutError:
            return None

    def _fire(self, event: Event) -> None:
        before, self.state = self.state, fire(self.state, event)
        if before is not self.state:
            self.last_state = before
            self._on_move(before, self.state)


def _fitting(reason: str) -> str:
    """``reason`` cut to what a close frame holds, on a character boundary."""
    return reason.encode()[:_MAX_REASON_BYTES].decode(errors="ignore")
