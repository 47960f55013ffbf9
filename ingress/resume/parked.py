"""What is kept of a session that has lost its connection, and how a store is spoken to.

Control messages of a session are numbered, and the last ones are kept in a
ring; a returning client says which it has and is sent the rest, in order. Where
the ring no longer reaches back that far, the session starts afresh and says so:
never a silent gap. Its settings are kept all the same.

Of the stream only the newest result is kept, and replayed only while it is
young; the frames of all others are reported as dropped.

A token is 256 random bits; only its SHA-256 is kept, and compared in constant
time. A session is bound to the origin and to the principal that opened it. The rules by which a
store gives sessions out are in ``ingress.resume.memory_store``.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from models.view import View

_TOKEN_BYTES = 32
_MAX_TOKENS = 4

_TITLE_BYTES, _PARKED_BYTES, _NUMBERED_BYTES, _UNACKED_BYTES = 1000, 300, 100, 128  # of objects


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
        """What it takes to keep this, in bytes of memory: text beyond ASCII is up to 4 a letter."""
        return _NUMBERED_BYTES + sys.getsizeof(self.text)


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
        principal: who signed in, where somebody did.
        address: the client's, as quotas count it; None where it is not known, or loopback.
        claims: how often the session was given to a client that came back.
    """

    tokens: tuple[bytes, ...]
    origin: str | None
    settings: SessionSettings
    serial: int = 1
    principal: str | None = None
    address: str | None = None
    claims: int = 0

    @property
    def owner(self) -> tuple[str, str | None]:
        """Whose share of the store it takes (``ingress.resume.shares``)."""
        if self.principal is not None:
            return "principal", self.principal
        return "address", self.address

    @property
    def size_bytes(self) -> int:
        """What it takes to keep this, in bytes of memory."""
        view = self.settings.view
        parts = (*self.tokens, self.origin, self.principal, self.address, view.class_filter)
        return _TITLE_BYTES + sum(sys.getsizeof(part) for part in parts if part is not None)

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
        tokens = (new_token, *newer, given)
        return replace(self, tokens=tokens, serial=self.serial + 1, claims=self.claims + 1)


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
        debt_ms: turns that it has had in advance, in milliseconds of a segmenter's work.
        settings_only: nothing of the above is left.
        unused: nothing of the above was there, and the settings are those of any new session.
    """

    control: tuple[Numbered, ...] = ()
    control_seq: int = 0
    result_seq: int = 0
    frame_seq: int = -1
    unacked: tuple[tuple[int, int], ...] = ()
    newest: NewestResult | None = None
    last_request: str | int | None = None
    debt_ms: float = 0.0
    settings_only: bool = False
    unused: bool = False

    @property
    def size_bytes(self) -> int:
        """What it takes to keep this, in bytes of memory."""
        result = sys.getsizeof(self.newest.message) if self.newest else 0
        control = sum(message.size_bytes for message in self.control)
        ints = _UNACKED_BYTES * len(self.unacked) + sys.getsizeof(self.last_request)
        return _PARKED_BYTES + result + control + ints

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


class OthersSession(ClaimRefused):
    """The token is good, and the session another principal's."""


class StoreLost(Exception):
    """The store cannot be reached."""


class SessionStore(Protocol):
    """Where sessions are kept, as an ingress replica sees it.

    Every method may raise StoreLost: a session goes on without its store, and
    can then not be resumed.
    """

    async def hold(self, session: str, title: Title) -> None:
        """This replica has the session's connection; write ``title`` through."""

    async def park(self, session: str, title: Title, parked: Parked) -> bool:
        """The session has lost its connection; whether the store keeps it."""

    async def claim(
        self,
        session: str,
        token: bytes,
        origin: str | None,
        new_token: bytes,
        *,
        orphaned: bool,
        principal: str | None = None,
    ) -> Claim:
        """Attach a session to this replica; raises ClaimRefused."""

    async def release(self, session: str) -> bool:
        """Have the replica that holds the session let go of it; whether one did."""

    async def forget(self, session: str, title: Title) -> None:
        """The session has ended for good."""

    async def renew(self, held: Mapping[bytes, str]) -> Renewal:
        """This replica lives and holds these sessions, each under that newest token."""
