"""One session over one connection: its tasks and its one end.

The tasks share a TaskGroup: the reader drains the connection and never waits for a model; the
writer is the only one that sends; the watch holds every deadline; in the v1 dialect the hold
writes to the store what a resume needs, and what a client asks for runs beside them. Whichever
learns that the end has come raises ``Disconnect``; the group takes the others down, and ``run``
accounts for that one end, once: one close frame where one is owed, one counted reason, one log
line.

What is a fact of a session is kept once: where its connection is in ``ingress.lifecycle``'s
table, how far it has come in its ``Progress``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from ingress.admission.gate import Visitor
from ingress.disconnects import Disconnect
from ingress.door.connection import Connection, Transport
from ingress.resume.drain import STOPPING
from ingress.resume.hold import Hold
from ingress.resume.parked import ControlRing
from ingress.resume.roll import TAKEN_OVER
from ingress.service import Service
from ingress.session.account import Account
from ingress.session.allowance import Allowance
from ingress.session.arrival import Arrival
from ingress.session.commands import Commands
from ingress.session.credit import Credit
from ingress.session.delivery import Delivery
from ingress.session.dialects import VOICES
from ingress.session.farewell import Farewell
from ingress.session.mailbox import Mailbox
from ingress.session.outbox import Outbox
from ingress.session.progress import Progress
from ingress.session.reader import Reader
from ingress.session.scene import Scene
from ingress.session.watch import Watch
from ingress.session.writer import Writer
from ingress.tasks import named
from ingress.wire.replies import ServerPing

log = logging.getLogger("segstream.session")

_LAST_WORDS_S = 0.5
_SERVICE_RESTART = 1012  # RFC 6455 section 7.4.2, IANA's registry of close codes


class Session:
    """A client, from its accepted handshake to its disconnect."""

    def __init__(self, service: Service, transport: Transport, visitor: Visitor) -> None:
        """``visitor`` is whom the gate let through."""
        self._visitor, dialect = visitor, visitor.dialect
        settings, metrics, limits = service.settings, service.metrics, service.settings.limits
        self.dialect = dialect
        self.connection = Connection(
            transport,
            send_timeout_s=limits.send_timeout_s,
            close_timeout_s=limits.close_timeout_s,
            on_move=metrics.moved,
            on_suppressed=lambda state: metrics.sends_suppressed.labels(state.shown).inc(),
        )
        self._service = service
        self._tasks = tasks = asyncio.TaskGroup()
        self._progress = progress = Progress()
        self._account = account = Account(metrics)
        self._watch = watch = Watch(settings, dialect)
        self._ring = ring = ControlRing(settings.resume.ring_messages, settings.resume.ring_bytes)
        self._outbox = outbox = Outbox(limits.outbox_messages, limits.outbox_bytes, self._full)
        voice = VOICES[dialect]
        self._scene = scene = Scene(settings, service.modes)
        in_flight = limits.max_in_flight if voice.acknowledged else limits.plain_in_flight
        self._credit = credit = Credit(in_flight, lambda: self._mailbox.offer())
        self._delivery = Delivery(service, voice, scene, credit, outbox, watch, account)
        self._mailbox = Mailbox(service, voice, scene, credit, self._delivery, account)
        commands = Commands(service, scene, self._mailbox, progress, account.figures, outbox, tasks)
        self._arrival = Arrival(
            service, self.connection, dialect, visitor, progress, scene, commands, self._mailbox,
            self._delivery, outbox, ring, watch, tasks,
        )  # fmt: skip
        self._reader = Reader(
            self.connection, dialect, limits, Allowance(limits, service.pixels_of), progress,
            self._mailbox, self._delivery, commands, watch, account, outbox, self._arrival.greet,
        )  # fmt: skip
        self._writer = Writer(self.connection, outbox, self._delivery, account)
        self._farewell = Farewell(
            service, self.connection, dialect, progress, self._mailbox, self._delivery, commands,
            outbox, ring, account,
        )  # fmt: skip

    @property
    def id(self) -> str:
        """That of the session before, once its client has come back for it."""
        return self._progress.session

    @property
    def hold(self) -> Hold | None:
        """The session's place in the store; None where it has none (yet)."""
        return self._progress.hold

    @property
    def buffer_bytes(self) -> int:
        """What the session holds in memory: frames, results, messages."""
        parts = (self._mailbox, self._delivery, self._outbox, self._ring)
        return sum(part.size_bytes for part in parts)

    def describe(self) -> Mapping[str, Any]:
        """One row of ``GET /api/sessions``; ``credit`` counts the results that may still leave."""
        return {
            "session": self.id,
            "dialect": self.dialect,
            "principal": self._arrival.name,
            "address": self._visitor.address,
            "state": self.connection.state.shown,
            "age_s": round(self._watch.age_s, 1),
            "silent_s": round(self._watch.silent_s, 1),
            "mode": self._scene.mode,
            "fps": self._account.figures.fps(asyncio.get_running_loop().time()),
            "credit": self._credit.available,
            "buffer_bytes": self.buffer_bytes,
            "resumable": self.hold is not None,
        }

    def end(self, disconnect: Disconnect) -> None:
        """Ask the session to end; the first reason counts."""
        self._watch.end(disconnect)

    def announce(self) -> None:
        """Tell the client that the replica will stop; it is served until ``end``."""
        self._farewell.announce()

    async def let_go(self) -> bool:
        """End as ``replaced``; returns once that is so, with whether the store has the session."""
        self.end(Disconnect("replaced", TAKEN_OVER))
        return await self._farewell.parted()

    async def run(self) -> None:
        """Serve the client until the end; raises nothing but a cancellation from outside."""
        self._arrival.enter()
        try:
            if await self.connection.accept(self._visitor.subprotocol):
                await self._live()
        finally:
            self._arrival.leave()

    async def _live(self) -> None:
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
                await self._farewell.part(disconnect)
            finally:  # a cancellation may come here too
                self._service.roll.discard(self)
                self._farewell.close_account(disconnect, self._watch.age_s)
        await self._farewell.forget(disconnect)
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            raise asyncio.CancelledError  # it came when the tasks were ending already

    async def _serve(self) -> Disconnect:
        try:
            async with self._tasks as tasks:
                self._arrival.admit()
                tasks.create_task(self._reader.run(), name=named("reader"))
                tasks.create_task(self._writer.run(), name=named("writer"))
                tasks.create_task(self._watch.run(self.connection, self._ping), name=named("watch"))
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
        # Its frames hold the last messages, in a cycle with the group: memory of a dead session.
        return first.with_traceback(None)

    async def _last_words(self) -> Disconnect | None:
        """What the connection says of an end that came as a cancellation; a bug is one, too."""
        last_words = self.connection.last_words(_LAST_WORDS_S)
        (said,) = await asyncio.gather(last_words, return_exceptions=True)
        if isinstance(said, BaseException) and not isinstance(said, Disconnect):
            return self._fate(BaseExceptionGroup("last words", [said]))
        return said

    def _ping(self, now_ms: int) -> None:
        self._outbox.put(ServerPing(t=now_ms))

    def _full(self) -> None:
        self.end(Disconnect("slow_consumer", "replies were not taken in time"))
