"""Detached sessions: for how long they are kept, and who may have them back.

Rules
1. Who holds a session's newest token holds the session: each claim makes a new
   one, and only writes under the newest are taken, so a replica that was thought
   dead changes nothing. Writes carry a serial; one that arrives late is ignored.
2. The token before stays valid until the client shows that it has the new one.
   What was parked stays until then, and settings that a new session began with
   stay as well, so a connection that is lost while it resumes costs nothing.
3. Everything is bounded: the parked sessions by number and bytes, oldest first
   out, and each record by a deadline that the replica which holds the session
   must renew.

No I/O here, and no clock: the store is told the time in seconds. One store
serves every ingress replica (``deployments.session_store``), so a client may
come back to any of them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from ingress.resume.parked import Claim, ClaimRefused, OthersSession, Parked, Renewal, Title


@dataclass(frozen=True, slots=True)
class Record:
    """What a store has of one session; with ``parked`` that of its last loss."""

    title: Title
    renewed_at: float
    parked: Parked | None = None

    @property
    def size_bytes(self) -> int:
        """What it takes to keep this, in bytes."""
        return 512 + (self.parked.size_bytes if self.parked else 0)

    def at(self, now: float) -> Record:
        """This, renewed now; what was parked is as old as it is."""
        parked = self.parked and self.parked.aged(now - self.renewed_at)
        return replace(self, renewed_at=now, parked=parked)

    def yields_to(self, title: Title) -> bool:
        """Whether a write of ``title`` may take this record's place."""
        return title.tokens[0] == self.title.tokens[0] and title.serial > self.title.serial


@dataclass(frozen=True, slots=True)
class Heirloom:
    """One record on its way from a store to its successor."""

    session: str
    record: Record
    held: bool


class MemoryStore:
    """The sessions of one application, in memory: held and parked ones, each oldest first."""

    def __init__(self, *, ttl_s: float, max_parked: int, max_parked_bytes: int) -> None:
        self._ttl_s = ttl_s
        self._max_parked = max_parked
        self._max_parked_bytes = max_parked_bytes
        self._held: OrderedDict[str, Record] = OrderedDict()
        self._parked: OrderedDict[str, Record] = OrderedDict()
        self._parked_bytes = 0

    @property
    def held(self) -> int:
        """Sessions with a connection."""
        return len(self._held)

    @property
    def parked(self) -> int:
        """Sessions without one."""
        return len(self._parked)

    @property
    def parked_bytes(self) -> int:
        return self._parked_bytes

    def hold(self, session: str, title: Title, now: float) -> None:
        """Write the title of a session that has a connection."""
        record = self._find(session)
        if record is None or record.yields_to(title):
            fallback = record.at(now).parked if record and not title.confirmed else None
            self._put(self._held, session, Record(title, now, fallback))
        self.expire(now)

    def park(self, session: str, title: Title, parked: Parked, now: float) -> bool:
        """Keep what is left of a session; whether that was taken, and there is room for it."""
        record = self._find(session)
        taken = record is None or record.yields_to(title)
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
        if record is None or not record.title.admits(token, origin):
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
        """Remove a session that has ended for good."""
        self.expire(now)
        record = self._find(session)
        if record is not None and record.title.tokens[0] == title.tokens[0]:
            self._remove(session)

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
                self._put(self._held, session, record.at(now))
        self.expire(now)
        return Renewal(frozenset(unknown), frozenset(taken))

    def knows(self, session: str) -> bool:
        """Whether there is a record of it."""
        return self._find(session) is not None

    def portions(self, now: float, max_bytes: int) -> Iterator[list[Heirloom]]:
        """Everything that is kept, for another store to adopt, in portions of about that size."""
        portion: list[Heirloom] = []
        size = 0
        for records in (self._held, self._parked):
            for session, record in records.items():
                portion.append(Heirloom(session, record.at(now), records is self._held))
                size += record.size_bytes
                if size >= max_bytes:
                    yield portion
                    portion, size = [], 0
        if portion:
            yield portion

    def adopt(self, heirlooms: Iterable[Heirloom], now: float) -> None:
        """Take over what another store kept, unless it was written here meanwhile."""
        for heirloom in heirlooms:
            if not self.knows(heirloom.session):
                records = self._held if heirloom.held else self._parked
                # The other store's clock may be another machine's.
                self._put(records, heirloom.session, replace(heirloom.record, renewed_at=now))
        self.expire(now)

    def expire(self, now: float) -> None:
        """Remove what nobody renewed or claimed in time, and the oldest parked past the bounds."""
        for records in (self._held, self._parked):
            while records and next(iter(records.values())).renewed_at <= now - self._ttl_s:
                self._remove(next(iter(records)))
        while self._parked and (
            self.parked > self._max_parked or self._parked_bytes > self._max_parked_bytes
        ):
            self._remove(next(iter(self._parked)))

    def _find(self, session: str) -> Record | None:
        return self._held.get(session) or self._parked.get(session)

    def _put(self, records: OrderedDict[str, Record], session: str, record: Record) -> None:
        """Store at the young end: the order of the records is that of their deadlines."""
        self._remove(session)
        records[session] = record
        self._parked_bytes += record.parked.size_bytes if record.parked else 0

    def _remove(self, session: str) -> None:
        record = self._held.pop(session, None) or self._parked.pop(session, None)
        self._parked_bytes -= record.parked.size_bytes if record and record.parked else 0
