"""One session over one connection: its tasks and its one end.

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

from ingress.commands import Commands
from ingress.connection import Connection, Transport
from ingress.dialects import VOICES
from ingress.disconnects import Disconnect
from ingress.figures import Figures
from ingress.lifecycle import State
from ingress.outbox import Outbox, Outgoing, size_of
from ingress.protocol import (
    SUBPROTOCOL,
    Bye,
    Connected,
    Dialect,
    Hello,
    ServerPing,
    Welcome,
    encode_text,
)
from ingress.reader import Reader
from ingress.service import Service
from ingress.stream import Stream
from ingress.watch import Watch

log = logging.getLogger("segstream.session")

_LAST_WORDS_S = 0.5


class Session:
    """A client, from its accepted handshake to its disconnect."""

    def __init__(self, service: Service, transport: Transport, dialect: Dialect) -> None:
        settings, metrics = service.settings, service.metrics
        limits = settings.limits
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
        self._watch = Watch(settings, dialect)
        self._outbox = Outbox(limits.outbox_messages, limits.outbox_bytes, self._outbox_full)
        self.stream = Stream(service, VOICES[dialect], self._outbox, self.figures)
        self._reader = Reader(
            dialect,
            limits,
            self.stream,
            self._watch,
            self.figures,
            metrics,
            self._outbox,
        )

    @property
    def is_open(self) -> bool:
        """Whether the client can be sent something now."""
        return self.connection.is_open

    def end(self, disconnect: Disconnect) -> None:
        """Ask the session to end; the first reason counts."""
        self._watch.end(disconnect)

    async def run(self) -> None:
        """Serve the client until the end; raises nothing but a cancellation from outside."""
        subprotocol = SUBPROTOCOL if self.dialect is Dialect.V1 else None
        if not await self.connection.accept(subprotocol):
            return
        self._service.metrics.connections.inc()
        self._service.sessions.add(self.id)
        disconnect = Disconnect("server_error", "the session ended without a reason")
        try:
            disconnect = await self._serve()
        except asyncio.CancelledError:
            # By Serve because the peer left, or with the whole replica.
            disconnect = Disconnect("proxy_lost", "the request was cancelled")
            disconnect = await self.connection.last_words(_LAST_WORDS_S) or disconnect
            raise
        finally:
            self.stream.end()
            try:
                await self._part(disconnect)
            finally:  # a cancellation may come here too
                self._service.sessions.discard(self.id)
                self._account(disconnect)

    async def _serve(self) -> Disconnect:
        try:
            async with asyncio.TaskGroup() as tasks:
                commands = Commands(self._service, self.stream, self.figures, self._outbox, tasks)
                self._admit()
                tasks.create_task(self._reader.run(self.connection, commands, self._greet_v1))
                tasks.create_task(self._write())
                tasks.create_task(self._watch.run(self.connection, self._ping))
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

    async def _part(self, disconnect: Disconnect) -> None:
        """Say goodbye, then close."""
        try:
            await self._say_goodbye(disconnect)
        finally:
            await self.connection.close(disconnect)

    async def _say_goodbye(self, disconnect: Disconnect) -> None:
        """Send ``bye`` where the dialect has that word and the peer can hear it."""
        greeted = self.connection.state in (State.OPEN, State.DRAINING)
        if self.dialect is Dialect.V1 and greeted and disconnect.by_server and self.is_open:
            settings = self._service.settings
            bye = Bye(reason=disconnect.reason.name, retry_ms=settings.retry_ms, resume=False)
            farewell = Outgoing("bye", encode_text(bye))
            if await self.connection.send(farewell.data, settings.limits.close_timeout_s):
                self._count_out(farewell)

    def _account(self, disconnect: Disconnect) -> None:
        reason, age_s = disconnect.reason, self._watch.age_s
        self._service.metrics.disconnected(disconnect, age_s)
        log.log(
            reason.level,
            "session %s ended: %s by %s, code %s, %s dialect, after %.1f s, "
            "%d frames in, %d results out%s",
            self.id,
            reason.name,
            reason.initiator,
            disconnect.code_seen or reason.code,
            self.dialect,
            age_s,
            self.figures.frames_in,
            self.figures.results_out,
            f": {disconnect.explanation}" if disconnect.explanation else "",
            extra={
                "session": self.id,
                "reason": reason.name,
                "initiator": str(reason.initiator),
                "code": disconnect.code_seen or reason.code,
                "dialect": str(self.dialect),
                "age_s": round(age_s, 3),
                "frames_in": self.figures.frames_in,
                "results_out": self.figures.results_out,
            },
        )

    # ------------------------------------------------------------------ greetings

    def _admit(self) -> None:
        limit = self._service.settings.admission.max_sessions
        if len(self._service.sessions) > limit:
            raise Disconnect("overloaded", "all sessions are taken; try again in a moment")
        if self.dialect is Dialect.PLAIN:
            self._greet_plain()

    def _greet_plain(self) -> None:
        self.connection.greet()
        mode = self._service.modes[self.stream.mode]
        self._outbox.put_control(
            Connected(
                available_models=tuple(self._service.modes),
                class_labels=mode.labels,
                current_model=mode.name,
            )
        )

    def _greet_v1(self, hello: Hello) -> None:
        self.connection.greet()
        settings = self._service.settings
        self._outbox.put_control(
            Welcome(
                reply_to=hello.id,
                session=self.id,
                resumed=False,
                why="this server keeps no sessions" if hello.resume else None,
                heartbeat_s=settings.keepalive.heartbeat_s,
                timeout_s=settings.keepalive.timeout_s,
                max_in_flight=settings.limits.max_in_flight,
                max_frame_bytes=settings.limits.max_frame_bytes,
                max_frame_pixels=settings.limits.max_frame_pixels,
                modes=tuple(self._service.modes.values()),
                mode=self.stream.mode,
                viz=self.stream.view.model_dump(mode="json"),
                retry_ms=settings.retry_ms,
            )
        )

    # ------------------------------------------------------------------ the way out

    async def _write(self) -> None:
        """Send what the outbox holds; a send that cannot be waits for the reader to say why."""
        while True:
            outgoing = await self._outbox.take()
            if not await self.connection.send(outgoing.data):
                if self.connection.stalled:
                    raise Disconnect("slow_consumer", "a message was not taken in time")
                await asyncio.Event().wait()
            self._count_out(outgoing)
            if outgoing.is_result:
                self.stream.sent_one()
                self._watch.credit(exhausted=self.stream.credit_exhausted)

    def _count_out(self, outgoing: Outgoing) -> None:
        size = size_of(outgoing.data)
        self.figures.bytes_out += size
        self._service.metrics.message_bytes.labels("out").inc(size)
        self._service.metrics.messages.labels("out", outgoing.kind).inc()

    def _ping(self, now_ms: int) -> None:
        self._outbox.put_control(ServerPing(t=now_ms))

    def _outbox_full(self) -> None:
        self.end(Disconnect("slow_consumer", "replies were not taken in time"))
