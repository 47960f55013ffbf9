"""What lies between uvicorn and Serve's own ASGI app, around both proxies and one for each.

Those for one of the two concern the end of a WebSocket, which Serve turns into something else than
the message that says why.
"""

from __future__ import annotations

from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

PEER = "segstream.peer"

# Serve's own header by which a request asks not to be watched for a disconnect.
_UNWATCHED = (b"x-request-disconnect-disabled", b"?1")


class RawWebSocket:
    """Middleware that gives the app uvicorn's own receive and send for WebSockets.

    Otherwise the replica reads the socket in a task of its own and cancels the handler when
    the peer leaves, racing the message that says why. Only for HAProxy mode: Serve's default
    proxy reads the same header, and would no longer tell the replica of a disconnect.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            scope = {**scope, "headers": [*scope["headers"], _UNWATCHED]}
        await self._app(scope, receive, send)


class DropAfterLoss:
    """Middleware that drops what is sent to a WebSocket whose peer has gone.

    Only for Serve's default proxy: where a send raises, the proxy abandons its response in the
    middle, and its generator answers that with two errors and a traceback per lost client. A
    send raises OSError, ASGI's word for a peer that has gone, and RuntimeError between the close
    that uvicorn itself decided on and the loss, which a full buffer holds off. The replica
    hears of the end through receive, as always, and then ends the response itself.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_while_there(message: Message) -> None:
            with suppress(OSError, RuntimeError):
                await send(message)

        await self._app(scope, receive, send_while_there if scope["type"] == "websocket" else send)


class SocketPeer:
    """Middleware that keeps the peer as the socket has it, under ``PEER`` in the extensions.

    The outermost: uvicorn's own middleware puts in its place what a header says, whoever wrote that
    where the peer is on loopback; so it is with every client behind HAProxy.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            kept = {**(scope.get("extensions") or {}), PEER: {"client": scope.get("client")}}
            scope = {**scope, "extensions": kept}
        await self._app(scope, receive, send)
