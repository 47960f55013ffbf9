"""The roll of one replica: which sessions are attached to it, from accept to the end.

It renews them in the store, so that they outlive a silence but not their
replica, and has those that the store lost, or missed a write of, written again. A session that the
store knows as another replica's was taken over while this one was not heard
of: its old connection ends here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from ingress.disconnects import Disconnect
from ingress.resume.hold import Hold
from ingress.resume.parked import SessionStore, StoreLost

log = logging.getLogger("segstream.roll")

TAKEN_OVER = "a newer connection took the session over"

_AT_ONCE = 1024  # sessions that the store renews in one call: some ms


class Attached(Protocol):
    """A session with a connection, as the roll sees it."""

    @property
    def id(self) -> str:
        """The session's, which is another once its client has come back for one."""

    @property
    def hold(self) -> Hold | None:
        """Its place in the store; None where it has none (yet)."""

    @property
    def buffer_bytes(self) -> int:
        """What it holds in memory."""

    def end(self, disconnect: Disconnect) -> None:
        """Ask it to end; the first reason counts."""

    def announce(self) -> None:
        """Tell the client that the end is near; it is served until then."""

    async def let_go(self) -> bool:
        """End as ``replaced``; returns once that is done, with whether the store has it."""

    def describe(self) -> Mapping[str, Any]:
        """One row of ``GET /api/sessions``."""


class Roll:
    """The sessions that are attached to this replica."""

    def __init__(self, store: SessionStore, renew_every_s: float) -> None:
        self._store = store
        self._renew_every_s = renew_every_s
        self._sessions: dict[Attached, None] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Attached]:
        return iter(list(self._sessions))

    def add(self, session: Attached) -> None:
        self._sessions[session] = None
        self._empty.clear()

    def discard(self, session: Attached) -> None:
        self._sessions.pop(session, None)
        if not self._sessions:
            self._empty.set()

    async def emptied(self) -> None:
        """Wait until no session is attached."""
        await self._empty.wait()

    @property
    def buffer_bytes(self) -> int:
        """What all sessions hold in memory."""
        return sum(session.buffer_bytes for session in self)

    def describe(self) -> list[Mapping[str, Any]]:
        """All sessions, as ``GET /api/sessions`` shows them."""
        return [session.describe() for session in self]

    async def release(self, session_id: str) -> bool:
        """Have the session of that id let go; whether it was here and the store has it now."""
        found = [session for session in self if session.id == session_id and session.hold]
        # One that let go before may still be closing: it says nothing of the one after it.
        return bool(found) and all([await session.let_go() for session in found])

    async def run(self) -> None:
        """Renew all sessions in the store, again and again."""
        answered = True
        while True:
            await asyncio.sleep(self._renew_every_s)
            try:
                await self.renew()
            except StoreLost as error:
                if answered:
                    log.warning("sessions cannot be resumed for now: %s", error)
                answered = False
            else:
                answered = True

    async def renew(self) -> None:
        """Renew all sessions in the store once; raises StoreLost."""
        held = {hold.newest_token: (session, hold) for session in self if (hold := session.hold)}
        tokens = list(held)
        for start in range(0, max(1, len(tokens)), _AT_ONCE):
            portion = {token: held[token] for token in tokens[start : start + _AT_ONCE]}
            await self._renew(portion)

    async def _renew(self, held: Mapping[bytes, tuple[Attached, Hold]]) -> None:
        renewal = await self._store.renew(
            {token: hold.session for token, (_, hold) in held.items()}
        )
        for token, (_, hold) in held.items():
            if token in renewal.unknown or hold.behind:
                hold.write()
        for token in renewal.taken & held.keys():
            held[token][0].end(Disconnect("replaced", TAKEN_OVER))
