"""What the tests of the lines share: replicas that answer when they are let, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from deployments.lines.callee import Callee

HOST = "127.0.0.1"


class Replica:
    """A replica whose calls wait until they are let through."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.callee = Callee(name, HOST, self.answer)
        self.calls: list[tuple[Any, ...]] = []
        self.cancelled: list[tuple[Any, ...]] = []
        self.gate = asyncio.Event()

    async def answer(self, *arguments: Any) -> str:
        self.calls.append(arguments)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.append(arguments)
            raise
        if "fail" in arguments:
            raise ZeroDivisionError("not for the other side")
        return self.name

    def die(self) -> None:
        """What the system does to the sockets of a process that was killed."""
        for channel in (*self.callee._callers, *self.callee._strangers):
            channel.abort()
        if self.callee._server is not None:
            self.callee._server.close()


async def until(met: Callable[[], bool]) -> None:
    """Let the loop go round until ``met``; pytest's own deadline ends what never is."""
    while not met():  # noqa: ASYNC110 - what is waited for is not ours to signal
        await asyncio.sleep(0.001)


async def called(replica: Replica, count: int) -> None:
    await until(lambda: len(replica.calls) == count)


@pytest.fixture
async def sockets() -> AsyncIterator[None]:
    """Comes to its end when the sockets of a test have."""
    yield
    transports: dict[int, Any] = asyncio.get_running_loop()._transports  # type: ignore[attr-defined]
    await until(lambda: all(transport._sock is None for transport in list(transports.values())))


@pytest.fixture
async def one(sockets: None) -> AsyncIterator[Replica]:
    replica = Replica("one")
    yield replica
    replica.die()


@pytest.fixture
async def two(sockets: None) -> AsyncIterator[Replica]:
    replica = Replica("two")
    yield replica
    replica.die()
