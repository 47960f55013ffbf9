"""One session over one connection: its tasks and its one end.

Four tasks share a TaskGroup: the reader drains the connection and never waits
for a model; the writer is the only one that sends; the watch holds every
deadline; the hold writes to the store what a resume needs. Whichever learns
that the end has come raises ``Disconnect``; the group takes the others down,
and ``run`` accounts for that one end, once: one close frame where one is owed,
one counted reason, one log line.

What is left of a session whose end was not its client's wish goes to the store
before the close frame leaves, so that a client which comes back at once finds it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ingress.disconnects import Disconnect
from ingress.door.connection import Connection, Transport
from ingress.lifecycle import State
from ingress.resume.comeback import Afresh, Resumed, come_back
from ingress.resume.drain import STOPPING
from ingress.resume.hold import Hold
from ingress.resume.parked import ControlRing, SessionSettings, new_token
from ingress.resume.roll import TAKEN_OVER
from ingress.service import Service
from ingress.session.commands import Commands
from ingress.session.dialects import VOICES
from ingress.session.figures import Figures
from ingress.session.greeting import connected, welcome
from ingress.session.outbox import Outbox, Outgoing, size_of
from ingress.session.reader import Reader
from ingress.session.stream import Stream
from ingress.session.watch import Watch
from ingress.wire.replies import Bye, ServerPing
from ingress.wire.requests import Hello, ResumeRequest
from ingress.wire.text import encode_text
from ingress.wire.words import RESUMED, SUBPROTOCOL, Dialect

log = logging.getLogger("segstream.session")

_LAST_WORDS_S = 0.5
_SERVICE_RESTART = 1012  # RFC 6455 section 7.4.2, IANA's registry of close codes


class Session:
    """A client, from its accepted handshake to its disconnect."""

    def __init__(
        self, service: Service, transport: Transport, dialect: Dialect, origin: str | None = None
    ) -> None:
        settings, metrics = service.settings, service.metrics
        limits = settings.limits
        self.id = secrets.token_urlsafe(9)
        self.dialect = dialect
        self.figures = Figures()
        self.hold: Hold | None = None
        self.connection = Connection(
            transport,
            send_timeout_s=limits.send_timeout_s,
            close_timeout_s=limits.close_timeout_s,
            on_move=metrics.moved,
            on_suppressed=lambda state: metrics.sends_suppressed.labels(state).inc(),
        )
        self._service = service
        self._origin = origin
        self._tasks = asyncio.TaskGroup()
        self._watch = Watch(settings, dialect)
        self._ring = ControlRing(settings.resume.ring_messages, settings.resume.ring_bytes)
        self._outbox = Outbox(
            limits.outbox_messages,
            limits.outbox_bytes,
            self._outbox_full,
        )
        self.stream = Stream(service, VOICES[dialect], self._outbox, self.figures)
        self._commands = Commands(
            service, self.stream, self.figures, self._outbox, self._tasks, self._write_settings
        )
        self._reader = Reader(
            dialect,
            limits,
            self.stream,
            self._watch,
            self.figures,
            metrics,
            self._outbox,
            self._confirm_token,
        )
        self._said_bye = False
        self._parted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    @property
    def is_open(self) -> bool:
        """Whether the client can be sent something now."""
        return self.connection.is_open

    @property
    def buffer_bytes(self) -> int:
        """What the session holds in memory: frames, results, messages."""
        return self.stream.size_bytes + self._outbox.size_bytes + self._ring.size_bytes

    def describe(self) -> Mapping[str, Any]:
        """One row of ``GET /api/sessions``; ``credit`` counts the results that may still leave."""
        now = asyncio.get_running_loop().time()
        return {
            "session": self.id,
            "dialect": self.dialect,
            "state": self.connection.state,
            "age_s": round(self._watch.age_s, 1),
            "silent_s": round(self._watch.silent_s, 1),
            "mode": self.stream.mode,
            "fps": self.figures.fps(now),
            "credit": self.stream.window.available,
            "buffer_bytes": self.buffer_bytes,
            "resumable": self.hold is not None,
        }

    def end(self, disconnect: Disconnect) -> None:
        """Ask the session to end; the first reason counts."""
        self._watch.end(disconnect)

    def announce(self) -> None:
        """Tell the client that the replica will stop; it is served until ``end``."""
        self.connection.drain()
        if self.dialect is Dialect.V1 and self.connection.state is State.DRAINING:
            self._said_bye = True
            self._outbox.put_control(self._bye(Disconnect("server_shutdown")))

    async def let_go(self) -> bool:
        """End as ``replaced``; returns once that is so, with whether the store has the session."""
        self.end(Disconnect("replaced", TAKEN_OVER))
        return await asyncio.shield(self._parted)

    async def run(self) -> None:
        """Serve the client until the end; raises nothing but a cancellation from outside."""
        subprotocol = SUBPROTOCOL if self.dialect is Dialect.V1 else None
        if not await self.connection.accept(subprotocol):
            return
        self._service.metrics.connections.inc()
        self._service.roll.add(self)
        disconnect = Disconnect("server_error", "the session ended without a reason")
        try:
            disconnect = await self._serve()
        except asyncio.CancelledError:
            # By Serve because the peer left, or with the whole replica.
            disconnect = Disconnect("proxy_lost", "the request was cancelled")
            disconnect = await self._last_words() or disconnect
            raise
        finally:
            try:
                await self._part(disconnect)
            finally:  # a cancellation may come here too
                self._service.roll.discard(self)
                self._account(disconnect)
        if self.hold is not None and not disconnect.reason.kept:
            await self.hold.forget()
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            raise asyncio.CancelledError  # it came when the tasks were ending already

    async def _serve(self) -> Disconnect:
        try:
            async with self._tasks as tasks:
                self._admit()
                tasks.create_task(self._reader.run(self.connection, self._commands, self._greet_v1))
                tasks.create_task(self._write())
                tasks.create_task(self._watch.run(self.connection, self._ping))
                # To wait in here matters: in the exit, Python 3.11's group would leave a
                # cancellation of its own counted, and ``run`` take it for one from outside.
                await asyncio.get_running_loop().create_future()
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
        if first.code_seen == _SERVICE_RESTART and self._service.drainage.under_way:
            # The server below us said it (uvicorn, when its listener closes), not the client.
            return Disconnect("server_shutdown", STOPPING, code_seen=first.code_seen)
        return first

    # ------------------------------------------------------------------ the end

    async def _last_words(self) -> Disconnect | None:
        """What the connection says of an end that came as a cancellation; a bug is one, too."""
        last_words = self.connection.last_words(_LAST_WORDS_S)
        (said,) = await asyncio.gather(last_words, return_exceptions=True)
        if isinstance(said, BaseException) and not isinstance(said, Disconnect):
            return self._fate(BaseExceptionGroup("last words", [said]))
        return said

    async def _part(self, disconnect: Disconnect) -> None:
        """Leave what is worth keeping with the store, say goodbye, close."""
        kept = False
        try:
            kept = await self._leave(disconnect)
        finally:
            if not self._parted.done():
                self._parted.set_result(kept)
            try:
                await self._say_goodbye(disconnect)
            finally:
                await self.connection.close(disconnect)

    async def _leave(self, disconnect: Disconnect) -> bool:
        """End the stream and the commands; whether the store has the session now."""
        parked = self.stream.end()
        self._commands.end()
        self._outbox.tell_drops()
        if self.hold is None or not disconnect.reason.kept:
            return False
        return await self.hold.park(
            replace(
                parked,
                control=tuple(self._ring),
                control_seq=self._ring.newest,
                frame_seq=self._reader.newest_seq,
                last_request=self._reader.last_request,
            )
        )

    async def _say_goodbye(self, disconnect: Disconnect) -> None:
        """Send ``bye`` where the dialect has that word and the peer can hear it."""
        greeted = self.connection.state in (State.OPEN, State.DRAINING)
        owed = disconnect.by_server and not self._said_bye
        if self.dialect is Dialect.V1 and greeted and owed and self.is_open:
            bye = Outgoing("bye", encode_text(self._bye(disconnect)))
            timeout_s = self._service.settings.limits.close_timeout_s
            if await self.connection.send(bye.data, timeout_s):
                self._count_out(bye)

    def _bye(self, disconnect: Disconnect) -> Bye:
        settings, reason = self._service.settings, disconnect.reason
        stopping = reason.name == "server_shutdown"
        return Bye(
            reason=reason.name,
            retry_ms=settings.drain.retry_ms if stopping else settings.retry_ms,
            resume=reason.resumable and self.hold is not None,
        )

    def _account(self, disconnect: Disconnect) -> None:
        reason, age_s = disconnect.reason, self._watch.age_s
        self._service.metrics.disconnected(disconnect, age_s, self.connection.last_state)
        code = disconnect.code_seen or reason.code
        kept = self._parted.done() and self._parted.result()
        log.log(
            reason.level,
            "session %s ended: %s by %s, code %s, %s dialect, after %.1f s, "
            "%d frames in, %d results out%s%s",
            self.id,
            reason.name,
            reason.initiator,
            code,
            self.dialect,
            age_s,
            self.figures.frames_in,
            self.figures.results_out,
            ", kept for a resume" if kept else "",
            f": {disconnect.explanation}" if disconnect.explanation else "",
            extra={
                "session": self.id,
                "reason": reason.name,
                "initiator": str(reason.initiator),
                "close_code": code,
                "dialect": str(self.dialect),
                "duration_s": round(age_s, 3),
                "frames_in": self.figures.frames_in,
                "results_out": self.figures.results_out,
                "kept": kept,
            },
        )

    # ------------------------------------------------------------------ greetings

    def _admit(self) -> None:
        if self._service.drainage.under_way:
            raise Disconnect("server_shutdown", STOPPING)
        limit = self._service.settings.admission.max_sessions
        if len(self._service.roll) > limit:
            raise Disconnect("overloaded", "all sessions are taken; try again in a moment")
        if self.dialect is Dialect.PLAIN:
            self.connection.greet()
            self._outbox.put_control(connected(self._service, self.stream))

    def _greet_v1(self, hello: Hello) -> None:
        if hello.resume is None:
            self._begin(hello)
        else:
            self._tasks.create_task(self._come_back(hello, hello.resume))

    async def _come_back(self, hello: Hello, request: ResumeRequest) -> None:
        token, resume = new_token(), self._service.settings.resume
        back = await come_back(
            self._service.store,
            request,
            self._origin,
            token,
            result_age_s=resume.result_age_s,
            timeout_s=2 * resume.store_timeout_s,
        )
        if self.connection.state is not State.ACCEPTED:
            return  # lost meanwhile; what was claimed stays for the client's next try
        resumes = self._service.metrics.session_resumes
        match back:
            case Resumed():
                resumes.labels(RESUMED).inc()
                self._go_on(hello, token, back)
            case Afresh(why, outcome, settings):
                resumes.labels(outcome).inc()
                self._begin(hello, why, settings)

    def _begin(
        self, hello: Hello, why: str | None = None, settings: SessionSettings | None = None
    ) -> None:
        """Greet a new session, with the settings of an old one where those are left."""
        if settings is not None:
            self._adopt(settings)
        token = new_token()
        hold = Hold.fresh(
            self._service.store, self.id, token, self._origin, self._settings_in_force()
        )
        self._greet_with(hold, hello, why=why)

    def _go_on(self, hello: Hello, token: str, back: Resumed) -> None:
        """Greet a session that resumes, and send again what its client lacks."""
        self.id = back.session
        self._adopt(back.title.settings)
        self._ring.restore(back.parked.control, back.parked.control_seq)
        self._reader.newest_seq = back.parked.frame_seq
        self._reader.last_request = back.parked.last_request
        hold = Hold(self._service.store, back.session, token, back.title)
        self._greet_with(hold, hello, resumed=True)
        for message in back.control:
            self._outbox.replay(message)
        self.stream.resume(back.parked, back.last_seq, back.replayed)

    def _greet_with(
        self, hold: Hold, hello: Hello, *, resumed: bool = False, why: str | None = None
    ) -> None:
        self.hold = hold
        self._outbox.number(self._ring)
        self._tasks.create_task(hold.run())
        self.connection.greet()
        self._outbox.put_control(
            welcome(
                self._service,
                self.stream,
                session=self.id,
                resume_token=hold.token,
                resumed=resumed,
                reply_to=hello.id,
                why=why,
                last_request=self._reader.last_request if resumed else None,
            )
        )

    def _adopt(self, settings: SessionSettings) -> None:
        """Put settings in force that outlived a connection."""
        self.stream.adopt(settings.mode, settings.view)
        self._commands.subscribe(settings.stats_every_s)

    def _settings_in_force(self) -> SessionSettings:
        return SessionSettings(self.stream.mode, self.stream.view, self._commands.stats_every_s)

    def _write_settings(self) -> None:
        if self.hold is not None:
            self.hold.change(self._settings_in_force())

    def _confirm_token(self) -> None:
        if self.hold is not None:
            self.hold.confirm()

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
