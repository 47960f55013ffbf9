"""What of a crowd is passed on to Serve, whose way costs more than most of what is asked for.

By way of Serve's proxy a POST of a small picture costs 17 ms of two processes and one of 3.8 MB
40, a connection 20 to 30, a refusal not much less: more than a frame of a stream. No turn of the
segmenters is charged for that, so it is kept small before it arises, in the server that clients
connect to.

Rules
1. Of more than ``most`` POSTs under way, or half of them from one address, the next is answered
   503 here. The app has places for fewer. Whom this keeps out the app counts, told by the next one.
2. A POST that was refused or given up, and a connection that ended within ``_LIVED_S``, costs its
   address a turn, of which there are ``fruitless_per_s``; past it the next ones wait, and past
   ``_PATIENCE_S`` they are refused. For connections loopback is free.
3. A body is passed on in large pieces, or what came of it in ``hold_s``: each piece that the app
   reads is a call of Ray's, however small.
4. While somebody streams, ``beside_streams`` POSTs are passed on at once, and twice as many more
   that are still on their way: who drips keeps nobody out who does not. A place that was used rests
   for as long as the POST took, ``_REST_S`` at most: the busier the machine is, the more of it
   is left to the streams.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.serve.turns import Turns
from ingress.admission.addresses import Addresses, named
from ingress.admission.refusal import KEPT_OUT, Refused

_PATIENCE_S = 10.0
_LIVED_S = 1.0
_BODY_PIECE_BYTES = 256 * 1024
_REST_S = 0.25
_BAD = 400  # and above: statuses of what came to nothing

_REFUSED = {name: Refused(name) for name in ("requests", "connections")}
_STATUS = {name: refused.refusal.status for name, refused in _REFUSED.items()}
_BODY = {name: json.dumps(refused.body()).encode() for name, refused in _REFUSED.items()}
_HEADERS = {name: list(refused.headers().items()) for name, refused in _REFUSED.items()}

KeyOf = Callable[[Scope], str | None]


@dataclass(frozen=True)
class Bounds:
    """What one server passes on; the rules above say of what."""

    most: int
    beside_streams: int
    fruitless_per_s: float
    hold_s: float


def address_key(addresses: Addresses, scope: Scope) -> str | None:
    """The address by which a client counts, as everywhere; None for loopback."""
    peer = scope.get("client") or (None,)
    return addresses.caller(peer[0], named(scope["headers"]), scope.get("scheme", "")).key


def unknown_key(scope: Scope) -> None:
    """Behind HAProxy nobody's address is known here."""


class Crowd:
    """Middleware that lets in of POSTs and WebSockets what others can bear."""

    def __init__(self, app: ASGIApp, bounds: Bounds, key_of: KeyOf) -> None:
        """``key_of`` gives the address by which a client counts, None for loopback."""
        self._app = app
        self._bounds = bounds
        self._key_of = key_of
        self._posts: Counter[str | None] = Counter()
        self._fruitless = {kind: Turns(bounds.fruitless_per_s) for kind in ("http", "websocket")}
        self._whole = asyncio.Semaphore(bounds.beside_streams)
        self._on_their_way = asyncio.Semaphore(2 * bounds.beside_streams)
        self._streams = 0
        self._kept_out: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._stream(scope, receive, send)
        elif scope["type"] == "http" and scope.get("method") == "POST":
            await self._post(scope, receive, send)
        else:
            await self._pass_on(scope, receive, send)

    # ------------------------------------------------------------------ connections

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        key, clock = self._key_of(scope), asyncio.get_running_loop().time
        if key is not None and not await self._turn_came("websocket", key):
            await receive()  # that it wants to come in
            await self._refuse(send, "websocket.http.response", "connections")
            return
        self._streams += 1
        began = clock()
        try:
            await self._pass_on(scope, receive, send)
        finally:
            self._streams -= 1
            if key is not None and clock() - began >= _LIVED_S:
                self._fruitless["websocket"].give_back(key, clock())

    async def _turn_came(self, kind: str, key: str | None) -> bool:
        """Wait for a turn of ``key``; False where that would take too long."""
        clock, turns = asyncio.get_running_loop().time, self._fruitless[kind]
        wait_s = turns.wait_s(key, clock())
        if wait_s > _PATIENCE_S:
            return False
        turns.take(key, clock())
        await asyncio.sleep(wait_s)
        return True

    # ------------------------------------------------------------------ posts

    async def _post(self, scope: Scope, receive: Receive, send: Send) -> None:
        key, clock = self._key_of(scope), asyncio.get_running_loop().time

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < _BAD:
                self._fruitless["http"].give_back(key, clock())
            await send(message)

        with self._place(key) as is_there:
            if not (is_there and await self._turn_came("http", key)):
                await self._refuse(send, "http.response", "requests")
                return
            first = await self._piece(receive)
            if first["type"] == "http.request":  # else its client has gone
                lane = self._on_their_way if first.get("more_body") else self._whole
                await self._ask(lane, scope, self._replay(first, receive), noted)

    @contextmanager
    def _place(self, key: str | None) -> Iterator[bool]:
        """A place among the POSTs under way, or False."""
        most = self._bounds.most
        most_of_one = most if key is None else most // 2
        if self._posts.total() >= most or self._posts[key] >= most_of_one:
            yield False
            return
        self._posts[key] += 1
        try:
            yield True
        finally:
            self._posts[key] -= 1
            if not self._posts[key]:
                del self._posts[key]

    async def _ask(
        self, lane: asyncio.Semaphore, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Ask the app; where somebody streams, when ``lane`` has a place."""
        if not self._streams:
            await self._pass_on(scope, receive, send)
            return
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await lane.acquire()
        except TimeoutError:
            await self._refuse(send, "http.response", "requests")
            return
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            await self._pass_on(scope, receive, send)
        finally:
            loop.call_later(min(loop.time() - began, _REST_S), lane.release)

    def _replay(self, first: Message, receive: Receive) -> Receive:
        """A ``receive`` that begins with ``first``."""
        unread = [first]
        last = first

        async def replayed() -> Message:
            nonlocal last
            last = unread.pop() if unread else await self._rest(last, receive)
            return last

        return replayed

    async def _piece(self, receive: Receive) -> Message:
        """The next large piece of a body, or its end, or what came of it in ``hold_s``."""
        message: Message = {"type": "http.request", "body": b"", "more_body": True}
        body = bytearray()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._bounds.hold_s):
                while message["type"] == "http.request" and message.get("more_body"):
                    if len(body) >= _BODY_PIECE_BYTES:
                        break
                    message = await receive()  # uvicorn keeps what comes while nobody asks
                    body += message.get("body", b"")
        if message["type"] != "http.request":
            return message
        return {**message, "body": bytes(body)}

    async def _rest(self, first: Message, receive: Receive) -> Message:
        """What comes behind ``first``: pieces of a body, or behind its last the client's end."""
        return await (self._piece(receive) if first.get("more_body") else receive())

    async def _refuse(self, send: Send, kind: str, name: str) -> None:
        """Answer with the row of that name; whoever is passed on next brings it to the app."""
        self._kept_out[name] += 1
        length = (b"content-length", str(len(_BODY[name])).encode())
        said = [(key.encode(), value.encode()) for key, value in _HEADERS[name]]
        headers = [(b"content-type", b"application/json"), length, *said]
        await send({"type": f"{kind}.start", "status": _STATUS[name], "headers": headers})
        await send({"type": f"{kind}.body", "body": _BODY[name]})

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._kept_out:
            told = {**(scope.get("extensions") or {}), KEPT_OUT: dict(self._kept_out)}
            scope = {**scope, "extensions": told}
            self._kept_out.clear()
        await self._app(scope, receive, send)
