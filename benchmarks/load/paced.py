"""Cameras: each client sends at its rate whatever comes back, and the age of that is measured."""

from __future__ import annotations

import argparse
import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from websockets.exceptions import ConnectionClosed

from benchmarks.load.speakers import V1, Binary, Speaker
from benchmarks.load.window import Window
from benchmarks.medians import percentile

Answered = Callable[[float], None]  # told when the frame that was answered was sent


async def paced(
    speakers: Sequence[Speaker], pictures: Sequence[bytes], options: argparse.Namespace
) -> dict[str, Any]:
    """Every client sends ``fps`` frames a second, all of the warm-up and of the window."""
    cameras = Cameras(pictures, options.fps, Window(options.warmup, options.seconds))
    return await cameras.run(speakers, options.warmup)


class Source(Protocol):
    """One client that sends without waiting for answers."""

    async def say(self, picture: bytes) -> None: ...

    async def hear(self) -> None:
        """Take answers for ever."""


class Cameras:
    """What became of the frames of one window: ages by the second, drops by their cause."""

    def __init__(self, pictures: Sequence[bytes], fps: float, window: Window) -> None:
        self._pictures = pictures
        self._apart_s = 1 / fps
        self._window = window
        self._ages: list[list[float]] = [[] for _ in range(math.ceil(window.seconds))]
        self._drops: Counter[str] = Counter()
        self._served: Counter[int] = Counter()
        self._offered = 0

    async def run(self, speakers: Sequence[Speaker], warmup: float) -> dict[str, Any]:
        """The figures, once the window is over."""
        # The clients' clocks are spread over one frame, as those of strangers are.
        begin, spread = self._window.begin - warmup, self._apart_s / len(speakers)
        filming = [self._film(n, each, begin + n * spread) for n, each in enumerate(speakers)]
        own_cpu_s, _ = await asyncio.gather(self._window.announce(), asyncio.gather(*filming))
        return self._figures(len(speakers), own_cpu_s)

    async def _film(self, number: int, speaker: Speaker, begin: float) -> None:
        source = _SOURCES[type(speaker)](speaker, partial(self._note, number), self._drops)
        hearing = asyncio.create_task(source.hear())
        try:
            await self._send(source, number, begin)
        except ConnectionClosed:
            self._drops["connection_lost"] += 1
        finally:
            hearing.cancel()
            await asyncio.wait([hearing])

    async def _send(self, source: Source, at: int, due: float) -> None:
        """One frame after the other until the window ends, the first when it is ``due``."""
        while (now := time.perf_counter()) < self._window.end:
            if now < due:
                await asyncio.sleep(due - now)
            # A send that the server holds up makes the camera late; it skips, as cameras do.
            due = max(due + self._apart_s, time.perf_counter())
            self._offered += self._window.holds(now)
            await source.say(self._pictures[at % len(self._pictures)])
            at += 1

    def _note(self, number: int, sent_at: float) -> None:
        now = time.perf_counter()
        if self._window.holds(now):
            self._ages[int(now - self._window.begin)].append(1000 * (now - sent_at))
            self._served[number] += 1

    def _figures(self, clients: int, own_cpu_s: float) -> dict[str, Any]:
        every = sorted(age for second in self._ages for age in second)
        by_second = [sorted(second) for second in self._ages]
        return {
            "fps": len(every) / self._window.seconds,
            "offered_fps": self._offered / self._window.seconds,
            "age_p50_ms": percentile(every, 50),
            "age_p99_ms": percentile(every, 99),
            "ages_ms": [[percentile(ages, 50), percentile(ages, 99)] for ages in by_second],
            "drops": dict(self._drops),
            "least_served": min(self._served[n] for n in range(clients)),
            "most_served": max(self._served.values(), default=0),
            "load_cpu_s": own_cpu_s,
            "frames": len(every),
        }


class PacedV1:
    """Frames carry the time at which they were sent; the server echoes it."""

    def __init__(self, speaker: V1, answered: Answered, drops: Counter[str]) -> None:
        self._speaker = speaker
        self._answered = answered
        self._drops = drops

    async def say(self, picture: bytes) -> None:
        await self._speaker.say(picture, int(1e6 * time.perf_counter()))

    async def hear(self) -> None:
        while True:
            answer = await self._speaker.hear()
            if isinstance(answer, tuple):
                self._answered(answer[0] / 1e6)
                await self._speaker.acknowledge()
            elif answer["type"] == "dropped":
                self._drops[answer["cause"]] += len(answer["frames"])
            else:
                self._drops[answer["type"]] += 1


class PacedBinary:
    """Answers come in the order of the frames."""

    def __init__(self, speaker: Binary, answered: Answered, drops: Counter[str]) -> None:
        self._speaker = speaker
        self._answered = answered
        self._sent_at: deque[float] = deque()

    async def say(self, picture: bytes) -> None:
        self._sent_at.append(time.perf_counter())
        await self._speaker.socket.send(picture)

    async def hear(self) -> None:
        while True:
            await self._speaker.socket.recv()
            self._answered(self._sent_at.popleft())


_SOURCES: Mapping[type, Callable[[Any, Answered, Counter[str]], Source]] = {
    V1: PacedV1,
    Binary: PacedBinary,
}
