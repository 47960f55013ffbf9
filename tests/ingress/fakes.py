"""What stands on every side of the connection layer in its tests: a peer, models, a store.

Each fake keeps what reached it and does what the test tells it to: answer late, fail,
stall or be lost. None of them measures real time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ingress.admission.gate import Visitor
from ingress.admission.principals import Principal
from ingress.admission.tickets import Tickets
from ingress.disconnects import Disconnect
from ingress.dispatch.flight import ModeFailed
from ingress.door.connection import TransportLost
from ingress.resume.memory_store import MemoryStore
from ingress.resume.parked import Claim, Parked, Renewal, StoreLost, Title
from ingress.resume.roll import Roll
from ingress.settings import Resume
from ingress.wire.words import SUBPROTOCOL, Dialect
from models.work import FrameOutcome, FrameRequest, FrameResult


class FakeTransport:
    """A peer under the test's control; keeps everything that reached the wire.

    ``come`` is what the peer does: a message, or a Disconnect that ``receive`` raises.
    """

    def __init__(self) -> None:
        self.subprotocol: str | None = None
        self.sent: list[str | bytes] = []
        self.closed: tuple[int, str] | None = None
        self.dead = False  # sends find the transport lost
        self.stalled = False  # sends and the close never return
        self.on_progress: Callable[[], None] = lambda: None
        self._coming: asyncio.Queue[str | bytes | BaseException] = asyncio.Queue()

    def come(self, *events: str | bytes | BaseException) -> None:
        for event in events:
            self._coming.put_nowait(event)

    async def accept(self, subprotocol: str | None) -> None:
        if self.dead:
            raise TransportLost
        self.subprotocol = subprotocol

    async def receive(self) -> str | bytes:
        event = await self._coming.get()
        if isinstance(event, BaseException):
            raise event
        return event

    async def send(self, message: str | bytes) -> None:
        assert self.closed is None, "sent after the close"
        await self._pass()
        self.sent.append(message)

    async def close(self, code: int, reason: str) -> None:
        assert self.closed is None, "closed twice"
        await self._pass()
        self.closed = (code, reason)

    async def _pass(self) -> None:
        if self.stalled:
            await asyncio.Event().wait()
        if self.dead:
            raise TransportLost
        await asyncio.sleep(0)


def visitor(dialect: Dialect = Dialect.V1, origin: str | None = None) -> Visitor:
    """Somebody whom the gate let through."""
    return Visitor(SUBPROTOCOL if dialect is Dialect.V1 else None, origin)


def lost() -> Disconnect:
    return Disconnect("connection_lost", code_seen=1005)


def result(request: FrameRequest) -> FrameResult:
    """A result that carries its frame's image back, so that a mix-up shows."""
    stages = {"decode": 1.0, "inference": 2.0, "render": 1.0, "encode": 1.0}
    return FrameResult(request.image, "image/png", 4, 3, ((0, 0.6), (1, 0.4)), b"thumb", stages)


Answer = Callable[[str, Sequence[FrameRequest]], Awaitable[Sequence[FrameOutcome]]]


@dataclass
class FakeAnalyzer:
    """Models that answer at once, after ``delay_s``, when ``gate`` opens, or as ``answer`` says."""

    delay_s: float = 0.0
    gate: asyncio.Event | None = None
    answer: Answer | None = None
    calls: list[tuple[str, list[bytes]]] = field(default_factory=list)
    prepared: list[str] = field(default_factory=list)
    prepare_s: dict[str, float] = field(default_factory=dict)
    broken_modes: set[str] = field(default_factory=set)
    cancelled: int = 0
    running: int = 0

    async def analyze(self, mode: str, frames: Sequence[FrameRequest]) -> Sequence[FrameOutcome]:
        self.calls.append((mode, [frame.image for frame in frames]))
        self.running += 1
        try:
            if self.gate:
                await self.gate.wait()
            await asyncio.sleep(self.delay_s)
            if self.answer:
                return await self.answer(mode, frames)
            return [result(frame) for frame in frames]
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    async def prepare(self, mode: str) -> None:
        await asyncio.sleep(self.prepare_s.get(mode, 0.0))
        if mode in self.broken_modes:
            raise ModeFailed(f"{mode} could not be loaded")
        self.prepared.append(mode)


@dataclass
class FakeAnalyst:
    """Statistics that say how many masks they were given, after ``delay_s``, or fail."""

    delay_s: float = 0.0
    failure: Exception | None = None
    asked: deque[tuple[str, int]] = field(default_factory=deque)

    async def scene(self, mode: str, masks: Sequence[tuple[float, bytes]]) -> Mapping[str, Any]:
        self.asked.append((mode, len(masks)))
        await asyncio.sleep(self.delay_s)
        if self.failure:
            raise self.failure
        return {"frames": len(masks)}


class FakeCensus:
    async def replicas(self) -> Mapping[str, int]:
        return {"segmenter-main": 1}


class FakeStore:
    """The real store's rules, on the loop's clock; ``lost`` makes every call fail.

    ``rolls`` are the replicas that it may ask to let a session go.
    """

    def __init__(self, settings: Resume) -> None:
        self.memory = MemoryStore(
            ttl_s=settings.ttl_s,
            max_parked=settings.max_parked,
            max_parked_bytes=settings.max_parked_bytes,
        )
        self.tickets = Tickets(30.0, 8)
        self.rolls: list[Roll] = []
        self.lost = False
        self.delay_s = 0.0

    async def issue(self, ticket: bytes, principal: Principal, origin: str | None) -> None:
        self.tickets.issue(ticket, principal, origin, await self._now())

    async def redeem(self, ticket: bytes, origin: str | None) -> Principal:
        return self.tickets.redeem(ticket, origin, await self._now())

    async def _now(self) -> float:
        await asyncio.sleep(self.delay_s)
        if self.lost:
            raise StoreLost("the store does not answer")
        return asyncio.get_running_loop().time()

    async def hold(self, session: str, title: Title) -> None:
        self.memory.hold(session, title, await self._now())

    async def park(self, session: str, title: Title, parked: Parked) -> bool:
        return self.memory.park(session, title, parked, await self._now())

    async def claim(
        self, session: str, token: bytes, origin: str | None, new_token: bytes, *, orphaned: bool,
        principal: str | None = None,
    ) -> Claim:  # fmt: skip
        now = await self._now()
        return self.memory.claim(
            session, token, origin, new_token, now, orphaned=orphaned, principal=principal
        )

    async def release(self, session: str) -> bool:
        await self._now()
        return any([await roll.release(session) for roll in self.rolls])

    async def forget(self, session: str, title: Title) -> None:
        self.memory.forget(session, title, await self._now())

    async def renew(self, held: Mapping[bytes, str]) -> Renewal:
        return self.memory.renew(held, await self._now())
