"""uvicorn's WebSocket, for peers that do not take what they are sent.

It serves wherever clients connect: in Serve's proxy, or in the ingress replica
in HAProxy mode. The proxy may not be able to import this module: it is sent the classes by value
(``deployments.serve.equipment``), so what they name here is theirs, uvicorn's, or a plain constant.

Rules
1. A peer that takes nothing of what waits in the socket's buffer for ``patience_s`` is aborted.
   uvicorn's own pings and close wait for that buffer, and a peer that is stopped holds it, the
   socket and the app's task for ever: still there after 75 s. One that takes it slowly lives; the
   app is told that it took something, and a ping behind what it has yet to take is not late.
2. A connection whose app is done, or that got its last frame, is gone ``patience_s`` later.
3. The app is told which row of the disconnect table it was, by a key that no client can forge:
   clients send frames, not ASGI messages.
4. A replica's own server that closes its port keeps its connections: Serve closes the port long
   before the replica's time is up, and the drain ends each session in its own order. uvicorn would
   end them all at once, and those that wait for the peer's answer to a close frame without it: a
   socket that is closed while its peer streams is reset, and what the peer has not read is lost,
   the goodbye and the close frame included.
5. What a peer sends costs no more than it weighs: it is parsed in pieces, ``SLICE_FRAMES`` of
   its frames or ``SLICE_BYTES`` a turn of the loop, and none while a message waits for the app.
   Frames below ``SMALL_BYTES``, pings and pongs among them, come out of a bucket; while it owes,
   the socket is not read. A message of more than ``max_fragments`` fragments, empty ones too,
   ends as one that is too big; one that has begun and hardly goes on
   (``deployments.serve.underway``) as silence. Text beyond ASCII, which is dear to decode, is
   short or too big.
6. A peer that is thrown out while it sends hears the close code (``deployments.serve.lingering``).

The class leans on insides of uvicorn, all named in ``NEEDED``; ``deployments.serve.equipment``
uses it only where they exist.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from deployments.serve.lingering import Lingering
from deployments.serve.taking import Taking
from deployments.serve.underway import Underway
from ingress.bucket import Bucket
from ingress.disconnects import DISCONNECTS
from ingress.door.transport import ENDED, PROGRESS

NEEDED = (
    "connection_lost",
    "connection_made",
    "data_received",
    "handle_bytes",
    "handle_close",
    "handle_connect",
    "handle_cont",
    "handle_parser_exception",
    "handle_ping",
    "handle_pong",
    "handle_text",
    "keepalive_timeout",
    "on_task_complete",
    "pause_writing",
    "receive",
    "resume_writing",
    "send",
    "send_receive_event_to_app",
    "shutdown",
)

PIECE_BYTES = 1024  # of at most 170 frames, the smallest of which have 6 bytes
SLICE_FRAMES = 64
SLICE_BYTES = 32 * 1024
SMALL_BYTES = 1024
UNICODE_BYTES = 1024 * 1024  # of text beyond ASCII, 3 ms of decoding; a picture's base64 has none
UNSENT_BYTES = 128 * 1024  # of which the kernel takes more, so that taking shows

_SILENT = "keepalive_timeout"
_SILENT_CODE = DISCONNECTS[_SILENT].code or 0
_TOO_BIG_CODE = DISCONNECTS["message_too_big"].code or 0


class PatientWebSocket(WebSocketsSansIOProtocol):
    """One connection whose peer has ``patience_s`` to take what it was sent."""

    # Of the class that the equipment makes of this one.
    patience_s: float
    small_per_s: float
    small_burst: float
    max_fragments: float
    message_bytes_per_s: float
    message_stall_s: float

    outlives_the_port = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._farewell: asyncio.TimerHandle | None = None
        self._more: asyncio.Handle | None = None
        self._unread = bytearray()
        self._in_slice = self._fragments = 0
        self._small = Bucket(self.small_per_s, self.small_burst)
        self._underway = Underway(self.message_bytes_per_s, self.message_stall_s)
        self._slow: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._taking = Taking(transport, self.patience_s, self._stalled, self._progressed)
        most_bytes = self.config.ws_max_size
        self._lingering = Lingering(transport, most_bytes, self.patience_s)
        sock = transport.get_extra_info("socket")
        with suppress(OSError, AttributeError):  # not TCP, or a system that lacks it
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)

    # ------------------------------------------------------------------ in

    def data_received(self, data: bytes) -> None:
        if self._lingering.has_begun:
            self._lingering.let_go(len(data))
            return
        self._unread += data
        if self._more is None:
            self._read_slice()

    def _read_slice(self) -> None:
        """Parse what may be parsed in this turn; the rest waits, and the socket with it."""
        self._more, self._in_slice = None, 0
        left = max(0, len(self._unread) - SLICE_BYTES)
        while len(self._unread) > left and self._in_slice < SLICE_FRAMES and not self._held_up():
            piece = bytes(self._unread[:PIECE_BYTES])
            del self._unread[:PIECE_BYTES]
            speaks, frames = self.handshake_initiated, self._in_slice
            super().data_received(piece)
            if speaks:
                ended = self._in_slice > frames
                self._underway.came(len(piece), self.loop.time(), ended=ended)
        self._watch_message()
        self._read_on()

    def _held_up(self) -> bool:
        return self.read_paused or self._small.debt_s(self.loop.time()) > 0

    def _read_on(self) -> None:
        """See to it that what waits is read, once the app and the bucket allow it."""
        if self.transport.is_closing() or self._lingering.has_begun:
            self._unread.clear()
        elif self._more is None:
            debt_s = self._small.debt_s(self.loop.time())
            if not self._unread and not debt_s:
                if not self.read_paused:
                    self.transport.resume_reading()
                return
            self.transport.pause_reading()
            if not self.read_paused:
                self._more = self.loop.call_later(debt_s, self._read_slice)

    def _watch_message(self) -> None:
        if self._slow is None and (due := self._underway.due) is not None:
            self._slow = self.loop.call_at(due, self._look_at_message)

    def _look_at_message(self) -> None:
        """Whether enough has come of the message that is under way."""
        self._slow, now = None, self.loop.time()
        if self.close_sent or self.transport.is_closing():
            return
        if self._unread or self._held_up():
            self._underway.again(now)
        elif (due := self._underway.due) is not None and now >= due:
            if self._underway.is_slow:
                self._silent(f"a message came at less than {self.message_bytes_per_s:g} bytes/s")
                return
            self._underway.again(now)
        self._watch_message()

    async def receive(self) -> Any:
        message = await super().receive()
        self._underway.again(self.loop.time())
        if self._unread or self._more:
            self.transport.pause_reading()
            self._read_on()
        return message

    def handle_text(self, event: Any) -> None:
        self._fragments = 0
        self._weigh(event.data)
        self._underway.frame(last=event.fin)
        super().handle_text(event)

    def handle_bytes(self, event: Any) -> None:
        self._fragments = 0
        self._weigh(event.data)
        self._underway.frame(last=event.fin)
        super().handle_bytes(event)

    def handle_cont(self, event: Any) -> None:
        self._fragments += 1
        self._weigh(event.data)
        self._underway.frame(last=event.fin)
        if self.close_sent:
            self.frames = []
        elif self._fragments >= self.max_fragments:
            self.frames = []
            self.conn.fail(
                _TOO_BIG_CODE, f"a message of more than {self.max_fragments:g} fragments"
            )
            self.handle_parser_exception()
        else:
            super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        size = sum(map(len, self.frames))
        text = self.curr_msg_data_type == "text"
        if text and size > UNICODE_BYTES and not all(part.isascii() for part in self.frames):
            self.frames = []
            self.conn.fail(_TOO_BIG_CODE, f"text beyond ASCII of more than {UNICODE_BYTES} bytes")
            self.handle_parser_exception()
        else:
            super().send_receive_event_to_app()

    def handle_ping(self) -> None:
        self._weigh()
        super().handle_ping()

    def handle_pong(self, event: Any) -> None:
        self._weigh()
        super().handle_pong(event)

    def _weigh(self, data: Any = b"") -> None:
        self._in_slice += 1
        if len(data) < SMALL_BYTES:
            self._small.take(1, self.loop.time())

    # ------------------------------------------------------------------ out

    def pause_writing(self) -> None:
        super().pause_writing()
        self._taking.begin()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._taking.end()

    def handle_parser_exception(self) -> None:
        said = self.conn.close_sent
        assert said is not None
        self._put({"type": "websocket.disconnect", "code": said.code, "reason": said.reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self._unread.clear()
        self.close_timer = self._lingering.begin()  # while it is set uvicorn closes nothing itself

    def keepalive_timeout(self) -> None:
        closing = self.close_sent or self.transport.is_closing()
        if not closing and self._taking.is_lately:
            self.pong_timer = self.loop.call_later(self.ping_timeout or 0, self.keepalive_timeout)
            return
        if closing:
            super().keepalive_timeout()
        else:
            self._silent(f"no ping was answered within {self.ping_timeout:g} s")

    def _silent(self, words: str) -> None:
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
        self._taking.cancel()
        self._lingering.cancel()
        for timer in (self._farewell, self._more, self._slow):
            if timer:
                timer.cancel()

    def _progressed(self) -> None:
        self._put({"type": "websocket.receive", PROGRESS: True})

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
