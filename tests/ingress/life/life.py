"""The life of one connection: its session, and what has to hold from its birth to its end."""

from __future__ import annotations

import asyncio
import logging

from ingress.disconnects import DISCONNECTS
from ingress.lifecycle import State
from ingress.session.life import Session
from ingress.wire.words import Dialect
from tests.ingress.fakes import visitor
from tests.ingress.life.replica import Replica
from tests.ingress.life.settings import EPSILON_S, ORIGIN
from tests.ingress.life.wire import Wire


class Life:
    """One connection: its wire, its session, what was done to it and what was logged of it."""

    def __init__(
        self, replica: Replica, dialect: Dialect, origin: str | None = ORIGIN,
        *, stalled: bool = False, dead: bool = False,
    ) -> None:  # fmt: skip
        self.replica = replica
        self.wire = Wire()
        self.wire.dead = dead
        if stalled:
            self.wire.stall()
        self.session = Session(replica.service, self.wire, visitor(dialect, origin))
        self.task = asyncio.create_task(self.session.run())
        self.cancelled = 0
        self.killed = False
        self.settled = False  # nothing was under way when it was killed
        self.cut = False  # the client reads nothing more of it
        self.ends: list[logging.LogRecord] = []
        self.tracebacks = 0
        self.closed_at: float | None = None
        self.born_at = self.ended_at = asyncio.get_running_loop().time()
        replica.lives.append(self)
        moved = self.session.connection._on_move
        clock = asyncio.get_running_loop().time

        def on_move(before: State, after: State) -> None:
            moved(before, after)
            if after is State.CLOSED:
                self.closed_at = clock()

        self.session.connection._on_move = on_move
        self.task.add_done_callback(lambda _: setattr(self, "ended_at", clock()))

    @property
    def reason(self) -> str | None:
        return getattr(self.ends[0], "reason") if self.ends else None  # noqa: B009

    @property
    def parted(self) -> bool:
        """Whether it is off the roll."""
        return all(session is not self.session for session in self.replica.service.roll)

    @property
    def live(self) -> bool:
        ending = self.session._tasks._aborting  # type: ignore[attr-defined]
        return self.session.connection.is_greeted and not ending and not self.task.done()

    def cancel(self) -> None:
        if not self.task.done():
            self.cancelled += 1
            self.task.cancel()

    def check(self, now: float) -> None:
        """What must hold between any two steps."""
        if self.killed:
            return
        assert self.wire.wrongs == []
        assert self.wire.overdue(now) == []
        done, accepted = self.task.done(), self.session.connection.last_state is not State.NEW
        limits = self.replica.service.settings.limits
        ceiling = limits.ceiling_bytes + self.replica.service.settings.resume.ring_bytes
        assert self.session.buffer_bytes <= ceiling
        if not done:
            assert len(self.ends) == 0 or self.session.hold is not None  # it may still forget
            assert self.closed_at is None or now <= self.closed_at + 1 + EPSILON_S, "a task lingers"
            return
        assert self.task.cancelled() == bool(self.cancelled), (
            f"cancelled {self.cancelled} times, ended as {self.reason}: {self.task}"
        )
        if not self.task.cancelled():
            assert self.task.exception() is None
        assert len(self.ends) == (1 if accepted else 0), "one log line per disconnect"
        if self.reason is not None:
            assert self.ends[0].levelno == DISCONNECTS[self.reason].level
            assert self.tracebacks == (1 if self.reason == "server_error" else 0)
