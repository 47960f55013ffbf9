"""The WebSocket of Serve's proxy, which passes on what neither side waits for.

Between the proxy and the replica nothing pushes back: a send of the app returns at once, and what a
peer says is handed on as fast as it comes; what one side does not take piles up in the other's
memory, and each message of a flood is work for both. So the two tell each other how far they are,
and neither is ``WINDOW_BYTES`` ahead: the other end is ``ingress.door.transport``.

Rules
1. The app is told, now and then, how many bytes have gone to the socket (``TAKEN``).
2. The app tells what it has read, on what it sends anyway or, where that is nothing, by itself
   (``READ``); a message weighs ``MESSAGE_BYTES`` beside its own. Without room no message is passed
   on, so the socket is not read; where there is, one passes, however large. Once there was none,
   the next ones pass when half of it is free, together: each time that the replica fetches what
   waits is a call of Ray's, whatever it carries.
3. What the app sends waits here for the peer to take it, beside and not before what it says next:
   a peer that sends a lot before it reads is read.
4. An end is passed on at once, and what waits before it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from uvicorn._types import ASGISendEvent

from deployments.serve.websocket import PatientWebSocket
from ingress.door.transport import MESSAGE_BYTES, READ, REPORT_EVERY_BYTES, TAKEN, WINDOW_BYTES


class ReportingWebSocket(PatientWebSocket):
    """One connection of a client to the proxy."""

    outlives_the_port = False  # a proxy that ends takes every connection with it

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._taken = self._reported = 0
        self._passed_on = self._read = 0
        self._leaving: deque[tuple[ASGISendEvent, int]] = deque()
        self._leaver: asyncio.Task[None] | None = None
        self._room = asyncio.Event()

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if hasattr(self, "scope"):  # the handshake was good; the app starts after us
            self.scope["extensions"] |= {TAKEN: {}, READ: {}}

    async def receive(self) -> Any:
        if self._passed_on - self._read >= WINDOW_BYTES:
            await self._half_is_free()
        message = await super().receive()
        if (size := _size_of(message)) is not None:
            self._passed_on += MESSAGE_BYTES + size
        return message

    async def _half_is_free(self) -> None:
        while self._passed_on - self._read > WINDOW_BYTES // 2 and not self._has_ended:
            self._room.clear()
            await self._room.wait()

    async def send(self, message: ASGISendEvent) -> None:
        read: int | None = message.get(READ)  # type: ignore[assignment]
        if read is not None:
            self._read = read
            self._room.set()
        if message["type"] != "websocket.send":
            if self._leaver is not None:
                await asyncio.wait({self._leaver})
            await super().send(message)
        elif (size := _size_of(message)) is not None:
            if self._leaving or not self.writable.is_set():
                self._leave_later(message, size)
            else:
                await super().send(message)
                self._has_left(size)

    def _leave_later(self, message: ASGISendEvent, size: int) -> None:
        self._leaving.append((message, size))
        if self._leaver is None or self._leaver.done():
            self._leaver = self.loop.create_task(self._leave())

    async def _leave(self) -> None:
        """Send what waits, as the peer takes it; the app lets no more than its window wait."""
        while self._leaving:
            message, size = self._leaving[0]
            try:
                await super().send(message)
            except (OSError, RuntimeError):  # the peer has gone; receive says why
                self._leaving.clear()
                return
            self._leaving.popleft()
            self._has_left(size)

    def _has_left(self, size: int) -> None:
        self._taken += size
        if self._taken - self._reported >= REPORT_EVERY_BYTES:
            self._reported = self._taken
            self._put({"type": "websocket.receive", TAKEN: self._taken})

    def _put(self, message: Any) -> None:
        super()._put(message)
        self._room.set()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._room.set()

    def handle_close(self, event: Any) -> None:
        super().handle_close(event)
        self._room.set()

    @property
    def _has_ended(self) -> bool:
        return self.disconnected or self.close_sent or self.transport.is_closing()


def _size_of(message: Any) -> int | None:
    """The length of what a message carries; None of one that is a report or no message."""
    for key in ("bytes", "text"):
        if (said := message.get(key)) is not None:
            return len(said)
    return None
