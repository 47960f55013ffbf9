"""One session's place in the store: its token, and the settings written through.

Settings survive the replica that holds them because each change is written at
once, by a task of its own: no command waits for the store. Changes that come
while a write is under way leave together as the next one. A store that does not
answer costs the session its resume, nothing else.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

from ingress.resume.parked import (
    Parked,
    SessionSettings,
    SessionStore,
    StoreLost,
    Title,
    hash_token,
)

_FORGET_S = 0.5


class Hold:
    """This replica's hold on one session."""

    def __init__(self, store: SessionStore, session: str, token: str, title: Title) -> None:
        """``token`` is the newest of ``title``; it goes to the client."""
        assert title.tokens[0] == hash_token(token)
        self.session = session
        self.token = token
        self._store = store
        self._title = title
        self._due = asyncio.Event()
        self.behind = False  # a write was lost

    @classmethod
    def fresh(
        cls, store: SessionStore, session: str, token: str, origin: str | None,
        settings: SessionSettings, principal: str | None = None, address: str | None = None,
    ) -> Hold:  # fmt: skip
        """The hold on a session that is new."""
        tokens = (hash_token(token),)
        title = Title(tokens, origin, settings, principal=principal, address=address)
        hold = cls(store, session, token, title)
        hold.write()
        return hold

    @property
    def newest_token(self) -> bytes:
        """Its hash, under which the store knows this hold."""
        return self._title.tokens[0]

    def change(self, settings: SessionSettings) -> None:
        """The settings in force are others."""
        if settings != self._title.settings:
            self._title = replace(self._title, settings=settings)
            self.write()

    def confirm(self) -> None:
        """The client has shown that it has the newest token: the one before is void."""
        if not self._title.confirmed:
            self._title = replace(self._title, tokens=self._title.tokens[:1])
            self.write()

    def write(self) -> None:
        """Have the title written, also where the store should have it already."""
        self._title = replace(self._title, serial=self._title.serial + 1)
        self._due.set()

    async def run(self) -> None:
        """Write whenever a write is due; one that was lost is due again when the store is back."""
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                await self._store.hold(self.session, self._title)
            except StoreLost:
                self.behind = True
            else:
                self.behind = False

    async def park(self, parked: Parked) -> bool:
        """Leave the session to the store; whether it keeps it."""
        self._title = replace(self._title, serial=self._title.serial + 1)
        with suppress(StoreLost):
            return await self._store.park(self.session, self._title, parked)
        return False

    async def forget(self) -> None:
        """The session has ended for good; a store that is not told in time lets it expire."""
        with suppress(StoreLost, TimeoutError):
            async with asyncio.timeout(_FORGET_S):
                await self._store.forget(self.session, self._title)
