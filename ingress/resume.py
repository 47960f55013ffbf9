"""Detached sessions: what is kept of one, for how long, and who may have it back.

Rules
1. Control messages of a session are numbered. The last ones are kept in a ring;
   a returning client says which it has and is sent the rest, in order. Where the
   ring no longer reaches back that far, the session starts afresh and says so:
   never a silent gap.
2. Of the stream only the newest result is kept, and replayed only while it is
   young; the frames of all others are reported as dropped.
3. A token is 256 random bits; only its SHA-256 is kept. Each resume gives a new
   one, and the one before stays valid until the client shows that it has it. A
   session is bound to the origin that opened it.
4. Everything is bounded: the ring by count and bytes, the sessions of a store by
   number, oldest first out, and each by a deadline that its owner must renew.

No I/O here, and no clock: the store is told the time in seconds. One store
serves every ingress replica (``deployments.session_store``), so a client may
come back to any of them.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from models.view import View

_TOKEN_BYTES = 32


def new_token() -> str:
    """256 random bits, in characters that need no quoting."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def hash_token(token: str) -> bytes:
    """What is kept of a token: its SHA-256."""
    return hashlib.sha256(token.encode()).digest()


class ControlRing:
    """The last control messages of a session, by number, oldest first."""

    def __init__(self, max_messages: int, max_bytes: int, kept: Iterable[tuple[int, str]] = ()):
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._kept: deque[tuple[int, str]] = deque()
        self._bytes = 0
        for number, text in kept:
            self.append(number, text)

    def __iter__(self) -> Iterator[tuple[int, str]]:
        return iter(self._kept)

    def append(self, number: int, text: str) -> None:
        """Keep one message; the oldest leave to make room."""
        self._kept.append((number, text))
        self._bytes += len(text)
        while len(self._kept) > self._max_messages or self._bytes > self._max_bytes:
            self._bytes -= len(self._kept.popleft()[1])


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What outlives even the replica that held the session."""

    mode: str
    view: View


@dataclass(frozen=True, slots=True)
class NewestResult:
    """The last result that was made: its seq, its message, when (seconds since the epoch)."""

    seq: int
    message: bytes
    made_at: float


@dataclass(frozen=True, slots=True)
class Parked:
    """A session without a connection.

    Attributes:
        settings: mode and view in force.
        control: kept control messages as (number, text), oldest first.
        control_seq: number of the newest control message; 0 before the first.
        result_seq: seq of the newest result; 0 before the first.
        frame_seq: the newest frame's, by the client's count; -1 before the first.
        unacked: (result seq, frame seq) of the results that were not acknowledged.
        newest: the newest result, where one was made.
    """

    settings: SessionSettings
    control: tuple[tuple[int, str], ...]
    control_seq: int
    result_seq: int
    frame_seq: int
    unacked: tuple[tuple[int, int], ...]
    newest: NewestResult | None

    def control_after(self, number: int) -> tuple[str, ...] | None:
        """The control messages after ``number``; None where some of them are not kept."""
        missing = self.control_seq - number
        if not 0 <= missing <= len(self.control):
            return None
        return tuple(text for kept, text in self.control if kept > number)

    def young_result(self, last_seq: int, now: float, max_age_s: float) -> NewestResult | None:
        """The newest result, where the client lacks it and it is young."""
        newest = self.newest
        if newest is None or newest.seq <= last_seq or now - newest.made_at > max_age_s:
            return None
        return newest


@dataclass(frozen=True, slots=True)
class Claim:
    """What a returning client gets.

    Attributes:
        settings: mode and view, also where nothing else is left.
        parked: the session, where it was parked.
        held_by: the replica that still holds the session; it must let go first.
    """

    settings: SessionSettings
    parked: Parked | None = None
    held_by: str | None = None


class ClaimRefused(Exception):
    """There is no such session for this client; the words are for it."""


class SessionStore(Protocol):
    """Where sessions are kept, as the connection layer sees it.

    Every method may raise StoreLost: a session goes on without its store, and
    can then not be resumed.
    """

    async def open(
        self, session: str, token: bytes, origin: str | None, settings: SessionSettings
    ) -> None:
        """Register an attached session under the hash of its token."""

    async def update(self, session: str, settings: SessionSettings) -> None:
        """Write settings through, so that they outlive this replica."""

    async def park(self, session: str, parked: Parked) -> None:
        """The session has lost its connection."""

    async def claim(
        self, session: str, token: bytes, origin: str | None, new_token: bytes
    ) -> Claim:
        """Attach a parked session to this replica; raises ClaimRefused."""

    async def confirm(self, session: str) -> None:
        """The client has the new token: the one before is void."""

    async def close(self, session: str) -> None:
        """The session has ended for good."""


class StoreLost(Exception):
    """The store cannot be reached."""


@dataclass(frozen=True, slots=True)
class _Record:
    settings: SessionSettings
    tokens: tuple[bytes, ...]  # newest first; two while a rotation is not confirmed
    origin: str | None
    owner: str
    expires_at: float
    parked: Parked | None = None

    def admits(self, token: bytes, origin: str | None) -> bool:
        known = [hmac.compare_digest(token, kept) for kept in self.tokens]
        return any(known) and origin == self.origin


class MemoryStore:
    """The sessions of one application, in memory."""

    def __init__(self, *, ttl_s: float, max_sessions: int) -> None:
        self._ttl_s = ttl_s
        self._max_sessions = max_sessions
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def open(
        self,
        session: str,
        token: bytes,
        origin: str | None,
        settings: SessionSettings,
        owner: str,
        now: float,
    ) -> None:
        """Register an attached session of ``owner``."""
        self._put(session, _Record(settings, (token,), origin, owner, now + self._ttl_s))
        self._evict(now)

    def update(self, session: str, settings: SessionSettings) -> None:
        """Keep new settings; a session that is not known stays unknown."""
        record = self._records.get(session)
        if record is not None:
            self._records[session] = replace(record, settings=settings)

    def park(self, session: str, parked: Parked, owner: str, now: float) -> None:
        """Keep what is left of a session; only its owner can park it."""
        record = self._records.get(session)
        if record is None or record.owner != owner:
            return
        self._put(
            session,
            replace(record, settings=parked.settings, parked=parked, expires_at=now + self._ttl_s),
        )

    def claim(
        self, session: str, token: bytes, origin: str | None, new_token: bytes, owner: str,
        now: float, *, orphaned: bool,
    ) -> Claim:  # fmt: skip
        """Give a session to ``owner`` and rotate its token.

        ``orphaned`` says that the owner before did not answer: the settings are all there is.

        Raises:
            ClaimRefused: not known, expired, or not this client's. The three are one answer,
                so that a stranger learns nothing from it.
        """
        self._evict(now)
        record = self._records.get(session)
        if record is None or not record.admits(token, origin):
            raise ClaimRefused("the session is not there any more; a new one was started")
        if record.parked is None and not orphaned and record.owner != owner:
            return Claim(record.settings, held_by=record.owner)
        attached = replace(
            record,
            tokens=(new_token, token),
            owner=owner,
            parked=None,
            expires_at=now + self._ttl_s,
        )
        self._put(session, attached)
        return Claim(record.settings, record.parked)

    def confirm(self, session: str) -> None:
        """Void every token but the newest."""
        record = self._records.get(session)
        if record is not None:
            self._records[session] = replace(record, tokens=record.tokens[:1])

    def close(self, session: str) -> None:
        """Forget a session."""
        self._records.pop(session, None)

    def touch(self, sessions: Iterable[str], owner: str, now: float) -> None:
        """``owner`` is alive and holds these: they stay."""
        for session in sessions:
            record = self._records.get(session)
            if record is not None and record.owner == owner and record.parked is None:
                self._put(session, replace(record, expires_at=now + self._ttl_s))

    def _put(self, session: str, record: _Record) -> None:
        """Store at the young end: the order of the records is the order of their deadlines."""
        self._records[session] = record
        self._records.move_to_end(session)

    def _evict(self, now: float) -> None:
        while self._records:
            session, oldest = next(iter(self._records.items()))
            if oldest.expires_at > now and len(self._records) <= self._max_sessions:
                return
            del self._records[session]
