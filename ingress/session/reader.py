"""What a client says, one message at a time: parsed, checked, passed on.

Nothing here waits for a model, so the reader always comes back to
``receive()``, the only place where the end of a connection shows. Bad input is
answered with an error; the connection lives, unless the bad messages do not end.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from ingress.disconnects import Disconnect
from ingress.door.connection import Connection
from ingress.lifecycle import State
from ingress.metrics import Metrics
from ingress.session.commands import Commands
from ingress.session.figures import Figures
from ingress.session.mailbox import AckAhead
from ingress.session.outbox import Outbox, size_of
from ingress.session.stream import Stream
from ingress.session.watch import Watch
from ingress.settings import SessionLimits
from ingress.wire.pictures import Frame, parse_frame, plain_image
from ingress.wire.replies import Error, ServerPong
from ingress.wire.requests import (
    Ack,
    ChangeMode,
    ClientMessage,
    GetStats,
    Hello,
    Ping,
    PlainFrame,
    Pong,
    SubscribeStats,
    UpdateViz,
)
from ingress.wire.text import parse_text, type_of
from ingress.wire.words import SUBPROTOCOL, BadMessage, Dialect, RequestId

_BAD_MESSAGE_WINDOW_S = 60.0


class Reader:
    """The messages of one connection.

    Attributes:
        newest_seq: of the frames; -1 before the first. A resume sets where it goes on.
        last_request: the id of the newest request that has its reply, or a task that will reply.
    """

    def __init__(
        self,
        dialect: Dialect,
        limits: SessionLimits,
        stream: Stream,
        watch: Watch,
        figures: Figures,
        metrics: Metrics,
        outbox: Outbox,
        confirm: Callable[[], None],
    ) -> None:
        """``confirm`` is called when the client has shown that it read the welcome."""
        self._dialect = dialect
        self._limits = limits
        self._stream = stream
        self._watch = watch
        self._figures = figures
        self._metrics = metrics
        self._outbox = outbox
        self._confirm = confirm
        self.newest_seq = -1
        self.last_request: RequestId | None = None
        self._hello_said = False
        self._bad_messages: deque[float] = deque(maxlen=limits.max_bad_messages)

    async def run(
        self, connection: Connection, commands: Commands, greet: Callable[[Hello], None]
    ) -> None:
        """Read until ``receive`` raises Disconnect; ``greet`` is called at hello."""
        while True:
            message = await connection.receive()
            self._watch.heard()
            self._figures.bytes_in += size_of(message)
            self._metrics.message_bytes.labels("in").inc(size_of(message))
            greeted = connection.state is not State.ACCEPTED
            try:
                if isinstance(message, bytes):
                    self._on_binary(message, greeted)
                else:
                    self._on_text(self._parsed(message, greeted), greeted, commands, greet)
            except BadMessage as error:
                self._on_bad(error)

    def _parsed(self, text: str, greeted: bool) -> ClientMessage:
        plain = self._dialect is Dialect.PLAIN
        limit = self._limits.plain_message_bytes if plain else self._limits.max_control_bytes
        if len(text) > limit:
            raise BadMessage(f"a text message of {len(text)} characters; at most {limit} are taken")
        message = parse_text(text, self._dialect)
        self._metrics.messages.labels("in", type_of(type(message))).inc()
        if not greeted and not isinstance(message, Hello):
            raise BadMessage("say hello first", reply_to=message.id)
        return message

    def _on_text(
        self,
        message: ClientMessage,
        greeted: bool,
        commands: Commands,
        greet: Callable[[Hello], None],
    ) -> None:
        match message:
            case PlainFrame():
                self._on_plain_frame(message)
            case Ack():
                self._acknowledge(message.seq)
                self._confirm()
            case Ping():
                self._outbox.put_control(ServerPong(reply_to=message.id, t=message.t))
            case Pong():
                rtt_s = self._watch.ponged(message.t)
                if rtt_s is not None:
                    self._metrics.heartbeat_rtt.observe(rtt_s)
            case Hello() if self._hello_said:
                raise BadMessage("hello: was said already", reply_to=message.id)
            case Hello():
                self._hello_said = True
                self._watch.hello()
                greet(message)
            case ChangeMode() | UpdateViz() | GetStats() | SubscribeStats():
                self._watch.active()
                commands.handle(message)
                self._received(message.id)

    def _on_plain_frame(self, message: PlainFrame) -> None:
        self._watch.active()
        image = plain_image(message)
        self.newest_seq += 1
        self._arrive(Frame(self.newest_seq, 0, 0, image, message.timestamp))

    def _on_binary(self, message: bytes, greeted: bool) -> None:
        self._metrics.messages.labels("in", "frame").inc()
        if self._dialect is Dialect.PLAIN:
            raise BadMessage(
                "a binary message; this connection speaks the plain dialect, which is text: "
                f"open it with the subprotocol {SUBPROTOCOL} to send binary frames"
            )
        frame = parse_frame(message)
        if not greeted:
            raise BadMessage("say hello before the first frame", frame_seq=frame.seq)
        if frame.seq <= self.newest_seq:
            raise BadMessage(
                f"frame: seq {frame.seq} does not follow {self.newest_seq}", frame_seq=frame.seq
            )
        self.newest_seq = frame.seq
        self._watch.active()
        self._acknowledge(frame.ack, frame.seq)
        self._confirm()
        self._arrive(frame)

    def _arrive(self, frame: Frame) -> None:
        limit = self._limits.max_frame_bytes
        if len(frame.image) > limit:
            self._stream.reject(frame, f"{len(frame.image)} bytes; at most {limit} are taken")
        elif not frame.image:
            self._stream.reject(frame, "an empty picture; send a JPEG, PNG or WebP")
        else:
            self._stream.arrive(frame)

    def _received(self, request: RequestId | None) -> None:
        self.last_request = self.last_request if request is None else request

    def _acknowledge(self, seq: int, frame_seq: int | None = None) -> None:
        try:
            self._stream.acknowledge(seq)
        except AckAhead as error:
            raise BadMessage(str(error), frame_seq=frame_seq) from None
        self._watch.credit(exhausted=self._stream.credit_exhausted)

    def _on_bad(self, error: BadMessage) -> None:
        now = asyncio.get_running_loop().time()
        self._metrics.messages.labels("in", "bad").inc()
        self._received(error.reply_to)
        full = len(self._bad_messages) == self._bad_messages.maxlen
        if full and now - self._bad_messages[0] < _BAD_MESSAGE_WINDOW_S:
            raise Disconnect("policy_violation", "too many bad messages")
        self._bad_messages.append(now)
        self._outbox.put_control(
            Error(
                reply_to=error.reply_to,
                code=error.code,
                message=str(error),
                frame_seq=error.frame_seq,
                timestamp=error.timestamp,
            )
        )
