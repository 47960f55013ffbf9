"""Lanes that threads share: who has waited longest gets the next one.

A lane is whatever serves one call at a time: an infer request, a stream with its buffers.
More threads call than there are lanes, so some wait. Rules:

1. First come, first served. A lane that comes back goes straight to the head of the queue and
   is free only where nobody waits. So no thread that comes later can take it in between, not
   even the one that has just given it back. ``queue.SimpleQueue`` lets that happen: of four
   threads on one lane, three had 55, 54 and 54 calls in 15 seconds, and the fourth had 1.
   The price: a lane stands still until its next thread has woken, 25 microseconds or so.
2. Who waits sleeps until its own lane is there. Nothing polls.
3. A lane is free or lent, whatever is raised. A thread that an exception reaches while it waits
   (Ctrl-C) leaves the queue; a lane that it was given meanwhile goes to the next.
4. Free lanes take turns, so as many calls as lanes, one after another, use each.

The lock is held for less than a microsecond and has no order of its own; a thread's place is
that in which it got through, and it gets through once a call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Generic, TypeVar

Lane = TypeVar("Lane")


class _Turn(Generic[Lane]):
    """One call's: ``lane`` is what it was given; ``asleep`` is held until then by who waits."""

    __slots__ = ("asleep", "lane")

    def __init__(self) -> None:
        self.lane: Lane | None = None
        self.asleep = Lock()


class Lanes(Generic[Lane]):
    """A fixed number of lanes, lent to any number of threads."""

    def __init__(self, lanes: Iterable[Lane]) -> None:
        self._free = deque(lanes)
        self._queue: deque[_Turn[Lane]] = deque()
        self._lock = Lock()

    # A signal's exception is raised where a call returns or begins, and would lose what that
    # call took out of a container. So lanes and turns are moved by index and ``del``, and the
    # giving back calls nothing of ours. As a generator it happens even where the exception
    # falls between the caller's ``with`` and this ``yield``: the generator is closed then.
    @contextmanager
    def taken(self) -> Iterator[Lane]:
        """A lane for the length of a ``with``; waits, as long as it takes, for its turn.

        Not to be nested: threads that hold one lane and want another wait for ever.
        """
        turn: _Turn[Lane] = _Turn()
        try:
            yield self._given(turn)
        finally:
            with self._lock:
                if turn.lane is None:
                    if turn in self._queue:
                        self._queue.remove(turn)
                elif self._queue:
                    first = self._queue[0]
                    first.lane = turn.lane
                    del self._queue[0]
                    first.asleep.release()
                else:
                    self._free.append(turn.lane)

    def _given(self, turn: _Turn[Lane]) -> Lane:
        with self._lock:
            if self._free:
                turn.lane = self._free[0]
                del self._free[0]
                return turn.lane
            turn.asleep.acquire()
            self._queue.append(turn)
        turn.asleep.acquire()
        assert turn.lane is not None
        return turn.lane
