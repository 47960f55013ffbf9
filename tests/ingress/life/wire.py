"""A wire that checks what passes it.

Nothing may reach the peer after the end, two awaits of one kind may not overlap, and
none may outlast its deadline. What was wrong is noted, not raised: a session copes with
whatever its transport raises, and would hide it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from ingress.disconnects import Disconnect
from tests.ingress.fakes import FakeTransport
from tests.ingress.life.settings import EPSILON_S, GROUPS


class Wire(FakeTransport):
    """A transport that lets nothing through that must not be, and times every await."""

    def __init__(self) -> None:
        super().__init__()
        self.wrongs: list[str] = []
        self.over = False  # ``receive`` has said so
        self.closing = False
        self.ever_stalled = False
        self.sent_at: list[float] = []
        self._flow = asyncio.Event()
        self._began: dict[str, float] = {}

    @property
    def unread(self) -> int:
        """What the peer sent and nobody has received."""
        return self._coming.qsize()

    def stall(self) -> None:
        """Take nothing more."""
        self.stalled = self.ever_stalled = True

    def flow(self) -> None:
        """Take again."""
        self.stalled = False
        self._flow.set()
        self._flow = asyncio.Event()

    async def _pass(self) -> None:
        while self.stalled:
            await self._flow.wait()
        await super()._pass()

    async def accept(self, subprotocol: str | None) -> None:
        with self._timed("accept"):
            while self.stalled:
                await self._flow.wait()
            await super().accept(subprotocol)

    async def receive(self) -> str | bytes:
        try:
            return await super().receive()
        except Disconnect:
            self.over = True
            raise

    async def send(self, message: str | bytes) -> None:
        self._check("send", self.over or self.closing)
        with self._timed("send"):
            await super().send(message)
        self.sent_at.append(asyncio.get_running_loop().time())

    async def close(self, code: int, reason: str) -> None:
        self._check("close", self.over or self.closing)
        self.closing = True
        if code in (1005, 1006, 1015) or len(reason.encode()) > 123:
            self.wrongs.append(f"close {code} {reason}")
        with self._timed("close"):
            await super().close(code, reason)

    def overdue(self, now: float) -> list[str]:
        """Awaits that go on past their deadline."""
        return [what for what, began in self._began.items() if now > began + _limit(what)]

    def _check(self, what: str, wrong: bool) -> None:
        if wrong or what in self._began:
            self.wrongs.append(f"{what}: over {self.over}, closing {self.closing}, {self._began}")

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        clock = asyncio.get_running_loop().time
        self._began[what] = clock()
        try:
            yield
        finally:
            if clock() > self._began.pop(what) + _limit(what):
                self.wrongs.append(f"{what} ended late")


def _limit(what: str) -> float:
    limits = GROUPS["limits"]
    return EPSILON_S + float(limits["close_timeout_s" if what == "close" else "send_timeout_s"])
