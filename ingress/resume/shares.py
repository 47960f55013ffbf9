"""Who keeps how much in a store, and whose oldest leaves where it is full.

Rules
1. What is kept belongs to an owner: the principal that signed in, else the address that the
   session was last connected from, as quotas count it. Those without one (loopback, and everybody
   where the address is not known) are one owner together: they cannot be told apart, so a flood
   of theirs costs them and nobody else. One owner each would let that flood push out the others.
2. Where there is too much, he who keeps most of it loses his oldest first: by number who has the
   most parked, by bytes who takes the most. So a flood from one owner evicts itself, and who has
   no more than the bound divided by the owners never loses anything.
3. Of one owner's, parked sessions that were never used leave first where the number is too high,
   since their clients lose nothing by it, and what takes bytes first where those are: what a
   resume keeps in case it is lost, then the parked. At a tie, who has an unused one to lose, then
   the oldest of all.

A write costs the logarithm of the number of owners, however many there are.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import IntEnum
from heapq import heapify, heappop, heappush
from itertools import count
from typing import NamedTuple, TypeAlias

Owner: TypeAlias = tuple[str, str | None]
Rank: TypeAlias = tuple[int, ...]  # the lowest is first; no two owners have the same

_OWNER_BYTES = 900  # of the tables here that one owner takes


class Kind(IntEnum):
    """How a session is kept."""

    UNUSED = 0  # parked; there is nothing in it to lose
    PARKED = 1
    RESUMING = 2  # held, with what was parked before
    HELD = 3


_BY_NUMBER = (Kind.UNUSED, Kind.PARKED)
_BY_BYTES = (Kind.RESUMING, Kind.PARKED, Kind.UNUSED, Kind.HELD)


class _Kept(NamedTuple):
    owner: Owner
    kind: Kind
    size_bytes: int


@dataclass(slots=True)
class _Share:
    """What one owner keeps: by kind, its sessions, oldest first, with their numbers in time."""

    lines: dict[Kind, OrderedDict[str, int]] = field(default_factory=dict)
    size_bytes: int = _OWNER_BYTES

    def add(self, session: str, kind: Kind, number: int, size_bytes: int) -> None:
        self.lines.setdefault(kind, OrderedDict())[session] = number
        self.size_bytes += size_bytes

    def discard(self, session: str, kind: Kind, size_bytes: int) -> None:
        line = self.lines[kind]
        del line[session]
        if not line:
            del self.lines[kind]
        self.size_bytes -= size_bytes

    def first(self, kinds: tuple[Kind, ...]) -> tuple[str, int, Kind]:
        """The one to leave first, its number, its kind; there is one."""
        kind = next(kind for kind in kinds if kind in self.lines)
        session, number = next(iter(self.lines[kind].items()))
        return session, number, kind

    @property
    def parked(self) -> int:
        return sum(len(self.lines[kind]) for kind in _BY_NUMBER if kind in self.lines)


class _Ranking:
    """Owners by rank, the first at hand: a heap whose outdated entries leave when they are met."""

    def __init__(self) -> None:
        self._rank: dict[Owner, Rank] = {}
        self._heap: list[tuple[Rank, Owner]] = []

    def put(self, owner: Owner, rank: Rank | None) -> None:
        """Give an owner that rank, or none."""
        if rank is None:
            self._rank.pop(owner, None)
            return
        self._rank[owner] = rank
        heappush(self._heap, (rank, owner))
        if len(self._heap) > 2 * len(self._rank) + 64:
            self._heap = [(rank, owner) for owner, rank in self._rank.items()]
            heapify(self._heap)

    def first(self) -> Owner:
        """The owner of the lowest rank; there is one."""
        while self._rank.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][1]


class Shares:
    """The books of one store."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._shares: dict[Owner, _Share] = {}
        self._by_number = _Ranking()
        self._by_bytes = _Ranking()
        self._numbers = count()
        self.size_bytes = 0

    def keep(self, session: str, owner: Owner, kind: Kind, size_bytes: int) -> None:
        """A session is kept from now on, in this way."""
        before = self._take_out(session)
        if before is not None and before != owner:
            self._rank(before)
        share = self._shares.get(owner)
        if share is None:
            share = self._shares[owner] = _Share()
            self.size_bytes += _OWNER_BYTES
        share.add(session, kind, next(self._numbers), size_bytes)
        self._kept[session] = _Kept(owner, kind, size_bytes)
        self.size_bytes += size_bytes
        self._rank(owner)

    def drop(self, session: str) -> None:
        """A session is not kept any more, if it was."""
        owner = self._take_out(session)
        if owner is not None:
            self._rank(owner)

    def first_by_number(self) -> str:
        """Which parked session is to leave where there are too many; there is one."""
        return self._shares[self._by_number.first()].first(_BY_NUMBER)[0]

    def first_by_bytes(self) -> str:
        """Which session is to leave where they take too much; there is one."""
        return self._shares[self._by_bytes.first()].first(_BY_BYTES)[0]

    def _take_out(self, session: str) -> Owner | None:
        kept = self._kept.pop(session, None)
        if kept is None:
            return None
        self._shares[kept.owner].discard(session, kept.kind, kept.size_bytes)
        self.size_bytes -= kept.size_bytes
        return kept.owner

    def _rank(self, owner: Owner) -> None:
        share = self._shares[owner]
        if not share.lines:
            del self._shares[owner]
            self.size_bytes -= _OWNER_BYTES
            self._by_number.put(owner, None)
            self._by_bytes.put(owner, None)
            return
        _, number, _ = share.first(_BY_BYTES)
        self._by_bytes.put(owner, (-share.size_bytes, number))
        if not (parked := share.parked):
            self._by_number.put(owner, None)
            return
        _, number, kind = share.first(_BY_NUMBER)
        self._by_number.put(owner, (-parked, kind, number))
