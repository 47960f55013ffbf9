"""Every deadline of one connection, in one place.

The reader and the writer say what happened (``heard``, ``active``, ``credit``);
the watch knows when each rule would end the connection, sleeps until the
earliest, and raises its ``Disconnect``. It also owns the heartbeat: a ping of
the server every ``heartbeat_s``, so that a client that only listens shows life.

Liveness has to be in the application. A stalled peer with a full buffer is
never noticed by uvicorn's pings, whose close waits for that same buffer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from ingress.disconnects import Disconnect
from ingress.door.connection import Connection
from ingress.lifecycle import GREETED, State
from ingress.settings import IngressSettings
from ingress.wire.words import Dialect

Deadline = tuple[float, Disconnect]


class Watch:
    """The deadlines of a session; times are seconds of the loop's clock."""

    def __init__(self, settings: IngressSettings, dialect: Dialect) -> None:
        self._keepalive = settings.keepalive
        self._limits = settings.limits
        self._v1 = dialect is Dialect.V1
        self._clock = asyncio.get_running_loop().time
        self._ending: asyncio.Future[Disconnect] = asyncio.get_running_loop().create_future()
        self.born_at = self.heard_at = self._active_at = self._pinged_at = self._clock()
        self._ping_out: int | None = None
        self._no_credit_since: float | None = None
        self._expiry: asyncio.TimerHandle | None = None

    @property
    def age_s(self) -> float:
        """Seconds since the session began."""
        return self._clock() - self.born_at

    def end(self, disconnect: Disconnect) -> None:
        """End the session from outside its tasks; the first reason counts."""
        if not self._ending.done():
            self._ending.set_result(disconnect)

    def expire_in(self, seconds: float) -> None:
        """The client's token has so long to live."""
        expired = Disconnect("auth_expired", "the token's time ran out; come back with a new one")
        self._expiry = asyncio.get_running_loop().call_later(seconds, self.end, expired)

    def heard(self) -> None:
        """Something came from the client."""
        self.heard_at = self._clock()

    def active(self) -> None:
        """It was a frame or a command."""
        self._active_at = self._clock()

    @property
    def silent_s(self) -> float:
        """Seconds since anything came from the client."""
        return self._clock() - self.heard_at

    def ponged(self, t: float) -> float | None:
        """A pong came; the seconds since its ping, or None where it answers none that is out."""
        if t != self._ping_out:
            return None
        self._ping_out = None
        return self._clock() - self._pinged_at

    def credit(self, *, exhausted: bool) -> None:
        """Whether the client has left all of its credit unacknowledged."""
        if not exhausted:
            self._no_credit_since = None
        elif self._no_credit_since is None:
            self._no_credit_since = self._clock()

    async def run(self, connection: Connection, ping: Callable[[int], None]) -> None:
        """Raise the Disconnect of the first deadline that passes, or that ``end`` was given.

        ``ping`` is called with milliseconds since the epoch whenever a heartbeat is due.
        """
        try:
            await self._run(connection, ping)
        finally:
            if self._expiry:
                self._expiry.cancel()

    async def _run(self, connection: Connection, ping: Callable[[int], None]) -> None:
        while True:
            now = self._clock()
            due, disconnect = min(self._deadlines(connection.state), key=lambda d: d[0])
            if due <= now:
                raise disconnect
            if self._heartbeat_due(connection.state, now):
                self._pinged_at = now
                self._ping_out = round(time.time() * 1000)
                ping(self._ping_out)
            await asyncio.wait({self._ending}, timeout=self._until_next_look(due, now))
            if self._ending.done():
                raise self._ending.result()

    def _until_next_look(self, due: float, now: float) -> float:
        """Seconds; a credit deadline may appear meanwhile, so never past the soonest of those."""
        heartbeat_s = self._keepalive.heartbeat_s
        to_heartbeat = self._pinged_at + heartbeat_s - now
        return min(
            due - now,
            to_heartbeat if to_heartbeat > 0 else heartbeat_s,
            self._limits.credit_timeout_s,
        )

    def _heartbeat_due(self, state: State, now: float) -> bool:
        due = now >= self._pinged_at + self._keepalive.heartbeat_s
        return self._v1 and state in GREETED and due

    def _deadlines(self, state: State) -> list[Deadline]:
        """When each rule would end the connection, as things stand."""
        limits = self._limits
        idle_s = limits.idle_timeout_s
        deadlines = [
            (
                self._active_at + idle_s,
                Disconnect("idle_timeout", f"no frame and no command for {idle_s:g} s"),
            )
        ]
        if self._v1:
            silence_s = self._keepalive.heartbeat_s + self._keepalive.timeout_s
            silent = Disconnect("keepalive_timeout", f"nothing was heard for {silence_s:g} s")
            deadlines.append((self.heard_at + silence_s, silent))
        if state is State.ACCEPTED:
            hello_s = limits.hello_timeout_s
            mute = Disconnect("hello_timeout", f"no hello within {hello_s:g} s")
            deadlines.append((self.born_at + hello_s, mute))
        if self._no_credit_since is not None:
            credit_s = limits.credit_timeout_s
            slow = Disconnect("slow_consumer", f"no result was acknowledged for {credit_s:g} s")
            deadlines.append((self._no_credit_since + credit_s, slow))
        return deadlines
