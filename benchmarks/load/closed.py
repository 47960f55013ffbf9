"""The closed loop: each client keeps one frame under way and asks again when it is answered.

So what is measured is the server's rate and not a queue of our own making.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.load.speakers import Speaker
from benchmarks.load.window import Window
from benchmarks.medians import percentile

_AGAIN_S = 0.3  # of warm-up after a rest


async def closed(
    speakers: Sequence[Speaker], pictures: Sequence[bytes], options: argparse.Namespace
) -> dict[str, Any]:
    """The loop in ``slices``, with a rest in between for as long as the parent wants."""
    loop = ClosedLoop(speakers, pictures)
    for number in range(options.slices):
        if number:
            print("rest", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
        await loop.run(Window(_AGAIN_S if number else options.warmup, options.seconds))
    return loop.figures()


class ClosedLoop:
    """What its clients were answered, over all the windows in which it ran."""

    def __init__(self, speakers: Sequence[Speaker], pictures: Sequence[bytes]) -> None:
        self._speakers = speakers
        self._pictures = pictures
        self._at = list(range(len(speakers)))  # each client begins elsewhere in the clip
        self._latencies: list[list[float]] = [[] for _ in speakers]
        self._carried = Counter[str]()
        self._slices_fps: list[float] = []
        self._measured_s = self._own_cpu_s = 0.0

    async def run(self, window: Window) -> None:
        """Every client asks until the window ends; no frame is under way afterwards."""
        before = self._answered
        announcing = asyncio.create_task(window.announce())
        await asyncio.gather(*(self._ask(n, window) for n in range(len(self._speakers))))
        self._own_cpu_s += await announcing
        self._measured_s += window.seconds
        self._slices_fps.append((self._answered - before) / window.seconds)

    async def _ask(self, number: int, window: Window) -> None:
        while (asked := time.perf_counter()) < window.end:
            picture = self._pictures[self._at[number] % len(self._pictures)]
            sent, received = await self._speakers[number].ask(picture)
            answered = time.perf_counter()
            self._at[number] += 1
            if window.holds(answered):
                self._latencies[number].append(answered - asked)
                self._carried["sent"] += sent
                self._carried["received"] += received

    @property
    def _answered(self) -> int:
        return sum(map(len, self._latencies))

    def figures(self) -> dict[str, Any]:
        """Rates, latencies, weights, and how evenly the clients were served."""
        served = [len(mine) for mine in self._latencies]
        ordered = sorted(1000 * latency for mine in self._latencies for latency in mine)
        return {
            "fps": len(ordered) / self._measured_s,
            "slices_fps": self._slices_fps,
            "p50_ms": percentile(ordered, 50),
            "p99_ms": percentile(ordered, 99),
            "bytes_up": self._carried["sent"] / max(1, len(ordered)),
            "bytes_down": self._carried["received"] / max(1, len(ordered)),
            "least_served": min(served),
            "most_served": max(served),
            "load_cpu_s": self._own_cpu_s,
            "frames": len(ordered),
        }
