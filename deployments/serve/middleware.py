"""What lies between uvicorn and Serve's own ASGI app, around both proxies and one for each.

Those for one of the two concern the end of a WebSocket, which Serve turns into something else than
the message that says why.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingress.bucket import Bucket

_BODY_PIECE_BYTES = 256 * 1024
_BAD = 400  # and above: statuses of what came to nothing

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


class FewPosts:
    """Middleware that passes on to Serve no more POSTs than can be of use.

    By way of Serve each costs some milliseconds, a refusal, too. So of more than ``most`` under way
    the next is answered 503 here; the app has places for fewer, and counts whom it refuses. And
    those that came to nothing are passed on at ``per_s``: what was answered well gives its turn
    back, so who is served is served as fast as the models are.
    """

    def __init__(self, app: ASGIApp, most: int, per_s: float) -> None:
        self._app = app
        self._most = most
        self._under_way = 0
        self._turns = Bucket(per_s, per_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope.get("method") != "POST":
            await self._app(scope, receive, send)
        elif self._under_way >= self._most:
            await _overloaded(send)
        else:
            self._under_way += 1
            try:
                await self._in_turn(scope, receive, send)
            finally:
                self._under_way -= 1

    async def _in_turn(self, scope: Scope, receive: Receive, send: Send) -> None:
        clock = asyncio.get_running_loop().time

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < _BAD:
                self._turns.take(-1, clock())
            await send(message)

        debt_s = self._turns.debt_s(clock())
        self._turns.take(1, clock())
        await asyncio.sleep(debt_s)
        await self._app(scope, receive, noted)


class GatheredBody:
    """Middleware that passes a body on in large pieces, or what came of it in ``hold_s``.

    Behind Serve's proxy each piece that the app reads is a call of Ray's, however small: 64 bodies
    that come by the byte cost more than as many pictures.
    """

    def __init__(self, app: ASGIApp, hold_s: float) -> None:
        self._app = app
        self._hold_s = hold_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def gathered() -> Message:
            return await self._gather(receive)

        await self._app(scope, gathered if scope["type"] == "http" else receive, send)

    async def _gather(self, receive: Receive) -> Message:
        message, body = await receive(), bytearray()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._hold_s):
                while message["type"] == "http.request":
                    body += message.get("body", b"")
                    if not message.get("more_body") or len(body) >= _BODY_PIECE_BYTES:
                        break
                    message = await receive()  # uvicorn keeps what comes while nobody asks
        if message["type"] != "http.request":
            return message
        return {**message, "body": bytes(body)}


async def _overloaded(send: Send) -> None:
    why = "too many requests are under way; try again in a moment"
    body = json.dumps({"error": {"code": "OVERLOADED", "message": why}}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", b"5"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})
