"""Detached sessions: for how long they are kept, and who may have them back.

Rules
1. Who holds a session's newest token holds the session: each claim makes a new
   one, and only writes under the newest are taken, so a replica that was thought
   dead changes nothing. Writes carry a serial; one that arrives late is ignored.
2. The token before stays valid until the client shows that it has the new one.
   What was parked stays until then, and settings that a new session began with
   stay as well, so a connection that is lost while it resumes costs nothing.
3. Everything is bounded: the parked sessions by number, all that is kept by bytes
   (who keeps the most loses first, ``ingress.resume.shares``), and each record by
   a deadline that the replica which holds the session must renew.
4. A session that has ended stays so: what comes late does not bring it back.

No I/O here, and no clock: the store is told the time in seconds. One store
serves every ingress replica (``deployments.session_store``), so a client may
come back to any of them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice, takewhile
from typing import Literal

from ingress.resume.parked import Claim, ClaimRefused, OthersSession, Parked, Renewal, Title
from ingress.resume.record import Ended, Ends, Heirloom, Record
from ingress.resume.shares import Shares

Bound = Literal["number", "bytes"]

_AT_ONCE = 1024  # sessions that one call lets go: some ms
_A_PORTION = 256  # sessions that a successor takes over in one call


class MemoryStore:
    """The sessions of one application, in memory: held and parked ones, each oldest first."""

    def __init__(
        self, *, ttl_s: float, max_parked: int, max_parked_bytes: int,
        on_evicted: Callable[[Bound], None] = lambda bound: None,
    ) -> None:  # fmt: skip
        """``on_evicted`` is told which bound was passed, for each session that had to leave."""
        self._ttl_s = ttl_s
        self._max_parked = max_parked
        self._max_parked_bytes = max_parked_bytes
        self._on_evicted = on_evicted
        self._held: OrderedDict[str, Record] = OrderedDict()
        self._parked: OrderedDict[str, Record] = OrderedDict()
        self._shares = Shares()
        self._ends = Ends(ttl_s, max_parked)

    @property
    def held(self) -> int:
        """Sessions with a connection."""
        return len(self._held)

    @property
    def parked(self) -> int:
        """Sessions without one."""
        return len(self._parked)

    @property
    def kept_bytes(self) -> int:
        """What all of them take in memory, held or parked."""
        return self._shares.size_bytes

    def hold(self, session: str, title: Title, now: float) -> None:
        """Write the title of a session that has a connection."""
        record = self._find(session)
        if self._takes(session, title):
            fallback = record.at(now).parked if record and not title.confirmed else None
            self._put(self._held, session, Record(title, now, fallback))
        self.expire(now)

    def park(self, session: str, title: Title, parked: Parked, now: float) -> bool:
        """Keep what is left of a session; whether that was taken, and there is room for it."""
        taken = self._takes(session, title)
        if taken:
            self._put(self._parked, session, Record(title, now, parked))
        self.expire(now)
        return taken and session in self._parked

    def claim(
        self, session: str, token: bytes, origin: str | None, new_token: bytes, now: float,
        *, orphaned: bool, principal: str | None = None,
    ) -> Claim:  # fmt: skip
        """Give a session to whoever comes with its token, and rotate that.

        ``orphaned`` says that no replica owns up to it: what was not parked is lost.

        Raises:
            ClaimRefused: not known, expired, or not this client's. The three are one answer,
                so that a stranger learns nothing from it.
            OthersSession: whoever asks has the token, so it knows that already, and is another
                principal than the one that the session is of.
        """
        self.expire(now)
        record = self._find(session)
        if record is None or self._is_old(record, now) or not record.title.admits(token, origin):
            raise ClaimRefused("the session is not there any more; a new one was started")
        if record.title.principal != principal:
            raise OthersSession("the session is another principal's; a new one was started")
        if session in self._held and not orphaned:
            return Claim(record.title, held=True)
        title = record.title.rotated(new_token, token)
        parked = record.at(now).parked
        self._put(self._held, session, Record(title, now, parked))
        return Claim(title, parked)

    def forget(self, session: str, title: Title, now: float) -> None:
        """Remove a session that has ended for good; what is still to come of it is too late."""
        self._end(session, Ended(title.claims, now))
        self.expire(now)

    def renew(self, held: Mapping[bytes, str], now: float) -> Renewal:
        """The sessions that a replica holds stay."""
        unknown, taken = set(), set()
        for token, session in held.items():
            record = self._find(session)
            if record is None:
                unknown.add(token)
            elif record.title.tokens[0] != token:
                taken.add(token)
            elif session in self._held:
                self._held[session] = record.at(now)
                self._held.move_to_end(session)
        self.expire(now)
        return Renewal(frozenset(unknown), frozenset(taken))

    def knows(self, session: str) -> bool:
        """Whether there is a record of it."""
        return self._find(session) is not None

    def portions(self, now: float, max_bytes: int) -> Iterator[list[Heirloom]]:
        """Everything that is kept, for another store to adopt, in portions of about that size.

        Of many small ones so many a portion, that neither store is long at it.
        """
        portion: list[Heirloom] = []
        size = 0
        held = (Heirloom(session, record.at(now), True) for session, record in self._held.items())
        parked = (Heirloom(session, record.at(now)) for session, record in self._parked.items())
        for heirloom in chain(self._ends.heirlooms(), held, parked):
            portion.append(heirloom)
            size += heirloom.left.size_bytes
            if size >= max_bytes or len(portion) >= _A_PORTION:
                yield portion
                portion, size = [], 0
        if portion:
            yield portion

    def adopt(self, heirlooms: Iterable[Heirloom], now: float) -> None:
        """Take over what another store kept, unless it was written, or has ended, here meanwhile.

        The other store's clock may be another machine's.
        """
        for heirloom in heirlooms:
            session, left = heirloom.session, heirloom.left
            if isinstance(left, Ended):
                self._end(session, replace(left, at=now))
            elif not self.knows(session) and not self._ends.cover(session, left.title):
                records = self._held if heirloom.held else self._parked
                self._put(records, session, replace(left, renewed_at=now))
        self.expire(now)

    def expire(self, now: float) -> None:
        """Remove what nobody renewed or claimed in time, so many at a time; the rest is next."""
        self._ends.expire(now)
        for records in (self._held, self._parked):
            old = takewhile(lambda item: self._is_old(item[1], now), records.items())
            for session, _ in list(islice(old, _AT_ONCE)):
                self._remove(session)

    def _is_old(self, record: Record, now: float) -> bool:
        return record.renewed_at <= now - self._ttl_s

    def _make_room(self, newcomer: str) -> None:
        """Keep the bounds; the newcomer leaves itself if too many others would have to."""
        for _ in range(_AT_ONCE):
            if self.parked > self._max_parked:
                self._evict(self._shares.first_by_number(), "number")
            elif self.kept_bytes > self._max_parked_bytes:
                self._evict(self._shares.first_by_bytes(), "bytes")
            else:
                return
        self._remove(newcomer)
        self._on_evicted("bytes")

    def _evict(self, session: str, bound: Bound) -> None:
        """Let a session go; one that is being resumed first loses what was parked."""
        record = self._held.get(session)
        if record is not None and record.parked is not None:
            self._held[session] = replace(record, parked=None)
            self._count(self._held, session)
        else:
            self._remove(session)
        self._on_evicted(bound)

    def _takes(self, session: str, title: Title) -> bool:
        """Whether a write of ``title`` is not too late."""
        if self._ends.cover(session, title):
            return False
        record = self._find(session)
        return record is None or record.yields_to(title)

    def _end(self, session: str, ended: Ended) -> None:
        record = self._find(session)
        if record is None or ended.covers(record.title):
            self._remove(session)
            self._ends.add(session, ended)

    def _find(self, session: str) -> Record | None:
        return self._held.get(session) or self._parked.get(session)

    def _put(self, records: OrderedDict[str, Record], session: str, record: Record) -> None:
        """Store at the young end: the order of the records is that of their deadlines."""
        self._held.pop(session, None)
        self._parked.pop(session, None)
        records[session] = record
        self._count(records, session)
        self._make_room(session)

    def _count(self, records: OrderedDict[str, Record], session: str) -> None:
        """Put what a record takes down to its owner."""
        record = records[session]
        kind = record.kind(held=records is self._held)
        self._shares.keep(session, record.title.owner, kind, record.size_bytes)

    def _remove(self, session: str) -> None:
        self._held.pop(session, None)
        self._parked.pop(session, None)
        self._shares.drop(session)
