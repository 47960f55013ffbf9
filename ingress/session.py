"""One session over one connection: its tasks, its deadlines and its one end.

Three tasks share a TaskGroup: the reader drains the connection and never waits
for a model; the writer is the only one that sends; the watch holds every
deadline. Whichever learns that the end has come raises ``Disconnect``; the
group takes the others down, and ``run`` accounts for that one end, once:
one close frame where one is owed, one counted reason, one log line.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import deque

from ingress.commands import Commands
from ingress.connection import Connection, Transport
from ingress.dialects import VOICES
from ingress.disconnects import Disconnect
from ingress.figures import Figures
from ingress.lifecycle import State
from ingress.mailbox import AckAhead
from ingress.outbox import Outbox
from ingress.protocol import (
    SUBPROTOCOL,
    Ack,
    BadMessage,
    Bye,
    ClientMessage,
    Connected,
    Dialect,
    Error,
    Frame,
    Hello,
    Ping,
    PlainFrame,
    Pong,
    ServerMessage,
    ServerPing,
    ServerPong,
    Welcome,
    encode_text,
    parse_frame,
    parse_text,
    plain_image,
    type_of,
)
from ingress.service import Service
from ingress.stream import Stream

log = logging.getLogger("segstream.session")

_BAD_MESSAGE_WINDOW_S = 60.0
_LAST_WORDS_S = 0.5


class Session:
    """A client, from its accepted handshake to its disconnect."""

    def __init__(self, service: Service, transport: Transport, dialect: Dialect) -> None:
        limits = service.settings.limits
        metrics = service.metrics
        self.id = secrets.token_urlsafe(9)
        self.dialect = dialect
        self.figures = Figures()
        self.connection = Connection(
            transport,
            send_timeout_s=limits.send_timeout_s,
            close_timeout_s=limits.close_timeout_s,
            on_move=metrics.moved,
            on_suppressed=lambda state: metrics.sends_suppressed.labels(state).inc(),
        )
        self._service = service
        self._limits = limits
        self._outbox = Outbox(limits.outbox_messages, limits.outbox_bytes, self._outbox_full)
        self.stream = Stream(service, VOICES[dialect], self._outbox, self.figures)
        self._clock = asyncio.get_running_loop().time
        self._ending: asyncio.Future[Disconnect] = asyncio.get_running_loop().create_future()
        self._bad_messages: deque[float] = deque(maxlen=limits.max_bad_messages)
        self._newest_seq = -1
        self._born_at = self._heard_at = self._active_at = self._clock()
        self._pinged_at = self._born_at
        self._credit_since: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether the client can be sent something now."""
        return self.connection.is_open

    def end(self, disconnect: Disconnect) -> None:
        """Ask the session to end; the first reason counts."""
        if not self._ending.done():
            self._ending.set_result(disconnect)

    async def run(self) -> None:
        """Serve the client until the end; returns or re-raises only a cancellation from outside."""
        subprotocol = SUBPROTOCOL if self.dialect is Dialect.V1 else None
        if not await self.connection.accept(subprotocol):
            return
        self._service.metrics.connections.inc()
        self._service.sessions.add(self.id)
        disconnect = Disconnect("server_error", "the session ended without a reason")
        try:
            disconnect = await self._serve()
        except asyncio.CancelledError:
            disconnect = await self._cancelled()
            raise
        finally:
            self.stream.end()
            await self._part(disconnect)
            self._service.sessions.discard(self.id)
            self._account(disconnect)

    async def _serve(self) -> Disconnect:
        try:
            async with asyncio.TaskGroup() as tasks:
                commands = Commands(self._service, self.stream, self.figures, self._outbox, tasks)
                self._admit()
                tasks.create_task(self._read(commands))
                tasks.create_task(self._write())
                tasks.create_task(self._watch())
        except BaseExceptionGroup as group:
            return self._fate(group)
        raise AssertionError("the tasks of a session end only by an exception")

    def _fate(self, group: BaseExceptionGroup[BaseException]) -> Disconnect:
        """The one reason in what the tasks raised; anything but a Disconnect is a bug."""
        ends, bugs = group.split(Disconnect)
        if bugs is not None:
            self._service.metrics.unhandled_exceptions.inc()
            log.error("session %s: a bug", self.id, exc_info=bugs)
            return Disconnect("server_error", "an internal error; reconnect after a pause")
        first: BaseException | None = ends
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        assert isinstance(first, Disconnect)
        return first

    async def _cancelled(self) -> Disconnect:
        """Our handler was cancelled: by Serve because the peer left, or with the whole replica."""
        seen = await self.connection.last_words(_LAST_WORDS_S)
        return seen or Disconnect("proxy_lost", "the request was cancelled")

    async def _part(self, disconnect: Disconnect) -> None:
        """Say goodbye where the dialect has a word for it and the peer can hear it, then close."""
        greeted = self.connection.state in (State.OPEN, State.DRAINING)
        if self.dialect is Dialect.V1 and greeted and disconnect.by_server and self.is_open:
            retry_ms = self._service.settings.retry_ms
            bye = Bye(reason=disconnect.reason.name, retry_ms=retry_ms, resume=False)
            self._count("out", type_of(Bye))
            await self.connection.send(encode_text(bye), self._limits.close_timeout_s)
        await self.connection.close(disconnect)

    def _account(self, disconnect: Disconnect) -> None:
        duration_s = self._clock() - self._born_at
        self._service.metrics.disconnected(disconnect, duration_s)
        reason = disconnect.reason
        log.log(
            reason.level,
            "session %s ended: %s by %s, code %s, %s dialect, after %.1f s, "
            "%d frames in, %d results out%s",
            self.id,
            reason.name,
            reason.initiator,
            disconnect.code_seen or reason.code,
            self.dialect,
            duration_s,
            self.figures.frames_in,
            self.figures.results_out,
            f": {disconnect.explanation}" if disconnect.explanation else "",
        )

    def _admit(self) -> None:
        limit = self._service.settings.admission.max_sessions
        if len(self._service.sessions) > limit:
            raise Disconnect("overloaded", "all sessions are taken; try again in a moment")
        if self.dialect is Dialect.PLAIN:
            self._greet_plain()

    # ------------------------------------------------------------------ the reader

    async def _read(self, commands: Commands) -> None:
        while True:
            message = await self.connection.receive()
            self._heard_at = self._clock()
            self._count_bytes("in", len(message))
            try:
                self._on_message(message, commands)
            except BadMessage as error:
                self._on_bad(error)

    def _on_message(self, message: str | bytes, commands: Commands) -> None:
        if isinstance(message, bytes):
            self._count("in", "frame")
            self._on_frame_bytes(message)
            return
        self._check_size(message)
        parsed = parse_text(message, self.dialect)
        self._count("in", type_of(type(parsed)))
        if self.connection.state is State.ACCEPTED and not isinstance(parsed, Hello):
            raise BadMessage("say hello first", reply_to=parsed.id)
        self._on_text(parsed, commands)

    def _on_text(self, message: ClientMessage, commands: Commands) -> None:
        match message:
            case PlainFrame():
                self._active_at = self._heard_at
                self._on_plain_frame(message)
            case Ack():
                self._acknowledge(message.seq)
            case Ping():
                self._reply(ServerPong(reply_to=message.id, t=message.t))
            case Pong():
                self._service.metrics.heartbeat_rtt.observe(self._clock() - self._pinged_at)
            case Hello():
                self._on_hello(message)
            case _:
                self._active_at = self._heard_at
                commands.handle(message)  # type: ignore[arg-type]

    def _on_hello(self, message: Hello) -> None:
        if self.connection.state is not State.ACCEPTED:
            raise BadMessage("hello: was said already", reply_to=message.id)
        self._greet_v1(message)

    def _on_plain_frame(self, message: PlainFrame) -> None:
        image = plain_image(message)
        self._newest_seq += 1
        self._arrive(Frame(self._newest_seq, 0, 0, image, message.timestamp))

    def _on_frame_bytes(self, message: bytes) -> None:
        if self.dialect is Dialect.PLAIN:
            raise BadMessage(
                f"a binary message; this connection speaks the plain dialect, which is text: "
                f"open it with the subprotocol {SUBPROTOCOL} to send binary frames"
            )
        frame = parse_frame(message)
        if self.connection.state is State.ACCEPTED:
            raise BadMessage("say hello before the first frame", frame_seq=frame.seq)
        if frame.seq <= self._newest_seq:
            raise BadMessage(
                f"frame: seq {frame.seq} does not follow {self._newest_seq}", frame_seq=frame.seq
            )
        self._newest_seq = frame.seq
        self._active_at = self._heard_at
        self._acknowledge(frame.ack)
        self._arrive(frame)

    def _arrive(self, frame: Frame) -> None:
        limit = self._limits.max_frame_bytes
        if len(frame.image) > limit:
            why = f"{len(frame.image)} bytes; at most {limit} are taken"
            self.stream.reject(frame, why)
        elif not frame.image:
            self.stream.reject(frame, "an empty picture; send a JPEG, PNG or WebP")
        else:
            self.stream.arrive(frame)
        self._watch_credit()

    def _acknowledge(self, seq: int) -> None:
        try:
            self.stream.acknowledge(seq)
        except AckAhead as error:
            raise BadMessage(str(error)) from None
        self._watch_credit()

    def _check_size(self, text: str) -> None:
        plain = self.dialect is Dialect.PLAIN
        limit = self._limits.plain_message_bytes if plain else self._limits.max_control_bytes
        if len(text) > limit:
            raise BadMessage(f"a text message of {len(text)} characters; at most {limit} are taken")

    def _on_bad(self, error: BadMessage) -> None:
        now = self._clock()
        self._count("in", "bad")
        full = len(self._bad_messages) == self._bad_messages.maxlen
        if full and now - self._bad_messages[0] < _BAD_MESSAGE_WINDOW_S:
            raise Disconnect("policy_violation", "too many bad messages")
        self._bad_messages.append(now)
        self._reply(
            Error(
                reply_to=error.reply_to,
                code=error.code,
                message=str(error),
                frame_seq=error.frame_seq,
                timestamp=error.timestamp,
            )
        )

    # ------------------------------------------------------------------ greetings

    def _greet_plain(self) -> None:
        self.connection.greet()
        mode = self._service.modes[self.stream.mode]
        self._reply(
            Connected(
                available_models=tuple(self._service.modes),
                class_labels=mode.labels,
                current_model=mode.name,
            )
        )

    def _greet_v1(self, hello: Hello) -> None:
        self.connection.greet()
        keepalive = self._service.settings.keepalive
        self._reply(
            Welcome(
                reply_to=hello.id,
                session=self.id,
                resumed=False,
                why="this server keeps no sessions" if hello.resume else None,
                heartbeat_s=keepalive.heartbeat_s,
                timeout_s=keepalive.timeout_s,
                max_in_flight=self._limits.max_in_flight,
                max_frame_bytes=self._limits.max_frame_bytes,
                max_frame_pixels=self._limits.max_frame_pixels,
                modes=tuple(self._service.modes.values()),
                mode=self.stream.mode,
                viz=self.stream.view.model_dump(mode="json"),
                retry_ms=self._service.settings.retry_ms,
            )
        )

    # ------------------------------------------------------------------ the writer

    async def _write(self) -> None:
        while True:
            message, is_result = await self._outbox.take()
            if not await self._put_on_wire(message):
                if self.connection.stalled:
                    raise Disconnect("slow_consumer", "a message was not taken in time")
                await asyncio.Event().wait()  # the reader learns why and ends the group
            if is_result:
                self._count("out", "segmentation" if isinstance(message, str) else "result")
                self.stream.sent_one()
                self._watch_credit()

    async def _put_on_wire(self, message: str | bytes) -> bool:
        sent = await self.connection.send(message)
        if sent:
            self._count_bytes("out", len(message))
        return sent

    def _reply(self, message: ServerMessage) -> None:
        self._count("out", type_of(type(message)))
        self._outbox.put_control(encode_text(message))

    def _outbox_full(self) -> None:
        self.end(Disconnect("slow_consumer", "replies were not taken in time"))

    # ------------------------------------------------------------------ the watch

    async def _watch(self) -> None:
        while True:
            now = self._clock()
            due, disconnect = min(self._deadlines(), key=lambda deadline: deadline[0])
            if due <= now:
                raise disconnect
            heartbeat = self._heartbeat(now)
            await asyncio.wait({self._ending}, timeout=min(due, heartbeat) - now)
            if self._ending.done():
                raise self._ending.result()

    def _deadlines(self) -> list[tuple[float, Disconnect]]:
        """When each rule would end the connection, as things stand."""
        keepalive, limits = self._service.settings.keepalive, self._limits
        idle = Disconnect(
            "idle_timeout", f"no frame and no command for {limits.idle_timeout_s:g} s"
        )
        deadlines = [(self._active_at + limits.idle_timeout_s, idle)]
        if self.dialect is Dialect.V1:
            silence_s = keepalive.heartbeat_s + keepalive.timeout_s
            silent = Disconnect("keepalive_timeout", f"nothing was heard for {silence_s:g} s")
            deadlines.append((self._heard_at + silence_s, silent))
        if self.connection.state is State.ACCEPTED:
            mute = Disconnect("hello_timeout", f"no hello within {limits.hello_timeout_s:g} s")
            deadlines.append((self._born_at + limits.hello_timeout_s, mute))
        if self._credit_since is not None:
            slow = Disconnect(
                "slow_consumer", f"no result was acknowledged for {limits.credit_timeout_s:g} s"
            )
            deadlines.append((self._credit_since + limits.credit_timeout_s, slow))
        return deadlines

    def _heartbeat(self, now: float) -> float:
        """Ping a v1 client where that is due; returns when the watch should look again."""
        heartbeat_s = self._service.settings.keepalive.heartbeat_s
        if self.dialect is Dialect.V1 and self.connection.state is State.OPEN:
            if now >= self._pinged_at + heartbeat_s:
                self._pinged_at = now
                self._reply(ServerPing(t=round(time.time() * 1000)))
            return self._pinged_at + heartbeat_s
        return now + heartbeat_s

    def _watch_credit(self) -> None:
        """Note since when the client has left all of its credit unacknowledged."""
        window = self.stream.window
        if self.dialect is Dialect.PLAIN or window.unacked < window.limit:
            self._credit_since = None
        elif self._credit_since is None:
            self._credit_since = self._clock()

    # ------------------------------------------------------------------ counting

    def _count(self, direction: str, name: str) -> None:
        self._service.metrics.messages.labels(direction, name).inc()

    def _count_bytes(self, direction: str, size: int) -> None:
        self._service.metrics.message_bytes.labels(direction).inc(size)
        if direction == "in":
            self.figures.bytes_in += size
        else:
            self.figures.bytes_out += size
