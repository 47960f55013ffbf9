"""What a store keeps of one session: its record, or for a while that it has ended for good.

That it has ended is kept because a store is told things out of order: a write that was under way
when the session ended would bring it back, with nobody to end it again. Who ended it counts: an
end is of all that was written under the same claim of the session or an earlier one, so a replica
from which the session was taken cannot end it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ingress.resume.parked import Parked, Title
from ingress.resume.shares import Kind

_RECORD_BYTES = 1150  # with the session's id, and its places in the store's tables
_ENDED_BYTES = 400


@dataclass(frozen=True, slots=True)
class Record:
    """What a store has of one session; with ``parked`` that of its last loss."""

    title: Title
    renewed_at: float
    parked: Parked | None = None

    @property
    def size_bytes(self) -> int:
        """What it takes to keep this, in bytes of memory."""
        parked = self.parked.size_bytes if self.parked else 0
        return _RECORD_BYTES + self.title.size_bytes + parked

    def kind(self, *, held: bool) -> Kind:
        """How much there is to lose."""
        if held:
            return Kind.RESUMING if self.parked else Kind.HELD
        return Kind.UNUSED if self.parked and self.parked.unused else Kind.PARKED

    def at(self, now: float) -> Record:
        """This, renewed now; what was parked is as old as it is."""
        parked = self.parked and self.parked.aged(now - self.renewed_at)
        return Record(self.title, now, parked)

    def yields_to(self, title: Title) -> bool:
        """Whether a write of ``title`` may take this record's place."""
        return title.tokens[0] == self.title.tokens[0] and title.serial > self.title.serial


@dataclass(frozen=True, slots=True)
class Ended:
    """A session has ended for good: when, and under which of its claims (``Title.claims``)."""

    claims: int
    at: float

    @property
    def size_bytes(self) -> int:
        """What it takes to keep this, in bytes of memory."""
        return _ENDED_BYTES

    def covers(self, title: Title) -> bool:
        """Whether what was written under ``title`` has ended with it."""
        return title.claims <= self.claims


@dataclass(frozen=True, slots=True)
class Heirloom:
    """One session on its way from a store to its successor."""

    session: str
    left: Record | Ended
    held: bool = False


class Ends:
    """The sessions that have ended of late: for ``ttl_s`` and at most so many, the oldest leave.

    That is as long as a write that comes late could keep its session. Where one leaves sooner, such
    a write keeps it so long, as its owner's.
    """

    def __init__(self, ttl_s: float, most: int) -> None:
        self._ttl_s = ttl_s
        self._most = most
        self._ends: OrderedDict[str, Ended] = OrderedDict()

    def __len__(self) -> int:
        return len(self._ends)

    def add(self, session: str, ended: Ended) -> None:
        """Note an end; an earlier claim's does not undo a later one's."""
        before = self._ends.pop(session, ended)
        self._ends[session] = replace(ended, claims=max(ended.claims, before.claims))
        while len(self._ends) > self._most:
            self._ends.popitem(last=False)

    def cover(self, session: str, title: Title) -> bool:
        """Whether a write of ``title`` came after its session's end."""
        ended = self._ends.get(session)
        return ended is not None and ended.covers(title)

    def expire(self, now: float) -> None:
        while self._ends and next(iter(self._ends.values())).at <= now - self._ttl_s:
            self._ends.popitem(last=False)

    def heirlooms(self) -> Iterator[Heirloom]:
        """All of them, for another store."""
        return (Heirloom(session, ended) for session, ended in self._ends.items())
