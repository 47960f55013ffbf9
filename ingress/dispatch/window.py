"""How many frames of a mode are under way at once: as many as its pool answers in one cycle.

Too few starve the pool, too many only wait there, where no newer frame can take their place. The
right number differs by a thousand between a heavy network on a CPU and a light one on a GPU, so it
is found while serving, by Little's law, as a network card's driver finds its queue's length
(dynamic queue limits, Linux).

Rules
1. A call that found ``n`` frames under way, its own included, and took ``t`` says that the pool
   answers ``n / t`` frames per second. The window follows what that makes in ``cycle_s``.
2. It never falls below two frames per replica: one in the network, the next at the door.
3. It is spent in at most ``max_calls`` calls per replica: several, so that stages and replicas
   overlap, and few, because a call costs more than a frame in it.
"""

from __future__ import annotations

import math

from ingress.settings import Batching

_FEWEST = 2  # per replica
_WEIGHT = 0.1  # of the newest call


class Window:
    """The bounds of one mode's calls, in force now."""

    def __init__(self, settings: Batching, replicas: int) -> None:
        self._cycle_s = settings.cycle_s
        self._max_batch = settings.max_batch
        self._max_calls = settings.max_calls * replicas
        self._fewest = min(_FEWEST * replicas, self._max_calls * settings.max_batch)
        self._frames = float(self._fewest)

    @property
    def frames(self) -> float:
        """Frames that may be under way."""
        return self._frames

    @property
    def calls(self) -> int:
        """Calls that may be in flight."""
        return min(self._max_calls, math.ceil(self._frames))

    @property
    def batch(self) -> int:
        """Frames that one call may carry."""
        return min(self._max_batch, math.ceil(self._frames / self.calls))

    def landed(self, under_way: int, took_s: float) -> None:
        """A call that found ``under_way`` frames, its own included, was answered in ``took_s``."""
        in_a_cycle = under_way * self._cycle_s / max(took_s, 1e-4)
        moved = self._frames + _WEIGHT * (in_a_cycle - self._frames)
        self._frames = min(max(moved, self._fewest), self._max_calls * self._max_batch)
