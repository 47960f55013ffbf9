"""Starlette's WebSocket as a ``Transport``: the only file of this package that imports it.

What differs between the default proxy, HAProxy mode and plain uvicorn ends
here. A send after the end is dropped silently, or raises RuntimeError (its
subclass WebSocketDisconnected in newer Starlettes), WebSocketDisconnect or
OSError; all of these become ``TransportLost``. ``receive`` reports the end as a
message whose ``reason`` key is there only if a close frame was.
"""

from __future__ import annotations

from starlette.websockets import WebSocket, WebSocketDisconnect

from ingress.connection import TransportLost
from ingress.disconnects import Disconnect, disconnect_seen

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

    async def accept(self, subprotocol: str | None) -> None:
        try:
            await self._websocket.accept(subprotocol)
        except self._lost as error:
            raise TransportLost from error

    async def receive(self) -> str | bytes:
        try:
            message = await self._websocket.receive()
        except self._infrastructure_errors as error:
            raise Disconnect("proxy_lost", type(error).__name__) from error
        except _LOST as error:
            raise Disconnect("connection_lost", type(error).__name__) from error
        if message["type"] == "websocket.disconnect":
            raise disconnect_seen(
                message.get("code"), close_frame=message.get("reason") is not None
            )
        text: str | None = message.get("text")
        data: bytes | None = message.get("bytes")
        return text if text is not None else data or b""

    async def send(self, message: str | bytes) -> None:
        try:
            if isinstance(message, str):
                await self._websocket.send_text(message)
            else:
                await self._websocket.send_bytes(message)
        except self._lost as error:
            raise TransportLost from error

    async def close(self, code: int, reason: str) -> None:
        try:
            await self._websocket.close(code, reason)
        except self._lost as error:
            raise TransportLost from error
