"""uvicorn's WebSocket, for peers that do not take what they are sent.

It serves wherever clients connect: in Serve's proxy, or in the ingress replica
in HAProxy mode. The proxy may not be able to import this module: it is sent the classes by value
(``deployments.serve.equipment``), so what they name here is theirs, uvicorn's, or a plain constant.

Rules
1. What waits in the socket's buffer leaves within ``patience_s``, or the connection is aborted.
   uvicorn's own pings and close wait for that buffer, and a peer that is stopped holds it, the
   socket and the app's task for ever: still there after 75 s.
2. A connection whose app is done, or that got its last frame, is gone ``patience_s`` later.
3. The app is told which row of the disconnect table it was, by a key that no client can forge:
   clients send frames, not ASGI messages.
4. Behind Serve's proxy a send returns at once and messages pile up in the proxy's memory. So the
   proxy tells the app how many bytes have gone to the socket, now and then, and the transport
   there waits for that.
5. A replica's own server that closes its port keeps its connections: Serve closes the port long
   before the replica's time is up, and the drain ends each session in its own order. uvicorn would
   end them all at once, and those that wait for the peer's answer to a close frame without it: a
   socket that is closed while its peer streams is reset, and what the peer has not read is lost,
   the goodbye and the close frame included.

The class leans on insides of uvicorn, all named in ``NEEDED``; ``deployments.serve.equipment``
uses it only where they exist.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from ingress.disconnects import DISCONNECTS
from ingress.door.transport import ENDED, TAKEN, TAKEN_EVERY_BYTES

NEEDED = (
    "connection_lost",
    "handle_connect",
    "keepalive_timeout",
    "on_task_complete",
    "pause_writing",
    "resume_writing",
    "send",
    "shutdown",
)

_SILENT = "keepalive_timeout"
_SILENT_CODE = DISCONNECTS[_SILENT].code


class PatientWebSocket(WebSocketsSansIOProtocol):
    """One connection whose peer has ``patience_s`` to take what it was sent."""

    patience_s: float  # of the class that the equipment makes of this one
    outlives_the_port = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stall: asyncio.TimerHandle | None = None
        self._farewell: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall = self.loop.call_later(self.patience_s, self._stalled)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stall:
            self._stall.cancel()

    def keepalive_timeout(self) -> None:
        if not (self.close_sent or self.transport.is_closing()):
            assert _SILENT_CODE is not None
            words = f"no ping was answered within {self.ping_timeout:g} s"
            self._tell(_SILENT, _SILENT_CODE, words)
            # Before uvicorn says 1011, which is the code of a bug; only the first is sent.
            self.conn.fail(_SILENT_CODE, words)
            self._part()
        super().keepalive_timeout()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        self._part()

    def shutdown(self) -> None:
        if not self.outlives_the_port:
            super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for timer in (self._stall, self._farewell):
            if timer:
                timer.cancel()

    def _stalled(self) -> None:
        self._tell("slow_consumer", 1006, f"the socket took nothing for {self.patience_s:g} s")
        self.transport.abort()

    def _part(self) -> None:
        """What is still in the buffer has ``patience_s`` to leave."""
        if self._farewell is None and not self.disconnected:
            self._farewell = self.loop.call_later(self.patience_s, self.transport.abort)

    def _tell(self, row: str, code: int, words: str) -> None:
        self._put({"type": "websocket.disconnect", "code": code, "reason": words, ENDED: row})

    def _put(self, message: Any) -> None:
        """Let the app receive what uvicorn's own messages have no key for."""
        self.queue.put_nowait(message)


class ReportingWebSocket(PatientWebSocket):
    """In Serve's proxy: tells the app behind it what has gone to the socket."""

    outlives_the_port = False  # a proxy that ends takes every connection with it

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._taken = self._reported = 0

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if hasattr(self, "scope"):  # the handshake was good; the app starts after us
            self.scope["extensions"][TAKEN] = {}

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if message["type"] == "websocket.send":
            self._taken += len(message.get("bytes") or message.get("text") or b"")
            if self._taken - self._reported >= TAKEN_EVERY_BYTES:
                self._reported = self._taken
                self._put({"type": "websocket.receive", TAKEN: self._taken})
