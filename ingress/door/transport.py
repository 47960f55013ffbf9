"""Starlette's WebSocket as a ``Transport``: the only file of this package that imports it.

What differs between the default proxy, HAProxy mode and plain uvicorn ends here.

- A send after the end is dropped silently, or raises RuntimeError (Starlette, uvicorn, a
  closed queue of Serve's), WebSocketDisconnect or OSError (uvicorn's ClientDisconnected, in
  all of its implementations), or an error of the proxy's death: all become ``TransportLost``.
- ``receive`` reports the end as a message whose ``reason`` key is there only if a close frame
  was; or raises, and then what is known of the code is kept.
- A send to a socket that is full waits, but behind Serve's proxy it returns and the message
  waits in the proxy's memory; and the proxy reads whether the app does or not. There
  ``deployments.serve.reporting`` reports the bytes that have gone to the socket, and a send waits
  while more than ``WINDOW_BYTES`` have not; in turn it is told what was read here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from ingress.disconnects import Disconnect, disconnect_seen
from ingress.door.connection import TransportLost

# Keys of ASGI messages, and of the scope's extensions, that the server below may use.
TAKEN = "segstream.taken"  # bytes gone to the socket so far
READ = "segstream.read"  # weight of the messages that the app has read so far
PROGRESS = "segstream.progress"  # the peer took some of what waits in the socket's buffer
ENDED = "segstream.ended"  # the row of the disconnect table

REPORT_EVERY_BYTES = 256 * 1024
WINDOW_BYTES = 4 * REPORT_EVERY_BYTES
MESSAGE_BYTES = 4096  # that a message weighs beside its own

_LOST = (RuntimeError, WebSocketDisconnect, OSError)


class StarletteTransport:
    """One accepted or not yet accepted WebSocket of an ASGI server."""

    def __init__(
        self, websocket: WebSocket, infrastructure_errors: tuple[type[Exception], ...] = ()
    ) -> None:
        """``infrastructure_errors`` are what receive() raises when the proxy in front died."""
        self._websocket = websocket
        self._infrastructure_errors = infrastructure_errors
        self._lost: tuple[type[Exception], ...] = (*_LOST, *infrastructure_errors)
        extensions = websocket.scope.get("extensions") or {}
        self._reports, self._is_told = TAKEN in extensions, READ in extensions
        self._waiting_bytes = 0
        self._taken_bytes = 0
        self._read_bytes = self._told_bytes = 0
        self._taken = asyncio.Event()
        self.on_progress: Callable[[], None] = lambda: None

    async def accept(self, subprotocol: str | None) -> None:
        try:
            await self._websocket.accept(subprotocol)
        except self._lost as error:
            raise TransportLost from error

    async def receive(self) -> str | bytes:
        while True:
            message = await self._next()
            if message["type"] == "websocket.disconnect":
                raise _disconnect(message)
            if PROGRESS in message:
                self.on_progress()
                continue
            if TAKEN in message:
                self._waiting_bytes -= message[TAKEN] - self._taken_bytes
                self._taken_bytes = message[TAKEN]
                self._taken.set()
                self.on_progress()
                continue
            text: str | None = message.get("text")
            data: bytes | None = message.get("bytes")
            said = text if text is not None else data or b""
            await self._has_read(MESSAGE_BYTES + len(said))
            return said

    async def _has_read(self, weight: int) -> None:
        """Tell the proxy, where it has not heard of so much that it may stop."""
        self._read_bytes += weight
        if self._is_told and self._read_bytes - self._told_bytes >= 2 * REPORT_EVERY_BYTES:
            with suppress(*self._lost):  # receive has the reason
                await self._websocket.send(self._telling({"type": "websocket.send"}))

    def _telling(self, message: Message) -> Message:
        """``message``, which says beside its own what was read."""
        if self._is_told:
            message[READ] = self._told_bytes = self._read_bytes
        return message

    async def _next(self) -> Message:
        try:
            return await self._websocket.receive()
        except self._infrastructure_errors as error:
            raise Disconnect("proxy_lost", type(error).__name__) from error
        except WebSocketDisconnect as error:
            raise disconnect_seen(error.code, close_frame=bool(error.reason)) from error
        except _LOST as error:
            raise Disconnect("connection_lost", type(error).__name__) from error

    async def send(self, message: str | bytes) -> None:
        while self._waiting_bytes >= WINDOW_BYTES:
            self._taken.clear()
            await self._taken.wait()
        if self._reports:
            self._waiting_bytes += len(message)
        try:
            key = "text" if isinstance(message, str) else "bytes"
            await self._websocket.send(self._telling({"type": "websocket.send", key: message}))
        except self._lost as error:
            raise TransportLost from error

    async def close(self, code: int, reason: str) -> None:
        try:
            await self._websocket.close(code, reason)
        except self._lost as error:
            raise TransportLost from error


def _disconnect(message: Message) -> Disconnect:
    code = message.get("code")
    if ENDED in message:
        return Disconnect(message[ENDED], message.get("reason") or "", code_seen=code)
    return disconnect_seen(code, close_frame=message.get("reason") is not None)
