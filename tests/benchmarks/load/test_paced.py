"""Cameras send on time whatever comes back; every answer, drop and loss is accounted for."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter, deque
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedError

from benchmarks.load.paced import PacedV1, paced
from benchmarks.load.speakers import V1, Binary

PICTURES = (b"a", b"b", b"c")


class FakeSocket:
    """Answers each message with what ``reply`` makes of it; one that is closed raises."""

    def __init__(self, *, silent: bool = False, closes_after: int | None = None) -> None:
        self.sent: list[bytes] = []
        self._silent = silent
        self._closes_after = closes_after
        self._replies: asyncio.Queue[bytes] = asyncio.Queue()

    async def send(self, message: bytes) -> None:
        if len(self.sent) == self._closes_after:
            raise ConnectionClosedError(None, None)
        self.sent.append(message)
        if not self._silent:
            self._replies.put_nowait(b"mask")

    async def recv(self) -> bytes:
        return await self._replies.get()


def binary(socket: FakeSocket) -> Binary:
    return Binary(socket)  # type: ignore[arg-type]


async def film(*sockets: FakeSocket, **options: Any) -> dict[str, Any]:
    asked = {"fps": 200.0, "warmup": 0.0, "seconds": 0.2, **options}
    speakers = [binary(socket) for socket in sockets]
    return await paced(speakers, PICTURES, argparse.Namespace(**asked))


async def test_a_camera_sends_at_its_rate_though_nothing_is_answered() -> None:
    socket = FakeSocket(silent=True)
    figures = await film(socket)
    assert 1 <= len(socket.sent) <= 41
    assert figures["offered_fps"] == pytest.approx(len(socket.sent) / 0.2)
    assert (figures["frames"], figures["most_served"], figures["least_served"]) == (0, 0, 0)
    assert figures["ages_ms"] == [[0.0, 0.0]]


async def test_cameras_begin_elsewhere_in_the_clip() -> None:
    first, second = FakeSocket(), FakeSocket()
    await film(first, second)
    assert first.sent[:3] == [b"a", b"b", b"c"]
    assert second.sent[:3] == [b"b", b"c", b"a"]


async def test_the_age_of_an_answer_is_that_of_its_frame() -> None:
    figures = await film(FakeSocket(), seconds=1.1, fps=100.0)
    assert figures["frames"] > 1
    assert len(figures["ages_ms"]) == 2  # the second that was begun counts
    assert 0 < figures["age_p50_ms"] <= figures["age_p99_ms"] < 1000
    assert figures["fps"] == pytest.approx(figures["frames"] / 1.1)


async def test_clients_are_counted_apart_and_one_that_was_starved_is_seen() -> None:
    figures = await film(FakeSocket(), FakeSocket(silent=True))
    assert figures["least_served"] == 0
    assert figures["most_served"] == figures["frames"] > 0


async def test_a_connection_that_ends_in_the_middle_is_a_drop_and_the_others_go_on() -> None:
    lost, kept = FakeSocket(closes_after=2), FakeSocket()
    figures = await film(lost, kept)
    assert figures["drops"] == {"connection_lost": 1}
    assert len(lost.sent) == 2
    assert len(kept.sent) > 2


class SaysToV1(V1):
    """A v1 client that hears a script, and then nothing more."""

    def __init__(self, *answers: tuple[int, int] | dict[str, Any]) -> None:
        self.script = deque(answers)
        self.sent_us: list[int] = []
        self.acknowledged = 0
        self.heard_all = asyncio.Event()

    async def say(self, frame: bytes, captured_us: int = 0) -> int:
        self.sent_us.append(captured_us)
        return len(frame)

    async def hear(self) -> tuple[int, int] | dict[str, Any]:
        if not self.script:
            self.heard_all.set()
            await asyncio.Event().wait()
        return self.script.popleft()

    async def acknowledge(self) -> None:
        self.acknowledged += 1


async def test_v1_knows_a_frames_age_by_its_own_clock_that_the_server_echoes() -> None:
    speaker = SaysToV1(
        (2_500_000, 100),
        {"type": "dropped", "frames": [1, 2, 3], "cause": "superseded"},
        {"type": "error", "code": "RATE_LIMITED"},
        {"type": "dropped", "frames": [4], "cause": "superseded"},
    )
    answered: list[float] = []
    drops = Counter[str]()
    source = PacedV1(speaker, answered.append, drops)
    hearing = asyncio.create_task(source.hear())
    async with asyncio.timeout(20.0):
        await speaker.heard_all.wait()
    hearing.cancel()
    assert answered == [2.5]
    assert drops == {"superseded": 4, "error": 1}
    assert speaker.acknowledged == 1
    before = time.perf_counter()
    await source.say(b"jpeg")
    assert before - 1e-5 <= speaker.sent_us[0] / 1e6 <= time.perf_counter()
