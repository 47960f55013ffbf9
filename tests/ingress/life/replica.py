"""A replica of the ingress, which can be drained, and killed.

A kill leaves it no way out: its line to the store and all its wires are dead before any
of its tasks has another turn, so that nothing they do on their way out reaches anyone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.ingress.fakes import FakeStore
from tests.ingress.life.settings import GROUPS
from tests.ingress.life.store import StoreLine
from tests.ingress.turns import end_calls
from tests.ingress.world import World, new_world

if TYPE_CHECKING:
    from tests.ingress.life.life import Life  # each life enters itself with its replica


def _children(metric: Any) -> list[Any]:
    """The values of all series of a metric: looked up once, they are read at every turn."""
    return [child._value for child in metric._metrics.values()]


class Replica:
    """One ingress replica and its connections."""

    def __init__(self, shared: FakeStore) -> None:
        self.line = StoreLine(shared)
        self.world: World = new_world(self.line, **GROUPS)
        self.service = self.world.service
        shared.rolls.append(self.service.roll)
        self._shared = shared
        self.lives: list[Life] = []
        self.landed: dict[bytes, float] = {}  # by picture, when its result was made
        self.renewing = asyncio.create_task(self.service.roll.run())
        self.draining: asyncio.Task[None] | None = None
        self.drained = 0  # connections from before the drain
        metrics = self.service.metrics
        self._accepted = metrics.connections._value
        self._ended = _children(metrics.disconnects)
        self._now = _children(metrics.open_connections)
        self._resumes = metrics.session_resumes
        self._bugs = metrics.unhandled_exceptions._value

    def balance(self) -> None:
        """What must hold at every moment."""
        now = [value.get() for value in self._now]
        ended = sum(value.get() for value in self._ended)
        assert min(now) >= 0, "a gauge is negative"
        assert self._accepted.get() == ended + sum(now), "accepted = disconnects + open"
        assert len(self.service.roll) == sum(now), "the roll has the open ones"

    def _now_values(self) -> list[float]:
        return [value.get() for value in self._now]

    @property
    def bugs(self) -> float:
        return float(self._bugs.get())

    def drain(self) -> None:
        if self.draining is None:
            self.drained = len(self.lives)
            self.draining = asyncio.create_task(self.service.drainage.run())

    def kill(self) -> None:
        """As SIGKILL would: nothing of it reaches a peer or the store any more."""
        self.line.dead = True
        self._shared.rolls.remove(self.service.roll)
        self.renewing.cancel()
        if self.draining:
            self.draining.cancel()
        for life in self.lives:
            life.killed = not life.task.done()
            life.wire.dead = True
            life.wire.stalled = False
            life.task.cancel()

    async def close(self) -> None:
        self.renewing.cancel()
        tasks = [self.renewing, *([self.draining] if self.draining else [])]
        await asyncio.gather(*tasks, return_exceptions=True)
        await end_calls(self.service)
