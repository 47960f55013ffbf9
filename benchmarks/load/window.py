"""The time in which a load is measured, told to the parent as it begins and ends."""

from __future__ import annotations

import asyncio
import resource
import time


class Window:
    """The time in which is measured: ``warmup`` seconds from now, and ``seconds`` long."""

    def __init__(self, warmup: float, seconds: float) -> None:
        self.begin = time.perf_counter() + warmup
        self.end = self.begin + seconds
        self.seconds = seconds

    def holds(self, moment: float) -> bool:
        return self.begin <= moment < self.end

    async def announce(self) -> float:
        """Say when the window begins and when it ends; returns our own CPU seconds within it."""
        await asyncio.sleep(self.begin - time.perf_counter())
        print("begin", flush=True)
        before = _cpu_s()
        await asyncio.sleep(self.end - time.perf_counter())
        spent = _cpu_s() - before
        print("end", flush=True)
        return spent


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
