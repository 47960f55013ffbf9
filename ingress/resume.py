"""Detached sessions: what is kept of one, for how long, and who may have it back.

Rules
1. Control messages of a session are numbered. The last ones are kept in a ring;
   a returning client says which it has and is sent the rest, in order. Where the
   ring no longer reaches back that far, the session starts afresh and says so:
   never a silent gap. Its settings are kept all the same.
2. Of the stream only the newest result is kept, and replayed only while it is
   young; the frames of all others are reported as dropped.
3. A token is 256 random bits; only its SHA-256 is kept, and compared in constant
   time. Each resume gives a new one, and the one before stays valid until the
   client shows that it has it. A session is bound to the origin that opened it.
4. Who holds a session's newest token holds the session: each claim makes a new
   one, and only writes under the newest are taken, so a replica that was thought
   dead changes nothing. Writes carry a serial; one that arrives late is ignored.
   What was parked stays until the client has confirmed the new token, and
   settings that a new session began with stay as well, so a connection that is
   lost while it resumes costs nothing.
5. Everything is bounded: the ring by count and bytes, the parked sessions of a
   store by number and bytes, oldest first out, and each record by a deadline
   that the replica which holds the session must renew.

No I/O here, and no clock: the store is told the time in seconds. One store
serves every ingress replica (``deployments.session_store``), so a client may
come back to any of them.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from models.view import View

_TOKEN_BYTES = 32
_MAX_TOKENS = 4


def new_token() -> str:
    """256 random bits, in characters that need no quoting."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def hash_token(token: str) -> bytes:
    """What is kept of a token: its SHA-256."""
    return hashlib.sha256(token.encode()).digest()


@dataclass(frozen=True, slots=True)
class Numbered:
    """A control message that was made: its ``control_seq``, its ``type``, its JSON."""

    seq: int
    kind: str
    text: str

    @property
    def size_bytes(self) -> int:
        return len(self.text.encode())


class ControlRing:
    """The last numbered control messages of a session, oldest first."""

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._kept: deque[Numbered] = deque()
        self._bytes = 0
        self.newest = 0

    def __iter__(self) -> Iterator[Numbered]:
        return iter(self._kept)

    @property
    def size_bytes(self) -> int:
        return self._bytes

    def append(self, message: Numbered) -> None:
        """Keep the newest message; the oldest leave to make room."""
        assert message.seq > self.newest
        self.newest = message.seq
        self._kept.append(message)
        self._bytes += message.size_bytes
        while len(self._kept) > self._max_messages or self._bytes > self._max_bytes:
            self._bytes -= self._kept.popleft().size_bytes

    def restore(self, kept: Iterable[Numbered], newest: int) -> None:
        """Go on where a parked session ended."""
        for message in kept:
            self.append(message)
        self.newest = newest


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What outlives even the replica that held the session; ``stats_every_s`` 0: none asked for."""

    mode: str
    view: View
    stats_every_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Title:
    """Who may have a session, and with which settings.

    Attributes:
        tokens: hashes of the valid tokens, newest first; several until a rotation is confirmed.
        origin: the ``Origin`` of the page that opened it, where a page did.
        settings: mode and view in force.
        serial: grows with each write under one newest token.
    """

    tokens: tuple[bytes, ...]
    origin: str | None
    settings: SessionSettings
    serial: int = 1

    @property
    def confirmed(self) -> bool:
        """Whether the client is known to have the newest token."""
        return len(self.tokens) == 1

    def admits(self, token: bytes, origin: str | None) -> bool:
        """Whether a client with that token and origin may have the session."""
        known = [hmac.compare_digest(token, kept) for kept in self.tokens]
        return any(known) and origin == self.origin

    def rotated(self, new_token: bytes, given: bytes) -> Title:
        """This, claimed with the token ``given``: those before it are void.

        Newer ones stay, for the client that got one of them while an older connection of its
        own was still on its way here.
        """
        newer = self.tokens[: self.tokens.index(given)][: _MAX_TOKENS - 2]
        return replace(self, tokens=(new_token, *newer, given), serial=self.serial + 1)


@dataclass(frozen=True, slots=True)
class NewestResult:
    """The last result that was made: its seq, its frame's, its message, its age in seconds."""

    seq: int
    frame_seq: int
    message: bytes
    age_s: float


@dataclass(frozen=True, slots=True)
class Parked:
    """A session without a connection.

    Attributes:
        control: kept control messages, oldest first.
        control_seq: number of the newest control message; 0 before the first.
        result_seq: seq of the newest result; 0 before the first.
        frame_seq: the newest frame's, by the client's count; -1 before the first.
        unacked: (result seq, frame seq) of the results that were not acknowledged.
        newest: the newest result, where one was made.
        last_request: id of the newest request that was received.
        settings_only: nothing of the above is left.
    """

    control: tuple[Numbered, ...] = ()
    control_seq: int = 0
    result_seq: int = 0
    frame_seq: int = -1
    unacked: tuple[tuple[int, int], ...] = ()
    newest: NewestResult | None = None
    last_request: str | int | None = None
    settings_only: bool = False

    @property
    def size_bytes(self) -> int:
        """What it takes to keep this, in bytes."""
        result = len(self.newest.message) if self.newest else 0
        return result + sum(message.size_bytes for message in self.control) + 512

    def control_after(self, seq: int) -> tuple[Numbered, ...] | None:
        """The control messages after ``seq``; None where some of them are not kept."""
        missing = self.control_seq - seq
        if not 0 <= missing <= len(self.control):
            return None
        return tuple(message for message in self.control if message.seq > seq)

    def undelivered(self, last_seq: int, replayed: NewestResult | None) -> tuple[int, ...]:
        """Seqs of the frames whose results were lost; the client has those up to ``last_seq``."""
        return tuple(
            frame_seq
            for seq, frame_seq in self.unacked
            if seq > last_seq and (replayed is None or seq != replayed.seq)
        )

    def young_result(self, last_seq: int, max_age_s: float) -> NewestResult | None:
        """The newest result, where the client lacks it and it is young."""
        newest = self.newest
        if newest is None or newest.seq <= last_seq or newest.age_s > max_age_s:
            return None
        return newest

    def aged(self, seconds: float) -> Parked:
        """This, so much later."""
        if self.newest is None:
            return self
        return replace(self, newest=replace(self.newest, age_s=self.newest.age_s + seconds))


@dataclass(frozen=True, slots=True)
class Claim:
    """What a returning client gets.

    Attributes:
        title: tokens, origin and settings.
        parked: the session, where it was parked.
        held: another connection still holds it; that one must let go first.
    """

    title: Title
    parked: Parked | None = None
    held: bool = False


@dataclass(frozen=True, slots=True)
class Renewal:
    """Of the newest tokens that a replica renewed: those whose session the store does not know,
    and those whose session was taken over under a newer one."""

    unknown: frozenset[bytes] = frozenset()
    taken: frozenset[bytes] = frozenset()


class ClaimRefused(Exception):
    """There is no such session for this client; the words are for it."""


class StoreLost(Exception):
    """The store cannot be reached."""


class SessionStore(Protocol):
    """Where sessions are kept, as an ingress replica sees it.

    Every method may raise StoreLost: a session goes on without its store, and
    can then not be resumed.
    """

    async def hold(self, session: str, title: Title) -> None:
        """This replica has the session's connection; write ``title`` through."""

    async def park(self, session: str, title: Title, parked: Parked) -> None:
        """The session has lost its connection."""

    async def claim(
        self, session: str, token: bytes, origin: str | None, new_token: bytes, *, orphaned: bool
    ) -> Claim:
        """Attach a session to this replica; raises ClaimRefused."""

    async def release(self, session: str) -> bool:
        """Have the replica that holds the session let go of it; whether one did."""

    async def forget(self, session: str, title: Title) -> None:
        """The session has ended for good."""

    async def renew(self, held: Mapping[bytes, str]) -> Renewal:
        """This replica lives and holds these sessions, each under that newest token."""


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

    def park(self, session: str, title: Title, parked: Parked, now: float) -> None:
        """Keep what is left of a session."""
        record = self._find(session)
        if record is None or record.yields_to(title):
            self._put(self._parked, session, Record(title, now, parked))
        self.expire(now)

    def claim(
        self, session: str, token: bytes, origin: str | None, new_token: bytes, now: float,
        *, orphaned: bool,
    ) -> Claim:  # fmt: skip
        """Give a session to whoever comes with its token, and rotate that.

        ``orphaned`` says that no replica owns up to it: what was not parked is lost.

        Raises:
            ClaimRefused: not known, expired, or not this client's. The three are one answer,
                so that a stranger learns nothing from it.
        """
        self.expire(now)
        record = self._find(session)
        if record is None or not record.title.admits(token, origin):
            raise ClaimRefused("the session is not there any more; a new one was started")
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
