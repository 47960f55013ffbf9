"""One WebSocket of a stream, from its welcome to its end.

Rules
1. One task, ``run``, owns it: its reader never waits for the caller, its
   speaker sends what is due, in order, its heart sends pings.
2. Any message counts as life. Silence for ``heartbeat_s + timeout_s`` ends the
   connection here, because TCP may not notice for minutes.
3. What is about this connection alone (ping, pong, bye) stays here; the rest is
   handed to ``take``, which lives longer.
4. A close frame says that this client leaves, and ends its session. Whoever
   means to come back cuts the connection instead.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from client.ledger import Ledger
from client.outcomes import End
from ingress.wire.pictures import Frame, Result, encode_frame, parse_result
from ingress.wire.replies import (
    SERVER_MESSAGES,
    Bye,
    ServerMessage,
    ServerPing,
    ServerPong,
    Welcome,
)
from ingress.wire.requests import Ack, ClientMessage, Ping, Pong
from ingress.wire.text import encode_text, parse_server_text, type_of
from ingress.wire.words import BadMessage, Dialect

_ACK_DELAY_S = 0.06
_CLOSE_TIMEOUT_S = 2.0
_NORMAL, _LOST, _PROTOCOL_ERROR, _SILENT = 1000, 1006, 1002, 4201
_KNOWN = frozenset(type_of(message) for message in SERVER_MESSAGES[Dialect.V1])

Take = Callable[[Result | ServerMessage], None]


def now_us() -> int:
    """The clock of ``captured_us``: monotonic, in microseconds."""
    return time.monotonic_ns() // 1000


async def shut(socket: ClientConnection, code: int = _NORMAL, reason: str = "") -> None:
    """Close the WebSocket; cut the connection where a full buffer holds the close frame back."""
    try:
        async with asyncio.timeout(_CLOSE_TIMEOUT_S):
            await socket.close(code, reason)
    except TimeoutError:
        socket.transport.abort()


def end_of(closed: ConnectionClosed, retry_ms: tuple[int, int]) -> End:
    """How a connection ended: by the first close frame, or by loss."""
    frame = closed.sent if closed.sent and not closed.rcvd_then_sent else closed.rcvd
    if frame is None:
        return End(_LOST, "connection lost", retry_ms)
    return End(frame.code, frame.reason, retry_ms)


class _Unnamed(ServerMessage):
    """A text message of a type that this client may not know."""

    type: str


def parse_text(text: str) -> ServerMessage:
    """What the server said; a type that a newer server has is a bare ``ServerMessage``.

    Raises:
        BadMessage: no JSON object with a ``type``, or a known type with wrong fields.
    """
    try:
        return parse_server_text(text)
    except BadMessage:
        try:
            unnamed = _Unnamed.model_validate_json(text)
        except ValueError:
            unnamed = None
        if unnamed is None or unnamed.type in _KNOWN:
            raise
        return unnamed


class Link:
    """One connection; made with each welcome.

    Attributes:
        keeps: whether the server keeps the session when this connection is lost.
        over: set when the connection has ended.
    """

    def __init__(self, socket: ClientConnection, welcome: Welcome, ledger: Ledger) -> None:
        self.keeps = welcome.resume_token is not None
        self.over = asyncio.Event()
        self._socket = socket
        self._ledger = ledger
        self._heartbeat_s = welcome.heartbeat_s
        self._silence_s = welcome.heartbeat_s + welcome.timeout_s
        self._retry_ms = welcome.retry_ms
        self._due = asyncio.Event()
        self._posted: deque[str] = deque()
        self._ping_heard: int | float | None = None
        self._ack_timer: asyncio.TimerHandle | None = None
        self._ack_due = False

    async def run(self, take: Take) -> End:
        """Live until the connection ends; nothing of it runs afterwards."""
        try:
            async with asyncio.TaskGroup() as tasks:
                voices = [tasks.create_task(self._speak()), tasks.create_task(self._beat())]
                end = await self._read(take)
                for voice in voices:
                    voice.cancel()
            return end
        except BaseException:
            self._socket.transport.abort()
            raise
        finally:
            if self._ack_timer:
                self._ack_timer.cancel()
            self.over.set()

    async def close(self) -> None:
        """Leave for good; returns when the connection is gone."""
        await shut(self._socket)
        await self.over.wait()

    # -- out ------------------------------------------------------------------

    def post(self, text: str) -> None:
        """Have ``text`` sent, after what was posted before it; callers bound how much they post."""
        self._posted.append(text)
        self._due.set()

    async def send_frame(self, seq: int, image: bytes) -> None:
        """Send a frame with the acknowledgement that is due.

        Where the connection is lost, returns when its end is known. A peer that takes nothing
        is cut off by the reader's deadline.
        """
        frame = Frame(seq, self._acknowledge(), now_us(), image)
        await self._send(encode_frame(frame))

    def _acknowledge_soon(self) -> None:
        """Acknowledge at once when half of the credit is owed, else soon, unless a frame does."""
        if self._ledger.ack_is_urgent:
            self.acknowledge_now()
        elif self._ack_timer is None:
            loop = asyncio.get_running_loop()
            self._ack_timer = loop.call_later(_ACK_DELAY_S, self.acknowledge_now)

    def acknowledge_now(self) -> None:
        self._ack_due = True
        self._due.set()

    def _acknowledge(self) -> int:
        if self._ack_timer:
            self._ack_timer.cancel()
        self._ack_timer, self._ack_due = None, False
        return self._ledger.acknowledge()

    async def _speak(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            if self._ping_heard is not None:
                t, self._ping_heard = self._ping_heard, None
                await self._say(Pong(type="pong", t=t))
            if self._ack_due:
                await self._say(Ack(type="ack", seq=self._acknowledge()))
            while self._posted:
                await self._send(self._posted.popleft())

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_s)
            await self._say(Ping(type="ping", t=now_us()))

    async def _say(self, message: ClientMessage) -> None:
        await self._send(encode_text(message))

    async def _send(self, message: str | bytes) -> None:
        try:
            await self._socket.send(message)
        except ConnectionClosed:
            await self.over.wait()

    # -- in -------------------------------------------------------------------

    async def _read(self, take: Take) -> End:
        while True:
            try:
                async with asyncio.timeout(self._silence_s):
                    message = await self._socket.recv()
            except TimeoutError:
                self._socket.transport.abort()
                return End(_SILENT, f"nothing heard for {self._silence_s:g} s", self._retry_ms)
            except ConnectionClosed as closed:
                return end_of(closed, self._retry_ms)
            try:
                self._hear(message, take)
            except BadMessage as bad:
                await shut(self._socket, _PROTOCOL_ERROR)
                return End(_PROTOCOL_ERROR, f"the server sent {bad}", self._retry_ms)

    def _hear(self, message: str | bytes, take: Take) -> None:
        if isinstance(message, bytes):
            take(parse_result(message))
            self._acknowledge_soon()
            return
        match parse_text(message):
            case ServerPing(t=t):
                self._ping_heard = t
                self._due.set()
            case Bye(retry_ms=retry_ms, resume=resume):
                self._retry_ms = retry_ms
                self.keeps = self.keeps and resume
            case ServerPong() | Welcome():
                pass
            case said:
                take(said)
