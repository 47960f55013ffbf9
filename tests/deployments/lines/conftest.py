"""What the tests of the lines share: replicas that answer when they are let, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
import ray

from deployments.lines.callee import Callee
from models.view import View
from models.work import FrameFailure, FrameOutcome, FrameRequest

HOST = "127.0.0.1"
NODE = "0.0.0.0"  # stands for the node's own address: one that is not loopback and is there
FRAMES = [FrameRequest(b"jpeg", View())]


def outcomes(name: str) -> list[FrameOutcome]:
    """What the replica of that name makes of ``FRAMES``."""
    return [FrameFailure("INFERENCE_FAILED", name)]


class Replica:
    """A replica whose calls wait until they are let through."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.callee = Callee(name, NODE, self.answer)
        self.calls: list[str] = []  # their modes, by which the tests know them
        self.cancelled: list[str] = []
        self.gate = asyncio.Event()

    async def answer(self, mode: str, frames: Sequence[FrameRequest]) -> list[FrameOutcome]:
        assert frames == FRAMES
        self.calls.append(mode)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.append(mode)
            raise
        if mode == "fail":
            raise ZeroDivisionError("not for the other side")
        return outcomes(self.name)

    def die(self) -> None:
        """What the system does to the sockets of a process that was killed."""
        for channel in (*self.callee._callers, *self.callee._strangers):
            channel.abort()
        for port in self.callee._ports:
            port.close()


async def until(met: Callable[[], bool]) -> None:
    """Let the loop go round until ``met``; pytest's own deadline ends what never is."""
    while not met():  # noqa: ASYNC110 - what is waited for is not ours to signal
        await asyncio.sleep(0.001)


async def called(replica: Replica, count: int) -> None:
    await until(lambda: len(replica.calls) == count)


@pytest.fixture(autouse=True)
def _this_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray is not there to say where the tests run."""
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: NODE)


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
