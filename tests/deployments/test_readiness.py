"""Readiness is what the last calls said; who asks for it waits for none of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from deployments import readiness as module
from deployments.readiness import Readiness
from ingress.dispatch.flight import AnalysisFailed
from models.work import FrameOutcome, FrameRequest

PATIENCE_S = 0.03
SOON_S = 10.0  # for what comes at once on any machine


class Pool:
    """Replicas that answer, that hang, or that are not there."""

    def __init__(self) -> None:
        self.hang = self.gone = self.buggy = False
        self.calls: list[tuple[str, int]] = []
        self.called = asyncio.Event()

    async def analyze(self, mode: str, frames: Sequence[FrameRequest]) -> Sequence[FrameOutcome]:
        self.calls.append((mode, len(frames)))
        self.called.set()
        if self.buggy:
            raise ZeroDivisionError("planted")
        if self.gone:
            raise AnalysisFailed("nobody", unavailable=True)
        if self.hang:
            await asyncio.Event().wait()
        return []

    async def prepare(self, mode: str) -> None:
        raise AssertionError("a broadcast, which waits for whoever hangs")

    async def next_call(self) -> None:
        self.called.clear()
        await asyncio.wait_for(self.called.wait(), SOON_S)


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Pool:
    """A pool, and seconds that pass faster."""
    for name in ("_LATELY_S", "_CALL_S", "_PAUSE_S", "_PAUSE_AFTER_FAILURE_S"):
        monkeypatch.setattr(module, name, getattr(module, name) / 10)
    return Pool()


Make = Callable[[Pool], Readiness]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    made: list[Readiness] = []

    def make(pool: Pool) -> Readiness:
        made.append(Readiness(pool, "person", lambda: bugs.append(None)))
        return made[-1]

    bugs: list[None] = []
    yield make
    for readiness in made:
        if readiness._watching:
            readiness._watching.cancel()
            await asyncio.gather(readiness._watching, return_exceptions=True)


async def becomes(readiness: Readiness, pool: Pool, ready: bool) -> None:
    """Ask after each call until the answer is that."""
    async with asyncio.timeout(SOON_S):
        while await readiness.is_there() is not ready:
            await pool.next_call()


async def test_nobody_is_called_before_somebody_asks(pool: Pool, make: Make) -> None:
    readiness = make(pool)
    await asyncio.sleep(0)
    assert pool.calls == []
    assert await readiness.is_there()
    assert pool.calls[0] == ("person", 0), "without a frame"


async def test_who_asks_again_waits_for_no_call(
    pool: Pool, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LATELY_S", 60.0)
    readiness = make(pool)
    await becomes(readiness, pool, True)
    pool.hang = True
    await pool.next_call()
    async with asyncio.timeout(0.5):
        assert all([await readiness.is_there() for _ in range(100)])


async def test_where_nothing_is_known_the_first_waits_for_a_moment_only(
    pool: Pool, make: Make
) -> None:
    pool.hang = True
    clock = asyncio.get_running_loop().time
    began_at = clock()
    assert await make(pool).is_there() is False
    assert clock() - began_at < PATIENCE_S + 1


@pytest.mark.parametrize("ill", ["hang", "gone", "buggy"])
async def test_a_pool_that_falls_ill_shows_soon_and_so_does_its_health(
    pool: Pool, make: Make, ill: str
) -> None:
    readiness = make(pool)
    await becomes(readiness, pool, True)
    setattr(pool, ill, True)
    await becomes(readiness, pool, False)
    setattr(pool, ill, False)
    await becomes(readiness, pool, True)


async def test_one_call_that_came_to_nothing_is_no_illness(
    pool: Pool, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LATELY_S", 60.0)
    readiness = make(pool)
    await becomes(readiness, pool, True)
    pool.hang = True
    await pool.next_call()
    await pool.next_call()
    assert await readiness.is_there()


async def test_when_nobody_asks_any_longer_nobody_is_called(
    pool: Pool, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_INTEREST_S", 0.0)
    readiness = make(pool)
    await readiness.is_there()
    assert readiness._watching is not None
    await asyncio.wait_for(readiness._watching, SOON_S)
    monkeypatch.setattr(module, "_INTEREST_S", 60.0)
    await becomes(readiness, pool, True)
