"""One session of the v1 dialect over one WebSocket.

Rules
1. One task, ``run``, owns the connection: its reader never waits for the caller,
   its speaker sends pongs and acknowledgements, its heart sends pings.
2. Every frame sent ends in exactly one outcome, also when the connection ends.
3. Any message counts as life. Silence for ``heartbeat_s + timeout_s`` ends the
   connection here, because TCP may not notice for minutes.
4. Every request has a deadline; everything that waits on the connection is
   woken when it ends.

Send and read from two tasks: ``send`` waits while ``max_in_flight`` frames are
without an outcome that was read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from client.ledger import Ledger
from client.outcomes import Closed, End, NoReply, NoResult, Outcome, Refused
from ingress.protocol import (
    Ack,
    BadMessage,
    Bye,
    ChangeMode,
    ClientMessage,
    Dropped,
    Error,
    ErrorCode,
    Frame,
    GetStats,
    ModeChanged,
    Ping,
    Pong,
    Result,
    ServerMessage,
    ServerPing,
    Stats,
    SubscribeStats,
    UpdateViz,
    VizUpdated,
    Welcome,
    encode_frame,
    encode_text,
    parse_result,
    parse_server_text,
    type_of,
)

_ACK_DELAY_S = 0.06
_CLOSE_TIMEOUT_S = 2.0
_NORMAL, _LOST, _PROTOCOL_ERROR, _SILENT = 1000, 1006, 1002, 4201

Reply = TypeVar("Reply", bound=ServerMessage)


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


class Stream:
    """Frames out, outcomes in; made by ``client.connect``.

    Iterating gives an ``Outcome`` per frame in the order in which they came,
    and ``Failed`` without a ``frame_seq`` for errors about no one frame. It
    ends when this side closes, and raises Closed when the other side does.

    Attributes:
        welcome: what the server said first: limits, modes.
        mode, viz: the mode and the settings in force.
        stats: the newest statistics, asked for or subscribed to.
        end: how the connection ended; None while it is there.
    """

    def __init__(self, socket: ClientConnection, welcome: Welcome, max_in_flight: int) -> None:
        self.welcome = welcome
        self.mode = welcome.mode
        self.viz: Mapping[str, Any] = welcome.viz
        self.stats: Stats | None = None
        self.end: End | None = None
        self._socket = socket
        self._ledger = Ledger(max_in_flight)
        self._leaving = False
        self._retry_ms = welcome.retry_ms
        self._requests: dict[str | int, asyncio.Future[ServerMessage | None]] = {}
        self._request_id = 0
        self._ping_heard: int | float | None = None
        self._ack_timer: asyncio.TimerHandle | None = None
        self._ack_due = False
        self._room, self._arrived = asyncio.Event(), asyncio.Event()
        self._something_to_say, self._ended = asyncio.Event(), asyncio.Event()

    # -- frames ---------------------------------------------------------------

    async def send(self, image: bytes) -> int:
        """Send one JPEG, PNG or WebP; returns its seq, waiting for room in flight first.

        Raises:
            Closed: the connection ended.
        """
        return await self._send(image, None)

    async def segment(self, image: bytes) -> Result:
        """Send one picture and wait for its result; iterating does not see it.

        Raises:
            NoResult: the frame was refused, failed or dropped.
            Closed: the connection ended before it was sent.
        """
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def deliver(value: Outcome) -> None:
            if not outcome.done():
                outcome.set_result(value)

        await self._send(image, deliver)
        match await outcome:
            case Result() as result:
                return result
            case lacking:
                raise NoResult(lacking)

    async def _send(self, image: bytes, deliver: Callable[[Outcome], None] | None) -> int:
        while not self._ledger.has_room and self.end is None:
            self._room.clear()
            await self._room.wait()
        self._check_open()
        seq = self._ledger.open(deliver)
        await self._transmit(encode_frame(Frame(seq, self._acknowledge(), now_us(), image)))
        return seq

    async def settled(self) -> None:
        """Wait until every frame sent has an outcome that was read."""
        while not self._ledger.is_settled:
            self._room.clear()
            await self._room.wait()

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Outcome:
        while (outcome := self._ledger.take()) is None:
            if self.end is not None and self._leaving:
                raise StopAsyncIteration
            self._check_open()
            self._arrived.clear()
            await self._arrived.wait()
        self._room.set()
        return outcome

    # -- requests -------------------------------------------------------------

    async def change_mode(self, mode: str, timeout_s: float = 180.0) -> ModeChanged:
        """Ask for another mode; returns when it serves, which may include loading it.

        Raises (as every request): Refused, NoReply, Closed.
        """
        return await self._request(
            ChangeMode(type="change_mode", model_mode=mode), ModeChanged, timeout_s
        )

    async def update_viz(self, settings: Mapping[str, Any], timeout_s: float = 10.0) -> VizUpdated:
        """Lay ``settings`` over the view in force; all of them or none."""
        return await self._request(
            UpdateViz(type="update_viz", settings=dict(settings)), VizUpdated, timeout_s
        )

    async def get_stats(self, timeout_s: float = 10.0) -> Stats:
        """Statistics of this session, its scene and the server."""
        return await self._request(GetStats(type="get_stats"), Stats, timeout_s)

    async def subscribe_stats(self, interval_s: float) -> None:
        """Have ``stats`` kept fresh at that interval; 0 ends it. The server does not reply."""
        self._check_open()
        message = SubscribeStats(type="subscribe_stats", interval_s=interval_s)
        await self._transmit(encode_text(message))

    async def _request(self, message: ClientMessage, kind: type[Reply], timeout_s: float) -> Reply:
        self._check_open()
        self._request_id += 1
        request_id = self._request_id
        answer = self._requests[request_id] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_s):
                await self._transmit(encode_text(message.model_copy(update={"id": request_id})))
                reply = await answer
        except TimeoutError:
            raise NoReply(type_of(type(message)), timeout_s) from None
        finally:
            self._requests.pop(request_id).cancel()
        match reply:
            case Error(code=code, message=words):
                raise Refused(code, words)
            case kind():
                return reply
            case None:
                raise Closed(self.end or self._lost())
            case _:
                raise Refused(ErrorCode.BAD_MESSAGE, "the server answered with another message")

    # -- the connection -------------------------------------------------------

    async def run(self) -> None:
        """Live until the connection ends; nothing of this session runs afterwards."""
        end = self._lost()
        try:
            async with asyncio.TaskGroup() as tasks:
                voices = [tasks.create_task(self._speak()), tasks.create_task(self._beat())]
                end = await self._read()
                for voice in voices:
                    voice.cancel()
        finally:
            self._finish(end)

    async def close(self) -> None:
        """End the session from this side; returns when the connection is gone."""
        self._leaving = True
        await shut(self._socket)
        await self._ended.wait()

    def _lost(self) -> End:
        return End(_LOST, "connection lost", self._retry_ms)

    def _finish(self, end: End) -> None:
        self.end = end
        self._ledger.on_closed()
        if self._ack_timer:
            self._ack_timer.cancel()
        for answer in self._requests.values():
            if not answer.done():
                answer.set_result(None)
        for event in (self._room, self._arrived, self._ended):
            event.set()

    def _check_open(self) -> None:
        if self.end is not None:
            raise Closed(self.end)

    async def _transmit(self, message: str | bytes) -> None:
        """Send, or raise Closed; a peer that takes nothing is cut off by the reader's deadline."""
        try:
            await self._socket.send(message)
        except ConnectionClosed:
            await self._ended.wait()
            self._check_open()

    async def _read(self) -> End:
        silence_s = self.welcome.heartbeat_s + self.welcome.timeout_s
        while True:
            try:
                async with asyncio.timeout(silence_s):
                    message = await self._socket.recv()
                self._take(message)
            except TimeoutError:
                await shut(self._socket, _SILENT, "keepalive_timeout")
                return End(_SILENT, f"nothing heard for {silence_s:g} s", self._retry_ms)
            except ConnectionClosed as closed:
                return end_of(closed, self._retry_ms)
            except BadMessage as bad:
                await shut(self._socket, _PROTOCOL_ERROR)
                return End(_PROTOCOL_ERROR, f"the server sent {bad}", self._retry_ms)

    def _take(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self._ledger.on_result(parse_result(message))
            self._plan_ack()
        else:
            self._on_text(parse_server_text(message))
        self._arrived.set()
        self._room.set()

    def _on_text(self, message: ServerMessage) -> None:
        answer = None if message.reply_to is None else self._requests.get(message.reply_to)
        if answer is not None and not answer.done():
            answer.set_result(message)
        match message:
            case ServerPing(t=t):
                self._ping_heard = t
                self._something_to_say.set()
            case Error(code=code, message=words, frame_seq=frame_seq) if answer is None:
                self._ledger.on_error(frame_seq, code, words)
            case Dropped(frames=frames, cause=cause):
                self._ledger.on_dropped(frames, cause)
            case ModeChanged(model_mode=mode):
                self.mode = mode
            case VizUpdated(settings=settings):
                self.viz = settings
            case Stats():
                self.stats = message
            case Bye(retry_ms=window):
                self._retry_ms = window

    # -- acknowledgements and pings -------------------------------------------

    def _plan_ack(self) -> None:
        """Acknowledge at once when half of the credit is owed, else soon, unless a frame does."""
        if self._ledger.ack_is_urgent:
            self._ack_now()
        elif self._ack_timer is None:
            loop = asyncio.get_running_loop()
            self._ack_timer = loop.call_later(_ACK_DELAY_S, self._ack_now)

    def _ack_now(self) -> None:
        self._ack_due = True
        self._something_to_say.set()

    def _acknowledge(self) -> int:
        if self._ack_timer:
            self._ack_timer.cancel()
        self._ack_timer, self._ack_due = None, False
        return self._ledger.acknowledge()

    async def _speak(self) -> None:
        while True:
            await self._something_to_say.wait()
            self._something_to_say.clear()
            if self._ping_heard is not None:
                t, self._ping_heard = self._ping_heard, None
                await self._say(Pong(type="pong", t=t))
            if self._ack_due:
                await self._say(Ack(type="ack", seq=self._acknowledge()))

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self.welcome.heartbeat_s)
            await self._say(Ping(type="ping", t=now_us()))

    async def _say(self, message: ClientMessage) -> None:
        """Send where there is still someone to hear it; the reader learns of the end."""
        try:
            await self._socket.send(encode_text(message))
        except ConnectionClosed:
            await self._ended.wait()
